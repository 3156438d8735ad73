// What was run: its code, folded when it is long, and the line of it that failed.

import { el, put, trusted } from "./dom.js";

/** Lines of code that are shown at first. */
const LINES = 10;

export class Code {
  /** Of the run `id`; empty until it is filled. */
  constructor(id) {
    this.id = id;
    this.node = el("div", { class: "source-box" });
  }

  /** Show the server's rendering, once. */
  fill(source) {
    if (this.node.querySelector(".source")) return;
    this.node.replaceChildren();
    if (!source) return;
    const box = el("div", { class: "source", tabindex: "0", role: "group", "aria-label": `Code of run ${this.id}` });
    box.append(trusted(source.html));
    // Empty lines at the beginning are counted, but tell nothing.
    for (const line of box.querySelectorAll(".line")) {
      if (line.textContent.trim()) break;
      line.hidden = true;
    }
    if (source.cut) box.append(el("p", { class: "hint", text: "The rest of the code is left out." }));
    this.node.append(box);
    if (source.lines <= LINES + 2) return;
    box.classList.add("short");
    const more = el("button", { class: "link", type: "button", "aria-expanded": "false", text: `Show all ${source.lines} lines`,
      on: { click: () => {
        const short = box.classList.toggle("short");
        more.setAttribute("aria-expanded", String(!short));
        put(more, short ? `Show all ${source.lines} lines` : "Show fewer lines");
      } } });
    this.node.append(more);
  }

  /** Why there is none. */
  trouble(words) {
    this.node.replaceChildren(el("p", { class: "trouble", text: words }));
  }

  /** Mark the line that failed: of all, or of the notebook's cell `cell`, which stands below its
   * heading. */
  mark(number, cell = null) {
    const lines = [...this.node.querySelectorAll(".line")];
    const first = cell === null ? 0 : lines.findIndex((one) => one.textContent.trim() === `# %% ${cell}`) + 1;
    const line = cell !== null && !first ? null : lines[first + number - 1];
    if (!line || line.classList.contains("failed")) return;
    line.classList.add("failed");
    const box = line.closest(".source.short");
    if (box) {
      const above = lines[Math.max(0, lines.indexOf(line) - 4)];
      box.scrollTop = line.offsetTop - box.offsetTop < box.clientHeight * 0.7 ? 0 : above.offsetTop - box.offsetTop;
      box.classList.toggle("sought", box.scrollTop > 0);
    }
    line.append(el("span", { class: "unseen", text: " (the failing line)" }));
  }
}
