//! Draws the screen of `skep top`. Text of others is escaped before it comes into a cell. Colours
//! only repeat what words say, so that nothing is lost with `NO_COLOR`.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Paragraph, Sparkline},
};

use super::{
    plain::{bytes, cells},
    rows::{Row, age, short, state, worst},
    view::{Mode, Sort, TapPane, View},
};
use crate::{cli::screen::fitted, config::shown::escaped};

/// Least columns and lines.
const LEAST: (u16, u16) = (50, 8);

/// Columns that the numbers of a row take.
const NUMBERS: usize = 50;

/// Columns of names if there is room for errors beside the numbers.
const NAME: usize = 34;

/// Characters of the bar that shows memory.
const BAR: usize = 10;

const HELP: &[&str] = &[
    "Up Down j k PgUp PgDn g G   select a component",
    "Enter                       its details, and its rates over time",
    "t                           tap it: see the data that passes",
    "/                           filter by pipeline, kind or id; Esc clears",
    "s, 1 to 6, r                sort: flow, in, out, bytes, drop, errors; reverse",
    "p, Space                    pause",
    "q, Ctrl-C                   quit",
    "",
    "in/s out/s   items a second that come in and go on",
    "bytes/s      bytes a second that come in",
    "drop/s       items a second that are filtered, refused or lost here",
    "errors       items refused or lost since the start, requests turned away",
    "queue        fill of the queue of an exporter; oldest: age of what waits",
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!("skep top needs {} columns and {} lines", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(words), area);
        return;
    }
    let [head, finding, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(view, head.width), head);
    frame.render_widget(findings(view, finding.width), finding);
    match view.mode {
        Mode::Help => {
            let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
            frame.render_widget(Paragraph::new(lines), body);
        }
        Mode::Detail => {
            let [table, pane] = halves(body, 9);
            rows(frame, view, table);
            detail(frame, view, pane);
        }
        Mode::Tap => {
            let [table, pane] = halves(body, body.height * 3 / 5);
            rows(frame, view, table);
            if let Some(tap) = &view.tap {
                tapped(frame, view, tap, pane);
            }
        }
        Mode::Table | Mode::Filter => rows(frame, view, body),
    }
    frame.render_widget(footer(view), foot);
}

/// The table above, and below it a pane of so many lines.
fn halves(body: Rect, lines: u16) -> [Rect; 2] {
    let lines = lines.min(body.height.saturating_sub(3));
    Layout::vertical([Constraint::Min(3), Constraint::Length(lines)]).areas(body)
}

fn color(view: &View, color: Color) -> Style {
    if view.has_color { Style::new().fg(color) } else { Style::new() }
}

fn heading(view: &View, width: u16) -> Paragraph<'static> {
    let Some(now) = &view.now else { return Paragraph::new("skep top") };
    let health = &now.health;
    let up = age(Duration::from_millis(health.uptime_ms));
    let ready = if health.ready { "ready" } else { "not ready" };
    let left = format!("skep {}  up {up}  {ready}", escaped(&health.version));
    let budget = health.budget.unwrap_or_default();
    let (used, limit) = (budget.used_bytes, budget.limit_bytes);
    let mut right = String::new();
    if let Some(percent) = used.saturating_mul(100).checked_div(limit) {
        let percent = usize::try_from(percent).unwrap_or(100).min(100);
        let full = percent * BAR / 100;
        let bar = "#".repeat(full) + &"-".repeat(BAR - full);
        right = format!("memory [{bar}] {percent}% of {}", bytes(limit));
    }
    let gap = usize::from(width).saturating_sub(left.chars().count() + right.chars().count());
    let text = format!("{left}{}{right}", " ".repeat(gap.max(1)));
    Paragraph::new(text).style(Style::new().add_modifier(Modifier::BOLD))
}

/// The worst that there is to say.
fn findings(view: &View, width: u16) -> Paragraph<'static> {
    let words = match (&view.lost, &view.now) {
        (Some(why), _) => Some(format!("no answer: {why}; trying again")),
        (None, Some(now)) => worst(now, view.all()),
        (None, None) => return Paragraph::new("reading..."),
    };
    match words {
        Some(words) => {
            let text = fitted(&format!("! {}", escaped(&words)), width.into());
            Paragraph::new(text).style(color(view, Color::Red))
        }
        None => Paragraph::new("no exporter fails").style(color(view, Color::Green)),
    }
}

fn footer(view: &View) -> Paragraph<'static> {
    let text = match view.mode {
        Mode::Filter => format!("/{}_   Enter keeps it, Esc clears it", escaped(&view.filter)),
        Mode::Help => "any key goes back".to_owned(),
        Mode::Tap => "Esc or q ends the tap".to_owned(),
        Mode::Table | Mode::Detail => {
            let mut text =
                "Enter details  t tap  / filter  s sort  p pause  ? help  q quit".to_owned();
            if view.sort != Sort::Flow || view.is_reversed {
                let order = if view.is_reversed { ", reversed" } else { "" };
                text = format!("by {}{order}  {text}", view.sort.name());
            }
            if !view.filter.is_empty() {
                text = format!("/{}  {text}", escaped(&view.filter));
            }
            if view.is_paused {
                text = format!("PAUSED  {text}");
            }
            text
        }
    };
    Paragraph::new(text).style(Style::new().add_modifier(Modifier::DIM))
}

