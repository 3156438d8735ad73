// What an unfolded run shows: its code, the cells of a notebook, its output, what became of it.

import { again, get, runPath } from "./api.js";
import { Code } from "./code.js";
import { el } from "./dom.js";
import { duration } from "./format.js";
import { Output } from "./output.js";

export class Unfolded {
  constructor(run) {
    this.run = run;
    this.begun = false;
    this.failed = null;
    this.code = new Code(run.id);
    this.parts = el("ol", { class: "parts", hidden: true });
    this.output = new Output(run.id);
    this.output.follow = run.state !== "ended";
    this.outcome = el("div", { class: "outcome" });
    this.nodes = [this.code.node, this.parts, this.output.node, this.outcome];
    this.#outcome();
    this.#details();
  }

  /** The run as it is now. */
  show(run) {
    const before = this.run;
    this.run = run;
    this.output.update(run);
    this.#outcome();
    const moved = before.doing?.done !== run.doing?.done || before.state !== run.state;
    if (moved && (run.kind === "notebook" || run.error)) this.#details();
  }

  async #details() {
    let detail;
    try {
      detail = await get(runPath(this.run.id));
    } catch (error) {
      this.code.trouble(error.message);
      if (again(error, this.code.node, () => this.#details())) return;
      if (!this.begun) this.output.begin([], this.run);
      this.begun = true;
      return;
    }
    this.code.fill(detail.source);
    this.failed = (detail.parts ?? []).findLast((part) => part.state === "error")?.label;
    this.#failing();
    this.#parts(detail.parts ?? []);
    if (detail.traceback) this.output.fail(detail.traceback);
    if (this.begun) return;
    this.begun = true;
    const isNewer = detail.run.clears > this.run.clears || detail.run.length > this.run.length;
    this.output.begin(detail.places ?? [], isNewer ? detail.run : this.run);
  }

  #failing() {
    const number = this.run.error?.line;
    if (number) this.code.mark(number, this.run.kind === "notebook" ? this.failed : null);
  }

  #parts(parts) {
    this.parts.hidden = !parts.length;
    const key = JSON.stringify(parts);
    if (this.parts.dataset.key === key) return;
    this.parts.dataset.key = key;
    this.parts.replaceChildren(...parts.map((part) => {
      const words = [el("span", { class: "name", text: part.label }),
        el("span", { class: "state", text: part.seconds ? `${part.state}, ${duration(part.seconds)}` : part.state })];
      const begun = typeof part.at === "number";
      return el("li", { class: part.state },
        begun ? el("button", { type: "button", title: "Go to its output", on: { click: () => this.output.reveal(part.at) } }, ...words)
          : el("span", {}, ...words));
    }));
  }

  #outcome() {
    const { run } = this;
    const words = [
      ...(run.state === "ended" && run.words ? run.words.split("\n").map((text) => el("p", { class: "words", text })) : []),
      run.state === "ended" && !run.length && !run.outputs && !run.error && !run.words
        ? el("p", { class: "words", text: "It wrote nothing." }) : null,
      run.state === "waiting" ? el("p", { class: "words", text: "It waits for its turn." }) : null,
    ].filter(Boolean);
    const key = words.map((word) => word.textContent).join("|");
    if (this.outcome.dataset.key === key) return;
    this.outcome.dataset.key = key;
    this.outcome.replaceChildren(...words);
    if (run.error) this.#failing();
  }
}
