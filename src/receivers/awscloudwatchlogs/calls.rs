//! The calls of the API that make and list groups and streams.
//!
//! Names that are not there are made, except by calls that ask for them. Lists are in pages, as the
//! API has them; the token of a page is how many entries came before it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{Fault, Kind},
    groups::{All, Group, Groups, Stream, Wishes},
};

/// Days that a group can keep its events.
const DAYS: [i32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Most characters of a name.
const LONGEST_NAME: usize = 512;
/// Most entries of a page.
const PAGE: usize = 50;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    PutLogEvents,
    CreateLogGroup,
    CreateLogStream,
    PutRetentionPolicy,
    TagResource,
    TagLogGroup,
    DescribeLogGroups,
    DescribeLogStreams,
}

impl Call {
    /// The call that `X-Amz-Target` names.
    pub(super) fn of(target: &str) -> Result<Self, Fault> {
        let Some(operation) = target.strip_prefix("Logs_20140328.") else {
            return Err(Fault::new(
                Kind::UnknownOperation,
                format!(
                    "{} is not a call of CloudWatch Logs; set AWS_ENDPOINT_URL_CLOUDWATCH_LOGS in \
                     place of AWS_ENDPOINT_URL, so that only CloudWatch Logs is called here",
                    short(target)
                ),
            ));
        };
        Ok(match operation {
            "PutLogEvents" => Call::PutLogEvents,
            "CreateLogGroup" => Call::CreateLogGroup,
            "CreateLogStream" => Call::CreateLogStream,
            "PutRetentionPolicy" => Call::PutRetentionPolicy,
            "TagResource" => Call::TagResource,
            "TagLogGroup" => Call::TagLogGroup,
            "DescribeLogGroups" => Call::DescribeLogGroups,
            "DescribeLogStreams" => Call::DescribeLogStreams,
            "GetLogEvents" | "FilterLogEvents" | "StartQuery" | "StartLiveTail" => {
                let message = "skep passes log events on and does not keep them; read them where \
                               its exporters send them";
                return Err(Fault::new(Kind::Unsupported, message));
            }
            _ => {
                let message = format!("skep does not know the call {}", short(operation));
                return Err(Fault::new(Kind::UnknownOperation, message));
            }
        })
    }
}

/// The start of a text that a client has chosen.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// What answers need beside groups and streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

/// Parameters of all of these calls.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters<'a> {
    #[serde(borrow)]
    log_group_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_group_identifier: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_stream_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_group_class: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_group_name_prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_group_name_pattern: Option<Cow<'a, str>>,
    #[serde(borrow)]
    log_stream_name_prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    order_by: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_token: Option<Cow<'a, str>>,
    tags: Option<BTreeMap<String, String>>,
    retention_in_days: Option<i64>,
    descending: Option<bool>,
    limit: Option<i64>,
}

/// Answers a call other than `PutLogEvents`; `None` is an answer without content.
pub(super) fn answer(
    call: Call,
    body: &[u8],
    groups: &Groups,
    place: Place<'_>,
) -> Result<Option<Value>, Fault> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let asked: Parameters<'_> = serde_json::from_slice(body)
        .map_err(|error| Fault::new(Kind::Serialization, error.to_string()))?;
    match call {
        Call::CreateLogGroup => create_group(asked, groups, place.now)?,
        Call::CreateLogStream => {
            let (group, stream) = (asked.group()?, asked.stream()?);
            groups.create_stream(&group, &stream, place.now).map_err(|_| exists("stream"))?;
        }
        Call::PutRetentionPolicy => {
            let group = asked.group()?;
            let days = asked.retention_in_days.and_then(|days| i32::try_from(days).ok());
            let days = days.filter(|days| DAYS.contains(days)).ok_or_else(|| {
                Fault::invalid(format!("`retentionInDays` is not one of {DAYS:?}"))
            })?;
            groups.wish(&group, place.now, |wishes| wishes.retention_days = Some(days));
        }
        Call::TagResource | Call::TagLogGroup => {
            let group =
                if call == Call::TagLogGroup { asked.group()? } else { asked.resource()? };
            let tags = checked(asked.tags.unwrap_or_default())?;
            if !groups.wish(&group, place.now, |wishes| wishes.tag(tags)) {
                let message = "a log group has at most 50 tags";
                return Err(Fault::new(Kind::TooManyTags, message));
            }
        }
        Call::DescribeLogGroups => return asked.groups(&groups.lock(), place).map(Some),
        Call::DescribeLogStreams => return asked.streams(&groups.lock(), place).map(Some),
        // The service answers it.
        Call::PutLogEvents => {}
    }
    Ok(None)
}

