//! Access to AWS: the region, the credentials, and signatures of requests that are not sent by the
//! SDK.
//!
//! All components that use AWS look things up in the same order. Region: the configuration,
//! `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, the task of ECS, the EC2 instance. Credentials:
//! environment, profile files, web identity, the role of the ECS task or EKS pod, the role of the
//! EC2 instance; on top of them a role to assume.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig,
    imds::region::ImdsRegionProvider,
    meta::region::ProvideRegion as _,
    profile::ProfileFileRegionProvider,
    provider_config::ProviderConfig,
    retry::RetryConfig,
    sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{
    Credentials,
    credential_feature::AwsCredentialFeature as Feature,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use ring::digest;
use tokio::sync::Mutex;

use super::{
    aws_http,
    metadata::{self, Service},
    proxy::{self, Destination, Way},
    tls::ClientTls,
};
use crate::config::shown::without_secrets;

/// Credentials that do not expire are fetched again after this time, in case a file has changed.
const ASK_AGAIN: Duration = Duration::from_mins(15);
/// New credentials are fetched this long before the old ones expire.
const BEFORE_END: Duration = Duration::from_mins(1);
/// Longest time for the agent of an ECS task to answer with the region.
const AGENT: Duration = Duration::from_secs(2);

/// The remedy if there are no credentials.
const GIVE_CREDENTIALS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, mount ~/.aws, \
                                or give the task a role";

/// How to reach a service.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// If empty, it is looked up.
    pub region: String,
    /// Base URL. If empty, that of the region.
    pub endpoint: String,
    /// Role to assume.
    pub role: Option<Role>,
    /// Attempts of the SDK for one request; 0 means its default.
    pub attempts: u32,
    /// Longest time for one operation with all of its attempts; `None` means no limit.
    pub timeout: Option<Duration>,
    /// URL of the proxy. If empty, the environment decides.
    pub proxy: String,
    /// Do not ask the metadata service of EC2 for the region.
    pub skips_instance: bool,
}

/// A role to assume.
#[derive(Debug, Clone, Default)]
pub struct Role {
    /// `arn:aws:iam::...:role/...`.
    pub arn: String,
    /// The external id that the role requires, if it requires one.
    pub external_id: String,
    /// Name of the session in the logs of AWS. If empty, `skep`.
    pub session_name: String,
    /// Region whose STS is used. If empty, that of the service.
    pub sts_region: String,
    /// File with the token of a web identity, which replaces other credentials.
    pub token_file: String,
}

/// The configuration for the SDK, with the region.
#[derive(Debug, Clone)]
pub struct Found {
    /// For the clients of the SDK.
    pub config: SdkConfig,
    /// `ca-central-1`.
    pub region: String,
    /// Where the region was found: `region`, `AWS_REGION`, ...
    pub region_source: &'static str,
}

impl Access {
    fn loader(&self, http: SharedHttpClient) -> ConfigLoader {
        let mut timeout = TimeoutConfig::builder();
        if let Some(limit) = self.timeout {
            timeout = timeout.operation_timeout(limit);
        }
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .timeout_config(timeout.build());
        if self.attempts > 0 {
            loader = loader.retry_config(RetryConfig::standard().with_max_attempts(self.attempts));
        }
        if !self.endpoint.is_empty() {
            loader = loader.endpoint_url(&self.endpoint);
        }
        loader
    }

    /// Finds the region and the sources of credentials; no credentials are fetched yet. The error
    /// has the remedy.
    pub async fn find(&self) -> Result<Found, String> {
        let http = aws_http::client(&self.proxy);
        let (region, region_source) = self
            .region(&http)
            .await
            .ok_or("the AWS region is unknown: set `region`, or AWS_REGION where skep runs")?;
        let loader = self.loader(http.clone()).region(Region::new(region.clone()));
        let mut config = loader.load().await;
        let mut wrong = wrong_endpoint(config.endpoint_url(), "the endpoint of AWS");
        for name in ["AWS_ENDPOINT_URL_XRAY", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"] {
            let url = std::env::var(name).ok().filter(|url| !url.is_empty());
            wrong = wrong.or_else(|| wrong_endpoint(url.as_deref(), name));
        }
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if let Some(role) = &self.role {
            // The endpoint is that of the service, not of STS.
            let access = Access { endpoint: String::new(), ..self.clone() };
            let loader = access.loader(http.clone()).region(Region::new(region.clone()));
            let credentials = role.provider(&loader.load().await, http).await;
            config = config.into_builder().credentials_provider(credentials).build();
        }
        Ok(Found { config, region, region_source })
    }

