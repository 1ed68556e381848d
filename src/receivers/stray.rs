//! What requests that no receiver takes look like.

/// What a request that nothing takes looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stray {
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
    pub(super) const ALL: [Stray; 17] = [
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
    pub(super) const fn name(self) -> &'static str {
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
