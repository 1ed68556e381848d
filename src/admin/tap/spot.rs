//! Where a tap can be: every component of every pipeline, by what its edges and counters say.

use std::sync::Arc;

use tonic::Status;

use crate::{
    admin::proto::TapSide,
    config::diagnostics::closest,
    otlp::Signal,
    tap::Side,
    telemetry::{EdgeStats, PipelineInfo, ProcessorStats, Telemetry, tap::Place},
};

/// A component in a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) pipeline: String,
    /// `receiver`, `processor`, `exporter` or `connector`.
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) signal: Signal,
    /// The sides that it has: `Both` of processors.
    side: Side,
    /// Edges or the processor.
    pub(super) places: Vec<Place>,
}

impl Spot {
    /// Whether it is meant by `otlp`, by `receiver otlp`, or by the name that several receivers
    /// have together on an edge: `otlp+syslog`.
    fn is(&self, component: &str) -> bool {
        let (kind, ids) = component.split_once(' ').unwrap_or((self.kind, component));
        self.kind == kind && ids.split('+').next() == Some(&*self.id)
    }

    /// `receiver otlp`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }

    /// The side that is asked for, if this component has it.
    fn side(&self, asked: TapSide) -> Option<Side> {
        match (asked, self.side) {
            (TapSide::Unspecified, side) => Some(side),
            (TapSide::In, Side::In | Side::Both) => Some(Side::In),
            (TapSide::Out, Side::Out | Side::Both) => Some(Side::Out),
            (TapSide::Both, Side::Both) => Some(Side::Both),
            _ => None,
        }
    }

    /// Whether the running configuration still has it.
    pub(super) fn is_in(&self, pipelines: &[PipelineInfo]) -> bool {
        let Some(pipeline) = pipelines.iter().find(|one| one.id == self.pipeline) else {
            // Before the engine has noted what runs.
            return pipelines.is_empty();
        };
        let ids = match self.side {
            Side::Both => &pipeline.processors,
            Side::Out => &pipeline.receivers,
            Side::In => &pipeline.exporters,
        };
        ids.contains(&self.id)
    }
}

/// All components of all pipelines.
fn spots(telemetry: &Telemetry) -> Vec<Spot> {
    let mut all: Vec<Spot> = Vec::new();
    let mut add = |pipeline: &str, end: &str, side: Side, place: Place| {
        let Some((kind, ids)) = end.split_once(' ') else { return };
        let kinds = ["receiver", "connector", "exporter"];
        let Some(kind) = kinds.into_iter().find(|known| *known == kind) else { return };
        let Some(signal) = signal_of(pipeline) else { return };
        // Receivers that feed a pipeline without processors have one name on its edges.
        for id in ids.split('+') {
            let same = |spot: &&mut Spot| {
                (&*spot.pipeline, spot.kind, &*spot.id, spot.side) == (pipeline, kind, id, side)
            };
            match all.iter_mut().find(same) {
                // What several edges bring into a component is looked at on all of them. What a
                // component sends along several is the same on each.
                Some(spot) if side == Side::In => spot.places.push(place.clone()),
                Some(_) => {}
                None => all.push(Spot {
                    pipeline: pipeline.to_owned(),
                    kind,
                    id: id.to_owned(),
                    signal,
                    side,
                    places: vec![place.clone()],
                }),
            }
        }
    };
    for edge in telemetry.edges() {
        let place: Place = Arc::<EdgeStats>::downgrade(&edge);
        add(&edge.pipeline, &edge.from, Side::Out, place.clone());
        add(&edge.pipeline, &edge.to, Side::In, place);
    }
    all.extend(telemetry.processors().iter().map(|stats| Spot {
        pipeline: stats.pipeline.clone(),
        kind: "processor",
        id: stats.id.clone(),
        signal: stats.signal,
        side: Side::Both,
        places: vec![Arc::<ProcessorStats>::downgrade(stats)],
    }));
    let inventory = telemetry.inventory();
    all.retain(|spot| spot.is_in(&inventory.pipelines));
    all
}

/// What can be tapped, for a list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Point {
    pub(crate) pipeline: String,
    /// `receiver`, `processor`, `exporter` or `connector`.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// `both` of what has two sides; else `in` or `out`.
    pub(crate) side: &'static str,
}

/// All that can be tapped, in the order of names.
pub(crate) fn points(telemetry: &Telemetry) -> Vec<Point> {
    let point = |spot: Spot| Point {
        pipeline: spot.pipeline,
        kind: spot.kind,
        id: spot.id,
        side: match spot.side {
            Side::Both => "both",
            Side::In => "in",
            Side::Out => "out",
        },
    };
    let mut all: Vec<Point> = spots(telemetry).into_iter().map(point).collect();
    all.sort_unstable();
    all
}

/// The signal that the id of a pipeline begins with.
fn signal_of(pipeline: &str) -> Option<Signal> {
    let name = pipeline.split('/').next()?;
    Signal::ALL.into_iter().find(|signal| signal.name() == name)
}

