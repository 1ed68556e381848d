//! The metrics page of a process with every component that has metrics of its own. Names, kinds,
//! help and labels are what dashboards and alerts are built on.

use super::*;
use crate::{
    admin::metrics::render,
    component::Entry,
    config::{Problems, yaml},
    exporters, processors, receivers,
    telemetry::storage::LogStats,
};

fn config<C: ?Sized>(all: &[Entry<C>], name: &str, text: &str) -> Box<C> {
    let entry = all.iter().find(|entry| entry.name == name).expect("a component");
    let (node, mut problems) = (yaml::parse(0, text).expect("YAML"), Problems::default());
    let config = (entry.decode)(&node, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    config.expect("a configuration")
}

/// A line without its value, which may depend on the machine.
fn without_value(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(_) => line,
        None => line.rsplit_once(' ').map_or(line, |(series, _)| series),
    }
}

#[test]
fn every_metric_has_its_name_and_labels_from_the_beginning() {
    let telemetry = Arc::new(Telemetry::default());
    let cx = |id: &str, signal| BuildContext {
        telemetry: Arc::clone(&telemetry),
        ..BuildContext::test(id, signal)
    };
    let tail = "policies: [{name: all, type: always_sample}]";
    let _processors = [
        ("batch", Signal::Metrics, "{}"),
        ("memory_limiter", Signal::Logs, "{check_interval: 1s, limit_mib: 100}"),
        ("probabilistic_sampler", Signal::Traces, "{sampling_percentage: 10}"),
        ("probabilistic_sampler", Signal::Logs, "{sampling_percentage: 10}"),
        ("tail_sampling", Signal::Traces, tail),
    ]
    .map(|(name, signal, text)| {
        telemetry.processor(name, signal.name(), signal);
        config(processors::ALL, name, text).build(&cx(name, signal)).unwrap()
    });
    let _receivers =
        [("otlp", "{protocols: {http: {}}}"), ("awsxray", "{}")].map(|(name, text)| {
            let config = config(receivers::ALL, name, text);
            config.build(&cx(name, Signal::Traces), &[Signal::Traces]).unwrap()
        });
    let group = "{log_group_name: g, log_stream_name: s, region: r}";
    let _exporters = [
        ("awsxray", Signal::Traces, "{region: r}"),
        ("awscloudwatchlogs", Signal::Logs, group),
        ("awsemf", Signal::Metrics, "{region: r}"),
    ]
    .map(|(name, signal, text)| {
        telemetry.exporter(name, signal, "a backend");
        config(exporters::ALL, name, text).build(&cx(name, signal)).unwrap()
    });
    telemetry.edge("traces", "receiver otlp", "processor batch");
    telemetry.add_log(Arc::new(LogStats::new("file_storage", "exporter_awsxray_traces")));
    let page = render(&telemetry, Detail::Detailed);
    let lines: Vec<_> = page
        .lines()
        .filter(|line| !line.contains("_bucket{") && !line.starts_with("target_info"))
        .filter(|line| !line.starts_with("skep_log_dropped_lines"))
        .map(without_value)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
