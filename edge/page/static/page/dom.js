// Elements made from values. Everything becomes text or an attribute, never markup: nothing of a camera's name or a
// server's sentence can run.

const SVG = "http://www.w3.org/2000/svg";

export function el(name, props = {}, ...children) {
  return filled(document.createElement(name), props, children);
}

export function svg(name, props = {}, ...children) {
  return filled(document.createElementNS(SVG, name), props, children);
}

export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, svg("use", { href: `/page/icons.svg#${name}` }));
}

export function clear(node, ...children) {
  node.replaceChildren(...wanted(children));
  return node;
}

function filled(node, props, children) {
  for (const [key, value] of Object.entries(props)) put(node, key, value);
  node.append(...wanted(children));
  return node;
}

function wanted(children) {
  return children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false);
}

function put(node, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key === "text") node.textContent = value;
  else if (key === "data") Object.assign(node.dataset, value);
  else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
  else if (key === "value" || key === "checked" || key === "indeterminate") node[key] = value;
  else node.setAttribute(key, value === true ? "" : value);
}

// Changes only what differs, so that a screen reader or a selection is not disturbed ten times a second.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function button(text, onclick, { icon: name, kind = "", label, ...props } = {}) {
  const parts = [name && icon(name), text && el("span", { text })];
  return el("button", { type: "button", class: `button ${kind}`, onclick, "aria-label": label, title: text ? null : label, ...props }, parts);
}

export function link(text, href, { icon: name, kind = "", label, ...props } = {}) {
  const parts = [name && icon(name), text && el("span", { text })];
  return el("a", { class: `button ${kind}`, href, "aria-label": label, title: text ? null : label, ...props }, parts);
}

let made = 0;

// A control with its label before it, and a hint after.
export function field(text, control, hint = "") {
  control.id ||= `field-${++made}`;
  const note = hint && el("small", { class: "hint", id: `${control.id}-hint`, text: hint });
  if (note) control.setAttribute("aria-describedby", note.id);
  return el("div", { class: "field" }, el("label", { for: control.id, text }), control, note);
}

export function toggle(text, checked, onchange) {
  const box = el("input", { type: "checkbox", role: "switch", checked, onchange: () => onchange(box.checked) });
  return el("label", { class: "switch" }, box, el("span", { text }));
}

export function choice(options, value, onchange = () => {}) {
  const list = el("select", { onchange: () => onchange(list.value) });
  fillChoice(list, options, value);
  return list;
}

// Options are texts, or pairs of value and text.
export function fillChoice(list, options, value = list.value) {
  const pairs = options.map((each) => (Array.isArray(each) ? each : [each, each]));
  list.replaceChildren(...pairs.map(([key, text]) => el("option", { value: key, text })));
  list.value = pairs.some(([key]) => key === value) ? value : (pairs[0]?.[0] ?? "");
}

export function table(heads, rows, { caption = "", kind = "" } = {}) {
  const head = el("tr", {}, heads.map((text) => el("th", { scope: "col", text })));
  const lines = rows.map((row) => el("tr", {}, row.map(cell)));
  const title = caption && el("caption", { class: "unseen", text: caption });
  return el("div", { class: `table ${kind}`, tabindex: 0, role: "region", "aria-label": caption }, el("table", {}, title, el("thead", {}, head), el("tbody", {}, lines)));
}

function cell(value) {
  return el("td", {}, value instanceof Node || Array.isArray(value) ? value : String(value ?? ""));
}

export function heading(text, ...after) {
  return el("div", { class: "head" }, el("h1", { tabindex: -1, text }), after);
}

// Calls `task` now and then again so many seconds after it is done, until `signal`; not while nobody looks.
export function every(seconds, task, signal) {
  let timer = 0;
  const turn = async () => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden) return;
    await task();
    if (!signal.aborted) timer = setTimeout(turn, seconds * 1000);
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}
