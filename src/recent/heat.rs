//! Heatmaps: how often values of a size occurred over time. A power of two has four buckets.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    chunk::Chunk,
    field::{Field, Loaded},
    groups::Memory,
    histogram::{bucket, lower},
};

/// Of the buckets of a histogram, so many are one.
const COARSER: i32 = 8;
/// What a cell takes, about.
const CELL: usize = 48;

/// One heatmap while it is filled.
#[derive(Debug)]
pub(super) struct Heat {
    /// Its place in `select`.
    pub(super) select: usize,
    /// Weights by step and bucket.
    cells: BTreeMap<(u64, i32), f64>,
}

/// A heatmap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heatmap {
    /// Its place in `select`.
    pub select: usize,
    /// Least values of the buckets, in order, and of the one after the last.
    pub bounds: Vec<f64>,
    /// Step, bucket, and how many items count for it.
    pub cells: Vec<(u64, usize, f64)>,
}

impl Heat {
    pub(super) fn new(select: usize) -> Self {
        Heat { select, cells: BTreeMap::new() }
    }

    /// Adds the rows of a chunk that are `met`; times from `from` on, in steps.
    pub(super) fn add(
        &mut self,
        chunk: &Chunk,
        field: &Field,
        met: &[bool],
        (from, step): (u64, u64),
        memory: &mut Memory,
    ) {
        let loaded = Loaded::of(chunk, field);
        let column = loaded.column();
        for (row, _) in met.iter().enumerate().filter(|(_, met)| **met) {
            let number = column.cell(row).number().filter(|number| number.is_finite());
            let Some(number) = number else { continue };
            let at = (
                chunk.time(row).saturating_sub(from) / step.max(1),
                bucket(number).div_euclid(COARSER),
            );
            let before = self.cells.len();
            *self.cells.entry(at).or_default() += f64::from(chunk.columns.weight[row]);
            memory.take((self.cells.len() - before) * CELL);
            if memory.is_used_up() {
                return;
            }
        }
    }

    pub(super) fn shown(&self) -> Heatmap {
        let mut buckets: Vec<i32> = self.cells.keys().map(|(_, bucket)| *bucket).collect();
        buckets.sort_unstable();
        let (first, last) = match (buckets.first(), buckets.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => return Heatmap { select: self.select, bounds: Vec::new(), cells: Vec::new() },
        };
        // Values may be far apart: only buckets that are used have a place.
        buckets.dedup();
        let is_dense = last - first < 4096;
        let buckets: Vec<i32> = if is_dense { (first..=last).collect() } else { buckets };
        let bounds = buckets.iter().copied().chain([last + 1]);
        let cells = self.cells.iter().map(|((step, bucket), weight)| {
            (*step, buckets.binary_search(bucket).unwrap_or(0), *weight)
        });
        Heatmap {
            select: self.select,
            bounds: bounds.map(|bucket| lower(bucket * COARSER)).collect(),
            cells: cells.collect(),
        }
    }
}
