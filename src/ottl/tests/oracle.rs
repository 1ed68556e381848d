//! Random programs on random requests do what a plain interpreter does, which works on decoded
//! messages and was written from the rules of the language alone.
//!
//! What fails has to be the same, too. Where the rules do not say what comes of something, the
//! interpreter gives up, and the case does not count.

mod buckets;
mod convert;
mod distributions;
mod edit;
mod eval;
mod fields;
mod generate;
mod measures;
mod merge;
mod metrics;
mod names;
mod place;
mod program;
mod request;
mod slot;
mod statements;
mod value;
mod walk;

use std::time::Instant;

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    metrics::v1::{Exemplar, NumberDataPoint, metric::Data, number_data_point::Value as Number},
};
use proptest::prelude::*;

use self::{
    edit::{Failed, matches, run},
    fields::CONTEXTS,
    generate::Writer,
    program::Group,
    walk::{How, Request},
};
use crate::{
    otlp::{
        Signal,
        check::{self, Utf8},
        payload,
        purse::Purse,
        wild::{self, OneOfs},
    },
    ottl::{
        self, Changed, Context, ErrorMode, Failure, Fate, Program, Walk, Which, walk as walk_bytes,
    },
};

/// A random request with few keys and texts, as an encoder writes it.
pub(crate) fn plain_request(signal: Signal, seed: u64) -> Vec<u8> {
    request::plain(signal, &mut Rng::with_seed(seed))
}

/// A request encoded as no sane encoder does it.
pub(crate) fn encoded_anew(signal: Signal, body: &[u8], seed: u64) -> Vec<u8> {
    request::wild(signal, body, &mut Rng::with_seed(seed))
}

/// What a program made of a request, and what failed.
type Outcome = (Request, Vec<Failed>);

/// Whether statements run or conditions drop items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Edit,
    Drop,
}

struct Case {
    signal: Signal,
    context: Context,
    group: Group,
    body: Vec<u8>,
    request: payload::Context,
    mode: Mode,
}

/// What a client has sent beside a body.
fn random_context(rng: &mut Rng) -> payload::Context {
    let text = |text: &str| text.to_owned();
    let peers = [None, Some("10.0.0.7:4317"), Some("[::1]:4317")];
    let all = [("a", "x"), ("b", "1.5"), ("a", "b")];
    let metadata = all[..rng.usize(0..=3)].iter().map(|(key, value)| (text(key), text(value)));
    let auth = [(text("a"), vec![text("ab")]), (text("b"), vec![text("a"), text("b")])];
    payload::Context {
        metadata: metadata.collect(),
        auth: auth[..rng.usize(0..=2)].to_vec(),
        peer: peers[rng.usize(..3)].map(|peer| peer.parse().unwrap()),
        arrived: Instant::now(),
    }
}

impl Case {
    fn random(seed: u64) -> Case {
        let mut rng = Rng::with_seed(seed);
        let (signal, context) = CONTEXTS[rng.usize(..CONTEXTS.len())];
        let body = match rng.u8(0..5) {
            0 => wild::request(signal, seed, OneOfs::Mixed),
            _ => request::random(signal, &mut rng),
        };
        let mode = if rng.u8(0..5) == 0 { Mode::Drop } else { Mode::Edit };
        let mut group = Writer { rng: &mut rng, signal, context }.group();
        if mode == Mode::Drop {
            group.statements.clear();
        }
        let request = random_context(&mut rng);
        Case { signal, context, group, body, request, mode }
    }

    fn conditions(&self) -> Vec<String> {
        self.group.conditions.iter().map(ToString::to_string).collect()
    }

    fn statements(&self) -> Vec<String> {
        self.group.statements.iter().map(ToString::to_string).collect()
    }

    /// What the interpreter makes of it; `None` if it cannot say.
    fn interpreted(&self) -> Option<Outcome> {
        let mut request = Request::decode(self.signal, &self.body);
        let mut failed = Vec::new();
        let how = How { context: self.context, request: &self.request };
        walk::walk(&mut request, how, &mut |levels| match self.mode {
            Mode::Edit => run(&self.group, levels, &mut failed).map(|()| true),
            Mode::Drop => matches(&self.group, levels, &mut failed).map(|holds| !holds),
        })
        .ok()?;
        Some((request, failed))
    }

