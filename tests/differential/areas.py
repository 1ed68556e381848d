"""What is compared: pipelines with their settings, and the requests that go into each."""

import time

import inputs

ACTION_VALUES = ["text", 7, 1.5, True, ["a", 1], {"k": "v"}]
PATTERNS = ["^a$", "^[cd]", "http"]


class Pipeline:
    """One receiver, one processor or none, one exporter; the same in both programs."""

    def __init__(self, name, signals, processor=None, exporter=None):
        self.name = name
        self.signals = signals
        self.processor = processor
        self.exporter = exporter
        # (signal, case, body) in order.
        self.requests = []

    @property
    def area(self):
        return self.name.split("-")[0]

    @property
    def is_aws(self):
        return self.area.startswith("aws")

    @property
    def config(self):
        """The settings of what is compared."""
        return (self.processor or self.exporter or (None, {}))[1]


def action(rng):
    key = rng.choice(inputs.KEYS)
    kind = rng.choice(["insert", "update", "upsert", "delete", "hash", "extract", "convert", "convert"])
    one = {"key": key, "action": kind}
    if kind in ("insert", "update", "upsert"):
        if rng.random() < 0.4:
            one["from_attribute"] = rng.choice(inputs.KEYS)
            if rng.random() < 0.5:
                one["default_value"] = rng.choice(ACTION_VALUES)
        else:
            one["value"] = rng.choice(ACTION_VALUES)
    elif kind in ("delete", "hash"):
        if rng.random() < 0.3:
            one["pattern"] = rng.choice(PATTERNS)
    elif kind == "extract":
        one["pattern"] = "^(?P<x>[A-Za-z]*)(?P<y>[0-9]+)?"
    else:
        one["converted_type"] = rng.choice(["int", "double", "string"])
    return one


def selection(rng, signal):
    one = {"match_type": "strict"}
    kind = rng.randrange(4)
    if kind == 0:
        one["attributes"] = [{"key": rng.choice(inputs.KEYS)}]
    elif kind == 1:
        one["libraries"] = [{"name": rng.choice(["lib", "other"])}]
    elif kind == 2 and signal == "traces":
        one["services"] = rng.sample(["", "a", "42"], 2)
    elif kind == 2 and signal == "logs":
        one["log_severity_number"] = {"min": rng.choice([1, 9, 13]), "match_undefined": rng.random() < 0.5}
    else:
        one["attributes"] = [{"key": "a", "value": rng.choice(["a", "42"])}]
    return one


