//! Runs one program under one load and measures it from outside.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    generate::Sent,
    report::{Measured, StartUp},
    scenario::Scenario,
    sink::Arrived,
};

/// A program to measure.
pub(crate) struct Program {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Skep(std::path::PathBuf),
    Relay,
    Peer(String),
}

/// A process that ends with the measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    pub(crate) fn skep(path: &Path) -> Self {
        Program { name: "skep".to_owned(), kind: Kind::Skep(path.to_owned()) }
    }

    pub(crate) fn relay() -> Self {
        Program { name: "relay".to_owned(), kind: Kind::Relay }
    }

    pub(crate) fn peer(name: &str, command: &str) -> Self {
        Program { name: name.to_owned(), kind: Kind::Peer(command.to_owned()) }
    }

    fn command(&self, scenario: &Scenario, grpc: u16, http: u16, sink: u16) -> Command {
        match &self.kind {
            Kind::Skep(path) => {
                let mut command = pinned("0", path);
                let config = scenario.config(grpc, http, sink);
                command.arg("--config").arg(format!("yaml:{config}"));
                command
            }
            Kind::Relay => {
                let mut command = pinned("0", &std::env::current_exe().unwrap());
                let joined = scenario.joined();
                command.args(["relay", "--port", &grpc.to_string(), "--to", &sink.to_string()]);
                command.args(["--batch", &joined.to_string()]);
                command
            }
            Kind::Peer(text) => {
                let text = text
                    .replace("{grpc}", &grpc.to_string())
                    .replace("{http}", &http.to_string())
                    .replace("{sink}", &sink.to_string());
                let mut words = text.split_whitespace();
                let mut command = pinned("0", Path::new(words.next().expect("a command")));
                command.args(words);
                command
            }
        }
    }

    pub(crate) fn measure(&self, scenario: &Scenario, load: Duration) -> Measured {
        let (grpc, http, sink_port) = (free_port(), free_port(), free_port());
        let bench = std::env::current_exe().unwrap();
        let mut sink = pinned("1", &bench);
        let delay = scenario.delay_ms.to_string();
        sink.args(["sink", "--port", &sink_port.to_string(), "--delay-ms", &delay]);
        let _sink = Running(sink.spawn().unwrap());
        wait_for_port(sink_port);
        let mut command = self.command(scenario, grpc, http, sink_port);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        let target = if scenario.http { http } else { grpc };
        wait_for_port(target);
        let before = cpu(running.0.id());
        let sent = generate(&bench, scenario, target, load);
        let arrived = drained(sink_port, sent.expected * scenario.exporters as u64);
        let used = cpu(running.0.id()) - before;
        // The files stay open until the program ends.
        let _ = fs::remove_dir_all(Scenario::directory(grpc));
        let exporters = scenario.exporters as u64;
        Measured {
            cpu_per_million: used / (sent.items.max(1) as f64 / 1e6),
            items_per_second: sent.items as f64 / sent.seconds,
            peak_rss_mib: status(running.0.id(), "VmHWM:") / 1024.0,
            taken: sent.items,
            lost: (sent.expected * exporters).abs_diff(arrived.items),
            is_sum_right: arrived.sum == sent.sum.wrapping_mul(exporters),
            refused: sent.refused,
            p50_ms: sent.p50_ms,
            p99_ms: sent.p99_ms,
        }
    }
}

fn generate(bench: &Path, scenario: &Scenario, port: u16, load: Duration) -> Sent {
    let mut generate = pinned("1", bench);
    generate.args(["generate", "--port", &port.to_string(), "--signal", scenario.signal.name()]);
    generate.args(["--items", &scenario.items.to_string(), "--rate", &scenario.rate.to_string()]);
    generate.args(["--connections", "4", "--in-flight", &scenario.in_flight.to_string()]);
    generate.args(["--millis", &load.as_millis().to_string(), "--codec", scenario.codec.name()]);
    if scenario.http {
        generate.arg("--http");
    }
    if scenario.samples {
        generate.arg("--kept-only");
    }
    let output = generate.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until everything has arrived, or nothing more does for three seconds.
fn drained(sink: u16, expected: u64) -> Arrived {
    let mut last = Arrived::default();
    let mut since = Instant::now();
    loop {
        let arrived = stats(sink);
        if arrived != last {
            (last, since) = (arrived, Instant::now());
        }
        if arrived.items >= expected || since.elapsed() > Duration::from_secs(3) {
            return arrived;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn stats(sink: u16) -> Arrived {
    let mut stream = TcpStream::connect(("127.0.0.1", sink)).unwrap();
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap()
}

/// On one core; where there is only one, or no `taskset`, wherever it may run.
fn pinned(core: &str, program: &Path) -> Command {
    let has_two = thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    if !has_two || Command::new("taskset").arg("--version").output().is_err() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for_port(port: u16) {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing listens on port {port}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Seconds of CPU of a process, user and system (proc(5), fields 14 and 15; 100 ticks a second).
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(12) + ticks(13)) / 100.0
}

/// A number of /proc/PID/status.
fn status(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Start-up until the port answers, memory and wake-ups of an idle process.
pub(crate) fn start_up(skep: &Path, rounds: usize) -> StartUp {
    let mut millis = Vec::new();
    let (mut rss, mut wake_ups) = (0.0, 0.0);
    for round in 0..rounds {
        let (grpc, http) = (free_port(), free_port());
        let program = Program::skep(skep);
        let scenario = &crate::scenario::ALL[1];
        let mut command = program.command(scenario, grpc, http, 1);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let running = Running(command.spawn().unwrap());
        wait_for_port(grpc);
        millis.push(begin.elapsed().as_secs_f64() * 1000.0);
        if round + 1 == rounds {
            let pid = running.0.id();
            thread::sleep(Duration::from_secs(1));
            rss = status(pid, "VmRSS:") / 1024.0;
            let before = switches(pid);
            thread::sleep(Duration::from_secs(10));
            wake_ups = (switches(pid) - before) / 10.0;
        }
    }
    millis.sort_by(f64::total_cmp);
    StartUp { millis: millis[millis.len() / 2], rss_mib: rss, wake_ups_per_second: wake_ups }
}

/// Times that the threads of a process went to sleep.
fn switches(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|line| line.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    tasks.flatten().map(of_task).sum()
}
