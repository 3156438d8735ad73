// What the server tells, as it happens: reconnects by itself and goes on where it stopped.

/** Seconds that a hidden page keeps its connection: browsers allow a host six. */
const HIDDEN = 5;
/** Windows that have one all the time, so that some are left for everything else. The others look
 * now and then: milliseconds that they look, and between two looks. */
const PLACES = 4;
const LOOK = 400;
const BETWEEN = 2000;
/** Milliseconds without a word after which a connection is taken for lost, as one is when the machine
 * has slept: the server says something every 15 seconds. */
const SILENCE = 35000;

/** A place among those windows: a function that gives it back, or null where all are taken. */
async function place() {
  // Browsers have no locks for a page that came by http from another machine.
  if (!navigator.locks) return () => {};
  for (let n = 0; n < PLACES; n += 1) {
    const leave = await new Promise((got) => {
      navigator.locks.request(`stream ${n}`, { ifAvailable: true },
        (lock) => (lock ? new Promise((left) => got(left)) : got(null))).catch(() => got(null));
    });
    if (leave) return leave;
  }
  return null;
}

export class Feed {
  /** `told(event)` for every event; `state(connected)` at every change; `reset()` when what was
   * missed is no longer kept and everything must be fetched anew. */
  constructor({ told, state, reset }) {
    Object.assign(this, { told, state, reset });
    this.source = null;
    this.leave = null;
    this.turn = null;
    this.mark = null;
    this.delay = 500;
    this.retry = 0;
    this.rest = 0;
    this.silence = 0;
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.mark !== null && this.open());
    addEventListener("pageshow", (event) => event.persisted && this.mark !== null && this.open());
  }

  /** Begin at `mark`. */
  start(mark) {
    this.mark = mark;
    this.open();
  }

  stop() {
    this.#shut();
    this.mark = null;
  }

  async open() {
    this.#shut();
    const turn = (this.turn = {});
    const leave = await place();
    if (turn !== this.turn) {
      leave?.();
      return;
    }
    this.leave = leave;
    const source = new EventSource(`/page/events?mark=${encodeURIComponent(this.mark)}`);
    this.source = source;
    this.#heard();
    source.addEventListener("still", () => source === this.source && this.#heard());
    source.onopen = () => {
      this.delay = 500;
      this.state(true);
      if (leave || source !== this.source) return;
      clearTimeout(this.retry);
      this.retry = setTimeout(() => {
        this.#shut();
        this.retry = setTimeout(() => this.open(), BETWEEN);
      }, LOOK);
    };
    source.onmessage = (message) => {
      if (source !== this.source) return;
      this.#heard();
      const event = JSON.parse(message.data);
      if (event.reset) {
        this.stop();
        this.reset();
        return;
      }
      if (message.lastEventId) this.mark = message.lastEventId;
      this.told(event);
    };
    source.onerror = () => {
      if (source !== this.source) return;
      this.state(false);
      // It tries again by itself after a broken connection, but not after an answer that is none.
      if (source.readyState === EventSource.CLOSED) this.#later();
    };
  }

  #heard() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.open(), SILENCE);
  }

  #later() {
    this.#shut();
    this.retry = setTimeout(() => this.reset(), this.delay);
    this.delay = Math.min(this.delay * 2, 15000);
  }

  #shut() {
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    this.source?.close();
    this.leave?.();
    this.source = this.leave = this.turn = null;
  }

  #seen() {
    clearTimeout(this.rest);
    if (this.mark === null) return;
    if (document.hidden) this.rest = setTimeout(() => this.#shut(), HIDDEN * 1000);
    else if (this.source === null) this.open();
  }
}
