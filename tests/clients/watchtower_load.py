"""An application that logs by watchtower without a pause; endpoint and credentials are in the environment.

    watchtower_load.py GROUP

It makes no call when it starts, so it can start before there is an endpoint. It logs a line and prints
`started`. After a line of input it logs a line every two milliseconds until its input is closed, then
ends as an application does, and prints the lines that were acknowledged.
"""

import logging
import sys
import threading
import warnings

import watchtower

warnings.simplefilter("ignore")
handler = watchtower.CloudWatchLogHandler(
    log_group_name=sys.argv[1], create_log_group=False, send_interval=3, max_batch_count=200
)
handler.setFormatter(logging.Formatter("%(message)s"))
send, acknowledged = handler.cwl_client.put_log_events, []


def put_log_events(**arguments):
    answer = send(**arguments)
    acknowledged.extend(event["message"] for event in arguments["logEvents"])
    return answer


handler.cwl_client.put_log_events = put_log_events
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(handler)
log.info("the first line")
print("started", flush=True)
sys.stdin.readline()
closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
number = 0
while not closed.wait(0.002):
    log.info("line %d", number)
    number += 1
log.info("the last line")
logging.shutdown()
print("\n".join(acknowledged))
