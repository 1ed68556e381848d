"""A small backend. It has no line of any vendor and no secret: `opentelemetry-instrument`, which
starts it, sends its traces, metrics and logs to OTEL_EXPORTER_OTLP_ENDPOINT. docker/four-sdks has
the same backend with the SDKs of four vendors."""

import logging

import flask
from opentelemetry import trace

logging.basicConfig(level=logging.INFO)
LOGGER = logging.getLogger("home")
tracer = trace.get_tracer("home.activities")
app = flask.Flask("backend-flask")


@app.before_request
def name_user():
    trace.get_current_span().set_attribute("user.id", "andrew")


@app.get("/api/health-check")
def health_check():
    return {"success": True}


@app.get("/api/activities/home")
def home():
    with tracer.start_as_current_span("home-activities") as span:
        activities = [{"handle": "andrew", "message": "Cloud is fun"}]
        span.set_attribute("app.activities", len(activities))
        LOGGER.info("%d activities shown", len(activities))
        return activities


@app.get("/api/activities/@<handle>")
def user(handle):
    return [{"handle": handle, "message": "Cloud is fun"}]


@app.get("/api/activities/broken")
def broken():
    """Fails, so that there is an error to look at."""
    with tracer.start_as_current_span("broken-activities"):
        try:
            {}["message"]
        except KeyError as error:
            raise RuntimeError("this always fails") from error