fn create_group(asked: Parameters<'_>, groups: &Groups, now: i64) -> Result<(), Fault> {
    let group = asked.group()?.into_owned();
    let class = asked.log_group_class.filter(|class| !class.is_empty());
    if class.as_ref().is_some_and(|class| class.len() > 64) {
        return Err(Fault::invalid("`logGroupClass` is not a class of log groups"));
    }
    let mut wishes = Wishes { class: class.map(Cow::into_owned), ..Wishes::default() };
    if !wishes.tag(checked(asked.tags.unwrap_or_default())?) {
        return Err(Fault::invalid("a log group has at most 50 tags"));
    }
    groups.create(&group, wishes, now).map_err(|_| exists("group"))
}

fn exists(what: &str) -> Fault {
    Fault::new(Kind::AlreadyExists, format!("The specified log {what} already exists"))
}

/// Tags, each of a length that AWS takes.
fn checked(tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Fault> {
    let is_right = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.iter().all(is_right) {
        return Ok(tags);
    }
    Err(Fault::invalid("the key of a tag has 1 to 128 characters, its value at most 256"))
}

/// The name of a group, if it can be one.
pub(super) fn check_group(name: &str) -> Result<(), Fault> {
    let takes = |letter: char| letter.is_ascii_alphanumeric() || "._-/#".contains(letter);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(takes) {
        return Ok(());
    }
    Err(Fault::invalid(
        "`logGroupName` has 1 to 512 letters, digits and characters of `.`, `_`, `-`, `/`, `#`",
    ))
}

/// The name of a stream, if it can be one. CloudWatch takes no `:`, but old versions of clients
/// send it.
pub(super) fn check_stream(name: &str) -> Result<(), Fault> {
    if (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.contains('*') {
        return Ok(());
    }
    Err(Fault::invalid("`logStreamName` has 1 to 512 characters, and no `*`"))
}

/// The name of the group in an ARN or in its place.
fn name_in(identifier: &str) -> &str {
    let name = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
    name.split(':').next().unwrap_or(name)
}

impl<'a> Parameters<'a> {
    fn group(&self) -> Result<Cow<'a, str>, Fault> {
        let name = self.log_group_name.clone().unwrap_or_default();
        check_group(&name).map(|()| name)
    }

    fn stream(&self) -> Result<Cow<'a, str>, Fault> {
        let name = self.log_stream_name.clone().unwrap_or_default();
        check_stream(&name).map(|()| name)
    }

    fn resource(&self) -> Result<Cow<'a, str>, Fault> {
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let name = Cow::Owned(name_in(arn).to_owned());
        check_group(&name).map(|()| name)
    }

    /// How many entries come before the page, and how many it may have.
    fn page(&self) -> Result<(usize, usize), Fault> {
        let token = self.next_token.as_deref().unwrap_or("0");
        let before = token.parse().map_err(|_| Fault::invalid("`nextToken` is not a token"))?;
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok());
        Ok((before, limit.filter(|limit| *limit > 0).map_or(PAGE, |limit| limit.min(PAGE))))
    }

    fn groups(&self, all: &All, place: Place<'_>) -> Result<Value, Fault> {
        let prefix = self.log_group_name_prefix.as_deref().unwrap_or_default();
        let pattern = self.log_group_name_pattern.as_deref().unwrap_or_default();
        let class = self.log_group_class.as_deref();
        let found = all.groups.range(prefix.to_owned()..);
        let found =
            found.take_while(|(name, _)| name.starts_with(prefix)).filter(|(name, group)| {
                let own = group.wishes.class.as_deref().unwrap_or("STANDARD");
                name.contains(pattern) && class.is_none_or(|class| class == own)
            });
        let (before, limit) = self.page()?;
        let mut page: Vec<Value> = found
            .skip(before)
            .take(limit + 1)
            .map(|(name, group)| group_as_json(name, group, place))
            .collect();
        Ok(finished("logGroups", &mut page, before, limit))
    }

    fn streams(&self, all: &All, place: Place<'_>) -> Result<Value, Fault> {
        let identifier = self.log_group_identifier.as_deref().map(name_in);
        let name = self.log_group_name.as_deref().or(identifier).unwrap_or_default();
        check_group(name)?;
        let group = all
            .groups
            .get(name)
            .ok_or_else(|| Fault::new(Kind::NotFound, "The specified log group does not exist."))?;
        let prefix = self.log_stream_name_prefix.as_deref().unwrap_or_default();
        let found = group.streams.range(prefix.to_owned()..);
        let mut found: Vec<(&String, &Stream)> =
            found.take_while(|(name, _)| name.starts_with(prefix)).collect();
        if self.order_by.as_deref() == Some("LastEventTime") {
            let last = |stream: &Stream| stream.written.map(|written| written.last_event);
            found.sort_by_key(|(_, stream)| last(stream));
        }
        if self.descending == Some(true) {
            found.reverse();
        }
        let (before, limit) = self.page()?;
        let mut page: Vec<Value> = found
            .into_iter()
            .skip(before)
            .take(limit + 1)
            .map(|(stream, found)| stream_as_json(name, stream, found, place))
            .collect();
        Ok(finished("logStreams", &mut page, before, limit))
    }
}

