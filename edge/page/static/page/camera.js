// One camera, large: its picture with boxes drawn by the browser, and how it is doing.

import * as api from "./api.js";
import { changeAddress } from "./add_camera.js";
import { stateOf, storyOf } from "./cameras.js";
import { button, clear, el, every, heading, icon, link, say, table, toggle } from "./dom.js";
import { Feed } from "./feed.js";
import { bytes, duration, moment, number, percent, summary } from "./format.js";
import { attempt, confirm, dialog, notice, player } from "./notices.js";
import { Trails, colourOf, fit, paint } from "./paint.js";

const KEPT = "videodisco.shown";
const LAYERS = { boxes: "Boxes", labels: "Labels", tracks: "Tracks", zones: "Zones" };
const MOST_RECORDINGS = 6;
const RECORDINGS_EVERY_S = 3;
const TABLE_EVERY_MS = 500; // faster than this nobody can read it

export function show(main, { signal, part, list, may }) {
  const view = new CameraView(main, signal, part, list, may);
  list.watch((cameras) => view.update(cameras), signal);
}

class CameraView {
  #shown = remembered();
  #trails = new Trails();
  #scene = null;
  #toldAt = 0;
  #state = "";

  constructor(main, signal, name, list, may) {
    Object.assign(this, { main, name, list, may });
    this.end = new AbortController(); // with the view, or with the camera
    signal.addEventListener("abort", () => this.end.abort());
    this.signal = this.end.signal;
    this.canvas = el("canvas", { role: "img", "aria-label": `Live picture of ${name}` });
    this.veil = el("div", { class: "veil" });
    this.stage = el("div", { class: "stage" }, this.canvas, this.veil);
    this.state = el("span", { class: "pill" });
    this.story = el("p", { class: "soft", role: "status", "aria-live": "polite" });
    this.facts = el("dl", { class: "facts" });
    this.seen = el("p", { class: "found-words" });
    this.rows = el("div");
    this.keptList = el("ul", { class: "kept", "aria-label": "Last recordings" });
    this.kept = el("section", { class: "panel", hidden: true, "aria-label": "Recordings" }, el("h2", { text: "Last recordings" }), this.keptList);
    clear(main, this.#head(), el("div", { class: "one" }, this.stage, this.#side(), this.kept));
    this.feed = new Feed(name, (scene) => this.#draw(scene), this.signal);
    this.feed.fitTo(this.stage.clientWidth);
    const sized = new ResizeObserver(() => { this.#fitStage(); this.feed.fitTo(this.stage.clientWidth); });
    sized.observe(this.stage);
    this.signal.addEventListener("abort", () => sized.disconnect());
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.signal });
  }

  #head() {
    this.before = link("", "#/live", { icon: "before", kind: "quiet", label: "Previous camera" });
    this.next = link("", "#/live", { icon: "next", kind: "quiet", label: "Next camera" });
    const end = el("div", { class: "end group" }, this.before, this.next, link("All cameras", "#/live", { icon: "back", kind: "brief" }));
    return heading(this.name, this.state, end);
  }

  #side() {
    const layers = Object.entries(LAYERS).map(([key, text]) => toggle(text, this.#shown[key], (on) => this.#switch(key, on)));
    const whole = document.fullscreenEnabled && button("Full screen", () => this.stage.requestFullscreen(), { icon: "full" });
    this.picture = link("Snapshot", api.snapshotAddress(this.name), { icon: "picture", onclick: () => { this.picture.download = `${this.name} ${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`; }, download: "" });
    this.actions = el("div", { class: "pairs" }, whole, this.picture, this.may("operate") && this.#changes());
    this.sight = el("section", { class: "panel", "aria-label": "What is seen" }, this.seen, this.rows);
    return el("div", { class: "stack one-side" },
      el("section", { class: "panel", "aria-label": "State" }, this.story, this.facts),
      el("section", { class: "panel stack", "aria-label": "What is drawn" }, el("div", { class: "layers" }, layers), this.actions),
      this.sight);
  }

  #switch(key, on) {
    this.#shown = { ...this.#shown, [key]: on };
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.#shown));
    } catch {
      // it holds until the page is closed
    }
  }

  update(cameras) {
    if (this.signal.aborted) return;
    const index = cameras.findIndex(({ name }) => name === this.name);
    if (index < 0) {
      this.#gone();
      return;
    }
    const camera = cameras[index];
    if (!this.camera) this.#begin();
    this.#neighbours(cameras, index);
    this.camera = camera;
    const { word, kind, icon: sign, hasPicture } = stateOf(camera);
    say(this.state, word);
    this.state.className = `pill ${kind}`;
    say(this.story, storyOf(camera));
    this.stage.classList.toggle("dim", !hasPicture);
    this.sight.hidden = this.picture.hidden = !hasPicture;
    if (camera.state !== this.#state) {
      this.#state = camera.state;
      clear(this.veil, !hasPicture && [icon(sign), el("strong", { text: word }), el("span", { class: "veil-for" }), el("span", { class: "veil-why" })]);
    }
    if (!hasPicture) say(this.veil.querySelector(".veil-for"), `since ${moment(camera.since)}`);
    if (!hasPicture) say(this.veil.querySelector(".veil-why"), camera.reason);
    if (this.pause) this.#showPause(camera);
    if (this.record) this.#showRecording(camera);
    this.#showFacts(camera);
  }

  // Asked for once it is known to be there.
  #begin() {
    this.feed.wanted = true;
    every(RECORDINGS_EVERY_S, () => this.#showRecordings(), this.signal);
  }

  #gone() {
    this.end.abort();
    if (this.camera) notice(`${this.name} is no longer there.`, "bad");
    clear(this.main, heading(this.name), el("div", { class: "empty" }, icon("offline"), el("h2", { text: "There is no camera of this name" }), link("All cameras", "#/live", { icon: "back" })));
  }

