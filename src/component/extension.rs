//! Extensions: what serves the process rather than the data.

use std::{fmt, sync::Arc};

use super::{
    BoxFuture, BuildContext, ClientAuth, Listening, Port, Same, ServerAuth, Sockets, StartError,
    Stop, Storage,
};
use crate::config::{Node, Problems};

impl<T: ExtensionConfig + 'static> From<T> for Box<dyn ExtensionConfig> {
    fn from(config: T) -> Self {
        Box::new(config)
    }
}

/// Configuration of an extension.
pub trait ExtensionConfig: fmt::Debug + Same {
    /// See [`super::ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// What exporters may name in `auth`; `None` if this is no authenticator.
    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        None
    }

    /// What receivers may name in `auth`; `None` if this checks no clients.
    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        None
    }

    /// What queues and journals may name as their storage; `None` if this is no storage.
    fn storage(&self) -> Option<Storage> {
        None
    }

    /// The ports that it opens.
    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    /// Builds the instance. Opens nothing.
    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Extension>, StartError>;
}

/// Serves the process: health checks, pages, profiles.
pub trait Extension: Send {
    /// Opens the sockets (in a tokio context), out of `sockets`.
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError>;

    /// Serves until `stop` is raised; extensions stop after the exporters.
    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()>;
}

/// An extension that has nothing to serve: exporters or receivers use it.
#[derive(Debug)]
pub struct Passive;

impl Extension for Passive {
    fn bind(&mut self, _: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, mut stop: Stop) -> BoxFuture<()> {
        Box::pin(async move { stop.raised().await })
    }
}
