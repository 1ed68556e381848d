//! A budget as its ledger on disk has it, for those who only look. Nothing is made or written, so
//! that a process that counts at the same time is not disturbed.

use std::path::Path;

use jiff::Timestamp;

use super::{
    account::MonthlyBudget,
    file::{Files, Found, OpenError},
    report::{Change, Report},
    settings::Settings,
};

/// What a ledger says.
#[derive(Debug, Clone)]
pub struct OnDisk {
    /// The state of the budget if it were opened now.
    pub report: Report,
    /// When the ledger was written; `None` if there is none.
    pub written: Option<Timestamp>,
    /// What is wrong with its files.
    pub damage: Option<Change>,
}

impl OnDisk {
    /// Reads the ledger in a folder. Blocks.
    pub fn read(settings: Settings, folder: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let found = Files::peek(folder)?;
        let written = match &found {
            Found::Whole(contents) | Found::Older(contents) => {
                Timestamp::from_second(contents.seen).ok()
            }
            Found::Nothing | Found::Damaged => None,
        };
        let budget = MonthlyBudget::of(settings, None, found, now);
        let is_damage = |change: &Change| matches!(change, Change::OneDamaged | Change::Damaged(_));
        let damage = budget.tend(now).into_iter().find(is_damage);
        let ledger = Some(folder.to_owned());
        Ok(OnDisk { report: Report { ledger, ..budget.report(0, now) }, written, damage })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::budget::{Mode, Share, Unit};

    fn settings() -> Settings {
        Settings {
            unit: Unit::Events,
            per_month: 3000,
            share: Share::WHOLE,
            mode: Mode::Pace,
            zone: TimeZone::UTC,
            reset_day: 1,
        }
    }

    #[test]
    fn a_look_at_a_ledger_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ledger");
        let now: Timestamp = "2026-11-16T00:00:00Z".parse().unwrap();
        let look = || OnDisk::read(settings(), &folder, now).unwrap();
        let nothing = look();
        assert_eq!((nothing.report.used, nothing.written), (0, None));
        assert!(!folder.exists());
        let budget = MonthlyBudget::open(settings(), Some(&folder), now).unwrap();
        assert!(budget.claim(700, now));
        budget.close(now);
        let texts = || ["ledger-a", "ledger-b"].map(|name| fs::read(folder.join(name)).unwrap());
        let before = texts();
        let some = look();
        assert_eq!((some.report.used, some.written, some.damage), (700, Some(now), None));
        assert_eq!((some.report.planned(now), some.report.ledger), (1500, Some(folder.clone())));
        assert_eq!(texts(), before);
        let found = |damage: [&str; 2]| {
            for (name, text) in ["ledger-a", "ledger-b"].into_iter().zip(damage) {
                fs::write(folder.join(name), text).unwrap();
            }
            look().damage
        };
        // What was assumed is the part of the month that is over.
        assert_eq!(found(["?", "?"]), Some(Change::Damaged(1500)));
        fs::write(folder.join("ledger-b"), before.iter().max_by_key(|text| text.len()).unwrap())
            .unwrap();
        assert_eq!(look().damage, Some(Change::OneDamaged));
    }
}
