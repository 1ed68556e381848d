//! `ec2`: the instance, from its metadata.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{aws::Instance, probe::Probe};

/// Most tags that are read; AWS allows 50.
const TAG_LIMIT: usize = 100;

/// What is not encoded in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) async fn detect(probe: &Probe) {
    let settings = &probe.config.ec2;
    let Some(instance) = Instance::open(probe, settings.max_attempts, settings.max_backoff.0).await
    else {
        return;
    };
    probe.text("cloud.provider", Some("aws"));
    probe.text("cloud.platform", Some("aws_ec2"));
    instance.identity().await;
    if !settings.tags.is_empty() && settings.tags_from_imds {
        tags(probe, &instance).await;
    }
}

async fn tags(probe: &Probe, instance: &Instance<'_>) {
    let wanted = match regex::RegexSet::new(&probe.config.ec2.tags) {
        Ok(wanted) => wanted,
        Err(error) => return probe.warn(format!("`ec2::tags`: {error}")),
    };
    let Some(keys) = instance.text("/latest/meta-data/tags/instance").await else {
        return probe.warn(
            "GET /latest/meta-data/tags/instance: the instance does not show its tags; allow it: \
             `aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled`"
                .to_owned(),
        );
    };
    for key in keys.lines().filter(|key| wanted.is_match(key)).take(TAG_LIMIT) {
        let path = utf8_percent_encode(key, SEGMENT);
        let value = instance.text(&format!("/latest/meta-data/tags/instance/{path}")).await;
        probe.text(&format!("ec2.tag.{key}"), value.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::mock::{Server, outcome, text, variables};

    const DOCUMENT: &str = r#"{"accountId":"123456789012","architecture":"arm64",
        "availabilityZone":"eu-west-1b","imageId":"ami-5fb8c835","instanceId":"i-1234567890abcdef0",
        "instanceType":"t4g.small","region":"eu-west-1","privateIp":"10.158.112.84"}"#;

    fn instance(request: &str) -> Option<(u16, String)> {
        let path = request.split(' ').nth(1)?;
        let has_token = request.contains("x-aws-ec2-metadata-token: secret\r\n");
        let text = match path {
            "/latest/api/token" if request.starts_with("PUT ") => "secret",
            _ if !has_token => return Some((401, String::new())),
            "/latest/dynamic/instance-identity/document" => DOCUMENT,
            "/latest/meta-data/hostname" => "ip-10-0-0-1.eu-west-1.compute.internal",
            "/latest/meta-data/tags/instance" => "Name\nteam a\nother",
            "/latest/meta-data/tags/instance/Name" => "web",
            "/latest/meta-data/tags/instance/team%20a" => "shop",
            _ => return Some((404, String::new())),
        };
        Some((200, text.to_owned()))
    }

    #[test]
    fn an_instance_is_described_by_its_metadata() {
        let server = Server::new(instance);
        let notes = outcome(
            "{detectors: [ec2], ec2: {tags: [^Name$, ^team], tags_from_imds: true}}",
            variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]),
        );
        let expected = [
            text("cloud.provider", "aws"),
            text("cloud.platform", "aws_ec2"),
            text("cloud.account.id", "123456789012"),
            text("cloud.availability_zone", "eu-west-1b"),
            text("cloud.region", "eu-west-1"),
            text("host.id", "i-1234567890abcdef0"),
            text("host.image.id", "ami-5fb8c835"),
            text("host.type", "t4g.small"),
            text("host.name", "ip-10-0-0-1.eu-west-1.compute.internal"),
            text("ec2.tag.Name", "web"),
            text("ec2.tag.team a", "shop"),
        ];
        assert_eq!(notes.attributes, expected);
        assert_eq!(notes.warning, None);
    }

    #[test]
    fn nobody_at_the_address_is_another_platform() {
        let variables = variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]);
        let notes = outcome("detectors: [ec2]", variables);
        assert!(notes.warning.is_none() && notes.attributes.is_empty());
        assert!(notes.absent.unwrap().contains("http://127.0.0.1:1"));
    }

    #[test]
    fn a_token_that_does_not_come_is_about_hops() {
        let server = Server::new(|_| None);
        let notes = outcome(
            "{detectors: [ec2], timeout: 100ms}",
            variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]),
        );
        let warning = notes.warning.unwrap();
        assert!(warning.contains("/latest/api/token: no answer within 100ms"), "{warning}");
        assert!(warning.contains("--http-put-response-hop-limit 2"), "{warning}");
    }

    /// The first answer is no document: without `retry` that is all.
    #[test]
    fn a_failure_is_asked_again_where_that_is_wanted() {
        for (retry, is_found) in [
            ("", false),
            (", retry: {enabled: false}", false),
            (", retry: {initial_interval: 1ms}", true),
            (", timeout: 50ms, retry: {initial_interval: 60ms, max_elapsed_time: 20s}", true),
        ] {
            let asked = AtomicUsize::new(0);
            let server = Server::new(move |request| {
                let is_document = request.contains("/instance-identity/document");
                if is_document && asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Some((200, "no JSON".to_owned()));
                }
                instance(request)
            });
            let notes = outcome(
                &format!("{{detectors: [ec2]{retry}}}"),
                variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]),
            );
            let id = text("host.id", "i-1234567890abcdef0");
            assert_eq!(notes.attributes.contains(&id), is_found, "{retry}");
            assert_eq!(notes.warning.is_none(), is_found, "{retry}: {:?}", notes.warning);
            // Found by both attempts, and noted once.
            let provider = text("cloud.provider", "aws");
            assert_eq!(notes.attributes.iter().filter(|one| **one == provider).count(), 1);
        }
    }

    #[test]
    fn what_came_before_the_deadline_counts() {
        let server =
            Server::new(
                |request| {
                    if request.contains("/hostname") { None } else { instance(request) }
                },
            );
        let notes = outcome(
            "{detectors: [ec2], timeout: 200ms}",
            variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]),
        );
        assert_eq!(notes.attributes.len(), 8);
        assert!(notes.warning.unwrap().contains("/latest/meta-data/hostname"));
    }

    #[test]
    fn services_of_version_1_and_faults_are_met() {
        let old = Server::new(|request| {
            if request.starts_with("PUT ") {
                return Some((404, String::new()));
            }
            request.contains("/document").then(|| (200, DOCUMENT.to_owned()))
        });
        let config = "{detectors: [ec2], attributes: [host.id]}";
        let at = |url: &str| variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]);
        assert_eq!(
            outcome(config, at(&old.url)).attributes,
            [text("host.id", "i-1234567890abcdef0")]
        );
        for (status, body) in [(403, ""), (500, ""), (200, "{"), (200, "[1]")] {
            let faulty = Server::new(move |_| Some((status, body.to_owned())));
            let notes = outcome(config, at(&faulty.url));
            assert!(notes.attributes.is_empty(), "{status} {body}");
            assert_eq!(notes.warning.is_some(), body != "[1]", "{status} {body}");
            let is_refused =
                notes.warning.is_some_and(|warning| warning.contains("--http-endpoint enabled"));
            assert_eq!(is_refused, status == 403, "{status} {body}");
        }
        for wrong in ["https://127.0.0.1", "nonsense", "http://"] {
            assert!(outcome(config, at(wrong)).warning.is_some(), "{wrong}");
        }
    }
}