def attribute_pipelines(rng, count):
    for i in range(count):
        signal = inputs.SIGNALS[i % 3]
        config = {"actions": [action(rng) for _ in range(rng.randrange(1, 5))]}
        # For metrics the Collector takes names and resources only, and then ignores the resources.
        if signal != "metrics" and rng.random() < 0.3:
            config[rng.choice(["include", "exclude"])] = selection(rng, signal)
        yield Pipeline(f"attributes-{i}", [signal], ("attributes", config))
    for i in range(count // 4):
        actions = [action(rng) for _ in range(rng.randrange(1, 4))]
        yield Pipeline(f"resource-{i}", [inputs.SIGNALS[i % 3]], ("resource", {"attributes": actions}))


SAMPLERS = [
    {"sampling_percentage": 15},
    {"sampling_percentage": 15, "hash_seed": 22},
    {"sampling_percentage": 30, "hash_seed": 22, "from_attribute": "id"},
    {"sampling_percentage": 90, "attribute_source": "record", "from_attribute": "id"},
    {"sampling_percentage": 30, "fail_closed": False},
    {"sampling_percentage": 0},
    {"sampling_percentage": 100, "fail_closed": False},
    {"sampling_percentage": 25, "mode": "proportional"},
    {"sampling_percentage": 33.3, "mode": "proportional", "sampling_precision": 6},
    {"sampling_percentage": 50, "mode": "proportional", "sampling_priority": "prio"},
    {"sampling_percentage": 50, "mode": "hash_seed", "sampling_priority": "prio"},
    {"sampling_percentage": 60, "mode": "equalizing", "fail_closed": False},
    {"sampling_percentage": 10, "mode": "equalizing", "sampling_priority": "prio"},
]
STATES = ["", "", "k=v", "ot=th:8", "ot=th:c,a=b", "ot=rv:d29d6a7215ced0", "ot=th:4;rv:ffffffffffffff", "ot=th:zz"]


def sampled_span(rng):
    one = {"traceId": inputs.identity(rng, 16), "spanId": rng.randbytes(8).hex(), "name": "n"}
    state = rng.choice(STATES)
    if state:
        one["traceState"] = state
    if rng.random() < 0.15:
        priority = rng.choice([{"intValue": "0"}, {"intValue": "1"}, {"stringValue": "0.0"}, {"doubleValue": -1.0}])
        one["attributes"] = [{"key": "sampling.priority", "value": priority}]
    return one


def sampled_record(rng):
    attributes = []
    if rng.random() < 0.6:
        attributes.append({"key": "id", "value": inputs.value(rng)})
    if rng.random() < 0.3:
        attributes.append({"key": "prio", "value": {"intValue": str(rng.choice([-1, 5, 50, 100]))}})
    if rng.random() < 0.2:
        said = rng.choice(["8", "c", "", "nonsense"])
        attributes.append({"key": "sampling.threshold", "value": {"stringValue": said}})
    if rng.random() < 0.1:
        said = rng.choice(["d29d6a7215ced0", "ffffffffffffff", "1"])
        attributes.append({"key": "sampling.randomness", "value": {"stringValue": said}})
    return {"traceId": inputs.identity(rng, 16), "attributes": attributes}


def sampler_pipelines():
    for i, config in enumerate(SAMPLERS):
        for signal in ("traces", "logs"):
            yield Pipeline(f"sampler-{i}-{signal}", [signal], ("probabilistic_sampler", config))


# Requests of each pipeline.
MANY = {
    "otlp": 200,
    "attributes": 25,
    "resource": 25,
    "sampler": 80,
    "debug": 100,
    "awsemf": 40,
    "awscloudwatchlogs": 60,
}

METRICS = ["m", "m.two", "x", "other"]
DECLARATIONS = [
    {"dimensions": [["a", "b"]], "metric_name_selectors": ["^m"]},
    {"dimensions": [["c"], []], "metric_name_selectors": ["^x$"]},
]
ROLLUPS = ["NoDimensionRollup", "SingleDimensionRollupOnly", "ZeroAndSingleDimensionRollup"]


def aws_pipelines():
    for i, rollup in enumerate(ROLLUPS):
        for j, declarations in enumerate(([], DECLARATIONS)):
            config = {"namespace": "N", "dimension_rollup_option": rollup, "metric_declarations": declarations}
            if i == j:
                config["resource_to_telemetry_conversion"] = {"included": ["r*"], "excluded": ["r.no"]}
            yield Pipeline(f"awsemf-{i}{j}", ["metrics"], exporter=("awsemf", config))
    for raw in (False, True):
        yield Pipeline(f"awscloudwatchlogs-{int(raw)}", ["logs"], exporter=("awscloudwatchlogs", {"raw_log": raw}))


def emf_request(rng, time):
    """Gauges and deltas without units: the rest is meant to differ."""

    def metric(name):
        labels = {key: {"stringValue": rng.choice(["1", "two"])} for key in rng.sample("abc", rng.randrange(4))}
        value = {"asInt": str(rng.randrange(99))} if rng.random() < 0.5 else {"asDouble": rng.choice([0.5, 1e-7, 1e20])}
        point = {"timeUnixNano": str(time), "attributes": inputs.pairs(labels), **value}
        if rng.random() < 0.5:
            return {"name": name, "gauge": {"dataPoints": [point]}}
        return {"name": name, "sum": {"dataPoints": [point], "aggregationTemporality": 1, "isMonotonic": True}}

    names = rng.sample(METRICS, rng.randrange(1, 4))
    resource = {key: {"stringValue": "v"} for key in ("r.a", "r.no", "s")}
    scope = {"scope": {"name": rng.choice(["", "lib"])}, "metrics": [metric(name) for name in names]}
    return {"resourceMetrics": [{"resource": {"attributes": inputs.pairs(resource)}, "scopeMetrics": [scope]}]}


def log_request(rng, time):
    """One record with a body: without one the Collector sends an event that AWS refuses."""
    record = {"timeUnixNano": str(time), "body": inputs.value(rng), "attributes": inputs.attributes(rng)}
    while record["body"] in ({}, {"stringValue": ""}, {"bytesValue": ""}):
        record["body"] = inputs.value(rng)
    inputs.maybe(rng, record, "severityText", lambda: "INFO")
    inputs.maybe(rng, record, "severityNumber", lambda: 9)
    resource = {"attributes": inputs.attributes(rng)}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}


def all_pipelines(rng, scale):
    """Every pipeline with its requests."""
    pipelines = [Pipeline("otlp", inputs.SIGNALS)]
    pipelines += attribute_pipelines(rng, 24)
    pipelines += sampler_pipelines()
    pipelines += [
        Pipeline(f"debug-{verbosity}", inputs.SIGNALS, exporter=("debug", {"verbosity": verbosity}))
        for verbosity in ("normal", "detailed")
    ]
    pipelines += aws_pipelines()
    # CloudWatch takes what is new; a time belongs to one request.
    now = int(time.time()) * 1_000_000_000
    for pipeline in pipelines:
        many = MANY[pipeline.area]
        for i in range(max(1, int(many * scale))):
            signal = pipeline.signals[i % len(pipeline.signals)]
            case = f"{pipeline.name}-{i}"
            if pipeline.is_aws:
                make = emf_request if signal == "metrics" else log_request
                body = make(rng, now - (i + 1) * 1_000_000_000)
            elif pipeline.area == "sampler":
                make = sampled_span if signal == "traces" else sampled_record
                body = inputs.request(rng, signal, case, make)
            else:
                body = inputs.request(rng, signal, case)
            pipeline.requests.append((signal, case, body))
    return pipelines
