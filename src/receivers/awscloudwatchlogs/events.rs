//! The request of `PutLogEvents`, read in place, and which of its events are out of time.
//!
//! Messages may have halves of surrogate pairs, as `json.dumps` of Python writes bytes that are not
//! UTF-8: they become U+FFFD. Events beyond the limit of a call are counted and not kept, so that a
//! body of many empty events takes no more memory than its text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

/// Most events of a call.
pub(super) const MOST_EVENTS: usize = 10_000;

/// Most milliseconds that an event may be ahead: 2 hours.
const AHEAD: i64 = 2 * 60 * 60 * 1000;
/// Most milliseconds that an event may be old: 14 days.
const BEHIND: i64 = 14 * DAY;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Put<'a> {
    #[serde(borrow, default)]
    pub(super) log_group_name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) log_stream_name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) log_events: Events<'a>,
    #[serde(borrow, default)]
    pub(super) entity: Option<Entity<'a>>,
}

/// What the sender says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entity<'a> {
    #[serde(borrow)]
    pub(super) key_attributes: KeyAttributes<'a>,
}

/// The attributes that name a service; others are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct KeyAttributes<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) environment: Text<'a>,
}

/// One event.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
}

/// The events of a call.
#[derive(Debug, Default)]
pub(super) struct Events<'a> {
    /// The first [`MOST_EVENTS`].
    pub(super) kept: Vec<Event<'a>>,
    /// How many there are.
    pub(super) count: usize,
}

/// A text; what is not Unicode in it is U+FFFD.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(text)))
            }

            fn visit_bytes<E>(self, text: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
            }
        }
        // Strings are read as bytes, which may be half of a surrogate pair.
        deserializer.deserialize_bytes(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Events<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Events<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Events<'de>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MOST_EVENTS {
                    let Some(event) = seq.next_element()? else { break };
                    kept.push(event);
                }
                let mut count = kept.len();
                if count == MOST_EVENTS {
                    while seq.next_element::<IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                }
                Ok(Events { kept, count })
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl<'a> Put<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// Events that are not taken, as CloudWatch says it: those before two ends, and from a start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Older than 14 days: events before this one.
    pub(super) too_old_end: usize,
    /// Older than their group keeps events: events before this one.
    pub(super) expired_end: usize,
    /// More than 2 hours ahead: events from this one on.
    pub(super) too_new_start: usize,
}

impl Rejected {
    /// None of so many events.
    pub(super) fn none(count: usize) -> Self {
        Rejected { too_old_end: 0, expired_end: 0, too_new_start: count }
    }

    /// What is out of time at `now`, in a group that keeps events for `days`. Events should be in
    /// order of time; of others, those at both ends are rejected, and the rest is left to
    /// exporters.
    pub(super) fn find(events: &[Event<'_>], now: i64, days: Option<i32>) -> Self {
        let before =
            |oldest: i64| events.iter().take_while(|event| event.timestamp < oldest).count();
        let too_old_end = before(now - BEHIND);
        let expired = days.map_or(0, |days| before(now - i64::from(days) * DAY));
        let expired_end = expired.max(too_old_end);
        let rest = &events[expired_end..];
        let new = rest.iter().rev().take_while(|event| event.timestamp > now + AHEAD).count();
        Rejected { too_old_end, expired_end, too_new_start: events.len() - new }
    }

    /// How many of so many events.
    pub(super) fn count(&self, events: usize) -> usize {
        self.expired_end + events - self.too_new_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_whatever_it_has_beside() {
        let body = br#"{"logGroupName":"g","sequenceToken":null,"x":[1],"logEvents":[{"timestamp":7,
            "message":"a\n\ud800b","y":1}],"entity":{"keyAttributes":{"Name":"shop","Type":"Service"},
            "attributes":{"k":"v"}},"logStreamName":"s"}"#;
        let put = Put::read(body).unwrap();
        assert_eq!((&*put.log_group_name.0, &*put.log_stream_name.0), ("g", "s"));
        let [event] = &put.log_events.kept[..] else { panic!("one event") };
        assert_eq!(event.timestamp, 7);
        assert!(event.message.0.starts_with("a\n\u{FFFD}") && event.message.0.ends_with('b'));
        let names = put.entity.unwrap().key_attributes;
        assert_eq!((&*names.name.0, &*names.environment.0), ("shop", ""));
        assert_eq!(Put::read(b"{}").unwrap().log_events.count, 0);
        for wrong in
            [&b""[..], b"[]x", b"{\"logEvents\":7}", b"{\"logEvents\":[{\"message\":\"\"}]}"]
        {
            assert!(Put::read(wrong).is_err());
        }
    }

    #[test]
    fn events_beyond_the_limit_are_counted_and_not_kept() {
        let events = vec![r#"{"timestamp":1,"message":""}"#; MOST_EVENTS + 2].join(",");
        let body = format!("{{\"logEvents\":[{events}]}}");
        let put = Put::read(body.as_bytes()).unwrap();
        assert_eq!(
            (put.log_events.kept.len(), put.log_events.count),
            (MOST_EVENTS, MOST_EVENTS + 2)
        );
    }

    #[test]
    fn events_out_of_time_are_at_the_ends() {
        let now = 100 * DAY;
        let at = |times: &[i64], days| {
            let event = |time: &i64| Event { timestamp: *time, message: Text::default() };
            let events: Vec<Event<'_>> = times.iter().map(event).collect();
            let Rejected { too_old_end, expired_end, too_new_start } =
                Rejected::find(&events, now, days);
            (too_old_end, expired_end, too_new_start)
        };
        let times = [now - BEHIND - 1, now - BEHIND, now - DAY, now, now + AHEAD, now + AHEAD + 1];
        assert_eq!(at(&times, None), (1, 1, 5));
        assert_eq!(at(&times, Some(3)), (1, 2, 5));
        assert_eq!(at(&times, Some(30)), (1, 1, 5));
        assert_eq!(at(&[], None), (0, 0, 0));
        assert_eq!(at(&[now + 2 * DAY], None), (0, 0, 0));
        assert_eq!(at(&[now, 1, now], None), (0, 0, 3), "not in order");
        let all = Rejected::find(&[], now, None);
        assert_eq!((all.count(0), Rejected::none(4).count(4)), (0, 0));
        let some = Rejected { too_old_end: 1, expired_end: 2, too_new_start: 5 };
        assert_eq!(some.count(6), 3);
    }
}
