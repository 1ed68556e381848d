//! The processor as a whole: how it is configured, when it waits, and what it writes, against the
//! same edits on decoded messages.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    logs::v1::ResourceLogs,
    metrics::v1::ResourceMetrics,
    resource::v1::Resource,
    trace::v1::ResourceSpans,
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    super::editing::{
        oracle::{attributes, text as oracle_text},
        value::AttributeValue,
    },
    mock::{Place, Server, settings, text, variables},
    probe::texts,
    *,
};
use crate::config::yaml;

fn detecting(config: &str, place: &Place) -> Detecting {
    Detecting::new(settings(config), place.environment())
}

fn built(detecting: &Detecting, signal: Signal) -> Box<dyn Processor> {
    detecting.build(&BuildContext::test("resource_detection", signal)).unwrap()
}

fn payload(signal: Signal, resource: Option<Vec<KeyValue>>) -> Payload {
    let resource = resource.map(|attributes| Resource { attributes, ..Resource::default() });
    let body = match signal {
        Signal::Traces => ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, ..ResourceSpans::default() }],
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { resource, ..ResourceMetrics::default() }],
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource, ..ResourceLogs::default() }],
        }
        .encode_to_vec(),
    };
    Payload::unpaid(signal, body.into(), 1)
}

fn resource(payload: &Payload) -> Option<Resource> {
    let body = payload.body.concat();
    match payload.signal {
        Signal::Traces => {
            let mut all = ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans;
            all.pop().unwrap().resource
        }
        Signal::Metrics => {
            let mut all = ExportMetricsServiceRequest::decode(&*body).unwrap().resource_metrics;
            all.pop().unwrap().resource
        }
        Signal::Logs => {
            let mut all = ExportLogsServiceRequest::decode(&*body).unwrap().resource_logs;
            all.pop().unwrap().resource
        }
    }
}

/// Gives payloads to a replica, and ticks until detection is over.
fn through(replica: &mut dyn Processor, payloads: Vec<Payload>) -> Vec<Payload> {
    let wanted = payloads.len();
    let mut out = Output::at(Instant::now());
    for payload in payloads {
        replica.process(payload, &mut out);
    }
    let mut all: Vec<Payload> = out.take().into_iter().collect();
    while all.len() < wanted {
        let due = replica.next_tick().expect("held data has a time to look again");
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut out = Output::at(Instant::now());
        replica.tick(&mut out);
        all.extend(out.take());
    }
    assert_eq!(replica.next_tick(), None, "nothing is due once detection is over");
    all
}

/// The Collector's rules.
fn model(found: &[KeyValue], is_override: bool, attributes: &mut Vec<KeyValue>) {
    for new in found {
        let mut is_present = false;
        for old in attributes.iter_mut().filter(|old| old.key == new.key) {
            is_present = true;
            if is_override {
                old.value.clone_from(&new.value);
            }
        }
        if !is_present {
            attributes.push(new.clone());
        }
    }
}

#[test]
fn all_signals_get_the_attributes_of_one_detection() {
    let place = variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=2")]);
    for (is_override, a) in [(true, "1"), (false, "own")] {
        let config = format!("{{detectors: [env], override: {is_override}}}");
        let detecting = detecting(&config, &place);
        for signal in Signal::ALL {
            let mut replica = built(&detecting, signal);
            let sent =
                vec![payload(signal, Some(vec![oracle_text("a", "own")])), payload(signal, None)];
            let got = through(&mut *replica, sent);
            let expected = [oracle_text("a", a), oracle_text("b", "2")];
            assert_eq!(resource(&got[0]).unwrap().attributes, expected);
            let expected = [oracle_text("a", "1"), oracle_text("b", "2")];
            assert_eq!(resource(&got[1]).unwrap().attributes, expected);
        }
    }
}

#[test]
fn lists_are_written_as_lists() {
    let place = variables(&[
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
    ]);
    let config = "{detectors: [lambda], attributes: [aws.log.group.names]}";
    let mut replica = built(&detecting(config, &place), Signal::Traces);
    let got = through(&mut *replica, vec![payload(Signal::Traces, None)]);
    let value = Value::ArrayValue(ArrayValue {
        values: vec![AnyValue { value: Some(Value::StringValue("/aws/lambda/f".to_owned())) }],
    });
    let found = resource(&got[0]).unwrap().attributes;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "aws.log.group.names");
    assert_eq!(found[0].value.as_ref().unwrap().value, Some(value));
}

#[test]
fn what_does_not_change_is_the_same_allocation() {
    let place = variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1")]);
    let nothing = variables(&[]);
    for (place, has) in [(&place, Some(vec![oracle_text("a", "1")])), (&nothing, None)] {
        let mut replica = built(&detecting("", place), Signal::Traces);
        let sent = payload(Signal::Traces, has);
        let got = through(&mut *replica, vec![sent.clone()]);
        assert_eq!(sent.body[0].as_ptr(), got[0].body[0].as_ptr());
    }
}