    /// What the compiled program makes of it.
    fn compiled(&self) -> Outcome {
        let (conditions, statements) = (self.conditions(), self.statements());
        let group = ottl::Group {
            signal: self.signal,
            context: Some(self.context),
            conditions: &conditions.iter().map(String::as_str).collect::<Vec<_>>(),
            statements: &statements.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        let (program, _) = Program::compile(&group).expect("each text was compiled alone");
        let mut failed = Vec::new();
        let prunes = self.mode == Mode::Drop;
        let request = Some(&self.request);
        let how = Walk { signal: self.signal, context: self.context, request, prunes };
        let changed = walk_bytes(&how, &self.body, &mut Purse::default(), &mut |item| {
            let report = &mut |failure: &Failure<'_>| {
                failed.push(match failure.which {
                    Which::Condition(at) => (true, at),
                    Which::Statement(at) => (false, at),
                });
            };
            let is_dropped = match self.mode {
                Mode::Edit => program.run(item, ErrorMode::Ignore, report).map(|()| false)?,
                Mode::Drop => program.matches(item, ErrorMode::Ignore, report)?,
            };
            Ok(if is_dropped { Fate::Drop } else { Fate::Keep })
        });
        let body = match changed.expect("nothing ends the walk") {
            Changed::Nothing => self.body.clone(),
            Changed::Body(body) => {
                check::check(self.signal, &body, Utf8::Strict).expect("what is edited is valid");
                body
            }
            Changed::Empty => Vec::new(),
        };
        (Request::decode(self.signal, &body), failed)
    }
}

/// Makes the same of what means the same: a message that is absent and an empty one.
fn normalised(request: &Request, mode: Mode) -> Request {
    let mut request = request.clone();
    macro_rules! containers {
        ($entries:expr, $scopes:ident, $items:ident, $item:expr) => {{
            for entry in &mut $entries {
                values(&mut entry.resource.get_or_insert_default().attributes);
                for scopes in &mut entry.$scopes {
                    values(&mut scopes.scope.get_or_insert_default().attributes);
                    scopes.$items.iter_mut().for_each($item);
                }
                if mode == Mode::Drop {
                    entry.$scopes.retain(|scopes| !scopes.$items.is_empty());
                }
            }
            if mode == Mode::Drop {
                $entries.retain(|entry| !entry.$scopes.is_empty());
            }
        }};
    }
    match &mut request {
        Request::Traces(all) => containers!(all.resource_spans, scope_spans, spans, |span| {
            values(&mut span.attributes);
            span.status.get_or_insert_default();
            span.events.iter_mut().for_each(|event| values(&mut event.attributes));
            span.links.iter_mut().for_each(|link| values(&mut link.attributes));
        }),
        Request::Metrics(all) => containers!(all.resource_metrics, scope_metrics, metrics, |one| {
            values(&mut one.metadata);
            one.data.iter_mut().for_each(points);
        }),
        Request::Logs(all) => containers!(all.resource_logs, scope_logs, log_records, |record| {
            values(&mut record.attributes);
            value(&mut record.body);
        }),
    }
    if let (Mode::Drop, Request::Metrics(all)) = (mode, &mut request) {
        without_empty_metrics(&mut all.resource_metrics);
    }
    request
}

/// A metric that has no points left goes where points are dropped, and so may those around it.
fn without_empty_metrics(
    entries: &mut Vec<opentelemetry_proto::tonic::metrics::v1::ResourceMetrics>,
) {
    for entry in &mut *entries {
        for scopes in &mut entry.scope_metrics {
            scopes.metrics.retain(|metric| match &metric.data {
                None => true,
                Some(Data::Gauge(data)) => !data.data_points.is_empty(),
                Some(Data::Sum(data)) => !data.data_points.is_empty(),
                Some(Data::Histogram(data)) => !data.data_points.is_empty(),
                Some(Data::ExponentialHistogram(data)) => !data.data_points.is_empty(),
                Some(Data::Summary(data)) => !data.data_points.is_empty(),
            });
        }
        entry.scope_metrics.retain(|scopes| !scopes.metrics.is_empty());
    }
    entries.retain(|entry| !entry.scope_metrics.is_empty());
}

