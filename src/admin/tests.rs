use super::{
    proto::{
        ExplainRequest, HealthRequest, ReloadRequest, RungState, State, TopologyRequest,
        WatchDecisionsRequest, WatchSendersRequest, WatchTopologyRequest, WhereStoppedRequest,
        control_service_client::ControlServiceClient,
    },
    *,
};
use crate::{
    component::reload::{Finding, Outcome},
    config::Severity,
    otlp::Signal,
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn programs_read_health_and_topology() {
    let telemetry = Arc::new(Telemetry::default());
    telemetry.set_ready(true);
    telemetry.receiver("otlp", Signal::Traces, "grpc").accepted.add(1);
    let exporter = telemetry.exporter("otlp/b", Signal::Traces, "b:4317");
    exporter.erred(std::time::SystemTime::now(), "connection refused");
    let edge = telemetry.edge("traces", "receiver otlp", "exporter otlp/b");
    edge.items.add(5);
    let admin = Admin::bind("127.0.0.1:0", Arc::clone(&telemetry)).unwrap();
    let address = format!("http://{}", admin.address());
    let (stop, stopped) = Stop::pair();
    let serving = tokio::spawn(admin.run(stopped));

    let mut client = ControlServiceClient::connect(address.clone()).await.unwrap();
    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert!(health.ready);
    let failing = &health.components[0];
    assert_eq!((failing.kind.as_str(), failing.state()), ("exporter", State::Error));
    assert_eq!(failing.last_error, "connection refused");
    assert_eq!(health.components[1].state(), State::Ok);
    let traffic = health.components[1].traffic.unwrap();
    assert_eq!((traffic.incoming, traffic.outgoing, traffic.refused), (1, 1, 0));

    let all = client.topology(TopologyRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.nodes.len(), all.edges[0].items), (2, 5));
    let none = TopologyRequest { pipeline: "logs".to_owned() };
    assert!(client.topology(none).await.unwrap().into_inner().edges.is_empty());

    let request = WatchTopologyRequest { interval_ms: 100, ..Default::default() };
    let mut watch = client.watch_topology(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().edges[0].items, 5);
    edge.items.add(1);
    let next = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().edges[0].items, 6);

    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert!(!matches!(end, Ok(Some(_))), "the stream ends with the process");
}

