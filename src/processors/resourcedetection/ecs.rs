//! `ecs`: the task, from the metadata that the agent gives its containers.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html>

use serde_json::Value;

use super::{
    aws::{Arn, member},
    probe::{Probe, texts},
};
use crate::net::metadata::Service;

/// Where the agent says that its endpoint is: version 4, then 3.
const VARIABLES: [&str; 2] = ["ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI"];

const REMEDY: &str = "look whether the ECS agent runs, or Fargate's platform version is 1.4.0 or \
                      newer; or raise `timeout`";

pub(super) async fn detect(probe: &Probe) {
    let mut variables = VARIABLES.into_iter();
    let found = variables.find_map(|name| Some((name, probe.environment.var(name)?)));
    let Some((variable, url)) = found else {
        return probe.absent(format!("{} is not set", VARIABLES[0]));
    };
    let service = match Service::parse(&url) {
        Ok(service) => service,
        Err(wrong) => return probe.warn(format!("{variable}: {wrong}")),
    };
    let Some(task) = probe.json(&service, "/task", REMEDY).await else { return };
    about_task(probe, &task);
    let Some(own) = probe.json(&service, "", REMEDY).await else { return };
    about_container(probe, &own);
    about_logs(probe, &task, &own);
}

fn about_task(probe: &Probe, task: &Value) {
    probe.text("cloud.provider", Some("aws"));
    probe.text("cloud.platform", Some("aws_ecs"));
    let task_arn = member(task, "TaskARN");
    probe.text("aws.ecs.task.arn", task_arn);
    probe.text("aws.ecs.task.family", member(task, "Family"));
    probe.text("aws.ecs.task.revision", member(task, "Revision"));
    probe.text("cloud.availability_zone", member(task, "AvailabilityZone"));
    let arn = task_arn.and_then(Arn::parse);
    if let Some(arn) = arn {
        probe.text("cloud.region", Some(arn.region));
        probe.text("cloud.account.id", Some(arn.account));
        // `task/id` or `task/cluster/id`.
        probe.text("aws.ecs.task.id", arn.resource.rsplit('/').next());
    }
    // A short name on EC2, an ARN on Fargate.
    match (member(task, "Cluster"), arn) {
        (Some(cluster), _) if cluster.contains(':') => {
            probe.text("aws.ecs.cluster.arn", Some(cluster));
        }
        (Some(cluster), Some(Arn { partition, region, account, .. })) => {
            let arn = format!("arn:{partition}:ecs:{region}:{account}:cluster/{cluster}");
            probe.text("aws.ecs.cluster.arn", Some(&arn));
        }
        _ => {}
    }
    // The endpoint writes capitals, the conventions small letters.
    let launch_type = member(task, "LaunchType").map(str::to_ascii_lowercase);
    let known = launch_type.filter(|launch| matches!(launch.as_str(), "ec2" | "fargate"));
    probe.text("aws.ecs.launchtype", known.as_deref());
}

fn about_container(probe: &Probe, own: &Value) {
    probe.text("aws.ecs.container.arn", member(own, "ContainerARN"));
    probe.text("container.id", member(own, "DockerId"));
    probe.text("container.name", member(own, "DockerName").or(member(own, "Name")));
    probe.text("container.image.name", member(own, "Image").map(without_tag));
}

