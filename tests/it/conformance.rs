//! The OTLP receiver against the specification, with tonic's generated clients and with requests
//! written by hand: encodings, limits, statuses, both protocols on either port, TLS, unix sockets.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_client::TraceServiceClient,
        },
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point::Value,
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tonic::{
    Code, Request,
    codec::CompressionEncoding,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::support::{Skep, authority::Authority, free_port, wait_for};

/// A running receiver whose data ends in a file.
struct Server {
    skep: Skep,
    grpc: u16,
    http: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// `grpc` and `http` are further settings in flow style: `, max_recv_msg_size_mib: 1`.
    fn start(grpc_keys: &str, http_keys: &str) -> Self {
        let (grpc, http) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: \"127.0.0.1:{grpc}\"{grpc_keys}}}
      http: {{endpoint: \"127.0.0.1:{http}\"{http_keys}}}
exporters:
  file: {{path: {}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
    metrics: {{receivers: [otlp], exporters: [file]}}
    logs: {{receivers: [otlp], exporters: [file]}}
",
            path.display()
        );
        Server { skep: Skep::start(&config, &[grpc, http]), grpc, http, folder }
    }

    /// What arrived, once the program has ended.
    fn stop(self) -> String {
        assert!(self.skep.stop());
        fs::read_to_string(self.folder.path().join("out.json")).unwrap_or_default()
    }
}

async fn channel(port: u16) -> Channel {
    Endpoint::try_from(format!("http://127.0.0.1:{port}")).unwrap().connect().await.unwrap()
}

fn traces(name: &str) -> ExportTraceServiceRequest {
    let span = Span { name: name.to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn logs() -> ExportLogsServiceRequest {
    let record = LogRecord { severity_text: "INFO".to_owned(), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
    }
}

fn metrics() -> ExportMetricsServiceRequest {
    let point = NumberDataPoint { value: Some(Value::AsInt(7)), ..NumberDataPoint::default() };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    let metric = Metric { name: "a.gauge".to_owned(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Sends one HTTP/1.1 request on a stream and gives status line and headers in lower case, and the
/// body.
fn exchange(
    stream: &mut (impl std::io::Read + std::io::Write),
    head: &str,
    body: &[u8],
) -> (String, Vec<u8>) {
    let length = body.len();
    let head =
        format!("{head}\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
    (head, answer[end + 4..].to_vec())
}

fn http(port: u16, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    exchange(&mut TcpStream::connect(("127.0.0.1", port)).unwrap(), head, body)
}

const POST_TRACES: &str = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/x-protobuf";

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_is_taken_over_grpc_with_every_compression() {
    let server = Server::start("", "");
    let channel = channel(server.grpc).await;
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = TraceServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let answer = client.export(traces(&format!("span {encoding:?}"))).await.unwrap();
        assert_eq!(answer.into_inner(), ExportTraceServiceResponse::default());
    }
    LogsServiceClient::new(channel.clone()).export(logs()).await.unwrap();
    MetricsServiceClient::new(channel).export(metrics()).await.unwrap();
    let out = server.stop();
    for wanted in ["span None", "span Some(Gzip)", "span Some(Zstd)", "a.gauge", "INFO"] {
        assert!(out.contains(wanted), "{wanted} is missing in {out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_port_takes_either_protocol() {
    let server = Server::start("", "");
    TraceServiceClient::new(channel(server.http).await).export(traces("wrong port")).await.unwrap();
    let (head, _) = http(server.grpc, POST_TRACES, &traces("other way").encode_to_vec());
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let out = server.stop();
    assert!(out.contains("wrong port") && out.contains("other way"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_is_resource_exhausted_and_not_to_be_retried() {
    let server = Server::start(", max_recv_msg_size_mib: 1", "");
    let mut client = TraceServiceClient::new(channel(server.grpc).await);
    let status = client.export(traces(&"x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("max_recv_msg_size_mib"), "{status}");
    assert!(!status.metadata().contains_key("grpc-status-details-bin"), "no RetryInfo");
    // A small message that inflates to a large one.
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let status = client.export(traces(&"x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    // The connection goes on.
    client.export(traces("small")).await.unwrap();
    assert!(server.stop().contains("small"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_are_unimplemented() {
    let server = Server::start("", "");
    let mut grpc = tonic::client::Grpc::new(channel(server.grpc).await);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/opentelemetry.Nothing/Export");
    let codec =
        tonic_prost::ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
    let status = grpc.unary(Request::new(traces("x")), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_invalid_with_their_place() {
    let server = Server::start("", "");
    // A span whose name is not UTF-8.
    let mut body = traces("??").encode_to_vec();
    let at = body.windows(2).position(|two| two == b"??").unwrap();
    body[at] = 0xFF;
    let (head, answer) = http(server.http, POST_TRACES, &body);
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("resource_spans[0].scope_spans[0].spans[0].name"), "{text}");
    let post = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/json";
    let (head, answer) = http(server.http, post, b"{\"resourceSpans\": 7}");
    assert!(head.starts_with("http/1.1 400") && head.contains("application/json"), "{head}");
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["code"], 3);
    assert!(answer["message"].as_str().unwrap().contains("resourceSpans"), "{answer}");
    assert_eq!(server.stop(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_an_invalid_argument_of_grpc() {
    let server = Server::start("", "");
    let mut grpc = tonic::client::Grpc::new(channel(server.grpc).await);
    grpc.ready().await.unwrap();
    // Field 1 is a number here and a message in a request.
    let record = LogRecord { time_unix_nano: 7, ..LogRecord::default() };
    let codec = tonic_prost::ProstCodec::<LogRecord, ExportTraceServiceResponse>::default();
    let path = PathAndQuery::from_static(EXPORT_TRACES);
    let status = grpc.unary(Request::new(record), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(server.stop(), "");
}

const EXPORT_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends one request over HTTP/2 without TLS and without an upgrade.
async fn h2<B>(port: u16, request: http::Request<B>) -> http::Response<hyper::body::Incoming>
where
    B: http_body::Body<Data = bytes::Bytes, Error = std::convert::Infallible>,
    B: Send + Unpin + 'static,
{
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_may_come_over_http2_with_prior_knowledge() {
    let server = Server::start("", "");
    let body = http_body_util::Full::new(bytes::Bytes::from(traces("by h2").encode_to_vec()));
    let request = http::Request::post(format!("http://localhost:{}/v1/traces", server.http))
        .header("content-type", "application/x-protobuf")
        .body(body)
        .unwrap();
    assert_eq!(h2(server.http, request).await.status(), 200);
    assert!(server.stop().contains("by h2"));
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_own_deadline() {
    let server = Server::start("", "");
    let request = http::Request::post(format!("http://localhost:{}{EXPORT_TRACES}", server.grpc))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "50m")
        .body(Never)
        .unwrap();
    let response = h2(server.grpc, request).await;
    assert_eq!(response.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_of_a_message_says_whether_it_is_compressed() {
    use http_body_util::BodyExt as _;
    let server = Server::start("", "");
    let body = traces("a flag").encode_to_vec();
    // Flag, encoding that is announced, status.
    let cases = [
        (0, None, "0"),
        (0, Some("gzip"), "0"),
        (1, None, "13"),
        (1, Some("gzip"), "3"),
        (2, None, "13"),
        (0, Some("br"), "12"),
    ];
    for (flag, encoding, expected) in cases {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[flag][..], &len, &body].concat();
        let uri = format!("http://localhost:{}{EXPORT_TRACES}", server.grpc);
        let mut request = http::Request::post(uri).header("content-type", "application/grpc");
        if let Some(encoding) = encoding {
            request = request.header("grpc-encoding", encoding);
        }
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(message)));
        let (head, rest) = h2(server.grpc, request.unwrap()).await.into_parts();
        let rest = rest.collect().await.unwrap();
        let trailers = rest.trailers().cloned().unwrap_or_default();
        let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
        assert_eq!(status.unwrap(), expected, "flag {flag}, {encoding:?}");
        if expected == "12" {
            assert_eq!(head.headers["grpc-accept-encoding"], "identity, gzip, snappy, zstd");
        }
    }
    assert_eq!(server.stop().matches("a flag").count(), 2);
}

#[test]
fn a_body_that_does_not_come_gives_its_memory_back() {
    let (port, out) = (free_port(), tempfile::tempdir().unwrap());
    let config = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}', read_timeout: 100ms}}}}}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 10}}}}
exporters: {{file: {{path: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [file]}}}}
",
        out.path().join("out.json").display()
    );
    let skep = Skep::start(&config, &[port]);
    // Each announces as much as there is, so that the second has to come after the first's end.
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("{POST_TRACES}\r\nhost: x\r\ncontent-length: 7000000\r\n\r\nbegun");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 503");
    }
    let (head, _) = http(port, POST_TRACES, &traces("after them").encode_to_vec());
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(skep.stop());
}

#[test]
fn http_statuses_are_those_of_the_specification() {
    let server = Server::start("", ", max_request_body_size: 1000, response_headers: {x-by: skep}");
    let body = traces("a span").encode_to_vec();
    let status = |head: &str, body: &[u8]| {
        let (head, _) = http(server.http, head, body);
        assert!(head.contains("x-by: skep"), "{head}");
        head[9..12].parse::<u16>().unwrap()
    };
    let kind = "content-type: application/x-protobuf";
    assert_eq!(status(POST_TRACES, &body), 200);
    assert_eq!(status(&format!("{POST_TRACES}; charset=utf-8"), &body), 200);
    assert_eq!(status(POST_TRACES, b""), 200, "an empty request is one without items");
    assert_eq!(status(&format!("GET /v1/traces HTTP/1.1\r\n{kind}"), b""), 405);
    let (head, _) = http(server.http, "GET /v1/traces HTTP/1.1", b"");
    assert!(head.contains("allow: post"), "{head}");
    assert_eq!(status(&format!("POST /v1/nothing HTTP/1.1\r\n{kind}"), &body), 404);
    assert_eq!(status("POST /v1/traces HTTP/1.1\r\ncontent-type: text/plain", &body), 415);
    assert_eq!(status("POST /v1/traces HTTP/1.1", &body), 415);
    let web = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/grpc-web";
    assert_eq!(status(web, &body), 415, "gRPC-Web is not gRPC");
    assert_eq!(status(POST_TRACES, &[0; 1001]), 400, "too large");
    assert_eq!(status(&format!("{POST_TRACES}\r\ncontent-encoding: br"), &body), 400);
    assert_eq!(status(&format!("{POST_TRACES}\r\ncontent-encoding: gzip"), &body), 400);
    let (head, answer) = http(server.http, POST_TRACES, &body);
    assert!(head.contains(kind), "{head}");
    assert!(ExportTraceServiceResponse::decode(&*answer).is_ok());
    let post = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/json";
    let (_, answer) = http(server.http, post, b"{\"resourceSpans\":[]}");
    assert_eq!(answer, br#"{"partialSuccess":{}}"#);
    server.stop();
}

#[test]
fn a_client_that_sends_all_of_a_refused_body_gets_its_answer() {
    let server = Server::start("", ", max_request_body_size: 1000");
    // More than socket buffers take: the client is still writing when it is refused.
    let body = vec![0; 16 << 20];
    let (head, _) = http(server.http, POST_TRACES, &body);
    assert!(head.starts_with("http/1.1 400"), "{head}");
    let (head, _) = http(server.http, "POST /v1/nothing HTTP/1.1", &body);
    assert!(head.starts_with("http/1.1 404"), "{head}");
    server.stop();
}

#[test]
fn the_first_memory_limiter_of_a_pipeline_refuses_before_a_body_is_sent() {
    for (processors, status) in [("memory_limiter, batch", "400"), ("batch, memory_limiter", "100")]
    {
        let port = free_port();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 10}}, batch: {{}}}}
exporters: {{nop: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [nop]}}}}
"
        );
        let skep = Skep::start(&config, &[port]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // More than `limit - spike_limit`, less than the limit.
        let head = format!(
            "{POST_TRACES}\r\nhost: x\r\ncontent-length: 8500000\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{processors}");
        drop(stream);
        assert!(skep.stop());
    }
}

#[test]
fn a_body_may_come_in_chunks() {
    let server = Server::start("", "");
    let body = traces("in chunks").encode_to_vec();
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let head = format!(
        "{POST_TRACES}\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for piece in body.chunks(5) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(server.stop().contains("in chunks"));
}

#[test]
fn text_that_is_not_utf8_passes_where_it_is_not_checked() {
    let mut body = traces("cut off X").encode_to_vec();
    let at = body.iter().position(|byte| *byte == b'X').unwrap();
    // The first byte of a character of three.
    body[at] = 0xE2;
    for (check, status) in [("", "400"), (", utf8: unchecked", "200")] {
        let port = free_port();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}{check}}}}}
processors: {{batch: {{}}}}
exporters: {{nop: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [nop]}}}}
"
        );
        let skep = Skep::start(&config, &[port]);
        let (head, answer) = http(port, POST_TRACES, &body);
        assert_eq!(&head[9..12], status, "{}", String::from_utf8_lossy(&answer));
        assert!(skep.stop());
    }
}

#[test]
fn only_the_listed_encodings_are_taken() {
    let server = Server::start("", ", compression_algorithms: [gzip]");
    let body = traces("x").encode_to_vec();
    let (head, _) = http(server.http, &format!("{POST_TRACES}\r\ncontent-encoding: zstd"), &body);
    assert!(head.starts_with("http/1.1 400"), "{head}");
    server.stop();
}

#[test]
fn browsers_of_allowed_origins_may_send() {
    let cors = ", cors: {allowed_origins: [\"https://*.example.com\"], allowed_headers: [x-key], \
                exposed_headers: [x-by], max_age: 600}";
    let server = Server::start("", cors);
    let preflight = "OPTIONS /v1/traces HTTP/1.1\r\norigin: https://app.example.com\r\n\
                     access-control-request-method: POST";
    let (head, _) = http(server.http, preflight, b"");
    assert!(head.starts_with("http/1.1 204"), "{head}");
    assert!(head.contains("access-control-allow-origin: https://app.example.com"), "{head}");
    assert!(head.contains("access-control-max-age: 600") && head.contains("x-key"), "{head}");
    let from =
        |origin: &str| http(server.http, &format!("{POST_TRACES}\r\norigin: {origin}"), b"").0;
    assert!(from("https://app.example.com").contains("expose-headers: retry-after, x-by"));
    assert!(!from("https://evil.example").contains("access-control-allow-origin"));
    server.stop();
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_closed() {
    let server = Server::start("", ", idle_timeout: 50ms");
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(format!("{POST_TRACES}\r\nhost: x\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .unwrap();
    // The end of the stream comes from the server: this side keeps the connection open.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop();
}

async fn export_tls(
    port: u16,
    trusted: &Authority,
    identity: Option<(String, String)>,
) -> Result<(), String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(trusted.issuer.pem()))
        .domain_name("localhost");
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::try_from(format!("https://127.0.0.1:{port}")).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await;
    let channel = channel.map_err(|error| format!("{error:?}"))?;
    let sent = TraceServiceClient::new(channel).export(traces("under TLS")).await;
    sent.map(drop).map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_both_protocols_and_turns_plaintext_away() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(", tls: {{cert_file: {}, key_file: {}}}", path("cert.pem"), path("key.pem"));
    let server = Server::start(&tls, &tls);
    export_tls(server.grpc, &authority, None).await.unwrap();
    export_tls(server.http, &authority, None).await.unwrap();
    assert!(export_tls(server.grpc, &Authority::new(), None).await.is_err(), "not trusted");
    let mut plain = TcpStream::connect(("127.0.0.1", server.grpc)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty(), "plaintext gets no answer");
    assert_eq!(server.stop().matches("under TLS").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_need_a_certificate_where_authorities_are_named() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(
        ", tls: {{cert_file: {}, key_file: {}, client_ca_file: {}}}",
        path("cert.pem"),
        path("key.pem"),
        path("ca.pem")
    );
    let server = Server::start(&tls, "");
    assert!(export_tls(server.grpc, &authority, None).await.is_err(), "no certificate");
    let stranger = Authority::new().sign();
    assert!(export_tls(server.grpc, &authority, Some(stranger)).await.is_err(), "a stranger's");
    export_tls(server.grpc, &authority, Some(authority.sign())).await.unwrap();
    assert_eq!(server.stop().matches("under TLS").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_while_running_and_a_broken_one_is_not() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    old.write(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(
        ", tls: {{cert_file: {}, key_file: {}, reload_interval: 1ms}}",
        path("cert.pem"),
        path("key.pem")
    );
    let server = Server::start(&tls, "");
    export_tls(server.grpc, &old, None).await.unwrap();
    fs::write(folder.path().join("cert.pem"), "broken").unwrap();
    export_tls(server.grpc, &old, None).await.expect("the old one stays");
    new.write(folder.path());
    let mut tries = 0;
    while export_tls(server.grpc, &new, None).await.is_err() {
        tries += 1;
        assert!(tries < 200, "the new certificate was not taken");
    }
    assert!(export_tls(server.grpc, &old, None).await.is_err(), "the old one is gone");
    server.stop();
}

#[test]
fn a_unix_socket_takes_requests_and_its_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("otlp.sock");
    // A socket that a process left behind when it was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let out = folder.path().join("out.json");
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{transport: unix, endpoint: {}}}}}}}}}
exporters: {{file: {{path: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        socket.display(),
        out.display()
    );
    let skep = Skep::start(&config, &[]);
    wait_for("the socket", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    let (head, _) = exchange(&mut stream, POST_TRACES, &traces("by file").encode_to_vec());
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(skep.stop());
    assert!(fs::read_to_string(out).unwrap().contains("by file"));
    assert!(!socket.exists(), "the file of the socket is gone");
}
