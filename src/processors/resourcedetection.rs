//! Adds to the resource what can be found out about where skep runs: the host, the container, the
//! task, the cloud.
//!
//! ```yaml
//! resource_detection:
//!   detectors: [env, ecs, ec2, system]
//!   timeout: 2s
//!   override: false
//!   system:
//!     hostname_sources: [os]
//!     resource_attributes:
//!       host.arch: { enabled: true }
//! ```
//!
//! Detectors: `env` (`OTEL_RESOURCE_ATTRIBUTES`), `system`, `docker`, `lambda`, `elasticbeanstalk`,
//! `eks`, `ecs` and `ec2`. The first one that finds an attribute wins, so put the more specific
//! platform first: the EC2 detector also finds something on the others. By default they find the
//! same attributes as the Collector's detectors; others are enabled by name, as above. For `ecs`
//! those include `container.id`, `container.name`, `container.image.name` and
//! `aws.ecs.container.arn` of skep's own container. `eks` takes `k8s.cluster.name` from the config
//! map `cluster-info` of the CloudWatch agent. With `override: true`, the default, attributes that
//! `env` reads from skep's own environment replace those of senders. For a sidecar, set
//! `override: false` or do not set the variable.
//!
//! Detection runs once, when skep starts. Only the data of its pipelines waits for it, at most for
//! `timeout`, and then continues with what was found. A detector that fails logs one warning; with
//! `retry` it is asked again before, as long as there is time. On another platform it finds nothing.
//! The detected attributes are logged. Resources are edited as bytes, and their schema URL does not
//! change.
//!
//! Differs from the Collector:
//!
//! - A detector that fails is asked once unless `retry` is set, and never stops the start; neither
//!   does an `OTEL_RESOURCE_ATTRIBUTES` that cannot be read.
//! - `attributes` chooses by name what is added; the Collector ignores it.
//! - `os.name` and `os.version` are those of `/etc/os-release`, `host.cpu.cache.l2.size` is in bytes,
//!   `host.interface` and `host.mac` leave out the loopback interface and have those that are down.
//! - The schema URL of a resource does not change.

mod aws;
mod detect;
mod detectors;
mod docker;
mod ec2;
mod ecs;
mod eks;
mod env;
mod machine;
mod retry;
mod system;

#[cfg(test)]
mod mock;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    detect::{Attributes, Detection, Environment},
    detectors::Detector,
    retry::Retry,
};
use super::attributes::{
    action::{Action, Plan, Verb, broken},
    edit::Editor,
    edit_segments,
};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Interval, Node, Problems, diagnostics},
    otlp::{Payload, Signal, splice, wire::Fields},
};

/// How often held payloads look whether detection is over.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Adds detected resource attributes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is asked, in order of precedence: `env`, `system`, `docker`, `lambda`,
    /// `elasticbeanstalk`, `eks`, `ecs`, `ec2`.
    pub detectors: Vec<String>,
    /// Replace attributes that a resource has already; `false`: add only what is missing.
    pub r#override: bool,
    /// How long detection may take, and data wait for it.
    pub timeout: Interval,
    /// Asking a detector again that fails; it is not asked again without this section.
    pub retry: Option<Retry>,
    /// Only attributes of these names are added; all where it is empty.
    pub attributes: Vec<String>,
    /// The Collector's refusal to start where a platform does not answer. Only `false` is accepted:
    /// start-up waits for nobody.
    pub fail_on_missing_metadata: bool,
    /// The Collector's repeated detection. Only `0` is accepted: detection runs once.
    pub refresh_interval: Interval,
    /// Of the detector `system`.
    pub system: System,
    /// Of the detector `docker`.
    pub docker: Choice,
    /// Of the detector `lambda`.
    pub lambda: Choice,
    /// Of the detector `elasticbeanstalk`.
    pub elasticbeanstalk: Choice,
    /// Of the detector `eks`.
    pub eks: Eks,
    /// Of the detector `ecs`.
    pub ecs: Choice,
    /// Of the detector `ec2`.
    pub ec2: Ec2,
}

