//! Leads transforms through the scopes of a request. What a scope becomes is known before anything
//! of it is written, since a scope or resource without metrics goes.

use std::borrow::Cow;

use super::{
    edit::{keys, points, put_label, renamed, with_points},
    matching::{Filter, Matched},
    operations::Operation,
    settings::{Action, Aggregation, Case, Transform},
};
use crate::{
    otlp::{
        payload::Reason,
        purse::Purse,
        splice::{Splicer, messages},
        wire::{Field, bytes_field_len, put_bytes, put_header},
    },
    ottl::{
        Value, content, key_value,
        message::{
            bytes, data, fields, merged_data, number, point_attributes, put_entry, replace_data,
        },
    },
};

/// Memory of a metric in a list, and of a point that is merged.
const SLOT: usize = 2 * size_of::<Slot<'_>>();

/// Memory of a scope; the list of them doubles and is copied when it grows.
const SCOPE: usize = 3 * size_of::<ScopeSlots<'_>>();
const MERGED: usize = 400;

/// A transform, compiled.
#[derive(Debug)]
struct Step {
    filter: Filter,
    action: Action,
    new_name: String,
    aggregation: Aggregation,
    case: Option<Case>,
    resource_labels: Vec<(Vec<u8>, Vec<u8>)>,
    operations: Vec<Operation>,
}

/// All transforms.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Bytes that all of them may add to a point.
    growth: usize,
}

/// A metric of a scope.
#[derive(Debug)]
struct Slot<'a> {
    /// Its field; `None` if it is new.
    field: Option<Field<'a>>,
    metric: Cow<'a, [u8]>,
    is_changed: bool,
    is_gone: bool,
    is_paid: bool,
}

impl Slot<'_> {
    fn set(&mut self, metric: Option<Vec<u8>>) {
        if let Some(metric) = metric {
            self.metric = Cow::Owned(metric);
            self.is_changed = true;
        }
    }
}

/// A scope entry.
struct ScopeSlots<'a> {
    field: Field<'a>,
    slots: Vec<Slot<'a>>,
}

impl ScopeSlots<'_> {
    fn is_changed(&self) -> bool {
        self.slots.iter().any(|slot| slot.is_changed || slot.is_gone || slot.field.is_none())
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_gone)
    }
}

