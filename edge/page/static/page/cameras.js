// All cameras as the service lists them, asked for once a second for whoever shows them.

import * as api from "./api.js";
import { every } from "./dom.js";
import { moment } from "./format.js";

const EVERY_S = 1;
const LONGEST_WAIT_S = 4; // a cable that is pulled answers nothing at all
const FAILURES = 2; // so many in a row, and nobody knows how the cameras are

// Per state: its word, its colour, and its icon where there is no picture.
const STATES = {
  connecting: ["Connecting", "warn", "wait"],
  live: ["Live", "good", "live"],
  stalled: ["Stalled", "warn", "wait"],
  backing_off: ["Offline", "bad", "offline"],
  refused: ["Refused", "bad", "offline"],
  paused: ["Paused", "", "pause"],
  ended: ["Ended", "", "offline"],
  unknown: ["Unknown", "warn", "offline"],
};

const AWAY = new Set(["stalled", "backing_off", "refused"]);
const ONE_ATTEMPT_S = 0.5; // what is away for longer than it is being connected was away before

export function stateOf(camera) {
  const [word, kind, icon] = STATES[camera.state] ?? [camera.state, "", "offline"];
  return { word, kind, icon, hasPicture: camera.state === "live" };
}

// A camera that is away is tried again and again: what people see is one absence, not a new state with each attempt.
function steadied(camera, former) {
  const again = camera.state === "connecting" && camera.awayS > camera.forS + ONE_ATTEMPT_S;
  if (!again) return camera;
  return { ...camera, state: AWAY.has(former?.state) ? former.state : "backing_off" };
}

// "Offline since 14:03:22: no route to host."
export function storyOf(camera) {
  return `${stateOf(camera).word} since ${moment(camera.since)}${camera.reason ? `: ${camera.reason}` : ""}`;
}

function withLimit(signal) {
  const limit = AbortSignal.timeout(LONGEST_WAIT_S * 1000);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

export class CameraList extends EventTarget {
  cameras = null;
  #asked = 0;
  #told = 0;
  #failures = 0;

  // Tells `listener` of the cameras now and whenever they were asked for, until `signal`.
  watch(listener, signal) {
    this.addEventListener("change", () => listener(this.cameras), { signal });
    if (this.cameras) listener(this.cameras);
  }

  start(signal) {
    every(EVERY_S, () => this.refresh(signal), signal);
  }

  async refresh(signal) {
    const turn = (this.#asked += 1);
    try {
      const found = await api.cameras({ signal: withLimit(signal) });
      this.#failures = 0;
      if (turn < this.#told) return; // an answer from before a change, overtaken by one from after it
      this.#told = turn;
      const former = new Map(this.cameras?.map((camera) => [camera.name, camera]));
      this.cameras = found.map((camera) => steadied(camera, former.get(camera.name)));
      this.dispatchEvent(new Event("change"));
    } catch (error) {
      if (error.status === 503) this.dispatchEvent(new CustomEvent("loading", { detail: error.message }));
      if (error.status === 0 && (this.#failures += 1) === FAILURES) this.#loseSight();
    }
  }

  // The last pictures and figures say nothing of now; a line over the page says why.
  #loseSight() {
    const away = { state: "unknown", since: new Date(), reason: "The service cannot be reached.", recording: false };
    this.cameras = this.cameras?.map((camera) => ({ ...camera, ...away })) ?? null;
    if (this.cameras) this.dispatchEvent(new Event("change"));
  }

  find(name) {
    return this.cameras?.find((each) => each.name === name) ?? null;
  }
}
