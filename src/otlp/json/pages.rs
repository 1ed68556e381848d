//! Requests as JSON in documents of limited length, each with as many of the next items as fit.

use crate::otlp::{
    Signal,
    content::{Step, Walk},
    record::Record,
    schema::{self, Message},
    view::{Data, Message as View, Text},
};

use super::write;

/// How far a document goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As many entries as fit.
    Entries,
    /// At most one entry.
    Entry,
}

/// Appends a document of at most `most` bytes with the next items of a walk; how many items were
/// passed over, since not even one of them would have fit with what is around it. While it is
/// written, five times `most` are allocated at most: buffers that grow exist twice.
pub fn write_page(walk: &mut Walk<'_>, extent: Extent, most: usize, out: &mut Vec<u8>) -> u64 {
    let signal = walk.signal();
    let most = out.len().saturating_add(most);
    let mut page = Page { out, signal, open: Vec::new(), has_entries: false, most };
    page.out.push(b'{');
    // The level of a header that does not fit by itself.
    let mut skipped = (0..walk.depth()).find(|level| !page.begin(*level, walk));
    // Whether there is nothing in it but what has to be around the next item.
    let mut is_bare = true;
    let mut left_out = 0;
    loop {
        let before = walk.clone();
        let Some(step) = walk.next() else { break };
        let level = match step {
            Step::Resource => 0,
            Step::Scope => 1,
            Step::Metric(_) => 2,
            Step::Item(_) => usize::MAX,
        };
        if extent == Extent::Entry && level == 0 && page.has_entries {
            *walk = before;
            walk.leave(level);
            break;
        }
        if skipped.is_some_and(|skipped| level > skipped) {
            left_out += u64::from(level == usize::MAX);
            continue;
        }
        skipped = None;
        let fits = if let Step::Item(item) = step {
            page.item(item, walk)
        } else {
            is_bare &= page.open.len() <= level;
            page.close(level);
            page.begin(level, walk)
        };
        match step {
            _ if !fits && !is_bare => {
                *walk = before;
                walk.leave(level);
                break;
            }
            Step::Item(_) if fits => is_bare = false,
            Step::Item(_) => left_out += 1,
            _ if !fits => skipped = Some(level),
            _ => {}
        }
    }
    page.close(0);
    if page.has_entries {
        page.out.push(b']');
    }
    page.out.push(b'}');
    left_out
}

/// A document that is being written.
struct Page<'o> {
    out: &'o mut Vec<u8>,
    signal: Signal,
    /// The entry, scope entry and metric that are open.
    open: Vec<Open>,
    has_entries: bool,
    most: usize,
}

/// An object whose list is being written.
#[derive(Default)]
struct Open {
    /// What begins the list; it is left out where there is nothing in it.
    list: &'static str,
    has_list: bool,
    /// Whether `end` is a field behind the list, in need of a comma.
    has_field: bool,
    /// What comes after the list.
    end: Vec<u8>,
}

