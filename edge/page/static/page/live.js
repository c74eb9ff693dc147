// All cameras at a glance.

import * as api from "./api.js";
import { addCamera } from "./add_camera.js";
import { stateOf, storyOf } from "./cameras.js";
import { button, clear, el, heading, icon, link, say } from "./dom.js";
import { Feed } from "./feed.js";
import { count, duration, moment, number } from "./format.js";
import { attempt } from "./notices.js";
import { fit, paint } from "./paint.js";

const SHOWN = { boxes: true, labels: true, tracks: false, zones: false };
const NARROWEST_PX = 300;
const CAPTION_PX = 46;
const GAP_PX = 16;
const SHAPE = 16 / 9;
const FPS = [[4, 30], [9, 10], [Infinity, 5]]; // for so many tiles, at most so many pictures a second

export function show(main, { signal, list, may }) {
  const wall = new Wall(main, signal, list, may);
  list.watch((cameras) => wall.update(cameras), signal);
  list.addEventListener("loading", ({ detail }) => wall.wait(detail), { signal });
}

class Wall {
  #tiles = new Map();

  constructor(main, signal, list, may) {
    Object.assign(this, { signal, list, may });
    this.totals = el("p", { class: "soft" });
    this.states = el("p", { class: "unseen", role: "status", "aria-live": "polite" });
    this.tiles = el("ul", { class: "tiles", "aria-label": "Cameras" });
    const add = may("operate") && button("Add camera", () => addCamera(list), { icon: "plus", kind: "main" });
    const whole = document.fullscreenEnabled && button("", () => this.tiles.requestFullscreen(), { icon: "full", label: "Fill the screen", class: "button wall-full" });
    clear(main, heading("Live", this.totals, el("div", { class: "end group" }, whole, add)), this.states, this.tiles);
    this.seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => { target.tile.feed.wanted = isIntersecting; }), { rootMargin: "200px" });
    const resized = new ResizeObserver(() => this.#arrange());
    resized.observe(main);
    window.addEventListener("resize", () => this.#arrange(), { signal });
    signal.addEventListener("abort", () => { resized.disconnect(); this.seen.disconnect(); });
  }

  wait(sentence) {
    if (!this.#tiles.size) clear(this.tiles, el("li", { class: "empty" }, icon("wait"), el("p", { text: sentence })));
  }

  update(cameras) {
    const names = new Set(cameras.map(({ name }) => name));
    for (const [name, tile] of this.#tiles) if (!names.has(name)) this.#drop(name, tile);
    for (const camera of cameras) this.#tileOf(camera).update(camera);
    if (!cameras.length) this.#invite();
    else this.tiles.querySelectorAll(".empty").forEach((node) => node.remove());
    const live = cameras.filter(({ state }) => state === "live").length;
    say(this.totals, cameras.length ? `${live} of ${count(cameras.length, "camera")} live` : "");
    this.#arrange();
  }

  #tileOf(camera) {
    const known = this.#tiles.get(camera.name);
    if (known) return known;
    const tile = new Tile(camera, this);
    this.#tiles.set(camera.name, tile);
    this.tiles.append(tile.node);
    this.seen.observe(tile.node);
    return tile;
  }

  #drop(name, tile) {
    tile.end.abort();
    tile.node.remove();
    this.#tiles.delete(name);
  }

  #invite() {
    if (this.tiles.querySelector(".empty")) return;
    const may = this.may("operate");
    const text = may ? "Add a network camera by its address." : "Somebody with the role operate can add one.";
    clear(this.tiles, el("li", { class: "empty" }, icon("live"), el("h2", { text: "No cameras yet" }), el("p", { text }), may && button("Add camera", () => addCamera(this.list), { icon: "plus", kind: "main" })));
  }

  // As many columns as make the tiles largest while all of them fit on the screen; where they cannot, one scrolls.
  #arrange() {
    const many = this.#tiles.size;
    const width = this.tiles.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(this.tiles.parentElement).paddingLeft);
    if (!many || width <= 0) return;
    const whole = document.fullscreenElement === this.tiles;
    const height = whole ? innerHeight : innerHeight - this.tiles.getBoundingClientRect().top - scrollY - GAP_PX;
    const most = Math.max(1, Math.min(many, Math.floor(width / NARROWEST_PX)));
    let best = { columns: most, tile: width / most - GAP_PX };
    let largest = 0;
    for (let columns = 1; columns <= most; columns += 1) {
      const rows = Math.ceil(many / columns);
      const tile = Math.min(width / columns, (height / rows - CAPTION_PX - GAP_PX) * SHAPE) - GAP_PX;
      if (tile > Math.max(largest, NARROWEST_PX)) {
        largest = tile;
        best = { columns, tile };
      }
    }
    const fps = FPS.find(([tiles]) => many <= tiles)[1];
    for (const tile of this.#tiles.values()) tile.feed.fitTo(best.tile, fps);
    this.tiles.style.setProperty("--columns", best.columns);
    this.tiles.style.setProperty("--widest", `${Math.round(best.columns * (best.tile + GAP_PX) - GAP_PX)}px`);
  }

  // Said aloud by screen readers; colours alone tell them nothing.
  announce(camera) {
    say(this.states, `${camera.name}: ${storyOf(camera)}`);
  }
}

