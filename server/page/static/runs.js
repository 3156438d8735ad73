// One run as a card: folded its title and state, unfolded its code, output and what became of it.

import { questionForm, stop } from "./controls.js";
import { el, put } from "./dom.js";
import { clock, duration, plural } from "./format.js";
import { linkTo } from "./sessions.js";
import { idOf, standing } from "./standing.js";
import { Unfolded } from "./unfolded.js";

export class Card {
  constructor(run) {
    const name = idOf(run.id);
    this.view = null;
    this.byHand = false;
    this.mark = el("span", { class: "mark", "aria-hidden": "true" });
    this.title = el("span", { class: "what" });
    this.button = el("button", { class: "fold", type: "button", "aria-expanded": "false", "aria-controls": `${name}-body`,
      on: { click: () => {
        this.byHand = true;
        this.open(!this.isOpen);
      } } }, this.mark, this.title);
    this.badge = el("span", { class: "badge" });
    this.time = el("span", { class: "time" });
    this.facts = el("p", { class: "facts" });
    this.stop = el("button", { type: "button", class: "small", "aria-label": `Stop run ${run.id}`, text: "Stop",
      on: { click: () => stop(this.run) } });
    this.bar = el("progress", { "aria-label": `Progress of run ${run.id}` });
    this.doing = el("div", { class: "doing", hidden: true }, el("span"), this.bar);
    this.error = el("p", { class: "error", hidden: true });
    this.asked = el("div", { hidden: true });
    this.body = el("div", { class: "body", id: `${name}-body`, hidden: true });
    this.node = el("li", { class: "run", id: name, tabindex: "-1", "aria-labelledby": `${name}-title` },
      el("div", { class: "head" },
        el("h3", { id: `${name}-title` }, this.button),
        el("div", { class: "side" }, this.time, this.badge, this.stop)),
      this.facts, this.error, this.doing, this.asked, this.body);
    this.show(run);
  }

  get isOpen() {
    return !this.body.hidden;
  }

  show(run) {
    this.run = run;
    const [word, mark] = standing(run);
    this.node.dataset.state = mark;
    this.mark.className = `mark ${mark}`;
    put(this.badge, word);
    this.badge.className = `badge ${mark}`;
    put(this.title, run.title || run.file || `Run ${run.id}`);
    this.stop.hidden = run.state === "ended";
    this.#facts();
    this.#error();
    this.tick();
    this.#doing();
    this.#ask();
    this.view?.show(run);
  }

  #facts() {
    const { run } = this;
    const words = [
      el("a", { href: linkTo(run.session), text: run.session }),
      run.who ? `asked by ${run.who}` : null,
      run.file && run.file !== run.title ? el("span", { class: "file", text: run.file }) : null,
      run.began ? el("time", { datetime: new Date(run.began * 1000).toISOString(), text: clock(run.began) }) : null,
      run.kept === false ? "the session's variables are gone" : null,
      run.restored_to ? `the session's variables are as after run ${run.restored_to}` : null,
      run.exit_code ? `exit code ${run.exit_code}` : null,
      run.outputs ? plural(run.outputs, "output") : null,
      el("a", { class: "self", href: `#${idOf(run.id)}`, text: `#${run.id}`, title: "A link to this run that can be kept" }),
    ].filter(Boolean);
    const key = words.map((word) => word.textContent ?? word).join("|");
    if (this.facts.dataset.key === key) return;
    this.facts.dataset.key = key;
    this.facts.replaceChildren(...words.map((word) => el("span", {}, word)));
  }

  tick() {
    const { run } = this;
    const now = run.state === "running" ? run.seconds + (performance.now() - run.told) / 1000 : run.seconds;
    put(this.time, run.state === "waiting" || now === null ? "" : duration(now));
  }

  #error() {
    const { error } = this.run;
    this.error.hidden = !error;
    if (!error || this.error.firstChild) return;
    this.error.append(el("strong", { text: error.name }), error.value ? `: ${error.value}` : "",
      error.line ? el("span", { class: "where", text: ` (line ${error.line})` }) : "");
  }

  #doing() {
    const doing = this.run.state === "running" ? this.run.doing : null;
    this.doing.hidden = !doing;
    if (!doing) return;
    put(this.doing.firstChild, doing.words || (doing.total ? `${doing.done} of ${doing.total}` : ""));
    this.bar.hidden = !doing.total;
    if (doing.total) {
      this.bar.max = doing.total;
      this.bar.value = doing.done;
    }
  }

  #ask() {
    const { question } = this.run;
    const form = this.asked.firstChild;
    if (form && String(question?.serial) === form.dataset.serial) return;
    this.asked.hidden = !question;
    this.asked.replaceChildren(...(question ? [questionForm(this.run)] : []));
  }

  /** Whether `run` is what this card shows, and not one of another server start. */
  isOf(run) {
    return run.title === this.run.title && (this.run.began === null || run.began === this.run.began);
  }

  /** What happened meanwhile was missed: begin anew where more than text may have come. */
  renew(run) {
    if (!this.view || (run.outputs === this.run.outputs && run.clears === this.run.clears)) return;
    this.open(false);
    this.run = run;
    this.open(true);
  }

  /** Unfold or fold; a folded card holds nothing. */
  open(yes) {
    if (yes === this.isOpen) return;
    this.body.hidden = !yes;
    this.button.setAttribute("aria-expanded", String(yes));
    this.node.toggleAttribute("data-open", yes);
    this.view = null;
    this.body.replaceChildren();
    if (!yes) return;
    this.view = new Unfolded(this.run);
    this.body.append(...this.view.nodes);
  }
}
