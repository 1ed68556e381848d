//! A backend for traces over OTLP/HTTP that counts spans by their names, and a sender for it: both
//! written on sockets, so that they outlive skep and know every acknowledgement.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

/// Spans in each request.
pub(crate) const SPANS: usize = 5;

/// A backend that counts spans by their names.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<HashMap<String, u64>>>);

impl Sink {
    /// One that listens already.
    pub(crate) fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Sink::default();
        sink.serve(listener);
        (sink, port)
    }

    /// Comes up at a port.
    pub(crate) fn listen(&self, port: u16) {
        self.serve(TcpListener::bind(("127.0.0.1", port)).unwrap());
    }

    /// Comes up at a listener.
    pub(crate) fn serve(&self, listener: TcpListener) {
        let served = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    while served.take(&mut reader).is_some() {}
                });
            }
        });
    }

    /// Takes one request; `None` if the connection has ended.
    fn take(&self, reader: &mut BufReader<&TcpStream>) -> Option<()> {
        let (_, body) = read(reader)?;
        let request = ExportTraceServiceRequest::decode(&*body).ok()?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes = request.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            *counts.entry(span.name).or_default() += 1;
        }
        drop(counts);
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
    }

    /// How often each name came.
    pub(crate) fn counts(&self) -> HashMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Head and body of a message; `None` if the connection has ended.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Some(0), |length| length.parse().ok())?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A request of spans with this name, in a trace of its own, of at least so many bytes.
pub(crate) fn request(name: &str, id: u64, bytes: usize) -> Vec<u8> {
    let span = |n: usize| Span {
        trace_id: (u128::from(id) << 64 | 1).to_be_bytes().to_vec(),
        span_id: (id << 8 | n as u64 | 1 << 60).to_be_bytes().to_vec(),
        name: name.to_owned(),
        trace_state: "x".repeat(bytes / SPANS),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

/// The status of the answer.
pub(crate) fn exchange(stream: &TcpStream, body: &[u8]) -> Option<u16> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut writer = stream;
    writer.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let (head, _) = read(&mut BufReader::new(stream))?;
    head.split(' ').nth(1)?.parse().ok()
}
