//! `skep status`: what a running skep does, on one screen: the last data of each receiver, who
//! sends, the traffic on every edge, and the state of every exporter.

mod text;

use std::{io::IsTerminal as _, time::Duration};

use serde_json::json;
use tonic::{Status, transport::Channel};

use super::{
    columns,
    control::{Patience, ask},
    print,
};
use crate::admin::proto::{
    Component, Edge, HealthRequest, HealthResponse, Sender, SenderCounts, State, TopologyRequest,
    TopologyResponse, WatchSendersRequest, WatchSendersResponse,
    control_service_client::ControlServiceClient,
};

/// Time between two screens.
const INTERVAL: Duration = Duration::from_secs(1);

/// Moves the cursor to the upper left corner, and clears what is below it.
const AGAIN: &str = "\u{1b}[H\u{1b}[J";
/// Clears the whole screen.
const CLEAR: &str = "\u{1b}[2J";

/// What a screen is made of.
struct Reading {
    health: HealthResponse,
    topology: TopologyResponse,
    senders: WatchSendersResponse,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Form {
    /// Keep showing it, once a second.
    #[arg(long)]
    watch: bool,
    /// One JSON document, for programs; with `--watch` one a line.
    #[arg(long)]
    json: bool,
}

/// Prints what a running skep does.
pub(super) fn run(endpoint: &str, form: Form) -> u8 {
    ask(endpoint, async |mut client| {
        let is_screen = form.watch && !form.json && std::io::stdout().is_terminal();
        let mut is_first = true;
        loop {
            let reading = read(endpoint, &mut client).await?;
            let text = match form {
                Form { json: true, watch: true } => format!("{}\n", document(&reading)),
                Form { json: true, .. } => format!("{:#}\n", document(&reading)),
                _ => text::screen(&reading, columns::width(), columns::has_colour()),
            };
            let before = match (is_screen, is_first, form.json) {
                (true, true, _) => format!("{CLEAR}{AGAIN}"),
                (true, false, _) => AGAIN.to_owned(),
                (false, false, false) => "\n".to_owned(),
                _ => String::new(),
            };
            is_first = false;
            if print::write(&format!("{before}{text}")).is_err() || !form.watch {
                // The reader has closed the pipe, or the disk is full.
                return Ok(print::output(""));
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

async fn read(
    endpoint: &str,
    client: &mut ControlServiceClient<Channel>,
) -> Result<Reading, Status> {
    let patience = Patience::short(endpoint);
    let health = patience.wait(client.health(HealthRequest {})).await?.into_inner();
    let topology = patience.wait(client.topology(TopologyRequest::default())).await?.into_inner();
    let request = WatchSendersRequest::default();
    let mut stream = patience.wait(client.watch_senders(request)).await?.into_inner();
    let senders = patience.wait(stream.message()).await?.unwrap_or_default();
    Ok(Reading { health, topology, senders })
}

const fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Stopped => "stopped",
        State::Idle => "idle",
        State::Ok => "ok",
        State::Error => "failing",
    }
}

/// The components of a kind, with their states.
fn of_kind<'r>(reading: &'r Reading, kind: &'r str) -> impl Iterator<Item = &'r Component> {
    reading.health.components.iter().filter(move |one| one.kind == kind)
}

/// What is shown, for programs.
fn document(reading: &Reading) -> serde_json::Value {
    let Reading { health, topology, senders } = reading;
    let receiver = |one: &Component| {
        json!({
            "id": one.id,
            "signal": one.signal,
            "state": state(one.state()),
            "last_data_age_ms": one.last_data_age_ms,
        })
    };
    let edge = |edge: &Edge| {
        json!({
            "pipeline": edge.pipeline,
            "from": edge.from,
            "to": edge.to,
            "items": edge.items,
            "bytes": edge.bytes,
            "items_per_second": edge.items_per_second,
            "bytes_per_second": edge.bytes_per_second,
        })
    };
    let budget = health.budget.unwrap_or_default();
    json!({
        "ready": health.ready,
        "version": health.version,
        "uptime_ms": health.uptime_ms,
        "memory": {"used_bytes": budget.used_bytes, "limit_bytes": budget.limit_bytes},
        "receivers": of_kind(reading, "receiver").map(receiver).collect::<Vec<_>>(),
        "senders": senders.senders.iter().map(sender).collect::<Vec<_>>(),
        "forgotten_senders": senders.forgotten,
        "edges": topology.edges.iter().map(edge).collect::<Vec<_>>(),
        "exporters": of_kind(reading, "exporter").map(exporter).collect::<Vec<_>>(),
    })
}

fn exporter(one: &Component) -> serde_json::Value {
    let queue = one.queue.clone().unwrap_or_default();
    json!({
        "id": one.id,
        "signal": one.signal,
        "destination": one.destination,
        "state": state(one.state()),
        "last_success_age_ms": one.last_success_age_ms,
        "last_error": (!one.last_error.is_empty()).then_some(&one.last_error),
        "failing_age_ms": one.failing_age_ms,
        "failed_attempts": one.failed_attempts,
        "queue": {"size": queue.size, "capacity": queue.capacity, "unit": queue.unit},
    })
}

fn sender(one: &Sender) -> serde_json::Value {
    let counts = |counts: &Option<SenderCounts>| {
        let counts = counts.unwrap_or_default();
        json!({
            "requests": counts.requests,
            "refused": counts.refused,
            "spans": counts.spans,
            "data_points": counts.data_points,
            "log_records": counts.log_records,
        })
    };
    json!({
        "service": one.service,
        "agent": one.agent,
        "receiver": one.receiver,
        "transport": one.transport,
        "peer": one.peer,
        "sdk": {
            "name": one.sdk_name,
            "language": one.sdk_language,
            "version": one.sdk_version,
        },
        "encoding": one.encoding,
        "compression": one.compression,
        "last_age_ms": one.last_age_ms,
        "total": counts(&one.total),
        "recent": counts(&one.recent),
        "recent_span_ms": one.recent_span_ms,
        "refusal": (!one.refusal.is_empty()).then_some(&one.refusal),
        "refusal_age_ms": one.refusal_age_ms,
        "unnamed": one.unnamed,
        "near": (!one.near.is_empty()).then_some(&one.near),
    })
}

#[cfg(test)]
mod tests;
