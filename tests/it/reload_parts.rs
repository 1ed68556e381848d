//! Reload, part by part: receivers that go or have another name, unix sockets, datagrams, exporters
//! that cannot deliver, the process's own log and pages, certificates.
#![cfg(target_os = "linux")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
    thread,
    time::Duration,
};

use crate::support::{
    authority::Authority,
    backend::Backend,
    free_port,
    reloading::{APPLIED, World, assert_arrived, names, reload},
    steady::Http,
    wait_for,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_with_another_name_has_the_sockets_and_one_that_goes_closes_them() {
    let (backend, port) = Backend::start(None);
    let (grpc, other) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.sock");
    let config = |receivers: &str, names: &str| {
        format!(
            "receivers: {{{receivers}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [{names}], exporters: [otlp_grpc]}}}}"
        )
    };
    let protocols = format!(
        "{{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: {}, transport: unix}}}}}}",
        path.display()
    );
    let third = format!("otlp/c: {{protocols: {{http: {{endpoint: '127.0.0.1:{other}'}}}}}}");
    let world = World::start(&config(&format!("otlp/a: {protocols}"), "otlp/a"), &[grpc]);
    let mut client = world.client().await;
    let (mut tcp, mut unix) = (Http::connect(grpc), Http::on(UnixStream::connect(&path).unwrap()));
    let mut accepted = tcp.export(1);
    accepted.extend(unix.export(1));

    world.write(&config(&format!("otlp/b: {protocols}"), "otlp/b"));
    let answer = reload(&mut client).await;
    assert!(answer.applied, "{answer:?}");
    assert_eq!(
        (&*answer.added, &*answer.removed),
        (&["receiver otlp/b".to_owned()][..], &["receiver otlp/a".to_owned()][..])
    );
    for old in [&mut tcp, &mut unix] {
        accepted.extend(old.export(1));
        assert!(old.is_closed, "it is told to come again");
    }
    let mut again = Http::on(UnixStream::connect(&path).unwrap());
    accepted.extend(again.export(1));

    // Somebody is in the middle of a request when the receiver goes.
    world.write(&config(&third, "otlp/c"));
    let last = again.export_slowly(1, || {
        let asking = tokio::spawn(async move { reload(&mut client).await });
        wait_for("the end of the port", || TcpStream::connect(("127.0.0.1", grpc)).is_err());
        thread::spawn(move || {
            wait_for("the answer", || asking.is_finished());
        });
    });
    accepted.extend(last);
    wait_for("the reload", || world.log().matches(APPLIED).count() == 2);
    assert!(!path.exists() && TcpStream::connect(("127.0.0.1", grpc)).is_err());
    accepted.extend(Http::connect(other).export(1));
    world.stop();
    assert_arrived(&backend, &accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_during_a_reload_ends_it_and_the_process() {
    let (backend, port) = Backend::start(None);
    let (first, second) = (free_port(), free_port());
    let config = |receiver: u16| {
        format!(
            "receivers: {{otlp/{receiver}: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp/{receiver}], exporters: [otlp_grpc]}}}}"
        )
    };
    let world = World::start(&config(first), &[first]);
    let mut sender = Http::connect(first);
    let mut accepted = sender.export(1);
    let pid = world.pid().to_string();
    let kill = |signal: &str| {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    accepted.extend(sender.export_slowly(1, || {
        world.write(&config(second));
        kill("-HUP");
        wait_for("the end of the port", || TcpStream::connect(("127.0.0.1", first)).is_err());
        assert_eq!(world.log().matches(APPLIED).count(), 0, "it waits for the request");
        kill("-TERM");
        wait_for("the shutdown", || world.log().contains("Starting shutdown..."));
    }));
    assert_eq!(world.log().matches(APPLIED).count(), 1);
    let World { mut skep, .. } = world;
    assert_eq!(skep.0.wait().unwrap().code(), Some(0));
    assert_arrived(&backend, &accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_go_on_while_their_receiver_changes() {
    let (backend, port) = Backend::start(None);
    let (udp, tcp) = (free_port(), free_port());
    let config = |rate: &str| {
        format!(
            "receivers:
  awsxray:
    endpoint: '127.0.0.1:{udp}'
    proxy_server: {{endpoint: '127.0.0.1:{tcp}', mode: local, rules: [{{rule_name: all, fixed_rate: {rate}, reservoir_size: 1, priority: 1}}]}}
processors: {{batch: {{timeout: 20ms}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [awsxray], processors: [batch], exporters: [otlp_grpc]}}}}"
        )
    };
    let world = World::start(&config("0.5"), &[tcp]);
    let mut client = world.client().await;
    let sender = thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = Vec::new();
        for number in 0..1500 {
            let name = format!("n{number}");
            let segment = format!(
                "{{\"format\":\"json\",\"version\":1}}\n{{\"name\":\"{name}\",\"id\":\"1111111111111111\",\
                 \"trace_id\":\"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e\",\"start_time\":1,\"end_time\":2}}"
            );
            socket.send_to(segment.as_bytes(), ("127.0.0.1", udp)).unwrap();
            sent.push(name);
            thread::sleep(Duration::from_micros(500));
        }
        sent
    });
    for round in 0..20 {
        world.write(&config(if round % 2 == 0 { "0.25" } else { "0.5" }));
        let answer = reload(&mut client).await;
        assert!(answer.applied && answer.changed == ["receiver awsxray"], "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sent = sender.join().unwrap();
    wait_for("all of them", || names(&backend).len() >= sent.len());
    world.stop();
    assert_arrived(&backend, &sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_exporter_cannot_deliver_is_counted_and_named() {
    let (backend, port) = Backend::start(None);
    let (http, nobody) = (free_port(), free_port());
    let config = |exporters: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
  otlp_grpc/a: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}
  otlp_grpc/dead: {{endpoint: '127.0.0.1:{nobody}', tls: {{insecure: true}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{exporters}]}}}}"
        )
    };
    let both = config("otlp_grpc/a, otlp_grpc/dead");
    let world = World::start_with(&["--drain-timeout", "1s"], &both, &[http]);
    let accepted = Http::connect(http).export(7);
    world.write(&config("otlp_grpc/a"));
    world.hang_up(APPLIED);
    wait_for("the loss in the log", || {
        world.log().contains(r#""exporter":"otlp_grpc/dead","signal":"traces","lost_items":7"#)
    });
    let World { skep, .. } = world;
    assert_eq!(skep.end(), Some(74), "it was accepted and is lost");
    assert_arrived(&backend, &accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_goes_to_the_exporter_that_takes_its_place() {
    let (backend, port) = Backend::start(None);
    let (http, nobody) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let config = |backend: u16, journal: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}{journal}}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{backend}', tls: {{insecure: true}}, sending_queue: {{storage: file_storage}}}}}}
extensions: {{file_storage: {{directory: {}, create_directory: true}}}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}",
            folder.path().join("storage").display()
        )
    };
    let arguments = ["--drain-timeout", "2s"];
    let world = World::start_with(&arguments, &config(nobody, ""), &[http]);
    let mut client = world.client().await;
    let mut accepted = Http::connect(http).export(5);
    world.write(&config(port, ", journal: {storage: file_storage}"));
    let answer = reload(&mut client).await;
    assert!(
        answer.applied && answer.kept.contains(&"extension file_storage".to_owned()),
        "{answer:?}"
    );
    accepted.extend(Http::connect(http).export(5));
    wait_for("all of it", || names(&backend).len() == accepted.len());
    world.stop();
    assert_arrived(&backend, &accepted);
}

/// The body of a page.
fn page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_and_the_pages_follow_and_what_cannot_change_is_told() {
    let (_backend, port) = Backend::start(None);
    let (http, metrics) = (free_port(), free_port());
    let config = |telemetry: &str, limit: u64, processors: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {limit}}}
  batch: {{timeout: 10ms}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}}}
