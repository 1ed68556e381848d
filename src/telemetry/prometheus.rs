//! The metrics page: [`Telemetry`] in the text format of Prometheus.
//!
//! Names and labels are the Collector's wherever it has the same number, without `_total` and unit
//! suffix as its defaults have them, so that dashboards and alerts go on working; what only skep
//! knows begins with `skep_`. A series exists from the moment its component is built, so that rates
//! begin at zero.

mod datagrams;
mod events;
mod segments;
mod storage;
mod strays;
mod tail_sampling;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
    sync::Arc,
};

use http::StatusCode;
use tokio::sync::watch;

use super::{
    ExporterStats, Number, ProcessorStats, ReceiverStats, Telemetry, UNDECIDED,
    histogram::{Distribution, Histogram},
    outlet,
    process::{self, VERSION},
};
use crate::{
    net::{
        pages::{Ask, Page, Pages, Site},
        server::Sockets,
    },
    otlp::{Signal, payload::Reason},
};

/// Content type of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How much the page shows: `service.telemetry.metrics.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// No distributions.
    Basic,
    /// Distributions of batches and of the time that backends take.
    #[default]
    Normal,
    /// Those of queues, requests and bytes, too.
    Detailed,
}

impl Detail {
    /// By its name in any case; the default for one that is not known.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "basic" => Detail::Basic,
            "detailed" => Detail::Detailed,
            _ => Detail::Normal,
        }
    }
}

/// The page as a listener that is open but does not answer yet.
#[derive(Debug)]
pub struct MetricsPage {
    pages: Pages,
    telemetry: Arc<Telemetry>,
    detail: Detail,
}

impl MetricsPage {
    /// Opens the listener, by default of the Collector `localhost:8888`.
    pub fn bind(
        endpoint: &str,
        telemetry: Arc<Telemetry>,
        detail: Detail,
        sockets: &mut Sockets,
    ) -> Result<Self, String> {
        Ok(MetricsPage { pages: Pages::bind(endpoint, sockets)?, telemetry, detail })
    }

    /// The address that was opened.
    pub fn address(&self) -> std::net::SocketAddr {
        self.pages.address()
    }

    /// Serves `/metrics` until `stop` is raised.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        self.pages.run(Metrics(self.telemetry, self.detail), stop).await;
    }
}

struct Metrics(Arc<Telemetry>, Detail);

impl Site for Metrics {
    async fn answer(&self, ask: Ask) -> Page {
        if ask.path != "/metrics" {
            return Page::missing("/metrics");
        }
        let body = render(&self.0, self.1).into();
        Page { status: StatusCode::OK, content_type: CONTENT_TYPE, body }
    }
}

/// All metrics now.
pub fn render(telemetry: &Telemetry, detail: Detail) -> String {
    let mut page = Writer(String::with_capacity(8 * 1024));
    target(&mut page, telemetry);
    receivers(&mut page, &telemetry.receivers());
    datagrams::families(&mut page, telemetry);
    strays::families(&mut page, telemetry);
    events::families(&mut page, telemetry);
    processors(&mut page, &telemetry.processors());
    exporters(&mut page, &telemetry.exporters());
    segments::families(&mut page, telemetry);
    storage::families(&mut page, telemetry);
    tail_sampling::families(&mut page, telemetry, detail);
    distributions(&mut page, telemetry, detail);
    edges(&mut page, telemetry);
    budget(&mut page, telemetry);
    usage(&mut page, telemetry);
    page.0
}

fn target(page: &mut Writer, telemetry: &Telemetry) {
    page.family("target_info", Type::Gauge, "Target metadata");
    let labels = [
        ("service_instance_id", &*telemetry.process.instance),
        ("service_name", "skep"),
        ("service_version", VERSION),
    ];
    page.sample("target_info", &labels, 1);
}

