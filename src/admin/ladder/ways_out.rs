//! The rungs behind the pipelines: monthly budgets, queues, backends.

use std::{fmt::Write as _, time::Duration};

use super::{
    Rung, State, Step, View, Why,
    facts::{Disk, Exporter, Queue},
};
use crate::telemetry::{
    verdict,
    words::{ago, counted, grouped, moment, time},
};

/// An attempt that takes this long on average is slow.
const SLOW: u64 = 1000;
/// Data that has waited for this long in a queue waits for a slow backend.
const LATE: Duration = Duration::from_secs(30);

impl View<'_> {
    pub(super) fn ways_out_rungs(&self) -> Vec<Rung> {
        let mut ids: Vec<&str> = Vec::new();
        for id in self.facts.pipelines_of(self.signal).flat_map(|pipeline| &pipeline.exporters) {
            if !ids.contains(&&**id) {
                ids.push(id);
            }
        }
        let mut rungs = Vec::new();
        for id in ids {
            let is_it = |one: &&Exporter| one.id == id && one.signal == self.signal;
            let Some(exporter) = self.facts.exporters.iter().find(is_it) else { continue };
            rungs.extend(self.budget(id));
            rungs.push(self.queue(exporter));
            rungs.push(self.backend(exporter));
        }
        rungs
    }

    /// Items that came to an exporter.
    fn came_to(&self, exporter: &Exporter) -> u64 {
        let to = format!("exporter {}", exporter.id);
        let is_of = |pipeline: &str| pipeline.split('/').next() == Some(self.signal.name());
        let edges = self.facts.edges.iter();
        let edges = edges.filter(|edge| edge.to == to && is_of(&edge.pipeline));
        edges.map(|edge| self.basis.of(edge.counts).items).sum()
    }

    fn budget(&self, id: &str) -> Option<Rung> {
        let budget = self.facts.budgets.iter().find(|budget| budget.exporter == id)?;
        let (used, limit, unit) = (grouped(budget.used), grouped(budget.limit), budget.unit);
        let used = format!("{used} of {limit} {unit} of the month used ({} %)", budget.percent);
        let rung = Rung { stopped: budget.left_out, ..Rung::new(Step::Budget, id) };
        let (state, sentence) = match budget.state {
            verdict::BudgetState::Open => (State::Ok, used),
            verdict::BudgetState::Paced => {
                let words = "a part is left out, so that the rest lasts to the end of the month";
                (State::Partial, format!("{used}; {words}"))
            }
            verdict::BudgetState::Spent => {
                (State::Stop, format!("{used}: nothing passes until the month ends"))
            }
        };
        let why = match state {
            State::Ok => Why::default(),
            _ => Why {
                reason: "the monthly budget".to_owned(),
                remedy: format!("`skep budget {id}` shows who wants it"),
            },
        };
        Some(Rung { state, sentence, why, ..rung })
    }

    fn queue(&self, exporter: &Exporter) -> Rung {
        let Queue { size, capacity, unit, in_flight, oldest, .. } = exporter.queue;
        let counts = self.basis.of(exporter.counts);
        let came = self.came_to(exporter);
        let rung =
            Rung { came, stopped: counts.enqueue_failed, ..Rung::new(Step::Queue, &exporter.id) };
        let of = if capacity > 0 { format!(" of {}", grouped(capacity)) } else { String::new() };
        let mut sentence = format!("{}{of} {unit} wait", grouped(size));
        if in_flight > 0 {
            let _ = write!(sentence, ", {} under way", counted(in_flight, "request"));
        }
        let is_full = |disk: &Disk| disk.full > 0 && counts.enqueue_failed > 0;
        if let Some(disk) = exporter.disk.filter(|disk| disk.is_missing || is_full(disk)) {
            let (reason, remedy) = if disk.is_missing {
                ("the directory of its storage is gone", "put it back, or restart skep")
            } else {
                ("its storage is full", "make room on the disk, or raise `max_size_mib`")
            };
            let why = Why { reason: reason.to_owned(), remedy: remedy.to_owned() };
            return Rung { state: State::Stop, sentence, why, ..rung };
        }
        // As full as the door sees it: then requests are refused before their bodies are read.
        let is_full = capacity > 0 && size + (capacity / 8).max(1) >= capacity;
        if is_full || counts.enqueue_failed > 0 {
            let state = if is_full && counts.sent == 0 { State::Stop } else { State::Partial };
            let lost = self.items(counts.enqueue_failed);
            let full = if is_full { "full: " } else { "was full: " };
            let lost = if counts.enqueue_failed > 0 {
                format!("; {lost} found no room")
            } else {
                String::new()
            };
            let reason = exporter.failure.as_ref().map(|one| Why::of(&one.text).reason);
            let why = Why {
                reason: reason.unwrap_or_else(|| "its backend takes less than comes".to_owned()),
                remedy:
                    "mend the backend, or raise `sending_queue: queue_size`, or give the queue \
                         a `storage`"
                        .to_owned(),
            };
            return Rung { state, sentence: format!("{full}{sentence}{lost}"), why, ..rung };
        }
        if let Some(age) = oldest.filter(|age| *age >= LATE) {
            let _ = write!(sentence, ", the oldest since {}", time(age));
            return Rung { state: State::Partial, sentence, ..rung };
        }
        let is_idle = came == 0 && size == 0;
        let state = if is_idle { State::Nothing } else { State::Ok };
        Rung { state, sentence, ..rung }
    }

    fn backend(&self, exporter: &Exporter) -> Rung {
        let counts = self.basis.of(exporter.counts);
        let came = self.came_to(exporter);
        let stopped = counts.failed + counts.rejected;
        let rung = Rung { came, stopped, ..Rung::new(Step::Backend, &exporter.id) };
        let last = match exporter.success_age {
            Some(age) => format!("it last took data {}", ago(age)),
            None => "it has taken no data yet".to_owned(),
        };
        if let Some(failure) = &exporter.failure {
            let since = moment(failure.since, self.facts.now);
            let attempts = counted(failure.attempts, "attempt");
            let mut sentence = format!("fails since {since} ({attempts}); {last}");
            if stopped > 0 {
                let _ = write!(sentence, "; {} lost", self.items(stopped));
            }
            let state = if counts.sent > 0 { State::Partial } else { State::Stop };
            let why = Why::of(&failure.text).or(match exporter.state {
                verdict::State::Denied => "`skep doctor` asks it again",
                _ => "skep tries again; `skep doctor` asks it now",
            });
            return Rung { state, sentence, why, since: Some(failure.since), ..rung };
        }
        let sent = self.items(counts.sent);
        if stopped > 0 {
            let sentence = format!("took {sent}; {} were given up; {last}", self.items(stopped));
            let kept = counts.dead_lettered > 0;
            let remedy = if kept { "`skep dlq list` shows them" } else { "the log has the reason" };
            let why = Why { reason: "refused for good".to_owned(), remedy: remedy.to_owned() };
            return Rung { state: State::Partial, sentence, why, ..rung };
        }
        let mean = counts.attempt_millis / counts.attempts.max(1);
        match (counts.sent, came) {
            (0, 0) => {
                let sentence = "nothing has come to it".to_owned();
                Rung { state: State::Nothing, sentence, ..rung }
            }
            (0, _) => {
                let words = format!("{} on their way; {last}", self.items(came));
                Rung { state: State::Partial, sentence: words, ..rung }
            }
            _ if mean >= SLOW => {
                let sentence = format!("took {sent}, but slowly: {mean} ms an attempt");
                let why = Why { reason: "it is slow".to_owned(), remedy: String::new() };
                Rung { state: State::Partial, sentence, why, ..rung }
            }
            _ => Rung { state: State::Ok, sentence: format!("took {sent}, {last}"), ..rung },
        }
    }
}
