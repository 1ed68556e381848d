"""A program under the stock AWS X-Ray SDK, which asks skep what to sample.

    xray_app.py HOST:PORT

Prints a line for each thing that it did: what the test looks for at the backend.
"""

import sys
import time

from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.sampling.sampler import DefaultSampler

xray_recorder.configure(
    service="backend-flask",
    daemon_address=sys.argv[1],
    sampler=DefaultSampler(),
    sampling=True,
    context_missing="RUNTIME_ERROR",
)


def segment(decision):
    """Begins a segment by what the sampler says of a path, as the middleware does."""
    return xray_recorder.begin_segment("backend-flask", sampling=decision)


def decide(path):
    """Whether a request is to be sampled, and by which rule."""
    request = {"service": "backend-flask", "method": "GET", "path": path, "host": "shop.test"}
    return xray_recorder.sampler.should_trace(request)


@xray_recorder.capture("work")
def work():
    """A subsegment by decorator."""
    xray_recorder.current_subsegment().put_annotation("step", 7)


# The first decision starts the pollers; until rules have come the SDK goes by its own.
deadline = time.monotonic() + 40
while decide("/api/warm") != "api":
    if time.monotonic() > deadline:
        sys.exit("no rules came")
    time.sleep(0.1)
print("rule", decide("/api/warm"))
for _ in range(20):
    if decide("/health"):
        sys.exit("a rule with rate 0 was not followed")

# The first report is answered with a share of the reservoir.
rule = next(one for one in xray_recorder.sampler._cache.rules if one.name == "api")
while not rule.reservoir.quota:
    if time.monotonic() > deadline:
        sys.exit("no share came")
    time.sleep(0.1)
print("share", rule.reservoir.quota)

current = segment(decide("/api/activities"))
print("trace", current.trace_id[2:].replace("-", ""))
print("root", current.id)
current.set_rule_name("api")
current.put_http_meta("url", "http://shop.test/api/activities")
current.put_http_meta("method", "GET")
current.put_http_meta("status", 200)
current.put_annotation("user", "andrew")
current.put_annotation("ratio", 0.5)
current.put_annotation("paid", True)
current.put_metadata("cart", {"items": [1, 2], "rate": float("nan")}, "shop")
with xray_recorder.in_subsegment("db", namespace="remote") as child:
    print("child", child.id)
    child.set_sql({"url": "postgresql://db.test:5432/shop", "database_type": "PostgreSQL"})
    work()
try:
    with xray_recorder.in_subsegment("broken"):
        raise ValueError("always fails")
except ValueError:
    pass
xray_recorder.end_segment()

# Many children: the SDK sends those that are done alone, before the segment.
current = segment(decide("/api/many"))
print("many", current.trace_id[2:].replace("-", ""))
for number in range(150):
    with xray_recorder.in_subsegment(f"part {number}"):
        pass
xray_recorder.end_segment()
