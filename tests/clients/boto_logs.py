"""Calls of CloudWatch Logs by boto3; endpoint and credentials are in the environment.

    boto_logs.py

Prints what was answered, as one JSON object.
"""

import json
import time

import boto3

logs = boto3.client("logs")
now = int(time.time() * 1000)
day = 24 * 60 * 60 * 1000
said = {}


def attempt(name, call, **arguments):
    try:
        answer = call(**arguments)
        metadata = answer.pop("ResponseMetadata")
        assert metadata["RequestId"], "each answer has an id"
        said[name] = answer
    except logs.exceptions.ClientError as error:
        said[name] = error.response["Error"]["Code"]


attempt("create", logs.create_log_group, logGroupName="/app/boto", tags={"team": "web"}, logGroupClass="INFREQUENT_ACCESS")
attempt("again", logs.create_log_group, logGroupName="/app/boto")
attempt("retention", logs.put_retention_policy, logGroupName="/app/boto", retentionInDays=30)
attempt("stream", logs.create_log_stream, logGroupName="/app/boto", logStreamName="a")
attempt("stream_again", logs.create_log_stream, logGroupName="/app/boto", logStreamName="a")
put = {"logGroupName": "/app/boto", "logStreamName": "a"}
events = [{"timestamp": now - 20 * day, "message": "old"}, {"timestamp": now, "message": "good"}]
events.append({"timestamp": now + day, "message": "new"})
attempt("put", logs.put_log_events, logEvents=events, **put)
attempt("made", logs.put_log_events, logGroupName="/app/made", logStreamName="b", logEvents=[events[1]])
long = {"timestamp": now, "message": "y" * (1_048_576 - 26)}
attempt("long", logs.put_log_events, logEvents=[long], **put)
attempt("bad", logs.put_log_events, logGroupName="no name", logStreamName="a", logEvents=[events[1]])
attempt("read", logs.get_log_events, **put)
attempt("lost", logs.describe_log_streams, logGroupName="/app/none")
groups = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
said["groups"] = [group for page in groups for group in page["logGroups"]]
attempt("streams", logs.describe_log_streams, logGroupName="/app/boto", orderBy="LastEventTime", descending=True)
print(json.dumps(said))
