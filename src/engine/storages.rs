//! The storages of a process: each a directory that only one process may have, with one folder for each
//! queue, journal and store of dead letters.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::stored::Store;
use crate::{
    component::{ComponentId, Kind, StartError, Storage},
    otlp::Signal,
    storage::{Folder, Log, Room, Settings, letters::Letterboxes},
    telemetry::{
        Telemetry,
        storage::{LogOwner, LogStats},
    },
};

/// How often a directory is tried that another process has.
const RETRY: Duration = Duration::from_millis(20);

/// What is open. Stays open over a reload.
pub struct Storages {
    /// Whether anything is opened at all; `validate` opens nothing.
    is_live: bool,
    telemetry: Arc<Telemetry>,
    /// The dead letters of all exporters that keep them.
    pub letterboxes: Arc<Letterboxes>,
    open: Mutex<HashMap<String, Open>>,
    keepers: Mutex<JoinSet<()>>,
    closed: watch::Sender<bool>,
}

struct Open {
    settings: Storage,
    room: Arc<Room>,
    /// Held for as long as the process lives.
    _lock: fs::File,
    stores: HashMap<String, Arc<Store>>,
}

/// Whose log it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Kind of the component.
    pub kind: Kind,
    /// Its id.
    pub id: &'a ComponentId,
    /// Signal of the log; none where it holds all of them.
    pub signal: Option<Signal>,
    /// What the log is of it: `traces`, `journal`, `dead_letters_traces`.
    pub part: &'a str,
}

impl From<Owner<'_>> for LogOwner {
    fn from(owner: Owner<'_>) -> Self {
        LogOwner {
            kind: owner.kind.name(),
            id: owner.id.to_string(),
            signal: owner.signal,
            part: owner.part.to_owned(),
        }
    }
}

impl Storages {
    /// Opens what is asked for. Call its [`Storages::store`] within a tokio runtime.
    pub fn live(telemetry: Arc<Telemetry>) -> Self {
        Storages::new(true, telemetry)
    }

    /// Opens nothing.
    pub fn dry(telemetry: Arc<Telemetry>) -> Self {
        Storages::new(false, telemetry)
    }

    fn new(is_live: bool, telemetry: Arc<Telemetry>) -> Self {
        let (closed, _) = watch::channel(false);
        let (open, keepers) = (Mutex::default(), Mutex::default());
        let letterboxes = Arc::default();
        Storages { is_live, telemetry, letterboxes, open, keepers, closed }
    }

    /// The log of an owner in the storage `name`; none where nothing is opened. Opened once.
    pub fn store(
        &self,
        name: &str,
        settings: &Storage,
        owner: Owner<'_>,
    ) -> Result<Option<Arc<Store>>, StartError> {
        if !self.is_live {
            return Ok(None);
        }
        let failed = |error: io::Error| StartError {
            component: format!("extension `{name}`"),
            message: explain(&error, &settings.directory),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.contains_key(name) {
            open.insert(name.to_owned(), Open::new(settings).map_err(failed)?);
        }
        let Some(storage) = open.get_mut(name) else { return Ok(None) };
        if storage.settings != *settings {
            return Err(StartError {
                component: format!("extension `{name}`"),
                message: "the settings of an open storage cannot change; restart skep".to_owned(),
            });
        }
        let folder = folder_name(owner);
        if let Some(store) = storage.stores.get(&folder) {
            return Ok(Some(Arc::clone(store)));
        }
        let store = self.open_log(name, settings, owner, &storage.room).map_err(failed)?;
        storage.stores.insert(folder, Arc::clone(&store));
        Ok(Some(store))
    }

    fn open_log(
        &self,
        name: &str,
        settings: &Storage,
        owner: Owner<'_>,
        room: &Arc<Room>,
    ) -> io::Result<Arc<Store>> {
        let folder = &*folder_name(owner);
        let began = Instant::now();
        let disk = Folder::open(&settings.directory.join(folder), settings.mode)?;
        let of_log = Settings { segment_size: settings.segment_size, overflow: settings.overflow };
        let stats = Arc::new(LogStats::new(name, folder).owned_by(owner.into()));
        let log = Log::open(Arc::new(disk), of_log, Arc::clone(room), Arc::clone(&stats))?;
        self.telemetry.add_log(Arc::clone(&stats));
        let holds_letters = letters_of(folder).is_some();
        if stats.records.read() > 0 && !holds_letters {
            tracing::info!(
                log = folder,
                storage = name,
                records = stats.records.read(),
                items = stats.items.read(),
                mib = stats.disk_bytes.read() >> 20,
                took = ?began.elapsed(),
                "Found data of an earlier process; it is delivered now."
            );
        }
        if stats.records.read() > 0 && holds_letters {
            tracing::info!(
                log = folder,
                storage = name,
                letters = stats.records.read(),
                items = stats.items.read(),
                "There are dead letters; see `skep dlq list`."
            );
        }
        let store = Store::new(log);
        let keeper = Arc::clone(&store).keep(self.closed.subscribe());
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).spawn(keeper);
        Ok(store)
    }

