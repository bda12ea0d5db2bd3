(file) => {
  // Gradio runs it with the file that the server made, or with nothing where it could not.
  const copy = window.mgmCopy;
  if (!copy) return;
  if (!file) {
    copy.refused = true;
    copy.fail(new Error("there is no file"));
  }
  else fetch(file.url).then((answer) => answer.blob()).then(copy.keep, copy.fail);
}
