//! Reads request bodies, and pays for them from the byte budget before they take memory.
//!
//! Only a message that arrives in one HTTP/2 frame is used without a copy. Other data is copied as
//! it arrives, because a slice would keep the whole read buffer of its connection alive. Nobody
//! pays for that buffer, and under overload such buffers took half as much memory as the budget.
//!
//! A body of known length is paid for as a whole, but only when its first bytes arrive. Before,
//! four connections that announced 19 MB each and sent one byte held a budget of 64 MiB for five
//! seconds at a time. A body waits for its budget at most once, and holds none meanwhile. If every
//! body were paid for step by step, concurrent bodies would take the last bytes from each other,
//! and none would be read to its end.
//!
//! If the sender pauses, the unfilled part is given back. From then on, and for bodies of unknown
//! length, the buffer grows step by step with the data, and fails if the budget has no room. A body
//! must also arrive at some pace: a sender that announces much and sends a byte now and then is
//! disconnected after a sixth of the time for a body.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::Instant;

use super::status::status;
use crate::{
    component::{Admission, Rejection},
    net::{
        grpc::{self, Code, Prefix, Status},
        server::Connection,
    },
    otlp::payload::{Permit, Reason},
    telemetry::ReceiverStats,
};

/// Bytes that are paid for before the body arrives.
const FIRST: usize = 4 * 1024;
/// A sender that sends nothing for this time has paused.
const PAUSE: Duration = Duration::from_millis(100);

/// Pays for the body of one request.
pub(super) struct Payer<'a> {
    pub(super) admission: &'a dyn Admission,
    pub(super) connection: &'a Arc<Connection>,
    /// Longest time for the body, once it is paid for and before.
    pub(super) timeout: Duration,
    /// How long the sender waits for a response, if it says so.
    pub(super) patience: Option<Duration>,
    /// Counts requests that are refused unread.
    pub(super) stats: &'a ReceiverStats,
}

/// The pace at which a body must arrive.
struct Pace {
    begin: Instant,
    timeout: Duration,
}

impl Pace {
    fn new(timeout: Duration) -> Self {
        Pace { begin: Instant::now(), timeout }
    }

    /// When to give up on a body of which `read` bytes of `len` have arrived: when, at the pace so
    /// far, it would take twice its time, but not before a sixth of the time is over. A body of
    /// unknown length has all the time.
    fn deadline(&self, read: usize, len: Option<usize>) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a part of a time needs no more digits")]
        let part = len.filter(|len| *len > 0).map_or(1.0, |len| read as f64 / len as f64);
        self.begin + self.timeout.mul_f64((2.0 * part).clamp(1.0 / 6.0, 1.0))
    }

    /// The next data, in time.
    async fn next(
        &self,
        body: &mut impl Source,
        read: usize,
        len: Option<usize>,
    ) -> Result<Option<Bytes>, Status> {
        let deadline = self.deadline(read, len);
        match tokio::time::timeout_at(deadline, next(body)).await {
            Ok(data) => data,
            Err(_) => Err(Status {
                retry_after: Some(Duration::from_secs(1)),
                ..Status::new(Code::Unavailable, "the body came too slowly")
            }),
        }
    }
}

impl Payer<'_> {
    /// Takes bytes if they are free and no other request waits for some.
    fn try_pay(&self, bytes: usize) -> Result<Option<Permit>, Status> {
        let free = self.admission.try_permit(bytes);
        free.map_err(|rejection| self.refuse(&rejection))
    }

    /// Waits for room in the queues before the body is read.
    async fn wait_for_room(&self) -> Result<(), Status> {
        match self.admission.room(self.patience) {
            Some(room) => room.await.map_err(|rejection| self.refuse(&rejection)),
            None => Ok(()),
        }
    }

    fn refuse(&self, rejection: &Rejection) -> Status {
        if matches!(rejection, Rejection::Unavailable(..)) {
            self.stats.refuse_unread();
        }
        status(rejection)
    }

    /// Waits for bytes without holding any. [`Connection::wait`] limits the requests that may wait.
    async fn wait(&self, bytes: usize) -> Result<Permit, Status> {
        let Some(_waiting) = self.connection.wait() else {
            return Err(self.refuse(&Rejection::Unavailable(Reason::OverBudget, None)));
        };
        self.admission.permit(bytes).await.map_err(|rejection| self.refuse(&rejection))
    }

    async fn pay(&self, bytes: usize) -> Result<Permit, Status> {
        match self.try_pay(bytes)? {
            Some(permit) => Ok(permit),
            None => self.wait(bytes).await,
        }
    }
}

