//! Makes one log record of many that are the same, with their number.
//!
//! ```yaml
//! log_dedup:
//!   interval: 30s
//!   conditions:
//!     - log.severity_number < SEVERITY_NUMBER_ERROR
//!   exclude_fields:
//!     - attributes.request\.id
//!     - body.timestamp
//! ```
//!
//! Records are the same if resource, scope, attributes, body, severity number and severity text
//! are; times, ids and the event name make no difference. `exclude_fields` are left out of the
//! comparison, and out of the record that is sent. With `include_fields` only those fields are
//! compared, beside resource and scope, in records that have one of them. A field is `attributes.`
//! or `body.` with keys behind it, the keys of inner maps separated by dots; a dot in a key is
//! written `\.`.
//!
//! An interval begins with the first record. At its end, one record of each kind is sent: a copy of
//! the first one with the attributes `log_count`, `first_observed_timestamp` and
//! `last_observed_timestamp`, the time of sending as its time, and the time of the first one as its
//! observed time. With `conditions`, in [OTTL](../ottl.md), records for which none holds, or one
//! fails, go on at once.
//!
//! ```yaml
//! log_dedup/by_code:
//!   include_fields: [attributes.error.code]
//!   log_count_attribute: repeated
//!   timezone: Europe/Berlin
//! ```
//!
//! **Custody.** Senders are answered when their records have been taken in; with `wait_for_export`
//! when those that were made of them are delivered, which is an interval later. What waits is paid
//! for as payloads are; a record for which there is no memory goes on at once. All records of a
//! pipeline go through one worker. At the end of the process everything is sent.
//!
//! Differs from the Collector:
//!
//! - `metadata_keys` is refused.
//! - An interval begins with the first record that waits, not with the process.

mod fields;
mod held;

use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    fields::{Field, parse},
    held::Held,
};
use super::editing::walking::{Left, Pass, count, pass, reason};
use crate::{
    component::{
        BuildContext, Entry, Kind, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Interval, Node, Problems, Severity},
    otlp::{
        Payload, Signal,
        payload::{Permit, Receipts},
    },
    ottl::{Context, ErrorMode, Fate, Item},
    statements::{self, Runner, Source, Text, Texts, texts},
    telemetry::{Desc, Detail, Histogram},
};

// The Collector has the same number.
const AGGREGATED: Desc = Desc::new(
    "otelcol_dedup_processor_aggregated_logs",
    "{record}",
    "Records of which one was made",
)
.at(Detail::Normal);

/// Bounds of the distribution of counts.
const BOUNDS: [u64; 9] = [1, 2, 5, 10, 50, 100, 1000, 10_000, 100_000];

/// Makes one record of many.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long records are gathered.
    pub interval: Interval,
    /// Attribute with the number of records.
    pub log_count_attribute: String,
    /// Time zone of the attributes with times, such as `Europe/Berlin`; `Local` is the machine's.
    pub timezone: String,
    /// Fields that are left out.
    pub exclude_fields: Vec<String>,
    /// Fields that alone are compared.
    pub include_fields: Vec<String>,
    /// Conditions on log records; others go on at once. Without any, all are gathered.
    pub conditions: Texts,
    /// Refused: records of all requests are gathered together.
    pub metadata_keys: Vec<String>,
    /// Refused, as `metadata_keys` is.
    pub metadata_cardinality_limit: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: Interval(Duration::from_secs(10)),
            log_count_attribute: "log_count".to_owned(),
            timezone: "UTC".to_owned(),
            exclude_fields: Vec::new(),
            include_fields: Vec::new(),
            conditions: Texts::default(),
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 0,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("log_dedup", &["logdedup"], &[Signal::Logs], include_str!("logdedup.rs"));

impl Config {
    fn zone(&self) -> Option<TimeZone> {
        if self.timezone.eq_ignore_ascii_case("local") {
            return Some(TimeZone::system());
        }
        TimeZone::get(&self.timezone).ok()
    }

