//! How detection runs: once, on a thread of its own, all detectors at the same time, each with the
//! same deadline. What they found is merged in the order of the configuration.
//!
//! Why not on the threads of the data: a question that nobody answers would stop a worker with all
//! of its pipelines. Files are read on threads that may hang; they are left behind then.

use std::{
    fmt,
    io::{self, Read as _},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};
use tokio::{task::JoinSet, time::Instant};

use super::{Config, detectors::Detector, retry::Retry};
use crate::{
    net::metadata::{self, Answer, Failure, Service},
    processors::attributes::value::AttributeValue,
};

/// Names and values, in the order of their detectors.
pub(super) type Attributes = Vec<(String, AttributeValue)>;

/// Longest file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// How long it may take to connect to a service of the platform: they are all on the same machine.
/// At most half of the time there is, so that an address where nobody is can be told from one where
/// somebody is silent.
const CONNECT: Duration = Duration::from_secs(1);

/// Looks up a variable.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What detectors see of the outside, beside sockets.
pub(super) struct Environment {
    variables: Variables,
    /// What absolute paths begin with: `/`, or a scratch folder of a test.
    root: PathBuf,
    /// Whether the API of Kubernetes speaks TLS: always, but in tests.
    pub(super) kubernetes_tls: bool,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Environment {
    /// The one that skep runs in.
    pub(super) fn of_the_process() -> Self {
        Environment {
            variables: Box::new(|name| std::env::var(name).ok()),
            root: PathBuf::from("/"),
            kubernetes_tls: true,
        }
    }

    /// One made up for a test.
    #[cfg(test)]
    pub(super) fn of(
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        root: &std::path::Path,
    ) -> Self {
        let root = root.to_owned();
        Environment { variables: Box::new(variables), root, kubernetes_tls: false }
    }

    /// A variable without blanks around it; none where nothing is left.
    pub(super) fn var(&self, name: &str) -> Option<String> {
        let text = (self.variables)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Where an absolute path is.
    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The beginning of a file, what is not UTF-8 replaced.
    pub(super) async fn read(&self, absolute: &str) -> io::Result<String> {
        let path = self.path(absolute);
        apart(move || {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .await
    }

    /// Names in a folder, sorted.
    pub(super) async fn list(&self, absolute: &str) -> io::Result<Vec<String>> {
        let path = self.path(absolute);
        apart(move || {
            let entries = std::fs::read_dir(path)?.flatten();
            let mut names: Vec<String> =
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            Ok(names)
        })
        .await
    }
}

/// Runs what may hang on a thread that nobody waits for after the deadline.
async fn apart<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// What one detector says.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) attributes: Attributes,
    /// What failed and the remedy. One is enough: what fails first makes the rest fail.
    pub(super) warning: Option<String>,
    /// Why this is another platform.
    pub(super) absent: Option<String>,
    /// What an attempt before had found.
    before: Attributes,
    /// The question that is on its way, and what to do where nobody answers.
    asked: String,
    remedy: &'static str,
}

/// What a detector works with: the settings, the environment, and a place for what it finds. What
/// it has found counts even if it does not come to its end in time.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) detector: Detector,
    pub(super) config: Arc<Config>,
    pub(super) environment: Arc<Environment>,
    notes: Arc<Mutex<Notes>>,
}

impl Probe {
    pub(super) fn new(
        detector: Detector,
        config: &Arc<Config>,
        environment: &Arc<Environment>,
    ) -> Self {
        let (config, environment) = (Arc::clone(config), Arc::clone(environment));
        Probe { detector, config, environment, notes: Arc::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants this attribute.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.config.wants(self.detector, name)
    }

    /// An attribute was found.
    pub(super) fn set(&self, name: &str, value: AttributeValue) {
        if self.wants(name) {
            self.notes().attributes.push((name.to_owned(), value));
        }
    }

    /// Some text was found; none or empty text is nothing.
    pub(super) fn text(&self, name: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.set(name, AttributeValue::Text(text.to_owned()));
        }
    }

    /// Something failed. The text says what was asked, and the remedy.
    pub(super) fn warn(&self, text: String) {
        self.notes().warning.get_or_insert(text);
    }

    /// This is another platform.
    pub(super) fn absent(&self, why: impl Into<String>) {
        self.notes().absent = Some(why.into());
    }

    /// A question goes out.
    pub(super) fn asking(&self, asked: String, remedy: &'static str) {
        let mut notes = self.notes();
        (notes.asked, notes.remedy) = (asked, remedy);
    }

    /// Asks a service once.
    pub(super) async fn ask(
        &self,
        service: &Service,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        remedy: &'static str,
    ) -> Result<Answer, Failure> {
        self.asking(format!("{method} {}", service.show(path)), remedy);
        let patience = CONNECT.min(self.config.timeout.0 / 2);
        metadata::ask(service, method, path, headers, patience).await
    }

    /// Takes note of an answer that helps nobody.
    pub(super) fn failed(&self, why: &str) {
        let remedy = self.notes().remedy;
        self.failed_for(why, remedy);
    }

    /// The same with another remedy than that of silence.
    pub(super) fn failed_for(&self, why: &str, remedy: &str) {
        let text = format!("{}: {why}; {remedy}", self.notes().asked);
        self.warn(text);
    }

    /// Asks a service for a JSON document; what goes wrong is noted.
    pub(super) async fn json(
        &self,
        service: &Service,
        path: &str,
        remedy: &'static str,
    ) -> Option<serde_json::Value> {
        match self.ask(service, Method::GET, path, &[], remedy).await {
            Ok(answer) if answer.status == StatusCode::OK => self.parse(&answer),
            Ok(answer) => {
                self.failed(&format!("the answer is {}", answer.status));
                None
            }
            Err(failure) => {
                self.failed(&failure.to_string());
                None
            }
        }
    }

    /// Reads an answer as JSON.
    pub(super) fn parse(&self, answer: &Answer) -> Option<serde_json::Value> {
        let parsed = serde_json::from_slice(&answer.body);
        if parsed.is_err() {
            self.failed("the answer is not JSON");
        }
        parsed.ok()
    }

    /// Runs the detector until its deadline, again where it fails and that is wanted.
    async fn run(self, deadline: Instant) {
        let retry = self.config.retry.clone();
        for pause in retry.iter().flat_map(Retry::pauses) {
            let now = Instant::now();
            self.attempt(
                now.checked_add(self.config.timeout.0).map_or(deadline, |end| end.min(deadline)),
            )
            .await;
            let is_over = deadline.saturating_duration_since(Instant::now()) <= pause;
            if is_over || self.notes().warning.is_none() {
                return;
            }
            tokio::time::sleep(pause).await;
            // What it has found stays, unless it finds it again.
            let before = std::mem::take(&mut *self.notes()).attributes;
            self.notes().before = before;
        }
        if retry.is_none_or(|retry| !retry.enabled) {
            self.attempt(deadline).await;
        }
    }

    /// Runs the detector once.
    async fn attempt(&self, deadline: Instant) {
        let timeout = self.config.timeout;
        if tokio::time::timeout_at(deadline, self.detector.run(self)).await.is_err() {
            let asked = std::mem::take(&mut self.notes().asked);
            let remedy = self.notes().remedy;
            self.warn(if asked.is_empty() {
                format!("the system did not answer within {timeout}; raise `timeout`")
            } else {
                format!("{asked}: no answer within {timeout}; {remedy}")
            });
        }
    }

    /// What it has noted so far.
    pub(super) fn take(&self) -> Notes {
        let mut notes = std::mem::take(&mut *self.notes());
        let before = std::mem::take(&mut notes.before);
        notes.attributes = merge(vec![std::mem::take(&mut notes.attributes), before]);
        notes
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
        running.spawn(probe.clone().run(deadline));
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a detector of the resource broke off");
        }
    }
    probes.into_iter().map(|probe| (probe.detector, probe.take())).collect()
}

/// The attributes of all detectors: of those with one name the first.
pub(super) fn merge(notes: Vec<Attributes>) -> Attributes {
    let mut all = Attributes::new();
    for (name, value) in notes.into_iter().flatten() {
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, value));
        }
    }
    all
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
                tracing::warn!(%error, "there is no thread for resource detection: nothing is detected");
            }
        });
    }

    /// What was found, once detection is over.
    pub(super) fn found(&self) -> Option<Arc<Attributes>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of detection, which has been started.
    pub(super) fn wait(&self) -> Arc<Attributes> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
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
                tracing::warn!(processor = id, %error, "resource detection cannot run: nothing is detected");
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
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get_or_insert_with(|| Arc::new(attributes));
        self.is_over.notify_all();
    }
}

/// Ends a detection with nothing where it has not ended otherwise, so that nobody waits for ever.
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

/// A list of texts.
pub(super) fn texts(texts: impl IntoIterator<Item = String>) -> AttributeValue {
    AttributeValue::List(texts.into_iter().map(AttributeValue::Text).collect())
}
