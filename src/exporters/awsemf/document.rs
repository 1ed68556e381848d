//! Documents in the embedded metric format: points of the same time and labels share a document,
//! with at most a hundred metrics, since CloudWatch makes no metrics from a document with more.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{cloudwatch::batch::LONGEST_MESSAGE, json::Json},
    admission::Admission,
    declare::{Declaration, Rollup, Sets, sets},
    point::{Statistics, Worth},
};

/// Most metrics of a document.
pub(super) const METRICS: usize = 100;

/// Members that the format itself uses, in either version.
pub(super) const FORMAT: [&str; 4] = ["_aws", "Version", "Timestamp", "CloudWatchMetrics"];

/// A value with its name, which is not in [`FORMAT`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) unit: Option<&'static str>,
    /// 1: per second; otherwise per minute.
    pub(super) is_high_resolution: bool,
    pub(super) worth: Worth,
}

/// Points of the same time and labels.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) namespace: String,
    /// Milliseconds since 1970.
    pub(super) millis: u64,
    /// Sorted by name, each once; no name is one of [`FORMAT`] or of a metric.
    pub(super) labels: Vec<(String, String)>,
    pub(super) metrics: Vec<Metric>,
    /// Whether attributes of the resource are missing among the labels.
    pub(super) is_short: bool,
}

/// The settings that matter to documents.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) is_version_0: bool,
    pub(super) rollup: Rollup,
    pub(super) declarations: Vec<Declaration>,
    /// Labels whose values are JSON.
    pub(super) parsed: BTreeSet<String>,
}

/// What documents are made by: the settings, and which metrics a budget allows.
struct Given<'g> {
    form: &'g Form,
    admits: Option<&'g Admission>,
}

impl Group {
    /// The documents, each as JSON without line breaks; `None` for a document with a metric that is
    /// too large for an event.
    pub(super) fn documents(
        &self,
        form: &Form,
        admits: Option<&Admission>,
    ) -> Vec<Option<Vec<u8>>> {
        let form = &Given { form, admits };
        let mut all = Vec::new();
        let mut part: Vec<&Metric> = Vec::new();
        for metric in &self.metrics {
            let has_name = part.iter().any(|other| other.name == metric.name);
            if part.len() == METRICS || has_name {
                self.write(&part, form, &mut all);
                part.clear();
            }
            part.push(metric);
        }
        if !part.is_empty() {
            self.write(&part, form, &mut all);
        }
        all
    }

    /// One document, or two halves where it would be larger than an event.
    fn write(&self, metrics: &[&Metric], form: &Given<'_>, all: &mut Vec<Option<Vec<u8>>>) {
        let document = self.document(metrics, form);
        if document.len() <= LONGEST_MESSAGE {
            all.push(Some(document));
        } else if metrics.len() > 1 {
            let (one, other) = metrics.split_at(metrics.len() / 2);
            self.write(one, form, all);
            self.write(other, form, all);
        } else {
            all.push(None);
        }
    }

    fn document(&self, metrics: &[&Metric], given: &Given<'_>) -> Vec<u8> {
        let form = given.form;
        let mut json = Json::with_capacity(512);
        json.begin();
        if form.is_version_0 {
            json.text_at("Version", b"0");
            json.text_at("Timestamp", self.millis.to_string().as_bytes());
            self.write_directives(&mut json, metrics, given);
        } else {
            json.text_at("Version", b"1");
            json.begin_at("_aws");
            json.int_at("Timestamp", self.millis.cast_signed());
            self.write_directives(&mut json, metrics, given);
            json.end();
        }
        for (name, value) in &self.labels {
            json.key(name.as_bytes());
            let tree = form.parsed.contains(name).then(|| serde_json::from_str(value));
            match tree {
                Some(Ok::<serde_json::Value, _>(tree)) => json.raw(tree.to_string().as_bytes()),
                _ => json.text(value.as_bytes()),
            }
        }
        for metric in metrics {
            json.key(metric.name.as_bytes());
            write_worth(&mut json, &metric.worth);
        }
        json.end();
        json.out
    }

    fn write_directives(&self, json: &mut Json, metrics: &[&Metric], given: &Given<'_>) {
        let form = given.form;
        // Metrics with the same declaration share a directive.
        let mut directives: BTreeMap<Sets, Vec<&Metric>> = BTreeMap::new();
        for metric in metrics {
            let mut sets =
                sets(&metric.name, &self.labels, &form.declarations, form.rollup, &form.parsed);
            if let Some(admission) = given.admits {
                sets.retain(|set| {
                    admission.admits(&self.namespace, &metric.name, set, &self.labels)
                });
            }
            if !sets.is_empty() {
                directives.entry(sets).or_default().push(metric);
            }
        }
        json.key(b"CloudWatchMetrics");
        json.begin_list();
        for (sets, metrics) in directives {
            json.begin();
            json.text_at("Namespace", self.namespace.as_bytes());
            json.key(b"Dimensions");
            json.begin_list();
            for set in sets {
                json.begin_list();
                for name in set {
                    json.text(name.as_bytes());
                }
                json.end_list();
            }
            json.end_list();
            json.key(b"Metrics");
            json.begin_list();
            for metric in metrics {
                json.begin();
                json.text_at("Name", metric.name.as_bytes());
                if let Some(unit) = metric.unit {
                    json.text_at("Unit", unit.as_bytes());
                }
                if metric.is_high_resolution {
                    json.int_at("StorageResolution", 1);
                }
                json.end();
            }
            json.end_list();
            json.end();
        }
        json.end_list();
    }
}

fn write_worth(json: &mut Json, worth: &Worth) {
    let statistics = |json: &mut Json, own: &Statistics| {
        json.double_at("Max", own.max);
        json.double_at("Min", own.min);
        json.count_at("Count", own.count);
        json.double_at("Sum", own.sum);
    };
    match worth {
        Worth::Int(number) => json.int(*number),
        Worth::Double(number) => json.double(*number),
        Worth::Statistics(own) => {
            json.begin();
            statistics(json, own);
            json.end();
        }
        Worth::Values(own, values) => {
            json.begin();
            json.key(b"Values");
            json.begin_list();
            for (value, _) in values {
                json.double(*value);
            }
            json.end_list();
            json.key(b"Counts");
            json.begin_list();
            for (_, count) in values {
                json.count(*count);
            }
            json.end_list();
            statistics(json, own);
            json.end();
        }
    }
}
