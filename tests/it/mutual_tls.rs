//! Two of the program, one behind the other, with certificates on both sides: what the one sends
//! the other takes, and new certificates count without a restart.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::support::{Skep, authority::Authority, free_port, wait_for};

const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"under TLS",
    "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]}"#;

#[test]
fn clients_take_new_certificates_and_speak_what_the_server_offers() {
    let (server, client) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    authority.write(server.path());
    // At first the client's certificate is a stranger's.
    Authority::new().write(client.path());
    fs::copy(server.path().join("ca.pem"), client.path().join("ca.pem")).unwrap();

    let out = server.path().join("out.json");
    let (grpc, http, entry) = (free_port(), free_port(), free_port());
    let of = |folder: &tempfile::TempDir, name| folder.path().join(name).display().to_string();
    let tls = format!(
        "{{cert_file: {}, key_file: {}, client_ca_file: {}}}",
        of(&server, "cert.pem"),
        of(&server, "key.pem"),
        of(&server, "ca.pem")
    );
    let backend = format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 'localhost:{grpc}', tls: {tls}}}
      http: {{endpoint: 'localhost:{http}', tls: {tls}}}
exporters: {{file: {{path: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        out.display()
    );
    let tls = format!(
        "{{ca_file: {}, cert_file: {}, key_file: {}, reload_interval: 1ms}}",
        of(&client, "ca.pem"),
        of(&client, "cert.pem"),
        of(&client, "key.pem")
    );
    let retry = "{initial_interval: 50ms, max_interval: 50ms}";
    let sender = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: 'localhost:{entry}'}}}}}}}}
exporters:
  otlp_grpc: {{endpoint: 'localhost:{grpc}', retry_on_failure: {retry}, tls: {tls}}}
  otlp_http: {{endpoint: 'https://localhost:{http}', retry_on_failure: {retry}, tls: {tls}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc, otlp_http]}}}}
"
    );
    let backend = Skep::start(&backend, &[grpc, http]);
    let sender = Skep::start(&sender, &[entry]);

    let mut stream = TcpStream::connect(("127.0.0.1", entry)).unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    let len = SPAN.len();
    write!(stream, "{head}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{SPAN}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let arrived = || fs::read_to_string(&out).unwrap_or_default().matches("under TLS").count();
    assert_eq!(arrived(), 0, "a stranger's certificate opens nothing");

    authority.write(client.path());
    wait_for("both exporters", || arrived() == 2);
    assert!(sender.stop() && backend.stop());
    assert_eq!(arrived(), 2);
}
