//! `skep doctor`: asks each backend, once, whether it would accept data.
//!
//! An OTLP backend gets an export request without items, and an AWS service a call that stores
//! nothing. Nothing is received or written, so the command can run beside a running skep.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tokio::{runtime, task::JoinSet};

use super::{CONFIG, Configuration, IO, UNAVAILABLE, load, print, show};
use crate::{
    component::{BuildContext, ComponentId, ErasedExporter},
    config::{
        Problems,
        shown::{escaped, without_secrets},
    },
    document::{self, Document},
    otlp::Signal,
};

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend and its answer.
struct Finding {
    /// `honeycomb (traces)`.
    who: String,
    destination: String,
    answer: Result<String, String>,
}

/// Asks all backends at the same time; fails if one would not accept data.
pub(super) fn run(configuration: &Configuration) -> u8 {
    let mut problems = Problems::default();
    let (_, loaded) = load(configuration, &mut problems);
    let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
    show(&problems, &loaded);
    let Some(document) = document.filter(|_| !problems.has_errors()) else { return CONFIG };
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
        return UNAVAILABLE;
    };
    let findings = runtime.block_on(examine(&document));
    let code = print::output(&report(&findings));
    let is_well = findings.iter().all(|finding| finding.answer.is_ok());
    if code == 0 && !is_well { IO } else { code }
}

async fn examine(document: &Document) -> Vec<Finding> {
    let mut asking = JoinSet::new();
    let mut findings: Vec<Finding> = Vec::new();
    for (id, signal) in exporters(document) {
        let Some(exporter) = document.exporters.get(&id) else { continue };
        let finding = Finding {
            who: format!("{id} ({signal})"),
            destination: exporter.config.destination(),
            answer: Err("it did not answer".to_owned()),
        };
        let mut cx = context(&id, signal);
        cx.auth = document.auths.get(&id).cloned();
        let place = findings.len();
        findings.push(finding);
        match exporter.config.build(&cx) {
            Ok(built) => drop(asking.spawn(async move { (place, ask(built, signal).await) })),
            Err(error) => findings[place].answer = Err(error.message),
        }
    }
    while let Some(answer) = asking.join_next().await {
        if let Ok((place, answer)) = answer {
            findings[place].answer = answer;
        }
    }
    findings
}

async fn ask(exporter: Arc<dyn ErasedExporter>, signal: Signal) -> Result<String, String> {
    let answer = tokio::time::timeout(PATIENCE, exporter.probe(signal)).await;
    exporter.shutdown().await;
    match answer {
        Ok(answer) => answer.map_err(|error| error.message),
        Err(_) => Err(format!(
            "no answer within {} s; check that no firewall blocks the connection",
            PATIENCE.as_secs()
        )),
    }
}

/// Each exporter with each of its signals, in the order of the file.
fn exporters(document: &Document) -> Vec<(ComponentId, Signal)> {
    let mut all = Vec::new();
    for pipeline in &document.pipelines {
        for id in &pipeline.exporters {
            let one = (id.clone(), pipeline.signal);
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    all
}

fn context(id: &ComponentId, signal: Signal) -> BuildContext {
    BuildContext::new(id.clone(), signal, Arc::default())
}

/// Makes text safe to show: answers come from backends, and destinations may contain a key.
fn shown(text: &str) -> String {
    escaped(&without_secrets(text)).into_owned()
}

fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { who, destination, answer } in findings {
        let (mark, words) = match answer {
            Ok(words) => ("ok  ", words),
            Err(words) => ("FAIL", words),
        };
        // Writing to a string cannot fail.
        let (destination, words) = (shown(destination), shown(words));
        let _ = writeln!(text, "{mark}  {who} -> {destination}\n      {words}");
    }
    let ill = findings.iter().filter(|finding| finding.answer.is_err()).count();
    let all = findings.len();
    let _ = match ill {
        0 if all == 0 => writeln!(text, "there is no backend to ask: no pipeline has an exporter"),
        0 if all == 1 => {
            writeln!(text, "it would accept data, as far as can be seen without sending any")
        }
        0 => {
            writeln!(text, "all {all} would accept data, as far as can be seen without sending any")
        }
        ill => writeln!(text, "{ill} of {all} would not accept data"),
    };
    text
}
