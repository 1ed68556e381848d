//! Clients that mean no good, or no longer know what they do: slow ones, silent ones, thousands of
//! them, bombs, floods of headers and frames, garbage. Each meets the whole program with a budget of
//! [`BUDGET_MIB`]; in each case the memory stays within it and a fixed bound, connections end within
//! their time, what was a request is counted, and good clients beside them go on without an error.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was seen belongs to the result")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/watch.rs"]
mod watch;

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

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::net::codec::{Compression, deflate};
use support::{Skep, free_port, wait_for};
use tonic::transport::Endpoint;
use watch::Watch;

/// The byte budget, and what the process may need beside it.
const BUDGET_MIB: u64 = 64;
const BESIDE_MIB: u64 = 30;
/// Of the headers of a request, and of a connection that asks for nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// A machine that is busy with other things may take so much longer.
const SLACK: Duration = Duration::from_secs(8);
/// Longest time for a good client's request.
const LATENCY: Duration = Duration::from_secs(5);
/// Requests that good clients have answered before an attack counts as survived.
const GOOD: usize = 20;

static TURN: Mutex<()> = Mutex::new(());

const POST: &str =
    "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
/// Preface of HTTP/2 and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// POST, http, `/`, authority `x`.
const HEADERS: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];

fn traces(name: &str) -> ExportTraceServiceRequest {
    let span = Span { name: name.to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// The program under attack.
struct Server {
    skep: Skep,
    grpc: u16,
    http: u16,
    page: u16,
}

impl Server {
    fn start() -> Self {
        let (grpc, http, page) = (free_port(), free_port(), free_port());
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', max_recv_msg_size_mib: 20}}
      http: {{endpoint: '127.0.0.1:{http}', read_header_timeout: 1s, read_timeout: 6s}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {BUDGET_MIB}}}
exporters: {{nop: {{}}}}
service:
  telemetry:
    logs: {{level: error}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [nop]}}
"
        );
        Server { skep: Skep::start(&config, &[grpc, http, page]), grpc, http, page }
    }

    fn connect(&self) -> TcpStream {
        connect(self.http)
    }

    /// Requests that were refused, over both protocols.
    fn rejected(&self) -> u64 {
        let mut stream = connect(self.page);
        let head = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let lines = page.lines().filter(|l| l.starts_with("skep_receiver_rejected_requests{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What a good client saw.
#[derive(Default)]
struct Seen {
    answered: usize,
    /// Told to come back, and did.
    put_off: usize,
    slowest: Duration,
    errors: Vec<String>,
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
fn by_http(port: u16, head: &str, body: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let len = body.len();
    let head = format!("{head}content-length: {len}\r\nconnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    status(&mut stream)
}

/// The status of an answer of HTTP/1.1; the connection is read to its end.
fn status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let code = text.get(9..12).and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::other(format!("no answer: {text:.80}")))
}

/// Runs an attack beside a good client, and checks that nothing came of it.
fn survive(attack: impl FnOnce(&Server)) -> Seen {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let watch = Watch::start(&server.skep);
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        scope.spawn(|| good_client(&server, &stop, &seen));
        let answered = || seen.lock().unwrap().answered;
        wait_for("a good client", || answered() > 2);
        let ends = StopAtEnd(&stop);
        attack(&server);
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
fn ended(stream: &mut TcpStream, within: Duration) -> Vec<u8> {
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

/// Writes a byte now and then until nobody listens any more, or for long enough.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let begin = Instant::now();
    for byte in bytes.iter().cycle() {
        thread::sleep(Duration::from_millis(50));
        if stream.write_all(&[*byte]).is_err() {
            return false;
        }
        if begin.elapsed() > Duration::from_secs(20) {
            break;
        }
    }
    true
}

#[test]
fn headers_that_come_byte_by_byte_have_a_time_limit() {
    survive(|server| {
        thread::scope(|scope| {
            for _ in 0..100 {
                let mut stream = server.connect();
                scope.spawn(move || {
                    stream.write_all(b"POST /v1/traces HTTP/1.1\r\nx-slow: ").unwrap();
                    let begin = Instant::now();
                    drip(&mut stream, b"abc");
                    assert!(begin.elapsed() < HEADER_TIMEOUT + SLACK, "{:?}", begin.elapsed());
                });
            }
        });
    });
}

/// A message of gRPC over HTTP/2 by hand: headers of a call, then a prefix that announces `len`.
fn slow_call(port: u16, len: u32) -> TcpStream {
    let mut stream = connect(port);
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
    let prefix = [&[0][..], &len.to_be_bytes()].concat();
    let frames = [PREFACE, &frame(1, 4, 1, &block), &frame(0, 0, 1, &prefix)].concat();
    stream.write_all(&frames).unwrap();
    stream
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn bodies_that_come_byte_by_byte_do_not_hold_what_they_announced() {
    const SLOW: u64 = 6;
    survive(|server| {
        let before = server.rejected();
        thread::scope(|scope| {
            for i in 0..SLOW {
                scope.spawn(move || {
                    let begin = Instant::now();
                    if i % 2 == 0 {
                        let mut stream = server.connect();
                        let head = format!("{POST}content-length: 8000000\r\n\r\n");
                        stream.write_all(head.as_bytes()).unwrap();
                        assert!(!drip(&mut stream, b"\x0A"), "it was not cut off");
                        // A sixth of `read_timeout`, and five seconds for a client that reads late.
                        assert!(begin.elapsed() < Duration::from_secs(6) + SLACK);
                    } else {
                        let mut stream = slow_call(server.grpc, 8_000_000);
                        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                        // UNAVAILABLE comes as headers of stream 1.
                        let mut said = Vec::new();
                        let mut buffer = [0; 1024];
                        while !said.windows(4).any(|four| four == [0, 0, 0, 1]) {
                            let read = stream.read(&mut buffer).unwrap();
                            assert!(read > 0, "closed without an answer");
                            said.extend_from_slice(&buffer[..read]);
                        }
                        assert!(begin.elapsed() < Duration::from_secs(5) + SLACK);
                    }
                });
            }
        });
        wait_for("the counters", || server.rejected() >= before + SLOW);
    });
}

#[test]
fn connections_that_ask_for_nothing_end_in_their_time() {
    survive(|server| {
        let begun: [&[u8]; 6] = [
            b"",
            b"P",
            b"POST /v1/traces HTTP/1.1\r\n",
            b"PRI",
            PREFACE,
            // Headers that do not end.
            &[PREFACE, &frame(1, 0, 1, HEADERS)].concat(),
        ];
        let mut streams = Vec::new();
        for bytes in begun {
            for _ in 0..10 {
                let mut stream = server.connect();
                stream.write_all(bytes).unwrap();
                streams.push(stream);
            }
        }
        for stream in &mut streams {
            // HTTP/2 has five seconds more, in which it says that it ends.
            ended(stream, HEADER_TIMEOUT + Duration::from_secs(5) + SLACK);
        }
    });
}

/// Raises the limit of open files where that is allowed; what it is then.
fn open_files(wanted: u64) -> u64 {
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

#[test]
fn thousands_of_idle_connections_cost_little() {
    const WANTED: usize = 10_000;
    let files = usize::try_from(open_files(WANTED as u64 + 500)).unwrap_or(usize::MAX);
    let count = WANTED.min(files.saturating_sub(500));
    if count < WANTED {
        println!("only {count} idle connections: the limit of open files is {files}");
    }
    survive(|server| {
        // Silent ones, some that began, some that were served.
        let served = format!("{POST}content-length: 0\r\n\r\n");
        let begun: [&[u8]; 4] = [b"", b"POST / HTTP/1.1\r\nhost: x", PREFACE, served.as_bytes()];
        let idle: Vec<TcpStream> = (0..count)
            .map(|i| {
                let mut stream = server.connect();
                // The server may have ended it for a newer one.
                let _ = stream.write_all(begun[i % begun.len()]);
                stream
            })
            .collect();
        let folder = format!("/proc/{}/fd", server.skep.0.id());
        let open = fs::read_dir(folder).unwrap().count();
        println!("{count} connections, {open} open files");
        assert!(open < 1000, "{open} are open");
        drop(idle);
    });
}

#[test]
fn bombs_of_every_codec_are_paid_for() {
    let all = [
        Compression::Gzip,
        Compression::Zlib,
        Compression::Zstd,
        Compression::Snappy,
        Compression::SnappyFramed,
        Compression::Lz4,
    ];
    // One is above the limit of 20 MiB; the other one is a request of 19 MiB.
    let above = Bytes::from(vec![0; 64 << 20]);
    let below = Bytes::from(traces(&"x".repeat(19 << 20)).encode_to_vec());
    let seen = survive(|server| {
        for codec in all {
            let encoding = format!("{POST}content-encoding: {}\r\n", codec.name());
            let bombs = [&above, &below].map(|plain| {
                let small = deflate(codec, None, &[Bytes::clone(plain)]).unwrap();
                assert!(small.len() < 4 << 20, "{codec:?}: {}", small.len());
                small
            });
            let before = server.rejected();
            assert_eq!(by_http(server.http, &encoding, &bombs[0]).unwrap(), 400, "{codec:?}");
            assert_eq!(server.rejected(), before + 1, "{codec:?}");
            thread::scope(|scope| {
                for i in 0..12 {
                    let (encoding, bomb) = (&encoding, &bombs[i % 2]);
                    scope.spawn(move || {
                        let answer = by_http(server.http, encoding, bomb).unwrap();
                        let expected: &[u16] = if i % 2 == 0 { &[400, 503] } else { &[200, 503] };
                        assert!(expected.contains(&answer), "{codec:?}: {answer}");
                    });
                }
            });
        }
    });
    println!("good clients were put off {} times", seen.put_off);
}

#[test]
fn bombs_of_json_are_paid_for() {
    // Two characters for a number of eight bytes, and objects that hold nothing.
    let numbers = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{"dataPoints":[{{"bucketCounts":[{}0]}}]}}}}]}}]}}]}}"#,
        "0,".repeat(9 << 20)
    );
    let objects = format!(r#"{{"resourceSpans":[{}{{}}]}}"#, "{},".repeat(6 << 20));
    let text = format!(r#"{{"resourceSpans":[{{"x":"{}"}}]}}"#, r"\u0041".repeat(3 << 20));
    survive(|server| {
        let json = POST.replace("x-protobuf", "json");
        thread::scope(|scope| {
            for body in [&numbers, &objects, &text, &numbers, &objects, &text] {
                let head = if body.contains("resourceMetrics") {
                    json.replace("traces", "metrics")
                } else {
                    json.clone()
                };
                scope.spawn(move || {
                    let answer = by_http(server.http, &head, body.as_bytes()).unwrap();
                    assert!([200, 400, 404, 503].contains(&answer), "{answer}");
                });
            }
        });
    });
}

#[test]
fn many_tiny_members_and_frames_take_no_longer_than_their_bytes() {
    let empty = |codec| deflate(codec, None, &[Bytes::new()]).unwrap();
    survive(|server| {
        for codec in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let one = empty(codec);
            let body = one.repeat((4 << 20) / one.len());
            let encoding = format!("{POST}content-encoding: {}\r\n", codec.name());
            let begin = Instant::now();
            let answer = by_http(server.http, &encoding, &body);
            println!("{codec:?}: {answer:?} after {:?}", begin.elapsed());
            assert!(begin.elapsed() < SLACK, "{codec:?}: {:?}", begin.elapsed());
        }
    });
}

