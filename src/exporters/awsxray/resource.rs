//! The resource of a span as it is in its segment: origin, `aws`, `service`, metadata. It is read
//! once for all spans of a resource entry.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    super::cloudwatch::{name::Template, streams::find},
    attributes::{MOST, is_scalar, text, texts},
    settings::Settings,
    trim::LARGE_VALUE,
};
use crate::{
    exporters::json::Json,
    otlp::view::{KeyValue, Resource, Text, Value},
};

/// Prefix of keys of resources.
pub(super) const OF_RESOURCE: &[u8] = b"otel.resource.";

/// Most bytes of a document for attributes of a resource in metadata and annotations, and most for
/// those in `aws` and other fields. All spans of a resource repeat them.
pub(super) const REPEATED: usize = 16 << 10;
/// Most bytes of a field that is only a text.
const TEXT: usize = 1 << 10;

/// Attributes of a resource for the metadata and annotations of its segments.
#[derive(Debug, Default)]
pub(super) struct Shared<'a> {
    /// Attributes that become annotations: `otel.resource.<key>`.
    pub(super) annotations: Vec<(Vec<u8>, Value<'a>)>,
    /// The other attributes as members of metadata in JSON: all of them, and those of at most 1 kB.
    pub(super) metadata: [Vec<u8>; 2],
}

impl<'a> Shared<'a> {
    /// Reads these attributes; `left_out` more are missing. `is_indexed` selects annotations by
    /// their names.
    pub(super) fn of(
        attributes: impl Iterator<Item = (Text<'a>, Value<'a>)>,
        mut left_out: i64,
        is_indexed: impl Fn(&[u8]) -> bool,
    ) -> Self {
        let mut annotations = Vec::new();
        let mut metadata = [Json::default(), Json::default()];
        let mut member = Json::default().at_most(REPEATED);
        let mut held = 0;
        for (Text(key), value) in attributes {
            let name = [OF_RESOURCE, &key[..key.len().min(REPEATED)]].concat();
            member.restart(0);
            member.member(&name, value, usize::MAX);
            let len = member.out.len();
            if member.is_over() || held + len > REPEATED {
                left_out += 1;
                continue;
            }
            held += len;
            if is_scalar(value) && is_indexed(&name) {
                annotations.push((name, value));
                continue;
            }
            metadata[0].raw(&member.out);
            metadata[1].member(&name, value, LARGE_VALUE);
        }
        if left_out > 0 {
            for json in &mut metadata {
                json.int_at("otel.resource.left_out", left_out);
            }
        }
        Shared { annotations, metadata: metadata.map(|json| json.out) }
    }
}

/// JSON of a resource, or nothing if it is too long to be repeated.
pub(super) fn shared(json: Json, left_out: &mut i64) -> Vec<u8> {
    if !json.is_over() {
        return json.out;
    }
    *left_out += 1;
    Vec::new()
}

/// The attributes of a resource, and the number of further ones.
pub(super) fn attributes<'a>(resource: Option<&Resource<'a>>) -> (All<'a>, i64) {
    let mut all = resource.into_iter().flat_map(Resource::attributes);
    let some = all.by_ref().take(MOST).map(|one| (one.key, one.value.unwrap_or_default()));
    (some.collect(), i64::try_from(all.count()).unwrap_or(i64::MAX))
}

type All<'a> = SmallVec<[(Text<'a>, Value<'a>); 16]>;

