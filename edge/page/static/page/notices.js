// What the page says in passing, and what it asks before doing something that cannot be undone.

import { button, el, icon } from "./dom.js";

const SHOWN_S = 6;
const MOST = 4;

export function notice(text, kind = "good") {
  const place = document.getElementById("notices");
  const made = el("div", { class: `notice ${kind}` }, icon(kind === "bad" ? "warn" : "check"), el("p", { text }));
  made.append(button("", () => made.remove(), { icon: "close", label: "Dismiss", kind: "quiet small" }));
  place.append(made);
  while (place.children.length > MOST) place.firstElementChild.remove();
  setTimeout(() => made.remove(), (kind === "bad" ? 2 : 1) * SHOWN_S * 1000);
}

// Runs what a button does: busy meanwhile, and its failure told. Whether it worked.
export async function attempt(task, control = null) {
  control?.setAttribute("aria-busy", "true");
  if (control) control.disabled = true;
  try {
    await task();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message, "bad");
    return false;
  } finally {
    control?.removeAttribute("aria-busy");
    if (control) control.disabled = false;
  }
}

// A dialog around `content`, closed by Escape, its buttons, or the returned function.
export function dialog(title, content, actions = []) {
  const head = el("h2", { id: "dialog-title", text: title });
  const made = el("dialog", { "aria-labelledby": "dialog-title" }, head, content, el("div", { class: "actions" }, actions));
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}

export function confirm(title, text, action) {
  return new Promise((resolve) => {
    let answer = false;
    const yes = button(action, () => { answer = true; made.close(); }, { kind: "danger" });
    const no = button("Cancel", () => made.close(), { autofocus: true });
    const made = dialog(title, el("p", { text }), [no, yes]);
    made.addEventListener("close", () => resolve(answer));
  });
}
