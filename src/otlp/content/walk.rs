//! A walk through a content, item by item, that can be left at any item and taken up again there.

use bytes::Bytes;

use super::Content;
use crate::otlp::{
    Signal,
    view::{self, Message, Nature, Resource, Scope, Text},
    wire::{FieldValue, Fields},
};

/// Steps of one walk, a few tenths of a second in the slowest encoder: a worker that encodes goes
/// back to other work after so many, whatever becomes of them.
const STEPS: usize = 1 << 16;

/// Fields of a metric that hold its points.
pub(super) const KINDS: [u32; 5] = [5, 7, 9, 10, 11];

/// A place in a [`Content`], before an item or at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    pub(super) segment: usize,
    /// Offset in the segment of what comes after the entry that is open.
    pub(super) at: usize,
    /// The entry, scope entry and metric that are open, `depth` of them.
    open: [Level; 3],
    depth: usize,
    /// Entries that were opened.
    resources: usize,
    items: u64,
    /// Bytes that an exporter made of what comes before, if it limits them per payload.
    pub made: u64,
}

impl Cursor {
    /// Items before it.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Whether nothing comes before it.
    pub fn is_at_start(&self) -> bool {
        *self == Cursor::default()
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.open[..self.depth]
    }
}

/// A message that is open: offsets in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Level {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where the field begins that it is in.
    pub(super) field: usize,
    /// Where its next child is looked for.
    pub(super) at: usize,
    /// Children that were opened.
    pub(super) children: usize,
    /// The resource, the scope, or the part of the metric's data that is walked.
    part: Part,
    schema_url: (usize, usize),
    /// Of a metric: the field that holds its data, and where the first part of that ends.
    pub(super) kind: u32,
    pub(super) data_from: usize,
    /// What that data says of all points, so that nobody passes them to find it.
    nature: Nature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Missing,
    /// In one part, as nearly always.
    Whole(usize, usize),
    /// In several parts, which are found again by a walk through the message around it.
    Split,
}

impl Level {
    fn bytes<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        &segment[self.start..self.end]
    }
}

/// What comes next on a walk.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A resource entry begins, see [`Walk::resource`].
    Resource,
    /// A scope entry begins, see [`Walk::scope`].
    Scope,
    /// A metric begins; its data points follow, each an item.
    Metric(view::Metric<'a>),
    /// A span, a log record or a data point.
    Item(Message<'a>),
}

/// Goes through a content from a cursor on. Ends at the end of the content, or earlier, after so
/// many steps that it is time for other work; what comes after is the next piece.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    content: &'a Content,
    cursor: Cursor,
    /// The innermost level and the items before the last step.
    before: (Level, u64),
    left: usize,
    /// The metric that was opened last.
    metric: Option<view::Metric<'a>>,
}

impl<'a> Walk<'a> {
    /// A walk that begins at `from`.
    pub fn new(content: &'a Content, from: Cursor) -> Self {
        let before = (Level::default(), 0);
        let mut walk = Walk { content, cursor: from, before, left: STEPS, metric: None };
        walk.note();
        let nature = walk.cursor.open[2].nature;
        walk.metric = walk.metric_message().map(|open| view::Metric::known(open, nature));
        walk
    }

    /// Where the walk is. `None` at the end.
    pub fn cursor(&self) -> Option<Cursor> {
        let mut ahead = Walk { content: self.content, left: 1, ..self.clone() };
        ahead.next().map(|_| self.cursor)
    }

    /// Signal of the content.
    pub fn signal(&self) -> Signal {
        self.content.signal
    }

    /// How many of an entry, a scope entry in it and a metric in that are open.
    pub fn depth(&self) -> usize {
        self.cursor.depth
    }

    /// Leaves what is open from a level on: there is nothing more in it.
    pub fn leave(&mut self, level: usize) {
        self.cursor.depth = self.cursor.depth.min(level);
    }

