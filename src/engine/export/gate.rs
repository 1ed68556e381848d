//! Before the queue of an exporter with a monthly budget: what passes, and what is left out so that
//! the budget lasts.
//!
//! A payload is measured (`measure`), its traces are decided upon by the rates of their classes
//! (`choice`), what is left out is cut out, and what passes gets its weights (`rewrite`). Errors
//! pass first, then slow traces, then the rest; a trace passes as a whole, see `remembered`. If
//! everything passes, the bytes stay as they are.
//!
//! Data points are never sampled, since that would falsify sums. They pass until the ceiling is
//! reached.
//!
//! The walk through a span of 680 bytes takes 60 ns. `benches/gate.rs` measures all of the gate, on
//! requests that are in no cache: 120 ns.

mod choice;
mod measure;
mod remembered;
mod rewrite;

use std::sync::Arc;

pub(super) use {measure::key_of, remembered::Remembered};

use self::{
    choice::{Verdict, decide_all},
    measure::{EVENT, Measured, Scale, measure},
};
use super::{allowance::Allowance, dead_letters::DeadLetters};
use crate::{
    budget::{Class, Rate, Why},
    component::{BudgetUse, Count},
    otlp::{
        Payload, Signal, digest,
        payload::{Body, Outcome, Reason},
        purse::Purse,
        sampling::Weights,
        splice::messages,
        view::{LogRecord, Message, Resource, Value},
    },
    sync::lock,
};

/// Bytes of a name that are shown.
const SHOWN: usize = 128;

/// The gate of one queue.
pub struct Gate {
    allowance: Arc<Allowance>,
    scale: Scale,
    weights: Weights,
    /// Where what is left out is kept; `None`: it is dropped.
    letters: Option<Arc<DeadLetters>>,
}

/// What became of a payload at the gate.
pub enum Passed {
    /// It goes on, with its units if they are known.
    On(Payload, Option<u64>),
    /// Nothing of it goes on.
    LeftOut,
    /// There is no memory to decide about it.
    Refused(Payload, Reason),
}

impl Gate {
    /// The gate before a queue whose dead letters are `letters`.
    pub fn new(
        allowance: Arc<Allowance>,
        budget: &BudgetUse,
        letters: Option<&Arc<DeadLetters>>,
    ) -> Self {
        let slow = u64::try_from(budget.slow.as_nanos()).unwrap_or(u64::MAX);
        Gate {
            allowance,
            scale: Scale { count: budget.count, slow },
            weights: Weights {
                sample_rate: budget.weights.sample_rate,
                tracestate: budget.weights.tracestate,
            },
            letters: letters.filter(|_| budget.keeps_left_out).cloned(),
        }
    }

    /// Lets a payload pass, or a part of it.
    pub fn pass(&self, payload: Payload) -> Passed {
        if payload.signal == Signal::Metrics || self.scale.count == Count::ByExporter {
            return self.pass_points(payload);
        }
        let mut purse = Purse::for_copy_of(&payload);
        let mut names = Names::default();
        let mut note = |entry: &[u8], item: &[u8], units: u64| {
            if units > 0 {
                names.enter(entry);
                self.note(payload.signal, &names, item, units);
            }
        };
        let hasher = &self.allowance.hasher;
        let measured = measure(&payload, self.scale, hasher, &mut purse, &mut note);
        let measured = measured.and_then(|measured| {
            purse.pay(measured.traces.len() * size_of::<Verdict>()).map(|()| measured)
        });
        let mut measured = match measured {
            Ok(measured) => measured,
            Err(reason) => return Passed::Refused(payload, reason),
        };
        self.finish_units(&payload, &mut measured);
        let mut demand = [0; 3];
        for trace in &measured.traces {
            demand[trace.class as usize] += trace.units;
        }
        for class in Class::ALL.into_iter().filter(|class| demand[*class as usize] > 0) {
            self.allowance.budget().demand(class, demand[class as usize]);
        }
        let rates = self.allowance.passing(self.allowance.now());
        let verdicts = self.verdicts(&measured, &rates);
        let is_whole = verdicts.iter().all(|verdict| *verdict == Verdict::Passes);
        if is_whole {
            return Passed::On(payload, self.known(demand.iter().sum()));
        }
        let passed = self.cut(payload, &measured, &verdicts, &rates);
        // It has paid for what was measured.
        drop(purse);
        passed
    }

