//! What hostile requests make of memory in exporters: what one piece of a request takes while it is
//! made, and what it holds then with what sending it takes beside it, is no more than the room for
//! it and a constant. For every exporter there is, in all of its formats, in several rooms; and
//! every item is in a piece, or was given up as too large.

use std::sync::Arc;

use bytes::Bytes;
use skep::{
    component::{BuildContext, Encodes, ErasedExporter, ExportError, Piece, Ready, Retry, Work},
    config::{Problems, yaml},
    exporters,
    otlp::{Content, Payload, Signal, content::Cursor, split},
};

use crate::{
    ALLOCATED, alone,
    expanding::{field, item, repeated, request, requests, settings, text_attribute},
    is_due,
};

/// What may be allocated beside the room: 256 KiB for lists of the fields of nested values, the
/// buffers of a compressor, what is remembered from one piece to the next. zstd allocates by
/// itself, once in a thread: a few MiB at the levels that are usual.
const BESIDE: usize = 512 << 10;

/// The smallest room is less than six exporters have in the smallest budget.
const ROOMS: [usize; 2] = [256 << 10, 2 << 20];

/// Formats of each exporter, beside the example of its documentation.
const SETTINGS: &[(&str, &str)] = &[
    ("awscloudwatchlogs", "{log_group_name: g, log_stream_name: s, raw_log: true}"),
    ("awscloudwatchlogs", "{log_group_name: '/{large}', log_stream_name: '{attributes.k}'}"),
    ("awsemf", "{}"),
    (
        "awsemf",
        "{namespace: n, resource_to_telemetry_conversion: {enabled: true}, detailed_metrics: true, \
         dimension_rollup_option: ZeroAndSingleDimensionRollup, \
         retain_initial_value_of_delta_metric: true}",
    ),
    ("awsemf", "{namespace: n, version: '0', parse_json_encoded_attr_values: [k, url]}"),
    ("awsxray", "{index_all_attributes: true}"),
    ("debug", "{sampling_initial: 1000000, verbosity: basic}"),
    ("debug", "{sampling_initial: 1000000, verbosity: normal}"),
    ("debug", "{sampling_initial: 1000000, verbosity: detailed}"),
    ("file", "{path: /tmp/x, compression: zstd}"),
    ("file", "{path: /tmp/x, format: proto}"),
    ("file", "{path: /tmp/x, format: proto, compression: zstd}"),
    ("file", "{path: '/tmp/*', group_by: {enabled: true, resource_attribute: large}}"),
    ("file", "{path: '/tmp/*', compression: zstd, group_by: {enabled: true}}"),
    ("file", "{path: '/tmp/*', format: proto, group_by: {enabled: true}}"),
    ("file", "{path: '/tmp/*', format: proto, compression: zstd, group_by: {enabled: true}}"),
    ("honeycomb", "{api_key: k, compression: none}"),
    ("honeycomb", "{api_key: k, compression: zstd}"),
    ("rollbar", "{access_token: t, error_logs: true}"),
    ("otlp_grpc", "{endpoint: 'localhost:4317', compression: none}"),
    ("otlp_grpc", "{endpoint: 'localhost:4317', compression: snappy}"),
    ("otlp_grpc", "{endpoint: 'localhost:4317', compression: zstd}"),
    ("otlp_http", "{endpoint: 'http://localhost', compression: none}"),
    ("otlp_http", "{endpoint: 'http://localhost', compression: lz4}"),
    ("otlp_http", "{endpoint: 'http://localhost', compression: x-snappy-framed}"),
    ("otlp_http", "{endpoint: 'http://localhost', compression: zlib}"),
    ("otlp_http", "{endpoint: 'http://localhost', encoding: json}"),
    ("otlp_http", "{endpoint: 'http://localhost', encoding: json, compression: none}"),
    ("otlp_http", "{endpoint: 'http://localhost', encoding: json, compression: zstd}"),
    ("otlp_http", "{endpoint: 'https://xray.eu-west-1.amazonaws.com'}"),
];

/// Each exporter that takes a signal, in each of its formats.
fn all(signal: Signal) -> Vec<(String, Arc<dyn ErasedExporter>)> {
    let mut all: Vec<(String, Arc<dyn ErasedExporter>)> = Vec::new();
    let cx = BuildContext { budget: 64 << 20, ..BuildContext::test("one", signal) };
    for entry in exporters::ALL.iter().filter(|entry| entry.signals.contains(&signal)) {
        let before = all.len();
        for text in settings(entry.name, entry.source, SETTINGS) {
            let node = yaml::parse(0, &text).unwrap();
            let Some(node) = node.get(entry.name) else { continue };
            let mut problems = Problems::default();
            let config = (entry.decode)(node, &mut problems);
            let config = config.unwrap_or_else(|| panic!("{text}: {problems:?}"));
            if let Ok(exporter) = config.build(&cx) {
                all.push((text, exporter));
            }
        }
        assert!(all.len() > before, "`{}` has no example that can be built", entry.name);
    }
    all
}

