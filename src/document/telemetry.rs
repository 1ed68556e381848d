//! `service.telemetry`: the log and the metrics of skep itself, with the keys of the Collector.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Anything, Fixed, Ignored, Interval, Node, Problems, Value, decode};

/// `service.telemetry`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Logs of the process.
    pub logs: Logs,
    /// The metrics page.
    pub metrics: Metrics,
    /// Has no effect: skep makes no spans of its own work.
    traces: Ignored<Anything>,
    /// Has no effect: the metrics of skep have no resource. Instead: add the attributes where the
    /// metrics page is scraped.
    resource: Ignored<Anything>,
}

/// `service.telemetry.logs`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Least severe level: `debug`, `info`, `warn` or `error`.
    pub level: Option<String>,
    /// `console` or `json`; by default console on a terminal and JSON otherwise.
    pub encoding: Option<String>,
    /// Sampling of identical messages.
    pub sampling: Option<LogSampling>,
    /// Has no effect: the log of skep has one mode.
    development: Fixed<false>,
    /// Has no effect: lines of the log have no caller.
    disable_caller: Fixed<true>,
    /// Has no effect: lines of the log have no stack traces.
    disable_stacktrace: Fixed<true>,
    /// Has no effect: the log goes to standard error.
    output_paths: Ignored<Anything>,
    /// Has no effect: the log goes to standard error.
    error_output_paths: Ignored<Anything>,
    /// Has no effect: skep adds no fields to its log. Instead: add the fields where the log is
    /// collected.
    initial_fields: Ignored<Anything>,
    /// Has no effect: the log goes to standard error, and skep does not export it.
    processors: Ignored<Anything>,
    /// Has no effect: lines of the log have no resource.
    disable_zap_resource: Fixed<true>,
}

/// `service.telemetry.logs.sampling`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSampling {
    /// Whether identical messages are sampled.
    pub enabled: bool,
    /// Length of an interval.
    pub tick: Interval,
    /// Messages that pass at the beginning of each interval.
    pub initial: u64,
    /// After these, each n-th message passes; with 0, no more pass.
    pub thereafter: u64,
}

impl Default for LogSampling {
    fn default() -> Self {
        let tick = Interval(std::time::Duration::from_secs(10));
        LogSampling { enabled: true, tick, initial: 10, thereafter: 100 }
    }
}

