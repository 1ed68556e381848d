//! Malicious and broken clients: slow ones, silent ones, thousands of
//! them, bombs, floods of headers and frames, garbage. Each meets the whole program with a budget
//! of 64 MiB; in each case the memory stays within it and a fixed bound, connections end within
//! their time, what was a request is counted, and good clients beside them go on without an error.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message as _;
use skep::net::codec::{Compression, deflate};

use crate::support::{
    attack::{
        HEADER_TIMEOUT, HEADERS, POST, PREFACE, SLACK, by_http, connect, ended, frame, open_files,
        slow_call, survive, traces,
    },
    wait_for,
};

/// Writes a byte now and then until nobody listens any more, or for long enough.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let begin = Instant::now();
    for byte in bytes.iter().cycle() {
        thread::sleep(Duration::from_millis(50));
        if stream.write_all(&[*byte]).is_err() {
            return false;
        }
        if begin.elapsed() > 2 * SLACK {
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
                        stream.set_read_timeout(Some(2 * SLACK)).unwrap();
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
        // 256 seats, four newcomers for each, and those that are being closed.
        assert!(open < 2000, "{open} are open");
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
                // A client that writes on while it is refused may see the reset first.
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
            }
        }
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
