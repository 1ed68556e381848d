//! YAML examples in documentation: finds them, makes whole configurations of fragments, and checks
//! those.

use std::fmt::Write as _;

use skep::{
    component::{ConnectorConfig, Entry, Kind},
    config::{Node, Problems, source, yaml},
    connectors, document, exporters, extensions,
    otlp::Signal,
    processors, receivers,
};

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension];

/// The receiver and the exporter beside the components of an example.
const NOP: &str = "nop/docs";

/// A fenced block.
pub(crate) struct Block {
    /// What follows the language after the fence. For YAML: nothing for a configuration, the kind
    /// of a component for the body of one.
    pub(crate) mark: String,
    pub(crate) text: String,
}

/// The blocks of a language in a text, in order. A fence may be indented, as in a list.
pub(crate) fn blocks(markdown: &str, language: &str) -> Vec<Block> {
    let mut all = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let body = lines.by_ref().take_while(|line| line.trim() != "```");
        let body: Vec<&str> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
        let mut words = info.split_whitespace();
        if words.next() == Some(language) {
            let mark = words.collect::<Vec<_>>().join(" ");
            all.push(Block { mark, text: body.join("\n") + "\n" });
        }
    }
    all
}

/// The signals of a component type, by any of its names.
fn signals(kind: Kind, name: &str) -> Vec<&'static str> {
    fn find<C: ?Sized>(all: &'static [Entry<C>], name: &str) -> Option<Vec<&'static str>> {
        let entry = all.iter().find(|one| one.name == name || one.aliases.contains(&name))?;
        Some(entry.signals.iter().map(|signal| signal.name()).collect())
    }
    let found = match kind {
        Kind::Receiver => find(receivers::ALL, name),
        Kind::Processor => find(processors::ALL, name),
        Kind::Exporter => find(exporters::ALL, name),
        Kind::Connector => find(connectors::ALL, name),
        Kind::Extension => find(extensions::ALL, name),
    };
    found.unwrap_or_else(|| panic!("there is no {} `{name}`", kind.name()))
}

/// A signal for a component: the one that its id names after the slash, or its first one.
fn signal(kind: Kind, id: &str) -> &'static str {
    let (name, about) = id.split_once('/').unwrap_or((id, ""));
    let signals = signals(kind, name);
    let first = signals.first().copied().unwrap_or("traces");
    signals.iter().copied().find(|signal| *signal == about).unwrap_or(first)
}

/// A whole configuration around the body of one component.
pub(crate) fn around_component(kind: Kind, example: &str) -> String {
    let lines: Vec<String> = example.lines().map(|line| format!("  {line}")).collect();
    let mut text = format!("{}:\n{}\n", kind.section(), lines.join("\n"));
    let ids = example.lines().filter_map(|line| {
        let (id, _) = line.split_once(':')?;
        (!line.starts_with([' ', '#'])).then_some(id)
    });
    let ids: Vec<(Kind, String)> = ids.map(|id| (kind, id.to_owned())).collect();
    assert!(!ids.is_empty(), "no component in\n{example}");
    let root = yaml::parse(0, example).unwrap_or_else(|problem| panic!("{problem:?}\n{example}"));
    text.push_str(&frame(&ids, kind, true, &|_, id| root.get(id).cloned()));
    text
}

