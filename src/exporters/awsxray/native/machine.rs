//! The resource of a segment that came from an X-Ray SDK, as it is in the document: where it ran,
//! what it is, and which SDK made it. It is read once for all spans of a resource entry.

use smallvec::SmallVec;

use super::{Fields, KEPT, Kept};
use crate::{
    exporters::{
        awsxray::{
            attributes::{is_scalar, texts},
            resource::{OF_RESOURCE, REPEATED, Shared, attributes, origin, shared},
            settings::Settings,
            trim::LARGE_VALUE,
        },
        cloudwatch::{
            name::{Of, Template},
            streams::as_text,
        },
        json::Json,
    },
    otlp::view::{Resource, Text, Value},
};

/// The objects of a resource in which fields are kept.
const OBJECTS: [&str; 7] =
    ["service.", "aws.ec2.", "aws.ecs.", "aws.eks.", "aws.elastic_beanstalk.", "aws.xray.", "aws."];

/// Fields and the attributes that they have become.
type Names = &'static [(&'static str, &'static str)];

/// Fields within `service` and the objects of `aws`. A field that several objects have belongs to
/// the first one, unless the receiver has noted where it came from.
const PLACES: [(&str, &str, Names); 6] = [
    (
        "service",
        "service.",
        &[
            ("version", "service.version"),
            ("runtime", "process.runtime.name"),
            ("runtime_version", "process.runtime.version"),
        ],
    ),
    (
        "ec2",
        "aws.ec2.",
        &[
            ("instance_id", "host.id"),
            ("instance_size", "host.type"),
            ("ami_id", "host.image.id"),
            ("availability_zone", "cloud.availability_zone"),
        ],
    ),
    (
        "ecs",
        "aws.ecs.",
        &[
            ("container", "container.name"),
            ("container_id", "container.id"),
            ("container_arn", "aws.ecs.container.arn"),
            ("task_arn", "aws.ecs.task.arn"),
            ("task_family", "aws.ecs.task.family"),
            ("cluster_arn", "aws.ecs.cluster.arn"),
            ("launch_type", "aws.ecs.launchtype"),
        ],
    ),
    ("eks", "aws.eks.", &[("cluster_name", "k8s.cluster.name"), ("pod", "k8s.pod.name")]),
    ("elastic_beanstalk", "aws.elastic_beanstalk.", &[]),
    (
        "xray",
        "aws.xray.",
        &[
            ("sdk", "telemetry.sdk.name"),
            ("sdk_version", "telemetry.sdk.version"),
            ("sampling_rule_name", "aws.xray.sampling_rule"),
        ],
    ),
];

/// Fields that may be in two places: each pair is one attribute.
const SHARED: [(&str, [(&str, &str); 2]); 3] = [
    (
        "cloud.availability_zone",
        [("aws.ec2.", "availability_zone"), ("aws.ecs.", "availability_zone")],
    ),
    ("container.id", [("aws.ecs.", "container_id"), ("aws.eks.", "container_id")]),
    ("service.version", [("service.", "version"), ("aws.elastic_beanstalk.", "version_label")]),
];

/// Attributes that have a field elsewhere or are redundant.
const OTHERS: [&str; 8] = [
    "service.name",
    "cloud.provider",
    "cloud.account.id",
    "telemetry.sdk.language",
    "aws.xray.origin",
    "aws.xray.resource_arn",
    "aws.log.group.names",
    "aws.log.group.arns",
];

/// A resource, with the parts of segments that are the same for all of its spans.
#[derive(Debug, Default)]
pub(in crate::exporters::awsxray) struct Machine<'a> {
    attributes: SmallVec<[(Text<'a>, Value<'a>); 16]>,
    kept: SmallVec<[Kept<'a>; 4]>,
    pub(super) service: Option<&'a [u8]>,
    account: Option<&'a [u8]>,
    /// Members of the document, as JSON.
    head: Vec<u8>,
    /// Members of the object `aws`.
    aws: Vec<u8>,
    /// Metadata and annotations from other attributes.
    pub(super) shared: Shared<'a>,
}

impl<'a> Machine<'a> {
    pub(in crate::exporters::awsxray) fn of(
        resource: Option<&Resource<'a>>,
        settings: &Settings,
    ) -> Self {
        let (attributes, mut left_out) = attributes(resource);
        let kept = attributes.iter().filter_map(|(key, value)| Kept::of(key.0, *value, &OBJECTS));
        let mut own = Machine { kept: kept.collect(), attributes, ..Machine::default() };
        own.service = own.text("service.name").filter(|name| !name.is_empty());
        own.account = own.text("cloud.account.id").filter(|account| account.len() <= LARGE_VALUE);
        let mut head = Json::default().at_most(REPEATED);
        own.write_head(&mut head, settings);
        let mut aws = Json::default().at_most(REPEATED);
        own.write_places(&mut aws, &settings.log_groups);
        own.head = shared(head, &mut left_out);
        own.aws = shared(aws, &mut left_out);
        own.shared = own.divide(settings, left_out);
        own
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.attributes.iter().rev().find(|(own, _)| *own == key).map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> Option<&'a [u8]> {
        match self.get(key) {
            Some(Value::String(Text(text))) => Some(text),
            _ => None,
        }
    }