class Tile {
  #state = "";

  constructor(camera, wall) {
    this.wall = wall;
    this.end = new AbortController();
    wall.signal.addEventListener("abort", () => this.end.abort());
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.veil = el("div", { class: "veil" });
    this.state = el("span", { class: "pill" });
    [this.rate, this.age] = [el("span"), el("span", { class: "tile-age" })];
    this.figures = el("span", { class: "tile-figures" }, this.rate, this.age);
    this.open = el("a", { class: "tile-open", href: `#/live/${encodeURIComponent(camera.name)}` }, el("strong", { class: "tile-name", text: camera.name }));
    this.rec = el("span", { class: "rec", title: "Recording" }, el("span", { class: "unseen", text: "recording" }));
    this.pause = wall.may("operate") && button("", () => this.#togglePause(), { icon: "pause", kind: "quiet small tile-pause", label: `Pause ${camera.name}` });
    this.node = el("li", { class: "tile", data: { camera: camera.name } }, el("div", { class: "tile-picture" }, this.canvas, this.veil), el("div", { class: "tile-caption" }, this.open, this.state, this.rec, this.figures, this.pause));
    this.node.tile = this;
    this.feed = new Feed(camera.name, (scene) => this.#draw(scene), this.end.signal);
  }

  update(camera) {
    this.camera = camera;
    const { word, kind, icon: sign, hasPicture } = stateOf(camera);
    say(this.state, word);
    this.state.className = `pill ${kind}`;
    this.node.classList.toggle("dim", !hasPicture);
    say(this.rate, hasPicture ? `${number(camera.fpsIn)} fps` : "");
    say(this.age, hasPicture ? ` · ${duration(camera.ageS)} old` : "");
    this.figures.title = hasPicture ? `${number(camera.fpsDetect)} pictures a second are looked at` : "";
    this.rec.hidden = !camera.recording;
    if (camera.state !== this.#state) this.#changed(camera, sign, hasPicture);
    if (!hasPicture) say(this.veil.querySelector(".veil-for"), `since ${moment(camera.since)}`);
    if (!hasPicture) say(this.veil.querySelector(".veil-why"), camera.reason);
  }

  #changed(camera, sign, hasPicture) {
    const first = this.#state === "";
    this.#state = camera.state;
    const { word } = stateOf(camera);
    clear(this.veil, !hasPicture && [icon(sign), el("strong", { text: word }), el("span", { class: "veil-for" }), el("span", { class: "veil-why" })]);
    if (!first) this.wall.announce(camera);
    if (!this.pause) return;
    const verb = camera.paused ? "Resume" : "Pause";
    clear(this.pause, icon(camera.paused ? "play" : "pause"));
    this.pause.setAttribute("aria-label", `${verb} ${camera.name}`);
    this.pause.title = verb;
  }

  #draw(scene) {
    if (!fit(this.canvas)) return;
    paint(this.canvas, scene.image, scene, SHOWN);
    this.node.classList.add("has-picture");
  }

  async #togglePause() {
    await attempt(() => api.changeCamera(this.camera.name, { paused: !this.camera.paused }), this.pause);
    await this.wall.list.refresh(this.end.signal);
  }
}
