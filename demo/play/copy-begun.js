() => {
  // Gradio runs it when the button is pressed; `copy.js` brings the file.
  const button = document.querySelector("#copy");
  const say = (text, seconds = 4) => {
    button.dataset.label ??= button.textContent;
    button.textContent = text;
    clearTimeout(window.mgmCopySaid);
    if (seconds) {
      window.mgmCopySaid = setTimeout(() => { button.textContent = button.dataset.label; }, 1000 * seconds);
    }
  };
  if (!window.ClipboardItem || !navigator.clipboard) {
    window.mgmCopy = null;
    say("Only over https: use Download");
    return;
  }
  say("Copying", 0);
  const picture = new Promise((keep, fail) => { window.mgmCopy = {keep, fail}; });
  navigator.clipboard.write([new ClipboardItem({"image/png": picture})]).then(
    () => say("Copied"), () => say("The browser refused: use Download"));
}