/// The component of a pipeline that is asked for, and the side.
pub(super) fn find(
    telemetry: &Telemetry,
    pipeline: &str,
    component: &str,
    asked: TapSide,
) -> Result<(Spot, Side), Status> {
    let all = spots(telemetry);
    let in_pipeline: Vec<&Spot> = all.iter().filter(|spot| spot.pipeline == pipeline).collect();
    if in_pipeline.is_empty() {
        let known = all.iter().map(|spot| &*spot.pipeline);
        return Err(Status::not_found(unknown("pipeline", pipeline, known.collect())));
    }
    let named: Vec<&Spot> = in_pipeline.iter().copied().filter(|spot| spot.is(component)).collect();
    if named.is_empty() {
        let known = in_pipeline.iter().map(|spot| &*spot.id).collect();
        let what = format!("component of the pipeline `{pipeline}`");
        return Err(Status::not_found(unknown(&what, component, known)));
    }
    let fitting: Vec<(&Spot, Side)> =
        named.iter().filter_map(|spot| Some((*spot, spot.side(asked)?))).collect();
    match fitting[..] {
        [(spot, side)] => Ok((spot.clone(), side)),
        [] => Err(Status::invalid_argument(no_side(named[0]))),
        [(one, _), (other, _), ..] => Err(Status::invalid_argument(format!(
            "`{component}` is two components of `{pipeline}`: write `{}` or `{}`",
            one.name(),
            other.name()
        ))),
    }
}

fn no_side(spot: &Spot) -> String {
    let name = spot.name();
    match spot.side {
        Side::Out => {
            format!("`{name}` can be tapped where data leaves it only: use the side `out`")
        }
        Side::In => format!("`{name}` can be tapped where data enters it only: use the side `in`"),
        Side::Both => format!("`{name}` has no such side"),
    }
}

fn unknown(what: &str, name: &str, mut known: Vec<&str>) -> String {
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        return format!("`{name}` is no {what}: no pipeline runs");
    }
    match closest(name, known.iter().copied()) {
        Some(near) => format!("`{name}` is no {what}; did you mean `{near}`?"),
        None => format!("`{name}` is no {what}; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn telemetry() -> (Telemetry, Vec<Arc<EdgeStats>>) {
        let telemetry = Telemetry::default();
        let edges = [
            ("traces", "receiver otlp", "processor batch"),
            ("traces", "processor batch", "exporter otlp"),
            ("traces", "processor batch", "connector forward"),
            ("traces/two", "connector forward", "exporter nop"),
            ("logs", "receiver otlp+syslog", "exporter nop"),
            ("logs", "receiver otlp+syslog", "exporter file"),
        ];
        let edges = edges.map(|(pipeline, from, to)| telemetry.edge(pipeline, from, to));
        drop(telemetry.processor("batch", "traces", Signal::Traces));
        (telemetry, edges.to_vec())
    }

    fn found(pipeline: &str, component: &str, side: TapSide) -> String {
        let (telemetry, _edges) = telemetry();
        match find(&telemetry, pipeline, component, side) {
            Ok((spot, side)) => format!("{} {side:?} {}", spot.name(), spot.places.len()),
            Err(status) => {
                assert!(matches!(status.code(), Code::NotFound | Code::InvalidArgument));
                status.message().to_owned()
            }
        }
    }

    #[test]
    fn what_can_be_tapped_is_listed_once() {
        let (telemetry, _edges) = telemetry();
        let told = |point: &Point| {
            let Point { pipeline, kind, id, side } = point;
            format!("{pipeline} {kind} {id} {side}")
        };
        let all: Vec<String> = points(&telemetry).iter().map(told).collect();
        let expected = [
            "logs exporter file in",
            "logs exporter nop in",
            "logs receiver otlp out",
            "logs receiver syslog out",
            "traces connector forward in",
            "traces exporter otlp in",
            "traces processor batch both",
            "traces receiver otlp out",
            "traces/two connector forward out",
            "traces/two exporter nop in",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn every_component_has_the_sides_that_make_sense() {
        use TapSide::{Both, In, Out, Unspecified};
        for (pipeline, component, side, expected) in [
            ("traces", "batch", Unspecified, "processor batch Both 1"),
            ("traces", "batch", In, "processor batch In 1"),
            ("traces", "otlp", Out, "receiver otlp Out 1"),
            ("traces", "otlp", In, "exporter otlp In 1"),
            ("traces", "receiver otlp", Unspecified, "receiver otlp Out 1"),
            ("traces", "forward", Unspecified, "connector forward In 1"),
            ("traces/two", "forward", Unspecified, "connector forward Out 1"),
            ("logs", "syslog", Unspecified, "receiver syslog Out 1"),
            ("logs", "otlp+syslog", Unspecified, "receiver otlp Out 1"),
            ("logs", "file", Unspecified, "exporter file In 1"),
            (
                "traces",
                "otlp",
                Unspecified,
                "`otlp` is two components of `traces`: write `receiver otlp` or `exporter otlp`",
            ),
            (
                "logs",
                "syslog",
                In,
                "`receiver syslog` can be tapped where data leaves it only: use the side `out`",
            ),
            (
                "logs",
                "nop",
                Both,
                "`exporter nop` can be tapped where data enters it only: use the side `in`",
            ),
            ("trace", "x", In, "`trace` is no pipeline; did you mean `traces`?"),
            (
                "traces",
                "bach",
                In,
                "`bach` is no component of the pipeline `traces`; did you mean `batch`?",
            ),
        ] {
            assert_eq!(found(pipeline, component, side), expected);
        }
    }
}