/// The body of a request.
pub(super) trait Source: Body<Data = Bytes, Error: Display> + Unpin {}

impl<B: Body<Data = Bytes, Error: Display> + Unpin> Source for B {}

/// Reads the one message of a unary call: its prefix, then, once it is paid for, the rest.
pub(super) async fn message(
    mut body: impl Source,
    max: usize,
    payer: Payer<'_>,
) -> Result<(Prefix, Bytes, Permit), Status> {
    payer.wait_for_room().await?;
    let mut prefix = [0; grpc::PREFIX];
    let (mut filled, mut data) = (0, Bytes::new());
    let before = Pace::new(payer.timeout);
    while filled < grpc::PREFIX {
        if data.is_empty() {
            data = before
                .next(&mut body, filled, None)
                .await?
                .ok_or_else(|| ends_within("its prefix"))?;
        }
        let len = data.len().min(grpc::PREFIX - filled);
        data.copy_to_slice(&mut prefix[filled..filled + len]);
        filled += len;
    }
    let prefix = Prefix::read(prefix)
        .ok_or_else(|| Status::new(Code::Internal, "the message has an invalid flag"))?;
    if prefix.len > max {
        let message = format!(
            "message of {} bytes is larger than the limit of {max} (max_recv_msg_size_mib)",
            prefix.len
        );
        return Err(Status::new(Code::ResourceExhausted, message));
    }
    let more_than_one = || Status::new(Code::Internal, "more than one message in a unary call");
    if data.len() > prefix.len {
        return Err(more_than_one());
    }
    if data.len() == prefix.len {
        let permit = payer.pay(prefix.len).await?;
        return Ok((prefix, data, permit));
    }
    let mut intake = Intake::begin(payer, Some(prefix.len), prefix.len).await?;
    // A whole message in a frame of its own is not copied either.
    if data.is_empty() {
        data = intake.next(&mut body).await?.ok_or_else(|| ends_within("its message"))?;
        if data.len() == prefix.len {
            return Ok((prefix, data, intake.pay_for_all().await?));
        }
    }
    intake.take(&data).await?;
    drop(data);
    while intake.bytes.len() < prefix.len {
        let more = intake.next(&mut body).await?;
        intake.take(&more.ok_or_else(|| ends_within("its message"))?).await?;
    }
    if intake.bytes.len() > prefix.len {
        return Err(more_than_one());
    }
    Ok((prefix, intake.bytes.freeze(), intake.permit))
}

fn ends_within(what: &str) -> Status {
    Status::new(Code::Internal, format!("the body ends within {what}"))
}

/// Reads a whole body.
pub(super) async fn whole(
    body: &mut impl Source,
    max: usize,
    payer: Payer<'_>,
) -> Result<(Bytes, Permit), Status> {
    let too_large = || {
        let message =
            format!("the body is larger than the limit of {max} bytes (max_request_body_size)");
        Status::new(Code::InvalidArgument, message)
    };
    let announced = body.size_hint().exact().map(usize::try_from);
    let announced = announced.transpose().map_err(|_| too_large())?;
    if announced.is_some_and(|len| len > max) {
        return Err(too_large());
    }
    payer.wait_for_room().await?;
    let mut intake = Intake::begin(payer, announced, max).await?;
    while let Some(data) = intake.next(body).await? {
        if intake.bytes.len() + data.len() > max {
            return Err(too_large());
        }
        intake.take(&data).await?;
    }
    Ok((intake.bytes.freeze(), intake.permit))
}

/// A body that is being read, with its permit.
struct Intake<'a> {
    payer: Payer<'a>,
    pace: Pace,
    /// Its announced length.
    len: Option<usize>,
    /// Its limit.
    most: usize,
    growth: Growth,
    bytes: BytesMut,
    permit: Permit,
    /// Bytes that the permit pays for.
    paid: usize,
}

/// How more of a body is paid for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// All of it at once.
    Whole,
    /// As much again as has arrived.
    Steps,
}