/// One family per signal, as `otelcol_receiver_accepted_spans`.
fn by_signal<S>(
    page: &mut Writer,
    (prefix, help): (&str, &str),
    stats: &[S],
    signal: impl Fn(&S) -> Signal,
    number: impl Fn(&S) -> u64,
    labels: impl Fn(&S) -> Vec<(&'static str, String)>,
) {
    for wanted in Signal::ALL {
        let mut sums = Sums::new();
        for one in stats.iter().filter(|one| signal(one) == wanted) {
            *sums.entry(labels(one)).or_default() += number(one);
        }
        page.counters(&format!("{prefix}_{}", wanted.items_name()), help, sums);
    }
}

fn receivers(page: &mut Writer, all: &[Arc<ReceiverStats>]) {
    let labels = |s: &Arc<ReceiverStats>| {
        vec![("receiver", s.id.clone()), ("transport", s.transport.to_owned())]
    };
    let accepted = ("otelcol_receiver_accepted", "Items taken by the pipeline");
    by_signal(page, accepted, all, |s| s.signal, |s| s.accepted.read(), labels);
    let refused = ("otelcol_receiver_refused", "Items refused by the pipeline");
    by_signal(page, refused, all, |s| s.signal, |s| s.refused.read(), labels);
    let (mut rejected, mut unauthenticated) = (Sums::new(), Sums::new());
    for stats in all {
        let mut labels = labels(stats);
        labels.push(("signal", stats.signal.name().to_owned()));
        *rejected.entry(labels.clone()).or_default() += stats.rejected_requests.read();
        *unauthenticated.entry(labels).or_default() += stats.unauthenticated_requests.read();
    }
    let help = "Requests turned away before their items were known";
    page.counters("skep_receiver_rejected_requests", help, rejected);
    let help = "Requests turned away because of missing or wrong credentials";
    page.counters("skep_receiver_unauthenticated_requests", help, unauthenticated);
}

type ProcessorNumber = fn(&ProcessorStats) -> &Number;

fn processors(page: &mut Writer, all: &[Arc<ProcessorStats>]) {
    let by_pipeline =
        |s: &ProcessorStats| vec![("processor", s.id.clone()), ("pipeline", s.pipeline.clone())];
    let by_signal_label = |s: &ProcessorStats| {
        vec![("processor", s.id.clone()), ("otel_signal", s.signal.name().to_owned())]
    };
    let sum = |number: ProcessorNumber, labels: &dyn Fn(&ProcessorStats) -> Labels| {
        let mut sums = Sums::new();
        for stats in all {
            *sums.entry(labels(stats)).or_default() += number(stats).read();
        }
        sums
    };
    let name = "otelcol_processor_incoming_items";
    page.counters(name, "Items that came in", sum(|s| &s.incoming, &by_signal_label));
    let name = "otelcol_processor_outgoing_items";
    page.counters(name, "Items that went on", sum(|s| &s.outgoing, &by_signal_label));
    let name = "skep_processor_filtered_items";
    page.counters(name, "Items left out by decision", sum(|s| &s.filtered, &by_pipeline));
    let name = "skep_processor_refused_items";
    page.counters(name, "Items that could not go on", sum(|s| &s.refused, &by_pipeline));
    batches(page, all);
    limiters(page, all);
    filters(page, all);
    samplers(page, all);
}

fn of_type<'a>(
    all: &'a [Arc<ProcessorStats>],
    name: &'a str,
) -> impl Iterator<Item = &'a Arc<ProcessorStats>> {
    all.iter().filter(move |s| s.id.split('/').next() == Some(name))
}

fn batches(page: &mut Writer, all: &[Arc<ProcessorStats>]) {
    let families: [(&str, &str, ProcessorNumber, Type); 3] = [
        (
            "otelcol_processor_batch_batch_size_trigger_send",
            "Batches sent because of their size",
            |s| &s.size_triggers,
            Type::Counter,
        ),
        (
            "otelcol_processor_batch_timeout_trigger_send",
            "Batches sent because of their age",
            |s| &s.timeout_triggers,
            Type::Counter,
        ),
        (
            "otelcol_processor_batch_metadata_cardinality",
            "Distinct combinations of metadata",
            |s| &s.metadata_cardinality,
            Type::Gauge,
        ),
    ];
    for (name, help, number, kind) in families {
        let mut sums = Sums::new();
        for stats in of_type(all, "batch") {
            *sums.entry(vec![("processor", stats.id.clone())]).or_default() += number(stats).read();
        }
        page.numbers(name, kind, help, sums);
    }
}

