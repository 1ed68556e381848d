//! What the fuzz targets assert of arbitrary bytes. Each panics where something does not hold. The
//! first byte chooses the signal, where there is one.

mod memory;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use skep::{
    budget,
    component::{BuildContext, ByTrace, ComponentId, Outlets, Output, Processor, Vetting as _},
    config::{Problems, excerpt, source, yaml},
    connectors, document,
    otlp::{
        Payload, Signal,
        check::{self as door, Utf8},
        filter::{self, Left},
        json as otlp_json,
        purse::Purse,
        splice::{self as editor, EditItems, Splicer},
        split as cutter, view,
        wire::put_bytes,
    },
    ottl::{Changed, ErrorMode, Fate, Group, Program, Walk, walk},
    processors,
    receivers::{
        self,
        otlp::public::{Guard, Visit, settings::Public, token},
    },
    recent::{self, Limits, Query, Recent, TraceFilter, boards, trace_id},
    storage::{Log, NewRecord, Overflow, Place, Room, Settings},
    telemetry::storage::LogStats,
};

use self::memory::Memory;

/// `KeyValue { key: "k" }`.
const ATTRIBUTE: &[u8] = &[0x0A, 1, b'k'];

fn signal(data: &[u8]) -> Option<(Signal, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((Signal::ALL[usize::from(*first) % 3], rest))
}

/// Signal, body and items of a request that passes the door check.
fn valid(data: &[u8]) -> Option<(Signal, &[u8], u64)> {
    let (signal, body) = signal(data)?;
    let checked = door::check(signal, body, Utf8::Strict).ok()?;
    Some((signal, body, checked.items))
}

fn items(signal: Signal, body: &[u8]) -> u64 {
    match door::check(signal, body, Utf8::Strict) {
        Ok(checked) => checked.items,
        Err(error) => panic!("what was made of a valid request is not valid: {error}"),
    }
}

/// Without the check of strings more passes, never less; counting needs no check.
pub(crate) fn check(data: &[u8]) {
    let Some((signal, body)) = signal(data) else { return };
    let counted = cutter::count_items(signal, body);
    if let Ok(checked) = door::check(signal, body, Utf8::Strict) {
        assert_eq!(checked.items, counted);
        assert_eq!(door::check(signal, body, Utf8::Off), Ok(checked));
    }
}

/// Parts are valid, know their items and hold all of them; so does what is left of a request. The
/// byte after the signal is the limit.
pub(crate) fn split(data: &[u8]) {
    let Some((limit, data)) = data.split_last() else { return };
    let Some((signal, body, total)) = valid(data) else { return };
    let limit = u64::from(*limit).max(1);
    let payload = Payload::unpaid(signal, Bytes::copy_from_slice(body), total);
    for parts in
        [cutter::by_items(payload.clone(), limit), cutter::by_bytes(payload.clone(), limit * 8)]
    {
        let mut sum = 0;
        for part in parts {
            assert_eq!(items(signal, &part.body.concat()), part.items);
            sum += part.items;
        }
        // A metric that sets several kinds of data keeps the last where it is cut.
        assert!(sum == total || (signal == Signal::Metrics && sum < total));
    }
    if signal != Signal::Metrics {
        let mut at = 0;
        let left = filter::retain_items(body, &mut Purse::default(), |_| {
            at += 1;
            at % limit != 0
        })
        .expect("nobody keeps accounts");
        assert_eq!(at, total);
        match left {
            Left::All(left) => assert!(left == total && total < limit),
            Left::Nothing => assert!(limit == 1 && total > 0),
            Left::Some { body, items: left } => {
                assert_eq!((items(signal, &body), left), (left, total - total / limit));
            }
        }
    }
    if let Ok([left, right]) = cutter::halve(payload.for_reading()) {
        assert!(left.items > 0 && left.items + right.items <= total);
    }
}

struct Append;

