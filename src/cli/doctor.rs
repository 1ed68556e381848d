//! `skep doctor`: asks each backend, once, whether it would accept data, and says by what
//! applications find each receiver, and what is used of monthly budgets.
//!
//! An OTLP backend gets an export request without items, and an AWS service a call that stores
//! nothing. The ports of receivers are opened and closed again, so that it can be said which are
//! free. Nothing is received or written, so the command can run beside a running skep; its ports
//! are then in use, which is no fault, and those for pages are asked as a browser would. Whether a
//! skep runs is asked at its control plane.

mod budgets;
mod pages;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{runtime, task::JoinSet};

use super::{
    CONFIG, Configuration, IO, OFF, UNAVAILABLE, control, load, machine, print, run, show, silence,
};
use crate::{
    component::{BrowserPort, BuildContext, ComponentId, ErasedExporter, Listening, StartError},
    config::{
        Problems,
        shown::{escaped, without_secrets},
    },
    document::{self, Document},
    net::server::{Sockets, StandIn},
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

/// What works, and should be mended nevertheless.
struct Warning {
    message: String,
    remedy: String,
}

impl Warning {
    fn new(message: String, remedy: String) -> Self {
        Warning { message, remedy }
    }

    fn text(&self) -> String {
        let mut text = format!("WARN  {}\n", shown(&self.message));
        if !self.remedy.is_empty() {
            let _ = writeln!(text, "      {}", shown(&self.remedy));
        }
        text
    }
}

/// A receiver, and the ports that it would open.
struct Door {
    id: String,
    ports: Result<Vec<Listening>, String>,
    /// Where pages in browsers send.
    for_pages: Option<BrowserPort>,
    /// Those of its addresses that are in use.
    in_use: Vec<String>,
}

/// Who may have the ports that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// A skep runs on this machine.
    Skep,
    /// No skep answers.
    Another,
    /// The control plane is off, so nobody can be asked.
    Unknown,
}

/// Asks all backends at the same time; fails if one would not accept data.
pub(super) fn run(configuration: &Configuration, control_endpoint: &str) -> u8 {
    let mut problems = Problems::default();
    let (_, loaded) = load(configuration, &mut problems);
    let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
    show(&problems, &loaded);
    let Some(document) = document.filter(|_| !problems.has_errors()) else { return CONFIG };
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
        return UNAVAILABLE;
    };
    let (entrances, findings) = runtime.block_on(async {
        let doors = doors(&document);
        let is_asked = doors.iter().any(|door| !door.in_use.is_empty());
        let holder = match control_endpoint {
            OFF => Holder::Unknown,
            endpoint if is_asked && control::is_running(endpoint).await => Holder::Skep,
            _ => Holder::Another,
        };
        let entrances = entrances(&doors, holder, control_endpoint).await;
        (entrances, examine(&document).await)
    });
    let budgets = budgets::report(&document, Timestamp::now());
    let code = print::output(&(entrances + &budgets + &report(&findings)));
    let is_well = findings.iter().all(|finding| finding.answer.is_ok());
    if code == 0 && !is_well { IO } else { code }
}

/// The receivers that pipelines use, in the order of the file. Their ports are closed again.
fn doors(document: &Document) -> Vec<Door> {
    let mut doors: Vec<Door> = Vec::new();
    for pipeline in &document.pipelines {
        for id in &pipeline.receivers {
            let Some(receiver) = document.receivers.get(id) else { continue };
            let name = id.to_string();
            if doors.iter().any(|door| door.id == name) {
                continue;
            }
            let mut cx = context(id, pipeline.signal);
            cx.budget = run::budget(document);
            cx.in_container = machine::in_container();
            cx.server_auths = Arc::clone(&document.server_auths);
            let built = receiver.config.build(&cx, &[pipeline.signal]);
            let mut sockets = Sockets::for_a_look();
            let ports = built.and_then(|mut receiver| receiver.bind(&mut sockets));
            let mut ports = ports.map_err(|StartError { message, .. }| message);
            let in_use = wanted(ports.as_deref_mut().unwrap_or_default(), sockets.stand_ins());
            let for_pages = receiver.config.browser_port(&cx);
            doors.push(Door { id: name, ports, for_pages, in_use });
        }
    }
    doors
}

/// Gives ports the addresses that are configured where those are in use, and returns these.
fn wanted(ports: &mut [Listening], stand_ins: &[StandIn]) -> Vec<String> {
    let mut in_use: Vec<String> = Vec::new();
    for port in ports {
        let is_it = |one: &&StandIn| one.opened.to_string() == port.address;
        let Some(StandIn { wanted, .. }) = stand_ins.iter().find(is_it) else { continue };
        port.address = wanted.to_string();
        if !in_use.contains(&port.address) {
            in_use.push(port.address.clone());
        }
    }
    in_use
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

/// Where each receiver listens, and what an application is told.
async fn entrances(doors: &[Door], holder: Holder, control_endpoint: &str) -> String {
    let mut text = String::new();
    for Door { id, ports, for_pages, in_use } in doors {
        let id = shown(id);
        let _ = match ports {
            Ok(ports) => {
                let all: Vec<String> = ports
                    .iter()
                    .map(|port| format!("{} {}", port.protocol, port.address))
                    .collect();
                writeln!(text, "in    {id} <- {}", shown(&all.join(", ")))
            }
            Err(message) => writeln!(text, "in    {id} <- not now: {}", shown(message)),
        };
        text.push_str(&occupied(in_use, holder, control_endpoint));
        if !for_pages.as_ref().is_some_and(|port| port.is_for_pages) {
            let named = ports.iter().flatten().map(|port| (id.clone(), port.clone()));
            for line in silence::advice(&named.collect::<Vec<_>>()).into_iter().flatten() {
                let _ = writeln!(text, "      {}", shown(&line));
            }
        }
        if let Some(port) = for_pages {
            text.push_str(&pages::told(&id, port));
            if ports.is_err() || !in_use.is_empty() {
                text.push_str(&pages::asked(&id, port).await);
            }
        }
    }
    text
}

/// Who has the ports that are in use.
fn occupied(in_use: &[String], holder: Holder, control_endpoint: &str) -> String {
    if in_use.is_empty() {
        return String::new();
    }
    let addresses = shown(&in_use.join(", "));
    match holder {
        Holder::Skep => format!("      {addresses}: in use, probably by the running skep\n"),
        Holder::Unknown => format!("      {addresses}: in use, maybe by a running skep\n"),
        Holder::Another => format!(
            "      {addresses}: in use, but no skep answers at {}; stop the program that has it, \
             or choose another address\n",
            shown(control_endpoint)
        ),
    }
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