#[tokio::test]
async fn programs_are_told_where_data_stops_and_who_sends() {
    use crate::telemetry::{
        Inventory, OpenPort, PipelineInfo, Refused,
        senders::{Caller, Named, Origin},
    };
    let telemetry = Arc::new(Telemetry::default());
    telemetry.set_ready(true);
    telemetry.set_inventory(Inventory {
        pipelines: vec![PipelineInfo {
            id: "traces".to_owned(),
            receivers: vec!["otlp".to_owned()],
            exporters: vec!["otlp_http".to_owned()],
            ..PipelineInfo::default()
        }],
        ..Inventory::default()
    });
    let port = OpenPort {
        component: "otlp".to_owned(),
        protocol: "http",
        address: "127.0.0.1:4318".to_owned(),
        tls: false,
    };
    telemetry.open_ports(vec![port], |_| true);
    let receiver = telemetry.receiver("otlp", Signal::Traces, "http");
    let edge = telemetry.edge("traces", "receiver otlp", "exporter otlp_http");
    let exporter = telemetry.exporter("otlp_http", Signal::Traces, "http://b");
    receiver.accept(5);
    edge.items.add(5);
    exporter.denied(std::time::SystemTime::now(), "HTTP 401: no; check `headers`");
    let caller = Caller { transport: "http", ..Caller::default() };
    let origin = Origin { receiver: "otlp", caller: &caller, encoding: "json", compression: "" };
    let named = Named { service: b"shop", ..Named::default() };
    let now = tokio::time::Instant::now();
    telemetry.senders.of_data(&origin, &named, now).count_request(Signal::Traces);
    receiver.turn_away(&caller, Refused::Wrong, "no JSON");

    let admin = Admin::bind("127.0.0.1:0", Arc::clone(&telemetry)).unwrap();
    let address = format!("http://{}", admin.address());
    let (stop, stopped) = Stop::pair();
    let serving = tokio::spawn(admin.run(stopped));
    let mut client = ControlServiceClient::connect(address).await.unwrap();

    let found = client.where_stopped(WhereStoppedRequest::default()).await.unwrap().into_inner();
    assert!(found.stopped && found.ladders.len() == 1);
    let ladder = &found.ladders[0];
    assert_eq!((ladder.signal.as_str(), ladder.state()), ("traces", RungState::Stop));
    let states: Vec<_> =
        ladder.rungs.iter().map(|rung| (rung.step.as_str(), rung.state())).collect();
    assert_eq!(
        states,
        [
            ("port", RungState::Ok),
            ("requests", RungState::Partial),
            ("memory", RungState::Ok),
            ("queue", RungState::Ok),
            ("backend", RungState::Stop),
        ]
    );
    let backend = ladder.rungs.last().unwrap();
    assert_eq!((&*backend.reason, &*backend.remedy), ("HTTP 401: no", "check `headers`"));
    assert!(backend.since_unix_ms.is_some());
    let wrong = WhereStoppedRequest { signal: "spans".to_owned(), ..Default::default() };
    let refused = client.where_stopped(wrong).await.unwrap_err();
    assert!(refused.message().contains("traces, metrics and logs"), "{refused}");

    let request = WatchSendersRequest { interval_ms: 100 };
    let mut watch = client.watch_senders(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.senders.len(), 2);
    telemetry.senders.turned_away("otlp", &Caller::default(), "TLS");
    let next = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().senders.len(), 3);

    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    let of = |kind: &str| health.components.iter().find(|one| one.kind == kind).unwrap();
    assert_eq!(of("exporter").failed_attempts, 1);
    assert!(of("exporter").failing_age_ms.is_some());
    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn health_shows_the_queue_of_an_exporter_and_what_is_on_disk() {
    use crate::telemetry::storage::{LogOwner, LogStats};
    let telemetry = Telemetry::default();
    telemetry.receiver("otlp", Signal::Traces, "grpc").accepted.add(1);
    telemetry.receiver("otlp/plain", Signal::Traces, "grpc").accepted.add(1);
    let exporter = telemetry.exporter("otlp", Signal::Traces, "b:4317");
    telemetry.exporter("otlp", Signal::Logs, "b:4317");
    exporter.measure_queue("items", 100, None);
    exporter.queue_unwritten.add(7);
    exporter.queue_items.add(5);
    exporter.queue_bytes.add(500);
    exporter.in_flight.add(1);
    exporter.retries.add(3);
    let log = |kind, signal: Option<Signal>, part: &str| {
        let (id, part) = ("otlp".to_owned(), part.to_owned());
        let stats = LogStats::new("file_storage/a", "folder");
        let stats = Arc::new(stats.owned_by(LogOwner { kind, id, signal, part }));
        telemetry.add_log(Arc::clone(&stats));
        stats
    };
    log("exporter", Some(Signal::Traces), "traces");
    let journal = log("receiver", None, "journal");
    journal.records.add(2);
    journal.oldest_age.set(1500);
    journal.damaged_records.add(4);
    let old = exporter.watch_queue(1);
    let _sending = old.send(tokio::time::Instant::now());
    tokio::time::advance(Duration::from_secs(9)).await;

    let health = health(&telemetry, std::time::SystemTime::now());
    let [logs, traces, receiver, plain] = &health.components[..] else { panic!("{health:?}") };
    assert!(logs.storage.is_empty() && plain.storage.is_empty(), "not theirs");
    assert_eq!(logs.queue, Some(proto::ExporterQueue::default()));
    let queue = proto::ExporterQueue {
        size: 7,
        capacity: 100,
        unit: "items".to_owned(),
        bytes: 500,
        items: 5,
        oldest_age_ms: Some(9000),
        in_flight_requests: 1,
        retries: 3,
    };
    assert_eq!(traces.queue, Some(queue));
    let spool = &traces.storage[0];
    assert_eq!((&*spool.extension, &*spool.part), ("file_storage/a", "traces"));
    assert_eq!(spool.oldest_age_ms, None, "nothing is in it");
    let journal = &receiver.storage[0];
    assert_eq!((receiver.storage.len(), &*journal.part), (1, "journal"));
    assert_eq!((journal.oldest_age_ms, journal.damaged_records), (Some(1500), 4));
    assert_eq!(receiver.queue, None);
}

