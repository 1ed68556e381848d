import assert from "node:assert/strict";
import { test } from "node:test";
import { age, ago, bytes, clock, count, percent, plural, rate, short, uptime } from "../app/format.js";

/** Narrow no-break spaces read as blanks. */
const plain = (text) => text.replaceAll("\u202f", " ");

test("counts are whole until they are long", () => {
  for (const [value, text] of [[0, "0"], [999, "999"], [1000, "1 000"], [99999, "99 999"], [100000, "100 k"], [1234567, "1.23 M"], [999999, "1.00 M"], [12.6e9, "12.6 G"], [NaN, "–"]]) {
    assert.equal(plain(count(value)), text);
  }
});

test("rates show small numbers", () => {
  for (const [value, text] of [[0, "0"], [0.04, "<0.1"], [0.44, "0.4"], [3, "3"], [9.96, "10"], [412.3, "412"], [1234, "1 234"], [46300, "46.3 k"], [NaN, "–"]]) {
    assert.equal(plain(rate(value)), text);
  }
});

test("bytes are in binary units", () => {
  for (const [value, text] of [[0, "0 B"], [1023, "1023 B"], [1024, "1.00 KiB"], [61 * 2 ** 20, "61.0 MiB"], [307 * 2 ** 20, "307 MiB"], [-1, "0 B"]]) {
    assert.equal(plain(bytes(value)), text);
  }
});

test("times are short", () => {
  for (const [value, text] of [[null, "never"], [undefined, "never"], [900, "now"], [12000, "12 s"], [180e3, "3 min"], [7200e3, "2 h"], [4 * 86400e3, "4 d"]]) {
    assert.equal(plain(age(value)), text);
  }
  assert.equal(plain(ago(12000)), "12 s ago");
  assert.equal(ago(0), "now");
  assert.equal(plain(short(250)), "250 ms");
  assert.equal(plain(short(1200)), "1.2 s");
  assert.equal(plain(uptime(3 * 3600e3 + 12 * 60e3)), "3 h 12 min");
  assert.equal(plain(uptime(59e3)), "59 s");
});

test("a part is never shown as the whole", () => {
  assert.equal(plain(percent(999, 1000)), "99 %");
  assert.equal(plain(percent(1, 1000)), "<1 %");
  assert.equal(plain(percent(0, 0)), "0 %");
  assert.equal(plain(percent(1000, 1000)), "100 %");
});

test("the time of another day has its date", () => {
  const now = new Date(2026, 10, 30, 14, 2, 11).getTime();
  assert.equal(clock(now, now), "14:02:11");
  assert.equal(clock(now - 86400e3, now), "2026-11-29 14:02:11");
  assert.equal(plural(1, "pipeline"), "1 pipeline");
  assert.equal(plural(2, "pipeline"), "2 pipelines");
});
