#!/usr/bin/env python3
"""Sends the same telemetry through the Go Collector and through skep, and compares what comes out
field by field. Needs Python 3.9 and nothing else. See README.md beside this file.

    OTELCOL=path/of/otelcol python3 tests/differential/run.py --skep target/debug/skep [--seed 7]

Differences are printed by kind: how many, one example, and the reason where it is meant to be
(known.py). Exit code 1: there is a kind without a reason.
"""

import argparse
import collections
import gzip
import http.client
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import areas
import inputs
import known
import wire

Difference = collections.namedtuple("Difference", "area case place theirs ours config request")

# How long nothing may arrive before everything has, and how long a program may take to start.
QUIET = 1.0
START = 60.0


class Sink:
    """A backend that keeps what each pipeline of each program sends."""

    def __init__(self):
        self.bodies = collections.defaultdict(list)
        self.last = time.monotonic()
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                program, pipeline = self.path.split("/")[1:3]
                # Calls of AWS: groups and streams are always there.
                if self.headers.get("x-amz-target", "PutLogEvents").endswith("PutLogEvents"):
                    sink.bodies[program, pipeline].append(json.loads(body))
                    sink.last = time.monotonic()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A program that ends resets its connections.
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self):
        while time.monotonic() - self.last < QUIET:
            time.sleep(0.05)


GIVEN = set()


def free_ports(count):
    """Below those that the system gives to outgoing connections."""
    ports = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in GIVEN:
            GIVEN.add(port)
            ports.append(port)
    return ports


class Program:
    """One of the two, with every pipeline in one process."""

    def __init__(self, name, binary, pipelines, sink, folder):
        self.name, self.folder = name, folder
        self.ports = dict(zip((p.name for p in pipelines), free_ports(len(pipelines))))
        config = os.path.join(folder, f"{name}.yaml")
        with open(config, "w") as file:
            json.dump(self.config(pipelines, sink), file, indent=1)
        command = [binary, "--config", config]
        version = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
        if version.startswith("skep"):
            command[1:1] = ["--control-endpoint", "off"]
        self.log = os.path.join(folder, f"{name}.log")
        nobody = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **nobody})

    def config(self, pipelines, sink):
        parts = {"receivers": {}, "processors": {}, "exporters": {}, "service": {"pipelines": {}}}
        parts["service"]["telemetry"] = {"metrics": {"level": "none"}, "logs": {"level": "error"}}
        for one in pipelines:
            receiver = f"otlp/{one.name}"
            address = f"127.0.0.1:{self.ports[one.name]}"
            parts["receivers"][receiver] = {"protocols": {"http": {"endpoint": address}}}
            if one.is_aws:
                kind, settings = one.exporter
                endpoint = f"http://127.0.0.1:{sink.port}/{self.name}/{one.name}"
                more = {"endpoint": endpoint, "region": "eu-west-1", "log_group_name": "g", "log_stream_name": "s"}
                exporter, settings = f"{kind}/{one.name}", {**settings, **more}
            elif one.exporter:
                kind, settings = one.exporter
                more = {
                    "use_internal_logger": False,
                    "output_paths": [self.text_of(one.name)],
                    "sampling_initial": 1_000_000,
                }
                exporter, settings = f"{kind}/{one.name}", {**settings, **more}
            else:
                exporter = f"otlp_http/{one.name}"
                settings = {
                    "endpoint": f"http://127.0.0.1:{sink.port}/{self.name}/{one.name}",
                    "encoding": "json",
                    "compression": "none",
                    "sending_queue": {"enabled": False},
                    "retry_on_failure": {"enabled": False},
                }
            parts["exporters"][exporter] = settings
            processors = []
            if one.processor:
                kind, settings = one.processor
                processors = [f"{kind}/{one.name}"]
                parts["processors"][processors[0]] = settings
            for signal in one.signals:
                pipeline = {"receivers": [receiver], "exporters": [exporter]}
                if processors:
                    pipeline["processors"] = processors
                parts["service"]["pipelines"][f"{signal}/{one.name}"] = pipeline
        return {key: value for key, value in parts.items() if value}

    def text_of(self, pipeline):
        return os.path.join(self.folder, f"{self.name}-{pipeline}.txt")

    def wait(self):
        end = time.monotonic() + START
        for port in self.ports.values():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if self.process.poll() is not None or time.monotonic() > end:
                        with open(self.log) as log:
                            sys.exit(f"{self.name} did not start:\n{log.read()[-4000:]}")
                    time.sleep(0.05)

    def send(self, pipeline, forms):
        """Each request in the form that both programs get it in: JSON or protobuf."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[pipeline.name], timeout=30)
        connection.connect()
        # Head and body are two writes; the second would wait for a delayed acknowledgement.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for (signal, case, body), is_json in zip(pipeline.requests, forms):
            if is_json:
                content, kind = json.dumps(body).encode(), "application/json"
            else:
                content, kind = wire.encode(signal, body), "application/x-protobuf"
            connection.request("POST", f"/v1/{signal}", content, {"content-type": kind})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                sys.exit(f"{self.name} answers {answer.status} to {case}: {text[:500]}")
        connection.close()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def case_of(entry):
    for one in entry.get("resource", {}).get("attributes", []):
        if one["key"] == "case":
            return one["value"]["stringValue"]
    return None


def outcomes(bodies):
    """What came out by case; a case of which nothing came out is not there."""
    found = {}
    for body in bodies:
        for key, entries in body.items():
            for entry in entries:
                found.setdefault(case_of(entry), []).append({key: [entry]})
    return found


ATTRIBUTES = ("attributes", "filteredAttributes", "metadata")


def keyed(value):
    """The same meaning in one form: attributes may have any order, and so may members of `ot`."""
    if isinstance(value, list):
        return [keyed(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, member in value.items():
        if key in ATTRIBUTES:
            made[key] = {one["key"]: keyed(one.get("value", {})) for one in member}
        elif key == "traceState":
            made[key] = re.sub(r"ot=([^,]*)", lambda ot: "ot=" + ";".join(sorted(ot[1].split(";"))), member)
        else:
            made[key] = keyed(member)
    return made


def differences(theirs, ours, place=""):
    """(place, the Collector's, skep's) of each leaf that differs. Places have no positions."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        of_attributes = place.split(".")[-1] in ATTRIBUTES
        for key in sorted({*theirs, *ours}):
            step = f"[{key}]" if of_attributes else f".{key}"
            absent = {} if key in ATTRIBUTES else known.MISSING
            yield from differences(
                theirs.get(key, absent), ours.get(key, absent), f"{place}{step}".lstrip(".")
            )
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for one, other in zip(theirs, ours):
            yield from differences(one, other, f"{place}[*]")
    elif theirs != ours or isinstance(theirs, bool) != isinstance(ours, bool):
        yield place, theirs, ours