    /// Makes everything durable, writes down what is settled, and ends the work on it.
    pub async fn close(&self) {
        let _ = self.closed.send(true);
        let mut keepers =
            std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        while keepers.join_next().await.is_some() {}
    }
}

impl Open {
    fn new(settings: &Storage) -> io::Result<Self> {
        if settings.creates_directory {
            Folder::open(&settings.directory, settings.mode)?;
        } else if !settings.directory.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let lock = lock_file(&settings.directory.join("lock"), settings.timeout)?;
        let room = Arc::new(Room::new(settings.limit));
        Ok(Open { settings: settings.clone(), room, _lock: lock, stores: HashMap::new() })
    }
}

fn lock_file(path: &Path, timeout: Duration) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() >= timeout => {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            // At the start of the process, before anything else runs.
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(RETRY),
        }
    }
}

/// Takes the directory of a storage away from other processes; the error has the remedy in it.
pub fn lock_directory(directory: &Path) -> Result<fs::File, String> {
    lock_file(&directory.join("lock"), Duration::ZERO).map_err(|error| explain(&error, directory))
}

fn explain(error: &io::Error, directory: &Path) -> String {
    let directory = directory.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            format!("`{directory}` is a file, or lies within one; set another `directory`")
        }
        io::ErrorKind::NotFound => format!(
            "`directory` `{directory}` is not there; make it, or set `create_directory: true`"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to write to `{directory}`; give it to the user that skep runs as, or set another `directory`"
        ),
        io::ErrorKind::ResourceBusy => format!(
            "`{directory}` is in use by another process; stop it, or set another `directory`"
        ),
        _ => format!("cannot open `{directory}`: {error}"),
    }
}

/// `exporter_otlp_http~002fbackend_traces`: unsafe characters as `~` and their code, as the Collector does it.
fn folder_name(owner: Owner<'_>) -> String {
    let mut name = String::from(owner.kind.name());
    for part in [&*owner.id.to_string(), owner.part] {
        name.push('_');
        for character in part.chars() {
            if character.is_ascii_alphanumeric() || "._-".contains(character) {
                name.push(character);
            } else {
                let _ = write!(name, "~{:04x}", u32::from(character));
            }
        }
    }
    name
}

/// The part that an exporter's dead letters of a signal are.
pub fn letters_part(signal: Signal) -> String {
    format!("dead_letters_{signal}")
}

/// Whose dead letters a folder has: the id of the exporter, and the signal.
pub fn letters_of(folder: &str) -> Option<(String, Signal)> {
    let rest = folder.strip_prefix(Kind::Exporter.name())?.strip_prefix('_')?;
    let (escaped, signal) = Signal::ALL.into_iter().find_map(|signal| {
        let id = rest.strip_suffix(&*letters_part(signal))?.strip_suffix('_')?;
        Some((id, signal))
    })?;
    let mut parts = escaped.split('~');
    let mut id = parts.next()?.to_owned();
    for part in parts {
        let digits = part.get(..4)?;
        id.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        id.push_str(&part[4..]);
    }
    Some((id, signal))
}

