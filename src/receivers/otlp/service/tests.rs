use super::*;
use crate::{component::Rejection, otlp::payload::Reason};

#[test]
fn an_unavailable_engine_asks_for_a_pause() {
    let rejection = Rejection::Unavailable(Reason::QueueFull, None);
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
