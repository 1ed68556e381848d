//! Kill -9 at random instants: whatever skep has acknowledged arrives at least once, however often
//! it is killed.
//!
//! Senders tell each request apart by the name of its spans and send it again until it is
//! acknowledged; backends outlive skep and count what arrives. What arrives twice was not settled
//! when skep was killed: no more spans than the next start has found on disk. `SKEP_CHAOS_ROUNDS`
//! says how often each pipeline is killed.
#![expect(clippy::print_stdout, reason = "the figures of a run are to be seen")]

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Skep, free_port, is_full,
    sink::{SPANS, Sink, exchange, request},
    wait_for,
};

/// Kills of each pipeline. The full number makes 210 of all three.
const ROUNDS: u64 = 12;
const FULL_ROUNDS: u64 = 70;
const SENDERS: u64 = 3;

fn rounds() -> u64 {
    let given = std::env::var("SKEP_CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(if is_full() { FULL_ROUNDS } else { ROUNDS })
}

/// Sends requests until it is told to stop, each until it is acknowledged or given up; what was
/// acknowledged, and how often there was no answer.
struct Sender {
    number: u64,
    port: u16,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<HashSet<String>>>,
    unanswered: Arc<AtomicU64>,
}

impl Sender {
    fn run(self) {
        let mut connection: Option<TcpStream> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            let name = format!("{}-{id}", self.number);
            let body = request(&name, id, 1000);
            let mut answer = None;
            for _ in 0..3 {
                if connection.is_none() {
                    connection = TcpStream::connect(("127.0.0.1", self.port)).ok();
                }
                let Some(stream) = &connection else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                answer = exchange(stream, &body);
                if answer.is_some() {
                    break;
                }
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                connection = None;
            }
            if answer == Some(200) {
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            }
        }
    }
}

/// A pipeline that is killed.
struct Scenario {
    port: u16,
    config: String,
    sinks: Vec<Sink>,
    /// Items that starts have found on disk.
    found: Arc<AtomicU64>,
}

impl Scenario {
    /// `processors` and so many exporters, with the journal at the door; all of it kept in
    /// `directory`.
    fn new(directory: &Path, processors: &str, exporters: usize, queue: &str) -> Self {
        let port = free_port();
        let (mut sinks, mut sections, mut names) = (Vec::new(), String::new(), Vec::new());
        for index in 0..exporters {
            let (sink, sink_port) = Sink::start();
            sinks.push(sink);
            let section = format!(
                "  otlp_http/{index}: {{endpoint: 'http://127.0.0.1:{sink_port}', compression: none, \
                 retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}, sending_queue: {{{queue}}}}}\n"
            );
            sections += &section;
            names.push(format!("otlp_http/{index}"));
        }
        let used: Vec<&str> =
            processors.lines().filter_map(|line| line.split(':').next()).map(str::trim).collect();
        let indented = processors.replace('\n', "\n  ");
        let config = format!(
            "receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}, journal: {{storage: file_storage}}}}\n\
             processors:\n  {indented}\nexporters:\n{sections}\
             extensions:\n  file_storage: {{directory: '{}', create_directory: true, segment_size_mib: 1}}\n\
             service:\n  extensions: [file_storage]\n  telemetry: {{metrics: {{level: none}}, logs: {{level: info, encoding: json}}}}\n  \
             pipelines:\n    traces: {{receivers: [otlp], processors: [{}], exporters: [{}]}}\n",
            directory.display(),
            used.join(", "),
            names.join(", "),
        );
        Scenario { port, config, sinks, found: Arc::default() }
    }

    fn start(&self) -> Skep {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &format!("yaml:{}", self.config)]);
        command.env_remove("SKEP_CONFIG").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut skep = Skep(command.spawn().unwrap());
        let log = BufReader::new(skep.0.stderr.take().unwrap());
        let found = Arc::clone(&self.found);
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if line.contains("Found data of an earlier process") {
                    found.fetch_add(number(&entry, "items"), Ordering::Relaxed);
                } else if line.to_lowercase().contains("\"error\"") {
                    println!("{line}");
                }
            }
        });
        wait_for("the start of skep", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        skep
    }

    /// Kills it again and again while requests come, then lets it finish.
    fn kill(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (stop, unanswered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let next = Arc::new(AtomicU64::new(0));
        let mut skep = self.start();
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let sender = Sender {
                    number,
                    port: self.port,
                    next: Arc::clone(&next),
                    stop: Arc::clone(&stop),
                    acknowledged: Arc::clone(&acknowledged),
                    unanswered: Arc::clone(&unanswered),
                };
                thread::spawn(move || sender.run())
            })
            .collect();
        let rounds = rounds();
        for _ in 0..rounds {
            thread::sleep(Duration::from_millis(random.u64(20..400)));
            // SIGKILL, while requests are on their way.
            drop(skep);
            skep = self.start();
        }
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
        let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(
            acknowledged.len() as u64 > rounds * 5,
            "{} requests are too few",
            acknowledged.len()
        );
        let began = Instant::now();
        for sink in &self.sinks {
            wait_for("the delivery of all that was acknowledged", || {
                let counts = sink.counts();
                let missing = acknowledged.iter().find(|name| !counts.contains_key(*name));
                if let Some(missing) = missing.filter(|_| began.elapsed() > Duration::from_secs(50))
                {
                    panic!("{missing} was acknowledged and did not arrive; seed {seed}");
                }
                missing.is_none()
            });
        }
        for sink in &self.sinks {
            let counts = sink.counts();
            let spans: u64 = acknowledged.iter().map(|name| counts[name]).sum();
            let once = acknowledged.len() as u64 * SPANS as u64;
            let is_whole = |name: &String| counts[name] >= SPANS as u64;
            assert!(acknowledged.iter().all(is_whole), "a part is missing");
            // Senders repeat what had no answer, whether or not it was written down.
            let unanswered = unanswered.load(Ordering::Relaxed);
            let bound = self.found.load(Ordering::Relaxed) + unanswered * SPANS as u64;
            println!(
                "{rounds} kills, {} requests acknowledged, {unanswered} exchanges without an answer, \
                 {} of {once} spans more than once, at most {bound} expected",
                acknowledged.len(),
                spans - once,
            );
            assert!(spans - once <= bound, "more duplicates than were unsettled");
        }
        assert!(skep.stop());
    }
}

/// A field of a log entry, wherever the format puts it.
fn number(entry: &serde_json::Value, name: &str) -> u64 {
    let fields = entry.get("fields").unwrap_or(entry);
    fields.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

#[test]
fn batch_to_one_backend() {
    let directory = tempfile::tempdir().unwrap();
    Scenario::new(directory.path(), "batch: {timeout: 100ms}", 1, "").kill(1);
}

#[test]
fn tail_sampling_then_batch() {
    let directory = tempfile::tempdir().unwrap();
    let processors = "tail_sampling: {decision_wait: 100ms, policies: [{name: all, type: always_sample}]}\n\
                      batch: {timeout: 50ms}";
    Scenario::new(directory.path(), processors, 1, "storage: file_storage").kill(2);
}

#[test]
fn fan_out_to_three() {
    let directory = tempfile::tempdir().unwrap();
    Scenario::new(directory.path(), "batch: {timeout: 20ms}", 3, "").kill(3);
}
