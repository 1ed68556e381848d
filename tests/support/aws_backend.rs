//! An AWS of our own for tests, stricter than the stand-ins that there are: signatures are checked, and
//! the limits of `PutTraceSegments`. It shares no code with skep.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "signature.rs"]
mod signature;

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use self::signature::{Keys, header};

/// The keys that it knows.
pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// What came, and what is answered.
#[derive(Default)]
pub(crate) struct Aws {
    /// Documents of each request that was taken.
    pub(crate) taken: Vec<Vec<Value>>,
    /// Requests that were refused, and why.
    pub(crate) faults: Vec<String>,
    /// Statuses of the next answers instead of 200.
    pub(crate) refuse: VecDeque<u16>,
}

/// Starts it; gives its port.
pub(crate) fn aws_backend() -> (Arc<Mutex<Aws>>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let aws = Arc::new(Mutex::new(Aws::default()));
    let served = Arc::clone(&aws);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = Arc::clone(&served);
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while serve(&mut reader, &served).is_some() {}
            });
        }
    });
    (aws, port)
}

/// Reads one request and answers it; none when the connection has ended.
fn serve(reader: &mut BufReader<&TcpStream>, aws: &Mutex<Aws>) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let len = header(&head, "content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let mut aws = aws.lock().unwrap();
    let (status, answer) = aws.answer(&head, &body);
    let answer = answer.to_string();
    let code = answer.contains("Exception").then_some("x-amzn-errortype: ThrottledException\r\n");
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{answer}",
        code.unwrap_or_default(),
        answer.len()
    );
    reader.get_mut().write_all(text.as_bytes()).ok()
}

impl Aws {
    fn answer(&mut self, head: &str, body: &[u8]) -> (u16, Value) {
        if let Err(fault) = check_signature(head, body) {
            self.faults.push(fault);
            return (403, json!({"message": "The request signature does not match"}));
        }
        if let Some(status) = self.refuse.pop_front() {
            return (status, json!({"__type": "ThrottledException", "message": "Rate exceeded"}));
        }
        match documents(head, body) {
            Err(fault) => {
                self.faults.push(fault.clone());
                (400, json!({"message": fault}))
            }
            Ok(documents) => {
                let refused: Vec<Value> = documents
                    .iter()
                    .filter(|one| one["name"] == "refused")
                    .map(
                        |one| json!({"Id": one["id"], "ErrorCode": "InvalidName", "Message": "no"}),
                    )
                    .collect();
                self.taken.push(documents);
                (200, json!({"UnprocessedTraceSegments": refused}))
            }
        }
    }
}

fn check_signature(head: &str, body: &[u8]) -> Result<(), String> {
    let keys = Keys { id: KEY.to_owned(), secret: SECRET.to_owned(), token: None };
    let (service, region) = signature::check(head, body, &keys)?;
    if (&*service, &*region) != ("xray", "ca-central-1") {
        return Err(format!("signed for {service} in {region}"));
    }
    Ok(())
}

/// Documents, each within the limits of the API.
fn documents(head: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    if !head.starts_with("POST /TraceSegments ") {
        return Err(format!("no such operation: {}", head.lines().next().unwrap_or_default()));
    }
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let all = request["TraceSegmentDocuments"].as_array().ok_or("no documents")?;
    if all.is_empty() || all.len() > 50 {
        return Err(format!("{} documents", all.len()));
    }
    all.iter()
        .map(|text| {
            let text = text.as_str().ok_or("a document is no text")?;
            let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let is_hex =
                |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            let id = document["id"].as_str().filter(|id| id.len() == 16 && is_hex(id));
            let trace =
                document["trace_id"].as_str().filter(|id| id.len() == 35 && id.starts_with("1-"));
            let name =
                document["name"].as_str().filter(|name| (1..=200).contains(&name.chars().count()));
            let is_whole = id.is_some() && trace.is_some() && name.is_some();
            if !is_whole || text.len() > 65_536 || document["start_time"].as_f64().is_none() {
                return Err(format!("not a segment: {text}"));
            }
            Ok(document)
        })
        .collect()
}
