// Elements, and the one place where HTML of the server's own rendering enters the page.

/** An element. `props`: "class", "text", "on" ({event: function}); true for an attribute without
 * value; false, null and undefined for none. Children are nodes or strings, which stay text. */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key === "on") for (const [type, f] of Object.entries(value)) node.addEventListener(type, f);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const policy = globalThis.trustedTypes?.createPolicy("page", { createHTML: (html) => html });

/** The server's rendering (the fields named `html`, nothing else) as nodes. */
export function trusted(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

export const byId = (id) => document.getElementById(id);

/** A sentence of the server, whose words in backticks are code. */
export const worded = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", { text: part }) : part));

/** Change the text only where it differs, so that nothing is announced or painted for nothing. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let leaving = 0;

/** Tell everybody, for a while, what became of what was asked for. */
export function tell(words) {
  const toast = byId("toast");
  clearTimeout(leaving);
  toast.hidden = false;
  toast.textContent = words;
  leaving = setTimeout(() => (toast.hidden = true), 5000 + 40 * words.length);
}

let saying = [];
let timer = 0;

/** Tell a screen reader; what comes within two seconds is told as one. */
export function say(words) {
  saying.push(words);
  timer ||= setTimeout(() => {
    const shown = saying.slice(-3);
    if (saying.length > 3) shown.unshift(`${saying.length - 3} more changes.`);
    byId("said").textContent = shown.join(" ");
    saying = [];
    timer = 0;
  }, 2000);
}
