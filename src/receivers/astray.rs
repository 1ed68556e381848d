//! Explains stray requests, which no receiver takes, to their senders and in the log. SDKs tend to
//! keep quiet about them, so each kind has a line a minute, with the remedy, and a counter.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, header};

use super::stray::Stray;
use crate::{
    component::{BuildContext, Caller},
    net::{
        grpc::{Code, Status},
        rate_limit::RateLimit,
        server::Connection,
    },
    otlp::Signal,
    telemetry::{Counter, Desc, senders::Senders},
};

const REQUESTS: Desc = Desc::new(
    "skep_receiver_stray_requests",
    "{request}",
    "Requests that are not for this receiver, by what they look like",
);

/// Who sends a request over a `transport`, as far as its connection and its head say.
pub(super) fn caller(
    transport: &'static str,
    connection: &Connection,
    headers: &HeaderMap,
) -> Caller {
    Caller {
        transport,
        peer: connection.peer,
        agent: headers.get(header::USER_AGENT).cloned(),
        ..Caller::default()
    }
}

/// Counts and logs the stray requests of one receiver.
#[derive(Debug)]
pub(super) struct Astray {
    /// Component id of the receiver.
    receiver: String,
    /// Requests, indexed by `Stray as usize`.
    requests: [Counter; Stray::ALL.len()],
    limits: [RateLimit; Stray::ALL.len()],
    /// Where they are shown with their senders.
    senders: Arc<Senders>,
}

impl Astray {
    pub(super) fn new(cx: &BuildContext) -> Self {
        let (receiver, meter) = (cx.id.to_string(), cx.meter());
        let labels = |kind: Stray| [("kind", kind.name()), ("receiver", &*receiver)];
        Astray {
            senders: Arc::clone(&cx.telemetry.senders),
            requests: Stray::ALL.map(|kind| meter.counter(&REQUESTS, &labels(kind))),
            limits: Default::default(),
            receiver,
        }
    }

    /// Notes a request that was answered with `text` because it is for no receiver, or for another
    /// one.
    pub(super) fn note(&self, kind: Stray, caller: &Caller, text: &str) {
        self.senders.turned_away(&self.receiver, caller, text);
        self.count(kind, caller.peer, text);
    }

    /// Notes a connection whose client speaks another protocol than the port.
    pub(super) fn note_unserved(&self, peer: Option<SocketAddr>, words: &str) {
        let caller = Caller { peer, ..Caller::default() };
        self.senders.turned_away(&self.receiver, &caller, words);
    }

    /// Counts and logs a request that is for this receiver but not as it should be. Who sent it is
    /// told with its signal (`ReceiverStats::turn_away`).
    pub(super) fn count(&self, kind: Stray, peer: Option<SocketAddr>, text: &str) {
        self.requests[kind as usize].add(1);
        if self.limits[kind as usize].is_due() {
            let client = peer.map(|peer| peer.to_string()).unwrap_or_default();
            let (receiver, kind) = (&*self.receiver, kind.name());
            tracing::warn!(receiver, client, kind, "A request was refused: {text:.500}");
        }
    }

    /// Notes a request that its sender has to change.
    pub(super) fn note_status(&self, status: &Status, peer: Option<SocketAddr>) {
        match status.code {
            Code::InvalidArgument => self.count(Stray::Malformed, peer, &status.message),
            Code::ResourceExhausted if status.retry_after.is_none() => {
                self.count(Stray::TooLarge, peer, &status.message);
            }
            _ => {}
        }
    }
}

/// The signal of the data in a JSON body, if it was sent to the path of another signal.
pub(super) fn other_signal(body: &[u8], signal: Signal) -> Option<Signal> {
    // A request has only one key.
    let start = &body[..body.len().min(64)];
    let has = |name: &str| memchr::memmem::find(start, name.as_bytes()).is_some();
    let others = Signal::ALL.into_iter().filter(|other| *other != signal);
    let name = |signal| match signal {
        Signal::Traces => "\"resourceSpans\"",
        Signal::Metrics => "\"resourceMetrics\"",
        Signal::Logs => "\"resourceLogs\"",
    };
    others.into_iter().find(|other| has(name(*other)))
}

