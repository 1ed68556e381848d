import assert from "node:assert/strict";
import { test } from "node:test";
import { badges, duration, fields, kept, MOST, ordered, request, told } from "../app/tapmodel.js";

const row = (more) => ({ at_unix_us: 1, fate: "passed", signal: "traces", service: "shop", name: "GET /", trace_id: "", span_id: "", duration_us: 1, status: "", reason: "", verdict: null, of_in: 0, of_out: 0, split: false, changes: [], fields: [], more_fields: 0, otlp: null, ...more });
const words = (more) => badges(row(more), "filter/health").map((badge) => `${badge.sign} ${badge.words}`).join("; ");

test("a badge says what became of an item", () => {
  assert.equal(words({}), "");
  assert.equal(words({ fate: "unchanged" }), "= unchanged");
  assert.equal(words({ fate: "dropped", reason: "filtered" }), "✕ dropped by filter/health: filtered");
  assert.equal(words({ fate: "inside" }), "… still inside");
  const changes = ["attributes.a", "name", "attributes.c", "d"].map((key) => ({ key, before: "1", after: "2" }));
  assert.equal(words({ fate: "changed", changes }), "≠ changed a, name, c and 1 more");
  assert.equal(words({ fate: "unchanged", verdict: { policy: "errors", kept: true, dry_run: false } }), "✓ kept by errors");
  assert.equal(words({ fate: "dropped", verdict: { policy: "", kept: false, dry_run: true } }), "✕ would be dropped: no policy sampled it");
  assert.equal(words({ fate: "unchanged", of_in: 3, of_out: 8192 }), "= unchanged; ⊃ joined 3 into 8\u202f192");
});

test("changes come before the fields that stay, each key once", () => {
  const changes = [
    { key: "attributes.email", before: '"a"', after: '"b"' },
    { key: "attributes.new", before: null, after: "1" },
    { key: "attributes.old", before: "1", after: null },
  ];
  const all = fields(row({ fate: "changed", changes, fields: [["name", '"GET /"'], ["attributes.email", '"a"'], ["attributes.old", "1"]] }));
  assert.deepEqual(all.map((one) => [one.key, one.kind]), [["attributes.email", "changed"], ["attributes.new", "added"], ["attributes.old", "removed"], ["name", ""]]);
  assert.equal(fields(row({ fate: "dropped", fields: [["name", "1"]] }))[0].kind, "gone");
});

test("only so many rows and characters are kept, the newest first", () => {
  const rows = (from, number, more = {}) => Array.from({ length: number }, (_, i) => row({ n: from + i, ...more }));
  const all = kept(kept([], rows(0, 200)), rows(200, 200));
  assert.equal(all.length, MOST);
  assert.deepEqual([all[0].n, all.at(-1).n], [399, 100]);
  const large = rows(0, 10, { otlp: "x".repeat(1_000_000) });
  assert.equal(kept([], large).length, 5);
  assert.equal(kept([], [row({ otlp: "x".repeat(7_000_000) })]).length, 1);
});

test("counts say what was not shown", () => {
  assert.equal(told({ seen: 412, shown: 50, one_in: 8, missed: 0, forgotten: 0 }), "shown 50 of 412, 1 trace in 8 now, 0 missed");
  assert.equal(told({ seen: 4, shown: 4, one_in: 1, missed: 2, forgotten: 3 }), "shown 4 of 4, 2 missed, 3 lost sight of inside");
  assert.equal(told(undefined), "");
});

test("points are in the order of the data", () => {
  const point = (pipeline, kind, id, side) => ({ pipeline, kind, id, side });
  const points = [point("logs", "exporter", "nop", "in"), point("traces", "exporter", "nop", "in"), point("traces", "processor", "a", "both"), point("traces", "processor", "b", "both"), point("traces", "receiver", "otlp", "out")];
  const pipelines = [{ id: "traces", receivers: ["otlp"], processors: ["b", "a"], exporters: ["nop"] }];
  const all = ordered(points, pipelines);
  assert.deepEqual(all.map((one) => one.pipeline), ["traces", "logs"]);
  assert.deepEqual(all[0].points.map((one) => one.id), ["otlp", "b", "a", "nop"]);
});

test("only what is set is asked for", () => {
  assert.equal(request({ pipeline: "traces", component: "processor a", where: 'name == "a&b"', side: "", other: "1" }), "pipeline=traces&component=processor+a&where=name+%3D%3D+%22a%26b%22");
  assert.equal(duration(850), "850\u202fµs");
  assert.equal(duration(1_250_000), "1.3\u202fs");
  assert.equal(duration(null), "");
});