fn points(data: &mut Data) {
    match data {
        Data::Gauge(gauge) => gauge.data_points.iter_mut().for_each(number),
        Data::Sum(sum) => sum.data_points.iter_mut().for_each(number),
        Data::Histogram(one) => one.data_points.iter_mut().for_each(|point| {
            values(&mut point.attributes);
            exemplars(&mut point.exemplars);
        }),
        Data::ExponentialHistogram(one) => one.data_points.iter_mut().for_each(|point| {
            values(&mut point.attributes);
            exemplars(&mut point.exemplars);
            point.positive.get_or_insert_default();
            point.negative.get_or_insert_default();
        }),
        Data::Summary(one) => one.data_points.iter_mut().for_each(|p| values(&mut p.attributes)),
    }
}

fn number(point: &mut NumberDataPoint) {
    values(&mut point.attributes);
    exemplars(&mut point.exemplars);
    // Ways to calculate differ in the last digits.
    if let Some(Number::AsDouble(value)) = &mut point.value {
        *value = format!("{value:.9e}").parse().unwrap();
    }
}

fn exemplars(all: &mut [Exemplar]) {
    for exemplar in all {
        values(&mut exemplar.filtered_attributes);
    }
}

fn values(entries: &mut [KeyValue]) {
    for entry in entries {
        entry.key_strindex = 0;
        value(&mut entry.value);
    }
}

fn value(any: &mut Option<AnyValue>) {
    let inner = any.get_or_insert_default();
    match &mut inner.value {
        Some(Any::ArrayValue(list)) => list.values.iter_mut().for_each(|element| {
            let mut one = Some(std::mem::take(element));
            value(&mut one);
            *element = one.unwrap_or_default();
        }),
        Some(Any::KvlistValue(map)) => values(&mut map.values),
        Some(Any::StringValueStrindex(_)) => inner.value = None,
        _ => {}
    }
}

/// How a seed went: whether there was a program, and whether the rules say what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    Nothing,
    Unsure,
    Same,
}

fn agree(seed: u64) -> Result<Went, String> {
    let case = Case::random(seed);
    if case.group.statements.is_empty() && case.group.conditions.is_empty() {
        return Ok(Went::Nothing);
    }
    let Some((wanted, wanted_failures)) = case.interpreted() else { return Ok(Went::Unsure) };
    let (found, failures) = case.compiled();
    let (conditions, statements) = (case.conditions(), case.statements());
    let shown = format!("{seed}, {}: {conditions:#?} {statements:#?}", case.context.name());
    if failures != wanted_failures {
        return Err(format!("{shown}\nfails: {wanted_failures:?}, but {failures:?}"));
    }
    let (wanted, found) = (normalised(&wanted, case.mode), normalised(&found, case.mode));
    if wanted.encode() == found.encode() {
        return Ok(Went::Same);
    }
    let (wanted, found) = (format!("{wanted:#?}"), format!("{found:#?}"));
    let lines: Vec<_> = wanted.lines().zip(found.lines()).collect();
    let at = lines.iter().position(|(wanted, found)| wanted != found).unwrap_or(0);
    let near = &lines[at.saturating_sub(20)..lines.len().min(at + 12)];
    Err(format!("{shown}\n(wanted, found) {near:#?}"))
}

#[test]
fn most_cases_count() {
    // Many more if `SKEP_TEST_FULL` is set, as `.ci/run` does it.
    let is_full = std::env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty());
    let seeds = if is_full { 4000 } else { 400 };
    let went: Vec<Result<Went, String>> = (0..seeds).map(agree).collect();
    let differences: Vec<&String> = went.iter().filter_map(|one| one.as_ref().err()).collect();
    for difference in &differences {
        eprintln!("{difference}\n");
    }
    let share = |wanted: Went| went.iter().filter(|one| **one == Ok(wanted)).count();
    let counts = (share(Went::Same), share(Went::Unsure), share(Went::Nothing), differences.len());
    assert!(counts.0 > went.len() / 2, "same, unsure, nothing, different: {counts:?}");
    assert_eq!(counts.3, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_what_the_interpreter_does(seed: u64) {
        prop_assert!(agree(seed).is_ok(), "{}", agree(seed).unwrap_err());
    }
}
