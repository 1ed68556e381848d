//! A second reader of what comes in: the bytes of each payload that has passed the door are offered
//! to it by reference, beside their way through the pipelines. Most processes have no such reader;
//! then a payload costs one load.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Payload, Signal};

/// Keeps a reference to bytes, or does not. It must neither wait nor take long: it is called by
/// workers.
pub trait Keep: std::fmt::Debug + Send + Sync {
    /// Offers one valid request.
    fn keep(&self, signal: Signal, request: &Bytes);
}

/// Where a reader may be connected, once.
#[derive(Debug, Default)]
pub struct Tee(OnceLock<Arc<dyn Keep>>);

impl Tee {
    /// Connects a reader; false if there is one already.
    pub fn connect(&self, keeper: Arc<dyn Keep>) -> bool {
        self.0.set(keeper).is_ok()
    }

    /// Offers a payload to the reader, if there is one.
    #[inline]
    pub fn offer(&self, payload: &Payload) {
        if let Some(keeper) = self.0.get() {
            payload.body.iter().for_each(|segment| keeper.keep(payload.signal, segment));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<(Signal, Bytes)>>);

    impl Keep for Kept {
        fn keep(&self, signal: Signal, request: &Bytes) {
            self.0.lock().unwrap().push((signal, request.clone()));
        }
    }

    #[test]
    fn a_reader_gets_every_segment_without_a_copy() {
        let tee = Tee::default();
        let body = Bytes::from_static(b"\x0A\0");
        let mut payload = Payload::unpaid(Signal::Logs, body.clone(), 0);
        payload.body.push(Bytes::from_static(b"\x0A\0\x0A\0"));
        tee.offer(&payload);
        let kept = Arc::new(Kept::default());
        assert!(tee.connect(Arc::clone(&kept) as _) && !tee.connect(Arc::clone(&kept) as _));
        tee.offer(&payload);
        let kept = kept.0.lock().unwrap();
        assert_eq!((kept.len(), kept[0].0, kept[1].1.len()), (2, Signal::Logs, 4));
        assert_eq!(kept[0].1.as_ptr(), body.as_ptr());
        payload.take_over();
    }
}
