// The live pictures of one camera, each with what was found in it, for as long as somebody looks.

import { liveAddress, liveMessage } from "./api.js";

const FIRST_RETRY_S = 0.5;
const LAST_RETRY_S = 8;
const RESIZED_AFTER_MS = 400;
const STEP_PX = 160;
const MOST_PX = 8192;
const MOST_FPS = 30;
const CAMERA_REMOVED = 1000; // how the service ends what it will not go on with; when it stops it says 1001

// Calls `onScene({image, width, height, detections, zones, ...})` for the newest picture, as fast as they can be
// decoded and shown; the image is gone afterwards. Ends with `signal`.
export class Feed {
  #socket = null;
  #retryS = FIRST_RETRY_S;
  #timer = 0;
  #newest = null;
  #decoding = false;
  #wanted = false;
  #size = {};

  // Begins once it is `wanted`.
  constructor(name, onScene, signal) {
    this.name = name;
    this.skipped = 0;
    this.onScene = onScene;
    this.signal = signal;
    document.addEventListener("visibilitychange", () => this.#attune(), { signal });
    signal.addEventListener("abort", () => this.#attune());
  }

  // Whether somebody can see it: a tile that is scrolled away needs no pictures.
  set wanted(wanted) {
    this.#wanted = wanted;
    this.#attune();
  }

  // What is enough for a place of so many CSS pixels: asked for anew when that is another width for a while.
  fitTo(cssPx, fps = MOST_FPS) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.min(MOST_PX, Math.max(1, Math.ceil((cssPx * ratio) / STEP_PX)) * STEP_PX);
    if (width === this.#size.width && fps === this.#size.fps) return;
    this.#size = { width, fps };
    clearTimeout(this.resizing);
    this.resizing = setTimeout(() => { if (this.#socket) { this.#close(); this.#attune(); } }, this.#socket ? RESIZED_AFTER_MS : 0);
  }

  #attune() {
    const open = this.#wanted && !document.hidden && !this.signal.aborted;
    if (open && !this.#socket) this.#open();
    if (!open) this.#close();
  }

  #open() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(liveAddress(this.name, this.#size));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => { if (socket === this.#socket) this.#take(data); };
    socket.onclose = ({ code }) => this.#lost(socket, code);
    this.#socket = socket;
  }

  #close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#newest = null;
    if (!socket) return;
    // One that is still being opened is closed afterwards: browsers complain of it otherwise.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
  }

  #lost(socket, code) {
    if (socket !== this.#socket) return; // closed by ourselves
    if (code === CAMERA_REMOVED) return; // the list of cameras will say so in a moment
    this.#timer = setTimeout(() => { this.#socket = null; this.#attune(); }, this.#retryS * 1000 * (0.5 + Math.random()));
    this.#retryS = Math.min(LAST_RETRY_S, this.#retryS * 2);
  }

  #take(data) {
    this.#retryS = FIRST_RETRY_S;
    if (typeof data === "string") return; // the state, which the list of cameras tells as well
    if (this.#newest) this.skipped += 1;
    this.#newest = data;
    if (!this.#decoding) this.#decode();
  }

  async #decode() {
    this.#decoding = true;
    while (this.#newest) {
      const scene = liveMessage(this.#newest);
      this.#newest = null;
      await this.#show(scene);
    }
    this.#decoding = false;
  }

  async #show({ jpeg, ...scene }) {
    let image;
    try {
      image = await createImageBitmap(jpeg);
    } catch {
      return; // one spoilt picture; the next comes soon
    }
    await new Promise((resolve) => requestAnimationFrame(resolve));
    if (!this.signal.aborted && this.#socket) this.onScene({ ...scene, image });
    image.close();
  }
}
