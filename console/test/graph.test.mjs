import assert from "node:assert/strict";
import { test } from "node:test";
import { graph } from "../app/graphmodel.js";
import { layout, SIZES } from "../app/layout.js";

/** A reading of pipelines, each `[id, receivers, processors, exporters]`; `c:x` is a connector. */
function topology(pipelines) {
  const end = (id, kind) => (id.startsWith("c:") ? `connector ${id.slice(2)}` : `${kind} ${id}`);
  const edges = [];
  for (const [pipeline, receivers, processors, exporters] of pipelines) {
    const add = (from, to) => edges.push({ pipeline, from, to, items: 1, bytes: 1 });
    const chain = processors.map((id) => `processor ${id}`);
    const from = receivers.map((id) => end(id, "receiver"));
    const to = exporters.map((id) => end(id, "exporter"));
    if (chain.length === 0) from.forEach((one) => to.forEach((other) => add(one, other)));
    else {
      from.forEach((one) => add(one, chain[0]));
      chain.slice(1).forEach((one, i) => add(chain[i], one));
      to.forEach((one) => add(chain.at(-1), one));
    }
  }
  const nodes = [];
  for (const { pipeline, from, to } of edges) {
    for (const [kind, id] of [from, to].map((one) => one.split(" "))) {
      if (!nodes.some((node) => node.pipeline === pipeline && node.kind === kind && node.id === id)) nodes.push({ pipeline, kind, id });
    }
  }
  return { nodes, edges };
}

const BUILT_IN = [["traces", ["otlp"], ["batch"], ["debug"]], ["metrics", ["otlp"], ["batch"], ["debug"]], ["logs", ["otlp"], ["batch"], ["debug"]]];
const LARGE = [
  ["traces/in", ["otlp", "awsxray"], ["memory_limiter", "tail_sampling", "batch"], ["honeycomb", "awsxray", "c:span_metrics"]],
  ["traces/errors", ["otlp"], ["filter"], ["c:exceptions"]],
  ["metrics", ["otlp", "c:span_metrics"], ["batch"], ["honeycomb", "awsemf"]],
  ["logs", ["c:exceptions", "rollbar"], [], ["rollbar", "honeycomb"]],
];
const order = (pipelines) => pipelines.map(([id]) => id);
const drawn = (pipelines, width = 0) => layout(graph(topology(pipelines), order(pipelines)), width);

test("receivers and exporters are shared, processors are not", () => {
  const found = graph(topology(BUILT_IN), order(BUILT_IN));
  const keys = found.nodes.map((node) => node.key).sort();
  assert.deepEqual(keys, ["exporter:debug", "pipeline:logs", "pipeline:metrics", "pipeline:traces", "processor:logs:batch", "processor:metrics:batch", "processor:traces:batch", "receiver:otlp"]);
  assert.equal(found.edges.length, 9);
  assert.deepEqual(found.pipelines, ["traces", "metrics", "logs"]);
});

test("what a receiver hands to several exporters is counted once", () => {
  const found = graph(topology([["logs", ["a", "b"], [], ["x", "y"]]]), []);
  const edge = (from, to) => found.edges.find((edge) => edge.from === from && edge.to === to);
  assert.equal(edge("receiver:a", "pipeline:logs").counters.length, 1);
  assert.equal(edge("pipeline:logs", "exporter:x").counters.length, 2);
});

test("one pipeline can be shown alone", () => {
  const found = graph(topology(LARGE), order(LARGE), "metrics");
  assert.deepEqual(found.pipelines, ["metrics"]);
  assert.ok(found.nodes.every((node) => node.id !== "tail_sampling"));
});

test("processors keep the order of their edges", () => {
  const found = graph(topology(LARGE), order(LARGE), "traces/in");
  const inner = found.edges.filter((edge) => edge.ends === "inner").map((edge) => edge.to);
  assert.deepEqual(inner, ["processor:traces/in:memory_limiter", "processor:traces/in:tail_sampling", "processor:traces/in:batch"]);
});

test("the same graph is drawn the same", () => {
  assert.deepEqual(drawn(LARGE, 1200), drawn(LARGE, 1200));
  const shuffled = topology(LARGE);
  shuffled.edges.reverse();
  shuffled.nodes.reverse();
  const sorted = (found) => found.boxes.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  assert.deepEqual(sorted(layout(graph(shuffled, order(LARGE)), 1200)), sorted(drawn(LARGE, 1200)));
});

test("no box lies on another one", () => {
  for (const pipelines of [BUILT_IN, LARGE]) {
    const { boxes } = drawn(pipelines, 1100);
    for (const [i, a] of boxes.entries()) {
      for (const b of boxes.slice(i + 1)) {
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
        assert.ok(apart, `${a.key} lies on ${b.key}`);
      }
    }
  }
});

test("data flows from left to right, and everything is inside", () => {
  const found = graph(topology(LARGE), order(LARGE));
  const { boxes, lines, width, height } = layout(found, 1100);
  const at = new Map(boxes.map((box) => [box.key, box]));
  for (const { from, to } of found.edges) assert.ok(at.get(from).x + at.get(from).width < at.get(to).x, `${from} > ${to}`);
  for (const box of boxes) {
    assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= width + 0.01 && box.y + box.height <= height, box.key);
  }
  assert.equal(lines.length, found.edges.length);
  for (const line of lines) assert.ok(line.path.startsWith("M") && !line.path.includes("NaN"), line.path);
  const last = found.nodes.filter((node) => node.kind === "exporter").map((node) => at.get(node.key).x);
  assert.equal(new Set(last).size, 1, "exporters stand in one column");
});

test("the built-in pipelines are straight lines", () => {
  for (const line of drawn(BUILT_IN).lines) assert.ok(!line.path.includes("C"), line.path);
});

test("the width is filled, but boxes do not become endless", () => {
  const least = drawn(BUILT_IN).width;
  assert.ok(Math.abs(drawn(BUILT_IN, least + 100).width - least - 100) < 0.01);
  assert.ok(drawn(BUILT_IN, 10000).width < least + 5 * 150);
  assert.ok(drawn(BUILT_IN, 10000).boxes.every((box) => box.width <= SIZES.node.widest));
});

test("nothing to draw is drawn as nothing", () => {
  assert.deepEqual(layout({ pipelines: [], nodes: [], edges: [] }), { width: 0, height: 0, boxes: [], lines: [] });
});
