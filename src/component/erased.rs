//! Exporters as the engine has them: without their encoded types.
//!
//! Each exporter has a type of its own for what it encodes. The engine only carries that from
//! `encode` to `send`, so it gets a [`Ready`]: the encoded piece together with the exporter that
//! sends it. There is nothing to convert back, so an exporter cannot get what another one encoded.
//!
//! Why not `Box<dyn Any>` that `send` converts back: that can fail, at run time.

use std::sync::Arc;

use super::{BoxFuture, Encodes, ExportError, Exporter, Piece, Progress, Sent, Work};
use crate::otlp::{Content, Signal};

/// An [`Exporter`] of any encoded type; every exporter is one.
pub trait ErasedExporter: Send + Sync {
    /// See [`Exporter::encode`].
    fn encode(self: Arc<Self>, work: &Work<'_>) -> Result<Piece<Box<dyn Ready>>, ExportError>;

    /// See [`Exporter::encodes`].
    fn encodes(&self) -> Encodes;

    /// See [`Exporter::room`].
    fn room(&self, content: &Content) -> usize;

    /// See [`Exporter::prepare`].
    fn prepare(&self) -> BoxFuture<()>;

    /// See [`Exporter::probe`].
    fn probe(&self, signal: Signal) -> BoxFuture<Result<String, ExportError>>;

    /// See [`Exporter::shutdown`].
    fn shutdown(&self) -> BoxFuture<()>;
}

/// An encoded piece that can be sent.
pub trait Ready: Send {
    /// Makes one attempt, see [`Exporter::send`].
    fn send(self: Box<Self>, progress: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>>;

    /// See [`Exporter::units`].
    fn units(&self) -> Option<u64>;

    /// The same piece for another attempt, of an exporter that encodes once.
    fn copy(&self) -> Box<dyn Ready>;
}

impl<E: Exporter> ErasedExporter for E {
    fn encode(self: Arc<Self>, work: &Work<'_>) -> Result<Piece<Box<dyn Ready>>, ExportError> {
        let piece = Exporter::encode(&*self, work)?;
        Ok(piece.map(|encoded| Box::new(Encoded { exporter: self, encoded }) as Box<dyn Ready>))
    }

    fn encodes(&self) -> Encodes {
        Exporter::encodes(self)
    }

    fn room(&self, content: &Content) -> usize {
        Exporter::room(self, content)
    }

    fn prepare(&self) -> BoxFuture<()> {
        Exporter::prepare(self)
    }

    fn probe(&self, signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Exporter::probe(self, signal)
    }

    fn shutdown(&self) -> BoxFuture<()> {
        Exporter::shutdown(self)
    }
}

/// What an exporter encoded, and the exporter.
struct Encoded<E: Exporter> {
    exporter: Arc<E>,
    encoded: E::Encoded,
}

impl<E: Exporter> Ready for Encoded<E> {
    fn send(self: Box<Self>, progress: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let Encoded { exporter, encoded } = *self;
        exporter.send(encoded, progress)
    }

    fn units(&self) -> Option<u64> {
        self.exporter.units(&self.encoded)
    }

    fn copy(&self) -> Box<dyn Ready> {
        let (exporter, encoded) = (Arc::clone(&self.exporter), self.encoded.clone());
        Box::new(Encoded { exporter, encoded })
    }
}
