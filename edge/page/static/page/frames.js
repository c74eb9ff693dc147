// Pictures out of a film, made by the browser itself: the service sees single pictures only.

import { el } from "./dom.js";

const MOST = 40;
const APART_S = 0.5;
const LONGEST_PX = 1920;

// Up to forty pictures, evenly over the film, half a second apart at least.
export async function* framesOf(file, signal) {
  const address = URL.createObjectURL(file);
  const video = el("video", { muted: true, preload: "auto", playsinline: true });
  try {
    await happens(video, "loadeddata", () => { video.src = address; }, file, signal);
    const durationS = await durationOf(video);
    const many = Math.max(1, Math.min(MOST, Math.floor(durationS / APART_S)));
    for (let number = 0; number < many; number += 1) {
      const timeS = (durationS * (number + 0.5)) / many;
      await happens(video, "seeked", () => { video.currentTime = timeS; }, file, signal);
      yield { picture: await pictureOf(video), timeS };
    }
  } finally {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(address);
  }
}

// A film made by a browser says how long it is only once its end was looked for.
async function durationOf(video) {
  if (Number.isFinite(video.duration)) return video.duration;
  await new Promise((resolve) => {
    video.addEventListener("durationchange", resolve, { once: true });
    video.currentTime = 1e9;
  });
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

function happens(video, name, begin, file, signal) {
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const end = (settle, value) => { done.abort(); settle(value); };
    video.addEventListener(name, () => end(resolve), { signal: done.signal });
    video.addEventListener("error", () => end(reject, new Error(`This browser cannot play ${file.name}.`)), { signal: done.signal });
    signal.addEventListener("abort", () => end(reject, signal.reason), { signal: done.signal });
    begin();
  });
}

function pictureOf(video) {
  const scale = Math.min(1, LONGEST_PX / Math.max(video.videoWidth, video.videoHeight));
  const canvas = el("canvas", { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("This browser cannot take pictures out of the film."))), "image/jpeg", 0.92);
  });
}
