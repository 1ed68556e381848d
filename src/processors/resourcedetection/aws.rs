//! The instance metadata service of EC2, as `ec2` and `eks` ask it, and what AWS documents have in
//! common. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::probe::Probe;
use crate::net::metadata::{Answer, Failure, Service};

/// Its address in every instance.
const ADDRESS: &str = "http://169.254.169.254";
/// Its address where the mode is `IPv6`.
const ADDRESS_IPV6: &str = "http://[fd00:ec2::254]";
/// How long one answer may take: it comes from the same machine. Longer than connecting may take,
/// or an unused address would look like a silent service.
const ANSWER: Duration = Duration::from_secs(2);
/// First pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What helps where the service takes questions and its answers do not arrive.
const HOPS: &str = "in a container its answers need two hops: `aws ec2 \
                    modify-instance-metadata-options --http-put-response-hop-limit 2`; or remove \
                    the detector";

/// What helps where the service refuses.
const REFUSED: &str = "the metadata are turned off or refused to skep's user; turn them on with `aws \
                       ec2 modify-instance-metadata-options --http-endpoint enabled`, or remove the \
                       detector";

/// A text member of a JSON object that is not empty.
pub(super) fn member<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The metadata of an instance, with a session.
pub(super) struct Instance<'a> {
    probe: &'a Probe,
    service: Service,
    /// `None` with version 1 of the service, which has no tokens.
    token: Option<String>,
    attempts: u32,
    longest_pause: Duration,
}

impl<'a> Instance<'a> {
    /// Opens a session. `None` if there is no service, or it fails; both are noted.
    pub(super) async fn open(
        probe: &'a Probe,
        attempts: u32,
        longest_pause: Duration,
    ) -> Option<Instance<'a>> {
        let var = |name: &str| probe.environment.var(name);
        if var("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            probe.absent("AWS_EC2_METADATA_DISABLED is set");
            return None;
        }
        let is_ipv6 = var("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let address = if is_ipv6 { ADDRESS_IPV6 } else { ADDRESS };
        let url = var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| address.to_owned());
        let service = match Service::parse(&url) {
            Ok(service) => service,
            Err(wrong) => {
                probe.warn(format!("AWS_EC2_METADATA_SERVICE_ENDPOINT: {wrong}"));
                return None;
            }
        };
        let attempts = if attempts == 0 { u32::MAX } else { attempts };
        let mut instance = Instance { probe, service, token: None, attempts, longest_pause };
        let lifetime = [("x-aws-ec2-metadata-token-ttl-seconds", "300")];
        let asked = instance.ask(Method::PUT, "/latest/api/token", &lifetime).await;
        match asked {
            Asked::Answered(answer) if answer.status == StatusCode::OK => {
                let token = String::from_utf8_lossy(&answer.body).trim().to_owned();
                instance.token = Some(token);
                Some(instance)
            }
            // Services that know version 1 only.
            Asked::Answered(Answer {
                status: StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED,
                ..
            }) => Some(instance),
            Asked::Answered(answer) => {
                probe.failed_for(&format!("the answer is {}", answer.status), REFUSED);
                None
            }
            Asked::Nobody => {
                probe.absent(format!("there is no instance metadata at {url}"));
                None
            }
            Asked::Failed(why) => {
                probe.failed(&why);
                None
            }
        }
    }

    /// Reads a path: `/latest/meta-data/hostname`. `None` if there is nothing; failures are noted.
    pub(super) async fn get(&self, path: &str) -> Option<Answer> {
        let token = self.token.as_deref().map(|token| ("x-aws-ec2-metadata-token", token));
        match self.ask(Method::GET, path, token.as_slice()).await {
            Asked::Answered(answer) if answer.status == StatusCode::OK => return Some(answer),
            Asked::Answered(answer) if answer.status == StatusCode::NOT_FOUND => {}
            Asked::Answered(answer) => {
                self.probe.failed_for(&format!("the answer is {}", answer.status), REFUSED);
            }
            Asked::Nobody => self.probe.failed("the service no longer answers"),
            Asked::Failed(why) => self.probe.failed(&why),
        }
        None
    }

    /// Reads a path as text.
    pub(super) async fn text(&self, path: &str) -> Option<String> {
        let answer = self.get(path).await?;
        Some(String::from_utf8_lossy(&answer.body).trim().to_owned())
    }

    /// The identity document, as `ec2` and `eks` give it, and the name of the host.
    pub(super) async fn identity(&self) {
        let Some(answer) = self.get("/latest/dynamic/instance-identity/document").await else {
            return;
        };
        let Some(document) = self.probe.parse(&answer) else { return };
        for (name, key) in [
            ("cloud.account.id", "accountId"),
            ("cloud.availability_zone", "availabilityZone"),
            ("cloud.region", "region"),
            ("host.id", "instanceId"),
            ("host.image.id", "imageId"),
            ("host.type", "instanceType"),
        ] {
            self.probe.text(name, member(&document, key));
        }
        if self.probe.wants("host.name") {
            let name = self.text("/latest/meta-data/hostname").await;
            self.probe.text("host.name", name.as_deref());
        }
    }

    /// Asks until there is an answer that is no fault of the service.
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Asked {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let asking = self.probe.ask(&self.service, method.clone(), path, headers, HOPS);
            let why = match tokio::time::timeout(ANSWER, asking).await {
                Ok(Ok(answer)) if !answer.status.is_server_error() => {
                    return Asked::Answered(answer);
                }
                Ok(Ok(answer)) => format!("the answer is {}", answer.status),
                Ok(Err(Failure::Unreachable(_))) => return Asked::Nobody,
                Ok(Err(failure)) => failure.to_string(),
                // A second one would be as late: too few hops stay too few.
                Err(_) => return Asked::Failed(format!("no answer within {ANSWER:?}")),
            };
            if attempt >= self.attempts {
                return Asked::Failed(why);
            }
            tokio::time::sleep(pause.min(self.longest_pause)).await;
            pause = pause.saturating_mul(2);
        }
        Asked::Nobody
    }
}

enum Asked {
    Answered(Answer),
    /// The address does not answer: no EC2.
    Nobody,
    Failed(String),
}

/// What a name in AWS says of where it belongs: `arn:partition:service:region:account:resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) partition: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (start, partition, _service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        (start == "arn").then_some(Arn { partition, region, account, resource })
    }
}
