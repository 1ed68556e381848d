//! `skep health`: one request to the health endpoint, for images without a shell.

use std::{
    fmt::Write as _,
    io::{Error, ErrorKind, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use serde_json::Value;

use super::{UNAVAILABLE, USAGE, print};
use crate::config::shown::escaped;

const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const LONGEST: u64 = 1 << 20;

/// Shows warnings and monthly budgets. Returns 0 if the answer is 200.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn run(url: &str) -> u8 {
    let Some(rest) = url.strip_prefix("http://") else {
        eprintln!("`{url}` is not an http:// URL");
        return USAGE;
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let verbose = format!("{path}{}verbose", if path.contains('?') { '&' } else { '?' });
    match ask(authority, &verbose) {
        Ok((200, body)) => print::output(&told(&body)),
        Ok((status, body)) => {
            eprint!("{url} answers {status}\n{}", told(&body));
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

/// Status and body of an answer.
fn ask(authority: &str, path: &str) -> std::io::Result<(u16, String)> {
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| Error::new(ErrorKind::AddrNotAvailable, "the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.take(LONGEST).read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(code) = code else {
        read?;
        return Err(Error::new(ErrorKind::InvalidData, "the answer is not HTTP"));
    };
    // A server that keeps the connection open has said what counts.
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((code, body.unwrap_or_default()))
}

/// Warnings and monthly budgets, a line each. Nothing if the answer has none, or is not JSON.
fn told(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    for warning in list("warnings").iter().filter_map(Value::as_str) {
        let _ = writeln!(text, "warning: {}", escaped(warning));
    }
    for budget in list("budgets") {
        let word = |name: &str| budget[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| budget[name].as_u64().unwrap_or_default();
        let state = match &*word("state") {
            "paced" => "a part is left out, so that the rest lasts to the end of the month",
            "spent" => "used up: nothing passes until the month ends",
            _ => "everything passes",
        };
        let (used, limit, percent) = (number("used"), number("limit"), number("percent"));
        let line = format!(
            "{}: {used} of {limit} {} used ({percent} %), {state}",
            word("exporter"),
            word("unit")
        );
        let _ = writeln!(text, "budget of {}", escaped(&line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_budgets_are_shown() {
        let body = r#"{"status":"Server available","warnings":["the \u001bbudget is nearly used up"],
            "budgets":[{"exporter":"honeycomb","unit":"events","used":81,"limit":100,"percent":81,
            "state":"paced"},{"exporter":"awsxray","unit":"traces","used":7,"limit":7,"percent":100,
            "state":"spent"}]}"#;
        let text = told(body);
        assert_eq!(
            text,
            "warning: the \\x1bbudget is nearly used up\n\
             budget of honeycomb: 81 of 100 events used (81 %), a part is left out, so that the \
             rest lasts to the end of the month\n\
             budget of awsxray: 7 of 7 traces used (100 %), used up: nothing passes until the month \
             ends\n"
        );
        for other in ["", "Server available", "{}", "[]", r#"{"warnings":7,"budgets":{}}"#] {
            assert_eq!(told(other), "", "{other:?}");
        }
    }
}
