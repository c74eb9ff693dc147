// Zones and lines of a camera: drawn on its picture, kept in its configuration.

import * as api from "./api.js";
import { stateOf, storyOf } from "./cameras.js";
import { button, choice, clear, el, field, fillChoice, heading, icon, link, say } from "./dom.js";
import { count } from "./format.js";
import { attempt, confirm, notice } from "./notices.js";
import { ZoneCanvas } from "./zone_canvas.js";

export function show(main, context) {
  new ZoneView(main, context);
}

class ZoneView {
  #shapes = [];
  #chosen = null;
  #saved = "";
  #camera = "";

  constructor(main, { signal, part, list, may, askBeforeLeaving }) {
    Object.assign(this, { signal, list, part, mayChange: may("operate") });
    this.cameras = choice([], "", () => this.#change(this.cameras.value));
    this.canvas = new ZoneCanvas(signal, { onChoose: (shape) => this.#choose(shape), onChange: () => this.#changed(), onDone: (shape) => this.#add(shape), onCross: (words) => say(this.status, words) });
    this.canvas.readOnly = !this.mayChange;
    this.status = el("p", { class: "hint", role: "status" });
    this.items = el("ul", { class: "zone-list", "aria-label": "Zones and lines" });
    this.form = el("div", { class: "stack" });
    this.save = button("Save", (event) => this.#save(event.currentTarget), { icon: "check", kind: "main", disabled: true });
    this.undo = button("Undo all", () => this.#load(this.#camera), { disabled: true });
    clear(main, heading("Zones", el("div", { class: "end group" }, this.mayChange && [this.undo, this.save])), el("div", { class: "zone-work" }, el("div", { class: "stack" }, this.canvas.node, this.status), this.#side()));
    askBeforeLeaving(() => this.#mayLeave());
    window.addEventListener("beforeunload", (event) => { if (this.#isChanged()) event.preventDefault(); }, { signal });
    this.list.watch((cameras) => this.#offer(cameras), signal);
  }

  #side() {
    this.drawZone = button("Draw a zone", () => this.#draw("zone"), { icon: "zones" });
    this.drawLine = button("Draw a line", () => this.#draw("line"), { icon: "line" });
    this.again = button("New picture", () => this.#showPicture(), { icon: "picture", kind: "quiet" });
    this.finish = button("Finish", () => this.canvas.finish(), { icon: "check", kind: "main" });
    this.giveUp = button("Give up", () => this.canvas.cancel(), { icon: "close" });
    this.#offerTools(false);
    const tools = el("div", { class: "pairs" }, this.mayChange && [this.drawZone, this.drawLine, this.finish, this.giveUp], this.again);
    const words = this.mayChange ? null : el("p", { class: "hint", text: "Changing them needs the role operate." });
    return el("div", { class: "panel stack" }, field("Camera", this.cameras), tools, words, this.items, this.form);
  }

  #offer(cameras) {
    const names = cameras.map(({ name }) => name);
    if (names.join("\n") === this.names) return;
    this.names = names.join("\n");
    const wanted = this.#camera || this.part;
    fillChoice(this.cameras, names, names.includes(wanted) ? wanted : names[0]);
    if (this.cameras.value && this.cameras.value !== this.#camera) this.#load(this.cameras.value);
    if (!names.length) clear(this.items, el("li", { class: "soft", text: "There are no cameras yet." }));
  }

  async #change(name) {
    if (await this.#mayLeave()) this.#load(name);
    else this.cameras.value = this.#camera;
  }

  #mayLeave() {
    return !this.#isChanged() || confirm("Leave without saving?", `What you drew for ${this.#camera} is lost.`, "Leave");
  }

  #offerTools(drawing) {
    this.finish.hidden = this.giveUp.hidden = !drawing;
    this.drawZone.hidden = this.drawLine.hidden = this.again.hidden = drawing;
  }

  async #load(name) {
    this.#camera = name;
    this.canvas.cancel();
    this.drawZone.disabled = this.drawLine.disabled = true; // what is drawn before the others are there would be lost
    await attempt(async () => {
      const { zones = [], lines = [] } = await api.cameraSettings(name, { signal: this.signal });
      this.#shapes = [
        ...zones.map(({ name: title, points, ...rest }) => ({ kind: "zone", name: title, points: points.map(([x, y]) => [x, y]), rest })),
        ...lines.map(({ name: title, start, end, ...rest }) => ({ kind: "line", name: title, points: [[...start], [...end]], rest })),
      ];
      this.#saved = this.#written();
      this.#choose(null);
      this.#changed();
    });
    await this.#showPicture();
    this.drawZone.disabled = this.drawLine.disabled = false;
  }

  async #showPicture() {
    const camera = this.list.find(this.#camera);
    if (camera && !stateOf(camera).hasPicture) {
      this.canvas.showNothing();
      say(this.status, `${storyOf(camera).replace(/[.!?]?$/, ".")} Zones can be drawn all the same.`);
      return;
    }
    try {
      await this.canvas.showPicture(this.#camera);
      say(this.status, "");
    } catch (error) {
      if (error.name !== "AbortError") say(this.status, `${error.message} Zones can be drawn all the same.`);
    }
  }

  // As the configuration has it.
  #settings() {
    const rounded = (points) => points.map(([x, y]) => [Number(x.toFixed(4)), Number(y.toFixed(4))]);
    const zones = this.#shapes.filter(({ kind }) => kind === "zone").map(({ name, points, rest }) => ({ ...rest, name, points: rounded(points) }));
    const lines = this.#shapes.filter(({ kind }) => kind === "line").map(({ name, points, rest }) => ({ ...rest, name, start: rounded(points)[0], end: rounded(points)[1] }));
    return { zones, lines };
  }

  #written() {
    return JSON.stringify(this.#settings());
  }

  #isChanged() {
    return this.#written() !== this.#saved;
  }

  #changed() {
    this.save.disabled = this.undo.disabled = !this.#isChanged();
    this.canvas.draw(this.#shapes, this.#chosen);
    this.#showItems();
  }

  #showItems() {
    const items = this.#shapes.map((shape) => el("li", {}, el("button", { type: "button", class: "zone-item", "aria-pressed": String(shape === this.#chosen), onclick: () => this.#choose(shape) }, icon(shape.kind === "zone" ? "zones" : "line"), el("span", { text: shape.name }), el("span", { class: "soft", text: (shape.rest.classes ?? []).join(", ") || "every class" }))));
    const focused = [...this.items.querySelectorAll("button")].indexOf(document.activeElement);
    clear(this.items, items, !items.length && el("li", { class: "soft", text: `No zones or lines yet.${this.mayChange ? " Draw one on the picture." : ""}` }));
    if (focused >= 0) this.items.querySelectorAll("button")[focused]?.focus();
  }

  #draw(kind) {
    this.#choose(null);
    this.#offerTools(true);
    this.finish.hidden = kind === "line";
    this.canvas.begin(kind);
    const end = kind === "zone" ? "a press on the first one, a double click or Enter ends it" : "two make it";
    say(this.status, `Press on the picture to set corners; ${end}. By keyboard: arrow keys move the cross, space sets a corner, Escape gives up.`);
  }

  #add(shape) {
    say(this.status, "");
    this.#offerTools(false);
    if (!shape) {
      if (document.activeElement === document.body) this.drawZone.focus();
      return;
    }
    const title = shape.kind === "zone" ? "zone" : "line";
    const names = new Set(this.#shapes.map(({ name }) => name));
    let number = 1;
    while (names.has(`${title} ${number}`)) number += 1;
    const made = { ...shape, name: `${title} ${number}`, rest: {} };
    this.#shapes.push(made);
    this.#choose(made);
    this.#changed();
    this.form.querySelector("input")?.select();
  }

  #choose(shape) {
    this.#chosen = shape;
    this.canvas.draw(this.#shapes, shape);
    this.#showItems();
    clear(this.form, shape && this.mayChange && this.#fields(shape));
  }

  #fields(shape) {
    const name = el("input", { value: shape.name, maxlength: 100, autocomplete: "off", oninput: () => { shape.name = name.value; this.#changed(); } });
    const classes = el("input", { value: (shape.rest.classes ?? []).join(", "), placeholder: "every class", autocomplete: "off", oninput: () => { this.#put(shape, "classes", classes.value.split(",").map((word) => word.trim()).filter(Boolean), []); } });
    const parts = [el("hr"), field("Name", name), field("Classes", classes, "Names with commas between; empty: every class.")];
    if (shape.kind === "zone") parts.push(this.#number(shape, "loitering_s", "Stay at least (s)", 0, 0, 86400), this.#number(shape, "inertia_frames", "Seen in a row", 3, 1, 100));
    else parts.push(button("Turn round", () => { shape.points.reverse(); this.#changed(); }), el("p", { class: "hint", text: "Crossings to the side of the arrow count as in." }));
    parts.push(button("Delete", () => { this.#shapes = this.#shapes.filter((each) => each !== shape); this.#choose(null); this.#changed(); }, { icon: "trash", kind: "danger" }));
    return parts;
  }

  #number(shape, key, text, usual, min, max) {
    const input = el("input", { type: "number", min, max, step: key.endsWith("_s") ? 0.5 : 1, value: shape.rest[key] ?? usual, oninput: () => { if (input.validity.valid && input.value !== "") this.#put(shape, key, input.valueAsNumber, usual); } });
    return field(text, input);
  }

  // What is as usual is not written down, unless it was.
  #put(shape, key, value, usual) {
    if (JSON.stringify(value) === JSON.stringify(usual)) delete shape.rest[key];
    else shape.rest[key] = value;
    this.#changed();
  }

  async #save(control) {
    const trouble = this.#trouble();
    if (trouble) return notice(trouble, "bad");
    const settings = this.#settings();
    const worked = await attempt(async () => {
      const { saved } = await api.changeCamera(this.#camera, settings);
      this.#saved = JSON.stringify(settings);
      const what = `${count(settings.zones.length, "zone")} and ${count(settings.lines.length, "line")} of ${this.#camera}`;
      notice(saved ? `Saved ${what}.` : `${what} hold until the service ends: it has no configuration file.`);
    }, control);
    if (worked) this.#changed();
    return undefined;
  }

  #trouble() {
    const names = this.#shapes.map(({ name }) => name.trim());
    if (names.some((name) => !name)) return "Every zone and line needs a name.";
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    return twice ? `Two are called ${twice}; give each its own name.` : "";
  }
}