    /// Data points, and what the exporter counts itself.
    fn pass_points(&self, payload: Payload) -> Passed {
        let units = match self.scale.count {
            Count::Items => payload.items,
            _ => 0,
        };
        if self.allowance.is_closed() && units > 0 {
            self.allowance.leave_out(Class::Rest, Why::Ceiling, payload.items);
            self.allowance.budget().leave_out(Why::Ceiling, &service_of(&payload.body), units);
            self.keep_letter(&payload);
            payload.finish(Outcome::Filtered);
            return Passed::LeftOut;
        }
        if units > 0 {
            // They cannot be sampled, so they go first.
            self.allowance.budget().demand(Class::Error, units);
        }
        Passed::On(payload, self.known(units))
    }

    /// The units, where they are the ones that will be claimed.
    fn known(&self, units: u64) -> Option<u64> {
        matches!(self.scale.count, Count::Events | Count::Items).then_some(units)
    }

    /// Units that depend on more than an item: whether a trace is new, and the bytes around items.
    fn finish_units(&self, payload: &Payload, measured: &mut Measured) {
        match self.scale.count {
            Count::Traces => {
                let keys = measured.traces.iter().map(|trace| trace.key);
                let counted = self.allowance.has_counted(keys);
                for (trace, is_counted) in measured.traces.iter_mut().zip(counted) {
                    trace.units = u64::from(!is_counted && trace.key != 0);
                }
            }
            Count::Bytes => {
                let sum: u64 = measured.traces.iter().map(|trace| trace.units).sum();
                let all = self.allowance.estimate(payload.len() as u64 + EVENT * payload.items);
                for trace in &mut measured.traces {
                    let units = u128::from(trace.units) * u128::from(all) / u128::from(sum.max(1));
                    trace.units = u64::try_from(units).unwrap_or(u64::MAX);
                }
            }
            Count::Events | Count::Items | Count::Occurrences | Count::ByExporter => {}
        }
    }

    fn verdicts(&self, measured: &Measured, rates: &[Rate; 3]) -> Vec<Verdict> {
        let traces = &measured.traces;
        let mut verdicts = if self.allowance.is_closed() {
            vec![Verdict::LeftOut; traces.len()]
        } else if self.allowance.is_pacing() {
            decide_all(traces, rates, &mut lock(&self.allowance.remembered))
        } else {
            vec![Verdict::Passes; traces.len()]
        };
        // What costs nothing passes: spans of a trace that is counted, or without an exception.
        if matches!(self.scale.count, Count::Traces | Count::Occurrences) {
            for (verdict, trace) in verdicts.iter_mut().zip(traces) {
                if trace.units == 0 {
                    *verdict = Verdict::Passes;
                }
            }
        }
        verdicts
    }

