// A trace as the server tells it, made ready for drawing: typed arrays, no object per span. Rows
// are in pre-order, so what is below a row follows it. Pure.

/** A parent that did not come; its parents made a circle; it has links. */
export const MISSING = 1 << 5;
export const CUT = 1 << 6;
export const LINKS = 1 << 7;

export const KINDS = ["", "internal", "server", "client", "producer", "consumer"];

/**
 * @typedef {{n: number, parent: Int32Array, depth: Uint16Array, end: Int32Array, start: Float64Array,
 *   duration: Float64Array, from: number, to: number, errors: number[], marks: Map<number, number[]>}} Tree
 */

/** @param {any} trace the answer of `traces/ID` @returns {Tree} */
export function treeOf(trace) {
  const n = trace.n;
  const parent = Int32Array.from(trace.parent);
  const depth = new Uint16Array(n);
  const end = new Int32Array(n).fill(n);
  const start = Float64Array.from(trace.start);
  const duration = Float64Array.from(trace.duration);
  const errors = [];
  let to = 0;
  const open = [];
  for (let row = 0; row < n; row++) {
    while (open.length > 0 && open.at(-1) !== parent[row]) end[open.pop()] = row;
    depth[row] = open.length;
    open.push(row);
    to = Math.max(to, start[row] + duration[row]);
    if (isError(trace, row)) errors.push(row);
  }
  const marks = new Map();
  trace.events.row.forEach((row, at) => {
    const list = marks.get(row);
    if (list) list.push(at);
    else marks.set(row, [at]);
  });
  return { n, parent, depth, end, start, duration, from: 0, to: Math.max(to, 1), errors, marks };
}

/** @param {any} trace @param {number} row */
export function isError(trace, row) {
  return ((trace.flags[row] >> 3) & 3) === 2;
}

/** @param {Tree} tree @param {number} row */
export function isLeaf(tree, row) {
  return tree.end[row] === row + 1;
}

/**
 * The rows that are shown, given those that are closed.
 * @param {Tree} tree @param {Uint8Array} closed
 */
export function visible(tree, closed) {
  const rows = new Int32Array(tree.n);
  let count = 0;
  for (let row = 0; row < tree.n; row = closed[row] ? tree.end[row] : row + 1) rows[count++] = row;
  return rows.subarray(0, count);
}

/**
 * The place of a row among those that are shown; of a hidden one, that of the row that hides it.
 * @param {Int32Array} rows @param {number} row
 */
export function placeOf(rows, row) {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle] <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Opens what is above a row. Returns whether anything was closed.
 * @param {Tree} tree @param {Uint8Array} closed @param {number} row
 */
export function reveal(tree, closed, row) {
  let has = false;
  for (let at = tree.parent[row]; at >= 0; at = tree.parent[at]) {
    has ||= closed[at] === 1;
    closed[at] = 0;
  }
  return has;
}

/**
 * Rows whose name, service or id has a text.
 * @param {any} trace @param {string} text
 */
export function find(trace, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const has = (words) => words.map((word) => word.toLowerCase().includes(wanted));
  const [names, services] = [has(trace.names), has(trace.services)];
  const found = [];
  for (let row = 0; row < trace.n; row++) {
    if (names[trace.name[row]] || services[trace.service[row]] || trace.id[row] === wanted) found.push(row);
  }
  return found;
}

/**
 * The next of some rows after a row, or before it; around the end. Undefined if there are none.
 * @param {number[]} rows @param {number} row @param {1 | -1} step
 */
export function next(rows, row, step) {
  if (step > 0) return rows.find((one) => one > row) ?? rows[0];
  return rows.findLast((one) => one < row) ?? rows.at(-1);
}

/**
 * The part of a list that a window shows, with some rows around it.
 * @param {number} count @param {number} top @param {number} height @param {number} rowHeight
 */
export function windowOf(count, top, height, rowHeight, around = 8) {
  const from = Math.max(0, Math.min(count, Math.floor(top / rowHeight)) - around);
  return { from, to: Math.min(count, Math.ceil((top + height) / rowHeight) + around) };
}

/**
 * About `most` round times within a range, in microseconds.
 * @param {number} from @param {number} to
 */
export function ticks(from, to, most = 6) {
  const length = to - from;
  if (!(length > 0)) return [];
  const rough = length / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((step) => step >= rough) ?? 10 * unit;
  const first = Math.ceil(from / step - 1e-9);
  const count = Math.floor(to / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
}

/**
 * A part of the range, around its middle.
 * @param {{from: number, to: number}} zoom @param {number} factor @param {number} end
 */
export function zoomed({ from, to }, factor, end) {
  const half = Math.min(end, Math.max(1, (to - from) * factor)) / 2;
  const middle = Math.min(Math.max((from + to) / 2, half), end - half);
  return { from: Math.max(0, middle - half), to: Math.min(end, middle + half) };
}
