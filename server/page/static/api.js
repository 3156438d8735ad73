// Requests to the server.

/** Why something failed, in words for the reader; `status` 0 when there was no answer. */
export class Failure extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

async function ask(path, options) {
  let answer;
  let body = null;
  try {
    answer = await fetch(path, { credentials: "same-origin", redirect: "error", ...options });
    const isJson = (answer.headers.get("Content-Type") || "").includes("json");
    if (isJson) body = await answer.json();
  } catch {
    throw new Failure("The server cannot be reached.", 0);
  }
  if (answer.ok) return body;
  if (answer.status === 401) dispatchEvent(new Event("page-login"));
  throw new Failure(body?.error || `The server answered with error ${answer.status}.`, answer.status);
}

/** Milliseconds that an answer may take: a connection may be dead and look open. */
const PATIENCE = 20000;
/** And before it is asked once more. */
const PAUSE = 2000;

export const get = (path) => ask(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE) });

/** Do it again in a moment, while `node` is shown, if `error` is that there was no answer; whether it
 * is. */
export function again(error, node, work) {
  if (error.status !== 0) return false;
  setTimeout(() => node.isConnected && work(), PAUSE);
  return true;
}

export const post = (path, body) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Rmi-Page": "1" },
    body: JSON.stringify(body),
  });

/** Stop, restart, close, run, answer: see `controls.js`. */
export const act = (what) => post("/page/do", what);

export const runPath = (id, rest = "") => `/page/runs/${encodeURIComponent(id)}${rest}`;

/** `history` or `notebook` of the session `name`; `more` is the rest of the query. The name is no
 * part of the path, which browsers change where it is `..`. */
export const sessionPath = (what, name, more = {}) => `/page/${what}?${new URLSearchParams({ session: name, ...more })}`;
