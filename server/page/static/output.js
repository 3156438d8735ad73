// A run's output as it grows: what the server tells of it and what has to be fetched.

import { again, get, runPath } from "./api.js";
import { el, put, trusted } from "./dom.js";
import { Figures } from "./figures.js";
import { Flow } from "./flow.js";
import { after, points } from "./format.js";

/** More than this that is missing is not fetched but left out. */
const MISSING = 120000;
const TAIL = 50000;
/** Milliseconds between two such leaps. */
const REST = 500;

export class Output {
  /** Of the run `id`; `update` says what there is of it. */
  constructor(id) {
    this.id = id;
    this.known = 0;
    this.pending = [];
    // Until it is known where its outputs stand.
    this.busy = true;
    this.follow = false;
    this.clears = null;
    this.traceback = null;
    this.jumped = -Infinity;
    this.figures = new Figures(id);
    this.flow = new Flow(id, (words) => this.#say(words));
    this.live = el("div", { class: "text live", hidden: true });
    this.trouble = el("p", { class: "trouble", hidden: true });
    this.node = el("div", {
      class: "output", tabindex: "0", role: "group", "aria-label": `Output of run ${id}`, hidden: true,
    }, this.flow.node, this.live, this.trouble);
    this.node.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.node;
      this.follow = scrollHeight - scrollTop - clientHeight < 40;
    }, { passive: true });
    // Figures grow when they are loaded.
    new ResizeObserver(() => this.#settle()).observe(this.flow.node);
  }

  /** Where the outputs stand is known; from now on text is taken. */
  begin(places, run) {
    this.busy = false;
    this.clears = run.clears;
    for (const [index, at] of places.entries()) this.place(index + 1, at, false);
    // Some may have been told of before.
    this.#due();
    this.update(run);
  }

  /** The run as it is now; fetches what is missing. */
  update(run) {
    if (run.clears !== this.clears) {
      if (this.clears !== null) this.clear(0, 0, run.clears);
      this.clears = run.clears;
    }
    this.known = Math.max(this.known, run.length);
    // What asks has a form of its own.
    const line = run.question ? "" : run.line;
    put(this.live, line || "");
    this.live.hidden = !line;
    if (run.gone) this.#say("The output is not kept any more.");
    else if (run.trouble) this.#say(`The whole output could not be kept: ${run.trouble}.`);
    else if (this.flow.end < this.known) this.#catchUp();
    this.#settle();
  }

  /** Text that has come, from character `at` on. */
  push(at, text) {
    this.known = Math.max(this.known, at + points(text));
    if (this.busy) return;
    if (at > this.flow.end) this.#catchUp();
    else this.#append(after(text, this.flow.end - at));
  }

  /** The output number `n` stands before character `at`; `isNew` if it is another than before. */
  place(n, at, isNew) {
    const here = this.flow.figure(n);
    if (here && isNew) this.figures.renew(here, n);
    if (here || this.pending.some((one) => one.n === n)) return;
    if (this.flow.lacks(at)) return;
    if (at < this.flow.end) this.flow.insert(n, at, this.figures.node(n));
    else {
      this.pending.push({ n, at });
      this.pending.sort((a, b) => a.at - b.at || a.n - b.n);
      if (at === this.flow.end && !this.busy) this.#due();
    }
    this.flow.trim();
    this.#settle();
  }

  /** What came after character `at` and `outputs` outputs is forgotten, for the `clears`th time. */
  clear(at, outputs, clears) {
    this.clears = clears;
    this.traceback = null;
    this.pending = this.pending.filter((one) => one.n <= outputs);
    this.known = this.flow.cut(at, outputs);
    if (this.flow.end < this.known) this.#catchUp();
    this.#settle();
  }

  /** The run has failed: what it wrote from character `at` to before `end` is a traceback, shown by
   * `html` of the server. */
  fail({ html, at, end }) {
    if (this.traceback || !this.flow.reopen(at)) return;
    this.traceback = { html, at, end };
    this.known = Math.max(this.known, end);
    if (!this.busy) this.#catchUp();
  }

  /** Bring the character number `at` into view. */
  reveal(at) {
    const box = this.flow.at(at);
    this.follow = false;
    if (box) this.node.scrollTop += box.getBoundingClientRect().top - this.node.getBoundingClientRect().top;
    this.node.focus({ preventScroll: true });
  }

  async #catchUp() {
    if (this.busy) return;
    this.busy = true;
    const { flow } = this;
    try {
      while (flow.end < this.known) {
        if (this.known - flow.end > MISSING) await this.#rest();
        const missing = this.known - flow.end;
        if (missing > MISSING && flow.end > 0) this.#leaveOut(this.known - TAIL);
        const most = missing > MISSING ? TAIL : Math.min(missing, 200000);
        const [times, begin] = [this.clears, flow.end];
        const piece = await get(runPath(this.id, `/text?at=${begin}&most=${most}`));
        if (times !== this.clears || begin !== flow.end) continue;
        this.known = Math.max(this.known, piece.length);
        if (!piece.text) break;
        this.#append(after(piece.text, flow.end - piece.at));
      }
      this.#due();
      this.#say("");
    } catch (error) {
      this.#say(error.message);
      again(error, this.node, () => this.#catchUp());
    } finally {
      this.busy = false;
    }
  }

  /** Output that comes faster than anybody reads is looked at now and then. */
  async #rest() {
    const wait = this.jumped + REST - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    if (this.flow.end > 0) this.jumped = performance.now();
  }

  #leaveOut(to) {
    const skipped = this.pending.filter((one) => one.at < to);
    this.pending = this.pending.filter((one) => one.at >= to);
    this.flow.leaveOut(to, skipped.length);
  }

  /** Text at the end, cut where outputs stand. */
  #append(text) {
    const { flow } = this;
    while (text) {
      this.#due();
      const skipped = this.#quote();
      if (skipped) {
        text = after(text, skipped);
        continue;
      }
      const stops = [this.pending[0]?.at, flow.floor, this.traceback?.at].filter((at) => at > flow.end);
      const room = Math.min(...stops) - flow.end;
      if (points(text) <= room) {
        flow.write(text);
        break;
      }
      const head = [...text].slice(0, room).join("");
      flow.write(head);
      text = text.slice(head.length);
    }
    this.#due();
    flow.trim();
    this.#settle();
  }

  /** The traceback, where it stands here; how many characters it stands for. */
  #quote() {
    if (this.traceback?.at !== this.flow.end) return 0;
    const { html, at, end } = this.traceback;
    const content = trusted(html);
    // It can be scrolled sideways, also by keys.
    for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "Traceback"]]) content.firstElementChild.setAttribute(name, value);
    this.flow.quote(content, end);
    return end - at;
  }

  #due() {
    while (this.pending.length && this.pending[0].at <= this.flow.end) {
      const { n, at } = this.pending.shift();
      this.flow.add(n, at, this.figures.node(n));
    }
  }

  #say(words) {
    put(this.trouble, words);
    this.trouble.hidden = !words;
    this.#settle();
  }

  #settle() {
    this.node.hidden = !this.flow.items.length && !this.pending.length && this.live.hidden && this.trouble.hidden;
    if (this.follow) this.node.scrollTop = this.node.scrollHeight;
  }
}
