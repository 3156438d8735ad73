// The list of sessions, and the head of the one that is looked at.

import { sessionPath } from "./api.js";
import { close, restart } from "./controls.js";
import { byId, el, put, tell } from "./dom.js";
import { about, bytes, plural, rough } from "./format.js";

const STATES = { cold: "not started", idle: "idle", busy: "running" };

const since = (session) => (performance.now() - session.told) / 1000;
const age = (session) => (session.age ?? 0) + since(session);
const idle = (session) => (session.idle ?? 0) + since(session);

/** What has to do with checkpoints, which few need, is fetched when it is asked for. */
const later = (name) => async (session) => {
  const module = await import("./branches.js").catch(() => tell("The server cannot be reached."));
  module?.[name](session);
};

/** "after run 12, 3 min ago": where the session would go back to. */
export const checkpointOf = ({ checkpoint, told }) =>
  `after run ${checkpoint.run_id}, ${about(checkpoint.age_s + (performance.now() - told) / 1000)} ago`;

export const linkTo = (name) => `#session-${encodeURIComponent(name)}`;

/** The list at the left: links, of which the arrow keys walk from one to the next. */
export class SessionList {
  constructor() {
    this.list = byId("session-list");
    this.items = new Map();
    this.list.addEventListener("keydown", (event) => this.#walk(event));
    this.all = this.#item("");
    this.list.append(this.all.node);
  }

  #item(name) {
    const item = {
      mark: el("span", { class: "mark", "aria-hidden": "true" }),
      name: el("span", { class: "name", text: name || "All sessions", title: name.length > 40 && name }),
      state: el("span", { class: "state" }),
      facts: el("span", { class: "facts" }),
    };
    item.link = el("a", { href: name ? linkTo(name) : "#" }, item.mark, item.name,
      el("span", { class: "stands" }, item.state, " ", item.facts));
    item.node = el("li", {}, item.link);
    return item;
  }

  show(sessions, selected) {
    for (const [name, item] of this.items) {
      if (sessions.has(name)) continue;
      item.node.remove();
      this.items.delete(name);
    }
    for (const session of sessions.values()) {
      if (!this.items.has(session.name)) {
        const item = this.#item(session.name);
        this.items.set(session.name, item);
        this.list.append(item.node);
      }
      const item = this.items.get(session.name);
      item.mark.className = `mark ${session.state}`;
      put(item.state, STATES[session.state] ?? session.state);
    }
    const chosen = this.items.get(selected) ?? (selected ? null : this.all);
    for (const item of [this.all, ...this.items.values()]) {
      item.link.toggleAttribute("data-here", item === chosen);
      if (item === chosen) item.link.setAttribute("aria-current", "page");
      else item.link.removeAttribute("aria-current");
    }
    this.all.node.hidden = sessions.size === 0;
    byId("no-sessions").hidden = sessions.size > 0;
    this.#rove();
    this.tick(sessions);
  }

  tick(sessions) {
    put(this.all.facts, plural(sessions.size, "session"));
    for (const session of sessions.values()) {
      // Goes on after the word for the state: "idle for 3 s · 40 MB".
      const words = [session.state === "idle" ? `for ${about(idle(session))}` : ""];
      if (session.waiting) words.push(`${session.waiting} waiting`);
      if (session.memory) words.push(bytes(session.memory));
      put(this.items.get(session.name)?.facts ?? el("i"), words.join(" · ").trimStart());
    }
  }

  /** One link is reached by Tab: the one that was last in focus, or the chosen one. */
  #rove(focused = null) {
    const links = [...this.list.querySelectorAll("a")].filter((link) => !link.parentNode.hidden);
    const stop = focused ?? links.find((link) => link === document.activeElement)
      ?? links.find((link) => link.hasAttribute("data-here")) ?? links[0];
    for (const link of links) link.tabIndex = link === stop ? 0 : -1;
    return links;
  }

  #walk(event) {
    const links = this.#rove();
    const index = links.indexOf(document.activeElement);
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || index < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const link = links[Math.max(0, Math.min(links.length - 1, to))];
    this.#rove(link);
    link.focus();
  }
}

/** The head of a session's view: its facts and what can be done with it. */
export class SessionHead {
  constructor(name) {
    this.state = el("span", { class: "badge" });
    this.facts = el("dl", { class: "facts" });
    this.values = new Map();
    this.session = null;
    const button = (text, act) => el("button", { type: "button", text, on: { click: () => this.session && act(this.session) } });
    this.buttons = el("div", { class: "row" },
      el("a", { class: "button", href: sessionPath("notebook", name), download: "", text: "Download .ipynb" }),
      this.back = button("Go back…", later("rewind")), button("Branch…", later("branch")),
      button("Restart…", restart), button("Close…", close));
    this.node = el("header", { class: "session-head" },
      el("div", { class: "title" }, el("h1", { text: name }), this.state, this.buttons), this.facts);
  }

  show(session) {
    this.session = session ?? null;
    put(this.state, session ? STATES[session.state] ?? session.state : "closed");
    this.state.className = `badge ${session?.state ?? "closed"}`;
    this.buttons.hidden = this.facts.hidden = !session;
    if (!session) return;
    this.#fact("Python", session.python || "");
    this.#fact("Environment", session.environment || "");
    this.#fact("Memory", session.memory ? bytes(session.memory) : "");
    this.#fact("Runs", String(session.runs ?? ""));
    this.#fact("Waiting", session.waiting ? String(session.waiting) : "");
    this.back.hidden = !session.checkpoint;
    this.tick();
  }

  tick() {
    const session = this.session;
    if (!session) return;
    this.#fact("Age", session.age === null ? "" : rough(age(session)));
    this.#fact("Idle", session.state === "idle" ? rough(idle(session)) : "");
    this.#fact("Checkpoint", this.#checkpoint(session));
  }

  #checkpoint(session) {
    const why = (session.no_checkpoint ?? []).join("; ");
    if (!session.checkpoint) return why && `none: ${why}`;
    const { memory_mb: size } = session.checkpoint;
    return checkpointOf(session) + (size ? `, ${bytes(size * 1e6)}` : "") + (why && `, no newer one: ${why}`);
  }

  #fact(name, text) {
    if (!this.values.has(name)) {
      const value = el("dd");
      const pair = el("div", {}, el("dt", { text: name }), value);
      this.values.set(name, { value, pair });
      this.facts.append(pair);
    }
    const { value, pair } = this.values.get(name);
    put(value, text);
    pair.hidden = text === "";
  }
}
