//! Known pitfalls of forwarding telemetry as bytes, and where each is tested. The table names tests
//! elsewhere; what no module tests on its own is tested here, through the public interface.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use skep::otlp::{
    Payload, Signal,
    check::{self, Utf8},
    payload::{Ledger, Outcome, Permit, Reason, Receipt, Wait},
    purse::Purse,
    splice, split,
    wire::{Fields, put_bytes, varint, varint_len},
};

/// The pitfall, the file of its tests, their names.
const TABLE: &[(&str, &str, &[&str])] = &[
    // The wire.
    (
        "overlong varints, ten-byte integers, varints above 64 bits, field 0, tags above 32 bits, \
         lengths above 2^31",
        "src/otlp/wire.rs",
        &[
            "overlong_varints_mean_what_they_say",
            "a_negative_int_takes_ten_bytes",
            "a_varint_above_64_bits_is_refused",
            "field_number_zero_is_refused",
            "a_tag_above_32_bits_is_refused",
            "a_length_above_what_is_left_is_refused_without_allocating",
        ],
    ),
    (
        "groups taken for empty fields",
        "src/otlp/wire.rs",
        &["a_group_is_one_field_with_all_that_is_in_it"],
    ),
    (
        "unknown fields lost by an edit, at any level",
        "src/otlp/wild/tests.rs",
        &[
            "an_attribute_is_added_to_every_resource_and_nothing_else_changes",
            "an_attribute_is_added_to_every_item_and_nothing_else_changes",
        ],
    ),
    (
        "unknown fields lost or changed by a split",
        "src/otlp/split/tests.rs",
        &[
            "unknown_fields_of_wrappers_survive_in_every_piece",
            "a_huge_unknown_field_of_the_request_stays_what_it_is",
        ],
    ),
    (
        "field order, last scalar wins, messages in parts, oneofs set twice, packed and unpacked \
         numbers: readers",
        "src/otlp/view/tests.rs",
        &["views_show_what_prost_decodes", "a_status_in_two_parts_is_one"],
    ),
    (
        "the same: records",
        "src/otlp/record.rs",
        &[
            "a_later_member_of_a_oneof_clears_the_earlier_ones",
            "the_last_scalar_wins_and_split_messages_are_one",
        ],
    ),
    (
        "the same: splitting",
        "src/otlp/wild/tests.rs",
        &[
            "parts_by_items_hold_every_item_with_its_headers",
            "parts_by_bytes_hold_every_item_with_its_headers",
        ],
    ),
    (
        "the same: edits of split values",
        "src/processors/attributes/tests.rs",
        &["unknown_fields_and_split_values_survive"],
    ),
    (
        "packed numbers cut off",
        "src/otlp/check/tests.rs",
        &["packed_and_unpacked_numbers_both_pass"],
    ),
    (
        "panics on arbitrary bytes",
        "src/otlp/check/tests.rs",
        &[
            "random_bytes_never_panic",
            "values_nested_too_deep_are_refused_without_a_stack_overflow",
        ],
    ),
    (
        "panics on bytes that are almost right",
        "tests/it/fuzz_corpus.rs",
        &["check", "views", "split", "splice", "json", "config"],
    ),
    ("deep nesting in JSON", "src/otlp/json/tests.rs", &["nesting_is_limited"]),
    (
        "lengths after an edit: minimal, at every ancestor, across the borders of varints",
        "tests/it/pitfalls.rs",
        &["lengths_are_minimal_where_an_edit_crosses_a_border_of_varints"],
    ),
    (
        "keys that occur twice",
        "src/processors/attributes/tests.rs",
        &["edits_on_bytes_are_edits_on_messages"],
    ),
    ("ids of a wrong length", "src/otlp/check/tests.rs", &["ids_have_their_length_or_none"]),
    ("ids of zeros", "tests/it/pitfalls.rs", &["an_id_of_zeros_passes_the_door"]),
    (
        "data points two levels below metrics",
        "src/otlp/check/tests.rs",
        &["counts_spans_log_records_and_data_points_of_every_kind"],
    ),
    // Memory.
    (
        "a small slice that pins a large buffer, or a copy of a large one",
        "src/net/client.rs",
        &["large_segments_are_not_copied_and_small_ones_are_joined"],
    ),
    (
        "a slice that pins the read buffer of its connection",
        "src/receivers/body/tests.rs",
        &["a_message_may_come_in_any_pieces", "a_message_in_one_frame_is_not_copied"],
    ),
    (
        "bytes counted by length where buffers have capacity",
        "src/engine/budget/tests.rs",
        &["a_tiny_body_is_charged_a_kibibyte", "clones_share_one_charge"],
    ),
    (
        "decompression bombs, several gzip members, zlib and raw deflate",
        "src/net/codec/tests.rs",
        &[
            "a_bomb_stops_at_the_limit_and_pays_for_what_it_grew",
            "growth_that_is_not_paid_for_ends_it",
            "a_large_body_is_counted_before_it_is_allocated",
            "a_trailer_that_lies_about_the_length_is_found_out",
            "gzip_members_have_a_limit",
            "gzip_members_are_joined_and_headers_with_names_are_read",
            "deflate_is_read_with_and_without_its_wrapper",
        ],
    ),
    (
        "connections, slow senders and bombs that take memory which no body pays for",
        "tests/it/hostile_clients.rs",
        &[
            "thousands_of_idle_connections_cost_little",
            "bodies_that_come_byte_by_byte_do_not_hold_what_they_announced",
            "bombs_of_every_codec_are_paid_for",
            "bombs_of_json_are_paid_for",
        ],
    ),
    (
        "fan-out and edits multiply memory",
        "tests/it/pitfalls.rs",
        &["an_edit_of_shared_bytes_pays_for_its_copy"],
    ),
    // Batches.
    (
        "poison that spreads by joining",
        "src/engine/simulation.rs",
        &["one_poisoned_sender_costs_only_its_own_data"],
    ),
    (
        "tenants mixed in a batch",
        "src/processors/batch.rs",
        &["tenants_are_batched_apart_up_to_the_limit"],
    ),
    (
        "batches above the limit of the peer, items above it on their own",
        "src/otlp/split/tests.rs",
        &[
            "parts_keep_to_the_byte_limit_where_items_allow",
            "an_item_above_the_byte_limit_goes_alone",
        ],
    ),
    (
        "headers repeated without bound",
        "src/otlp/split/tests.rs",
        &["a_huge_header_is_not_repeated_for_every_span"],
    ),
    (
        "one answer for a request in several batches",
        "tests/it/pitfalls.rs",
        &["of_the_parts_of_a_request_the_worst_outcome_is_answered"],
    ),
    (
        "many half-read bodies that wait for each other",
        "src/engine/budget/tests.rs",
        &["a_tiny_budget_with_many_readers_never_deadlocks_and_returns_to_zero"],
    ),
    (
        "workers that panic without a word, receipts that nobody answers",
        "src/engine/simulation.rs",
        &["a_panic_answers_the_sender_and_is_reported"],
    ),
    (
        "workers that panic without a word, receipts that nobody answers",
        "src/engine/simulation/conservation.rs",
        &["conservation_under_random_schedules"],
    ),
    (
        "a backend that hangs",
        "src/engine/simulation.rs",
        &[
            "a_hanging_backend_holds_up_neither_the_drain_nor_the_accounts",
            "a_full_queue_refuses_and_its_sibling_goes_on",
        ],
    ),
    (
        "batches that only time sends",
        "src/processors/batch.rs",
        &["a_batch_goes_when_it_is_old_enough_and_the_timer_starts_anew"],
    ),
    // The transports.
    (
        "streams that wait for memory and fill the window of those that hold it",
        "src/receivers/body/tests.rs",
        &["one_request_of_a_connection_waits"],
    ),
    (
        "GOAWAY, resets, peers that vanish without a word",
        "tests/it/export_client.rs",
        &[
            "a_goaway_costs_no_attempt",
            "goaway_after_every_answer_loses_and_doubles_nothing",
            "a_reset_stream_is_sent_again_on_its_connection",
            "a_connection_that_answers_nothing_is_given_up",
            "a_peer_that_vanished_is_found_out_by_pings",
        ],
    ),
    (
        "statuses of gRPC in headers, in trailers, or not at all",
        "tests/it/export_client.rs",
        &[
            "statuses_of_grpc_end_or_repeat_a_request_as_otlp_says",
            "a_proxy_that_answers_without_grpc_is_understood_by_its_http_status",
        ],
    ),
    (
        "an encoding that is announced and not used, used and not announced, or unknown",
        "tests/it/conformance.rs",
        &["the_flag_of_a_message_says_whether_it_is_compressed"],
    ),
    (
        "bodies without a length, senders that wait for `100 Continue`",
        "tests/it/conformance.rs",
        &[
            "a_body_may_come_in_chunks",
            "the_first_memory_limiter_of_a_pipeline_refuses_before_a_body_is_sent",
        ],
    ),
    (
        "slow senders that hold memory",
        "tests/it/conformance.rs",
        &["a_body_that_does_not_come_gives_its_memory_back", "a_call_ends_at_its_own_deadline"],
    ),
    (
        "an answer that is lost because the sender still sends",
        "tests/it/conformance.rs",
        &["a_client_that_sends_all_of_a_refused_body_gets_its_answer"],
    ),
];

