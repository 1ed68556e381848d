//! Where data stops: the way of a signal through the process as a ladder of rungs, from the port to
//! the backends, each with what has happened there in one sentence.
//!
//! ```text
//! facts (counters of a window, states) --> ladder: port, requests, memory, processors, queue, backend
//! ```
//!
//! [`facts`] reads the process; everything else is a pure function of that, so that the tests are a
//! table of facts. A ladder goes by the last minute if something came in that time, otherwise by
//! the time since the start. That nothing has come is a finding, too.
//!
//! Reasons and remedies are those that receivers answer and that exporters note: the text up to
//! its first semicolon is the reason, the rest the remedy ([`Why`]).

mod door;
pub mod facts;
mod passage;
mod ways_out;

use std::time::{Duration, SystemTime};

use self::facts::{Counted, Facts};
use crate::{otlp::Signal, telemetry::words};

/// How a rung is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// All that came has passed.
    #[default]
    Ok,
    /// Nothing has come here.
    Nothing,
    /// A part has passed.
    Partial,
    /// Nothing passes.
    Stop,
}

impl State {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Nothing => "nothing",
            State::Partial => "partial",
            State::Stop => "stop",
        }
    }
}

/// What a rung is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Step {
    /// The ports of a receiver.
    #[default]
    Port,
    /// Whether requests are understood.
    Requests,
    /// The byte budget.
    Memory,
    /// A processor.
    Processor,
    /// A connector.
    Connector,
    /// The monthly budget of an exporter.
    Budget,
    /// The queue of an exporter.
    Queue,
    /// Where an exporter sends to.
    Backend,
}

impl Step {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Port => "port",
            Step::Requests => "requests",
            Step::Memory => "memory",
            Step::Processor => "processor",
            Step::Connector => "connector",
            Step::Budget => "budget",
            Step::Queue => "queue",
            Step::Backend => "backend",
        }
    }
}

/// Why something does not pass, and what mends it; both may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Why {
    pub reason: String,
    pub remedy: String,
}

impl Why {
    /// A message as receivers and exporters write it: the reason, a semicolon, the remedy.
    pub fn of(words: &str) -> Self {
        let (reason, remedy) = words.split_once("; ").unwrap_or((words, ""));
        Why { reason: reason.to_owned(), remedy: remedy.to_owned() }
    }

    /// The same with another remedy if the message has none.
    #[must_use]
    pub fn or(mut self, remedy: &str) -> Self {
        if self.remedy.is_empty() {
            remedy.clone_into(&mut self.remedy);
        }
        self
    }
}

/// One rung.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rung {
    pub step: Step,
    /// Component id; empty for the memory.
    pub id: String,
    /// Pipeline id, for processors.
    pub pipeline: String,
    pub state: State,
    /// What has happened, in one sentence.
    pub sentence: String,
    /// Items that came here.
    pub came: u64,
    /// Items, or requests where items are not known, that did not pass.
    pub stopped: u64,
    pub why: Why,
    /// Since when it is so, where that is known.
    pub since: Option<SystemTime>,
}

impl Rung {
    fn new(step: Step, id: &str) -> Self {
        Rung { step, id: id.to_owned(), ..Rung::default() }
    }

    /// What it is about, for people: `port otlp`, `batch`, `backend honeycomb`.
    pub fn place(&self) -> String {
        match self.step {
            Step::Processor => self.id.clone(),
            Step::Memory => "memory".to_owned(),
            Step::Requests => format!("requests {}", self.id),
            step => format!("{} {}", step.name(), self.id),
        }
    }
}

/// What a ladder goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The last minute, or less if the process is younger.
    Recent(Duration),
    /// The time since the start.
    Start(Duration),
}

impl Basis {
    fn of<T: Copy>(self, counted: Counted<T>) -> T {
        match self {
            Basis::Recent(_) => counted.recent,
            Basis::Start(_) => counted.total,
        }
    }