    /// Cuts out what is left out, and writes the weights of the rest.
    fn cut(
        &self,
        mut payload: Payload,
        measured: &Measured,
        verdicts: &[Verdict],
        rates: &[Rate; 3],
    ) -> Passed {
        let is_kept = |item: usize| {
            measured.of_items.get(item).is_none_or(|trace| verdicts[*trace as usize].is_kept())
        };
        let mut purse = Purse::for_copy_of(&payload);
        if verdicts.iter().any(|verdict| !verdict.is_kept()) {
            if self.letters.is_some() {
                match rewrite::part(&payload, &mut purse, |item| !is_kept(item)) {
                    Ok(part) => {
                        let mut letter = payload.for_reading();
                        (letter.body, letter.items) = (part.body, part.items);
                        self.keep_letter(&letter);
                    }
                    Err(reason) => return Passed::Refused(payload, reason),
                }
            }
            let part = match rewrite::part(&payload, &mut purse, is_kept) {
                Ok(part) => part,
                Err(reason) => return Passed::Refused(payload, reason),
            };
            self.count_left_out(measured, verdicts, rates);
            self.note_left_out(&payload, measured, verdicts, rates);
            if part.items == 0 {
                payload.finish(Outcome::Filtered);
                return Passed::LeftOut;
            }
            rewrite::put(&mut payload, part, purse);
        }
        if self.weights.any() {
            let mut purse = Purse::for_copy_of(&payload);
            let weights = self.weights;
            let done = rewrite::weigh(&mut payload, measured, verdicts, weights, &mut purse);
            if let Err(reason) = done {
                return Passed::Refused(payload, reason);
            }
        }
        let kept = measured.traces.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_kept());
        let units = kept.map(|(trace, _)| trace.units).sum();
        Passed::On(payload, self.known(units))
    }

    fn count_left_out(&self, measured: &Measured, verdicts: &[Verdict], rates: &[Rate; 3]) {
        let mut left_out = [0; 3];
        for trace in &measured.of_items {
            let trace = *trace as usize;
            if !verdicts[trace].is_kept() {
                left_out[measured.traces[trace].class as usize] += 1;
            }
        }
        for class in Class::ALL {
            self.allowance.leave_out(class, why(class, rates), left_out[class as usize]);
        }
    }

    /// Notes the units of what is left out by service. Of a trace with several services in this
    /// payload, each item counts the same.
    fn note_left_out(
        &self,
        payload: &Payload,
        measured: &Measured,
        verdicts: &[Verdict],
        rates: &[Rate; 3],
    ) {
        let entries = payload.body.iter().flat_map(|segment| messages(segment, &[1]));
        let mut of_items = measured.of_items.iter();
        // Traces are numbered in the order of their first items.
        let mut begun = 0;
        for entry in entries {
            let mut left_out = [0; Why::ALL.len()];
            let scopes = messages(entry.bytes(), &[2]);
            let items: usize = scopes.map(|scope| digest::spans(scope.bytes()).count()).sum();
            for at in of_items.by_ref().take(items) {
                let (at, trace) = (*at as usize, &measured.traces[*at as usize]);
                let is_first = at == begun;
                begun += usize::from(is_first);
                if !verdicts[at].is_kept() {
                    let items = u64::from(trace.items).max(1);
                    let rest = if is_first { trace.units % items } else { 0 };
                    left_out[why(trace.class, rates) as usize] += trace.units / items + rest;
                }
            }
            if left_out.iter().any(|units| *units > 0) {
                let mut names = Names::default();
                names.enter(entry.bytes());
                for (why, units) in Why::ALL.into_iter().zip(left_out) {
                    self.allowance.budget().leave_out(why, &names.service, units);
                }
            }
        }
    }

    /// Keeps what is left out as a dead letter, if that is configured.
    fn keep_letter(&self, payload: &Payload) {
        if let Some(letters) = &self.letters {
            // If it cannot be kept, that is counted and logged there.
            let _ = letters.keep(payload, Reason::BudgetSpent, "left out by the monthly budget");
        }
    }

    /// Notes who wants units, by service and by the name of the span or the log group.
    fn note(&self, signal: Signal, names: &Names, item: &[u8], units: u64) {
        let own = match signal {
            Signal::Traces => beginning(digest::name(item)),
            _ if names.group.is_empty() => {
                beginning(LogRecord::from(Message::new(item)).event_name.0)
            }
            _ => names.group.clone(),
        };
        let units = match self.scale.count {
            Count::Bytes => self.allowance.estimate(units),
            _ => units,
        };
        self.allowance.budget().note(&names.service, &own, units);
    }
}

/// Why items of a class are left out at these rates.
fn why(class: Class, rates: &[Rate; 3]) -> Why {
    if rates[class as usize] == Rate::NOTHING { Why::Ceiling } else { Why::Paced }
}

/// The service of the first resource of a payload; empty if it has none.
pub(super) fn service_of(body: &Body) -> String {
    let mut names = Names::default();
    if let Some(entry) = body.iter().flat_map(|segment| messages(segment, &[1])).next() {
        names.enter(entry.bytes());
    }
    names.service
}

/// The names of a resource, read once for all of its items.
#[derive(Default)]
struct Names {
    /// Where its entry is.
    at: Option<(usize, usize)>,
    service: String,
    group: String,
}

impl Names {
    fn enter(&mut self, entry: &[u8]) {
        let at = Some((entry.as_ptr().addr(), entry.len()));
        if self.at == at {
            return;
        }
        *self = Names { at, ..Names::default() };
        let resource = messages(entry, &[1]).next().map_or(&[][..], |field| field.bytes());
        for attribute in Resource::from(Message::new(resource)).attributes() {
            let Some(Value::String(text)) = attribute.value else { continue };
            match attribute.key.0 {
                b"service.name" => self.service = beginning(text.0),
                b"aws.log.group.names" => self.group = beginning(text.0),
                _ => {}
            }
        }
    }
}

/// As much of a name as is shown.
fn beginning(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests;
