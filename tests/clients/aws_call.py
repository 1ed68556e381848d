"""One call of the AWS SDK against a stand-in of AWS, such as moto.

    aws_call.py ENDPOINT SERVICE OPERATION ARGUMENTS

ARGUMENTS are the keyword arguments of the operation as JSON; the answer is printed as JSON. For example

    aws_call.py http://127.0.0.1:5000 xray batch_get_traces '{"TraceIds": ["1-..."]}'
    aws_call.py http://127.0.0.1:5000 logs get_log_events '{"logGroupName": "shop", "logStreamName": "1"}'
"""

import json
import sys

import boto3
from botocore.config import Config

endpoint, service, operation, arguments = sys.argv[1:]
client = boto3.client(
    service,
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=Config(retries={"total_max_attempts": 1}),
)
answer = getattr(client, operation)(**json.loads(arguments))
answer.pop("ResponseMetadata", None)
json.dump(answer, sys.stdout, default=str)
