import assert from "node:assert/strict";
import { test } from "node:test";
import { flow, odd, reason, sdk, services, sorted, stateOf, via, worst } from "../app/findings.js";

const sender = (more) => ({ service: "shop", sdk_name: "opentelemetry", sdk_language: "python", sdk_version: "1.29.0", transport: "http", encoding: "proto", compression: "", recent_span_ms: 60000, recent: { spans: 0, data_points: 0, log_records: 0, refused: 0 }, refusal: "", near: "", unnamed: false, ...more });

test("the ladder on which something stops is told first, and one without data last", () => {
  const ladders = ["nothing", "ok", "stop", "partial"].map((state) => ({ signal: state, state, finding: "", rungs: [] }));
  assert.equal(worst(ladders).signal, "stop");
  assert.equal(worst(ladders.slice(0, 2)).signal, "ok");
  assert.equal(worst([]), undefined);
});

test("what a processor is told to leave out is no trouble", () => {
  const rung = { step: "processor", state: "partial", came: 1000, stopped: 900 };
  assert.deepEqual(stateOf(rung), { tone: "", sign: "−", words: "90\u202f%" });
  assert.equal(stateOf({ ...rung, stopped: 1 }).words, "<1\u202f%");
  assert.equal(stateOf({ ...rung, stopped: 999 }).words, "99\u202f%");
  assert.equal(stateOf({ ...rung, state: "stop" }).tone, "error");
  assert.equal(stateOf({ ...rung, step: "backend" }).tone, "warn");
  assert.equal(stateOf({ state: "of tomorrow" }).words, "unknown");
});

test("a sender is told by its SDK, its way and its flow", () => {
  assert.equal(sdk(sender({})), "python 1.29.0");
  assert.equal(sdk(sender({ sdk_language: "", sdk_version: "" })), "opentelemetry");
  assert.equal(via(sender({ compression: "gzip" })), "http gzip");
  assert.equal(via(sender({ encoding: "json" })), "http json");
  assert.equal(flow(sender({ recent: { spans: 1200, data_points: 60, log_records: 0 } })), "20 spans/s, 1 points/s");
  assert.equal(flow(sender({})), "");
  assert.equal(flow(sender({ recent_span_ms: 0, recent: { spans: 3, data_points: 0, log_records: 0 } })), "");
});

test("what is odd is said, and comes first", () => {
  assert.equal(odd(sender({ near: "backend-flask" })), "meant to be `backend-flask`?");
  assert.match(odd(sender({ unnamed: true })), /OTEL_SERVICE_NAME/);
  assert.equal(odd(sender({})), "");
  const stranger = sender({ service: null });
  const refused = sender({ service: "b", refusal: "x", recent: { spans: 0, data_points: 0, log_records: 0, refused: 2 } });
  assert.deepEqual(sorted([sender({}), stranger, refused]).map((one) => one.service), [null, "b", "shop"]);
  assert.deepEqual(services([sender({}), stranger, refused, sender({})]), ["b", "shop"]);
});

test("a reason ends where its remedy begins", () => {
  assert.deepEqual(reason("there is no endpoint at /; use /v1/traces; or /v1/logs"), { why: "there is no endpoint at /", remedy: "use /v1/traces; or /v1/logs" });
  assert.deepEqual(reason("no remedy"), { why: "no remedy", remedy: "" });
});
