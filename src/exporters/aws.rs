//! What all AWS exporters share: how AWS is reached, the report about it at the start, and the
//! meaning of AWS's errors.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{connection::check_proxy, endpoint::Endpoint};
use crate::{
    component::{Denial, ExportError, Retry},
    config::{Node, Problems, Secret},
    net::{
        aws::{Access, Role, in_words, no_credentials},
        aws_host::endpoint_url,
    },
};

/// Bytes that are shown of an answer that does not come from AWS.
const FOREIGN: usize = 300;

/// Keys of all AWS exporters: where AWS is, and how it is reached.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsAccess {
    /// Region; else `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, the task, the instance.
    pub region: String,
    /// Base URL instead of the region's.
    pub endpoint: String,
    /// Role to assume for sending.
    pub role_arn: String,
    /// External id that the role asks for.
    pub external_id: String,
    /// Longest time for one request, in seconds.
    pub request_timeout_seconds: u64,
    /// How often a request is repeated at once, before `retry_on_failure` waits.
    pub max_retries: u32,
    /// Refused: certificates are always checked.
    pub no_verify_ssl: bool,
    /// Proxy of all requests, such as `http://user:password@host:3128`, instead of that of the
    /// environment (`HTTPS_PROXY`).
    pub proxy_address: Secret,
    /// Do not ask the metadata of an EC2 instance for the region.
    pub local_mode: bool,
}

impl Default for AwsAccess {
    fn default() -> Self {
        AwsAccess {
            region: String::new(),
            endpoint: String::new(),
            role_arn: String::new(),
            external_id: String::new(),
            request_timeout_seconds: 30,
            max_retries: 2,
            no_verify_ssl: false,
            proxy_address: Secret::default(),
            local_mode: false,
        }
    }
}

impl AwsAccess {
    /// For the client of the service.
    pub(super) fn access(&self) -> Access {
        let (arn, external_id) = (self.role_arn.clone(), self.external_id.clone());
        let role = Role { arn, external_id, ..Role::default() };
        Access {
            region: self.region.clone(),
            endpoint: endpoint_url(&self.endpoint).into_owned(),
            role: Some(role).filter(|role| !role.arn.is_empty()),
            attempts: self.max_retries + 1,
            timeout: Some(Duration::from_secs(self.request_timeout_seconds)),
            proxy: self.proxy_address.expose().to_owned(),
            skips_instance: self.local_mode,
        }
    }

    /// Where an exporter sends, for people. A host that is not known yet is a host of AWS.
    pub(super) fn destination(&self, service: &str) -> String {
        let url = endpoint_url(&self.endpoint);
        let place = match (&*url, &*self.region) {
            ("", "") => service.to_owned(),
            ("", region) => format!("{service} in {region}"),
            (endpoint, _) => endpoint.to_owned(),
        };
        let (is_https, host, port) = match Endpoint::parse(&url, None) {
            Ok(Endpoint { tls, host, port, .. }) => (tls != Some(false), host, port),
            Err(_) if self.region.is_empty() => (true, "amazonaws.com".to_owned(), 443),
            Err(_) => (true, format!("{}.amazonaws.com", self.region), 443),
        };
        match self.access().proxy_of(is_https, &host, port) {
            Some(proxy) => format!("{place} through the proxy {proxy}"),
            None => place,
        }
    }

    /// Checks beyond types; `at` is the exporter's body.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.no_verify_ssl {
            problems
                .error(at.at("no_verify_ssl"), "certificates of AWS are always checked")
                .help("remove it; for an own endpoint let SSL_CERT_FILE name its certificate");
        }
        check_proxy("proxy_address", &self.proxy_address, at, problems);
        if self.request_timeout_seconds == 0 {
            problems
                .error(
                    at.at("request_timeout_seconds"),
                    "`request_timeout_seconds` must be at least 1",
                )
                .help("write 30, or leave it out");
        }
        let url = endpoint_url(&self.endpoint);
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        let wrong = match Endpoint::parse(&url, None) {
            _ if url.is_empty() => None,
            Ok(_) if !is_url => Some(format!("`{}` is not a URL", self.endpoint)),
            parsed => parsed.err(),
        };
        if let Some(message) = wrong {
            problems
                .error(at.at("endpoint"), message)
                .help("write `https://host`, or leave it out and set `region`");
        }
    }
}

