//! The screen of `skep status`, for 80 columns and more.

use std::{fmt::Write as _, time::Duration};

use super::{Reading, of_kind};
use crate::{
    admin::proto::{Component, Edge, Sender, SenderCounts, State},
    cli::columns::{Tone, cut, left, right, toned, wrapped},
    config::shown::escaped,
    telemetry::words::{ago, counted, grouped, per_second, rate, time},
};

/// Senders that are shown.
const SENDERS: usize = 20;
/// Columns of the numbers of an edge.
const RATE: usize = 10;
/// Columns of names of senders and of exporters, at least.
const SENDER: usize = 23;
const EXPORTER: usize = 32;

/// How wide it may be, and whether it may have colours.
#[derive(Clone, Copy)]
struct Look {
    width: usize,
    has_colour: bool,
}

impl Look {
    /// Columns for names: as many as the longest needs, at least `least`, and so many that `others`
    /// more have room.
    fn fitting<'n>(
        self,
        names: impl Iterator<Item = &'n str>,
        least: usize,
        others: usize,
    ) -> usize {
        let longest = names.map(|name| escaped(name).chars().count()).max().unwrap_or(0);
        longest.clamp(least, self.width.saturating_sub(others).max(least))
    }
}

/// All of it.
pub(super) fn screen(reading: &Reading, width: usize, has_colour: bool) -> String {
    let look = Look { width, has_colour };
    let mut text = head(reading, look);
    text.push_str(&receivers(reading, look));
    text.push_str(&senders(reading, look));
    text.push_str(&edges(reading, look));
    text.push_str(&exporters(reading, look));
    text
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn head(reading: &Reading, look: Look) -> String {
    let health = &reading.health;
    let budget = health.budget.unwrap_or_default();
    let state = if health.ready {
        toned("running", Tone::Good, look.has_colour)
    } else {
        toned("not ready", Tone::Bad, look.has_colour)
    };
    format!(
        "skep {}, {state} for {}; data takes {} of {} MiB\n",
        escaped(&health.version),
        time(millis(health.uptime_ms)),
        grouped(budget.used_bytes.div_ceil(1 << 20)),
        grouped(budget.limit_bytes >> 20),
    )
}

/// The last data of each receiver, a line each.
fn receivers(reading: &Reading, look: Look) -> String {
    let mut text = "\nRECEIVERS  last data\n".to_owned();
    let mut ids: Vec<&str> = of_kind(reading, "receiver").map(|one| &*one.id).collect();
    ids.dedup();
    for id in ids {
        let is_its = |one: &&Component| one.id == id && is_used(reading, one);
        let signals = of_kind(reading, "receiver").filter(is_its).map(|one| {
            let age = one.last_data_age_ms.map_or("never".to_owned(), |age| ago(millis(age)));
            format!("{} {age}", one.signal)
        });
        let signals = signals.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "{} {}", left(&escaped(id), 20), cut(&signals, look.width - 21));
    }
    text
}

/// Whether a pipeline takes the signal of a receiver.
fn is_used(reading: &Reading, receiver: &Component) -> bool {
    let end = format!("receiver {}", receiver.id);
    let takes = |edge: &Edge| {
        edge.from == end && edge.pipeline.split('/').next() == Some(&*receiver.signal)
    };
    reading.topology.edges.iter().any(takes)
}

/// Who sends, with marks on what is probably a mistake.
fn senders(reading: &Reading, look: Look) -> String {
    let senders = &reading.senders.senders;
    if senders.is_empty() {
        return "\nSENDERS\nnobody has sent anything; `skep why` says what to tell an application\n"
            .to_owned();
    }
    let shown = || senders.iter().take(SENDERS);
    let columns = look.fitting(shown().map(name), SENDER, 57);
    let mut text = format!(
        "\n{} {} {} {} {} {}\n",
        left("SENDERS", columns),
        left("sdk", 15),
        left("via", 16),
        right("rate", 7),
        right("last", 7),
        right("refused", 7)
    );
    for one in shown() {
        text.push_str(&sender(one, columns, look));
    }
    let more = senders.len().saturating_sub(SENDERS) as u64 + reading.senders.forgotten;
    if more > 0 {
        let _ = writeln!(text, "... and {}", counted(more, "more sender"));
    }
    text
}

fn items(counts: &SenderCounts) -> u64 {
    counts.spans + counts.data_points + counts.log_records
}

/// A service, or the client whose requests never became data.
fn name(one: &Sender) -> &str {
    match (&one.service, &*one.agent) {
        (Some(service), _) if service.is_empty() => "(no service.name)",
        (Some(service), _) => service,
        (None, "") => "(unknown client)",
        (None, agent) => agent,
    }
}

