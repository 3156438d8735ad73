// The login: a token once, a cookie from then on.

import { post } from "./api.js";
import { el, put, worded } from "./dom.js";

/** The form; `done()` once the server has taken the token. */
export function loginForm(done) {
  const trouble = el("p", { class: "trouble", id: "login-trouble", role: "alert" });
  const field = el("input", { id: "token", type: "password", autocomplete: "current-password", required: true,
    "aria-describedby": "login-hint login-trouble" });
  const button = el("button", { class: "primary", text: "Log in" });
  const form = el("form", { class: "login" },
    el("h1", { text: "Log in" }),
    el("p", { class: "hint", id: "login-hint",
      text: "This server asks for a token, the one that its MCP clients use. You see the sessions of that token alone." }),
    el("label", { for: "token", text: "Token" }), field, trouble, el("div", { class: "row" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    put(trouble, "");
    try {
      await post("/page/login", { token: field.value.trim() });
      field.value = "";
      done();
    } catch (error) {
      trouble.replaceChildren(...worded(error.message));
      field.select();
    }
    button.disabled = false;
  });
  return { node: form, focus: () => field.focus() };
}
