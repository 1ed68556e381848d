"""The stock AWS X-Ray SDK, whose rules come from AWS through skep.

    xray_proxy.py HOST:PORT PATH...

Prints which rule samples each path, and the quota of the first rule; then sends one segment.
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


def decide(path):
    """The rule that samples a request, or False."""
    request = {"service": "backend-flask", "method": "GET", "path": path, "host": "shop.test"}
    return xray_recorder.sampler.should_trace(request)


deadline = time.monotonic() + 40
paths = sys.argv[2:]
while decide(paths[0]) in (True, False):
    if time.monotonic() > deadline:
        sys.exit("no rules came")
    time.sleep(0.1)
for path in paths:
    print(path, decide(path))
first = decide(paths[0])
rule = next(one for one in xray_recorder.sampler._cache.rules if one.name == first)
while not rule.reservoir.quota:
    if time.monotonic() > deadline:
        sys.exit("no quota came")
    time.sleep(0.1)
print("quota", rule.reservoir.quota)

current = xray_recorder.begin_segment("backend-flask", sampling=True)
print("trace", current.trace_id)
print("root", current.id)
current.put_http_meta("url", "http://shop.test/api/activities")
current.put_http_meta("method", "GET")
current.put_http_meta("status", 200)
current.put_annotation("user", "andrew")
current.put_metadata("cart", {"items": [1, 2]}, "shop")
with xray_recorder.in_subsegment("db", namespace="remote") as child:
    print("child", child.id)
xray_recorder.end_segment()