#[test]
fn the_tests_of_the_table_exist() {
    for (pitfall, file, tests) in TABLE {
        let text = fs::read_to_string(file).unwrap();
        for test in *tests {
            assert!(text.contains(&format!("fn {test}(")), "{pitfall}: no `{test}` in {file}");
        }
    }
}

fn nested(levels: &[u32], leaf: &[u8]) -> Vec<u8> {
    let mut bytes = leaf.to_vec();
    for number in levels.iter().rev() {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &bytes);
        bytes = outer;
    }
    bytes
}

/// Whether the length of the first field is minimal; its content.
fn first_field(message: &[u8]) -> (bool, &[u8]) {
    let field = Fields::new(message).next().unwrap().unwrap();
    let (_, after_tag) = varint(message).unwrap();
    let (len, rest) = varint(after_tag).unwrap();
    (after_tag.len() - rest.len() == varint_len(len), field.bytes())
}

#[test]
fn lengths_are_minimal_where_an_edit_crosses_a_border_of_varints() {
    for border in [127, 16_383, 2_097_151_usize] {
        for len in border - 24..=border + 2 {
            // resource_spans > resource > attributes, then an attribute more.
            let attribute = vec![0x0A; len.saturating_sub(20)];
            let body = nested(&[1, 1, 99], &attribute);
            let edited = splice::edit_resources(&body, 0, &mut Purse::default(), |_, out| {
                out.append(6, |out| put_bytes(out, 1, b"1234"));
            });
            let edited = edited.unwrap().unwrap();
            let (is_entry_minimal, entry) = first_field(&edited);
            let (is_resource_minimal, resource) = first_field(entry);
            assert!(is_entry_minimal && is_resource_minimal, "at {len}");
            assert!(resource.ends_with(b"\x0A\x041234"), "at {len}");
            assert_eq!(Fields::new(&edited).count(), 1, "at {len}");
        }
    }
}