    fn has(&self, object: &str, name: &str) -> bool {
        self.kept.iter().any(|one| one.object == object && one.name == name.as_bytes())
    }

    /// Whether the receiver has noted where the attribute came from.
    fn is_kept(&self, attribute: &str) -> bool {
        let places = SHARED.iter().find(|(shared, _)| *shared == attribute);
        places.is_some_and(|(_, all)| all.iter().any(|(object, name)| self.has(object, name)))
    }

    fn write_place(&self, json: &mut Json, (name, object, fields): (&str, &'static str, Names)) {
        json.object_at(name, |json| {
            let mut all = Fields::new(json, &self.kept, object);
            for (field, attribute) in fields.iter().filter(|(_, own)| !self.is_kept(own)) {
                all.text(field, self.text(attribute));
            }
            all.rest();
        });
    }

    fn write_head(&self, json: &mut Json, settings: &Settings) {
        let launch = self.text("aws.ecs.launchtype").unwrap_or_default();
        let detected = self.text("cloud.platform").and_then(|platform| origin(platform, launch));
        let origin = self.text("aws.xray.origin").or(detected.map(str::as_bytes));
        let set = settings.resource_arn.as_deref().map(str::as_bytes);
        let arn = self.text("aws.xray.resource_arn").or(set);
        for (name, text) in [("origin", origin), ("resource_arn", arn)] {
            if let Some(text) = text {
                json.text_at(name, text);
            }
        }
        self.write_place(json, PLACES[0]);
    }

    fn write_places(&self, json: &mut Json, configured: &[Template]) {
        for place in &PLACES[1..] {
            self.write_place(json, *place);
        }
        if !self.has("aws.", "cloudwatch_logs") {
            self.write_log_groups(json, configured);
        }
        Fields::new(json, &self.kept, "aws.").rest();
    }

    fn write_log_groups(&self, json: &mut Json, configured: &[Template]) {
        let list = |key: &str| self.get(key).map(texts).unwrap_or_default();
        let (names, arns) = (list("aws.log.group.names"), list("aws.log.group.arns"));
        let value = |_: Of, key: &str| as_text(self.get(key)?);
        let own: Vec<String> = if names.is_empty() && arns.is_empty() {
            configured.iter().map(|name| name.fill(value)).collect()
        } else {
            Vec::new()
        };
        let names: Vec<&[u8]> = if own.is_empty() {
            names.to_vec()
        } else {
            own.iter().map(String::as_bytes).collect()
        };
        if names.is_empty() && arns.is_empty() {
            return;
        }
        json.key(b"cloudwatch_logs");
        json.begin_list();
        for at in 0..names.len().max(arns.len()) {
            json.begin();
            for (field, all) in [("log_group", &names[..]), ("arn", &arns[..])] {
                if let Some(text) = all.get(at) {
                    json.text_at(field, text);
                }
            }
            json.end();
        }
        json.end_list();
    }

    /// Makes annotations and metadata of attributes that the receiver has not written.
    fn divide(&self, settings: &Settings, left_out: i64) -> Shared<'a> {
        let is_beanstalk = self.kept.iter().any(|one| one.object == "aws.elastic_beanstalk.");
        let of_beanstalk = ["service.namespace", "service.instance.id"];
        let is_field = |key: &[u8]| {
            let mut fields = PLACES.iter().flat_map(|(_, _, names)| *names).map(|(_, own)| *own);
            key.starts_with(KEPT)
                || fields.any(|own| own.as_bytes() == key)
                || OTHERS.iter().any(|own| own.as_bytes() == key)
                || is_beanstalk && of_beanstalk.iter().any(|own| own.as_bytes() == key)
        };
        let is_wanted = |key: &[u8], value| {
            !is_field(key) || is_scalar(value) && settings.is_indexed(&[OF_RESOURCE, key].concat())
        };
        let wanted = self.attributes.iter().filter(|(key, value)| is_wanted(key.0, *value));
        Shared::of(wanted.copied(), left_out, |name| {
            let key = name.strip_prefix(OF_RESOURCE).unwrap_or(name);
            settings.index_all_attributes && !is_field(key) || settings.is_indexed(name)
        })
    }

    /// Writes the members of the document.
    pub(super) fn write(&self, json: &mut Json) {
        if !self.head.is_empty() {
            json.raw(&self.head);
        }
    }

    /// Writes the members of `aws`.
    pub(super) fn write_aws(&self, json: &mut Json, with_account: bool) {
        if let Some(account) = self.account.filter(|_| with_account) {
            json.text_at("account_id", account);
        }
        if !self.aws.is_empty() {
            json.raw(&self.aws);
        }
    }
}
