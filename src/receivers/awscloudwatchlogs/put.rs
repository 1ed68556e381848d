//! From the body of `PutLogEvents` to a request of OTLP, and what the client is told.
//!
//! Nothing here waits: small bodies are read where they came in, large ones on a thread of their
//! own. All that this takes is paid for with the account of the body before it is there.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};

use super::{
    answer::{Fault, Kind},
    body::{self, Paid, no_memory},
    calls::{check_group, check_stream},
    events::{Event, MOST_EVENTS, Put, Rejected},
    gate::Gate,
    groups::{Groups, Wishes, Written},
    record::{Around, translate},
    settings::Config,
    signature::{Signature, Signed},
};
use crate::otlp::payload::Permit;

/// The token that old clients look for; nobody reads it.
const TOKEN: &str = "1";

/// Bytes that each event counts for beside its message.
const EVENT: u64 = 26;

/// Bytes that a request may have beside those that follow from its body and its group.
const AROUND: usize = 1024;

/// Reads calls.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) config: Config,
    pub(super) gate: Gate,
    pub(super) groups: Groups,
}

/// A call that was read.
#[derive(Debug)]
pub(super) struct Ready {
    /// The request, if events are left.
    pub(super) data: Option<(Bytes, Permit)>,
    pub(super) group: String,
    pub(super) stream: String,
    /// Bytes as CloudWatch counts them.
    pub(super) bytes: u64,
    pub(super) written: Option<Written>,
    /// Events that are refused for their time.
    pub(super) rejected: usize,
    pub(super) answer: Value,
}

impl Reader {
    /// Reads a call whose body is there.
    pub(super) fn read(&self, head: &Parts, body: Paid) -> Result<Ready, Fault> {
        let signature = Signature::read(&head.headers);
        self.gate.verify(signature.as_ref(), Signed { head, body: &body.bytes })?;
        let body = body::decode(&head.headers, body, self.config.max_body())?;
        // The list of events, and copies of messages with escapes.
        let _events = body.pay(2 * body.bytes.len())?;
        let put = Put::read(&body.bytes)
            .map_err(|error| Fault::new(Kind::Serialization, error.to_string()))?;
        check(&put)?;
        let group = put.log_group_name.0.to_string();
        let wishes = self.groups.wishes(&group);
        let (nanos, millis) = now();
        let all = &put.log_events.kept;
        let rejected = if self.config.enforce_limits {
            Rejected::find(all, millis, wishes.retention_days)
        } else {
            Rejected::none(all.len())
        };
        let events = &all[rejected.expired_end..rejected.too_new_start];
        let region = signature.as_ref().and_then(Signature::region);
        let data = self.translated(&put, events, &body, (region, &wishes, nanos))?;
        let first = events.iter().map(|event| event.timestamp).min();
        let last = events.iter().map(|event| event.timestamp).max();
        Ok(Ready {
            data,
            group,
            stream: put.log_stream_name.0.to_string(),
            bytes: events.iter().map(|event| event.message.0.len() as u64 + EVENT).sum(),
            written: first.zip(last).map(|(first_event, last_event)| Written {
                first_event,
                last_event,
                ingested: millis,
            }),
            rejected: rejected.count(all.len()),
            answer: answer(&rejected, all.len()),
        })
    }

    /// The request of these events, with what pays for it; none if there are no events.
    fn translated(
        &self,
        put: &Put<'_>,
        events: &[Event<'_>],
        body: &Paid,
        (region, wishes, observed): (Option<&str>, &Wishes, u64),
    ) -> Result<Option<(Bytes, Permit)>, Fault> {
        if events.is_empty() {
            return Ok(None);
        }
        let around = Around {
            region,
            wishes,
            service_name: self.config.service_name_from,
            parses_json: self.config.parse_json,
            observed,
        };
        // Records are hardly longer than their JSON. Lists of negative numbers are, five times.
        let (len, around_len) = (body.bytes.len(), AROUND + 2 * wishes.size());
        for most in [2 * len + around_len, 7 * len + around_len] {
            let making = body.pay(2 * most)?;
            if let Some(request) = translate(put, events, &around, most) {
                // All that made it goes now that it is there. An eighth more, as the door has it.
                let paid = making.more((request.len() + request.len() / 8) as u64);
                return Ok(Some((request.into(), paid)));
            }
        }
        Err(Fault::invalid("the events are too large"))
    }
}

impl Paid {
    /// Pays for what is beside the body for a while.
    fn pay(&self, bytes: usize) -> Result<Permit, Fault> {
        let account = self.permits.first();
        account.and_then(|account| account.try_more(bytes as u64)).ok_or_else(no_memory)
    }
}

/// Refuses what CloudWatch would refuse whatever the time.
fn check(put: &Put<'_>) -> Result<(), Fault> {
    check_group(&put.log_group_name.0)?;
    check_stream(&put.log_stream_name.0)?;
    let count = put.log_events.count;
    if (1..=MOST_EVENTS).contains(&count) {
        return Ok(());
    }
    Err(Fault::invalid(format!("`logEvents` has {count} events; 1 to {MOST_EVENTS} are allowed")))
}

fn answer(rejected: &Rejected, count: usize) -> Value {
    let mut answer = json!({ "nextSequenceToken": TOKEN });
    if rejected.count(count) > 0 {
        let mut info = json!({});
        if rejected.too_old_end > 0 {
            info["tooOldLogEventEndIndex"] = rejected.too_old_end.into();
        }
        if rejected.expired_end > rejected.too_old_end {
            info["expiredLogEventEndIndex"] = rejected.expired_end.into();
        }
        if rejected.too_new_start < count {
            info["tooNewLogEventStartIndex"] = rejected.too_new_start.into();
        }
        answer["rejectedLogEventsInfo"] = info;
    }
    answer
}

/// Nanoseconds and milliseconds since 1970.
pub(super) fn now() -> (u64, i64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    (nanos, i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
