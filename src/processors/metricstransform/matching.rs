//! Which metrics and data points a transform is about.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::settings::{MatchType, Transform};
use crate::ottl::{
    Value, content, key_value,
    message::{bytes, data, fields, point_attributes},
    regex,
};

/// A text to compare with.
#[derive(Debug)]
enum Pattern {
    Whole(Vec<u8>),
    Search(Regex),
}

impl Pattern {
    fn new(match_type: MatchType, text: &str) -> Result<Self, String> {
        Ok(match match_type {
            MatchType::Strict => Pattern::Whole(text.as_bytes().to_vec()),
            MatchType::Regexp => Pattern::Search(regex(text)?),
        })
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Whole(whole) => whole == text,
            Pattern::Search(regex) => regex.is_match(text),
        }
    }
}

/// How many points match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    None,
    Some,
    All,
}

#[derive(Debug)]
pub(super) struct Filter {
    include: Pattern,
    labels: Vec<(Vec<u8>, Pattern)>,
}

impl Filter {
    pub(super) fn new(transform: &Transform) -> Result<Self, String> {
        let pattern = |text: &str| Pattern::new(transform.match_type, text);
        let labels = transform.experimental_match_labels.iter();
        let labels = labels.map(|(key, value)| Ok((key.clone().into_bytes(), pattern(value)?)));
        Ok(Filter {
            include: pattern(&transform.include)?,
            labels: labels.collect::<Result<_, String>>()?,
        })
    }

    /// Whether there are conditions on labels.
    pub(super) fn looks_at_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// How much of a metric matches. One without points matches by its name.
    pub(super) fn matches(&self, metric: &[u8]) -> Matched {
        if !self.include.matches(bytes(metric, 1)) {
            return Matched::None;
        }
        let (mut all, mut some) = (true, false);
        if let Some((kind, data)) = data(metric).filter(|_| self.looks_at_labels()) {
            let points = fields(&data).filter_map(|field| content(&field, 1));
            for point in points {
                let matches = self.matches_point(point, point_attributes(kind));
                (all, some) = (all && matches, some || matches);
            }
        }
        match (all, some) {
            (true, _) => Matched::All,
            (false, true) => Matched::Some,
            (false, false) => Matched::None,
        }
    }

    pub(super) fn matches_point(&self, point: &[u8], attributes: u32) -> bool {
        self.labels.iter().all(|(key, pattern)| {
            pattern.matches(&text_of(point, attributes, key).unwrap_or_default())
        })
    }

    /// A new name in which the groups are filled in.
    pub(super) fn expanded(&self, template: &str, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.include {
            Pattern::Search(regex) => {
                if let Some(found) = regex.captures(name) {
                    found.expand(template.as_bytes(), &mut out);
                }
            }
            Pattern::Whole(_) => {}
        }
        if out.is_empty() { template.as_bytes().to_vec() } else { out }
    }

    /// The groups of a name, as labels: `$1` or the name of the group, and the text.
    pub(super) fn groups(&self, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Pattern::Search(regex) = &self.include else { return Vec::new() };
        let Some(found) = regex.captures(name) else { return Vec::new() };
        let groups = regex.capture_names().enumerate().skip(1);
        let group = |(at, key): (usize, Option<&str>)| {
            let key = key.map_or_else(|| format!("${at}"), ToOwned::to_owned);
            let text = found.get(at).map(|part| part.as_bytes().to_vec());
            (key.into_bytes(), text.unwrap_or_default())
        };
        groups.map(group).collect()
    }
}

/// The text of a label; empty if it is no text, nothing if it is absent.
pub(super) fn text_of<'p>(point: &'p [u8], attributes: u32, key: &[u8]) -> Option<Cow<'p, [u8]>> {
    let mut entries = fields(point).filter_map(|field| content(&field, attributes));
    let entry = entries.find(|entry| key_value(entry).0 == key)?;
    Some(match Value::read_cow(key_value(entry).1) {
        Value::Text(text) => text,
        _ => Cow::Borrowed(&[]),
    })
}
