import assert from "node:assert/strict";
import { test } from "node:test";
import { Meter, quantile } from "../app/rates.js";

test("a rate is the average of the window", () => {
  const meter = new Meter(300, 5000);
  for (let i = 0; i <= 10; i += 1) meter.add(i * 1000, [["a", i < 6 ? 0 : (i - 5) * 100]]);
  assert.equal(meter.rate("a"), 100);
  assert.equal(meter.rate("a", 10000), 50);
  assert.equal(meter.growth("a", 5000), 500);
  assert.equal(meter.last("a"), 500);
  assert.equal(meter.rate("nothing"), undefined);
});

test("there is no rate before there are two readings", () => {
  const meter = new Meter();
  assert.equal(meter.rate("a"), undefined);
  meter.add(0, [["a", 5]]);
  assert.equal(meter.rate("a"), undefined);
  meter.add(0, [["a", 9]]);
  assert.equal(meter.last("a"), 5, "the same reading twice counts once");
});

test("a counter that comes later has no past, and one that goes is forgotten", () => {
  const meter = new Meter();
  meter.add(0, [["a", 1]]);
  meter.add(1000, [["a", 2], ["b", 100]]);
  assert.equal(meter.rate("b"), undefined, "it did not grow by 100");
  meter.add(2000, [["b", 110]]);
  assert.equal(meter.rate("b"), 10);
  assert.equal(meter.rate("a"), undefined);
  assert.deepEqual(meter.series("b"), [undefined, 10]);
});

test("history is bounded and keeps in step", () => {
  const meter = new Meter(5);
  for (let i = 0; i < 20; i += 1) meter.add(i * 1000, [["a", i]]);
  assert.equal(meter.times.length, 5);
  assert.deepEqual(meter.series("a"), [1, 1, 1, 1]);
  assert.deepEqual(meter.levels("a"), [15, 16, 17, 18, 19]);
  meter.clear();
  assert.deepEqual(meter.series("a"), []);
});

test("a counter that begins anew is not negative, and a pause is a gap", () => {
  const meter = new Meter();
  meter.add(0, [["a", 500]]);
  meter.add(1000, [["a", 3]]);
  meter.add(60000, [["a", 9]]);
  assert.deepEqual(meter.series("a"), [0, undefined]);
});

test("quantiles are bounds of buckets", () => {
  const bounds = [10, 100];
  assert.equal(quantile(bounds, [0, 0, 0], 0.5), undefined);
  assert.equal(quantile(bounds, [9, 1, 0], 0.5), 10);
  assert.equal(quantile(bounds, [9, 1, 0], 0.99), 100);
  assert.equal(quantile(bounds, [0, 0, 1], 0.5), Infinity);
});
