//! Connections that are held open, half open or flooded: descriptors, seats, announced bodies,
//! answers that cannot leave, frames without requests, TLS. As in `hostile_clients`, memory stays
//! within the budget and a bound, and good clients beside them go on without an error.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::pem::PemObject as _};

use crate::support::{
    attack::{
        HEADER_TIMEOUT, HEADERS, POST, PREFACE, SLACK, Seen, Setup, call_head, connect, ended,
        frame, open_files, slow_call, survive, survive_as,
    },
    authority::Authority,
    wait_for,
};

/// Waits for so many more answers to the good client.
fn goes_on(seen: &Mutex<Seen>, answers: usize) {
    let answered = || seen.lock().unwrap().answered;
    let before = answered();
    wait_for("the good client to go on", || answered() >= before + answers);
}

#[test]
fn silent_connections_leave_descriptors_to_others() {
    const DESCRIPTORS: usize = 256;
    open_files(2000);
    let setup = Setup { before: "ulimit -n 256", ..Setup::default() };
    survive_as(&setup, |server, seen| {
        let silent: Vec<TcpStream> = (0..600).map(|_| server.connect()).collect();
        goes_on(seen, 20);
        let open = fs::read_dir(format!("/proc/{}/fd", server.skep.0.id())).unwrap().count();
        assert!(open < DESCRIPTORS - 20, "{open} are open");
        drop(silent);
    });
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let setup = Setup { before: "ulimit -Sn 128", ..Setup::default() };
    survive_as(&setup, |server, _| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.skep.0.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
        assert_eq!(numbers[0], numbers[1], "{line}");
    });
}

#[test]
fn announced_bodies_hold_what_was_sent() {
    let setup = Setup { waits_for_memory: true, ..Setup::default() };
    let seen = survive_as(&setup, |server, seen| {
        let announced = format!("{POST}content-length: 19000000\r\n\r\n");
        let mut held: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
        for (i, stream) in held.iter_mut().enumerate() {
            let sent = if i < 4 { 1 } else { 100_000 };
            stream.write_all(&[announced.as_bytes(), &vec![0; sent]].concat()).unwrap();
        }
        held.extend((0..8).map(|_| slow_call(server.grpc, 19_000_000)));
        goes_on(seen, 20);
    });
    assert_eq!(seen.put_off, 0);
}

