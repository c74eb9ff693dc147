// The dialog that adds a camera.

import * as api from "./api.js";
import { button, choice, el, field, fillChoice } from "./dom.js";
import { attempt, dialog, notice } from "./notices.js";

const NAMED = "\\w[\\w.\\- ]{0,39}";

export function addCamera(list) {
  const name = el("input", { required: true, pattern: NAMED, maxlength: 40, autocomplete: "off", title: "Letters, digits, dots, dashes and spaces" });
  const source = el("input", { required: true, autocomplete: "off", spellcheck: "false", placeholder: "rtsp://user:password@192.168.1.20/stream", inputmode: "url" });
  const model = choice([["", "the usual one"]], "");
  api.models().then(({ models }) => fillChoice(model, [["", "the usual one"], ...models.map((each) => each.name)]), () => {});
  const trouble = el("p", { class: "bad-text", role: "alert" });
  const send = button("Add", null, { kind: "main", type: "submit" });
  const form = el("form", { id: "add-camera", method: "dialog" },
    field("Name", name, "Files and figures are named after it."),
    field("Address", source, "rtsp://, http:// or a webcam's number. A password in it is never shown again."),
    field("Model", model), trouble,
    el("div", { class: "actions" }, button("Cancel", () => shown.close()), send));
  const shown = dialog("Add a camera", form);
  name.focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trouble.textContent = "";
    attempt(() => add(), send);
  });

  async function add() {
    const settings = { source: source.value.trim(), ...(model.value && { model: model.value }) };
    try {
      await api.addCamera(name.value.trim(), settings);
    } catch (error) {
      trouble.textContent = error.message;
      return;
    }
    shown.close();
    notice(`${name.value.trim()} is being connected.`);
    await list.refresh();
  }
}