impl Plan {
    pub(super) fn new(transforms: &[Transform]) -> Result<Self, String> {
        let step = |transform: &Transform| {
            let labels = transform.group_resource_labels.iter();
            Ok(Step {
                filter: Filter::new(transform)?,
                action: transform.action.ok_or("a transform has no action")?,
                new_name: transform.new_name.clone(),
                aggregation: transform.aggregation_type,
                case: transform.submatch_case,
                resource_labels: labels
                    .map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes()))
                    .collect(),
                operations: transform.operations.iter().filter_map(Operation::new).collect(),
            })
        };
        let steps = transforms.iter().map(step).collect::<Result<Vec<Step>, String>>()?;
        let operations = steps.iter().flat_map(|step| &step.operations);
        let names: usize = steps.iter().map(|step| 2 * step.new_name.len() + 64).sum();
        let growth = operations.map(Operation::growth).sum::<usize>() + names;
        Ok(Plan { steps, growth })
    }

    /// Transforms a request; `None` if nothing changes. Adds to `left_alone` the metrics that could
    /// not be combined.
    pub(super) fn run(
        &self,
        body: &[u8],
        purse: &mut Purse,
        left_alone: &mut u64,
    ) -> Result<Option<Vec<u8>>, Reason> {
        let mut out = Splicer::paid(body, 0, purse);
        let mut grouped: Vec<Vec<u8>> = Vec::new();
        for entry in messages(body, &[1]) {
            let mut scopes = Vec::new();
            // What each step moves out of this entry: one new entry, however many scopes there are.
            let mut moved_by = vec![Vec::new(); self.steps.len()];
            for field in messages(entry.bytes(), &[2]) {
                let Some(mut scope) = Self::slots(field, &mut out) else { break };
                for (step, new) in self.steps.iter().zip(&mut moved_by) {
                    let moved = self.step(step, &mut scope.slots, left_alone, &mut out);
                    if !moved.is_empty() {
                        let before = new.len();
                        if before == 0 {
                            put_owner(entry.bytes(), step, new);
                        }
                        put_scope(field.bytes(), &moved, new);
                        if !out.pays(2 * (new.len() - before)) {
                            break;
                        }
                    }
                }
                scopes.push(scope);
            }
            grouped.extend(moved_by.into_iter().filter(|new| !new.is_empty()));
            write(&entry, &scopes, &mut out);
        }
        for new in grouped {
            let len = bytes_field_len(1, new.len());
            out.append(len, |out| put_bytes(out, 1, &new));
        }
        out.finish_into(purse)
    }

    fn slots<'a>(field: Field<'a>, out: &mut Splicer<'_>) -> Option<ScopeSlots<'a>> {
        let metrics = || messages(field.bytes(), &[2]);
        if !out.pays(SCOPE + SLOT * metrics().count()) {
            return None;
        }
        let slot = |field: Field<'a>| Slot {
            metric: Cow::Borrowed(field.bytes()),
            field: Some(field),
            is_changed: false,
            is_gone: false,
            is_paid: false,
        };
        Some(ScopeSlots { field, slots: metrics().map(slot).collect() })
    }

    /// Pays for all that transforms make of a metric.
    fn pays(&self, metric: &[u8], out: &mut Splicer<'_>) -> bool {
        let points = points(metric);
        out.pays(4 * metric.len() + points * (2 * self.growth + MERGED) + 2 * self.growth)
    }

    fn pay_for(&self, slot: &mut Slot<'_>, out: &mut Splicer<'_>) -> bool {
        slot.is_paid = slot.is_paid || self.pays(&slot.metric, out);
        slot.is_paid
    }

    /// Runs a transform on a scope. Returns the metrics that move to another resource.
    fn step(
        &self,
        step: &Step,
        slots: &mut Vec<Slot<'_>>,
        left_alone: &mut u64,
        out: &mut Splicer<'_>,
    ) -> Vec<Vec<u8>> {
        match step.action {
            Action::Update => {
                for slot in slots.iter_mut().filter(|slot| !slot.is_gone) {
                    let matched = step.filter.matches(&slot.metric);
                    if matched == Matched::None || !self.pay_for(slot, out) {
                        continue;
                    }
                    match step.transformed(&slot.metric, matched == Matched::All) {
                        Some(new) => slot.set(new),
                        None => slot.is_gone = true,
                    }
                }
            }
            Action::Insert => self.insert(step, slots, out),
            Action::Combine => self.combine(step, slots, left_alone, out),
            Action::Group => return self.taken(step, slots, out),
        }
        Vec::new()
    }

    fn insert(&self, step: &Step, slots: &mut Vec<Slot<'_>>, out: &mut Splicer<'_>) {
        for at in 0..slots.len() {
            let metric = &slots[at].metric;
            let matched = step.filter.matches(metric);
            if slots[at].is_gone || matched == Matched::None {
                continue;
            }
            if !self.pays(metric, out) || !out.pays(SLOT) {
                return;
            }
            let copy = step.matching(metric, matched).unwrap_or_else(|| metric.to_vec());
            if let Some(new) = step.transformed(&copy, true) {
                slots.push(added(new.unwrap_or(copy)));
            }
        }
    }

    /// Takes what matches out of the scope; points that do not match stay.
    fn taken(&self, step: &Step, slots: &mut [Slot<'_>], out: &mut Splicer<'_>) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        for slot in slots.iter_mut().filter(|slot| !slot.is_gone) {
            let matched = step.filter.matches(&slot.metric);
            if matched == Matched::None {
                continue;
            }
            if !self.pay_for(slot, out) || !out.pays(2 * slot.metric.len() + SLOT) {
                break;
            }
            match step.matching(&slot.metric, matched) {
                None => {
                    taken.push(slot.metric.to_vec());
                    slot.is_gone = true;
                }
                Some(some) => {
                    taken.push(some);
                    slot.set(step.others(&slot.metric));
                }
            }
        }
        taken
    }

    fn combine(
        &self,
        step: &Step,
        slots: &mut Vec<Slot<'_>>,
        left_alone: &mut u64,
        out: &mut Splicer<'_>,
    ) {
        let matches =
            |slot: &&Slot<'_>| !slot.is_gone && step.filter.matches(&slot.metric) != Matched::None;
        let metrics: Vec<&[u8]> = slots.iter().filter(matches).map(|slot| &*slot.metric).collect();
        if metrics.is_empty() {
            return;
        }
        if !are_alike(&metrics) {
            *left_alone += metrics.len() as u64;
            return;
        }
        let taken = self.taken(step, slots, out);
        let total = taken.iter().map(Vec::len).sum::<usize>();
        let points = taken.iter().map(|metric| points(metric)).sum::<usize>();
        let labels = points
            * (64
                + step.new_name.len()
                + taken.iter().map(|m| bytes(m, 1).len()).max().unwrap_or(0));
        if !out.pays(4 * (total + labels) + points * (MERGED + 2 * self.growth) + SLOT) {
            return;
        }
        if let Some(combined) = step.combined(&taken)
            && let Some(new) = step.transformed(&combined, true)
        {
            slots.push(added(new.unwrap_or(combined)));
        }
    }
}