    /// The conditions, if there are some.
    fn source(&self) -> Option<Source<'_>> {
        let conditions = texts("conditions", &self.conditions);
        (!conditions.is_empty()).then(|| Source {
            signal: Signal::Logs,
            context: Some(Context::Log),
            conditions,
            statements: Vec::new(),
            mode: ErrorMode::Ignore,
        })
    }

    fn validate_fields(&self, at: &Node, problems: &mut Problems) {
        let lists =
            [("exclude_fields", &self.exclude_fields), ("include_fields", &self.include_fields)];
        for (key, list) in lists {
            for (i, field) in list.iter().enumerate() {
                let node = at.at(&format!("{key}::{i}"));
                match parse(field) {
                    None => {
                        problems.error(node, format!("`{field}` is not a field of a record")).help(
                            "write `attributes.<key>` or `body.<key>`; a dot in a key is `\\.`",
                        );
                    }
                    Some(parsed) if parsed.keys.is_empty() && key == "exclude_fields" => {
                        problems
                            .error(node, format!("`{field}` cannot be left out as a whole"))
                            .help(format!("name what is in it: `{field}.<key>`"));
                    }
                    Some(_) => {}
                }
            }
            problems.repeated(Severity::Error, at.at(key), list, str::to_owned);
        }
        if !self.exclude_fields.is_empty() && !self.include_fields.is_empty() {
            problems
                .error(
                    at.at("include_fields"),
                    "`include_fields` and `exclude_fields` cannot be used together",
                )
                .help("what is not included is left out of the comparison already");
        }
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Single
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.interval.0.is_zero() {
            problems
                .error(at.at("interval"), "`interval` must be longer than 0")
                .help("write how long records are gathered, such as `10s`");
        }
        if self.log_count_attribute.is_empty() {
            problems
                .error(at.at("log_count_attribute"), "the attribute needs a name")
                .help("remove the key: `log_count` is the default");
        }
        if self.zone().is_none() {
            let message = format!("there is no time zone `{}`", self.timezone);
            problems
                .error(at.at("timezone"), message)
                .help("write a name of the IANA database, such as `UTC` or `Europe/Berlin`");
        }
        let is_refused = !self.metadata_keys.is_empty() || self.metadata_cardinality_limit > 0;
        if is_refused {
            problems.error(at.at("metadata_keys"), "`metadata_keys` is not supported").help(
                "remove it; a processor `attributes` before this one can write metadata into \
                     attributes, which tell records apart",
            );
        }
        self.validate_fields(at, problems);
        if let Some(source) = self.source() {
            source.check(at, problems);
        }
    }

    fn needs(&self) -> Needs<'_> {
        let sources: Vec<Source<'_>> = self.source().into_iter().collect();
        Needs { drops_metadata: true, ..statements::needs(&sources) }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let source = self.source();
        let conditions = source.map(|source| source.runner(cx, Kind::Processor)).transpose()?;
        let fields = |list: &[String]| list.iter().filter_map(|field| parse(field)).collect();
        let exclude: Vec<Field> = fields(&self.exclude_fields);
        let deletions: Vec<String> = exclude.iter().map(Field::deletion).collect();
        let statements = deletions
            .iter()
            .zip(0..)
            .map(|(text, at)| Text { place: format!("exclude_fields::{at}"), text });
        let removal = Source {
            signal: Signal::Logs,
            context: Some(Context::Log),
            conditions: Vec::new(),
            statements: statements.collect(),
            // A record without the field has nothing to lose.
            mode: ErrorMode::Silent,
        };
        let remove =
            (!deletions.is_empty()).then(|| removal.runner(cx, Kind::Processor)).transpose()?;
        Ok(Box::new(Dedup {
            interval: self.interval.0,
            conditions,
            remove,
            include: fields(&self.include_fields),
            held: Held::new(self.log_count_attribute.clone(), self.zone().unwrap_or(TimeZone::UTC)),
            receipts: Receipts::new(),
            due: None,
            clock: (Instant::now(), SystemTime::now()),
            aggregated: cx.metrics("processor").histogram(&AGGREGATED, &BOUNDS, &[]),
        }))
    }
}

struct Dedup {
    interval: Duration,
    conditions: Option<Runner>,
    /// Removes the fields that are left out.
    remove: Option<Runner>,
    include: Vec<Field>,
    held: Held,
    /// Of those whose records wait.
    receipts: Receipts,
    /// When the interval ends; `None` if nothing waits.
    due: Option<Instant>,
    /// The same moment on two clocks.
    clock: (Instant, SystemTime),
    aggregated: Histogram,
}

impl Dedup {
    /// Takes a record in. Whether it was, and whether there is another of its kind.
    fn take(&mut self, item: &mut Item<'_>, now: SystemTime, payer: Option<&Permit>) -> Taken {
        if let Some(conditions) = &mut self.conditions
            && !matches!(conditions.matches(item), Ok(true))
        {
            return Taken::NotAsked;
        }
        if let Some(remove) = &mut self.remove {
            // Its mode lets nothing fail.
            let _ = remove.run(item);
        }
        self.held.take(item, &self.include, now, payer)
    }

    fn wall(&self, now: Instant) -> SystemTime {
        self.clock.1 + now.duration_since(self.clock.0)
    }

    /// Sends what was gathered.
    fn send(&mut self, out: &mut Output) {
        self.due = None;
        let now = self.wall(out.now);
        let receipts = std::mem::take(&mut self.receipts);
        let Some(mut payload) = self.held.payload(now, |count| self.aggregated.record(count))
        else {
            return;
        };
        payload.receipts = receipts;
        out.emit(payload);
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It waits, the first of its kind.
    First,
    /// It is counted.
    Again,
    /// It is not gathered.
    NotAsked,
    /// There is no memory for it.
    Full,
}

impl Processor for Dedup {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let (before, now) = (payload.items, self.wall(out.now));
        let payer = payload.permits.first().cloned();
        let (mut first, mut again) = (0, 0);
        let how = Pass { context: Context::Log, prunes: false };
        let result = pass(how, &mut payload, &mut |item| {
            Ok(match self.take(item, now, payer.as_ref()) {
                Taken::First => {
                    first += 1;
                    Fate::Drop
                }
                Taken::Again => {
                    again += 1;
                    Fate::Drop
                }
                Taken::NotAsked | Taken::Full => Fate::Keep,
            })
        });
        drop(payer);
        self.conditions.iter_mut().for_each(Runner::flush);
        out.count_filtered(again);
        let is_taken = first + again > 0;
        if is_taken {
            self.due.get_or_insert(out.now + self.interval);
        }
        match result {
            Err(stop) => {
                payload.items = before.saturating_sub(first + again);
                out.refuse(payload, reason(&stop));
            }
            Ok(Left::Nothing) => {
                payload.accept();
                self.receipts.extend(payload.take_over());
            }
            Ok(left) => {
                if left == Left::Changed {
                    payload.items = count(&payload);
                }
                if is_taken {
                    let rest = payload.split_off(payload.body.clone(), payload.items);
                    payload.accept();
                    self.receipts.extend(payload.take_over());
                    return out.emit(rest);
                }
                out.emit(payload);
            }
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        self.due
    }

    fn tick(&mut self, out: &mut Output) {
        self.send(out);
    }

    fn drain(&mut self, out: &mut Output) {
        self.send(out);
    }
}

#[cfg(test)]
mod tests;
