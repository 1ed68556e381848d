//! The requirements of AWS's own OTLP endpoints, which are known by their hosts: signatures,
//! headers, one signal each.

use super::{connection::Headers, masked::Secrets, outcome};
use crate::{
    component::{Compression, ExportError},
    config::{Node, Problems},
    net::{aws_host::AwsHost, client::Answer},
    otlp::Signal,
};

/// Headers that name the log stream; CloudWatch Logs refuses requests without them.
const LOG_HEADERS: [&str; 2] = ["x-aws-log-group", "x-aws-log-stream"];

/// An answer with fewer words explains nothing: `Bad Request`.
const SAYS_SOMETHING: usize = 3;

const TRANSACTION_SEARCH: &str = "; X-Ray takes OTLP only where Transaction Search is on: switch it on in \
                                  this account and region (X-Ray's UpdateTraceSegmentDestination to \
                                  CloudWatchLogs), or use the exporter `awsxray`";

/// The signal that a host of AWS accepts.
fn signal_of(url: &str) -> Option<Signal> {
    match AwsHost::of_url(url)?.service {
        "xray" => Some(Signal::Traces),
        "logs" => Some(Signal::Logs),
        "monitoring" => Some(Signal::Metrics),
        _ => None,
    }
}

/// The settings of an exporter that matter to AWS.
pub(super) struct Sending<'a> {
    pub(super) headers: &'a Headers,
    pub(super) has_auth: bool,
    pub(super) compression: Compression,
}

/// Checks one endpoint; endpoints of others are always valid.
pub(super) fn validate(
    key: &str,
    url: &str,
    sending: &Sending<'_>,
    at: &Node,
    problems: &mut Problems,
) {
    let Some(signal) = signal_of(url) else { return };
    let has = |name: &str| {
        let mut all = sending.headers.0.iter();
        all.any(|(own, value)| own.eq_ignore_ascii_case(name) && !value.expose().is_empty())
    };
    if !sending.has_auth && !has("authorization") {
        problems
            .warning(at.at(key), "AWS refuses requests without a signature, and nothing signs these")
            .help(
                "add `sigv4auth:` under `extensions`, list it under `service: extensions:`, and write \
                 `auth: {authenticator: sigv4auth}` here",
            );
    }
    let missing: Vec<&str> = LOG_HEADERS.into_iter().filter(|name| !has(name)).collect();
    if signal == Signal::Logs && !missing.is_empty() {
        let list = missing.join("` and `");
        let pairs: Vec<String> = missing.iter().map(|name| format!("{name}: NAME")).collect();
        problems
            .error(at.at(key), format!("CloudWatch Logs refuses requests without `{list}`"))
            .help(format!(
                "add `headers: {{{}}}` with the names of a log group and a stream that exist",
                pairs.join(", ")
            ));
    }
    if !matches!(sending.compression, Compression::Gzip | Compression::Identity) {
        problems
            .error(at.at("compression"), "AWS does not accept this compression")
            .help("valid: gzip, none");
    }
}

/// Checks that a host of AWS gets the one signal that it accepts.
pub(super) fn check_signal(url: &str, signal: Signal) -> Result<(), String> {
    match signal_of(url) {
        Some(own) if own != signal => Err(format!(
            "`{url}` accepts {own}, not {signal}: set `{signal}_endpoint`, or take the exporter out of \
             the {signal} pipelines"
        )),
        _ => Ok(()),
    }
}

/// Adds the most likely cause to a refusal of X-Ray that gives none.
pub(super) fn explain(error: ExportError, answer: &Answer) -> ExportError {
    let said = outcome::said(answer, &Secrets::NONE);
    let words = said.split_whitespace().filter(|word| word.contains(char::is_alphabetic));
    let is_wordless = words.count() < SAYS_SOMETHING;
    if answer.status.as_u16() != 400 || !is_wordless {
        return error;
    }
    let message = format!("{}{TRANSACTION_SEARCH}", error.message);
    ExportError { message, ..error }
}

/// Whether a URL belongs to X-Ray.
pub(super) fn is_xray(url: &str) -> bool {
    signal_of(url) == Some(Signal::Traces)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::component::Retry;

    #[test]
    fn each_host_takes_one_signal() {
        let xray = "https://xray.eu-west-1.amazonaws.com/v1/logs";
        assert!(check_signal(xray, Signal::Logs).unwrap_err().contains("`logs_endpoint`"));
        assert_eq!(check_signal(xray, Signal::Traces), Ok(()));
        assert_eq!(check_signal("https://otlp.example.com/v1/logs", Signal::Logs), Ok(()));
    }

    #[test]
    fn only_a_refusal_without_words_is_explained() {
        let explained = |status, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = Bytes::from_static(body.as_bytes());
            let answer = Answer { status, headers: HeaderMap::new(), body, trailers: None };
            let error = ExportError { retry: Retry::Never, message: "HTTP 400".to_owned() };
            explain(error, &answer).message.contains("Transaction Search")
        };
        assert!(explained(400, "") && explained(400, "{}") && explained(400, "Bad Request"));
        assert!(!explained(400, "the span is too large") && !explained(413, ""));
    }
}
