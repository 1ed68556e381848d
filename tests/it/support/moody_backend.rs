//! A backend for OTLP/HTTP that refuses as it is told, written on sockets, which shares no code
//! with skep.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the backend accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything.
    Open,
    /// Everything but requests with the word `poison`.
    Picky,
    /// Nothing: the sender is not authorized.
    Denying,
    /// Requests of at most 4 kB.
    Narrow,
}

/// A backend; clones are the same one.
#[derive(Clone)]
pub(crate) struct MoodyBackend(Arc<Mutex<State>>);

struct State {
    mood: Mood,
    /// Bodies of the requests that it took.
    taken: Vec<Vec<u8>>,
}

impl MoodyBackend {
    pub(crate) fn start(mood: Mood) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let backend = MoodyBackend(Arc::new(Mutex::new(State { mood, taken: Vec::new() })));
        let served = backend.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    while served.take(&mut reader).is_some() {}
                });
            }
        });
        (backend, port)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// How many accepted requests contain a word.
    pub(crate) fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap().taken.iter().filter(|body| has(body, word)).count()
    }

    /// Reads one request and answers it; `None` if the connection has ended.
    fn take(&self, reader: &mut BufReader<&TcpStream>) -> Option<()> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let mut state = self.0.lock().unwrap();
        let refusal = match state.mood {
            Mood::Picky if has(&body, "poison") => Some("400 Bad Request"),
            Mood::Denying => Some("401 Unauthorized"),
            Mood::Narrow if body.len() > 4000 => Some("413 Payload Too Large"),
            _ => None,
        };
        if refusal.is_none() {
            state.taken.push(body);
        }
        drop(state);
        let words = if refusal.is_some() { "this is not for me" } else { "" };
        let status = refusal.unwrap_or("200 OK");
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{words}",
            words.len()
        );
        reader.get_mut().write_all(answer.as_bytes()).ok()
    }
}

fn has(body: &[u8], word: &str) -> bool {
    body.windows(word.len()).any(|window| window == word.as_bytes())
}