/// `service.telemetry.metrics`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// `none`, `basic`, `normal` or `detailed`; `none` turns the page off.
    pub level: Option<String>,
    /// The form of older Collectors: `host:port` of the page.
    address: Option<String>,
    /// How metrics are read; only the first Prometheus reader is used.
    readers: Option<Vec<Reader>>,
    /// Has no effect: the metrics page has all metrics. Instead: drop or rename metrics where the
    /// page is scraped.
    views: Ignored<Anything>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Reader {
    /// A page to be scraped.
    pull: Option<Pull>,
    /// Has no effect: skep does not push its own metrics. Instead: scrape the Prometheus page.
    periodic: Ignored<Anything>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pull {
    /// The exporter of the page.
    exporter: PullExporter,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PullExporter {
    /// Prometheus' text format.
    prometheus: Option<Prometheus>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Prometheus {
    /// Default `localhost`.
    host: Option<String>,
    /// Default 8888.
    port: Option<u16>,
    /// Has no effect: the page has no scope labels.
    without_scope_info: Fixed<true>,
    /// Has no effect: names of metrics have no unit suffix.
    without_units: Fixed<true>,
    /// Has no effect: names of metrics have no `_total` suffix.
    without_type_suffix: Fixed<true>,
    /// Has no effect: the page has no labels of the resource. Instead: add the labels where the
    /// page is scraped.
    with_resource_constant_labels: Ignored<Anything>,
}

impl Metrics {
    /// Where the metrics page listens; `None` means nowhere.
    pub fn endpoint(&self) -> Option<String> {
        if self.level.as_deref().is_some_and(|level| level.eq_ignore_ascii_case("none")) {
            return None;
        }
        if let Some(address) = &self.address {
            return Some(address.clone());
        }
        let default = || Some("localhost:8888".to_owned());
        let Some(readers) = &self.readers else { return default() };
        let prometheus = readers.iter().find_map(|reader| {
            reader.pull.as_ref().and_then(|pull| pull.exporter.prometheus.as_ref())
        })?;
        let host = prometheus.host.as_deref().unwrap_or("localhost");
        Some(format!("{host}:{}", prometheus.port.unwrap_or(8888)))
    }
}

/// Reads the section. Keys without effect are found by `values`.
pub(super) fn load(service: &Node, problems: &mut Problems) -> Telemetry {
    let Some(node) = service.get("telemetry") else { return Telemetry::default() };
    let telemetry: Telemetry = decode(node, problems).unwrap_or_default();
    levels(node, &telemetry, problems);
    if let Some(address) = &telemetry.metrics.address {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "8888"));
        problems
            .warning(
                node.at("metrics::address"),
                "`metrics.address` is the form of older Collectors",
            )
            .help(format!(
                "it works; the new form is `readers: [{{pull: {{exporter: {{prometheus: {{host: \
                 '{host}', port: {port}}}}}}}}}]`"
            ));
    }
    telemetry
}

fn levels(node: &Node, telemetry: &Telemetry, problems: &mut Problems) {
    let valid: BTreeMap<&str, (&Option<String>, &[&str])> = BTreeMap::from([
        (
            "logs::level",
            (
                &telemetry.logs.level,
                &["debug", "info", "warn", "error", "dpanic", "panic", "fatal"][..],
            ),
        ),
        ("logs::encoding", (&telemetry.logs.encoding, &["console", "json"][..])),
        (
            "metrics::level",
            (&telemetry.metrics.level, &["none", "basic", "normal", "detailed"][..]),
        ),
    ]);
    for (key, (value, choices)) in valid {
        let Some(value) = value else { continue };
        if !choices.contains(&&*value.to_lowercase()) {
            problems
                .error(node.at(key), format!("unknown value `{value}`"))
                .help(format!("valid: {}", choices.join(", ")));
        }
    }
    let is_empty = matches!(
        node.at("metrics::readers"),
        Node { value: Value::List(readers), .. } if readers.is_empty()
    );
    if is_empty && telemetry.metrics.level.as_deref() != Some("none") {
        let message =
            "collector telemetry metrics reader should exist when metric level is not none";
        problems.error(node.at("metrics::readers"), message).help("add `level: none`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn loaded(text: &str) -> (Telemetry, Vec<String>) {
        let root = yaml::parse(0, text).unwrap();
        let mut problems = Problems::default();
        let telemetry = load(&root, &mut problems);
        (telemetry, problems.0.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn the_page_listens_where_the_file_says() {
        let endpoint = |text: &str| loaded(text).0.metrics.endpoint();
        assert_eq!(endpoint("a: 1").as_deref(), Some("localhost:8888"));
        assert_eq!(endpoint("telemetry: {metrics: {level: none}}"), None);
        let old = "telemetry: {metrics: {address: '0.0.0.0:9999'}}";
        assert_eq!(endpoint(old).as_deref(), Some("0.0.0.0:9999"));
        let new = "telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: h, port: 1}}}}]}}";
        assert_eq!(endpoint(new).as_deref(), Some("h:1"));
    }

    #[test]
    fn values_that_are_not_known_are_errors() {
        assert_eq!(loaded("telemetry: {logs: {level: loud}}").1, ["unknown value `loud`"]);
        assert_eq!(loaded("telemetry: {log: 1}").1, ["unknown key `log`"]);
        assert_eq!(loaded("telemetry: {metrics: {readers: []}}").1.len(), 1);
    }
}
