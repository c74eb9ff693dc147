// What happened: a gallery with filters, and one event with its clip.

import * as api from "./api.js";
import { button, choice, clear, el, every, field, fillChoice, heading, icon, link, say } from "./dom.js";
import { clock, duration, moment, percent } from "./format.js";
import { attempt, dialog, player } from "./notices.js";

const PAGE = 24;
const LOOK_AGAIN_S = 5;
const SURROUNDINGS = 2.2; // of a small picture, in sizes of its object
const MOST_ZOOM = 3.5;
const SHAPE = 16 / 10; // as in views.css
const PERIODS = [["", "any time"], ["0.25", "last 15 minutes"], ["1", "last hour"], ["24", "last day"], ["168", "last week"], ["own", "from ... to"]];

export function show(main, { signal, query, list }) {
  const view = new Gallery(main, signal, query, list);
  view.load();
}

class Gallery {
  #former = []; // the cursors of the pages before this one
  #cursor = null;
  #next = null;
  #newest = "";

  constructor(main, signal, query, list) {
    Object.assign(this, { signal, list });
    this.camera = choice([["", "all cameras"]], "", () => this.#filtered());
    this.zone = choice([["", "anywhere"]], "", () => this.#filtered());
    this.kind = el("input", { list: "classes", placeholder: "everything", autocomplete: "off", onchange: () => this.#filtered() });
    this.period = choice(PERIODS, query.get("period") ?? "", () => this.#filtered());
    this.from = el("input", { type: "datetime-local", onchange: () => this.#filtered() });
    this.to = el("input", { type: "datetime-local", onchange: () => this.#filtered() });
    this.known = el("datalist", { id: "classes" });
    this.own = [field("From", this.from), field("To", this.to)];
    this.fresh = button("Show what is new", () => { this.#cursor = null; this.#former = []; this.load(); }, { kind: "main small", hidden: true });
    this.status = el("p", { class: "soft", role: "status" });
    this.gallery = el("ul", { class: "gallery", "aria-label": "Events" });
    this.pages = el("nav", { class: "pages", "aria-label": "Pages" });
    const filters = el("form", { class: "filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() }, field("Camera", this.camera), field("Class", this.kind), field("Zone", this.zone), field("When", this.period), this.own, this.known);
    clear(main, heading("Events", this.status, el("div", { class: "end" }, this.fresh)), filters, this.gallery, this.pages);
    this.kind.value = query.get("class") ?? "";
    this.#fillFilters(query);
    every(LOOK_AGAIN_S, () => this.#lookAgain(), signal);
    if (query.get("event")) this.#openById(query.get("event"));
  }

  async #fillFilters(query) {
    this.list.watch((cameras) => {
      const names = cameras.map(({ name }) => name);
      if (names.join("\n") === this.names) return;
      this.names = names.join("\n");
      fillChoice(this.camera, [["", "all cameras"], ...names], this.camera.value || (query.get("camera") ?? ""));
      this.#fillZones(names);
    }, this.signal);
    const { classes } = await api.model({ signal: this.signal }).catch(() => ({ classes: [] }));
    clear(this.known, classes.map((name) => el("option", { value: name })));
  }

  async #fillZones(cameras) {
    const settings = await Promise.all(cameras.map((name) => api.cameraSettings(name, { signal: this.signal }).catch(() => ({}))));
    const names = new Set(settings.flatMap(({ zones = [] }) => zones.map(({ name }) => name)));
    fillChoice(this.zone, [["", "anywhere"], ...[...names].sort()]);
  }

  #filtered() {
    this.#cursor = null;
    this.#former = [];
    this.load();
  }

  #wanted() {
    const own = this.period.value === "own";
    for (const each of this.own) each.hidden = !own;
    const hours = Number(this.period.value);
    const iso = (text) => (text ? new Date(text).toISOString() : "");
    const start = own ? iso(this.from.value) : hours ? new Date(Date.now() - hours * 3_600_000).toISOString() : "";
    return { camera: this.camera.value, class: this.kind.value.trim(), zone: this.zone.value, start, end: own ? iso(this.to.value) : "" };
  }

  async load() {
    const wanted = this.#wanted();
    this.gallery.setAttribute("aria-busy", "true");
    try {
      const { events, next } = await api.events({ ...wanted, limit: PAGE, after: this.#cursor }, { signal: this.signal });
      this.#next = next;
      this.#show(events, wanted);
    } catch (error) {
      if (!this.signal.aborted) clear(this.gallery, el("li", { class: "empty" }, icon("warn"), el("p", { text: error.message })));
    }
    this.gallery.removeAttribute("aria-busy");
  }

  #show(events, wanted) {
    if (!this.#cursor) this.#newest = events[0]?.id ?? "";
    this.fresh.hidden = true;
    const first = this.#former.length * PAGE;
    say(this.status, events.length ? `${first + 1} to ${first + events.length}, the newest first` : "");
    const filtered = Object.values(wanted).some(Boolean);
    const words = filtered ? "Nothing fits these filters." : "Nothing has happened yet. An event is one object's stay before a camera.";
    clear(this.gallery, events.map((event) => el("li", {}, this.#card(event))), !events.length && el("li", { class: "empty" }, icon("events"), el("p", { text: words })));
    const before = button("Newer", () => { this.#cursor = this.#former.pop() ?? null; this.load(); }, { icon: "before", disabled: !this.#former.length });
    const after = button("Older", () => { this.#former.push(this.#cursor); this.#cursor = this.#next; this.load(); }, { icon: "next", disabled: !this.#next });
    clear(this.pages, (this.#former.length > 0 || this.#next) && [before, after]);
  }

  #card(event) {
    const when = event.ended ? moment(event.begun) : `since ${moment(event.begun)}`;
    const words = el("span", { class: "event-words" },
      el("span", {}, el("strong", { text: event.class }), el("span", { text: percent(event.confidence) })),
      el("span", {}, el("span", { class: "soft", text: event.camera }), el("span", { class: event.ended ? "soft" : "now" }, !event.ended && el("span", { class: "roomy", text: "since " }), moment(event.begun))));
    return el("button", { type: "button", class: "event", onclick: () => this.#openCard(event), data: { event: event.id }, "aria-label": `${event.class} before ${event.camera}, ${when}` }, picture(event), words);
  }

  // New events do not push aside what somebody looks at: they are offered.
  async #lookAgain() {
    if (this.#cursor) return;
    const { events } = await api.events({ ...this.#wanted(), limit: 1 }, { signal: this.signal }).catch(() => ({ events: [] }));
    if (!events.length || events[0].id === this.#newest) return;
    if (this.#newest === "") this.load();
    else this.fresh.hidden = false;
  }

  async #openById(id) {
    await attempt(async () => this.#open(await api.event(id, { signal: this.signal })));
  }

  // Asked for anew: it may have ended, and have a clip, since the list was made.
  async #openCard(event) {
    const now = await api.event(event.id, { signal: this.signal }).catch(() => event);
    if (!this.signal.aborted) this.#open(now);
  }

  #open(event) {
    const place = el("div", { class: "event-media" });
    const lasted = event.ended ? duration((event.ended - event.begun) / 1000) : "still there";
    const facts = [
      ["Camera", el("a", { href: `#/live/${encodeURIComponent(event.camera)}`, text: event.camera, onclick: () => shown.close() })],
      ["Began", `${moment(event.begun)}`], ["Lasted", lasted], ["Surest", percent(event.confidence, 1)],
      ["Zones", event.zones.join(", ") || "none"], ["Track", `#${event.track}`],
      event.refined && ["Seen as", event.seenAs], event.refined && ["Named by", `${event.refined.model}, ${percent(event.refined.confidence)}`],
      event.stationary && ["Moved", "no, it stood still"],
    ].filter(Boolean);
    const side = el("div", { class: "stack" }, el("dl", { class: "facts" }, facts.map(([text, value]) => [el("dt", { text }), el("dd", {}, value)])), this.#mediaActions(event, place));
    const shown = dialog(`${event.class} before ${event.camera}`, el("div", { class: "event-open" }, place, side), [button("Close", () => shown.close(), { autofocus: true })]);
    shown.classList.add("wide");
    this.signal.addEventListener("abort", () => shown.close());
    showMedia(event, place, event.clip ? "clip" : "snapshot");
  }

  #mediaActions(event, place) {
    const show = (what) => {
      showMedia(event, place, what);
      for (const [name, control] of Object.entries(shown)) control?.setAttribute("aria-pressed", String(name === what));
    };
    const both = event.clip && event.snapshot;
    const shown = {
      clip: both && button("Clip", () => show("clip"), { icon: "play", "aria-pressed": "true" }),
      snapshot: both && button("Snapshot", () => show("snapshot"), { icon: "picture", "aria-pressed": "false" }),
    };
    return el("div", { class: "pairs" }, Object.values(shown),
      event.clip && link("Save clip", event.clip, { icon: "download", download: "" }),
      event.snapshot && link("Save picture", event.snapshot, { icon: "download", download: `${event.id}.jpg` }));
  }
}

function picture(event) {
  const place = el("span", { class: "event-picture" });
  if (!event.snapshot) return clear(place, icon("picture"));
  const image = el("img", { src: event.snapshot, alt: "", loading: "lazy", decoding: "async", onerror: () => clear(place, icon("picture")) });
  zoomTo(image, event);
  return clear(place, image);
}

// The object with its surroundings rather than a whole wide picture in which nobody finds it.
function zoomTo(image, { shownAt, width, height }) {
  if (!shownAt) return;
  const [x1, y1, x2, y2] = shownAt;
  const across = Math.min(width, Math.max(SURROUNDINGS * (x2 - x1), SURROUNDINGS * (y2 - y1) * SHAPE, width / MOST_ZOOM));
  const down = across / SHAPE;
  if (down > height) return; // as a whole
  const left = Math.min(Math.max(0, (x1 + x2 - across) / 2), width - across);
  const top = Math.min(Math.max(0, (y1 + y2 - down) / 2), height - down);
  image.classList.add("zoomed");
  image.style.width = `${(100 * width) / across}%`;
  image.style.left = `${(-100 * left) / across}%`;
  image.style.top = `${(-100 * top) / down}%`;
}

function showMedia(event, place, what) {
  if (what === "snapshot") return clear(place, snapshotOf(event) ?? el("div", { class: "empty" }, icon("picture"), el("p", { text: "No picture was kept." })));
  const words = `Clip of ${event.class} at ${clock(event.begun)}`;
  return clear(place, player(event.clip, words, { poster: event.snapshot, unfinished: !event.ended, whenGone: () => snapshotOf(event) }));
}

function snapshotOf(event) {
  return event.snapshot && el("img", { src: event.snapshot, alt: `${event.class} before ${event.camera}` });
}