/// Why a signal that this receiver knows is not taken.
pub(super) fn unused(signal: Signal) -> String {
    format!("no pipeline takes {signal} from this receiver; add it to `receivers` of one")
}

/// Why a path of OTLP/HTTP is not served.
pub(super) fn wrong_path(path: &str, headers: &HeaderMap, paths: &[String; 3]) -> (Stray, String) {
    if let Some(signal) = Signal::ALL.into_iter().find(|signal| paths[signal.index()] == path) {
        return (Stray::UnusedSignal, unused(signal));
    }
    if let Some(foreign) = foreign(path, headers) {
        return foreign;
    }
    let mut text =
        format!("there is no OTLP endpoint at {}; the paths are {}", short(path), paths.join(", "));
    let is_doubled = paths.iter().any(|known| path.len() > known.len() && path.contains(known));
    if path == "/" || is_doubled {
        text.push_str(
            "; OTEL_EXPORTER_OTLP_ENDPOINT takes the address alone, and \
             OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and its like the whole path",
        );
    }
    (Stray::Path, text)
}

/// Why a gRPC method is not served.
pub(super) fn wrong_method(path: &str) -> (Stray, String) {
    if path.starts_with("/jaeger.") {
        return (Stray::Jaeger, format!("{} is a call of Jaeger; {SEND_OTLP}", short(path)));
    }
    if path.starts_with("/opentelemetry.proto.collector.profiles.") {
        let text = "skep has no profiles; turn the profiler's export off".to_owned();
        return (Stray::UnusedSignal, text);
    }
    (Stray::Path, format!("unknown method {}", short(path)))
}

/// The remedy for an OTLP request at a port for another protocol; `None` for other requests.
pub(super) fn misdirected_otlp(path: &str, headers: &HeaderMap) -> Option<(Stray, String)> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = media_type.is_some_and(|media_type| media_type.starts_with(b"application/grpc"));
    let is_otlp = path.starts_with("/v1/") || path.starts_with("/opentelemetry.proto.collector.");
    (is_otlp || is_grpc).then(|| {
        let text = "OTLP is not taken at this port; set OTEL_EXPORTER_OTLP_ENDPOINT to a port of the \
                    receiver `otlp`: 4318 for HTTP, 4317 for gRPC";
        (Stray::Otlp, text.to_owned())
    })
}

const SEND_OTLP: &str = "let the application send OTLP instead (OTEL_TRACES_EXPORTER=otlp)";