#[test]
fn half_open_connections_that_come_again_do_not_keep_newcomers_out() {
    open_files(2000);
    survive_as(&Setup::default(), |server, seen| {
        let answered = || seen.lock().unwrap().answered;
        let (before, begin, mut held) = (answered(), Instant::now(), Vec::new());
        while answered() < before + 20 {
            assert!(begin.elapsed() < Duration::from_mins(1), "a good client is kept out");
            while held.len() < 600 {
                let mut stream = server.connect();
                let _ = stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n");
                held.push(stream);
            }
            held.retain_mut(|stream| stream.write_all(b"x-a: b\r\n").is_ok());
            thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn a_client_that_takes_no_answers_is_closed() {
    survive(|server| {
        // SETTINGS_INITIAL_WINDOW_SIZE 0.
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let calls = |i: u32| {
            let stream = 2 * i + 1;
            [frame(1, 4, stream, &call_head()), frame(0, 1, stream, &[0; 5])].concat()
        };
        let calls: Vec<u8> = (0..8).flat_map(calls).collect();
        let mut streams: Vec<TcpStream> = (0..100).map(|_| connect(server.grpc)).collect();
        for stream in &mut streams {
            let preface = &PREFACE[..24];
            stream.write_all(&[preface, &settings, &calls].concat()).unwrap();
        }
        for stream in &mut streams {
            ended(stream, Duration::from_secs(15) + SLACK);
        }
    });
}

/// Writes frames until the other side ends the connection; whether it did, maybe a little later.
fn flood(port: u16, first: &[u8], next: impl FnMut(u32) -> Vec<u8>) -> bool {
    pour(port, first, SLACK, next)
}

/// The same with a time to wait for the end.
fn pour(port: u16, first: &[u8], patience: Duration, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
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
    let written = Instant::now();
    while !is_cut && written.elapsed() < patience {
        thread::sleep(Duration::from_millis(10));
        is_cut = closed.is_finished();
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
        // Frames that are no request.
        assert!(flood(port, &[], |_| frame(6, 0, 0, &[7; 8])), "PING");
        assert!(flood(port, &[], |_| frame(6, 1, 0, &[7; 8])), "answers to no PING");
        assert!(flood(port, &[], |_| frame(4, 0, 0, &[])), "SETTINGS");
        assert!(flood(port, &[], |_| frame(8, 0, 0, &1u32.to_be_bytes())), "WINDOW_UPDATE");
        let priority = |i: u32| frame(2, 0, 2 * i + 1, &[0, 0, 0, 0, 1]);
        assert!(flood(port, &[], priority), "PRIORITY");
        assert!(flood(port, &[], |_| frame(99, 0, 0, b"unknown")), "unknown frames");
        // More streams at a time than are allowed, and none of them ends.
        pour(port, &[], Duration::ZERO, |i| frame(1, 4, 2 * i + 1, HEADERS));
        // Empty data without end.
        let begin = frame(1, 4, 1, HEADERS);
        assert!(flood(port, &begin, |_| frame(0, 0, 1, &[])), "empty DATA");
    });
}

/// A folder with certificates, and `tls` of a receiver that has them.
fn certificates() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    Authority::new().write(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!("{{cert_file: {}, key_file: {}}}", file("cert.pem"), file("key.pem"));
    (folder, tls)
}

fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// The first message of a client.
fn hello() -> Vec<u8> {
    let config = client_config(RootCertStore::empty());
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn hellos_without_end_hold_up_nobody() {
    open_files(2000);
    let (_folder, tls) = certificates();
    let hello = hello();
    survive_as(&Setup { tls: &tls, ..Setup::default() }, |server, seen| {
        let answered = || seen.lock().unwrap().answered;
        let (before, begin, mut held) = (answered(), Instant::now(), Vec::new());
        while answered() < before + 20 {
            assert!(begin.elapsed() < Duration::from_mins(1), "a good client is kept out");
            while held.len() < 600 {
                let mut stream = connect(server.tls);
                let _ = stream.write_all(&hello);
                stream.set_nonblocking(true).unwrap();
                held.push(stream);
            }
            // Reads what came; who was closed comes again.
            held.retain_mut(|stream| !matches!(stream.read(&mut [0; 4096]), Ok(0)));
            thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn handshakes_that_do_not_end_have_a_time_limit() {
    let (_folder, tls) = certificates();
    survive_as(&Setup { tls: &tls, ..Setup::default() }, |server, _| {
        // A record that announces a handshake, the beginning of a ClientHello, and one by bytes.
        let begun: [&[u8]; 3] = [&[22, 3, 1], &[22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3], &[22]];
        let mut streams = Vec::new();
        for i in 0..300 {
            let mut stream = connect(server.tls);
            let _ = stream.write_all(begun[i % begun.len()]);
            streams.push(stream);
        }
        for stream in &mut streams {
            ended(stream, HEADER_TIMEOUT * 2 + SLACK);
        }
    });
}

#[test]
fn new_keys_without_end_end_the_connection() {
    let (folder, tls) = certificates();
    let mut roots = RootCertStore::empty();
    let authority = fs::read(folder.path().join("ca.pem")).unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let config = client_config(roots);
    survive_as(&Setup { tls: &tls, ..Setup::default() }, |server, _| {
        for _ in 0..20 {
            let name = "localhost".try_into().unwrap();
            let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut stream = connect(server.tls);
            while client.is_handshaking() {
                client.complete_io(&mut stream).unwrap();
            }
            let is_cut = (0..10_000).any(|_| {
                client.refresh_traffic_keys().unwrap();
                client.write_tls(&mut stream).is_err()
            });
            if !is_cut {
                ended(&mut stream, HEADER_TIMEOUT * 2 + SLACK);
            }
        }
    });
}