impl EditItems for Append {
    fn edit<'a>(&mut self, _: &'a [u8], attributes: u32, out: &mut Splicer<'a>) {
        out.append(ATTRIBUTE.len() + 8, |out| put_bytes(out, attributes, ATTRIBUTE));
    }
}

/// Views of a valid request see the items that the door check counts; views of anything else do
/// not panic.
pub(crate) fn views(data: &[u8]) {
    let Some((signal, body)) = signal(data) else { return };
    let seen = match signal {
        Signal::Traces => {
            view::traces(body).flat_map(|entry| entry.scopes()).map(|s| s.spans().count()).sum()
        }
        Signal::Logs => {
            view::logs(body).flat_map(|entry| entry.scopes()).map(|s| s.log_records().count()).sum()
        }
        Signal::Metrics => view::metrics(body)
            .flat_map(|entry| entry.scopes())
            .flat_map(|scope| scope.metrics())
            .map(|metric| points(&metric))
            .sum::<usize>(),
    } as u64;
    if let Ok(checked) = door::check(signal, body, Utf8::Strict) {
        // A metric that sets several kinds of data keeps the last.
        assert!(seen == checked.items || (signal == Signal::Metrics && seen < checked.items));
    }
}

/// Policies of every kind that looks at spans.
const POLICIES: &str = "{decision_wait: 1s, record_policy: true, weights: {sample_rate: true, tracestate: true}, \
    max_memory: 300000, policies: [\
    {name: d, type: drop, drop: {drop_sub_policy: [{type: boolean_attribute, boolean_attribute: {key: k, value: true}}]}},\
    {name: e, type: status_code, status_code: {status_codes: [ERROR]}},\
    {name: l, type: latency, latency: {threshold_ms: 5, upper_threshold_ms: 500}},\
    {name: n, type: numeric_attribute, numeric_attribute: {key: k, min_value: 1, max_value: 99}},\
    {name: s, type: string_attribute, string_attribute: {key: k, values: [a+b], enabled_regex_matching: true}},\
    {name: t, type: trace_state, trace_state: {key: k, values: [v]}},\
    {name: f, type: trace_flags},\
    {name: p, type: probabilistic, probabilistic: {sampling_percentage: 30}},\
    {name: r, type: rate_limiting, rate_limiting: {spans_per_second: 2}}]}";

fn by_trace(shard: &mut Box<dyn Processor>) -> &mut dyn ByTrace {
    shard.by_trace().unwrap_or_else(|| panic!("it is split by trace"))
}

/// The tail sampler on one worker and on two: what comes in goes out or is counted, and what goes
/// out is a valid request.
pub(crate) fn tail_sampling(data: &[u8]) {
    let Ok(checked) = door::check(Signal::Traces, data, Utf8::Strict) else { return };
    for workers in [1, 2] {
        let mut shards = tail_samplers(workers);
        let payload = Payload::unpaid(Signal::Traces, data.to_vec().into(), checked.items);
        let mut out = Output::at(Instant::now());
        if let [only] = &mut shards[..] {
            only.process(payload, &mut out);
        } else {
            let parts = by_trace(&mut shards[0]).share(payload, workers, &mut out);
            for (shard, share) in shards.iter_mut().zip(parts) {
                if let Some(share) = share {
                    by_trace(shard).take(share, &mut out);
                }
            }
        }
        for shard in &mut shards {
            shard.drain(&mut out);
        }
        let kept: u64 = out.take().iter().map(|p| items(Signal::Traces, &p.body.concat())).sum();
        assert_eq!(kept + out.take_counts().0, checked.items);
    }
}

fn tail_samplers(workers: usize) -> Vec<Box<dyn Processor>> {
    let node = yaml::parse(0, POLICIES).unwrap_or_else(|_| panic!("the settings are YAML"));
    let entry = processors::ALL.iter().find(|entry| entry.name == "tail_sampling");
    let mut problems = Problems::default();
    let config = entry.and_then(|entry| (entry.decode)(&node, &mut problems));
    let context = context("tail_sampling", 1 << 20);
    let built = config.and_then(|config| config.replicas(&context, workers).ok());
    built.unwrap_or_else(|| panic!("the settings are right"))
}

