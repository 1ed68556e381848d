// Where data stops and who sends, in words. Pure.

import { items, rate } from "./format.js";

/**
 * @typedef {{signal: string, state: string, finding: string, rungs: any[]}} Ladder
 */

const ORDER = ["stop", "partial", "ok", "nothing", "unknown"];

/**
 * The ladder that says most: one on which something stops, else one on which data passes.
 * @param {Ladder[]} ladders @returns {Ladder | undefined}
 */
export function worst(ladders) {
  return ladders.toSorted((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state))[0];
}

/** Signs and words of the states of a ladder and of a rung. */
const STATES = { ok: ["●", "ok"], nothing: ["○", "nothing"], partial: ["◐", "partly"], stop: ["▲", "stops"] };

/**
 * The state of a ladder or rung. What a processor leaves out is no trouble: it is told to.
 * @param {any} one @returns {{tone: string, sign: string, words: string}}
 */
export function stateOf(one) {
  const [sign, words] = STATES[one.state] ?? ["○", "unknown"];
  if (one.step === "processor" && one.state === "partial" && one.came > 0 && one.stopped > 0) {
    const part = (100 * one.stopped) / one.came;
    return { tone: "", sign: "−", words: part < 1 ? "<1\u202f%" : `${Math.min(99, Math.round(part))}\u202f%` };
  }
  return { tone: { stop: "error", partial: "warn", ok: "ok" }[one.state] ?? "", sign, words };
}

/** The SDK: `python 1.29.0`. @param {any} sender */
export function sdk(sender) {
  const name = sender.sdk_language || sender.sdk_name;
  return [name, sender.sdk_version].filter(Boolean).join(" ");
}

/** How it comes: `grpc gzip`, `http json`. @param {any} sender */
export function via(sender) {
  const encoding = sender.encoding === "proto" ? "" : sender.encoding;
  return [sender.transport, encoding, sender.compression].filter(Boolean).join(" ");
}

/** Items a second in the last minute: `380 spans/s`; empty if nothing came. @param {any} sender */
export function flow(sender) {
  const seconds = sender.recent_span_ms / 1000;
  const recent = sender.recent ?? { spans: 0, data_points: 0, log_records: 0 };
  const counts = [["traces", recent.spans], ["metrics", recent.data_points], ["logs", recent.log_records]];
  return counts.filter(([, number]) => number > 0 && seconds > 0).map(([signal, number]) => `${rate(number / seconds)} ${items(signal)}/s`).join(", ");
}

/**
 * A reason and its remedy, from the words of a receiver: the remedy is behind the first semicolon.
 * @param {string} words
 */
export function reason(words) {
  const at = words.indexOf("; ");
  return at < 0 ? { why: words, remedy: "" } : { why: words.slice(0, at), remedy: words.slice(at + 2) };
}

/**
 * What is odd about a sender, in words; empty if nothing is.
 * @param {any} sender
 */
export function odd(sender) {
  if (sender.near) return `meant to be \`${sender.near}\`?`;
  if (sender.unnamed) return "has no name: set `OTEL_SERVICE_NAME`";
  return "";
}

/**
 * Senders of which something needs to be looked at come first, then those that were seen last.
 * @param {any[]} senders
 */
export function sorted(senders) {
  const isOdd = (one) => one.service == null || Boolean(one.refusal && one.recent?.refused > 0);
  return senders.toSorted((a, b) => Number(isOdd(b)) - Number(isOdd(a)));
}

/** Names of services, each once, in the order of the alphabet. @param {any[]} senders */
export function services(senders) {
  return [...new Set(senders.map((one) => one.service).filter(Boolean))].sort();
}