fn sender(one: &Sender, columns: usize, look: Look) -> String {
    let (total, recent) = (one.total.unwrap_or_default(), one.recent.unwrap_or_default());
    let sdk = [&*one.sdk_language, &*one.sdk_version].join(" ");
    let via = [&*one.transport, &*one.encoding, &*one.compression];
    let via = via.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let rate = rate(per_second(items(&recent), millis(one.recent_span_ms)));
    let last = ago(millis(one.last_age_ms));
    let mut text = format!(
        "{} {} {} {} {} {}\n",
        left(&escaped(name(one)), columns),
        left(&escaped(sdk.trim()), 15),
        left(&escaped(&via), 16),
        right(&rate, 7),
        right(last.trim_end_matches(" ago"), 7),
        right(&grouped(total.refused), 7),
    );
    for note in notes(one, total.refused) {
        let note = wrapped(&escaped(&note), 4, look.width);
        let _ = writeln!(text, "    {}", toned(&note, Tone::Doubtful, look.has_colour));
    }
    text
}

/// What is worth a word about a sender.
fn notes(one: &Sender, refused: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if one.unnamed {
        notes.push("it has no name: set OTEL_SERVICE_NAME in the application".to_owned());
    }
    if !one.near.is_empty() {
        notes.push(format!("nearly the name of `{}`: a spelling mistake?", one.near));
    }
    if refused > 0 && !one.refusal.is_empty() {
        let from = if one.peer.is_empty() { String::new() } else { format!("from {}, ", one.peer) };
        let age = one.refusal_age_ms.map(|age| ago(millis(age))).unwrap_or_default();
        notes.push(format!("{from}{age}: {}", one.refusal));
    }
    notes
}

/// Items a second on every edge.
fn edges(reading: &Reading, look: Look) -> String {
    let edges = &reading.topology.edges;
    if edges.is_empty() {
        return String::new();
    }
    let mut text = "\nPIPELINES  items a second in the last 10 s, and since the start\n".to_owned();
    let mut pipelines: Vec<&str> = edges.iter().map(|edge| &*edge.pipeline).collect();
    pipelines.sort_unstable();
    pipelines.dedup();
    let title = |edge: &Edge| format!("{} -> {}", edge.from, edge.to);
    let names: Vec<String> = edges.iter().map(title).collect();
    let columns = look.fitting(names.iter().map(|name| &**name), 56, 2 * RATE + 4);
    for pipeline in pipelines {
        let _ = writeln!(text, "{}", escaped(pipeline));
        for edge in in_order(edges, pipeline) {
            text.push_str(&traffic(edge, &left(&escaped(&title(edge)), columns)));
        }
    }
    text
}

/// The edges of a pipeline in the order of the data.
fn in_order<'e>(edges: &'e [Edge], pipeline: &str) -> Vec<&'e Edge> {
    let mut rest: Vec<&Edge> = edges.iter().filter(|edge| edge.pipeline == pipeline).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let is_next = |edge: &&Edge| !rest.iter().any(|before| before.to == edge.from);
        let (next, later): (Vec<&Edge>, Vec<&Edge>) = rest.iter().copied().partition(is_next);
        if next.is_empty() {
            // A circle, which no configuration has.
            ordered.extend(later);
            break;
        }
        ordered.extend(next);
        rest = later;
    }
    ordered
}

fn traffic(edge: &Edge, name: &str) -> String {
    format!(
        "  {name} {} {}\n",
        right(&rate(edge.items_per_second), RATE),
        right(&grouped(edge.items), RATE)
    )
}

/// State, queue and last error of every exporter.
fn exporters(reading: &Reading, look: Look) -> String {
    let names: Vec<String> = of_kind(reading, "exporter").map(title).collect();
    let columns = look.fitting(names.iter().map(|name| &**name), EXPORTER, 45);
    let mut text = format!(
        "\n{} {} {} {}\n",
        left("EXPORTERS", columns),
        left("state", 8),
        left("queue", 22),
        left("last success", 12).trim_end()
    );
    for one in of_kind(reading, "exporter") {
        text.push_str(&exporter(one, columns, look));
    }
    text
}

/// An exporter with its signal.
fn title(one: &Component) -> String {
    format!("{} ({})", one.id, one.signal)
}

fn exporter(one: &Component, columns: usize, look: Look) -> String {
    let (word, tone) = match one.state() {
        State::Ok => ("ok", Tone::Good),
        State::Error => ("FAILING", Tone::Bad),
        State::Idle => ("idle", Tone::Plain),
        State::Stopped | State::Unspecified => ("stopped", Tone::Doubtful),
    };
    let queue = one.queue.clone().unwrap_or_default();
    let of =
        if queue.capacity > 0 { format!(" of {}", grouped(queue.capacity)) } else { String::new() };
    let queue = format!("{}{of} {}", grouped(queue.size), queue.unit);
    let success = one.last_success_age_ms.map_or("never".to_owned(), |age| ago(millis(age)));
    let mut text = format!(
        "{} {} {} {success}\n",
        left(&escaped(&title(one)), columns),
        toned(&left(word, 8), tone, look.has_colour),
        left(&escaped(&queue), 22),
    );
    if !one.last_error.is_empty() {
        let age = time(millis(one.failing_age_ms.unwrap_or_default()));
        let attempts = counted(one.failed_attempts, "attempt");
        let note = format!("for {age}, {attempts}: {}", one.last_error);
        let note = wrapped(&escaped(&note), 4, look.width);
        let _ = writeln!(text, "    {}", toned(&note, Tone::Bad, look.has_colour));
    }
    text
}
