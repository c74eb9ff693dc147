// The dialogs that add a camera, and that correct its address.

import * as api from "./api.js";
import { button, choice, el, field, fillChoice } from "./dom.js";
import { attempt, dialog, notice } from "./notices.js";

const NAMED = "\\w[\\w.\\- ]{0,39}";

const PLACEHOLDER = "rtsp://user:password@192.168.1.20/stream";

function addressInput(value = "") {
  return el("input", { required: true, autocomplete: "off", spellcheck: "false", placeholder: PLACEHOLDER, inputmode: "url", value });
}

// A password stands there as three stars, and stays as it is where they stay.
export function changeAddress(list, { name, source: former }) {
  const source = addressInput(former);
  ask("Change the address", "Save", [field("Address", source, "Where it says ***, the password stays what it is.")], async () => {
    await api.changeCamera(name, { source: source.value.trim() });
    return `${name} is being connected.`;
  }, list);
  source.select();
}

export function addCamera(list) {
  const name = el("input", { required: true, pattern: NAMED, maxlength: 40, autocomplete: "off", title: "Letters, digits, dots, dashes and spaces" });
  const source = addressInput();
  const model = choice([["", "the usual one"]], "");
  api.models().then(({ models }) => fillChoice(model, [["", "the usual one"], ...models.map((each) => each.name)]), () => {});
  const fields = [
    field("Name", name, "Files and figures are named after it."),
    field("Address", source, "It begins with rtsp://, or http:// for MJPEG and HLS. A password in it is never shown again."),
    field("Model", model),
  ];
  ask("Add a camera", "Add", fields, async () => {
    await api.addCamera(name.value.trim(), { source: source.value.trim(), ...(model.value && { model: model.value }) });
    return `${name.value.trim()} is being connected.`;
  }, list);
  name.focus();
}

// A form that stays open with the reason where `send` is refused; what it answers is said afterwards.
function ask(title, verb, fields, send, list) {
  const trouble = el("p", { class: "bad-text", role: "alert" });
  const go = button(verb, null, { kind: "main", type: "submit" });
  const form = el("form", { method: "dialog" }, fields, trouble,
    el("div", { class: "actions" }, button("Cancel", () => shown.close()), go));
  const shown = dialog(title, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trouble.textContent = "";
    attempt(finish, go);
  });

  async function finish() {
    let said;
    try {
      said = await send();
    } catch (error) {
      trouble.textContent = error.message;
      return;
    }
    shown.close();
    notice(said);
    await list.refresh();
  }
}
