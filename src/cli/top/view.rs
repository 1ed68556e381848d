//! The screen of `skep top` as values: what is selected, sorted, filtered and open, and what keys
//! do to it. Nothing here knows a terminal.

use std::collections::{HashMap, VecDeque};

use super::rows::{Reading, Row, rows};

/// Readings that the lines of the detail pane go back.
const HISTORY: usize = 120;

/// Lines of a tap that are kept.
const LINES: usize = 200;

/// Rows that a page has.
const PAGE: usize = 10;

/// Most characters of a filter.
const FILTER: usize = 100;

/// A key, as far as it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

/// What a key asks the process for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but to draw again.
    Draw,
    Quit,
    /// To tap a component of a pipeline.
    Tap {
        pipeline: String,
        component: String,
    },
    EndTap,
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    #[default]
    Table,
    /// The filter is being written.
    Filter,
    Help,
    Detail,
    Tap,
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// By pipeline, and in it in the order of the data.
    #[default]
    Flow,
    Incoming,
    Outgoing,
    Bytes,
    Dropped,
    Errors,
}

impl Sort {
    const ALL: [Sort; 6] =
        [Sort::Flow, Sort::Incoming, Sort::Outgoing, Sort::Bytes, Sort::Dropped, Sort::Errors];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Sort::Flow => "flow",
            Sort::Incoming => "in",
            Sort::Outgoing => "out",
            Sort::Bytes => "bytes",
            Sort::Dropped => "drop",
            Sort::Errors => "errors",
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for an order")]
    fn value(self, row: &Row) -> f64 {
        let rates = row.rates.unwrap_or_default();
        match self {
            Sort::Flow => 0.0,
            Sort::Incoming => rates.incoming,
            Sort::Outgoing => rates.outgoing,
            Sort::Bytes => rates.bytes,
            Sort::Dropped => rates.dropped,
            Sort::Errors => row.errors as f64,
        }
    }
}

/// A tap that is open beside the table.
#[derive(Debug, Default)]
pub(super) struct TapPane {
    /// `traces/batch`.
    pub(super) name: String,
    pub(super) lines: VecDeque<String>,
    pub(super) summary: String,
}

impl TapPane {
    /// Adds a line; the oldest make room.
    pub(super) fn push(&mut self, line: String) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Rates of one component over time: in, out, dropped.
pub(super) type History = VecDeque<[f64; 3]>;

/// The screen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) now: Option<Reading>,
    /// All of them, in the order of the data.
    all: Vec<Row>,
    history: HashMap<(String, String, String), History>,
    selected: usize,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) is_paused: bool,
    /// Why there is no newer reading.
    pub(super) lost: Option<String>,
    pub(super) tap: Option<TapPane>,
    pub(super) has_color: bool,
}

impl View {
    /// Before the first reading.
    pub(super) fn new(has_color: bool) -> Self {
        View { has_color, ..View::default() }
    }

    /// Takes a reading, unless the screen is paused.
    pub(super) fn read(&mut self, reading: Reading) {
        self.lost = None;
        if self.is_paused {
            return;
        }
        self.all = rows(&reading, self.now.as_ref());
        let keys: Vec<_> = self.all.iter().map(Row::key).collect();
        self.history.retain(|key, _| keys.contains(key));
        for (key, row) in keys.into_iter().zip(&self.all) {
            let Some(rates) = row.rates else { continue };
            let history = self.history.entry(key).or_default();
            if history.len() >= HISTORY {
                history.pop_front();
            }
            history.push_back([rates.incoming, rates.outgoing, rates.dropped]);
        }
        self.now = Some(reading);
        self.keep_selection_in_range();
    }

