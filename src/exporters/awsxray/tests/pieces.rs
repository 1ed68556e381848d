//! Documents in pieces: none is lost, and no piece holds more than its room.

use super::*;

/// Every piece of a payload, each with its documents and what was left out of it.
fn pieces(content: &Content, settings: &Settings, room: usize) -> (Vec<Vec<Bytes>>, LeftOut) {
    let (mut all, mut left_out, mut items) = (Vec::new(), LeftOut::default(), 0);
    let mut work = Work { room, ..Work::all(content) };
    loop {
        let piece = super::super::pieces::next(&work, settings);
        assert!(piece.held <= room, "{} of {room} bytes", piece.held);
        items += piece.items;
        let Segments { documents, left_out: own } = piece.encoded;
        for (sum, count) in left_out.0.iter_mut().zip(own.0) {
            *sum += count;
        }
        all.push(documents);
        let Some(next) = piece.next else { break };
        assert_ne!(next, work.from);
        work.from = next;
    }
    assert_eq!(items, content.items);
    (all, left_out)
}

/// Spans that are children of the one before.
fn spans(count: u64, of: &Value) -> Vec<Span> {
    let id = |number: u64| (number + 1).to_be_bytes().to_vec();
    let one = |number: u64| Span {
        span_id: id(number),
        parent_span_id: number.checked_sub(1).map(id).unwrap_or_default(),
        ..span(SERVER, false, of)
    };
    (0..count).map(one).collect()
}

fn read(documents: &[Bytes]) -> Vec<Value> {
    documents.iter().map(|one| serde_json::from_slice(one).unwrap()).collect()
}

fn count(document: &Value) -> usize {
    1 + document["subsegments"].as_array().into_iter().flatten().map(count).sum::<usize>()
}

#[test]
fn requests_that_are_built_to_expand_have_documents_that_fit() {
    let keys: serde_json::Map<_, _> = (0..50).map(|i| (format!("{i:0>9999}"), json!(1))).collect();
    let many: serde_json::Map<_, _> = (0..5000).map(|i| (format!("{i}"), json!(""))).collect();
    let odd = json!({"x": "\u{1}".repeat(1 << 20), "list": vec!["\""; 100_000], "small": 1});
    let large = |len| json!({"large": "x".repeat(len), "small": 2});
    let thrown = event("exception", &json!({"exception.stacktrace": "a@b:1:1\n".repeat(2000)}));
    let thrown = Span { events: vec![thrown; 200], ..span(SERVER, false, &json!({})) };
    let payloads = [
        payload(&large(60_000), spans(2000, &json!({}))),
        payload(&large(15_000), spans(2000, &json!({}))),
        payload(&Value::Object(keys.clone()), spans(100, &json!({}))),
        payload(&Value::Object(many.clone()), spans(100, &Value::Object(many))),
        payload(&json!({}), spans(20, &Value::Object(keys))),
        payload(&odd, spans(3, &odd)),
        payload(&json!({}), vec![thrown]),
    ];
    // All of them if `SKEP_TEST_FULL` is set, as `.ci/run` does it, else each in one of the forms.
    let is_full = std::env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty());
    let both = payloads.iter().flat_map(|payload| [payload.clone(), native_payload(payload)]);
    for payload in both.step_by(if is_full { 1 } else { 3 }) {
        for (room, index_all_attributes) in [(1 << 20, false), (4 << 20, true)] {
            let settings = Settings { index_all_attributes, ..Settings::default() };
            let (all, left_out) = pieces(&payload, &settings, room);
            // Annotations are never shortened by their keys.
            assert!(index_all_attributes || left_out == LeftOut::default());
            let found: usize = all.iter().flat_map(|own| read(own)).map(|own| count(&own)).sum();
            assert_eq!(found as u64 + left_out.count(), payload.items);
        }
        // What has no room at all is left out, and counted.
        let (_, left_out) = pieces(&payload, &Settings::default(), 100);
        assert_eq!(left_out.count(), payload.items);
    }
}

#[test]
fn a_large_resource_is_not_in_every_document_and_they_say_so() {
    let resource = json!({"large": "x".repeat(60_000), "small": 2});
    let payload = payload(&resource, spans(2000, &json!({})));
    for payload in [payload.clone(), native_payload(&payload)] {
        let (all, _) = pieces(&payload, &Settings::default(), 1 << 20);
        assert!(all.len() > 1);
        let said = json!({"metadata > default > otel.resource.left_out": 1,
            "metadata > default > otel.resource.large": null,
            "metadata > default > otel.resource.small": 2});
        all.iter().flat_map(|own| read(own)).for_each(|document| assert_has(&document, &said));
    }
}

#[test]
fn attributes_exceptions_and_traces_beyond_the_limits_are_said() {
    let many: serde_json::Map<_, _> = (0..3000).map(|i| (format!("{i}"), json!(1))).collect();
    let thrown = event("exception", &json!({"exception.type": "E"}));
    let of = Span { events: vec![thrown; 102], ..span(SERVER, false, &Value::Object(many)) };
    for document in [
        one(of.clone()),
        read(&translate(&native_payload(&payload(&json!({}), vec![of])), &Settings::default()).0)
            .remove(0),
    ] {
        assert_has(
            &document,
            &json!({"metadata > default > otel.attributes.left_out": 952,
                "cause > exceptions > 99 > type": "E", "cause > exceptions > 100": null,
                "metadata > default > otel.events > 1 > attributes > exception.type": "E",
                "metadata > default > otel.events > 2": null}),
        );
    }
    let trace = format!("E\n{}", "    at f (/app/a.js:1:1)\n".repeat(10_000));
    let thrown = event("exception", &json!({"exception.type": "E", "exception.stacktrace": trace}));
    let document = one(Span { events: vec![thrown], ..span(SERVER, false, &json!({})) });
    // 128 KiB of it are 5242 frames and a part of one.
    assert_has(&document, &json!({"cause > exceptions > 0 > truncated": 5232}));
}

#[test]
fn a_subsegment_of_another_piece_is_a_document_of_its_own() {
    let mut all = spans(300, &json!({"x": "y".repeat(1000)}));
    all[1..].iter_mut().for_each(|span| span.kind = CLIENT);
    let payload = native_payload(&payload(&json!({}), all));
    let (all, _) = pieces(&payload, &Settings::default(), 1 << 20);
    assert!(all.len() > 1);
    let first = read(&all[1]).remove(0);
    assert_has(&first, &json!({"type": "subsegment"}));
    assert!(first["parent_id"].is_string() && count(&first) > 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Small payloads are what they are as a whole; others have the same documents.
    #[test]
    fn pieces_have_the_documents_of_the_whole(seed: u64, room in 1_usize << 20..2 << 20) {
        let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
        let items = crate::otlp::split::count_items(Signal::Traces, &request);
        let payload = Content::new(Signal::Traces, request.into(), items);
        let (all, left_out) = pieces(&payload, &Settings::default(), room);
        prop_assert_eq!((all.concat(), left_out), translate(&payload, &Settings::default()));
    }

    #[test]
    fn pieces_of_one_resource_have_the_documents_of_the_whole(len in 0..3000_usize, number in 1..400_u64) {
        let own = json!({"x": "y".repeat(len)});
        let payload = payload(&own, spans(number, &own));
        let (all, left_out) = pieces(&payload, &Settings::default(), 1 << 20);
        prop_assert_eq!((all.concat(), left_out), translate(&payload, &Settings::default()));
    }
}