/// A client, and what it was made with.
#[derive(Debug)]
pub(super) struct Connected<C> {
    pub(super) client: C,
    /// `region ca-central-1 by AWS_REGION, credentials from environment`.
    pub(super) summary: String,
}

/// Finds region and credentials and reports them, never the keys. `exporter` is for the log.
pub(super) async fn connect<C>(
    access: &Access,
    exporter: &str,
    client: impl FnOnce(&SdkConfig) -> C,
) -> Result<Connected<C>, ExportError> {
    let fail = |message| ExportError { retry: Retry::After(None), message };
    let found = access.find().await.map_err(fail)?;
    let place = match found.region_source {
        "region" => format!("region {}", found.region),
        source => format!("region {} by {source}", found.region),
    };
    let source = match found.credentials().await {
        Ok((_, source)) => source,
        Err(message) => return Err(fail(format!("{message} ({place})"))),
    };
    tracing::info!(
        exporter,
        region = found.region,
        region_from = found.region_source,
        credentials_from = source,
        role = access.role.as_ref().map(|role| role.arn.as_str()),
        endpoint = found.config.endpoint_url().unwrap_or("of the region"),
        "AWS is set up"
    );
    let summary = format!("{place}, credentials from {source}");
    Ok(Connected { client: client(&found.config), summary })
}

impl<C> Connected<C> {
    /// The answer to a harmless call, with a summary of what it was made with.
    pub(super) fn told(&self, answer: Result<&str, ExportError>) -> Result<String, ExportError> {
        match answer {
            Ok(answer) => Ok(format!("{answer} ({})", self.summary)),
            Err(error) => {
                let message = format!("{} ({})", error.message, self.summary);
                Err(ExportError { message, ..error })
            }
        }
    }
}

/// Logs at the start what is missing.
pub(super) fn report<T>(exporter: &str, found: Result<T, ExportError>) {
    if let Err(error) = found {
        tracing::warn!(exporter, error = %error, "cannot connect to AWS yet; data is queued");
    }
}

/// What may be done about a failed call of `action`, with its cause and remedy.
pub(super) fn explain<E>(action: &str, error: &SdkError<E, HttpResponse>) -> ExportError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(HttpResponse::status).map(StatusCode::as_u16);
    let (code, said) = match error {
        SdkError::ServiceError(service) => {
            (service.err().code().unwrap_or_default(), service.err().message().unwrap_or_default())
        }
        _ => ("", ""),
    };
    let said = match (error, error.raw_response()) {
        _ if !said.is_empty() => said.to_owned(),
        (SdkError::ServiceError(_) | SdkError::ResponseError(_), Some(answer))
            if code.is_empty() =>
        {
            foreign(answer)
        }
        (error, _) => unanswered(error),
    };
    let (retry, hint) = verdict(action, status, code, &said);
    let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
    ExportError { retry, message: format!("{code}{said}{hint}") }
}

/// An answer that does not come from AWS.
fn foreign(answer: &HttpResponse) -> String {
    let body = answer.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(FOREIGN)]);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = if text.is_empty() { text } else { format!(": {text}") };
    format!(
        "HTTP {}{text}; this is not an answer of AWS: check `endpoint`, and whether a proxy or a \
         firewall answers in its place",
        answer.status().as_u16()
    )
}

/// The error of a request whose task ended without an outcome.
pub(super) fn broken_off(service: &str, error: &tokio::task::JoinError) -> ExportError {
    if error.is_panic() {
        // The same data would most likely cause it again.
        let message = format!(
            "this is a bug in skep: a request to {service} panicked with this data; please report it"
        );
        return ExportError { retry: Retry::Never, message };
    }
    ExportError {
        retry: Retry::After(None),
        message: format!("a request to {service} was cancelled"),
    }
}

