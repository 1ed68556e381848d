//! The files in `docker/`, checked without a container engine: rules for images, the compose file,
//! the ECS task definition. `docker/check.sh` builds the image and looks at what is in it.

#[cfg(feature = "aws")]
use std::{collections::BTreeSet, process::Command};
use std::{fs, path::Path};

use serde_json::Value;
use skep::config::{self, Problems, yaml};
#[cfg(feature = "aws")]
use skep::{exporters, receivers};

/// What runs beside an application on ECS.
const SIDECAR: &str = "pipelines/aws-sidecar.yaml";

const DOCKERFILES: [&str; 3] =
    ["docker/Dockerfile", "docker/app/Dockerfile", "docker/four-sdks/Dockerfile"];

const COMPOSE_FILES: [&str; 2] = ["docker/compose.yaml", "docker/bootcamp.yaml"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A Dockerfile without its comments, each instruction on one line.
fn dockerfile(path: &str) -> String {
    let text = read(path);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ")
}

/// What follows the name in each instruction of that name.
fn all<'t>(dockerfile: &'t str, name: &str) -> Vec<&'t str> {
    dockerfile.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

fn yaml_file(path: &str) -> Value {
    let node = yaml::parse(0, &read(path)).unwrap_or_else(|problem| panic!("{problem:?}"));
    let mut problems = Problems::default();
    let value = config::decode::<Value>(&node, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    value.unwrap()
}

#[test]
fn images_are_built_on_named_versions_without_secrets() {
    for path in DOCKERFILES {
        let text = dockerfile(path);
        for base in all(&text, "FROM") {
            let tag = base.split(' ').next().unwrap().split_once(':').map(|(_, tag)| tag);
            let is_pinned = tag.is_some_and(|tag| tag.starts_with(|c: char| c.is_ascii_digit()));
            assert!(base == "scratch" || is_pinned, "{path}: `{base}` has no version");
        }
        assert!(all(&text, "ADD").is_empty(), "{path}: COPY does the same without magic");
        for value in [all(&text, "ENV"), all(&text, "ARG")].concat() {
            let upper = value.to_uppercase();
            let words = ["KEY", "SECRET", "TOKEN", "PASSWORD"];
            assert!(!words.iter().any(|word| upper.contains(word)), "{path}: {value}");
        }
        for run in all(&text, "RUN") {
            for (tool, wanted) in [
                ("apt-get install", "--no-install-recommends"),
                ("apt-get install", "rm -rf /var/lib/apt/lists"),
                ("pip install", "--no-cache-dir"),
                ("cargo build", "--locked"),
                // RUSTFLAGS reach build scripts and macros, too, unless a target is named.
                ("cargo build", "--target"),
            ] {
                assert!(!run.contains(tool) || run.contains(wanted), "{path}: {wanted}: {run}");
            }
        }
        let user = *all(&text, "USER").last().expect("not root");
        let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
        assert!(ids.len() == 2 && ids.iter().all(|id| *id > 0), "{path}: {user}");
    }
}

#[test]
fn what_the_build_copies_exists_and_is_sent_to_it_dependencies_first() {
    let (text, ignore) = (dockerfile(DOCKERFILES[0]), read(".dockerignore"));
    let copied: Vec<&str> = all(&text, "COPY");
    for source in copied.iter().filter(|rest| !rest.starts_with("--from")) {
        let sources: Vec<&str> = source.split(' ').collect();
        for source in &sources[..sources.len() - 1] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
            assert!(path.exists(), "{source}");
            let is_sent = ignore.lines().any(|line| line.strip_prefix('!') == Some(source));
            assert!(is_sent, "{source} is in .dockerignore");
        }
    }
    for path in &DOCKERFILES[1..] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        for source in all(&dockerfile(path), "COPY") {
            let file = source.split(' ').next().unwrap();
            assert!(folder.with_file_name(file).exists(), "{path}: {file}");
        }
    }
    // The layer of the dependencies is made before the sources come. The manifest names the
    // benches, so cargo wants to see them.
    let order =
        ["COPY Cargo.toml Cargo.lock", "COPY benches", "cargo build", "COPY src", "--bin skep"];
    let places = order.map(|part| text.find(part).unwrap_or_else(|| panic!("no {part}")));
    assert!(places.is_sorted(), "{order:?} are at {places:?}");
}

