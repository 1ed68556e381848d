//! What the console is told of this program: the configuration that runs, the one on disk, and
//! what is wrong with a text.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use super::super::{
    Origin as Found,
    findings::{Reread, findings},
    validate::summary_of,
};
use crate::{
    admin,
    component::{Listening, reload::Finding},
    config::{
        Node, Problems, Value,
        source::{Loaded, load_foreign},
        write,
    },
    console::{Checked, OpenPort, Origin, Program, Shown, Source, Text},
    document::{
        self, Document,
        effective::{Secrets, effective, endpoints, put_all},
        schema::Schemas,
    },
    sync::lock,
    telemetry::Inventory,
};

/// Most keys that are told to be given.
const MOST_KEYS: usize = 20_000;
/// Names of components that are no part of the configuration's graph, but listen.
const ALWAYS: [&str; 3] = ["metrics", "control", "console"];

/// What the console is told.
pub(in super::super) struct Known {
    name: String,
    is_built_in: bool,
    in_container: bool,
    /// `None` if there is nothing to read again.
    reread: Option<Reread>,
    /// The link of the console, once it is open.
    link: OnceLock<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    generation: u64,
    applied: Option<SystemTime>,
    ports: Vec<OpenPort>,
    configuration: Arc<Applied>,
}

/// A configuration that was applied.
#[derive(Default)]
struct Applied {
    root: Option<Node>,
    endpoints: Vec<(String, String)>,
    findings: Vec<Finding>,
}

/// A configuration that may be applied.
pub(in super::super) struct Candidate(Arc<Applied>);

impl Candidate {
    /// What is kept of a configuration.
    pub(in super::super) fn new(
        loaded: &Loaded,
        document: &Document,
        findings: &[Finding],
        in_container: bool,
    ) -> Self {
        Candidate(Arc::new(Applied {
            root: loaded.root.clone(),
            endpoints: endpoints(document, in_container),
            findings: findings.to_vec(),
        }))
    }
}