/// Settings of connectors that look at all that they can.
const CONNECTORS: [(&str, &str); 6] = [
    (
        "routing",
        "{default_pipelines: [traces, metrics, logs], table: [{condition: 'span.kind > 1', pipelines: \
         [traces]}, {condition: 'datapoint.flags == 0', pipelines: [metrics]}, {condition: \
         'log.severity_number > 9', action: copy, pipelines: [logs]}, {statement: \
         'delete_key(attributes, \"k\") where attributes[\"k\"] != nil', pipelines: [traces, logs]}]}",
    ),
    (
        "count",
        "{spans: {n: {attributes: [{key: k}]}}, logs: {n: {attributes: [{key: k}]}}, datapoints: \
         {n: {attributes: [{key: k, default_value: 1}]}}}",
    ),
    ("sum", "{spans: {n: {source_attribute: k}}, logs: {n: {source_attribute: k}}}"),
    (
        "span_metrics",
        "{dimensions: [{name: k}, {glob: '*'}], events: {enabled: true, dimensions: [{name: k}]}, \
         exemplars: {enabled: true}, histogram: {exponential: {}}, resource_metrics_cache_size: 1}",
    ),
    ("exceptions", "{exemplars: {enabled: true}}"),
    ("servicegraph", "{dimensions: [k], metrics_flush_interval: 0}"),
];

/// What connectors make of a valid request is valid, and has as many items as they say.
pub(crate) fn connectors(data: &[u8]) {
    let Some((signal, body, items_in)) = valid(data) else { return };
    for (name, settings) in CONNECTORS {
        let node = yaml::parse(0, settings).unwrap_or_else(|_| panic!("the settings are YAML"));
        let entry = connectors::ALL.iter().find(|entry| entry.name == name);
        let config = entry.and_then(|entry| (entry.decode)(&node, &mut Problems::default()));
        let config = config.unwrap_or_else(|| panic!("the settings of `{name}` are right"));
        for output in config.outputs(signal) {
            let outlets = Outlets { signal: *output, pipelines: vec![output.name().to_owned()] };
            let context = BuildContext { signal, ..context(name, 1 << 20) };
            let built = config.build(&context, &outlets);
            let mut connector = built.unwrap_or_else(|error| panic!("{error}"));
            let mut out = Output::at(Instant::now());
            let payload = Payload::unpaid(signal, body.to_vec().into(), items_in);
            connector.process(payload, &mut out);
            connector.drain(&mut out);
            let directed = out.take_directed().into_iter().map(|(_, payload)| payload);
            for made in out.take().into_iter().chain(directed) {
                assert_eq!(made.signal, *output);
                assert_eq!(items(*output, &made.body.concat()), made.items, "{name}");
            }
        }
    }
}

fn points(metric: &view::Metric<'_>) -> usize {
    match metric.data {
        None => 0,
        Some(view::Data::Gauge(points) | view::Data::Sum { points, .. }) => {
            points.iter().inspect(|point| assert!(point.attributes().count() < 10_000)).count()
        }
        Some(view::Data::Histogram { points, .. }) => {
            points.iter().inspect(|p| assert!(p.bucket_counts().count() < 10_000)).count()
        }
        Some(view::Data::ExponentialHistogram { points, .. }) => points
            .iter()
            .inspect(|point| {
                let counts = point.positive.map_or(0, |buckets| buckets.bucket_counts().count());
                assert!(counts < 10_000);
            })
            .count(),
        Some(view::Data::Summary(points)) => points.iter().count(),
    }
}

