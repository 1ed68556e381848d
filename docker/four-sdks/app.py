"""The small backend of docker/app before it had skep: the SDKs of four vendors, wired by hand. Where
they send to is in the environment and in one option of Rollbar; nothing else knows of skep."""

import logging
import os
from time import strftime

import flask
import rollbar
import rollbar.contrib.flask
import watchtower
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware
from flask import got_request_exception, request
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# Honeycomb: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and OTEL_SERVICE_NAME.
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("home.activities")

# CloudWatch Logs: AWS_ENDPOINT_URL_CLOUDWATCH_LOGS, a region and credentials.
LOGGER = logging.getLogger("backend-flask")
LOGGER.setLevel(logging.DEBUG)
LOGGER.addHandler(logging.StreamHandler())
LOGGER.addHandler(watchtower.CloudWatchLogHandler(log_group_name="cruddur"))
LOGGER.info("the backend has started")


class Request(flask.Request):
    """A request whose user Rollbar is told."""

    @property
    def rollbar_person(self):
        return {"id": "andrew", "username": "Andrew", "email": "andrew@example.com"}


app = flask.Flask("backend-flask")
app.request_class = Request

# X-Ray: AWS_XRAY_DAEMON_ADDRESS.
xray_recorder.configure(service="backend-flask", dynamic_naming=os.getenv("AWS_XRAY_URL"))
XRayMiddleware(app, xray_recorder)

FlaskInstrumentor().instrument_app(app)
RequestsInstrumentor().instrument()

# Rollbar: ROLLBAR_ENDPOINT, such as http://localhost:8090/api/1/.
with app.app_context():
    rollbar.init(
        os.getenv("ROLLBAR_ACCESS_TOKEN"),
        "production",
        root=os.path.dirname(os.path.realpath(__file__)),
        allow_logging_basic_config=False,
        endpoint=os.getenv("ROLLBAR_ENDPOINT", rollbar.DEFAULT_ENDPOINT),
    )
    got_request_exception.connect(rollbar.contrib.flask.report_exception, app)


@app.after_request
def log_request(response):
    """Every request is a line, and an error at that."""
    now = strftime("[%Y-%b-%d %H:%M]")
    said = (now, request.remote_addr, request.method, request.scheme, request.full_path)
    LOGGER.error("%s %s %s %s %s %s", *said, response.status)
    return response


@app.get("/api/health-check")
def health_check():
    return {"success": True}


@app.get("/api/activities/home")
@xray_recorder.capture("activities_home")
def home():
    with tracer.start_as_current_span("home-activities") as span:
        activities = [{"handle": "andrew", "message": "Cloud is fun"}]
        span.set_attribute("app.activities", len(activities))
        xray_recorder.current_subsegment().put_annotation("activities", len(activities))
        return activities


@app.get("/api/activities/@<handle>")
def user(handle):
    subsegment = xray_recorder.begin_subsegment("user_activities")
    subsegment.put_metadata("results", {"handle": handle, "size": 1}, "user_activities")
    xray_recorder.end_subsegment()
    return [{"handle": handle, "message": "Cloud is fun"}]


@app.get("/api/activities/broken")
def broken():
    """Fails, so that there is an error to look at."""
    try:
        {}["message"]
    except KeyError as error:
        raise RuntimeError("this always fails") from error


@app.get("/rollbar/test")
def rollbar_test():
    rollbar.report_message("Hello World!", "warning")
    return "Hello World!"
