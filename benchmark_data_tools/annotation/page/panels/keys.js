// Every action and its key, in one table: the keyboard, the buttons' titles and the `?` map.
// A key is written as the browser names it, with Ctrl+ and Shift+ before it where they count.

export const ACTIONS = [
  ["Tools", [
    ["brush", ["b"], "Brush"],
    ["eraser", ["e"], "Eraser"],
    ["lasso", ["l"], "Lasso: fill what you circle"],
    ["polygon", ["p"], "Polygon: click corners, Enter or the first one closes"],
    ["fill", ["f"], "Fill similar colour"],
    ["segment", ["j"], "Click to segment: adds what you click, with Alt takes it away"],
    ["smaller", ["["], "Smaller brush or eraser"],
    ["larger", ["]"], "Larger brush or eraser"],
    ["harder", ["{", "Shift+{"], "Harder edge"],
    ["softer", ["}", "Shift+}"], "Softer edge"],
    ["lessTolerance", ["-"], "Fill: less similar colours"],
    ["moreTolerance", ["="], "Fill: more colours"],
    ["erasesAreas", ["Shift+E"], "Lasso, polygon and fill erase, or draw"],
    ["pressure", ["Shift+P"], "Pen pressure on or off"],
    ["level", ["Shift+L"], "Trimap: next class; matte: next level to paint"],
  ]],
  ["Whole mask", [
    ["grow", ["Shift+G"], "Grow by 1 px"],
    ["shrink", ["Shift+S"], "Shrink by 1 px"],
    ["fillHoles", ["Shift+H"], "Fill holes"],
    ["invert", ["Shift+I"], "Invert"],
    ["copyFrom", ["Shift+C"], "Add the mask of another image"],
  ]],
  ["Proposal", [
    ["propose", ["d"], "Propose detail; click switches regions"],
    ["lessDilation", [","], "Narrower proposal"],
    ["moreDilation", ["."], "Wider proposal"],
    ["lessOpening", ["<", "Shift+<"], "Proposal of thinner parts, too"],
    ["moreOpening", [">", "Shift+>"], "Proposal of wide parts alone"],
    ["source", ["Shift+D"], "Propose from the other alpha"],
    ["nextRegion", ["'"], "Cursor to the next region (Shift+Enter switches it)"],
    ["previousRegion", [";"], "Cursor to the previous region"],
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
    ["zoomRegion", ["z"], "Zoom to the rectangle that you drag next"],
    ["hide", ["h"], "Hide or show the mask"],
    ["mode", ["k"], "Show the mask as tint, contour, alone, or as a cut-out"],
    ["darker", ["3"], "Darker picture"],
    ["brighter", ["4"], "Brighter picture"],
    ["lessContrast", ["5"], "Less contrast"],
    ["moreContrast", ["6"], "More contrast"],
    ["lessGamma", ["7"], "Darker shadows"],
    ["moreGamma", ["2"], "Brighter shadows: hair on black"],
    ["resetLight", ["Shift+R"], "Picture as it is"],
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
    ["pin", ["Shift+M"], "Pin a comment to the place that you click next"],
    ["guideline", ["Shift+W"], "Guideline"],
    ["label", ["Shift+V"], "Next label of the list"],
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
    ["batch", ["Shift+B"], "Accept, return or assign all that are shown"],
  ]],
  ["Help", [["help", ["?", "Shift+?"], "This map"]]],
];

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

export const keyName = (key) =>
  key.split(/(?<=.)\+/).map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+");

const rows = ACTIONS.flatMap(([, actions]) => actions);
let own = {}; // action -> the key that a person chose for it
let byKey = new Map();

// Takes over a person's own keys; {} for none. An action keeps its usual keys unless another has them.
export function setOwnKeys(chosen) {
  own = Object.fromEntries(Object.entries(chosen).filter(([action]) => rows.some(([name]) => name === action)));
  byKey = new Map(rows.flatMap(([action, keys, , also]) => [...keys, ...(also ? [also] : [])].map((key) => [key, action])));
  for (const [action, key] of Object.entries(own)) byKey.set(key, action);
}

setOwnKeys({});

export const ownKeys = () => own;

// The keys that perform an action now, one's own first.
export function keysOf(action) {
  const [, keys] = rows.find(([name]) => name === action);
  return [...new Set([...(own[action] ? [own[action]] : []), ...keys])].filter((key) => byKey.get(key) === action);
}

// What an action does, and its key.
export function titleOf(action) {
  const [, , meaning] = rows.find(([name]) => name === action);
  const [key] = keysOf(action);
  return key ? `${meaning} (${keyName(key)})` : meaning;
}

// A key press as this table writes it.
export function keyOf(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const shift = event.shiftKey ? "Shift+" : "";
  return control + shift + (event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key);
}

export function actionOf(event) {
  if (event.altKey) return undefined;
  const key = keyOf(event);
  return byKey.get(key) ?? (key.startsWith("Ctrl+") ? undefined : byKey.get(key.replace("Shift+", "")));
}
