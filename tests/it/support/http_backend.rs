//! A backend for OTLP/HTTP, written on sockets, which shares no code with skep.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::support::backend::Backend;

/// A backend for OTLP/HTTP that refuses what has not all of `headers`.
pub(crate) fn http_backend(headers: &'static [&'static str]) -> (Backend, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let backend = Backend::default();
    let served = backend.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = served.clone();
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while take(&mut reader, &served, headers).is_some() {}
            });
        }
    });
    (backend, port)
}

/// Reads one request and answers it; `None` if the connection has ended.
fn take(reader: &mut BufReader<&TcpStream>, backend: &Backend, headers: &[&str]) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let mut body = vec![0; value("content-length: ")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body = match value("content-encoding: ") {
        Some("zstd") => zstd::decode_all(&*body).ok()?,
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&*body).read_to_end(&mut plain).ok()?;
            plain
        }
        _ => body,
    };
    let is_known = headers.iter().all(|header| head.lines().any(|line| line == *header));
    let mut taken = backend.taken();
    match head.split(' ').nth(1)? {
        "/v1/traces" if is_known => taken.traces.push(prost::Message::decode(&*body).ok()?),
        "/v1/metrics" if is_known => taken.metrics.push(prost::Message::decode(&*body).ok()?),
        "/v1/logs" if is_known => taken.logs.push(prost::Message::decode(&*body).ok()?),
        _ => {
            let refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
            return reader.get_mut().write_all(refusal).ok();
        }
    }
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}
