//! What all AWS exporters share: where credentials and the region come from, and what AWS's errors mean.
//!
//! Credentials are looked for as in every AWS program: environment, profile files, web identity, the role
//! of the ECS task or EKS pod, the role of the EC2 instance. The region is `region`, else `AWS_REGION`,
//! `AWS_DEFAULT_REGION`, the profile, the instance.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

use crate::component::{ExportError, Retry};

/// How a service is reached.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// Empty: found out.
    pub(super) region: String,
    /// Empty: that of the region.
    pub(super) endpoint: String,
    /// Role to assume; empty: none.
    pub(super) role_arn: String,
    pub(super) external_id: String,
    /// Attempts of the SDK itself for one request.
    pub(super) attempts: u32,
    pub(super) timeout: Duration,
}

impl Access {
    /// Finds credentials and region, and says which region it is. `exporter` is for the log.
    pub(super) async fn load(&self, exporter: &str) -> Result<SdkConfig, ExportError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(self.attempts))
            .timeout_config(TimeoutConfig::builder().operation_timeout(self.timeout).build());
        if !self.region.is_empty() {
            loader = loader.region(Region::new(self.region.clone()));
        }
        if !self.endpoint.is_empty() {
            loader = loader.endpoint_url(&self.endpoint);
        }
        let mut config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(ExportError {
                retry: Retry::After(None),
                message: "no AWS region is known: set `region`, or AWS_REGION where skep runs"
                    .to_owned(),
            });
        };
        if !self.role_arn.is_empty() {
            let mut role =
                AssumeRoleProvider::builder(&self.role_arn).configure(&config).session_name("skep");
            if !self.external_id.is_empty() {
                role = role.external_id(&self.external_id);
            }
            let role = aws_config::meta::credentials::CredentialsProviderChain::first_try(
                "AssumeRole",
                role.build().await,
            );
            let provider = aws_credential_types::provider::SharedCredentialsProvider::new(role);
            config = config.into_builder().credentials_provider(provider).build();
        }
        tracing::info!(
            exporter,
            region,
            region_from = self.region_source(),
            role = self.role_arn,
            endpoint = config.endpoint_url().unwrap_or("of the region"),
            "AWS is set up"
        );
        Ok(config)
    }

    fn region_source(&self) -> &'static str {
        let is_set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
        match () {
            () if !self.region.is_empty() => "region",
            () if is_set("AWS_REGION") => "AWS_REGION",
            () if is_set("AWS_DEFAULT_REGION") => "AWS_DEFAULT_REGION",
            () => "profile or instance",
        }
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
    let said =
        if said.is_empty() { DisplayErrorContext(error).to_string() } else { said.to_owned() };
    let (retry, hint) = verdict(action, status, code, &said);
    let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
    ExportError { retry, message: format!("{code}{said}{hint}") }
}

fn verdict(action: &str, status: Option<u16>, code: &str, said: &str) -> (Retry, String) {
    let again = Retry::After(None);
    match (code, status) {
        ("AccessDeniedException" | "AccessDenied", _) => {
            (Retry::Denied, format!("; allow the action `{action}` to the role or user of skep"))
        }
        ("ExpiredTokenException" | "ExpiredToken", _) => {
            (again, "; the session has ended: give new credentials, or a role".to_owned())
        }
        ("UnrecognizedClientException" | "InvalidClientTokenId", _) => {
            (Retry::Denied, "; AWS does not know this access key: it is mistyped or deleted".to_owned())
        }
        ("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired", _) => (
            Retry::Denied,
            "; the secret key is wrong, or the clock of this machine by more than 5 minutes".to_owned(),
        ),
        (code, status) if status == Some(429) || code.contains("Thrott") => (again, String::new()),
        (_, Some(408 | 500..)) => (again, String::new()),
        (_, Some(400..)) => (Retry::Never, String::new()),
        // Nothing came back.
        _ if said.contains("credential") => (
            again,
            "; no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, mount \
             ~/.aws, or give the task a role"
                .to_owned(),
        ),
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
        assert_eq!(retry("InvalidRequestException", Some(400)), Retry::Never);
        assert_eq!(retry("AccessDeniedException", Some(403)), Retry::Denied);
        let (_, hint) = verdict("logs:PutLogEvents", Some(403), "AccessDeniedException", "");
        assert!(hint.contains("logs:PutLogEvents"));
        let (_, hint) = verdict("", None, "", "the credential provider was not enabled");
        assert!(hint.contains("AWS_ACCESS_KEY_ID"));
    }
}
