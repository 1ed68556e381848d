//! Counts the frames of an HTTP/2 connection, and closes a connection that sends many of them
//! without a request.
//!
//! The library answers PING and SETTINGS, takes PRIORITY, `WINDOW_UPDATE` and frames it does not
//! know, and counts none of them: a hundred connections that sent nothing else made good clients
//! wait for 0.2 to 1.2 s. [`Frames`] is between it and the socket and reads the nine bytes at
//! the beginning of each frame: 20 ns (measured alone, optimised), and a request has two.
//!
//! A connection may send [`FIRST`] such frames before its first request, from then on [`BURST`] at
//! once, [`PER_REQUEST`] with each request and [`PER_SECOND`] in any case. gRPC clients send far
//! fewer: keepalive pings every ten seconds at the most often, a ping for each answer to measure
//! the line, one or two window updates. Header blocks, resets and small DATA frames have limits of
//! their own in the library.
//!
//! On unix sockets the header blocks also pass through [`Block`].

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::authority::Block;

const FIRST: u32 = 32;
const BURST: u32 = 256;
const PER_REQUEST: u32 = 16;
const PER_SECOND: u32 = 20;

/// Bytes before the first frame of a client.
const PREFACE: u32 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ENHANCE_YOUR_CALM: u8 = 11;
const END_STREAM: u8 = 1;

/// A connection of HTTP/2.
pub(super) struct Frames<T> {
    inner: T,
    incoming: Place,
    outgoing: Place,
    allowance: Allowance,
    /// The highest stream that began.
    last_stream: [u8; 4],
    block: Option<Box<Block>>,
    is_flooded: Arc<AtomicBool>,
}

/// What kind of connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP.
    Remote,
    /// A unix socket, where `:authority` means nothing.
    Unix,
}

impl<T> Frames<T> {
    /// `is_flooded` is raised when the connection ends for its frames.
    pub(super) fn new(inner: T, kind: Kind, is_flooded: Arc<AtomicBool>) -> Self {
        Frames {
            inner,
            incoming: Place { left: PREFACE, ..Place::default() },
            outgoing: Place::default(),
            allowance: Allowance::new(),
            last_stream: [0; 4],
            block: (kind == Kind::Unix).then(Box::default),
            is_flooded,
        }
    }

    /// Checks received bytes; `false` if the connection must be closed.
    fn look(&mut self, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let (payload, rest) = self.incoming.payload(bytes);
            if let Some(block) = &mut self.block {
                block.pass(payload);
            }
            let (head, rest) = self.incoming.head(rest);
            bytes = rest;
            let Some(head) = head else { continue };
            if let Some(block) = &mut self.block {
                block.begin(head.kind, head.flags, head.len);
            }
            let is_allowed = match head.kind {
                HEADERS => {
                    self.last_stream = head.stream;
                    self.allowance.earn();
                    true
                }
                CONTINUATION => true,
                DATA if head.len > 0 || head.flags & END_STREAM != 0 => true,
                _ => self.allowance.spend(),
            };
            if !is_allowed {
                return false;
            }
        }
        true
    }
}

/// The position in the frames of one direction.
#[derive(Debug, Default)]
struct Place {
    head: [u8; 9],
    filled: usize,
    /// Bytes left of the payload.
    left: u32,
}

struct Head {
    len: u32,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Place {
    /// The beginning of `bytes` that belongs to a payload, and the rest.
    fn payload<'a>(&mut self, bytes: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= u32::try_from(len).unwrap_or(self.left);
        bytes.split_at_mut(len)
    }

    /// The head that ends in `bytes`, and what comes after it.
    fn head<'a>(&mut self, bytes: &'a mut [u8]) -> (Option<Head>, &'a mut [u8]) {
        let len = (self.head.len() - self.filled).min(bytes.len());
        let (part, rest) = bytes.split_at_mut(len);
        self.head[self.filled..self.filled + len].copy_from_slice(part);
        self.filled += len;
        if self.filled < self.head.len() {
            return (None, rest);
        }
        self.filled = 0;
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        self.left = u32::from_be_bytes([0, high, middle, low]);
        (Some(Head { len: self.left, kind, flags, stream }), rest)
    }

    /// Skips bytes that were sent.
    fn skip(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= u32::try_from(len).unwrap_or(self.left);
            bytes = &bytes[len..];
            let len = (self.head.len() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + len].copy_from_slice(&bytes[..len]);
            self.filled += len;
            bytes = &bytes[len..];
            if self.filled == self.head.len() {
                self.filled = 0;
                self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]);
            }
        }
    }

    /// Whether a frame may begin here.
    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }
}

/// How many more frames without a request a connection may send.
#[derive(Debug)]
struct Allowance {
    left: u32,
    has_asked: bool,
    /// When the allowance was last increased for the time passed.
    since: Instant,
}

