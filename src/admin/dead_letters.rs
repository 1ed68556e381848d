//! Dead letters over gRPC: list, show, replay, drop. `storage::letters` describes the letters.
//!
//! Reading is done off the io threads, in parts, so that no more than one part of a log is in
//! memory. A replay sends a few letters at a time and waits while queue or memory are nearly full:
//! new data takes precedence.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::{
    proto::{
        DeadLetter, DeadLetterSelection, DropDeadLettersResponse, ListDeadLettersResponse,
        ReplayDeadLettersResponse, ShowDeadLetterResponse,
    },
    service::Control,
};
use crate::storage::letters::{
    Count, Desk, DeskState, Fate, Letter, Letterbox, Letterboxes, Pick, Selection,
};

/// Letters and bytes that are read at once.
const PART: usize = 64;
const PART_BYTES: u64 = 1 << 20;
/// Letters of a replay that are on their way at the same time.
const ON_THEIR_WAY: usize = 64;
/// How often a replay checks whether a queue has room again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often a replay reports its progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// A letter without its data.
pub(crate) fn message_of(letter: &Letter) -> DeadLetter {
    DeadLetter {
        id: letter.id.to_string(),
        exporter: letter.id.exporter.clone(),
        signal: letter.id.signal.name().to_owned(),
        at_unix_ms: letter.stored.time,
        items: letter.stored.ticket.items,
        bytes: letter.stored.ticket.bytes,
        reason: letter.note.reason.clone(),
        answer: letter.note.answer.clone(),
        peer: letter.note.peer.clone(),
    }
}

/// The letters that a caller selects; an error if an id is malformed.
pub(crate) fn selection_of(asked: &DeadLetterSelection) -> Result<Selection, String> {
    let ids = asked.ids.iter().map(|id| id.parse()).collect::<Result<_, String>>()?;
    let before = (asked.before_unix_ms > 0)
        .then(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(asked.before_unix_ms)))
        .flatten();
    let exporter = Some(asked.exporter.clone()).filter(|exporter| !exporter.is_empty());
    Ok(Selection { exporter, ids, before })
}

/// The same for calls that change something: an empty selection is most likely a mistake.
fn chosen(asked: Option<DeadLetterSelection>) -> Result<Selection, Status> {
    let asked = asked.unwrap_or_default();
    let selection = selection_of(&asked).map_err(Status::invalid_argument)?;
    if selection == Selection::default() && !asked.all {
        let message = "which dead letters? set `all`, an exporter, ids, or a time";
        return Err(Status::invalid_argument(message));
    }
    Ok(selection)
}

/// The letterboxes, if there are any.
fn some_boxes(letterboxes: &Letterboxes) -> Result<Vec<Arc<Letterbox>>, Status> {
    let boxes = letterboxes.all();
    if boxes.is_empty() {
        let message = "no exporter keeps dead letters: `sending_queue: dead_letters:` names a storage for them";
        return Err(Status::not_found(message));
    }
    Ok(boxes)
}

/// Checks that a named exporter keeps letters.
fn meant(boxes: Vec<Arc<Letterbox>>, selection: &Selection) -> Result<Vec<Arc<Letterbox>>, Status> {
    let Some(name) = &selection.exporter else { return Ok(boxes) };
    let mut names: Vec<&str> = boxes.iter().map(|one| one.exporter()).collect();
    names.dedup();
    if !names.contains(&&**name) {
        let message = format!(
            "exporter `{name}` keeps no dead letters here; those that do: {}",
            names.join(", ")
        );
        return Err(Status::not_found(message));
    }
    Ok(boxes.into_iter().filter(|one| one.exporter() == name).collect())
}

fn failed(error: &io::Error) -> Status {
    Status::internal(format!("the dead letters cannot be read: {error}"))
}

/// Runs blocking code off the io threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten().map_err(|error| failed(&error))
}

