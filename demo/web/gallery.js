// The script of `gallery.py`. Gradio runs it with the buttons' `element` and `trigger`.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (button) trigger("select", { example: Number(button.dataset.example) });
});
