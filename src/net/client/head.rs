//! Limits what a backend sends before the head of a response. hyper skips interim responses
//! (`100 Continue`) inside one poll, so endless ones would hold a thread of the process for ever.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes from the request to the head of its response, which hyper limits to less than half.
const LIMIT: usize = 1 << 20;
/// After this many bytes in a row other tasks run.
const TURN: usize = 64 * 1024;
/// No limit, while no head is awaited.
const ANY: usize = usize::MAX;

const TOO_MUCH: &str = "the server sent 1 MiB and still no answer, as with endless `100 Continue` \
                        responses; is it an OTLP receiver?";

/// How many bytes may still come before the head. Clones share the number.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    fn new() -> Self {
        Allowance(Arc::new(AtomicUsize::new(ANY)))
    }

    /// A request is sent.
    pub(super) fn begin(&self) {
        self.0.store(LIMIT, Ordering::Relaxed);
    }

    /// The head of its response has arrived.
    pub(super) fn end(&self) {
        self.0.store(ANY, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: usize) {
        let spend = |left: usize| (left != ANY).then(|| left.saturating_sub(bytes));
        // An error means that there is no limit now.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
    }
}

/// A stream that fails when it receives more than its allowance.
pub(super) struct Limited<S> {
    stream: S,
    allowance: Allowance,
    /// Bytes since other tasks last ran.
    turn: usize,
}

impl<S> Limited<S> {
    pub(super) fn new(stream: S) -> (Self, Allowance) {
        let allowance = Allowance::new();
        (Limited { stream, allowance: allowance.clone(), turn: 0 }, allowance)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.allowance.left();
        if left == ANY {
            this.turn = 0;
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TOO_MUCH)));
        }
        if this.turn >= TURN {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        this.turn += read;
        this.allowance.spend(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn only_what_comes_before_a_head_is_limited() {
        let (mut limited, allowance) = Limited::new(tokio::io::repeat(b'x'));
        let mut read = async |bytes: usize| -> io::Result<()> {
            let mut some = [0; 4096];
            for _ in 0..bytes / some.len() {
                limited.read_exact(&mut some).await?;
            }
            Ok(())
        };
        read(3 * LIMIT).await.unwrap();
        allowance.begin();
        read(LIMIT).await.unwrap();
        let error = read(4096).await.unwrap_err();
        assert!(error.to_string().contains("100 Continue"), "{error}");
        allowance.begin();
        read(LIMIT / 2).await.unwrap();
        allowance.end();
        read(3 * LIMIT).await.unwrap();
    }
}