impl<'a> Intake<'a> {
    async fn begin(payer: Payer<'a>, len: Option<usize>, most: usize) -> Result<Self, Status> {
        let first = len.unwrap_or(most).min(FIRST);
        if let Some(len) = len.filter(|len| *len > FIRST) {
            // Refused now, before it is read, if the whole body would be refused.
            let fits = payer.admission.fits(len);
            fits.map_err(|rejection| payer.refuse(&rejection))?;
        }
        let (permit, paid) = match (payer.try_pay(first)?, len) {
            (Some(permit), _) => (permit, first),
            // Others are waiting: join them and wait for the whole length.
            (None, Some(len)) => (payer.wait(len).await?, len),
            (None, None) => (payer.wait(first).await?, first),
        };
        let growth = if len.is_some() { Growth::Whole } else { Growth::Steps };
        let (pace, bytes) = (Pace::new(payer.timeout), BytesMut::with_capacity(paid));
        Ok(Intake { payer, pace, len, most, growth, bytes, permit, paid })
    }

    /// The next data, in time.
    async fn next(&mut self, body: &mut impl Source) -> Result<Option<Bytes>, Status> {
        if self.growth == Growth::Whole && self.paid > FIRST {
            match tokio::time::timeout(PAUSE, next(body)).await {
                Ok(data) => return data,
                Err(_) => self.shrink(),
            }
        }
        self.pace.next(body, self.bytes.len(), self.len).await
    }

    /// Gives back the unfilled part, as if the body had been paid for step by step.
    fn shrink(&mut self) {
        self.growth = Growth::Steps;
        let size = self.step(self.bytes.len());
        if size < self.paid {
            // Even the unfilled part of a buffer may be in memory.
            let mut buffer = BytesMut::with_capacity(size);
            buffer.extend_from_slice(&self.bytes);
            let permit = self.permit.more(size as u64);
            (self.bytes, self.permit, self.paid) = (buffer, permit, size);
        }
    }

    /// The size of the buffer for the received bytes.
    fn step(&self, len: usize) -> usize {
        (2 * len + FIRST).min(self.len.unwrap_or(self.most)).max(len)
    }

    /// Appends data.
    async fn take(&mut self, data: &[u8]) -> Result<(), Status> {
        let len = self.bytes.len() + data.len();
        if len > self.paid {
            let size = if let (Growth::Whole, Some(all)) = (self.growth, self.len) {
                self.pay().await?;
                all.max(len)
            } else {
                let size = self.step(len);
                let larger = self.permit.try_more(size as u64);
                (self.permit, self.paid) = (larger.ok_or_else(out_of_memory)?, size);
                size
            };
            let mut buffer = BytesMut::with_capacity(size);
            buffer.extend_from_slice(&self.bytes);
            self.bytes = buffer;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Pays for all of a body of known length.
    async fn pay(&mut self) -> Result<(), Status> {
        let len = self.len.unwrap_or(self.most);
        if self.paid >= len {
            return Ok(());
        }
        let permit = match (self.payer.try_pay(len)?, self.growth) {
            (Some(permit), _) => permit,
            (None, Growth::Steps) => return Err(out_of_memory()),
            (None, Growth::Whole) => {
                // The received bytes are fewer than a connection is charged for.
                self.permit = self.permit.more(0);
                self.payer.wait(len).await?
            }
        };
        (self.permit, self.paid) = (permit, len);
        self.pace = Pace::new(self.payer.timeout);
        Ok(())
    }

    /// The permit for all of a body of known length.
    async fn pay_for_all(mut self) -> Result<Permit, Status> {
        self.pay().await?;
        Ok(self.permit)
    }
}

fn out_of_memory() -> Status {
    Status {
        retry_after: Some(Duration::from_secs(1)),
        ..Status::new(Code::Unavailable, "no memory is left to read the body")
    }
}

/// The next data of a body; trailers are skipped.
async fn next(body: &mut impl Source) -> Result<Option<Bytes>, Status> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if data.is_empty() {
                        continue;
                    }
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                let message = format!("the body could not be read: {error}");
                return Err(Status::new(Code::InvalidArgument, message));
            }
        }
    }
}

#[cfg(test)]
mod tests;
