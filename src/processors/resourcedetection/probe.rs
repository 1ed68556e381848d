//! What a detector works with: what it sees of the outside, and where it notes what it finds.

use std::{
    fmt,
    io::{self, Read as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{Method, StatusCode};

use super::{detectors::Detector, settings::Config};
use crate::{
    net::metadata::{self, Answer, Failure, Service},
    processors::editing::value::AttributeValue,
    sync::lock,
};

/// Names and values, in the order of their detectors.
pub(super) type Attributes = Vec<(String, AttributeValue)>;

/// Longest file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// How long it may take to connect to a service of the platform: they are all on the same machine.
/// At most half of the timeout, so that an unused address can be told from a silent service.
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
    /// The environment that skep runs in.
    pub(super) fn of_the_process() -> Self {
        Environment {
            variables: Box::new(|name| std::env::var(name).ok()),
            root: PathBuf::from("/"),
            kubernetes_tls: true,
        }
    }

    /// A made-up one, for a test.
    #[cfg(test)]
    pub(super) fn of(
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        root: &std::path::Path,
    ) -> Self {
        let root = root.to_owned();
        Environment { variables: Box::new(variables), root, kubernetes_tls: false }
    }

    /// A variable without blanks around it; `None` if nothing is left.
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
    pub(super) before: Attributes,
    /// The question that is on its way, and the remedy if there is no answer.
    pub(super) asked: String,
    pub(super) remedy: &'static str,
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

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }

    /// Whether the configuration asks for this attribute.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.config.wants(self.detector, name)
    }

    /// Notes an attribute that was found.
    pub(super) fn set(&self, name: &str, value: AttributeValue) {
        if self.wants(name) {
            self.notes().attributes.push((name.to_owned(), value));
        }
    }

    /// Notes a text that was found; an empty one counts as absent.
    pub(super) fn text(&self, name: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.set(name, AttributeValue::Text(text.to_owned()));
        }
    }

    /// Notes a failure. The text says what was asked, and the remedy.
    pub(super) fn warn(&self, text: String) {
        self.notes().warning.get_or_insert(text);
    }

    /// Notes that this is another platform.
    pub(super) fn absent(&self, why: impl Into<String>) {
        self.notes().absent = Some(why.into());
    }

    /// Notes the question that is on its way.
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

    /// Notes an answer that is of no use.
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

    /// What it has noted so far.
    pub(super) fn take(&self) -> Notes {
        let mut notes = std::mem::take(&mut *self.notes());
        let before = std::mem::take(&mut notes.before);
        notes.attributes = merge(vec![std::mem::take(&mut notes.attributes), before]);
        notes
    }
}

/// The attributes of all detectors. If two have the same name, the first one wins.
pub(super) fn merge(notes: Vec<Attributes>) -> Attributes {
    let mut all = Attributes::new();
    for (name, value) in notes.into_iter().flatten() {
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, value));
        }
    }
    all
}

/// A list of texts.
pub(super) fn texts(texts: impl IntoIterator<Item = String>) -> AttributeValue {
    AttributeValue::List(texts.into_iter().map(AttributeValue::Text).collect())
}