/// Edited requests are valid and have the same items; each item grew.
pub(crate) fn splice(data: &[u8]) {
    let Some((signal, body, total)) = valid(data) else { return };
    let purse = &mut Purse::default();
    let edited = editor::edit_resources(body, 0, purse, |_, out| {
        out.append(ATTRIBUTE.len() + 8, |out| put_bytes(out, 1, ATTRIBUTE));
    });
    let edited = edited.expect("nobody keeps accounts");
    if let Some(edited) = edited {
        assert_eq!(items(signal, &edited), total);
    }
    let edited = editor::edit_items(signal, body, 0, purse, &mut Append);
    let edited = edited.expect("nobody keeps accounts");
    assert_eq!(edited.is_some(), total > 0);
    if let Some(edited) = edited {
        assert_eq!(items(signal, &edited), total);
    }
}

/// JSON becomes valid protobuf, and that JSON which means the same; so does any valid protobuf.
pub(crate) fn json(data: &[u8]) {
    let Some((signal, body)) = signal(data) else { return };
    if let Ok(protobuf) = otlp_json::to_protobuf(signal, body, otlp_json::DEPTH_LIMIT) {
        items(signal, &protobuf);
        round_trip(signal, &protobuf);
    }
    if door::check(signal, body, Utf8::Strict).is_ok() {
        round_trip(signal, body);
    }
}

fn round_trip(signal: Signal, protobuf: &[u8]) {
    let text = to_json(signal, protobuf);
    let back = match otlp_json::to_protobuf(signal, &text, otlp_json::DEPTH_LIMIT) {
        Ok(back) => back,
        Err(error) => panic!("own JSON is not read: {error}: {}", String::from_utf8_lossy(&text)),
    };
    assert_eq!(
        String::from_utf8_lossy(&to_json(signal, &back)),
        String::from_utf8_lossy(&text),
        "JSON changes on a round trip"
    );
}

fn to_json(signal: Signal, protobuf: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    otlp_json::write(signal, &[Bytes::copy_from_slice(protobuf)], &mut text);
    text
}

/// A datagram becomes a valid request with as many spans as it says, or nothing.
pub(crate) fn xray_segments(data: &[u8]) {
    for translate in [receivers::awsxray::datagram, receivers::awsxray::document] {
        let mut body = Vec::new();
        match translate(data, &mut body) {
            Ok(translated) => assert_eq!(items(Signal::Traces, &body), translated.spans),
            Err(_) => assert!(body.is_empty()),
        }
    }
}

/// A token that no secret has signed names nobody, and one that is signed is read without a panic:
/// its header and claims are the lines of the data.
pub(crate) fn public_tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let secret = "0123456789abcdef0123456789abcdef";
    let verifier = token::Verifier::new([secret], "sub");
    assert!(verifier.user(text, 1_800_000_000).is_err(), "nobody has signed it");
    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(user) = verifier.user(&token::sign(header, claims, secret), 1_800_000_000) {
        assert!(!user.is_empty() && user.len() <= 256);
    }
}

/// What a public port makes of a valid request is valid, has the same items, and comes out of a
/// second edit with as many.
pub(crate) fn public_edits(data: &[u8]) {
    let Some((signal, body, total)) = valid(data) else { return };
    // More than 512 resources are refused, and each has two bytes at least.
    if signal == Signal::Metrics || total > 512 || body.len() > 1024 {
        return;
    }
    let settings = Public {
        max_attributes: 3,
        max_value_bytes: 16,
        max_events: 2,
        max_links: 1,
        items_per_second_per_client: 0,
        allowed_attributes: vec!["a*".to_owned(), "k".to_owned()],
        ..Public::default()
    };
    let meter = context("otlp", 1 << 20).meter();
    let guard = Arc::new(Guard::new(&settings, "otlp", 1 << 20, &meter));
    let arrived = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let visit = Visit::of_page(&guard, Some("user-42"), arrived);
    let mut payload = Payload::unpaid(signal, Bytes::copy_from_slice(body), total);
    for _ in 0..2 {
        assert!(visit.vet(&mut payload).is_ok());
        assert_eq!(items(signal, &payload.body.concat()), total);
    }
}

