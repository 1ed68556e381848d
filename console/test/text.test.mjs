import assert from "node:assert/strict";
import { test } from "node:test";
import { format, parse, token } from "../app/router.js";
import { languages, local, span, target } from "../app/snippets.js";
import { grouped, repeated, totals, verdict } from "../app/verdict.js";
import { parts, paths } from "../app/yaml.js";

const PAGES = [{ id: "overview", path: "/" }, { id: "backends", path: "/backends" }];

test("a place is its URL and back", () => {
  assert.deepEqual(parse("/backends/", "?find=a%20b", PAGES), { page: "backends", query: { find: "a b" } });
  assert.equal(format({ page: "backends", query: { find: "a b", empty: "", a: "1" } }, PAGES), "/backends?a=1&find=a+b");
  assert.equal(format({ page: "overview", query: {} }, PAGES), "/");
  assert.equal(parse("/nothing", "", PAGES).page, "missing");
});

test("only a fragment of the right form is a token", () => {
  assert.equal(token("#t=0123456789abcdef"), "0123456789abcdef");
  for (const wrong of ["", "#", "#t=", "#t=a b", "#x=1", "#t=<b>"]) assert.equal(token(wrong), undefined);
});

test("lines of YAML have paths", () => {
  const text = 'receivers:\n  otlp:\n    protocols:\n      - grpc\n      -\n        name: a\n        list:\n          - x\n          - y\n  "a:b": 1\nservice: {}\n';
  assert.deepEqual(paths(text), [
    "receivers",
    "receivers::otlp",
    "receivers::otlp::protocols",
    "receivers::otlp::protocols::0",
    "receivers::otlp::protocols::1",
    "receivers::otlp::protocols::1::name",
    "receivers::otlp::protocols::1::list",
    "receivers::otlp::protocols::1::list::0",
    "receivers::otlp::protocols::1::list::1",
    "receivers::a:b",
    "service",
    "",
  ]);
});

test("parts of a line put together are the line", () => {
  for (const line of ["", "a: 1", "  - b: 'x # y'  # note", "# all", "- \"quoted key\": 1", "  - http://a:1", "key:", "a: {b: [c]}", "\t? :", "💥: 1"]) {
    assert.equal(parts(line).map((part) => part.text).join(""), line);
  }
  assert.deepEqual(parts("  timeout: 1s # short").map((part) => part.kind), ["mark", "key", "mark", "plain", "comment"]);
});

test("applications are told a port that they can reach", () => {
  const port = (component, protocol, address, tls = false) => ({ component, protocol, address, tls });
  assert.equal(local("0.0.0.0:4318"), "localhost:4318");
  assert.equal(local("10.0.0.7:4318"), "10.0.0.7:4318");
  const both = target([port("metrics", "prometheus", "a:1"), port("otlp", "grpc", "[::]:4317"), port("otlp/in", "http", "127.0.0.1:4318")]);
  assert.deepEqual(both, { url: "http://localhost:4318", isHttp: true, protocol: "http/protobuf" });
  const grpc = target([port("otlp", "grpc", "10.0.0.7:4317", true)]);
  assert.equal(grpc.url, "https://10.0.0.7:4317");
  assert.equal(span(grpc), undefined);
  assert.equal(target([port("otlp", "http", "/run/skep.sock")]), undefined);
  assert.equal(languages(both).length, 6);
  for (const { lines } of languages(both)) assert.ok(lines.includes("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"));
});

const exporter = (id, signal, state, last_error = "") => ({ kind: "exporter", id, signal, state, last_error, last_error_age_ms: 1000, last_success_age_ms: state === "ok" ? 500 : null, destination: "x" });
const facts = (components, more = {}) => ({ health: { ready: true, components, budget: { waiting_requests: 0 } }, about: {}, hasData: true, rates: { traces: { in: 5, out: 5 } }, recentLoss: 0, ...more });

test("the sentence says what is wrong first", () => {
  assert.equal(verdict(facts([exporter("a", "traces", "ok")])).title, "Data flows to a");
  assert.equal(verdict(facts([], { hasData: false, rates: {} })).title, "Nothing has come yet");
  assert.equal(verdict(facts([], { health: undefined })).tone, "idle");
  const failing = verdict(facts([exporter("a", "metrics", "error", "HTTP 401"), exporter("a", "traces", "error", "HTTP 401"), exporter("b", "traces", "ok")]));
  assert.equal(failing.title, "Metrics reach no backend");
  assert.equal(failing.more.length, 1, "one line for one error");
  assert.ok(failing.more[0].text.startsWith("a, metrics and traces: HTTP 401 (now, never worked)"));
  const half = verdict(facts([exporter("a", "traces", "error", "x"), exporter("b", "traces", "ok")]));
  assert.equal(half.title, "a does not take data");
  assert.equal(verdict(facts([exporter("a", "traces", "ok")], { recentLoss: 3 })).tone, "warn");
  assert.equal(grouped([exporter("a", "logs", "ok"), exporter("b", "logs", "ok")]).length, 2);
});

test("totals are those at the ends of the graph", () => {
  const edge = (from, to, ends) => ({ pipeline: "traces", from, to, ends, counters: [from + to] });
  const edges = [edge("receiver:a", "pipeline:traces", "in"), edge("connector:c", "pipeline:traces", "in"), edge("pipeline:traces", "exporter:b", "out"), edge("pipeline:traces", "connector:d", "out")];
  assert.deepEqual(totals({ edges }, () => 10), { traces: { in: 10, out: 10 } });
  assert.deepEqual(totals({ edges }, () => 10, new Set(["exporter:b"])), { traces: { in: 10, out: 0 } });
});

test("lines that differ in numbers only are one", () => {
  const line = (at_unix_ms, text, level = "WARN") => ({ at_unix_ms, level, text });
  const found = repeated([line(9, "lost 7 items"), line(8, "other"), line(7, "lost 12 items"), line(6, "lost 7 items", "ERROR")]);
  assert.deepEqual(found.map((one) => [one.at_unix_ms, one.times]), [[9, 2], [8, 1], [6, 1]]);
});
