"""A backend on its way from the X-Ray SDK to OpenTelemetry: both are in it, and skep takes both.

    seed_app.py

Where skep is stands in OTEL_EXPORTER_OTLP_ENDPOINT and AWS_XRAY_DAEMON_ADDRESS, as in a task definition.
The application is driven by its own test client, until X-Ray's SDK has sampled a request by a rule that
skep gave it. Prints the ids of that request, which the test looks for at the backends.
"""

import logging
import sys
import time

import flask
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracers)
meters = MeterProvider(metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
metrics.set_meter_provider(meters)
loggers = LoggerProvider()
loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
LOGGER = logging.getLogger("home")
LOGGER.setLevel(logging.INFO)
LOGGER.addHandler(LoggingHandler(logger_provider=loggers))

app = flask.Flask("backend-flask")
FlaskInstrumentor().instrument_app(app)
xray_recorder.configure(service="backend-flask", context_missing="RUNTIME_ERROR")
XRayMiddleware(app, xray_recorder)
tracer = trace.get_tracer("home.activities")
shown = metrics.get_meter("home.activities").create_counter("activities.shown", unit="1")


@app.get("/api/health-check")
def health_check():
    return {"sampled": bool(xray_recorder.current_segment().sampled)}


@app.get("/api/activities/home")
def home():
    segment = xray_recorder.current_segment()
    with tracer.start_as_current_span("home-activities") as span:
        with xray_recorder.in_subsegment("activities_home") as subsegment:
            subsegment.put_annotation("user", "andrew")
            subsegment.put_metadata("results", {"size": 1}, "home")
        segment.put_annotation("page", "home")
        LOGGER.info("%d activities shown", 1, extra={"segment": segment.id})
        return {
            "sampled": bool(segment.sampled),
            "trace": segment.trace_id,
            "segment": segment.id,
            "subsegment": subsegment.id,
            "otel_trace": f"{span.get_span_context().trace_id:032x}",
            "otel_span": f"{span.get_span_context().span_id:016x}",
        }


client = app.test_client()
deadline = time.monotonic() + 40


def wait():
    if time.monotonic() > deadline:
        sys.exit("nothing was sampled by a rule of skep")
    time.sleep(0.1)


# The first decision starts the pollers; a decision by a rule of skep is the name of the rule.
asked = {"service": "backend-flask", "method": "GET", "path": "/", "host": "localhost"}
while not isinstance(xray_recorder.sampler.should_trace(asked), str):
    wait()
for _ in range(20):
    if client.get("/api/health-check").json["sampled"]:
        sys.exit("a rule with rate 0 was not followed")
while not (said := client.get("/api/activities/home").json)["sampled"]:
    wait()
for key, value in said.items():
    print(key, value)
# A counter counts since its start: the first point says from where.
shown.add(3)
meters.force_flush()
shown.add(2, {})
for provider in (tracers, meters, loggers):
    provider.shutdown()