/// A page under its key, with a token if there is one entry too many.
fn finished(key: &str, page: &mut Vec<Value>, before: usize, limit: usize) -> Value {
    let has_more = page.len() > limit;
    page.truncate(limit);
    let mut answer = json!({key: page});
    if has_more {
        answer["nextToken"] = Value::from((before + limit).to_string());
    }
    answer
}

fn arn(group: &str, Place { region, account, .. }: Place<'_>) -> String {
    format!("arn:aws:logs:{region}:{account}:log-group:{group}")
}

fn group_as_json(name: &str, group: &Group, place: Place<'_>) -> Value {
    let arn = arn(name, place);
    let mut value = json!({
        "logGroupName": name,
        "creationTime": group.created,
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "logGroupArn": arn,
        "storedBytes": group.stored_bytes,
        "logGroupClass": group.wishes.class.as_deref().unwrap_or("STANDARD"),
    });
    if let Some(days) = group.wishes.retention_days {
        value["retentionInDays"] = days.into();
    }
    value
}

fn stream_as_json(group: &str, name: &str, stream: &Stream, place: Place<'_>) -> Value {
    let mut value = json!({
        "logStreamName": name,
        "creationTime": stream.created,
        "arn": format!("{}:log-stream:{name}", arn(group, place)),
        "storedBytes": stream.stored_bytes,
    });
    if let Some(written) = stream.written {
        value["firstEventTimestamp"] = written.first_event.into();
        value["lastEventTimestamp"] = written.last_event.into();
        value["lastIngestionTime"] = written.ingested.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::awscloudwatchlogs::groups::Written;

    const PLACE: Place<'static> = Place { region: "eu-west-1", account: "000000000000", now: 5 };

    fn ask(groups: &Groups, call: Call, body: &Value) -> Result<Option<Value>, Kind> {
        answer(call, body.to_string().as_bytes(), groups, PLACE).map_err(|fault| fault.kind)
    }

    #[test]
    fn calls_are_found_by_their_target() {
        assert_eq!(Call::of("Logs_20140328.PutLogEvents"), Ok(Call::PutLogEvents));
        for (target, kind, words) in [
            ("Logs_20140328.GetLogEvents", Kind::Unsupported, "exporters"),
            ("Logs_20140328.Nope", Kind::UnknownOperation, "Nope"),
            (
                "GraniteServiceVersion20100801.PutMetricData",
                Kind::UnknownOperation,
                "_CLOUDWATCH_LOGS",
            ),
        ] {
            let fault = Call::of(target).unwrap_err();
            assert_eq!(fault.kind, kind);
            assert!(fault.message.contains(words), "{}", fault.message);
        }
    }

    #[test]
    fn groups_are_made_with_what_was_asked_for() {
        let groups = Groups::default();
        let group =
            json!({"logGroupName": "/app/web", "tags": {"a": "b"}, "logGroupClass": "STANDARD"});
        assert_eq!(ask(&groups, Call::CreateLogGroup, &group), Ok(None));
        assert_eq!(ask(&groups, Call::CreateLogGroup, &group), Err(Kind::AlreadyExists));
        let days = json!({"logGroupName": "/app/web", "retentionInDays": 30});
        assert_eq!(ask(&groups, Call::PutRetentionPolicy, &days), Ok(None));
        let odd = json!({"logGroupName": "/app/web", "retentionInDays": 31});
        assert_eq!(ask(&groups, Call::PutRetentionPolicy, &odd), Err(Kind::InvalidParameter));
        let arn = "arn:aws:logs:eu-west-1:1:log-group:/app/web:*";
        let tags = json!({"resourceArn": arn, "tags": {"c": "d"}});
        assert_eq!(ask(&groups, Call::TagResource, &tags), Ok(None));
        let wishes = groups.wishes("/app/web");
        assert_eq!((wishes.retention_days, wishes.tags.len()), (Some(30), 2));
        let many: BTreeMap<String, &str> = (0..60).map(|n| (n.to_string(), "")).collect();
        let many = json!({"logGroupName": "/app/web", "tags": many});
        assert_eq!(ask(&groups, Call::TagLogGroup, &many), Err(Kind::TooManyTags));
        let found = ask(&groups, Call::DescribeLogGroups, &json!({})).unwrap().unwrap();
        let group = &found["logGroups"][0];
        assert_eq!(
            (&group["arn"], &group["retentionInDays"]),
            (&json!(arn.replace(":1:", ":000000000000:")), &json!(30))
        );
    }

    #[test]
    fn names_that_cloudwatch_does_not_take_are_refused() {
        let groups = Groups::default();
        for name in ["", "a b", "a:b", &"x".repeat(513)] {
            let body = json!({"logGroupName": name});
            assert_eq!(ask(&groups, Call::CreateLogGroup, &body), Err(Kind::InvalidParameter));
        }
        let stream = |name: &str| json!({"logGroupName": "g", "logStreamName": name});
        assert_eq!(ask(&groups, Call::CreateLogStream, &stream("a*")), Err(Kind::InvalidParameter));
        assert_eq!(ask(&groups, Call::CreateLogStream, &stream("a:b c")), Ok(None));
        assert_eq!(ask(&groups, Call::CreateLogStream, &json!(7)), Err(Kind::Serialization));
    }

    #[test]
    fn lists_come_in_pages() {
        let groups = Groups::default();
        for number in 0..7 {
            let at = Written { first_event: number, last_event: 100 - number, ingested: 9 };
            groups.wrote("g", &format!("s{number}"), 1, at);
            groups.create_stream(&format!("g{number}"), "s", 1).unwrap();
        }
        let names = |list: &Value, key: &str| {
            let list = list.as_array().unwrap().iter();
            list.map(|one| one[key].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let body = json!({"logGroupNamePrefix": "g", "limit": 5});
        let page = ask(&groups, Call::DescribeLogGroups, &body).unwrap().unwrap();
        assert_eq!(names(&page["logGroups"], "logGroupName"), "g g0 g1 g2 g3");
        let body = json!({"logGroupNamePrefix": "g", "limit": 5, "nextToken": page["nextToken"]});
        let page = ask(&groups, Call::DescribeLogGroups, &body).unwrap().unwrap();
        assert_eq!(names(&page["logGroups"], "logGroupName"), "g4 g5 g6");
        assert_eq!(page.get("nextToken"), None);
        let body = json!({"logGroupName": "g", "orderBy": "LastEventTime", "descending": true, "limit": 2});
        let page = ask(&groups, Call::DescribeLogStreams, &body).unwrap().unwrap();
        assert_eq!(names(&page["logStreams"], "logStreamName"), "s0 s1");
        assert_eq!(page["logStreams"][1]["lastEventTimestamp"], 99);
        let body = json!({"logGroupIdentifier": "arn:aws:logs:r:1:log-group:g", "logStreamNamePrefix": "s6"});
        let page = ask(&groups, Call::DescribeLogStreams, &body).unwrap().unwrap();
        assert_eq!(names(&page["logStreams"], "logStreamName"), "s6");
        let body = json!({"logGroupName": "none"});
        assert_eq!(ask(&groups, Call::DescribeLogStreams, &body), Err(Kind::NotFound));
        let body = json!({"nextToken": "x"});
        assert_eq!(ask(&groups, Call::DescribeLogGroups, &body), Err(Kind::InvalidParameter));
    }
}
