//! The storages of a process. Each is a directory, locked to one process, with one folder for each
//! queue, journal and store of dead letters.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Write as _,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::stored::Store;
use crate::{
    component::{ComponentId, Kind, StartError, Storage},
    engine::panics::Panics,
    otlp::Signal,
    storage::{Folder, Log, Room, Settings, letters::Letterboxes},
    sync,
    telemetry::{
        Telemetry,
        storage::{LogOwner, LogStats},
    },
};

/// Pause between attempts to lock a directory that another process has.
const RETRY: Duration = Duration::from_millis(20);

/// The open storages. They stay open during a reload.
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
    _lock: DirectoryLock,
    stores: HashMap<String, Arc<Store>>,
}

/// The owner of a log.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Kind of the component.
    pub kind: Kind,
    /// Its id.
    pub id: &'a ComponentId,
    /// Signal of the log; `None` if it holds all of them.
    pub signal: Option<Signal>,
    /// The log's purpose: `traces`, `journal`, `dead_letters_traces`.
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
    /// Storages that are opened on demand. Call [`Storages::store`] within a tokio runtime.
    pub fn live(telemetry: Arc<Telemetry>) -> Self {
        Storages::new(true, telemetry)
    }

    /// Storages that are never opened, for `validate`.
    pub fn dry(telemetry: Arc<Telemetry>) -> Self {
        Storages::new(false, telemetry)
    }

    fn new(is_live: bool, telemetry: Arc<Telemetry>) -> Self {
        let (closed, _) = watch::channel(false);
        let (open, keepers) = (Mutex::default(), Mutex::default());
        let letterboxes = Arc::default();
        Storages { is_live, telemetry, letterboxes, open, keepers, closed }
    }

    /// A folder in the storage `name` for something other than a log; `None` if nothing is opened.
    pub fn folder(
        &self,
        name: &str,
        settings: &Storage,
        owner: Owner<'_>,
    ) -> Result<Option<PathBuf>, StartError> {
        if !self.is_live {
            return Ok(None);
        }
        let mut open = sync::lock(&self.open);
        opened(&mut open, name, settings)?;
        Ok(Some(folder_of(settings, owner)))
    }

    /// The log of an owner in the storage `name`, opened at the first call; `None` if nothing is
    /// opened. Its panics are reported to `panics`.
    pub fn store(
        &self,
        name: &str,
        settings: &Storage,
        owner: Owner<'_>,
        panics: &Panics,
    ) -> Result<Option<Arc<Store>>, StartError> {
        if !self.is_live {
            return Ok(None);
        }
        let failed = |message: &str| StartError {
            component: format!("extension `{name}`"),
            message: message.to_owned(),
        };
        let mut open = sync::lock(&self.open);
        let storage = opened(&mut open, name, settings)?;
        let folder = folder_name(owner);
        if let Some(store) = storage.stores.get(&folder) {
            return Ok(Some(Arc::clone(store)));
        }
        let log = self.open_log(name, settings, owner, &storage.room);
        let log =
            log.map_err(|error| failed(&explain(&error, &settings.directory.join(&folder))))?;
        let store = Store::new(log, panics.clone());
        let keeper = Arc::clone(&store).keep(self.closed.subscribe());
        sync::lock(&self.keepers).spawn(keeper);
        storage.stores.insert(folder, Arc::clone(&store));
        Ok(Some(store))
    }

    fn open_log(
        &self,
        name: &str,
        settings: &Storage,
        owner: Owner<'_>,
        room: &Arc<Room>,
    ) -> io::Result<Arc<Log>> {
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
        Ok(log)
    }

    /// Syncs all logs, saves what is settled, and ends their keepers. Returns the items that were
    /// neither delivered nor are on disk. Counts an item once for each queue on disk that has lost
    /// it, but not for a queue that a journal has not handed it over to: then the journal counts
    /// it.
    pub async fn close(&self) -> u64 {
        let _ = self.closed.send(true);
        let mut keepers = std::mem::take(&mut *sync::lock(&self.keepers));
        while keepers.join_next().await.is_some() {}
        self.stores().iter().map(|store| store.tell_lost()).sum()
    }

    /// Notes before the end by a panic which records it may have been about. A letter that was
    /// being sent again is not among them: nobody sends it again unasked.
    pub fn note_panic(&self) {
        let mut stores = self.stores();
        stores.retain(|store| letters_of(&store.stats().id).is_none());
        if !stores.iter().any(|store| store.suspects().have_come()) {
            for store in &stores {
                store.suspects().accuse_in_hand();
            }
        }
        for store in &stores {
            store.suspects().tell();
        }
    }

    fn stores(&self) -> Vec<Arc<Store>> {
        let open = sync::lock(&self.open);
        open.values().flat_map(|open| open.stores.values()).map(Arc::clone).collect()
    }

    /// Says at the end which data stays on disk for the next start.
    pub fn tell_left(&self) {
        for stats in self.telemetry.logs() {
            let is_of_letters = letters_of(&stats.id).is_some();
            if stats.records.read() > 0 && !is_of_letters {
                tracing::info!(
                    log = %stats.id,
                    storage = %stats.storage,
                    records = stats.records.read(),
                    items = stats.items.read(),
                    "Data stays on disk; the next start delivers it."
                );
            }
        }
    }
}

/// The storage `name`, opened at the first call.
fn opened<'o>(
    open: &'o mut HashMap<String, Open>,
    name: &str,
    settings: &Storage,
) -> Result<&'o mut Open, StartError> {
    let failed = |message: String| StartError { component: format!("extension `{name}`"), message };
    let storage = match open.entry(name.to_owned()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(Open::new(settings).map_err(failed)?),
    };
    if storage.settings != *settings {
        let message = "the settings of an open storage cannot change; restart skep";
        return Err(failed(message.to_owned()));
    }
    Ok(storage)
}

