//! Reads request bodies: each is paid for before it is read, and has a buffer of its own.
//!
//! Only a message that came in one HTTP/2 frame is taken as it is. Everything else is copied as it
//! comes in: a slice keeps the whole read buffer of its connection alive, which nobody paid for and
//! which could not take the next bytes; at overload that was half as much again as the budget.
//!
//! What is paid for is held while the body comes in, so it has to come in at a pace: who announces
//! much and sends a byte now and then is cut off after a sixth of the time that a body may take.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::Instant;

use super::answer::status;
use crate::{
    component::{Door, Rejection},
    net::{
        grpc::{self, Code, Prefix, Status},
        server::Connection,
    },
    otlp::{
        Signal,
        payload::{Permit, Reason},
    },
};

/// First buffer of a body of unknown length.
const FIRST: usize = 64 * 1024;

/// Pays for the body of one request.
pub(super) struct Payer<'a> {
    pub(super) door: &'a dyn Door,
    pub(super) signal: Signal,
    pub(super) connection: &'a Arc<Connection>,
    /// Longest time for the body, once it is paid for and before.
    pub(super) timeout: Duration,
}

/// How fast a body comes in.
struct Pace {
    begin: Instant,
    timeout: Duration,
}

impl Pace {
    fn new(timeout: Duration) -> Self {
        Pace { begin: Instant::now(), timeout }
    }

    /// When to give up on a body of which `read` bytes of `len` are there: when the rest would take
    /// twice as long as it may if it came in as the beginning did, but not before a sixth of the time
    /// is over. Where nobody knows how much is to come it has all the time.
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
    async fn pay(&self, bytes: usize) -> Result<Permit, Status> {
        let free = self.door.try_permit(self.signal, bytes);
        if let Some(permit) = free.map_err(|rejection| status(&rejection))? {
            return Ok(permit);
        }
        let Some(_waiting) = self.connection.wait() else {
            return Err(status(&Rejection::Unavailable(Reason::OverBudget, None)));
        };
        self.door.permit(bytes).await.map_err(|rejection| status(&rejection))
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
    let permit = payer.pay(prefix.len).await?;
    let pace = Pace::new(payer.timeout);
    if data.is_empty() && prefix.len > 0 {
        data = pace
            .next(&mut body, 0, Some(prefix.len))
            .await?
            .ok_or_else(|| ends_within("its message"))?;
    }
    if data.len() < prefix.len {
        let mut whole = BytesMut::with_capacity(prefix.len);
        whole.extend_from_slice(&std::mem::take(&mut data));
        while whole.len() < prefix.len {
            let more = pace.next(&mut body, whole.len(), Some(prefix.len)).await?;
            let more = more.ok_or_else(|| ends_within("its message"))?;
            whole.extend_from_slice(&more);
        }
        data = whole.freeze();
    }
    if data.len() > prefix.len {
        return Err(Status::new(Code::Internal, "more than one message in a unary call"));
    }
    Ok((prefix, data, permit))
}

fn ends_within(what: &str) -> Status {
    Status::new(Code::Internal, format!("the body ends within {what}"))
}

/// Reads a whole body. With a content length it is paid for at once. Without one the buffer is
/// replaced by one of twice the size, which may only try, since bytes are held already.
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
    let mut size = announced.unwrap_or(FIRST.min(max));
    let mut permit = payer.pay(size).await?;
    let pace = Pace::new(payer.timeout);
    let mut whole = BytesMut::with_capacity(size);
    while let Some(data) = pace.next(body, whole.len(), announced).await? {
        let len = whole.len() + data.len();
        if len > max {
            return Err(too_large());
        }
        if len > size {
            size = len.max(size * 2).min(max);
            let larger = permit.try_more(size as u64).ok_or_else(|| Status {
                retry_after: Some(Duration::from_secs(1)),
                ..Status::new(Code::Unavailable, "no memory is left to read the body")
            })?;
            let mut buffer = BytesMut::with_capacity(size);
            buffer.extend_from_slice(&whole);
            (whole, permit) = (buffer, larger);
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), permit))
}

/// The next data of a body; trailers are passed over.
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
