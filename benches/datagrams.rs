//! The receiver `awsxray` in a whole process under datagrams on loopback, its cores shared with the
//! sender: CPU seconds per million, and what is lost to whom.
//!
//! ```sh
//! cargo bench --bench datagrams
//! cargo bench --bench datagrams -- --rate 20000 --seconds 30
//! ```
//!
//! Each datagram is a segment of a web request with two subsegments, as SDKs send it: about 1.1 KB,
//! three spans. Every one that was sent is looked for in the counters of the metrics page: taken,
//! dropped by the kernel, or dropped by skep with a reason. A rate of 0 is as fast as the sender
//! can.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "its report")]
#![expect(clippy::cast_precision_loss, reason = "figures of a report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

/// Datagrams a second that the receiver has to sustain.
const REQUIRED: u64 = 20_000;
/// Clock ticks of `/proc/PID/stat` in a second, on every Linux that there is.
const TICKS: f64 = 100.0;

#[derive(Parser)]
struct Arguments {
    /// Datagrams a second; 0: no limit. Both 20 000 and 0 where none is given.
    #[arg(long)]
    rate: Vec<u64>,
    /// Seconds of load.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let rates = if arguments.rate.is_empty() { vec![REQUIRED, 0] } else { arguments.rate };
    for rate in rates {
        let report = measure(rate, Duration::from_secs(arguments.seconds));
        println!("{report}");
    }
}

/// The program, ended with the bench.
struct Skep(Child);

impl Drop for Skep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn measure(rate: u64, time: Duration) -> String {
    let (port, metrics) = (free_port(), free_port());
    let config = format!(
        "yaml:receivers:\n  awsxray: {{endpoint: \"127.0.0.1:{port}\", proxy_server: {{mode: local}}}}\n\
         processors: {{batch: }}\nexporters: {{nop: }}\nservice:\n  telemetry:\n    logs: {{level: error}}\n    \
         metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}\n  \
         pipelines: {{traces: {{receivers: [awsxray], processors: [batch], exporters: [nop]}}}}\n"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--config", &config]).stdout(Stdio::null());
    let skep = Skep(command.spawn().unwrap());
    wait(|| [port, metrics].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));
    let pid = skep.0.id();
    let before = cpu(pid);
    let began = Instant::now();
    let sent = send(port, rate, time);
    let took = began.elapsed().as_secs_f64();
    let count = |series: &str| metric(metrics, &format!("{series}{{receiver=\"awsxray\""));
    let dropped = |reason: &str| {
        let name = "skep_receiver_dropped_datagrams";
        metric(metrics, &format!("{name}{{receiver=\"awsxray\",reason=\"{reason}\"}}"))
    };
    wait(|| count("skep_receiver_datagrams") + dropped("kernel") >= sent);
    let [budget, kernel, malformed, queue] =
        ["budget", "kernel", "malformed", "queue"].map(dropped);
    let taken = count("skep_receiver_datagrams") - budget - malformed - queue;
    wait(|| count("otelcol_receiver_accepted_spans") >= taken * 3);
    let used = cpu(pid) - before;
    let named = if rate == 0 { "no limit".to_owned() } else { format!("{rate} a second") };
    format!(
        "{named}: sent {sent} of {} bytes in {took:.1} s ({:.0} a second); taken {taken}, lost in \
         the kernel {kernel}, for want of memory {budget}, of room {queue}, malformed {malformed}; \
         CPU {:.2} s per million taken, {:.0} % of a core; peak {} MiB; buffer {} KiB",
        datagram(0).len(),
        sent as f64 / took,
        used * 1e6 / taken as f64,
        used / took * 100.0,
        peak(pid),
        count("skep_receiver_socket_buffer_bytes") / 1024,
    )
}

/// Sends for a time, evenly by the millisecond; gives the number.
fn send(port: u16, rate: u64, time: Duration) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let datagrams: Vec<String> = (0..1000).map(datagram).collect();
    let began = Instant::now();
    let mut sent = 0;
    for datagram in datagrams.iter().cycle() {
        let elapsed = began.elapsed();
        if elapsed >= time {
            break;
        }
        let due = u64::try_from(elapsed.as_millis()).unwrap() * rate / 1000;
        if rate > 0 && sent >= due {
            thread::sleep(Duration::from_micros(500));
            continue;
        }
        socket.send(datagram.as_bytes()).unwrap();
        sent += 1;
    }
    sent
}

fn datagram(number: usize) -> String {
    let (trace, id) = (number + 0x1000, number + 0x2000);
    let head = "{\"format\":\"json\",\"version\":1}\n";
    let sub = |digit: char, name: &str, rest: &str| {
        format!(
            "{{\"id\":\"{digit}{id:015x}\",\"name\":\"{name}\",\"start_time\":1760600498.3,\
             \"end_time\":1760600498.4,\"in_progress\":false,\"namespace\":\"remote\",{rest}}}"
        )
    };
    let sql = "\"sql\":{\"url\":\"postgresql://db.test:5432/shop\",\"database_type\":\"PostgreSQL\",\
        \"sanitized_query\":\"select * from carts where id = ?\"}";
    let http = "\"http\":{\"request\":{\"method\":\"GET\",\"url\":\"http://users.test/v1\"},\
        \"response\":{\"status\":200,\"content_length\":512}}";
    format!(
        "{head}{{\"trace_id\":\"1-68f0a1b2-{trace:024x}\",\"id\":\"a{id:015x}\",\"name\":\"backend-flask\",\
         \"start_time\":1760600498.25,\"end_time\":1760600498.5,\"in_progress\":false,\"http\":{{\"request\":\
         {{\"url\":\"http://shop.test/api/activities/{number}\",\"method\":\"GET\",\"user_agent\":\
         \"Mozilla/5.0 (X11; Linux x86_64)\",\"client_ip\":\"203.0.113.5\"}},\"response\":{{\"status\":200,\
         \"content_length\":1024}}}},\"aws\":{{\"xray\":{{\"sdk\":\"X-Ray for Python\",\"sdk_version\":\"2.15.0\",\
         \"sampling_rule_name\":\"Default\"}}}},\"service\":{{\"runtime\":\"CPython\",\"runtime_version\":\
         \"3.12.0\"}},\"annotations\":{{\"user\":\"user {number}\"}},\"subsegments\":[{},{}]}}",
        sub('b', "db", sql),
        sub('c', "users.test", http),
    )
}

fn wait(mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(30), "it did not happen in time");
        thread::sleep(Duration::from_millis(20));
    }
}

/// CPU seconds of a process so far.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}

/// Most resident memory of a process in MiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The first number of a series on the metrics page.
fn metric(port: u16, series: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let line = page.lines().find(|line| line.starts_with(series));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in {page}"))
}
