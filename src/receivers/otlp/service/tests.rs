use super::*;

#[test]
fn many_tiny_pieces_become_few() {
    let mut pieces = Pieces::new();
    let whole: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
    for byte in &whole {
        gather(&mut pieces, Bytes::copy_from_slice(&[*byte]));
    }
    assert!(pieces.len() < 10, "{} pieces", pieces.len());
    assert_eq!(pieces.concat(), whole);
}

#[test]
fn a_prefix_may_be_spread_over_pieces() {
    let mut pieces: Pieces =
        [&[0u8, 0][..], &[0], &[0, 2, 7], &[8]].into_iter().map(Bytes::copy_from_slice).collect();
    let prefix = take_prefix(&mut pieces).unwrap();
    assert_eq!(prefix, Prefix { is_compressed: false, len: 2 });
    assert_eq!(pieces.concat(), [7, 8]);
}

#[test]
fn an_unavailable_engine_asks_for_a_pause() {
    let rejection = Rejection::Unavailable(crate::otlp::payload::Reason::QueueFull, None);
    let response = failure(&status(&rejection), Encoding::Protobuf);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let response = grpc_response(Err(status(&rejection)));
    let status = Status::from_headers(response.headers()).unwrap();
    assert_eq!(
        (status.code, status.retry_after),
        (Code::Unavailable, Some(Duration::from_secs(1)))
    );
}
