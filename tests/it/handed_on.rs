//! Without a queue a sender waits for the backend, so it is told what the backend says: when to
//! come back, or that coming back is useless and why. Over both protocols on either side.

use std::{
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_client::TraceServiceClient,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use tonic::{
    Code, Request, Response, Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};

use crate::support::{
    Skep, free_port,
    stand_in::{self, header, message},
};

/// `google.rpc.Status` and what OTLP puts into it, as far as it is looked at here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<RetryInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status of a backend with a `RetryInfo`.
fn pausing(code: Code, seconds: i64) -> Status {
    let value = Some(RetryInfo { retry_delay: Some(Delay { seconds }) });
    let details = Details { details: vec![Any { type_url: RETRY_INFO.to_owned(), value }] };
    Status::with_details(code, "not now", details.encode_to_vec().into())
}

/// The seconds of the `RetryInfo` of a status.
fn pause_of(status: &Status) -> Option<i64> {
    let details = Details::decode(status.details()).unwrap().details;
    let info = details.into_iter().find(|any| any.type_url == RETRY_INFO)?;
    Some(info.value?.retry_delay?.seconds)
}

/// What a backend answers at the moment.
type Said<T> = Arc<Mutex<T>>;

/// A backend for OTLP/HTTP; the answer is a status and lines of headers.
fn http_backend() -> (Said<(u16, &'static str)>, u16) {
    stand_in::start(|answer: &mut (u16, &'static str), head, _| {
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        (answer.0, answer.1.to_owned(), String::new())
    })
}

struct GrpcBackend(Said<Option<Status>>);

#[tonic::async_trait]
impl TraceService for GrpcBackend {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let answer = self.0.lock().unwrap().clone();
        answer.map_or_else(|| Ok(Response::new(ExportTraceServiceResponse::default())), Err)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A backend for OTLP/gRPC.
fn grpc_backend() -> (Said<Option<Status>>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let said = Said::default();
    let service = TraceServiceServer::new(GrpcBackend(Arc::clone(&said)));
    thread::spawn(move || {
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serving = Server::builder().add_service(service);
            serving.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
    });
    (said, port)
}

/// The program between a sender and a backend, without a queue.
struct Between {
    skep: Skep,
    http: u16,
    grpc: u16,
}

/// What a sender is told: a status, and after how many seconds to come back.
type Told<T> = (T, Option<i64>);

impl Between {
    fn start(exporter: &str, endpoint: &str) -> Self {
        let (http, grpc) = (free_port(), free_port());
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}, grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}
exporters:
  {exporter}:
    endpoint: '{endpoint}'
    compression: none
    tls: {{insecure: true}}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: fatal}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{exporter}]}}}}
"
        );
        Between { skep: Skep::start(&config, &[http, grpc]), http, grpc }
    }

    fn by_http(&self) -> Told<u16> {
        let body = request().encode_to_vec();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let (head, body) = message(&mut BufReader::new(&stream)).unwrap();
        let code: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let pause = header(&head, "retry-after").map(|seconds| seconds.parse().unwrap());
        // The body is a `google.rpc.Status` and says the same.
        let status = Details::decode(&*body).unwrap();
        assert_eq!(!status.details.is_empty(), pause.is_some(), "{head}");
        (code, pause)
    }

    fn by_grpc(&self) -> Told<Code> {
        let sent = runtime().block_on(async {
            let endpoint = format!("http://127.0.0.1:{}", self.grpc);
            let channel = Endpoint::from_shared(endpoint).unwrap().connect().await.unwrap();
            TraceServiceClient::new(channel).export(request()).await
        });
        match sent {
            Ok(_) => (Code::Ok, None),
            Err(status) => (status.code(), pause_of(&status)),
        }
    }
}

fn request() -> ExportTraceServiceRequest {
    let spans = vec![Span { name: "x".to_owned(), ..Span::default() }];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

#[test]
fn what_a_backend_of_http_says_reaches_the_sender() {
    let (said, port) = http_backend();
    let between = Between::start("otlp_http", &format!("http://127.0.0.1:{port}"));
    let cases = [
        ((200, ""), (200, None), (Code::Ok, None)),
        ((503, "retry-after: 7\r\n"), (503, Some(7)), (Code::Unavailable, Some(7))),
        ((429, "retry-after: 7\r\n"), (503, Some(7)), (Code::Unavailable, Some(7))),
        ((503, ""), (503, Some(1)), (Code::Unavailable, Some(1))),
        ((429, ""), (503, Some(1)), (Code::Unavailable, Some(1))),
        ((401, "retry-after: 7\r\n"), (401, None), (Code::Unauthenticated, None)),
        ((403, ""), (403, None), (Code::PermissionDenied, None)),
        ((404, ""), (404, None), (Code::Unimplemented, None)),
        ((400, ""), (400, None), (Code::InvalidArgument, None)),
    ];
    for (answer, by_http, by_grpc) in cases {
        *said.lock().unwrap() = answer;
        assert_eq!(between.by_http(), by_http, "{answer:?}");
        assert_eq!(between.by_grpc(), by_grpc, "{answer:?}");
    }
    assert!(between.skep.stop());
}

#[test]
fn what_a_backend_of_grpc_says_reaches_the_sender() {
    let (said, port) = grpc_backend();
    let between = Between::start("otlp_grpc", &format!("127.0.0.1:{port}"));
    let plain = |code| Some(Status::new(code, "no"));
    let cases = [
        (None, (200, None), (Code::Ok, None)),
        (Some(pausing(Code::Unavailable, 7)), (503, Some(7)), (Code::Unavailable, Some(7))),
        (Some(pausing(Code::ResourceExhausted, 7)), (503, Some(7)), (Code::Unavailable, Some(7))),
        (plain(Code::Unavailable), (503, Some(1)), (Code::Unavailable, Some(1))),
        (plain(Code::Unauthenticated), (401, None), (Code::Unauthenticated, None)),
        (plain(Code::PermissionDenied), (403, None), (Code::PermissionDenied, None)),
        (plain(Code::Unimplemented), (404, None), (Code::Unimplemented, None)),
        (plain(Code::InvalidArgument), (400, None), (Code::InvalidArgument, None)),
    ];
    for (answer, by_http, by_grpc) in cases {
        said.lock().unwrap().clone_from(&answer);
        assert_eq!(between.by_http(), by_http, "{answer:?}");
        assert_eq!(between.by_grpc(), by_grpc, "{answer:?}");
    }
    assert!(between.skep.stop());
}
