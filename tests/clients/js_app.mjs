// The stock OpenTelemetry SDK for JavaScript.
//
//     js_app.mjs json|protobuf none|gzip ENDPOINT RECORD_FOLDER
//
// Everything that an exporter is given is also written to RECORD_FOLDER as OTLP protobuf, one file
// per export call: what the test compares with what arrived at the backend.

import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// The packages are installed beside the built crate, not beside this file.
const require = createRequire(pathToFileURL(join(process.cwd(), "app.js")));
const { SpanKind, SpanStatusCode, trace, context } = require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const transformer = require("@opentelemetry/otlp-transformer");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { resourceFromAttributes } = require("@opentelemetry/resources");

const [encoding, compression, endpoint, records] = process.argv.slice(2);
const suffix = encoding === "json" ? "http" : "proto";
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${suffix}`);

let calls = 0;

// Makes an exporter write what it is given before it sends it, and remember a failure.
function recording(exporter, signal, serializer) {
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) => {
    const name = `${String(calls++).padStart(4, "0")}.${signal}`;
    writeFileSync(join(records, name), serializer.serializeRequest(batch));
    send(batch, (result) => {
      if (result.code !== 0) {
        console.error(signal, result.error);
        process.exitCode = 1;
      }
      done(result);
    });
  };
  return exporter;
}

const settings = (path) => ({
  url: `${endpoint}/v1/${path}`,
  compression,
  headers: { "x-user-id": "user-42" },
});
const resource = resourceFromAttributes({ "service.name": "frontend-js", "deployment.ring": 3 });
const spans = new OTLPTraceExporter(settings("traces"));
const points = new OTLPMetricExporter(settings("metrics"));
const logs = new OTLPLogExporter(settings("logs"));
const tracers = new BasicTracerProvider({
  resource,
  spanProcessors: [
    new BatchSpanProcessor(recording(spans, "traces", transformer.ProtobufTraceSerializer)),
  ],
});
const meters = new MeterProvider({
  resource,
  readers: [
    new PeriodicExportingMetricReader({
      exporter: recording(points, "metrics", transformer.ProtobufMetricsSerializer),
      exportIntervalMillis: 60_000,
    }),
  ],
});
const recorded = recording(logs, "logs", transformer.ProtobufLogsSerializer);
const processors = [new BatchLogRecordProcessor({ exporter: recorded })];
const loggers = new LoggerProvider({ resource, processors });

const tracer = tracers.getTracer("app", "1.2.3");
const meter = meters.getMeter("app", "1.2.3");
const logger = loggers.getLogger("app", "1.2.3");
const counter = meter.createCounter("clicks", { unit: "{click}", description: "Clicks" });
const histogram = meter.createHistogram("latency", { unit: "s" });
meter.createObservableGauge("load").addCallback((result) => result.observe(0.25, { cpu: 0 }));

for (let number = 0; number < 25; number++) {
  const parent = tracer.startSpan("click", { kind: SpanKind.SERVER });
  const within = trace.setSpan(context.active(), parent);
  const links = [{ context: parent.spanContext(), attributes: { why: "parent" } }];
  const child = tracer.startSpan("fetch", { kind: SpanKind.CLIENT, links }, within);
  child.setAttributes({
    "app.number": number,
    "app.large": Number.MAX_SAFE_INTEGER,
    "app.share": number / 7,
    "app.even": number % 2 === 0,
    "app.tags": ["one", "two", "drei \u00fc"],
    "app.long": "x".repeat(300),
  });
  child.addEvent("cache miss", { key: `activity:${number}` });
  if (number % 5 === 0) {
    child.recordException(new Error(`no activity ${number}`));
    child.setStatus({ code: SpanStatusCode.ERROR, message: "failed" });
  }
  logger.emit({
    severityNumber: SeverityNumber.INFO,
    severityText: "INFO",
    body: `click ${number}`,
    attributes: { number, nested: { deep: [1, "two", true] } },
    context: within,
  });
  child.end();
  parent.end();
  counter.add(1, { even: number % 2 === 0 });
  histogram.record(number / 100);
}
for (const provider of [tracers, meters, loggers]) {
  await provider.forceFlush();
  await provider.shutdown();
}
