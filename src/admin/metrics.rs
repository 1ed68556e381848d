//! The metrics page: all metrics of [`Telemetry`] in the text format of Prometheus.
//!
//! It knows no metric but those of the process itself. Names and labels are the Collector's
//! wherever it has the same number, without `_total` and unit suffix as its defaults have them, so
//! that dashboards and alerts go on working; what only skep knows begins with `skep_`. A series
//! exists from the moment its component is built, so that rates begin at zero. Families are sorted
//! by name, and series by their labels.

use std::{fmt::Write as _, sync::Arc};

use http::StatusCode;
use tokio::sync::watch;

use crate::{
    net::{
        pages::{Ask, Page, Pages, Site},
        server::Sockets,
    },
    telemetry::{
        Detail, Telemetry,
        histogram::Distribution,
        outlet,
        process::{self, VERSION},
        registry::{Kind, Reading, Value},
    },
};

/// Content type of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    for reading in telemetry.registry().read(detail) {
        page.reading(&reading);
    }
    usage(&mut page, telemetry);
    page.0
}

fn target(page: &mut Writer, telemetry: &Telemetry) {
    page.family("target_info", Kind::Gauge, "Target metadata");
    let labels = [
        ("service_instance_id", &*telemetry.process.instance),
        ("service_name", "skep"),
        ("service_version", VERSION),
    ];
    page.sample("target_info", &labels, 1);
}

/// What the operating system and the log know of the process.
fn usage(page: &mut Writer, telemetry: &Telemetry) {
    let name = "skep_log_dropped_lines";
    let help = "Log lines dropped because the output was too slow, by output";
    page.family(name, Kind::Counter, help);
    for (output, lines) in outlet::lost() {
        page.sample(name, &[("output", &output)], lines);
    }
    let usage = process::usage();
    let name = "otelcol_process_uptime";
    page.family(name, Kind::Counter, "Seconds since the process started");
    page.sample(name, &[], telemetry.process.uptime().as_secs_f64());
    if let Some(seconds) = usage.cpu_seconds {
        let name = "otelcol_process_cpu_seconds";
        page.family(name, Kind::Counter, "User and system time in seconds");
        page.sample(name, &[], seconds);
    }
    if let Some(bytes) = usage.resident_bytes {
        let name = "otelcol_process_memory_rss";
        page.family(name, Kind::Gauge, "Resident memory in bytes");
        page.sample(name, &[], bytes);
    }
}

struct Writer(String);

impl Writer {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A family with its series.
    fn reading(&mut self, reading: &Reading) {
        self.family(&reading.name, reading.kind, reading.desc.help);
        for (labels, value) in &reading.series {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, &**value)).collect();
            match value {
                Value::Number(number) => self.sample(&reading.name, &labels, number),
                Value::Distribution(values) => self.distribution(&reading.name, &labels, values),
            }
        }
    }

    fn distribution(&mut self, name: &str, labels: &[(&str, &str)], values: &Distribution) {
        let mut total = 0;
        for (index, count) in values.counts.iter().enumerate() {
            total += count;
            let bound = values.bounds.get(index).map_or("+Inf".to_owned(), u64::to_string);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&format!("{name}_bucket"), &labels, total);
        }
        self.sample(&format!("{name}_sum"), labels, values.sum);
        self.sample(&format!("{name}_count"), labels, total);
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
