//! Broken configuration files and what a person is told about each: every file under
//! `tests/config_errors/` must fail to load, and its rendered problems are held as a snapshot.

use std::{fs, path::Path};

use skep::{
    config::{Problems, excerpt::render, source},
    document,
};

/// The environment that the files may refer to.
fn env(name: &str) -> Option<String> {
    match name {
        "WORD" => Some("many".to_owned()),
        "SELF" => Some("${env:SELF}".to_owned()),
        _ => None,
    }
}

#[test]
fn every_broken_file_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_errors");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    let mut accepted = Vec::new();
    let mut snapshots = insta::Settings::clone_current();
    snapshots.set_snapshot_path("../snapshots");
    snapshots.set_prepend_module_to_snapshot(false);
    let _bound = snapshots.bind_to_scope();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut problems = Problems::default();
        let uri = format!("file:{}", file.display());
        let loaded = source::load(&[uri], &[], &env, &mut problems);
        if let Some(root) = &loaded.root {
            document::load(root, &mut problems);
        }
        let mut sources = document::masked_sources(&loaded);
        for source in &mut sources {
            source.name = format!("{name}.yaml");
        }
        if !problems.has_errors() {
            accepted.push(name);
            continue;
        }
        insta::assert_snapshot!(
            format!("config_errors__{name}"),
            stable(&render(&problems, &sources, false))
        );
    }
    assert_eq!(accepted, Vec::<String>::new(), "these files load without an error");
}

/// A configuration of the Collector 0.161 with keys that came late or mean little here.
#[test]
fn keys_of_the_collector_are_known() {
    let text = "
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:4318
        keepalive: {idle_timeout: 10s}
processors:
  attributes:
    include: {match_type: strict, log_severity_number: {min: 9, match_undefined: true}}
    actions: [{key: a, from_attribute: b, default_value: c, action: upsert}]
  resource:
    attributes: [{key: a, from_context: client.address, default_value: none, action: insert}]
  resource_detection: {detectors: [env], retry: {enabled: false}}
exporters:
  otlp_http:
    endpoint: https://otlp.example.com
    keepalive: {idle_conn_timeout: 90s}
  awscloudwatchlogs:
    {region: us-east-1, log_group_name: g, log_stream_name: s, num_workers: 8}
  awsemf:
    region: us-east-1
    num_workers: 8
    resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}
  awsemf/new:
    region: us-east-1
    resource_to_telemetry_conversion: {included: ['*'], excluded: [service.name]}
service:
  pipelines:
    logs:
      receivers: [otlp]
      processors: [attributes, resource, resource_detection]
      exporters: [otlp_http, awscloudwatchlogs]
    metrics:
      receivers: [otlp]
      exporters: [awsemf, awsemf/new]
";
    let mut problems = Problems::default();
    let loaded = source::load(&[format!("yaml:{text}")], &[], &env, &mut problems);
    document::load(&loaded.root.expect("it is YAML"), &mut problems);
    let messages: Vec<&str> = problems.0.iter().map(|problem| &*problem.message).collect();
    // Of both exporters, also with the Collector's default.
    let workers = "`num_workers` has no effect: streams are written in parallel";
    assert_eq!(messages, [workers, workers]);
}

/// Lists of components and keys grow; what matters is that one is shown.
fn stable(rendered: &str) -> String {
    let mut out = String::new();
    for line in rendered.lines() {
        let list = ["that it has: ", "valid: "].into_iter().find_map(|words| {
            let start = line.find(words)? + words.len();
            (line[start..].matches(", ").count() > 4 || words.starts_with("that")).then_some(start)
        });
        let end = list.unwrap_or(line.len());
        out.push_str(&line[..end]);
        out.push_str(if end < line.len() { "..." } else { "" });
        out.push('\n');
    }
    out
}
