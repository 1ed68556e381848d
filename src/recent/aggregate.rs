//! What a query computes of the items of a group. Every number is weighted: an item that stands for
//! ten counts ten times.

use std::hash::BuildHasher as _;

use serde_json::Value as Json;

use super::{cell::Cell, distinct::Distinct, histogram::Histogram};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operation {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// The part of the weight below it.
    Quantile(f64),
    CountDistinct,
    /// Items per second.
    Rate,
    Heatmap,
    Last,
}

/// Operations by their names, which are Honeycomb's, and LAST.
pub(super) const OPERATIONS: [(&str, Operation); 20] = [
    ("COUNT", Operation::Count),
    ("SUM", Operation::Sum),
    ("AVG", Operation::Avg),
    ("MIN", Operation::Min),
    ("MAX", Operation::Max),
    ("P001", Operation::Quantile(0.001)),
    ("P01", Operation::Quantile(0.01)),
    ("P05", Operation::Quantile(0.05)),
    ("P10", Operation::Quantile(0.1)),
    ("P25", Operation::Quantile(0.25)),
    ("P50", Operation::Quantile(0.5)),
    ("P75", Operation::Quantile(0.75)),
    ("P90", Operation::Quantile(0.9)),
    ("P95", Operation::Quantile(0.95)),
    ("P99", Operation::Quantile(0.99)),
    ("P999", Operation::Quantile(0.999)),
    ("COUNT_DISTINCT", Operation::CountDistinct),
    ("RATE", Operation::Rate),
    ("HEATMAP", Operation::Heatmap),
    ("LAST", Operation::Last),
];

impl Operation {
    pub(super) fn name(self) -> &'static str {
        OPERATIONS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Whether it is of a field.
    pub(super) fn takes_field(self) -> bool {
        !matches!(self, Operation::Count | Operation::Rate)
    }
}

/// What has been computed so far.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Sum of weights.
    Count(f64),
    Sum(f64),
    /// Weighted sum, and the weight.
    Mean(f64, f64),
    Extreme(Option<f64>),
    Quantile(Box<Histogram>),
    Distinct(Box<Distinct>),
    /// When it happened, and the value.
    Last(u64, Json),
    /// A heatmap is kept elsewhere.
    Nothing,
}

impl State {
    pub(super) fn new(operation: Operation) -> Self {
        match operation {
            Operation::Count | Operation::Rate => State::Count(0.0),
            Operation::Sum => State::Sum(0.0),
            Operation::Avg => State::Mean(0.0, 0.0),
            Operation::Min | Operation::Max => State::Extreme(None),
            Operation::Quantile(_) => State::Quantile(Box::default()),
            Operation::CountDistinct => State::Distinct(Box::default()),
            Operation::Last => State::Last(0, Json::Null),
            Operation::Heatmap => State::Nothing,
        }
    }

    /// Adds an item, whose value counts so often. Returns how many bytes that took.
    pub(super) fn add(
        &mut self,
        operation: Operation,
        cell: Cell<'_>,
        weight: f64,
        time: u64,
    ) -> usize {
        match self {
            State::Count(count) => *count += weight,
            State::Distinct(distinct) if !cell.is_null() => {
                return distinct.add(hash(cell));
            }
            State::Last(latest, value) if !cell.is_null() && time >= *latest => {
                let size = |value: &Json| value.as_str().map_or(0, str::len);
                let before = size(value);
                (*latest, *value) = (time, cell.json());
                return size(value).saturating_sub(before);
            }
            _ => {}
        }
        let Some(number) = cell.number().filter(|number| number.is_finite()) else { return 0 };
        match self {
            State::Sum(sum) => *sum += number * weight,
            State::Mean(sum, all) => {
                *sum += number * weight;
                *all += weight;
            }
            State::Extreme(extreme) => {
                let is_better = extreme.is_none_or(|known| {
                    if operation == Operation::Min { number < known } else { number > known }
                });
                *extreme = if is_better { Some(number) } else { *extreme };
            }
            State::Quantile(histogram) => return histogram.add(number, weight),
            _ => {}
        }
        0
    }

    /// The result; `seconds` is the time over which a rate is.
    pub(super) fn result(&self, operation: Operation, seconds: f64) -> Json {
        let number = match self {
            State::Count(count) if operation == Operation::Rate => {
                Some(count / seconds.max(f64::MIN_POSITIVE))
            }
            State::Count(sum) | State::Sum(sum) => Some(*sum),
            State::Mean(sum, all) => (*all > 0.0).then(|| sum / all),
            State::Extreme(extreme) => *extreme,
            State::Quantile(histogram) => match operation {
                Operation::Quantile(part) => histogram.quantile(part),
                _ => None,
            },
            State::Distinct(distinct) => Some(distinct.count()),
            State::Last(_, value) => return value.clone(),
            State::Nothing => None,
        };
        number.map_or(Json::Null, |number| Cell::Double(number).json())
    }
}

fn hash(cell: Cell<'_>) -> u64 {
    let mut bytes = Vec::new();
    cell.put(&mut bytes);
    foldhash::quality::FixedState::with_seed(0).hash_one(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(operation: Operation, cells: &[(Cell<'_>, f64)]) -> Json {
        let mut state = State::new(operation);
        for (time, (cell, weight)) in cells.iter().enumerate() {
            state.add(operation, *cell, *weight, time as u64);
        }
        state.result(operation, 10.0)
    }

    #[test]
    fn weights_count_in_every_number() {
        let cells = [(Cell::Int(10), 1.0), (Cell::Double(40.0), 3.0), (Cell::Text(b"x"), 6.0)];
        for (name, expected) in [
            ("COUNT", Json::from(10.0)),
            ("RATE", Json::from(1.0)),
            ("SUM", Json::from(130.0)),
            ("AVG", Json::from(32.5)),
            ("MIN", Json::from(10.0)),
            ("MAX", Json::from(40.0)),
            ("COUNT_DISTINCT", Json::from(3.0)),
            ("LAST", Json::from("x")),
            ("P25", Json::from(10.0)),
        ] {
            let (_, operation) = OPERATIONS.iter().find(|(known, _)| *known == name).unwrap();
            let found = result(*operation, &cells);
            match (found.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => {
                    assert!((found - expected).abs() <= 0.02 * expected, "{name}: {found}");
                }
                _ => assert_eq!(found, expected, "{name}"),
            }
        }
    }

    #[test]
    fn nothing_is_null() {
        for (name, operation) in OPERATIONS {
            let found = result(operation, &[]);
            let is_number = ["COUNT", "SUM", "RATE", "COUNT_DISTINCT"].contains(&name);
            assert_eq!(found.is_null(), !is_number, "{name}: {found}");
        }
    }
}
