//! `profile.proto` of pprof: the few messages of it that a CPU profile needs. Strings are in a
//! table and are referred to by index; index 0 is the empty string. Ids begin at 1.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use pprof::{Report, Symbol};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(super) time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    #[prost(int64, tag = "2")]
    pub(super) unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Label {
    #[prost(int64, tag = "1")]
    pub(super) key: i64,
    #[prost(int64, tag = "2")]
    pub(super) str: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Location {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "3")]
    pub(super) address: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    pub(super) function_id: u64,
    #[prost(int64, tag = "2")]
    pub(super) line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(int64, tag = "2")]
    pub(super) name: i64,
    #[prost(int64, tag = "3")]
    pub(super) system_name: i64,
    #[prost(int64, tag = "4")]
    pub(super) filename: i64,
}

/// The report as a gzipped profile.
pub(super) fn encode(
    report: &Report,
    started: SystemTime,
    duration: Duration,
    frequency: i32,
) -> io::Result<Vec<u8>> {
    let mut builder = Builder::default();
    builder.string("");
    let period = 1_000_000_000 / i64::from(frequency.max(1));
    let samples = ValueType { r#type: builder.string("samples"), unit: builder.string("count") };
    let cpu = ValueType { r#type: builder.string("cpu"), unit: builder.string("nanoseconds") };
    let thread = builder.string("thread");
    builder.profile.sample_type = vec![samples, cpu];
    builder.profile.period_type = Some(cpu);
    builder.profile.period = period;
    builder.profile.duration_nanos = nanos(duration);
    builder.profile.time_nanos =
        nanos(started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    for (stack, count) in &report.data {
        let location_id = stack.frames.iter().map(|symbols| builder.location(symbols)).collect();
        let label = vec![Label { key: thread, str: builder.string(&stack.thread_name) }];
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let value = vec![count, count.saturating_mul(period)];
        builder.profile.sample.push(Sample { location_id, value, label });
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&builder.profile.encode_to_vec())?;
    gzip.finish()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<Vec<(u64, i64)>, u64>,
}

impl Builder {
    fn string(&mut self, text: &str) -> i64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    /// A place in the code with all the functions that were inlined there, innermost first.
    fn location(&mut self, symbols: &[Symbol]) -> u64 {
        let lines: Vec<(u64, i64)> = symbols
            .iter()
            .map(|symbol| (self.function(symbol), i64::from(symbol.lineno())))
            .collect();
        let next = self.profile.location.len() as u64 + 1;
        if let Some(id) = self.locations.get(&lines) {
            return *id;
        }
        let address = symbols.first().and_then(|symbol| symbol.addr);
        self.profile.location.push(Location {
            id: next,
            address: address.map_or(0, |address| address.addr() as u64),
            line: lines.iter().map(|&(function_id, line)| Line { function_id, line }).collect(),
        });
        self.locations.insert(lines, next);
        next
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let key = (symbol.sys_name().into_owned(), symbol.filename().into_owned());
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        let name = self.string(&symbol.name());
        let (system_name, filename) = (self.string(&key.0), self.string(&key.1));
        self.profile.function.push(Function { id, name, system_name, filename });
        self.functions.insert(key, id);
        id
    }
}
