//! Creates log groups and streams that do not exist yet. If another process creates them first,
//! that is fine, too.

use std::collections::BTreeMap;

use aws_sdk_cloudwatchlogs::{Client, types::LogGroupClass};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::super::aws::explain;
use crate::component::ExportError;

/// Days that a group can keep its events (`PutRetentionPolicy`).
const DAYS: [i32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Settings of a new group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct NewGroup {
    /// Days; `None`: for ever.
    pub(in super::super) retention: i32,
    pub(in super::super) tags: BTreeMap<String, String>,
    pub(in super::super) class: Option<LogGroupClass>,
}

/// Checks a number of days. An error is the remedy.
pub(in super::super) fn check_retention(days: i64) -> Result<i32, String> {
    let days = i32::try_from(days).unwrap_or(-1);
    if days == 0 || DAYS.contains(&days) {
        return Ok(days);
    }
    let next = DAYS.iter().find(|known| **known > days).unwrap_or(&DAYS[21]);
    Err(format!("write {next}, another of the numbers that CloudWatch knows, or 0 for ever"))
}

/// Checks tags.
pub(in super::super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > 50 {
        return Err("a log group has at most 50 tags".to_owned());
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || key.starts_with("aws:") {
            return Err(format!(
                "`{key}` cannot be the key of a tag: it has 1 to 128 characters and does not begin with \
                 `aws:`"
            ));
        }
        if value.chars().count() > 256 {
            return Err(format!("the value of tag `{key}` has more than 256 characters"));
        }
    }
    Ok(())
}

const EXISTS: &str = "ResourceAlreadyExistsException";
const MISSING: &str = "ResourceNotFoundException";

impl NewGroup {
    /// Creates a stream, and its group if that is missing, too.
    pub(super) async fn create(
        &self,
        client: &Client,
        group: &str,
        stream: &str,
    ) -> Result<(), ExportError> {
        if !create_stream(client, group, stream).await? {
            self.create_group(client, group).await?;
            create_stream(client, group, stream).await?;
        }
        tracing::info!(group, stream, "created a log stream");
        Ok(())
    }

    async fn create_group(&self, client: &Client, group: &str) -> Result<(), ExportError> {
        let tags = self.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let call = client
            .create_log_group()
            .log_group_name(group)
            .set_tags(Some(tags).filter(|_| !self.tags.is_empty()))
            .set_log_group_class(self.class.clone());
        match call.send().await {
            Ok(_) => tracing::info!(group, retention_days = self.retention, "created a log group"),
            // Its retention is the business of who made it.
            Err(error) if error.code() == Some(EXISTS) => return Ok(()),
            Err(error) => return Err(explain("logs:CreateLogGroup", &error)),
        }
        if self.retention > 0 {
            let call = client
                .put_retention_policy()
                .log_group_name(group)
                .retention_in_days(self.retention);
            if let Err(error) = call.send().await {
                let error = explain("logs:PutRetentionPolicy", &error);
                tracing::warn!(group, error = %error, "the log group keeps its events for ever");
            }
        }
        Ok(())
    }
}

/// Whether the stream is there now; false where its group is not.
async fn create_stream(client: &Client, group: &str, stream: &str) -> Result<bool, ExportError> {
    let call = client.create_log_stream().log_group_name(group).log_stream_name(stream);
    match call.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(EXISTS) => Ok(true),
        Err(error) if error.code() == Some(MISSING) => Ok(false),
        Err(error) => Err(explain("logs:CreateLogStream", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_tags_are_those_that_cloudwatch_takes() {
        assert_eq!((check_retention(0), check_retention(1096)), (Ok(0), Ok(1096)));
        assert!(check_retention(10).unwrap_err().starts_with("write 14,"));
        assert!(check_retention(9999).unwrap_err().starts_with("write 3653,"));
        assert!(check_retention(-1).unwrap_err().starts_with("write 1,"));
        let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(check_tags(&tags("team", "web")), Ok(()));
        assert!(check_tags(&tags("aws:x", "")).is_err());
        assert!(check_tags(&tags("x", &"y".repeat(257))).is_err());
    }
}
