//! `skep dlq`: lists, shows, sends again or drops data that backends refused for good.
//!
//! The commands ask the control plane of a running skep, which owns the files. With `--directory`
//! they read the files of a storage themselves; only `drop` then requires that no process has them.

mod files;
mod text;

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Subcommand;

use super::{
    IO, UNAVAILABLE, USAGE,
    columns::width,
    control::{NOT_FOUND, Patience, ask},
    print,
};
use crate::{
    admin::proto::{
        DeadLetter, DeadLetterSelection, DropDeadLettersRequest, DropDeadLettersResponse,
        ListDeadLettersRequest, ReplayDeadLettersRequest, ReplayDeadLettersResponse,
        ShowDeadLetterRequest, ShowDeadLetterResponse,
    },
    config::units::parse_duration,
};

/// The commands for dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists dead letters: id, time, size, reason and the backend's answer.
    List {
        /// Only those of this exporter.
        #[arg(long, value_name = "ID")]
        exporter: Option<String>,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: Files,
    },
    /// Shows one dead letter with its data.
    Show {
        /// Id from `list`: `otlp_http/backend:traces:17`.
        id: String,
        /// Print only the data, as an OTLP/JSON request that can be sent to `/v1/traces`,
        /// `/v1/metrics` or `/v1/logs`.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: Files,
    },
    /// Sends dead letters to their exporters again. Those that the backend accepts are removed.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        files: Files,
    },
    /// Drops dead letters; their data is lost.
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Only those that are older than this, for instance `72h`.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        older_than: Option<Duration>,
        #[command(flatten)]
        files: Files,
    },
}

/// Where the dead letters are.
#[derive(Debug, clap::Args)]
pub(crate) struct Files {
    /// Read the files in the `directory` of a storage instead of asking a running skep.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// Ids from `list`.
    #[arg(value_name = "LETTER")]
    ids: Vec<String>,
    /// All dead letters.
    #[arg(long, conflicts_with_all = ["ids", "exporter"])]
    all: bool,
    /// All dead letters of this exporter.
    #[arg(long, value_name = "ID", conflicts_with = "ids")]
    exporter: Option<String>,
}

impl Chosen {
    /// `None` if nothing is chosen.
    fn selection(self, older_than: Option<Duration>) -> Option<DeadLetterSelection> {
        let before = older_than.map(|age| SystemTime::now().checked_sub(age));
        let before_unix_ms = match before {
            None => 0,
            // Before anything was given up.
            Some(before) => before.map_or(1, |before| text::millis(before).max(1)),
        };
        let is_chosen =
            self.all || self.exporter.is_some() || !self.ids.is_empty() || before_unix_ms > 0;
        is_chosen.then(|| DeadLetterSelection {
            all: self.all,
            exporter: self.exporter.unwrap_or_default(),
            ids: self.ids,
            before_unix_ms,
        })
    }
}

/// Runs a subcommand.
pub(super) fn run(endpoint: &str, command: Dlq) -> u8 {
    match command {
        Dlq::List { exporter, json, files } => {
            let selection = DeadLetterSelection {
                exporter: exporter.unwrap_or_default(),
                ..DeadLetterSelection::default()
            };
            let listing = Listing::new(json);
            match files.directory {
                Some(directory) => ended(files::list(&directory, &selection, listing)),
                None => list(endpoint, &selection, listing),
            }
        }
        Dlq::Show { id, json, files } => match files.directory {
            Some(directory) => {
                ended(files::show(&directory, id).map(|shown| show_one(&shown, json)))
            }
            None => show(endpoint, &id, json),
        },
        Dlq::Replay { chosen, files } => replay(endpoint, chosen, &files),
        Dlq::Drop { chosen, older_than, files } => {
            let Some(selection) = chosen.selection(older_than) else {
                return complain(
                    USAGE,
                    "which dead letters? name ids, or give `--all`, `--exporter` or `--older-than`",
                );
            };
            match files.directory {
                Some(directory) => ended(files::drop_letters(&directory, &selection).map(dropped)),
                None => drop_letters(endpoint, &selection),
            }
        }
    }
}

/// What went wrong, and the exit code.
struct Failure(u8, String);

fn ended(result: Result<u8, Failure>) -> u8 {
    result.unwrap_or_else(|Failure(code, message)| complain(code, &message))
}

#[expect(clippy::print_stderr, reason = "this is the command line")]
fn complain(code: u8, message: &str) -> u8 {
    eprintln!("{message}");
    code
}

/// Mentions `--directory` if no skep answers.
fn with_hint(code: u8) -> u8 {
    if code == UNAVAILABLE {
        complain(code, "`--directory DIR` reads the files of a storage without a running skep");
    }
    code
}

// ---- list ----------------------------------------------------------------------------------

/// A list that is printed page by page.
struct Listing {
    is_json: bool,
    width: usize,
    is_begun: bool,
    letters: u64,
    items: u64,
    bytes: u64,
}