/// The next letters of a pick; `None` if there are no more.
async fn part<T: Send + 'static>(
    mut pick: Pick,
    form: fn(Letter) -> T,
) -> Result<(Pick, Vec<T>), Status> {
    off_thread(move || {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < PART && bytes < PART_BYTES {
            let Some(letter) = pick.step()? else { break };
            bytes += letter.stored.ticket.bytes;
            found.push(form(letter));
        }
        Ok((pick, found))
    })
    .await
}

/// What a listing selects; an error comes before the stream.
pub(super) fn listed(
    control: &Control,
    asked: Option<DeadLetterSelection>,
) -> Result<(Vec<Arc<Letterbox>>, Selection), Status> {
    let selection = selection_of(&asked.unwrap_or_default()).map_err(Status::invalid_argument)?;
    let boxes = meant(some_boxes(&control.letterboxes)?, &selection)?;
    Ok((boxes, selection))
}

/// What a replay selects, likewise.
pub(super) fn replayed(
    control: &Control,
    asked: Option<DeadLetterSelection>,
) -> Result<(Vec<Arc<Letterbox>>, Selection), Status> {
    let selection = chosen(asked)?;
    let boxes = meant(some_boxes(&control.letterboxes)?, &selection)?;
    Ok((boxes, selection))
}

