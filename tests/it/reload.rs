//! Reload of the whole program, by SIGHUP and by its control plane: what is the same goes on, what
//! changes takes the place of what was there, and no request is refused or lost meanwhile.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use skep::admin::proto::HealthRequest;

use crate::support::{
    backend::Backend,
    free_port, is_full,
    reloading::{APPLIED, REFUSED, World, assert_arrived, names, reload},
    steady::{Grpc, Http},
    wait_for,
};

/// Longest time for what takes a moment.
const DEADLINE: Duration = Duration::from_mins(1);

/// Tells senders to stop. A test that fails tells them, too, or the runtime would wait for those
/// that block.
struct Over(Arc<AtomicBool>);

impl Over {
    fn new() -> Self {
        Over(Arc::default())
    }

    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Senders that send as fast as they are answered, gRPC and HTTP, each on one connection.
struct Load {
    over: Over,
    sent: Arc<AtomicU64>,
    senders: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    async fn start(grpc: u16, http: u16) -> Self {
        let (over, sent) = (Over::new(), Arc::new(AtomicU64::new(0)));
        let mut senders = tokio::task::JoinSet::new();
        let connection = Grpc::connect(grpc).await;
        for _ in 0..4 {
            let mut connection = connection.clone();
            let (is_over, sent) = (over.flag(), Arc::clone(&sent));
            senders.spawn(async move {
                let mut accepted = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    accepted.extend(connection.export(3).await.expect("it stays open"));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                accepted
            });
        }
        for _ in 0..2 {
            let mut connection = Http::connect(http);
            let (is_over, sent) = (over.flag(), Arc::clone(&sent));
            senders.spawn_blocking(move || {
                let mut accepted = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    accepted.extend(connection.export(3));
                    assert!(!connection.is_closed, "it stays open");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                accepted
            });
        }
        Load { over, sent, senders }
    }

    /// Waits until some more requests have been answered.
    async fn go_on(&self) {
        let enough = self.sent.load(Ordering::Relaxed) + 20;
        let began = Instant::now();
        while self.sent.load(Ordering::Relaxed) < enough {
            assert!(began.elapsed() < DEADLINE, "the senders do not go on");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) -> Vec<String> {
        drop(self.over);
        self.senders.join_all().await.concat()
    }
}

/// A pipeline that stays as it is, and another one whose attributes and exporters are `changing`.
fn two_pipelines(
    (grpc, http): (u16, u16),
    kept: u16,
    (value, changing): (&str, &str),
    exporters: &str,
) -> String {
    format!(
        "receivers:
  otlp:
    protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}
processors:
  attributes: {{actions: [{{key: version, action: upsert, value: {value}}}]}}
  batch: {{timeout: 20ms}}
exporters:
  otlp_grpc/kept: {{endpoint: '127.0.0.1:{kept}', tls: {{insecure: true}}}}
{exporters}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{encoding: json}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [otlp_grpc/kept]}}
    traces/changing: {{receivers: [otlp], processors: [batch, attributes], exporters: [{changing}]}}
"
    )
}

fn exporter(name: &str, port: u16) -> String {
    format!("  otlp_grpc/{name}: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}")
}

fn kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Reloads in the full form, which also looks at the memory, and without it.
const FULL_ROUNDS: usize = 500;
const ROUNDS: usize = 60;

/// The least memory of a process in several rounds: what it needs between two requests, without
/// what the allocator holds for a moment.
#[derive(Debug, Default)]
struct Least(Option<u64>);

