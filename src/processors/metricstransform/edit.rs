//! Edits of metrics and of their points. Each makes new bytes of old ones.

use crate::{
    otlp::wire::put_bytes,
    ottl::{
        Value, content, key_value,
        message::{data, fields, point_attributes, put_entry, replace, replace_data},
    },
};

/// A metric with another name.
pub(super) fn renamed(metric: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(metric.len() + name.len());
    let name = String::from_utf8_lossy(name);
    replace(metric, &[1], &mut out, |out| put_bytes(out, 1, name.as_bytes()));
    out
}

/// A metric with other points: `edit` gets each point, its kind and where to write the new one, and
/// says whether it stays. `None` if nothing changes.
pub(super) fn with_points(
    metric: &[u8],
    mut edit: impl FnMut(&[u8], u32, &mut Vec<u8>) -> bool,
) -> Option<Vec<u8>> {
    let (kind, data) = data(metric)?;
    let mut new = Vec::with_capacity(data.len());
    let mut point_out = Vec::new();
    let mut is_changed = false;
    for field in fields(&data) {
        let Some(point) = content(&field, 1) else {
            new.extend_from_slice(field.whole);
            continue;
        };
        point_out.clear();
        if !edit(point, kind, &mut point_out) {
            is_changed = true;
            continue;
        }
        if point_out == point {
            new.extend_from_slice(field.whole);
        } else {
            is_changed = true;
            put_bytes(&mut new, 1, &point_out);
        }
    }
    is_changed.then(|| {
        let mut out = Vec::with_capacity(metric.len());
        replace_data(metric, kind, &new, &mut out);
        out
    })
}

/// Points of a metric.
pub(super) fn points(metric: &[u8]) -> usize {
    let Some((_, data)) = data(metric) else { return 0 };
    fields(&data).filter(|field| content(field, 1).is_some()).count()
}

/// A point with a label, which replaces one of the same key.
pub(super) fn put_label(point: &[u8], kind: u32, key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let attributes = point_attributes(kind);
    let mut is_there = false;
    for field in fields(point) {
        let is_it = content(&field, attributes).is_some_and(|entry| key_value(entry).0 == key);
        if !is_it {
            out.extend_from_slice(field.whole);
        } else if !std::mem::replace(&mut is_there, true) {
            put_entry(out, attributes, key, &Value::Text(text.into()));
        }
    }
    if !is_there {
        put_entry(out, attributes, key, &Value::Text(text.into()));
    }
}

/// The keys of the labels of all points, sorted.
pub(super) fn keys(metric: &[u8]) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    if let Some((kind, data)) = data(metric) {
        let attributes = point_attributes(kind);
        for point in fields(&data).filter_map(|field| content(&field, 1)) {
            for entry in fields(point).filter_map(|field| content(&field, attributes)) {
                let key = key_value(entry).0;
                if let Err(at) = keys.binary_search_by(|known| known.as_slice().cmp(key)) {
                    keys.insert(at, key.to_vec());
                }
            }
        }
    }
    keys
}
