//! What is kept on disk, with the real program: an outage costs disk, not memory and not refusals;
//! a queue with a storage survives kill -9; a full disk is said; two processes never share a
//! directory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    Skep, free_port,
    sink::{SPANS, Sink, exchange, request},
    wait_for,
};

/// The parts of a configuration that differ between tests.
struct Setup<'a> {
    receiver: u16,
    directory: &'a Path,
    journal: &'a str,
    storage: &'a str,
    processors: &'a [&'a str],
    /// Port and queue of each exporter.
    exporters: &'a [(u16, &'a str)],
    metrics: Option<u16>,
}

impl<'a> Setup<'a> {
    /// In small segments; one more thing has to be said: who exports.
    fn new(receiver: u16, directory: &'a Path) -> Self {
        let (journal, storage, processors) = ("", SMALL, &[][..]);
        Setup { receiver, directory, journal, storage, processors, exporters: &[], metrics: None }
    }

    fn config(&self) -> String {
        let exporter = |(port, queue): &(u16, &str)| {
            format!(
                "  otlp_http/{port}: {{endpoint: 'http://127.0.0.1:{port}', compression: none, timeout: 5s, \
                 retry_on_failure: {{initial_interval: 100ms, max_interval: 300ms}}, sending_queue: {{{queue}}}}}\n"
            )
        };
        let exporters: Vec<String> = self.exporters.iter().map(exporter).collect();
        let exporters = exporters.concat();
        let names: Vec<String> =
            self.exporters.iter().map(|(port, _)| format!("otlp_http/{port}")).collect();
        let processors = self.processors.join("\n  ");
        let used: Vec<&str> = self.processors.iter().filter_map(|p| p.split(':').next()).collect();
        let metrics = self.metrics.map_or("level: none".to_owned(), |port| {
            format!(
                "level: detailed, readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]"
            )
        });
        format!(
            "receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{}'}}}}{}}}\n\
             processors:\n  {processors}\nexporters:\n{exporters}\
             extensions:\n  file_storage: {{directory: '{}', create_directory: true{}}}\n\
             service:\n  extensions: [file_storage]\n  telemetry: {{metrics: {{{metrics}}}, logs: {{level: warn}}}}\n  \
             pipelines:\n    traces: {{receivers: [otlp], processors: [{}], exporters: [{}]}}\n",
            self.receiver,
            self.journal,
            self.directory.display(),
            self.storage,
            used.join(", "),
            names.join(", "),
        )
    }

    fn start(&self) -> Skep {
        Skep::start(&self.config(), &[self.receiver])
    }
}

const JOURNAL: &str = ", journal: {storage: file_storage}";
const SMALL: &str = ", segment_size_mib: 1";

/// Sends so many requests of so many bytes; how many were taken, and the other statuses.
fn send(port: u16, names: std::ops::Range<u64>, bytes: usize) -> (u64, Vec<u16>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut taken, mut others) = (0, Vec::new());
    for id in names {
        match exchange(&stream, &request(&id.to_string(), id + 1, bytes)) {
            Some(200) => taken += 1,
            other => others.push(other.unwrap_or_default()),
        }
    }
    (taken, others)
}

fn wait_for_all(sink: &Sink, names: std::ops::Range<u64>) {
    wait_for("the delivery of everything", || {
        let counts = sink.counts();
        names.clone().all(|id| counts.get(&id.to_string()).is_some_and(|n| *n >= SPANS as u64))
    });
}

fn rss_mib(skep: &Skep) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", skep.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