#[test]
fn the_image_is_one_binary_that_asks_itself_for_its_health() {
    let text = dockerfile(DOCKERFILES[0]);
    assert!(text.contains("+crt-static") && text.contains("/etc/ssl/certs/ca-certificates.crt"));
    let image = text.rsplit_once("\nFROM ").unwrap().1;
    assert!(image.starts_with("scratch\n"), "{image}");
    assert!(all(image, "RUN").is_empty(), "there is no shell");
    assert_eq!(all(image, "ENTRYPOINT"), [r#"["/skep"]"#]);
    let health = all(image, "HEALTHCHECK");
    assert!(health.len() == 1 && health[0].ends_with(r#" CMD ["/skep", "health"]"#), "{health:?}");
    for option in ["--interval=", "--timeout=", "--start-period=", "--retries="] {
        assert!(health[0].contains(option), "{option}");
    }
    assert_eq!(all(image, "STOPSIGNAL"), ["SIGTERM"]);
    assert_eq!(all(image, "EXPOSE"), ["4317 4318 13133 2000/tcp 2000/udp"]);
}

/// Keys of a compose service that are used here, by the compose specification.
const SERVICE_KEYS: &str = "build cap_drop depends_on environment healthcheck image ports read_only \
    restart security_opt stop_grace_period volumes";

/// `.ci/run` checks the form by `docker compose config`, too, where that is installed.
#[test]
fn compose_files_have_known_keys_and_services() {
    for path in COMPOSE_FILES {
        let compose = yaml_file(path);
        let services = compose["services"].as_object().unwrap();
        for (name, service) in services {
            for key in service.as_object().unwrap().keys() {
                assert!(SERVICE_KEYS.split(' ').any(|known| known == key), "{path}: {name}: {key}");
            }
            for other in service["depends_on"].as_object().into_iter().flatten() {
                assert!(services.contains_key(other.0), "{path}: {name} depends on {}", other.0);
                assert_eq!(other.1["condition"], "service_healthy");
            }
            let build = &service["build"];
            let folder = build["context"].as_str().or(build.as_str()).unwrap();
            let dockerfile = build["dockerfile"].as_str().unwrap_or("Dockerfile");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(folder);
            assert!(folder.join(dockerfile).exists(), "{path}: {name}");
        }
        let skep = &services["skep"];
        assert_eq!(skep["build"]["dockerfile"], "docker/Dockerfile");
        for (name, value) in skep["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let is_outside = value.starts_with(&format!("${{{name}:-"));
            assert!(
                is_outside || name == "SKEP_HOST",
                "{path}: {name} comes from outside: {value}"
            );
        }
        let names =
            ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION"];
        for name in names.map(|name| format!("AWS_{name}")) {
            assert!(skep["environment"][&name].is_string(), "{path}: {name}");
        }
        let grace = skep["stop_grace_period"].as_str().unwrap().trim_end_matches('s');
        assert!(grace.parse::<u32>().unwrap() > 8, "longer than the drain");
    }
}

/// Each SDK finds a receiver of the file that skep has there, and the secrets are skep's alone.
#[test]
fn the_sdks_of_the_bootcamp_have_only_other_addresses() {
    let compose = yaml_file("docker/bootcamp.yaml");
    let services = &compose["services"];
    let pipeline = read("pipelines/bootcamp.yaml");
    let config = yaml_file("pipelines/bootcamp.yaml");
    let of_sdks = services["with-four-sdks"]["environment"].as_object().unwrap();
    for (name, address, receiver) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://skep:4319", "otlp/honeycomb"),
        ("AWS_XRAY_DAEMON_ADDRESS", "skep:2000", "awsxray"),
        ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "http://skep:4586", "awscloudwatchlogs"),
        ("ROLLBAR_ENDPOINT", "http://skep:8090/api/1/", "rollbar"),
    ] {
        assert_eq!(of_sdks[name], address);
        assert!(config["receivers"].as_object().unwrap().contains_key(receiver), "{receiver}");
        let source = read("docker/four-sdks/app.py");
        assert!(source.contains(name), "the application says where {name} is used");
    }
    for port in [4319, 8090] {
        let listens = format!("${{env:SKEP_HOST:-localhost}}:{port}");
        assert!(pipeline.contains(&listens), "{listens}");
    }
    assert_eq!(services["skep"]["environment"]["SKEP_HOST"], "0.0.0.0");
    let secrets = ["OTEL_EXPORTER_OTLP_HEADERS", "ROLLBAR_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY"];
    for name in secrets {
        let value = of_sdks[name].as_str().unwrap();
        assert!(value.ends_with("any"), "{name}: {value}");
    }
    for name in ["HONEYCOMB_API_KEY", "ROLLBAR_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY"] {
        assert!(services["skep"]["environment"][name].is_string(), "{name}");
    }
    let volumes = services["skep"]["volumes"].as_array().unwrap();
    let file = "../pipelines/bootcamp.yaml:/etc/skep/config.yaml:ro";
    assert!(volumes.iter().any(|volume| volume == file), "{volumes:?}");
    let stock = services["stock-sdk"]["environment"].as_object().unwrap();
    assert!(stock.keys().all(|name| name.starts_with("OTEL_")), "no secret: {stock:?}");
}

#[test]
fn the_application_of_the_compose_file_waits_for_skep_and_knows_no_vendor() {
    let compose = yaml_file("docker/compose.yaml");
    let services = compose["services"].as_object().unwrap();
    let app = &services["backend-flask"];
    assert_eq!(app["depends_on"]["skep"]["condition"], "service_healthy");
    let environment = app["environment"].as_object().unwrap();
    assert_eq!(environment["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://skep:4318");
    assert_eq!(environment["AWS_XRAY_DAEMON_ADDRESS"], "skep:2000");
    let is_address = |key: &String| key.starts_with("OTEL_") || key == "AWS_XRAY_DAEMON_ADDRESS";
    assert!(environment.keys().all(is_address), "no secret: {environment:?}");
    let source = read("docker/app/app.py").to_lowercase();
    for vendor in ["honeycomb", "rollbar", "xray", "watchtower", "api_key"] {
        assert!(!source.contains(vendor), "{vendor}");
    }
    let skep = &services["skep"];
    let ports = skep["ports"].as_array().unwrap();
    for protocol in ["tcp", "udp"] {
        let port = format!("127.0.0.1:2000:2000/{protocol}");
        assert!(ports.iter().any(|one| *one == port), "{port}");
    }
}

/// The image's health check asks the extension.
#[test]
fn configurations_without_a_file_are_healthy() {
    let bootcamp = "pipelines/bootcamp.yaml";
    for path in ["pipelines/default.yaml", "pipelines/honeycomb.yaml", SIDECAR, bootcamp] {
        let config = yaml_file(path);
        assert!(config["extensions"].as_object().unwrap().contains_key("health_check"), "{path}");
        let enabled = config["service"]["extensions"].as_array().unwrap();
        assert!(enabled.iter().any(|name| name == "health_check"), "{path}");
    }
}

fn task() -> Value {
    serde_json::from_str(&read("docker/ecs-task-definition.json")).unwrap()
}

fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    let all = task["containerDefinitions"].as_array().unwrap();
    all.iter().find(|container| container["name"] == name).unwrap()
}

fn variable<'a>(container: &'a Value, name: &str) -> &'a str {
    let all = container["environment"].as_array().unwrap();
    all.iter().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap()
}

/// The limits are those of the `RegisterTaskDefinition` action of the ECS API.
#[test]
fn the_task_definition_is_what_fargate_takes() {
    let task = task();
    assert_eq!(task["networkMode"], "awsvpc");
    assert_eq!(task["requiresCompatibilities"], serde_json::json!(["FARGATE"]));
    // Text, not numbers; the pair is one that Fargate has.
    assert_eq!((task["cpu"].as_str(), task["memory"].as_str()), (Some("256"), Some("512")));
    assert!(task["executionRoleArn"].as_str().unwrap().starts_with("arn:aws:iam::"));
    let containers = task["containerDefinitions"].as_array().unwrap();
    let limit = |name: &str| -> u64 {
        containers.iter().filter_map(|container| container[name].as_u64()).sum()
    };
    assert!(limit("cpu") <= 256 && limit("memory") < 512, "room for the application");
    for container in containers {
        for key in ["name", "image"] {
            assert!(!container[key].as_str().unwrap().is_empty());
        }
        // What becomes of telemetry does not end the application.
        assert_eq!(container["essential"], container["name"] != "skep");
        let stop = container["stopTimeout"].as_u64().unwrap();
        assert!((9..=120).contains(&stop), "longer than the drain, at most Fargate's limit");
        for variable in container["environment"].as_array().into_iter().flatten() {
            assert!(variable["name"].is_string() && variable["value"].is_string(), "{variable}");
        }
        for port in container["portMappings"].as_array().into_iter().flatten() {
            assert!(u16::try_from(port["containerPort"].as_u64().unwrap()).is_ok());
        }
        let logs = &container["logConfiguration"];
        assert_eq!(logs["logDriver"], "awslogs");
        for option in ["awslogs-group", "awslogs-region", "awslogs-stream-prefix"] {
            assert!(logs["options"][option].is_string(), "Fargate wants {option}");
        }
    }
}

#[test]
fn the_sidecar_starts_first_and_stops_last() {
    let task = task();
    let app = container(&task, "backend-flask");
    // Containers stop in the reverse order of this. With `HEALTHY` the application would not start
    // where skep does not.
    let depends = serde_json::json!([{ "containerName": "skep", "condition": "START" }]);
    assert_eq!(app["dependsOn"], depends);
    assert_eq!(variable(app, "OTEL_EXPORTER_OTLP_ENDPOINT"), "http://localhost:4318");
    assert_eq!(variable(app, "AWS_XRAY_DAEMON_ADDRESS"), "localhost:2000");
    assert!(app["secrets"].is_null(), "the vendors' keys are the sidecar's");
    let ports = container(&task, "skep")["portMappings"].as_array().unwrap().iter();
    let ports: Vec<_> =
        ports.map(|one| (one["containerPort"].as_u64(), &one["protocol"])).collect();
    for (port, protocol) in [(4317, "tcp"), (4318, "tcp"), (2000, "tcp"), (2000, "udp")] {
        assert!(ports.contains(&(Some(port), &protocol.into())), "{port}/{protocol}");
    }
    let restart = &container(&task, "skep")["restartPolicy"];
    assert_eq!(restart["enabled"], true);
    // Not after its end, and not with a configuration that is wrong.
    assert_eq!(restart["ignoredExitCodes"], serde_json::json!([0, 78]));
    assert!((60..=1800).contains(&restart["restartAttemptPeriod"].as_u64().unwrap()));
    let health = &container(&task, "skep")["healthCheck"];
    assert_eq!(health["command"], serde_json::json!(["CMD", "/skep", "health"]));
    let within = |key: &str, low: u64, high: u64| {
        let value = health[key].as_u64().unwrap();
        assert!((low..=high).contains(&value), "{key}: {value}");
    };
    within("interval", 5, 300);
    within("timeout", 2, 60);
    within("retries", 1, 10);
    within("startPeriod", 0, 300);
}

/// The configuration is a parameter, which has at most 4096 characters and no `{{`.
#[cfg(feature = "aws")]
#[test]
fn the_configuration_of_the_sidecar_is_valid() {
    let task = task();
    let secrets = container(&task, "skep")["secrets"].as_array().unwrap();
    let from = |name: &str| {
        let found = secrets.iter().find(|secret| secret["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))["valueFrom"].as_str().unwrap()
    };
    assert!(from("HONEYCOMB_API_KEY").starts_with("arn:aws:secretsmanager:"));
    assert!(from("AOT_CONFIG_CONTENT").starts_with("arn:aws:ssm:"));
    assert_eq!(secrets.len(), 2, "AWS is reached by the role of the task");
    let config = read(SIDECAR);
    assert!(config.len() <= 4096 && !config.contains("{{"), "{}", config.len());
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["validate", "--deny-warnings"])
        .env("AOT_CONFIG_CONTENT", config)
        .env("HONEYCOMB_API_KEY", "hcaik_for_a_test")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Actions of AWS that a text names.
#[cfg(feature = "aws")]
fn actions(text: &str) -> BTreeSet<String> {
    let action = regex::Regex::new("`((?:xray|logs):[A-Z][A-Za-z]+)`").unwrap();
    action.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// Not one action more than the components of the pipeline say that they need, and not one less.
#[cfg(feature = "aws")]
#[test]
fn the_role_of_the_task_may_do_what_is_needed() {
    let policy: Value = serde_json::from_str(&read("docker/ecs-task-role-policy.json")).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().unwrap();
    assert!(statements.iter().all(|statement| statement["Effect"] == "Allow"));
    let texts = |value: &Value| -> Vec<String> {
        let one = value.as_str().map(|text| vec![text.to_owned()]);
        one.unwrap_or_else(|| serde_json::from_value(value.clone()).unwrap())
    };
    let allowed: BTreeSet<String> =
        statements.iter().flat_map(|statement| texts(&statement["Action"])).collect();
    let config = yaml_file(SIDECAR);
    let is_used = |section: &str, name: &str| config[section].get(name).is_some();
    let header = |source: &str| -> String {
        let lines = source.lines().take_while(|line| line.starts_with("//!"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut needed = BTreeSet::new();
    for entry in receivers::ALL.iter().filter(|entry| is_used("receivers", entry.name)) {
        needed.extend(actions(&header(entry.source)));
    }
    for entry in exporters::ALL.iter().filter(|entry| is_used("exporters", entry.name)) {
        needed.extend(actions(&header(entry.source)));
    }
    assert_eq!(allowed, needed);
    // What is written stays within the groups of the configuration.
    let write =
        statements.iter().find(|one| texts(&one["Action"]).contains(&"logs:PutLogEvents".into()));
    let resources = texts(&write.unwrap()["Resource"]);
    for exporter in ["awscloudwatchlogs", "awsemf"] {
        let group = config["exporters"][exporter]["log_group_name"].as_str().unwrap();
        let prefix = group.split('{').next().unwrap();
        let resource = format!("arn:aws:logs:*:123456789012:log-group:{prefix}*");
        assert!(resources.contains(&resource), "{resource}");
    }
}
