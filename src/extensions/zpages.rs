//! Pages for people who want to see what the process does.
//!
//! ```yaml
//! zpages:
//!   endpoint: localhost:55679
//! ```
//!
//! `/debug/servicez` shows the process, `/debug/pipelinez` the pipelines and the traffic on every
//! edge, `/debug/extensionz` the extensions, `/debug/featurez` what this build can do,
//! `/debug/tracez` the last warnings and errors with the state of every exporter, its queue, and
//! what is on disk.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::pages::{self, SiteServer, Transport};
use crate::{
    component::{BuildContext, Entry, Extension, ExtensionConfig, Port, StartError},
    config::{Fixed, Node, Problems},
    net::pages::{Ask, Page, Site, escape_html},
    otlp::{Signal, payload::Reason},
    telemetry::{
        ExporterStats, Telemetry,
        calendar::timestamp,
        logs,
        process::{VERSION, usage},
        verdict,
    },
};

/// Where the pages are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address. Keep it on loopback: the pages ask for no password.
    pub endpoint: String,
    /// `tcp`.
    pub transport: Transport,
    /// Go's exported variables.
    pub expvar: Expvar,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: "localhost:55679".to_owned(),
            transport: Transport::Tcp,
            expvar: Expvar::default(),
        }
    }
}

/// Go's exported variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expvar {
    /// Has no effect: there is no page of Go's variables. Instead: use the metrics page, which has
    /// the same numbers.
    pub enabled: Fixed<false>,
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry::decoded_by::<Config>(
    |node, problems| {
        let body = pages::without_server_keys(node, &[], problems);
        crate::config::decode::<Config>(&body, problems).map(Into::into)
    },
    "zpages",
    &[],
    &Signal::ALL,
    include_str!("zpages.rs"),
);

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        pages::validate(&self.endpoint, at, problems);
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::tcp("endpoint", Some(&self.endpoint), 0)]
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        let views = Views(Arc::clone(&cx.telemetry));
        Ok(Box::new(SiteServer::new(cx, self.endpoint.clone(), views)))
    }
}

const PATHS: &str = "/debug/servicez, /debug/pipelinez, /debug/extensionz, /debug/featurez and \
                     /debug/tracez";

struct Views(Arc<Telemetry>);

impl Site for Views {
    async fn answer(&self, ask: Ask) -> Page {
        let (title, body) = match ask.path.as_str() {
            "/" | "/debug/servicez" => ("Service", service(&self.0)),
            "/debug/pipelinez" => ("Pipelines", pipelines(&self.0)),
            "/debug/extensionz" => ("Extensions", extensions(&self.0)),
            "/debug/featurez" => ("Features", features()),
            "/debug/tracez" => ("Recent errors", errors(&self.0)),
            _ => return Page::missing(PATHS),
        };
        Page::html(frame(title, &body))
    }
}

fn frame(title: &str, body: &str) -> String {
    let mut links = String::new();
    for page in ["servicez", "pipelinez", "extensionz", "featurez", "tracez"] {
        let _ = write!(links, "<a href=\"/debug/{page}\">{page}</a> ");
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} - skep</title>\
         <style>body{{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:75em}}\
         table{{border-collapse:collapse;margin:1em 0}}td,th{{border:1px solid #bbb;\
         padding:.2em .6em;text-align:left;vertical-align:top}}</style>\
         <nav>{links}</nav><h1>{title}</h1>{body}</html>\n"
    )
}

/// A table; every cell is escaped here.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut html = "<table><tr>".to_owned();
    for cell in head {
        let _ = write!(html, "<th>{}</th>", escape_html(cell));
    }
    for row in rows {
        html.push_str("</tr>\n<tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escape_html(&cell));
        }
    }
    html + "</tr></table>\n"
}

fn service(telemetry: &Telemetry) -> String {
    let usage = usage();
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let mut rows = vec![
        vec!["version".to_owned(), VERSION.to_owned()],
        vec!["started".to_owned(), timestamp(telemetry.process.started)],
        vec!["uptime".to_owned(), seconds(telemetry.process.uptime())],
        vec!["takes data".to_owned(), verdict::is_ready(telemetry).to_string()],
        vec!["budget in use".to_owned(), mebibytes(telemetry.budget_used.read())],
        vec!["budget".to_owned(), mebibytes(telemetry.budget_limit.read())],
        vec!["requests waiting".to_owned(), telemetry.budget_waiting.read().to_string()],
    ];
    if let Some(bytes) = usage.resident_bytes {
        rows.push(vec!["resident memory".to_owned(), mebibytes(bytes)]);
    }
    let dropped = Reason::ALL.into_iter().map(|reason| {
        vec![reason.name().to_owned(), telemetry.dropped[reason as usize].read().to_string()]
    });
    table(&["", ""], rows) + &table(&["dropped because of", "items"], dropped)
}

fn pipelines(telemetry: &Telemetry) -> String {
    let inventory = telemetry.inventory();
    let pipelines = inventory.pipelines.iter().map(|p| {
        let (receivers, processors) = (p.receivers.join(", "), p.processors.join(" > "));
        vec![p.id.clone(), receivers, processors, p.exporters.join(", ")]
    });
    let edges = telemetry.edges();
    let traffic = edges.iter().map(|edge| {
        let numbers = [&edge.payloads, &edge.items, &edge.bytes].map(|n| n.read().to_string());
        let mut row = vec![edge.pipeline.clone(), edge.from.clone(), edge.to.clone()];
        row.extend(numbers);
        row
    });
    table(&["pipeline", "receivers", "processors", "exporters"], pipelines)
        + &table(&["pipeline", "from", "to", "payloads", "items", "bytes"], traffic)
}

