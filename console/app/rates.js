// From counters to rates: the last minutes of every counter, and how fast it grows. Pure.

/** Readings that are kept: five minutes at one a second. */
export const KEPT = 300;

/** Over which time the present rate is the average. One reading alone would flicker. */
export const WINDOW_MS = 5000;

/** Remembers counters by name. */
export class Meter {
  constructor(kept = KEPT, windowMs = WINDOW_MS) {
    this.kept = kept;
    this.windowMs = windowMs;
    /** @type {number[]} */
    this.times = [];
    /** @type {Map<string, (number | undefined)[]>} */
    this.values = new Map();
  }

  /**
   * Adds a reading. A counter that is not in it has gone.
   * @param {number} atMs @param {Iterable<[string, number]>} counters
   */
  add(atMs, counters) {
    const last = this.times.at(-1);
    if (last !== undefined && atMs <= last) return;
    const length = this.times.length;
    this.times.push(atMs);
    const seen = new Set();
    for (const [name, value] of counters) {
      seen.add(name);
      let values = this.values.get(name);
      if (!values) {
        values = new Array(length).fill(undefined);
        this.values.set(name, values);
      }
      values.push(value);
    }
    for (const [name, values] of this.values) {
      if (!seen.has(name)) this.values.delete(name);
      else if (this.times.length > this.kept) values.shift();
    }
    if (this.times.length > this.kept) this.times.shift();
  }

  /** Forgets everything: another process counts from zero. */
  clear() {
    this.times = [];
    this.values.clear();
  }

  /**
   * The last value; 0 where there is none.
   * @param {string} name
   */
  last(name) {
    return this.values.get(name)?.at(-1) ?? 0;
  }

  /**
   * How fast a counter grows a second; undefined before there are two readings.
   * @param {string} name @param {number} [windowMs]
   */
  rate(name, windowMs = this.windowMs) {
    const values = this.values.get(name);
    const end = this.times.length - 1;
    if (!values || end < 1) return undefined;
    let start = end;
    while (start > 0 && values[start - 1] !== undefined && this.times[end] - this.times[start] < windowMs) start -= 1;
    if (start === end) return undefined;
    return grown(values[start], values[end], this.times[end] - this.times[start]);
  }

  /**
   * How much a counter grew within a time.
   * @param {string} name @param {number} windowMs
   */
  growth(name, windowMs) {
    const rate = this.rate(name, windowMs);
    if (rate === undefined) return 0;
    const end = this.times.length - 1;
    let start = end;
    const values = this.values.get(name) ?? [];
    while (start > 0 && values[start - 1] !== undefined && this.times[end] - this.times[start] < windowMs) start -= 1;
    return (rate * (this.times[end] - this.times[start])) / 1000;
  }

  /**
   * The rate between each two readings; gaps are undefined.
   * @param {string} name
   */
  series(name) {
    const values = this.values.get(name) ?? [];
    const rates = [];
    for (let i = 1; i < values.length; i += 1) {
      const [before, after] = [values[i - 1], values[i]];
      const span = this.times[i] - this.times[i - 1];
      // A pause of the page is a gap, not a flat line.
      const isGap = before === undefined || after === undefined || span > 3 * this.windowMs;
      rates.push(isGap ? undefined : grown(before, after, span));
    }
    return rates;
  }

  /**
   * The values themselves, of something that is no counter.
   * @param {string} name
   */
  levels(name) {
    return [...(this.values.get(name) ?? [])];
  }
}

/** @param {number | undefined} before @param {number | undefined} after @param {number} ms */
function grown(before, after, ms) {
  return (Math.max(0, (after ?? 0) - (before ?? 0)) * 1000) / ms;
}

/**
 * A quantile of a histogram, as the upper bound of its bucket; Infinity above all bounds, undefined
 * where it is empty.
 * @param {number[]} bounds @param {number[]} counts @param {number} quantile
 */
export function quantile(bounds, counts, quantile) {
  const total = counts.reduce((sum, one) => sum + one, 0);
  if (total === 0) return undefined;
  let rest = quantile * total;
  for (let i = 0; i < counts.length; i += 1) {
    rest -= counts[i];
    if (rest <= 1e-9) return bounds[i] ?? Infinity;
  }
  return Infinity;
}