    /// The proxy for a host, for messages.
    pub fn proxy_of(&self, is_https: bool, host: &str, port: u16) -> Option<String> {
        let destination = Destination { is_https, host, port };
        match proxy::way(destination, ("proxy_address", &self.proxy), &ClientTls::default()) {
            Ok(Way::Proxy(proxy)) => Some(proxy.to_string()),
            _ => None,
        }
    }

    async fn region(&self, http: &SharedHttpClient) -> Option<(String, &'static str)> {
        if !self.region.is_empty() {
            return Some((self.region.clone(), "region"));
        }
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if let Some(region) = std::env::var(name).ok().filter(|text| !text.is_empty()) {
                return Some((region, name));
            }
        }
        let provider = ProviderConfig::default().with_http_client(http.clone());
        let profile = ProfileFileRegionProvider::builder().configure(&provider).build();
        if let Some(region) = profile.region().await {
            return Some((region.to_string(), "profile"));
        }
        if let Some(region) = region_of_task().await {
            return Some((region, "ECS task"));
        }
        if self.skips_instance {
            return None;
        }
        let instance = ImdsRegionProvider::builder().configure(&provider).build();
        Some((instance.region().await?.to_string(), "EC2 instance"))
    }
}

impl Role {
    async fn provider(
        &self,
        config: &SdkConfig,
        http: SharedHttpClient,
    ) -> SharedCredentialsProvider {
        let session = if self.session_name.is_empty() { "skep" } else { &self.session_name };
        if !self.token_file.is_empty() {
            let region = match self.sts_region.as_str() {
                "" => config.region().cloned(),
                own => Some(Region::new(own.to_owned())),
            };
            let settings = ProviderConfig::default().with_http_client(http).with_region(region);
            let role = StaticConfiguration {
                web_identity_token_file: self.token_file.clone().into(),
                role_arn: self.arn.clone(),
                session_name: session.to_owned(),
            };
            let provider = WebIdentityTokenCredentialsProvider::builder()
                .configure(&settings)
                .static_configuration(role);
            return SharedCredentialsProvider::new(provider.build());
        }
        let mut role =
            AssumeRoleProvider::builder(&self.arn).configure(config).session_name(session);
        if !self.external_id.is_empty() {
            role = role.external_id(&self.external_id);
        }
        if !self.sts_region.is_empty() {
            role = role.region(Region::new(self.sts_region.clone()));
        }
        SharedCredentialsProvider::new(role.build().await)
    }
}

/// What the ECS agent reports about the task that skep runs in.
async fn region_of_task() -> Option<String> {
    let url = std::env::var("ECS_CONTAINER_METADATA_URI_V4").ok()?;
    let service = Service::parse(&url).ok()?;
    let question = metadata::ask(&service, Method::GET, "/task", &[], AGENT);
    let answer = tokio::time::timeout(AGENT, question).await.ok()?.ok()?;
    let task: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    region_of_arn(task.get("TaskARN")?.as_str()?)
}

/// `arn:partition:service:region:account:resource`.
fn region_of_arn(arn: &str) -> Option<String> {
    let mut parts = arn.split(':');
    let is_arn = parts.next() == Some("arn");
    parts.nth(2).filter(|region| is_arn && !region.is_empty()).map(str::to_owned)
}

/// The message if no credentials were found, with the remedy.
pub fn no_credentials() -> String {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let why = match (is_set("AWS_ACCESS_KEY_ID"), is_set("AWS_SECRET_ACCESS_KEY")) {
        (true, false) => ": AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not",
        (false, true) => ": AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not",
        _ => "",
    };
    format!("no AWS credentials were found{why}: {GIVE_CREDENTIALS}")
}