fn added(metric: Vec<u8>) -> Slot<'static> {
    let metric = Cow::Owned(metric);
    Slot { field: None, metric, is_changed: true, is_gone: false, is_paid: true }
}

impl Step {
    /// The metric with a new name and after all operations: nothing if it stays as it is. `None` if
    /// it has lost all its points.
    #[expect(clippy::option_option, reason = "gone, unchanged and changed are three outcomes")]
    fn transformed(&self, metric: &[u8], is_whole: bool) -> Option<Option<Vec<u8>>> {
        let before = points(metric);
        let mut new: Option<Vec<u8>> = None;
        let renames = is_whole && !self.new_name.is_empty() && self.action != Action::Combine;
        if renames {
            let name = self.filter.expanded(&self.new_name, bytes(metric, 1));
            if name != bytes(metric, 1) {
                new = Some(renamed(metric, &name));
            }
        }
        for operation in &self.operations {
            let current = new.as_deref().unwrap_or(metric);
            if let Some(changed) = operation.apply(current, &self.filter, is_whole) {
                new = Some(changed);
            }
        }
        let is_left = before == 0 || points(new.as_deref().unwrap_or(metric)) > 0;
        is_left.then_some(new)
    }

    /// The metric with the points that match; `None` if all do.
    fn matching(&self, metric: &[u8], matched: Matched) -> Option<Vec<u8>> {
        if matched == Matched::All { None } else { self.sifted(metric, true) }
    }

    /// The metric with the other points.
    fn others(&self, metric: &[u8]) -> Option<Vec<u8>> {
        self.sifted(metric, false)
    }

    fn sifted(&self, metric: &[u8], wanted: bool) -> Option<Vec<u8>> {
        with_points(metric, |point, kind, out| {
            out.extend_from_slice(point);
            self.filter.matches_point(point, point_attributes(kind)) == wanted
        })
    }

    /// One metric of several that are alike.
    fn combined(&self, metrics: &[Vec<u8>]) -> Option<Vec<u8>> {
        let first = metrics.first()?;
        let (kind, first_data) = data(first)?;
        let mut all = Vec::new();
        for metric in metrics {
            let mut groups = self.filter.groups(bytes(metric, 1));
            if let Some(case) = self.case {
                for (_, text) in &mut groups {
                    let cased = String::from_utf8_lossy(text);
                    *text = match case {
                        Case::Lower => cased.to_lowercase(),
                        Case::Upper => cased.to_uppercase(),
                    }
                    .into_bytes();
                }
            }
            let Some((_, data)) = data(metric) else { continue };
            for point in fields(&data).filter_map(|field| content(&field, 1)) {
                let mut point = point.to_vec();
                for (key, text) in &groups {
                    let mut labelled =
                        Vec::with_capacity(point.len() + key.len() + text.len() + 16);
                    put_label(&point, kind, key, text, &mut labelled);
                    point = labelled;
                }
                put_bytes(&mut all, 1, &point);
            }
        }
        for field in fields(&first_data).filter(|field| content(field, 1).is_none()) {
            all.extend_from_slice(field.whole);
        }
        let merged = merged_data(kind, &all, self.aggregation.name(), |point, _, out| {
            out.extend_from_slice(point);
        });
        let mut out = Vec::new();
        replace_data(first, kind, &merged.unwrap_or(all), &mut out);
        Some(renamed(&out, self.new_name.as_bytes()))
    }
}