impl Least {
    fn look(&mut self, pid: u32) {
        let now = kib(pid, "RssAnon:");
        self.0 = Some(self.0.map_or(now, |least| least.min(now)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let (kept, kept_port) = Backend::start(None);
    let (changing, port) = Backend::start(None);
    let ports = (free_port(), free_port());
    let config = |name: &str| {
        two_pipelines(ports, kept_port, (name, &format!("otlp_grpc/{name}")), &exporter(name, port))
    };
    let world = World::start(&config("a"), &[ports.0, ports.1]);
    let mut client = world.client().await;
    let load = Load::start(ports.0, ports.1).await;
    let began = Instant::now();
    let mut pauses = Vec::new();
    let rounds = if is_full() { FULL_ROUNDS } else { ROUNDS };
    let (mut early, mut late) = (Least::default(), Least::default());
    let mut open = 0;
    for round in 0..rounds {
        world.write(&config(if round % 2 == 0 { "b" } else { "a" }));
        let answer = reload(&mut client).await;
        assert!(answer.applied, "{answer:?}");
        assert_eq!((answer.changed.len(), answer.added.len(), answer.removed.len()), (1, 1, 1));
        pauses.push(answer.pause_us);
        load.go_on().await;
        match round {
            150..250 => early.look(world.pid()),
            400.. => late.look(world.pid()),
            _ => {}
        }
        if round == rounds / 4 {
            open = descriptors(world.pid());
        }
    }
    let took = began.elapsed();
    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert!(health.ready);
    // What a removed exporter had on its way takes a moment.
    wait_for("the end of all that was removed", || descriptors(world.pid()) <= open + 2);
    let grown = late.0.unwrap_or_default().saturating_sub(early.0.unwrap_or_default());
    assert!(grown < 8 * 1024, "{grown} KiB more than {early:?} after 250 reloads");
    let accepted = load.stop().await;
    world.stop();
    pauses.sort_unstable();
    eprintln!(
        "{} spans in {took:?}; pauses of {} us (median), {} us (99 of 100), {} us (most); {grown} KiB more",
        accepted.len(),
        pauses[pauses.len() / 2],
        pauses[pauses.len() * 99 / 100],
        pauses[pauses.len() - 1]
    );
    assert_arrived(&kept, &accepted);
    assert_arrived(&changing, &accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_applies_what_has_changed() {
    let (kept, kept_port) = Backend::start(None);
    let (added, port) = Backend::start(None);
    let ports = (free_port(), free_port());
    let first = two_pipelines(ports, kept_port, ("one", "otlp_grpc/kept"), "");
    let both = "otlp_grpc/kept, otlp_grpc/added";
    let second = two_pipelines(ports, kept_port, ("two", both), &exporter("added", port));
    let world = World::start(&first, &[ports.0, ports.1]);
    let load = Load::start(ports.0, ports.1).await;
    load.go_on().await;
    world.write(&second);
    world.hang_up(APPLIED);
    load.go_on().await;
    let value = |backend: &Backend, wanted: &str| {
        format!("{:?}", backend.taken().traces).contains(&format!("StringValue({wanted:?})"))
    };
    wait_for("spans with the new value", || value(&kept, "two") && value(&added, "two"));
    assert!(value(&kept, "one") && !value(&added, "one"));
    // The exporter goes, with what it has.
    world.write(&first);
    world.hang_up(APPLIED);
    let mut client = world.client().await;
    let is_there = |health: &skep::admin::proto::HealthResponse| {
        health.components.iter().any(|component| component.id == "otlp_grpc/added")
    };
    let health = async || world.client().await.health(HealthRequest {}).await.unwrap().into_inner();
    let began = Instant::now();
    while is_there(&health().await) {
        assert!(began.elapsed() < DEADLINE, "the exporter does not go");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = names(&added).len();
    load.go_on().await;
    let answer = reload(&mut client).await;
    assert!(answer.applied && answer.kept.len() == 6, "{answer:?}");
    let accepted = load.stop().await;
    world.stop();
    assert_eq!(names(&added).len(), before, "nothing comes to it any more");
    let arrived = names(&kept);
    assert!(accepted.iter().all(|name| arrived.get(name) == Some(&2)), "once by each pipeline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_file_changes_nothing_and_says_why() {
    let (kept, kept_port) = Backend::start(None);
    let ports = (free_port(), free_port());
    let good = two_pipelines(ports, kept_port, ("one", "otlp_grpc/kept"), "");
    let world = World::start(&good, &[ports.0, ports.1]);
    let load = Load::start(ports.0, ports.1).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let in_use = good
        .replace("receivers:\n", &format!("receivers:\n  otlp/new: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{taken_port}'}}}}}}\n"))
        .replace("receivers: [otlp]", "receivers: [otlp, otlp/new]");
    let cases = [
        ("a: [", ""),
        (&*good.replace("timeout: 20ms", "timout: 20ms, nothing: 1"), ":6:"),
        (&*good.replace("[otlp_grpc/kept]", "[otlp_grpc/nowhere]"), ":1"),
        (&*in_use, "is in use by another process"),
    ];
    for (config, place) in cases {
        world.write(config);
        world.hang_up(REFUSED);
        let answer = world.ask();
        let words = String::from_utf8(answer.stdout).unwrap();
        assert_eq!(answer.status.code(), Some(78), "{words}");
        assert!(
            words.contains("not applied: the running configuration stays in use")
                && words.contains(place),
            "{words}"
        );
        load.go_on().await;
    }
    let log = world.log();
    assert!(log.contains("skep.yaml:6:") && log.contains("did you mean `timeout`?"), "{log}");
    assert!(log.contains("is in use by another process"), "{log}");
    fs::remove_file(world.file()).unwrap();
    world.hang_up(REFUSED);
    world.write(&good);
    let answer = world.ask();
    let words = String::from_utf8(answer.stdout).unwrap();
    assert_eq!(answer.status.code(), Some(0), "{words}");
    assert!(words.starts_with("applied;") && !words.contains("changed"), "{words}");
    let accepted = load.stop().await;
    world.stop();
    let arrived = names(&kept);
    assert!(accepted.iter().all(|name| arrived.get(name) == Some(&2)));
}

/// Sockets that listen on a port.
fn listening(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let is_listening = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(is_listening).count()
}

/// One receiver with settings that change, on TCP and on a unix socket.
fn receiver((grpc, http): (u16, u16), settings: &str, backend: u16, more: &str) -> String {
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', {settings}}}
      http: {{endpoint: '127.0.0.1:{http}', {settings}}}
{more}
processors: {{batch: {{timeout: 20ms}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{backend}', tls: {{insecure: true}}}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_receiver_takes_over_its_ports_and_refuses_nobody() {
    change_receiver(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_receiver_and_a_changed_queue_take_over_what_is_on_disk() {
    change_receiver(true).await;
}

/// Under load; with a journal before and a queue on disk after the pipeline, where asked for.
async fn change_receiver(is_stored: bool) {
    let (backend, port) = Backend::start(None);
    let ports = (free_port(), free_port());
    let health = free_port();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().display();
    let rest = |path: &str| {
        format!(
            "extensions:
  health_check: {{endpoint: '127.0.0.1:{health}', path: {path}}}
  file_storage: {{directory: {directory}, create_directory: true}}
service:
  telemetry: {{metrics: {{level: none}}}}
  extensions: [health_check, file_storage]
  pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [otlp_grpc]}}}}"
        )
    };
    let config = |is_even: bool| {
        let settings = format!("include_metadata: {is_even}");
        let (fsync, timeout) = if is_even { ("always", "6s") } else { ("interval", "5s") };
        let journal = format!("    journal: {{storage: file_storage, fsync: {fsync}}}");
        let path = if is_even { "/x" } else { "/" };
        if !is_stored {
            return receiver(ports, &settings, port, "") + &rest(path);
        }
        let queue = format!("timeout: {timeout}, sending_queue: {{storage: file_storage}}, tls");
        receiver(ports, &settings, port, &journal).replace("tls", &queue) + &rest(path)
    };
    let world = World::start(&config(false), &[ports.0, ports.1, health]);
    let is_over = Over::new();
    let mut senders = tokio::task::JoinSet::new();
    // A sender that is told to close opens another connection; nothing else may go wrong.
    for _ in 0..2 {
        let over = is_over.flag();
        senders.spawn_blocking(move || {
            let (mut accepted, mut connections) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                let mut connection = Http::connect(ports.1);
                connections += 1;
                while !connection.is_closed && !over.load(Ordering::Relaxed) {
                    accepted.extend(connection.export(2));
                }
            }
            (accepted, connections)
        });
        let over = is_over.flag();
        senders.spawn(async move {
            let (mut accepted, mut connections) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                let mut connection = Grpc::connect(ports.0).await;
                connections += 1;
                while !over.load(Ordering::Relaxed) {
                    let Some(names) = connection.export(2).await else { break };
                    accepted.extend(names);
                }
            }
            (accepted, connections)
        });
        let over = is_over.flag();
        senders.spawn_blocking(move || {
            // A connection for each request: the queue of the socket is never empty for long.
            let mut accepted = Vec::new();
            while !over.load(Ordering::Relaxed) {
                accepted.extend(Http::connect(ports.1).export(2));
                assert!(TcpStream::connect(("127.0.0.1", health)).is_ok());
            }
            (accepted, 20)
        });
    }
    // This connection stays idle until its receiver has been replaced.
    let mut idle = Http::connect(ports.1);
    let mut accepted = idle.export(1);
    for round in 0..40 {
        world.write(&config(round % 2 == 0));
        let answer = world.ask();
        let words = String::from_utf8(answer.stdout).unwrap();
        let (changed, _) = words.split_once("kept").unwrap();
        assert!(answer.status.success() && changed.contains("changed"), "{words}");
        assert!(changed.contains("receiver otlp") && changed.contains("extension health_check"));
        assert_eq!(changed.contains("exporter otlp_grpc"), is_stored, "{words}");
        if round == 0 {
            accepted.extend(idle.export(1));
            assert!(idle.is_closed, "it is told to close");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(is_over);
    for (names, connections) in senders.join_all().await {
        accepted.extend(names);
        assert!(connections > 10, "{connections}");
    }
    // The last one listens, its predecessors are gone.
    assert_eq!((listening(ports.0), listening(ports.1)), (1, 1));
    world.stop();
    assert_arrived(&backend, &accepted);
}
