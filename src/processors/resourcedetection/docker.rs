//! `docker`: the host under the container, from the docker daemon.
//! <https://docs.docker.com/reference/api/engine/>

use std::{io, path::PathBuf};

use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    aws::member,
    ecs::without_tag,
    probe::{Probe, texts},
    system,
};
use crate::net::metadata::{Failure, Service};

const SOCKET: &str = "/var/run/docker.sock";

const REMEDY: &str = "mount the socket, `-v /var/run/docker.sock:/var/run/docker.sock:ro`, and let \
                      skep's user in, `--group-add <id of the group docker>`";

pub(super) async fn detect(probe: &Probe) {
    let host = probe.environment.var("DOCKER_HOST");
    let service = match host.as_deref() {
        None => Service::Unix(probe.environment.path(SOCKET)),
        Some(host) => match host.split_once("://") {
            Some(("unix", path)) => Service::Unix(PathBuf::from(path)),
            Some(("tcp" | "http", rest)) => match Service::parse(&format!("http://{rest}")) {
                Ok(service) => service,
                Err(wrong) => return probe.warn(format!("DOCKER_HOST: {wrong}")),
            },
            _ => {
                return probe.warn(format!(
                    "DOCKER_HOST: `{host:.100}` is neither `unix://<path>` nor \
                     `tcp://<host>:<port>`; set it to one of them, or unset it"
                ));
            }
        },
    };
    let info = match probe.ask(&service, Method::GET, "/info", &[], REMEDY).await {
        Ok(answer) if answer.status == StatusCode::OK => match probe.parse(&answer) {
            Some(info) => info,
            None => return,
        },
        Ok(answer) => return probe.failed(&format!("the answer is {}", answer.status)),
        Err(Failure::Unreachable(error))
            if host.is_none() && error.kind() == io::ErrorKind::NotFound =>
        {
            return probe.absent(format!("there is no {SOCKET}"));
        }
        Err(failure) => return probe.failed(&failure.to_string()),
    };
    probe.text("host.name", member(&info, "Name"));
    probe.text("os.type", member(&info, "OSType"));
    let container =
        ["container.name", "container.image.id", "container.image.name", "container.image.tags"];
    if container.iter().any(|name| probe.wants(name)) {
        about_container(probe, &service).await;
    }
}

/// The container of skep: docker gives it the beginning of its id as the name of its host.
async fn about_container(probe: &Probe, service: &Service) {
    let Some(name) = system::kernel_name(probe).await else { return };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.chars().all(is_plain) {
        return probe.warn(format!("`{name:.100}` is not a name of a container; unset `hostname`"));
    }
    let remedy = "give the container no `hostname` and no `network_mode: host`, or do not ask for \
                  its attributes";
    let Some(found) = probe.json(service, &format!("/containers/{name}/json"), remedy).await else {
        return;
    };
    let name = member(&found, "Name").map(|name| name.trim_start_matches('/'));
    probe.text("container.name", name);
    probe.text("container.image.id", member(&found, "Image"));
    let Some(image) = member(found.get("Config").unwrap_or(&Value::Null), "Image") else { return };
    let name = without_tag(image);
    probe.text("container.image.name", Some(name));
    let tag = image[name.len()..].strip_prefix(':').unwrap_or_default();
    let tag = tag.split('@').next().unwrap_or_default();
    if !tag.is_empty() {
        probe.set("container.image.tags", texts([tag.to_owned()]));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::mock::{Place, Server, outcome, text, variables},
        *,
    };

    fn daemon(request: &str) -> Option<(u16, String)> {
        let found = match request.split(' ').nth(1)? {
            "/info" => r#"{"Name":"worker-1","OSType":"linux","Containers":3}"#,
            "/containers/4f5e/json" => {
                r#"{"Name":"/skep","Image":"sha256:ab","Config":{"Image":"reg:1/skep:v2@sha256:ab"}}"#
            }
            _ => return Some((404, String::new())),
        };
        Some((200, found.to_owned()))
    }

    const ALL: &str = "{detectors: [docker], docker: {resource_attributes: {container.name: \
                       {enabled: true}, container.image.id: {enabled: true}, container.image.name: \
                       {enabled: true}, container.image.tags: {enabled: true}}}}";

    #[test]
    fn the_host_is_asked_for_by_tcp() {
        let server = Server::new(daemon);
        let host = server.url.replace("http://", "tcp://");
        let notes = outcome("detectors: [docker]", variables(&[("DOCKER_HOST", &host)]));
        assert_eq!(notes.attributes, [text("host.name", "worker-1"), text("os.type", "linux")]);
        assert_eq!(notes.warning, None);
    }

    #[cfg(unix)]
    #[test]
    fn the_socket_tells_of_host_and_container() {
        let place = Place::with(&[("/proc/sys/kernel/hostname", "4f5e\n"), ("/var/run/x", "")]);
        let _server = Server::on_socket(&place.path("/var/run/docker.sock"), daemon);
        let expected = [
            text("host.name", "worker-1"),
            text("os.type", "linux"),
            text("container.name", "skep"),
            text("container.image.id", "sha256:ab"),
            text("container.image.name", "reg:1/skep"),
            ("container.image.tags".to_owned(), texts(["v2".to_owned()])),
        ];
        let notes = outcome(ALL, place);
        assert_eq!(notes.warning, None);
        assert_eq!(notes.attributes, expected);
    }

    #[test]
    fn no_socket_is_another_platform_and_a_wrong_host_a_fault() {
        let notes = outcome("detectors: [docker]", variables(&[]));
        assert!(notes.warning.is_none() && notes.absent.unwrap().contains("docker.sock"));
        for host in ["unix:///nowhere", "ssh://a", "tcp://", "tcp://127.0.0.1:1", "?"] {
            let notes = outcome("detectors: [docker]", variables(&[("DOCKER_HOST", host)]));
            assert!(notes.attributes.is_empty() && notes.warning.is_some(), "{host}");
        }
    }

    #[test]
    fn a_container_with_another_name_is_told() {
        let server = Server::new(daemon);
        let mut place = Place::with(&[("/proc/sys/kernel/hostname", "web/../x")]);
        let host = server.url.replace("http://", "tcp://");
        place.set("DOCKER_HOST", &host);
        let notes = outcome(ALL, place);
        assert_eq!(notes.attributes.len(), 2);
        assert!(notes.warning.unwrap().contains("web/../x"));
    }
}
