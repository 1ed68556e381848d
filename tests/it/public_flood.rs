//! A flood of the public port leaves the port of the backends at full speed: what they send is
//! taken, at the same rate and in time, while the public port refuses far more than it takes.
//!
//! `SKEP_OVERLOAD_SECONDS=60 cargo test --test it public_flood:: -- --nocapture` on a quiet machine
//! asks for 95 % of the rate.
#![cfg(target_os = "linux")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet, time::MissedTickBehavior};

use crate::support::{Skep, free_port, slow_backend};

/// Backends send at this rate, with fifty spans each time: little enough for a machine that is busy
/// with other tests.
const BACKENDS: u32 = 4;
const PER_SECOND: u32 = 10;
/// Clients of the public port, from one address. Together they ask for a hundred times what it
/// takes of one. The flood and skep share two cores, so it must not win by that alone.
const FLOODERS: usize = 10;
const PER_FLOODER: u32 = 20;
/// The least part of the rate, in a short run on a machine that does other things, too.
const LEAST: f64 = 0.5;
const LEAST_LONG: f64 = 0.95;
const ROUNDS: u32 = 4;

/// What came of requests.
#[derive(Default)]
struct Told {
    accepted: AtomicU64,
    refused: AtomicU64,
}

fn body(count: usize) -> Bytes {
    let span = json!({"name": "x".repeat(200), "attributes": []});
    json!({"resourceSpans": [{"scopeSpans": [{"spans": vec![span; count]}]}]}).to_string().into()
}

async fn send(port: u16, body: &Bytes, line: &mut Option<http1::SendRequest<Full<Bytes>>>) -> u16 {
    if line.as_ref().is_none_or(http1::SendRequest::is_closed) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (open, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        *line = Some(open);
    }
    let Some(open) = line else { return 0 };
    let request = Request::post("/v1/traces")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))
        .unwrap();
    if open.ready().await.is_err() {
        *line = None;
        return 0;
    }
    let Ok(response) = open.send_request(request).await else {
        *line = None;
        return 0;
    };
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        assert!(response.headers().contains_key("retry-after"));
    }
    let _ = response.into_body().collect().await;
    status.as_u16()
}

/// Backends send for so long; how many of their requests were taken.
async fn backends(port: u16, time: Duration) -> u64 {
    let told = Arc::new(Told::default());
    let end = Instant::now() + time;
    let mut sending = JoinSet::new();
    for number in 0..BACKENDS {
        let told = Arc::clone(&told);
        sending.spawn(async move {
            let (body, mut line) = (body(50), None);
            tokio::time::sleep(Duration::from_millis(u64::from(number) * 5)).await;
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while Instant::now() < end {
                ticks.tick().await;
                let status = send(port, &body, &mut line).await;
                assert_eq!(status, 200, "a backend is never refused");
                told.accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
    told.accepted.load(Ordering::Relaxed)
}

/// Clients of the public port, each at its pace, until they are told to stop.
async fn flood(port: u16, told: Arc<Told>, goes_on: Arc<AtomicBool>) {
    let mut sending = JoinSet::new();
    for _ in 0..FLOODERS {
        let (told, goes_on) = (Arc::clone(&told), Arc::clone(&goes_on));
        sending.spawn(async move {
            let (body, mut line) = (body(20), None);
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_FLOODER);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while goes_on.load(Ordering::Relaxed) {
                ticks.tick().await;
                match send(port, &body, &mut line).await {
                    200 => told.accepted.fetch_add(1, Ordering::Relaxed),
                    _ => told.refused.fetch_add(1, Ordering::Relaxed),
                };
            }
        });
    }
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
}

#[test]
fn a_flood_of_the_public_port_leaves_the_other_at_full_speed() {
    let (private, public) = (free_port(), free_port());
    let config = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{private}'}}}}}}
  otlp/browser: {{protocols: {{http: {{endpoint: '127.0.0.1:{public}', public: {{requests_per_second_per_client: 2}}}}}}}}
exporters:
  nop:
  nop/browser:
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [nop]}}
    traces/browser: {{receivers: [otlp/browser], exporters: [nop/browser]}}
"
    );
    let skep = Skep::start(&config, &[private, public]);
    let given = std::env::var("SKEP_OVERLOAD_SECONDS");
    let (seconds, least) = given.map_or((4.0, LEAST), |text| (text.parse().unwrap(), LEAST_LONG));
    let time = Duration::from_secs_f64(seconds) / ROUNDS;
    let told = Arc::new(Told::default());
    let (mut alone, mut flooded) = (0, 0);
    // In turns, so that what else the machine does slows both.
    for _ in 0..ROUNDS {
        alone += slow_backend::runtime().block_on(backends(private, time));
        let goes_on = Arc::new(AtomicBool::new(true));
        let flooding = (Arc::clone(&told), Arc::clone(&goes_on));
        let flooding = thread::spawn(move || {
            slow_backend::runtime().block_on(flood(public, flooding.0, flooding.1));
        });
        flooded += slow_backend::runtime().block_on(backends(private, time));
        goes_on.store(false, Ordering::Relaxed);
        flooding.join().unwrap();
    }
    let [accepted, refused] = [&told.accepted, &told.refused].map(|n| n.load(Ordering::Relaxed));
    println!(
        "backends: {alone} requests alone, {flooded} beside a flood of which {accepted} requests were \
         taken and {refused} refused"
    );
    assert!(
        refused > 10 * accepted.max(1) || refused > 1000,
        "it was no flood: {accepted}, {refused}"
    );
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let part = flooded as f64 / alone as f64;
    assert!(part >= least, "{part} of the rate is left");
    assert!(skep.stop());
}