    /// The rows that are shown, in their order.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let is_shown = |row: &&Row| {
            let name = format!("{}/{} {}", row.pipeline, row.kind, row.id);
            filter.is_empty() || name.to_lowercase().contains(&filter)
        };
        let mut rows: Vec<&Row> = self.all.iter().filter(is_shown).collect();
        if self.sort != Sort::Flow {
            // The largest first.
            rows.sort_by(|a, b| self.sort.value(b).total_cmp(&self.sort.value(a)));
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// All rows, whatever the filter.
    pub(super) fn all(&self) -> &[Row] {
        &self.all
    }

    /// The row that is selected, and its number among those that are shown.
    pub(super) fn selected(&self) -> Option<(usize, Row)> {
        let rows = self.rows();
        let row = rows.get(self.selected).copied()?;
        Some((self.selected, row.clone()))
    }

    /// The rates of a component so far.
    pub(super) fn history(&self, row: &Row) -> Option<&History> {
        self.history.get(&row.key())
    }

    fn keep_selection_in_range(&mut self) {
        self.selected = self.selected.min(self.rows().len().saturating_sub(1));
    }

    /// Does what a key means.
    pub(super) fn press(&mut self, key: Key) -> Action {
        if key == Key::Interrupt {
            return Action::Quit;
        }
        match self.mode {
            Mode::Filter => self.press_in_filter(key),
            Mode::Help => {
                self.mode = Mode::Table;
                Action::Draw
            }
            Mode::Tap if matches!(key, Key::Escape | Key::Char('q' | 't')) => {
                (self.mode, self.tap) = (Mode::Table, None);
                Action::EndTap
            }
            Mode::Detail if matches!(key, Key::Escape | Key::Enter) => {
                self.mode = Mode::Table;
                Action::Draw
            }
            Mode::Table | Mode::Detail | Mode::Tap => self.press_in_table(key),
        }
    }

    fn press_in_filter(&mut self, key: Key) -> Action {
        match key {
            Key::Enter => self.mode = Mode::Table,
            Key::Escape => {
                self.mode = Mode::Table;
                self.filter.clear();
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(c) if self.filter.chars().count() < FILTER => self.filter.push(c),
            _ => {}
        }
        self.keep_selection_in_range();
        Action::Draw
    }

    fn press_in_table(&mut self, key: Key) -> Action {
        let last = self.rows().len().saturating_sub(1);
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('t') => return self.tap_selected(),
            Key::Up | Key::Char('k') => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Char('j') => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            Key::PageDown => self.selected = (self.selected + PAGE).min(last),
            Key::Home | Key::Char('g') => self.selected = 0,
            Key::End | Key::Char('G') => self.selected = last,
            Key::Enter if self.mode == Mode::Table => self.mode = Mode::Detail,
            Key::Escape => self.filter.clear(),
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('r') => self.is_reversed = !self.is_reversed,
            Key::Char('s') => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[(at + 1) % Sort::ALL.len()];
            }
            Key::Char(digit @ '1'..='6') => {
                let at = digit.to_digit(10).unwrap_or(1) as usize - 1;
                self.sort = Sort::ALL[at];
            }
            _ => {}
        }
        self.keep_selection_in_range();
        Action::Draw
    }

    fn tap_selected(&mut self) -> Action {
        let Some((_, row)) = self.selected() else { return Action::Draw };
        let name = format!("{}/{}", row.pipeline, row.id);
        self.tap = Some(TapPane { name, ..TapPane::default() });
        self.mode = Mode::Tap;
        Action::Tap { pipeline: row.pipeline, component: format!("{} {}", row.kind, row.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::rows::tests::reading;

    fn view() -> View {
        let mut view = View::default();
        view.read(reading(10));
        view.read(reading(12));
        view
    }

    fn ids(view: &View) -> Vec<String> {
        view.rows().iter().map(|row| row.id.clone()).collect()
    }

    fn type_in(view: &mut View, text: &str) {
        for c in text.chars() {
            assert_eq!(view.press(Key::Char(c)), Action::Draw);
        }
    }

    #[test]
    fn keys_sort_and_filter_the_rows_and_move_between_them() {
        let mut view = view();
        assert_eq!(ids(&view), ["otlp", "filter/health", "otlp_http/backend"]);
        type_in(&mut view, "s");
        assert_eq!(
            (view.sort, ids(&view)[2].clone()),
            (Sort::Incoming, "otlp_http/backend".into())
        );
        type_in(&mut view, "6");
        assert_eq!((view.sort, ids(&view)[0].clone()), (Sort::Errors, "otlp_http/backend".into()));
        type_in(&mut view, "1r");
        assert_eq!(ids(&view)[0], "otlp_http/backend");
        type_in(&mut view, "rG");
        assert_eq!(view.selected().unwrap().0, 2);
        type_in(&mut view, "/HEALTH");
        assert_eq!((view.mode, ids(&view)), (Mode::Filter, vec!["filter/health".to_owned()]));
        assert_eq!(view.selected().unwrap().0, 0, "the selection is among what is shown");
        view.press(Key::Backspace);
        view.press(Key::Enter);
        assert_eq!((view.mode, &*view.filter), (Mode::Table, "HEALT"));
        view.press(Key::Escape);
        assert_eq!(ids(&view).len(), 3);
        for key in [Key::Down, Key::PageDown, Key::Up, Key::Home, Key::End, Key::PageUp] {
            view.press(key);
        }
        assert_eq!(view.selected().unwrap().0, 0);
    }

    #[test]
    fn a_paused_screen_stands_still_and_a_lost_process_comes_back() {
        let mut view = view();
        type_in(&mut view, "p");
        view.lost = Some("gone".to_owned());
        view.read(reading(30));
        assert_eq!(view.now.as_ref().unwrap().at.as_secs(), 12);
        assert_eq!(view.lost, None);
        type_in(&mut view, "p");
        view.read(reading(13));
        assert_eq!(view.now.as_ref().unwrap().at.as_secs(), 13);
        let (_, row) = view.selected().unwrap();
        assert_eq!(view.history(&row).unwrap().len(), 2);
        for second in 14..200 {
            view.read(reading(second));
        }
        assert_eq!(view.history(&row).unwrap().len(), HISTORY);
    }

    #[test]
    fn a_tap_is_opened_where_the_selection_is_and_closed_again() {
        let mut view = view();
        view.press(Key::Down);
        let action = Action::Tap {
            pipeline: "traces".to_owned(),
            component: "processor filter/health".to_owned(),
        };
        assert_eq!(view.press(Key::Char('t')), action);
        let pane = view.tap.as_mut().unwrap();
        for line in 0..LINES + 5 {
            pane.push(line.to_string());
        }
        assert_eq!((pane.lines.len(), &*pane.lines[0]), (LINES, "5"));
        assert_eq!(view.press(Key::Escape), Action::EndTap);
        assert_eq!((view.mode, view.tap.is_none()), (Mode::Table, true));
        assert_eq!(view.press(Key::Char('q')), Action::Quit);
        assert_eq!(view.press(Key::Interrupt), Action::Quit);
        let mut empty = View::default();
        assert_eq!(empty.press(Key::Char('t')), Action::Draw);
        assert_eq!(empty.press(Key::End), Action::Draw);
    }

    #[test]
    fn help_and_details_open_and_close() {
        let mut view = view();
        for (key, mode) in [
            (Key::Char('?'), Mode::Help),
            (Key::Char('x'), Mode::Table),
            (Key::Enter, Mode::Detail),
            (Key::Down, Mode::Detail),
            (Key::Escape, Mode::Table),
        ] {
            view.press(key);
            assert_eq!(view.mode, mode, "{key:?}");
        }
    }
}