    /// The entry that is open, as a part of its segment; what is left of it is passed over.
    pub fn take_entry(&mut self) -> Bytes {
        self.cursor.depth = 0;
        let entry = self.cursor.open[0];
        let segment = self.content.body.get(self.cursor.segment);
        segment.map(|segment| segment.slice(entry.field..entry.end)).unwrap_or_default()
    }

    /// Whether nothing comes any more, or it is time for other work.
    pub fn is_over(&self) -> bool {
        self.left == 0 || self.cursor().is_none()
    }

    /// Items passed since the start of the content.
    pub fn items(&self) -> u64 {
        self.cursor.items
    }

    /// The next step.
    #[expect(
        clippy::should_implement_trait,
        reason = "the walk is asked for its place between steps"
    )]
    pub fn next(&mut self) -> Option<Step<'a>> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let segment = &**self.content.body.get(self.cursor.segment)?;
            let Some(depth) = self.cursor.depth.checked_sub(1) else {
                let (cursor, end) = (&mut self.cursor, segment.len());
                let Some(found) = child(segment, &mut cursor.at, end, 1) else {
                    cursor.segment += 1;
                    cursor.at = 0;
                    continue;
                };
                cursor.resources += 1;
                self.open(segment, &found);
                return Some(Step::Resource);
            };
            self.note();
            if depth == 2 {
                if let Some(point) = self.point(segment) {
                    self.cursor.items += 1;
                    return Some(Step::Item(point));
                }
                self.cursor.depth -= 1;
                continue;
            }
            let level = &mut self.cursor.open[depth];
            let Some(found) = child(segment, &mut level.at, level.end, 2) else {
                self.cursor.depth -= 1;
                continue;
            };
            level.children += 1;
            if depth == 0 {
                self.open(segment, &found);
                return Some(Step::Scope);
            }
            if self.content.signal == Signal::Metrics {
                return Some(Step::Metric(self.open_metric(segment, &found)));
            }
            self.cursor.items += 1;
            return Some(Step::Item(Message::new(&segment[found.start..found.end])));
        }
    }

    /// Takes the last step back, which was an item: it is the first of the next piece.
    pub fn put_back(&mut self) {
        if let Some(level) = self.cursor.depth.checked_sub(1).map(|at| &mut self.cursor.open[at]) {
            let (before, items) = self.before;
            *level = before;
            self.cursor.items = items;
        }
    }

    /// The resource of the entry that is open; `None` if the field is not set.
    pub fn resource(&self) -> Option<Resource<'a>> {
        self.part(0).map(Resource::from)
    }

    /// The same as a message.
    pub fn resource_message(&self) -> Option<Message<'a>> {
        self.part(0)
    }

    /// Schema of that resource.
    pub fn resource_schema_url(&self) -> Text<'a> {
        self.schema_url(0)
    }

    /// The scope of the scope entry that is open; `None` if the field is not set.
    pub fn scope(&self) -> Option<Scope<'a>> {
        self.part(1).map(Scope::from)
    }

    /// The same as a message.
    pub fn scope_message(&self) -> Option<Message<'a>> {
        self.part(1)
    }

    /// Schema of that scope.
    pub fn scope_schema_url(&self) -> Text<'a> {
        self.schema_url(1)
    }

    /// The metric that is open. It is read once, not for each of its points.
    pub fn metric(&self) -> Option<view::Metric<'a>> {
        self.metric.filter(|_| self.cursor.depth == 3)
    }

    /// The same as a message, with all of its points.
    pub fn metric_message(&self) -> Option<Message<'a>> {
        let level = self.cursor.levels().get(2)?;
        Some(Message::new(level.bytes(self.segment())))
    }

    /// How many entries, scope entries of that, items or metrics of that, and points of that come
    /// before what is open or was last.
    pub fn numbers(&self) -> [usize; 4] {
        let [entry, scope, metric] = self.cursor.open.map(|level| level.children.saturating_sub(1));
        [self.cursor.resources.saturating_sub(1), entry, scope, metric]
    }

    fn segment(&self) -> &'a [u8] {
        self.content.body.get(self.cursor.segment).map_or(&[], |segment| segment)
    }

    fn part(&self, level: usize) -> Option<Message<'a>> {
        let level = self.cursor.levels().get(level)?;
        let segment = self.segment();
        match level.part {
            Part::Missing => None,
            Part::Whole(start, end) => Some(Message::new(&segment[start..end])),
            Part::Split => Some(Message::new(level.bytes(segment)).split_child(1, 0)),
        }
    }

    fn schema_url(&self, level: usize) -> Text<'a> {
        let level = self.cursor.levels().get(level).copied().unwrap_or_default();
        Text(&self.segment()[level.schema_url.0..level.schema_url.1])
    }

    fn note(&mut self) {
        if let Some(level) = self.cursor.levels().last() {
            self.before = (*level, self.cursor.items);
        }
    }

    fn push(&mut self, level: Level) {
        self.cursor.open[self.cursor.depth] = level;
        self.cursor.depth += 1;
    }

    /// Opens an entry or scope entry: finds its header at any position.
    fn open(&mut self, segment: &[u8], found: &Found) {
        let Found { field, start, end } = *found;
        let mut level = Level { start, end, field, at: start, ..Level::default() };
        let mut at = start;
        for field in Fields::new(&segment[start..end]).map_while(Result::ok) {
            at += field.whole.len();
            let content = (at - field.bytes().len(), at);
            match (field.number, field.value) {
                (1, FieldValue::Len(_)) => {
                    level.part = match level.part {
                        Part::Missing => Part::Whole(content.0, content.1),
                        _ => Part::Split,
                    };
                }
                (3, FieldValue::Len(_)) => level.schema_url = content,
                _ => {}
            }
        }
        self.push(level);
    }

    /// Opens a metric: finds its data, which is the last member of the oneof, maybe in several
    /// parts.
    fn open_metric(&mut self, segment: &'a [u8], found: &Found) -> view::Metric<'a> {
        let Found { field, start, end } = *found;
        let mut level = Level { start, end, field, at: end, ..Level::default() };
        let mut at = start;
        for field in Fields::new(&segment[start..end]).map_while(Result::ok) {
            at += field.whole.len();
            if matches!(field.value, FieldValue::Len(_))
                && KINDS.contains(&field.number)
                && field.number != level.kind
            {
                level.kind = field.number;
                level.at = at - field.bytes().len();
                level.data_from = at;
                level.part = Part::Whole(level.at, at);
            }
        }
        let metric = view::Metric::from(Message::new(&segment[start..end]));
        level.nature = metric.data.map(view::Data::nature).unwrap_or_default();
        self.push(level);
        self.metric = Some(metric);
        metric
    }

    fn point(&mut self, segment: &'a [u8]) -> Option<Message<'a>> {
        let level = &mut self.cursor.open[2];
        loop {
            let Part::Whole(_, mut end) = level.part else { return None };
            if let Some(point) = child(segment, &mut level.at, end, 1) {
                level.children += 1;
                return Some(Message::new(&segment[point.start..point.end]));
            }
            let Some(data) = child(segment, &mut end, level.end, level.kind) else {
                level.part = Part::Missing;
                return None;
            };
            level.at = data.start;
            level.part = Part::Whole(data.start, data.end);
        }
    }
}

/// A message that was found: offsets of its field and of what is in it.
struct Found {
    field: usize,
    start: usize,
    end: usize,
}

/// The next message with a field number; `at` is moved behind it.
fn child(segment: &[u8], at: &mut usize, end: usize, number: u32) -> Option<Found> {
    for field in Fields::new(&segment[*at..end]).map_while(Result::ok) {
        let before = std::mem::replace(at, *at + field.whole.len());
        if let FieldValue::Len(bytes) = field.value
            && field.number == number
        {
            return Some(Found { field: before, start: *at - bytes.len(), end: *at });
        }
    }
    *at = end;
    None
}