fn extensions(telemetry: &Telemetry) -> String {
    let inventory = telemetry.inventory();
    table(&["extension"], inventory.extensions.iter().map(|id| vec![id.clone()]))
}

fn features() -> String {
    "<p>This build has no feature gates: every feature is on or off by the configuration.</p>"
        .to_owned()
}

fn errors(telemetry: &Telemetry) -> String {
    let exporters = verdict::exporters(telemetry, SystemTime::now()).into_iter().map(|e| {
        let age = e.success_age.map_or_else(|| "never".to_owned(), seconds);
        let error = e.error.map(|(age, words)| format!("{words} ({} ago)", seconds(age)));
        let mut row = vec![e.id, e.signal.to_owned(), e.state.name().to_owned(), age];
        row.extend(queue(&e.stats));
        row.push(error.unwrap_or_default());
        row
    });
    let logs_on_disk = telemetry.logs();
    let on_disk = logs_on_disk.iter().filter_map(|log| {
        let owner = log.owner.as_ref()?;
        let oldest = (log.records.read() > 0).then(|| Duration::from_millis(log.oldest_age.read()));
        let numbers = [&log.disk_bytes, &log.records, &log.items].map(|n| n.read().to_string());
        let mut row = vec![format!("{} {}", owner.kind, owner.id), owner.part.clone()];
        row.push(log.storage.clone());
        row.extend(numbers);
        row.push(oldest.map(seconds).unwrap_or_default());
        Some(row)
    });
    let recent = logs::recent();
    let recent = recent.into_iter().map(|r| vec![timestamp(r.time), r.level.to_owned(), r.text]);
    let head = [
        "exporter",
        "signal",
        "state",
        "last success",
        "queue",
        "bytes",
        "items",
        "oldest",
        "in flight",
        "retries",
        "last error",
    ];
    let budgets = verdict::budgets(telemetry, SystemTime::now()).into_iter().map(|budget| {
        let numbers = [budget.used, budget.limit, budget.percent].map(|number| number.to_string());
        let mut row = vec![budget.exporter.clone(), budget.unit.to_owned()];
        row.extend(numbers);
        row
    });
    let monthly = ["monthly budget of", "unit", "used", "limit", "percent"];
    let disk = ["component", "on disk", "storage", "bytes", "records", "items", "oldest"];
    table(&head, exporters)
        + &table(&monthly, budgets)
        + &table(&disk, on_disk)
        + &table(&["time", "level", "message"], recent)
}

/// Fill and limit, bytes and items in memory, age of the oldest, requests in flight, retries.
fn queue(stats: &ExporterStats) -> [String; 6] {
    let fill = match stats.queue_capacity.read() {
        0 => format!("{} {}", stats.queue_size(), stats.queue_unit()),
        limit => format!("{} of {limit} {}", stats.queue_size(), stats.queue_unit()),
    };
    [
        fill,
        stats.queue_bytes.read().to_string(),
        stats.queue_items.read().to_string(),
        stats.oldest_age().map(seconds).unwrap_or_default(),
        stats.in_flight.read().to_string(),
        stats.retries.read().to_string(),
    ]
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        component::Stop,
        net::{pages::tests::get, server::Sockets},
        telemetry::storage::{LogOwner, LogStats},
    };

    #[tokio::test]
    async fn pages_show_state_and_escape_it() {
        let telemetry = Arc::new(Telemetry::default());
        let exporter = telemetry.exporter("otlp", Signal::Logs, "x");
        exporter.erred(SystemTime::now(), "<script>alert(1)</script>");
        exporter.measure_queue("items", 1000, None);
        exporter.queue_unwritten.set(17);
        telemetry.edge("logs", "receiver otlp", "exporter otlp").items.add(42);
        let owner = LogOwner {
            kind: "receiver",
            id: "otlp".to_owned(),
            signal: None,
            part: "journal".to_owned(),
        };
        telemetry.add_log(Arc::new(LogStats::new("file_storage", "x").owned_by(owner)));
        let cx = BuildContext { telemetry, ..BuildContext::test("zpages", Signal::Logs) };
        let config = Config { endpoint: "127.0.0.1:0".to_owned(), ..Config::default() };
        let mut extension = config.build(&cx).unwrap();
        let address = extension.bind(&mut Sockets::default()).unwrap()[0].address.parse().unwrap();
        let (stop, stopped) = Stop::pair();
        let serving = tokio::spawn(extension.run(stopped));

        for page in ["servicez", "pipelinez", "extensionz", "featurez", "tracez"] {
            let answer = get(address, &format!("/debug/{page}")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let errors = get(address, "/debug/tracez").await;
        assert!(errors.contains("&lt;script&gt;") && !errors.contains("<script>"), "{errors}");
        assert!(errors.contains("<td>17 of 1000 items</td>"), "{errors}");
        assert!(errors.contains("<td>receiver otlp</td><td>journal</td>"), "{errors}");
        let traffic = get(address, "/debug/pipelinez").await;
        assert!(traffic.contains("<td>42</td>"), "{traffic}");
        assert!(get(address, "/debug/expvarz").await.starts_with("HTTP/1.1 404"));

        stop.send(true).unwrap();
        serving.await.unwrap();
    }
}
