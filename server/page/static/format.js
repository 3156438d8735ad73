// Numbers as words, and text counted as the server counts it.

/** A duration: "0.42 s", "12.3 s", "4 min 05 s", "2 h 03 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  return rough(seconds);
}

/** A duration without fractions. */
export function rough(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A duration in its largest unit alone. */
export function about(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(0)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

export const number = (n) => n.toLocaleString("en");

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** The time of day, with the date unless it is today's. */
export function clock(epoch) {
  const then = new Date(epoch * 1000);
  const time = then.toLocaleTimeString("en-GB");
  return then.toDateString() === new Date().toDateString()
    ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}

// The server counts characters, a string of JavaScript UTF-16 units.
const WIDE = /[\ud800-\udbff][\udc00-\udfff]/g;

/** Characters of a text. */
export function points(text) {
  const wide = text.match(WIDE);
  return wide ? text.length - wide.length : text.length;
}

/** The text from its character number `from` on. */
export function after(text, from) {
  if (from <= 0) return text;
  return points(text) === text.length ? text.slice(from) : [...text].slice(from).join("");
}