impl Page<'_> {
    /// Begins an entry, scope entry or metric. False: it does not fit, and nothing was written.
    fn begin(&mut self, level: usize, walk: &Walk<'_>) -> bool {
        let (mark, had_list) = (self.out.len(), self.next());
        self.out.push(b'{');
        let open = match level {
            0 => self.header(
                "resource",
                &schema::RESOURCE,
                walk.resource_message(),
                walk.resource_schema_url(),
            ),
            1 => {
                self.header("scope", &schema::SCOPE, walk.scope_message(), walk.scope_schema_url())
            }
            _ => self.metric(walk),
        };
        self.open.push(open);
        self.keep(mark, had_list, true)
    }

    /// Adds a span, a log record or a point.
    fn item(&mut self, item: View<'_>, walk: &Walk<'_>) -> bool {
        let (mark, had_list) = (self.out.len(), self.next());
        let table = match (self.signal, walk.metric().and_then(|metric| metric.data)) {
            (Signal::Traces, _) => &schema::SPAN,
            (Signal::Logs, _) => &schema::LOG_RECORD,
            (Signal::Metrics, Some(data)) => kind(data).1,
            (Signal::Metrics, None) => return true,
        };
        write::message(&Record::of(table, item), self.most, self.out);
        self.keep(mark, had_list, false)
    }

    /// What comes before the next child of what is open. Whether it had some.
    fn next(&mut self) -> bool {
        let names = ["resourceSpans", "resourceMetrics", "resourceLogs"];
        let (list, has_list) = match self.open.last_mut() {
            Some(open) => (open.list, std::mem::replace(&mut open.has_list, true)),
            None => ("", std::mem::replace(&mut self.has_entries, true)),
        };
        match (has_list, self.open.is_empty()) {
            (true, _) => self.out.push(b','),
            (false, false) => self.out.extend_from_slice(list.as_bytes()),
            (false, true) => {
                self.out.push(b'"');
                self.out.extend_from_slice(names[self.signal.index()].as_bytes());
                self.out.extend_from_slice(b"\":[");
            }
        }
        has_list
    }

    /// Removes what was written since `mark` if it is too much.
    fn keep(&mut self, mark: usize, had_list: bool, is_open: bool) -> bool {
        // A list and an object end with two brackets, and there may be a comma.
        let ends: usize = self.open.iter().map(|open| open.end.len() + 3).sum();
        if self.out.len() + ends + 2 <= self.most {
            return true;
        }
        self.out.truncate(mark);
        if is_open {
            self.open.pop();
        }
        match self.open.last_mut() {
            Some(open) => open.has_list = had_list,
            None => self.has_entries = had_list,
        }
        false
    }

    /// Most bytes for what comes after a list.
    fn left(&self) -> usize {
        self.most.saturating_sub(self.out.len())
    }

    /// Ends what is open from a level on.
    fn close(&mut self, level: usize) {
        while self.open.len() > level {
            let Some(open) = self.open.pop() else { return };
            if open.has_list {
                self.out.push(b']');
                if open.has_field {
                    self.out.push(b',');
                }
            }
            self.out.extend_from_slice(&open.end);
        }
    }

    fn header(
        &mut self,
        name: &str,
        table: &'static Message,
        owner: Option<View<'_>>,
        schema_url: Text<'_>,
    ) -> Open {
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        match owner {
            Some(owner) => write::message(&Record::of(table, owner), self.most, self.out),
            None => self.out.extend_from_slice(b"{}"),
        }
        let list = match (name, self.signal) {
            ("resource", Signal::Traces) => ",\"scopeSpans\":[",
            ("resource", Signal::Metrics) => ",\"scopeMetrics\":[",
            ("resource", Signal::Logs) => ",\"scopeLogs\":[",
            (_, Signal::Traces) => ",\"spans\":[",
            (_, Signal::Metrics) => ",\"metrics\":[",
            (_, Signal::Logs) => ",\"logRecords\":[",
        };
        let mut end = Vec::new();
        text_field("schemaUrl", schema_url, true, self.left(), &mut end);
        end.push(b'}');
        Open { list, end, ..Open::default() }
    }

    /// A metric up to its points.
    fn metric(&mut self, walk: &Walk<'_>) -> Open {
        let Some((message, metric)) = walk.metric_message().zip(walk.metric()) else {
            return Open::default();
        };
        let start = self.out.len();
        let texts =
            [("name", metric.name), ("description", metric.description), ("unit", metric.unit)];
        for (name, text) in texts {
            text_field(name, text, self.out.len() > start, self.most, self.out);
        }
        let mut end = Vec::new();
        let mut has_field = false;
        if let Some(data) = metric.data {
            if self.out.len() > start {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(kind(data).0.as_bytes());
            self.out.extend_from_slice(b"\":{");
            data_fields(data, &mut end);
            has_field = !end.is_empty();
            end.push(b'}');
        }
        let (mut list, left) = (false, self.left());
        for entry in message.contents(12) {
            if end.len() > left {
                break;
            }
            let comma = self.out.len() > start && !list;
            let lead = match (list, comma) {
                (true, _) => ",",
                (false, true) => ",\"metadata\":[",
                (false, false) => "\"metadata\":[",
            };
            end.extend_from_slice(lead.as_bytes());
            write::message(&Record::read(&schema::KEY_VALUE, entry), left, &mut end);
            list = true;
        }
        if list {
            end.push(b']');
        }
        end.push(b'}');
        Open { list: "\"dataPoints\":[", has_field, end, ..Open::default() }
    }
}

/// The field of a metric's data, and the table of its points.
fn kind(data: Data<'_>) -> (&'static str, &'static Message) {
    match data {
        Data::Gauge(_) => ("gauge", &schema::NUMBER_POINT),
        Data::Sum { .. } => ("sum", &schema::NUMBER_POINT),
        Data::Histogram { .. } => ("histogram", &schema::HISTOGRAM_POINT),
        Data::ExponentialHistogram { .. } => {
            ("exponentialHistogram", &schema::EXPONENTIAL_HISTOGRAM_POINT)
        }
        Data::Summary(_) => ("summary", &schema::SUMMARY_POINT),
    }
}

/// What the data of a metric has beside its points.
fn data_fields(data: Data<'_>, out: &mut Vec<u8>) {
    let (temporality, is_monotonic) = match data {
        Data::Gauge(_) | Data::Summary(_) => return,
        Data::Sum { temporality, is_monotonic, .. } => (temporality, is_monotonic),
        Data::Histogram { temporality, .. } | Data::ExponentialHistogram { temporality, .. } => {
            (temporality, false)
        }
    };
    if temporality.0 != 0 {
        out.extend_from_slice(b"\"aggregationTemporality\":");
        out.extend_from_slice(itoa::Buffer::new().format(temporality.0).as_bytes());
    }
    if is_monotonic {
        let comma: &[u8] = if out.is_empty() { b"" } else { b"," };
        out.extend_from_slice(comma);
        out.extend_from_slice(b"\"isMonotonic\":true");
    }
}

fn text_field(name: &str, text: Text<'_>, has_comma: bool, most: usize, out: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    if has_comma {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write::text(text.0, most, out);
}
