//! The rungs of the pipelines: each processor with what it removed, and connectors.

use super::{
    Rung, State, Step, View, Why,
    facts::{Decided, Edge, Processor},
};
use crate::telemetry::{
    PipelineInfo,
    words::{counted, percent},
};

/// Policies of a sampler that are named.
const POLICIES: usize = 3;

impl View<'_> {
    pub(super) fn passage_rungs(&self) -> Vec<Rung> {
        let mut rungs = Vec::new();
        for pipeline in self.facts.pipelines_of(self.signal) {
            for id in &pipeline.processors {
                let is_it = |one: &&Processor| one.id == *id && one.pipeline == pipeline.id;
                let Some(processor) = self.facts.processors.iter().find(is_it) else { continue };
                rungs.push(self.processor(processor));
            }
            rungs.extend(self.connectors(pipeline));
        }
        rungs
    }

    fn processor(&self, one: &Processor) -> Rung {
        let counts = self.basis.of(one.counts);
        let rung = Rung {
            pipeline: one.pipeline.clone(),
            came: counts.incoming,
            stopped: counts.filtered + counts.refused,
            ..Rung::new(Step::Processor, &one.id)
        };
        let came = self.items(counts.incoming);
        if counts.refused > 0 {
            let sentence = format!("refused {} of {came}", self.items(counts.refused));
            let state = if counts.outgoing == 0 { State::Stop } else { State::Partial };
            let why = one.refusal.map(|reason| Why::of(reason.sentence())).unwrap_or_default();
            return Rung { state, sentence, why, ..rung };
        }
        if counts.filtered > 0 && counts.outgoing == 0 {
            let sentence = format!("leaves out everything: {came}, and none has passed");
            let why = left_out(one);
            return Rung { state: State::Stop, sentence, why, ..rung };
        }
        if counts.filtered > 0 {
            let part = percent(counts.filtered, counts.incoming.max(counts.filtered));
            let sentence = format!("left out {} of {came} ({part})", self.items(counts.filtered));
            let why = Why { reason: policies(&one.decisions), remedy: String::new() };
            return Rung { state: State::Partial, sentence, why, ..rung };
        }
        let (state, sentence) = match (counts.incoming, counts.outgoing) {
            (0, 0) => (State::Nothing, "nothing has come to it".to_owned()),
            (_, 0) => (State::Partial, format!("holds {came}; none has left it yet")),
            (incoming, outgoing) if incoming > outgoing => {
                (State::Ok, format!("passed {} of {came}; it holds the rest", self.items(outgoing)))
            }
            _ => (State::Ok, format!("passed {came}")),
        };
        Rung { state, sentence, ..rung }
    }

    fn connectors(&self, pipeline: &PipelineInfo) -> Vec<Rung> {
        let mut rungs = Vec::new();
        for id in &pipeline.exporters {
            let end = format!("connector {id}");
            let edges = || self.facts.edges.iter();
            let items = |edge: &Edge| self.basis.of(edge.counts).items;
            let is_into = |edge: &&Edge| edge.to == end && edge.pipeline == pipeline.id;
            if !edges().any(|edge| edge.to == end) {
                continue;
            }
            let came: u64 = edges().filter(is_into).map(items).sum();
            let made: u64 = edges().filter(|edge| edge.from == end).map(items).sum();
            let (state, sentence) = if came == 0 {
                (State::Nothing, "nothing has come to it".to_owned())
            } else {
                let made = counted(made, "item");
                (State::Ok, format!("took {}; passed {made} on to its pipelines", self.items(came)))
            };
            let pipeline = pipeline.id.clone();
            rungs.push(Rung { pipeline, state, sentence, came, ..Rung::new(Step::Connector, id) });
        }
        rungs
    }
}

/// Why a processor has left out everything, as far as that can be seen.
fn left_out(one: &Processor) -> Why {
    if one.decisions.is_empty() {
        let reason = "its settings say so".to_owned();
        let remedy = format!("check the conditions or the percentage of `{}`", one.id);
        return Why { reason, remedy };
    }
    let remedy = "`skep sample` shows the decisions, and how each policy voted".to_owned();
    Why { reason: policies(&one.decisions), remedy }
}

/// What the policies of a sampler decided: `1 900 traces by no policy, 70 kept by errors`.
fn policies(decisions: &[Decided]) -> String {
    let told = decisions.iter().take(POLICIES).map(|one| {
        let traces = counted(one.traces, "trace");
        match (one.is_kept, &*one.policy) {
            (true, policy) => format!("{traces} kept by `{policy}`"),
            (false, "") => format!("{traces} kept by no policy"),
            (false, policy) => format!("{traces} dropped by `{policy}`"),
        }
    });
    told.collect::<Vec<_>>().join(", ")
}
