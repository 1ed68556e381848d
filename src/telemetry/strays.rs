//! Requests that no receiver takes: counted by what they look like.

use std::sync::{Arc, PoisonError};

use super::{Number, Telemetry};

/// What a request that nothing takes looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// OTLP/HTTP with another path than those served, or a gRPC method that is not known.
    Path,
    /// OTLP of a signal that no pipeline takes from the receiver.
    UnusedSignal,
    /// A body that is neither protobuf nor JSON.
    MediaType,
    /// A body that is not what it claims to be.
    Malformed,
    /// A body that is larger than the limit.
    TooLarge,
    /// A body in JSON with data of another signal.
    OtherSignal,
    /// OTLP at a port that is not for OTLP.
    Otlp,
    /// A call of an AWS service, such as those of CloudWatch Logs.
    AwsJson,
    /// A call of the X-Ray daemon.
    Xray,
    /// An item for Rollbar.
    Rollbar,
    /// Spans of Zipkin.
    Zipkin,
    /// Spans of Jaeger.
    Jaeger,
    /// Events of Honeycomb's own API.
    Honeycomb,
    /// Prometheus remote write.
    Prometheus,
    /// Traces or metrics of a Datadog library.
    Datadog,
    /// A browser page of an origin that CORS does not allow.
    CorsOrigin,
    /// A browser page that asks for a header that CORS does not allow.
    CorsHeader,
}

impl Stray {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Stray; 17] = [
        Stray::Path,
        Stray::UnusedSignal,
        Stray::MediaType,
        Stray::Malformed,
        Stray::TooLarge,
        Stray::OtherSignal,
        Stray::Otlp,
        Stray::AwsJson,
        Stray::Xray,
        Stray::Rollbar,
        Stray::Zipkin,
        Stray::Jaeger,
        Stray::Honeycomb,
        Stray::Prometheus,
        Stray::Datadog,
        Stray::CorsOrigin,
        Stray::CorsHeader,
    ];

    /// The value of the label `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Stray::Path => "path",
            Stray::UnusedSignal => "unused_signal",
            Stray::MediaType => "media_type",
            Stray::Malformed => "malformed",
            Stray::TooLarge => "too_large",
            Stray::OtherSignal => "other_signal",
            Stray::Otlp => "otlp",
            Stray::AwsJson => "aws_json",
            Stray::Xray => "xray",
            Stray::Rollbar => "rollbar",
            Stray::Zipkin => "zipkin",
            Stray::Jaeger => "jaeger",
            Stray::Honeycomb => "honeycomb",
            Stray::Prometheus => "prometheus",
            Stray::Datadog => "datadog",
            Stray::CorsOrigin => "cors_origin",
            Stray::CorsHeader => "cors_header",
        }
    }
}

/// Counters of one receiver.
#[derive(Debug, Default)]
pub struct StrayStats {
    /// Component id.
    pub id: String,
    /// Requests, indexed by `Stray as usize`.
    pub requests: [Number; Stray::ALL.len()],
}

impl Telemetry {
    /// The block of a receiver; made at the first call.
    pub fn strays(&self, id: &str) -> Arc<StrayStats> {
        let mut all = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = all.iter().find(|stats| stats.id == id) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(StrayStats { id: id.to_owned(), ..StrayStats::default() });
        all.push(Arc::clone(&stats));
        stats
    }

    /// All receivers that count such requests.
    pub fn all_strays(&self) -> Vec<Arc<StrayStats>> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_in_their_order() {
        for (number, kind) in Stray::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{}", kind.name());
        }
    }
}
