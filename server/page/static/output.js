// A run's output as it grows, of which the page holds a bounded part: its beginning and its end.

import { get, runPath } from "./api.js";
import { el, put } from "./dom.js";
import { after, number, plural, points } from "./format.js";
import { Figures } from "./figures.js";

/** Lines and figures that are on the page, of which half are the beginning. */
const LINES = 2000;
const FIGURES = 200;
/** A piece of text is closed when it has so many lines or characters. */
const PIECE_LINES = 100;
const PIECE_TEXT = 16000;
const TEXT = (LINES / PIECE_LINES) * PIECE_TEXT;
/** More than this that is missing is not fetched but left out. */
const MISSING = 120000;
const TAIL = 50000;
/** Milliseconds between two such leaps. */
const REST = 500;

const STREAM = /^\[(stdout|stderr)\]$/;
const FAILING = /^(-+> ?\d+|[\w.]+(Error|Exception|Interrupt|Exit|Iteration)(:|$))/;

export class Output {
  /** Of the run `id`; `update` says what there is of it. */
  constructor(id) {
    this.id = id;
    this.known = 0;
    this.end = 0;
    this.items = [];
    this.gap = null;
    this.pending = [];
    this.stream = "stdout";
    // Until it is known where its outputs stand.
    this.busy = true;
    this.follow = false;
    this.clears = null;
    this.floor = 0;
    this.jumped = -Infinity;
    this.figures = new Figures(id);
    this.live = el("div", { class: "text live", hidden: true });
    this.trouble = el("p", { class: "trouble", hidden: true });
    this.flow = el("div", { class: "flow" });
    this.node = el("div", {
      class: "output", tabindex: "0", role: "group", "aria-label": `Output of run ${id}`, hidden: true,
    }, this.flow, this.live, this.trouble);
    this.node.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.node;
      this.follow = scrollHeight - scrollTop - clientHeight < 40;
    }, { passive: true });
  }

  /** Where the outputs stand is known; from now on text is taken. */
  begin(places, run) {
    this.busy = false;
    this.clears = run.clears;
    for (const [index, at] of places.entries()) this.place(index + 1, at, false);
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
    else if (this.end < this.known) this.#catchUp();
    this.#settle();
  }

  /** Text that has come, from character `at` on. */
  push(at, text) {
    this.known = Math.max(this.known, at + points(text));
    if (this.busy) return;
    if (at > this.end) this.#catchUp();
    else this.#append(after(text, this.end - at));
  }

  /** The output number `n` stands before character `at`; `isNew` if it is another than before. */
  place(n, at, isNew) {
    const here = this.items.find((one) => one.n === n);
    if (here && isNew) this.figures.renew(here.node, n);
    if (here || this.pending.some((one) => one.n === n)) return;
    if (this.gap && at >= this.gap.from && at < this.gap.to) return;
    if (at < this.end) this.#insert(n, at);
    else {
      this.pending.push({ n, at });
      this.pending.sort((a, b) => a.at - b.at || a.n - b.n);
      if (at === this.end && !this.busy) this.#due();
    }
    this.#trim();
    this.#settle();
  }

  /** What came after character `at` and `outputs` outputs is forgotten, for the `clears`th time. */
  clear(at, outputs, clears) {
    this.clears = clears;
    this.stream = "stdout";
    this.pending = this.pending.filter((one) => one.n <= outputs);
    if (this.gap && at < this.gap.to) {
      this.gap.node.remove();
      this.gap = null;
      at = 0;
    }
    this.floor = at;
    const isGone = (item) => (item.n === undefined ? item.end > at : item.n > outputs);
    while (this.items.length && isGone(this.items.at(-1))) this.items.pop().node.remove();
    // A piece that had more than what is left is fetched anew, and ends there from now on.
    this.end = this.items.at(-1)?.end ?? 0;
    this.known = at;
    if (this.end < at) this.#catchUp();
    this.#settle();
  }

  /** Bring the character number `at` into view. */
  reveal(at) {
    const item = this.items.find((one) => one.end > at) ?? this.items.at(-1);
    this.follow = false;
    if (item) this.node.scrollTop += item.node.getBoundingClientRect().top - this.node.getBoundingClientRect().top;
    this.node.focus({ preventScroll: true });
  }

  async #catchUp() {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.end < this.known) {
        if (this.known - this.end > MISSING) await this.#rest();
        const missing = this.known - this.end;
        if (missing > MISSING && this.end > 0) this.#leaveOut(this.known - TAIL);
        const most = missing > MISSING ? TAIL : Math.min(missing, 200000);
        const times = this.clears;
        const piece = await get(runPath(this.id, `/text?at=${this.end}&most=${most}`));
        if (times !== this.clears) continue;
        this.known = Math.max(this.known, piece.length);
        if (!piece.text) break;
        this.#append(after(piece.text, this.end - piece.at));
      }
      this.#due();
      this.#say("");
    } catch (error) {
      this.#say(error.message);
    } finally {
      this.busy = false;
    }
  }

  /** Output that comes faster than anybody reads is looked at now and then. */
  async #rest() {
    const wait = this.jumped + REST - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    if (this.end > 0) this.jumped = performance.now();
  }

  #say(words) {
    put(this.trouble, words);
    this.trouble.hidden = !words;
    this.#settle();
  }

  /** Text at the end, cut where outputs stand. */
  #append(text) {
    while (text) {
      this.#due();
      const next = this.pending[0];
      const floor = this.floor > this.end ? this.floor - this.end : Infinity;
      const room = Math.min(next ? next.at - this.end : Infinity, floor);
      if (points(text) <= room) {
        this.#write(text);
        break;
      }
      const head = [...text].slice(0, room).join("");
      this.#write(head);
      text = text.slice(head.length);
    }
    this.#due();
    this.#trim();
    this.#settle();
  }

  #due() {
    while (this.pending.length && this.pending[0].at <= this.end) {
      const { n, at } = this.pending.shift();
      this.#add({ n, at, end: at, lines: 0, size: 0, node: this.figures.node(n) });
    }
  }

  /** Text without outputs in it: pieces of at most so many lines. */
  #write(text) {
    let line = "";
    let begin = 0;
    while (begin < text.length) {
      let stop = text.indexOf("\n", begin) + 1;
      const ends = stop > 0;
      if (!ends || stop - begin > PIECE_TEXT) stop = Math.min(text.length, begin + PIECE_TEXT);
      if (/[\ud800-\udbff]/.test(text[stop - 1]) && stop < text.length) stop += 1;
      line = text.slice(begin, stop);
      begin = stop;
      let last = this.items.at(-1);
      const fresh = !last?.text || last.text.endsWith("\n");
      const mark = fresh && line.length < 12 && STREAM.exec(line.trimEnd());
      if (mark) this.stream = mark[1];
      if (!last || last.n !== undefined || mark || last.end === this.floor || last.lines >= PIECE_LINES || last.size + line.length > PIECE_TEXT) {
        last = { at: this.end, end: this.end, lines: 0, size: 0, text: "", node: this.#block(), waiting: "" };
        this.#add(last);
      }
      const count = points(line);
      this.end += count;
      last.end = this.end;
      last.lines += line.endsWith("\n") ? 1 : 0;
      last.size += line.length;
      last.text = line;
      if (mark) continue;
      if (this.stream === "stderr" && FAILING.test(line)) {
        this.#flush(last);
        last.node.append(el("span", { class: "failing", text: line }));
      } else last.waiting += line;
    }
    for (const item of this.items.slice(-30)) this.#flush(item);
  }

  #flush(item) {
    if (!item.waiting) return;
    item.node.append(item.waiting);
    item.waiting = "";
  }

  #block() {
    const before = this.items.at(-1)?.node;
    const isErr = this.stream === "stderr";
    const begins = isErr && !before?.classList.contains("stderr");
    return el("div", { class: `text${isErr ? " stderr" : ""}${begins ? " begins" : ""}` });
  }

  #add(item) {
    // Long pieces may come in one go.
    if (this.items.length > 60) {
      for (const one of this.items) this.#flush(one);
      this.#trim();
    }
    this.items.push(item);
    this.flow.append(item.node);
  }

  /** An output that is told late, in the middle of what is here. */
  #insert(n, at) {
    const index = this.items.findIndex((item) => item.end > at || (item.n !== undefined && item.at === at && item.n > n));
    const item = { n, at, end: at, lines: 0, size: 0, node: this.figures.node(n) };
    const next = this.items[index];
    if (!next) return this.#add(item);
    // Within a piece of text it stands before the piece that holds its place.
    next.node.before(item.node);
    this.items.splice(index, 0, item);
    this.#trim();
    return undefined;
  }

  /** How many items are the beginning. */
  #head() {
    if (this.gap) return this.gap.index;
    let lines = 0;
    let size = 0;
    let figures = 0;
    const index = this.items.findIndex((item) => {
      lines += item.lines;
      size += item.size;
      figures += item.n === undefined ? 0 : 1;
      return lines > LINES / 2 || size > TEXT / 2 || figures > FIGURES / 2;
    });
    return index < 0 ? this.items.length : index;
  }

  #trim() {
    const sum = (key) => this.items.reduce((total, item) => total + item[key], 0);
    let lines = sum("lines");
    let size = sum("size");
    let figures = this.items.filter((item) => item.n !== undefined).length;
    while ((lines > LINES || size > TEXT || figures > FIGURES) && this.items.length > 2) {
      const index = Math.min(this.#head(), this.items.length - 2);
      this.#open(index);
      const [gone] = this.items.splice(index, 1);
      gone.node.remove();
      lines -= gone.lines;
      size -= gone.size;
      this.gap.to = gone.end;
      if (gone.n !== undefined) {
        figures -= 1;
        this.gap.figures += 1;
      }
    }
    if (this.gap) this.#hide(0);
  }

  /** The gap after the first `index` items, made if there is none. */
  #open(index) {
    if (this.gap) return;
    const from = index ? this.items[index - 1].end : 0;
    const words = el("span");
    const link = el("button", { class: "link", type: "button", text: "Show all in pieces",
      on: { click: () => this.#pieces() } });
    const node = el("p", { class: "gap" }, words, " ", link);
    this.gap = { index, from, to: from, figures: 0, node, words };
    if (index) this.items[index - 1].node.after(node);
    else this.flow.prepend(node);
  }

  async #pieces() {
    try {
      // Hardly ever needed, so it is fetched when it is.
      const { pieces } = await import("./pieces.js");
      pieces(this.id, this.gap?.from ?? 0);
    } catch {
      this.#say("The server cannot be reached.");
    }
  }

  #hide(more) {
    this.gap.figures += more;
    const figures = this.gap.figures ? ` and ${plural(this.gap.figures, "figure")}` : "";
    put(this.gap.words, `${number(this.gap.to - this.gap.from)} characters${figures} are left out here.`);
  }

  /** Go on at character `to`. */
  #leaveOut(to) {
    const index = this.#head();
    this.#open(index);
    for (const item of this.items.splice(index)) {
      if (item.n !== undefined) this.gap.figures += 1;
      item.node.remove();
    }
    const skipped = this.pending.filter((one) => one.at < to);
    this.pending = this.pending.filter((one) => one.at >= to);
    this.gap.figures += skipped.length;
    this.gap.to = this.end = to;
    this.#hide(0);
  }

  #settle() {
    this.node.hidden = !this.items.length && !this.pending.length && this.live.hidden && this.trouble.hidden;
    if (this.follow) this.node.scrollTop = this.node.scrollHeight;
  }
}
