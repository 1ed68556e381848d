"""The application behind the page: Flask with the stock OpenTelemetry SDK.

    api.py PORT OTLP_ENDPOINT PAGE_ORIGIN

It allows the page to send `traceparent`, and signs tokens that name its user at /api/token.
"""

import base64
import hashlib
import hmac
import json
import sys
import time

from flask import Flask, jsonify, request
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

port, endpoint, origin = sys.argv[1:]
provider = TracerProvider(resource=Resource({"service.name": "backend-flask"}))
exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app, excluded_urls="api/token")


@app.after_request
def allow_the_page(response):
    if request.headers.get("origin") == origin:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-allow-headers"] = "traceparent, tracestate, baggage"
        response.headers["timing-allow-origin"] = origin
        response.headers["vary"] = "origin"
    return response


@app.get("/api/activities")
def activities():
    time.sleep(0.05)
    return jsonify(["one", "two"])


def encoded(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@app.get("/api/token")
def token():
    header = encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    claims = encoded(json.dumps({"sub": "user-42", "exp": int(time.time()) + 600}).encode())
    signed = f"{header}.{claims}"
    secret = b"0123456789abcdef0123456789abcdef"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(signature)}"


app.run(host="127.0.0.1", port=int(port))
