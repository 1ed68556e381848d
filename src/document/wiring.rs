//! How connectors join pipelines: each on both sides, and no pipeline feeds itself.

use std::{collections::HashMap, fmt::Write as _};

use super::{Document, Pipeline, components::Bodies, in_file_order};
use crate::{
    component::{ComponentId, Kind},
    config::{Node, Problem, Problems, diagnostics::closest},
    otlp::Signal,
};

/// Checks the connectors of a document.
pub(super) fn check(root: &Node, document: &Document, problems: &mut Problems) {
    both_sides(document, problems);
    named(root, document, problems);
    cycles(document, problems);
}

/// The indices of pipelines by the components at one of their ends.
type Users<'a> = HashMap<&'a ComponentId, Vec<usize>>;

fn users(pipelines: &[Pipeline], side: fn(&Pipeline) -> &Vec<ComponentId>) -> Users<'_> {
    let mut users = Users::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        for id in side(pipeline) {
            let known = users.entry(id).or_default();
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
    }
    users
}

/// Checks that a connector shares its id with nothing else, and is used on both sides.
fn both_sides(document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let pipelines = &document.pipelines;
    let (receiving, exporting) =
        (users(pipelines, |p| &p.receivers), users(pipelines, |p| &p.exporters));
    for (id, connector) in &document.connectors {
        for (kind, is_taken) in [
            (Kind::Receiver, document.receivers.contains_key(id)),
            (Kind::Exporter, document.exporters.contains_key(id)),
        ] {
            if is_taken {
                let message =
                    format!("ambiguous ID: found both `{id}` {} and `{id}` connector", kind.name());
                let path = format!("connectors::{id}");
                let mut problem = Problem::at(&connector.place, &path, message);
                problem.help("change one of the ids");
                problems.0.push(problem);
            }
        }
        let outputs = |index: &usize| connector.config.outputs(pipelines[*index].signal);
        let fed = receiving.get(id).map_or(&[][..], Vec::as_slice);
        let feeding = exporting.get(id).map_or(&[][..], Vec::as_slice);
        let feeds = |from: &usize, to: &usize| outputs(from).contains(&pipelines[*to].signal);
        // A signal that it does not support has its own problem already.
        let idle =
            |from: &&usize| !outputs(from).is_empty() && !fed.iter().any(|to| feeds(from, to));
        let is_possible = |to: &usize| {
            let signal = pipelines[*to].signal;
            Signal::ALL.iter().any(|input| connector.config.outputs(*input).contains(&signal))
        };
        let dry = |to: &&usize| is_possible(to) && !feeding.iter().any(|from| feeds(from, to));
        for (used, other, users) in [
            ("exporter", "receiver", feeding.iter().filter(idle).collect::<Vec<_>>()),
            ("receiver", "exporter", fed.iter().filter(dry).collect()),
        ] {
            let Some(first) = users.first().map(|index| &pipelines[**index]) else { continue };
            let place = match used {
                "exporter" => first.place_of_exporter(id),
                _ => first.place_of_receiver(id),
            };
            let names: Vec<&str> = users.iter().map(|index| &*pipelines[**index].id).collect();
            let message = format!(
                "connector `{id}` used as {used} in [{}] pipeline but not used in any supported \
                 {other} pipeline",
                names.join(" ")
            );
            let path = format!("service::pipelines::{}::{used}s", first.id);
            let mut problem = Problem::at(place, &path, message);
            problem.help(format!("list it among the {other}s of another pipeline"));
            problems.0.push(problem);
        }
    }
    in_file_order(problems, before);
}

/// Checks the pipelines that connectors name: each is there and has the connector as a receiver.
fn named(root: &Node, document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let bodies = Bodies::new(root, problems);
    for (id, connector) in &document.connectors {
        let Some(body) = bodies.get(Kind::Connector, id) else { continue };
        for (path, name) in connector.config.pipelines() {
            let at = body.at(&path);
            let ids = || document.pipelines.iter().map(|pipeline| &*pipeline.id);
            let Some(pipeline) = document.pipelines.iter().find(|known| known.id == name) else {
                let help = match closest(name, ids()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("add `{name}:` under `service: pipelines:`"),
                };
                problems.error(at, format!("there is no pipeline `{name}`")).help(help);
                continue;
            };
            if !pipeline.receivers.contains(id) {
                let message = format!("the pipeline `{name}` does not receive from `{id}`");
                problems.error(at, message).help(format!("add `{id}` to its `receivers`"));
            }
        }
    }
    in_file_order(problems, before);
}

/// A pipeline on the path of the search: its current connector, and the pipelines behind it.
struct Step<'a> {
    pipeline: usize,
    next: Box<dyn Iterator<Item = (&'a ComponentId, usize)> + 'a>,
    through: Option<&'a ComponentId>,
}

/// Checks that pipelines do not feed themselves through connectors. Visits each pipeline and each
/// reference once.
fn cycles(document: &Document, problems: &mut Problems) {
    let pipelines = &document.pipelines;
    let fed = users(pipelines, |p| &p.receivers);
    let step = |pipeline: usize| {
        let connectors = pipelines[pipeline].exporters.iter();
        let connectors = connectors.filter(|id| document.connectors.contains_key(*id));
        let fed = &fed;
        let next = connectors
            .flat_map(move |id| fed.get(id).into_iter().flatten().map(move |to| (id, *to)));
        Step { pipeline, next: Box::new(next), through: None }
    };
    let mut is_done = vec![false; pipelines.len()];
    let mut on_trail = vec![false; pipelines.len()];
    for start in 0..pipelines.len() {
        let mut trail = if is_done[start] { Vec::new() } else { vec![step(start)] };
        while let Some(last) = trail.last_mut() {
            on_trail[last.pipeline] = true;
            let Some((connector, to)) = last.next.next() else {
                on_trail[last.pipeline] = false;
                is_done[last.pipeline] = true;
                trail.pop();
                continue;
            };
            last.through = Some(connector);
            if on_trail[to] {
                problems.0.push(cycle(pipelines, &trail, to, connector));
                return;
            }
            if !is_done[to] {
                trail.push(step(to));
            }
        }
    }
}

/// The problem of a cycle: the last pipeline of `trail` feeds the pipeline `to` through
/// `connector`, and `to` is on the trail.
fn cycle(
    pipelines: &[Pipeline],
    trail: &[Step<'_>],
    to: usize,
    connector: &ComponentId,
) -> Problem {
    let first = trail.iter().position(|step| step.pipeline == to).unwrap_or(0);
    let mut path = pipelines[to].id.clone();
    for (i, step) in trail[first..].iter().enumerate() {
        let next = trail.get(first + i + 1).map_or(to, |next| next.pipeline);
        if let Some(connector) = step.through {
            let id = &pipelines[next].id;
            let _ = write!(path, " -> connector `{connector}` -> {id}");
        }
    }
    // The reference that closes the cycle.
    let from = &pipelines[trail.last().map_or(to, |step| step.pipeline)];
    let place = from.place_of_exporter(connector);
    let key = format!("service::pipelines::{}::exporters", from.id);
    let mut problem = Problem::at(place, &key, format!("cycle detected: {path}"));
    problem.help("take the connector out of one of the pipelines");
    problem
}
