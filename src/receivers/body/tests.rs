use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use hyper::body::{Frame, SizeHint};
use tokio::{sync::mpsc, task::JoinHandle};

use super::*;
use crate::{
    component::{Arrival, BoxFuture, Reply},
    otlp::{Signal, payload::Ledger},
    telemetry::Telemetry,
};

/// Pieces, with the content length where there is one.
struct Pieces(VecDeque<Bytes>, Option<u64>);

impl Pieces {
    fn new(pieces: &[&[u8]]) -> Self {
        Pieces(pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect(), None)
    }

    fn announced(self) -> Self {
        let len = self.0.iter().map(|piece| piece.len() as u64).sum();
        Pieces(self.0, Some(len))
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An admission with a limited number of bytes, for which nobody can wait.
struct Purse(Arc<Account>);

struct Account {
    limit: u64,
    used: AtomicU64,
    most: AtomicU64,
    /// What was in use when somebody began to wait.
    used_by_waiter: AtomicU64,
}

impl Ledger for Account {
    fn try_charge(&self, bytes: u64) -> bool {
        let is_free = self.used.load(Ordering::SeqCst) + bytes <= self.limit;
        if is_free {
            self.charge(bytes);
        }
        is_free
    }

    fn charge(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most.fetch_max(used, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl Purse {
    fn new(limit: u64) -> Self {
        let [used, most, used_by_waiter] = [0; 3].map(AtomicU64::new);
        Purse(Arc::new(Account { limit, used, most, used_by_waiter }))
    }

    fn used(&self) -> u64 {
        self.0.used.load(Ordering::SeqCst)
    }
}

impl Admission for Purse {
    fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection> {
        let bytes = bytes as u64;
        let ledger: Arc<dyn Ledger> = Arc::<Account>::clone(&self.0);
        Ok(self.0.try_charge(bytes).then(|| Permit::charged(bytes, ledger)))
    }

    fn permit(&self, _bytes: usize) -> BoxFuture<Result<Permit, Rejection>> {
        self.0.used_by_waiter.store(self.used(), Ordering::SeqCst);
        Box::pin(std::future::ready(Err(Rejection::Unavailable(Reason::OverBudget, None))))
    }

    fn submit(&self, _arrival: Arrival) -> BoxFuture<Reply> {
        unreachable!("bodies are only read")
    }

    fn wants_context(&self) -> bool {
        false
    }
}

const MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

fn stats() -> Arc<ReceiverStats> {
    Telemetry::default().receiver("otlp", Signal::Traces, "grpc")
}

fn payer<'a>(
    admission: &'a dyn Admission,
    connection: &'a Arc<Connection>,
    stats: &'a ReceiverStats,
) -> Payer<'a> {
    Payer { admission, connection, timeout: TIMEOUT, patience: None, stats }
}

async fn read_message(pieces: Pieces, purse: &Purse) -> Result<(bool, Vec<u8>, u64), Status> {
    let (connection, stats) = (Arc::new(Connection::new(None)), stats());
    let payer = payer(purse, &connection, &stats);
    let (prefix, body, permit) = message(pieces, MAX, payer).await?;
    Ok((prefix.is_compressed, body.to_vec(), permit.bytes()))
}

async fn read_whole(mut pieces: Pieces, purse: &Purse) -> Result<(Bytes, Permit), Status> {
    let (connection, stats) = (Arc::new(Connection::new(None)), stats());
    let payer = payer(purse, &connection, &stats);
    whole(&mut pieces, MAX, payer).await
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let whole: &[u8] = &[1, 0, 0, 0, 4, 5, 6, 7, 8];
    for first in 0..whole.len() {
        for second in first..whole.len() {
            let pieces = [&whole[..first], &whole[first..second], &whole[second..]];
            let purse = Purse::new(4);
            let read = read_message(Pieces::new(&pieces), &purse).await.unwrap();
            assert_eq!(read, (true, vec![5, 6, 7, 8], 4), "{pieces:?}");
            assert_eq!(purse.used(), 0);
        }
    }
    let empty = read_message(Pieces::new(&[&[0; 5]]), &Purse::new(0)).await.unwrap();
    assert_eq!(empty, (false, vec![], 0));
}

#[tokio::test]
async fn a_message_in_one_frame_is_not_copied() {
    let frame = Bytes::from_static(&[0, 0, 0, 0, 3, 1, 2, 3]);
    let (connection, stats) = (Arc::new(Connection::new(None)), stats());
    let purse = Purse::new(3);
    let payer = payer(&purse, &connection, &stats);
    let pieces = Pieces([frame.clone()].into(), None);
    let (_, body, _) = message(pieces, MAX, payer).await.unwrap();
    assert_eq!(body.as_ptr(), frame[5..].as_ptr());
}

#[tokio::test]
async fn a_wrong_message_is_refused_in_words() {
    let cases: [(&[&[u8]], Code, &str); 6] = [
        (&[&[0, 0, 0]], Code::Internal, "the body ends within its prefix"),
        (&[&[7, 0, 0, 0, 1, 1]], Code::Internal, "the message has an invalid flag"),
        (&[&[0, 0, 0, 0, 2, 1]], Code::Internal, "the body ends within its message"),
        (&[&[0, 0, 0, 0, 2]], Code::Internal, "the body ends within its message"),
        (&[&[0, 0, 0, 0, 1, 1], &[2]], Code::Internal, ""),
        (&[&[0, 0, 0, 0, 1, 1, 2]], Code::Internal, "more than one message in a unary call"),
    ];
    for (pieces, code, text) in cases {
        let purse = Purse::new(100);
        match read_message(Pieces::new(pieces), &purse).await {
            Err(status) => assert_eq!((status.code, status.message.as_str()), (code, text)),
            // What follows in a frame of its own is not looked at.
            Ok(read) => assert_eq!((read.1, text), (vec![1], "")),
        }
        assert_eq!(purse.used(), 0, "{pieces:?}");
    }
    let huge = read_message(Pieces::new(&[&[0, 1, 0, 0, 0]]), &Purse::new(1 << 30)).await;
    let status = huge.unwrap_err();
    assert_eq!(status.code, Code::ResourceExhausted);
    assert!(status.message.contains("max_recv_msg_size_mib"), "{}", status.message);
}

#[tokio::test]
async fn what_cannot_be_paid_for_is_refused_unread() {
    let status =
        read_message(Pieces::new(&[&[0, 0, 0, 0, 9, 1]]), &Purse::new(8)).await.unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.retry_after.is_some());
    let body = Pieces::new(&[&[1; 9]]).announced();
    assert_eq!(read_whole(body, &Purse::new(8)).await.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn a_body_of_known_length_costs_its_length() {
    let purse = Purse::new(6);
    let (body, permit) =
        read_whole(Pieces::new(&[&[1, 2], &[], &[3, 4, 5, 6]]).announced(), &purse).await.unwrap();
    assert_eq!((body.as_ref(), permit.bytes()), (&[1, 2, 3, 4, 5, 6][..], 6));
    assert_eq!(purse.0.most.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_body_of_unknown_length_pays_for_each_larger_buffer() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let pieces = || Pieces::new(&bytes.chunks(10_000).collect::<Vec<_>>());
    let purse = Purse::new(1 << 20);
    let (body, permit) = read_whole(pieces(), &purse).await.unwrap();
    assert_eq!(body, bytes);
    // 10 000 bytes more than fit, twice what is there then, and so on.
    assert_eq!((permit.bytes(), purse.used()), (304_096, 304_096));
    let both = 304_096 + 144_096;
    assert_eq!(purse.0.most.load(Ordering::SeqCst), both, "two buffers while one is copied");
    drop(permit);
    let tight = Purse::new(both - 1);
    let status = read_whole(pieces(), &tight).await.unwrap_err();
    assert_eq!((status.code, tight.used()), (Code::Unavailable, 0));
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let purse = Purse::new(1 << 30);
    let announced = Pieces(VecDeque::new(), Some(MAX as u64 + 1));
    let found_out = Pieces::new(&[&vec![0; MAX], &[0]]);
    for body in [announced, found_out] {
        let status = read_whole(body, &purse).await.unwrap_err();
        assert_eq!((status.code, purse.used()), (Code::InvalidArgument, 0));
        assert!(status.message.contains("max_request_body_size"), "{}", status.message);
    }
    let (body, permit) = read_whole(Pieces::new(&[&vec![0; MAX]]), &purse).await.unwrap();
    assert_eq!((body.len(), permit.bytes()), (MAX, MAX as u64));
}

#[tokio::test]
async fn one_request_of_a_connection_waits() {
    let connection = Arc::new(Connection::new(None));
    let waiting = connection.wait().unwrap();
    assert!(connection.wait().is_none());
    drop(waiting);
    assert!(connection.wait().is_some());
}

/// A body that begins, and then does not go on.
struct Stalled(Option<Bytes>, u64);

impl Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_little_of_what_he_announced_is_cut_off_early() {
    for (sent, seconds) in [(0, 5), (80, 5), (250, 15), (900, 30)] {
        let (purse, begin) = (Purse::new(2000), Instant::now());
        let (connection, stats) = (Arc::new(Connection::new(None)), stats());
        let payer = payer(&purse, &connection, &stats);
        let first = (sent > 0).then(|| Bytes::from(vec![0; sent]));
        let refused = whole(&mut Stalled(first, 1000), MAX, payer).await.unwrap_err();
        assert_eq!(
            (refused.code, begin.elapsed().as_secs()),
            (Code::Unavailable, seconds),
            "{sent}"
        );
        assert_eq!(purse.used(), 0);
    }
}

/// A body whose data comes from elsewhere.
struct Sent(mpsc::UnboundedReceiver<Bytes>, u64);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

const LEN: usize = 200_000;

/// Reads a body of [`LEN`] bytes that comes by hand.
fn reading(purse: &Purse) -> (mpsc::UnboundedSender<Bytes>, JoinHandle<Result<Bytes, Status>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let purse = Purse(Arc::clone(&purse.0));
    let reading = tokio::spawn(async move {
        let connection = Arc::new(Connection::new(None));
        let stats = stats();
        let payer = payer(&purse, &connection, &stats);
        let read = whole(&mut Sent(receiver, LEN as u64), MAX, payer).await;
        read.map(|(body, _permit)| body)
    });
    (sender, reading)
}

async fn after(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_pauses_has_what_it_sent() {
    for (sent, at_once, later) in [
        (0, FIRST, FIRST),
        (1, FIRST, FIRST),
        (FIRST, FIRST, FIRST),
        (20_000, LEN, 40_000 + FIRST),
        (150_000, LEN, LEN),
    ] {
        let purse = Purse::new(1 << 20);
        let (sender, reading) = reading(&purse);
        let all = Bytes::from((0..LEN).map(|i| i.to_le_bytes()[0]).collect::<Vec<u8>>());
        sender.send(all.slice(..sent)).unwrap();
        after(PAUSE / 2).await;
        assert_eq!(purse.used(), at_once as u64, "{sent}");
        after(PAUSE).await;
        assert_eq!(purse.used(), later as u64, "{sent}");
        for piece in all[sent..].chunks(10_000) {
            sender.send(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(sender);
        assert_eq!(reading.await.unwrap().unwrap(), all, "{sent}");
        assert_eq!(purse.used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_paused_does_not_wait_with_its_bytes() {
    let purse = Purse::new(LEN as u64 + 10_000);
    let (sender, reading) = reading(&purse);
    sender.send(Bytes::from(vec![0; 20_000])).unwrap();
    after(PAUSE * 2).await;
    let other = purse.try_permit(150_000).unwrap();
    sender.send(Bytes::from(vec![0; LEN - 20_000])).unwrap();
    assert_eq!(reading.await.unwrap().unwrap_err().code, Code::Unavailable);
    drop(other);
    assert_eq!((purse.used(), purse.0.used_by_waiter.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_holds_nothing() {
    let purse = Purse::new(LEN as u64);
    let other = purse.try_permit(100_000).unwrap();
    let (sender, reading) = reading(&purse);
    sender.send(Bytes::from(vec![0; FIRST + 1])).unwrap();
    assert_eq!(reading.await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(purse.0.used_by_waiter.load(Ordering::SeqCst), 100_000);
    drop(other);
}
