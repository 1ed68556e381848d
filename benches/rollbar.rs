//! What an item of Rollbar costs: one that an SDK sent as a log record, and exceptions of
//! OpenTelemetry and of an SDK as items. Each has to take less than 25 us.
//!
//! ```sh
//! cargo bench --bench rollbar
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use divan::Bencher;
use serde_json::{Value, json};
use skep::{
    component::{ComponentId, Exporter as _, Work},
    config::Secret,
    exporters::rollbar::{Config, Rollbar},
    otlp::{Content, Signal, json as otlp_json},
    receivers::rollbar::item,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn exporter() -> Rollbar {
    let id = ComponentId { kind_name: "rollbar".to_owned(), name: None };
    let config = Config { access_token: Secret::new("t"), ..Config::default() };
    config.exporter(&id).unwrap()
}

/// An exception as the SDK for Python sends it from Flask: 3 KB, six frames with local variables.
fn payload() -> Vec<u8> {
    let frame = |line: u32, method: &str| {
        json!({"filename": "/app/lib/python3.12/site-packages/flask/app.py", "lineno": line, "method": method,
            "code": "response = self.full_dispatch_request()", "argspec": ["self", "environ", "start_response"],
            "locals": {"self": "<class 'flask.app.Flask'>", "environ": {"REMOTE_ADDR": "127.0.0.1",
                "REQUEST_METHOD": "GET", "PATH_INFO": "/api/users", "QUERY_STRING": "x=1"},
                "ctx": "<class 'flask.ctx.RequestContext'>", "error": null}})
    };
    let methods = ["wsgi_app", "full_dispatch_request", "dispatch_request", "home", "load"];
    let frames: Vec<Value> =
        (0..).zip(methods).map(|(line, method)| frame(line + 900, method)).collect();
    let data = json!({
        "timestamp": 1_795_958_303, "environment": "production", "level": "error", "language": "python 3.12.1",
        "notifier": {"name": "pyrollbar", "version": "1.5.0"}, "uuid": "e8dc66dc-060e-4c37-ba5b-fc943a1bab0b",
        "framework": "flask", "context": "/api/<x>",
        "body": {"trace_chain": [
            {"frames": frames, "exception": {"class": "ValueError", "message": "bad users"}},
            {"frames": [frame(10, "load")], "exception": {"class": "KeyError", "message": "'k'"}},
        ]},
        "request": {"url": "http://localhost/api/users?x=1", "GET": {"x": "1"}, "user_ip": "127.0.0.1", "method": "GET",
            "headers": {"User-Agent": "Werkzeug/3.1.9", "Host": "localhost", "Authorization": "****"}},
        "server": {"host": "vm", "pid": 21417, "argv": ["app.py"], "root": "/app"},
    });
    json!({"access_token": "0123456789abcdef0123456789abcdef", "data": data})
        .to_string()
        .into_bytes()
}

/// A span of a request that failed, with its exception.
fn span() -> Content {
    let frames =
        "  File \"/app/home.py\", line 42, in run\n    raise ValueError('bad users')\n".repeat(12);
    let stack = format!("Traceback (most recent call last):\n{frames}ValueError: bad users\n");
    let attributes = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
            .collect()
    };
    let resource = attributes(&[
        ("service.name", "shop"),
        ("service.version", "1.2.3"),
        ("deployment.environment.name", "production"),
        ("telemetry.sdk.language", "python"),
    ]);
    let of_span = attributes(&[
        ("http.request.method", "GET"),
        ("url.scheme", "https"),
        ("server.address", "shop.test"),
        ("url.path", "/api/users"),
        ("http.route", "/api/<x>"),
        ("client.address", "203.0.113.5"),
        ("user_agent.original", "Mozilla/5.0"),
        ("user.id", "42"),
    ]);
    let of_event = attributes(&[
        ("exception.type", "ValueError"),
        ("exception.message", "bad users"),
        ("exception.stacktrace", &stack),
    ]);
    let request = json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"spans": [{
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "GET /api",
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000100000000",
        "status": {"code": 2}, "attributes": of_span,
        "events": [{"name": "exception", "timeUnixNano": "1700000000050000000", "attributes": of_event}],
    }]}]}]});
    let body = otlp_json::to_protobuf(Signal::Traces, request.to_string().as_bytes(), 64).unwrap();
    Content::new(Signal::Traces, body.into(), 1)
}

#[divan::bench]
fn item_to_log_record(bencher: Bencher<'_, '_>) {
    let payload = payload();
    bencher.bench(|| {
        let mut out = Vec::new();
        item(&payload, &mut out).unwrap();
        out
    });
}

#[divan::bench]
fn log_record_to_item(bencher: Bencher<'_, '_>) {
    let (exporter, mut out) = (exporter(), Vec::new());
    item(&payload(), &mut out).unwrap();
    let content = Content::new(Signal::Logs, out.into(), 1);
    bencher.bench(|| exporter.encode(&Work::all(&content)).unwrap());
}

#[divan::bench]
fn exception_of_span_to_item(bencher: Bencher<'_, '_>) {
    let (exporter, content) = (exporter(), span());
    bencher.bench(|| exporter.encode(&Work::all(&content)).unwrap());
}
