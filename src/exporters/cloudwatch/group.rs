//! Creates log groups and streams that do not exist yet. If another process creates them first,
//! that is fine, too.
//!
//! A group is made as the configuration says. Where clients of the receiver `awscloudwatchlogs`
//! have asked for a retention, a class or tags, the resource of its records says so, and the group
//! gets them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use aws_sdk_cloudwatchlogs::{Client, types::LogGroupClass};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use foldhash::fast::RandomState;

use super::{super::aws::explain, streams::as_text};
use crate::{
    component::ExportError,
    otlp::view::{Resource, Text, Value},
    sync,
};

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

/// Attributes of a resource that say what a client asked for its group.
const NAMES: &str = "aws.log.group.names";
const RETENTION: &str = "aws.log.group.retention_days";
const CLASS: &str = "aws.log.group.class";
const TAGS: &str = "aws.log.group.tags";

/// What new groups are like: as the configuration has it, and what clients asked for some.
#[derive(Debug, Default)]
pub(in super::super) struct NewGroups {
    usual: NewGroup,
    /// Groups that are remembered at most.
    most: usize,
    /// By name; only what clients asked for.
    asked: Mutex<HashMap<String, NewGroup, RandomState>>,
}

impl NewGroups {
    /// Groups as `usual`, but for at most `most` that clients ask for.
    pub(in super::super) fn new(usual: NewGroup, most: usize) -> Self {
        NewGroups { usual, most, asked: Mutex::default() }
    }

    /// Notes what a resource asks for a group, if that is the `group` that its records go to.
    pub(in super::super) fn note(
        &self,
        resource: Option<Resource<'_>>,
        group: impl FnOnce() -> String,
    ) {
        let Some((name, asked)) = resource.as_ref().and_then(NewGroup::asked_for) else { return };
        if group() != name {
            return;
        }
        let mut all = sync::lock(&self.asked);
        if all.get(&name) == Some(&asked) || all.len() >= self.most && !all.contains_key(&name) {
            return;
        }
        all.insert(name, asked);
    }

    /// What a group is to be like.
    pub(super) fn of(&self, group: &str) -> NewGroup {
        let asked = sync::lock(&self.asked).get(group).cloned();
        let mut new = self.usual.clone();
        if let Some(asked) = asked {
            if asked.retention > 0 {
                new.retention = asked.retention;
            }
            new.class = asked.class.or(new.class);
            new.tags.extend(asked.tags);
        }
        new
    }
}

impl NewGroup {
    /// What a resource asks for its group, with the group's name; none if it asks for nothing. What
    /// CloudWatch does not take is passed over.
    fn asked_for(resource: &Resource<'_>) -> Option<(String, Self)> {
        let mut asked = NewGroup::default();
        let mut name = None;
        for attribute in resource.attributes() {
            let is_meant = attribute.key.0.starts_with(b"aws.log.group.");
            let (true, Some(value)) = (is_meant, attribute.value) else { continue };
            let Ok(key) = std::str::from_utf8(attribute.key.0) else { continue };
            match (key, value) {
                (NAMES, Value::Array(names)) => name = names.values().next().and_then(as_text),
                (RETENTION, Value::Int(days)) => {
                    asked.retention = check_retention(days).unwrap_or_default();
                }
                (CLASS, Value::String(Text(class))) => {
                    let class = String::from_utf8_lossy(class);
                    asked.class = LogGroupClass::try_parse(&class).ok();
                }
                (TAGS, Value::KeyValues(tags)) => {
                    let tags = tags.entries().take(50).filter_map(|tag| {
                        Some((tag.key.to_str().into_owned(), as_text(tag.value?)?.into_owned()))
                    });
                    asked.tags = tags.collect();
                    if check_tags(&asked.tags).is_err() {
                        asked.tags.clear();
                    }
                }
                _ => {}
            }
        }
        let asks = asked != NewGroup::default();
        name.filter(|_| asks).map(|name| (name.into_owned(), asked))
    }
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

    #[test]
    fn a_group_is_made_as_its_clients_asked_and_otherwise_as_configured() {
        use crate::otlp::{attribute, view::Message};
        let text = |text: &[u8]| [&[0x0A, u8::try_from(text.len()).unwrap()], text].concat();
        let list = |number: u8, inside: Vec<u8>| {
            [vec![number << 3 | 2, u8::try_from(inside.len()).unwrap()], inside].concat()
        };
        let tag = [text(b"team"), list(2, text(b"web"))].concat();
        let resource = |name: &[u8]| {
            let mut out = Vec::new();
            for (key, value) in [
                (NAMES, list(5, list(1, text(name)))),
                (RETENTION, vec![0x18, 30]),
                (CLASS, text(b"INFREQUENT_ACCESS")),
                (TAGS, list(6, list(1, tag.clone()))),
            ] {
                attribute::put(&mut out, 1, key.as_bytes(), &value);
            }
            out
        };
        let usual = NewGroup {
            retention: 7,
            tags: BTreeMap::from([("by".to_owned(), "skep".to_owned())]),
            class: None,
        };
        let groups = NewGroups::new(usual.clone(), 1);
        let note = |group: &str, name: &[u8]| {
            let bytes = resource(name);
            let resource = Resource::from(Message::new(&bytes));
            groups.note(Some(resource), || group.to_owned());
        };
        note("g", b"another");
        assert_eq!(groups.of("g"), usual, "the records of one group may go to another");
        note("g", b"g");
        let made = groups.of("g");
        assert_eq!((made.retention, made.tags.len()), (30, 2));
        assert_eq!(made.class, Some(LogGroupClass::InfrequentAccess));
        note("more", b"more");
        assert_eq!(groups.of("more"), usual, "as many groups as may be");
    }
}
