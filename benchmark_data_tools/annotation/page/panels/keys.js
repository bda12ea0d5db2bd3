// Every action and its key, in one table: the keyboard, the buttons' titles and the `?` map.
// A key is written as the browser names it, with Ctrl+ and Shift+ before it where they count.

export const ACTIONS = [
  ["Tools", [
    ["brush", ["b"], "Brush"],
    ["eraser", ["e"], "Eraser"],
    ["lasso", ["l"], "Lasso: fill what you circle"],
    ["polygon", ["p"], "Polygon: click corners, Enter or the first one closes"],
    ["fill", ["f"], "Fill similar colour"],
    ["smaller", ["["], "Smaller brush or eraser"],
    ["larger", ["]"], "Larger brush or eraser"],
    ["harder", ["{", "Shift+{"], "Harder edge"],
    ["softer", ["}", "Shift+}"], "Softer edge"],
    ["lessTolerance", ["-"], "Fill: less similar colours"],
    ["moreTolerance", ["="], "Fill: more colours"],
    ["erasesAreas", ["Shift+E"], "Lasso, polygon and fill erase, or draw"],
    ["pressure", ["Shift+P"], "Pen pressure on or off"],
  ]],
  ["Proposal", [
    ["propose", ["d"], "Propose detail; click switches regions"],
    ["lessDilation", [","], "Narrower proposal"],
    ["moreDilation", ["."], "Wider proposal"],
    ["lessOpening", ["<", "Shift+<"], "Proposal of thinner parts, too"],
    ["moreOpening", [">", "Shift+>"], "Proposal of wide parts alone"],
    ["source", ["Shift+D"], "Propose from the other alpha"],
  ]],
  ["Drawing", [
    ["undo", ["Ctrl+z"], "Undo"],
    ["redo", ["Ctrl+Shift+Z", "Ctrl+y"], "Redo"],
    ["confirm", ["Enter"], "Apply, close, or press at the cursor"],
    ["confirmJoined", ["Shift+Enter"], "Line to the cursor; switch the region there"],
    ["cancel", ["Escape"], "Cancel what is in hand"],
    ["removePoint", ["Backspace"], "Remove the last corner"],
    ["left", ["ArrowLeft"], "Cursor left 1 px, with Shift 10", "Shift+ArrowLeft"],
    ["right", ["ArrowRight"], "Cursor right", "Shift+ArrowRight"],
    ["up", ["ArrowUp"], "Cursor up", "Shift+ArrowUp"],
    ["down", ["ArrowDown"], "Cursor down", "Shift+ArrowDown"],
  ]],
  ["View", [
    ["zoomIn", ["i"], "Zoom in"],
    ["zoomOut", ["o"], "Zoom out"],
    ["fit", ["0"], "Fit"],
    ["actualSize", ["1"], "100 %"],
    ["pan", [" "], "Hold and drag to pan"],
    ["hide", ["h"], "Hide or show the mask"],
    ["opacityDown", ["9"], "Fainter mask"],
    ["opacityUp", ["8"], "Stronger mask"],
    ["colour", ["c"], "Next mask colour"],
    ["layer", ["v"], "Next layer"],
    ["queuePanel", ["q"], "Queue on or off"],
    ["sidePanel", ["t"], "Settings on or off"],
  ]],
  ["Queue", [
    ["next", ["n", "PageDown"], "Next image"],
    ["previous", ["Shift+N", "PageUp"], "Previous image"],
    ["done", ["Ctrl+Enter"], "Done, and on to the next open one"],
    ["save", ["Ctrl+s"], "Save now"],
    ["skip", ["s"], "Skip with a reason"],
    ["reopen", ["w"], "Take into work again"],
    ["flag", ["g"], "Flag"],
    ["note", ["m"], "Write a note"],
    ["jump", ["/"], "Search and jump"],
    ["history", ["u"], "Revisions"],
    ["people", ["y"], "Everyone's progress"],
    ["logout", ["Shift+Q"], "Log out"],
  ]],
  ["Review", [
    ["review", ["r"], "Start review"],
    ["accept", ["a"], "Accept"],
    ["return", ["x"], "Return with a comment"],
    ["agreement", ["Shift+A"], "Agreement of second passes"],
  ]],
  ["Help", [["help", ["?", "Shift+?"], "This map"]]],
];

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

export const keyName = (key) =>
  key.split(/(?<=.)\+/).map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+");

const BY_KEY = new Map(
  ACTIONS.flatMap(([, actions]) => actions).flatMap(([action, keys, , also]) =>
    [...keys, ...(also ? [also] : [])].map((key) => [key, action]),
  ),
);

// What an action does, and its key.
export function titleOf(action) {
  const [, [key], meaning] = ACTIONS.flatMap(([, actions]) => actions).find(([name]) => name === action);
  return `${meaning} (${keyName(key)})`;
}

export function actionOf(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  if (event.altKey) return undefined;
  const shift = event.shiftKey ? "Shift+" : "";
  const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  return BY_KEY.get(control + shift + key) ?? (control ? undefined : BY_KEY.get(key));
}