/// Any bytes as a ledger; and as its lines, as if they had their checksum. What is read is written
/// as it can be read again.
pub(crate) fn budget_ledger(data: &[u8]) {
    budget::parse(data);
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(contents) = budget::Contents::from_lines(text) {
        assert_eq!(budget::parse(contents.to_text().as_bytes()), Some(contents));
    }
}

/// A payload of a Rollbar SDK is refused or becomes one record, which leaves as one item.
pub(crate) fn rollbar_items(data: &[u8]) {
    let mut body = Vec::new();
    if receivers::rollbar::item(data, &mut body).is_err() {
        assert!(body.is_empty());
        return;
    }
    assert_eq!(items(Signal::Logs, &body), 1);
    assert_eq!(check_items(Signal::Logs, body), 1);
}

/// A stack trace in the language that the first byte chooses leaves as an item that is JSON and has
/// no more bytes than the limit.
pub(crate) fn rollbar_documents(data: &[u8]) {
    let Some((language, trace)) = data.split_first() else { return };
    let language = LANGUAGES[usize::from(*language) % LANGUAGES.len()];
    assert_eq!(check_items(Signal::Traces, failed_span(language, trace)), 1);
}

/// The number of items that a request of one span or record becomes.
fn check_items(signal: Signal, body: Vec<u8>) -> usize {
    use skep::{
        component::{Exporter as _, Work},
        config::Secret,
        exporters::rollbar::Config,
        otlp::Content,
    };
    let content = Content::new(signal, body.into(), 1);
    let config = Config { access_token: Secret::new("t"), ..Config::default() };
    let id = ComponentId { kind_name: "rollbar".to_owned(), name: None };
    let exporter = config.exporter(&id).unwrap_or_else(|error| panic!("{error}"));
    let piece = exporter.encode(&Work::all(&content));
    let items = piece.unwrap_or_else(|error| panic!("{error}")).encoded;
    for item in &items.all {
        assert!(item.len() <= 512 << 10);
        let read = serde_json::from_slice::<serde_json::Value>(item);
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(item));
    }
    items.all.len()
}

/// A body of `PutLogEvents` becomes a valid request with a record for each event, or is refused.
/// The same bytes as `aws-chunked` are joined to no more than they are.
pub(crate) fn logs_calls(data: &[u8]) {
    if let Some((body, events)) = receivers::awscloudwatchlogs::translated(data) {
        assert_eq!(items(Signal::Logs, &body), events);
    }
    let mut chunks = 0;
    let joined = receivers::awscloudwatchlogs::join_chunks(data, |chunk, _| {
        chunks += chunk.len();
        true
    });
    if let Some(joined) = joined {
        assert_eq!(joined.len(), chunks);
        assert!(joined.len() < data.len());
    }
}

/// `telemetry.sdk.language` of those whose stack traces are read, and of one that is not known.
const LANGUAGES: [&str; 9] =
    ["java", "php", "python", "javascript", "nodejs", "webjs", "dotnet", "go", "rust"];

/// A stack trace in the language that the first byte chooses, and the same bytes as a document of
/// an X-Ray SDK, leave as documents that are text, one for each span but those that have none for a
/// reason. Without the feature `aws` there is nothing to check.
pub(crate) fn xray_documents(data: &[u8]) {
    let Some((language, trace)) = data.split_first() else { return };
    let language = LANGUAGES[usize::from(*language) % LANGUAGES.len()];
    let mut segments = Vec::new();
    let _ = receivers::awsxray::document(data, &mut segments);
    for body in [failed_span(language, trace), segments] {
        #[cfg(feature = "aws")]
        check_documents(body);
        #[cfg(not(feature = "aws"))]
        drop(body);
    }
}