/// Which attributes are wanted, by name: those not named are as in the Collector.
pub type Switches = BTreeMap<String, Switch>;

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// Whether it is added; as in the Collector where it is not said.
    pub enabled: Option<bool>,
}

/// Settings of a detector that has no others.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

/// `system`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct System {
    /// Where `host.name` comes from, the first that knows it: `dns` is the name with a dot that
    /// stands beside the host's in `/etc/hosts`, `os` the name that the kernel has.
    pub hostname_sources: Vec<String>,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for System {
    fn default() -> Self {
        let hostname_sources = vec!["dns".to_owned(), "os".to_owned()];
        System { hostname_sources, resource_attributes: Switches::new() }
    }
}

/// `ec2`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ec2 {
    /// Regular expressions; tags of the instance whose key matches one are added as
    /// `ec2.tag.<key>`. Needs `tags_from_imds: true`.
    pub tags: Vec<String>,
    /// Read tags from the instance metadata, where the instance allows that.
    pub tags_from_imds: bool,
    /// How often each question is asked before it counts as failed.
    pub max_attempts: u32,
    /// Longest pause between two attempts.
    pub max_backoff: Interval,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for Ec2 {
    fn default() -> Self {
        Ec2 {
            tags: Vec::new(),
            tags_from_imds: false,
            max_attempts: 3,
            max_backoff: Interval(Duration::from_secs(20)),
            resource_attributes: Switches::new(),
        }
    }
}