fn metric(port: u16, name: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let values = page.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn an_outage_costs_disk_and_neither_memory_nor_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend, metrics) = (free_port(), free_port(), free_port());
    let setup = Setup {
        journal: JOURNAL,
        processors: &[
            "memory_limiter: {check_interval: 1s, limit_mib: 24}",
            "batch: {timeout: 50ms}",
        ],
        exporters: &[(backend, "")],
        metrics: Some(metrics),
        ..Setup::new(receiver, directory.path())
    };
    let skep = setup.start();
    // Five times what may be in memory.
    let requests = 0..600;
    let (taken, others) = send(receiver, requests.clone(), 200_000);
    assert_eq!((taken, others), (600, Vec::new()), "nobody is refused");
    let rss = rss_mib(&skep);
    assert!(rss < 24 + 40, "{rss} MiB");
    wait_for("the journal on the metrics page", || metric(metrics, "skep_storage_items") >= 2000);
    assert!(metric(metrics, "skep_storage_size_bytes") > 80_000_000);
    let sink = Sink::default();
    sink.listen(backend);
    wait_for_all(&sink, requests);
    wait_for("the end of the journal", || metric(metrics, "skep_storage_items") == 0);
    assert_eq!(metric(metrics, "otelcol_exporter_send_failed_spans"), 0);
    assert!(skep.stop());
    let left = fs::read_dir(directory.path().join("receiver_otlp_journal")).unwrap().flatten();
    let bytes: u64 = left.map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 3 << 20, "{bytes} bytes are left of what was delivered");
}

#[test]
fn a_queue_with_a_storage_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        storage: ", segment_size_mib: 1, fsync: true",
        exporters: &[(backend, "storage: file_storage")],
        ..Setup::new(receiver, directory.path())
    };
    let skep = setup.start();
    assert_eq!(send(receiver, 0..100, 20_000).0, 100);
    drop(skep);
    let skep = setup.start();
    assert_eq!(send(receiver, 100..150, 20_000).0, 50);
    let sink = Sink::default();
    sink.listen(backend);
    wait_for_all(&sink, 0..150);
    assert!(skep.stop());
    let skep = setup.start();
    assert!(skep.stop(), "and nothing is left to do");
    assert!(sink.counts().values().all(|count| *count == SPANS as u64), "nothing came twice");
}

#[test]
fn segments_that_were_read_survive_kill_9_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend, metrics) = (free_port(), free_port(), free_port());
    let config = format!(
        "receivers:\n  awsxray: {{endpoint: '127.0.0.1:{receiver}', journal: {{storage: file_storage}}, \
         proxy_server: {{mode: local, rules: []}}}}\nprocessors: {{batch: {{timeout: 60s}}}}\nexporters:\n  \
         otlp_http: {{endpoint: 'http://127.0.0.1:{backend}', compression: none}}\nextensions:\n  \
         file_storage: {{directory: '{}', create_directory: true}}\nservice:\n  extensions: [file_storage]\n  \
         telemetry: {{metrics: {{level: detailed, readers: [{{pull: {{exporter: {{prometheus: \
         {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}\n  \
         pipelines: {{traces: {{receivers: [awsxray], processors: [batch], exporters: [otlp_http]}}}}\n",
        directory.path().display(),
    );
    let skep = Skep::start(&config, &[receiver]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for id in 0..20 {
        let segment = format!(
            "{{\"format\": \"json\", \"version\": 1}}\n{{\"name\": \"{id}\", \"id\": \"{:016x}\", \
             \"trace_id\": \"1-68000000-{id:024x}\", \"start_time\": 1.5, \"end_time\": 2.5}}",
            id + 1
        );
        socket.send_to(segment.as_bytes(), ("127.0.0.1", receiver)).unwrap();
    }
    wait_for("the journal", || metric(metrics, "skep_storage_items") == 20);
    drop(skep);
    let sink = Sink::default();
    sink.listen(backend);
    assert!(Skep::start(&config, &[receiver]).stop(), "a drain delivers what was found");
    let counts = sink.counts();
    assert!((0..20).all(|id| counts.get(&id.to_string()) == Some(&1)), "{counts:?}");
}

#[test]
fn what_cannot_be_sent_at_the_end_stays_in_the_storage() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        journal: ", journal: {storage: file_storage, fsync: always}",
        processors: &["batch: {timeout: 10s}"],
        exporters: &[(backend, "")],
        ..Setup::new(receiver, directory.path())
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--drain-timeout", "1s"]);
    command.args(["--config", &format!("yaml:{}", setup.config())]);
    let skep = Skep::run(command, &[receiver]);
    assert_eq!(send(receiver, 0..50, 5000).0, 50);
    assert!(skep.stop(), "nothing is lost, so it ends well");
    let sink = Sink::default();
    sink.listen(backend);
    let skep = setup.start();
    assert!(skep.stop(), "a drain delivers what was found");
    wait_for_all(&sink, 0..50);
}