/// The name of an image; a colon in the host is that of a port.
pub(super) fn without_tag(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Log groups and streams of the other containers that run and write to CloudWatch: skep is their
/// sidecar.
fn about_logs(probe: &Probe, task: &Value, own: &Value) {
    let account = member(task, "TaskARN").and_then(Arn::parse).map_or("", |arn| arn.account);
    let partition = member(task, "TaskARN").and_then(Arn::parse).map_or("aws", |a| a.partition);
    let containers = task.get("Containers").and_then(Value::as_array);
    let (mut groups, mut group_arns) = (Vec::new(), Vec::new());
    let (mut streams, mut stream_arns) = (Vec::new(), Vec::new());
    for container in containers.into_iter().flatten() {
        let is_other = member(container, "DockerId") != member(own, "DockerId");
        let is_meant = is_other
            && member(container, "Type") == Some("NORMAL")
            && member(container, "KnownStatus") == Some("RUNNING")
            && member(container, "LogDriver") == Some("awslogs");
        let Some(options) = container.get("LogOptions").filter(|_| is_meant) else { continue };
        let Some(group) = member(options, "awslogs-group") else { continue };
        let region = member(options, "awslogs-region").unwrap_or_default();
        let arn = format!("arn:{partition}:logs:{region}:{account}:log-group:{group}");
        if let Some(stream) = member(options, "awslogs-stream") {
            streams.push(stream.to_owned());
            stream_arns.push(format!("{arn}:log-stream:{stream}"));
        }
        groups.push(group.to_owned());
        group_arns.push(arn);
    }
    for (name, found) in [
        ("aws.log.group.names", groups),
        ("aws.log.group.arns", group_arns),
        ("aws.log.stream.names", streams),
        ("aws.log.stream.arns", stream_arns),
    ] {
        if !found.is_empty() {
            probe.set(name, texts(found));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        super::mock::{Server, json_value, outcome, probe, text, variables},
        *,
    };
    use crate::processors::editing::value::AttributeValue;

    fn task() -> Value {
        let container = |id: &str, kind: &str, status: &str, driver: &str| {
            json!({
                "DockerId": id, "Name": id, "Type": kind, "KnownStatus": status,
                "LogDriver": driver,
                "LogOptions": {
                    "awslogs-group": format!("/ecs/{id}"), "awslogs-region": "us-west-2",
                    "awslogs-stream": format!("ecs/{id}/1"),
                },
            })
        };
        json!({
            "Cluster": "default",
            "TaskARN": "arn:aws-cn:ecs:us-west-2:111122223333:task/default/158d1c8083dd49d6",
            "Family": "shop", "Revision": "26", "LaunchType": "FARGATE",
            "AvailabilityZone": "us-west-2d",
            "Containers": [
                container("skep", "NORMAL", "RUNNING", "awslogs"),
                container("web", "NORMAL", "RUNNING", "awslogs"),
                container("db", "NORMAL", "RUNNING", "awslogs"),
                container("init", "NORMAL", "STOPPED", "awslogs"),
                container("pause", "CNI_PAUSE", "RUNNING", "awslogs"),
                container("other", "NORMAL", "RUNNING", "json-file"),
                {"DockerId": "bare", "Type": "NORMAL", "KnownStatus": "RUNNING", "LogDriver": "awslogs"},
            ],
        })
    }

    fn own() -> Value {
        json!({
            "DockerId": "skep", "Name": "skep", "DockerName": "ecs-shop-skep",
            "Image": "registry:5000/skep:1.0",
            "ContainerARN": "arn:aws-cn:ecs:us-west-2:111122223333:container/default/158d/0206",
        })
    }

    fn agent(request: &str) -> Option<(u16, String)> {
        let found = match request.split(' ').nth(1)? {
            "/v4/abc/task" => task(),
            "/v4/abc" => own(),
            _ => return Some((404, String::new())),
        };
        Some((200, found.to_string()))
    }

    fn list(name: &str, values: [&str; 2]) -> (String, AttributeValue) {
        (name.to_owned(), texts(values.map(str::to_owned)))
    }

    #[test]
    fn a_task_is_described_by_its_agent() {
        let server = Server::new(agent);
        let url = format!("{}/v4/abc", server.url);
        let variables = variables(&[("ECS_CONTAINER_METADATA_URI_V4", &url)]);
        let notes = outcome("detectors: [ecs]", variables);
        let arn = "arn:aws-cn:logs:us-west-2:111122223333:log-group:/ecs";
        let expected = [
            text("cloud.provider", "aws"),
            text("cloud.platform", "aws_ecs"),
            text(
                "aws.ecs.task.arn",
                "arn:aws-cn:ecs:us-west-2:111122223333:task/default/158d1c8083dd49d6",
            ),
            text("aws.ecs.task.family", "shop"),
            text("aws.ecs.task.revision", "26"),
            text("cloud.availability_zone", "us-west-2d"),
            text("cloud.region", "us-west-2"),
            text("cloud.account.id", "111122223333"),
            text("aws.ecs.task.id", "158d1c8083dd49d6"),
            text("aws.ecs.cluster.arn", "arn:aws-cn:ecs:us-west-2:111122223333:cluster/default"),
            text("aws.ecs.launchtype", "fargate"),
            list("aws.log.group.names", ["/ecs/web", "/ecs/db"]),
            list("aws.log.group.arns", [&format!("{arn}/web"), &format!("{arn}/db")]),
            list("aws.log.stream.names", ["ecs/web/1", "ecs/db/1"]),
            list(
                "aws.log.stream.arns",
                [
                    &format!("{arn}/web:log-stream:ecs/web/1"),
                    &format!("{arn}/db:log-stream:ecs/db/1"),
                ],
            ),
        ];
        assert_eq!(notes.attributes, expected);
        assert_eq!(notes.warning, None);
    }

    #[test]
    fn the_own_container_is_given_where_it_is_wanted() {
        let server = Server::new(agent);
        let url = format!("{}/v4/abc/", server.url);
        let config = "{detectors: [ecs], attributes: [container.id, container.name, \
                      container.image.name, aws.ecs.container.arn], ecs: {resource_attributes: \
                      {container.id: {enabled: true}, container.image.name: {enabled: true}}}}";
        let notes = outcome(config, variables(&[("ECS_CONTAINER_METADATA_URI", &url)]));
        let expected =
            [text("container.id", "skep"), text("container.image.name", "registry:5000/skep")];
        assert_eq!(notes.attributes, expected);
    }

    #[test]
    fn a_task_without_its_container_is_half_told() {
        let server = Server::new(|request| {
            if request.contains("/task") { agent(request) } else { Some((500, String::new())) }
        });
        let url = format!("{}/v4/abc", server.url);
        let variables = variables(&[("ECS_CONTAINER_METADATA_URI_V4", &url)]);
        let notes = outcome("detectors: [ecs]", variables);
        assert_eq!(notes.attributes.len(), 11);
        assert!(notes.warning.unwrap().contains("/v4/abc: the answer is 500"));
    }

    #[test]
    fn an_agent_that_is_gone_is_a_fault() {
        for url in ["http://127.0.0.1:1/v4", "https://a", "?"] {
            let notes =
                outcome("detectors: [ecs]", variables(&[("ECS_CONTAINER_METADATA_URI_V4", url)]));
            assert!(notes.attributes.is_empty() && notes.warning.is_some(), "{url}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_document_is_read(task in json_value(), own in json_value()) {
            let probe = probe("detectors: [ecs]", variables(&[]));
            about_task(&probe, &task);
            about_container(&probe, &own);
            about_logs(&probe, &task, &own);
            prop_assert!(probe.take().attributes.len() >= 2);
        }

        #[test]
        fn any_name_of_an_image_is_read(image in ".*|[a-z:/@]*") {
            prop_assert!(image.starts_with(without_tag(&image)));
            let _ = Arn::parse(&image);
        }
    }
}
