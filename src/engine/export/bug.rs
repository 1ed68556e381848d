//! A panic within an attempt to send. It is a bug in an exporter or in a library that it uses, and
//! the same data would most likely cause it again, after a restart, too, if it is on disk. So the
//! data of the attempt is refused, and nothing else.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::component::{BoxFuture, ExportError, Progress, Ready, Retry, Sent};

/// Sends a piece; a panic becomes an error that is not retried.
pub(super) fn guarded(piece: Box<dyn Ready>, progress: &Arc<Progress>) -> Guarded {
    // The locks of exporters go on after a panic.
    match catch_unwind(AssertUnwindSafe(|| piece.send(progress))) {
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
