// The page: what the server tells is kept in `model`, and shown by the view that the address names.

import { get, post, runPath } from "./api.js";
import { byId, el, put, say, tell } from "./dom.js";
import { Feed } from "./feed.js";
import { plural } from "./format.js";
import { SessionList } from "./sessions.js";
import { idOf, standing } from "./standing.js";
import { Stream } from "./stream.js";

/** Runs that are remembered. */
const RUNS = 400;

const model = { sessions: new Map(), runs: new Map() };
const list = new SessionList();
const content = byId("content");
let stream = null;
let tries = 0;

const feed = new Feed({ told, state: connected, reset: () => load() });

/** loading, ready, login or error: what the page as a whole shows. */
function turn(state) {
  document.body.dataset.state = state;
  byId("loading").hidden = state !== "loading";
}

async function load() {
  let state;
  try {
    state = await get("/page/state");
  } catch (error) {
    if (error.status === 401) return;
    if (stream === null) showError(error);
    connected(false);
    tries += 1;
    setTimeout(load, Math.min(15000, 500 * 2 ** tries));
    return;
  }
  tries = 0;
  model.sessions = new Map(state.sessions.map((session) => [session.name, stamp(session)]));
  model.runs = new Map(state.runs.map((run) => [run.id, stamp(run)]));
  put(byId("me"), state.me ?? "");
  byId("logout").hidden = !state.login;
  turn("ready");
  connected(true);
  if (stream?.renew()) refresh();
  else {
    stream = null;
    route();
  }
  feed.start(state.mark);
}

const stamp = (thing) => Object.assign(thing, { told: performance.now() });

function showError(error) {
  turn("error");
  content.replaceChildren(el("div", { class: "notice error-state", role: "alert" },
    el("h1", { text: "The runs cannot be shown" }),
    el("p", { text: error.message }),
    el("p", { class: "hint", text: "The page tries again by itself." }),
    el("button", { type: "button", class: "primary", text: "Try now", on: { click: load } })));
}

addEventListener("page-login", async () => {
  if (document.body.dataset.state === "login") return;
  feed.stop();
  stream = null;
  model.sessions.clear();
  model.runs.clear();
  list.show(model.sessions, "");
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  put(byId("asks"), "");
  put(byId("me"), "");
  byId("connection").hidden = true;
  byId("logout").hidden = true;
  document.title = "Log in · Live runs";
  turn("login");
  content.replaceChildren();
  const { loginForm } = await import("./login.js");
  const form = loginForm(() => {
    turn("loading");
    content.replaceChildren();
    load();
  });
  content.replaceChildren(form.node);
  form.focus();
});

byId("logout").addEventListener("click", async () => {
  try {
    await post("/page/logout", {});
  } catch (error) {
    tell(error.message);
    return;
  }
  dispatchEvent(new Event("page-login"));
});

// what happens

function told(event) {
  for (const session of event.sessions ?? []) model.sessions.set(session.name, stamp(session));
  for (const name of event.closed ?? []) model.sessions.delete(name);
  for (const run of event.runs ?? []) {
    announce(model.runs.get(run.id), run);
    if (model.runs.has(run.id)) model.runs.set(run.id, stamp(run));
    else model.runs = new Map([[run.id, stamp(run)], ...[...model.runs].slice(0, RUNS)]);
  }
  const isChange = event.sessions?.length || event.closed?.length || event.runs?.length;
  stream?.told(event);
  if (isChange) refresh();
}

function refresh() {
  list.show(model.sessions, stream?.name ?? "");
  stream?.show();
  const asking = [...model.runs.values()].filter((run) => run.question);
  byId("asks").replaceChildren(...asking.slice(0, 1).map((run) =>
    el("a", { href: `#${idOf(run.id)}`, text: asking.length > 1 ? `${plural(asking.length, "program")} ask` : "A program asks" })));
  const running = [...model.runs.values()].filter((run) => run.state === "running").length;
  const name = stream?.name ? `${stream.name} · Live runs` : "Live runs";
  const title = asking.length ? `(asks) ${name}` : running ? `(${running}) ${name}` : name;
  if (document.title !== title) document.title = title;
}

function announce(before, run) {
  if (run.question && before?.question?.serial !== run.question.serial) {
    say(`Run ${run.id} in ${run.session} asks: ${run.question.prompt}`);
  }
  if (run.state === "ended" && before?.state !== "ended") say(`Run ${run.id} in ${run.session}: ${standing(run)[0]}.`);
  else if (run.state === "running" && before?.state !== "running") say(`Run ${run.id} in ${run.session} has begun.`);
}

let quiet = 0;

/** The bar about the connection, which tells of a loss only when it lasts. */
function connected(yes) {
  const bar = byId("connection");
  if (yes) {
    clearTimeout(quiet);
    quiet = 0;
    if (!bar.hidden && bar.textContent) say("Connected again.");
    bar.hidden = true;
    put(bar, "");
  } else {
    quiet ||= setTimeout(() => {
      bar.hidden = false;
      put(bar, "Not connected. The page tries again by itself and then catches up with what it missed.");
    }, 700);
  }
  document.body.toggleAttribute("data-offline", !yes);
}

// where the page is

async function route() {
  if (document.body.dataset.state !== "ready") return;
  const hash = location.hash.slice(1);
  const at = decode(hash);
  fold();
  if (at.startsWith("run-")) return revealRun(at.slice(4));
  open(at.startsWith("session-") ? at.slice(8) : "");
  return undefined;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Look at the session `name`, or all with ""; only the run `linked` is unfolded, if there is one. */
function open(name, linked = null) {
  if (stream?.name !== name) {
    stream = new Stream(name, model, linked);
    content.replaceChildren(stream.node);
    stream.begin();
    scrollTo(0, 0);
  }
  refresh();
}

async function revealRun(id) {
  let run = model.runs.get(id) ?? [...model.runs.values()].find((one) => String(one.id) === id);
  if (!run) {
    try {
      run = stamp((await get(runPath(id))).run);
    } catch (error) {
      if (error.status === 401) return;
      open("");
      content.firstChild.prepend(el("p", { class: "notice", role: "alert", text: `Run ${id}: ${error.message}` }));
      return;
    }
  }
  if (!stream?.has(run.id)) open(run.session, run.id);
  stream.reveal(run);
}

// the bar on a phone

const menu = byId("menu");

function fold() {
  document.body.removeAttribute("data-menu");
  menu.setAttribute("aria-expanded", "false");
}

menu.addEventListener("click", () => {
  const isOpen = document.body.toggleAttribute("data-menu");
  menu.setAttribute("aria-expanded", String(isOpen));
});

addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !document.body.hasAttribute("data-menu")) return;
  fold();
  menu.focus();
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("stream").focus();
  byId("stream").scrollIntoView();
});
addEventListener("hashchange", route);
setInterval(() => {
  if (document.hidden || document.body.hasAttribute("data-offline")) return;
  list.tick(model.sessions);
  stream?.tick();
}, 1000);
load();
