import assert from "node:assert/strict";
import { test } from "node:test";
import { condition, conditions, honesty, listPath, rowFilter, shown, whyEmpty } from "../app/filters.js";
import { age, millis } from "../app/format.js";
import { find, isLeaf, next, placeOf, reveal, ticks, treeOf, visible, windowOf, zoomed } from "../app/tree.js";

/** A trace of these parents, each span 10 µs long and 1 µs after the one before. */
function trace(parents, flags = {}) {
  const all = parents.map((_, i) => i);
  return {
    n: parents.length,
    parent: parents,
    start: all,
    duration: all.map(() => 10),
    name: all,
    names: all.map((i) => `name ${i}`),
    service: all.map((i) => i % 2),
    services: ["shop", "pay"],
    id: all.map((i) => `00000000000000${i.toString(16).padStart(2, "0")}`),
    flags: all.map((i) => flags[i] ?? 0),
    events: { row: [2, 2], time: [3, 4], name: [0, 1], hidden: 0 },
  };
}

//  0 - 1 - 2
//    |   ` 3
//    ` 4
//  5 - 6
const EXAMPLE = [-1, 0, 1, 1, 0, -1, 5];

test("what is below a row follows it", () => {
  const tree = treeOf(trace(EXAMPLE, { 3: 2 << 3 }));
  assert.deepEqual([...tree.depth], [0, 1, 2, 2, 1, 0, 1]);
  assert.deepEqual([...tree.end], [5, 4, 3, 4, 5, 7, 7]);
  assert.deepEqual(tree.errors, [3]);
  assert.equal(tree.to, 16);
  assert.deepEqual(tree.marks.get(2), [0, 1]);
  assert.ok(isLeaf(tree, 2) && !isLeaf(tree, 1));
});

test("a closed row hides what is below it, and a search opens it", () => {
  const tree = treeOf(trace(EXAMPLE));
  const closed = new Uint8Array(7);
  closed[0] = closed[1] = 1;
  const rows = visible(tree, closed);
  assert.deepEqual([...rows], [0, 5, 6]);
  assert.equal(placeOf(rows, 3), 0, "of a hidden row that of the row that hides it");
  assert.equal(placeOf(rows, 6), 2);
  assert.ok(reveal(tree, closed, 3));
  assert.deepEqual([...visible(tree, closed)], [0, 1, 2, 3, 4, 5, 6]);
  assert.ok(!reveal(tree, closed, 3));
});

test("a chain of 80 000 spans is a tree, too", () => {
  const tree = treeOf(trace(Array.from({ length: 80_000 }, (_, i) => i - 1)));
  assert.equal(tree.end[0], 80_000);
  assert.equal(visible(tree, new Uint8Array(80_000)).length, 80_000);
  assert.equal(treeOf(trace([])).to, 1, "a trace without spans");
});

test("spans are found by name, service and id, and gone through around the end", () => {
  const one = trace(EXAMPLE);
  assert.deepEqual(find(one, " NAME 3"), [3]);
  assert.deepEqual(find(one, "pay"), [1, 3, 5]);
  assert.deepEqual(find(one, "0000000000000004"), [4]);
  assert.deepEqual(find(one, ""), []);
  assert.equal(next([1, 3, 5], 3, 1), 5);
  assert.equal(next([1, 3, 5], 5, 1), 1);
  assert.equal(next([1, 3, 5], 1, -1), 5);
  assert.equal(next([], 1, 1), undefined);
});

test("a window has the rows that are seen and some around them", () => {
  assert.deepEqual(windowOf(10_000, 0, 260, 26), { from: 0, to: 18 });
  assert.deepEqual(windowOf(10_000, 2600, 260, 26), { from: 92, to: 118 });
  assert.deepEqual(windowOf(3, 0, 260, 26), { from: 0, to: 3 });
  assert.deepEqual(windowOf(0, 500, 260, 26), { from: 0, to: 0 });
});