#[test]
fn an_id_of_zeros_passes_the_door() {
    let span = [nested(&[1], &[0; 16]), nested(&[2], &[0; 8])].concat();
    let body = nested(&[1, 2, 2], &span);
    assert_eq!(check::check(Signal::Traces, &body, Utf8::Strict).unwrap().items, 1);
}

#[derive(Default)]
struct Account {
    charged: AtomicU64,
    limit: u64,
}

impl Ledger for Account {
    fn try_charge(&self, bytes: u64) -> bool {
        let fits = self.charged.load(Ordering::SeqCst) + bytes <= self.limit;
        if fits {
            self.charge(bytes);
        }
        fits
    }

    fn charge(&self, bytes: u64) {
        self.charged.fetch_add(bytes, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: u64) {
        self.charged.fetch_sub(bytes, Ordering::SeqCst);
    }
}

#[test]
fn an_edit_of_shared_bytes_pays_for_its_copy() {
    let account = Arc::new(Account { limit: 350, ..Account::default() });
    account.charge(100);
    let mut one = Payload::unpaid(Signal::Traces, Bytes::from(vec![0; 100]), 1);
    let ledger: Arc<dyn Ledger> = Arc::<Account>::clone(&account);
    one.permits.push(Permit::charged(100, ledger));
    let (mut two, mut three) = (one.clone(), one.clone());
    let copy = |len| std::iter::once(Bytes::from(vec![1; len])).collect();
    two.replace_body(copy(120)).unwrap();
    assert_eq!(account.charged.load(Ordering::SeqCst), 220, "the copy is paid for");
    assert_eq!(three.replace_body(copy(140)), Err(Reason::OverBudget));
    assert_eq!(three.len(), 100, "what is refused stays as it is");
    drop((one, two, three));
    assert_eq!(account.charged.load(Ordering::SeqCst), 0, "and all of it is given back");
}

#[test]
fn of_the_parts_of_a_request_the_worst_outcome_is_answered() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answers);
    let answer = Box::new(move |outcome| told.lock().unwrap().push(outcome));
    let body = Bytes::from(nested(&[1, 2], &[nested(&[2], &[]), nested(&[2], &[])].concat()));
    let mut payload = Payload::unpaid(Signal::Traces, body, 2);
    payload.receipts.push(Receipt::new(Wait::Delivery, answer));
    let mut parts = split::by_items(payload, 1).into_iter();
    let failed = Outcome::Failed(Reason::RetriesExhausted);
    parts.next().unwrap().finish(failed);
    assert!(answers.lock().unwrap().is_empty(), "one part is under way");
    parts.next().unwrap().finish(Outcome::Delivered);
    assert_eq!(*answers.lock().unwrap(), [failed]);
}
