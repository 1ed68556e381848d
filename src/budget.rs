//! Monthly budgets: a ceiling for each exporter in the unit that its vendor bills.
//!
//! ```text
//!  what wants to pass --demand--> pace: rates by class --rates--> the gate samples
//!                                   ^                                 |
//!                 what is left, until when                            v
//!                                   |                               claim --> sent
//!  period: months in a time zone -- ledger: what is used -- file: survives restarts
//! ```
//!
//! One [`MonthlyBudget`] belongs to one exporter id. All signals and pipelines that lead to the
//! exporter share it. It knows neither OTLP nor the engine, starts nothing, and is told the time in
//! each call. The engine asks it in this order for each payload: [`MonthlyBudget::demand`] with
//! what wants to pass, [`MonthlyBudget::rates`] to sample by, [`MonthlyBudget::claim`] for what is
//! left. About once a second it calls [`MonthlyBudget::tend`], which may write a file.
//!
//! Invariants:
//! - Units are counted before they are sent, on disk if there is a ledger: a claim that was
//!   granted is never forgotten, whatever kills the process.
//! - With the modes `pace` and `stop` the claims of a period never exceed the limit.
//! - A clock that jumps never opens a period again and never halves or doubles one; see
//!   `budget/ledger.rs` for the rules.
//! - Memory is bounded: 64 days, [`MOST_IDS`] ids, a table of 256 names, and 64 services of which
//!   something was left out.

mod account;
mod file;
mod ledger;
mod left_out;
mod on_disk;
mod outlook;
mod pace;
mod period;
mod preset;
mod report;
mod settings;
mod who;

pub use self::{
    account::MonthlyBudget,
    file::{Contents, MOST_IDS, OpenError, parse},
    left_out::{LeftOut, Why},
    on_disk::OnDisk,
    outlook::Outlook,
    pace::{Rate, Rates},
    period::Period,
    preset::{PRESETS, Preset},
    report::{Change, Report},
    settings::{Class, Mode, Settings, Share, ShareError, Unit},
    who::{Eater, stride},
};

#[cfg(test)]
mod month;
