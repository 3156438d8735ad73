// The runs at the right: of all sessions or of one, newest first, with its history and a search.

import { get, sessionPath } from "./api.js";
import { runForm } from "./controls.js";
import { el, put } from "./dom.js";
import { plural } from "./format.js";
import { Card } from "./runs.js";
import { SessionHead } from "./sessions.js";

/** Cards that unfold by themselves and stay so; runs of a list that are kept on the page. */
const OPEN = 6;
const FIRST = 3;
const CARDS = 300;
/** With fewer runs than this a session's view fetches its history by itself. */
const FEW = 20;
/** With fewer runs than this the server has told of all that there are. */
const ALL = 100;

const drafts = new Map();

export class Stream {
  /** Of the session `name`, or of all with ""; `linked`: the run that alone is unfolded; `model` has `sessions` and `runs` (newest first). */
  constructor(name, model, linked = null) {
    this.name = name;
    this.model = model;
    this.cards = new Map();
    this.find = "";
    this.linked = linked;
    this.head = name ? new SessionHead(name) : null;
    this.list = el("ol", { class: "runs", on: { keydown: (event) => this.#walk(event) } });
    this.empty = el("p", { class: "notice empty", hidden: true });
    this.count = el("p", { class: "hint", role: "status" });
    this.older = el("button", { type: "button", class: "older", text: "Show older runs", hidden: !name,
      on: { click: () => this.#more(true) } });
    this.node = el("div", { class: name ? "view one" : "view" },
      this.head?.node ?? el("header", { class: "session-head" }, el("h1", { text: "All sessions" })));
    if (name) {
      this.form = runForm(name, drafts);
      this.node.append(this.form);
    }
    this.node.append(el("div", { class: "runs-head" }, el("h2", { text: "Runs" }), this.count, name ? this.#search() : null),
      this.list, this.empty, this.older);
    this.show();
  }

  #search() {
    let timer = 0;
    const field = el("input", { type: "search", id: "find", placeholder: "Find in the history", "aria-label": `Find in the history of ${this.name}` });
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#found(field.value.trim()), 250);
    });
    return el("form", { class: "find", role: "search", on: { submit: (event) => {
      event.preventDefault();
      clearTimeout(timer);
      this.#found(field.value.trim());
    } } }, field);
  }

  async #found(words) {
    if (words === this.find) return;
    this.find = words;
    for (const card of this.cards.values()) card.node.remove();
    this.cards.clear();
    if (words) await this.#more();
    else this.show();
  }

  /** The next older runs of the history. */
  async #more(asked = false) {
    const find = this.find;
    const before = [...this.cards.keys()].at(-1);
    const query = { ...(before !== undefined && { before }), ...(find && { find }) };
    this.older.disabled = true;
    try {
      const { runs, more } = await get(sessionPath("history", this.name, query));
      if (find !== this.find) return;
      for (const run of runs) this.#add({ ...run, told: performance.now() }, false);
      this.older.hidden = !more;
      this.#tell(asked && !more ? "That is all." : "");
    } catch (error) {
      const isGone = error.status === 404;
      if (isGone) this.older.hidden = true;
      this.#tell(isGone ? "" : error.message);
    }
    this.older.disabled = false;
  }

  /** The history, where the newest runs of all sessions hold none of this one. */
  begin() {
    if (this.name && this.cards.size < FEW) this.#more();
  }

  #tell(words) {
    const counted = this.find && this.cards.size ? `${plural(this.cards.size, "run")} with “${this.find}”` : "";
    put(this.count, words || counted);
    this.empty.hidden = this.cards.size > 0;
    put(this.empty, this.find ? "No run of this session has these words."
      : this.name && !this.model.sessions.has(this.name) ? "There is no such session now, and no run of it is remembered."
      : this.name ? "No runs yet. What is run in this session appears here as it happens."
        : "No runs yet. As soon as a program is run through this server it appears here, with its output as it grows.");
  }

  #add(run, first) {
    let card = this.cards.get(run.id);
    if (card) return card;
    card = new Card(run);
    if (first) {
      this.cards = new Map([[run.id, card], ...this.cards]);
      this.list.prepend(card.node);
    } else {
      this.cards.set(run.id, card);
      this.list.append(card.node);
    }
    return card;
  }