service:
  telemetry:
    metrics: {{level: {telemetry}, readers: [{{pull: {{exporter: {{prometheus: {{host: '127.0.0.1', port: {metrics}}}}}}}}}]}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [otlp_grpc]}}}}"
        )
    };
    let first = config("basic", 300, "memory_limiter, batch")
        .replace("telemetry:\n", "telemetry:\n    logs: {level: error}\n");
    let world = World::start(&first, &[http, metrics]);
    let mut client = world.client().await;
    let mut sender = Http::connect(http);
    sender.export(5);
    let text = page(metrics);
    assert!(
        text.contains("otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"http\"} 5"),
        "{text}"
    );
    assert!(text.contains("processor=\"batch\"") && !text.contains("_bucket"), "{text}");
    assert!(!world.log().contains("INFO"));

    world.write(
        &config("normal", 400, "memory_limiter")
            .replace("telemetry:\n", "telemetry:\n    logs: {level: info, encoding: console}\n"),
    );
    let answer = reload(&mut client).await;
    assert!(answer.applied, "{answer:?}");
    assert!(answer.changed.contains(&"metrics page".to_owned()), "{answer:?}");
    let warned = |path: &str| {
        answer
            .problems
            .iter()
            .any(|one| !one.error && one.path == path && one.help.contains("restart"))
    };
    assert!(
        warned("processors::memory_limiter") && warned("service::telemetry::logs::encoding"),
        "{answer:?}"
    );
    sender.export(2);
    let text = page(metrics);
    assert!(
        text.contains("otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"http\"} 7"),
        "{text}"
    );
    assert!(!text.contains("processor=\"batch\"") && text.contains("_bucket"), "{text}");
    assert!(world.log().contains("INFO"), "the level has changed");
    world.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reads_certificates_again_though_their_receiver_is_kept() {
    let (_backend, port) = Backend::start(None);
    let http = free_port();
    let folder = tempfile::tempdir().unwrap();
    Authority::new().write(folder.path());
    let of = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (of("cert.pem"), of("key.pem"));
    let world = World::start(
        &format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}', tls: {{cert_file: {certificate}, key_file: {key}, reload_interval: 0}}}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}"
        ),
        &[http],
    );
    // A client that trusts only the new authority.
    let authority = Authority::new();
    let trusts = async || {
        let ca = tonic::transport::Certificate::from_pem(authority.issuer.pem());
        let tls =
            tonic::transport::ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
        let endpoint = tonic::transport::Endpoint::try_from(format!("https://127.0.0.1:{http}"));
        endpoint.unwrap().tls_config(tls).unwrap().connect().await
    };
    assert!(trusts().await.is_err());
    authority.write(folder.path());
    let mut client = world.client().await;
    let answer = reload(&mut client).await;
    assert!(answer.kept.contains(&"receiver otlp".to_owned()), "{answer:?}");
    trusts().await.unwrap();
    world.stop();
}