  #neighbours(cameras, index) {
    for (const [node, step] of [[this.before, -1], [this.next, 1]]) {
      const other = cameras[(index + step + cameras.length) % cameras.length];
      node.href = `#/live/${encodeURIComponent(other.name)}`;
      node.hidden = cameras.length < 2;
    }
  }

  #showFacts(camera) {
    const drops = Object.entries(camera.drops).sort((one, other) => other[1] - one[1]);
    const dropped = drops.reduce((sum, [, many]) => sum + many, 0);
    const live = camera.state === "live";
    const facts = [
      live && ["From the camera", `${number(camera.fpsIn)} fps`],
      live && ["Looked at", `${number(camera.fpsDetect)} fps`],
      live && ["Age of the result", duration(camera.ageS)],
      ["Left out", dropped ? `${dropped.toLocaleString("en")}, mostly ${drops[0][0].replaceAll("_", " ")}` : "nothing"],
      ["Recording", recordingWords(camera)],
      camera.agreement !== null && ["Refiner agrees", percent(camera.agreement)],
      camera.retryInS !== null && ["Tried again", `in ${duration(camera.retryInS)}`],
      camera.model && ["Model", camera.model],
      camera.source && ["Address", camera.source],
    ].filter(Boolean);
    if (this.facts.children.length !== 2 * facts.length) clear(this.facts, facts.map(([text]) => [el("dt", { text }), el("dd")]));
    facts.forEach(([text, value], index) => {
      say(this.facts.children[2 * index], text);
      say(this.facts.children[2 * index + 1], value);
    });
  }

  // Made once, so that who pressed one with the keyboard stays on it.
  #changes() {
    this.pause = button("Pause", () => this.#pause(), { icon: "pause" });
    this.record = button("Record", () => this.#record(), { icon: "record" });
    return [this.record, this.pause,
      link("Draw zones", `#/zones/${encodeURIComponent(this.name)}`, { icon: "zones" }),
      button("Address", () => changeAddress(this.list, this.camera), { icon: "edit", label: "Change the address" }),
      button("Remove", (event) => this.#remove(event.currentTarget), { icon: "trash", kind: "danger" })];
  }

  #showPause({ paused }) {
    this.pause.querySelector("use").setAttribute("href", `/page/icons.svg#${paused ? "play" : "pause"}`);
    say(this.pause.querySelector("span"), paused ? "Resume" : "Pause");
  }

  // What is recorded all the time needs no hand.
  #showRecording({ state, recordedByHand, recordMode }) {
    this.record.hidden = ["paused", "ended"].includes(state) || (recordMode === "continuous" && !recordedByHand);
    this.record.classList.toggle("recording", recordedByHand);
    say(this.record.querySelector("span"), recordedByHand ? "Stop recording" : "Record");
  }

  async #record() {
    const on = !this.camera.recordedByHand;
    const worked = await attempt(() => api.record(this.name, on), this.record);
    await Promise.all([this.list.refresh(this.signal), this.#showRecordings()]);
    if (worked) notice(on ? `${this.name} is recorded until you stop it.` : `${this.name} is no longer recorded.`);
  }

  async #showRecordings() {
    const found = await api.recordings(this.name, MOST_RECORDINGS, { signal: this.signal }).catch(() => null);
    const told = JSON.stringify(found);
    if (!found || told === this.told) return; // somebody may be about to press one of them
    this.told = told;
    this.kept.hidden = !found.length;
    clear(this.keptList, found.map((each) => el("li", {}, el("button", { type: "button", class: "zone-item", onclick: () => play(this.name, each, this.signal) },
      icon("play"), el("span", { text: moment(each.begun) }), el("span", { class: "soft", text: recordingFacts(each) })))));
  }

  async #pause() {
    await attempt(() => api.changeCamera(this.name, { paused: !this.camera.paused }), this.pause);
    await this.list.refresh(this.signal);
  }

  async #remove(control) {
    const text = "It is disconnected and taken out of the configuration. What was recorded stays.";
    if (!(await confirm(`Remove ${this.name}?`, text, "Remove"))) return;
    if (!(await attempt(() => api.removeCamera(this.name), control))) return;
    this.camera = null;
    notice(`${this.name} was removed.`);
    await this.list.refresh();
    location.hash = "#/live";
  }

  #key(event) {
    if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "f") this.stage.requestFullscreen?.();
    if (event.key === "ArrowLeft" && !this.before.hidden) location.hash = this.before.hash;
    if (event.key === "ArrowRight" && !this.next.hidden) location.hash = this.next.hash;
  }

  #draw(scene) {
    this.#scene = scene;
    this.#trails.add(scene.detections, scene.timeS);
    this.#fitStage();
    if (fit(this.canvas)) paint(this.canvas, scene.image, scene, this.#shown, this.#trails);
    this.canvas.dataset.frame = scene.frame;
    const nowMs = performance.now();
    if (nowMs - this.#toldAt < TABLE_EVERY_MS) return;
    this.#toldAt = nowMs;
    this.#tell(scene);
  }

  // The stage takes the picture's shape, so that no black bars stand beside it.
  #fitStage() {
    if (this.#scene) this.stage.style.setProperty("--shape", this.#scene.width / this.#scene.height);
  }

  #tell({ detections }) {
    const words = summary(detections);
    say(this.seen, words === "nothing found" ? "Nothing to see just now." : words);
    this.canvas.setAttribute("aria-label", `Live picture of ${this.name}: ${words}`);
    const rows = detections.slice(0, 30).map((each) => [[swatch(each.class_id), each.refined?.label ?? each.class], percent(each.confidence), each.track_id === null || each.track_id === undefined ? "" : `#${each.track_id}`]);
    clear(this.rows, rows.length > 0 && table(["Class", "Sure", "Track"], rows, { caption: "What is seen now" }));
  }
}