  /** The model was fetched anew. False if what is here is of another server start. */
  renew() {
    const { runs } = this.model;
    for (const [id, card] of this.cards) {
      const run = runs.get(id);
      if (run ? !card.isOf(run) : runs.size < ALL) return false;
    }
    for (const [id, card] of this.cards) if (runs.has(id)) card.renew(runs.get(id));
    return true;
  }

  /** Everything as the model has it. */
  show() {
    this.head?.show(this.model.sessions.get(this.name));
    if (this.form) this.form.hidden = !this.model.sessions.has(this.name);
    const fresh = [];
    for (const run of this.model.runs.values()) {
      if (this.name && run.session !== this.name) continue;
      const card = this.cards.get(run.id);
      if (card) card.run !== run && card.show(run);
      else if (!this.find) fresh.push(run);
    }
    const isFirst = this.cards.size === 0;
    // Newest first in the model: what is new goes before what is here.
    for (const run of isFirst ? fresh : fresh.reverse()) this.#add(run, !isFirst);
    this.#unfold();
    this.#bound();
    this.#tell("");
  }

  /** Unfold what goes on and the newest; fold again what nobody has unfolded by hand. */
  #unfold() {
    let open = 0;
    let index = 0;
    for (const card of this.cards.values()) {
      const lives = card.run.state === "running";
      if (card.byHand || this.find) continue;
      if (((index < FIRST && this.linked === null) || lives) && open < OPEN && card.run.state !== "waiting") {
        card.open(true);
        open += 1;
      } else if (card.isOpen && !lives) {
        if (open < OPEN && this.#inView(card)) open += 1;
        else card.open(false);
      }
      if (card.run.state === "ended") index += 1;
    }
  }

  #inView(card) {
    const box = card.node.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  }

  #bound() {
    if (this.cards.size <= CARDS) return;
    for (const [id, card] of [...this.cards].slice(CARDS)) {
      if (card.run.state === "running") continue;
      card.node.remove();
      this.cards.delete(id);
    }
    this.older.hidden = !this.name;
  }

  /** Text, outputs and what was cleared, for the cards that are unfolded. */
  told({ text = [], outputs = [], cleared = [] }) {
    const view = (id) => this.cards.get(id)?.view?.output;
    for (const { run, at, outputs: left, clears } of cleared) view(run)?.clear(at, left, clears);
    // Outputs have to be known before the text that they stand in.
    for (const { run, n, at } of outputs) view(run)?.place(n, at, true);
    for (const { run, at, text: words } of text) view(run)?.push(at, words);
  }

  tick() {
    this.head?.tick();
    for (const card of this.cards.values()) if (card.run.state === "running") card.tick();
  }

  /** Bring a run into view, unfolded; it may be one of the history. */
  reveal(run) {
    const card = this.#add(run, false);
    card.byHand = true;
    card.open(true);
    this.#tell("");
    this.#pin(card.node);
    card.node.focus({ preventScroll: true });
    for (const other of this.cards.values()) other.node.toggleAttribute("data-linked", other === card);
  }

  /** Keep it in its place while what is above of it grows, until the reader moves. */
  #pin(node) {
    const place = () => node.scrollIntoView({ block: "start" });
    const watcher = new ResizeObserver(place);
    const end = () => watcher.disconnect();
    watcher.observe(this.list);
    for (const type of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(type, end, { once: true, passive: true });
    setTimeout(end, 1500);
    place();
  }

  has(id) {
    return this.cards.has(id);
  }

  /** The arrow keys walk from one run to the next. */
  #walk(event) {
    if (!event.target.classList.contains("fold") && !event.target.classList.contains("run")) return;
    const cards = [...this.cards.values()];
    const index = cards.findIndex((card) => card.node.contains(event.target));
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: cards.length - 1 }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    cards[Math.max(0, Math.min(cards.length - 1, to))].button.focus();
  }
}
