//! HTTP/1.1 for stand-ins of AWS: a thread for each connection, one request after the other.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Status, header lines that end with a line break each, and body.
pub(crate) type Answer = (u16, String, String);

/// Starts a stand-in that answers by its state, by the head and the body of a request; gives its
/// port.
pub(crate) fn start<S: Default + Send + 'static>(
    answer: fn(&mut S, &str, &[u8]) -> Answer,
) -> (Arc<Mutex<S>>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = Arc::new(Mutex::new(S::default()));
    let served = Arc::clone(&state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = Arc::clone(&served);
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while serve(&mut reader, &served, answer).is_some() {}
            });
        }
    });
    (state, port)
}

/// Reads one request and answers it; `None` if the connection has ended.
fn serve<S>(
    reader: &mut BufReader<&TcpStream>,
    state: &Mutex<S>,
    answer: fn(&mut S, &str, &[u8]) -> Answer,
) -> Option<()> {
    let (head, body) = message(reader)?;
    let (status, headers, answer) = answer(&mut state.lock().unwrap(), &head, &body);
    let len = answer.len();
    let text = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {len}\r\n\r\n{answer}");
    reader.get_mut().write_all(text.as_bytes()).ok()
}

/// The head and the body of one message; `None` if the connection has ended.
pub(crate) fn message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let len = header(&head, "content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The value of a header.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let of =
        |line: &'h str| line.split_once(": ").filter(|(own, _)| own.eq_ignore_ascii_case(name));
    head.lines().find_map(|line| of(line).map(|(_, value)| value.trim()))
}
