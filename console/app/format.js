// Numbers, sizes and times as people read them. Pure.

/** A narrow no-break space between a number and its unit. */
const GAP = "\u202f";

/** @param {number} value @param {number} digits */
function fixed(value, digits) {
  return value.toFixed(digits);
}

/**
 * Three significant digits with a unit of `units`, each `step` times the one before.
 * @param {number} value @param {number} step @param {string[]} units
 */
function scaled(value, step, units) {
  let rest = value;
  let unit = 0;
  while (rest >= step * 0.9995 && unit < units.length - 1) {
    rest /= step;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  const text = fixed(rest, digits);
  return units[unit] ? `${text}${GAP}${units[unit]}` : text;
}

/**
 * A count: whole up to 99 999, then `1.23 M`.
 * @param {number} value
 */
export function count(value) {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) < 100000) {
    return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, GAP);
  }
  return scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/**
 * A rate: `0`, `0.4`, `12`, `1.2 k`; the unit follows elsewhere.
 * @param {number} value
 */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  if (value <= 0) return "0";
  if (value < 0.1) return "<0.1";
  if (value < 10) return fixed(value, 1).replace(/\.0$/, "");
  if (value < 10000) return count(value);
  return scaled(value, 1000, ["", "k", "M", "G"]);
}

/**
 * Bytes in binary units.
 * @param {number} value
 */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  return scaled(Math.max(0, value), 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
}

/**
 * A time span: `now`, `12 s`, `3 min`, `2 h`, `4 d`.
 * @param {number | null | undefined} ms
 */
export function age(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "never";
  if (ms < 1500) return "now";
  const [value, unit] =
    ms < 90e3 ? [ms / 1e3, "s"] : ms < 90 * 60e3 ? [ms / 60e3, "min"] : ms < 36 * 3600e3 ? [ms / 3600e3, "h"] : [ms / 86400e3, "d"];
  return `${Math.round(value)}${GAP}${unit}`;
}

/**
 * The same with `ago`, where that reads well.
 * @param {number | null | undefined} ms
 */
export function ago(ms) {
  const text = age(ms);
  return text === "now" || text === "never" ? text : `${text} ago`;
}

/**
 * A short time: `0.4 ms`, `12 ms`, `1.2 s`.
 * @param {number} ms
 */
export function short(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)}${GAP}ms`;
  return `${fixed(ms / 1000, ms < 9950 ? 1 : 0)}${GAP}s`;
}

/**
 * Time since a start: `42 s`, `12 min`, `3 h 12 min`, `5 d 3 h`.
 * @param {number} ms
 */
export function uptime(ms) {
  const minutes = Math.floor(ms / 60e3);
  const hours = Math.floor(minutes / 60);
  if (minutes < 1) return `${Math.max(0, Math.floor(ms / 1e3))}${GAP}s`;
  if (hours < 1) return `${minutes}${GAP}min`;
  if (hours < 24) return `${hours}${GAP}h ${minutes % 60}${GAP}min`;
  return `${Math.floor(hours / 24)}${GAP}d ${hours % 24}${GAP}h`;
}

/**
 * A part of a whole: `<1 %`, `12 %`.
 * @param {number} part @param {number} whole
 */
export function percent(part, whole) {
  if (!(whole > 0)) return `0${GAP}%`;
  const value = (100 * part) / whole;
  if (value > 0 && value < 1) return `<1${GAP}%`;
  // What is not all of it is never shown as all of it.
  const shown = value < 100 ? Math.min(99, Math.round(value)) : Math.round(value);
  return `${shown}${GAP}%`;
}

/** @param {number} value */
const two = (value) => value.toString().padStart(2, "0");

/**
 * The time of day; with the date, if that was another day.
 * @param {number} unixMs @param {number} [now]
 */
export function clock(unixMs, now = Date.now()) {
  const date = new Date(unixMs);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? time : `${day(unixMs)} ${time}`;
}

/**
 * `2026-11-30`.
 * @param {number} unixMs
 */
export function day(unixMs) {
  const date = new Date(unixMs);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/**
 * What the items of a signal are called.
 * @param {string} signal `traces`, or the id of a pipeline
 */
export function items(signal) {
  const name = signal.split("/")[0];
  return { traces: "spans", metrics: "points", logs: "records" }[name] ?? "items";
}

/**
 * `1 pipeline`, `2 pipelines`.
 * @param {number} number @param {string} noun
 */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/**
 * A duration with three digits: `20 µs`, `1.23 ms`, `12.3 ms`, `1.23 s`, `2 min 5 s`.
 * @param {number} ms
 */
export function millis(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms === 0) return `0${GAP}ms`;
  if (ms < 0.9995) return `${Number((ms * 1000).toPrecision(3))}${GAP}µs`;
  const digits = (value) => fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  if (ms < 999.5) return `${digits(ms)}${GAP}ms`;
  if (ms < 60e3) return `${digits(ms / 1000)}${GAP}s`;
  return `${Math.floor(ms / 60e3)}${GAP}min ${Math.floor((ms % 60e3) / 1000)}${GAP}s`;
}
