//! The monthly budget of an exporter as its queues share it: one [`Allowance`] for each exporter id
//! with `budget`, whatever its signals and pipelines.
//!
//! ```text
//! worker: gate (measure, sample by the rates) --> queue --> carrier: encode, claim, attempt
//!            |                                                         |
//!            +-- demand, rates ---------- Allowance ---------- claim, give back
//! ```
//!
//! What passes the gate is claimed right before its first attempt, and not at the gate. Why: a
//! queue may refuse a payload, drop it, or hold it over the end of a month, and an outage would use
//! up the budget with data that nobody has counted. So a payload on disk is counted by the process
//! that sends it, once, and a dead letter when it is sent again. A claim is given back if all
//! attempts have failed. If one was not answered the claim stays, since the backend may have the
//! data, and another attempt is claimed anew. While the exporter fails anyway the claim stays, too,
//! but it holds for the other attempts: an outage costs no more than the same data without it.
//!
//! A reload keeps the allowance, and changes its limits at once. Its ledger is written when its
//! last queue is gone, and at the end of the process.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use jiff::Timestamp;
use tokio::{runtime::Handle, task};

use super::gate::Remembered;
use crate::{
    budget::{Change, Class, Mode, MonthlyBudget, Rate, Settings, Why},
    component::StartError,
    sync::lock,
    telemetry::{Asked, Counter, Desc, Meter, Telemetry, registry::Kind},
};

const USED: Desc =
    Desc::new("skep_exporter_budget_used", "1", "Units of the monthly budget that are used");
const LIMIT: Desc = Desc::new("skep_exporter_budget_limit", "1", "Units of the monthly budget");
const FORECAST: Desc = Desc::new(
    "skep_exporter_budget_forecast",
    "1",
    "Units that will be used at the end of the month, if it goes on like this",
);
const PASSING: Desc = Desc::new(
    "skep_exporter_budget_passing_ppm",
    "1",
    "How many of a million items of a class pass now",
);
const LEFT_OUT: Desc = Desc::new(
    "skep_exporter_budget_left_out_items",
    "{item}",
    "Items that the monthly budget left out, by class and reason",
);

/// How often rates, marks and the ledger are looked after.
const TEND: Duration = Duration::from_secs(1);
/// Traces of a generation of [`Seen`].
const SEEN: usize = 1 << 17;
/// One, as a ratio.
const ONE: u64 = 1 << 16;

/// Tells the time; tests have clocks of their own.
pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The budget of one exporter.
pub struct Allowance {
    id: String,
    budget: Arc<MonthlyBudget>,
    folder: Option<PathBuf>,
    clock: Clock,
    applied: Mutex<Settings>,
    /// Whether nothing is left, as it was a moment ago.
    is_closed: AtomicBool,
    /// Whether the mode is `pace`.
    is_pacing: AtomicBool,
    /// Makes keys of trace ids.
    pub(super) hasher: RandomState,
    pub(super) remembered: Mutex<Remembered>,
    seen: Mutex<Seen>,
    /// Bytes that vendors count for a byte of OTLP, of 65 536.
    ratio: AtomicU64,
    left_out: [[Counter; Why::ALL.len()]; Class::ALL.len()],
    _asked: Vec<Asked>,
}

/// Traces that have been counted, in two generations of 131 072: what is older is forgotten, and
/// would be counted again. At most 5 MiB, for an exporter that counts traces.
#[derive(Debug, Default)]
struct Seen {
    young: HashSet<u64, RandomState>,
    old: HashSet<u64, RandomState>,
}

impl Seen {
    fn knows(&self, key: u64) -> bool {
        self.young.contains(&key) || self.old.contains(&key)
    }

