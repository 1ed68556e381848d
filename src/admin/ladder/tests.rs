//! A table of facts, each with the rung where data stops.

use std::time::Duration;

use super::{
    facts::{Decided, Disk, Door, Edge, Exporter, Memory, Processor, Queue},
    *,
};
use crate::{
    otlp::payload::Reason,
    telemetry::{
        EdgeCounts, ExporterCounts, OpenPort, PipelineInfo, ProcessorCounts, ReceiverCounts,
        Refused,
        exporter::Failure,
        senders::{Refusal, Sighting, Tally, Who},
        verdict,
    },
};

const NOW: Duration = Duration::from_mins(29_408_542);

fn recent<T: Copy>(counts: T) -> Counted<T> {
    Counted { recent: counts, total: counts }
}

/// `otlp -> tail_sampling -> batch -> honeycomb`, through which a hundred spans have gone.
fn healthy() -> Facts {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
    let pipeline = PipelineInfo {
        id: "traces".to_owned(),
        receivers: names(&["otlp"]),
        processors: names(&["tail_sampling", "batch"]),
        exporters: names(&["honeycomb"]),
    };
    let port = |protocol, address: &str| OpenPort {
        component: "otlp".to_owned(),
        protocol,
        address: address.to_owned(),
        tls: false,
    };
    let processor = |id: &str| Processor {
        id: id.to_owned(),
        pipeline: "traces".to_owned(),
        counts: recent(ProcessorCounts { incoming: 100, outgoing: 100, ..Default::default() }),
        refusal: None,
        decisions: Vec::new(),
    };
    let mut grpc = door("grpc");
    grpc.counts = recent(ReceiverCounts { accepted: 100, requests: 4, ..Default::default() });
    grpc.last_data = Some(Duration::ZERO);
    Facts {
        now: SystemTime::UNIX_EPOCH + NOW,
        is_ready: true,
        uptime: Duration::from_mins(185),
        span: Duration::from_mins(1),
        pipelines: vec![pipeline],
        ports: vec![port("grpc", "0.0.0.0:4317"), port("http", "0.0.0.0:4318")],
        senders: vec![sender(Some("shop"), "")],
        memory: Memory { limit: 307 << 20, used: 61 << 20, waiting: 0 },
        doors: vec![grpc, door("http")],
        processors: vec![processor("tail_sampling"), processor("batch")],
        edges: vec![Edge {
            pipeline: "traces".to_owned(),
            from: "processor batch".to_owned(),
            to: "exporter honeycomb".to_owned(),
            counts: recent(EdgeCounts { items: 100, ..EdgeCounts::default() }),
        }],
        exporters: vec![Exporter {
            id: "honeycomb".to_owned(),
            signal: Signal::Traces,
            destination: "https://api.honeycomb.io".to_owned(),
            counts: recent(ExporterCounts {
                sent: 100,
                attempts: 2,
                attempt_millis: 60,
                ..ExporterCounts::default()
            }),
            state: verdict::State::Ok,
            success_age: Some(Duration::ZERO),
            failure: None,
            queue: Queue { capacity: 1000, unit: "requests", ..Queue::default() },
            disk: None,
        }],
        budgets: Vec::new(),
    }
}

fn door(transport: &'static str) -> Door {
    Door {
        id: "otlp".to_owned(),
        signal: Signal::Traces,
        transport,
        counts: Counted::default(),
        reasons: Default::default(),
        last_data: None,
    }
}

fn sender(service: Option<&str>, words: &str) -> Sighting {
    let refused = u64::from(!words.is_empty()) * 7;
    let taken = if service.is_some() { [100, 0, 0] } else { [0; 3] };
    let tally = Tally { requests: 4, refused, taken };
    Sighting {
        who: Who {
            service: service.map(str::to_owned),
            agent: if service.is_none() { "curl/8".to_owned() } else { String::new() },
            receiver: "otlp".to_owned(),
            transport: "grpc",
            peer: Some([10, 0, 0, 3].into()),
            language: "python".to_owned(),
            version: "1.29".to_owned(),
            ..Who::default()
        },
        last_age: Duration::from_secs(40),
        total: tally,
        recent: tally,
        span: Duration::from_mins(1),
        refusal: (!words.is_empty())
            .then(|| Refusal { age: Duration::from_secs(40), words: words.to_owned() }),
    }
}