/// Each span of a request has a document, or a reason to have none.
#[cfg(feature = "aws")]
fn check_documents(body: Vec<u8>) {
    use skep::{
        component::{Exporter as _, Work},
        exporters::awsxray::Config,
        otlp::Content,
    };
    let spans = cutter::count_items(Signal::Traces, &body);
    let content = Content::new(Signal::Traces, body.into(), spans);
    let exporter = Config::default().exporter(&context("awsxray", 1 << 20));
    let exporter = exporter.unwrap_or_else(|error| panic!("{error}"));
    let piece = exporter.encode(&Work::all(&content));
    let segments = piece.unwrap_or_else(|error| panic!("{error}")).encoded;
    let left_out = segments.left_out();
    assert!(segments.documents.len() as u64 + left_out <= spans);
    let mut written = 0;
    for document in &segments.documents {
        let text = String::from_utf8_lossy(document);
        // Subsegments are within their parents; each has the id of its trace, and metadata may have
        // more.
        written += text.matches("\"trace_id\":\"1-").count() as u64;
        assert!(text.starts_with("{\"name\":\"") && text.ends_with('}'), "{text}");
    }
    assert!(written + left_out >= spans);
}

/// A request with one span that has an exception with this trace.
fn failed_span(language: &str, trace: &[u8]) -> Vec<u8> {
    let message = |fields: &[(u32, &[u8])]| {
        let mut out = Vec::new();
        for (number, content) in fields {
            put_bytes(&mut out, *number, content);
        }
        out
    };
    let attribute =
        |key: &str, text: &[u8]| message(&[(1, key.as_bytes()), (2, &message(&[(1, text)]))]);
    let stack = attribute("exception.stacktrace", trace);
    let kind = attribute("exception.type", b"E");
    let event = message(&[(2, b"exception"), (3, &kind), (3, &stack)]);
    let span = message(&[(1, &[1; 16]), (2, &[2; 8]), (5, b"op"), (11, &event)]);
    let resource = message(&[(1, &attribute("telemetry.sdk.language", language.as_bytes()))]);
    message(&[(1, &message(&[(1, &resource), (2, &message(&[(2, &span)]))]))])
}

fn context(name: &str, budget: u64) -> BuildContext {
    BuildContext { budget, ..BuildContext::test(name, Signal::Traces) }
}

/// Any text is a configuration or has problems, which can be shown.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Whatever a reference to a file names would be read.
    if text.contains("file:") {
        return;
    }
    let mut problems = Problems::default();
    let loaded = source::load(&[format!("yaml:{text}")], &[], &|_| None, &mut problems);
    if let Some(root) = &loaded.root {
        document::load(root, &mut problems);
    }
    let shown = excerpt::render(&problems, &loaded.sources, false);
    assert!(loaded.root.is_some() || !shown.is_empty());
}

/// Any bytes may stand in the files of a log: opening it ends, reading it ends, and what is
/// appended afterwards is found again. The first byte says where the file `settled` ends, the
/// second where the first segment does.
pub(crate) fn storage(data: &[u8]) {
    let [first, second, rest @ ..] = data else { return };
    let (settled, rest) = rest.split_at(rest.len().min(usize::from(*first)));
    let (one, two) = rest.split_at(rest.len().min(usize::from(*second) * 8));
    let disk = Memory::default();
    disk.put("settled", settled);
    disk.put("00000000000000000000.seg", one);
    disk.put("00000000000000000002.seg", two);
    let opened = |disk: &Memory| {
        let settings = Settings { segment_size: 1000, overflow: Overflow::Block };
        let (room, stats) = (Arc::new(Room::new(1 << 30)), Arc::new(LogStats::default()));
        let log = Log::open(Arc::new(disk.clone()), settings, room, stats);
        log.unwrap_or_else(|error| panic!("the disk is fine: {error}"))
    };
    let log = opened(&disk);
    while let Ok(Some(stored)) = log.take() {
        log.settle(&stored.ticket);
    }
    let body = [Bytes::from_static(b"what comes later")];
    let (signal, time) = (Signal::Logs, SystemTime::UNIX_EPOCH);
    let place = Place::Waiting;
    let record = NewRecord { signal, items: 1, note: b"note", body: &body, time, place };
    assert!(log.append(record).is_ok());
    assert!(log.save().is_ok());
    let again = opened(&disk);
    let found = std::iter::from_fn(|| again.take().ok().flatten());
    assert!(found.into_iter().any(|stored| stored.body == body[0] && stored.note == b"note"[..]));
}

