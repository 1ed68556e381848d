//! What a public port has refused and changed, by reason.

use crate::telemetry::{Counter, Desc, Meter};

const REFUSED_REQUESTS: Desc = Desc::new(
    "skep_public_refused_requests",
    "{request}",
    "Requests that a public port has refused, by reason",
);
const REFUSED_ITEMS: Desc = Desc::new(
    "skep_public_refused_items",
    "{item}",
    "Items of requests that a public port has refused once they were read, by reason",
);
const CHANGES: Desc = Desc::new(
    "skep_public_changes",
    "{change}",
    "What a public port has left out, cut or corrected, by kind",
);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    ClientRate,
    TotalRate,
    ItemRate,
    Memory,
    Token,
    TooManyItems,
    Service,
    Grpc,
}

impl Why {
    pub(super) const ALL: [Why; 8] = [
        Why::ClientRate,
        Why::TotalRate,
        Why::ItemRate,
        Why::Memory,
        Why::Token,
        Why::TooManyItems,
        Why::Service,
        Why::Grpc,
    ];

    /// The value of the label `reason`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Why::ClientRate => "client_rate",
            Why::TotalRate => "total_rate",
            Why::ItemRate => "item_rate",
            Why::Memory => "memory",
            Why::Token => "token",
            Why::TooManyItems => "too_many_items",
            Why::Service => "service",
            Why::Grpc => "grpc",
        }
    }
}

/// What is changed in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// An attribute that is not on the list.
    Attribute,
    TooManyAttributes,
    /// A value that was cut, or left out as too long.
    Value,
    Event,
    Link,
    Kind,
    TraceState,
    /// An id of a user that became a claim.
    User,
    /// An item whose times cannot be.
    Time,
    /// A request whose clock was off.
    Clock,
    UnknownField,
}

impl Counted {
    const ALL: [Counted; 11] = [
        Counted::Attribute,
        Counted::TooManyAttributes,
        Counted::Value,
        Counted::Event,
        Counted::Link,
        Counted::Kind,
        Counted::TraceState,
        Counted::User,
        Counted::Time,
        Counted::Clock,
        Counted::UnknownField,
    ];

    /// The value of the label `kind`.
    const fn name(self) -> &'static str {
        match self {
            Counted::Attribute => "attribute",
            Counted::TooManyAttributes => "too_many_attributes",
            Counted::Value => "value",
            Counted::Event => "event",
            Counted::Link => "link",
            Counted::Kind => "span_kind",
            Counted::TraceState => "trace_state",
            Counted::User => "user_id",
            Counted::Time => "time",
            Counted::Clock => "clock",
            Counted::UnknownField => "unknown_field",
        }
    }
}

/// The changes of one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts([u64; Counted::ALL.len()]);

impl Counts {
    #[inline]
    pub(super) fn add(&mut self, what: Counted) {
        self.0[what as usize] += 1;
    }

    #[cfg(test)]
    pub(super) fn of(&self, what: Counted) -> u64 {
        self.0[what as usize]
    }
}

/// The counters of one port.
#[derive(Debug)]
pub(super) struct Counters {
    requests: [Counter; Why::ALL.len()],
    items: [Counter; Why::ALL.len()],
    changes: [Counter; Counted::ALL.len()],
}

impl Counters {
    pub(super) fn new(receiver: &str, meter: &Meter) -> Self {
        let why = |desc: &Desc| {
            Why::ALL
                .map(|why| meter.counter(desc, &[("reason", why.name()), ("receiver", receiver)]))
        };
        Counters {
            requests: why(&REFUSED_REQUESTS),
            items: why(&REFUSED_ITEMS),
            changes: Counted::ALL.map(|what| {
                meter.counter(&CHANGES, &[("kind", what.name()), ("receiver", receiver)])
            }),
        }
    }

    /// Counts a refused request, with its items if they are known.
    pub(super) fn refuse(&self, why: Why, items: u64) {
        self.requests[why as usize].add(1);
        if items > 0 {
            self.items[why as usize].add(items);
        }
    }

    pub(super) fn change(&self, counts: &Counts) {
        for (counter, count) in self.changes.iter().zip(counts.0) {
            if count > 0 {
                counter.add(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_kinds_are_numbered_in_their_order() {
        for (number, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number, "{}", why.name());
        }
        for (number, what) in Counted::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, number, "{}", what.name());
        }
    }
}
