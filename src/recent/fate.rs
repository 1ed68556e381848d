//! What happened to a trace in the pipelines: whether a policy kept it, and which backends have it.
//! The store does not know that by itself; the caller notes it by the id of the trace.

use serde::Serialize;

/// Most names of policies and exporters.
const LABELS: usize = 512;
/// Longest name that is kept, in bytes.
const LABEL: usize = 128;
/// Most exporters of one trace that are remembered.
const DELIVERIES: usize = 4;

/// What a sampler decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nobody has said so far.
    #[default]
    Unknown,
    /// Its spans wait for a decision.
    Waiting,
    /// It goes on.
    Kept,
    /// It does not.
    Dropped,
}

/// What became of a trace at an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It is in a queue.
    #[default]
    Waiting,
    /// The backend has it.
    Delivered,
    /// The backend refused it for good.
    Refused,
}

/// What is known of a trace, in a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    pub(super) decision: Decision,
    /// Name of the policy; 0 is none.
    policy: u16,
    /// Names of exporters, and what became of it there.
    deliveries: [(u16, Delivery); DELIVERIES],
}

/// The same in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Told {
    /// What a sampler decided.
    pub decision: Decision,
    /// The policy that decided, if it has a name.
    pub policy: Option<String>,
    /// Exporters, each with what became of the trace there; four at most.
    pub deliveries: Vec<(String, Delivery)>,
}

/// Names, each stored once and for good: there are as many as a configuration has.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<Box<str>>);

/// Bytes that names may take; the store sets them aside.
pub(super) const LABEL_BYTES: usize = LABELS * (LABEL + size_of::<Box<str>>());

impl Labels {
    pub(super) fn new() -> Self {
        Labels(Vec::with_capacity(LABELS))
    }

    /// The number of a name from 1 on; 0 if there are too many, or it is empty.
    fn number(&mut self, name: &str) -> u16 {
        let name = &name[..name.floor_char_boundary(LABEL)];
        if name.is_empty() {
            return 0;
        }
        let known = self.0.iter().position(|known| **known == *name);
        let at = known.or_else(|| {
            (self.0.len() < LABELS).then(|| {
                self.0.push(name.into());
                self.0.len() - 1
            })
        });
        at.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
    }

    fn name(&self, number: u16) -> Option<String> {
        let at = usize::from(number).checked_sub(1)?;
        self.0.get(at).map(ToString::to_string)
    }

    pub(super) fn decide(&mut self, fate: &mut Fate, decision: Decision, policy: &str) {
        fate.decision = decision;
        fate.policy = self.number(policy);
    }

    /// Notes a delivery; a refusal or a fifth exporter is not forgotten for a success.
    pub(super) fn deliver(&mut self, fate: &mut Fate, exporter: &str, delivery: Delivery) {
        let number = self.number(exporter);
        let known = fate.deliveries.iter_mut().find(|(known, _)| *known == number || *known == 0);
        if number != 0
            && let Some(known) = known
        {
            let is_worse = known.0 == number && known.1 == Delivery::Refused;
            *known = (number, if is_worse { Delivery::Refused } else { delivery });
        }
    }

    pub(super) fn told(&self, fate: Fate) -> Told {
        let deliveries = fate.deliveries.into_iter();
        Told {
            decision: fate.decision,
            policy: self.name(fate.policy),
            deliveries: deliveries
                .filter_map(|(number, delivery)| Some((self.name(number)?, delivery)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_only_so_many() {
        let mut labels = Labels::new();
        let mut fate = Fate::default();
        labels.decide(&mut fate, Decision::Kept, "errors");
        labels.deliver(&mut fate, "otlp/a", Delivery::Refused);
        labels.deliver(&mut fate, "otlp/a", Delivery::Delivered);
        labels.deliver(&mut fate, "awsxray", Delivery::Delivered);
        let told = labels.told(fate);
        assert_eq!((told.decision, told.policy.as_deref()), (Decision::Kept, Some("errors")));
        let deliveries = [("otlp/a", Delivery::Refused), ("awsxray", Delivery::Delivered)];
        assert_eq!(told.deliveries, deliveries.map(|(name, what)| (name.to_owned(), what)));
        for number in 0..2 * LABELS {
            labels.number(&number.to_string());
        }
        assert_eq!((labels.0.len(), labels.0.capacity()), (LABELS, LABELS));
        assert_eq!(labels.number("one more"), 0);
        labels.deliver(&mut fate, "one more", Delivery::Delivered);
        assert_eq!(labels.told(fate).deliveries.len(), 2);
    }
}