/// No answer came.
fn unanswered<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + 'static,
{
    match error {
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            let cause = failure.as_connector_error().and_then(std::error::Error::source);
            unreached(&cause.map(in_words).unwrap_or_default())
        }
        SdkError::TimeoutError(_) => unreached("no answer within `request_timeout_seconds`"),
        _ => in_words(error),
    }
}

fn unreached(cause: &str) -> String {
    // If the cause ends with a question, make it one question.
    let cause = match cause.strip_suffix('?') {
        Some(question) => format!("{question}, and"),
        None => format!("{cause};"),
    };
    format!(
        "cannot reach AWS: {cause} is there a route to it from here (a NAT gateway, a VPC \
         endpoint, a proxy in HTTPS_PROXY, or the configured `endpoint`)?"
    )
}

fn verdict(action: &str, status: Option<u16>, code: &str, said: &str) -> (Retry, String) {
    let again = Retry::After(None);
    match (code, status) {
        ("AccessDeniedException" | "AccessDenied", _) => (
            Retry::Denied(Denial::Forbidden),
            format!("; allow the action `{action}` to the role or user of skep"),
        ),
        ("ExpiredTokenException" | "ExpiredToken", _) => {
            let hint = "; the session has expired: provide new credentials (AWS_SESSION_TOKEN with its \
                        keys), or a role, whose sessions are renewed";
            (again, hint.to_owned())
        }
        ("UnrecognizedClientException" | "InvalidClientTokenId", _) => (
            Retry::Denied(Denial::Unauthenticated),
            "; AWS does not know this access key: it was mistyped or deleted".to_owned(),
        ),
        ("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired", _) => (
            Retry::Denied(Denial::Unauthenticated),
            "; the secret key is wrong, or the clock of this machine is off by more than 5 minutes"
                .to_owned(),
        ),
        ("OperationAbortedException", _) => (again, String::new()),
        ("LimitExceededException", _) => (
            again,
            "; a quota of the account is used up: raise it, or delete what is not needed"
                .to_owned(),
        ),
        (code, status) if status == Some(429) || code.contains("Thrott") => (again, String::new()),
        (_, Some(408 | 500..)) => (again, String::new()),
        // AWS always sends a code with these, so the answer did not come from AWS.
        ("", Some(401)) => (Retry::Denied(Denial::Unauthenticated), String::new()),
        ("", Some(403 | 407)) => (Retry::Denied(Denial::Forbidden), String::new()),
        ("", Some(404 | 405)) => (Retry::Denied(Denial::NotFound), String::new()),
        (_, Some(400..)) => (Retry::Never, String::new()),
        // There was no answer.
        _ if said.contains("credential") => (again, format!("; {}", no_credentials())),
        _ => (again, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_says_decides_on_the_next_attempt() {
        let retry = |code, status| verdict("xray:PutTraceSegments", status, code, "").0;
        assert_eq!(retry("ThrottledException", Some(429)), Retry::After(None));
        assert_eq!(retry("ThrottlingException", Some(400)), Retry::After(None));
        assert_eq!(retry("", Some(503)), Retry::After(None));
        assert_eq!(retry("", None), Retry::After(None));
        assert_eq!(retry("", Some(401)), Retry::Denied(Denial::Unauthenticated));
        assert_eq!(retry("", Some(404)), Retry::Denied(Denial::NotFound));
        assert_eq!(retry("InvalidRequestException", Some(400)), Retry::Never);
        assert_eq!(retry("AccessDeniedException", Some(403)), Retry::Denied(Denial::Forbidden));
        let (_, hint) = verdict("logs:PutLogEvents", Some(403), "AccessDeniedException", "");
        assert!(hint.contains("logs:PutLogEvents"));
        let (_, hint) = verdict("", None, "", "the credential provider was not enabled");
        assert!(hint.contains("AWS_ACCESS_KEY_ID"));
    }
}