fn limiters(page: &mut Writer, all: &[Arc<ProcessorStats>]) {
    let limiters: Vec<_> = of_type(all, "memory_limiter").cloned().collect();
    let labels = |s: &Arc<ProcessorStats>| vec![("processor", s.id.clone())];
    let accepted = ("otelcol_processor_memory_limiter_accepted", "Items let through");
    by_signal(page, accepted, &limiters, |s| s.signal, |s| s.outgoing.read(), labels);
    let refused = ("otelcol_processor_memory_limiter_refused", "Items refused");
    by_signal(page, refused, &limiters, |s| s.signal, |s| s.refused.read(), labels);
}

/// The filter processor counts under names of its own: `datapoints` and `logs`.
fn filters(page: &mut Writer, all: &[Arc<ProcessorStats>]) {
    for (signal, items) in
        [(Signal::Traces, "spans"), (Signal::Metrics, "datapoints"), (Signal::Logs, "logs")]
    {
        let mut sums = Sums::new();
        for stats in of_type(all, "filter").filter(|s| s.signal == signal) {
            *sums.entry(vec![("filter", stats.id.clone())]).or_default() += stats.filtered.read();
        }
        let name = format!("otelcol_processor_filter_{items}_filtered");
        page.counters(&name, "Items dropped by the filter processor", sums);
    }
}

/// The probabilistic sampler counts items, of traces under a name that says traces.
fn samplers(page: &mut Writer, all: &[Arc<ProcessorStats>]) {
    for (signal, items) in [(Signal::Traces, "traces"), (Signal::Logs, "logs")] {
        let mut sums = Sums::new();
        for stats in of_type(all, "probabilistic_sampler").filter(|s| s.signal == signal) {
            for (is_sampled, number) in [("true", &stats.outgoing), ("false", &stats.filtered)] {
                let labels =
                    vec![("processor", stats.id.clone()), ("sampled", is_sampled.to_owned())];
                *sums.entry(labels).or_default() += number.read();
            }
        }
        let name = format!("otelcol_processor_probabilistic_sampler_count_{items}_sampled");
        page.counters(&name, "Items kept and left out", sums);
    }
    let mut sums = Sums::new();
    for stats in of_type(all, "probabilistic_sampler") {
        for (reason, number) in UNDECIDED.into_iter().zip(&stats.undecided) {
            let labels = vec![
                ("processor", stats.id.clone()),
                ("pipeline", stats.pipeline.clone()),
                ("reason", reason.to_owned()),
            ];
            *sums.entry(labels).or_default() += number.read();
        }
    }
    let help = "Items dropped because nothing could be decided (`fail_closed`)";
    page.counters("skep_processor_undecided_items", help, sums);
}

type Read = fn(&Arc<ExporterStats>) -> u64;

