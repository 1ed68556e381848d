"""A Flask application under the stock OpenTelemetry SDK, driven by its own test client.

    flask_app.py grpc|http none|gzip ENDPOINT RECORD_FOLDER

Everything that an exporter is given is also written to RECORD_FOLDER as OTLP protobuf, one file per
export call, before it is sent: what the test compares with what arrived at the backend.
"""

import itertools
import logging
import pathlib
import sys

import flask
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

PROTOCOL, COMPRESSION, ENDPOINT, RECORDS = sys.argv[1:5]
HEADERS = {"x-user-id": "user-42"}
COUNTER = itertools.count()


def recording(exporter, signal, encode):
    """Makes `exporter` write what it is given before it sends it."""
    send = exporter.export

    def export(batch, *args, **kwargs):
        name = f"{next(COUNTER):04}.{signal}"
        pathlib.Path(RECORDS, name).write_bytes(encode(batch).SerializeToString())
        return send(batch, *args, **kwargs)

    exporter.export = export
    return exporter


def exporters():
    """The three exporters of the protocol that the command line names."""
    if PROTOCOL == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        gzip = Compression.Gzip if COMPRESSION == "gzip" else Compression.NoCompression
        settings = {"endpoint": ENDPOINT, "insecure": True, "compression": gzip}
        settings["headers"] = tuple(HEADERS.items())
        return [kind(**settings) for kind in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)]
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    gzip = Compression.Gzip if COMPRESSION == "gzip" else Compression.NoCompression
    kinds = {"traces": OTLPSpanExporter, "metrics": OTLPMetricExporter, "logs": OTLPLogExporter}
    return [
        kind(endpoint=f"{ENDPOINT}/v1/{path}", headers=HEADERS, compression=gzip)
        for path, kind in kinds.items()
    ]


spans, points, records = exporters()
resource = Resource.create({"service.name": "backend-flask", "deployment.ring": 3})
tracers = TracerProvider(resource=resource)
tracers.add_span_processor(BatchSpanProcessor(recording(spans, "traces", encode_spans)))
trace.set_tracer_provider(tracers)
reader = PeriodicExportingMetricReader(recording(points, "metrics", encode_metrics))
exponential = View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation())
meters = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
metrics.set_meter_provider(meters)
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(BatchLogRecordProcessor(recording(records, "logs", encode_logs)))
logging.getLogger().addHandler(LoggingHandler(logger_provider=loggers))
logging.getLogger().setLevel(logging.INFO)

app = flask.Flask("backend-flask")
FlaskInstrumentor().instrument_app(app)
tracer = trace.get_tracer("app", "1.2.3")
meter = metrics.get_meter("app", "1.2.3")
activities = meter.create_counter("activities", unit="{activity}", description="Activities shown")
in_flight = meter.create_up_down_counter("in_flight")
latency = meter.create_histogram("latency", unit="s")
size = meter.create_histogram("payload.size", unit="By")
meter.create_observable_gauge("load", [lambda _: [Observation(0.25, {"cpu": 0})]])


@app.route("/api/activities/<int:number>")
def activity(number):
    in_flight.add(1)
    attributes = {
        "app.number": number,
        "app.share": number / 7,
        "app.even": number % 2 == 0,
        "app.tags": ["one", "two", "drei \N{LATIN SMALL LETTER U WITH DIAERESIS}"],
        "app.counts": [1, 2, 3],
        "app.long": "x" * 300,
    }
    links = [Link(trace.get_current_span().get_span_context(), {"why": "parent"})]
    with tracer.start_as_current_span("load", kind=SpanKind.CLIENT, links=links) as span:
        span.set_attributes(attributes)
        span.add_event("cache miss", {"key": f"activity:{number}"})
        try:
            if number % 5 == 0:
                raise ValueError(f"no activity {number}")
            span.set_status(Status(StatusCode.OK))
        except ValueError as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            logging.exception("activity %d failed", number)
        logging.info("activity %d shown", number, extra={"number": number})
    activities.add(1, {"even": number % 2 == 0})
    latency.record(number / 100, {"route": "activity"})
    size.record(number * 1000)
    in_flight.add(-1)
    return {"number": number}


client = app.test_client()
for number in range(25):
    assert client.get(f"/api/activities/{number}").status_code == 200
assert client.get("/nowhere").status_code == 404
for provider in (tracers, meters, loggers):
    provider.force_flush()
    provider.shutdown()
