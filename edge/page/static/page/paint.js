// A picture with what was found in it, on a canvas.

const TRAIL_S = 3;
const GOLDEN_ANGLE = 137.508;

// Equally light in every hue, so that dark text can be read on all of them.
export function colourOf(classId, alpha = 1) {
  return `oklch(0.82 0.17 ${((classId * GOLDEN_ANGLE + 145) % 360).toFixed(1)} / ${alpha})`;
}

const INK = "#101014";
const ZONE = "oklch(0.86 0.15 95)";

// Fits a canvas's pixels to its size on the screen. Whether it has any.
export function fit(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return width > 0 && height > 0;
}

// Where a picture of such a size lies in a canvas: as large as fits, in the middle.
export function placed(canvas, width, height) {
  const scale = Math.min(canvas.width / width, canvas.height / height);
  return { scale, x: (canvas.width - width * scale) / 2, y: (canvas.height - height * scale) / 2 };
}

// `scene`: width and height that the boxes are of, detections, zones, carried; `shown`: boxes, labels, tracks, zones.
export function paint(canvas, image, scene, shown, trails = null) {
  const context = canvas.getContext("2d");
  const place = placed(canvas, scene.width, scene.height);
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, place.x, place.y, scene.width * place.scale, scene.height * place.scale);
  const pen = penFor(canvas, place);
  const zones = shown.zones ? (scene.zones ?? []) : [];
  const tags = zones.map((each) => drawZone(context, each, place, pen, shown.labels)).filter(Boolean);
  if (shown.tracks && trails) trails.draw(context, place, pen);
  if (!shown.boxes) return;
  for (const each of scene.detections) drawBox(context, each, place, pen, scene);
  if (shown.labels) drawLabels(context, scene.detections, place, pen, shown, tags);
}

function penFor(canvas, place) {
  const ratio = canvas.clientWidth ? canvas.width / canvas.clientWidth : Math.max(1, canvas.width / 1280);
  const roomy = canvas.width / ratio > 560;
  const text = Math.round((roomy ? 13 : 11) * ratio);
  return { line: (roomy ? 2 : 1.5) * ratio, text, font: `600 ${text}px system-ui, sans-serif`, pad: 4 * ratio, canvas, place };
}

function drawBox(context, found, place, pen, scene) {
  const [x1, y1, x2, y2] = onCanvas(found.bbox, place);
  context.lineWidth = pen.line;
  context.setLineDash(scene.carried ? [3 * pen.line, 2 * pen.line] : []);
  context.strokeStyle = colourOf(found.class_id);
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.setLineDash([]);
}

// The surest first; one that finds no room beside the others is left out, for two on each other can be read by nobody.
function drawLabels(context, detections, place, pen, shown, taken) {
  for (const found of [...detections].sort((one, other) => other.confidence - one.confidence)) {
    const [x1, y1, , y2] = onCanvas(found.bbox, place);
    const tag = tagAt(context, labelOf(found, shown), x1 - pen.line / 2, pen);
    const tops = [y1 - tag.height, y1, y2].filter((top) => top >= 0 && top + tag.height <= pen.canvas.height);
    const top = tops.find((each) => !taken.some((other) => overlaps({ ...tag, top: each }, other)));
    if (top === undefined) continue;
    taken.push({ ...tag, top });
    drawTag(context, { ...tag, top }, colourOf(found.class_id), pen);
  }
}

function overlaps(one, other) {
  return one.left < other.left + other.width && other.left < one.left + one.width && one.top < other.top + other.height && other.top < one.top + one.height;
}

export function labelOf(found, shown = { tracks: true }) {
  const name = found.refined?.label ?? found.class;
  const track = shown.tracks && found.track_id !== null && found.track_id !== undefined ? `#${found.track_id} ` : "";
  return `${track}${name} ${Math.round(found.confidence * 100)} %`;
}

// Where a text begins and how much room it takes; never beyond the picture's edges.
function tagAt(context, text, x, pen) {
  context.font = pen.font;
  const width = context.measureText(text).width + 2 * pen.pad;
  return { text, width, height: pen.text + 1.4 * pen.pad, left: Math.max(0, Math.min(x, pen.canvas.width - width)) };
}

function drawTag(context, { text, left, top, width, height }, colour, pen) {
  context.fillStyle = colour;
  context.fillRect(left, top, width, height);
  context.fillStyle = INK;
  context.textBaseline = "middle";
  context.fillText(text, left + pen.pad, top + height / 2);
}

function drawZone(context, zone, place, pen, labels) {
  const points = zone.points.map(([x, y]) => [place.x + x * place.scale, place.y + y * place.scale]);
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (!zone.is_line) {
    context.closePath();
    context.fillStyle = "oklch(0.86 0.15 95 / 0.14)";
    context.fill();
  }
  context.lineWidth = pen.line;
  context.strokeStyle = ZONE;
  context.stroke();
  if (!labels) return null;
  const counted = zone.is_line ? `${zone.entered} in, ${zone.left} out` : `${zone.inside.length} inside`;
  const [x, y] = points.reduce((one, other) => (other[1] < one[1] ? other : one));
  const tag = tagAt(context, `${zone.name}: ${counted}`, x, pen);
  const placedTag = { ...tag, top: Math.max(0, y - tag.height) };
  drawTag(context, placedTag, ZONE, pen);
  return placedTag;
}

function onCanvas([x1, y1, x2, y2], place) {
  return [place.x + x1 * place.scale, place.y + y1 * place.scale, place.x + x2 * place.scale, place.y + y2 * place.scale];
}

// The ways that tracked objects came, by the middle of their boxes' lower edge: where zones see them stand.
export class Trails {
  #tracks = new Map();

  add(detections, nowS) {
    for (const { track_id: track, bbox, class_id: classId } of detections) {
      if (track === null || track === undefined) continue;
      const way = this.#tracks.get(track) ?? this.#tracks.set(track, { classId, points: [] }).get(track);
      way.points.push([(bbox[0] + bbox[2]) / 2, bbox[3], nowS]);
    }
    for (const [track, way] of this.#tracks) {
      way.points = way.points.filter((point) => nowS - point[2] < TRAIL_S && point[2] <= nowS);
      if (!way.points.length) this.#tracks.delete(track);
    }
  }

  draw(context, place, pen) {
    context.lineJoin = "round";
    context.lineWidth = 1.5 * pen.line;
    for (const { classId, points } of this.#tracks.values()) {
      context.beginPath();
      points.forEach(([x, y], index) => context[index ? "lineTo" : "moveTo"](place.x + x * place.scale, place.y + y * place.scale));
      context.strokeStyle = colourOf(classId, 0.75);
      context.stroke();
    }
  }
}
