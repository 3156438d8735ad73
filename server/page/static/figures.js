// What a run shows besides text: pictures, rendered text, and pages in sandboxed frames.

import { get, runPath } from "./api.js";
import { el, trusted } from "./dom.js";
import { bytes } from "./format.js";

/** Pixels that a frame may be high. */
const LEAST = 48;
const MOST = 900;

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    entry.target.dispatchEvent(new Event("near"));
  }
}, { rootMargin: "400px" });

export class Figures {
  constructor(id) {
    this.id = id;
  }

  /** The output number `n`: an empty box that is filled when it comes near the view. */
  node(n) {
    const box = el("figure", { class: "figure reserved" });
    box.addEventListener("near", () => this.#fill(box, n), { once: true });
    near.observe(box);
    return box;
  }

  /** The output is another one now. */
  renew(box, n) {
    if (box.firstChild) this.#fill(box, n);
  }

  async #fill(box, n) {
    let shown;
    try {
      shown = await get(runPath(this.id, `/outputs/${n}`));
    } catch (error) {
      box.classList.remove("reserved");
      box.replaceChildren(el("p", { class: "trouble", text: error.message }));
      return;
    }
    box.className = `figure ${shown.kind}${box.firstChild ? "" : " reserved"}`;
    box.replaceChildren(content(shown, box), caption(this.id, n, shown));
    if (shown.kind !== "image" && shown.kind !== "svg") box.classList.remove("reserved");
  }
}

function content(shown, box) {
  if ((shown.kind === "image" || shown.kind === "svg") && shown.url) return picture(shown, box);
  if (shown.kind === "frame" && shown.url) {
    return sized(el("iframe", { sandbox: "allow-scripts", src: shown.url, title: shown.alt || "An interactive output",
      loading: "lazy", referrerpolicy: "no-referrer" }));
  }
  if (shown.html) {
    const holder = el("div", { class: "rendered", tabindex: "0", role: "group", "aria-label": shown.alt || "Output" });
    holder.append(trusted(shown.html));
    return holder;
  }
  return el("p", { class: "other", text: shown.alt || `An output of type ${shown.mime}` });
}

function picture(shown, box) {
  const image = el("img", { alt: shown.alt || "A figure", loading: "lazy", decoding: "async",
    width: shown.width, height: shown.height });
  // The box keeps its place until the picture's own size is known.
  image.addEventListener("load", () => box.classList.remove("reserved"));
  image.addEventListener("error", () => {
    box.classList.remove("reserved");
    image.replaceWith(el("p", { class: "other", text: shown.alt || "A figure that cannot be shown" }));
  });
  image.src = shown.url;
  return el("button", { class: "picture", type: "button", "aria-label": `Enlarge: ${shown.alt || "figure"}`,
    on: { click: () => enlarge(shown) } }, image);
}

function enlarge(shown) {
  const dialog = el("dialog", { class: "large", "aria-label": shown.alt || "A figure" },
    el("form", { method: "dialog" }, el("button", { class: "quiet", text: "Close" })),
    el("div", { class: "canvas", tabindex: "0" }, el("img", { src: shown.url, alt: shown.alt || "A figure" })));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function caption(id, n, shown) {
  const size = shown.size ? ` (${bytes(shown.size)})` : "";
  return el("figcaption", {},
    el("a", { href: shown.file ?? runPath(id, `/outputs/${n}/file`), download: "", "aria-label": `Download output ${n}${size}`,
      text: `Download${size}` }));
}

/** Milliseconds after which a frame is made less high, if nothing else is told until then; and how
 * often a frame's height changes at all. */
const CALM = 500;
const TIMES = 8;
const told = new WeakMap();

/** Make a frame as high as its document, once that is complete: what is drawn while it loads
 * often takes its height from the frame. One that shrinks or grows with its frame would do so for
 * ever, so it stops after a while. */
function size(frame, height) {
  const known = told.get(frame);
  if (!known) return;
  clearTimeout(known.timer);
  known.height = height;
  const now = frame.clientHeight;
  if (!known.isLoaded || known.times >= TIMES || Math.abs(height - now) < 2) return;
  const apply = () => {
    known.times += 1;
    known.shrunk = height < now ? known.shrunk + 1 : 0;
    if (known.shrunk > 1) known.times = TIMES;
    frame.style.height = known.shrunk > 1 ? "" : `${height}px`;
  };
  if (height > now) apply();
  else known.timer = setTimeout(apply, CALM);
}

function sized(frame) {
  const known = { timer: 0, height: 0, times: 0, shrunk: 0, isLoaded: false };
  told.set(frame, known);
  frame.addEventListener("load", () => {
    known.isLoaded = true;
    if (known.height) size(frame, known.height);
  });
  return frame;
}

// Of messages only those are believed that come from the frame's own window, and only the height.
addEventListener("message", (event) => {
  for (const frame of document.querySelectorAll("figure.frame > iframe")) {
    if (event.source !== frame.contentWindow) continue;
    const height = Number(event.data?.height);
    if (Number.isFinite(height)) size(frame, Math.min(MOST, Math.max(LEAST, Math.ceil(height))));
  }
});
