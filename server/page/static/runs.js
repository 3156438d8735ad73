// One run as a card: folded its title and state, unfolded its code, output and what became of it.

import { get, runPath } from "./api.js";
import { questionForm, stop } from "./controls.js";
import { el, put, trusted } from "./dom.js";
import { clock, duration, plural } from "./format.js";
import { Output } from "./output.js";
import { linkTo } from "./sessions.js";

/** Lines of code that are shown at first. */
const LINES = 10;

const WORDS = {
  ok: "done", error: "failed", timeout: "timed out", interrupted: "stopped", died: "process ended",
};

/** What to say of a run: a word, and which mark goes with it. */
export function standing(run) {
  if (run.state === "waiting") return ["waiting", "waiting"];
  if (run.state === "running") return [run.question ? "asks" : "running", run.question ? "asks" : "running"];
  const mark = { ok: "ok", interrupted: "stopped" }[run.status] ?? "bad";
  return [WORDS[run.status] ?? run.status ?? "ended", mark];
}

export const idOf = (id) => `run-${encodeURIComponent(id)}`;

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
    const before = this.run;
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
    if (this.view) {
      this.view.output.update(run);
      this.#outcome();
      const moved = before?.doing?.done !== run.doing?.done || before?.state !== run.state;
      if (run.kind === "notebook" && moved) this.#details();
    }
  }

  #facts() {
    const { run } = this;
    const words = [
      el("a", { href: linkTo(run.session), text: run.session }),
      run.who ? `asked by ${run.who}` : null,
      run.file && run.file !== run.title ? el("span", { class: "file", text: run.file }) : null,
      run.began ? el("time", { datetime: new Date(run.began * 1000).toISOString(), text: clock(run.began) }) : null,
      run.kept === false ? "the session's variables are gone" : null,
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
    const output = new Output(this.run.id);
    output.follow = this.run.state !== "ended";
    const view = { output, source: el("div", { class: "source-box" }), parts: el("ol", { class: "parts", hidden: true }),
      outcome: el("div", { class: "outcome" }) };
    this.view = view;
    this.body.append(view.source, view.parts, output.node, view.outcome);
    this.#outcome();
    this.#details();
  }

  async #details() {
    const { view } = this;
    let detail;
    try {
      detail = await get(runPath(this.run.id));
    } catch (error) {
      if (view !== this.view) return;
      view.source.replaceChildren(el("p", { class: "trouble", text: error.message }));
      if (!view.begun) view.output.begin([], this.run);
      view.begun = true;
      return;
    }
    if (view !== this.view) return;
    if (detail.source && !view.source.firstChild) view.source.append(...this.#source(detail.source));
    this.failed = (detail.parts ?? []).findLast((part) => part.state === "error")?.label;
    this.#failing();
    this.#parts(detail.parts ?? []);
    if (view.begun) return;
    view.begun = true;
    const isNewer = detail.run.clears > this.run.clears || detail.run.length > this.run.length;
    view.output.begin(detail.places ?? [], isNewer ? detail.run : this.run);
  }

  #source(source) {
    const box = el("div", { class: "source", tabindex: "0", role: "group", "aria-label": `Code of run ${this.run.id}` });
    box.append(trusted(source.html));
    if (source.cut) box.append(el("p", { class: "hint", text: "The rest of the code is left out." }));
    if (source.lines <= LINES + 2) return [box];
    box.classList.add("short");
    const more = el("button", { class: "link", type: "button", "aria-expanded": "false", text: `Show all ${source.lines} lines`,
      on: { click: () => {
        const short = box.classList.toggle("short");
        more.setAttribute("aria-expanded", String(!short));
        put(more, short ? `Show all ${source.lines} lines` : "Show fewer lines");
      } } });
    return [box, more];
  }

  /** Mark the line of the code that failed. */
  #failing() {
    const number = this.run.error?.line;
    if (!number) return;
    const lines = [...this.view.source.querySelectorAll(".line")];
    // In a notebook it is a line of the cell that failed, which stands below its heading.
    const heading = `# %% ${this.failed}`;
    const first = this.run.kind === "notebook" ? lines.findIndex((one) => one.textContent.trim() === heading) + 1 : 0;
    const line = this.run.kind === "notebook" && !first ? null : lines[first + number - 1];
    if (!line || line.classList.contains("failed")) return;
    line.classList.add("failed");
    const box = line.closest(".source.short");
    if (box) {
      box.scrollTop = Math.max(0, line.offsetTop - box.offsetTop - 120);
      box.classList.toggle("sought", box.scrollTop > 0);
    }
    line.append(el("span", { class: "unseen", text: " (the failing line)" }));
  }

  #parts(parts) {
    this.view.parts.hidden = !parts.length;
    const key = JSON.stringify(parts);
    if (this.view.parts.dataset.key === key) return;
    this.view.parts.dataset.key = key;
    const { output } = this.view;
    this.view.parts.replaceChildren(...parts.map((part) => {
      const words = [el("span", { class: "name", text: part.label }),
        el("span", { class: "state", text: part.seconds ? `${part.state}, ${duration(part.seconds)}` : part.state })];
      const begun = typeof part.at === "number";
      return el("li", { class: part.state },
        begun ? el("button", { type: "button", title: "Go to its output", on: { click: () => output.reveal(part.at) } }, ...words)
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
    if (this.view.outcome.dataset.key === key) return;
    this.view.outcome.dataset.key = key;
    this.view.outcome.replaceChildren(...words);
    if (run.error) this.#failing();
  }
}
