"""The Flask application of the bootcamp with the SDK of Rollbar, of which only `endpoint` is changed."""
import sys

import flask
import rollbar
import rollbar.contrib.flask
from flask import got_request_exception

app = flask.Flask(__name__)
with app.app_context():
    rollbar.init(
        "fedcba9876543210fedcba9876543210",
        "production",
        root="/app",
        allow_logging_basic_config=False,
        handler="blocking",
        endpoint=sys.argv[1],
    )
    got_request_exception.connect(rollbar.contrib.flask.report_exception, app)


@app.route("/api/<name>", methods=["GET", "POST"])
def home(name):
    try:
        {}["k"]
    except KeyError as error:
        raise ValueError("bad " + name) from error


@app.route("/message")
def message():
    rollbar.report_message("Hello World!", "warning", extra_data={"cart": [1, 2]})
    return "sent"


client = app.test_client()
client.get("/api/users?x=1&password=p", headers={"Authorization": "Bearer abc"})
client.post("/api/users", json={"a": 1, "password": "x"})
client.get("/message")
