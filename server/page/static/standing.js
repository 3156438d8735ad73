// How a run stands, in a word, and where it is on the page.

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
