//! What translation for AWS costs on one core: nanoseconds for a span as a segment document.
//!
//! `cargo bench --bench aws`

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "a report of figures")]

use std::{sync::Arc, time::Instant};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, ComponentId},
    config::{Problems, yaml},
    exporters,
    otlp::{Payload, Signal},
    telemetry::Telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of a payload.
const SPANS: usize = 100;
const ROUNDS: usize = 15;
const REPEATS: usize = 200;

fn attributes(of: &[(&str, &str)], status: Option<i64>) -> Vec<KeyValue> {
    let one = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let texts = of.iter().map(|(key, text)| one(key, Value::StringValue((*text).to_owned())));
    let status = status.map(|code| one("http.response.status_code", Value::IntValue(code)));
    texts.chain(status).collect()
}

fn payload() -> Payload {
    let resource = attributes(
        &[
            ("service.name", "backend-flask"),
            ("service.version", "1.4.2"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.version", "1.38.0"),
            ("cloud.provider", "aws"),
            ("cloud.platform", "aws_ecs"),
            ("aws.ecs.launchtype", "fargate"),
            ("container.name", "web"),
        ],
        None,
    );
    let span = |i: usize| Span {
        trace_id: (i as u128 + 1).to_be_bytes().to_vec(),
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        name: "GET /api/activities/home".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_760_600_498_250_000_000,
        end_time_unix_nano: 1_760_600_498_500_000_000,
        attributes: attributes(
            &[
                ("http.request.method", "GET"),
                ("url.scheme", "https"),
                ("url.path", "/api/activities/home"),
                ("url.query", "limit=20"),
                ("server.address", "api.example.com"),
                ("client.address", "203.0.113.5"),
                ("network.peer.address", "10.0.0.7"),
                ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"),
                ("http.route", "/api/activities/home"),
                ("network.protocol.version", "1.1"),
                ("enduser.id", "andrew"),
            ],
            Some(200),
        ),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    Payload::unaccounted(Signal::Traces, body.into(), SPANS as u64)
}

fn main() {
    let node = yaml::parse(0, "region: ca-central-1\nindexed_attributes: [http.route]\n");
    let entry = exporters::ALL.iter().find(|entry| entry.name == "awsxray");
    let mut problems = Problems::default();
    let config = (entry.expect("it is registered").decode)(&node.expect("YAML"), &mut problems);
    let context = BuildContext {
        id: ComponentId { kind_name: "awsxray".to_owned(), name: None },
        pipeline: "traces".to_owned(),
        signal: Signal::Traces,
        ends_in: Vec::new(),
        budget: 1 << 30,
        in_container: false,
        telemetry: Arc::new(Telemetry::default()),
        auth: None,
    };
    let exporter = config.expect("the settings are right").build(&context).expect("it is built");
    let payload = payload();
    let bytes: usize =
        exporter.encode(&payload).expect("it is valid").body.iter().map(bytes::Bytes::len).sum();
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..REPEATS {
                std::hint::black_box(exporter.encode(&payload).expect("it is valid"));
            }
            began.elapsed().as_nanos() as f64 / (REPEATS * SPANS) as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!(
        "awsxray: {:.0} ns a span (best {:.0}), documents of {} bytes",
        nanos[ROUNDS / 2],
        nanos[0],
        bytes / SPANS
    );
}