#[test]
fn floods_of_headers_are_refused() {
    survive(|server| {
        let many = format!("{POST}{}\r\n", "x-many: y\r\n".repeat(5000));
        let huge = format!("{POST}x-huge: {}\r\n\r\n", "y".repeat(4 << 20));
        let path = format!("POST /{} HTTP/1.1\r\n\r\n", "y".repeat(4 << 20));
        for head in [many, huge, path] {
            for _ in 0..20 {
                let mut stream = server.connect();
                let _ = stream.write_all(head.as_bytes());
                let said = ended(&mut stream, SLACK);
                let text = String::from_utf8_lossy(&said);
                // Who writes on while he is refused may see the reset first.
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
            }
        }
    });
}

/// Writes frames until the other side ends the connection; whether it did.
fn flood(port: u16, first: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let mut stream = connect(port);
    let mut reader = stream.try_clone().unwrap();
    let closed = thread::spawn(move || {
        let mut said = Vec::new();
        let _ = reader.read_to_end(&mut said);
    });
    stream.write_all(&[PREFACE, first].concat()).unwrap();
    let mut is_cut = false;
    for i in 0..2000 {
        let frames: Vec<u8> = (0..50).flat_map(|j| next(i * 50 + j)).collect();
        if stream.write_all(&frames).is_err() || closed.is_finished() {
            is_cut = true;
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    closed.join().unwrap();
    is_cut
}

#[test]
fn floods_of_frames_end_their_connection_or_cost_nothing() {
    survive(|server| {
        let port = server.grpc;
        let filler = [0x40, 1, b'x', 100].into_iter().chain([b'y'; 100]).collect::<Vec<u8>>();
        // Header blocks that never end, with and without bytes in them.
        let endless = frame(1, 0, 1, HEADERS);
        assert!(flood(port, &endless, |_| frame(9, 0, 1, &filler)), "CONTINUATION");
        assert!(flood(port, &endless, |_| frame(9, 0, 1, &[])), "empty CONTINUATION");
        // Requests that are taken back at once.
        let taken_back = |i: u32| {
            let stream = 2 * i + 1;
            [frame(1, 4, stream, HEADERS), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
        };
        assert!(flood(port, &[], taken_back), "RST_STREAM");
        // Frames for a stream that needs no answer, and such that do.
        let ping = flood(port, &[], |_| frame(6, 0, 0, &[7; 8]));
        let settings = flood(port, &[], |_| frame(4, 0, 0, &[]));
        let window = flood(port, &[], |_| frame(8, 0, 0, &1u32.to_be_bytes()));
        let priority = flood(port, &[], |i| frame(2, 0, 2 * i + 1, &[0, 0, 0, 0, 1]));
        println!(
            "ended: pings {ping}, settings {settings}, windows {window}, priorities {priority}"
        );
        // More streams at a time than are allowed, and none of them ends.
        flood(port, &[], |i| frame(1, 4, 2 * i + 1, HEADERS));
        // Empty data without end.
        let begin = frame(1, 4, 1, HEADERS);
        assert!(flood(port, &begin, |_| frame(0, 0, 1, &[])), "empty DATA");
    });
}

#[test]
fn what_is_no_request_ends_its_connection_or_is_refused() {
    let grpc = |head: &[u8]| [PREFACE, head].concat();
    let cases: Vec<Vec<u8>> = vec![
        b"\0\0\0\0\0\0\0\0".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"POST /v1/traces HTTP/9.9\r\n\r\n".to_vec(),
        format!("{POST}content-length: -1\r\n\r\n").into(),
        format!("{POST}content-length: 1\r\ncontent-length: 2\r\n\r\n").into(),
        format!("{POST}content-length: 18446744073709551616\r\n\r\n").into(),
        format!("{POST}content-length: 99999999999\r\n\r\n").into(),
        format!("{POST}transfer-encoding: chunked\r\n\r\nzz\r\n").into(),
        format!("{POST}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into(),
        [b"POST / HTTP/1.1\r\nx: \0\r\n\r\n".to_vec(), vec![0xFF; 100]].concat(),
        vec![22, 3, 1, 255, 255, 1, 0, 0, 0],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        grpc(&frame(1, 4, 2, HEADERS)),
        grpc(&frame(1, 4, 1, &[0xFF; 30])),
        grpc(&frame(0, 0, 1, b"data of no stream")),
        grpc(&frame(4, 0, 0, &[0; 5])),
        grpc(&frame(9, 4, 1, HEADERS)),
        grpc(&[0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1]),
        grpc(&frame(8, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF])),
    ];
    survive(|server| {
        for bytes in &cases {
            for port in [server.http, server.grpc] {
                let mut stream = connect(port);
                stream.write_all(bytes).unwrap();
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let said = ended(&mut stream, SLACK);
                let text = String::from_utf8_lossy(&said);
                assert!(!text.starts_with("HTTP/1.1 2"), "{bytes:?}: {text}");
            }
        }
    });
}
