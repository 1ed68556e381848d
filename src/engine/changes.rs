//! What a reload changes: compares the running parts with the planned ones, by their labels.

use super::{
    parts::{RunningExporter, RunningReceiver, RunningService, Service, receiver_label},
    plan::{PlannedExporter, PlannedReceiver},
};
use crate::{
    component::{ComponentId, reload::Changes},
    engine::work::{exchange::Next, graph::Graph},
    otlp::Signal,
};

fn exporter_label(id: &ComponentId, signal: Signal) -> String {
    format!("exporter {id} of {signal}")
}

pub(super) fn compare_receivers(
    running: &[RunningReceiver],
    planned: &[PlannedReceiver],
    changes: &mut Changes,
) {
    let old = running.iter().map(|one| receiver_label(&one.id)).collect();
    let new = planned.iter().map(|one| (receiver_label(&one.id), one.receiver.is_none()));
    compare(old, new, changes);
}

pub(super) fn compare_services(
    running: &[RunningService],
    planned: &[Service],
    changes: &mut Changes,
) {
    let old = running.iter().map(|one| one.label.clone()).collect();
    let is_kept = |new: &Service| running.iter().any(|one| one.is_same_as(new));
    let new = planned.iter().map(|new| (new.label.clone(), is_kept(new)));
    compare(old, new, changes);
}

pub(super) fn compare_exporters(
    running: &[RunningExporter],
    planned: &[PlannedExporter],
    changes: &mut Changes,
) {
    let old = running.iter().map(|one| exporter_label(&one.id, one.signal)).collect();
    let label = |one: &PlannedExporter| exporter_label(&one.id, one.signal);
    let new = planned.iter().map(|one| (label(one), one.dispatcher.is_none()));
    compare(old, new, changes);
}

pub(super) fn compare_graphs(old: &Graph, next: &Next, changes: &mut Changes) {
    let label = |pipeline: &str, id: &str| format!("processor {id} in {pipeline}");
    let stages = old.pipelines.iter().flat_map(|pipeline| {
        pipeline.stages.iter().map(|stage| label(&pipeline.id, &stage.stats.id))
    });
    let connectors = old.connectors.iter().map(|one| format!("connector {}", one.id));
    let graph = next.graph();
    let new = graph.pipelines.iter().enumerate().flat_map(|(p, pipeline)| {
        pipeline.stages.iter().enumerate().map(move |(s, stage)| {
            (label(&pipeline.id, &stage.stats.id), next.has_kept_stage(p, s))
        })
    });
    compare(stages.collect(), new, changes);
    let new = graph.connectors.iter().enumerate();
    let new = new.map(|(i, one)| (format!("connector {}", one.id), next.has_kept_connector(i)));
    compare(connectors.collect(), new, changes);
}

/// Sorts the parts of one kind; `new` has the label of each planned part and whether it is kept.
fn compare(mut old: Vec<String>, new: impl Iterator<Item = (String, bool)>, changes: &mut Changes) {
    for (label, is_kept) in new {
        let before = old.iter().position(|one| *one == label);
        match (before.map(|index| old.swap_remove(index)), is_kept) {
            (Some(_), true) => changes.kept.push(label),
            (Some(_), false) => changes.changed.push(label),
            (None, _) => changes.added.push(label),
        }
    }
    changes.removed.extend(old);
}