fn exporters(page: &mut Writer, all: &[Arc<ExporterStats>]) {
    let labels = |s: &Arc<ExporterStats>| vec![("exporter", s.id.clone())];
    let families: [(&str, &str, Read); 6] = [
        ("otelcol_exporter_sent", "Items that the backend took", |s| s.sent.read()),
        ("otelcol_exporter_send_failed", "Items lost after retries or refused for good", |s| {
            s.failed.read()
        }),
        ("otelcol_exporter_enqueue_failed", "Items that found the queue full", |s| {
            s.enqueue_failed.read()
        }),
        ("skep_exporter_dead_letters", "Items that failed and are kept as dead letters", |s| {
            s.dead_lettered.read()
        }),
        (
            "skep_exporter_dead_letters_unkept",
            "Items that failed and could not be kept as dead letters",
            |s| s.dead_letters_unkept.read(),
        ),
        ("skep_exporter_rejected", "Items not taken in a partial success", |s| s.rejected.read()),
    ];
    for (prefix, help, number) in families {
        by_signal(page, (prefix, help), all, |s| s.signal, number, labels);
    }
    let gauges: [(&str, &str, Type, Read); 9] = [
        ("otelcol_exporter_queue_size", "Fill of the queue in its unit", Type::Gauge, |s| {
            s.queue_size()
        }),
        ("otelcol_exporter_queue_capacity", "Limit of the queue in its unit", Type::Gauge, |s| {
            s.queue_capacity.read()
        }),
        (
            "otelcol_exporter_in_flight_requests",
            "Requests being sent or waiting for their next attempt",
            Type::Gauge,
            |s| s.in_flight.read(),
        ),
        ("skep_exporter_queue_bytes", "Bytes that the queue holds in memory", Type::Gauge, |s| {
            s.queue_bytes.read()
        }),
        ("skep_exporter_queue_items", "Items that the queue holds in memory", Type::Gauge, |s| {
            s.queue_items.read()
        }),
        (
            "skep_exporter_queue_oldest_age_ms",
            "Time since the oldest of them came into memory; 0: there are none",
            Type::Gauge,
            |s| u64::try_from(s.oldest_age().unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        ),
        ("skep_exporter_retries", "Attempts to be made again", Type::Counter, |s| s.retries.read()),
        (
            "skep_exporter_last_success_timestamp_milliseconds",
            "Unix time of the last success; 0: none yet",
            Type::Gauge,
            |s| s.last_success.read(),
        ),
        ("skep_exporter_failing", "1 while the last attempt failed", Type::Gauge, |s| {
            u64::from(s.last_error().is_some())
        }),
    ];
    for (name, help, kind, number) in gauges {
        let sums = all.iter().map(|s| (with_type(s), number(s))).collect();
        page.numbers(name, kind, help, sums);
    }
}

type Distributions<S> = (Detail, &'static str, &'static str, fn(&S) -> &Histogram);

const OF_BATCHES: [Distributions<ProcessorStats>; 2] = [
    (Detail::Normal, "otelcol_processor_batch_batch_send_size", "Items of the batches", |s| {
        &s.batch_items
    }),
    (Detail::Detailed, "otelcol_processor_batch_batch_send_size_bytes", "Their bytes", |s| {
        &s.batch_bytes
    }),
];

const OF_EXPORTERS: [Distributions<ExporterStats>; 5] = [
    (
        Detail::Normal,
        "skep_exporter_attempt_duration_milliseconds",
        "Time until a backend answered, or until it was too late",
        |s| &s.attempt_millis,
    ),
    (Detail::Detailed, "otelcol_exporter_enqueue_size", "Items of what was queued", |s| {
        &s.enqueued_items
    }),
    (Detail::Detailed, "otelcol_exporter_enqueue_size_bytes", "Its bytes", |s| &s.enqueued_bytes),
    (Detail::Detailed, "otelcol_exporter_queue_batch_send_size", "Items of the requests", |s| {
        &s.sent_items
    }),
    (
        Detail::Detailed,
        "otelcol_exporter_queue_batch_send_size_bytes",
        "Their bytes before compression",
        |s| &s.sent_bytes,
    ),
];

fn distributions(page: &mut Writer, telemetry: &Telemetry, detail: Detail) {
    let processors = telemetry.processors();
    for (_, name, help, read) in OF_BATCHES.iter().filter(|family| family.0 <= detail) {
        let batches = of_type(&processors, "batch");
        let of_batches = batches.map(|s| (vec![("processor", s.id.clone())], read(s).read()));
        page.histograms(name, help, of_batches);
    }
    let exporters = telemetry.exporters();
    for (_, name, help, read) in OF_EXPORTERS.iter().filter(|family| family.0 <= detail) {
        let of_exporters = exporters.iter().map(|s| (with_type(s), read(s).read()));
        page.histograms(name, help, of_exporters);
    }
}

fn with_type(stats: &ExporterStats) -> Labels {
    vec![("data_type", stats.signal.name().to_owned()), ("exporter", stats.id.clone())]
}

fn edges(page: &mut Writer, telemetry: &Telemetry) {
    let edges = telemetry.edges();
    for (unit, help) in [
        ("payloads", "Payloads handed from one component to the next"),
        ("items", "Items handed from one component to the next"),
        ("bytes", "Bytes handed from one component to the next"),
    ] {
        let mut sums = Sums::new();
        for edge in &edges {
            let number = match unit {
                "payloads" => &edge.payloads,
                "items" => &edge.items,
                _ => &edge.bytes,
            };
            let labels = vec![
                ("pipeline", edge.pipeline.clone()),
                ("from", edge.from.clone()),
                ("to", edge.to.clone()),
            ];
            *sums.entry(labels).or_default() += number.read();
        }
        page.counters(&format!("skep_edge_{unit}"), help, sums);
    }
}

fn budget(page: &mut Writer, telemetry: &Telemetry) {
    for (name, help, number) in [
        ("skep_budget_limit_bytes", "Most bytes that payloads may hold", &telemetry.budget_limit),
        ("skep_budget_used_bytes", "Bytes that payloads hold", &telemetry.budget_used),
        ("skep_budget_waiting_requests", "Requests that wait for bytes", &telemetry.budget_waiting),
        ("skep_ready", "1 while the pipelines run", &telemetry.ready),
    ] {
        page.family(name, Type::Gauge, help);
        page.sample(name, &[], number.read());
    }
    page.family("skep_reloads", Type::Counter, "Reloads of the configuration, by outcome");
    for (outcome, number) in ["applied", "refused"].into_iter().zip(&telemetry.reloads) {
        page.sample("skep_reloads", &[("outcome", outcome)], number.read());
    }
    page.family("skep_dropped_items", Type::Counter, "Items dropped, by reason");
    for reason in Reason::ALL {
        let count = telemetry.dropped[reason as usize].read();
        page.sample("skep_dropped_items", &[("reason", reason.name())], count);
    }
}

fn usage(page: &mut Writer, telemetry: &Telemetry) {
    let name = "skep_log_dropped_lines";
    page.family(
        name,
        Type::Counter,
        "Log lines dropped because the output was too slow, by output",
    );
    for (output, lines) in outlet::lost() {
        page.sample(name, &[("output", &output)], lines);
    }
    let usage = process::usage();
    let name = "otelcol_process_uptime";
    page.family(name, Type::Counter, "Seconds since the process started");
    page.sample(name, &[], telemetry.process.uptime().as_secs_f64());
    if let Some(seconds) = usage.cpu_seconds {
        let name = "otelcol_process_cpu_seconds";
        page.family(name, Type::Counter, "User and system time in seconds");
        page.sample(name, &[], seconds);
    }
    if let Some(bytes) = usage.resident_bytes {
        let name = "otelcol_process_memory_rss";
        page.family(name, Type::Gauge, "Resident memory in bytes");
        page.sample(name, &[], bytes);
    }
}

/// Labels of a series. Ids repeat over pipelines; the Collector's labels do not tell them apart, so
/// their numbers are added up: a series must not occur twice.
type Labels = Vec<(&'static str, String)>;
type Sums = BTreeMap<Labels, u64>;

#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
    Histogram,
}

struct Writer(String);

impl Writer {
    fn family(&mut self, name: &str, kind: Type, help: &str) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counters(&mut self, name: &str, help: &str, sums: Sums) {
        self.numbers(name, Type::Counter, help, sums);
    }

    /// A family with its samples; nothing where it has none.
    fn numbers(&mut self, name: &str, kind: Type, help: &str, sums: Sums) {
        if sums.is_empty() {
            return;
        }
        self.family(name, kind, help);
        for (labels, value) in sums {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, &**value)).collect();
            self.sample(name, &labels, value);
        }
    }

    /// A family of distributions; those with the same labels are added up.
    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        all: impl Iterator<Item = (Labels, Distribution)>,
    ) {
        let mut sums: BTreeMap<Labels, Distribution> = BTreeMap::new();
        for (labels, distribution) in all {
            match sums.entry(labels) {
                Entry::Vacant(entry) => drop(entry.insert(distribution)),
                Entry::Occupied(mut entry) => entry.get_mut().add(&distribution),
            }
        }
        if sums.is_empty() {
            return;
        }
        self.family(name, Type::Histogram, help);
        for (labels, Distribution { bounds, counts, sum }) in sums {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, &**value)).collect();
            let mut total = 0;
            for (index, count) in counts.iter().enumerate() {
                total += count;
                let bound = bounds.get(index).map_or("+Inf".to_owned(), u64::to_string);
                let mut labels = labels.clone();
                labels.push(("le", &bound));
                self.sample(&format!("{name}_bucket"), &labels, total);
            }
            self.sample(&format!("{name}_sum"), &labels, sum);
            self.sample(&format!("{name}_count"), &labels, total);
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (key, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{key}=\"");
            self.escaped(text);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests;
