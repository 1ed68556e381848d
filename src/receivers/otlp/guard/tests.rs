use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::*;
use crate::{
    component::{Admission, Arrival, BoxFuture, Reply},
    otlp::payload::Ledger,
    telemetry::Telemetry,
};

#[test]
fn only_the_listed_parameters_count() {
    let wanted = ["token".to_owned(), "a b".to_owned()];
    let found = parameters("x=1&token=Bearer%20one+two&token=3&a+b=c%3Dd&e", &wanted);
    let expected = [("token", "Bearer one two"), ("a b", "c=d")];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(parameters("token=1", &[]), []);
    assert_eq!(parameters("", &wanted), []);
}

/// A budget of 100 KB.
#[derive(Default)]
struct Purse(AtomicU64);

impl Ledger for Purse {
    fn try_charge(&self, bytes: u64) -> bool {
        let is_free = self.0.load(Ordering::SeqCst) + bytes <= 100_000;
        if is_free {
            self.charge(bytes);
        }
        is_free
    }

    fn charge(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct Counter(Arc<Purse>);

impl Inlet for Counter {
    fn admission(self: Arc<Self>, _: Signal) -> Result<Box<dyn Admission>, Rejection> {
        Ok(Box::new((*self).clone()))
    }
}

impl Admission for Counter {
    fn wants_context(&self) -> bool {
        false
    }

    fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection> {
        let bytes = bytes as u64;
        let ledger: Arc<dyn Ledger> = Arc::<Purse>::clone(&self.0);
        Ok(self.0.try_charge(bytes).then(|| Permit::charged(bytes, ledger)))
    }

    fn permit(&self, _: usize) -> BoxFuture<Result<Permit, Rejection>> {
        unreachable!("nobody waits for the budget with headers in memory")
    }

    fn submit(&self, _: Arrival) -> BoxFuture<Reply> {
        unreachable!("no body is read")
    }
}

/// Lets everybody in, but only when it is told to.
struct Slow(Arc<Notify>);

impl ServerAuthenticator for Slow {
    fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static("Bearer")
    }

    fn remedy(&self) -> Cow<'_, str> {
        Cow::Borrowed("wait")
    }

    fn authenticate<'a>(&'a self, _: Credentials<'a>) -> Asked<'a, Result<Identity, Denied>> {
        Box::pin(async {
            self.0.notified().await;
            Ok(Identity::new())
        })
    }
}

#[tokio::test]
async fn headers_of_waiting_requests_are_paid_for() {
    let (counter, told) = (Counter::default(), Arc::new(Notify::new()));
    let used = || counter.0.0.load(Ordering::SeqCst);
    let guard = Guard::new(Arc::new(Slow(Arc::clone(&told))), "otlp", &[]);
    let inlet: Arc<dyn Inlet> = Arc::new(counter.clone());
    let stats = Telemetry::default().receiver("otlp", Signal::Traces, "grpc");
    let connection = Connection::new(None);
    let caller =
        Asker { inlet: &inlet, signal: Signal::Traces, connection: &connection, stats: &stats };
    let mut headers = HeaderMap::new();
    headers.insert("x-large", HeaderValue::try_from("x".repeat(60_000)).unwrap());
    let uri = Uri::from_static("/v1/traces");

    let mut first = Box::pin(guard.admit(&headers, &uri, caller));
    assert!(poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await);
    assert!((60_000..61_000).contains(&used()), "{}", used());
    let refused = guard.admit(&headers, &uri, caller).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    told.notify_one();
    first.await.unwrap();
    assert_eq!(used(), 0, "what waits no more holds nothing");

    // A decision that comes at once needs no budget.
    let full = counter.try_permit(100_000).unwrap();
    told.notify_one();
    guard.admit(&headers, &uri, caller).await.unwrap();
    drop(full);
    drop(guard.admit(&headers, &uri, caller));
    assert_eq!(used(), 0);
}
