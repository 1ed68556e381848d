//! A stand-in for Rollbar's API that takes nothing that Rollbar would not take, and drops a second
//! item of one uuid.

use std::{
    collections::HashSet,
    io::{BufReader, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::{Value, json};

use crate::support::stand_in::{Answer, header, message, start};

/// The token that it knows.
pub(crate) const TOKEN: &str = "89abcdef0123456789abcdef01234567";

/// Largest body.
const LARGEST: usize = 1 << 20;

/// What has come.
#[derive(Default)]
pub(crate) struct Rollbar {
    /// Items that count, in order of arrival.
    pub(crate) items: Vec<Value>,
    uuids: HashSet<String>,
    /// When each call came.
    pub(crate) calls: Vec<Instant>,
    /// What is wrong with items that were refused.
    pub(crate) refused: Vec<String>,
    /// Answers of the next calls, before any item is looked at.
    pub(crate) next: Vec<(u16, String)>,
}

/// Starts one; gives its port.
pub(crate) fn rollbar() -> (Arc<Mutex<Rollbar>>, u16) {
    start(answer)
}

fn answer(state: &mut Rollbar, head: &str, body: &[u8]) -> Answer {
    state.calls.push(Instant::now());
    let wrong = |status: u16, message: &str| {
        (status, String::new(), json!({"err": 1, "message": message}).to_string())
    };
    if !state.next.is_empty() {
        let (status, headers) = state.next.remove(0);
        return (status, headers, json!({"err": 1, "message": "not now"}).to_string());
    }
    if !head.starts_with("POST /api/1/item/ ") {
        return wrong(404, "there is no such path");
    }
    if header(head, "x-rollbar-access-token") != Some(TOKEN) {
        return wrong(401, "invalid access token");
    }
    if body.len() > LARGEST {
        return wrong(413, "the payload is too large");
    }
    if !header(head, "content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return wrong(400, "the payload is not JSON");
    }
    let Ok(payload) = serde_json::from_slice::<Value>(body) else {
        return wrong(400, "the payload is not JSON");
    };
    let data = &payload["data"];
    if let Err(message) = check(data) {
        state.refused.push(message.clone());
        return wrong(422, &message);
    }
    let uuid = data["uuid"].as_str().unwrap_or_default().to_owned();
    if uuid.is_empty() || state.uuids.insert(uuid.clone()) {
        state.items.push(data.clone());
    }
    (200, String::new(), json!({"err": 0, "result": {"id": null, "uuid": uuid}}).to_string())
}

/// What is wrong with an item, by the documentation of the API.
fn check(data: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    let is_text = |value: &Value, most: usize| {
        value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= most)
    };
    if !is_text(&data["environment"], 255) {
        return wrong("environment");
    }
    let levels = ["critical", "error", "warning", "info", "debug"].map(Value::from);
    if !data["level"].is_null() && !levels.contains(&data["level"]) {
        return wrong("level");
    }
    if !data["timestamp"].is_null() && !data["timestamp"].is_number() {
        return wrong("timestamp");
    }
    for (name, most) in [("uuid", 36), ("title", 255), ("code_version", 40)] {
        if !data[name].is_null() && !is_text(&data[name], most) {
            return wrong(name);
        }
    }
    for name in ["platform", "language", "framework", "context", "fingerprint"] {
        if !data[name].is_null() && !data[name].is_string() {
            return wrong(name);
        }
    }
    // These need another kind of token.
    if ["browser", "android", "ios", "flash", "client"].map(Value::from).contains(&data["platform"])
    {
        return wrong("platform");
    }
    for name in ["person", "request", "server", "client", "custom", "notifier"] {
        if !data[name].is_null() && !data[name].is_object() {
            return wrong(name);
        }
    }
    if !data["person"].is_null() && !is_text(&data["person"]["id"], 40) {
        return wrong("person.id");
    }
    check_body(&data["body"])
}

fn check_body(body: &Value) -> Result<(), String> {
    let kinds = ["trace", "trace_chain", "message", "crash_report"];
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| !body[*kind].is_null()).collect();
    let [kind] = kinds[..] else { return Err(format!("kinds of the body: {kinds:?}")) };
    let traces = match kind {
        "trace" => vec![body["trace"].clone()],
        "trace_chain" => body["trace_chain"].as_array().cloned().unwrap_or_default(),
        "message" if body["message"]["body"].is_string() => return Ok(()),
        "crash_report" if body["crash_report"]["raw"].is_string() => return Ok(()),
        _ => return Err(kind.to_owned()),
    };
    if traces.is_empty() {
        return Err(kind.to_owned());
    }
    for trace in traces {
        let frames = trace["frames"].as_array().ok_or("frames")?;
        if !frames.iter().all(|frame| frame["filename"].is_string()) {
            return Err("frames.filename".to_owned());
        }
        let numbers = frames.iter().flat_map(|frame| [&frame["lineno"], &frame["colno"]]);
        if !numbers.into_iter().all(|number| number.is_null() || number.is_u64()) {
            return Err("frames.lineno".to_owned());
        }
        if trace["exception"]["class"].as_str().is_none_or(str::is_empty) {
            return Err("exception.class".to_owned());
        }
    }
    Ok(())
}

/// A token of an application.
pub(crate) const OWN: &str = "fedcba9876543210fedcba9876543210";

/// Sends a request and gives the status, the head and the body of the answer.
pub(crate) fn call(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (head, body) = message(&mut BufReader::new(&stream)).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, serde_json::from_slice(&body).unwrap_or_default())
}

/// Sends a payload as an SDK does.
pub(crate) fn post(port: u16, payload: &Value) -> (u16, String, Value) {
    let headers = format!("content-type: application/json\r\nx-rollbar-access-token: {OWN}\r\n");
    call(port, "POST", "/api/1/item/", &headers, &payload.to_string())
}