/// The part of an exporter's queue for a signal.
pub fn queue_part(signal: Signal) -> &'static str {
    signal.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_safe_and_differ() {
        let name = |name: &str| {
            let id = ComponentId { kind_name: "otlp".to_owned(), name: Some(name.to_owned()) };
            folder_name(Owner { kind: Kind::Exporter, id: &id, signal: None, part: "traces" })
        };
        assert_eq!(name("b"), "exporter_otlp~002fb_traces");
        assert_eq!(name("../x"), "exporter_otlp~002f..~002fx_traces");
        assert_ne!(name("a b"), name("a_b"));
    }

    #[test]
    fn folders_of_dead_letters_tell_whose_they_are() {
        for name in ["b", "../x", "a b", "dead_letters_traces"] {
            let id = ComponentId { kind_name: "otlp".to_owned(), name: Some(name.to_owned()) };
            let part = letters_part(Signal::Logs);
            let owner = |part| Owner { kind: Kind::Exporter, id: &id, signal: None, part };
            let folder = folder_name(owner(&part));
            assert_eq!(letters_of(&folder), Some((id.to_string(), Signal::Logs)));
            let queue = folder_name(owner(queue_part(Signal::Logs)));
            assert_eq!(letters_of(&queue), None);
        }
        assert_eq!(letters_of("exporter_a~zz_dead_letters_logs"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_folder_is_somebodys_or_nobodys(middle in r"[a-z~0-9_\u{e4}]{0,20}", rest in ".{0,9}") {
            letters_of(&rest);
            let folder = format!("exporter_{middle}_dead_letters_traces");
            let is_plain = !middle.contains('~');
            let found = letters_of(&folder).map(|(id, _)| id);
            proptest::prop_assert!(!is_plain || found == Some(middle));
        }
    }

    #[tokio::test]
    async fn the_counters_of_a_log_know_whose_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let telemetry = Arc::new(Telemetry::default());
        let storages = Storages::live(Arc::clone(&telemetry));
        let settings = Storage {
            directory: dir.path().to_owned(),
            creates_directory: false,
            mode: 0o750,
            timeout: Duration::ZERO,
            limit: 1 << 20,
            segment_size: 1 << 16,
            overflow: crate::storage::Overflow::Block,
            fsync: false,
        };
        let id = ComponentId { kind_name: "otlp".to_owned(), name: Some("b".to_owned()) };
        let queue =
            Owner { kind: Kind::Exporter, id: &id, signal: Some(Signal::Logs), part: "logs" };
        let journal = Owner { kind: Kind::Receiver, id: &id, signal: None, part: "journal" };
        for owner in [queue, journal] {
            assert!(storages.store("file_storage", &settings, owner).unwrap().is_some());
        }
        let logs = telemetry.logs();
        let found = |kind, id, signal| -> Vec<&str> {
            let its = logs.iter().filter(|log| log.is_of(kind, id, signal));
            its.map(|log| &*log.owner.as_ref().unwrap().part).collect()
        };
        assert_eq!(found("exporter", "otlp/b", Signal::Logs), ["logs"]);
        assert_eq!(found("exporter", "otlp/b", Signal::Traces), [""; 0]);
        assert_eq!(found("receiver", "otlp/b", Signal::Traces), ["journal"], "it holds them all");
        assert_eq!(found("receiver", "otlp", Signal::Logs), [""; 0]);
        storages.close().await;
    }

    #[test]
    fn a_directory_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock_file(&path, Duration::ZERO).unwrap();
        let busy = lock_file(&path, Duration::ZERO).unwrap_err();
        assert!(explain(&busy, dir.path()).contains("in use by another process"));
        drop(first);
        lock_file(&path, Duration::ZERO).unwrap();
    }
}
