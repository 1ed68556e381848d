//! What `skep top` shows of a running skep: two readings of its counters become rows, one for each
//! component of each pipeline.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    admin::proto::{Component, Edge, HealthResponse, Node, State, TopologyResponse, Traffic},
    cli::flow,
};

/// The counters of a process at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// Since the command began.
    pub(super) at: Duration,
    pub(super) health: HealthResponse,
    pub(super) topology: TopologyResponse,
}

/// A component of a pipeline. Rates are per second, and `None` before there are two readings.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row {
    pub(super) pipeline: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) state: State,
    pub(super) rates: Option<Rates>,
    /// Items refused or lost, and requests turned away, since the start.
    pub(super) errors: u64,
    /// Size and capacity of the queue of an exporter.
    pub(super) queue: Option<(u64, u64, String)>,
    /// Age of the oldest item in it, or in what is on disk.
    pub(super) oldest: Option<Duration>,
    /// Words of the last failure since the last success, and how long ago it was.
    pub(super) last_error: Option<(String, Duration)>,
    /// Where an exporter sends to.
    pub(super) destination: String,
}

/// What passes a component in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    pub(super) incoming: f64,
    pub(super) outgoing: f64,
    pub(super) bytes: f64,
    pub(super) dropped: f64,
}

/// Counters of a component in a pipeline.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    incoming: u64,
    outgoing: u64,
    bytes: u64,
    dropped: u64,
}

impl Row {
    /// What identifies it from one reading to the next.
    #[cfg_attr(not(feature = "terminal"), expect(dead_code, reason = "only the screen asks"))]
    pub(super) fn key(&self) -> (String, String, String) {
        (self.pipeline.clone(), self.kind.clone(), self.id.clone())
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let rates = self.rates.map(|rates| {
            json!({
                "in_per_s": rounded(rates.incoming), "out_per_s": rounded(rates.outgoing),
                "bytes_per_s": rounded(rates.bytes), "dropped_per_s": rounded(rates.dropped),
            })
        });
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let queue = self.queue.as_ref().map(
            |(size, capacity, unit)| json!({"size": size, "capacity": capacity, "unit": unit}),
        );
        let error = self
            .last_error
            .as_ref()
            .map(|(words, age)| json!({"message": words, "age_ms": millis(*age)}));
        json!({
            "pipeline": self.pipeline, "kind": self.kind, "id": self.id, "state": state(self.state),
            "rates": rates, "errors": self.errors, "queue": queue,
            "oldest_ms": self.oldest.map(millis), "last_error": error,
        })
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// A state in a word.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "",
        State::Stopped => "stopped",
        State::Idle => "idle",
        State::Ok => "ok",
        State::Error => "error",
    }
}

/// The rows of a reading, with the rates since an earlier one of the same process.
pub(super) fn rows(now: &Reading, before: Option<&Reading>) -> Vec<Row> {
    let before = before.filter(|before| is_same_process(before, now));
    let seconds = before.map(|before| now.at.saturating_sub(before.at).as_secs_f64());
    let components = components(now);
    let earlier = before.map(self::components).unwrap_or_default();
    let row = |node: &&Node| {
        let component = components.get(&place(node)).copied();
        let counters = counters(node, &now.topology, component);
        let rates =
            before.zip(seconds.filter(|seconds| *seconds > 0.0)).map(|(before, seconds)| {
                let earlier = earlier.get(&place(node)).copied();
                rates(counters, self::counters(node, &before.topology, earlier), seconds)
            });
        let mut row = Row {
            pipeline: node.pipeline.clone(),
            kind: node.kind.clone(),
            id: node.id.clone(),
            rates,
            ..Row::default()
        };
        if let Some(component) = component {
            describe(&mut row, component);
        }
        row
    };
    flow::in_order(&now.topology).iter().map(row).collect()
}

/// Whether the process has not been started anew between two readings.
fn is_same_process(before: &Reading, now: &Reading) -> bool {
    now.health.uptime_ms >= before.health.uptime_ms
}

type Place = (String, String, String);

/// Components by kind, id, and pipeline or signal.
fn components(reading: &Reading) -> HashMap<Place, &Component> {
    let key = |one: &Component| {
        let place = if one.kind == "processor" { &one.pipeline } else { &one.signal };
        (one.kind.clone(), one.id.clone(), place.clone())
    };
    reading.health.components.iter().map(|one| (key(one), one)).collect()
}

fn place(node: &Node) -> Place {
    let signal = node.pipeline.split('/').next().unwrap_or_default();
    let place = if node.kind == "processor" { &*node.pipeline } else { signal };
    (node.kind.clone(), node.id.clone(), place.to_owned())
}

