//! Rewrites the body of a log record: maps and lists at any depth, and texts.

use super::{
    mask::{Rules, Verdict},
    summary::{Found, Kind},
};
use crate::{
    otlp::{
        splice::Splicer,
        wire::{Fields, put_bytes},
    },
    ottl::{Value, content, elements, key_value, put_entry_bytes},
};

/// The body at hand.
pub(super) struct Body<'b, 'a> {
    rules: &'b Rules,
    found: &'b mut Found,
    out: &'b mut Splicer<'a>,
    len: usize,
    is_paid: bool,
    /// Keys from the outermost map to where the walk is, for the summary.
    path: String,
}

/// What becomes of a value in a map.
enum Change {
    Nothing,
    Gone,
    New(Vec<u8>),
}

impl<'b, 'a> Body<'b, 'a> {
    pub(super) fn new(
        rules: &'b Rules,
        found: &'b mut Found,
        out: &'b mut Splicer<'a>,
        body: &[u8],
    ) -> Self {
        Body { rules, found, out, len: body.len(), is_paid: false, path: String::new() }
    }

    /// The new body; `None` if it stays.
    pub(super) fn rewritten(mut self, any: &[u8]) -> Option<Vec<u8>> {
        if self.found.wants_keys() && !self.out.pays(2 * self.len) {
            return None;
        }
        self.value(any)
    }

    /// The new `AnyValue`; `None` if it stays. The door bounds the depth.
    fn value(&mut self, any: &[u8]) -> Option<Vec<u8>> {
        let (number, new) = match Value::read(any) {
            Value::Map(map) => (6, self.members(&map.list())?),
            Value::List(list) => (5, self.elements(&list)?),
            _ => {
                let verdict = self.rules.value_in_body(any, &mut |bytes| self.out.pays(bytes));
                return match verdict {
                    Verdict::Masked(text) => {
                        self.note(Kind::Masked);
                        let mut new = Vec::with_capacity(text.len() + 8);
                        put_bytes(&mut new, 1, &text);
                        Some(new)
                    }
                    Verdict::Allowed => {
                        self.note(Kind::Allowed);
                        None
                    }
                    _ => None,
                };
            }
        };
        let mut any = Vec::with_capacity(new.len() + 8);
        put_bytes(&mut any, number, &new);
        Some(any)
    }

    fn note(&mut self, kind: Kind) {
        let path = if self.path.is_empty() { "body" } else { &self.path };
        self.found.add(kind, path.as_bytes(), self.out);
    }

    /// Goes one key deeper; the result is the way back.
    fn enter(&mut self, key: &[u8]) -> usize {
        let len = self.path.len();
        if self.found.wants_keys() {
            if len > 0 {
                self.path.push('.');
            }
            self.path.push_str(&String::from_utf8_lossy(key));
        }
        len
    }

    fn members(&mut self, map: &[u8]) -> Option<Vec<u8>> {
        let mut new = None;
        let mut at = 0;
        for field in Fields::new(map).map_while(Result::ok) {
            let start = at;
            at += field.whole.len();
            let change = match content(&field, 1) {
                Some(entry) => self.member(entry),
                None => Change::Nothing,
            };
            match change {
                Change::Nothing => {
                    if let Some(new) = &mut new {
                        Vec::extend_from_slice(new, field.whole);
                    }
                }
                Change::Gone => {
                    self.begin(&mut new, &map[..start])?;
                }
                Change::New(any) => {
                    let (key, _) = content(&field, 1).map(key_value)?;
                    put_entry_bytes(self.begin(&mut new, &map[..start])?, 1, key, &any);
                }
            }
        }
        new
    }

    fn member(&mut self, entry: &[u8]) -> Change {
        let (key, any) = key_value(entry);
        let back = self.enter(key);
        let verdict = self.rules.key_in_body(key, &any, &mut |bytes| self.out.pays(bytes));
        let change = match verdict {
            Some(Verdict::Deleted) => {
                self.note(Kind::Deleted);
                Change::Gone
            }
            Some(Verdict::Masked(text)) => {
                self.note(Kind::Masked);
                let mut new = Vec::with_capacity(text.len() + 8);
                put_bytes(&mut new, 1, &text);
                Change::New(new)
            }
            Some(Verdict::Ignored) => {
                self.note(Kind::Ignored);
                Change::Nothing
            }
            Some(_) => Change::Nothing,
            None => self.value(&any).map_or(Change::Nothing, Change::New),
        };
        self.path.truncate(back);
        change
    }

    fn elements(&mut self, list: &[u8]) -> Option<Vec<u8>> {
        let mut new: Option<Vec<u8>> = None;
        for (i, element) in elements(list).enumerate() {
            let back = self.enter(format!("[{i}]").as_bytes());
            let changed = self.value(element);
            self.path.truncate(back);
            if let (Some(_), None) = (&changed, &new) {
                let before = self.begin(&mut new, &[])?;
                elements(list).take(i).for_each(|same| put_bytes(before, 1, same));
            }
            if let Some(new) = &mut new {
                put_bytes(new, 1, changed.as_deref().unwrap_or(element));
            }
        }
        new
    }

    /// The copy of a map or list, which begins with what comes before the first change. A copy and
    /// the one that it goes into are there at a time.
    fn begin<'n>(
        &mut self,
        new: &'n mut Option<Vec<u8>>,
        before: &[u8],
    ) -> Option<&'n mut Vec<u8>> {
        if !self.is_paid {
            self.is_paid = true;
            if !self.out.pays(3 * self.len) {
                return None;
            }
        }
        Some(new.get_or_insert_with(|| before.to_vec()))
    }
}
