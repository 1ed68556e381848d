//! Signs requests for AWS (Signature Version 4): the exporter `otlp_http` to AWS's own OTLP
//! endpoints.
//!
//! ```yaml
//! sigv4auth:
//!   region: ca-central-1
//!   service: xray
//! ```
//!
//! An exporter names it with `auth: {authenticator: sigv4auth}`. Region and service are in the
//! host of `xray.`, `logs.`, `monitoring.`, `aps-workspaces.` and `search-` endpoints, so that both
//! keys are for other hosts. A region that is given nowhere is looked for in `AWS_REGION`,
//! `AWS_DEFAULT_REGION`, the profile, the task of ECS and the EC2 instance; credentials in the
//! environment, the profile, a web identity, the role of the task or pod, the role of the instance.
//! The log says what was found, never the keys.
//!
//! The signature covers the body as it goes out. These endpoints speak HTTP/1.1, and so does skep
//! to them.
//!
//! Differs from the Collector:
//!
//! - Where AWS says that the session has ended, new credentials are asked for and the request is
//!   sent again at once; likewise with the time of AWS where the clock of this machine is wrong.
//! - `region` or `service` that contradict the host, and an exporter over gRPC, are errors.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Uri, header};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::{
    component::{
        Asked, Authenticator, BoxFuture, BuildContext, ClientAuth, Entry, ExportError, Extension,
        ExtensionConfig, Outgoing, Passive, Protocol, Refusal, Retry, StartError, Unusable,
    },
    config::{Node, Problems},
    net::{
        aws::{Access, Role, Signer},
        aws_host::{AwsHost, host_of},
        client::Answer,
    },
    otlp::Signal,
    sync::lock,
};

/// Differences between clocks that are taken for the cause of a refusal; AWS allows five minutes.
const SKEW: i64 = 60;
/// Several requests that meet the end of a session ask for one new one.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// As much of an answer is looked at.
const WORDS: usize = 4096;

/// Signs requests for AWS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Region of the signature; empty: that of the host, or of the environment.
    pub region: String,
    /// Service of the signature: `xray`, `logs`, `monitoring`, ...; empty: that of the host.
    pub service: String,
    /// Role to assume for sending.
    pub assume_role: AssumeRole,
}

/// `assume_role`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssumeRole {
    /// `arn:aws:iam::...:role/...`; empty: no role.
    pub arn: String,
    /// Name of the session in the logs of AWS; empty: `skep`.
    pub session_name: String,
    /// Region whose STS is asked; empty: that of the signature.
    pub sts_region: String,
    /// External id that the role asks for.
    pub external_id: String,
    /// File with the token of a web identity, which then proves who asks for the role.
    pub web_identity_token_file: String,
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> =
    Entry::of::<Config>("sigv4auth", &[], &Signal::ALL, include_str!("sigv4auth.rs"));

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let role = &self.assume_role;
        let has_more = [
            &role.session_name,
            &role.sts_region,
            &role.external_id,
            &role.web_identity_token_file,
        ]
        .iter()
        .any(|text| !text.is_empty());
        if role.arn.is_empty() && has_more {
            problems
                .warning(at.at("assume_role"), "`assume_role` has no effect: it names no role")
                .help("add `arn: arn:aws:iam::ACCOUNT:role/NAME`, or remove `assume_role`");
        }
        if !role.arn.is_empty() && !role.arn.starts_with("arn:") {
            problems
                .error(at.at("assume_role::arn"), format!("`{}` is not an ARN", role.arn))
                .help("write `arn:aws:iam::ACCOUNT:role/NAME`");
        }
        if !role.external_id.is_empty() && !role.web_identity_token_file.is_empty() {
            problems
                .error(
                    at.at("assume_role::external_id"),
                    "AWS takes no `external_id` with a web identity",
                )
                .help("remove one of `external_id` and `web_identity_token_file`");
        }
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        Some(Arc::new(self.clone()))
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Passive))
    }
}

