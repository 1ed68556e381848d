//! A tap as a stream of server-sent events, for one page alone.
//!
//! Each event is one message of the control plane's `Tap`, with its items as a page shows them
//! ([`row`]). A task of its own makes the events, so that a page which does not read ends its tap
//! after [`STUCK`]. The tap closes with the connection.

mod row;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status};

use self::row::Row;
use super::{Level, access::Refusal, api::json, query::Query};
use crate::{
    admin::{
        proto::{TapCounts, TapEnd, TapRequest, TapResponse, TapSide},
        tap::{self, Open, Point, Through},
    },
    component::Stop,
    net::server::Reply,
    telemetry::Telemetry,
};

/// What can be asked.
const PARAMETERS: [&str; 9] =
    ["pipeline", "component", "side", "where", "rate", "limit", "seconds", "redact", "names_only"];

/// Most items a second: more than anybody reads, and less than burdens a browser.
const RATE: u64 = 500;

/// A page that has taken nothing for so long loses its tap to others.
const STUCK: Duration = Duration::from_secs(45);

/// Answer to `taps`.
#[derive(Debug, Serialize)]
struct Points {
    taps: Vec<Point>,
}

/// All that can be tapped.
pub(super) fn points(telemetry: &Telemetry) -> Bytes {
    json(&Points { taps: tap::points(telemetry) })
}

/// Opens a tap, or says why not.
pub(super) fn open(telemetry: &Arc<Telemetry>, level: Level, query: &str) -> Result<Open, Refusal> {
    let request = request(&Query::read(query, &PARAMETERS)?)?;
    let through = Through::Console { shows_contents: level >= Level::Data };
    tap::open(telemetry, through, request).map_err(|status| refusal(&status))
}

fn request(query: &Query) -> Result<TapRequest, Refusal> {
    let side = match query.text("side") {
        "" => TapSide::Unspecified,
        "both" => TapSide::Both,
        "in" => TapSide::In,
        "out" => TapSide::Out,
        other => {
            let error = format!("`{}` is no side", other.escape_debug());
            let help = "a side is `both`, `in` or `out`";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, error, help));
        }
    };
    Ok(TapRequest {
        pipeline: query.text("pipeline").to_owned(),
        component: query.text("component").to_owned(),
        side: side.into(),
        r#where: query.text("where").to_owned(),
        rate: u32::try_from(query.number("rate")?.min(RATE)).unwrap_or_default(),
        limit: query.number("limit")?,
        for_ms: query.number("seconds")?.saturating_mul(1000),
        redact: query.texts("redact").map(str::to_owned).collect(),
        names_only: query.text("names_only") == "true",
    })
}

/// The answer to a tap that cannot be opened. What is wrong with a condition has its place in it,
/// over several lines.
fn refusal(status: &Status) -> Refusal {
    let code = match status.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(code, status.message(), "")
}

/// The events of a tap, until it ends or its page is gone.
pub(super) fn stream(open: Open, stop: Stop) -> Reply {
    let (sender, parts) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(feed(open, sender, stop));
    // The task ends with the body that owns it.
    Reply::streamed(parts, async move { while tasks.join_next().await.is_some() {} })
}

async fn feed(open: Open, sender: mpsc::Sender<Bytes>, stop: Stop) {
    let (shown, mut responses) = mpsc::channel(1);
    let telling = async move {
        while let Some(Ok(response)) = responses.recv().await {
            // Items are read again for their fields, which takes a while.
            let made = tokio::task::spawn_blocking(move || event(response));
            let Ok(event) = made.await else { return };
            if !matches!(timeout(STUCK, sender.send(event)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    // Without somebody to tell, the tap ends, too.
    tokio::join!(telling, tap::run(stop, open, shown));
}

/// One message.
#[derive(Debug, Serialize)]
struct Message {
    items: Vec<Row>,
    counts: Option<TapCounts>,
    /// Why there is no more; empty as long as it goes on.
    end: &'static str,
}

fn event(response: TapResponse) -> Bytes {
    let end = match response.end() {
        TapEnd::Unspecified => "",
        TapEnd::Time => "its time is over",
        TapEnd::Limit => "it has shown as much as was asked for",
        TapEnd::Gone => "its component is gone: the configuration was reloaded",
        TapEnd::Shutdown => "skep ends",
        TapEnd::Fault => "an item could not be read, which is a defect of skep",
    };
    let items = response.items.into_iter().map(Row::of).collect();
    let data = json(&Message { items, counts: response.counts, end });
    let mut event = Vec::with_capacity(data.len() + 20);
    event.extend_from_slice(b"event: tap\ndata: ");
    // JSON has no line feeds outside of text, where they are escaped.
    event.extend_from_slice(&data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests;