/// Recognises requests of other protocols.
fn foreign(path: &str, headers: &HeaderMap) -> Option<(Stray, String)> {
    if let Some(target) = headers.get("x-amz-target") {
        let target = target.to_str().unwrap_or("?");
        let text = format!(
            "{} is a call of an AWS SDK; for CloudWatch Logs add the receiver `awscloudwatchlogs` and \
             set AWS_ENDPOINT_URL_CLOUDWATCH_LOGS to its port, for another service unset \
             AWS_ENDPOINT_URL so that the call reaches AWS",
            short(target)
        );
        return Some((Stray::AwsJson, text));
    }
    let is_datadog = || {
        let version = path.strip_prefix("/v0.").or_else(|| path.strip_prefix("/api/v0."));
        version.is_some_and(|rest| rest.contains("/traces") || rest.contains("/stats"))
            || path.starts_with("/api/v2/series")
            || path.starts_with("/telemetry/proxy/")
    };
    let shown = short(path);
    let (kind, text) = if path.starts_with("/GetSampling") || path.starts_with("/SamplingTargets") {
        let text = format!(
            "{shown} is a call of an X-Ray SDK; add the receiver `awsxray`, which answers it at port \
             2000, and set AWS_XRAY_DAEMON_ADDRESS to that"
        );
        (Stray::Xray, text)
    } else if path.contains("/api/1/item") {
        let text = format!(
            "{shown} is an item for Rollbar; add the receiver `rollbar`, and set `endpoint` of the \
             Rollbar SDK to its port"
        );
        (Stray::Rollbar, text)
    } else if path.starts_with("/api/v2/spans") || path.starts_with("/api/v1/spans") {
        (Stray::Zipkin, format!("{shown} takes spans of Zipkin; {SEND_OTLP}"))
    } else if path == "/api/traces" {
        (Stray::Jaeger, format!("{shown} takes spans of Jaeger; {SEND_OTLP}"))
    } else if path.starts_with("/1/batch/") || path.starts_with("/1/events/") {
        let text = format!("{shown} takes events of Honeycomb's own SDKs; {SEND_OTLP}");
        (Stray::Honeycomb, text)
    } else if path == "/api/v1/write" || path == "/api/v1/push" {
        let text = format!(
            "{shown} takes Prometheus remote write; let the application send metrics as OTLP instead"
        );
        (Stray::Prometheus, text)
    } else if is_datadog() {
        (Stray::Datadog, format!("{shown} takes data of Datadog libraries; {SEND_OTLP}"))
    } else {
        return None;
    };
    Some((kind, text))
}

/// The start of a text that a client has chosen.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_paths_are_explained() {
        let paths = ["/v1/traces", "/v1/metrics", "/v1/logs"].map(str::to_owned);
        let about = |path| wrong_path(path, &HeaderMap::new(), &paths).1;
        assert!(about("/v1/logs").contains("no pipeline takes logs"));
        assert!(about("/v1/traces/v1/traces").contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert!(about("/").contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert_eq!(
            about("/api/spans"),
            "there is no OTLP endpoint at /api/spans; the paths are /v1/traces, /v1/metrics, /v1/logs"
        );
        assert!(about(&"/x".repeat(9000)).len() < 200);
    }

    #[test]
    fn other_protocols_are_named() {
        let paths = ["/v1/traces", "/v1/metrics", "/v1/logs"].map(str::to_owned);
        let kind = |path| wrong_path(path, &HeaderMap::new(), &paths).0;
        for (path, expected) in [
            ("/api/1/item/", Stray::Rollbar),
            ("/api/v2/spans", Stray::Zipkin),
            ("/api/traces", Stray::Jaeger),
            ("/1/batch/shop", Stray::Honeycomb),
            ("/api/v1/write", Stray::Prometheus),
            ("/v0.4/traces", Stray::Datadog),
            ("/SamplingTargets", Stray::Xray),
            ("/v1/logs", Stray::UnusedSignal),
            ("/v1/trace", Stray::Path),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_static("Logs_20140328.PutLogEvents"));
        let (kind, text) = wrong_path("/", &headers, &paths);
        assert_eq!(kind, Stray::AwsJson);
        assert!(text.starts_with("Logs_20140328.PutLogEvents is a call"), "{text}");
        assert_eq!(wrong_method("/jaeger.api_v2.CollectorService/PostSpans").0, Stray::Jaeger);
        assert_eq!(wrong_method("/x.Y/Z").0, Stray::Path);
        let spans = br#"{"resourceSpans":[{"scopeSpans":[]}]}"#;
        assert_eq!(other_signal(spans, Signal::Logs), Some(Signal::Traces));
        assert_eq!(other_signal(spans, Signal::Traces), None);
        assert_eq!(other_signal(b"{}", Signal::Traces), None);
        assert!(misdirected_otlp("/v1/traces", &HeaderMap::new()).is_some());
        assert!(misdirected_otlp("/GetSamplingRules", &HeaderMap::new()).is_none());
    }
}
