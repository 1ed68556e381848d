// What a tap shows: its rows, the badges on them, and how many of them are kept. Pure.

import { count, plural } from "./format.js";

/** Rows that are kept. */
export const MOST = 300;
/** Characters of all rows together, about. */
export const MOST_TEXT = 6_000_000;
/** Keys that a badge names. */
const KEYS = 3;

/**
 * @typedef {{key: string, before: string | null, after: string | null}} Change
 * @typedef {{policy: string, kept: boolean, dry_run: boolean}} Verdict
 * @typedef {{at_unix_us: number, fate: string, signal: string, service: string, name: string, trace_id: string, span_id: string,
 *   duration_us: number | null, status: string, reason: string, verdict: Verdict | null, of_in: number, of_out: number,
 *   split: boolean, changes: Change[], fields: [string, string][], more_fields: number, otlp: string | null, n?: number}} Row
 * @typedef {{tone: string, sign: string, words: string}} Badge
 */

/** A key without what all attributes begin with. @param {string} key */
const brief = (key) => key.replace(/^attributes\./, "");

/** What a sampler has decided. @param {Verdict} verdict @returns {Badge} */
function decided({ policy, kept, dry_run }) {
  const would = dry_run ? "would be " : "";
  const words = `${would}${kept ? "kept" : "dropped"}${policy ? ` by ${policy}` : ": no policy sampled it"}`;
  return { tone: kept ? "kept" : "dropped", sign: kept ? "✓" : "✕", words };
}

/**
 * What became of an item; nothing where there is nothing to say.
 * @param {Row} row @param {string} component id of what is tapped @returns {Badge[]}
 */
export function badges(row, component) {
  const found = row.verdict ? [decided(row.verdict)] : [];
  if (row.fate === "unchanged" && !row.verdict) found.push({ tone: "", sign: "=", words: "unchanged" });
  if (row.fate === "dropped" && !row.verdict) {
    found.push({ tone: "dropped", sign: "✕", words: `dropped by ${component}${row.reason ? `: ${row.reason}` : ""}` });
  }
  if (row.fate === "changed") {
    const keys = row.changes.slice(0, KEYS).map((change) => brief(change.key));
    const more = row.changes.length - keys.length;
    found.push({ tone: "changed", sign: "≠", words: `changed ${keys.join(", ")}${more > 0 ? ` and ${more} more` : ""}` });
  }
  if (row.fate === "created") found.push({ tone: "changed", sign: "+", words: "created" });
  if (row.fate === "inside") found.push({ tone: "inside", sign: "…", words: "still inside" });
  if (row.of_in > 0 && row.of_out > row.of_in) found.push({ tone: "", sign: "⊃", words: `joined ${count(row.of_in)} into ${count(row.of_out)}` });
  else if (row.split && row.of_out < row.of_in) found.push({ tone: "", sign: "⊂", words: `split ${count(row.of_in)} into ${count(row.of_out)}` });
  return found;
}

/**
 * The fields of an item: what has changed first, then the others.
 * @param {Row} row @returns {{key: string, before: string | null, after: string | null, kind: "" | "changed" | "added" | "removed" | "gone"}[]}
 */
export function fields(row) {
  const changed = row.changes.map(({ key, before, after }) => {
    const kind = before == null ? "added" : after == null ? "removed" : "changed";
    return { key, before: before ?? null, after: after ?? null, kind };
  });
  const known = new Set(changed.map((one) => one.key));
  const gone = row.fate === "dropped" ? "gone" : "";
  const others = row.fields.filter(([key]) => !known.has(key)).map(([key, value]) => ({ key, before: value, after: value, kind: gone }));
  return [...changed, ...others];
}

/** About how many characters a row takes. @param {Row} row */
function size(row) {
  const of = (text) => (text ? text.length : 0);
  return 200 + of(row.otlp) + row.name.length + row.fields.reduce((sum, [key, value]) => sum + key.length + value.length, 0) + row.changes.reduce((sum, one) => sum + of(one.before) + of(one.after), 0);
}

/**
 * Rows with more of them, the newest first, as many as are kept.
 * @param {Row[]} rows newest first @param {Row[]} more oldest first
 */
export function kept(rows, more) {
  const all = [...more.toReversed(), ...rows].slice(0, MOST);
  let room = MOST_TEXT;
  const end = all.findIndex((row) => (room -= size(row)) < 0);
  // One row is always shown, however large it is.
  return end < 0 ? all : all.slice(0, Math.max(1, end));
}

/**
 * How much of what passed is shown.
 * @param {{seen: number, shown: number, one_in: number, missed: number, forgotten: number} | undefined} counts
 */
export function told(counts) {
  if (!counts) return "";
  const parts = [`shown ${count(counts.shown)} of ${count(counts.seen)}`];
  if (counts.one_in > 1) parts.push(`1 trace in ${count(counts.one_in)} now`);
  parts.push(`${count(counts.missed)} missed`);
  if (counts.forgotten > 0) parts.push(`${count(counts.forgotten)} lost sight of inside`);
  return parts.join(", ");
}

/**
 * What can be tapped, by pipeline, in the order of the data.
 * @param {{pipeline: string, kind: string, id: string, side: string}[]} points
 * @param {{id: string, receivers: string[], processors: string[], exporters: string[]}[]} pipelines in the order of the file
 */
export function ordered(points, pipelines) {
  const place = (point) => {
    const pipeline = pipelines.find((one) => one.id === point.pipeline);
    const at = (list) => (list ?? []).indexOf(point.id) + 1;
    const [group, index] = point.side === "out" ? [0, at(pipeline?.receivers)] : point.side === "both" ? [1, at(pipeline?.processors)] : [2, at(pipeline?.exporters)];
    return group * 10000 + index;
  };
  const order = [...new Set([...pipelines.map((one) => one.id), ...points.map((one) => one.pipeline)])];
  return order
    .map((pipeline) => ({ pipeline, points: points.filter((one) => one.pipeline === pipeline).toSorted((a, b) => place(a) - place(b)) }))
    .filter((one) => one.points.length > 0);
}

/** What is seen at a side. @param {{side: string}} point */
export const sees = (point) => ({ both: "in and out, with the difference", out: "what it brings", in: "what it gets" })[point.side] ?? "";

/** The query of a tap. @param {Record<string, string>} query of the page */
export function request(query) {
  const asked = { pipeline: query.pipeline, component: query.component, side: query.side, where: query.where, rate: query.rate, names_only: query.names };
  const pairs = Object.entries(asked).filter(([, value]) => value);
  return new URLSearchParams(pairs).toString();
}

/** `09:14:02.120`. @param {number} unixUs */
export function time(unixUs) {
  const date = new Date(Math.floor(unixUs / 1000));
  const two = (value, width = 2) => value.toString().padStart(width, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

/** `850 µs`, `9.1 ms`, `1.2 s`. @param {number | null} us */
export function duration(us) {
  if (us === null || us === undefined) return "";
  const gap = "\u202f";
  if (us < 1000) return `${us}${gap}µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)}${gap}ms`;
  return us < 1_000_000 ? `${Math.round(us / 1000)}${gap}ms` : `${(us / 1e6).toFixed(us < 9.95e6 ? 1 : 0)}${gap}s`;
}

/** Rows in words. @param {number} number */
export const newRows = (number) => `${number >= MOST ? `${MOST} or more new rows` : plural(number, "new row")}`;