function recordingWords({ recording, recordedByHand, recordMode, recordTrouble }) {
  if (recordTrouble) return `not now: ${recordTrouble}`;
  if (recordedByHand) return recording ? "yes, by hand" : "once there are pictures";
  if (recording) return recordMode === "events" ? "yes, an event" : "yes";
  return recordMode === "events" ? "at events" : "no";
}

function recordingFacts({ begun, ended, kind, bytes: size }) {
  const long = ended ? duration((ended - begun) / 1000) : "being written";
  return [kind === "continuous" ? "" : kind === "manual" ? "by hand" : "event", long, ended ? bytes(size) : ""].filter(Boolean).join(" · ");
}

// What is being written can be played as well, as far as it goes.
function play(camera, recording, signal) {
  const film = player(recording.address, `Recording of ${camera} from ${moment(recording.begun)}`, { unfinished: !recording.ended });
  const away = link("Download", recording.address, { icon: "download", download: "" });
  const shown = dialog(`${camera}, ${moment(recording.begun)}`, film, [away, button("Close", () => shown.close(), { autofocus: true })]);
  shown.classList.add("wide");
  signal.addEventListener("abort", () => shown.close());
}

function swatch(classId) {
  const made = el("span", { class: "swatch" });
  made.style.background = colourOf(classId);
  return made;
}

function remembered() {
  const usual = { boxes: true, labels: true, tracks: true, zones: true };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(KEPT)) };
  } catch {
    return usual;
  }
}
