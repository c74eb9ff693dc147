// All that is asked of the service, and its words turned into ours: nothing else knows an address or a key of the API.

export class ApiError extends Error {
  constructor(status, sentence, retryAfterS) {
    super(sentence);
    this.name = "ApiError";
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

// Told of "login" when the service wants to know who it is, of "lost" and "found" when it cannot be reached.
export const service = new EventTarget();

let reachable = true;

function reached(now) {
  if (now !== reachable) service.dispatchEvent(new Event(now ? "found" : "lost"));
  reachable = now;
}

async function ask(method, path, { json, body, signal, query } = {}) {
  const words = query ? String(new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined))) : "";
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(words ? `${path}?${words}` : path, { method, headers, body: json === undefined ? body : JSON.stringify(json), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reached(false);
    throw new ApiError(0, "The service cannot be reached.");
  }
  reached(true);
  if (answer.ok) return answer;
  if (answer.status === 401) service.dispatchEvent(new Event("login"));
  throw await refusal(answer);
}

async function refusal(answer) {
  let sentence = `The service answered ${answer.status}.`;
  try {
    sentence = sentenceOf((await answer.json()).error) ?? sentence;
  } catch {
    // no JSON: a proxy in between, perhaps
  }
  return new ApiError(answer.status, sentence, Number(answer.headers.get("Retry-After")) || 0);
}

function sentenceOf(text) {
  if (typeof text !== "string" || !text) return null;
  const whole = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text; // not the name of a model
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

async function json(method, path, options) {
  const answer = await ask(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

const at = (...parts) => parts.map((part) => `/${encodeURIComponent(part)}`).join("");

// Who it is

export const session = () => json("GET", "/session");
export const login = (token) => json("POST", "/login", { json: { token } });
export const logout = () => ask("POST", "/logout");

// Pictures

// Waits and asks again while the service has no room, so that a whole film can be sent without minding it.
export async function detect(picture, { conf, model, signal }) {
  for (;;) {
    try {
      return await json("POST", "/detect", { body: picture, query: { conf, model }, signal });
    } catch (error) {
      if (![429, 503].includes(error.status) || !error.retryAfterS) throw error;
      await pause(error.retryAfterS, signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

// Cameras

function cameraOf(wire) {
  return {
    name: wire.name,
    source: wire.source,
    state: wire.state,
    paused: wire.state === "paused",
    reason: wire.reason,
    forS: wire.state_s,
    awayS: wire.away_s,
    since: new Date(Date.now() - (wire.away_s ?? wire.state_s) * 1000),
    retryInS: wire.retry_in_s,
    fpsIn: wire.fps_in,
    fpsDetect: wire.fps_detect,
    ageS: wire.age_ms === null ? null : wire.age_ms / 1000,
    drops: wire.dropped,
    recording: wire.recording,
    recordedByHand: wire.recorded_by_hand,
    recordMode: wire.record_mode,
    recordTrouble: wire.record_trouble,
    agreement: wire.agreement,
    width: wire.width,
    height: wire.height,
    model: wire.model,
    objects: wire.objects,
  };
}

export async function cameras(options) {
  return (await json("GET", "/cameras", options)).cameras.map(cameraOf);
}

// Its settings as they are configured: zones, lines, classes and so on.
export const cameraSettings = async (name, options) => (await json("GET", `/cameras${at(name)}`, options)).settings;
export const addCamera = (name, settings) => json("POST", "/cameras", { json: { name, ...settings } });
export const changeCamera = (name, settings) => json("PATCH", `/cameras${at(name)}`, { json: settings });
export const removeCamera = (name) => json("DELETE", `/cameras${at(name)}`);
export const record = (name, on) => json("POST", `/cameras${at(name)}/recording`, { json: { on } });
export const snapshot = async (name, options) => (await ask("GET", snapshotAddress(name, false), options)).blob();
export const snapshotAddress = (name, boxes = true) => `/cameras${at(name)}/snapshot.jpg?boxes=${boxes}`;

// `wanted`: width and fps, at most; without them as the service is set.
export function liveAddress(name, wanted = {}) {
  const words = String(new URLSearchParams(wanted));
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/cameras${at(name)}/live${words && `?${words}`}`;
}

// A message of the live socket: a picture with what was found in that very picture. Four bytes with the length of a JSON object, the object, a JPEG.
export function liveMessage(data) {
  const length = new DataView(data).getUint32(0);
  const line = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const { frame, pts_s: timeS, width, height, detections, zones, carried = false } = line;
  return { frame, timeS, width, height, detections, zones, carried, jpeg: new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }) };
}

// Events

function eventOf(wire) {
  return {
    id: wire.id,
    camera: wire.camera,
    class: wire.refined?.label ?? wire.class,
    seenAs: wire.class,
    refined: wire.refined,
    confidence: wire.confidence,
    begun: new Date(wire.start_time),
    ended: wire.end_time && new Date(wire.end_time),
    zones: wire.entered_zones,
    stationary: wire.stationary,
    track: wire.track_id,
    // while it lasts its picture may be replaced by one that shows it elsewhere
    shownAt: wire.end_time && (wire.snapshot_bbox ?? wire.bbox),
    width: wire.width,
    height: wire.height,
    snapshot: wire.snapshot,
    clip: wire.clip,
  };
}

// `wanted`: camera, class, zone, start and end as ISO times, limit, after. `next` goes on with `after`.
export async function events(wanted, options) {
  const { events: found, next } = await json("GET", "/events", { query: wanted, ...options });
  return { events: found.map(eventOf), next };
}

function recordingOf(wire) {
  return { begun: new Date(wire.start_time), ended: wire.end_time && new Date(wire.end_time), kind: wire.kind, bytes: wire.size_bytes, address: wire.url };
}

export async function recordings(camera, many, options) {
  const { recordings: found } = await json("GET", "/recordings", { query: { camera, newest: true, limit: many }, ...options });
  return found.map(recordingOf);
}

export const event = async (id, options) => eventOf(await json("GET", `/events${at(id)}`, options));

// Models

export const model = (options) => json("GET", "/model", options);

// Those that find objects; the same file is listed once under its own name and once as "auto".
export async function models(options) {
  const { in_use: inUse, models: all } = await json("GET", "/models", options);
  return { inUse, models: all.filter(({ card }) => !card?.task || card.task === "detect") };
}

// What it did, in sentences: how fast the new one is, and how far both agree.
export const swapModel = async (name) => json("PUT", "/model", { json: { model: name } });

// Figures

export const figures = (name, options) => json("GET", `/cameras${at(name)}/figures`, options);
export const metrics = async (options) => (await ask("GET", "/metrics", options)).text();
export const escalation = (options) => json("GET", "/escalation", options);
export const about = (options) => json("GET", "/about", options);
