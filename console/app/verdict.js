// The one sentence at the top: does data flow, and if not, what is wrong first? Pure.

import { ago, rate } from "./format.js";

/**
 * @typedef {{tone: "ok" | "idle" | "warn" | "error", title: string, more: {text: string, page?: string, query?: Record<string, string>, tone: string}[]}} Verdict
 */

/**
 * Totals by signal from the edges of the graph: what comes in, and what goes out.
 * What a failing exporter gets is not out.
 * @param {{edges: any[]}} graph @param {(counters: string[]) => number | undefined} rateOf
 * @param {Set<string>} [failing] keys of exporters
 * @returns {Record<string, {in: number, out: number}>}
 */
export function totals(graph, rateOf, failing = new Set()) {
  const found = {};
  for (const edge of graph.edges) {
    const signal = edge.pipeline.split("/")[0];
    found[signal] ??= { in: 0, out: 0 };
    const value = rateOf(edge.counters) ?? 0;
    if (edge.ends === "in" && edge.from.startsWith("receiver:")) found[signal].in += value;
    if (edge.ends === "out" && edge.to.startsWith("exporter:") && !failing.has(edge.to)) found[signal].out += value;
  }
  return found;
}

/**
 * @param {{health: any, about: any, hasData: boolean, rates: Record<string, {in: number, out: number}>, recentLoss: number}} facts
 * @returns {Verdict}
 */
export function verdict({ health, about, hasData, rates, recentLoss }) {
  if (!health) return { tone: "idle", title: "Asking skep how it is", more: [] };
  if (!health.ready) return { tone: "warn", title: "skep is starting or ending: it takes no data now", more: [] };
  const failing = health.components.filter((one) => one.kind === "exporter" && one.state === "error");
  const working = health.components.filter((one) => one.kind === "exporter" && one.state === "ok");
  const more = grouped(failing).map(({ one, signals }) => ({
    tone: "error",
    text: `${one.id}, ${list(signals)}: ${one.last_error} (${ago(one.last_error_age_ms)}${one.last_success_age_ms == null ? ", never worked" : `, last worked ${ago(one.last_success_age_ms)}`})`,
    page: "backends",
    query: { find: one.id },
  }));
  const budget = health.budget;
  if (budget && budget.waiting_requests > 0) {
    more.push({ tone: "warn", text: `${budget.waiting_requests} requests wait for memory: a backend is slower than what comes in`, page: "budget" });
  }
  if (recentLoss > 0) {
    more.push({ tone: "warn", text: `${rate(recentLoss)} items a second are refused or given up`, page: "overview" });
  }
  const flow = sentence(rates, working);
  if (failing.length > 0) {
    const signals = [...new Set(failing.map((one) => one.signal))].filter((signal) => !working.some((one) => one.signal === signal));
    const names = [...new Set(failing.map((one) => one.id))];
    const title = signals.length > 0 ? upper(`${list(signals)} reach no backend`) : `${list(names)} ${names.length > 1 ? "do" : "does"} not take data`;
    return { tone: "error", title, more };
  }
  if (!hasData) return { tone: "idle", title: "Nothing has come yet", more };
  if (more.length > 0) return { tone: "warn", title: flow || "Data flows, but not all of it", more };
  return { tone: "ok", title: flow || "All is well; nothing comes in at the moment", more: about ? more : [] };
}

/**
 * `Data flows to honeycomb and awsxray`; empty if nothing comes in now.
 * @param {Record<string, {in: number, out: number}>} rates @param {{id: string}[]} working
 */
function sentence(rates, working) {
  if (!Object.values(rates).some((one) => one.in > 0 || one.out > 0)) return "";
  const names = [...new Set(working.map((one) => one.id))];
  if (names.length === 0) return "Data comes in";
  return `Data flows to ${names.length > 4 ? `${names.length} backends` : list(names)}`;
}

/**
 * Lines of the log that differ in numbers only, once, with how often they came; the newest first.
 * @param {{at_unix_ms: number, level: string, text: string}[]} lines newest first
 */
export function repeated(lines) {
  const found = new Map();
  for (const line of lines) {
    const key = line.level + line.text.replace(/[0-9]+/g, "0");
    if (found.has(key)) found.get(key).times += 1;
    else found.set(key, { ...line, times: 1 });
  }
  return [...found.values()];
}

/**
 * Exporters with the same error for several signals, once.
 * @param {any[]} failing @returns {{one: any, signals: string[]}[]}
 */
export function grouped(failing) {
  const found = new Map();
  for (const one of failing) {
    const key = JSON.stringify([one.id, one.destination, one.last_error, one.state]);
    if (found.has(key)) found.get(key).signals.push(one.signal);
    else found.set(key, { one, signals: [one.signal] });
  }
  return [...found.values()];
}

/** @param {string[]} words */
const list = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

/** @param {string} text */
const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