    /// `in the last 60 s`, `since the start 3 h ago`.
    pub fn text(self) -> String {
        match self {
            Basis::Recent(span) => format!("in the last {}", words::time(span)),
            Basis::Start(age) => format!("since the start {} ago", words::time(age)),
        }
    }
}

/// The way of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    pub signal: Signal,
    pub state: State,
    /// The worst rung in one sentence, or what has passed.
    pub finding: String,
    pub basis: Basis,
    pub rungs: Vec<Rung>,
}

/// The ladders of all signals that pipelines take, or of those in `wanted`. With a `service`, the
/// rungs of requests are about that service alone; behind the door its data is not told from
/// that of others.
pub fn ladders(facts: &Facts, wanted: &[Signal], service: Option<&str>) -> Vec<Ladder> {
    let mut wanted = wanted.to_vec();
    wanted.retain(|signal| facts.has_pipelines(*signal));
    if let Some(service) = service
        && let (Some(signal), false) = (wanted.first(), facts.knows(service))
    {
        return vec![View::new(facts, *signal, Some(service)).of_a_stranger(service)];
    }
    wanted.iter().map(|signal| View::new(facts, *signal, service).ladder()).collect()
}

/// Whether data stops somewhere, or has not come at all.
pub fn is_stopped(facts: &Facts, ladders: &[Ladder]) -> bool {
    let has_data = facts.doors.iter().any(|door| door.counts.total.requests > 0);
    !has_data || ladders.iter().any(|ladder| ladder.state == State::Stop)
}

/// What one ladder is made from.
struct View<'f> {
    facts: &'f Facts,
    signal: Signal,
    service: Option<&'f str>,
    basis: Basis,
}

impl<'f> View<'f> {
    fn new(facts: &'f Facts, signal: Signal, service: Option<&'f str>) -> Self {
        let doors = facts.doors.iter().filter(|door| door.signal == signal);
        let recent: u64 = doors.map(|door| door.counts.recent.all_requests()).sum();
        let is_recent = match service {
            None => recent > 0,
            Some(_) => facts.sightings(service).any(|one| one.recent.requests > 0),
        };
        let basis = if is_recent { Basis::Recent(facts.span) } else { Basis::Start(facts.uptime) };
        View { facts, signal, service, basis }
    }

    /// `1 234 spans`.
    fn items(&self, count: u64) -> String {
        words::counted(count, words::item(self.signal))
    }

    fn ladder(&self) -> Ladder {
        let mut rungs = self.door_rungs();
        rungs.extend(self.passage_rungs());
        rungs.extend(self.ways_out_rungs());
        self.of_rungs(rungs)
    }

    fn of_rungs(&self, rungs: Vec<Rung>) -> Ladder {
        let requests = rungs.iter().filter(|rung| rung.step == Step::Requests);
        let has_come = requests.clone().any(|rung| rung.state != State::Nothing);
        let worst = rungs.iter().map(|rung| rung.state).max().unwrap_or_default();
        let state = match worst {
            State::Stop => State::Stop,
            _ if !has_come => State::Nothing,
            State::Partial => State::Partial,
            _ => State::Ok,
        };
        let told = match state {
            State::Ok => None,
            State::Nothing => requests.clone().next(),
            state => rungs.iter().find(|rung| rung.state == state),
        };
        let finding = match (told, state) {
            (Some(rung), State::Nothing) => rung.sentence.clone(),
            (Some(rung), _) => format!("{}: {}", rung.place(), rung.sentence),
            (None, _) => self.passed(&rungs),
        };
        Ladder { signal: self.signal, state, finding, basis: self.basis, rungs }
    }

    fn passed(&self, rungs: &[Rung]) -> String {
        let of = |step: Step| rungs.iter().filter(move |rung| rung.step == step);
        let came: u64 = of(Step::Requests).map(|rung| rung.came).sum();
        let backends = of(Step::Backend).filter(|rung| rung.state == State::Ok).count();
        let backends = words::counted(backends as u64, "backend");
        format!("{} came {}; {backends} took data", self.items(came), self.basis.text())
    }
}

#[cfg(test)]
mod tests;
