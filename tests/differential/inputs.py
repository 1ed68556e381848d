"""Telemetry by a seed, as OTLP/JSON: valid, and with values that are easy to get wrong."""

import base64

SIGNALS = ("traces", "metrics", "logs")
ENTRIES = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}
SCOPES = {"traces": "scopeSpans", "metrics": "scopeMetrics", "logs": "scopeLogs"}
ITEMS = {"traces": "spans", "metrics": "metrics", "logs": "logRecords"}

TEXTS = ["", "a", "GET /", "42", "-7", "1.5", "1e3", "true", "text <&> \"q\" \\", "\u00e9\u20ac", "x" * 140]
# No negative zero: the Collector loses its sign in summaries.
DOUBLES = [0.0, 1.0, 0.5, -12.25, 1e-6, 9.5e-7, 1e-7, 123456.789, 1e15, 1e16, 1e20, 1e21, 1.5e300, 5e-324]
ODD_DOUBLES = ["NaN", "Infinity", "-Infinity"]
INTS = [0, 1, -1, 7, 443, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)]
KEYS = ["a", "b", "c", "d", "http.method", "user.id", "service.name"]
TIME = 1_700_000_000_000_000_000


def value(rng, depth=2):
    kind = rng.randrange(10 if depth else 6)
    if kind in (0, 1):
        return {"stringValue": rng.choice(TEXTS)}
    if kind == 2:
        return {"boolValue": rng.random() < 0.5}
    if kind == 3:
        return {"intValue": str(rng.choice(INTS))}
    if kind == 4:
        return {"doubleValue": double(rng)}
    if kind == 5:
        return {"bytesValue": base64.b64encode(rng.randbytes(rng.randrange(6))).decode()}
    if kind == 6:
        return {"arrayValue": {"values": [value(rng, depth - 1) for _ in range(rng.randrange(3))]}}
    if kind == 7:
        return {"kvlistValue": {"values": attributes(rng, depth - 1)}}
    if kind == 8:
        return {}
    return {"stringValue": rng.choice(TEXTS)}


def double(rng):
    return rng.choice(ODD_DOUBLES) if rng.random() < 0.1 else rng.choice(DOUBLES)


def attributes(rng, depth=2, most=5):
    """With keys that are there once: others are no valid OTLP."""
    keys = rng.sample(KEYS, rng.randrange(most))
    return [{"key": key, "value": value(rng, depth)} for key in keys]


def pairs(values):
    return [{"key": key, "value": value} for key, value in values.items()]


def time_of(request):
    """The time of the first item."""
    for entry in next(iter(request.values())):
        for scope in entry.get("scopeLogs", entry.get("scopeMetrics", [])):
            for one in scope.get("logRecords", scope.get("metrics", [])):
                points = one.get("gauge", one.get("sum", {"dataPoints": [one]}))["dataPoints"]
                return int(points[0]["timeUnixNano"])
    return None


def maybe(rng, message, key, make, chance=0.6):
    if rng.random() < chance:
        message[key] = make()


def identity(rng, size):
    return "" if rng.random() < 0.1 else rng.randbytes(size).hex()


def span(rng):
    one = {"traceId": identity(rng, 16), "spanId": identity(rng, 8), "name": rng.choice(TEXTS)}
    maybe(rng, one, "parentSpanId", lambda: identity(rng, 8))
    maybe(rng, one, "traceState", lambda: rng.choice(["k=v", "ot=th:8", "a=b,ot=rv:ffffffffffffff"]), 0.2)
    maybe(rng, one, "kind", lambda: rng.randrange(6))
    maybe(rng, one, "startTimeUnixNano", lambda: str(TIME + rng.randrange(10**9)))
    maybe(rng, one, "endTimeUnixNano", lambda: str(TIME + 10**9 + rng.randrange(10**9)))
    maybe(rng, one, "attributes", lambda: attributes(rng))
    maybe(rng, one, "droppedAttributesCount", lambda: rng.randrange(4))
    maybe(rng, one, "events", lambda: [event(rng) for _ in range(rng.randrange(3))], 0.4)
    maybe(rng, one, "links", lambda: [link(rng) for _ in range(rng.randrange(3))], 0.3)
    maybe(rng, one, "status", lambda: {"code": rng.randrange(3), "message": rng.choice(TEXTS)})
    maybe(rng, one, "flags", lambda: rng.choice([1, 257, 768]), 0.3)
    return one


def event(rng):
    one = {"name": rng.choice(TEXTS), "timeUnixNano": str(TIME)}
    maybe(rng, one, "attributes", lambda: attributes(rng))
    maybe(rng, one, "droppedAttributesCount", lambda: rng.randrange(4))
    return one


def link(rng):
    one = {"traceId": identity(rng, 16), "spanId": identity(rng, 8)}
    maybe(rng, one, "traceState", lambda: "k=v")
    maybe(rng, one, "attributes", lambda: attributes(rng))
    return one