/// `eks`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eks {
    /// Variable with the name of the node. Has no effect: skep does not use the EC2 API.
    pub node_from_env_var: String,
    /// How often each question to the instance metadata is asked before it counts as failed.
    pub max_attempts: u32,
    /// Longest pause between two attempts.
    pub max_backoff: Interval,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for Eks {
    fn default() -> Self {
        Eks {
            node_from_env_var: "K8S_NODE_NAME".to_owned(),
            max_attempts: 3,
            max_backoff: Interval(Duration::from_secs(20)),
            resource_attributes: Switches::new(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            detectors: vec!["env".to_owned()],
            r#override: true,
            timeout: Interval(Duration::from_secs(5)),
            retry: None,
            attributes: Vec::new(),
            fail_on_missing_metadata: false,
            refresh_interval: Interval::default(),
            system: System::default(),
            docker: Choice::default(),
            lambda: Choice::default(),
            elasticbeanstalk: Choice::default(),
            eks: Eks::default(),
            ecs: Choice::default(),
            ec2: Ec2::default(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry {
    name: "resource_detection",
    aliases: &["resourcedetection"],
    signals: &Signal::ALL,
    source: include_str!("resourcedetection.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems).map(|config| {
            let detecting = Detecting::new(config, Environment::of_the_process());
            Box::new(detecting) as Box<dyn ProcessorConfig>
        })
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl Config {
    /// The switches of a detector; `env` has none.
    fn switches(&self, detector: Detector) -> Option<&Switches> {
        Some(match detector {
            Detector::Env => return None,
            Detector::System => &self.system.resource_attributes,
            Detector::Docker => &self.docker.resource_attributes,
            Detector::Lambda => &self.lambda.resource_attributes,
            Detector::ElasticBeanstalk => &self.elasticbeanstalk.resource_attributes,
            Detector::Eks => &self.eks.resource_attributes,
            Detector::Ecs => &self.ecs.resource_attributes,
            Detector::Ec2 => &self.ec2.resource_attributes,
        })
    }

    /// Whether an attribute is to be added where `detector` finds it.
    fn wants(&self, detector: Detector, name: &str) -> bool {
        if !self.attributes.is_empty() && !self.attributes.iter().any(|wanted| wanted == name) {
            return false;
        }
        let switch = self.switches(detector).and_then(|switches| switches.get(name));
        switch
            .and_then(|switch| switch.enabled)
            .unwrap_or_else(|| detector.gives(name).unwrap_or(true))
    }

    fn validate_detectors(&self, at: &Node, problems: &mut Problems) {
        if self.detectors.is_empty() {
            problems
                .error(at.at("detectors"), "`detectors` must name at least one detector")
                .help("write for instance `detectors: [env, ecs, system]`");
        }
        for (i, name) in self.detectors.iter().enumerate() {
            if Detector::named(name).is_some() {
                continue;
            }
            let valid = detectors::ALL.map(Detector::name);
            let near = diagnostics::closest(name, valid)
                .map(|near| format!("did you mean `{near}`? "))
                .unwrap_or_default();
            problems
                .error(at.at(&format!("detectors::{i}")), format!("unknown detector `{name}`"))
                .help(format!(
                    "{near}there are {}; give attributes of other platforms in \
                     OTEL_RESOURCE_ATTRIBUTES and detect `env`",
                    valid.join(", ")
                ));
        }
        for detector in detectors::ALL {
            let is_used = self.detectors.iter().any(|name| Detector::named(name) == Some(detector));
            if let (Some(node), false) = (at.get(detector.name()), is_used) {
                let name = detector.name();
                problems
                    .warning(node, format!("`{name}` has settings and is not among `detectors`"))
                    .help(format!("add `{name}` to `detectors`, or remove its settings"));
            }
        }
    }

    fn validate_switches(&self, at: &Node, problems: &mut Problems) {
        for detector in detectors::ALL {
            for name in self.switches(detector).into_iter().flat_map(BTreeMap::keys) {
                if detector.gives(name).is_some() {
                    continue;
                }
                let section = detector.name();
                let known = detector.attributes().iter().map(|(name, _)| *name);
                let help = match diagnostics::closest(name, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("valid: {}", known.collect::<Vec<_>>().join(", ")),
                };
                problems
                    .error(
                        at.at(&format!("{section}::resource_attributes::{name}")),
                        format!("`{section}` does not detect an attribute `{name}`"),
                    )
                    .help(help);
            }
        }
    }

    fn validate_sources(&self, at: &Node, problems: &mut Problems) {
        for (i, source) in self.system.hostname_sources.iter().enumerate() {
            let node = at.at(&format!("system::hostname_sources::{i}"));
            match source.as_str() {
                "dns" | "os" => {}
                "cname" | "lookup" => {
                    problems
                        .error(
                            node,
                            format!(
                                "`{source}` asks name servers for the name of this host, which \
                                 skep does not do"
                            ),
                        )
                        .help("write `hostname_sources: [dns, os]`, or give `host.name` by `env`");
                }
                _ => {
                    problems
                        .error(node, format!("unknown source `{source}` of the host name"))
                        .help("valid: dns, os");
                }
            }
        }
        if self.eks.node_from_env_var != Eks::default().node_from_env_var {
            let message = "`node_from_env_var` has no effect: skep does not use the EC2 API";
            problems.warning(at.at("eks::node_from_env_var"), message).help("remove the key");
        }
        if self.system.hostname_sources.is_empty() {
            problems
                .error(at.at("system::hostname_sources"), "there is no source of the host name")
                .help("write `hostname_sources: [dns, os]`, or remove the key");
        }
    }

    fn validate_tags(&self, at: &Node, problems: &mut Problems) {
        for (i, tag) in self.ec2.tags.iter().enumerate() {
            if let Err(error) = regex::Regex::new(tag) {
                problems.error(at.at(&format!("ec2::tags::{i}")), broken(&error));
            }
        }
        if !self.ec2.tags.is_empty() && !self.ec2.tags_from_imds {
            problems
                .error(
                    at.at("ec2::tags"),
                    "tags come from the EC2 API `DescribeTags` by default, which skep does not call",
                )
                .help(
                    "add `tags_from_imds: true`, and allow tags in the metadata of the instance: \
                     `aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled`",
                );
        }
    }
}

/// The settings with what was detected by them: once, for all pipelines that use the processor.
#[derive(Debug)]
struct Detecting {
    config: Arc<Config>,
    detection: Arc<Detection>,
}

impl Detecting {
    fn new(config: Config, environment: Environment) -> Self {
        let config = Arc::new(config);
        let detection = Arc::new(Detection::new(Arc::clone(&config), environment));
        Detecting { config, detection }
    }
}

impl ProcessorConfig for Detecting {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        let config = &self.config;
        config.validate_detectors(at, problems);
        config.validate_switches(at, problems);
        config.validate_sources(at, problems);
        config.validate_tags(at, problems);
        if let Some(retry) = &config.retry {
            retry.validate(at, problems);
        }
        if config.timeout.0.is_zero() {
            problems
                .error(at.at("timeout"), "`timeout` must be greater than zero")
                .help("remove it: 5s is the default, and data waits no longer than that");
        }
        if config.fail_on_missing_metadata {
            problems
                .error(
                    at.at("fail_on_missing_metadata"),
                    "start-up does not wait for detection, so it cannot fail by it",
                )
                .help("remove it; a detector that fails is logged as a warning");
        }
        if !config.refresh_interval.0.is_zero() {
            problems
                .error(at.at("refresh_interval"), "detection runs once, when skep starts")
                .help("remove `refresh_interval`");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        Ok(Box::new(ResourceDetection {
            id: cx.id.to_string(),
            verb: if self.config.r#override { Verb::Upsert } else { Verb::Insert },
            detection: Arc::clone(&self.detection),
            state: State::Waiting { held: VecDeque::new(), look: Instant::now() },
        }))
    }
}

/// One replica. Nothing is asked before a worker runs it: `validate` builds replicas, too.
struct ResourceDetection {
    id: String,
    verb: Verb,
    detection: Arc<Detection>,
    state: State,
}

enum State {
    Waiting {
        /// In the order in which they came. The budget bounds them, as it does a batch.
        held: VecDeque<Payload>,
        look: Instant,
    },
    Ready(Editor),
}

impl ResourceDetection {
    /// Edits a payload with what was detected.
    fn edit(editor: &mut Editor, payload: Payload, out: &mut Output) {
        editor.begin(payload.context.as_deref());
        let entries: usize = payload.body.iter().map(|segment| Fields::new(segment).count()).sum();
        let growth = editor.growth().saturating_mul(entries);
        edit_segments(payload, growth, out, |segment, growth, purse| {
            splice::edit_resources(segment, growth, purse, |resource, out| {
                editor.edit(resource, 1, out);
            })
        });
    }

    /// Lets go of what was held.
    fn release(&mut self, found: &Attributes, out: &mut Output) {
        let set = |(key, value): (&String, &_)| Action {
            key: key.clone(),
            action: Some(self.verb),
            value: Some(Clone::clone(value)),
            ..Action::default()
        };
        let actions: Vec<Action> = found.iter().map(|(key, value)| set((key, value))).collect();
        let editor = Editor::new(Plan::new(&actions));
        let State::Waiting { held, .. } = std::mem::replace(&mut self.state, State::Ready(editor))
        else {
            return;
        };
        for payload in held {
            self.process(payload, out);
        }
    }

    /// Starts detection, which only the first call does, and sees whether it is over.
    fn look(&mut self, out: &mut Output) {
        self.detection.start(&self.id);
        match self.detection.found() {
            Some(found) => self.release(&found, out),
            None => {
                if let State::Waiting { look, .. } = &mut self.state {
                    *look = out.now + LOOK_AGAIN;
                }
            }
        }
    }
}

impl Processor for ResourceDetection {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if matches!(self.state, State::Waiting { .. }) {
            self.look(out);
        }
        match &mut self.state {
            State::Ready(editor) => Self::edit(editor, payload, out),
            State::Waiting { held, .. } => held.push_back(payload),
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { look, .. } => Some(*look),
            State::Ready(_) => None,
        }
    }

    fn tick(&mut self, out: &mut Output) {
        if matches!(self.state, State::Waiting { .. }) {
            self.look(out);
        }
    }

    /// What is still held waits for the end of detection, which `timeout` bounds.
    fn drain(&mut self, out: &mut Output) {
        if matches!(&self.state, State::Waiting { held, .. } if !held.is_empty()) {
            let found = self.detection.wait();
            self.release(&found, out);
        }
    }
}

#[cfg(test)]
mod tests;