#[tokio::test]
async fn a_reload_is_handed_on_and_its_outcome_told() {
    let (reloads, mut asks) = Reloads::pair();
    let bind = || Admin::bind("127.0.0.1:0", Arc::default()).unwrap();
    let (plain, admin) = (bind(), bind().with_reloads(Some(reloads)));
    let of = |admin: &Admin| format!("http://{}", admin.address());
    let (of_plain, of_admin) = (of(&plain), of(&admin));
    let (_stop, stopped) = Stop::pair();
    tokio::spawn(plain.run(stopped.clone()));
    tokio::spawn(admin.run(stopped));

    let mut client = ControlServiceClient::connect(of_plain).await.unwrap();
    let refused = client.reload(ReloadRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);

    let mut client = ControlServiceClient::connect(of_admin).await.unwrap();
    let (mut second, mut last) = (client.clone(), client.clone());
    let both = tokio::spawn(async move {
        tokio::join!(client.reload(ReloadRequest {}), second.reload(ReloadRequest {}))
    });
    let mut finding = Finding::new(Severity::Error, "wrong".to_owned());
    finding.place = Some(("skep.yaml".to_owned(), 3, 5));
    let outcome = Outcome { findings: vec![finding], ..Outcome::default() };
    asks.recv().await.unwrap().send(outcome).unwrap();
    let outcome =
        Outcome { is_applied: true, pause: Duration::from_millis(1), ..Outcome::default() };
    asks.recv().await.unwrap().send(outcome).unwrap();
    let (one, other) = both.await.unwrap();
    let mut answers = [one.unwrap().into_inner(), other.unwrap().into_inner()];
    answers.sort_by_key(|answer| answer.applied);
    let [refused, applied] = answers;
    assert_eq!((applied.applied, applied.pause_us), (true, 1000));
    let problem = &refused.problems[0];
    assert!(!refused.applied && problem.error && problem.message == "wrong");
    assert_eq!((&*problem.source, problem.line, problem.column), ("skep.yaml", 3, 5));

    drop(asks);
    let ending = last.reload(ReloadRequest {}).await.unwrap_err();
    assert_eq!((ending.code(), ending.message()), (tonic::Code::Unavailable, "skep is ending"));
}

