//! `lambda` and `elasticbeanstalk`: what AWS leaves on the machine, without any request.

use super::{
    aws::member,
    probe::{Probe, texts},
};
use crate::processors::editing::value::AttributeValue;

/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.
///
/// `faas.max_memory` is a number of bytes, as the semantic conventions say; the Collector gives the
/// text of the variable, which counts MiB.
pub(super) fn lambda(probe: &Probe) {
    let var = |name: &str| probe.environment.var(name);
    let Some(name) = var("AWS_LAMBDA_FUNCTION_NAME") else {
        return probe.absent("AWS_LAMBDA_FUNCTION_NAME is not set");
    };
    probe.text("cloud.provider", Some("aws"));
    probe.text("cloud.platform", Some("aws_lambda"));
    probe.text("cloud.region", var("AWS_REGION").as_deref());
    probe.text("faas.name", Some(&name));
    probe.text("faas.version", var("AWS_LAMBDA_FUNCTION_VERSION").as_deref());
    if let Some(memory) = var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") {
        match memory.parse::<i64>().ok().and_then(|mib| mib.checked_mul(1 << 20)) {
            Some(bytes) => probe.set("faas.max_memory", AttributeValue::Int(bytes)),
            None => probe.warn(format!(
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE is not a number of MiB: `{memory:.100}`; unset it"
            )),
        }
    }
    if let Some(group) = var("AWS_LAMBDA_LOG_GROUP_NAME") {
        probe.set("aws.log.group.names", texts([group]));
    }
    if let Some(stream) = var("AWS_LAMBDA_LOG_STREAM_NAME") {
        probe.text("faas.instance", Some(&stream));
        probe.set("aws.log.stream.names", texts([stream]));
    }
}

/// What Beanstalk writes for the X-Ray daemon, where X-Ray is on.
const BEANSTALK: &str = "/var/elasticbeanstalk/xray/environment.conf";

pub(super) async fn elastic_beanstalk(probe: &Probe) {
    probe.asking(format!("reading {BEANSTALK}"), "raise `timeout`");
    let text = match probe.environment.read(BEANSTALK).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return probe.absent(format!("there is no {BEANSTALK}"));
        }
        Err(error) => {
            return probe.warn(format!("reading {BEANSTALK}: {error}; let skep's user read it"));
        }
    };
    let Ok(found) = serde_json::from_str::<serde_json::Value>(&text) else {
        return probe.warn(format!(
            "reading {BEANSTALK}: not JSON; turn X-Ray off and on again in the environment"
        ));
    };
    probe.text("cloud.provider", Some("aws"));
    probe.text("cloud.platform", Some("aws_elastic_beanstalk"));
    probe.text("deployment.environment", member(&found, "environment_name"));
    // The Collector reads it as a number, which is 0 where it is absent.
    let deployment = found.get("deployment_id").and_then(serde_json::Value::as_i64);
    let text = member(&found, "deployment_id").and_then(|text| text.parse().ok());
    probe.text("service.instance.id", Some(&deployment.or(text).unwrap_or(0).to_string()));
    probe.text("service.version", member(&found, "version_label"));
}

#[cfg(test)]
mod tests {
    use super::{
        super::mock::{Place, outcome, text, variables},
        *,
    };

    #[test]
    fn a_function_knows_itself() {
        let notes = outcome(
            "detectors: [lambda]",
            variables(&[
                ("AWS_REGION", "eu-west-1"),
                ("AWS_LAMBDA_FUNCTION_NAME", "f"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/[$LATEST]ab"),
            ]),
        );
        let expected = [
            text("cloud.provider", "aws"),
            text("cloud.platform", "aws_lambda"),
            text("cloud.region", "eu-west-1"),
            text("faas.name", "f"),
            text("faas.version", "$LATEST"),
            ("faas.max_memory".to_owned(), AttributeValue::Int(134_217_728)),
            ("aws.log.group.names".to_owned(), texts(["/aws/lambda/f".to_owned()])),
            text("faas.instance", "2026/[$LATEST]ab"),
            ("aws.log.stream.names".to_owned(), texts(["2026/[$LATEST]ab".to_owned()])),
        ];
        assert_eq!(notes.attributes, expected);
        assert_eq!(notes.warning, None);
    }

    #[test]
    fn another_platform_is_no_fault() {
        for detector in ["lambda", "elasticbeanstalk", "elastic_beanstalk", "ecs", "eks"] {
            let notes = outcome(&format!("detectors: [{detector}]"), variables(&[]));
            assert!(notes.attributes.is_empty() && notes.warning.is_none(), "{detector}");
            assert!(notes.absent.is_some(), "{detector}");
        }
    }

    #[test]
    fn memory_that_is_no_number_is_told() {
        for memory in ["much", "9223372036854775807", "-"] {
            let notes = outcome(
                "detectors: [lambda]",
                variables(&[
                    ("AWS_LAMBDA_FUNCTION_NAME", "f"),
                    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory),
                ]),
            );
            assert!(notes.warning.unwrap().contains("not a number"), "{memory}");
        }
    }

    #[test]
    fn beanstalk_is_read_from_its_file() {
        let read = |content: &str| {
            let place = Place::with(&[(BEANSTALK, content)]);
            outcome("detectors: [elastic_beanstalk]", place)
        };
        let notes = read(r#"{"deployment_id":23,"version_label":"v1","environment_name":"prod"}"#);
        let expected = [
            text("cloud.provider", "aws"),
            text("cloud.platform", "aws_elastic_beanstalk"),
            text("deployment.environment", "prod"),
            text("service.instance.id", "23"),
            text("service.version", "v1"),
        ];
        assert_eq!(notes.attributes, expected);
        for odd in ["[]", "1", r#"{"deployment_id":[],"version_label":7}"#] {
            assert_eq!(read(odd).attributes.len(), 3, "{odd}");
        }
        assert!(read("{").warning.unwrap().contains("not JSON"));
    }
}
