use serde_json::{Value, json};
use tonic::Code;

use super::*;
use crate::{
    admin::{
        Admin,
        proto::{TapFate, control_service_client::ControlServiceClient},
    },
    otlp::{Payload, Signal, plain},
    telemetry::ProcessorStats,
};
use tokio::task::JoinHandle as Task;
use tonic::{Streaming, transport::Channel};

const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane with one processor.
struct World {
    telemetry: Arc<Telemetry>,
    stats: Option<Arc<ProcessorStats>>,
    client: ControlServiceClient<Channel>,
    stop: tokio::sync::watch::Sender<bool>,
    serving: Task<()>,
}

impl World {
    async fn start() -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let stats = Some(telemetry.processor("attributes", "logs", Signal::Logs));
        let admin = Admin::bind("127.0.0.1:0", Arc::clone(&telemetry)).unwrap();
        let address = format!("http://{}", admin.address());
        let (stop, stopped) = Stop::pair();
        let serving = tokio::spawn(admin.run(stopped));
        let client = ControlServiceClient::connect(address).await.unwrap();
        World { telemetry, stats, client, stop, serving }
    }

    async fn tap(&mut self, request: TapRequest) -> Result<Streaming<TapResponse>, Status> {
        let request = TapRequest {
            pipeline: "logs".to_owned(),
            component: "attributes".to_owned(),
            ..request
        };
        self.client.tap(request).await.map(tonic::Response::into_inner)
    }

    /// A worker's call that takes a record and gives another.
    fn call(&self, before: &Value, after: &Value) {
        let content = |record: &Value| {
            let request = plain::logs(std::slice::from_ref(record));
            let body = plain::bytes(Signal::Logs, &request);
            Payload::unpaid(Signal::Logs, body.into(), 1)
        };
        let mut seen = Seen { is_direct: true, ..Seen::input(&content(before)) };
        seen.outputs.extend(Seen::output(&content(after)).outputs);
        self.stats.as_ref().unwrap().tap.show(&seen);
    }
}

async fn next(stream: &mut Streaming<TapResponse>) -> Option<TapResponse> {
    tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap()
}

/// The next message with items.
async fn items(stream: &mut Streaming<TapResponse>) -> Vec<TapItem> {
    loop {
        let message = next(stream).await.unwrap();
        if !message.items.is_empty() {
            return message.items;
        }
    }
}

/// Why the tap ends.
async fn end(stream: &mut Streaming<TapResponse>) -> TapEnd {
    loop {
        let message = next(stream).await.unwrap();
        if message.end() != TapEnd::Unspecified {
            assert_eq!(next(stream).await, None);
            return message.end();
        }
    }
}

#[tokio::test]
async fn a_tap_shows_what_a_processor_changes_and_ends_at_the_limit() {
    let mut world = World::start().await;
    let mut stream = world.tap(TapRequest { limit: 1, ..Default::default() }).await.unwrap();
    assert!(next(&mut stream).await.unwrap().items.is_empty(), "it is open");
    let before = json!({"body": "hello", "attributes": {"password": "hunter2", "a": 1}});
    let after = json!({"body": "hello", "attributes": {"password": "hunter2", "a": 2}});
    world.call(&before, &after);
    let shown = items(&mut stream).await;
    let one = &shown[0];
    assert_eq!((one.fate(), &*one.name, &*one.signal), (TapFate::Changed, "hello", "logs"));
    let change = &one.changes[0];
    let values = (change.before.as_deref(), change.after.as_deref());
    assert_eq!((&*change.key, values), ("attributes.a", (Some("1"), Some("2"))));
    assert!(!String::from_utf8_lossy(&one.before).contains("hunter2"));
    assert_eq!(end(&mut stream).await, TapEnd::Limit);
    world.stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, world.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn there_are_four_taps_and_a_reader_that_goes_frees_its_own() {
    let mut world = World::start().await;
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(world.tap(TapRequest::default()).await.unwrap());
    }
    let fifth = world.tap(TapRequest::default()).await.unwrap_err();
    assert_eq!(fifth.code(), Code::ResourceExhausted);
    drop(open.pop());
    let begin = Instant::now();
    while world.tap(TapRequest::default()).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the seat is free again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tap_ends_with_its_time_its_component_and_the_process() {
    let mut world = World::start().await;
    let brief = TapRequest { for_ms: 1, ..Default::default() };
    let mut stream = world.tap(brief).await.unwrap();
    assert_eq!(end(&mut stream).await, TapEnd::Time);
    let mut stream = world.tap(TapRequest::default()).await.unwrap();
    world.stats = None;
    world.telemetry.forget_unused();
    assert_eq!(end(&mut stream).await, TapEnd::Gone);
    world.stats = Some(world.telemetry.processor("attributes", "logs", Signal::Logs));
    let mut stream = world.tap(TapRequest::default()).await.unwrap();
    world.stop.send(true).unwrap();
    assert_eq!(end(&mut stream).await, TapEnd::Shutdown);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_with_words() {
    let mut world = World::start().await;
    let wrong = TapRequest { r#where: "nam == 1".to_owned(), ..Default::default() };
    let status = world.tap(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("^^^"), "{}", status.message());
    let wrong = TapRequest { redact: vec!["(".to_owned()], ..Default::default() };
    assert_eq!(world.tap(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let request = TapRequest { pipeline: "logs".to_owned(), ..Default::default() };
    let status = world.client.tap(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[test]
fn contents_are_shown_on_loopback_and_at_the_level_of_data_only() {
    assert!(may_show(Through::ControlPlane { is_loopback: true }).is_ok());
    assert!(may_show(Through::Console { shows_contents: true }).is_ok());
    let telemetry = Arc::default();
    for (through, remedy) in [
        (Through::ControlPlane { is_loopback: false }, "--control-endpoint"),
        (Through::Console { shows_contents: false }, "--console-level data"),
    ] {
        let refused = open(&telemetry, through, TapRequest::default()).err().unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains(remedy), "{}", refused.message());
    }
}

#[test]
fn messages_are_small() {
    let large = TapItem { before: vec![0; MESSAGE / 2], ..Default::default() };
    let parts = parted(vec![large.clone(), TapItem::default(), large.clone(), large]);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    assert!(parted(Vec::new()).is_empty());
}
