//! The published schema against files that work and files that do not.

use std::fs;

use super::*;
use crate::config::{write, yaml};

/// What the schema says of a text, references not replaced, as an editor sees it.
fn complaints(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    let json = write::json(&yaml::parse(0, text).unwrap());
    let instance: Value = serde_json::from_str(&json).unwrap();
    validator
        .iter_errors(&instance)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&Schemas::default().whole()).unwrap()
}

#[test]
fn every_pipeline_of_the_folder_is_accepted() {
    let validator = validator();
    let mut seen = 0;
    for entry in fs::read_dir("pipelines").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let found = complaints(&validator, &fs::read_to_string(&path).unwrap());
            assert_eq!(found, Vec::<String>::new(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "the pipelines were found");
}

#[test]
fn the_shapes_that_the_reader_takes_are_accepted() {
    let text = "
receivers:
  otlp:
  otlp/second:
    protocols::grpc:
    wait_for_export: ${env:WAIT}
processors:
  batch: { timeout: '${env:TIMEOUT:-5s}', send_batch_size: ~ }
  memory_limiter: { check_interval: 1s, limit_mib: '${env:LIMIT}' }
exporters:
  otlp: { endpoint: localhost:4317, tls: { insecure: true } }
  otlphttp/two: { endpoint: http://localhost, headers: { a: b }, timeout: 5000000000 }
connectors:
extensions: { health_check: }
service:
  extensions: [health_check]
  telemetry: { logs: { level: debug }, metrics: { level: none } }
  pipelines:
    traces/one: { receivers: [otlp], processors: batch, exporters: [otlp, otlphttp/two] }
";
    assert_eq!(complaints(&validator(), text), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_refused() {
    let validator = validator();
    for wrong in [
        "reciever: {}",
        "receivers: { otpl: }",
        "receivers: { otlp: { protocol: } }",
        "receivers: { otlp: { protocols: { http: { endpont: x } } } }",
        "receivers: { otlp: { wait_for_export: 1 } }",
        "processors: { batch: { timeout: 5 seconds } }",
        "processors: { batch: { send_batch_size: many } }",
        "processors: { batch: { send_batch_size: -1 } }",
        "exporters: { otlp_http: { compression: rar } }",
        "service: { pipelines: { trace: { receivers: [otlp] } } }",
        "service: { pipelines: { traces: { receiver: [otlp] } } }",
        "service: { telemetry: { log: {} } }",
    ] {
        assert!(!complaints(&validator, wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn a_key_has_its_own_description_and_not_that_of_its_type() {
    let whole = Schemas::default().whole();
    for (name, definition) in whole["$defs"].as_object().unwrap() {
        assert!(definition.get("description").is_none(), "{name}");
    }
}

#[test]
fn every_field_of_every_component_is_described() {
    let schemas = Schemas::default();
    let bodies = schemas.components.iter().map(|known| (known.name, &known.schema));
    let definitions = schemas.definitions.iter().map(|(name, schema)| (&**name, schema));
    for (name, schema) in bodies.chain(definitions) {
        for schema in schemas.alternatives(schema) {
            for (key, field) in schema["properties"].as_object().into_iter().flatten() {
                assert!(field["description"].is_string(), "`{key}` of {name} has no description");
            }
        }
    }
}
