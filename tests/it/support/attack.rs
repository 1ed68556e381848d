//! The program under attack, and a good client beside the attack.
#![expect(clippy::print_stdout, reason = "what was seen belongs to the result")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tonic::transport::Endpoint;

use crate::support::{Skep, free_port, wait_for, watch::Watch};

/// The byte budget, and what the process may need beside it.
const BUDGET_MIB: u64 = 64;
const BESIDE_MIB: u64 = 30;
/// Of the headers of a request, and of a connection that asks for nothing.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// A machine that is busy with other things may take so much longer.
pub(crate) const SLACK: Duration = Duration::from_secs(20);
/// Longest time for a good client's request. It is a limit for a machine that is busy with other
/// things: a client that an attack keeps out waits for ever.
const LATENCY: Duration = Duration::from_secs(25);
/// Requests that good clients have answered before an attack counts as survived.
const GOOD: usize = 20;

static TURN: Mutex<()> = Mutex::new(());

pub(crate) const POST: &str =
    "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
/// Preface of HTTP/2 and empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// POST, http, `/`, authority `x`.
pub(crate) const HEADERS: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];

pub(crate) fn traces(name: &str) -> ExportTraceServiceRequest {
    let span = Span { name: name.to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// The program under attack.
pub(crate) struct Server {
    pub(crate) skep: Skep,
    pub(crate) grpc: u16,
    pub(crate) http: u16,
    page: u16,
    pub(crate) tls: u16,
}

/// How the program is started.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// What a shell does before: limits.
    pub(crate) before: &'a str,
    /// No `memory_limiter` that refuses at once: requests wait for the budget.
    pub(crate) waits_for_memory: bool,
    /// `tls` of the port of gRPC's receiver that is not used by the good client.
    pub(crate) tls: &'a str,
}

impl Server {
    fn start(setup: &Setup<'_>) -> Self {
        let (grpc, http, page, tls) = (free_port(), free_port(), free_port(), free_port());
        let (batch, processors) = if setup.waits_for_memory {
            ("  batch: {}\n", "batch, memory_limiter")
        } else {
            ("", "memory_limiter")
        };
        let (encrypted, receivers) = match setup.tls {
            "" => (String::new(), "otlp"),
            files => (
                format!(
                    "  otlp/tls: {{protocols: {{http: {{endpoint: '127.0.0.1:{tls}', \
                     read_header_timeout: 1s, tls: {files}}}}}}}\n"
                ),
                "otlp, otlp/tls",
            ),
        };
        let config = format!(
            "receivers:
{encrypted}  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', max_recv_msg_size_mib: 20}}
      http: {{endpoint: '127.0.0.1:{http}', read_header_timeout: 1s, read_timeout: 6s}}
processors:
{batch}  memory_limiter: {{check_interval: 1s, limit_mib: {BUDGET_MIB}}}
exporters: {{nop: {{}}}}
service:
  telemetry:
    logs: {{level: error}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [{receivers}], processors: [{processors}], exporters: [nop]}}
"
        );
        let mut ports = vec![grpc, http, page];
        ports.extend((!setup.tls.is_empty()).then_some(tls));
        let skep = if setup.before.is_empty() {
            Skep::start(&config, &ports)
        } else {
            let mut command = Command::new("sh");
            let run = format!("{}; exec \"$0\" \"$@\"", setup.before);
            command.args(["-c", &run, env!("CARGO_BIN_EXE_skep")]);
            command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
            Skep::run(command, &ports)
        };
        Server { skep, grpc, http, page, tls }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.http)
    }

    /// Requests that were refused, over both protocols.
    pub(crate) fn rejected(&self) -> u64 {
        let mut stream = connect(self.page);
        let head = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let lines = page.lines().filter(|l| l.starts_with("skep_receiver_rejected_requests{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What a good client saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answered: usize,
    /// Told to come back, and did.
    pub(crate) put_off: usize,
    pub(crate) slowest: Duration,
    pub(crate) errors: Vec<String>,
}

impl Seen {
    fn note(&mut self, begin: Instant, result: Result<bool, String>) {
        match result {
            Ok(true) => {
                self.answered += 1;
                self.slowest = self.slowest.max(begin.elapsed());
            }
            Ok(false) => self.put_off += 1,
            Err(error) => self.errors.push(error),
        }
    }
}

/// Sends over a connection of gRPC that stays, and over a new one of HTTP/1.1 for each request.
fn good_client(server: &Server, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", server.grpc)).unwrap();
        let mut client = TraceServiceClient::new(endpoint.connect().await.unwrap());
        while !stop.load(Ordering::SeqCst) {
            let begin = Instant::now();
            let result = match client.export(traces("good")).await {
                Ok(_) => Ok(true),
                Err(status)
                    if status.code() == tonic::Code::Unavailable
                        && !status.details().is_empty() =>
                {
                    Ok(false)
                }
                Err(status) => Err(status.to_string()),
            };
            seen.lock().unwrap().note(begin, result);
            let begin = Instant::now();
            let result = by_http(server.http, POST, &traces("good").encode_to_vec());
            let result = match result {
                Ok(200) => Ok(true),
                Ok(503) => Ok(false),
                other => Err(format!("{other:?}")),
            };
            seen.lock().unwrap().note(begin, result);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// Sends one request over a connection of its own; the status.
pub(crate) fn by_http(port: u16, head: &str, body: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let len = body.len();
    let head = format!("{head}content-length: {len}\r\nconnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    status(&mut stream)
}

/// The status of an answer of HTTP/1.1; the connection is read to its end.
pub(crate) fn status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let code = text.get(9..12).and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::other(format!("no answer: {text:.80}")))
}

/// Runs an attack beside a good client, and checks that nothing came of it.
pub(crate) fn survive(attack: impl FnOnce(&Server)) -> Seen {
    survive_as(&Setup::default(), |server, _| attack(server))
}

/// The same with a setup, and for an attack that looks at the good client.
pub(crate) fn survive_as(setup: &Setup<'_>, attack: impl FnOnce(&Server, &Mutex<Seen>)) -> Seen {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(setup);
    let watch = Watch::start(&server.skep);
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        scope.spawn(|| good_client(&server, &stop, &seen));
        let answered = || seen.lock().unwrap().answered;
        wait_for("a good client", || answered() > 2);
        let ends = StopAtEnd(&stop);
        attack(&server, &seen);
        let before = answered();
        wait_for("good clients to go on", || answered() >= before + GOOD);
        drop(ends);
    });
    let (peak, bound) = (watch.peak_mib(), BUDGET_MIB + BESIDE_MIB);
    let seen = seen.into_inner().unwrap();
    println!(
        "{peak} MiB, {} answered, {} put off, slowest {:?}",
        seen.answered, seen.put_off, seen.slowest
    );
    assert!(peak <= bound, "{peak} MiB at most where {bound} are allowed");
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    assert!(seen.slowest < LATENCY, "{:?}", seen.slowest);
    assert!(server.skep.stop());
    seen
}

/// Ends the good client also where the attack fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until the other side ends a connection; what it said before.
pub(crate) fn ended(stream: &mut TcpStream, within: Duration) -> Vec<u8> {
    let (begin, mut said) = (Instant::now(), Vec::new());
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut said);
    assert!(
        begin.elapsed() < within,
        "it took {:?} where {within:?} were allowed",
        begin.elapsed()
    );
    said
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a call of gRPC.
pub(crate) fn call_head() -> Vec<u8> {
    let path = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let mut block = vec![0x83, 0x86, 0x41, 1, b'x', 0x44, u8::try_from(path.len()).unwrap()];
    block.extend(path);
    for (name, value) in [(&b"content-type"[..], &b"application/grpc"[..]), (b"te", b"trailers")] {
        block.push(0);
        block.push(u8::try_from(name.len()).unwrap());
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value);
    }
    block
}

/// A call of gRPC over HTTP/2 by hand: its head, then a prefix that announces `len`.
pub(crate) fn slow_call(port: u16, len: u32) -> TcpStream {
    let mut stream = connect(port);
    let prefix = [&[0][..], &len.to_be_bytes()].concat();
    let frames = [PREFACE, &frame(1, 4, 1, &call_head()), &frame(0, 0, 1, &prefix)].concat();
    stream.write_all(&frames).unwrap();
    stream
}

/// Raises the limit of open files where that is allowed; what it is then.
pub(crate) fn open_files(wanted: u64) -> u64 {
    let pid = std::process::id().to_string();
    let limit = || {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers = line.split_whitespace().skip(3).map(|n| n.parse().unwrap_or(u64::MAX));
        let both: Vec<u64> = numbers.take(2).collect();
        (both[0], both[1])
    };
    let (soft, hard) = limit();
    if soft < wanted {
        let new = format!("--nofile={}:{hard}", wanted.min(hard));
        let _ = Command::new("prlimit").args(["--pid", &pid, &new]).status();
    }
    limit().0
}