impl Allowance {
    fn new() -> Self {
        Allowance { left: FIRST, has_asked: false, since: Instant::now() }
    }

    fn earn(&mut self) {
        let more = if self.has_asked { PER_REQUEST } else { BURST };
        self.has_asked = true;
        self.left = (self.left + more).min(BURST);
    }

    /// Reads the clock only if nothing is left.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let due = now.duration_since(self.since).as_millis() * u128::from(PER_SECOND) / 1000;
            self.left = u32::try_from(due).unwrap_or(BURST).min(BURST);
            self.since = now;
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }
}

impl<T: AsyncWrite + Unpin> Frames<T> {
    /// Sends GOAWAY with the reason, if a frame may begin here and the socket accepts it.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        const REASON: &[u8; 15] = b"too_many_frames";
        if self.outgoing.is_between_frames() {
            let [a, b, c, d] = self.last_stream;
            let head =
                [0, 0, 23, GOAWAY, 0, 0, 0, 0, 0, a & 0x7F, b, c, d, 0, 0, 0, ENHANCE_YOUR_CALM];
            let frame = [&head[..], REASON].concat();
            let _ = Pin::new(&mut self.inner).poll_write(cx, &frame);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if self.look(&mut buffer.filled_mut()[before..]) {
            return read;
        }
        buffer.set_filled(before);
        self.is_flooded.store(true, Ordering::Relaxed);
        self.say_goodbye(cx);
        Poll::Ready(Err(io::Error::other("too many frames and no request")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Frames<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = written {
            self.outgoing.skip(&bytes[..len]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let len = left.min(slice.len());
                self.outgoing.skip(&slice[..len]);
                left -= len;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn connection() -> (DuplexStream, Frames<DuplexStream>) {
        let (client, server) = duplex(1 << 20);
        (client, Frames::new(server, Kind::Remote, Arc::default()))
    }

    /// Sends `bytes` and checks that they pass unchanged.
    async fn passed(frames: &mut Frames<DuplexStream>, client: &mut DuplexStream, bytes: &[u8]) {
        client.write_all(bytes).await.unwrap();
        let mut all = vec![0; bytes.len()];
        frames.read_exact(&mut all).await.unwrap();
        assert_eq!(all, bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_time_pay_for_other_frames() {
        let (mut client, mut frames) = connection();
        passed(&mut frames, &mut client, &[b'x'; 24]).await;
        let request = [frame(HEADERS, 4, b"abc"), frame(DATA, 0, &[1; 200])].concat();
        let others = frame(PING, 0, &[0; 8]).repeat(PER_REQUEST as usize);
        for _ in 0..BURST {
            passed(&mut frames, &mut client, &[request.clone(), others.clone()].concat()).await;
        }
        passed(&mut frames, &mut client, &frame(PING, 0, &[0; 8]).repeat(240)).await;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            passed(&mut frames, &mut client, &frame(200, 0, b"grease").repeat(20)).await;
        }
        assert!(!frames.is_flooded.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_a_request_end_the_connection() {
        let floods = [
            frame(PING, 0, &[0; 8]),
            frame(4, 0, &[]),
            frame(4, 1, &[]),
            frame(2, 0, &[0; 5]),
            frame(8, 0, &[0, 0, 0, 1]),
            frame(3, 0, &[0; 4]),
            frame(99, 0, b"unknown"),
            frame(DATA, 0, &[]),
        ];
        for flood in floods {
            for piece in [1, 7, 100] {
                let (mut client, mut frames) = connection();
                let all = [vec![b'x'; 24], flood.repeat(FIRST as usize + 1)].concat();
                client.write_all(&all).await.unwrap();
                let (mut read, mut buffer) = (0, vec![0; piece]);
                let error = loop {
                    match frames.read(&mut buffer).await {
                        Ok(len) => read += len,
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.to_string(), "too many frames and no request");
                assert!(read > all.len() - flood.len() - piece && read < all.len(), "{piece}");
                assert!(frames.is_flooded.load(Ordering::Relaxed));
                drop(frames);
                let mut said = Vec::new();
                client.read_to_end(&mut said).await.unwrap();
                assert_eq!((said[3], said[16]), (GOAWAY, ENHANCE_YOUR_CALM));
                assert_eq!(said.len(), 9 + usize::from(said[2]));
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_said_within_a_frame() {
        let (mut client, mut frames) = connection();
        frames.write_all(&frame(DATA, 0, &[1; 20])[..15]).await.unwrap();
        let flood = frame(PING, 0, &[0; 8]).repeat(FIRST as usize + 1);
        client.write_all(&[vec![b'x'; 24], flood].concat()).await.unwrap();
        let mut all = Vec::new();
        assert!(frames.read_to_end(&mut all).await.is_err());
        drop(frames);
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.len(), 15);
    }
}
