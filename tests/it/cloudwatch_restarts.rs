//! The receiver `awscloudwatchlogs` with a journal, killed and started again under load: whatever a
//! client was told is taken arrives at the backend.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    cloudwatch_clients::{OWN, arrived, body, client, events, python},
    support::{
        Skep, backend::Backend, free_port, http_backend::http_backend, is_full, sdk, stand_in,
        wait_for,
    },
};

/// Clients that write at a time.
const CLIENTS: usize = 4;

fn config(port: u16, storage: &Path, backend: u16) -> String {
    format!(
        "extensions:\n  file_storage: {{directory: {}, create_directory: true}}\n\
         receivers:\n  awscloudwatchlogs:\n    endpoint: 127.0.0.1:{port}\n    \
         journal: {{storage: file_storage}}\n\
         processors:\n  batch: {{timeout: 50ms}}\n\
         exporters:\n  otlp_http: {{endpoint: 'http://127.0.0.1:{backend}'}}\n\
         service:\n  extensions: [file_storage]\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines:\n    logs: {{receivers: [awscloudwatchlogs], processors: [batch], \
         exporters: [otlp_http]}}\n",
        storage.join("s").display()
    )
}

/// Waits until all of these lines are at the backend.
fn all_arrive(backend: &Backend, acknowledged: &[String]) {
    wait_for("all that was acknowledged", || {
        let all = arrived(backend);
        let bodies: HashSet<&str> = all.iter().map(|(_, record)| body(record)).collect();
        acknowledged.iter().all(|line| bodies.contains(&**line))
    });
}

/// Writes one event; whether it was acknowledged.
fn is_taken(port: u16, message: &str) -> bool {
    let send = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let body = events("s", &[message]);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: logs\r\nx-amz-target: Logs_20140328.PutLogEvents\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&body).ok()?;
        let (head, _) = stand_in::message(&mut BufReader::new(&stream))?;
        head.starts_with("HTTP/1.1 200").then_some(())
    };
    send().is_some()
}

#[test]
fn what_was_acknowledged_survives_kills_under_load() {
    let (backend, at) = http_backend(&[]);
    let storage = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = config(port, storage.path(), at);
    let (acknowledged, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let rounds = if is_full() { 10 } else { 4 };
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (acknowledged, is_over) = (&acknowledged, &is_over);
            scope.spawn(move || {
                for event in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let message = format!("{number}-{event}");
                    if is_taken(port, &message) {
                        acknowledged.lock().unwrap().push(message);
                    } else {
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..rounds {
            let skep = Skep::start(&config, &[port]);
            let before = acknowledged.lock().unwrap().len();
            wait_for("some events", || acknowledged.lock().unwrap().len() > before + 50);
            // Kill -9, amid requests.
            drop(skep);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let skep = Skep::start(&config, &[port]);
    all_arrive(&backend, &acknowledged.into_inner().unwrap());
    assert!(skep.stop());
}

/// watchtower starts before skep, and writes while skep is killed and started again.
#[test]
#[ignore = "needs SDKs of other languages"]
fn watchtower_loses_nothing_that_was_acknowledged() {
    let (backend, at) = http_backend(&[]);
    let storage = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = config(port, storage.path(), at);
    let mut command = client(Command::new(python("watchtower-new")), OWN, port);
    command.arg(sdk::sources().join("watchtower_load.py")).arg("/app/shop");
    let mut app = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().as_deref(), Some("started"));
    let mut skep = Some(Skep::start(&config, &[port]));
    let arrivals = || arrived(&backend).len();
    wait_for("the first line", || arrivals() == 1);
    app.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    for _ in 0..if is_full() { 6 } else { 3 } {
        let before = arrivals();
        wait_for("some lines", || arrivals() > before + 400);
        // Kill -9.
        drop(skep.take());
        skep = Some(Skep::start(&config, &[port]));
    }
    drop(app.stdin.take());
    let acknowledged: Vec<String> = said.collect();
    assert!(app.wait().unwrap().success());
    assert_eq!(acknowledged.first().map(String::as_str), Some("the first line"));
    assert_eq!(acknowledged.last().map(String::as_str), Some("the last line"));
    all_arrive(&backend, &acknowledged);
    assert!(skep.unwrap().stop());
}