impl Known {
    pub(in super::super) fn new(
        origin: &Found,
        in_container: bool,
        reread: Option<Reread>,
    ) -> Self {
        Known {
            name: origin.name(),
            is_built_in: matches!(origin, Found::BuiltIn),
            in_container,
            reread,
            link: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// Notes the link of the console, which stays as long as the process.
    pub(super) fn has_link(&self, link: &str) {
        let _ = self.link.set(link.to_owned());
    }

    /// The link of the console, if one is open.
    pub(in super::super) fn link(&self) -> Option<&str> {
        self.link.get().map(String::as_str)
    }

    /// Notes that a configuration runs.
    pub(in super::super) fn applied(&self, candidate: Candidate) {
        let mut state = lock(&self.state);
        state.generation += 1;
        state.applied = Some(SystemTime::now());
        state.configuration = candidate.0;
    }

    /// Notes the ports of components that have opened theirs, and forgets those of components
    /// that are no longer there.
    pub(in super::super) fn opened(
        &self,
        listening: &[(String, Listening)],
        inventory: &Inventory,
    ) {
        let mut state = lock(&self.state);
        let is_there = |id: &String| {
            let of_pipelines =
                inventory.pipelines.iter().any(|pipeline| pipeline.receivers.contains(id));
            ALWAYS.contains(&&**id) || of_pipelines || inventory.extensions.contains(id)
        };
        let is_new = |id: &String| listening.iter().any(|(component, _)| component == id);
        state.ports.retain(|port| is_there(&port.component) && !is_new(&port.component));
        state.ports.extend(listening.iter().cloned().map(OpenPort::from));
    }
}

impl Program for Known {
    fn origin(&self) -> Origin {
        let state = lock(&self.state);
        let since = state.applied.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        Origin {
            name: self.name.clone(),
            is_built_in: self.is_built_in,
            in_container: self.in_container,
            generation: state.generation,
            applied_unix_ms: since
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            ports: state.ports.clone(),
        }
    }

    fn running(&self) -> Shown {
        let configuration = Arc::clone(&lock(&self.state).configuration);
        let Some(root) = &configuration.root else { return Shown::default() };
        let mut given = Vec::new();
        collect_paths(root, &mut given);
        let mut shown = effective(root, Schemas::shared(), Secrets::Hidden);
        put_all(&mut shown, &configuration.endpoints);
        let findings = configuration.findings.iter().cloned();
        let problems = findings.map(admin::problem).collect();
        Shown { yaml: write::yaml(&shown), given, problems }
    }

    fn on_disk(&self) -> Option<Text> {
        let reread = self.reread.as_ref()?;
        let mut problems = Problems::default();
        let loaded = reread(&mut problems);
        if let Some(root) = &loaded.root {
            document::load(root, &mut problems);
        }
        let running = Arc::clone(&lock(&self.state).configuration);
        let text = |root: &Option<Node>| root.as_ref().map(write::yaml);
        let shown = document::masked_sources(&loaded);
        let sources =
            shown.iter().map(|source| Source { name: source.name.clone(), text: source.shown() });
        Some(Text {
            differs: text(&loaded.root) != text(&running.root),
            sources: sources.collect(),
            problems: told(&problems, &loaded),
        })
    }

    fn check(&self, text: String) -> Checked {
        let mut problems = Problems::default();
        let loaded = load_foreign("the text", text, &mut problems);
        let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
        // Whether a file or a variable exists here is nothing that a text may ask.
        let all = problems.0.len();
        problems.0.retain(|problem| !problem.is_absent);
        let references = u64::try_from(all - problems.0.len()).unwrap_or(u64::MAX);
        let is_valid = !problems.has_errors();
        let summary = document.filter(|_| is_valid).map(|document| summary_of(&document));
        Checked {
            valid: is_valid,
            summary: summary.unwrap_or_default(),
            references,
            problems: told(&problems, &loaded),
        }
    }
}

/// The problems as the API tells them.
fn told(problems: &Problems, loaded: &Loaded) -> Vec<admin::proto::Problem> {
    findings(problems, loaded).into_iter().map(admin::problem).collect()
}

/// The paths of all keys and elements of a tree.
fn collect_paths(node: &Node, paths: &mut Vec<String>) {
    if paths.len() >= MOST_KEYS {
        return;
    }
    if !node.path.is_empty() {
        paths.push(node.path.to_string());
    }
    match node.plain() {
        Value::Map(members) => {
            for member in members {
                collect_paths(&member.value, paths);
            }
        }
        Value::List(nodes) => nodes.iter().for_each(|node| collect_paths(node, paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, telemetry::PipelineInfo};

    const SMALL: &str = "{receivers: {otlp: {protocols: {grpc: }}}, exporters: {otlp_grpc: \
        {endpoint: 'b:1', headers: {x-key: topsecret}}}, service: {pipelines: {traces: {receivers: \
        [otlp], exporters: [otlp_grpc]}}}}";

    fn known(text: &'static str) -> Known {
        let read = |text: &str, problems: &mut Problems| {
            config::source::load(&[format!("yaml:{text}")], &[], &|_| None, problems)
        };
        let mut problems = Problems::default();
        let loaded = read(SMALL, &mut problems);
        let document = document::load(loaded.root.as_ref().unwrap(), &mut problems);
        let reread: Reread = Arc::new(move |problems| read(text, problems));
        let known = Known::new(&Found::BuiltIn, false, Some(reread));
        known.applied(Candidate::new(&loaded, &document, &[], false));
        known
    }

    #[test]
    fn the_running_configuration_is_told_without_secrets_and_with_defaults() {
        let known = known(SMALL);
        let shown = known.running();
        assert!(shown.yaml.contains("endpoint: 127.0.0.1:4317"), "{}", shown.yaml);
        assert!(!shown.yaml.contains("topsecret"), "{}", shown.yaml);
        assert!(shown.given.contains(&"exporters::otlp_grpc::endpoint".to_owned()));
        assert!(!shown.given.iter().any(|path| path.ends_with("sending_queue")));
        let disk = known.on_disk().unwrap();
        assert!(!disk.differs && !disk.sources[0].text.contains("topsecret"), "{disk:?}");
        assert_eq!(known.origin().generation, 1);
    }

    #[test]
    fn what_has_changed_on_disk_is_noticed() {
        let other = "{receivers: {otlp: {protocls: }}, exporters: {}, service: {}}";
        let disk = known(other).on_disk().unwrap();
        assert!(disk.differs && disk.problems.iter().any(|problem| problem.error), "{disk:?}");
    }

    #[test]
    fn a_text_is_checked_without_a_look_at_this_machine() {
        let known = known(SMALL);
        let good = known.check(SMALL.to_owned());
        assert!(good.valid && good.summary.starts_with("1 pipeline (traces)"), "{good:?}");
        let text = "receivers: {otlp: {protocols: {grpc: {endpoint: '${env:PATH}', tls: \
                    {cert_file: /no/such/file, key_file: '${file:/etc/hostname}'}}}}}\n\
                    exporters: {nop: {tiemout: 1s}}\n\
                    service: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n";
        let bad = known.check(text.to_owned());
        let words = format!("{:?}", bad.problems);
        assert!(!bad.valid && words.contains("tiemout") && bad.references >= 2, "{bad:?}");
        let path = std::env::var("PATH").unwrap();
        assert!(!words.contains(&path) && !words.contains("no/such/file"), "{words}");
        let [problem] = &bad.problems[..] else { panic!("{words}") };
        assert_eq!((problem.line, &*problem.source), (2, "the text"));
        for broken in ["a: [", "7", ""] {
            assert!(!known.check(broken.to_owned()).valid, "{broken}");
        }
    }

    #[test]
    fn ports_go_with_their_components() {
        let known = known(SMALL);
        let port = |component: &str, address: &str| {
            let address = address.to_owned();
            (component.to_owned(), Listening { protocol: "grpc", address, tls: false })
        };
        let pipeline = PipelineInfo { receivers: vec!["otlp".to_owned()], ..Default::default() };
        let inventory = Inventory { pipelines: vec![pipeline], ..Inventory::default() };
        known.opened(
            &[port("otlp", "a:1"), port("gone", "b:2"), port("control", "c:3")],
            &inventory,
        );
        known.opened(&[port("otlp", "d:4")], &inventory);
        let ports = known.origin().ports;
        let told: Vec<_> = ports.iter().map(|port| (&*port.component, &*port.address)).collect();
        assert_eq!(told, [("control", "c:3"), ("otlp", "d:4")]);
    }
}
