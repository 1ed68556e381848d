"""An application that logs by watchtower; endpoint and credentials are in the environment.

    watchtower_app.py GROUP [OPTIONS]

OPTIONS are those of the handler as JSON, `lines` (how many lines to log beside the others) and `attrs`
(attributes of each record, which make it a JSON object). Prints the warnings of watchtower, a line each.
"""

import json
import logging
import sys
import warnings

import watchtower

told = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: told.append(str(message))

options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
lines = options.pop("lines", 0)
attrs = options.pop("attrs", None)
handler = watchtower.CloudWatchLogHandler(log_group_name=sys.argv[1], **options)
if attrs:
    handler.formatter.add_log_record_attrs = attrs
else:
    handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(handler)

log.info("cart of %s", "J\u00fcrgen \U0001f600")
log.warning({"event": "slow", "ms": 1200, "trace_id": "68f0a1b2c3d4e5f60718293a4b5c6d7e"})
try:
    {}["cart"]
except KeyError:
    log.exception("no cart")
log.info("long " + "x" * 1_000_000)
for number in range(lines):
    log.info("line %06d", number)
# As at the end of an application.
logging.shutdown()
print("\n".join(told))
