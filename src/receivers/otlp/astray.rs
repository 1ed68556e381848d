//! What senders and the log are told of requests that nothing takes: SDKs tend to keep quiet about
//! them, so a line a minute says it here, with the remedy.

use std::net::SocketAddr;

use crate::{net::seldom::Seldom, otlp::Signal};

/// When the log was last told.
#[derive(Debug, Default)]
pub(super) struct Astray(Seldom);

impl Astray {
    /// Tells the log of a request that was answered with `text`.
    pub(super) fn tell(&self, peer: Option<SocketAddr>, text: &str) {
        if self.0.is_due() {
            let client = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(client, "a request was refused: {text:.400}");
        }
    }
}

/// Why a signal that this receiver knows is not taken.
pub(super) fn unused(signal: Signal) -> String {
    format!("no pipeline takes {signal} from this receiver; add it to `receivers` of one")
}

/// Why a path of OTLP/HTTP is not served.
pub(super) fn wrong_path(path: &str, paths: &[String; 3]) -> String {
    if let Some(signal) = Signal::ALL.into_iter().find(|signal| paths[signal.index()] == path) {
        return unused(signal);
    }
    let start: String = path.chars().take(100).collect();
    let mut text =
        format!("there is no OTLP endpoint at {start}; the paths are {}", paths.join(", "));
    let is_doubled = paths.iter().any(|known| path.len() > known.len() && path.contains(known));
    if path == "/" || is_doubled {
        text.push_str(
            "; OTEL_EXPORTER_OTLP_ENDPOINT takes the address alone, and \
             OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and its like the whole path",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_paths_are_explained() {
        let paths = ["/v1/traces", "/v1/metrics", "/v1/logs"].map(str::to_owned);
        let about = |path| wrong_path(path, &paths);
        assert!(about("/v1/logs").contains("no pipeline takes logs"));
        assert!(about("/v1/traces/v1/traces").contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert!(about("/").contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert_eq!(
            about("/api/v2/spans"),
            "there is no OTLP endpoint at /api/v2/spans; the paths are /v1/traces, /v1/metrics, /v1/logs"
        );
        assert!(about(&"/x".repeat(9000)).len() < 200);
    }
}
