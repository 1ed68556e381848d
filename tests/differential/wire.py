"""OTLP/JSON as Python has it to the protobuf of the same request, by tables of the fields."""

import base64
import struct

# Message: {JSON name: (number, type)}; `*` is repeated, and what is no scalar is a message.
VALUE = {
    "stringValue": (1, "string"),
    "boolValue": (2, "bool"),
    "intValue": (3, "varint"),
    "doubleValue": (4, "double"),
    "arrayValue": (5, "ArrayValue"),
    "kvlistValue": (6, "KeyValueList"),
    "bytesValue": (7, "base64"),
}
ATTRIBUTES = "*KeyValue"
MESSAGES = {
    "AnyValue": VALUE,
    "ArrayValue": {"values": (1, "*AnyValue")},
    "KeyValueList": {"values": (1, "*KeyValue")},
    "KeyValue": {"key": (1, "string"), "value": (2, "AnyValue")},
    "Resource": {"attributes": (1, ATTRIBUTES), "droppedAttributesCount": (2, "varint")},
    "Scope": {
        "name": (1, "string"),
        "version": (2, "string"),
        "attributes": (3, ATTRIBUTES),
        "droppedAttributesCount": (4, "varint"),
    },
    "traces": {"resourceSpans": (1, "*ResourceSpans")},
    "ResourceSpans": {
        "resource": (1, "Resource"),
        "scopeSpans": (2, "*ScopeSpans"),
        "schemaUrl": (3, "string"),
    },
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, "*Span"), "schemaUrl": (3, "string")},
    "Span": {
        "traceId": (1, "hex"),
        "spanId": (2, "hex"),
        "traceState": (3, "string"),
        "parentSpanId": (4, "hex"),
        "name": (5, "string"),
        "kind": (6, "varint"),
        "startTimeUnixNano": (7, "fixed64"),
        "endTimeUnixNano": (8, "fixed64"),
        "attributes": (9, ATTRIBUTES),
        "droppedAttributesCount": (10, "varint"),
        "events": (11, "*Event"),
        "droppedEventsCount": (12, "varint"),
        "links": (13, "*Link"),
        "droppedLinksCount": (14, "varint"),
        "status": (15, "Status"),
        "flags": (16, "fixed32"),
    },
    "Event": {
        "timeUnixNano": (1, "fixed64"),
        "name": (2, "string"),
        "attributes": (3, ATTRIBUTES),
        "droppedAttributesCount": (4, "varint"),
    },
    "Link": {
        "traceId": (1, "hex"),
        "spanId": (2, "hex"),
        "traceState": (3, "string"),
        "attributes": (4, ATTRIBUTES),
        "droppedAttributesCount": (5, "varint"),
        "flags": (6, "fixed32"),
    },
    "Status": {"message": (2, "string"), "code": (3, "varint")},
    "logs": {"resourceLogs": (1, "*ResourceLogs")},
    "ResourceLogs": {
        "resource": (1, "Resource"),
        "scopeLogs": (2, "*ScopeLogs"),
        "schemaUrl": (3, "string"),
    },
    "ScopeLogs": {
        "scope": (1, "Scope"),
        "logRecords": (2, "*LogRecord"),
        "schemaUrl": (3, "string"),
    },
    "LogRecord": {
        "timeUnixNano": (1, "fixed64"),
        "severityNumber": (2, "varint"),
        "severityText": (3, "string"),
        "body": (5, "AnyValue"),
        "attributes": (6, ATTRIBUTES),
        "droppedAttributesCount": (7, "varint"),
        "flags": (8, "fixed32"),
        "traceId": (9, "hex"),
        "spanId": (10, "hex"),
        "observedTimeUnixNano": (11, "fixed64"),
        "eventName": (12, "string"),
    },
    "metrics": {"resourceMetrics": (1, "*ResourceMetrics")},
    "ResourceMetrics": {
        "resource": (1, "Resource"),
        "scopeMetrics": (2, "*ScopeMetrics"),
        "schemaUrl": (3, "string"),
    },
    "ScopeMetrics": {"scope": (1, "Scope"), "metrics": (2, "*Metric"), "schemaUrl": (3, "string")},
    "Metric": {
        "name": (1, "string"),
        "description": (2, "string"),
        "unit": (3, "string"),
        "gauge": (5, "Numbers"),
        "sum": (7, "Numbers"),
        "histogram": (9, "Histogram"),
        "exponentialHistogram": (10, "ExponentialHistogram"),
        "summary": (11, "Summary"),
        "metadata": (12, ATTRIBUTES),
    },
    "Numbers": {
        "dataPoints": (1, "*Number"),
        "aggregationTemporality": (2, "varint"),
        "isMonotonic": (3, "bool"),
    },
    "Histogram": {
        "dataPoints": (1, "*HistogramPoint"),
        "aggregationTemporality": (2, "varint"),
    },
    "ExponentialHistogram": {
        "dataPoints": (1, "*ExponentialPoint"),
        "aggregationTemporality": (2, "varint"),
    },
    "Summary": {"dataPoints": (1, "*SummaryPoint")},
    "Number": {
        "attributes": (7, ATTRIBUTES),
        "startTimeUnixNano": (2, "fixed64"),
        "timeUnixNano": (3, "fixed64"),
        "asDouble": (4, "double"),
        "asInt": (6, "fixed64"),
        "exemplars": (5, "*Exemplar"),
        "flags": (8, "varint"),
    },
    "HistogramPoint": {
        "attributes": (9, ATTRIBUTES),
        "startTimeUnixNano": (2, "fixed64"),
        "timeUnixNano": (3, "fixed64"),
        "count": (4, "fixed64"),
        "sum": (5, "double"),
        "bucketCounts": (6, "packed fixed64"),
        "explicitBounds": (7, "packed double"),
        "exemplars": (8, "*Exemplar"),
        "flags": (10, "varint"),
        "min": (11, "double"),
        "max": (12, "double"),
    },
    "ExponentialPoint": {
        "attributes": (1, ATTRIBUTES),
        "startTimeUnixNano": (2, "fixed64"),
        "timeUnixNano": (3, "fixed64"),
        "count": (4, "fixed64"),
        "sum": (5, "double"),
        "scale": (6, "zigzag"),
        "zeroCount": (7, "fixed64"),
        "positive": (8, "Buckets"),
        "negative": (9, "Buckets"),
        "flags": (10, "varint"),
        "exemplars": (11, "*Exemplar"),
        "min": (12, "double"),
        "max": (13, "double"),
        "zeroThreshold": (14, "double"),
    },
    "Buckets": {"offset": (1, "zigzag"), "bucketCounts": (2, "packed varint")},
    "SummaryPoint": {
        "attributes": (7, ATTRIBUTES),
        "startTimeUnixNano": (2, "fixed64"),
        "timeUnixNano": (3, "fixed64"),
        "count": (4, "fixed64"),
        "sum": (5, "double"),
        "quantileValues": (6, "*Quantile"),
        "flags": (8, "varint"),
    },
    "Quantile": {"quantile": (1, "double"), "value": (2, "double")},
    "Exemplar": {
        "filteredAttributes": (7, ATTRIBUTES),
        "timeUnixNano": (2, "fixed64"),
        "asDouble": (3, "double"),
        "asInt": (6, "fixed64"),
        "spanId": (4, "hex"),
        "traceId": (5, "hex"),
    },
}

