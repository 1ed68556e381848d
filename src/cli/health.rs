//! `skep health`: one request to the health endpoint, for images without a shell.

use std::{
    io::{Error, ErrorKind, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use super::{UNAVAILABLE, USAGE};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Returns 0 if the answer is 200.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn run(url: &str) -> u8 {
    let Some(rest) = url.strip_prefix("http://") else {
        eprintln!("`{url}` is not an http:// URL");
        return USAGE;
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    match status(authority, path) {
        Ok(200) => 0,
        Ok(status) => {
            eprintln!("{url} answers {status}");
            UNAVAILABLE
        }
        Err(error) => {
            let why = match error.kind() {
                // The two errors of a read that took too long.
                ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                    "no answer within {} s; maybe a program other than skep listens there",
                    TIMEOUT.as_secs()
                ),
                _ => error.to_string(),
            };
            eprintln!("{url} does not answer: {why}; is the health_check extension enabled?");
            UNAVAILABLE
        }
    }
}

fn status(authority: &str, path: &str) -> std::io::Result<u16> {
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| Error::new(ErrorKind::AddrNotAvailable, "the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 64];
    let read = stream.read(&mut head)?;
    let line = String::from_utf8_lossy(&head[..read]);
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| Error::new(ErrorKind::InvalidData, "the answer is not HTTP"))
}
