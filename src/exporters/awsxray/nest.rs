//! Nests subsegments in the documents of their parents, as the SDK had them: one document with ten
//! subsegments is one of the 50 documents of a request instead of eleven.
//!
//! A subsegment is nested if it came in the same scope as its parent, after it, and the document
//! stays within its limit. Otherwise it is a document of its own, which means the same to X-Ray.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::trim::DOCUMENT_LIMIT;

const BEGIN: &[u8] = b",\"subsegments\":[";
const END: &[u8] = b"]";

/// A document: its ids, and the id of its parent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) trace: &'a [u8],
    pub(super) id: &'a [u8],
    /// Empty if it has no parent.
    pub(super) parent: &'a [u8],
}

/// The documents of one scope while they are nested.
struct Tree<'d> {
    documents: Vec<&'d [u8]>,
    /// The first part of each, and the next part of the same parent.
    first: Vec<Option<usize>>,
    next: Vec<Option<usize>>,
    is_part: Vec<bool>,
}

/// Appends `documents` to `out`, nested where possible, and their ends to `ends`. Returns false,
/// and appends nothing, if none can be nested.
pub(super) fn nest(
    documents: Vec<&[u8]>,
    links: &[Link<'_>],
    out: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> bool {
    let mut places: HashMap<(&[u8], &[u8]), usize, RandomState> = HashMap::default();
    for (place, link) in links.iter().enumerate() {
        places.entry((link.trace, link.id)).or_insert(place);
    }
    let count = documents.len().min(links.len());
    let mut sizes: Vec<usize> = documents.iter().map(|document| document.len()).collect();
    let mut tree = Tree {
        documents,
        first: vec![None; count],
        next: vec![None; count],
        is_part: vec![false; count],
    };
    // The last one first, so that each is complete when it is nested itself.
    for place in (0..count).rev() {
        // If parents could come later, circles would be possible.
        let Link { trace, parent, .. } = links[place];
        let parent = places.get(&(trace, parent)).copied().filter(|parent| *parent < place);
        let Some(parent) = parent else { continue };
        let around = match tree.first[parent] {
            None => BEGIN.len() + END.len(),
            Some(_) => 1,
        };
        if sizes[parent] + sizes[place] + around <= DOCUMENT_LIMIT {
            sizes[parent] += sizes[place] + around;
            tree.next[place] = tree.first[parent].replace(place);
            tree.is_part[place] = true;
        }
    }
    let is_nested = tree.is_part.contains(&true);
    if is_nested {
        for place in (0..count).filter(|place| !tree.is_part[*place]) {
            tree.write(place, out);
            ends.push(out.len());
        }
    }
    is_nested
}

impl Tree<'_> {
    /// Writes a document with all of its parts. The depth is bounded, since documents have at least
    /// some hundred bytes and at most 64 kB.
    fn write(&self, place: usize, out: &mut Vec<u8>) {
        let document = self.documents[place];
        let Some(mut part) = self.first[place] else {
            out.extend_from_slice(document);
            return;
        };
        out.extend_from_slice(&document[..document.len() - 1]);
        out.extend_from_slice(BEGIN);
        loop {
            self.write(part, out);
            let Some(next) = self.next[part] else { break };
            out.push(b',');
            part = next;
        }
        out.extend_from_slice(END);
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(parents: &[Option<u8>], padding: usize) -> Vec<String> {
        let text = |place: usize| format!(r#"{{"id":"{place}","x":"{}"}}"#, "y".repeat(padding));
        let own: Vec<String> = (0..parents.len()).map(text).collect();
        let ids: Vec<Vec<u8>> =
            (0..parents.len()).map(|place| place.to_le_bytes().into()).collect();
        let parent = |parent: &Option<u8>| {
            parent.map_or(Vec::new(), |parent| usize::from(parent).to_le_bytes().into())
        };
        let parents: Vec<Vec<u8>> = parents.iter().map(parent).collect();
        let links: Vec<Link<'_>> =
            ids.iter().zip(&parents).map(|(id, parent)| Link { trace: b"t", id, parent }).collect();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        if !nest(own.iter().map(String::as_bytes).collect(), &links, &mut out, &mut ends) {
            return own;
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let text =
            |(from, to): (usize, &usize)| String::from_utf8(out[from..*to].to_vec()).unwrap();
        starts.zip(&ends).map(text).collect()
    }

    #[test]
    fn parts_stand_in_their_parents_in_order() {
        let all = nested(&[None, Some(0), Some(1), Some(0), Some(9), None], 0);
        assert_eq!(
            all,
            [
                r#"{"id":"0","x":"","subsegments":[{"id":"1","x":"","subsegments":[{"id":"2","x":""}]},{"id":"3","x":""}]}"#,
                r#"{"id":"4","x":""}"#,
                r#"{"id":"5","x":""}"#,
            ]
        );
    }

    fn count(document: &Value) -> usize {
        let parts = document["subsegments"].as_array();
        1 + parts.into_iter().flatten().map(count).sum::<usize>()
    }

    proptest! {
        #[test]
        fn whatever_the_links_nothing_is_lost_and_no_document_is_too_large(
            parents in prop::collection::vec(prop::option::of(0..40_u8), 1..40),
            padding in 0..20_000_usize,
        ) {
            let all = nested(&parents, padding);
            let mut found = 0;
            for document in &all {
                prop_assert!(document.len() <= DOCUMENT_LIMIT);
                found += count(&serde_json::from_str(document).unwrap());
            }
            prop_assert_eq!(found, parents.len());
        }
    }
}