/// Items that grow by themselves, whatever is around them.
fn grown(signal: Signal) -> Vec<(&'static str, Vec<u8>)> {
    let value = |any: &[u8]| [field(1, b"k"), field(2, any)].concat();
    let one = |attribute: Vec<u8>| request(&[], &[], [item(signal, 1, &[attribute])]);
    // An array of an array, and so on, is two bytes more at each depth.
    let nested = |inner: &[u8], depth: usize| {
        (0..depth).fold(inner.to_vec(), |inner, _| field(5, &field(1, &inner)))
    };
    let empty = repeated(1, std::iter::repeat_n(Vec::new(), 40_000));
    let maps = repeated(1, std::iter::repeat_n(Vec::new(), 40_000));
    let resource = |size: usize| field(1, &text_attribute("large", &"\u{1}".repeat(size)));
    let some = |count: u64| (1..count).map(move |id| item(signal, id, &[]));
    let exception = |trace: &str| {
        let kind = text_attribute("exception.type", "E");
        let attributes = [kind, text_attribute("exception.stacktrace", trace)];
        request(&[], &[], [item(signal, 1, &attributes)])
    };
    let mut all = vec![
        ("an exception of empty lines", exception(&"\n".repeat(1 << 19))),
        ("an exception of short frames", exception(&"from a:1\n".repeat(1 << 15))),
        ("an exception of control characters", exception(&"\u{1}".repeat(1 << 19))),
        ("control characters", one(text_attribute("url", &"\u{1}".repeat(1 << 19)))),
        ("marks of direction", one(text_attribute("url", &"\u{202e}".repeat(1 << 18)))),
        ("bytes", one(value(&field(7, &vec![0xff; 1 << 19])))),
        ("no UTF-8", one(value(&field(1, &vec![0xff; 1 << 19])))),
        ("an array of nothing", one(value(&field(5, &empty)))),
        ("a map of nothing", one(value(&field(6, &maps)))),
        ("a deep array of nothing", one(value(&nested(&field(5, &empty), 28)))),
        ("a long key", one(text_attribute(&"\u{1}".repeat(1 << 19), "v"))),
        ("a resource that just fits", request(&resource(1500), &[], some(4000))),
        ("a scope that just fits", request(&[], &resource(10_000), some(4000))),
        ("a resource with a large item", {
            let large = item(signal, 1, &[text_attribute("url", &"x".repeat(40_000))]);
            request(&resource(1500), &[], std::iter::repeat_n(large, 20))
        }),
    ];
    match signal {
        Signal::Traces => {
            let children = |number| {
                let empty = std::iter::repeat_n(Vec::new(), 40_000);
                let span = [item(signal, 1, &[]), field(2, &[1; 8]), repeated(number, empty)];
                request(&[], &[], [span.concat()])
            };
            all.push(("many events", children(11)));
            all.push(("many links", children(13)));
            let name = |_| [item(signal, 1, &[]), field(5, &vec![1; 100_000])].concat();
            all.push(("long names", request(&[], &[], (0..20).map(name))));
        }
        Signal::Logs => {
            let body = |any: &[u8]| request(&[], &[], [field(5, any)]);
            all.push(("a body of nothing", body(&field(5, &empty))));
            all.push(("a body of controls", body(&field(1, &vec![1; 1 << 19]))));
            let severity = field(3, &vec![1; 1 << 19]);
            all.push(("a long severity", request(&[], &[], [severity])));
        }
        Signal::Metrics => {
            let metric = |kind: u32, point: &[u8]| {
                let data = [field(1, point), vec![0x10, 1]].concat();
                request(&[], &[], [[field(1, b"m"), field(kind, &data)].concat()])
            };
            let zeros = vec![0; 1 << 17];
            let (bounds, counts) = (field(7, &zeros), field(6, &zeros));
            let buckets = field(8, &field(2, &zeros));
            let exemplars = |number| repeated(number, std::iter::repeat_n(Vec::new(), 40_000));
            let long = vec![vec![1; 1 << 19]; 1];
            all.push(("buckets", metric(9, &[bounds, counts].concat())));
            all.push(("exponential buckets", metric(10, &buckets)));
            all.push(("exemplars", metric(7, &exemplars(5))));
            all.push(("quantiles", metric(11, &exemplars(6))));
            for (what, number) in [("a long name", 1), ("a description", 2), ("a unit", 3)] {
                let points = field(5, &repeated(1, std::iter::repeat_n(Vec::new(), 1000)));
                let metric = [repeated(number, long.clone()), points].concat();
                all.push((what, request(&[], &[], [metric])));
            }
            let metadata = [exemplars(12), field(5, &field(1, &[]))].concat();
            all.push(("much metadata", request(&[], &[], [metadata])));
        }
    }
    all
}