/// The table, scrolled so that the selection is in sight.
fn rows(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let selected = view.selected().map(|(at, _)| at);
    let (width, has_errors) = match usize::from(area.width).saturating_sub(NUMBERS) {
        rest if rest > NAME + 20 => (NAME, true),
        rest => (rest, false),
    };
    let is_grouped = view.sort == Sort::Flow && !view.is_reversed;
    let (mut lines, mut at_line, mut pipeline) = (Vec::new(), 0, None);
    let titles = ["in/s", "out/s", "bytes/s", "drop/s", "errors", "queue", "oldest"];
    let title = numbers(&titles.map(str::to_owned));
    let top =
        format!("{:<width$}{title}{}", "component", if has_errors { "  last error" } else { "" });
    for (at, row) in view.rows().into_iter().enumerate() {
        if is_grouped && pipeline != Some(&row.pipeline) {
            let name = fitted(&escaped(&row.pipeline), width);
            lines.push(Line::from(name).style(Style::new().add_modifier(Modifier::BOLD)));
            pipeline = Some(&row.pipeline);
        }
        if Some(at) == selected {
            at_line = lines.len();
        }
        let line = table_line(row, width, is_grouped, has_errors.then_some(area.width.into()));
        let mut style =
            if row.last_error.is_some() { color(view, Color::Red) } else { Style::new() };
        if Some(at) == selected {
            style = style.add_modifier(Modifier::REVERSED);
        }
        lines.push(Line::from(line).style(style));
    }
    if lines.is_empty() {
        let words =
            if view.filter.is_empty() { "no pipeline runs" } else { "nothing fits the filter" };
        lines.push(Line::from(words));
    }
    let height = usize::from(area.height).saturating_sub(1);
    let skipped = (at_line + 1).saturating_sub(height);
    let head = Line::from(top).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let shown: Vec<Line<'_>> =
        std::iter::once(head).chain(lines.into_iter().skip(skipped).take(height)).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn table_line(row: &Row, width: usize, is_grouped: bool, whole: Option<usize>) -> String {
    let name = if is_grouped {
        format!("  {} {}", row.kind, row.id)
    } else {
        format!("{} ({})", row.id, row.pipeline)
    };
    let name = fitted(&escaped(&name), width.saturating_sub(1));
    let mut line = format!("{name:<width$}{}", numbers(&cells(row)));
    if let (Some(whole), Some((words, _))) = (whole, &row.last_error) {
        let rest = whole.saturating_sub(line.chars().count() + 2);
        line.push_str("  ");
        line.push_str(&fitted(&escaped(words), rest));
    }
    line
}

fn numbers(cells: &[String; 7]) -> String {
    let [incoming, outgoing, bytes, dropped, errors, queue, oldest] = cells;
    format!(
        " {incoming:>6} {outgoing:>6} {bytes:>7} {dropped:>6} {errors:>6} {queue:>6} {oldest:>6}"
    )
}

/// The selected component, with its rates over time.
fn detail(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let Some((_, row)) = view.selected() else { return };
    let width = usize::from(area.width);
    let mut lines = vec![Line::from("-".repeat(width))];
    let mut put = |words: String| lines.push(Line::from(fitted(&escaped(&words), width)));
    put(format!("{} {} in {}: {}", row.kind, row.id, row.pipeline, state(row.state)));
    if !row.destination.is_empty() {
        put(format!("sends to {}", row.destination));
    }
    if let Some((size, most, unit)) = &row.queue {
        let oldest =
            row.oldest.map_or_else(String::new, |oldest| format!(", oldest {}", age(oldest)));
        put(format!("queue {size} of {most} {unit}{oldest}"));
    }
    match &row.last_error {
        Some((words, ago)) => put(format!("last error {} ago: {words}", age(*ago))),
        None => put("no error".to_owned()),
    }
    let used = u16::try_from(lines.len()).unwrap_or(0).min(area.height);
    let [text, charts] =
        Layout::vertical([Constraint::Length(used), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(lines), text);
    let Some(history) = view.history(&row) else { return };
    let places = Layout::vertical([Constraint::Length(1); 3]).split(charts);
    for (at, (name, place)) in ["in", "out", "drop"].into_iter().zip(places.iter()).enumerate() {
        let [label, chart] =
            Layout::horizontal([Constraint::Length(20), Constraint::Min(1)]).areas(*place);
        let most = history.iter().map(|rates| rates[at]).fold(0.0, f64::max);
        let words = format!("{name:<5}max {}/s", short(most));
        frame.render_widget(Paragraph::new(words), label);
        let shown = history.len().saturating_sub(usize::from(chart.width));
        let data: Vec<u64> =
            history.iter().skip(shown).map(|rates| scaled(rates[at], most)).collect();
        let style = color(view, if at == 2 { Color::Yellow } else { Color::Cyan });
        frame.render_widget(Sparkline::default().data(&data).max(1000).style(style), chart);
    }
}

/// A rate in thousandths of the largest.
#[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
#[expect(clippy::cast_sign_loss, reason = "0 to 1000")]
fn scaled(rate: f64, most: f64) -> u64 {
    if most > 0.0 { (rate / most * 1000.0) as u64 } else { 0 }
}

/// What a tap shows: the newest lines.
fn tapped(frame: &mut Frame<'_>, view: &View, tap: &TapPane, area: Rect) {
    let width = usize::from(area.width);
    let title = fitted(&format!("-- tap of {}  {}", escaped(&tap.name), tap.summary), width);
    let mut lines = vec![Line::from(title).style(color(view, Color::Cyan))];
    let height = usize::from(area.height).saturating_sub(1);
    let skipped = tap.lines.len().saturating_sub(height);
    // They are escaped already.
    lines.extend(tap.lines.iter().skip(skipped).map(|line| Line::from(fitted(line, width))));
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests;
