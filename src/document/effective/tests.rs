//! Printed configurations: hidden secrets, filled defaults, and that they read as the same
//! document.

use std::{collections::BTreeMap, fmt::Debug, fs};

use super::*;
use crate::{
    component::ComponentId,
    config::{Problems, source, write},
    document::{Component, Document, load},
};

fn env(name: &str) -> Option<String> {
    match name {
        "HONEYCOMB_API_KEY" => Some("hcaik_very_secret".to_owned()),
        "ROLLBAR_ACCESS_TOKEN" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "TOKEN" => Some("0123".to_owned()),
        "LIMIT" => Some("64".to_owned()),
        "GATEWAY_BACKEND" => Some("localhost:1".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Node {
    let mut problems = Problems::default();
    let root = source::load(&[format!("yaml:{text}")], &[], &env, &mut problems).root;
    assert!(!problems.have_mistakes(), "{problems:?}\n{text}");
    root.unwrap()
}

fn printed(text: &str, secrets: Secrets) -> String {
    write::yaml(&effective(&read(text), &Schemas::default(), secrets))
}

/// Everything that a document decodes to, in a fixed order.
fn described(text: &str) -> String {
    fn all<C: Debug + ?Sized>(
        components: &std::collections::HashMap<ComponentId, Component<C>>,
    ) -> BTreeMap<&ComponentId, String> {
        components.iter().map(|(id, c)| (id, format!("{:?}", c.config))).collect()
    }
    let mut problems = Problems::default();
    let document: Document = load(&read(text), &mut problems);
    assert!(!problems.have_mistakes(), "{problems:?}\n{text}");
    let pipelines: Vec<String> = document
        .pipelines
        .iter()
        .map(|p| format!("{} {:?} {:?} {:?}", p.id, p.receivers, p.processors, p.exporters))
        .collect();
    format!(
        "{:#?}",
        (
            all(&document.receivers),
            all(&document.processors),
            all(&document.exporters),
            all(&document.connectors),
            all(&document.extensions),
            pipelines,
            document.enabled_extensions,
            document.telemetry.logs,
            document.telemetry.metrics,
        )
    )
}

const EVERYTHING: &str = "
receivers: { otlp: { protocols: { grpc: , http: { cors: { allowed_origins: [http://a] } } } }, nop: }
processors:
  batch:
  memory_limiter: { check_interval: 1s, limit_mib: '${LIMIT}' }
  resource: { attributes: [ { key: a, value: '$$${TOKEN}', action: upsert } ] }
exporters:
  otlp: { endpoint: a:1, headers: { authorization: Bearer abc, empty: '' } }
  otlp_http: { endpoint: http://a, headers: { key: '${TOKEN}' }, retry_on_failure: { enabled: false } }
  honeycomb: { api_key: '${HONEYCOMB_API_KEY}', dataset: '${TOKEN}' }
  debug:
  nop:
  file: { path: /tmp/x }
extensions: { health_check: , zpages: , pprof: }
service:
  extensions: [health_check, zpages, pprof]
  telemetry: { logs: { level: debug } }
  pipelines:
    traces:
      receivers: [otlp, nop]
      processors: [memory_limiter, resource, batch]
      exporters: [otlp, otlp_http, honeycomb, debug, nop, file]
";

#[test]
fn a_printed_configuration_reads_as_the_same_document() {
    let mut texts = vec![EVERYTHING.to_owned()];
    for entry in fs::read_dir("pipelines").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    for text in texts {
        let once = printed(&text, Secrets::Shown);
        assert_eq!(described(&text), described(&once), "{once}");
        assert_eq!(printed(&once, Secrets::Shown), once, "printing again changes nothing");
    }
}

#[test]
fn secrets_are_hidden_by_their_type() {
    let text = printed(EVERYTHING, Secrets::Hidden);
    for secret in ["hcaik_very_secret", "Bearer", "key: 0123", "key: \"0123\""] {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
    assert!(text.contains("api_key: \"[REDACTED]\"\n"), "{text}");
    assert!(text.contains("authorization: \"[REDACTED]\"\n      empty: \"\"\n"), "{text}");
    assert!(text.contains("dataset: \"0123\"\n"), "{text}");
}

#[test]
fn defaults_are_filled_in() {
    let text = printed(EVERYTHING, Secrets::Hidden);
    assert!(text.contains("max_request_body_size: 20971520\n"), "{text}");
    assert!(text.contains("initial_interval: 5s\n"), "{text}");
    assert!(text.contains("limit_mib: 64\n"), "{text}");
    assert!(!text.contains("  debug: null"), "{text}");
}

#[test]
fn sections_that_are_off_stay_off() {
    let text = "receivers: { otlp: { protocols: { grpc: , http: { enabled: false } } } }\n\
                exporters: { nop: }\n\
                service: { pipelines: { traces: { receivers: [otlp], exporters: [nop] } } }\n";
    let printed = printed(text, Secrets::Shown);
    assert!(!printed.contains("traces_url_path"), "{printed}");
    assert_eq!(described(text), described(&printed));
}

#[test]
fn excerpts_show_no_secret() {
    let text = "exporters:\n  honeycomb: { api_key: hcaik_x, endpont: y }\n  otlp_http:\n    \
                headers: { x: 'Bearer ${env:TOKEN} z' }\n    api_token: abc\n";
    let mut problems = Problems::default();
    let loaded = source::load(&[format!("yaml:{text}")], &[], &env, &mut problems);
    let masked = crate::document::masked_sources(&loaded)[0].shown();
    let expected = "exporters:\n  honeycomb: { api_key: *****, endpont: y }\n  otlp_http:\n    \
                    headers: { x: '*****${env:TOKEN}*****' }\n    api_token: *****\n";
    assert_eq!(masked, expected);
}

#[test]
fn excerpts_of_what_is_not_yaml_show_no_secret_either() {
    let text = "a: 1\napi_key: \"abc\nb: [\n";
    let mut problems = Problems::default();
    let loaded = source::load(&[format!("yaml:{text}")], &[], &env, &mut problems);
    assert_eq!(
        crate::document::masked_sources(&loaded)[0].shown(),
        "a: 1\napi_key: \"*****\nb: [\n"
    );
}

/// Filled defaults are no settings that `validate` warns of.
#[test]
fn a_printed_configuration_has_no_problems_of_its_own() {
    let mut seen = 0;
    for entry in fs::read_dir("pipelines").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut root = effective(&read(&text), &Schemas::default(), Secrets::Shown);
        let document = load(&read(&text), &mut Problems::default());
        put_endpoints(&mut root, &document, false);
        let again = write::yaml(&root);
        assert!(again.contains("endpoint: "), "{again}");
        let mut problems = Problems::default();
        load(&read(&again), &mut problems);
        problems.0.retain(|problem| !problem.is_absent);
        assert_eq!(problems.0, [], "{}\n{again}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "the pipelines were found");
}