/// Nothing has come.
fn silent() -> Facts {
    let mut facts = healthy();
    facts.senders.clear();
    facts.doors[0].counts = Counted::default();
    facts.doors[0].last_data = None;
    for processor in &mut facts.processors {
        processor.counts = Counted::default();
    }
    facts.edges[0].counts = Counted::default();
    facts.exporters[0].counts = Counted::default();
    facts.exporters[0].state = verdict::State::Idle;
    facts.exporters[0].success_age = None;
    facts
}

fn failure(text: &str) -> Failure {
    let at = |ago: u64| SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(ago);
    Failure { since: at(2460), last: at(1), attempts: 128, text: text.to_owned() }
}

/// Gives the receiver refusals of one kind.
fn refusals(facts: &mut Facts, why: Refused, count: u64, words: &str) {
    let door = &mut facts.doors[0];
    door.counts.recent.refusals[why as usize] = count;
    door.counts.total.refusals[why as usize] = count;
    words.clone_into(&mut door.reasons[why as usize]);
}

fn only(facts: &Facts, service: Option<&str>) -> Ladder {
    let mut all = ladders(facts, &[Signal::Traces], service);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The state of a ladder, and the first rung that is in it.
#[track_caller]
fn found(facts: &Facts, service: Option<&str>) -> (State, Rung) {
    let ladder = only(facts, service);
    let rung = ladder.rungs.iter().find(|rung| rung.state == ladder.state);
    (ladder.state, rung.expect("a rung in the state of the ladder").clone())
}

/// Checks the worst rung: its place, state, and words of its sentence, reason and remedy.
#[track_caller]
fn stops(facts: &Facts, place: &str, state: State, words: [&str; 3]) {
    let (found_state, rung) = found(facts, None);
    let told = format!("{rung:#?}");
    assert_eq!((found_state, rung.place().as_str()), (state, place), "{told}");
    let texts = [&rung.sentence, &rung.why.reason, &rung.why.remedy];
    for (text, words) in texts.into_iter().zip(words) {
        assert!(text.contains(words), "`{words}` is missing: {told}");
        assert!(!words.is_empty() || text.is_empty(), "{told}");
    }
}

#[test]
fn what_passes_everything_is_well() {
    let facts = healthy();
    let ladder = only(&facts, None);
    assert_eq!(ladder.state, State::Ok, "{ladder:#?}");
    assert!(!is_stopped(&facts, std::slice::from_ref(&ladder)));
    assert_eq!(ladder.finding, "100 spans came in the last 60 s; 1 backend took data");
    let lines = ladder.rungs.iter().map(|rung| format!("{}: {}", rung.place(), rung.sentence));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    port otlp: open: grpc 0.0.0.0:4317, http 0.0.0.0:4318
    requests otlp: 100 spans in 4 requests on grpc in the last 60 s, the last now; nothing on http
    memory: 61 of 307 MiB used
    tail_sampling: passed 100 spans
    batch: passed 100 spans
    queue honeycomb: 0 of 1 000 requests wait
    backend honeycomb: took 100 spans, it last took data now
    ");
}

#[test]
fn nothing_has_come() {
    let facts = silent();
    stops(
        &facts,
        "requests otlp",
        State::Nothing,
        [
            "no span has come on grpc or http since the start 3 h 5 min ago",
            "",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
        ],
    );
    assert!(is_stopped(&facts, &[only(&facts, None)]));
    let mut local = silent();
    for port in &mut local.ports {
        port.address = port.address.replace("0.0.0.0", "127.0.0.1");
    }
    let (_, rung) = found(&local, None);
    assert_eq!(rung.why.reason, "only programs on this machine reach it");
}

#[test]
fn one_signal_that_is_not_sent_is_no_stop() {
    let mut facts = healthy();
    let mut logs = facts.pipelines[0].clone();
    logs.id = "logs/backend".to_owned();
    facts.pipelines.push(logs);
    facts.senders.push(sender(None, "there is no OTLP endpoint at /; the paths are /v1/traces"));
    let all = ladders(&facts, &Signal::ALL, None);
    assert_eq!(all.len(), 2, "there is no pipeline of metrics");
    assert_eq!(all[1].state, State::Nothing);
    assert!(
        all[1].finding.contains("no log record has come since the start"),
        "{}",
        all[1].finding
    );
    assert!(all[1].finding.contains("other data has"), "{}", all[1].finding);
    assert!(!is_stopped(&facts, &all));
}

#[test]
fn requests_that_never_became_data() {
    let mut facts = silent();
    facts.senders = vec![sender(None, "there is no OTLP endpoint at /; the paths are /v1/traces")];
    stops(
        &facts,
        "requests otlp",
        State::Stop,
        [
            "no span has come, but 7 requests that became no data, the last 40 s ago from curl/8 at \
         10.0.0.3",
            "there is no OTLP endpoint at /",
            "the paths are /v1/traces",
        ],
    );
    // Beside data they are worth a word.
    let mut facts = healthy();
    facts.senders.push(sender(None, "a client speaks TLS to a plaintext port; use http://"));
    stops(&facts, "requests otlp", State::Partial, ["7 requests of curl/8", "TLS", "http://"]);
}

#[test]
fn requests_that_are_not_understood() {
    let mut facts = silent();
    refusals(&mut facts, Refused::Wrong, 12, "no protobuf; the body looks like JSON");
    stops(&facts, "requests otlp", State::Stop, ["12 requests came", "no protobuf", "JSON"]);
    let mut facts = silent();
    refusals(&mut facts, Refused::Denied, 3, "the token is wrong");
    stops(&facts, "requests otlp", State::Stop, ["all were refused", "the token is wrong", ""]);
    let mut facts = healthy();
    refusals(&mut facts, Refused::Wrong, 1, "too large");
    stops(&facts, "requests otlp", State::Partial, ["1 request refused", "too large", ""]);
}

#[test]
fn requests_that_find_no_room() {
    let mut facts = silent();
    refusals(&mut facts, Refused::NoRoom, 12, Reason::Limited.sentence());
    let remedy = "raise `limit_mib` of `memory_limiter`";
    let words = ["12 requests (100 %) found no room", "high memory usage", remedy];
    stops(&facts, "memory", State::Stop, words);
    let mut facts = healthy();
    refusals(&mut facts, Refused::NoRoom, 4, Reason::QueueFull.sentence());
    stops(&facts, "memory", State::Partial, ["4 requests (50 %)", "queue", "see the queue below"]);
}

#[test]
fn what_is_sampled_away() {
    let mut facts = healthy();
    facts.processors[0].counts =
        recent(ProcessorCounts { incoming: 100, outgoing: 10, filtered: 90, refused: 0 });
    let decided =
        |policy: &str, is_kept, traces| Decided { policy: policy.to_owned(), is_kept, traces };
    facts.processors[0].decisions = vec![decided("", false, 9), decided("errors", true, 1)];
    let reason = "9 traces kept by no policy, 1 trace kept by `errors`";
    let words = ["left out 90 spans of 100 spans (90 %)", reason, ""];
    stops(&facts, "tail_sampling", State::Partial, words);
    assert!(!is_stopped(&facts, &[only(&facts, None)]), "it is meant to drop");

    facts.processors[0].counts =
        recent(ProcessorCounts { incoming: 100, filtered: 100, ..Default::default() });
    let words = ["leaves out everything", "no policy", "`skep sample`"];
    stops(&facts, "tail_sampling", State::Stop, words);
    facts.processors[0].decisions.clear();
    let words = ["leaves out everything", "its settings say so", "check the conditions"];
    stops(&facts, "tail_sampling", State::Stop, words);
}

#[test]
fn what_a_processor_refuses_and_what_it_holds() {
    let mut facts = healthy();
    facts.processors[1].counts =
        recent(ProcessorCounts { incoming: 100, refused: 100, ..Default::default() });
    facts.processors[1].refusal = Some(Reason::StatementFailed);
    stops(&facts, "batch", State::Stop, ["refused 100 spans of 100", "a statement failed", ""]);
    facts.processors[1].counts = recent(ProcessorCounts { incoming: 100, ..Default::default() });
    stops(&facts, "batch", State::Partial, ["holds 100 spans; none has left it yet", "", ""]);
}

#[test]
fn a_backend_that_denies_or_fails() {
    let mut facts = healthy();
    let exporter = &mut facts.exporters[0];
    exporter.counts.recent = ExporterCounts { failed: 100, ..ExporterCounts::default() };
    exporter.state = verdict::State::Denied;
    exporter.success_age = Some(Duration::from_mins(41));
    exporter.failure = Some(failure("HTTP 401: unknown API key; check `headers`"));
    let sentence =
        "fails since 13:41 UTC (128 attempts); it last took data 41 min ago; 100 spans lost";
    let words = [sentence, "HTTP 401: unknown API key", "check `headers`"];
    stops(&facts, "backend honeycomb", State::Stop, words);
    assert!(is_stopped(&facts, &[only(&facts, None)]));
    facts.exporters[0].counts.recent.sent = 50;
    facts.exporters[0].state = verdict::State::Failing;
    facts.exporters[0].failure = Some(failure("connection refused"));
    let words = ["fails since", "connection refused", "skep tries again"];
    stops(&facts, "backend honeycomb", State::Partial, words);
}

#[test]
fn a_backend_that_is_slow_or_takes_a_part() {
    let mut facts = healthy();
    facts.exporters[0].counts.recent.attempt_millis = 4200;
    let words = ["took 100 spans, but slowly: 2100 ms an attempt", "slow", ""];
    stops(&facts, "backend honeycomb", State::Partial, words);
    let mut facts = healthy();
    facts.exporters[0].counts.recent.rejected = 3;
    let words = ["3 spans were given up", "refused for good", "the log"];
    stops(&facts, "backend honeycomb", State::Partial, words);
}

#[test]
fn a_queue_that_is_full() {
    let mut facts = healthy();
    let exporter = &mut facts.exporters[0];
    exporter.queue.size = 1000;
    exporter.counts.recent = ExporterCounts { enqueue_failed: 70, ..ExporterCounts::default() };
    exporter.failure = Some(failure("connection refused; is it running?"));
    let words =
        ["full: 1 000 of 1 000 requests wait; 70 spans found no room", "connection refused"];
    stops(&facts, "queue honeycomb", State::Stop, [words[0], words[1], "`sending_queue"]);
    let mut facts = healthy();
    facts.exporters[0].queue.oldest = Some(Duration::from_secs(45));
    stops(&facts, "queue honeycomb", State::Partial, ["the oldest since 45 s", "", ""]);
}

#[test]
fn a_disk_that_is_full_or_gone() {
    let mut facts = healthy();
    facts.exporters[0].disk = Some(Disk { full: 3, ..Disk::default() });
    facts.exporters[0].counts.recent.enqueue_failed = 30;
    stops(&facts, "queue honeycomb", State::Stop, ["wait", "its storage is full", "max_size_mib"]);
    // Room was found since then.
    facts.exporters[0].counts.recent.enqueue_failed = 0;
    assert_eq!(only(&facts, None).state, State::Ok);
    facts.exporters[0].disk = Some(Disk { is_missing: true, ..Disk::default() });
    stops(&facts, "queue honeycomb", State::Stop, ["wait", "is gone", "put it back"]);
}

#[test]
fn a_budget_that_is_spent() {
    let mut facts = healthy();
    facts.budgets = vec![verdict::BudgetVerdict {
        exporter: "honeycomb".to_owned(),
        unit: "events",
        used: 100,
        limit: 100,
        percent: 100,
        state: verdict::BudgetState::Spent,
        forecast: 100,
        left_out: 7,
        trouble: None,
    }];
    let words =
        ["100 of 100 events of the month used", "the monthly budget", "skep budget honeycomb"];
    stops(&facts, "budget honeycomb", State::Stop, words);
    facts.budgets[0].state = verdict::BudgetState::Paced;
    let words = ["so that the rest lasts", "the monthly budget", "skep budget honeycomb"];
    stops(&facts, "budget honeycomb", State::Partial, words);
}

#[test]
fn what_happened_before_the_last_minute_counts_if_nothing_has_come_since() {
    let mut facts = healthy();
    for door in &mut facts.doors {
        door.counts.recent = ReceiverCounts::default();
    }
    facts.processors[0].counts = Counted {
        recent: ProcessorCounts::default(),
        total: ProcessorCounts { incoming: 100, filtered: 100, ..Default::default() },
    };
    stops(&facts, "tail_sampling", State::Stop, ["leaves out everything", "settings", "check"]);
    let ladder = only(&facts, None);
    assert_eq!(ladder.basis, Basis::Start(Duration::from_mins(185)));
    assert!(ladder.rungs[1].sentence.contains("since the start 3 h 5 min ago"));
}

#[test]
fn a_process_that_starts_takes_nothing() {
    let mut facts = healthy();
    facts.is_ready = false;
    stops(&facts, "port otlp", State::Stop, ["starting or ending", "", ""]);
}

#[test]
fn a_connector_passes_on_to_other_pipelines() {
    let mut facts = healthy();
    facts.pipelines[0].exporters = vec!["count".to_owned()];
    facts.pipelines.push(PipelineInfo {
        id: "metrics".to_owned(),
        receivers: vec!["count".to_owned()],
        exporters: vec!["honeycomb".to_owned()],
        ..PipelineInfo::default()
    });
    facts.edges[0].to = "connector count".to_owned();
    let made = Edge {
        pipeline: "metrics".to_owned(),
        from: "connector count".to_owned(),
        to: "exporter honeycomb".to_owned(),
        counts: recent(EdgeCounts { items: 2, ..EdgeCounts::default() }),
    };
    facts.edges.push(made);
    let all = ladders(&facts, &Signal::ALL, None);
    let rung = all[0].rungs.last().unwrap();
    assert_eq!(rung.place(), "connector count");
    assert_eq!(rung.sentence, "took 100 spans; passed 2 items on to its pipelines");
    assert!(all[1].rungs.iter().all(|rung| rung.step != Step::Memory), "it has no door");
}

#[test]
fn one_service_alone() {
    let mut facts = healthy();
    let (_, rung) = found(&facts, Some("shop"));
    assert_eq!(rung.state, State::Ok);
    let ladder = only(&facts, Some("shop"));
    assert_eq!(
        ladder.rungs[1].sentence,
        "100 spans in the last 60 s, the last 40 s ago, by python 1.29 over grpc from 10.0.0.3"
    );
    facts.senders.push(sender(Some("cart"), "the queue is full; later"));
    let cart = only(&facts, Some("cart"));
    let rung = &cart.rungs[1];
    assert_eq!((rung.state, &*rung.why.reason), (State::Partial, "the queue is full"));
    facts.senders[1].total.taken = [0; 3];
    facts.senders[1].recent.taken = [0; 3];
    assert_eq!(only(&facts, Some("cart")).rungs[1].state, State::Stop);
}

#[test]
fn a_service_of_which_nothing_has_come() {
    let mut facts = healthy();
    facts.senders[0].who.service = Some("bakend-flask".to_owned());
    let (state, rung) = found(&facts, Some("backend-flask"));
    assert_eq!((state, rung.place().as_str()), (State::Stop, "requests backend-flask"));
    assert_eq!(rung.why.reason, "`bakend-flask` sends, which may be the same one");
    assert_eq!(rung.why.remedy, "set OTEL_SERVICE_NAME=backend-flask in the application");
    let (_, rung) = found(&facts, Some("else"));
    assert!(rung.why.reason.contains("1 sender of other services is known"), "{rung:?}");
    let (_, rung) = found(&silent(), Some("else"));
    assert_eq!(rung.why.reason, "no service has sent anything");
}