def compare_sinks(pipeline, sink, found):
    theirs, ours = (outcomes(sink.bodies[name, pipeline.name]) for name in ("collector", "skep"))
    config = pipeline.config
    for _, case, body in pipeline.requests:
        if (case in theirs) != (case in ours):
            of_case = [("kept", case in theirs, case in ours)]
        else:
            of_case = differences(keyed(theirs.get(case)), keyed(ours.get(case)))
        for place, one, other in of_case:
            found.append(Difference(pipeline.area, case, place, one, other, config, body))


def events(bodies):
    """Messages by time. Each request to an AWS area has a time of its own."""
    found = collections.defaultdict(list)
    for body in bodies:
        for event in body["logEvents"]:
            found[event["timestamp"]].append(event["message"])
    return found


def document(message, is_raw):
    """A message as JSON. Text that is not, and a raw body that is no list or map, as it is."""
    if is_raw and message[:1] not in ("{", "["):
        return message
    try:
        return json.loads(message)
    except ValueError:
        return message


def documents(messages, is_raw):
    """Each once: the Collector sends some again."""
    made = {json.dumps(document(one, is_raw), sort_keys=True) for one in messages}
    return [json.loads(one) for one in sorted(made)]


def measured(messages):
    """Values of metrics by name and labels, with dimensions, whichever document they are in."""
    found = {}
    for one in documents(messages, False):
        said = one.pop("_aws", {}).get("CloudWatchMetrics", [])
        one.pop("Version", None)
        names = [name for name in areas.METRICS if name in one]
        labels = {key: value for key, value in one.items() if key not in names}
        for name in names:
            sets = [
                [entry["Namespace"], sorted(dimensions)]
                for entry in said
                if any(metric["Name"] == name for metric in entry["Metrics"])
                for dimensions in entry["Dimensions"]
            ]
            key = f"{name}{json.dumps(labels, sort_keys=True)}"
            found[key] = {"value": one[name], "dimensions": sorted(sets)}
    return found


def compare_events(pipeline, sink, found):
    theirs, ours = (events(sink.bodies[name, pipeline.name]) for name in ("collector", "skep"))
    for _, case, body in pipeline.requests:
        at = inputs.time_of(body) // 1_000_000
        if pipeline.area == "awsemf":
            one, other = (measured(all_of[at]) for all_of in (theirs, ours))
        else:
            is_raw = pipeline.config.get("raw_log")
            one, other = (documents(all_of[at], is_raw) for all_of in (theirs, ours))
        for place, a, b in differences(one, other):
            found.append(Difference(pipeline.area, case, place, a, b, pipeline.config, body))


