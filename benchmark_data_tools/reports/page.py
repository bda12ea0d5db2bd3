"""The report's HTML page: style, and a script that sorts a table by the column clicked."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Matting benchmark</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; }
th:first-child, tbody th, td.text { text-align: left; font-weight: normal; }
td.text { font-family: monospace; font-size: 12px; overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; background: #f4f4f4; font-size: 12px; vertical-align: bottom; }
.sortable thead th { cursor: pointer; }
tr.published { color: #777; font-style: italic; }
td.pictures { white-space: nowrap; }
td.pictures img { height: 110px; margin-right: 3px; border: 1px solid #ccc; }
figure { margin: 1rem 0; } figure img { max-width: 100%; }
</style>
</head>
<body>
<h1>Matting benchmark</h1>
<p>Error maps: red where a prediction is too opaque, blue where it is too transparent, full colour
from an error of 0.25 on. Click a column's head to sort by it.</p>
@SECTIONS@
<script>
for (const head of document.querySelectorAll(".sortable thead th")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const ascending = head.dataset.ascending !== "true";
    head.dataset.ascending = ascending;
    const value = row => row.cells[head.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)], difference = Number(x) - Number(y);
      return Number.isNaN(difference) ? x.localeCompare(y) : difference;
    };
    const rows = [...body.rows].sort(order);
    body.append(...(ascending ? rows : rows.reverse()));
  });
}
</script>
</body>
</html>
"""
