// The frame around the views: who is here, which view is shown, the theme.

import * as api from "./api.js";
import { CameraList } from "./cameras.js";
import { button, clear, el, icon } from "./dom.js";
import * as login from "./login.js";
import { notice } from "./notices.js";

const VIEWS = {
  live: { title: "Live", icon: "live", load: () => import("./live.js"), inner: () => import("./camera.js") },
  upload: { title: "Upload", icon: "upload", load: () => import("./upload.js") },
  events: { title: "Events", icon: "events", load: () => import("./events.js") },
  numbers: { title: "Numbers", icon: "numbers", load: () => import("./numbers.js") },
  models: { title: "Models", icon: "models", load: () => import("./models.js") },
  zones: { title: "Zones", icon: "zones", load: () => import("./zones.js") },
};
const RANKS = ["view", "operate", "admin"];
const THEMES = { auto: ["auto", "Theme: as the system"], light: ["sun", "Theme: light"], dark: ["moon", "Theme: dark"] };

const main = document.getElementById("main");
let session = { login_needed: false, name: null, role: null };
let view = new AbortController();
let stay = new AbortController(); // from login to logout
let list = null;
let shownBefore = false;
let mayLeave = () => true; // asked before a view is left, which may hold what nobody has saved

function may(role) {
  return RANKS.indexOf(session.role) >= RANKS.indexOf(role);
}

// "#/live/front%20door?class=person" is the view live, its part "front door", and what to look for.
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = path.split("/").map(decodeURIComponent);
  return { name: VIEWS[name] ? name : "live", part: parts.join("/"), query: new URLSearchParams(query) };
}

async function navigate() {
  view.abort();
  view = new AbortController();
  mayLeave = () => true;
  const { signal } = view;
  const { name, part, query } = place();
  const { title, load, inner } = VIEWS[name];
  for (const each of document.querySelectorAll("#nav a")) {
    if (each.hash === `#/${name}`) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${part || title} · VideoDisco`;
  const module = await (part && inner ? inner() : load()).catch(() => null);
  if (signal.aborted) return;
  if (!module) return showMissing();
  clear(main);
  main.dataset.view = part && inner ? `${name}-one` : name;
  module.show(main, { signal, part, query, list, may, askBeforeLeaving: (ask) => { mayLeave = ask; } });
  main.removeAttribute("aria-busy");
  if (shownBefore) main.querySelector("h1")?.focus({ preventScroll: true });
  if (shownBefore) scrollTo(0, 0);
  shownBefore = true;
}

// A part of the page could not be fetched: the service is away or was just updated.
function showMissing() {
  const again = button("Load the page again", () => location.reload(), { kind: "main" });
  clear(main, el("div", { class: "empty" }, icon("warn"), el("p", { text: "This part of the page could not be loaded." }), again));
  api.service.addEventListener("found", () => location.reload(), { once: true, signal: view.signal });
}

function showLogin() {
  view.abort();
  stay.abort();
  list = null;
  clear(document.getElementById("nav"));
  showEnd();
  document.title = "Log in · VideoDisco";
  main.dataset.view = "login";
  main.removeAttribute("aria-busy");
  login.show(main, enter);
}

function enter(known) {
  session = known;
  list = new CameraList();
  stay = new AbortController();
  list.start(stay.signal);
  const links = Object.entries(VIEWS).map(([name, { title, icon: sign }]) => el("a", { href: `#/${name}` }, icon(sign), el("span", { text: title })));
  clear(document.getElementById("nav"), links);
  showEnd();
  navigate();
}

function showEnd() {
  const theme = button("", () => window.videodiscoTheme.next(), { icon: "auto", kind: "quiet", label: "Theme", id: "theme" });
  const leave = session.login_needed && session.name !== null && [
    el("span", { class: "who", text: `${session.name} (${session.role})` }),
    button("", leaveSession, { icon: "leave", kind: "quiet", label: "Log out" }),
  ];
  clear(document.getElementById("bar-end"), theme, leave);
  showTheme();
}

function showTheme() {
  const [sign, label] = THEMES[window.videodiscoTheme.current()];
  const theme = document.getElementById("theme");
  clear(theme, icon(sign));
  theme.setAttribute("aria-label", label);
  theme.title = label;
}

async function leaveSession() {
  await api.logout();
  forget();
}

function forget() {
  session = { ...session, name: null, role: null };
  showLogin();
}

async function begin() {
  try {
    const known = await api.session();
    if (known.name === null) showLogin();
    else enter(known);
  } catch {
    setTimeout(begin, 2000); // a line over the page says that the service is away
  }
}

document.addEventListener("themechange", showTheme);
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("hashchange", async ({ oldURL }) => {
  if (!list) return;
  if (await mayLeave()) navigate();
  else history.replaceState(null, "", oldURL);
});
api.service.addEventListener("login", () => { if (list) forget(); });
api.service.addEventListener("lost", () => { document.getElementById("lost").textContent = "The service cannot be reached. Trying again."; });
api.service.addEventListener("found", () => { document.getElementById("lost").textContent = ""; notice("The service is back."); });
begin();