/// What a connector in a frame is joined with: its input signals, and the pipelines that it feeds,
/// each with its id.
fn joined(id: &str, body: Option<&Node>) -> (Vec<Signal>, Vec<String>) {
    let (name, _) = id.split_once('/').unwrap_or((id, ""));
    let is_it = |one: &&Entry<dyn ConnectorConfig>| one.name == name || one.aliases.contains(&name);
    let entry = connectors::ALL.iter().find(is_it).unwrap_or_else(|| panic!("no `{name}`"));
    let empty = yaml::parse(0, "{}").unwrap();
    let config = (entry.decode)(body.unwrap_or(&empty), &mut Problems::default());
    let config = config.unwrap_or_else(|| panic!("the body of `{id}` is wrong"));
    let mut named: Vec<String> =
        config.pipelines().into_iter().map(|(_, pipeline)| pipeline.to_owned()).collect();
    named.sort();
    named.dedup();
    if named.is_empty() {
        let first = signal(Kind::Connector, id);
        let input = Signal::ALL.into_iter().find(|signal| signal.name() == first).unwrap();
        let fed = |output: &Signal| format!("{}/docs-{}", output.name(), id.replace('/', "-"));
        return (vec![input], config.outputs(input).iter().map(fed).collect());
    }
    let is_fed =
        |signal: &Signal| named.iter().any(|id| id.split('/').next() == Some(signal.name()));
    (Signal::ALL.into_iter().filter(is_fed).collect(), named)
}

/// What runs components from nowhere into nowhere, each in pipelines of its own. It follows the
/// section of the kind `own`.
pub(crate) fn frame(
    ids: &[(Kind, String)],
    own: Kind,
    lists_extensions: bool,
    body: &dyn Fn(Kind, &str) -> Option<Node>,
) -> String {
    let (mut pipelines, mut connected) = (String::new(), String::new());
    let mut count = 0;
    let mut pipeline = |signal: &str, from: &str, through: &str, to: &str| {
        count += 1;
        writeln!(
            pipelines,
            "    {signal}/docs-{count}: {{receivers: [{from}], processors: [{through}], exporters: [{to}]}}"
        )
        .unwrap();
    };
    let (mut sources, mut sinks) = (false, false);
    for (kind, id) in ids {
        let signal = signal(*kind, id);
        match kind {
            Kind::Receiver => pipeline(signal, id, "", NOP),
            Kind::Processor => pipeline(signal, NOP, id, NOP),
            Kind::Exporter => pipeline(signal, NOP, "", id),
            Kind::Connector => {
                let (inputs, fed) = joined(id, body(*kind, id).as_ref());
                for input in inputs {
                    pipeline(input.name(), NOP, "", id);
                }
                for fed in fed {
                    writeln!(connected, "    {fed}: {{receivers: [{id}], exporters: [{NOP}]}}")
                        .unwrap();
                }
            }
            Kind::Extension => {}
        }
        sources |= !matches!(kind, Kind::Receiver | Kind::Extension);
        sinks |= !matches!(kind, Kind::Exporter | Kind::Extension);
    }
    let extensions = ids.iter().filter(|(kind, _)| *kind == Kind::Extension);
    let extensions: Vec<&str> = extensions.map(|(_, id)| &**id).collect();
    if extensions.len() == ids.len() {
        pipeline("traces", NOP, "", NOP);
        (sources, sinks) = (true, true);
    }
    let mut text = String::new();
    for (kind, is_needed) in [(Kind::Receiver, sources), (Kind::Exporter, sinks)] {
        if !is_needed {
            continue;
        }
        if kind == own {
            text = format!("  {NOP}:\n{text}");
        } else {
            writeln!(text, "{}:\n  {NOP}:", kind.section()).unwrap();
        }
    }
    text.push_str("service:\n");
    if lists_extensions {
        writeln!(text, "  extensions: [{}]", extensions.join(", ")).unwrap();
    }
    write!(text, "  pipelines:\n{pipelines}{connected}").unwrap();
    text
}

/// What is wrong with a configuration of these texts, where every variable has a value.
pub(crate) fn problems(texts: &[String]) -> Problems {
    let env = |name: &str| Some(format!("the-value-of-the-variable-{}", name.to_lowercase()));
    let uris: Vec<String> = texts.iter().map(|text| format!("yaml:{text}")).collect();
    let mut problems = Problems::default();
    let loaded = source::load(&uris, &[], &env, &mut problems);
    let root = loaded.root.as_ref();
    assert!(root.is_some(), "{problems:?}\n{}", texts.join("\n"));
    document::load(root.unwrap(), &mut problems);
    problems
}