MASK = (1 << 64) - 1


def varint(value):
    value &= MASK
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def scalar(kind, value):
    """Wire type and bytes of a value."""
    if kind == "string":
        return 2, value.encode()
    if kind == "base64":
        return 2, base64.b64decode(value)
    if kind == "hex":
        return 2, bytes.fromhex(value)
    if kind == "bool":
        return 0, varint(1 if value else 0)
    if kind == "varint":
        return 0, varint(int(value))
    if kind == "zigzag":
        return 0, varint(2 * value if value >= 0 else -2 * value - 1)
    if kind == "double":
        return 1, struct.pack("<d", float(value))
    if kind == "fixed64":
        return 1, struct.pack("<Q", int(value) & MASK)
    if kind == "fixed32":
        return 5, struct.pack("<I", int(value))
    raise ValueError(kind)


def field(number, wire_type, content):
    length = varint(len(content)) if wire_type == 2 else b""
    return varint(number << 3 | wire_type) + length + content


def encode(name, message):
    """The protobuf of a message; `traces`, `metrics` and `logs` are requests."""
    out = b""
    for key, value in message.items():
        number, kind = MESSAGES[name][key]
        if kind.startswith("*"):
            for one in value:
                out += field(number, 2, encode(kind[1:], one))
        elif kind.startswith("packed "):
            content = b"".join(scalar(kind[7:], one)[1] for one in value)
            out += field(number, 2, content) if content else b""
        elif kind in MESSAGES:
            out += field(number, 2, encode(kind, value))
        else:
            out += field(number, *scalar(kind, value))
    return out
