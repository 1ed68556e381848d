//! `skep why`: where data stops in a running skep, as a ladder from the port to the backends.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    columns::{self, Tone, left, toned, wrapped},
    control::{Patience, ask},
    print,
};
use crate::{
    admin::proto::{Ladder, Rung, RungState, WhereStoppedRequest, WhereStoppedResponse},
    config::shown::escaped,
    telemetry::words::percent,
};

/// The exit code if data stops somewhere, or has not come.
const STOPPED: u8 = 1;

/// Most columns of the names of rungs.
const PLACE: usize = 26;
/// Columns of states.
const STATE: usize = 6;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// A `service.name`; without it all services are looked at.
    service: Option<String>,
    /// Only this signal.
    #[arg(long, value_parser = ["traces", "metrics", "logs"])]
    signal: Option<String>,
    /// One JSON document, for programs.
    #[arg(long)]
    json: bool,
}

/// Prints the ladders. Fails if data stops somewhere.
pub(super) fn run(endpoint: &str, question: &Question) -> u8 {
    ask(endpoint, async |mut client| {
        let service = question.service.as_deref();
        let request = WhereStoppedRequest {
            signal: question.signal.clone().unwrap_or_default(),
            service: service.unwrap_or_default().to_owned(),
        };
        let answer = Patience::short(endpoint).wait(client.where_stopped(request)).await?;
        let answer = answer.into_inner();
        let text = if question.json {
            format!("{:#}\n", document(&answer))
        } else {
            text(&answer, service, columns::width(), columns::has_colour())
        };
        let code = print::output(&text);
        Ok(if code == 0 && answer.stopped { STOPPED } else { code })
    })
}

/// The ladders for people.
fn text(
    answer: &WhereStoppedResponse,
    service: Option<&str>,
    width: usize,
    has_colour: bool,
) -> String {
    let mut text = String::new();
    // If nothing has come at all, one ladder says so, with what to do.
    let is_silent = |ladder: &Ladder| ladder.state() == RungState::Nothing;
    let are_silent = answer.ladders.iter().all(is_silent);
    for (at, ladder) in answer.ladders.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let of = service.map(|service| format!(" of {}", escaped(service))).unwrap_or_default();
        let head = format!("{}{of}: ", ladder.signal);
        let indent = 2;
        let (word, tone) = mark(ladder.state());
        let finding = wrapped(&escaped(&ladder.finding), indent, width - head.len().min(width / 2));
        let _ = writeln!(text, "{head}{}  {finding}", toned(word, tone, has_colour));
        if is_silent(ladder) && (at > 0 || !are_silent) {
            continue;
        }
        let place = ladder.rungs.iter().map(|rung| rung.place.chars().count()).max().unwrap_or(0);
        for (number, rung) in ladder.rungs.iter().enumerate() {
            text.push_str(&line(rung, number + 1, place.min(PLACE), (width, has_colour)));
        }
    }
    if answer.ladders.is_empty() {
        text.push_str("no pipeline takes this signal\n");
    }
    text
}

/// A rung: what it is about, its state, a sentence; and why, and what to do.
fn line(rung: &Rung, number: usize, place: usize, (width, has_colour): (usize, bool)) -> String {
    let indent = 3 + place + 1 + STATE + 1;
    let (word, tone) = mark(rung.state());
    let part = (rung.step == "processor" && rung.state() == RungState::Partial && rung.came > 0)
        .then(|| format!("-{}", percent(rung.stopped, rung.came)));
    let word = left(part.as_deref().filter(|_| rung.stopped > 0).unwrap_or(word), STATE);
    let sentence = wrapped(&escaped(&rung.sentence), indent, width);
    let mut text = format!(
        "{number:>2} {} {} {sentence}\n",
        left(&escaped(&rung.place), place),
        toned(&word, tone, has_colour)
    );
    for (name, words) in [("why: ", &rung.reason), ("do:  ", &rung.remedy)] {
        if !words.is_empty() {
            let words = wrapped(&escaped(words), indent + name.len(), width);
            let _ = writeln!(text, "{}{name}{words}", " ".repeat(indent));
        }
    }
    text
}

const fn mark(state: RungState) -> (&'static str, Tone) {
    match state {
        RungState::Ok => ("ok", Tone::Good),
        RungState::Partial => ("partly", Tone::Doubtful),
        RungState::Stop => ("STOP", Tone::Bad),
        RungState::Nothing | RungState::Unspecified => ("-", Tone::Plain),
    }
}

const fn state(state: RungState) -> &'static str {
    match state {
        RungState::Ok => "ok",
        RungState::Nothing => "nothing",
        RungState::Partial => "partial",
        RungState::Stop => "stop",
        RungState::Unspecified => "unknown",
    }
}

/// The same for programs.
fn document(answer: &WhereStoppedResponse) -> serde_json::Value {
    let rung = |rung: &Rung| {
        json!({
            "step": rung.step,
            "id": rung.id,
            "pipeline": rung.pipeline,
            "place": rung.place,
            "state": state(rung.state()),
            "sentence": rung.sentence,
            "came": rung.came,
            "stopped": rung.stopped,
            "reason": rung.reason,
            "remedy": rung.remedy,
            "since_unix_ms": rung.since_unix_ms,
        })
    };
    let ladder = |ladder: &Ladder| {
        json!({
            "signal": ladder.signal,
            "state": state(ladder.state()),
            "finding": ladder.finding,
            "span_ms": ladder.span_ms,
            "recent": ladder.recent,
            "rungs": ladder.rungs.iter().map(rung).collect::<Vec<_>>(),
        })
    };
    json!({
        "read_at_unix_ms": answer.read_at_unix_ms,
        "stopped": answer.stopped,
        "ladders": answer.ladders.iter().map(ladder).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
