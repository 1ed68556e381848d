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
//! The Collector's other detectors, such as `gcp` or `azure`, are taken with a warning and find
//! nothing; so are their settings, and those of the Collector's HTTP client.
//!
//! Detection runs once, when skep starts. Only the data of its pipelines waits for it, at most for
//! `timeout`, and then continues with what was found. A detector that fails logs one warning; with
//! `retry` it is asked again before, as long as there is time. On another platform it finds
//! nothing. The detected attributes are logged. Resources are edited as bytes, and their schema URL
//! does not change.
//!
//! Differs from the Collector:
//!
//! - A detector that fails is asked once unless `retry` is set, and never stops the start; neither
//!   does an `OTEL_RESOURCE_ATTRIBUTES` that cannot be read.
//! - `attributes` chooses by name what is added; the Collector ignores it.
//! - `os.name` and `os.version` are those of `/etc/os-release`, `host.cpu.cache.l2.size` is in
//!   bytes, `host.interface` and `host.mac` leave out the loopback interface and have those that
//!   are down.
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
mod probe;
mod retry;
mod settings;
mod system;

#[cfg(test)]
mod mock;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::settings::{Choice, Config, Ec2, Eks, Openshift, Switch, Switches, System};
use self::{
    detect::Detection,
    probe::{Attributes, Environment},
};
use super::editing::{
    action::{Action, Plan, Verb},
    edit::Editor,
    edit_segments,
};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{Payload, Signal, splice, wire::Fields},
};

/// How often held payloads look whether detection is over.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::decoded_by::<Config>(
    |node, problems| {
        let config = crate::config::decode::<Config>(node, problems)?;
        Some(Detecting::new(config, Environment::of_the_process()).into())
    },
    "resource_detection",
    &["resourcedetection"],
    &Signal::ALL,
    include_str!("resourcedetection.rs"),
);

/// The settings with what was detected by them: once, for all pipelines that use the processor.
#[derive(Debug)]
struct Detecting {
    config: Arc<Config>,
    detection: Arc<Detection>,
}

/// What was detected does not count: it depends on the settings.
impl PartialEq for Detecting {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
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
        self.config.validate(at, problems);
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
