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
  const copy = {refused: false};
  window.mgmCopy = copy;
  const picture = new Promise((keep, fail) => Object.assign(copy, {keep, fail}));
  // Where the server refused, the page says why.
  navigator.clipboard.write([new ClipboardItem({"image/png": picture})]).then(
    () => say("Copied"),
    () => say(copy.refused ? "That did not work" : "The browser refused: use Download"));
}
