"""A known mix of traces by the stock OpenTelemetry SDK.

    sampled.py ENDPOINT

20 traces with an error, 10 slow ones, 30 health checks (every third of them with an error) and 600
others, three spans each. Ids follow from a seed. Prints a line for each trace: its kind and its id.
"""

import random
import sys
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context


class Seeded(IdGenerator):
    def __init__(self):
        self.random = random.Random(20)

    def generate_span_id(self):
        return self.random.getrandbits(63) + 1

    def generate_trace_id(self):
        return self.random.getrandbits(127) + 1


provider = TracerProvider(
    resource=Resource.create({"service.name": "shop"}), id_generator=Seeded()
)
exporter = OTLPSpanExporter(endpoint=sys.argv[1] + "/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10000))
tracer = provider.get_tracer("mix")


def trace_of(kind, route, fails=False, seconds=0.05):
    start = time.time_ns()
    root = tracer.start_span(
        f"GET {route}", kind=SpanKind.SERVER, attributes={"http.route": route}, start_time=start
    )
    context = set_span_in_context(root)
    for child in ("query", "render"):
        span = tracer.start_span(child, context=context, start_time=start)
        if fails and child == "query":
            span.set_status(Status(StatusCode.ERROR, "it failed"))
        span.end(start + 1_000_000)
    root.end(start + int(seconds * 1e9))
    print(kind, format(root.get_span_context().trace_id, "032x"))


for _ in range(20):
    trace_of("error", "/cart", fails=True)
for _ in range(10):
    trace_of("slow", "/search", seconds=3)
for i in range(30):
    trace_of("health", "/healthz", fails=i % 3 == 0)
for _ in range(600):
    trace_of("other", "/")
provider.shutdown()
