// Filters of traces: between the address of a page, a call, and the forms of people. Pure.

/** Keys that the address of the page and the call have in common. */
const KEYS = ["service", "name", "text", "errors", "min_ms", "where", "sort", "decision"];

/**
 * The path of the call for the query of a page.
 * @param {Record<string, string>} query @param {number} limit
 */
export function listPath(query, limit) {
  const pairs = KEYS.filter((key) => query[key]).map((key) => [key, query[key]]);
  return `traces?${new URLSearchParams([...pairs, ["limit", String(limit)]])}`;
}

/**
 * The conditions in the address. What is none is left out.
 * @param {string | undefined} text @returns {any[][]}
 */
export function conditions(text) {
  try {
    const list = JSON.parse(text || "[]");
    return Array.isArray(list) ? list.filter((one) => Array.isArray(one) && typeof one[0] === "string") : [];
  } catch {
    return [];
  }
}

/** @param {any[][]} list */
export function asText(list) {
  return list.length > 0 ? JSON.stringify(list) : "";
}

const SIGNS = /^\s*([^\s=!<>]+)\s*(=|!=|>=|<=|>|<|\s(?:contains|starts-with|exists|does-not-exist)(?=\s|$))\s*(.*?)\s*$/;

/**
 * A condition as people write it: `user.id = 17`, `retry exists`. Undefined if it is none.
 * @param {string} text
 */
export function condition(text) {
  const found = SIGNS.exec(text.replace(/^\s*(\S+)\s+(contains|starts-with|exists|does-not-exist)\b/, "$1 $2"));
  if (!found) return undefined;
  const [key, comparison, value] = [found[1], found[2].trim(), found[3].replace(/^"(.*)"$/, "$1")];
  if (comparison.endsWith("exist") || comparison === "exists") return value ? undefined : [key, comparison];
  return value ? [key, comparison, value] : undefined;
}

/** @param {any[]} one */
export function shown([key, comparison, value]) {
  return value === undefined ? `${key} ${comparison}` : `${key} ${comparison} ${typeof value === "object" ? JSON.stringify(value) : value}`;
}

/**
 * The filter that leads from a row of a panel to its traces.
 * @param {{where?: any[]}} query @param {string[]} fields @param {any[]} group
 */
export function rowFilter(query, fields, group) {
  const own = (query.where ?? []).map((one) => (Array.isArray(one) ? one : [one.column, one.op, ...("value" in one ? [one.value] : [])]));
  const keys = fields.map((field, i) => (group[i] === null ? [field, "does-not-exist"] : [field, "=", group[i]]));
  // What the group fixes makes `exists` on the same field superfluous.
  const fixed = new Set(keys.filter(([, comparison]) => comparison === "=").map(([field]) => field));
  return [...own.filter(([field, comparison]) => !(comparison === "exists" && fixed.has(field))), ...keys];
}

/**
 * Why a list is empty: what people read, and what to do.
 * @param {{matched: number, store: any, level: string, hasFilter: boolean}} what
 */
export function whyEmpty({ store, level, hasFilter }) {
  if (level !== "data") {
    return ["This console shows no contents of telemetry.", "Start skep with --console-level data to keep recent traces for it."];
  }
  const minutes = Math.round(store.age_s / 60);
  if (store.traces > 0 && hasFilter) return ["No trace meets the filter.", `${store.traces} traces are held; take away a condition.`];
  if (store.counts.seen > 0) return [`No span has come in the last ${minutes} minutes.`, "What is older is not kept here; your backend has it."];
  return ["No span has come since the start.", "The page Overview shows the open ports and what to set in your application."];
}

/**
 * How far an answer can be trusted, in words.
 * @param {any} answer @param {number} now milliseconds since 1970 @param {(ms: number) => string} age
 */
export function honesty(answer, now, age) {
  const words = [];
  if (answer.held_from) words.push(`held: the last ${age(Math.max(2000, now - Number(BigInt(answer.held_from) / 1_000_000n)))}`);
  words.push(answer.one_in > 1 ? `1 in ${answer.one_in} traces, counted ${answer.one_in} times` : "all traces");
  if (answer.is_partial) words.push("time ran out: only a part was looked at");
  if (answer.groups_cut) words.push("too many groups: the rest is one");
  return words.join(" · ");
}
