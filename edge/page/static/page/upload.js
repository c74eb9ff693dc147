// Pictures and short films from this computer: looked at by the service once, with a low threshold; the slider then
// only hides and shows.

import * as api from "./api.js";
import { button, choice, clear, el, field, fillChoice, heading, icon, say, table } from "./dom.js";
import { count, number, percent, summary } from "./format.js";
import { framesOf } from "./frames.js";
import { attempt, notice } from "./notices.js";
import { colourOf, paint } from "./paint.js";

const ASKED_CONFIDENCE = 0.05;
const SHOWN_CONFIDENCE = 0.4;
const AT_ONCE = 2;
const AS_THEY_ARE = new Set(["image/jpeg", "image/png", "image/webp"]); // other kinds that the browser knows are sent as JPEG
const LARGEST_PX = 4096; // the longest side of a picture to download: canvases of some phones end there
const SHOWN = { boxes: true, labels: true, tracks: false, zones: false };

function sendable({ picture, bitmap }) {
  if (AS_THEY_ARE.has(picture.type)) return picture;
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

export function show(main, { signal }) {
  new Upload(main, signal);
}

class Upload {
  #items = [];
  #chosen = null;
  #confidence = SHOWN_CONFIDENCE;
  #waiting = [];
  #busy = 0;

  constructor(main, signal) {
    this.signal = signal;
    this.strip = el("ul", { class: "strip", "aria-label": "Pictures" });
    this.stage = el("section", { class: "upload-stage", "aria-label": "The picture and what was found" });
    this.progress = el("p", { class: "soft", role: "status" });
    this.models = choice([["", "the usual one"]], "");
    clear(main, heading("Upload", el("div", { class: "end group" }, this.progress)), this.#dropArea(), this.strip, this.stage);
    signal.addEventListener("abort", () => this.#items.forEach((item) => item.bitmap?.close()));
    this.#loadModels();
  }

  async #loadModels() {
    try {
      const { models } = await api.models({ signal: this.signal });
      fillChoice(this.models, [["", "the usual one"], ...models.map(({ name }) => [name, name])], "");
    } catch {
      // the usual one is enough
    }
  }

  #dropArea() {
    const input = el("input", { type: "file", accept: "image/jpeg,image/png,image/webp,video/*", multiple: true, class: "unseen", id: "files" });
    input.addEventListener("change", () => { this.#take([...input.files]); input.value = ""; });
    const area = el("label", { class: "drop", for: "files" }, icon("upload"), el("span", {}, el("strong", { text: "Choose pictures or a short video" }), el("br"), "or drop them here, or paste one. They go to this service and nowhere else."));
    const over = (event) => { event.preventDefault(); area.classList.toggle("over", event.type === "dragover"); };
    for (const name of ["dragover", "dragleave"]) document.addEventListener(name, over, { signal: this.signal });
    document.addEventListener("drop", (event) => { over(event); this.#take([...event.dataTransfer.files]); }, { signal: this.signal });
    document.addEventListener("paste", (event) => this.#take([...event.clipboardData.files]), { signal: this.signal });
    return el("div", { class: "drop-row" }, el("div", { class: "drop-box" }, input, area), field("Model", this.models));
  }

  async #take(files) {
    const known = files.filter((file) => /^(image|video)\//.test(file.type));
    if (known.length < files.length) notice("Only pictures and videos can be looked at.", "bad");
    for (const file of known) {
      if (file.type.startsWith("video/")) await attempt(() => this.#takeFilm(file));
      else this.#add(file.name, file);
    }
  }

  async #takeFilm(file) {
    say(this.progress, `Taking pictures out of ${file.name}`);
    for await (const { picture, timeS } of framesOf(file, this.signal)) this.#add(`${file.name} at ${number(timeS)} s`, picture);
  }

  #add(name, picture) {
    const item = { name, picture, model: this.models.value, bitmap: null, answer: null, error: "" };
    item.thumb = el("canvas", { width: 144, height: 96, "aria-hidden": "true" });
    item.note = el("span", { text: "waits" });
    item.button = el("button", { type: "button", class: "thumb", onclick: () => this.#choose(item), "aria-pressed": "false" }, item.thumb, el("span", { class: "thumb-name", text: name }), item.note);
    this.#items.push(item);
    this.#waiting.push(item);
    this.strip.append(el("li", {}, item.button));
    if (!this.#chosen) this.#choose(item);
    this.#next();
  }

  #next() {
    while (this.#busy < AT_ONCE && this.#waiting.length && !this.signal.aborted) {
      this.#busy += 1;
      this.#look(this.#waiting.shift()).finally(() => { this.#busy -= 1; this.#next(); });
    }
    const done = this.#items.filter((item) => item.answer || item.error).length;
    say(this.progress, done < this.#items.length ? `${done} of ${this.#items.length} looked at` : this.#items.length ? `${count(done, "picture")} looked at` : "");
  }

  async #look(item) {
    try {
      item.bitmap = await createImageBitmap(item.picture, { imageOrientation: "from-image" });
      item.answer = await api.detect(await sendable(item), { conf: ASKED_CONFIDENCE, model: item.model, signal: this.signal });
    } catch (error) {
      if (this.signal.aborted) return;
      item.error = error instanceof api.ApiError ? error.message : "This browser cannot read the picture.";
    }
    this.#refresh(item);
    if (item === this.#chosen) this.#showChosen();
  }

  #found(item) {
    return item.answer.detections.filter((each) => each.confidence >= this.#confidence);
  }

  #scene(item) {
    return { ...item.answer.image, detections: this.#found(item) };
  }

  // The small picture, and what is said of it.
  #refresh(item) {
    say(item.note, item.error ? "failed" : count(this.#found(item).length, "object"));
    item.button.classList.toggle("failed", Boolean(item.error));
    if (item.answer) paint(item.thumb, item.bitmap, this.#scene(item), { ...SHOWN, labels: false });
  }

  #choose(item) {
    this.#chosen?.button.setAttribute("aria-pressed", "false");
    this.#chosen = item;
    item.button.setAttribute("aria-pressed", "true");
    this.#showChosen();
  }

  #showChosen() {
    const item = this.#chosen;
    if (item.error) return clear(this.stage, el("div", { class: "empty" }, icon("warn"), el("p", { class: "bad-text", role: "alert", text: `${item.name}: ${item.error}` })));
    if (!item.answer) return clear(this.stage, el("div", { class: "empty" }, icon("wait"), el("p", { text: `Looking at ${item.name}` })));
    this.canvas = el("canvas", { class: "upload-canvas", role: "img", width: item.answer.image.width, height: item.answer.image.height });
    this.words = el("p", { class: "found-words", role: "status" });
    this.rows = el("div");
    this.json = el("pre", { tabindex: 0, "aria-label": "JSON" });
    clear(this.stage, el("figure", { class: "upload-figure" }, this.canvas), this.#side(item));
    return this.#redraw();
  }

  #side(item) {
    const { model, latency_ms: latencyMs, image } = item.answer;
    const facts = `${image.width} × ${image.height}, ${model.name}, ${number(latencyMs, 0)} ms`;
    const actions = el("div", { class: "group" },
      button("Download picture", (event) => attempt(() => this.#download(item), event.currentTarget), { icon: "download" }),
      button("Download JSON", () => save(new Blob([this.#text(item)], { type: "application/json" }), `${stem(item.name)}.json`), { icon: "download" }),
      button("Copy JSON", () => attempt(async () => { await navigator.clipboard.writeText(this.#text(item)); notice("Copied."); }), { icon: "copy" }));
    const raw = el("details", {}, el("summary", { text: "JSON" }), this.json);
    return el("div", { class: "panel stack" }, el("div", {}, el("h2", { text: item.name }), el("p", { class: "soft", text: facts })), this.#slider(), this.words, this.rows, actions, raw);
  }

  #slider() {
    const output = el("output", { text: percent(this.#confidence) });
    const slider = el("input", { type: "range", min: ASKED_CONFIDENCE * 100, max: 95, step: 1, value: Math.round(this.#confidence * 100), id: "threshold" });
    slider.addEventListener("input", () => {
      this.#confidence = slider.valueAsNumber / 100;
      say(output, percent(this.#confidence));
      this.#redraw();
      clearTimeout(this.later);
      this.later = setTimeout(() => this.#items.filter((item) => item.answer).forEach((item) => this.#refresh(item)), 150);
    });
    return el("div", { class: "field" }, el("label", { for: "threshold" }, "At least as sure as ", output), slider);
  }

  #redraw() {
    const item = this.#chosen;
    const found = this.#found(item);
    shrunk(this.canvas, item.answer.image);
    paint(this.canvas, item.bitmap, this.#scene(item), SHOWN);
    this.canvas.setAttribute("aria-label", `${item.name}: ${summary(found)}`);
    say(this.words, summary(found));
    const rows = found.map((each) => [[el("span", { class: "swatch", data: { class: each.class_id } }), each.class], percent(each.confidence), each.bbox.map((value) => Math.round(value)).join(", ")]);
    clear(this.rows, found.length > 0 && table(["Class", "Sure", "Box (x1, y1, x2, y2)"], rows, { caption: "What was found" }));
    for (const swatch of this.rows.querySelectorAll(".swatch")) swatch.style.background = colourOf(Number(swatch.dataset.class));
    say(this.json, this.#text(item));
  }

  #text(item) {
    return JSON.stringify({ ...item.answer, detections: this.#found(item) }, null, 2);
  }

  async #download(item) {
    const canvas = shrunk(el("canvas"), item.answer.image);
    paint(canvas, item.bitmap, this.#scene(item), SHOWN);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!blob) throw new Error("This browser cannot write so large a picture.");
    save(blob, `${stem(item.name)}-annotated.jpg`);
  }
}

function shrunk(canvas, { width, height }) {
  const scale = Math.min(1, LARGEST_PX / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  return canvas;
}

function stem(name) {
  return name.replace(/\.(jpe?g|png|webp)$/i, "").replace(/[^\w.-]+/g, "-");
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