impl Found {
    /// The current credentials, and a description of their source. The error has the remedy.
    pub async fn credentials(&self) -> Result<(Credentials, String), String> {
        let provider = self.config.credentials_provider().ok_or_else(no_credentials)?;
        let credentials = provider.provide_credentials().await.map_err(|error| {
            let said = in_words(&error);
            match error {
                aws_credential_types::provider::error::CredentialsError::CredentialsNotLoaded(
                    _,
                ) => no_credentials(),
                _ => format!(
                    "no AWS credentials could be loaded: {said}; {GIVE_CREDENTIALS} \
                     (AWS_EC2_METADATA_DISABLED=true where this is no instance of EC2)"
                ),
            }
        })?;
        let source = source(&credentials);
        Ok((credentials, source))
    }

    /// A signer of requests to `service` (`xray`, `logs`, ...).
    pub fn signer(self, service: &str) -> Signer {
        Signer { found: self, service: service.to_owned(), kept: Mutex::new(None) }
    }
}

/// The messages of an error and of its causes, each once.
pub fn in_words(error: &dyn Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = shortened(&error.to_string());
        if !said.last().is_some_and(|before| before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

/// Longest part of an error that is shown, in bytes.
const SHOWN: usize = 300;

/// An error of the SDK without the request in it, which holds telemetry.
fn shortened(text: &str) -> String {
    let end = [" to request Request {", "Request {", "SdkBody"].into_iter();
    let end = end.filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text[..text.floor_char_boundary(end.min(SHOWN))].to_owned()
}

/// Why an endpoint cannot be used; `None` if it can, or if it is not set.
fn wrong_endpoint(url: Option<&str>, name: &str) -> Option<String> {
    let url = url?;
    let uri = url.parse::<Uri>().ok();
    let is_url = uri.is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some());
    (!is_url).then(|| {
        let shown = without_secrets(url);
        format!("{name} is `{shown}`, which is not a URL: write `https://host`, or unset it")
    })
}

/// Describes the source of credentials, never the credentials.
fn source(credentials: &Credentials) -> String {
    let features: &[Feature] =
        credentials.get_property::<Vec<Feature>>().map(Vec::as_slice).unwrap_or_default();
    let words = features.iter().filter_map(|feature| match feature {
        Feature::CredentialsEnvVars => Some("environment"),
        Feature::CredentialsProfile
        | Feature::CredentialsProfileSourceProfile
        | Feature::CredentialsProfileNamedProvider => Some("profile"),
        Feature::CredentialsEnvVarsStsWebIdToken
        | Feature::CredentialsProfileStsWebIdToken
        | Feature::CredentialsStsAssumeRoleWebId => Some("web identity"),
        Feature::CredentialsStsAssumeRole => Some("assumed role"),
        Feature::CredentialsHttp => Some("role of the task or pod"),
        Feature::CredentialsImds => Some("role of the instance"),
        _ => None,
    });
    let mut words: Vec<&str> = words.collect();
    words.dedup();
    if words.is_empty() { "unknown".to_owned() } else { words.join(", ") }
}

/// Signs requests (Signature Version 4, in headers).
#[derive(Debug)]
pub struct Signer {
    found: Found,
    service: String,
    /// Credentials, and when to fetch others.
    kept: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Signer {
    /// The credentials that requests are signed with.
    pub fn found(&self) -> &Found {
        &self.found
    }

    async fn credentials(&self, now: SystemTime) -> Result<Credentials, String> {
        let mut kept = self.kept.lock().await;
        if let Some((credentials, until)) = &*kept
            && now < *until
        {
            return Ok(credentials.clone());
        }
        let (credentials, _) = self.found.credentials().await?;
        let end = credentials.expiry().map(|end| end.checked_sub(BEFORE_END).unwrap_or(end));
        *kept = Some((credentials.clone(), end.unwrap_or(now + ASK_AGAIN)));
        Ok(credentials)
    }

    /// Fetches credentials if there are none, and describes their source.
    pub async fn credentials_source(&self, now: SystemTime) -> Result<String, String> {
        Ok(source(&self.credentials(now).await?))
    }

    /// Fetches new credentials for the next request, because the service has said that these have
    /// expired.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// Adds the headers of a signature over the method, the URL, `headers` and `body`. `Host` is
    /// taken from the URL if it is not among the headers. `now` is the time of the service's clock.
    pub async fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), String> {
        self.sign_body(method, uri, headers, SignableBody::Bytes(body), now).await
    }

    /// Signs a body in pieces, without joining them.
    pub async fn sign_pieces(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[Bytes],
        now: SystemTime,
    ) -> Result<(), String> {
        let mut hash = digest::Context::new(&digest::SHA256);
        for piece in body {
            hash.update(piece);
        }
        let hash = hex(hash.finish().as_ref());
        self.sign_body(method, uri, headers, SignableBody::Precomputed(hash), now).await
    }

    async fn sign_body(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: SignableBody<'_>,
        now: SystemTime,
    ) -> Result<(), String> {
        let identity = self.credentials(now).await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.found.region)
            .name(&self.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?;
        let signed = [header::HOST, header::CONTENT_TYPE];
        let texts = signed
            .iter()
            .filter_map(|name| Some((name.as_str(), headers.get(name)?.to_str().ok()?)));
        let url = uri.to_string();
        let request = SignableRequest::new(method.as_str(), url, texts, body)
            .map_err(|error| error.to_string())?;
        let (instructions, _) =
            sign(request, &params.into()).map_err(|error| error.to_string())?.into_parts();
        let (added, _) = instructions.into_parts();
        for one in added {
            let name = HeaderName::from_static(one.name());
            let value = HeaderValue::from_str(one.value()).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SDK's error for a wrong endpoint shows the whole request.
    #[test]
    fn errors_of_the_sdk_show_no_telemetry() {
        let text = "failed to apply endpoint `localhost:4566` to request Request { body: SdkBody { \
                    inner: Once(Some(b\"CUSTOMERDATA\")) } }";
        assert_eq!(shortened(text), "failed to apply endpoint `localhost:4566`");
        assert_eq!(shortened(&"x".repeat(1000)).len(), SHOWN);
        for wrong in ["localhost:4566", " ", "", "not a url"] {
            assert!(wrong_endpoint(Some(wrong), "AWS_ENDPOINT_URL").is_some(), "{wrong:?}");
        }
        assert_eq!(wrong_endpoint(Some("http://localhost:4566"), "AWS_ENDPOINT_URL"), None);
        assert_eq!(wrong_endpoint(None, "AWS_ENDPOINT_URL"), None);
    }

    #[test]
    fn the_region_of_a_task_stands_in_its_arn() {
        let arn = "arn:aws-cn:ecs:cn-north-1:111122223333:task/default/158d1c8083dd49d6";
        assert_eq!(region_of_arn(arn).as_deref(), Some("cn-north-1"));
        for wrong in ["", "arn", "arn:aws:iam::111122223333:role/x", "urn:a:b:c:d"] {
            assert_eq!(region_of_arn(wrong), None, "{wrong}");
        }
    }

    /// `get-vanilla` of AWS's test suite for Signature Version 4, with the region and service
    /// there.
    #[tokio::test]
    async fn a_request_is_signed_as_the_suite_of_aws_says() {
        let keys = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        );
        let config =
            SdkConfig::builder().credentials_provider(SharedCredentialsProvider::new(keys)).build();
        let found = Found { config, region: "us-east-1".to_owned(), region_source: "region" };
        let signer = found.signer("service");
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("https://example.amazonaws.com/");
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(24_015_636);
        signer.sign(&Method::GET, &uri, &mut headers, b"", now).await.unwrap();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=\
             5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let mut in_pieces = HeaderMap::new();
        let pieces = [Bytes::from_static(b"one "), Bytes::new(), Bytes::from_static(b"body")];
        signer.sign_pieces(&Method::POST, &uri, &mut in_pieces, &pieces, now).await.unwrap();
        signer.sign(&Method::POST, &uri, &mut headers, b"one body", now).await.unwrap();
        assert_eq!(in_pieces, headers);
    }
}