fn describe(row: &mut Row, component: &Component) {
    let age = Duration::from_millis;
    let traffic = component.traffic.unwrap_or_default();
    row.state = component.state();
    row.errors = traffic.refused + traffic.lost + traffic.rejected_requests;
    row.destination.clone_from(&component.destination);
    if let Some(queue) = &component.queue {
        row.queue = Some((queue.size, queue.capacity, queue.unit.clone()));
        row.oldest = queue.oldest_age_ms.map(age);
    }
    let on_disk = component.storage.iter().filter_map(|log| log.oldest_age_ms).max().map(age);
    row.oldest = row.oldest.max(on_disk);
    if !component.last_error.is_empty() {
        let ago = component.last_error_age_ms.map(age).unwrap_or_default();
        row.last_error = Some((component.last_error.clone(), ago));
    }
}

/// What passed a component in its pipeline. Its own counters say what came out of an exporter; of
/// the rest the edges of the pipeline say more, since receivers may feed several.
fn counters(node: &Node, topology: &TopologyResponse, component: Option<&Component>) -> Counters {
    let name = format!("{} {}", node.kind, node.id);
    let edges = || topology.edges.iter().filter(|edge| edge.pipeline == node.pipeline);
    let into: Vec<&Edge> = edges().filter(|edge| edge.to == name).collect();
    // Each edge from a component has all that it hands on.
    let from: Vec<&Edge> = edges().filter(|edge| edge.from == name).collect();
    let from_items = from.iter().map(|edge| edge.items).max().unwrap_or(0);
    let into_items = into.iter().map(|edge| edge.items).sum();
    let bytes = if into.is_empty() {
        from.iter().map(|edge| edge.bytes).max().unwrap_or(0)
    } else {
        into.iter().map(|edge| edge.bytes).sum()
    };
    let traffic = component.and_then(|component| component.traffic).unwrap_or_default();
    let Traffic { filtered, refused, lost, .. } = traffic;
    let (incoming, outgoing) = match &*node.kind {
        "processor" => (traffic.incoming, traffic.outgoing),
        "exporter" => (into_items, traffic.outgoing),
        _ if into.is_empty() => (from_items, from_items),
        _ => (into_items, from_items),
    };
    Counters { incoming, outgoing, bytes, dropped: filtered + refused + lost }
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn rates(now: Counters, before: Counters, seconds: f64) -> Rates {
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    Rates {
        incoming: rate(now.incoming, before.incoming),
        outgoing: rate(now.outgoing, before.outgoing),
        bytes: rate(now.bytes, before.bytes),
        dropped: rate(now.dropped, before.dropped),
    }
}

/// The worst that there is to say, in one line; `None` if all is well.
pub(super) fn worst(reading: &Reading, rows: &[Row]) -> Option<String> {
    if !reading.health.ready {
        return Some("the pipelines do not run: skep is starting or ending".to_owned());
    }
    let failing = rows.iter().find_map(|row| Some((row, row.last_error.as_ref()?)));
    if let Some((row, (words, ago))) = failing {
        return Some(format!("{} {}: {words} ({} ago)", row.kind, row.id, age(*ago)));
    }
    let full = rows.iter().find(|row| {
        row.queue.as_ref().is_some_and(|(size, most, _)| *most > 0 && size * 10 >= most * 9)
    });
    if let Some(row) = full {
        return Some(format!("{} {}: its queue is nearly full", row.kind, row.id));
    }
    let budget = reading.health.budget.unwrap_or_default();
    (budget.waiting_requests > 0)
        .then(|| format!("{} requests wait for memory", budget.waiting_requests))
}

/// A time in a few characters: `3s`, `12m`, `5h`, `2d`.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs() {
        0 => format!("{}ms", age.as_millis()),
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number in a few characters: `0.5`, `42`, `1.23k`, `45.6M`.
pub(super) fn short(number: f64) -> String {
    let units = [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
    let unit = units.iter().rev().find(|(_, size)| number >= *size * 0.9995);
    let (name, size) = unit.unwrap_or(&units[0]);
    let value = number / size;
    let is_whole = name.is_empty() && (value >= 10.0 || (value - value.round()).abs() < 0.05);
    match value {
        _ if is_whole => format!("{value:.0}"),
        _ if name.is_empty() => format!("{value:.1}"),
        ..9.995 => format!("{value:.2}{name}"),
        ..99.95 => format!("{value:.1}{name}"),
        _ => format!("{value:.0}{name}"),
    }
}

#[cfg(test)]
pub(super) mod tests;
