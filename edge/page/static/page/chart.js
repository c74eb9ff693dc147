// Lines over the last minutes, drawn by hand in SVG.

import { clear, el, say, svg } from "./dom.js";
import { clock, number } from "./format.js";

const HEIGHT = 170;
const LEFT = 44;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 22;
const COLOURS = 8; // as many as views.css names

// `unit` is said after every value; `digits` behind the point.
export class Chart {
  #series = [];
  #from = 0;
  #to = 1;
  #at = null;

  constructor(title, unit, { digits = 1, hint = "" } = {}) {
    Object.assign(this, { title, unit, digits });
    this.picture = svg("svg", { class: "chart", role: "img", height: HEIGHT, width: "100%" });
    this.legend = el("ul", { class: "legend" });
    this.node = el("section", { class: "panel chart-panel", "aria-label": title }, el("h2", { text: title }), hint && el("p", { class: "hint", text: hint }), this.picture, this.legend);
    this.picture.addEventListener("pointermove", (event) => this.#point(event.clientX));
    this.picture.addEventListener("pointerleave", () => this.#point(null));
    this.sized = new ResizeObserver(() => this.#draw());
    this.sized.observe(this.picture);
  }

  // `series`: [{name, points: [[timeMs, value or null], ...]}, ...]
  update(series, fromMs, toMs) {
    this.#series = series;
    this.#from = fromMs;
    this.#to = toMs;
    this.#draw();
  }

  #point(clientX) {
    const box = this.picture.getBoundingClientRect();
    this.#at = clientX === null ? null : this.#from + ((clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (this.#to - this.#from);
    this.#draw();
  }

  #draw() {
    const width = this.picture.clientWidth;
    if (!width) return;
    const steps = ticks(Math.max(0, ...this.#series.flatMap(({ points }) => points.map(([, value]) => value ?? 0))));
    const highest = steps.at(-1);
    const x = (timeMs) => LEFT + ((timeMs - this.#from) / (this.#to - this.#from)) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / highest) * (HEIGHT - TOP - BOTTOM);
    const lines = this.#series.map(({ points }, index) => svg("path", { class: `series s${index % COLOURS}`, d: path(points, x, y) }));
    clear(this.picture, grid(steps, width, y), this.#times(width), lines, this.#cursor(x));
    this.#showLegend();
  }

  #times(width) {
    const minutes = (this.#to - this.#from) / 60_000;
    const label = (timeMs, anchor, place) => svg("text", { x: place, y: HEIGHT - 5, "text-anchor": anchor }, timeMs);
    return [label(`${number(minutes, minutes < 2 ? 1 : 0)} min ago`, "start", LEFT), label("now", "end", width - RIGHT)];
  }

  #cursor(x) {
    if (this.#at === null || !this.#series.some(({ points }) => points.length)) return [];
    const place = Math.min(Math.max(x(this.#at), LEFT), x(this.#to));
    return [svg("line", { class: "cursor", x1: place, x2: place, y1: TOP, y2: HEIGHT - BOTTOM })];
  }

  // The values now, or those under the pointer.
  #showLegend() {
    const at = this.#at;
    const entries = this.#series.map(({ name, points }) => [name, at === null ? points.at(-1) : nearest(points, at)]);
    const when = at === null ? "now" : clock(new Date(at));
    if (this.legend.children.length !== entries.length) clear(this.legend, entries.map((_, index) => el("li", {}, el("i", { class: `key s${index % COLOURS}` }), el("span"), el("b"))));
    entries.forEach(([name, point], index) => {
      const [, label, value] = this.legend.children[index].children;
      say(label, name);
      say(value, `${number(point?.[1] ?? null, this.digits)} ${this.unit}`);
    });
    const words = entries.map(([name, point]) => `${name} ${number(point?.[1] ?? null, this.digits)} ${this.unit}`);
    this.picture.setAttribute("aria-label", `${this.title}, ${when}: ${words.join("; ") || "nothing yet"}`);
  }

  close() {
    this.sized.disconnect();
  }
}

function path(points, x, y) {
  let begun = false;
  const words = [];
  for (const [timeMs, value] of points) {
    if (value === null) begun = false;
    else words.push(`${begun ? "L" : "M"}${x(timeMs).toFixed(1)} ${y(value).toFixed(1)}`);
    begun = value !== null;
  }
  return words.join("");
}

function grid(steps, width, y) {
  const digits = Math.max(...steps.map((step) => (String(step).split(".")[1] ?? "").length));
  return steps.map((step) => svg("g", {},
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(step), y2: y(step) }),
    svg("text", { x: LEFT - 6, y: y(step) + 4, "text-anchor": "end" }, number(step, digits))));
}

// Three or four round steps from zero to beyond the highest value.
export function ticks(highest) {
  if (highest <= 0) return [0, 1];
  const rough = highest / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const many = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: many + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

function nearest(points, timeMs) {
  return points.reduce((best, each) => (best && Math.abs(best[0] - timeMs) <= Math.abs(each[0] - timeMs) ? best : each), undefined);
}
