//! Bodies that grow, beside other bodies.

use std::sync::Arc;

use super::*;
use crate::{
    component::Caller,
    engine::budget::Budget,
    otlp::{
        check::Utf8,
        payload::{Context, Outcome, Wait},
    },
    telemetry::Telemetry,
};

const MIB: usize = 1 << 20;

/// A request of 100 000 spans that have no fields: 0.6 MiB.
fn request() -> Vec<u8> {
    [0x0a, 4, 0x12, 2, 0x12, 0].repeat(100_000)
}

/// Admits the request with so many bytes in use before it came, of 4 MiB.
fn unpack_with(used: usize, compression: Compression, json: bool) -> Result<u64, Rejection> {
    let budget = Budget::new(5 * MIB as u64, Arc::new(Telemetry::default()));
    let before = budget.owe(used);
    let plain = if json { br#"{"resourceSpans":[]}"#.repeat(30_000) } else { request() };
    let body = Bytes::from(codec::deflate(compression, None, &[plain.into()]).unwrap());
    let arrival = Arrival {
        signal: Signal::Traces,
        encoding: if json { Encoding::Json } else { Encoding::Protobuf },
        compression,
        permit: budget.owe(body.len()),
        body,
        max_inflated: 64 * MIB,
        utf8: Utf8::Strict,
        context: None,
        wait: Wait::Acceptance,
        stats: Telemetry::default().receiver("otlp", Signal::Traces, "http"),
        vetting: None,
        caller: Caller::default(),
    };
    let admitted = unpack(arrival, Some(4 * MIB as u64)).map(|payload| payload.items);
    drop(before);
    assert_eq!(budget.used(), 0, "everything was given back");
    admitted
}

#[test]
fn what_would_be_refused_later_is_not_inflated() {
    let later = Err(Rejection::Unavailable(Reason::Limited, None));
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Snappy, Compression::Lz4]
    {
        assert_eq!(unpack_with(4 * MIB - 1000, compression, false), later, "{compression:?}");
    }
    assert_eq!(unpack_with(MIB, Compression::Gzip, false), Ok(100_000));
    assert_eq!(unpack_with(4 * MIB - 1000, Compression::Gzip, true), later, "nor read from JSON");
}

#[test]
fn what_would_never_fit_is_said_to_be_too_large() {
    let budget = Budget::new(4 * MIB as u64, Arc::new(Telemetry::default()));
    let permit = budget.owe(1000);
    let account = Account { permit, ceiling: Some(9 * 1024) };
    assert_eq!(account.refusal(9 * 1024), Rejection::Unavailable(Reason::Limited, None));
    assert_eq!(account.refusal(10 * 1024), Rejection::TooLarge { limit: 8 * 1024 });
    let account = Account { ceiling: None, ..account };
    assert_eq!(account.refusal(u64::MAX), Rejection::Unavailable(Reason::OverBudget, None));
}

/// Kept headers wait in queues with the payload, so they are paid for as long as it is there.
#[test]
fn the_headers_of_a_request_are_paid_for() {
    let budget = Budget::new(4 * MIB as u64, Arc::new(Telemetry::default()));
    let context = Context {
        metadata: vec![("x-large".to_owned(), "x".repeat(60_000))],
        auth: vec![("membership".to_owned(), vec!["y".repeat(5_000)])],
        peer: None,
        arrived: std::time::Instant::now(),
    };
    let arrival = |permit| Arrival {
        signal: Signal::Traces,
        encoding: Encoding::Protobuf,
        compression: Compression::Identity,
        permit,
        body: Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]),
        max_inflated: MIB,
        utf8: Utf8::Strict,
        context: Some(Arc::new(context.clone())),
        wait: Wait::Acceptance,
        stats: Telemetry::default().receiver("otlp", Signal::Traces, "http"),
        vetting: None,
        caller: Caller::default(),
    };
    let payload = unpack(arrival(budget.owe(1024)), None).unwrap();
    assert!((65_000..70_000).contains(&budget.used()), "{}", budget.used());
    payload.finish(Outcome::Delivered);
    assert_eq!(budget.used(), 0);
    let full = budget.owe(4 * MIB - 30_000);
    let refused = unpack(arrival(budget.owe(1024)), None).unwrap_err();
    assert_eq!(refused, Rejection::Unavailable(Reason::OverBudget, None));
    drop(full);
    assert_eq!(budget.used(), 0);
}
