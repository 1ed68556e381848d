//! Random conditions and statements.

use super::{
    fields::{Kind, fields},
    generate::{GLOBS, NEW, PATTERNS, Writer},
    program::{Cond, Edit, Expr, Flat, Path, Statement},
    value::Op,
};
use crate::ottl::Context;

impl Writer<'_> {
    pub(super) fn condition(&mut self, depth: u8) -> Cond {
        match self.rng.u8(0..16) {
            0 => Cond::Constant(self.rng.bool()),
            1 => Cond::Call(self.bool_call(1)),
            2..4 if depth > 0 => Cond::Not(Box::new(self.condition(depth - 1))),
            4..7 if depth > 0 => {
                let list = (0..self.rng.u8(2..4)).map(|_| self.condition(depth - 1)).collect();
                if self.rng.bool() { Cond::And(list) } else { Cond::Or(list) }
            }
            // The most frequent form, which has a node of its own.
            7..11 => {
                let op = self.pick(&[Op::Eq, Op::Ne]);
                let right = self.pick(&[Kind::Text, Kind::Any]);
                Cond::Compare(op, Expr::Path(self.attribute()), self.constant(right))
            }
            _ => {
                let kinds = [Kind::Any, Kind::Text, Kind::Int, Kind::Double, Kind::Map, Kind::List];
                let kind = self.pick(&kinds);
                let other = if self.chance(4) { Kind::Any } else { kind };
                let op = self.pick(&Op::ALL);
                Cond::Compare(op, self.expr(kind, 1), self.expr(other, 1))
            }
        }
    }

    pub(super) fn statement(&mut self) -> Statement {
        let edit = self.edit();
        let condition = (!self.chance(3)).then(|| self.condition(2));
        Statement { edit, condition }
    }

    pub(super) fn edit(&mut self) -> Edit {
        if let Some(edit) = self.special() {
            return edit;
        }
        match self.rng.u8(0..24) {
            0..5 => Edit::Set(self.attribute(), self.expr(Kind::Any, 2)),
            5..9 => {
                let level = self.level();
                let (field, kind) = self.pick(fields(level));
                let path = self.path_to(level, field, Vec::new());
                Edit::Set(path, self.expr(kind, 2))
            }
            9 => Edit::Set(self.map_path(), self.expr(Kind::Map, 1)),
            10 | 11 => Edit::DeleteKey(self.map_path(), self.key()),
            12 => {
                let keys = (0..self.rng.u8(0..4)).map(|_| self.key()).collect();
                Edit::KeepKeys(self.map_path(), keys)
            }
            13 => Edit::Matching(self.map_path(), self.pick(&PATTERNS), self.rng.bool()),
            14 => {
                let keys = if self.rng.bool() { vec!["k"] } else { Vec::new() };
                Edit::Limit(self.map_path(), self.rng.usize(1..4), keys)
            }
            15 => Edit::Truncate(self.map_path(), self.rng.usize(0..3)),
            16 => {
                let strategy = self.pick(&["insert", "update", "upsert"]);
                Edit::Merge(self.map_path(), self.expr(Kind::Map, 1), strategy)
            }
            17 => {
                let path = self.text_path();
                Edit::ReplacePattern(path, self.pick(&PATTERNS), self.pick(&NEW))
            }
            18 => Edit::ReplaceMatch(self.text_path(), self.pick(&GLOBS), self.pick(&["n", ""])),
            19 => {
                let mode = self.pick(&["key", "value"]);
                Edit::ReplaceAllPatterns(
                    self.map_path(),
                    mode,
                    self.pick(&PATTERNS),
                    self.pick(&NEW),
                )
            }
            20 => {
                Edit::ReplaceAllMatches(self.map_path(), self.pick(&GLOBS), self.pick(&["n", ""]))
            }
            21 => Edit::Append(self.attribute(), self.expr(Kind::Any, 1)),
            22 => {
                let start = self.rng.i64(0..3);
                Edit::DeleteIndex(self.attribute(), start, start + self.rng.i64(0..2))
            }
            _ if self.rng.bool() => Edit::Flatten(self.map_path(), self.flat()),
            _ => Edit::StringifyAll(self.map_path()),
        }
    }

    fn flat(&mut self) -> Flat {
        Flat {
            prefix: self.pick(&[None, None, Some("p"), Some("")]),
            depth: self.pick(&[None, None, Some(1), Some(2), Some(3)]),
            resolves: self.chance(3),
        }
    }

    /// An editor that only one context has.
    fn special(&mut self) -> Option<Edit> {
        match self.context {
            Context::Metric => self.rng.bool().then(|| self.measure()),
            Context::DataPoint => self.chance(3).then(|| self.measure_of_point()),
            Context::Span => {
                let old = self.pick(&[None, Some("k"), Some("old")]);
                self.chance(8).then_some(Edit::ConventionalName(old))
            }
            _ => None,
        }
    }

    pub(super) fn text_path(&mut self) -> Path {
        if self.rng.bool() {
            return self.attribute();
        }
        match self.field(Kind::Text) {
            Some(path) => path,
            None => self.attribute(),
        }
    }
}