#[test]
fn data_waits_for_detection_no_longer_than_the_timeout() {
    let server = Server::new(|_| None);
    let mut place = variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1")]);
    place.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url);
    place.set("ECS_CONTAINER_METADATA_URI_V4", &server.url);
    let config = "{detectors: [ecs, ec2, env], timeout: 100ms}";
    let detecting = detecting(config, &place);
    let mut replica = built(&detecting, Signal::Traces);
    let began = Instant::now();
    let mut out = Output::at(began);
    replica.process(payload(Signal::Traces, None), &mut out);
    assert!(out.take().is_empty(), "it is held");
    assert!(began.elapsed() < Duration::from_millis(90), "the worker does not wait");
    let got = through(&mut *replica, vec![payload(Signal::Traces, None)]);
    // The one that was held comes first.
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(resource(&got[0]).unwrap().attributes, [oracle_text("a", "1")]);
}

#[test]
fn the_end_waits_for_detection_too() {
    let server = Server::new(|_| None);
    let place = variables(&[
        ("ECS_CONTAINER_METADATA_URI_V4", &server.url),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1"),
    ]);
    let detecting = detecting("{detectors: [env, ecs], timeout: 50ms}", &place);
    let mut replica = built(&detecting, Signal::Logs);
    let mut out = Output::at(Instant::now());
    replica.process(payload(Signal::Logs, None), &mut out);
    replica.drain(&mut out);
    let got = out.take();
    assert_eq!(resource(&got[0]).unwrap().attributes, [oracle_text("a", "1")]);
    // A replica that was never run waits for nothing.
    built(&detecting, Signal::Logs).drain(&mut out);
}

#[test]
fn building_asks_nobody() {
    let place = variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1")]);
    let detecting = detecting("", &place);
    drop(detecting.replicas(&BuildContext::test("resource_detection", Signal::Traces), 4).unwrap());
    assert_eq!(detecting.detection.found(), None);
}

#[test]
fn the_first_detector_wins() {
    let one = vec![text("a", "1"), text("b", "1")];
    let two = vec![text("b", "2"), ("c".to_owned(), texts(["2".to_owned()]))];
    let merged = probe::merge(vec![one.clone(), two.clone()]);
    assert_eq!(merged, [one[0].clone(), one[1].clone(), two[1].clone()]);
}

#[test]
fn a_working_configuration_has_no_problems() {
    let text = "{detectors: [env, elastic_beanstalk, ec2, system], attributes: [host.name], \
                refresh_interval: 0, fail_on_missing_metadata: false, \
                ec2: {tags: [^a$], tags_from_imds: true, max_attempts: 10, max_backoff: 5m}, \
                system: {hostname_sources: [dns, os], resource_attributes: \
                {host.id: {enabled: true}}}}";
    let mut problems = Problems::default();
    let node = yaml::parse(0, text).unwrap();
    (ENTRY.decode)(&node, &mut problems).unwrap().validate(&node, &mut problems);
    assert_eq!(problems, Problems::default());
}

/// Detected attributes of any text.
fn found() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[a-c]{1,2}", ".{0,3}"), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edits_on_bytes_are_edits_on_messages(
        found in found(),
        is_override: bool,
        own in proptest::option::of(attributes()),
    ) {
        let found: Vec<_> = found.into_iter().map(|(key, value)| text(&key, &value)).collect();
        let found = probe::merge(vec![found]);
        let detection = Arc::new(Detection::new(
            Arc::new(Config::default()),
            variables(&[]).environment(),
        ));
        let mut replica = ResourceDetection {
            id: "resourcedetection".to_owned(),
            verb: if is_override { Verb::Upsert } else { Verb::Insert },
            detection,
            state: State::Waiting { held: VecDeque::new(), look: Instant::now() },
        };
        let mut out = Output::at(Instant::now());
        replica.release(&found, &mut out);
        replica.process(payload(Signal::Metrics, own.clone()), &mut out);
        let got = out.take();
        let found: Vec<KeyValue> = found
            .iter()
            .map(|(key, value)| match value {
                AttributeValue::Text(value) => oracle_text(key, value),
                other => unreachable!("{other:?}"),
            })
            .collect();
        let has_resource = own.is_some() || !found.is_empty();
        let mut expected = own.unwrap_or_default();
        model(&found, is_override, &mut expected);
        let got = resource(&got[0]);
        prop_assert_eq!(got.is_some(), has_resource);
        prop_assert_eq!(got.unwrap_or_default().attributes, expected);
    }
}

#[test]
fn detectors_that_are_not_here_find_nothing() {
    let place = variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1")]);
    let mut names: Vec<&str> = detectors::FOREIGN.to_vec();
    names.push(" env");
    let detecting = detecting(&format!("{{detectors: {names:?}}}"), &place);
    let at = yaml::parse(0, &format!("{{detectors: {names:?}}}")).unwrap();
    let mut problems = Problems::default();
    detecting.validate(&at, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    assert_eq!(problems.0.len(), detectors::FOREIGN.len(), "one warning each");
    let mut replica = built(&detecting, Signal::Logs);
    let got = through(&mut *replica, vec![payload(Signal::Logs, None)]);
    assert_eq!(resource(&got[0]).unwrap().attributes, [oracle_text("a", "1")]);
}