#[tokio::test]
async fn the_health_service_follows_readiness() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let telemetry = Arc::new(Telemetry::default());
    let admin = Admin::bind("127.0.0.1:0", Arc::clone(&telemetry)).unwrap();
    let address = format!("http://{}", admin.address());
    let (stop, stopped) = Stop::pair();
    let serving = tokio::spawn(admin.run(stopped));
    let channel = tonic::transport::Endpoint::new(address).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut until = async |wanted: ServingStatus| {
        let wanted = match wanted {
            ServingStatus::Serving => 1,
            _ => 2,
        };
        while watch.message().await.unwrap().unwrap().status != wanted {}
    };
    tokio::time::timeout(PATIENCE, until(ServingStatus::NotServing)).await.unwrap();
    telemetry.set_ready(true);
    tokio::time::timeout(PATIENCE, until(ServingStatus::Serving)).await.unwrap();
    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn decisions_are_explained_and_watched() {
    use crate::telemetry::decisions::{Decision, Decisions, Name, Trigger, Vote};
    let telemetry = Arc::new(Telemetry::default());
    let admin = Admin::bind("127.0.0.1:0", Arc::clone(&telemetry)).unwrap();
    let address = format!("http://{}", admin.address());
    let (stop, stopped) = Stop::pair();
    let serving = tokio::spawn(admin.run(stopped));
    let mut client = ControlServiceClient::connect(address).await.unwrap();
    let explain = |trace_id: &str| ExplainRequest { trace_id: trace_id.to_owned() };
    let id = "0b".repeat(16);
    let status = client.explain(explain(&id)).await.unwrap_err();
    assert!(status.message().contains("no tail_sampling processor"), "{status}");
    let request = WatchDecisionsRequest { last: 1, follow: true };
    assert!(client.watch_decisions(request).await.is_err(), "nobody would ever answer");

    let policies = vec!["errors".to_owned(), "rest".to_owned()];
    let ring = Arc::new(Decisions::new("tail_sampling", "traces", policies, false, 100));
    telemetry.add_decisions(Arc::clone(&ring));
    let decision = |byte: u8| Decision {
        number: 0,
        at: std::time::SystemTime::now(),
        trace_id: [byte; 16],
        root: Name::new(b"GET /"),
        service: "app".into(),
        spans: 3,
        bytes: 100,
        duration: Duration::from_millis(2),
        is_kept: true,
        policy: Some(1),
        votes: [Vote::NotSampled, Vote::Sampled].into_iter().collect(),
        rate: 20.0,
        trigger: Trigger::RootReceived,
    };
    ring.add(0, [decision(10), decision(11)]);
    let found = client.explain(explain(&id)).await.unwrap().into_inner().decisions;
    assert_eq!((found.len(), &*found[0].policy, found[0].rate), (1, "rest", 20.0));
    assert_eq!((&*found[0].votes[0].vote, &*found[0].reason), ("not_sampled", "root_received"));
    let status = client.explain(explain(&"0c".repeat(16))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let status = client.explain(explain("nonsense")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    let request = WatchDecisionsRequest { last: 1, follow: false };
    let mut once = client.watch_decisions(request).await.unwrap().into_inner();
    assert_eq!(once.message().await.unwrap().unwrap().decisions[0].trace_id, id);
    assert_eq!(once.message().await.unwrap(), None, "it ends");
    let request = WatchDecisionsRequest { last: 0, follow: true };
    let mut watch = client.watch_decisions(request).await.unwrap().into_inner();
    ring.add(5, [decision(12)]);
    let news = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
    // A watcher that has not begun to look yet begins with this one.
    assert!(news.missed == 5 || news.missed == 0);
    assert_eq!(news.decisions[0].trace_id, "0c".repeat(16));
    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn dead_letters_are_asked_for_where_there_are_none() {
    let admin = Admin::bind("127.0.0.1:0", Arc::default()).unwrap();
    let address = format!("http://{}", admin.address());
    let (stop, stopped) = Stop::pair();
    let serving = tokio::spawn(admin.run(stopped));
    let mut client = ControlServiceClient::connect(address).await.unwrap();
    let all = || Some(proto::DeadLetterSelection { all: true, ..Default::default() });
    let request = proto::ListDeadLettersRequest::default();
    let status = client.list_dead_letters(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(status.message().contains("no exporter keeps dead letters"), "{status}");
    let request = proto::ReplayDeadLettersRequest { selection: all() };
    assert_eq!(
        client.replay_dead_letters(request).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    let request = proto::DropDeadLettersRequest::default();
    let status = client.drop_dead_letters(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "nothing is chosen");
    let request = proto::ShowDeadLetterRequest { id: "nonsense".to_owned() };
    let status = client.show_dead_letter(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
}
