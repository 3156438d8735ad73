// The whole output of a run in a dialog, a piece at a time, and as a file.

import { get, runPath } from "./api.js";
import { el, put } from "./dom.js";
import { number } from "./format.js";

const PIECE = 50000;

/** Show the output of the run `id` from character `from` on. */
export function pieces(id, from = 0) {
  let at = Math.floor(from / PIECE) * PIECE;
  let length = 0;
  let asked = 0;
  const text = el("div", { class: "text piece", tabindex: "0", role: "group", "aria-label": "A piece of the output" });
  const where = el("p", { class: "where", role: "status" });
  const button = (words, move) => el("button", { type: "button", text: words, on: { click: () => go(move()) } });
  const last = () => Math.max(0, Math.floor((length - 1) / PIECE) * PIECE);
  const first = button("First", () => 0);
  const back = button("Previous", () => at - PIECE);
  const next = button("Next", () => at + PIECE);
  const end = button("Last", last);
  const file = el("a", { class: "button", href: runPath(id, "/text?download=1"), download: "", text: "Download as text" });

  async function go(to) {
    const mine = (asked += 1);
    try {
      const piece = await get(runPath(id, `/text?at=${Math.max(0, to)}&most=${PIECE}`));
      if (mine !== asked) return;
      at = piece.at;
      length = piece.length;
      text.textContent = piece.text;
      text.scrollTop = 0;
      put(where, `Characters ${number(at)} to ${number(Math.min(length, at + PIECE))} of ${number(length)}`);
    } catch (error) {
      put(where, error.message);
    }
    first.disabled = back.disabled = at <= 0;
    next.disabled = end.disabled = at >= last();
  }

  const dialog = el("dialog", { class: "pieces", "aria-labelledby": "pieces-title" },
    el("header", {}, el("h2", { id: "pieces-title", text: `All output of run ${id}` }),
      el("form", { method: "dialog" }, el("button", { class: "quiet", text: "Close" }))),
    text,
    el("footer", {}, el("div", { class: "row" }, first, back, next, end), where, file));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  text.focus();
  go(at);
}