impl ClientAuth for Config {
    fn check(&self, protocol: Protocol, url: &str) -> Result<(), Unusable> {
        if protocol == Protocol::Grpc {
            return Err(Unusable {
                message: "`sigv4auth` cannot sign gRPC, which AWS's OTLP endpoints do not speak"
                    .to_owned(),
                help: "use the exporter `otlp_http` with `endpoint: https://xray.REGION.amazonaws.com`"
                    .to_owned(),
            });
        }
        let host = host_of(url);
        let Some(known) = AwsHost::parse(host) else {
            if self.service.is_empty() {
                return Err(Unusable {
                    message: format!("the host `{host}` does not say which service of AWS it is"),
                    help: "set `service` of the authenticator: `xray` for traces, `logs`, or \
                           `monitoring` for metrics"
                        .to_owned(),
                });
            }
            return Ok(());
        };
        let pairs =
            [("region", &self.region, known.region), ("service", &self.service, known.service)];
        for (key, own, of_host) in pairs {
            if !own.is_empty() && own != of_host {
                return Err(Unusable {
                    message: format!(
                        "`{host}` would refuse a signature for the {key} `{own}`: its {key} is \
                         `{of_host}`"
                    ),
                    help: format!("remove `{key}` from the authenticator: the host says it"),
                });
            }
        }
        Ok(())
    }

    fn needs_http1(&self) -> bool {
        true
    }

    fn open(&self, exporter: &str, url: &Uri) -> Result<Arc<dyn Authenticator>, String> {
        let known = AwsHost::parse(url.host().unwrap_or_default());
        let service = match (self.service.as_str(), known) {
            ("", None) => {
                return Err("the service to sign for is not known: set `service`".to_owned());
            }
            ("", Some(known)) => known.service.to_owned(),
            (own, _) => own.to_owned(),
        };
        let (region, region_from) = match (self.region.as_str(), known) {
            ("", Some(known)) => (known.region.to_owned(), Some("endpoint")),
            (own, _) => (own.to_owned(), None),
        };
        let role = Role {
            arn: self.assume_role.arn.clone(),
            external_id: self.assume_role.external_id.clone(),
            session_name: self.assume_role.session_name.clone(),
            sts_region: self.assume_role.sts_region.clone(),
            token_file: self.assume_role.web_identity_token_file.clone(),
        };
        let role = Some(role).filter(|role| !role.arn.is_empty());
        Ok(Arc::new(SigV4 {
            exporter: exporter.to_owned(),
            endpoint: url.to_string(),
            access: Access { region, role, ..Access::default() },
            region_from,
            service,
            signer: OnceCell::new(),
            skew: AtomicI64::new(0),
            asked: Mutex::new(None),
        }))
    }
}

/// Signs the requests of one exporter to one URL.
struct SigV4 {
    exporter: String,
    endpoint: String,
    access: Access,
    /// Where the region stood, where that is not for `access` to say.
    region_from: Option<&'static str>,
    service: String,
    signer: OnceCell<Signer>,
    /// Seconds that the clock of AWS is ahead of ours.
    skew: AtomicI64,
    /// When new credentials were asked for last, because AWS said so.
    asked: Mutex<Option<Instant>>,
}

fn again(message: String) -> ExportError {
    ExportError { retry: Retry::After(None), message }
}

impl SigV4 {
    async fn signer(&self) -> Result<&Signer, String> {
        let find = || async { Ok(self.access.find().await?.signer(&self.service)) };
        self.signer.get_or_try_init(find).await
    }

    /// The time as AWS has it.
    fn now(&self) -> SystemTime {
        shifted(SystemTime::now(), self.skew.load(Ordering::Relaxed))
    }

    async fn report(&self) -> Result<(), String> {
        let signer = self.signer().await?;
        let found = signer.found();
        let region_from = self.region_from.unwrap_or(found.region_source);
        let credentials_from = signer.credentials_source(self.now()).await.map_err(|message| {
            format!("region {} (from {region_from}): {message}", found.region)
        })?;
        tracing::info!(
            exporter = self.exporter,
            region = found.region,
            region_from,
            service = self.service,
            credentials_from,
            role = self.access.role.as_ref().map(|role| role.arn.as_str()),
            endpoint = self.endpoint,
            "Requests are signed for AWS"
        );
        Ok(())
    }

    async fn sign(&self, request: Outgoing<'_>) -> Result<(), String> {
        let signer = self.signer().await?;
        let Outgoing { method, uri, headers, body } = request;
        signer.sign_pieces(method, uri, headers, body, self.now()).await
    }

    async fn look(&self, answer: &Answer) -> Refusal {
        let status = answer.status.as_u16();
        if !(400..=403).contains(&status) {
            return Refusal::Other;
        }
        match Fault::of(&words(answer)) {
            Some(Fault::Expired) => {
                self.ask_anew().await;
                Refusal::Again("; the session has ended: give new credentials, or a role")
            }
            Some(Fault::Signature) => {
                let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
                let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
                if date.is_some_and(|date| self.is_corrected(date, SystemTime::now())) {
                    return Refusal::Again("; the clock of this machine is wrong");
                }
                Refusal::Denied(
                    "; the secret key is wrong, or `region` or `service` of `sigv4auth` is not the \
                     endpoint's",
                )
            }
            Some(Fault::Key) => {
                Refusal::Denied("; AWS does not know this access key: it is mistyped or deleted")
            }
            Some(Fault::Access) => Refusal::Denied(self.permission()),
            None if matches!(status, 401 | 403) => Refusal::Denied(self.permission()),
            None => Refusal::Other,
        }
    }

