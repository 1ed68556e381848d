//! What is measured: loads, and the configuration that skep runs under each.

use std::path::PathBuf;

use skep::otlp::Signal;

use crate::payload::Codec;

/// One load and one configuration.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// For the report.
    pub(crate) about: &'static str,
    pub(crate) signal: Signal,
    pub(crate) http: bool,
    /// Items a request.
    pub(crate) items: usize,
    pub(crate) in_flight: usize,
    /// Items a second; 0: saturated.
    pub(crate) rate: u64,
    /// What comes in, and what goes out.
    pub(crate) codec: Codec,
    pub(crate) out: Codec,
    /// In flow style, in order.
    pub(crate) processors: &'static [(&'static str, &'static str)],
    pub(crate) exporters: usize,
    /// Milliseconds that the backend takes to answer.
    pub(crate) delay_ms: u64,
    /// Whether only traces go on that bear a mark, one in ten.
    pub(crate) samples: bool,
    /// `fsync` of a journal at the door.
    pub(crate) journal: Option<&'static str>,
    /// Whether the queue is on disk.
    pub(crate) spools: bool,
    /// Between the pipeline of the receiver and others.
    pub(crate) connector: Option<Connector>,
    /// Instead of the common length.
    pub(crate) seconds: Option<u64>,
}

/// A connector, and what is behind it.
pub(crate) struct Connector {
    /// Its type and its settings in flow style.
    config: (&'static str, &'static str),
    /// Whether the pipeline of the receiver sends to the backend, too.
    is_beside: bool,
    /// The pipelines behind it, with what they send to; an empty text is the backend.
    pipelines: &'static [(&'static str, &'static str)],
}

const BATCH: (&str, &str) = ("batch", "{}");
const UPSERT: (&str, &str) =
    ("attributes", "{actions: [{key: deployment.environment, value: production, action: upsert}]}");
const SAMPLE: (&str, &str) = (
    "tail_sampling",
    "{decision_wait: 1s, policies: [\
     {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
     {name: slow, type: latency, latency: {threshold_ms: 100000000}}, \
     {name: kept, type: string_attribute, string_attribute: {key: bench.kept, values: ['yes']}}]}",
);
const TRANSFORM: (&str, &str) = (
    "transform",
    "{trace_statements: [\
     'set(span.attributes[\"peer\"], \"web\") where span.kind == SPAN_KIND_SERVER', \
     'delete_key(span.attributes, \"thread.name\")']}",
);
const ROUTING: Connector = Connector {
    config: (
        "routing",
        "{default_pipelines: [traces/others], table: [\
         {condition: 'span.attributes[\"http.request.method\"] == \"POST\"', pipelines: [traces/posts]}]}",
    ),
    is_beside: false,
    pipelines: &[("traces/posts", ""), ("traces/others", "")],
};
const SPAN_METRICS: Connector = Connector {
    config: (
        "span_metrics",
        "{dimensions: [{name: http.request.method}, {name: http.route}, {name: thread.name}]}",
    ),
    is_beside: true,
    pipelines: &[("metrics", "nop")],
};
const LIMIT: (&str, &str) = ("memory_limiter", "{check_interval: 1s, limit_mib: 64}");

const PLAIN: Scenario = Scenario {
    name: "pass",
    about: "forwarded request by request",
    signal: Signal::Traces,
    http: false,
    items: 100,
    in_flight: 8,
    rate: 0,
    codec: Codec::None,
    out: Codec::None,
    processors: &[],
    exporters: 1,
    delay_ms: 0,
    samples: false,
    journal: None,
    spools: false,
    connector: None,
    seconds: None,
};

const BATCHED: Scenario = Scenario { name: "batch", about: "batch", processors: &[BATCH], ..PLAIN };

const ENRICHED: Scenario = Scenario {
    name: "upsert",
    about: "batch, one attribute upserted into every span",
    processors: &[UPSERT, BATCH],
    ..PLAIN
};

const OVERLOAD: Scenario = Scenario {
    name: "overload",
    about: "budget of 64 MiB, slow backend, gRPC",
    processors: &[LIMIT, BATCH],
    in_flight: 32,
    delay_ms: 400,
    ..PLAIN
};