impl Open {
    fn new(settings: &Storage) -> Result<Self, String> {
        let failed = |error: io::Error| explain(&error, &settings.directory);
        if settings.creates_directory {
            let cannot_make = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => {
                    let directory = settings.directory.display();
                    format!("`directory` `{directory}` cannot be made: {error}; set another one")
                }
                _ => failed(error),
            };
            Folder::open(&settings.directory, settings.mode).map_err(cannot_make)?;
        } else if !settings.directory.is_dir() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let lock = DirectoryLock::new(&settings.directory, settings.timeout)?;
        let room = Arc::new(Room::new(settings.limit));
        Ok(Open { settings: settings.clone(), room, _lock: lock, stores: HashMap::new() })
    }
}

/// Locks a directory to one process, with two locks. One is on the directory itself, because a file
/// in it can be removed. The other is on the file `lock` in it, for file systems that cannot lock
/// directories (NFS) and for older versions of skep. If the file was removed or replaced while we
/// waited for its lock, the new one is locked.
#[derive(Debug)]
pub struct DirectoryLock {
    _directory: Option<fs::File>,
    _file: fs::File,
}

impl DirectoryLock {
    /// Whether a process has locked a directory. Looking disturbs none.
    pub fn is_held(directory: &Path) -> bool {
        let is_locked = |path: &Path| {
            let locked = fs::File::open(path).map(|file| file.try_lock_shared());
            matches!(locked, Ok(Err(fs::TryLockError::WouldBlock)))
        };
        is_locked(directory) || is_locked(&directory.join("lock"))
    }

    /// Locks a directory; the error has the remedy in it.
    pub fn new(directory: &Path, timeout: Duration) -> Result<Self, String> {
        let until = Instant::now() + timeout;
        let itself = fs::File::open(directory).map_err(|error| explain(&error, directory))?;
        let of_directory = match wait_for_lock(&itself, until) {
            Ok(()) => Some(itself),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(explain(&error, directory));
            }
            Err(_) => None,
        };
        let path = directory.join("lock");
        let file = lock_file(&path, until).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => {
                format!("`{}` is a directory; remove it", path.display())
            }
            _ => explain(&error, directory),
        })?;
        Ok(DirectoryLock { _directory: of_directory, _file: file })
    }
}

fn wait_for_lock(file: &fs::File, until: Instant) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            // At the start of the process, before anything else runs.
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(RETRY),
        }
    }
}

fn lock_file(path: &Path, until: Instant) -> io::Result<fs::File> {
    loop {
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        wait_for_lock(&file, until)?;
        let (locked, named) = (file.metadata()?, fs::metadata(path));
        let is_named =
            |named: fs::Metadata| (named.dev(), named.ino()) == (locked.dev(), locked.ino());
        if named.is_ok_and(is_named) {
            return Ok(file);
        }
        // The file was removed meanwhile, and another process may lock a new one.
    }
}

pub(super) fn explain(error: &io::Error, directory: &Path) -> String {
    let directory = directory.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            format!("`{directory}` is a file, or lies within one; set another `directory`")
        }
        io::ErrorKind::NotFound => format!(
            "`directory` `{directory}` does not exist; create it, or set `create_directory: true`"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to write to `{directory}`; give it to the user that skep runs as, or set another `directory`"
        ),
        io::ErrorKind::ResourceBusy => format!(
            "`{directory}` is in use by another process; stop it, or set another `directory`"
        ),
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "`{directory}` is on a file system that is mounted read-only; mount it for writing, or \
             set another `directory`"
        ),
        _ => format!("cannot open `{directory}`: {error}"),
    }
}

/// The folder of an owner in a storage.
fn folder_of(settings: &Storage, owner: Owner<'_>) -> PathBuf {
    settings.directory.join(folder_name(owner))
}

/// The folder of the ledger of an exporter's monthly budget.
pub fn ledger_folder(settings: &Storage, exporter: &ComponentId) -> PathBuf {
    folder_of(settings, ledger_of(exporter))
}

/// The owner of that folder.
pub fn ledger_of(exporter: &ComponentId) -> Owner<'_> {
    Owner { kind: Kind::Exporter, id: exporter, signal: None, part: "budget" }
}

/// `exporter_otlp_http~002fbackend_traces`: unsafe characters as `~` and their code, as the
/// Collector does it.
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

/// The part of an exporter's dead letters for a signal.
pub fn letters_part(signal: Signal) -> String {
    format!("dead_letters_{signal}")
}

/// Exporter and signal of the dead letters in a folder.
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
        let (panics, _reports) = Panics::channel();
        for owner in [queue, journal] {
            assert!(storages.store("file_storage", &settings, owner, &panics).unwrap().is_some());
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
    fn a_directory_belongs_to_one_process_whatever_becomes_of_the_file_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = || DirectoryLock::new(dir.path(), Duration::ZERO);
        let first = lock().unwrap();
        assert!(lock().unwrap_err().contains("in use by another process"));
        fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(lock().unwrap_err().contains("in use by another process"));
        drop(first);
        let second = lock().unwrap();
        let now = Instant::now();
        assert!(lock_file(&dir.path().join("lock"), now).is_err(), "as older versions lock it");
        drop(second);
        fs::remove_file(dir.path().join("lock")).unwrap();
        fs::create_dir(dir.path().join("lock")).unwrap();
        assert!(lock().unwrap_err().contains("lock` is a directory; remove it"));
    }
}
