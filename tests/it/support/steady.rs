//! Clients that have one connection each and never open another: a reset, a refusal or an end that
//! they were not told of fails the test.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

/// A request with spans whose names nobody had before, and how many they are.
pub(crate) fn request(spans: usize) -> (Vec<u8>, Vec<String>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let names: Vec<String> =
        (0..spans).map(|_| format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed))).collect();
    let span = |name: &String| Span {
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        name: name.clone(),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: names.iter().map(span).collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    (ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec(), names)
}

/// gRPC on one HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Grpc {
    send: h2::client::SendRequest<Bytes>,
    port: u16,
}

impl Grpc {
    pub(crate) async fn connect(port: u16) -> Self {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.expect("the connection is not reset") });
        Grpc { send, port }
    }

    /// Sends spans and returns their names once they are accepted; `None` if the server announced
    /// that it closes the connection before the request was sent.
    pub(crate) async fn export(&mut self, spans: usize) -> Option<Vec<String>> {
        let (body, names) = request(spans);
        let mut framed = BytesMut::with_capacity(body.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(body.len()).unwrap());
        framed.put_slice(&body);
        let path = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let request = http::Request::post(format!("http://127.0.0.1:{}/{path}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        self.send = self.send.clone().ready().await.ok()?;
        let (response, mut stream) = self.send.send_request(request, false).ok()?;
        stream.send_data(framed.freeze(), true).unwrap();
        let response = response.await.expect("an answer");
        let status = response.headers().get("grpc-status").cloned();
        let (parts, mut body) = response.into_parts();
        while let Some(data) = body.data().await {
            let len = data.unwrap().len();
            body.flow_control().release_capacity(len).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        let status = status.or(trailers.get("grpc-status").cloned()).expect("a status");
        assert_eq!(status, "0", "{parts:?} {trailers:?}");
        Some(names)
    }
}

/// A connection that carries HTTP.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// OTLP/HTTP on one HTTP/1.1 connection.
pub(crate) struct Http {
    reader: BufReader<Box<dyn Wire>>,
    /// Whether the server said that it closes the connection.
    pub(crate) is_closed: bool,
}

impl Http {
    pub(crate) fn connect(port: u16) -> Self {
        Self::on(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    pub(crate) fn on(stream: impl Wire + 'static) -> Self {
        Http { reader: BufReader::new(Box::new(stream)), is_closed: false }
    }

    /// Sends spans; their names once they are accepted.
    pub(crate) fn export(&mut self, spans: usize) -> Vec<String> {
        self.export_slowly(spans, || {})
    }

    /// The same, with something to do when half of it is sent.
    pub(crate) fn export_slowly(&mut self, spans: usize, meanwhile: impl FnOnce()) -> Vec<String> {
        assert!(!self.is_closed, "who is told to close does not send");
        let (body, names) = request(spans);
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf";
        let stream = self.reader.get_mut();
        let mut message = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        message.extend(body);
        let half = message.len() - 20;
        stream.write_all(&message[..half]).unwrap();
        meanwhile();
        stream.write_all(&message[half..]).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.reader.read_line(&mut head).unwrap() > 0, "a connection ended in silence");
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
        self.reader.read_exact(&mut body).unwrap();
        let words = String::from_utf8_lossy(&body);
        assert!(head.starts_with("http/1.1 200"), "{head}{words}");
        self.is_closed = head.contains("connection: close");
        names
    }
}