/// A program of one line of text for each statement, and a request behind an empty line: what is
/// compiled runs without a panic, and what it makes of a valid request is valid.
pub(crate) fn ottl(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let at = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (program, body) = rest.split_at(at);
    let Ok(text) = std::str::from_utf8(program) else { return };
    let signal = Signal::ALL[usize::from(*first) % 3];
    let contexts = skep::ottl::Context::of_signal(signal);
    let context = contexts[usize::from(*first / 3) % contexts.len()];
    let lines: Vec<&str> = text.lines().collect();
    let conditions = Group { signal, context: Some(context), conditions: &lines, statements: &[] };
    let statements = Group { signal, context: Some(context), conditions: &[], statements: &lines };
    let body = body.get(2..).unwrap_or_default();
    let is_valid = door::check(signal, body, Utf8::Strict).is_ok();
    for group in [conditions, statements] {
        let program = match Program::compile(&group) {
            Ok((program, _)) => program,
            Err(problems) => {
                for located in problems {
                    let _ = located.problem.shown(text).to_string();
                }
                continue;
            }
        };
        if !is_valid {
            continue;
        }
        let how = Walk { signal, context: program.context(), request: None, prunes: false };
        let changed = walk(&how, body, &mut Purse::default(), &mut |item| {
            let report = &mut |_: &skep::ottl::Failure<'_>| {};
            program.run(item, ErrorMode::Ignore, report)?;
            Ok(Fate::Keep)
        });
        if let Ok(Changed::Body(new)) = changed {
            items(signal, &new);
        }
    }
}

/// The store of recent data takes any bytes within its budget and answers any query; what it
/// exports it reads back. The first byte chooses the signal; the rest is a request and a query.
pub(crate) fn recent(data: &[u8]) {
    const NOW: u64 = 1_700_000_000_000_000_000;
    let Some((signal, body)) = signal(data) else { return };
    let settings = || recent::Settings {
        bytes: recent::Settings::LEAST,
        cpu: 1e6,
        ..recent::Settings::default()
    };
    let Ok(store) = Recent::new(settings()) else { panic!("the least is enough") };
    store.offer(signal, &Bytes::copy_from_slice(body), NOW);
    store.catch_up();
    let status = store.status();
    assert!(status.highest <= status.bytes);
    if let Some((_, _, items)) = valid(data).filter(|_| signal != Signal::Metrics) {
        let counts = status.counts;
        assert_eq!(status.spans + status.records + counts.too_large, items);
    }
    let usual = br#"{"group_by": ["k", "service.name"], "step_s": 1}"#;
    for text in [body, usual] {
        if let Ok(query) = Query::from_json(text) {
            store.query(&query, Limits::default(), NOW);
            boards::to_honeycomb(&query);
        }
    }
    let filter = serde_json::from_slice(body).unwrap_or_else(|_| serde_json::json!({"text": "k"}));
    if let Ok(filter) = TraceFilter::read(&filter) {
        store.traces(&filter, NOW);
    }
    let filter = TraceFilter::read(&serde_json::json!({})).expect("an empty filter");
    for one in store.traces(&filter, NOW).traces {
        let id = trace_id(&one.trace).expect("an id that was shown");
        let trace = store.trace(&id, NOW).expect("a trace of the list");
        trace.at.iter().for_each(|at| drop(store.span(*at, NOW)));
        let json = store.export(&[id], NOW).expect("a trace that is held");
        let again = Recent::new(settings()).expect("the least is enough");
        if valid(data).is_some() {
            assert_eq!(again.load(&json, NOW), Ok(u64::from(one.spans - one.gone)));
        }
    }
}