#[test]
fn what_a_second_signal_cuts_off_is_not_taken_for_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        journal: JOURNAL,
        processors: &["batch: {timeout: 10s}"],
        exporters: &[(backend, "")],
        ..Setup::new(receiver, directory.path())
    };
    let mut skep = setup.start();
    assert_eq!(send(receiver, 0..50, 5000).0, 50);
    let signal = || {
        let pid = skep.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    };
    signal();
    wait_for("the beginning of the end", || TcpStream::connect(("127.0.0.1", receiver)).is_err());
    signal();
    wait_for("the end", || skep.0.try_wait().unwrap().is_some());
    let sink = Sink::default();
    sink.listen(backend);
    let skep = setup.start();
    wait_for_all(&sink, 0..50);
    assert!(skep.stop());
}

#[test]
fn a_dead_backend_costs_disk_and_its_siblings_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, dead) = (free_port(), free_port());
    let (sibling, port) = Sink::start();
    let setup = Setup {
        journal: JOURNAL,
        processors: &["memory_limiter: {check_interval: 1s, limit_mib: 24}"],
        exporters: &[(port, ""), (dead, "")],
        ..Setup::new(receiver, directory.path())
    };
    let skep = setup.start();
    let (taken, others) = send(receiver, 0..400, 100_000);
    assert_eq!((taken, others), (400, Vec::new()));
    wait_for_all(&sibling, 0..400);
    let counts = sibling.counts();
    assert!(counts.values().all(|count| *count == SPANS as u64), "the sibling gets all once");
    let sink = Sink::default();
    sink.listen(dead);
    wait_for_all(&sink, 0..400);
    assert!(skep.stop());
}

#[test]
fn a_full_storage_refuses_or_drops_the_oldest_and_counts() {
    for (overflow, refuses) in [("block", true), ("drop_oldest", false)] {
        let directory = tempfile::tempdir().unwrap();
        let (receiver, backend, metrics) = (free_port(), free_port(), free_port());
        let storage = format!(", segment_size_mib: 1, max_size_mib: 4, overflow: {overflow}");
        let setup = Setup {
            storage: &storage,
            // What finds room in memory is delivered from there, whether or not its file goes.
            processors: &["memory_limiter: {check_interval: 1s, limit_mib: 16}"],
            exporters: &[(backend, "storage: file_storage, num_consumers: 1")],
            metrics: Some(metrics),
            ..Setup::new(receiver, directory.path())
        };
        let skep = setup.start();
        let last = if refuses { 44 } else { 300 };
        let (taken, mut others) = send(receiver, 0..last, 100_000);
        if refuses {
            // Each waits for room before it is refused, so the rest come at the same time.
            std::thread::scope(|scope| {
                let rest = (last..100).step_by(7);
                let senders: Vec<_> = rest
                    .map(|from| scope.spawn(move || send(receiver, from..from + 7, 100_000)))
                    .collect();
                for sender in senders {
                    let (more, refused) = sender.join().unwrap();
                    assert_eq!(more, 0, "there is no room for more");
                    others.extend(refused);
                }
            });
            assert!((35..43).contains(&taken), "{taken}");
            assert!(others.iter().all(|status| *status == 503), "{others:?}");
            assert_eq!(metric(metrics, "skep_storage_full"), 100 - taken);
        } else {
            assert_eq!(taken, last);
            assert!(metric(metrics, "skep_storage_dropped_items") > 200);
        }
        let sink = Sink::default();
        sink.listen(backend);
        if refuses {
            wait_for_all(&sink, 0..taken);
            wait_for("room again", || send(receiver, 100..101, 100_000).0 == 1);
        } else {
            wait_for_all(&sink, last - 20..last);
        }
        assert!(skep.stop());
    }
}