    fn permission(&self) -> &'static str {
        match self.service.as_str() {
            "xray" => {
                "; allow the actions `xray:PutTraceSegments` and `xray:PutSpans` to the role or user \
                 of skep"
            }
            "logs" => {
                "; allow the action `logs:PutLogEvents` on the log group to the role or user of skep"
            }
            "monitoring" => {
                "; allow the action `cloudwatch:PutMetricData` to the role or user of skep"
            }
            _ => "; the role or user of skep may not do this",
        }
    }

    async fn ask_anew(&self) {
        let now = Instant::now();
        let is_due = {
            let mut asked = lock(&self.asked);
            let is_due = asked.is_none_or(|last| now.duration_since(last) >= ASK_EVERY);
            if is_due {
                *asked = Some(now);
            }
            is_due
        };
        if is_due && let Some(signer) = self.signer.get() {
            tracing::info!(
                exporter = self.exporter,
                "AWS says that the session has ended; new credentials are asked for"
            );
            signer.forget().await;
        }
    }

    /// Takes the time of AWS for signatures where it differs from that of the last one.
    fn is_corrected(&self, theirs: SystemTime, ours: SystemTime) -> bool {
        let skew = match theirs.duration_since(ours) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap_or(0),
            Err(behind) => -i64::try_from(behind.duration().as_secs()).unwrap_or(0),
        };
        let is_other = (skew - self.skew.load(Ordering::Relaxed)).abs() > SKEW;
        if is_other {
            self.skew.store(skew, Ordering::Relaxed);
            tracing::warn!(
                exporter = self.exporter,
                seconds_behind = skew,
                "The clock of this machine is wrong; requests are signed with the time of AWS"
            );
        }
        is_other
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

impl Authenticator for SigV4 {
    fn prepare(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move {
            if let Err(error) = self.report().await {
                let exporter = &self.exporter;
                tracing::warn!(exporter, error, "cannot get AWS credentials yet; data is queued");
            }
        })
    }

    fn authenticate<'a>(&'a self, request: Outgoing<'a>) -> Asked<'a, Result<(), ExportError>> {
        Box::pin(async move { self.sign(request).await.map_err(again) })
    }

    fn refused<'a>(&'a self, answer: &'a Answer) -> Asked<'a, Refusal> {
        Box::pin(self.look(answer))
    }
}

/// What AWS says is wrong with the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Expired,
    Signature,
    Key,
    Access,
}

/// Words of AWS, in the order in which they are looked for: names of errors, and the sentences of
/// endpoints that give no name.
const FAULTS: [(&str, Fault); 16] = [
    ("ExpiredToken", Fault::Expired),
    ("security token included in the request is expired", Fault::Expired),
    ("InvalidSignature", Fault::Signature),
    ("SignatureDoesNotMatch", Fault::Signature),
    ("RequestExpired", Fault::Signature),
    ("RequestTimeTooSkewed", Fault::Signature),
    ("Signature expired", Fault::Signature),
    ("Signature not yet current", Fault::Signature),
    ("signature we calculated does not match", Fault::Signature),
    ("Credential should be scoped", Fault::Signature),
    ("UnrecognizedClient", Fault::Key),
    ("InvalidClientTokenId", Fault::Key),
    ("security token included in the request is invalid", Fault::Key),
    ("AccessDenied", Fault::Access),
    ("not authorized to perform", Fault::Access),
    ("MissingAuthenticationToken", Fault::Access),
];

impl Fault {
    fn of(words: &str) -> Option<Self> {
        FAULTS.iter().find(|(part, _)| words.contains(part)).map(|(_, fault)| *fault)
    }
}

/// The name of the error and the beginning of the body, in whatever form that is.
fn words(answer: &Answer) -> String {
    let name = answer.headers.get("x-amzn-errortype").map(http::HeaderValue::as_bytes);
    let body = &answer.body[..answer.body.len().min(WORDS)];
    let both = [name.unwrap_or_default(), b" ", body].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[cfg(test)]
mod tests;