/// One exporter with one request in one room.
struct Trial {
    exporter: Arc<dyn ErasedExporter>,
    room: usize,
    /// Items that are in a piece, or were given up as too large for any.
    items: u64,
    /// Most bytes that were allocated at once, and that a piece needs while it is sent.
    peak: usize,
    held: usize,
    /// Bytes that a piece holds and does not say.
    unsaid: usize,
}

impl Trial {
    /// Encodes all of a content, as the engine does it: piece by piece, and what is too large in
    /// halves.
    fn run(&mut self, content: &Content) {
        let mut from = Some(Cursor::default());
        while let Some(start) = from {
            let wanted = self.exporter.room(content).min(self.room);
            let room = if self.exporter.encodes() == Encodes::Inline { 0 } else { wanted };
            match self.encode(&Work { content, from: start, room }) {
                Ok(Piece { items, next, .. }) => {
                    let end = next.map_or(content.items, |next| next.items());
                    assert_eq!(items, end - start.items(), "the items of a piece");
                    assert!(next != Some(start), "the walk goes on");
                    self.items += items;
                    from = next;
                }
                Err(error) => {
                    assert_eq!(error.retry, Retry::Split, "{error}");
                    let body = content.between(&start, None);
                    let items = content.items - start.items();
                    let mut rest = Payload::unpaid(content.signal, Bytes::new(), items);
                    rest.body = body;
                    match split::halve(rest) {
                        Ok(halves) => halves.iter().for_each(|half| self.run(&Content::of(half))),
                        Err(_) => self.items += items,
                    }
                    return;
                }
            }
        }
    }

    fn encode(&mut self, work: &Work<'_>) -> Result<Piece<Box<dyn Ready>>, ExportError> {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        let piece = Arc::clone(&self.exporter).encode(work)?;
        let peak = ALLOCATED.peak_usage().saturating_sub(before);
        let holds = ALLOCATED.current_usage().saturating_sub(before);
        self.peak = self.peak.max(peak.saturating_sub(work.room));
        self.held = self.held.max(piece.held.max(holds).saturating_sub(work.room));
        self.unsaid = self.unsaid.max(holds.saturating_sub(piece.held));
        Ok(piece)
    }
}

#[test]
fn no_exporter_takes_more_than_its_room_of_traces() {
    alone(|| no_exporter_takes_more_than_its_room(Signal::Traces));
}

#[test]
fn no_exporter_takes_more_than_its_room_of_logs() {
    alone(|| no_exporter_takes_more_than_its_room(Signal::Logs));
}

#[test]
fn no_exporter_takes_more_than_its_room_of_metrics() {
    alone(|| no_exporter_takes_more_than_its_room(Signal::Metrics));
}

fn no_exporter_takes_more_than_its_room(signal: Signal) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut faults = Vec::new();
    let requests = requests(signal, 10).into_iter().chain(grown(signal));
    for (request, (what, body)) in requests.enumerate() {
        let items = split::count_items(signal, &body);
        let content = Content::new(signal, body.into(), items);
        for (at, (settings, exporter)) in all(signal).into_iter().enumerate() {
            if !is_due(request, at) {
                continue;
            }
            // What a thread keeps for all of its life, such as a compressor.
            let nothing = Content::new(signal, Bytes::new(), 0);
            Arc::clone(&exporter).encode(&Work::all(&nothing)).unwrap();
            for room in ROOMS {
                let exporter = Arc::clone(&exporter);
                let mut trial = Trial { exporter, room, items: 0, peak: 0, held: 0, unsaid: 0 };
                trial.run(&content);
                let Trial { items: seen, peak, held, unsaid, .. } = trial;
                if peak > BESIDE || held > BESIDE || unsaid > BESIDE || seen != items {
                    faults.push(format!(
                        "{signal}, {what}, room {room}: while it is made {peak}, while it is \
                         sent {held} above it, {unsaid} unsaid; {seen} of {items} items; \
                         {settings}"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}\n{} faults", faults.join("\n"), faults.len());
}
