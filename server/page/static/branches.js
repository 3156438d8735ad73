// Going back to a session's checkpoint, and a second session from the same state.

import { confirm } from "./controls.js";
import { el } from "./dom.js";
import { plural } from "./format.js";
import { checkpointOf, linkTo } from "./sessions.js";

const SAME = "Files, databases and the network";

const waits = (session) => {
  if (session.state !== "busy") return [];
  const more = session.waiting ? ` and ${plural(session.waiting, "waiting run")}` : "";
  return [`That happens when the run that is going on${more} ${more ? "are" : "is"} over.`];
};

export function rewind(session) {
  const warnings = session.checkpoint?.warnings;
  if (!warnings) return;
  confirm({
    title: `Take ${session.name} back?`,
    lost: [`Its variables go back to what they were ${checkpointOf(session)}; what was run since is lost.`,
      `${SAME} are not undone.`, ...(warnings.length ? [`Not restored: ${warnings.join(", ")}.`] : []), ...waits(session)],
    yes: "Go back", what: { do: "rewind", session: session.name }, careful: true,
  });
}

export function branch(session) {
  const name = el("input", { id: "branch-name", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    required: true, maxlength: "100", autofocus: true });
  confirm({
    title: `Branch ${session.name}?`,
    lost: [`A second session gets the same variables, and both go on apart. ${SAME} are the same for both.`, ...waits(session)],
    fields: [el("label", { for: "branch-name", text: "Name of the new session" }), name],
    yes: "Branch",
    what: () => ({ do: "branch", session: session.name, new_session: name.value }),
    then: (answer) => (location.hash = linkTo(answer.session)),
  });
}
