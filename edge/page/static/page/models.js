// What looks, what is known of it, and how another one takes its place.

import * as api from "./api.js";
import { button, choice, clear, el, field, heading } from "./dom.js";
import { bytes, count } from "./format.js";
import { attempt } from "./notices.js";
import { parse } from "./prometheus.js";

const ALL = "";

export function show(main, { signal, list, may }) {
  const view = new Models(main, signal, list, may);
  view.load();
}

class Models {
  constructor(main, signal, list, may) {
    Object.assign(this, { signal, list, mayChange: may("operate") });
    this.using = el("section", { class: "panel", "aria-label": "What looks now" });
    this.swap = el("section", { class: "panel stack", "aria-label": "Take another model" });
    this.cards = el("ul", { class: "models plain", "aria-label": "Models" });
    this.result = el("div", { role: "status", "aria-live": "polite" });
    clear(main, heading("Models"), el("div", { class: "stack" }, el("div", { class: "models" }, this.using, this.mayChange && this.swap), el("h2", { text: "Known here" }), this.cards));
  }

  async load() {
    try {
      const options = { signal: this.signal };
      const [current, { models }, figures] = await Promise.all([api.model(options), api.models(options), api.metrics(options)]);
      this.#showUsing(current, models, signerOf(current.model, models, parse(figures)));
      if (this.mayChange && !this.swap.children.length) this.#showSwap(models, current);
      clear(this.cards, models.filter(({ name }) => name !== "auto").map((each) => el("li", { class: "panel" }, card(each, each.sha256 === current.model.sha256))));
    } catch (error) {
      if (!this.signal.aborted) clear(this.using, el("p", { class: "bad-text", role: "alert", text: error.message }), button("Try again", () => this.load()));
    }
  }

  #showUsing(current, models, signer) {
    const cameras = this.list.cameras ?? [];
    const own = cameras.filter(({ model }) => model && model !== current.model.name && model !== current.name);
    const facts = [
      ["Version", current.model.version],
      ["Asked for as", current.name],
      ["Runs on", current.provider.replace("ExecutionProvider", "") || "not yet"],
      ["Signed by", signer],
      ["Knows", el("span", { title: current.classes.join(", "), text: count(current.classes.length, "class", "classes") })],
      own.length && ["Other models", own.map(({ name, model }) => `${name}: ${model}`).join(", ")],
    ].filter(Boolean);
    clear(this.using, el("div", { class: "model-head" }, el("h2", { text: current.model.name }), el("span", { class: "pill good", text: "looks now" })), factList(facts), hash(current.model.sha256));
  }

  #showSwap(models, current) {
    const names = models.map(({ name }) => name);
    const which = choice(names.map((name) => [name, name === "auto" ? "auto (chosen for this machine)" : name]), names.includes(current.name) ? current.name : names[0]);
    const where = choice([[ALL, "all cameras and pictures"], ...(this.list.cameras ?? []).map(({ name }) => [name, `${name} alone`])], ALL);
    const go = button("Take it", () => this.#take(which.value, where.value, go), { kind: "main", icon: "check" });
    clear(this.swap, el("h2", { text: "Take another model" }),
      el("p", { class: "soft", text: "It is checked and tried on what the cameras see before it takes over, between two pictures. If it fails or lags then, everything stays as it is; if it does at first while it is at work, everything goes back by itself." }),
      el("div", { class: "swap" }, field("Model", which), field("For", where), go), this.result);
  }

  async #take(name, camera, control) {
    clear(this.result, el("p", { class: "soft" }, "Trying it on live pictures; this takes some seconds."));
    const worked = await attempt(async () => {
      try {
        const { changes, saved } = camera === ALL ? await api.swapModel(name) : await api.changeCamera(camera, { model: name });
        this.#showTrial(changes, saved);
      } catch (error) {
        clear(this.result, el("div", { class: "trial bad" }, el("strong", { text: "Everything stays as it was." }), el("p", { text: error.message })));
        if (!(error instanceof api.ApiError)) throw error;
      }
    }, control);
    if (!worked) return;
    await this.list.refresh(this.signal);
    await this.load();
  }

  #showTrial(changes, saved) {
    const words = changes.length ? changes : ["It looks already; nothing had to change."];
    const kept = saved ? null : el("p", { class: "soft", text: "There is no configuration file: it holds until the service ends." });
    clear(this.result, el("div", { class: "trial" }, el("strong", { text: changes.length ? "It took over." : "Nothing changed." }), words.map((text) => el("p", { text })), kept));
  }
}

function card({ name, where, sha256, card: known }, inUse) {
  const facts = [
    ["From", where === "bundled" ? "came with VideoDisco" : "this machine's shelf"],
    known?.family && ["Family", known.family],
    known?.precision && ["Precision", known.precision.split(":")[0]],
    known?.bytes && ["Size", bytes(known.bytes)],
    known?.classes && ["Knows", el("details", {}, el("summary", { text: count(known.classes.length, "class", "classes") }), el("p", { text: known.classes.join(", ") }))],
    known?.licence && ["Licence", known.licence],
    known?.source?.published && ["Accuracy", known.source.published],
  ].filter(Boolean);
  return [el("div", { class: "model-head" }, el("h3", { text: name }), inUse && el("span", { class: "pill good", text: "looks now" })), factList(facts), hash(sha256)];
}

function factList(facts) {
  return el("dl", { class: "facts left" }, facts.map(([text, value]) => [el("dt", { text }), el("dd", {}, value)]));
}

function signerOf({ sha256 }, models, figures) {
  const info = figures.get("videodisco_model_info")?.find(({ labels }) => labels.sha256 === sha256);
  if (info?.labels.signer) return info.labels.signer;
  const bundled = models.some((each) => each.sha256 === sha256 && each.where === "bundled");
  return bundled ? "nobody; it came with VideoDisco and its hash is checked" : "nobody";
}

function hash(sha256) {
  return el("p", { class: "hash soft" }, "SHA-256 ", el("code", { text: sha256 }));
}
