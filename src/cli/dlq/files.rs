//! Dead letters as files, without the process that made them.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use super::{Failure, Listing, NOT_FOUND, UNAVAILABLE, USAGE};
use crate::{
    admin::{
        dead_letters::{message_of, selection_of},
        proto::{DeadLetterSelection, DropDeadLettersResponse, ShowDeadLetterResponse},
    },
    cli::{IO, print},
    engine::disk::storages::{DirectoryLock, letters_of},
    storage::{
        Disk, Folder, Log, Overflow, ReadOnly, Room, Settings,
        letters::{Letterbox, Selection},
    },
    telemetry::storage::LogStats,
};

/// Letters of one part of a list.
const PAGE: usize = 500;

/// Whether files are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn unavailable(directory: &Path, error: &io::Error) -> Failure {
    let directory = directory.display();
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("`{directory}` is not there; name the `directory` of a storage")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to read `{directory}`; run this as the user that skep runs as")
        }
        _ => format!("cannot read `{directory}`: {error}"),
    };
    Failure(UNAVAILABLE, message)
}

/// The letterboxes in a directory, in order of their names.
fn open(directory: &Path, access: Access) -> Result<Vec<Letterbox>, Failure> {
    let failed = |error: io::Error| unavailable(directory, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    let mut boxes = Vec::new();
    for name in &names {
        let Some((exporter, signal)) = letters_of(name) else { continue };
        let folder = Folder::open(&directory.join(name), 0o750).map_err(failed)?;
        let disk: Arc<dyn Disk> = match access {
            Access::Read => Arc::new(ReadOnly(folder)),
            Access::Write => Arc::new(folder),
        };
        let settings = Settings { segment_size: 1 << 20, overflow: Overflow::Block };
        let stats = Arc::new(LogStats::new("", name));
        let log = Log::open(disk, settings, Arc::new(Room::new(u64::MAX)), stats);
        boxes.push(Letterbox::new(&exporter, signal, log.map_err(failed)?));
    }
    if boxes.is_empty() && !names.iter().any(|name| name == "lock") {
        let message = format!(
            "`{}` is not the `directory` of a storage: there is nothing of skep in it",
            directory.display()
        );
        return Err(Failure(NOT_FOUND, message));
    }
    Ok(boxes)
}

fn meant(selection: &DeadLetterSelection) -> Result<Selection, Failure> {
    selection_of(selection).map_err(|message| Failure(USAGE, message))
}

/// Lists what is there.
pub(super) fn list(
    directory: &Path,
    selection: &DeadLetterSelection,
    mut listing: Listing,
) -> Result<u8, Failure> {
    let selection = meant(selection)?;
    let mut damaged = 0;
    for letterbox in open(directory, Access::Read)? {
        let mut pick = letterbox.pick(&selection);
        loop {
            let mut page = Vec::new();
            while page.len() < PAGE {
                let step = pick.step().map_err(|error| unavailable(directory, &error))?;
                let Some(letter) = step else { break };
                page.push(message_of(&letter));
            }
            if page.is_empty() {
                break;
            }
            if listing.add(&page).is_err() {
                // The reader has closed the pipe, or the disk is full.
                return Ok(print::output(""));
            }
        }
        damaged += letterbox.log().stats().damaged_records.read();
    }
    let code = listing.end();
    if damaged > 0 {
        return Err(Failure(IO, format!("{damaged} more are damaged and cannot be read")));
    }
    Ok(code)
}

/// Reads one.
pub(super) fn show(directory: &Path, id: String) -> Result<ShowDeadLetterResponse, Failure> {
    let asked = DeadLetterSelection { ids: vec![id], ..DeadLetterSelection::default() };
    let selection = meant(&asked)?;
    for letterbox in open(directory, Access::Read)? {
        let found = letterbox.pick(&selection).step();
        if let Some(letter) = found.map_err(|error| unavailable(directory, &error))? {
            let request = letter.stored.body.to_vec();
            return Ok(ShowDeadLetterResponse { letter: Some(message_of(&letter)), request });
        }
    }
    let message =
        format!("there is no dead letter `{}` in `{}`", asked.ids[0], directory.display());
    Err(Failure(NOT_FOUND, message))
}

/// Drops letters, while no process has the directory.
pub(super) fn drop_letters(
    directory: &Path,
    selection: &DeadLetterSelection,
) -> Result<DropDeadLettersResponse, Failure> {
    let selection = meant(selection)?;
    // Tells first whether the directory is one, so that no file is made in another.
    drop(open(directory, Access::Read)?);
    let _lock = DirectoryLock::new(directory, Duration::ZERO).map_err(|message| {
        let message = format!(
            "{message}; or leave `--directory` out: then the skep that has it is asked to drop them"
        );
        Failure(UNAVAILABLE, message)
    })?;
    let mut sum = DropDeadLettersResponse::default();
    for letterbox in open(directory, Access::Write)? {
        let dropped = letterbox.drop_letters(&selection);
        let count = dropped.map_err(|error| unavailable(directory, &error))?;
        sum.letters += count.letters;
        sum.items += count.items;
        sum.bytes += count.bytes;
    }
    Ok(sum)
}