def record(rng):
    one = {}
    maybe(rng, one, "timeUnixNano", lambda: str(TIME + rng.randrange(10**9)))
    maybe(rng, one, "observedTimeUnixNano", lambda: str(TIME))
    maybe(rng, one, "severityNumber", lambda: rng.choice([0, 1, 9, 13, 24]))
    maybe(rng, one, "severityText", lambda: rng.choice(["INFO", "warn", ""]))
    maybe(rng, one, "body", lambda: value(rng), 0.8)
    maybe(rng, one, "attributes", lambda: attributes(rng))
    maybe(rng, one, "droppedAttributesCount", lambda: rng.randrange(4))
    maybe(rng, one, "flags", lambda: 1, 0.3)
    maybe(rng, one, "traceId", lambda: identity(rng, 16))
    maybe(rng, one, "spanId", lambda: identity(rng, 8))
    maybe(rng, one, "eventName", lambda: rng.choice(TEXTS), 0.2)
    return one


def point(rng, more):
    one = {"attributes": attributes(rng), "timeUnixNano": str(TIME + rng.randrange(10**9))}
    maybe(rng, one, "startTimeUnixNano", lambda: str(TIME))
    maybe(rng, one, "flags", lambda: 1, 0.2)
    return {**one, **more}


def number(rng):
    kind = rng.randrange(5)
    if kind < 2:
        return {"asInt": str(rng.choice(INTS))}
    return {} if kind == 4 else {"asDouble": double(rng)}


def exemplars(rng):
    one = {"timeUnixNano": str(TIME), "filteredAttributes": attributes(rng, 1, 3)}
    return [{**one, **number(rng)} for _ in range(rng.randrange(2))]


def distribution(rng):
    one = {"count": str(rng.randrange(9))}
    for key in ("sum", "min", "max"):
        maybe(rng, one, key, lambda: double(rng))
    return one


def buckets(rng):
    counts = [str(rng.randrange(4)) for _ in range(rng.randrange(4))]
    return {"offset": rng.randrange(-3, 4), "bucketCounts": counts}


def metric(rng):
    one = {"name": rng.choice(["m", "m.two", "x"])}
    maybe(rng, one, "description", lambda: rng.choice(TEXTS))
    maybe(rng, one, "unit", lambda: rng.choice(["s", "By", "1"]))
    maybe(rng, one, "metadata", lambda: attributes(rng, 1), 0.2)
    count = rng.randrange(1, 3)
    kind = rng.randrange(5)
    if kind < 2:
        points = [
            point(rng, {**number(rng), "exemplars": exemplars(rng)}) for _ in range(count)
        ]
        if kind == 0:
            one["gauge"] = {"dataPoints": points}
        else:
            one["sum"] = {
                "dataPoints": points,
                "aggregationTemporality": rng.choice([1, 2]),
                "isMonotonic": rng.random() < 0.5,
            }
    elif kind == 2:
        bounds = sorted(rng.sample([-1.0, 0.5, 1.0, 2.5, 1e6], rng.randrange(4)))
        counts = [str(rng.randrange(5)) for _ in range(len(bounds) + 1)]
        points = [
            point(rng, {**distribution(rng), "bucketCounts": counts, "explicitBounds": bounds})
            for _ in range(count)
        ]
        one["histogram"] = {"dataPoints": points, "aggregationTemporality": 1}
    elif kind == 3:
        more = {"scale": rng.choice([0, -1, -2]), "zeroCount": str(rng.randrange(3))}
        points = [
            point(rng, {**distribution(rng), **more, "positive": buckets(rng), "negative": buckets(rng)})
            for _ in range(count)
        ]
        one["exponentialHistogram"] = {"dataPoints": points, "aggregationTemporality": 2}
    else:
        quantiles = [{"quantile": q, "value": rng.choice(DOUBLES)} for q in (0.5, 0.99)]
        more = {"count": "3", "sum": rng.choice(DOUBLES), "quantileValues": quantiles}
        one["summary"] = {"dataPoints": [point(rng, more) for _ in range(count)]}
    return one


MAKE = {"traces": span, "metrics": metric, "logs": record}


def request(rng, signal, case, make=None):
    """A request whose resource has the attribute `case`, by which its outcome is found. With
    `make` it has one item, made by that."""
    most = 1 if make else 3
    make = make or MAKE[signal]
    resource = {"attributes": [{"key": "case", "value": {"stringValue": case}}]}
    resource["attributes"] += attributes(rng)
    scopes = []
    for _ in range(1 if make else rng.randrange(1, 3)):
        scope = {"name": rng.choice(["lib", "", "other"]), "version": rng.choice(["", "1.2"])}
        maybe(rng, scope, "attributes", lambda: attributes(rng, 1), 0.3)
        one = {"scope": scope, ITEMS[signal]: [make(rng) for _ in range(rng.randrange(1, most + 1))]}
        maybe(rng, one, "schemaUrl", lambda: "https://example.com/1", 0.3)
        scopes.append(one)
    return {ENTRIES[signal]: [{"resource": resource, SCOPES[signal]: scopes}]}
