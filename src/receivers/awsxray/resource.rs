//! The attributes of the resource: where a segment was made.

use super::{
    document::Notes,
    segment::{keep, keep_others},
};
use crate::receivers::{
    attributes::Attributes,
    json::{Json, Members, find},
};

/// A field of an object and the attribute that it becomes.
type Names = &'static [(&'static str, &'static str)];

/// The objects within `aws` that describe the machine.
const PLACES: [(&str, Names); 4] = [
    (
        "ec2",
        &[
            ("instance_id", "host.id"),
            ("instance_size", "host.type"),
            ("ami_id", "host.image.id"),
            ("availability_zone", "cloud.availability_zone"),
        ],
    ),
    (
        "ecs",
        &[
            ("container", "container.name"),
            ("container_id", "container.id"),
            ("container_arn", "aws.ecs.container.arn"),
            ("task_arn", "aws.ecs.task.arn"),
            ("task_family", "aws.ecs.task.family"),
            ("cluster_arn", "aws.ecs.cluster.arn"),
            ("launch_type", "aws.ecs.launchtype"),
            ("availability_zone", "cloud.availability_zone"),
        ],
    ),
    (
        "eks",
        &[
            ("cluster_name", "k8s.cluster.name"),
            ("pod", "k8s.pod.name"),
            ("container_id", "container.id"),
        ],
    ),
    (
        "elastic_beanstalk",
        &[
            ("environment_name", "service.namespace"),
            ("deployment_id", "service.instance.id"),
            ("version_label", "service.version"),
        ],
    ),
];

/// Fields of `aws` that are written here.
pub(super) const OF_AWS: [&str; 6] =
    ["cloudwatch_logs", "ec2", "ecs", "eks", "elastic_beanstalk", "xray"];

/// Writes the resource of a document.
pub(super) fn write(
    root: &Members<'_>,
    name: &str,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) {
    let mut once = Once { written: Vec::new(), attributes };
    once.text("service.name", Some(name));
    let aws = notes.map(root, "aws");
    let is_aws = aws.is_some_and(|aws| aws.iter().any(|(_, value)| !value.is_nothing()));
    once.text("cloud.provider", Some(if is_aws { "aws" } else { "unknown" }));
    if let Some(service) = notes.map(root, "service") {
        once.text("service.version", notes.text(service, "version"));
        once.text("process.runtime.name", notes.text(service, "runtime"));
        once.text("process.runtime.version", notes.text(service, "runtime_version"));
        let known = ["version", "runtime", "runtime_version"];
        keep_others(service, &known, "service.", once.attributes);
        if aws.is_some_and(|aws| says(aws, "elastic_beanstalk", "version_label")) {
            keep(service, "version", "service.", once.attributes);
        }
    }
    once.text("aws.xray.origin", notes.text(root, "origin"));
    once.text("aws.xray.resource_arn", notes.text(root, "resource_arn"));
    let Some(aws) = aws else { return };
    if !super::span::is_subsegment(root) {
        once.text("cloud.account.id", notes.text(aws, "account_id"));
    }
    for (place, names) in PLACES {
        let Some(members) = notes.map(aws, place) else { continue };
        let mut known = Vec::new();
        for (field, attribute) in names {
            let text = notes.text(members, field);
            let is_written = once.text(attribute, text) || text.is_none();
            if is_written && !is_of_several(aws, place, attribute) {
                known.push(*field);
            }
        }
        keep_others(members, &known, &format!("aws.{place}."), once.attributes);
    }
    if let Some(xray) = notes.map(aws, "xray") {
        sdk(xray, notes, &mut once);
    }
    logs(aws, notes, attributes);
}

fn says(aws: &Members<'_>, place: &str, field: &str) -> bool {
    let is_text = |value: &Json<'_>| matches!(value, Json::Text(_) | Json::Number(_));
    matches!(find(aws, place), Json::Map(members) if is_text(find(members, field)))
}

/// Whether the attribute alone does not tell from which object it came. An availability zone is
/// assumed to be from `ec2` and the id of a container from `ecs`; the attributes of Elastic
/// Beanstalk have names that are also used for other services.
fn is_of_several(aws: &Members<'_>, place: &str, attribute: &str) -> bool {
    match attribute {
        "cloud.availability_zone" => says(aws, "ecs", "availability_zone"),
        "container.id" => says(aws, "eks", "container_id"),
        _ => place == "elastic_beanstalk",
    }
}

fn sdk(xray: &Members<'_>, notes: &Notes, once: &mut Once<'_, '_, '_>) {
    let name = notes.text(xray, "sdk");
    once.text("telemetry.sdk.name", name);
    once.text("telemetry.sdk.version", notes.text(xray, "sdk_version"));
    if let Some((_, language)) = name.and_then(|name| name.rsplit_once("for ")) {
        let language = match language.trim().to_ascii_lowercase().as_str() {
            ".net" | ".net core" => "dotnet".to_owned(),
            "node.js" => "nodejs".to_owned(),
            other => other.to_owned(),
        };
        once.text("telemetry.sdk.language", Some(&language));
    }
    once.text("aws.xray.sampling_rule", notes.text(xray, "sampling_rule_name"));
    let known = ["sdk", "sdk_version", "sampling_rule_name"];
    keep_others(xray, &known, "aws.xray.", once.attributes);
}

/// One entry per log group in two lists.
fn logs(aws: &Members<'_>, notes: &Notes, attributes: &mut Attributes<'_, '_>) {
    let (mut names, mut arns) = (Vec::new(), Vec::new());
    let mut shapes = Vec::new();
    for group in notes.list(aws, "cloudwatch_logs") {
        let Json::Map(group) = group else {
            notes.repaired();
            continue;
        };
        let (name, arn) = (notes.text(group, "log_group"), notes.text(group, "arn"));
        let fields = usize::from(name.is_some()) + usize::from(arn.is_some());
        shapes.push((name.is_some(), arn.is_some(), fields == group.len()));
        names.extend(name);
        arns.extend(arn);
    }
    let first = shapes.first().copied().unwrap_or_default();
    if shapes.iter().any(|shape| *shape != first || !shape.2) {
        // Two lists do not tell which name belongs to which ARN.
        keep(aws, "cloudwatch_logs", "aws.", attributes);
    }
    if !names.is_empty() {
        attributes.texts("aws.log.group.names", names);
    }
    if !arns.is_empty() {
        attributes.texts("aws.log.group.arns", arns);
    }
}

/// Writes each attribute once, because two fields may have the same one.
struct Once<'a, 'o, 'k> {
    written: Vec<&'static str>,
    attributes: &'a mut Attributes<'o, 'k>,
}

impl Once<'_, '_, '_> {
    /// Returns whether the text was written.
    fn text(&mut self, key: &'static str, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        if self.written.contains(&key) {
            return false;
        }
        self.written.push(key);
        self.attributes.text(key, text);
        true
    }
}
