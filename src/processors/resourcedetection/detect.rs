//! How detection runs: once, on a thread of its own, all detectors at the same time, each with the
//! same deadline. What they found is merged in the order of the configuration.
//!
//! Why not on the threads of the data: a request without an answer would block a worker and all
//! of its pipelines. Files are read on threads that may hang; they are left behind then.

use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use super::{
    detectors::Detector,
    docker, ec2, ecs, eks, env, machine,
    probe::{Attributes, Environment, Notes, Probe, merge},
    retry::Retry,
    settings::Config,
    system,
};
use crate::{processors::editing::value::AttributeValue, sync::lock};

/// Asks once.
async fn ask(probe: &Probe) {
    match probe.detector {
        Detector::Env => env::detect(probe),
        Detector::System => system::detect(probe).await,
        Detector::Docker => docker::detect(probe).await,
        Detector::Lambda => machine::lambda(probe),
        Detector::ElasticBeanstalk => machine::elastic_beanstalk(probe).await,
        Detector::Eks => eks::detect(probe).await,
        Detector::Ecs => ecs::detect(probe).await,
        Detector::Ec2 => ec2::detect(probe).await,
    }
}

/// Runs a detector until its deadline, again if it fails and `retry` says so.
async fn run(probe: Probe, deadline: Instant) {
    let retry = probe.config.retry.clone();
    for pause in retry.iter().flat_map(Retry::pauses) {
        let now = Instant::now();
        attempt(
            &probe,
            now.checked_add(probe.config.timeout.0).map_or(deadline, |end| end.min(deadline)),
        )
        .await;
        let is_over = deadline.saturating_duration_since(Instant::now()) <= pause;
        if is_over || probe.notes().warning.is_none() {
            return;
        }
        tokio::time::sleep(pause).await;
        // What it has found stays, unless it finds it again.
        let before = std::mem::take(&mut *probe.notes()).attributes;
        probe.notes().before = before;
    }
    if retry.is_none_or(|retry| !retry.enabled) {
        attempt(&probe, deadline).await;
    }
}

/// Runs a detector once.
async fn attempt(probe: &Probe, deadline: Instant) {
    let timeout = probe.config.timeout;
    if tokio::time::timeout_at(deadline, ask(probe)).await.is_err() {
        let asked = std::mem::take(&mut probe.notes().asked);
        let remedy = probe.notes().remedy;
        probe.warn(if asked.is_empty() {
            format!("the system did not answer within {timeout}; raise `timeout`")
        } else {
            format!("{asked}: no answer within {timeout}; {remedy}")
        });
    }
}

/// Runs all detectors and gives their notes in the order of the configuration.
pub(super) async fn detect(
    config: &Arc<Config>,
    environment: &Arc<Environment>,
) -> Vec<(Detector, Notes)> {
    let now = Instant::now();
    let patience = match &config.retry {
        Some(retry) => retry.patience(config.timeout.0),
        None => config.timeout.0,
    };
    let deadline = now.checked_add(patience).unwrap_or(now + Duration::from_hours(1));
    let mut probes: Vec<Probe> = Vec::new();
    for detector in config.detectors.iter().filter_map(|name| Detector::named(name)) {
        if probes.iter().all(|probe| probe.detector != detector) {
            probes.push(Probe::new(detector, config, environment));
        }
    }
    let mut running = JoinSet::new();
    for probe in &probes {
        running.spawn(run(probe.clone(), deadline));
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a resource detector stopped unexpectedly");
        }
    }
    probes.into_iter().map(|probe| (probe.detector, probe.take())).collect()
}

/// The one detection of a processor's settings, shared by its replicas.
#[derive(Debug)]
pub(super) struct Detection {
    config: Arc<Config>,
    environment: Arc<Environment>,
    started: Once,
    found: Mutex<Option<Arc<Attributes>>>,
    is_over: Condvar,
}

impl Detection {
    pub(super) fn new(config: Arc<Config>, environment: Environment) -> Self {
        Detection {
            config,
            environment: Arc::new(environment),
            started: Once::new(),
            found: Mutex::new(None),
            is_over: Condvar::new(),
        }
    }

    /// Starts detection. Further calls do nothing.
    pub(super) fn start(self: &Arc<Self>, id: &str) {
        self.started.call_once(|| {
            let (detection, id) = (Over(Arc::clone(self)), id.to_owned());
            let thread = std::thread::Builder::new().name("detect".to_owned());
            if let Err(error) = thread.spawn(move || detection.0.run(&id)) {
                tracing::warn!(%error, "cannot start the thread for resource detection; nothing is detected");
            }
        });
    }

    /// What was found, once detection is over.
    pub(super) fn found(&self) -> Option<Arc<Attributes>> {
        lock(&self.found).clone()
    }

    /// Waits for the end of detection, which has been started.
    pub(super) fn wait(&self) -> Arc<Attributes> {
        let mut found = lock(&self.found);
        loop {
            if let Some(found) = &*found {
                return Arc::clone(found);
            }
            found = self.is_over.wait(found).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, id: &str) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(processor = id, %error, "cannot start the runtime for resource detection; nothing is detected");
                return;
            }
        };
        let began = Instant::now();
        let notes = runtime.block_on(detect(&self.config, &self.environment));
        runtime.shutdown_background();
        let mut elsewhere = Vec::new();
        let mut all = Vec::new();
        for (detector, notes) in notes {
            let detector = detector.name();
            if let Some(warning) = notes.warning {
                tracing::warn!(
                    processor = id,
                    detector,
                    "resource detection failed: {warning:.600}"
                );
            }
            elsewhere.extend(notes.absent.map(|why| format!("{detector}: {why}")));
            all.push(notes.attributes);
        }
        let merged = merge(all);
        let attributes: Vec<String> =
            merged.iter().map(|(name, value)| format!("{name}={}", show(value))).collect();
        tracing::info!(
            processor = id,
            attributes = attributes.join(" "),
            elsewhere = elsewhere.join("; "),
            took = ?began.elapsed(),
            "the resource was detected"
        );
        self.publish(merged);
    }

    fn publish(&self, attributes: Attributes) {
        let mut found = lock(&self.found);
        found.get_or_insert_with(|| Arc::new(attributes));
        self.is_over.notify_all();
    }
}

/// Publishes an empty result if detection ends without one, so that no pipeline waits for ever.
struct Over(Arc<Detection>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.publish(Attributes::new());
    }
}

/// A value in a log.
fn show(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Text(text) => format!("{text:?}"),
        AttributeValue::Int(value) => value.to_string(),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Double(value) => value.to_string(),
        AttributeValue::List(values) => {
            format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        AttributeValue::Map(_) => "{...}".to_owned(),
    }
}
