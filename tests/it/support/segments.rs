//! When two X-Ray documents say the same: each subsegment is a document of its own, with
//! `trace_id`, `parent_id` and `type: subsegment`; `null`, empty objects and empty lists are
//! absent; numbers are doubles, times to the microsecond. Everything else counts, above all what
//! is missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Doubles for numbers, without what is empty.
pub(crate) fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Number(number) => Some(json!(number.as_f64().unwrap())),
        Value::Array(all) => {
            let all: Vec<_> = all.iter().filter_map(pruned).collect();
            (!all.is_empty()).then_some(Value::Array(all))
        }
        Value::Object(all) => {
            let all: Map<_, _> =
                all.iter().filter_map(|(key, own)| Some((key.clone(), pruned(own)?))).collect();
            (!all.is_empty()).then_some(Value::Object(all))
        }
        other => Some(other.clone()),
    }
}

/// Each (sub)segment by its id.
fn flat(document: &Value, found: &mut BTreeMap<String, Value>) {
    let mut own = document.clone();
    let below = own.as_object_mut().unwrap().remove("subsegments").unwrap_or_default();
    for child in below.as_array().into_iter().flatten() {
        let mut child = child.clone();
        child["parent_id"] = own["id"].clone();
        child["trace_id"] = own["trace_id"].clone();
        child["type"] = json!("subsegment");
        flat(&child, found);
    }
    for time in ["start_time", "end_time"] {
        if let Some(seconds) = own[time].as_f64() {
            own[time] = json!((seconds * 1e6).round() / 1e6);
        }
    }
    found.insert(own["id"].as_str().unwrap().to_owned(), pruned(&own).unwrap());
}

pub(crate) fn all_flat(documents: &[Value]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for one in documents {
        flat(one, &mut found);
    }
    found
}
