//! Cross-checks, each with its words.

use serde_json::Value as Json;

use super::*;
use crate::config::{Problem, Severity, ignored, source, yaml};

fn problems(text: &str) -> Vec<String> {
    let root = yaml::parse(0, text).unwrap();
    let mut problems = Problems::default();
    load(&root, &mut problems);
    let show = |p: &Problem| {
        let start = p.place.as_ref().map(|place| place.range.start);
        let line = start.map_or(0, |start| text[..start].matches('\n').count() + 1);
        let kind = if p.severity == Severity::Error { "error" } else { "warning" };
        format!("{line} {kind}: {}", p.message)
    };
    problems.0.iter().map(show).collect()
}

const GOOD: &str = "
receivers:
  otlp:
    protocols:
      grpc:
exporters:
  otlp_grpc:
    endpoint: localhost:4317
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp_grpc]
";

#[test]
fn a_good_file_has_no_problems() {
    assert_eq!(problems(GOOD), Vec::<String>::new());
}

#[test]
fn old_names_work_with_a_warning() {
    let text = GOOD.replace("otlp_grpc", "otlp");
    let one = "0 warning: old names, which still work: exporter `otlp` is now `otlp_grpc`";
    assert_eq!(problems(&text), [one]);
    // However many there are of each.
    let text = text.replace("exporters: [otlp]", "exporters: [otlp, otlp/2]");
    let text = text.replace("service:", "  otlp/2: {endpoint: 'localhost:4319'}\nservice:");
    assert_eq!(problems(&text), [one]);
}

#[test]
fn undefined_references_are_errors_at_their_place() {
    let text = GOOD.replace("receivers: [otlp]", "receivers: [otlp, jaeger]");
    assert_eq!(problems(&text), ["12 error: references receiver `jaeger` which is not configured"]);
}

#[test]
fn unknown_components_are_named_at_their_lines_and_their_references_are_no_errors() {
    let text = GOOD
        .replace("exporters: [otlp_grpc]", "exporters: [otlp_grpc, kafka]")
        .replace("service:", "  kafka:\nprocessors:\n  nosuch:\n  geoip/2:\n  otlp:\nservice:");
    assert_eq!(
        problems(&text),
        [
            "11 error: unknown processor type `nosuch`",
            "12 error: the processor `geoip/2` of the Collector is not in skep",
            "13 error: unknown processor type `otlp`",
            "9 error: the exporter `kafka` of the Collector is not in skep",
        ]
    );
}

#[test]
fn no_default_is_proposed_for_a_secret() {
    let text = "exporters: {honeycomb: {api_key: '${env:NO_KEY}', endpoint: '${env:NO_URL}'}}";
    let mut problems = Problems::default();
    let loaded = source::load(&[format!("yaml:{text}")], &[], &|_| None, &mut problems);
    load(loaded.root.as_ref().unwrap(), &mut problems);
    let help = |name: &str| {
        let found = problems.0.iter().find(|problem| problem.message.contains(name));
        found.and_then(|problem| problem.help.clone()).unwrap()
    };
    assert_eq!(help("NO_KEY"), "set it where skep runs");
    assert!(help("NO_URL").ends_with("or give a default: `${env:NO_URL:-value}`"));
}

#[test]
fn what_is_not_used_is_a_warning() {
    let text = GOOD.replace("service:", "  nop:\nservice:");
    assert_eq!(problems(&text), ["9 warning: exporter `nop` is defined but not used"]);
}

#[test]
fn empty_pipelines_and_sections_are_errors() {
    assert_eq!(problems("service:\n"), ["1 error: service must have at least one pipeline"]);
    let text = GOOD.replace("      exporters: [otlp_grpc]\n", "");
    let all = problems(&text);
    assert!(all.contains(&"11 error: must have at least one exporter".to_owned()), "{all:?}");
}

#[test]
fn misspelt_sections_and_signals_are_errors() {
    assert!(
        problems(&GOOD.replace("exporters:\n", "exporter:\n"))[0]
            .contains("unknown key `exporter`")
    );
    assert!(problems(&GOOD.replace("traces:", "trace:"))[0].contains("unknown signal `trace`"));
}

#[test]
fn validation_of_components_is_reported_with_the_rest() {
    let text = GOOD.replace("    endpoint: localhost:4317\n", "").replace("traces:", "tracs:");
    let all = problems(&text);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].contains("requires a non-empty \"endpoint\""), "{all:?}");
}

const CONNECTED: &str = "
receivers:
  otlp:
    protocols:
      grpc:
exporters:
  nop:
connectors:
  forward:
service:
  pipelines:
    traces/in:
      receivers: [otlp]
      exporters: [forward]
    traces/out:
      receivers: [forward]
      exporters: [nop]
