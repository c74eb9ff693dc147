// How fast, how late, and what was left out: lines over the last minutes, tables since the start.

import * as api from "./api.js";
import { Chart } from "./chart.js";
import { choice, clear, el, every, fillChoice, heading, link, say, table } from "./dom.js";
import { bytes, count, duration, number, percent } from "./format.js";
import { parse, quantile, total, values } from "./prometheus.js";

const LOOK_AGAIN_S = 5;
const RANGES = [["5", "last 5 minutes"], ["30", "last 30 minutes"], ["180", "last 3 hours"], ["1440", "last day"]];
const STAGES = ["decode", "queue", "preprocess", "inference", "postprocess", "track", "total"];
const MOST_KEPT = 720; // an hour of stages, while the page is open
const BREAKER = { closed: ["Answers", "good"], open: ["Away", "bad"], half_open: ["Being tried", "warn"], refused: ["Lets us not in", "bad"] };
const MEANINGS = {
  superseded: "not looked at: a newer picture came first",
  stale: "not looked at: too old when its turn came",
  held_too_long: "not looked at: the detector took over a second",
  model_failed: "not looked at: it was prepared for a new model that failed",
  late: "a picture that came or was decoded too late",
  corrupt: "a damaged picture",
  before_keyframe: "a picture before the first clean one",
  overflow: "a picture: the whole process stood still",
};
const GAP_S = 60; // where nothing was measured for so long, the line is broken

export function show(main, { signal, part, list, may }) {
  new Numbers(main, signal, part, list, may);
}

class Numbers {
  #figures = new Map();
  #before = null;
  #stages = new Map(); // by camera and stage: points
  #cpu = null;
  #asked = null;

  constructor(main, signal, part, list, may) {
    Object.assign(this, { signal, list });
    this.camera = choice([["", "all cameras"]], "", () => this.#draw());
    this.range = choice(RANGES, "5", () => this.#draw());
    for (const [control, text] of [[this.camera, "Camera"], [this.range, "Time"]]) control.setAttribute("aria-label", text);
    this.counters = el("div", { class: "counters" });
    this.charts = {
      rate: new Chart("Results a second", "fps", { hint: "detected, or carried on by the tracker" }),
      late: new Chart("From picture to result", "ms", { digits: 0, hint: "95 of 100 were at most so late" }),
      stages: new Chart("Stages", "ms", { hint: "95 of 100 took at most so long" }),
      lost: new Chart("Left out", "a second", { hint: "on purpose, so that results stay fresh" }),
    };
    this.below = el("div", { class: "numbers-below" });
    this.links = el("p", { class: "group" }, link("API", "/docs/"), link("Figures for Prometheus", "/metrics", { target: "_blank" }));
    clear(main, heading("Numbers", el("div", { class: "end group" }, this.camera, this.range)), this.counters, el("div", { class: "charts" }, Object.values(this.charts).map(({ node }) => node)), this.below, el("div", { class: "numbers-links" }, this.links));
    signal.addEventListener("abort", () => Object.values(this.charts).forEach((chart) => chart.close()));
    this.list.watch((cameras) => this.#offer(cameras, part), signal);
    every(LOOK_AGAIN_S, () => this.#look(), signal);
    this.#linkMlflow();
  }

  #offer(cameras, part) {
    const names = cameras.map(({ name }) => name);
    if (names.join("\n") !== this.names) fillChoice(this.camera, [["", "all cameras"], ...names], this.names === undefined ? part : this.camera.value);
    this.names = names.join("\n");
    this.#showCounters(cameras);
  }

  async #look() {
    const names = this.list.cameras?.map(({ name }) => name) ?? [];
    const options = { signal: this.signal };
    const nowMs = Date.now();
    try {
      const [text, asked, ...figures] = await Promise.all([api.metrics(options), api.escalation(options), ...names.map((name) => api.figures(name, options))]);
      this.#asked = asked;
      this.#figures = new Map(names.map((name, index) => [name, withTimes(figures[index], nowMs)]));
      this.#take(parse(text), nowMs);
    } catch {
      return; // a line over the page says that the service is away
    }
    if (!this.signal.aborted) this.#draw();
  }

  // Histograms only grow: what came since the last reading tells of the time between.
  #take(now, nowMs) {
    const before = this.#before;
    if (before) {
      this.#cpu = (total(now, "process_cpu_seconds_total") - total(before.families, "process_cpu_seconds_total")) / ((nowMs - before.atMs) / 1000);
      for (const camera of values(now, "videodisco_stage_seconds_count", "camera")) {
        for (const stage of STAGES) {
          const seconds = quantile(before.families, now, "videodisco_stage_seconds", { camera, stage }, 0.95);
          if (seconds !== null) this.#keep(camera, stage, [nowMs, seconds * 1000]);
        }
      }
    }
    this.#before = { families: now, atMs: nowMs };
  }

  #keep(camera, stage, point) {
    const key = `${camera}\n${stage}`;
    const points = this.#stages.get(key) ?? this.#stages.set(key, []).get(key);
    points.push(point);
    if (points.length > MOST_KEPT) points.shift();
  }

