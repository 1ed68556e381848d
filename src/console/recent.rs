//! Questions about what came lately: the list of traces, one trace, one span, queries, boards. They
//! are answered at level `data` only, by a few threads beside the io threads, and each answer has a
//! limit of its own, which is that of the store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use tokio::sync::Semaphore;

use super::{
    access::Refusal,
    api::{apart, json},
};
use crate::recent::{
    ExportError, Limits, Query, Recent, Status, TraceFilter, TraceList, boards, now, trace_id,
};

/// Questions that are answered at a time, since each takes a whole core.
const WORKERS: usize = 2;
/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest filter of a list, in bytes.
const LONGEST: usize = 16 << 10;

/// Asks the store.
pub(super) struct Questions {
    recent: Option<Arc<Recent>>,
    turns: Arc<Semaphore>,
}

impl Questions {
    pub(super) fn new(recent: Option<Arc<Recent>>) -> Self {
        Questions { recent, turns: Arc::new(Semaphore::new(WORKERS)) }
    }

    /// Traces that meet a filter, which is the query of a URL.
    pub(super) async fn traces(&self, query: &str) -> Result<Bytes, Refusal> {
        let filter = TraceFilter::read(&filter(query)?).map_err(|error| wrong(&error))?;
        self.ask(move |recent| {
            let (list, store) = (recent.traces(&filter, now()), Store::of(recent));
            json(&Listed { list, store })
        })
        .await
    }

    /// One trace in columns; `path` is `traces/ID`.
    pub(super) async fn trace(&self, path: &str) -> Result<Bytes, Refusal> {
        let id = id_of(path)?;
        let found = self.ask(move |recent| recent.trace(&id, now()).map(|trace| json(&trace)));
        found.await?.ok_or_else(gone)
    }

    /// One span in full; `path` is `traces/ID/spans/AT`.
    pub(super) async fn span(&self, path: &str) -> Result<Bytes, Refusal> {
        let id = id_of(path)?;
        let at = path.rsplit('/').next().and_then(|at| at.parse().ok()).ok_or_else(|| {
            let help = "a span is named by its number in `at` of its trace";
            Refusal::new(StatusCode::BAD_REQUEST, "this is no place of a span", help)
        })?;
        let id = format!("{:032x}", u128::from_be_bytes(id));
        let found = self.ask(move |recent| recent.span(at, now()));
        let span = found.await?.filter(|span| span.trace_id == id).ok_or_else(gone)?;
        Ok(json(&span))
    }

    /// A trace as the request that would send it; `path` is `traces/ID/export`.
    pub(super) async fn export(&self, path: &str) -> Result<Bytes, Refusal> {
        let id = id_of(path)?;
        let found = self.ask(move |recent| recent.export(&[id], now())).await?;
        found.map(Bytes::from).map_err(|error| match error {
            ExportError::Gone => gone(),
            ExportError::TooLarge => {
                let help = "skep keeps it, but does not write it at once";
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string(), help)
            }
        })
    }

    /// Answers a query, which is the body.
    pub(super) async fn query(&self, body: &[u8]) -> Result<Bytes, Refusal> {
        let query = Query::from_json(body).map_err(|error| wrong(&error))?;
        self.ask(move |recent| json(&recent.query(&query, Limits::default(), now()))).await
    }

    /// The boards with their queries.
    pub(super) fn boards() -> Bytes {
        let boards = boards::built_in();
        let shown = boards.iter().map(|board| Board {
            title: &board.title,
            panels: board.panels.iter().map(Panel::of).collect(),
        });
        json(&Boards { boards: shown.collect() })
    }

    /// Lets a thread work that is made for what takes a while, when it is its turn.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Recent) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(recent) = self.recent.clone() else {
            let error = "this skep keeps no recent data";
            let help = "its log says why at the start";
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, error, help));
        };
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let error = "the console is busy with other questions";
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                "try again in a moment",
            ));
        };
        // The turn ends with the work, also if nobody waits for the answer any more.
        apart(move || {
            let answer = work(&recent);
            drop(turn);
            answer
        })
        .await
    }
}

/// The name under which a browser saves an export.
pub(super) fn file_name(path: &str) -> String {
    let id = path.split('/').nth(1).unwrap_or_default().to_ascii_lowercase();
    format!("trace-{id}.json")
}

/// The id in `traces/ID/...`.
fn id_of(path: &str) -> Result<[u8; 16], Refusal> {
    path.split('/').nth(1).and_then(trace_id).ok_or_else(|| {
        let help = "an id has 32 hexadecimal digits";
        Refusal::new(StatusCode::BAD_REQUEST, "this is no id of a trace", help)
    })
}

fn gone() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "this trace is not held",
        "it may be older than what is kept, or have been left out under load",
    )
}

fn wrong(error: &crate::recent::QueryError) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error.to_string(), "see docs/console.md")
}

/// The filter of `?service=shop&min_ms=100&where=[["user.id","=","17"]]`: texts are texts, and the
/// rest is JSON.
fn filter(query: &str) -> Result<Json, Refusal> {
    if query.len() > LONGEST {
        let error = format!("the filter has more than {LONGEST} bytes");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, error, "use fewer conditions"));
    }
    let mut filter = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        let value = percent_encoding::percent_decode_str(&value).decode_utf8_lossy();
        let value = match key {
            "service" | "name" | "text" | "decision" | "sort" => Json::from(&*value),
            // What is not JSON is a text, which the filter refuses with the words of its key.
            _ => serde_json::from_str(&value).unwrap_or_else(|_| Json::from(&*value)),
        };
        filter.insert(key.to_owned(), value);
    }
    Ok(filter.into())
}

/// Answer to `traces`.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    list: TraceList,
    store: Store,
}

/// What is held, and for how long at most.
#[derive(Serialize)]
struct Store {
    age_s: u64,
    #[serde(flatten)]
    status: Status,
}

impl Store {
    fn of(recent: &Recent) -> Self {
        Store { age_s: recent.settings().age.as_secs(), status: recent.status() }
    }
}

/// Answer to `boards`.
#[derive(Serialize)]
struct Boards<'b> {
    boards: Vec<Board<'b>>,
}

#[derive(Serialize)]
struct Board<'b> {
    title: &'b str,
    panels: Vec<Panel<'b>>,
}

/// A panel, and its query as Honeycomb has it, with what is left out there.
#[derive(Serialize)]
struct Panel<'b> {
    #[serde(flatten)]
    own: &'b boards::Panel,
    honeycomb: Json,
    notes: Vec<String>,
}

impl<'b> Panel<'b> {
    fn of(panel: &'b boards::Panel) -> Self {
        let (honeycomb, notes) = boards::to_honeycomb(&panel.checked);
        Panel { own: panel, honeycomb, notes }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_the_query_of_a_url() {
        let read = |query| filter(query).unwrap();
        assert_eq!(read(""), json!({}));
        let expected = json!({"service": "12", "min_ms": 100.5, "errors": true, "text": "a b"});
        assert_eq!(read("service=12&min_ms=100.5&errors=true&text=a+b"), expected);
        let with_condition = read("where=%5B%5B%22user.id%22%2C%22%3D%22%2C%2217%22%5D%5D");
        assert_eq!(with_condition, json!({"where": [["user.id", "=", "17"]]}));
        for (query, words) in [
            ("min_ms=x", "`min_ms`: it has to be a number"),
            ("where=x", "`where`"),
            ("user.id=17", "there is no such key"),
            ("sort=x", "it has to be `start`"),
        ] {
            let error = TraceFilter::read(&read(query)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(filter(&"x".repeat(LONGEST + 1)).is_err());
    }
}
