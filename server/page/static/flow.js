// What of a run's output is on the page, in its order: pieces of text and figures, of which the
// beginning and the end are kept.

import { el } from "./dom.js";
import { points } from "./format.js";
import { Gap } from "./gap.js";

/** Lines and figures that are on the page, of which half are the beginning. */
const LINES = 2000;
const FIGURES = 200;
/** A piece of text is closed when it has so many lines or characters. */
const PIECE_LINES = 100;
const PIECE_TEXT = 16000;
const TEXT = (LINES / PIECE_LINES) * PIECE_TEXT;

const STREAM = /^\[(stdout|stderr)\]$/;
const FAILING = /^(-+> ?\d+|[\w.]+(Error|Exception|Interrupt|Exit|Iteration)(:|$))/;

export class Flow {
  /** Of the run `id`; `trouble(words)` tells what did not work. `end`: characters that it has taken. */
  constructor(id, trouble) {
    this.id = id;
    this.told = trouble;
    this.end = 0;
    this.items = [];
    this.gap = null;
    this.stream = "stdout";
    this.floor = 0;
    this.node = el("div", { class: "flow" });
  }

  /** The box of the output number `n`, if it is here. */
  figure(n) {
    return this.items.find((one) => one.n === n)?.node;
  }

  /** Whether what stands at character `at` is left out. */
  lacks(at) {
    return this.gap !== null && at >= this.gap.from && at < this.gap.to;
  }

  /** The box that has the character number `at`. */
  at(at) {
    return (this.items.find((one) => one.end > at) ?? this.items.at(-1))?.node;
  }

  /** Text at the end, without outputs in it: pieces of at most so many lines. */
  write(text) {
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
      if (!last || last.n !== undefined || mark || last.end === this.floor || last.end !== this.end || last.lines >= PIECE_LINES || last.size + line.length > PIECE_TEXT) {
        last = { at: this.end, end: this.end, lines: 0, size: 0, text: "", node: this.#block(), waiting: "" };
        this.#push(last);
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

  #push(item) {
    // Long pieces may come in one go.
    if (this.items.length > 60) {
      for (const one of this.items) this.#flush(one);
      this.trim();
    }
    this.items.push(item);
    this.node.append(item.node);
  }

  /** The output number `n` at the end. */
  add(n, at, node) {
    this.#push({ n, at, end: at, lines: 0, size: 0, node });
  }

  /** An output that is told late, in the middle of what is here. */
  insert(n, at, node) {
    const index = this.items.findIndex((item) => item.end > at || (item.n !== undefined && item.at === at && item.n > n));
    const next = this.items[index];
    if (!next) {
      this.add(n, at, node);
      return;
    }
    // Within a piece of text it stands before the piece that holds its place.
    next.node.before(node);
    this.items.splice(index, 0, { n, at, end: at, lines: 0, size: 0, node });
    this.trim();
  }

  /** Forget what came after character `at` and after `outputs` outputs. The character up to which
   * text is wanted now: 0 where that one was left out. */
  cut(at, outputs) {
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
    this.stream = this.items.at(-1)?.node.classList.contains("stderr") ? "stderr" : "stdout";
    return at;
  }

  /** Take the text from character `at` on back, since it comes anew. False where more than text
   * stands there. */
  reopen(at) {
    if (this.gap && at < this.gap.to) return false;
    if (this.items.some((item) => item.n !== undefined && item.at > at)) return false;
    if (this.end > at) this.cut(at, Infinity);
    return true;
  }

  /** The server's rendering of what stands up to character `end`. */
  quote(content, end) {
    const node = this.#block();
    node.append(content);
    this.#push({ at: this.end, end, lines: node.textContent.split("\n").length, size: node.textContent.length, text: "\n", node });
    this.end = this.floor = end;
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

  /** Leave out of the middle what is too much. */
  trim() {
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
    this.gap?.show();
  }

  /** The gap after the first `index` items, made if there is none. */
  #open(index) {
    if (this.gap) return;
    const from = index ? this.items[index - 1].end : 0;
    this.gap = new Gap(this.id, index, from, this.told);
    if (index) this.items[index - 1].node.after(this.gap.node);
    else this.node.prepend(this.gap.node);
  }

  /** Go on at character `to`; `figures` outputs that are not here yet are left out, too. */
  leaveOut(to, figures) {
    const index = this.#head();
    this.#open(index);
    for (const item of this.items.splice(index)) {
      if (item.n !== undefined) this.gap.figures += 1;
      item.node.remove();
    }
    this.gap.figures += figures;
    this.gap.to = this.end = to;
    this.gap.show();
  }
}