/// Whether metrics are of one kind, unit, nature and set of labels.
fn are_alike(metrics: &[&[u8]]) -> bool {
    let nature = |metric: &[u8]| {
        let (kind, data) = data(metric)?;
        let monotonic = if kind == 7 { number(&data, 3) } else { 0 };
        let temporality = if matches!(kind, 7 | 9 | 10) { number(&data, 2) } else { 0 };
        Some((kind, temporality, monotonic, bytes(metric, 3).to_vec(), keys(metric)))
    };
    let Some((first, others)) = metrics.split_first() else { return true };
    let Some(wanted) = nature(first) else { return false };
    (wanted.0 != 11 || others.is_empty())
        && others.iter().all(|other| nature(other).as_ref() == Some(&wanted))
}

/// Begins a resource entry for metrics that move out of another one: everything but its scopes.
fn put_owner(entry: &[u8], step: &Step, out: &mut Vec<u8>) {
    let mut resource = Vec::new();
    for part in fields(entry).filter_map(|field| content(&field, 1)) {
        for field in fields(part) {
            let key = content(&field, 1).map(|entry| key_value(entry).0);
            if key.is_none_or(|key| !step.resource_labels.iter().any(|(label, _)| label == key)) {
                resource.extend_from_slice(field.whole);
            }
        }
    }
    for (key, value) in &step.resource_labels {
        put_entry(&mut resource, 1, key, &Value::Text(value.as_slice().into()));
    }
    put_bytes(out, 1, &resource);
    for field in fields(entry).filter(|field| !matches!(field.number, 1 | 2)) {
        out.extend_from_slice(field.whole);
    }
}

/// Adds a scope with these metrics to a resource entry.
fn put_scope(scope: &[u8], metrics: &[Vec<u8>], out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    for field in fields(scope).filter(|field| content(field, 2).is_none()) {
        inner.extend_from_slice(field.whole);
    }
    for metric in metrics {
        put_bytes(&mut inner, 2, metric);
    }
    put_header(out, 2, inner.len());
    out.extend_from_slice(&inner);
}

/// Writes what has become of an entry.
fn write<'a>(entry: &Field<'a>, scopes: &[ScopeSlots<'a>], out: &mut Splicer<'a>) {
    let is_changed = scopes.iter().any(ScopeSlots::is_changed);
    if !is_changed {
        return;
    }
    if scopes.iter().all(ScopeSlots::is_empty) {
        return out.replace(entry.whole, 0, |_| {});
    }
    out.inside(entry, |out, _| {
        for scope in scopes.iter().filter(|scope| scope.is_changed()) {
            if scope.is_empty() {
                out.replace(scope.field.whole, 0, |_| {});
                continue;
            }
            out.inside(&scope.field, |out, _| {
                for slot in &scope.slots {
                    let len = bytes_field_len(2, slot.metric.len());
                    match &slot.field {
                        Some(field) if slot.is_gone => out.replace(field.whole, 0, |_| {}),
                        Some(field) if slot.is_changed => {
                            out.replace(field.whole, len, |out| put_bytes(out, 2, &slot.metric));
                        }
                        None if !slot.is_gone => {
                            out.append(len, |out| put_bytes(out, 2, &slot.metric));
                        }
                        _ => {}
                    }
                }
            });
        }
    });
}