/// Name and ARN of a log group.
type Group<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// A resource, with the parts of segments that are the same for all of its spans.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) attributes: All<'a>,
    pub(super) service: Option<&'a [u8]>,
    pub(super) language: String,
    pub(super) origin: Option<&'static str>,
    /// Spans that ran at another provider get no fields of AWS.
    pub(super) is_aws: bool,
    pub(super) account: Option<&'a [u8]>,
    /// Members of the object `aws`, as JSON.
    pub(super) aws: Vec<u8>,
    /// Attributes for metadata and annotations.
    pub(super) shared: Shared<'a>,
    /// `service.version`, or else the tag of the image.
    pub(super) version: Option<Vec<u8>>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(resource: Option<&Resource<'a>>, settings: &Settings) -> Self {
        let (attributes, mut left_out) = attributes(resource);
        let mut facts = Facts { attributes, ..Facts::default() };
        let provider = facts.text("cloud.provider");
        facts.is_aws = provider.is_none_or(|provider| provider == b"aws");
        facts.service = facts.text("service.name");
        let short = |text: &&[u8]| text.len() <= TEXT;
        facts.account = facts.text("cloud.account.id").filter(short);
        let language = facts.text("telemetry.sdk.language").filter(short).unwrap_or_default();
        facts.language = String::from_utf8_lossy(language).into_owned();
        let launch = facts.text("aws.ecs.launchtype").unwrap_or_default();
        facts.origin = origin(facts.platform(), launch).filter(|_| facts.is_aws);
        facts.version = facts.version().filter(|version| version.len() <= TEXT);
        let mut json = Json::default().at_most(REPEATED);
        facts.write_aws(&mut json, &settings.log_groups);
        facts.aws = shared(json, &mut left_out);
        let is_indexed = |name: &[u8]| settings.index_all_attributes || settings.is_indexed(name);
        facts.shared = Shared::of(facts.attributes.iter().copied(), left_out, is_indexed);
        facts
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.attributes.iter().rev().find(|(own, _)| *own == key).map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key).and_then(text)
    }

    fn platform(&self) -> &'a [u8] {
        self.text("cloud.platform").unwrap_or_default()
    }

    fn version(&self) -> Option<Vec<u8>> {
        let tags = self.get("container.image.tags").map(texts).unwrap_or_default();
        let first = self.text("service.version").or(tags.first().copied());
        first.or(self.text("container.image.tag")).map(<[u8]>::to_vec)
    }

    fn write_aws(&self, json: &mut Json, log_groups: &[Template]) {
        let platform = self.platform();
        if platform == b"aws_ec2" || self.text("host.id").is_some() {
            self.write_block(
                json,
                "ec2",
                &[
                    ("instance_id", "host.id"),
                    ("availability_zone", "cloud.availability_zone"),
                    ("instance_size", "host.type"),
                    ("ami_id", "host.image.id"),
                ],
            );
        }
        if platform == b"aws_ecs" {
            self.write_block(
                json,
                "ecs",
                &[
                    ("container", "container.name"),
                    ("container_id", "container.id"),
                    ("container_arn", "aws.ecs.container.arn"),
                    ("cluster_arn", "aws.ecs.cluster.arn"),
                    ("task_arn", "aws.ecs.task.arn"),
                    ("task_family", "aws.ecs.task.family"),
                    ("launch_type", "aws.ecs.launchtype"),
                    ("availability_zone", "cloud.availability_zone"),
                ],
            );
        }
        if let (b"aws_elastic_beanstalk", Some(deployment)) =
            (platform, self.text("service.instance.id"))
        {
            json.begin_at("elastic_beanstalk");
            let deployment = String::from_utf8_lossy(deployment);
            json.int_at("deployment_id", deployment.parse().unwrap_or(0));
            self.write_texts(
                json,
                &[("environment_name", "service.namespace"), ("version_label", "service.version")],
            );
            json.end();
        }
        if platform == b"aws_eks" || self.text("k8s.cluster.name").is_some() {
            self.write_block(
                json,
                "eks",
                &[
                    ("cluster_name", "k8s.cluster.name"),
                    ("pod", "k8s.pod.name"),
                    ("container_id", "container.id"),
                ],
            );
        }
        self.write_log_groups(json, log_groups);
        self.write_sdk(json);
    }

    fn write_texts(&self, json: &mut Json, members: &[(&str, &str)]) {
        for (member, key) in members {
            if let Some(text) = self.text(key) {
                json.text_at(member, text);
            }
        }
    }

    fn write_block(&self, json: &mut Json, name: &str, members: &[(&str, &str)]) {
        json.begin_at(name);
        self.write_texts(json, members);
        json.end();
    }

    /// Names in ARNs take precedence over names, and these over the configured ones. One text may
    /// contain several, separated by `&`.
    fn write_log_groups(&self, json: &mut Json, configured: &[Template]) {
        let split = |key: &str| -> Vec<&'a [u8]> {
            let all = self.get(key).map(texts).unwrap_or_default();
            let parts = all.into_iter().flat_map(|text| text.split(|byte| *byte == b'&'));
            parts.filter(|part| !part.is_empty()).collect()
        };
        let arns = split("aws.log.group.arns");
        let names = split("aws.log.group.names");
        let own: Vec<String> = if arns.is_empty() && names.is_empty() {
            configured.iter().map(|name| name.fill(|_, key| self.name_of(key))).collect()
        } else {
            Vec::new()
        };
        let groups: Vec<Group<'_>> = if !arns.is_empty() {
            let name = |arn: &'a [u8]| arn.split(|byte| *byte == b':').nth(6);
            arns.into_iter().map(|arn| (name(arn), Some(arn))).collect()
        } else if !names.is_empty() {
            names.into_iter().map(|name| (Some(name), None)).collect()
        } else {
            own.iter().map(|name| (Some(name.as_bytes()), None)).collect()
        };
        if groups.is_empty() {
            return;
        }
        json.key(b"cloudwatch_logs");
        json.begin_list();
        for (name, arn) in groups {
            json.begin();
            if let Some(name) = name {
                json.text_at("log_group", name);
            }
            if let Some(arn) = arn {
                json.text_at("arn", arn);
            }
            json.end();
        }
        json.end_list();
    }

    /// The text that replaces an attribute in a name.
    fn name_of(&self, key: &str) -> Option<Cow<'a, str>> {
        let all = self.attributes.iter();
        find(
            all.map(|(key, value)| KeyValue { key: *key, value: Some(*value), key_strindex: 0 }),
            key,
        )
    }

    fn write_sdk(&self, json: &mut Json) {
        json.begin_at("xray");
        if let Some(name) = self.text("telemetry.sdk.name") {
            let suffix = format!(" for {}", self.language);
            // SDKs of X-Ray contain the language in their names: `X-Ray for Node.js`.
            let is_said = name.windows(5).any(|part| part == b" for ");
            let is_whole = self.language.is_empty() || is_said;
            let suffix = if is_whole { "" } else { &*suffix };
            json.text_at("sdk", &[name, suffix.as_bytes()].concat());
        }
        self.write_texts(
            json,
            &[
                ("sdk_version", "telemetry.sdk.version"),
                ("sampling_rule_name", "aws.xray.sampling_rule"),
            ],
        );
        let agents = ["telemetry.auto.version", "telemetry.distro.version"];
        let is_auto = agents.iter().any(|key| self.text(key).is_some());
        json.truth_at("auto_instrumentation", is_auto);
        json.end();
    }
}

/// `origin` by `cloud.platform` and `aws.ecs.launchtype`.
pub(super) fn origin(platform: &[u8], launch: &[u8]) -> Option<&'static str> {
    match platform {
        b"aws_app_runner" => Some("AWS::AppRunner::Service"),
        b"aws_eks" => Some("AWS::EKS::Container"),
        b"aws_elastic_beanstalk" => Some("AWS::ElasticBeanstalk::Environment"),
        // The metadata endpoint of ECS uses capitals.
        b"aws_ecs" if launch.eq_ignore_ascii_case(b"ec2") => Some("AWS::ECS::EC2"),
        b"aws_ecs" if launch.eq_ignore_ascii_case(b"fargate") => Some("AWS::ECS::Fargate"),
        b"aws_ecs" => Some("AWS::ECS::Container"),
        b"aws_ec2" => Some("AWS::EC2::Instance"),
        _ => None,
    }
}