/// Lists the selected letters, in parts, until the reader is gone or the process stops.
pub(super) async fn list(
    mut control: Control,
    (boxes, selection): (Vec<Arc<Letterbox>>, Selection),
    sender: mpsc::Sender<Result<ListDeadLettersResponse, Status>>,
) {
    let listing = async {
        for letterbox in boxes {
            let mut pick = letterbox.pick(&selection);
            loop {
                let (rest, letters) = part(pick, |letter| message_of(&letter)).await?;
                pick = rest;
                if letters.is_empty() {
                    break;
                }
                if sender.send(Ok(ListDeadLettersResponse { letters })).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        result = listing => {
            if let Err(status) = result {
                let _ = sender.send(Err(status)).await;
            }
        }
        () = control.stop.raised() => {}
    }
}

/// One letter with its data.
pub(super) async fn show(control: &Control, id: &str) -> Result<ShowDeadLetterResponse, Status> {
    let id = id.parse().map_err(Status::invalid_argument)?;
    let selection = Selection { ids: vec![id], ..Selection::default() };
    for letterbox in some_boxes(&control.letterboxes)? {
        let mut pick = letterbox.pick(&selection);
        if let Some(letter) = off_thread(move || pick.step()).await? {
            let message = message_of(&letter);
            let request = letter.stored.body.to_vec();
            return Ok(ShowDeadLetterResponse { letter: Some(message), request });
        }
    }
    let message = format!(
        "there is no dead letter `{}`; `skep dlq list` shows those there are",
        selection.ids[0]
    );
    Err(Status::not_found(message))
}

/// Drops the selected letters.
pub(super) async fn drop(
    control: &Control,
    asked: Option<DeadLetterSelection>,
) -> Result<DropDeadLettersResponse, Status> {
    let selection = chosen(asked)?;
    let boxes = meant(some_boxes(&control.letterboxes)?, &selection)?;
    let sum = off_thread(move || {
        let mut sum = Count::default();
        for letterbox in boxes {
            let count = letterbox.drop_letters(&selection)?;
            sum.letters += count.letters;
            sum.items += count.items;
            sum.bytes += count.bytes;
        }
        Ok(sum)
    })
    .await?;
    tracing::info!(
        letters = sum.letters,
        items = sum.items,
        "Dead letters were dropped by request."
    );
    Ok(DropDeadLettersResponse { letters: sum.letters, items: sum.items, bytes: sum.bytes })
}

type Progress = mpsc::Sender<Result<ReplayDeadLettersResponse, Status>>;

/// A replay in progress.
struct Replay {
    places: Arc<Semaphore>,
    /// Fates, with the items of the letter.
    tell: mpsc::UnboundedSender<(Fate, u64, OwnedSemaphorePermit)>,
}

/// Sends letters again until the reader is gone or the process stops.
pub(super) async fn replay(
    mut control: Control,
    (boxes, selection): (Vec<Arc<Letterbox>>, Selection),
    progress: Progress,
) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let replay = Replay { places: Arc::new(Semaphore::new(ON_THEIR_WAY)), tell };
    let mut so_far = ReplayDeadLettersResponse::default();
    let (started, mut starts) = mpsc::unbounded_channel();
    let sending = async move {
        for letterbox in boxes {
            replay.letterbox(&letterbox, &selection, &started).await?;
        }
        Ok::<(), Status>(())
    };
    let mut sending = std::pin::pin!(sending);
    let mut is_sending = true;
    let mut ticks = tokio::time::interval(PROGRESS);
    loop {
        tokio::select! {
            result = &mut sending, if is_sending => {
                is_sending = false;
                if let Err(status) = result {
                    let _ = progress.send(Err(status)).await;
                    return;
                }
            }
            Some(start) = starts.recv() => match start {
                Start::Sent => so_far.sent += 1,
                Start::NotRunning(exporter) => so_far.not_running.push(exporter),
            },
            fate = told.recv() => match fate {
                Some((fate, items, _place)) => note(&mut so_far, fate, items),
                // All takers are gone.
                None => break,
            },
            _ = ticks.tick() => {
                if progress.send(Ok(so_far.clone())).await.is_err() {
                    return;
                }
            }
            () = control.stop.raised() => return,
        }
    }
    while let Ok(start) = starts.try_recv() {
        match start {
            Start::Sent => so_far.sent += 1,
            Start::NotRunning(exporter) => so_far.not_running.push(exporter),
        }
    }
    so_far.done = true;
    tracing::info!(
        delivered = so_far.delivered,
        refused_again = so_far.refused_again,
        stayed = so_far.stayed,
        "Dead letters were replayed by request."
    );
    let _ = progress.send(Ok(so_far)).await;
}

fn note(so_far: &mut ReplayDeadLettersResponse, fate: Fate, items: u64) {
    match fate {
        Fate::Delivered => {
            so_far.delivered += 1;
            so_far.delivered_items += items;
        }
        Fate::RefusedAgain(_) => so_far.refused_again += 1,
        Fate::Stayed(_) => so_far.stayed += 1,
    }
}

/// What a replay has begun, or cannot begin.
enum Start {
    Sent,
    NotRunning(String),
}

impl Replay {
    async fn letterbox(
        &self,
        letterbox: &Letterbox,
        selection: &Selection,
        started: &mpsc::UnboundedSender<Start>,
    ) -> Result<(), Status> {
        let mut pick = letterbox.pick(selection);
        loop {
            let (rest, letters) = part(pick, |letter| letter).await?;
            pick = rest;
            if letters.is_empty() {
                return Ok(());
            }
            for letter in letters {
                let Some(desk) = free_desk(letterbox).await else {
                    let name = letterbox.exporter().to_owned();
                    let _ = started.send(Start::NotRunning(name));
                    return Ok(());
                };
                let place = Arc::clone(&self.places).acquire_owned().await;
                let Ok(place) = place else { return Ok(()) };
                // Another request may have sent or dropped it meanwhile.
                if !letterbox.log().claim(&letter.stored.ticket) {
                    continue;
                }
                let _ = started.send(Start::Sent);
                let (tell, items) = (self.tell.clone(), letter.stored.ticket.items);
                let told = Box::new(move |fate| {
                    // The letter is handled even if the client has gone away.
                    let _ = tell.send((fate, items, place));
                });
                desk.resend(letter.stored, told);
            }
        }
    }
}

/// The taker that is free first; waits while all are busy. `None` if there is none any more.
async fn free_desk(letterbox: &Letterbox) -> Option<Arc<dyn Desk>> {
    loop {
        let desk = letterbox.desk()?;
        match desk.state() {
            DeskState::Free => return Some(desk),
            DeskState::Busy => tokio::time::sleep(LOOK_AGAIN).await,
            DeskState::Closed => return None,
        }
    }
}
