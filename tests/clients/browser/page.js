// A page with the stock OpenTelemetry SDK for browsers, and rollbar.js. What it does is in the query
// of its address:
//
//     otlp      where its spans go, as in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
//     api       the application that it calls
//     rollbar   where rollbar.js sends to; without it there is no Rollbar
//     token     sent as `x-skep-token` with its spans

import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { DocumentLoadInstrumentation } from "@opentelemetry/instrumentation-document-load";
import { FetchInstrumentation } from "@opentelemetry/instrumentation-fetch";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, WebTracerProvider } from "@opentelemetry/sdk-trace-web";
import Rollbar from "rollbar";

const settings = new URLSearchParams(location.search);
const [otlp, api] = [settings.get("otlp"), settings.get("api")];
const headers = settings.has("token") ? { "x-skep-token": settings.get("token") } : {};

const provider = new WebTracerProvider({
  resource: resourceFromAttributes({
    "service.name": "shop-frontend",
    "service.version": "1.2.3",
    // What a page should not say.
    "skep.trust": "server",
    "host.name": "db-1",
    "user.id": "admin",
  }),
  spanProcessors: [
    // Small batches, since a page that ends may have 64 KiB under way. The delay is longer than
    // the test, so that what comes was flushed by the page, or by its end.
    new BatchSpanProcessor(new OTLPTraceExporter({ url: otlp, headers }), {
      maxExportBatchSize: 30,
      scheduledDelayMillis: 600_000,
    }),
  ],
});
provider.register();
registerInstrumentations({
  tracerProvider: provider,
  instrumentations: [
    new DocumentLoadInstrumentation(),
    new FetchInstrumentation({
      // A text would have to be the whole address.
      propagateTraceHeaderCorsUrls: [new RegExp(`^${api}/`)],
      ignoreUrls: [otlp],
    }),
  ],
});
const tracer = provider.getTracer("shop", "1.2.3");

// A user clicks, and the page asks the application.
window.click = async () => {
  const span = tracer.startSpan("click");
  const asked = context.with(trace.setSpan(context.active(), span), () =>
    fetch(`${api}/api/activities`),
  );
  const activities = await (await asked).json();
  span.setAttribute("app.activities", activities.length);
  span.setStatus({ code: SpanStatusCode.OK });
  span.end();
  // The instrumentation of fetch ends its span once the timing of the request is known.
  await new Promise((done) => setTimeout(done, 1500));
  return activities;
};

// Sends all spans so far. An export that fails is an error.
window.flush = () => provider.forceFlush();

// The last thing that happens: only the end of the page makes the SDK send it.
window.lastWords = () => tracer.startSpan("goodbye").end();

// Asks the collector until it has had enough; what the page can read of its answer.
window.flood = async (most) => {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
  for (let count = 1; count <= most; count++) {
    const answer = await fetch(otlp, request);
    if (answer.status !== 200) {
      return { count, status: answer.status, retryAfter: answer.headers.get("retry-after") };
    }
  }
  return { count: most, status: 200 };
};

// Reports an exception to Rollbar.
window.report = () => {
  const rollbar = new Rollbar({
    accessToken: "fedcba9876543210fedcba9876543210",
    environment: "production",
    endpoint: settings.get("rollbar"),
    captureUncaught: false,
    payload: { person: { id: "42" } },
  });
  return new Promise((done, failed) => {
    rollbar.error(new TypeError("the cart is gone"), (error) => (error ? failed(error) : done()));
  });
};
