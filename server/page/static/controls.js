// What the reader may do: stop, restart, close, run, answer. What loses something asks first; what
// has to do with checkpoints is in `branches.js`.

import { act } from "./api.js";
import { el, put, tell } from "./dom.js";
import { plural } from "./format.js";

/** Asks; carries `what` out when the answer is yes, and says what became of it. `lost` are
 * sentences; `careful` puts the focus on the way back. `fields` are part of the form; `what` may be
 * a function that looks at them; `then` gets the answer. */
export function confirm({ title, lost, yes, what, careful, fields = [], then }) {
  const trouble = el("p", { class: "trouble", role: "alert" });
  const no = el("button", { type: "button", text: "Cancel", autofocus: careful, on: { click: () => dialog.close() } });
  const go = el("button", { class: careful ? "danger" : "primary", text: yes, autofocus: !careful });
  const form = el("form", { on: { submit: async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      const answer = await act(typeof what === "function" ? what() : what);
      dialog.close();
      if (answer?.words) tell(answer.words);
      then?.(answer);
    } catch (error) {
      put(trouble, error.message);
      go.disabled = false;
    }
  } } }, ...fields, el("div", { class: "row end" }, no, go));
  const dialog = el("dialog", { class: "confirm", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-lost" },
    el("h2", { id: "confirm-title", text: title }),
    el("div", { id: "confirm-lost" }, ...lost.map((text) => el("p", { text }))),
    trouble, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export function stop(run) {
  const waits = run.state === "waiting";
  confirm({
    title: `Stop run ${run.id}?`,
    lost: waits
      ? ["It has not begun and will not be carried out."]
      : ["The program is interrupted and what it has not finished is lost.",
        `Its output so far stays. The variables of ${run.session} stay, unless the program does not obey and has to be ended.`],
    yes: "Stop it", what: { do: "stop", run: run.id }, careful: false,
  });
}

const also = (session) => {
  const words = [];
  if (session.state === "busy") words.push("the run that is going on is ended");
  if (session.waiting) words.push(`${plural(session.waiting, "waiting run")} ${session.waiting === 1 ? "is" : "are"} not carried out`);
  const text = words.join(", and ");
  return text ? [`${text[0].toUpperCase()}${text.slice(1)}.`] : [];
};

export function restart(session) {
  confirm({
    title: `Restart ${session.name}?`,
    lost: ["Its variables, imports and open files are lost; this cannot be undone.", ...also(session),
      "The session stays, with an empty memory."],
    yes: "Restart", what: { do: "restart", session: session.name }, careful: true,
  });
}

export function close(session) {
  confirm({
    title: `Close ${session.name}?`,
    lost: ["Its process ends: its variables, imports and open files are lost; this cannot be undone.", ...also(session),
      "Download it as a notebook first if you want to keep its history."],
    yes: "Close the session", what: { do: "close", session: session.name }, careful: true,
  });
}

/** The form that runs code in a session; it keeps what is typed in `drafts`. */
export function runForm(name, drafts) {
  const words = el("p", { class: "told", role: "status" });
  const code = el("textarea", { id: "code", rows: "1", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    "aria-describedby": "code-hint", placeholder: "Python" });
  code.value = drafts.get(name) || "";
  const button = el("button", { class: "primary", text: "Run" });
  const form = el("form", { class: "code-form" },
    el("div", { class: "asked" }, el("label", { for: "code", text: `Run code in ${name}` }),
      el("span", { class: "hint", id: "code-hint", text: "Ctrl+Enter runs it" })),
    el("div", { class: "typed" }, code, button), words);
  code.addEventListener("input", () => {
    drafts.set(name, code.value);
    put(words, "");
  });
  code.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const source = code.value;
    if (!source.trim() || button.disabled) return;
    button.disabled = true;
    words.className = "told";
    put(words, "");
    try {
      const answer = await act({ do: "run", session: name, code: source });
      put(words, answer?.words || "");
      if (code.value === source) {
        code.value = "";
        drafts.delete(name);
      }
    } catch (error) {
      words.className = "told trouble";
      put(words, error.message);
    }
    button.disabled = false;
  });
  return form;
}

/** The form that answers a question of the run. */
export function questionForm(run) {
  const { serial, prompt, password } = run.question;
  const id = `answer-${run.id}-${serial}`;
  const field = el("input", { id, type: password ? "password" : "text", autocomplete: "off",
    autocapitalize: "off", spellcheck: "false" });
  const trouble = el("p", { class: "trouble", role: "alert" });
  const answer = async (text) => {
    for (const control of form.elements) control.disabled = true;
    try {
      await act({ do: "answer", run: run.id, serial, text });
    } catch (error) {
      put(trouble, error.message);
      for (const control of form.elements) control.disabled = false;
      field.focus();
    }
  };
  const form = el("form", { class: "question", on: { submit: (event) => {
    event.preventDefault();
    answer(field.value);
  } } },
  el("label", { for: id }, el("strong", { text: password ? "The program asks for a secret" : "The program asks" }),
    el("span", { class: "prompt", text: prompt || "(without words)" })),
  el("div", { class: "row" }, field,
    el("button", { class: "primary", text: "Answer" }),
    el("button", { type: "button", text: "Refuse", title: "The program gets an end of file instead of an answer",
      on: { click: () => answer(null) } })),
  trouble);
  form.dataset.serial = serial;
  return form;
}
