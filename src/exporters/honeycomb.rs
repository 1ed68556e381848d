//! Sends traces, metrics and logs to Honeycomb, with the headers that each needs.
//!
//! ```yaml
//! honeycomb:
//!   api_key: ${env:HONEYCOMB_API_KEY}
//! ```
//!
//! Traces and logs go to the dataset of their `service.name`; metrics, and logs without a service,
//! to `dataset`. A classic key (32 hexadecimal digits, or `hc?ic_...`) needs `dataset` for
//! everything.
//!
//! `budget` is a ceiling for each month in events, as Honeycomb bills them: spans, their events and
//! links, and log records, one each. Data points are not counted. What is sampled so that the
//! budget lasts has its weight in `SampleRate`.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    budget::{self, Budget, Counted},
    compression::{CompressionParams, HttpCompression, validate_level},
    connection::{Headers, check_proxy},
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, headers, with_path},
    post::{BodyEncoding, Post, Posted, Poster, way},
};
use crate::{
    budget::Unit,
    component::{
        BoxFuture, BudgetUse, BudgetWeights, BuildContext, Count, Delivery, Denial, Encodes, Entry,
        ErasedExporter, ExportError, Exporter, ExporterConfig, Piece, Progress, Retry, Sent,
        StartError, Work,
    },
    config::{Interval, Node, Problems, Secret, Section},
    net::{client::Tuning, proxy, tls::ClientTls},
    otlp::{Content, Signal},
};

/// Sends to Honeycomb.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ingest key of the environment. Required.
    pub api_key: Secret,
    /// Where the team lives: `us` or `eu`.
    pub region: Region,
    /// Base URL instead of the region's, for a reverse proxy or Refinery.
    pub endpoint: Option<String>,
    /// Proxy of all requests, such as `http://user:password@host:3128`, instead of that of the
    /// environment (`HTTPS_PROXY`).
    pub proxy_url: Secret,
    /// Dataset of metrics; with a classic key of everything.
    pub dataset: String,
    /// Further headers of every request.
    pub headers: Headers,
    /// TLS of the connection.
    pub tls: ClientTls,
    /// Longest time for one attempt.
    pub timeout: Interval,
    /// Compression of requests.
    pub compression: HttpCompression,
    /// Level of the compression.
    pub compression_params: CompressionParams,
    /// Queue in front of Honeycomb.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
    /// Ceiling for each month in the unit that the vendor bills.
    pub budget: Section<Budget>,
}

/// Honeycomb's regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// `api.honeycomb.io`.
    #[default]
    Us,
    /// `api.eu1.honeycomb.io`.
    Eu,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            api_key: Secret::default(),
            region: Region::Us,
            endpoint: None,
            proxy_url: Secret::default(),
            dataset: String::new(),
            headers: Headers::default(),
            tls: ClientTls::default(),
            timeout: Interval(Duration::from_secs(30)),
            compression: HttpCompression::Zstd,
            compression_params: CompressionParams::default(),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