";

#[test]
fn connectors_join_pipelines() {
    assert_eq!(problems(CONNECTED), Vec::<String>::new());
}

#[test]
fn a_connector_used_on_one_side_only_is_an_error() {
    let text = CONNECTED.replace("receivers: [forward]", "receivers: [otlp]");
    assert_eq!(
        problems(&text),
        [
            "14 error: connector `forward` used as exporter in [traces/in] pipeline but not used in any \
          supported receiver pipeline"
        ]
    );
}

#[test]
fn a_connector_that_leads_to_no_pipeline_of_its_signal_is_an_error_on_both_sides() {
    let text = CONNECTED.replace("traces/out:", "logs/out:");
    assert_eq!(
        problems(&text),
        [
            "14 error: connector `forward` used as exporter in [traces/in] pipeline but not used in any \
          supported receiver pipeline",
            "16 error: connector `forward` used as receiver in [logs/out] pipeline but not used in any \
          supported exporter pipeline"
        ]
    );
}

#[test]
fn a_cycle_is_shown_whole() {
    let text = CONNECTED.replace("exporters: [nop]", "exporters: [nop, forward]");
    let all = problems(&text);
    assert!(
        all.iter()
            .any(|m| m.contains("cycle detected: traces/out -> connector `forward` -> traces/out")),
        "{all:?}"
    );
}

#[test]
fn headers_that_nobody_keeps_are_a_warning() {
    let text = r#"
receivers:
  otlp:
    protocols: {http: }
  otlp/keeps:
    protocols: {http: {endpoint: "localhost:5318", include_metadata: true}}
processors:
  attributes:
    actions: [{key: user.id, from_context: metadata.x-user-id, action: upsert}]
  attributes/late:
    actions: [{key: user.id, from_context: metadata.x-user-id, action: upsert}]
  attributes/address:
    actions: [{key: client.address, from_context: client.address, action: upsert}]
  batch:
exporters:
  debug:
service:
  pipelines:
    traces: {receivers: [otlp], processors: [attributes/address, attributes], exporters: [debug]}
    logs: {receivers: [otlp/keeps], processors: [attributes, batch, attributes/late], exporters: [debug]}
"#;
    assert_eq!(
        problems(text),
        [
            "8 warning: processor `attributes` looks at request headers, but in the pipeline \
             `traces` no receiver keeps them",
            "10 warning: processor `attributes/late` looks at request headers, but in the pipeline \
             `logs` `batch` before it does not keep them",
        ]
    );
}

/// `validate` is also run where the variables and files of production do not exist.
#[test]
fn what_is_absent_here_hides_no_other_mistake_and_makes_none() {
    let text = "
receivers: {otlp: {protocols: {grpc: }}}
processors: {batch: {timeout: 5, send_batch_size: '${env:UNSET_SIZE}'}}
exporters:
  otlp_grpc: {endpoint: '${env:UNSET_HOST}:4317'}
  otlp_grpc/2: {endpoint: 'host:4317', tls: {ca_file: /nowhere/ca.pem}}
  honeycomb: {api_key: '${env:UNSET_KEY}', regoin: eu}
  file: '${file:/nowhere/body.yaml}'
service:
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc, otlp_grpc/2, honeycomb, file]}
    logs: {receivers: [otlp], exporters: '${env:UNSET_LIST}'}
";
    let mut problems = Problems::default();
    let uris = [format!("yaml:{text}")];
    let loaded = source::load(&uris, &[], &|_| None, &mut problems);
    load(loaded.root.as_ref().unwrap(), &mut problems);
    let messages = |is_absent: bool| -> Vec<&str> {
        let those = problems.0.iter().filter(|problem| problem.is_absent == is_absent);
        those.map(|problem| &*problem.message).collect()
    };
    assert_eq!(
        messages(true),
        [
            "the environment variable `UNSET_SIZE` is not set",
            "the environment variable `UNSET_HOST` is not set",
            "the environment variable `UNSET_KEY` is not set",
            "cannot read `/nowhere/body.yaml`: there is no such file",
            "the environment variable `UNSET_LIST` is not set",
            "cannot read `/nowhere/ca.pem`: there is no such file",
        ]
    );
    let short = "`5` without a unit is 5 nanoseconds";
    assert_eq!(messages(false), ["unknown key `regoin`", short]);
}

