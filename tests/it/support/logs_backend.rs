//! A CloudWatch Logs of our own for tests: the limits of `PutLogEvents` and what is not there are
//! as AWS has them. It shares no code with skep.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::support::stand_in::{self, header};

/// What came, and what is answered.
#[derive(Default)]
pub(crate) struct Logs {
    /// Operations in order, with what they were about.
    pub(crate) calls: Vec<String>,
    /// Messages of each stream, in the order in which they came.
    pub(crate) streams: BTreeMap<(String, String), Vec<Event>>,
    /// Groups, with the request that made each.
    pub(crate) groups: BTreeMap<String, Value>,
    /// Requests that AWS would not take, and why.
    pub(crate) faults: Vec<String>,
    /// Streams whose next writes are answered with this status and error.
    pub(crate) refuse: VecDeque<(String, u16, &'static str)>,
    /// Values of `x-amzn-logs-format`.
    pub(crate) formats: Vec<String>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) millis: i64,
    pub(crate) message: String,
}

impl Logs {
    /// Messages of a stream.
    pub(crate) fn messages(&self, group: &str, stream: &str) -> Vec<&str> {
        assert!(self.faults.is_empty(), "{:?}", self.faults);
        let events = self.streams.get(&(group.to_owned(), stream.to_owned()));
        events.into_iter().flatten().map(|event| &*event.message).collect()
    }

    /// How often an operation was called.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.calls.iter().filter(|call| call.split(' ').next() == Some(operation)).count()
    }
}

/// Starts it; gives its port.
pub(crate) fn logs_backend() -> (Arc<Mutex<Logs>>, u16) {
    stand_in::start(|logs: &mut Logs, head, body| {
        let (status, answer) = logs.answer(head, body);
        (status, "content-type: application/x-amz-json-1.1\r\n".to_owned(), answer.to_string())
    })
}

type Answer = (u16, Value);

fn error(name: &str, message: &str) -> Answer {
    (400, json!({"__type": name, "message": message}))
}

impl Logs {
    fn answer(&mut self, head: &str, body: &[u8]) -> Answer {
        let signed = header(head, "authorization").unwrap_or_default();
        if !signed.contains("/ca-central-1/logs/aws4_request") {
            self.faults.push(format!("signed as {signed}"));
            return error("UnrecognizedClientException", "not signed");
        }
        self.formats.extend(header(head, "x-amzn-logs-format").map(str::to_owned));
        let target = header(head, "x-amz-target").unwrap_or_default();
        let operation = target.trim_start_matches("Logs_20140328.").to_owned();
        let request: Value = serde_json::from_slice(body).unwrap();
        let name = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let (group, stream) = (name("logGroupName"), name("logStreamName"));
        self.calls.push(format!("{operation} {group} {stream}").trim_end().to_owned());
        match &*operation {
            "CreateLogGroup" if self.groups.contains_key(&group) => {
                error("ResourceAlreadyExistsException", "the group is there")
            }
            "CreateLogGroup" => {
                self.groups.insert(group, request);
                (200, json!({}))
            }
            _ if !self.groups.contains_key(&group) => {
                error("ResourceNotFoundException", "The specified log group does not exist.")
            }
            "PutRetentionPolicy" => {
                let days = request["retentionInDays"].clone();
                self.groups.get_mut(&group).unwrap()["retentionInDays"] = days;
                (200, json!({}))
            }
            "CreateLogStream" => {
                let place = self.streams.entry((group, stream));
                if matches!(place, std::collections::btree_map::Entry::Occupied(_)) {
                    return error("ResourceAlreadyExistsException", "the stream is there");
                }
                place.or_default();
                (200, json!({}))
            }
            "PutLogEvents" => self.put(group, stream, &request),
            _ => error("UnknownOperationException", &operation),
        }
    }

    fn put(&mut self, group: String, stream: String, request: &Value) -> Answer {
        let refused = self.refuse.iter().position(|(of, ..)| *of == stream);
        if let Some((_, status, name)) = refused.and_then(|at| self.refuse.remove(at)) {
            return (status, json!({"__type": name, "message": "not now"}));
        }
        let Some(kept) = self.streams.get_mut(&(group, stream)) else {
            return error("ResourceNotFoundException", "The specified log stream does not exist.");
        };
        match events(request) {
            Ok(events) => {
                kept.extend(events);
                // Today's service gives no token that means anything.
                (200, json!({}))
            }
            Err(fault) => {
                self.faults.push(fault.clone());
                error("InvalidParameterException", &fault)
            }
        }
    }
}

/// Events, each within the limits of the API.
fn events(request: &Value) -> Result<Vec<Event>, String> {
    let all = request["logEvents"].as_array().ok_or("no events")?;
    if all.is_empty() || all.len() > 10_000 {
        return Err(format!("{} events", all.len()));
    }
    let mut bytes = 0;
    let mut events: Vec<Event> = Vec::new();
    for one in all {
        let message = one["message"].as_str().filter(|text| !text.is_empty());
        let message = message.ok_or("an event without a message")?.to_owned();
        let millis = one["timestamp"].as_i64().ok_or("an event without a time")?;
        bytes += message.len() + 26;
        if events.last().is_some_and(|last| last.millis > millis) {
            return Err("Log events in a single PutLogEvents request must be in order".to_owned());
        }
        if events.first().is_some_and(|first| millis - first.millis > 24 * 60 * 60 * 1000) {
            return Err("the batch spans more than 24 hours".to_owned());
        }
        events.push(Event { millis, message });
    }
    if bytes > 1_048_576 {
        return Err(format!("{bytes} bytes"));
    }
    Ok(events)
}