    /// Notes a trace; whether it is new.
    fn note(&mut self, key: u64) -> bool {
        if self.knows(key) {
            return false;
        }
        if self.young.len() >= SEEN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key)
    }

    fn forget(&mut self, key: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

impl Allowance {
    /// Opens the budget of an exporter. Blocks.
    pub(super) fn open(
        id: &str,
        settings: Settings,
        folder: Option<PathBuf>,
        clock: Clock,
        meter: &Meter,
    ) -> Result<Arc<Self>, StartError> {
        let budget = MonthlyBudget::open(settings.clone(), folder.as_deref(), clock());
        let budget = budget.map_err(|error| StartError {
            component: format!("exporter `{id}`"),
            message: format!("cannot open the ledger of its budget: {error}"),
        })?;
        let budget = Arc::new(budget);
        let mode = settings.mode;
        let left_out = Class::ALL.map(|class| {
            Why::ALL.map(|why| {
                let labels = [("exporter", id), ("class", class.name()), ("reason", why.name())];
                meter.counter(&LEFT_OUT, &labels)
            })
        });
        Ok(Arc::new(Allowance {
            id: id.to_owned(),
            _asked: asked(id, &budget, &clock, meter),
            budget,
            folder,
            clock,
            applied: Mutex::new(settings),
            is_closed: AtomicBool::new(false),
            is_pacing: AtomicBool::new(mode == Mode::Pace),
            hasher: RandomState::default(),
            remembered: Mutex::default(),
            seen: Mutex::default(),
            ratio: AtomicU64::new(ONE),
            left_out,
        }))
    }

    /// The budget itself.
    pub fn budget(&self) -> &Arc<MonthlyBudget> {
        &self.budget
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Applies the settings of a reload.
    pub fn apply(&self, settings: &Settings) {
        let mut applied = lock(&self.applied);
        if !is_same(&applied, settings) {
            self.budget.reconfigure(settings.clone(), self.now());
            *applied = settings.clone();
            self.is_closed.store(false, Ordering::Relaxed);
            self.is_pacing.store(settings.mode == Mode::Pace, Ordering::Relaxed);
        }
    }

    /// How many of each class may pass now.
    pub(super) fn passing(&self, now: Timestamp) -> [Rate; 3] {
        if self.is_closed() {
            return [Rate::NOTHING; 3];
        }
        let rates = self.budget.rates(now);
        Class::ALL.map(|class| rates.of(class))
    }

    /// Whether nothing is left.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Whether rates may be below one.
    pub(super) fn is_pacing(&self) -> bool {
        self.is_pacing.load(Ordering::Relaxed)
    }

    /// Counts items that are left out.
    pub(super) fn leave_out(&self, class: Class, why: Why, items: u64) {
        if items > 0 {
            self.left_out[class as usize][why as usize].add(items);
        }
    }

    /// Whether a trace has been counted.
    pub(super) fn has_counted(&self, keys: impl Iterator<Item = u64>) -> Vec<bool> {
        let seen = lock(&self.seen);
        keys.map(|key| seen.knows(key)).collect()
    }

    /// Notes traces that are about to be counted; those of them that are new.
    pub(super) fn count_traces(&self, keys: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut seen = lock(&self.seen);
        keys.filter(|key| seen.note(*key)).collect()
    }

    /// Takes that back.
    pub(super) fn uncount_traces(&self, keys: &[u64]) {
        let mut seen = lock(&self.seen);
        for key in keys {
            seen.forget(*key);
        }
    }

    /// Bytes of what is remembered of traces.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let seen = lock(&self.seen);
        let keys = seen.young.capacity() + seen.old.capacity();
        // A slot has a key and a byte of its hash; one of eight is free.
        keys * 9 * 8 / 7 + lock(&self.remembered).memory()
    }

    /// What a vendor counts for so many bytes of OTLP, as far as known.
    pub(super) fn estimate(&self, bytes: u64) -> u64 {
        let units = u128::from(bytes) * u128::from(self.ratio.load(Ordering::Relaxed));
        u64::try_from(units / u128::from(ONE)).unwrap_or(u64::MAX)
    }

    /// Learns what a vendor has counted for so many bytes of OTLP: an average over about the last
    /// eight requests.
    pub(super) fn learn(&self, units: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let ratio = u128::from(units) * u128::from(ONE) / u128::from(bytes);
        let ratio = u64::try_from(ratio).unwrap_or(u64::MAX).clamp(ONE / 64, ONE * 64);
        let before = self.ratio.load(Ordering::Relaxed);
        self.ratio.store(before - before / 8 + ratio / 8, Ordering::Relaxed);
    }

    /// Looks after the budget: once a second. May write a file.
    pub(super) fn tend(&self) {
        let now = self.now();
        for change in self.budget.tend(now) {
            self.tell(&change, now);
        }
        let report = self.budget.report(0, now);
        self.is_closed.store(report.is_spent(), Ordering::Relaxed);
        lock(&self.remembered).age(now.as_millisecond());
    }

    fn tell(&self, change: &Change, now: Timestamp) {
        let report = self.budget.report(0, now);
        let (exporter, unit, until) = (&self.id, report.unit.name(), report.period.end);
        let (used, limit, forecast) = (report.used, report.limit, report.unlimited);
        match change {
            Change::Began => {
                tracing::info!(exporter, unit, limit, %until, "A new month of the budget begins.");
            }
            Change::PacingBegan => tracing::warn!(
                exporter,
                unit,
                used,
                limit,
                forecast,
                %until,
                "More data comes than the budget allows: a part of it is left out, so that the \
                 rest lasts to the end of the month. `skep budget` shows who sends it."
            ),
            Change::PacingEnded => {
                tracing::info!(exporter, unit, used, limit, "Nothing is left out any more.");
            }
            Change::Reached(percent) => tracing::warn!(
                exporter,
                percent,
                unit,
                used,
                limit,
                forecast,
                %until,
                "Most of the monthly budget is used."
            ),
            Change::Exhausted if report.mode == Mode::Warn => tracing::warn!(
                exporter,
                unit,
                used,
                limit,
                %until,
                "The monthly budget is used up. Data is sent nevertheless, as `mode: warn` says."
            ),
            Change::Exhausted => tracing::error!(
                exporter,
                unit,
                used,
                limit,
                %until,
                "The monthly budget is used up. Data is left out until the month ends."
            ),
            Change::OneDamaged
            | Change::Damaged(_)
            | Change::MadeAgain
            | Change::CannotWrite(_) => tell_of_trouble(exporter, change),
        }
    }
}

/// Says what is wrong with a ledger.
fn tell_of_trouble(exporter: &str, change: &Change) {
    match change {
        Change::OneDamaged => tracing::warn!(
            exporter,
            "One of the two files of a budget's ledger was damaged; the other one is used."
        ),
        Change::Damaged(assumed) => tracing::error!(
            exporter,
            assumed,
            "The ledger of a budget is damaged. Units are assumed to be used, cautiously."
        ),
        Change::MadeAgain => tracing::error!(
            exporter,
            "The ledger of a budget was removed while skep was running. It was written again from memory. Do not \
             remove files of a storage; if the whole storage is gone, restart skep."
        ),
        Change::CannotWrite(error) => tracing::error!(
            exporter,
            error,
            "The ledger of a budget cannot be written: a restart would forget what is used. Make \
             room on the disk of its storage, and let skep write to it."
        ),
        _ => {}
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.budget.close(self.now());
    }
}

fn is_same(one: &Settings, other: &Settings) -> bool {
    let parts = |of: &Settings| (of.unit, of.per_month, of.share, of.mode, of.reset_day);
    parts(one) == parts(other) && one.zone == other.zone
}

/// What is computed when somebody looks at the metrics.
fn asked(id: &str, budget: &Arc<MonthlyBudget>, clock: &Clock, meter: &Meter) -> Vec<Asked> {
    type Column = (Desc, fn(&MonthlyBudget, Timestamp) -> u64);
    let columns: [Column; 3] = [
        (USED, |budget, now| budget.report(0, now).used),
        (LIMIT, |budget, now| budget.report(0, now).limit),
        (FORECAST, |budget, now| budget.report(0, now).forecast),
    ];
    let columns = columns.map(|(desc, read)| {
        let (budget, clock) = (Arc::downgrade(budget), Arc::clone(clock));
        let read = move || budget.upgrade().map(|budget| read(&budget, clock()));
        meter.asked(Kind::Gauge, &desc, &[("exporter", id)], read)
    });
    let classes = Class::ALL.map(|class| {
        let (budget, clock) = (Arc::downgrade(budget), Arc::clone(clock));
        let read = move || budget.upgrade().map(|one| ppm(one.report(0, clock()).rates.of(class)));
        meter.asked(Kind::Gauge, &PASSING, &[("exporter", id), ("class", class.name())], read)
    });
    columns.into_iter().chain(classes).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a probability times a million"
)]
fn ppm(rate: Rate) -> u64 {
    (rate.probability() * 1e6).round() as u64
}