#[test]
fn attributes_of_an_authenticator_need_one() {
    let file = "
extensions: {bearertokenauth: {token: secret}}
receivers:
  otlp: {protocols: {grpc: }}
  otlp/auth: {protocols: {http: {auth: {authenticator: bearertokenauth}}}}
processors:
  attributes: {actions: [{key: enduser.id, action: insert, from_context: auth.subject}]}
exporters: {nop: }
service:
  extensions: [bearertokenauth]
  pipelines:
    traces: {receivers: [otlp], processors: [attributes], exporters: [nop]}
    logs: {receivers: [otlp/auth], processors: [attributes], exporters: [nop]}
";
    let mut problems = Problems::default();
    let document = load(&yaml::parse(0, file).unwrap(), &mut problems);
    let messages: Vec<&str> = problems.0.iter().map(|problem| &*problem.message).collect();
    let expected = "processor `attributes` looks at attributes of the authenticator, but in the \
                    pipeline `traces` no receiver has one";
    assert_eq!(messages, [expected]);
    assert_eq!(document.server_auths.keys().collect::<Vec<_>>(), ["bearertokenauth"]);
}

/// The configuration of an exporter with some keys.
fn exporter(keys: &str) -> Arc<dyn ExporterConfig> {
    let text = format!("exporters: {{otlp_http: {{endpoint: 'http://a'{keys}}}}}");
    let document = load(&yaml::parse(0, &text).unwrap(), &mut Problems::default());
    Arc::clone(&document.exporters.values().next().unwrap().config)
}

#[test]
fn configurations_are_compared_by_their_meaning_and_secrets_count() {
    let is_same = |one: &str, other: &str| exporter(one).is_same(&*exporter(other));
    assert!(is_same("", ", timeout: 30s"));
    assert!(is_same("", ", timeout: 30000ms"));
    assert!(is_same("", ", retry_on_failure: {enabled: true}"));
    assert!(is_same("", ", read_buffer_size: 5"), "a key without effect");
    assert!(!is_same("", ", timeout: 3s"));
    assert!(is_same(", headers: {x-key: one, x-a: b}", ", headers: {x-a: b, x-key: one}"));
    assert!(!is_same(", headers: {x-key: one}", ", headers: {x-key: two}"));
}

/// Every key without effect in the schemas, with its path.
fn ignored_keys(schemas: &schema::Schemas, schema: &Json, path: &str, found: &mut Vec<String>) {
    if path.matches('.').count() > 8 {
        return;
    }
    let all = schemas.alternatives(schema);
    for (key, inner) in all.iter().filter_map(|one| one["properties"].as_object()).flatten() {
        let path = format!("{path}.{key}");
        if schema::Schemas::is_ignored(inner) {
            let comment = inner["description"].as_str().unwrap_or_default();
            assert!(ignored::reason(comment).is_some(), "{path} has no reason: {comment}");
            found.push(path);
        } else {
            ignored_keys(schemas, inner, &path, found);
        }
    }
}

#[test]
fn every_key_without_effect_has_a_reason() {
    let schemas = schema::Schemas::shared();
    let mut found = Vec::new();
    for kind in Kind::ALL {
        for name in unknown::types(kind) {
            ignored_keys(schemas, schemas.component(kind, name).unwrap(), name, &mut found);
        }
    }
    ignored_keys(schemas, schemas.telemetry(), "telemetry", &mut found);
    for key in [
        "otlp_http.max_conns_per_host",
        "otlp_http.force_attempt_http2",
        "otlp_http.read_buffer_size",
        "otlp_http.write_buffer_size",
        "file_storage.recreate",
        "tail_sampling.expected_new_traces_per_sec",
        "telemetry.logs.output_paths",
    ] {
        assert!(found.iter().any(|known| known == key), "{key}: {found:?}");
    }
}

#[test]
fn keys_without_effect_are_warned_of_at_their_lines() {
    let text = GOOD
        .replace(
            "service:",
            "  otlp_http:\n    endpoint: http://a\n    force_attempt_http2: false\n    \
                              read_buffer_size: 0\n    tls:\n      cipher_suites: [a]\nservice:\n  \
                              telemetry: {logs: {output_paths: [x]}}",
        )
        .replace("exporters: [otlp_grpc]", "exporters: [otlp_grpc, otlp_http]");
    assert_eq!(
        problems(&text),
        [
            "11 warning: `force_attempt_http2: false` has no effect: HTTP/2 is spoken where the \
             backend offers it",
            "12 warning: `read_buffer_size` has no effect: the HTTP library chooses the sizes",
            "14 warning: `cipher_suites` has no effect: the suites of the TLS library are used",
            "16 warning: `output_paths` has no effect: the log goes to standard error",
        ]
    );
    let text = text.replace("false", "true").replace(": 0", ":").replace("[a]", "");
    assert_eq!(problems(&text.replace("{output_paths: [x]}", "{disable_caller: true}")), [""; 0]);
}
