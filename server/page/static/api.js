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
  try {
    answer = await fetch(path, { credentials: "same-origin", redirect: "error", ...options });
  } catch {
    throw new Failure("The server cannot be reached.", 0);
  }
  const isJson = (answer.headers.get("Content-Type") || "").includes("json");
  const body = isJson ? await answer.json().catch(() => null) : null;
  if (answer.ok) return body;
  if (answer.status === 401) dispatchEvent(new Event("page-login"));
  throw new Failure(body?.error || `The server answered with error ${answer.status}.`, answer.status);
}

export const get = (path) => ask(path, { headers: { Accept: "application/json" } });

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