#[test]
fn with_wait_for_export_a_sender_waits_for_what_the_journal_holds() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        journal: ", wait_for_export: true, journal: {storage: file_storage}",
        processors: &[
            "tail_sampling: {decision_wait: 200ms, policies: [{name: all, type: always_sample}]}",
        ],
        exporters: &[(backend, "storage: file_storage")],
        ..Setup::new(receiver, directory.path())
    };
    let skep = setup.start();
    let sink = Sink::default();
    let late = sink.clone();
    let up = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        late.listen(backend);
    });
    let began = Instant::now();
    assert_eq!(send(receiver, 0..1, 5000).0, 1);
    assert!(began.elapsed() >= Duration::from_millis(600), "answered before the backend was there");
    assert_eq!(sink.counts().get("0"), Some(&(SPANS as u64)), "answered before it was delivered");
    up.join().unwrap();
    assert!(skep.stop());
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        journal: JOURNAL,
        storage: "",
        exporters: &[(backend, "")],
        ..Setup::new(receiver, directory.path())
    };
    let _skep = setup.start();
    let start = |config: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
        let output = command.env_remove("SKEP_CONFIG").stdout(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let other = Setup { receiver: free_port(), ..setup };
    let (is_running, words) = start(&other.config());
    assert!(!is_running && words.contains("in use by another process"), "{words}");
    let missing = directory.path().join("missing");
    let config = Setup { directory: &missing, ..other }.config();
    let (is_running, words) =
        start(&config.replace("create_directory: true", "create_directory: false"));
    assert!(!is_running && words.contains("set `create_directory: true`"), "{words}");
}

/// Starts it with its log in a file.
fn start_logging(setup: &Setup<'_>, log: &Path) -> Skep {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let config = setup.config().replace("level: warn", "level: info, encoding: json");
    command.args(["--control-endpoint", "off", "--drain-timeout", "1s"]);
    command.args(["--config", &format!("yaml:{config}")]).env_remove("SKEP_CONFIG");
    command.stdout(Stdio::null()).stderr(fs::File::create(log).unwrap());
    let skep = Skep(command.spawn().unwrap());
    wait_for("the start of skep", || TcpStream::connect(("127.0.0.1", setup.receiver)).is_ok());
    skep
}

#[test]
fn without_its_directory_skep_takes_nothing_and_says_what_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let storage = directory.path().join("storage");
    let (receiver, backend) = (free_port(), free_port());
    let setup = Setup {
        exporters: &[(backend, "storage: file_storage")],
        ..Setup::new(receiver, &storage)
    };
    let skep = start_logging(&setup, &log);
    assert_eq!(send(receiver, 0..50, 1000).0, 50);
    fs::remove_dir_all(&storage).unwrap();
    let mut taken = 50;
    wait_for("a refusal", || {
        let (more, _) = send(receiver, taken..taken + 1, 1000);
        taken += more;
        more == 0
    });
    assert_eq!(send(receiver, 1000..1005, 1000), (0, vec![503; 5]));
    assert_eq!(skep.end(), Some(74));
    let log = fs::read_to_string(log).unwrap();
    let lost = format!("\"lost_items\":{}", taken * SPANS as u64);
    let end = log.lines().find(|line| line.contains("Shutdown complete")).unwrap();
    assert!(end.replace(' ', "").contains(&lost), "{end}, not {lost}");
}

#[test]
fn a_failure_while_skep_ends_leaves_on_disk_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, backend) = (free_port(), free_port());
    // Requests come faster than they fail.
    let silent = std::net::TcpListener::bind(("127.0.0.1", backend)).unwrap();
    let setup = Setup {
        exporters: &[(backend, "storage: file_storage, num_consumers: 1")],
        ..Setup::new(receiver, directory.path())
    };
    let config =
        setup.config().replace("retry_on_failure: {", "retry_on_failure: {enabled: false, ");
    let mut skep = Skep::start(&config, &[receiver]);
    assert_eq!(send(receiver, 0..20, 1000).0, 20);
    let pid = skep.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait_for("the beginning of the end", || TcpStream::connect(("127.0.0.1", receiver)).is_err());
    // From here on every attempt fails at once.
    drop(silent);
    let mut code = None;
    wait_for("the end", || {
        code = skep.0.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(0), "nothing is lost");
    let sink = Sink::default();
    sink.listen(backend);
    let skep = Skep::start(&config, &[receiver]);
    wait_for_all(&sink, 0..20);
    assert!(skep.stop());
}
