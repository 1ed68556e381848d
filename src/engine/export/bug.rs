//! A panic within an attempt to send. It is a bug of an exporter, or of a library that it uses, and
//! the same data would most likely cause it again: after a restart, too, if it is on disk. So it
//! refuses the data of the attempt, and nothing else.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use crate::component::{BoxFuture, ExportError, Exporter, Request, Retry, Sent};

/// Sends a request; a panic is an error that no retry can mend.
pub(super) fn guarded(exporter: &dyn Exporter, request: Request) -> Guarded {
    // Exporters lock their state by locks that outlive a panic.
    match catch_unwind(AssertUnwindSafe(|| exporter.send(request))) {
        Ok(sending) => Guarded(Ok(sending)),
        Err(panic) => Guarded(Err(Some(bug(&*panic)))),
    }
}

/// See [`guarded`].
pub(super) struct Guarded(Result<BoxFuture<Result<Sent, ExportError>>, Option<ExportError>>);

impl Future for Guarded {
    type Output = Result<Sent, ExportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sending = match &mut self.0 {
            Ok(sending) => sending,
            Err(error) => {
                return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
        };
        match catch_unwind(AssertUnwindSafe(|| sending.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                // What has panicked is not polled again.
                self.0 = Err(None);
                Poll::Ready(Err(bug(&*panic)))
            }
        }
    }
}

fn bug(panic: &(dyn Any + Send)) -> ExportError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text: String = text.unwrap_or("no message").chars().take(300).collect();
    let message = format!(
        "this is a bug in skep: the exporter panicked while it sent this data ({text}); please \
         report it"
    );
    ExportError { retry: Retry::Never, message }
}
