// A camera's picture with shapes over it that can be drawn and moved, by pointer or by keys. Points are shares of the
// picture's width and height.

import { snapshot } from "./api.js";
import { clear, el, svg } from "./dom.js";
import { count, number } from "./format.js";

const STEP = 0.005;
const LARGE_STEP = 0.05;
const NEAR_PX = 14;
const SAME_PX = 4;
const CORNER_PX = 9;

export class ZoneCanvas {
  readOnly = false;
  #shapes = [];
  #chosen = null;
  #making = null;
  #dragged = null;
  #cross = [0.5, 0.5];

  constructor(signal, told) {
    Object.assign(this, { signal, told });
    this.image = el("img", { alt: "", draggable: "false" });
    this.layer = svg("svg", { preserveAspectRatio: "none", role: "group", "aria-label": "Zones and lines on the picture" });
    this.node = el("div", { class: "zone-stage blank", tabindex: -1 }, this.image, this.layer);
    this.node.addEventListener("pointerdown", (event) => this.#press(event));
    this.node.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) this.node.addEventListener(name, () => { this.#dragged = null; });
    this.node.addEventListener("dblclick", () => this.finish());
    this.node.addEventListener("keydown", (event) => this.#key(event));
    const sized = new ResizeObserver(() => this.#paint());
    sized.observe(this.node);
    signal.addEventListener("abort", () => sized.disconnect());
  }

  // The picture as it is now.
  async showPicture(camera) {
    this.image.alt = `Picture of ${camera}`;
    this.node.classList.add("blank");
    const address = URL.createObjectURL(await snapshot(camera, { signal: this.signal }));
    this.image.src = address;
    await this.image.decode().finally(() => URL.revokeObjectURL(address));
    this.node.classList.remove("blank");
    this.node.style.setProperty("--shape", this.image.naturalWidth / this.image.naturalHeight);
    this.#paint();
  }

  // Of a camera that has no picture just now.
  showNothing() {
    this.image.removeAttribute("src");
    this.node.classList.add("blank");
    this.#paint();
  }

  draw(shapes, chosen) {
    this.#shapes = shapes;
    this.#chosen = chosen;
    this.#paint();
  }

  begin(kind) {
    this.#making = { kind, points: [] };
    this.#cross = [0.5, 0.5];
    this.node.classList.add("drawing");
    this.#paint();
    this.node.focus({ preventScroll: true });
  }

  cancel() {
    if (!this.#making) return;
    this.#making = null;
    this.node.classList.remove("drawing");
    this.told.onDone(null);
    this.#paint();
  }

  #at(event) {
    const box = this.layer.getBoundingClientRect();
    return [clamped((event.clientX - box.left) / box.width), clamped((event.clientY - box.top) / box.height)];
  }

  #press(event) {
    if (event.button !== 0) return;
    const point = this.#at(event);
    if (this.#making) {
      event.preventDefault();
      if (this.#closes(point)) this.finish();
      else this.#set(point);
      return;
    }
    const corner = event.target.closest(".corner");
    if (corner && !this.readOnly) {
      this.#dragged = Number(corner.dataset.corner);
      this.node.setPointerCapture(event.pointerId);
    } else {
      const picked = event.target.closest("[data-shape]");
      this.told.onChoose(picked ? this.#shapes[Number(picked.dataset.shape)] : null);
    }
  }

  #move(event) {
    if (this.#making) {
      this.#cross = this.#at(event);
      this.#paint();
    } else if (this.#dragged !== null && this.#chosen) {
      this.#chosen.points[this.#dragged] = this.#at(event);
      this.told.onChange();
    }
  }

  #closes(point) {
    const { kind, points } = this.#making;
    return kind === "zone" && points.length >= 3 && this.#near(points[0], point, NEAR_PX);
  }

  #near(one, other, withinPx) {
    const box = this.layer.getBoundingClientRect();
    return Math.hypot((one[0] - other[0]) * box.width, (one[1] - other[1]) * box.height) < withinPx;
  }

  #set(point) {
    const { kind, points } = this.#making;
    if (points.length && this.#near(points.at(-1), point, SAME_PX)) return; // the second press of a double click
    points.push(point);
    if (kind === "line" && points.length === 2) this.finish();
    else this.#paint();
  }

  // What is drawn is whole; a zone of fewer than three corners is none yet.
  finish() {
    const made = this.#making;
    if (!made) return;
    if (made.points.length < (made.kind === "zone" ? 3 : 2)) {
      this.told.onCross("A zone needs three corners or more.");
      return;
    }
    this.#making = null;
    this.node.classList.remove("drawing");
    this.told.onDone(made);
  }

  #key(event) {
    if (!this.#making) return;
    const way = wayOf(event);
    if (way) this.#cross = moved(this.#cross, way);
    else if (event.key === " ") this.#set([...this.#cross]);
    else if (event.key === "Enter") this.finish();
    else if (event.key === "Escape") this.cancel();
    else if (event.key === "Backspace") this.#making.points.pop();
    else return;
    event.preventDefault();
    if (!this.#making) return;
    if (event.key !== "Enter") this.told.onCross(`${count(this.#making.points.length, "corner")}, the cross is ${placeOf(this.#cross)}.`);
    this.#paint();
  }

  #cornerKey(event, index) {
    const way = wayOf(event);
    const { points, kind } = this.#chosen;
    if (way) points[index] = moved(points[index], way);
    else if (event.key === "Delete" && kind === "zone" && points.length > 3) points.splice(index, 1);
    else if (event.key === "Insert" && kind === "zone") points.splice(index + 1, 0, middle(points[index], points[(index + 1) % points.length]));
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.told.onChange();
    this.layer.querySelectorAll(".corner")[Math.min(index, points.length - 1)]?.focus();
  }

  #paint() {
    const focused = this.layer.contains(document.activeElement) ? Number(document.activeElement.dataset.corner) : NaN;
    const size = [this.node.clientWidth, this.node.clientHeight];
    if (!size[0]) return;
    this.layer.setAttribute("viewBox", `0 0 ${size.join(" ")}`);
    const parts = this.#shapes.map((shape, index) => this.#shapeParts(shape, index, size));
    const corners = this.#chosen && !this.readOnly ? this.#corners(size) : [];
    clear(this.layer, parts, corners, this.#making && this.#makingParts(size));
    if (!Number.isNaN(focused)) this.layer.querySelectorAll(".corner")[focused]?.focus();
  }

  #shapeParts(shape, index, size) {
    const name = shape.kind === "zone" ? "polygon" : "polyline";
    const points = words(shape.points, size);
    const [x, y] = scaled(shape.points.reduce((one, other) => (other[1] < one[1] ? other : one)), size);
    return svg("g", { "data-shape": index },
      svg(name, { class: "under", points }), svg(name, { class: `shape ${shape === this.#chosen ? "chosen" : ""}`, points }),
      shape.kind === "line" && arrow(shape.points, size),
      svg("text", { class: "shape-name", x: Math.min(x, size[0] - 90), y: Math.max(18, y - 12) }, shape.name));
  }

  #corners(size) {
    return this.#chosen.points.map((point, index) => {
      const [cx, cy] = scaled(point, size);
      const label = `Corner ${index + 1} of ${this.#chosen.name} ${placeOf(point)}. Arrow keys move it.`;
      const made = svg("circle", { class: "corner", cx, cy, r: CORNER_PX, tabindex: 0, role: "button", "aria-label": label, "data-corner": index });
      made.addEventListener("keydown", (event) => this.#cornerKey(event, index));
      return made;
    });
  }

  #makingParts(size) {
    const { points } = this.#making;
    const [x, y] = scaled(this.#cross, size);
    return svg("g", { class: "making" },
      svg("polyline", { class: "under", points: words([...points, this.#cross], size) }), svg("polyline", { class: "shape", points: words([...points, this.#cross], size) }),
      points.map((point) => svg("circle", { class: "corner", cx: scaled(point, size)[0], cy: scaled(point, size)[1], r: CORNER_PX - 2 })),
      svg("path", { class: "shape", d: `M${x - 14} ${y}h28M${x} ${y - 14}v28` }));
  }
}

// From the middle of a line to the side that counts as in: the left of somebody who looks from start to end.
function arrow(points, size) {
  const [[x1, y1], [x2, y2]] = points.map((point) => scaled(point, size));
  const long = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [sideX, sideY] = [(y2 - y1) / long, -(x2 - x1) / long];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const [tipX, tipY] = [x + sideX * 34, y + sideY * 34];
  const [backX, backY] = [-sideX * 11, -sideY * 11];
  const d = `M${x} ${y}L${tipX} ${tipY}M${tipX + backX + sideY * 8} ${tipY + backY - sideX * 8}L${tipX} ${tipY}L${tipX + backX - sideY * 8} ${tipY + backY + sideX * 8}`;
  return [svg("path", { class: "under", d }), svg("path", { class: "shape", d })];
}

function wayOf(event) {
  const step = event.shiftKey ? LARGE_STEP : STEP;
  return { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
}

const placeOf = ([x, y]) => `at ${number(x * 100, 0)} % across, ${number(y * 100, 0)} % down`;
const clamped = (share) => Math.min(1, Math.max(0, share));
const moved = ([x, y], [dx, dy]) => [clamped(x + dx), clamped(y + dy)];
const middle = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
const scaled = ([x, y], size) => [x * size[0], y * size[1]];
const words = (points, size) => points.map((point) => scaled(point, size).map((value) => value.toFixed(1)).join(",")).join(" ");
