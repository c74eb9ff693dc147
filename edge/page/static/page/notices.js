// What the page says in passing, and what it asks before doing something that cannot be undone.

import { button, el, icon } from "./dom.js";

const SHOWN_S = 6;
const MOST = 4;

export function notice(text, kind = "good") {
  const place = document.getElementById("notices");
  const above = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body; // nothing shows above a dialog
  if (place.parentElement !== above) above.append(place);
  const made = el("div", { class: `notice ${kind}` }, icon(kind === "bad" ? "warn" : "check"), el("p", { text }));
  made.append(button("", () => made.remove(), { icon: "close", label: "Dismiss", kind: "quiet small" }));
  place.append(made);
  while (place.children.length > MOST) place.firstElementChild.remove();
  setTimeout(() => made.remove(), (kind === "bad" ? 2 : 1) * SHOWN_S * 1000);
}

// Runs what a button does: busy meanwhile, and its failure told. Whether it worked.
export async function attempt(task, control = null) {
  const focused = control !== null && control === document.activeElement; // which it loses while it is disabled
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
    if (focused && document.activeElement === document.body) control.focus();
  }
}

// A dialog around `content`, closed by Escape, its buttons, or the returned function.
export function dialog(title, content, actions = []) {
  const head = el("h2", { id: "dialog-title", text: title });
  const made = el("dialog", { "aria-labelledby": "dialog-title" }, head, content, actions.length > 0 && el("div", { class: "actions" }, actions));
  made.addEventListener("close", () => {
    const notices = document.getElementById("notices");
    if (made.contains(notices)) document.body.append(notices);
    made.remove();
  });
  document.body.append(made);
  made.showModal();
  return made;
}

// A player, and what to say where there is nothing to play; `whenGone` is shown in its place.
export function player(address, words, { poster = null, unfinished = false, whenGone = () => null } = {}) {
  const place = el("div", { class: "player" });
  const video = el("video", { src: address, controls: true, autoplay: true, muted: true, playsinline: true, poster, "aria-label": words });
  video.addEventListener("error", async () => {
    const answer = await fetch(address, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    const why = !answer?.ok ? "There is no such file any more." : unfinished ? "This can be played once it is complete." : "This browser cannot play what the camera encodes. Download it to see it in another player.";
    place.replaceChildren(...[whenGone(), el("p", { class: "player-note", role: "alert" }, icon("warn"), why)].filter(Boolean));
  });
  place.append(video);
  return place;
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
