// The door: a token is given once, the browser then keeps a session.

import * as api from "./api.js";
import { button, clear, el, field } from "./dom.js";
import { attempt } from "./notices.js";

export function show(main, onDone) {
  const token = el("input", { type: "password", required: true, autocomplete: "current-password", spellcheck: "false" });
  const user = el("input", { type: "text", autocomplete: "username", value: "videodisco", hidden: true, "aria-hidden": "true", tabindex: -1 });
  const trouble = el("p", { class: "bad-text", role: "alert" });
  const send = button("Log in", null, { kind: "main", type: "submit" });
  const form = el("form", { class: "panel login" }, el("img", { src: "/page/mark.svg", alt: "", width: 48, height: 48 }), el("h1", { tabindex: -1, text: "Log in" }), el("p", { class: "soft", text: "This service asks who you are. Paste the token that its operator gave you." }), user, field("Token", token), trouble, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(enter, send);
  });
  clear(main, form);
  token.focus();

  async function enter() {
    trouble.textContent = "";
    try {
      const session = await api.login(token.value.trim());
      if (session.name === null) throw new Error("The token is not known here.");
      onDone(session);
    } catch (error) {
      trouble.textContent = error.message;
      token.select();
    }
  }
}
