"""Sends one span to ENDPOINT by the SDK, with the headers of OTEL_EXPORTER_OTLP_HEADERS. Prints how
it ended: SUCCESS or FAILURE.

    python authenticated.py grpc|http ENDPOINT
"""

import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PROTOCOL, ENDPOINT = sys.argv[1:3]

if PROTOCOL == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=ENDPOINT, insecure=True, timeout=10)
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{ENDPOINT}/v1/traces", timeout=10)

memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
with provider.get_tracer("test").start_as_current_span("of the SDK"):
    pass
print(exporter.export(memory.get_finished_spans()).name)