impl Listing {
    fn new(is_json: bool) -> Self {
        let width = width();
        Listing { is_json, width, is_begun: false, letters: 0, items: 0, bytes: 0 }
    }

    /// Prints a page; an error if it cannot be written.
    fn add(&mut self, letters: &[DeadLetter]) -> std::io::Result<()> {
        let mut page = String::new();
        if !self.is_json && !self.is_begun {
            page.push_str(text::HEADING);
        }
        self.is_begun = true;
        for letter in letters {
            self.letters += 1;
            self.items += letter.items;
            self.bytes += letter.bytes;
            page.push_str(&if self.is_json {
                text::json(letter)
            } else {
                text::row(letter, self.width)
            });
        }
        print::write(&page)
    }

    fn end(self) -> u8 {
        if self.is_json {
            return 0;
        }
        if self.letters == 0 {
            return print::output("There are no dead letters.\n");
        }
        print::output(&format!("\n{}\n", text::sum(self.letters, self.items, self.bytes)))
    }
}

fn list(endpoint: &str, selection: &DeadLetterSelection, mut listing: Listing) -> u8 {
    with_hint(ask(endpoint, async |mut client| {
        let request = ListDeadLettersRequest { selection: Some(selection.clone()) };
        let patience = Patience::short(endpoint);
        let mut stream = patience.wait(client.list_dead_letters(request)).await?.into_inner();
        while let Some(page) = patience.wait(stream.message()).await? {
            if listing.add(&page.letters).is_err() {
                // The reader has closed the pipe, or the disk is full.
                return Ok(print::output(""));
            }
        }
        Ok(std::mem::replace(&mut listing, Listing::new(true)).end())
    }))
}

// ---- show ----------------------------------------------------------------------------------

fn show(endpoint: &str, id: &str, json: bool) -> u8 {
    with_hint(ask(endpoint, async |client| {
        let request = ShowDeadLetterRequest { id: id.to_owned() };
        // A letter is as large as a request may be.
        let mut client = client.max_decoding_message_size(usize::MAX);
        let shown = Patience::short(endpoint).wait(client.show_dead_letter(request)).await?;
        Ok(show_one(&shown.into_inner(), json))
    }))
}

fn show_one(shown: &ShowDeadLetterResponse, json: bool) -> u8 {
    let Some(letter) = &shown.letter else { return complain(NOT_FOUND, "there is no such letter") };
    match text::whole(letter, &shown.request, json) {
        Ok(text) => print::output(&text),
        Err(message) => complain(IO, &message),
    }
}

// ---- replay --------------------------------------------------------------------------------

fn replay(endpoint: &str, chosen: Chosen, files: &Files) -> u8 {
    if files.directory.is_some() {
        return complain(
            USAGE,
            "`replay` needs a running skep, which has the exporters: start it with this storage, then leave `--directory` out",
        );
    }
    let Some(selection) = chosen.selection(None) else {
        return complain(USAGE, "which dead letters? name ids, or give `--all` or `--exporter`");
    };
    let is_watched = std::io::stderr().is_terminal();
    ask(endpoint, async |mut client| {
        let request = ReplayDeadLettersRequest { selection: Some(selection.clone()) };
        // It reports its progress twice a second.
        let patience = Patience::long(endpoint);
        let mut stream = patience.wait(client.replay_dead_letters(request)).await?.into_inner();
        let mut last = ReplayDeadLettersResponse::default();
        while let Some(message) = patience.wait(stream.message()).await? {
            if is_watched && !message.done && message != last {
                complain(0, &format!("... {}", text::replayed(&message)));
            }
            last = message;
            if last.done {
                return Ok(end_of_replay(&last));
            }
        }
        let far = text::replayed(&last);
        Ok(complain(UNAVAILABLE, &format!("skep ended before the replay did; so far: {far}")))
    })
}

fn end_of_replay(end: &ReplayDeadLettersResponse) -> u8 {
    for exporter in &end.not_running {
        complain(0, &format!("exporter `{exporter}` does not run, so its dead letters stay"));
    }
    let printed = print::output(&format!("{}\n", text::replayed(end)));
    let is_done = end.refused_again == 0 && end.stayed == 0 && end.not_running.is_empty();
    if is_done { printed } else { IO }
}

// ---- drop ----------------------------------------------------------------------------------

fn drop_letters(endpoint: &str, selection: &DeadLetterSelection) -> u8 {
    with_hint(ask(endpoint, async |mut client| {
        let request = DropDeadLettersRequest { selection: Some(selection.clone()) };
        let count = Patience::long(endpoint).wait(client.drop_dead_letters(request)).await?;
        Ok(dropped(count.into_inner()))
    }))
}

fn dropped(count: DropDeadLettersResponse) -> u8 {
    let DropDeadLettersResponse { letters, items, bytes } = count;
    print::output(&format!("dropped {}\n", text::sum(letters, items, bytes)))
}