/// All scenarios, in the order of the report.
pub(crate) static ALL: &[Scenario] = &[
    PLAIN,
    BATCHED,
    ENRICHED,
    Scenario {
        name: "transform",
        about: "batch, `set` on each span of a server and `delete_key` on every span",
        processors: &[TRANSFORM, BATCH],
        ..PLAIN
    },
    Scenario {
        name: "routing",
        about: "batch, spans routed to one of two pipelines",
        connector: Some(ROUTING),
        ..BATCHED
    },
    Scenario {
        name: "span-metrics",
        about: "batch, `span_metrics` with three dimensions beside it",
        connector: Some(SPAN_METRICS),
        ..BATCHED
    },
    Scenario { name: "batch-http", about: "batch, in over HTTP", http: true, ..BATCHED },
    Scenario { name: "batch-gzip-out", about: "batch, gzip out", out: Codec::Gzip, ..BATCHED },
    Scenario {
        name: "upsert-gzip",
        about: "upsert, gzip in and out",
        codec: Codec::Gzip,
        out: Codec::Gzip,
        ..ENRICHED
    },
    Scenario {
        name: "upsert-zstd",
        about: "upsert, zstd in and out",
        codec: Codec::Zstd,
        out: Codec::Zstd,
        ..ENRICHED
    },
    Scenario { name: "batch-logs", about: "batch, logs", signal: Signal::Logs, ..BATCHED },
    Scenario { name: "batch-metrics", about: "batch, metrics", signal: Signal::Metrics, ..BATCHED },
    Scenario { name: "batch-small", about: "batch, 10 spans a request", items: 10, ..BATCHED },
    Scenario {
        name: "batch-large",
        about: "batch, 1000 spans a request",
        items: 1000,
        in_flight: 4,
        ..BATCHED
    },
    Scenario {
        name: "tail-sampling",
        about: "tail sampling, 1 s, three policies, one trace in ten kept",
        processors: &[SAMPLE],
        samples: true,
        ..PLAIN
    },
    Scenario {
        name: "tail-sampling-64",
        about: "the same, budget of 64 MiB",
        processors: &[LIMIT, SAMPLE],
        samples: true,
        ..PLAIN
    },
    Scenario {
        name: "journal",
        about: "batch, a journal that is synced twice a second",
        journal: Some("interval"),
        ..BATCHED
    },
    Scenario {
        name: "journal-always",
        about: "batch, a journal that is synced before each answer",
        journal: Some("always"),
        ..BATCHED
    },
    Scenario { name: "spool", about: "batch, the queue on disk", spools: true, ..BATCHED },
    Scenario { name: "fan-out", about: "batch, three exporters", exporters: 3, ..BATCHED },
    Scenario { name: "steady", about: "batch, at 40 000 spans a second", rate: 40_000, ..BATCHED },
    OVERLOAD,
    Scenario {
        name: "overload-http",
        about: "budget of 64 MiB, slow backend, HTTP",
        http: true,
        ..OVERLOAD
    },
    Scenario {
        name: "overload-large",
        about: "budget of 64 MiB, slow backend, gRPC, 1000 spans a request",
        items: 1000,
        ..OVERLOAD
    },
    Scenario {
        name: "overload-large-http",
        about: "budget of 64 MiB, slow backend, HTTP, 1000 spans a request",
        items: 1000,
        http: true,
        ..OVERLOAD
    },
];

impl Scenario {
    /// Whether the bare relay can run it.
    pub(crate) fn has_floor(&self) -> bool {
        let is_plain = self.signal == Signal::Traces && !self.http && self.delay_ms == 0;
        let is_plain = is_plain && !self.samples;
        let is_plain = is_plain && self.journal.is_none() && !self.spools;
        is_plain && self.codec == Codec::None && self.out == Codec::None && self.exporters == 1
    }

    /// Requests that the relay joins.
    pub(crate) fn joined(&self) -> usize {
        if self.processors.is_empty() { 1 } else { 8192_usize.div_ceil(self.items) }
    }

    /// Where skep keeps what it has on disk.
    pub(crate) fn directory(grpc: u16) -> PathBuf {
        std::env::temp_dir().join(format!("skep-loopback-{grpc}"))
    }

    /// skep's configuration.
    pub(crate) fn config(&self, grpc: u16, http: u16, sink: u16) -> String {
        let section = |name: &str, parts: &[String]| {
            if parts.is_empty() { String::new() } else { format!("{name}:\n{}", parts.concat()) }
        };
        let entry = |(name, body): &(&str, &str)| format!("  {name}: {body}\n");
        let processors: Vec<String> = self.processors.iter().map(entry).collect();
        let connectors: Vec<String> =
            self.connector.iter().map(|connector| entry(&connector.config)).collect();
        let storage = if self.spools { ", sending_queue: {storage: file_storage}" } else { "" };
        let out = self.out.name();
        let exporter = |id: &String| {
            format!(
                "  {id}: {{endpoint: \"127.0.0.1:{sink}\", compression: {out}, timeout: 30s, tls: \
                 {{insecure: true}}{storage}}}\n"
            )
        };
        let ids: Vec<String> = (1..=self.exporters).map(|i| format!("otlp_grpc/{i}")).collect();
        let mut exporters: Vec<String> = ids.iter().map(exporter).collect();
        exporters.push("  nop:\n".to_owned());
        let journal = self.journal.map_or(String::new(), |fsync| {
            format!("    journal: {{storage: file_storage, fsync: {fsync}}}\n")
        });
        let (extensions, uses) = if self.journal.is_some() || self.spools {
            let directory = Self::directory(grpc);
            let settings =
                format!("{{directory: {}, create_directory: true}}", directory.display());
            (vec![entry(&("file_storage", &*settings))], "  extensions: [file_storage]\n")
        } else {
            (Vec::new(), "")
        };
        let receiver = format!(
            "  otlp:\n    protocols:\n      grpc: {{endpoint: 127.0.0.1:{grpc}}}\n      http: \
             {{endpoint: 127.0.0.1:{http}}}\n{journal}"
        );
        let sections = [
            section("receivers", &[receiver]),
            section("processors", &processors),
            section("connectors", &connectors),
            section("exporters", &exporters),
            section("extensions", &extensions),
        ];
        format!(
            "{}service:\n{uses}  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  \
             pipelines:\n{}",
            sections.concat(),
            self.pipelines(&ids.join(", ")),
        )
    }

    fn pipelines(&self, backends: &str) -> String {
        let names: Vec<&str> = self.processors.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let pipeline = |id: &str, from: &str, names: &str, to: &str| {
            format!("    {id}: {{receivers: [{from}], processors: [{names}], exporters: [{to}]}}\n")
        };
        let signal = self.signal.to_string();
        let Some(connector) = &self.connector else {
            return pipeline(&signal, "otlp", &names, backends);
        };
        let (kind, _) = connector.config;
        let beside = if connector.is_beside { format!("{backends}, ") } else { String::new() };
        let first = pipeline(&signal, "otlp", &names, &format!("{beside}{kind}"));
        let behind = connector.pipelines.iter().map(|(id, to)| {
            let to = if to.is_empty() { backends } else { to };
            pipeline(id, kind, "", to)
        });
        std::iter::once(first).chain(behind).collect()
    }
}