impl Config {
    fn base(&self) -> &str {
        match (&self.endpoint, self.region) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/'),
            (None, Region::Us) => "https://api.honeycomb.io",
            (None, Region::Eu) => "https://api.eu1.honeycomb.io",
        }
    }

    /// Keys of Honeycomb Classic have no environment: 32 hexadecimal digits, or ingest keys of 64
    /// characters that begin with `hc`, a letter for the region, and `ic_`.
    fn is_classic(&self) -> bool {
        let key = self.api_key.expose();
        let is_old = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_ingest = key.len() == 64 && key.starts_with("hc") && key.get(3..6) == Some("ic_");
        is_old || is_ingest
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("honeycomb", &[], &Signal::ALL, include_str!("honeycomb.rs"));

/// What Honeycomb bills: events.
const COUNTED: Counted = Counted {
    exporter: "honeycomb",
    like: &[],
    unit: Unit::Events,
    count: Count::Events,
    weights: BudgetWeights { sample_rate: true, tracestate: true },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let key = self.api_key.expose();
        if key.is_empty() {
            problems
                .error(at.at("api_key"), "the API key is empty, so Honeycomb would answer 401")
                .help("set HONEYCOMB_API_KEY where skep runs and write `api_key: ${env:HONEYCOMB_API_KEY}`");
        } else if key.trim() != key || key.starts_with(['"', '\'']) {
            problems
                .error(at.at("api_key"), "the API key has blanks or quotes around it")
                .help("remove them where the variable is set");
        }
        if self.is_classic() && self.dataset.is_empty() {
            problems
                .error(at, "a classic API key needs a `dataset`")
                .help("add `dataset: name`, or create a key in an environment");
        }
        if let Some(endpoint) = &self.endpoint
            && !matches!(Endpoint::parse(endpoint, None), Ok(Endpoint { tls: Some(_), .. }))
        {
            problems
                .error(at.at("endpoint"), format!("`{endpoint}` is not a URL"))
                .help("write `https://host`, or leave it out and set `region`");
        }
        if !matches!(
            self.compression,
            HttpCompression::Gzip | HttpCompression::Zstd | HttpCompression::None
        ) {
            problems
                .error(at.at("compression"), "Honeycomb does not accept this compression")
                .help("valid: gzip, zstd, none");
        }
        check_proxy("proxy_url", &self.proxy_url, at, problems);
        validate_level(self.compression.codec(), self.compression_params.level, at, problems);
        self.tls.validate(at.at("tls"), problems);
        if let Err(message) = headers(&self.headers) {
            problems.error(at.at("headers"), message);
        }
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn validate_use(&self, signals: &[Signal], at: &Node, problems: &mut Problems) {
        let is_used = self.is_classic() || signals.contains(&Signal::Metrics);
        if !self.dataset.is_empty() && !is_used {
            problems
                .warning(
                    at.at("dataset"),
                    "with the key of an environment, `dataset` is for metrics, and for logs without \
                     a service",
                )
                .help("remove it: Honeycomb names a dataset after each `service.name`");
        }
    }

    fn reads_weights(&self) -> bool {
        true
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let through = proxy::in_words(way(self.base(), self.proxy_url.expose(), &self.tls));
        // Otherwise each service has a dataset of its own.
        if self.is_classic() {
            format!("{} (dataset {}){through}", self.base(), self.dataset)
        } else {
            format!("{}{through}", self.base())
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let headers = self.request_headers(cx.signal).map_err(fail)?;
        let post = Post {
            url: with_path(self.base(), &format!("/v1/{}", cx.signal)),
            headers,
            tls: self.tls.clone(),
            compression: self.compression.codec(),
            level: self.compression_params.level,
            connections: 1,
            encoding: BodyEncoding::Proto,
            tuning: Tuning::default(),
            proxy_url: self.proxy_url.clone(),
        };
        let other = match self.region {
            Region::Us => "eu",
            Region::Eu => "us",
        };
        Ok(Arc::new(Honeycomb { inner: post.build(cx)?, other_region: other }))
    }
}

impl Config {
    fn request_headers(&self, signal: Signal) -> Result<HeaderMap, String> {
        let mut headers = headers(&self.headers)?;
        let mut key = HeaderValue::try_from(self.api_key.expose())
            .map_err(|_| "the API key has characters that no header may have".to_owned())?;
        key.set_sensitive(true);
        headers.insert("x-honeycomb-team", key);
        // Environments take the dataset of traces from `service.name` and ignore it here; logs
        // without a service go to it.
        if !self.dataset.is_empty() && (signal != Signal::Traces || self.is_classic()) {
            let dataset = HeaderValue::try_from(&self.dataset)
                .map_err(|_| format!("`{}` cannot be a dataset", self.dataset))?;
            headers.insert("x-honeycomb-dataset", dataset);
        }
        Ok(headers)
    }
}

/// OTLP/HTTP with Honeycomb's refusals explained.
struct Honeycomb {
    inner: Poster,
    other_region: &'static str,
}

impl Exporter for Honeycomb {
    type Encoded = Posted;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Posted>, ExportError> {
        self.inner.encode(work)
    }

    fn encodes(&self) -> Encodes {
        Exporter::encodes(&self.inner)
    }

    fn room(&self, content: &Content) -> usize {
        Exporter::room(&self.inner, content)
    }

    fn send(
        &self,
        posted: Posted,
        progress: &Arc<Progress>,
    ) -> BoxFuture<Result<Sent, ExportError>> {
        let send = self.inner.send(posted, progress);
        let other = self.other_region;
        Box::pin(async move { send.await.map_err(|error| explain(error, other)) })
    }
}

fn explain(error: ExportError, other_region: &str) -> ExportError {
    let status = error.message.split([':', ';']).next().unwrap_or_default().trim();
    let hint = match status {
        _ if matches!(error.retry, Retry::Denied(Denial::Unauthenticated | Denial::Forbidden)) => {
            let said = error.message.split(';').next().unwrap_or_default();
            let message = format!(
                "Honeycomb refused the API key ({said}): it is mistyped, deleted, lacks the \
                 permission to send events, or belongs to the other region (set `region: \
                 {other_region}`)"
            );
            return ExportError { message, ..error };
        }
        "HTTP 429" => {
            "; the team's event quota or rate limit is used up: send less (sampling), or raise the \
             limit in Honeycomb's usage settings"
        }
        "HTTP 404" => "; does `endpoint` point at Honeycomb, and does the dataset exist?",
        "HTTP 413" => "; Honeycomb takes requests of 15 MB: lower `send_batch_size` of `batch`",
        _ => return error,
    };
    let message = format!("{}{hint}", error.message);
    ExportError { message, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str, dataset: &str) -> Config {
        Config { api_key: Secret::new(key), dataset: dataset.to_owned(), ..Config::default() }
    }

    #[test]
    fn the_dataset_header_goes_with_metrics_and_logs() {
        let config = config("hcaik_x", "app-metrics");
        let dataset =
            |signal| config.request_headers(signal).unwrap().get("x-honeycomb-dataset").cloned();
        assert_eq!(dataset(Signal::Metrics).unwrap(), "app-metrics");
        assert_eq!(dataset(Signal::Traces), None);
        assert_eq!(dataset(Signal::Logs).unwrap(), "app-metrics");
    }

    #[test]
    fn a_classic_key_names_its_dataset_everywhere() {
        let config = config(&"a1".repeat(16), "app");
        for signal in Signal::ALL {
            assert!(config.request_headers(signal).unwrap().contains_key("x-honeycomb-dataset"));
        }
    }

    #[test]
    fn classic_ingest_keys_are_known_by_their_form() {
        assert!(config(&format!("hcaic_{}", "0".repeat(58)), "").is_classic());
        assert!(!config(&format!("hcaik_{}", "0".repeat(58)), "").is_classic());
    }

    #[test]
    fn a_used_up_quota_is_explained() {
        let error = ExportError {
            retry: Retry::After(None),
            message: "HTTP 429: request dropped".to_owned(),
        };
        assert!(explain(error, "eu").message.contains("quota"), "429");
    }

    #[test]
    fn the_key_prints_nowhere() {
        let config = config("very-secret", "");
        assert!(!format!("{config:?}").contains("very-secret"));
        let headers = config.request_headers(Signal::Traces).unwrap();
        assert!(!format!("{headers:?}").contains("very-secret"));
    }

    #[test]
    fn a_refused_key_is_explained_with_the_other_region() {
        let denied = ExportError {
            retry: Retry::Denied(Denial::Unauthenticated),
            message: "HTTP 401; x".to_owned(),
        };
        let message = explain(denied, "eu").message;
        assert!(message.contains("(HTTP 401)") && message.contains("`region: eu`"), "{message}");
    }
}
