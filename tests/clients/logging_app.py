"""What an application that used watchtower logs, through the handler of the OpenTelemetry SDK.

    logging_app.py ENDPOINT

Three records: a plain one with an attribute, one with an exception, one within a span.
"""

import logging
import sys

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
exporter = OTLPLogExporter(endpoint=sys.argv[1] + "/v1/logs")
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(logger_provider=provider))

log.info("cart of %s", "andrew", extra={"items": 3})
try:
    {}["cart"]
except KeyError:
    log.exception("no cart")
with TracerProvider().get_tracer("shop").start_as_current_span("checkout"):
    log.warning("slow")
provider.shutdown()