# What stands in front of a text in the log's form.
STAMP = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^\t]*\t(info|INFO)\t")
BEGIN = re.compile(r"^Resource(Spans|Traces|Metrics|Logs?) #0")


def blocks(path):
    """Lines of `debug` by case. The line with the counts goes with none."""
    found, block = {}, None
    with open(path) as file:
        for line in file.read().split("\n"):
            line = STAMP.sub("", line)
            if re.match(r"^(Traces|Metrics|Logs)\t\{", line) or line.startswith("\t{"):
                block = None
                continue
            if BEGIN.match(line):
                block = []
            if block is None or line == "":
                continue
            block.append(line)
            case = re.search(r"case[=:] ?(?:Str\()?([a-z]+-[a-z]+-[0-9]+)", line)
            if case and case[1] not in found:
                found[case[1]] = block
    return found


def label(line):
    """What a line is about, without its value."""
    return re.split(r"[:=]", line, maxsplit=1)[0]


def compare_texts(pipeline, programs, found):
    theirs, ours = (blocks(program.text_of(pipeline.name)) for program in programs)
    for _, case, body in pipeline.requests:
        one, other = theirs.get(case, []), ours.get(case, [])
        i = j = 0
        while i < len(one) or j < len(other):
            a = one[i] if i < len(one) else known.MISSING
            b = other[j] if j < len(other) else known.MISSING
            if a == b:
                i, j = i + 1, j + 1
                continue
            if b != known.MISSING and (a == known.MISSING or b not in one[i:] and a in other[j:]):
                place, a, j = label(b), known.MISSING, j + 1
            elif a != known.MISSING and (b == known.MISSING or b in one[i:]):
                place, b, i = label(a), known.MISSING, i + 1
            else:
                place, i, j = "le" if " le" in a else label(a), i + 1, j + 1
            found.append(Difference(pipeline.area, case, place, a, b, pipeline.config, body))


def report(found, count):
    kinds = collections.defaultdict(list)
    for one in found:
        kinds[one.area, one.place, known.reason(one)].append(one)
    unknown = 0
    for (area, place, why), all_of_kind in sorted(kinds.items(), key=lambda kind: (kind[0][2] or "", kind[0][:2])):
        example = all_of_kind[0]
        unknown += why is None
        print(f"{'known' if why else 'UNKNOWN'}: {area}: {place}: {len(all_of_kind)} times")
        print(f"  for instance {example.case}: Collector {example.theirs!r}, skep {example.ours!r}")
        if why:
            print(f"  meant: {why}")
        elif os.environ.get("VERBOSE"):
            print(f"  with {json.dumps(example.config)}\n  of {json.dumps(example.request)}")
    cases = len({one.case for one in found})
    print(f"{count} requests, {count - cases} with the same outcome, {len(kinds)} kinds of differences, {unknown} unknown")
    return unknown


def has(binary, component):
    listed = subprocess.run([binary, "components"], capture_output=True, text=True).stdout
    return re.search(rf"\b{component}\b", listed) is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--otelcol", default=os.environ.get("OTELCOL"), help="the Collector's binary; $OTELCOL")
    parser.add_argument("--skep", required=True, help="skep's binary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of requests")
    options = parser.parse_args()
    if not options.otelcol:
        sys.exit("no Collector: set OTELCOL to its binary (tests/differential/README.md says how to build one)")
    rng = random.Random(options.seed)
    pipelines = areas.all_pipelines(rng, options.scale)
    for kind in ("awsemf", "awscloudwatchlogs"):
        if not all(has(binary, kind) for binary in (options.otelcol, options.skep)):
            print(f"{kind} is not compared: one of the two does not have it")
            pipelines = [one for one in pipelines if one.area != kind]
    forms = {one.name: [rng.random() < 0.5 for _ in one.requests] for one in pipelines}
    sink, found = Sink(), []
    with tempfile.TemporaryDirectory() as folder:
        programs = []
        try:
            for name, binary in (("collector", options.otelcol), ("skep", options.skep)):
                programs.append(Program(name, binary, pipelines, sink, folder))
            for program in programs:
                program.wait()
                for pipeline in pipelines:
                    program.send(pipeline, forms[pipeline.name])
            sink.wait()
        finally:
            for program in programs:
                program.stop()
        for pipeline in pipelines:
            if pipeline.is_aws:
                compare_events(pipeline, sink, found)
            elif pipeline.exporter:
                compare_texts(pipeline, programs, found)
            else:
                compare_sinks(pipeline, sink, found)
    count = sum(len(pipeline.requests) for pipeline in pipelines)
    print(f"seed {options.seed}")
    sys.exit(1 if report(found, count) else 0)


if __name__ == "__main__":
    main()
