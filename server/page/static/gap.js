// The place in a run's output where the page has left something out.

import { el, put } from "./dom.js";
import { number, plural } from "./format.js";

export class Gap {
  /** Of the run `id`, after `index` pieces, from character `from` on; `trouble(words)` tells what
   * did not work. `to` and `figures` are what else is left out: see `show`. */
  constructor(id, index, from, trouble) {
    Object.assign(this, { id, index, from, to: from, figures: 0, trouble });
    this.words = el("span");
    this.node = el("p", { class: "gap" }, this.words, " ",
      el("button", { class: "link", type: "button", text: "Show all in pieces", on: { click: () => this.#pieces() } }));
  }

  /** Say how much it is. */
  show() {
    const figures = this.figures ? ` and ${plural(this.figures, "figure")}` : "";
    put(this.words, `${number(this.to - this.from)} characters${figures} are left out here.`);
  }

  async #pieces() {
    try {
      // Hardly ever needed, so it is fetched when it is.
      const { pieces } = await import("./pieces.js");
      pieces(this.id, this.from);
    } catch {
      this.trouble("The server cannot be reached.");
    }
  }
}
