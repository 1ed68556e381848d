//! `service.telemetry`: what skep says of itself, in the Collector's keys.
//!
//! What has no meaning here is accepted with a warning that says so; nothing is dropped in
//! silence.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::config::{Interval, Node, Problems, Value, decode};

/// `service.telemetry`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Logs of the process.
    pub logs: Logs,
    /// The metrics page.
    pub metrics: Metrics,
    /// Accepted without effect.
    traces: Option<Anything>,
    /// Accepted without effect.
    resource: Option<Anything>,
}

/// `service.telemetry.logs`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Least severe level: debug, info, warn, error.
    pub level: Option<String>,
    /// `console` or `json`; by default console on a terminal and JSON otherwise.
    pub encoding: Option<String>,
    /// Of identical messages.
    pub sampling: Option<LogSampling>,
    /// Accepted without effect.
    development: Option<Anything>,
    /// Accepted without effect.
    disable_caller: Option<Anything>,
    /// Accepted without effect.
    disable_stacktrace: Option<Anything>,
    /// Accepted without effect.
    output_paths: Option<Anything>,
    /// Accepted without effect.
    error_output_paths: Option<Anything>,
    /// Accepted without effect.
    initial_fields: Option<Anything>,
    /// Accepted without effect.
    processors: Option<Anything>,
    /// Accepted without effect.
    disable_zap_resource: Option<Anything>,
}

/// `service.telemetry.logs.sampling`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSampling {
    /// Whether identical messages are thinned out.
    pub enabled: bool,
    /// Length of a round.
    pub tick: Interval,
    /// Messages that pass at its beginning.
    pub initial: u64,
    /// Then each n-th passes; 0: none.
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
    /// none, basic, normal, detailed; `none` turns the page off.
    pub level: Option<String>,
    /// The form of older Collectors: `host:port` of the page.
    address: Option<String>,
    /// Where metrics are read; the first Prometheus reader counts.
    readers: Option<Vec<Reader>>,
    /// Accepted without effect.
    views: Option<Anything>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Reader {
    /// A page that others read.
    pull: Option<Pull>,
    /// Accepted without effect.
    periodic: Option<Anything>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pull {
    /// Of which kind.
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
    /// Accepted without effect.
    without_scope_info: Option<bool>,
    /// Accepted without effect.
    without_units: Option<bool>,
    /// Accepted without effect.
    without_type_suffix: Option<bool>,
    /// Accepted without effect.
    with_resource_constant_labels: Option<Anything>,
}

/// A value that is accepted whatever it is.
#[derive(Debug, Clone, PartialEq, Default)]
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Anything)
    }
}

impl JsonSchema for Anything {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "anything".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
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

const REMOVE: &str = "remove it";
const STDERR: &str = "the log goes to standard error";

/// Reads the section and warns of what has no effect.
pub(super) fn load(service: &Node, problems: &mut Problems) -> Telemetry {
    let Some(node) = service.get("telemetry") else { return Telemetry::default() };
    let telemetry: Telemetry = decode(node, problems).unwrap_or_default();
    let without_effect = [
        ("traces", telemetry.traces.is_some(), "skep makes no spans of its own work"),
        (
            "resource",
            telemetry.resource.is_some(),
            "add the attributes where the metrics page is scraped",
        ),
        ("logs::development", telemetry.logs.development.is_some(), REMOVE),
        ("logs::disable_caller", telemetry.logs.disable_caller.is_some(), REMOVE),
        ("logs::disable_stacktrace", telemetry.logs.disable_stacktrace.is_some(), REMOVE),
        ("logs::output_paths", telemetry.logs.output_paths.is_some(), STDERR),
        ("logs::error_output_paths", telemetry.logs.error_output_paths.is_some(), STDERR),
        (
            "logs::initial_fields",
            telemetry.logs.initial_fields.is_some(),
            "add the fields where the log is collected",
        ),
        (
            "logs::processors",
            telemetry.logs.processors.is_some(),
            "the log goes to standard error; skep does not export it",
        ),
        ("logs::disable_zap_resource", telemetry.logs.disable_zap_resource.is_some(), REMOVE),
        (
            "metrics::views",
            telemetry.metrics.views.is_some(),
            "drop or rename metrics where the page is scraped",
        ),
    ];
    for (key, is_there, help) in without_effect {
        if is_there {
            let message = format!("`{}` has no effect in skep", key.replace("::", "."));
            problems.warning(node.at(key), message).help(help);
        }
    }
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
    for (i, reader) in telemetry.metrics.readers.iter().flatten().enumerate() {
        if reader.periodic.is_some() {
            let at = node.at(&format!("metrics::readers::{i}::periodic"));
            let message = "periodic readers are not supported, so these metrics go nowhere";
            problems.warning(at, message).help("scrape the Prometheus page instead");
        }
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
    fn nothing_is_ignored_in_silence() {
        let (_, messages) =
            loaded("telemetry: {logs: {level: loud, output_paths: [x]}, resource: {a: b}}");
        assert_eq!(
            messages,
            [
                "`resource` has no effect in skep",
                "`logs.output_paths` has no effect in skep",
                "unknown value `loud`",
            ]
        );
        assert_eq!(loaded("telemetry: {log: 1}").1, ["unknown key `log`"]);
        assert_eq!(loaded("telemetry: {metrics: {readers: []}}").1.len(), 1);
    }
}
