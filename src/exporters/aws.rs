//! What all AWS exporters share: the report of what was found at the start, and what AWS's errors mean.

use aws_config::SdkConfig;
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

use crate::{
    component::{ExportError, Retry},
    net::aws::{Access, Role},
};

/// `role_arn` and `external_id` of an exporter.
pub(super) fn role(arn: &str, external_id: &str) -> Option<Role> {
    let (arn, external_id) = (arn.to_owned(), external_id.to_owned());
    Some(Role { arn, external_id, ..Role::default() }).filter(|role| !role.arn.is_empty())
}

/// Finds region and credentials and reports them, never the keys. `exporter` is for the log.
pub(super) async fn connect(access: &Access, exporter: &str) -> Result<SdkConfig, ExportError> {
    let fail = |message| ExportError { retry: Retry::After(None), message };
    let found = access.find().await.map_err(fail)?;
    let region_source = found.region_source;
    match found.credentials().await {
        Ok((_, source)) => tracing::info!(
            exporter,
            region = found.region,
            region_from = region_source,
            credentials_from = source,
            role = access.role.as_ref().map(|role| role.arn.as_str()),
            endpoint = found.config.endpoint_url().unwrap_or("of the region"),
            "AWS is set up"
        ),
        Err(message) => {
            let message = format!("region {} (from {region_source}): {message}", found.region);
            return Err(fail(message));
        }
    }
    Ok(found.config)
}

/// Says at the start what is missing.
pub(super) fn report<T>(exporter: &str, found: Result<T, ExportError>) {
    if let Err(error) = found {
        tracing::warn!(exporter, error = %error, "AWS is not set up; what comes waits in the queue");
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