test("times of an axis are round", () => {
  assert.deepEqual(ticks(0, 1000), [0, 200, 400, 600, 800, 1000]);
  assert.deepEqual(ticks(130, 610), [200, 300, 400, 500, 600]);
  assert.deepEqual(ticks(5, 5), []);
  assert.deepEqual(zoomed({ from: 0, to: 100 }, 0.5, 100), { from: 25, to: 75 });
  assert.deepEqual(zoomed({ from: 80, to: 100 }, 2, 100), { from: 60, to: 100 });
  assert.deepEqual(zoomed({ from: 20, to: 80 }, 8, 100), { from: 0, to: 100 });
});

test("a duration has the unit that fits", () => {
  const cases = [[0, "0 ms"], [0.0004, "0.4 µs"], [0.02, "20 µs"], [1.234, "1.23 ms"], [120, "120 ms"], [999.6, "1.00 s"], [12345, "12.3 s"], [125000, "2 min 5 s"], [NaN, "–"]];
  for (const [value, text] of cases) assert.equal(millis(value).replaceAll("\u202f", " "), text);
});

test("conditions are read as people write them", () => {
  assert.deepEqual(condition("user.id = 17"), ["user.id", "=", "17"]);
  assert.deepEqual(condition('http.route="/a b"'), ["http.route", "=", "/a b"]);
  assert.deepEqual(condition("duration_ms>=5.5"), ["duration_ms", ">=", "5.5"]);
  assert.deepEqual(condition("name contains GET /"), ["name", "contains", "GET /"]);
  assert.deepEqual(condition("retry exists"), ["retry", "exists"]);
  assert.deepEqual(condition("retry does-not-exist"), ["retry", "does-not-exist"]);
  for (const wrong of ["", "user.id", "user.id =", "= 17", "retry exists 7"]) assert.equal(condition(wrong), undefined, wrong);
  assert.equal(shown(["a", "=", "b"]), "a = b");
  assert.equal(shown(["a", "exists"]), "a exists");
});

test("the address holds the filter, and what is wrong in it is no filter", () => {
  const query = { service: "shop", where: '[["a","=","b"]]', trace: "x", row: "1" };
  const path = listPath(query, 50);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(path.slice(7))), { service: "shop", where: '[["a","=","b"]]', limit: "50" });
  assert.deepEqual(conditions(query.where), [["a", "=", "b"]]);
  for (const wrong of [undefined, "", "x", "7", "{}", "[7]", "[[7]]"]) assert.deepEqual(conditions(wrong), []);
});

test("a row of a board leads to its traces", () => {
  const query = { where: [["user.id", "exists"], { column: "error", op: "=", value: true }] };
  assert.deepEqual(rowFilter(query, ["user.id", "name"], ["u-17", null]), [["error", "=", true], ["user.id", "=", "u-17"], ["name", "does-not-exist"]]);
  assert.deepEqual(rowFilter({}, [], []), []);
});

test("an empty list says why it is empty", () => {
  const store = { traces: 0, age_s: 900, counts: { seen: 0 } };
  const why = (more, has = {}) => whyEmpty({ store: { ...store, ...has }, level: "data", hasFilter: false, ...more })[0];
  assert.match(why({ level: "operation" }), /no contents/);
  assert.match(why({}), /since the start/);
  assert.match(why({}, { counts: { seen: 7 } }), /last 15 minutes/);
  assert.match(why({ hasFilter: true }, { traces: 3 }), /No trace meets/);
});

test("every answer says how far to trust it", () => {
  const words = honesty({ held_from: "1700000000000000000", one_in: 8, is_partial: true }, 1_700_000_060_000, age).replaceAll("\u202f", " ");
  assert.equal(words, "held: the last 60 s · 1 in 8 traces, counted 8 times · time ran out: only a part was looked at");
  assert.equal(honesty({ held_from: null, one_in: 1 }, 0, age), "all traces");
});