/// The budgets of a process, by exporter.
#[derive(Default)]
pub struct Allowances {
    /// Whether they are kept and looked after; `validate` only tries to open them.
    is_live: bool,
    open: Mutex<HashMap<String, Weak<Allowance>>>,
}

impl Allowances {
    /// Those of a process that runs. Call [`Allowances::of`] within a tokio runtime.
    pub fn live() -> Self {
        Allowances { is_live: true, open: Mutex::default() }
    }

    /// The allowance of an exporter, opened if it is not. One that is open keeps its settings, see
    /// [`Allowance::apply`].
    pub fn of(
        &self,
        id: &str,
        settings: &Settings,
        folder: Option<PathBuf>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Arc<Allowance>, StartError> {
        let mut open = lock(&self.open);
        open.retain(|_, one| one.strong_count() > 0);
        if let Some(known) = open.get(id).and_then(Weak::upgrade) {
            if known.folder == folder {
                return Ok(known);
            }
            return Err(StartError {
                component: format!("exporter `{id}`"),
                message: "the `storage` of its budget cannot change while skep runs; restart skep"
                    .to_owned(),
            });
        }
        let meter = telemetry.meter(&format!("budget {id}"));
        let clock: Clock = Arc::new(Timestamp::now);
        let new = Allowance::open(id, settings.clone(), folder, clock, &meter)?;
        if self.is_live {
            telemetry.watch_budget(id, new.budget());
            open.insert(id.to_owned(), Arc::downgrade(&new));
            Handle::current().spawn(look_after(Arc::downgrade(&new)));
        }
        Ok(new)
    }

    /// Writes down exactly what is used, at the end.
    pub fn close(&self) {
        for one in lock(&self.open).values().filter_map(Weak::upgrade) {
            one.budget.close(one.now());
        }
    }
}

/// Tends an allowance for as long as it exists.
async fn look_after(allowance: Weak<Allowance>) {
    loop {
        tokio::time::sleep(TEND).await;
        let Some(one) = allowance.upgrade() else { return };
        // It may write a file. A panic would be in there, too, so it ends with this.
        if task::spawn_blocking(move || one.tend()).await.is_err() {
            return;
        }
    }
}
