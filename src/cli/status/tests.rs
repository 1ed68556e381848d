use super::*;
use crate::admin::proto::{Budget, ExporterQueue};

fn counts(spans: u64, refused: u64) -> SenderCounts {
    SenderCounts { requests: 9, refused, spans, ..SenderCounts::default() }
}

fn sender(service: Option<&str>, near: &str) -> Sender {
    Sender {
        service: service.map(str::to_owned),
        receiver: "otlp".to_owned(),
        transport: "grpc".to_owned(),
        peer: "10.0.0.3".to_owned(),
        sdk_language: "python".to_owned(),
        sdk_version: "1.29.0".to_owned(),
        encoding: "proto".to_owned(),
        compression: "gzip".to_owned(),
        total: Some(counts(9000, 0)),
        recent: Some(counts(22_800, 0)),
        recent_span_ms: 60_000,
        near: near.to_owned(),
        unnamed: service == Some("unknown_service:python"),
        ..Sender::default()
    }
}

fn reading() -> Reading {
    let receiver = |signal: &str, age: Option<u64>| Component {
        kind: "receiver".to_owned(),
        id: "otlp".to_owned(),
        signal: signal.to_owned(),
        last_data_age_ms: age,
        ..Component::default()
    };
    let exporter = |id: &str, state: State, error: &str| Component {
        kind: "exporter".to_owned(),
        id: id.to_owned(),
        signal: "traces".to_owned(),
        state: state.into(),
        last_success_age_ms: Some(2_460_000),
        last_error: error.to_owned(),
        failing_age_ms: (!error.is_empty()).then_some(2_400_000),
        failed_attempts: 128,
        queue: Some(ExporterQueue {
            size: 12,
            capacity: 1000,
            unit: "requests".to_owned(),
            ..ExporterQueue::default()
        }),
        ..Component::default()
    };
    let edge = |from: &str, to: &str, rate: f64| Edge {
        pipeline: "traces".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        items: 1_234_567,
        items_per_second: rate,
        ..Edge::default()
    };
    let stranger = Sender {
        agent: "curl/8.5.0".to_owned(),
        sdk_language: String::new(),
        sdk_version: String::new(),
        encoding: String::new(),
        compression: String::new(),
        transport: "http".to_owned(),
        total: Some(counts(0, 7)),
        recent: Some(counts(0, 0)),
        last_age_ms: 40_000,
        refusal: "there is no OTLP endpoint at /\u{1b}[2J; the paths are /v1/traces".to_owned(),
        refusal_age_ms: Some(40_000),
        ..sender(None, "")
    };
    Reading {
        health: HealthResponse {
            ready: true,
            version: "0.2.0".to_owned(),
            uptime_ms: 11_100_000,
            components: vec![
                exporter("debug", State::Ok, ""),
                exporter("honeycomb", State::Error, "HTTP 401: unknown API key; check `api_key`"),
                receiver("traces", Some(300)),
                receiver("logs", None),
            ],
            budget: Some(Budget {
                limit_bytes: 307 << 20,
                used_bytes: 61 << 20,
                waiting_requests: 0,
            }),
            ..HealthResponse::default()
        },
        topology: TopologyResponse {
            edges: vec![
                edge("processor batch", "exporter honeycomb/with_a_long_name_of_its_own_here", 0.0),
                edge("receiver otlp", "processor batch", 412.4),
            ],
            ..TopologyResponse::default()
        },
        senders: WatchSendersResponse {
            senders: vec![
                sender(Some("backend-flask"), ""),
                sender(Some("bakend-flask"), "backend-flask"),
                sender(Some("unknown_service:python"), ""),
                stranger,
            ],
            ..WatchSendersResponse::default()
        },
    }
}

#[test]
fn the_screen_fits_eighty_columns() {
    let screen = text::screen(&reading(), 80, false);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    insta::assert_snapshot!(screen, @r"
    skep 0.2.0, running for 3 h 5 min; data takes 61 of 307 MiB

    RECEIVERS  last data
    otlp                 traces now

    SENDERS                 sdk             via                 rate    last refused
    backend-flask           python 1.29.0   grpc proto gzip    380/s     now       0
    bakend-flask            python 1.29.0   grpc proto gzip    380/s     now       0
        nearly the name of `backend-flask`: a spelling mistake?
    unknown_service:python  python 1.29.0   grpc proto gzip    380/s     now       0
        it has no name: set OTEL_SERVICE_NAME in the application
    curl/8.5.0                              http                   0    40 s       7
        from 10.0.0.3, 40 s ago: there is no OTLP endpoint at /\x1b[2J; the paths
        are /v1/traces

    PIPELINES  items a second in the last 10 s, and since the start
    traces
      receiver otlp -> processor batch                              412/s  1 234 567
      processor batch -> exporter honeycomb/with_a_long_nam...          0  1 234 567

    EXPORTERS                        state    queue                  last success
    debug (traces)                   ok       12 of 1 000 requests   41 min ago
    honeycomb (traces)               FAILING  12 of 1 000 requests   41 min ago
        for 40 min, 128 attempts: HTTP 401: unknown API key; check `api_key`
    ");
}

#[test]
fn nobody_has_sent_anything() {
    let mut reading = reading();
    reading.senders.senders.clear();
    reading.topology.edges.clear();
    let screen = text::screen(&reading, usize::MAX, true);
    assert!(screen.contains("nobody has sent anything; `skep why`"), "{screen}");
    assert!(screen.contains("\u{1b}[31mFAILING"), "{screen}");
}

#[test]
fn many_senders_do_not_fill_the_screen() {
    let mut reading = reading();
    reading.senders.senders = vec![sender(Some("shop"), ""); 30];
    reading.senders.forgotten = 3;
    let screen = text::screen(&reading, 80, false);
    assert!(screen.contains("... and 13 more senders"), "{screen}");
}

#[test]
fn programs_get_all_of_it() {
    let document = document(&reading());
    assert_eq!(
        document["exporters"][1]["last_error"],
        "HTTP 401: unknown API key; check `api_key`"
    );
    assert_eq!(document["exporters"][0]["last_error"], json!(null));
    assert_eq!(document["senders"][1]["near"], "backend-flask");
    assert_eq!(document["senders"][3]["service"], json!(null));
    assert_eq!(document["receivers"][1]["last_data_age_ms"], json!(null));
    assert_eq!(document["edges"][1]["items_per_second"], 412.4);
}
