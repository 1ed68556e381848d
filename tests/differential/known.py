"""Differences that are meant to be, with the reason. Each is in the documentation of its component
under "Differs from the Collector". A difference that is not here fails the comparison."""

import json
import re

MISSING = "(not there)"


def item(difference):
    """The one span or record of a request to a sampler."""
    entry = next(iter(difference.request.values()))[0]
    scope = next(entry[key] for key in ("scopeSpans", "scopeLogs") if key in entry)[0]
    return scope.get("spans", scope.get("logRecords"))[0]


def attribute(difference, key):
    for one in item(difference).get("attributes", []):
        if one["key"] == key:
            return one["value"]
    return None


def priority(difference):
    """The percentage that a record asks for."""
    key = difference.config.get("sampling_priority")
    return int(attribute(difference, key)["intValue"]) if key and attribute(difference, key) else None


def asks_for_nothing(d):
    return d.place == "kept" and priority(d) == 0 and d.ours is False


def has_no_randomness(d):
    """A priority between 0 and 100 of a record whose randomness is not there or cannot be read: the
    Collector takes the largest one."""
    said = [(attribute(d, f"sampling.{key}") or {}).get("stringValue", "") for key in ("threshold", "randomness")]
    is_odd = not item(d).get("traceId", "").strip("0") or "nonsense" in said or "1" in said
    return d.place == "kept" and priority(d) in (5, 50) and is_odd and d.ours is False


def is_undecided(d):
    """Kept without a decision: the Collector says that nothing was dropped before."""
    marks = r"traceState$|attributes\[sampling\.threshold\](\.stringValue)?$"
    is_open = d.config.get("fail_closed") is False or priority(d) is not None
    is_open |= attribute(d, "sampling.priority") is not None
    text = d.theirs.get("stringValue", "") if isinstance(d.theirs, dict) else d.theirs
    is_mark = "th:" in text if "traceState" in d.place else text != MISSING
    return is_open and re.search(marks, d.place) is not None and is_mark


def is_hash_of_odd_text(d):
    """Of a list or map of which the Collector makes another text, see below."""
    text = json.dumps(attribute(d, d.config.get("from_attribute")) or {})
    return re.search(r'"bytesValue": ""|"(NaN|-?Infinity)"', text) is not None


def is_body(d):
    return d.place.endswith(".body") and d.theirs == {} and d.ours == MISSING


def is_beyond_64_bits(d):
    return d.place.endswith(".intValue") and d.theirs == "-9223372036854775808"


def is_hashed_twice(d):
    """Selected by its key and by the pattern."""
    key = re.search(r"attributes\[(.*)\]\.stringValue$", d.place)
    actions = [one for one in d.config.get("actions", d.config.get("attributes", [])) if one["action"] == "hash"]
    return key is not None and any(
        one["key"] == key[1] and re.search(one.get("pattern", "^$"), key[1]) for one in actions
    )


def is_hash_of_odd_number(d):
    """Of a double beyond 64 bits that became an integer, or of NaN, which has other bits in Go."""
    key = re.search(r"attributes\[(.*)\]\.stringValue$", d.place)
    digests = [re.fullmatch(r"[0-9a-f]{64}", str(text)) for text in (d.theirs, d.ours)]
    if key is None or not all(digests):
        return False
    odd = r'("NaN"|"-?Infinity"|1e\+20|1e\+21|1\.5e\+300)'
    return re.search(rf'"key": "{re.escape(key[1])}", "value": {{"doubleValue": {odd}}}', json.dumps(d.request)) is not None


def has_no_json_number(d):
    """A list or map with a number that JSON has not: the Collector makes an empty text of it."""
    return isinstance(d.ours, str) and re.search(r'"(NaN|-?Infinity)"', d.ours) is not None


def with_nulls(text):
    return str(text).replace('""', "null")


def is_empty_bytes(d):
    """In a list or map they are null in the Collector's text."""
    return d.theirs != d.ours and with_nulls(d.theirs) == with_nulls(d.ours)


def is_lost_event(d):
    """A record with a number that JSON has not: the Collector sends no event."""
    return d.theirs == [] and re.search(r'"(NaN|-?Infinity)"', json.dumps(d.request)) is not None


def is_null_of_bytes(d):
    return d.theirs is None and d.ours == ""


def is_shown_by_skep_alone(d):
    shown = r"(Dropped ?AttributesCount|-> Flags|^ *Flags|ZeroThreshold)"
    return d.theirs == MISSING and re.search(shown, d.place) is not None


def with_rough_bounds(text):
    """Bounds of `le...=` with twelve digits."""
    return re.sub(r" le(-?[0-9.e+-]+)=", lambda bound: f" le{float(bound[1]):.12g}=", with_nulls(text))


def is_bound(d):
    return d.place == "le" and with_rough_bounds(d.theirs) == with_rough_bounds(d.ours)


BODY = "an absent body stays absent in JSON"
BEYOND = "a double beyond 64 bits becomes the nearest integer"
TWICE = "an attribute that `key` and `pattern` select is hashed once"
NUMBER = "a number that JSON has not is a text in lists and maps"
BYTES = "empty bytes in lists and maps are an empty text"
KNOWN = [
    ("sampler", asks_for_nothing, "a record that asks for 0 percent is dropped"),
    ("sampler", has_no_randomness, "without randomness only a priority of 0 or 100 can be followed"),
    ("sampler", is_undecided, "an item that is kept without a decision has no threshold"),
    ("sampler", is_hash_of_odd_text, "lists and maps are hashed as the text that skep makes of them"),
    *((area, is_body, BODY) for area in ("otlp", "attributes", "resource", "sampler")),
    *((area, is_beyond_64_bits, BEYOND) for area in ("attributes", "resource")),
    *((area, is_hashed_twice, TWICE) for area in ("attributes", "resource")),
    *((area, is_hash_of_odd_number, "the bits of NaN, and " + BEYOND) for area in ("attributes", "resource")),
    *((area, has_no_json_number, NUMBER) for area in ("attributes", "resource", "debug")),
    *((area, is_empty_bytes, BYTES) for area in ("attributes", "resource", "debug")),
    ("awscloudwatchlogs", is_lost_event, "a number that JSON has not costs no event"),
    ("awscloudwatchlogs", is_null_of_bytes, BYTES),
    ("debug", is_shown_by_skep_alone, "`debug` shows these fields, which the Collector leaves out"),
    ("debug", is_bound, "bounds of exponential buckets are exact powers of two"),
]


def reason(difference):
    for area, is_it, why in KNOWN:
        if area == difference.area and is_it(difference):
            return why
    return None