  #draw() {
    const toMs = Date.now();
    const fromMs = toMs - Number(this.range.value) * 60_000;
    const one = this.camera.value;
    const names = one ? [one] : [...this.#figures.keys()].filter((name) => this.#figures.get(name).timeline.some((each) => each.fps_in > 0));
    const lines = (pick, word = "") => names.map((name) => ({ name: one ? word : name, points: line(this.#figures.get(name)?.timeline ?? [], pick, fromMs) }));
    const { rate, late, stages, lost } = this.charts;
    rate.update(one ? [...lines((each) => each.fps_in, "from the camera"), ...lines((each) => each.fps_out, "results")] : lines((each) => each.fps_out), fromMs, toMs);
    late.update(lines((each) => measured(each, each.total_p95_ms), "in all"), fromMs, toMs);
    lost.update(lines((each) => each.dropped / each.seconds, "left out"), fromMs, toMs);
    stages.update(one ? this.#stageLines(one, fromMs) : lines((each) => measured(each, each.inference_p95_ms)).map((each) => ({ ...each, name: `${each.name}, inference` })), fromMs, toMs);
    this.#drawBelow(names);
  }

  #stageLines(camera, fromMs) {
    const inference = line(this.#figures.get(camera)?.timeline ?? [], (each) => measured(each, each.inference_p95_ms), fromMs);
    const others = STAGES.filter((stage) => !["total", "inference"].includes(stage)).map((stage) => ({ name: stage, points: (this.#stages.get(`${camera}\n${stage}`) ?? []).filter(([timeMs]) => timeMs >= fromMs) }));
    return [{ name: "inference", points: inference }, ...others.filter(({ points }) => points.length)];
  }

  #showCounters(cameras) {
    const live = cameras.filter(({ state }) => state === "live");
    const sum = (pick) => live.reduce((all, camera) => all + pick(camera), 0);
    const memory = this.#before && total(this.#before.families, "process_resident_memory_bytes");
    const entries = [
      ["cameras live", `${live.length} of ${cameras.length}`],
      ["pictures a second", number(sum(({ fpsIn }) => fpsIn))],
      ["looked at a second", number(sum(({ fpsDetect }) => fpsDetect))],
      ["oldest result", duration(Math.max(0, ...live.map(({ ageS }) => ageS ?? 0)))],
      ["processor, of one core", percent(this.#cpu)],
      ["memory", memory ? bytes(memory) : "–"],
    ];
    if (this.counters.children.length !== entries.length) clear(this.counters, entries.map(() => el("div", { class: "counter" }, el("b"), el("span", { class: "soft" }))));
    entries.forEach(([text, value], index) => {
      say(this.counters.children[index].firstChild, value);
      say(this.counters.children[index].lastChild, text);
    });
  }

  #drawBelow(names) {
    const opened = this.below.contains(document.activeElement);
    if (opened) return; // somebody scrolls or reads a table
    clear(this.below, this.#stageTable(names), this.#dropTable(names), this.#seenTable(names), this.#refiner(), this.#agreement(names));
  }

  #stageTable(names) {
    const rows = names.flatMap((name) => STAGES.map((stage) => [name, stage, this.#figures.get(name)?.latency_ms[stage]]).filter(([, , each]) => each).map(([camera, stage, each]) => [...(names.length > 1 ? [camera] : []), stage, number(each.p50), number(each.p95), number(each.p99)]));
    const heads = [...(names.length > 1 ? ["Camera"] : []), "Stage", "p50 ms", "p95 ms", "p99 ms"];
    return panel("Stages since the start", rows, heads);
  }

  #dropTable(names) {
    const dropped = names.flatMap((name) => Object.entries(this.list.find(name)?.drops ?? {}).map(([cause, many]) => [name, meaningOf(cause), many.toLocaleString("en")]));
    return panel("Left out since the start, by cause", dropped, ["Camera", "Cause", "Count"], "Nothing was left out.");
  }

  #seenTable(names) {
    const seen = names.flatMap((name) => Object.entries(this.#figures.get(name)?.objects ?? {}).map(([kind, many]) => [name, kind, count(many, "track")]));
    return panel("Seen since the start", seen, ["Camera", "Class", "Different ones"], "Nothing was seen yet.");
  }

  // Only where it is switched on.
  #refiner() {
    const asked = this.#asked;
    if (!asked?.enabled) return null;
    const many = (value) => value.toLocaleString("en");
    const facts = [
      ["Now", el("span", { class: `pill ${BREAKER[asked.state]?.[1] ?? ""}`, text: asked.shadow ? "only reporting" : (BREAKER[asked.state]?.[0] ?? asked.state) })],
      asked.reason && ["Because", asked.reason],
      ["Agreement lately", percent(asked.agreement, 1)],
      ["Tracks looked at", many(asked.decided)],
      asked.would_send > 0 && ["Would have been sent", many(asked.would_send)],
      ["Asked", many(asked.asked)],
      ["Sent", `${many(asked.sent)}, ${bytes(asked.sent_bytes)}`],
      ["Answered", asked.errors ? `${many(asked.answered)}, ${many(asked.errors)} with an error` : many(asked.answered)],
      ["Waiting", asked.waiting ? `${many(asked.waiting)}, ${bytes(asked.waiting_bytes)}` : "none"],
      ["Not asked about", causes(asked.refused)],
      ["Requests that failed", causes(asked.failures)],
      ["Held up by the budget", causes(asked.held)],
      ["Never answered", causes(asked.dropped)],
      ["Budget", budgetWords(asked.budget)],
    ].filter(Boolean);
    return el("section", { class: "panel" }, el("h2", { text: "Refiner" }), el("dl", { class: "facts" }, facts.map(([text, value]) => [el("dt", { text }), el("dd", {}, value)])));
  }

  #agreement(names) {
    const rows = (this.#asked?.agreements ?? []).filter(({ camera }) => names.includes(camera)).map((each) => [each.camera, each.class, percent(each.recent), percent(each.mean), each.count.toLocaleString("en")]);
    return this.#asked?.enabled && panel("Refiner agreement", rows, ["Camera", "Class", "Lately", "In all", "Answers"], "No answer could be compared yet.");
  }

  // Everybody may follow the link; the service knows only what its configuration says.
  async #linkMlflow() {
    const { mlflow } = await api.about({ signal: this.signal }).catch(() => ({}));
    if (!mlflow) return;
    const address = mlflow.run_url ?? mlflow.url;
    if (/^https?:/.test(address ?? "")) this.links.append(link("MLflow", address, { target: "_blank", rel: "noreferrer", icon: "out" }));
    else this.links.append(el("span", { class: "hint" }, "Runs are kept by MLflow on that machine: ", el("code", { text: "mlflow ui" }), " shows them."));
  }
}

// The service's word, as in its figures, and what it stands for.
function meaningOf(cause) {
  const meaning = cause.startsWith("sink_") ? `${cause.slice(5)} could not keep up` : MEANINGS[cause];
  return [el("span", { text: cause.replaceAll("_", " ") }), meaning && el("small", { class: "hint", text: meaning })].filter(Boolean);
}

function causes(counts) {
  const entries = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  return entries.map(([cause, many]) => `${cause.replaceAll("_", " ")} ${many.toLocaleString("en")}`).join(", ") || "none";
}

function budgetWords({ requests_per_s: requests, bytes_per_s: rate, bytes_per_hour: hourly, items_per_day: daily }) {
  const limits = [requests && `${requests} requests a second`, rate && `${bytes(rate)} a second`, hourly && `${bytes(hourly)} an hour`, daily && `${daily.toLocaleString("en")} crops a day`];
  return limits.filter(Boolean).join(", ") || "no limit";
}

function withTimes(figures, nowMs) {
  return { ...figures, timeline: figures.timeline.map((point) => ({ ...point, atMs: nowMs - point.ago_s * 1000 })) };
}

// Where there was nothing to measure there is no latency, rather than none at all.
function measured(point, value) {
  return point.fps_out > 0 ? value : null;
}

function line(timeline, pick, fromMs) {
  const points = [];
  for (const each of timeline) {
    if (each.atMs < fromMs) continue;
    const last = points.at(-1);
    if (last && each.atMs - last[0] > Math.max(GAP_S, 2 * each.seconds) * 1000) points.push([each.atMs - 1, null]);
    points.push([each.atMs, pick(each)]);
  }
  return points;
}

function panel(title, rows, heads, nothing = "Nothing yet.") {
  return el("section", { class: "panel" }, el("h2", { text: title }), rows.length ? table(heads, rows, { caption: title }) : el("p", { class: "soft", text: nothing }));
}
