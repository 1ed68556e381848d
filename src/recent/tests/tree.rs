//! Traces of any shape become rows in pre-order, each span once.

use proptest::prelude::*;
use serde_json::json;

use super::{NOW, small, take_spans};
use crate::recent::Trace;

fn trace(parents: &[Option<usize>]) -> Trace {
    let recent = small();
    let spans: Vec<_> = parents
        .iter()
        .enumerate()
        .map(|(at, parent)| {
            let parent = parent.map_or_else(String::new, |parent| format!("{:016x}", parent + 1));
            json!({"parentSpanId": parent, "spanId": format!("{:016x}", at + 1),
                "name": format!("s{at}"),
                "startTimeUnixNano": (NOW + at as u64).to_string()})
        })
        .collect();
    spans.chunks(1000).for_each(|spans| take_spans(&recent, "shop", spans));
    recent.trace(&1_u128.to_be_bytes(), NOW).unwrap()
}

fn names(trace: &Trace) -> Vec<&str> {
    trace.name.iter().map(|name| &*trace.names[*name as usize]).collect()
}

#[test]
fn children_come_after_their_parent_by_start() {
    let trace = trace(&[None, Some(3), Some(0), Some(0), Some(2)]);
    assert_eq!(names(&trace), ["s0", "s2", "s4", "s3", "s1"]);
    assert_eq!(trace.parent, [-1, 0, 1, 0, 3]);
    assert_eq!((trace.missing, trace.circles, trace.hidden), (0, 0, 0));
    assert!((trace.start[1] - 0.002).abs() < 1e-9);
}

#[test]
fn a_parent_that_did_not_come_is_a_row() {
    let trace = trace(&[Some(90), None, Some(90), Some(0)]);
    assert_eq!(names(&trace), ["missing parent", "s0", "s3", "s2", "s1"]);
    assert_eq!(trace.parent, [-1, 0, 1, 0, -1]);
    assert_eq!((trace.missing, trace.at[0], trace.flags[0]), (1, 0, 1 << 5));
}

#[test]
fn circles_are_cut_at_their_earliest_span_and_said() {
    let trace = trace(&[Some(2), Some(0), Some(3), Some(2), Some(4)]);
    // 2 and 3 are a circle, 0 and 1 hang on it, 4 is its own parent.
    assert_eq!(names(&trace), ["s2", "s0", "s1", "s3", "s4"]);
    assert_eq!(trace.circles, 2);
    let cut: Vec<u32> = trace.flags.iter().map(|flags| flags >> 6 & 1).collect();
    assert_eq!(cut, [1, 0, 0, 0, 1]);
}

#[test]
fn a_trace_as_deep_as_it_is_long_is_drawn() {
    let parents: Vec<Option<usize>> = (0..20_000_usize).map(|at| at.checked_sub(1)).collect();
    let trace = trace(&parents);
    assert_eq!(trace.n, 20_000);
    assert!(
        trace
            .parent
            .iter()
            .enumerate()
            .all(|(row, parent)| *parent == i32::try_from(row).unwrap() - 1)
    );
}

proptest! {
    #[test]
    fn every_span_is_one_row_below_its_parent(
        parents in prop::collection::vec(prop::option::of(0..40_usize), 1..40),
    ) {
        let trace = trace(&parents);
        prop_assert_eq!(trace.n, parents.len() + trace.missing);
        let mut seen = vec![false; parents.len()];
        for (row, name) in names(&trace).into_iter().enumerate() {
            let parent = usize::try_from(trace.parent[row]).ok();
            prop_assert!(parent.is_none_or(|parent| parent < row));
            // Pre-order: the row before it is its parent, or below its parent.
            if let Some(parent) = parent {
                let mut above = row - 1;
                while above != parent {
                    above = usize::try_from(trace.parent[above]).unwrap();
                }
            }
            let Some(at) = name.strip_prefix('s').and_then(|at| at.parse::<usize>().ok()) else {
                prop_assert_eq!(name, "missing parent");
                continue;
            };
            prop_assert!(!std::mem::replace(&mut seen[at], true));
            let is_cut = trace.flags[row] & 1 << 6 != 0;
            match (parents[at], parent) {
                (None, found) => prop_assert_eq!(found, None),
                (Some(_), None) => prop_assert!(is_cut),
                (Some(expected), Some(found)) if expected < parents.len() => {
                    prop_assert_eq!(names(&trace)[found], format!("s{expected}"));
                }
                (Some(_), Some(found)) => prop_assert!(trace.flags[found] & 1 << 5 != 0),
            }
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}
