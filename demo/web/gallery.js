// The script of `gallery.py`. Gradio runs it with the buttons' `element` and `trigger`.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (!button) return;
  window.mgmExamples = (window.mgmExamples ?? 0) + 1; // an example that is chosen again begins anew
  trigger("select", { example: Number(button.dataset.example) });
});
