//! The port of a receiver that has one, for HTTP: opened at the start, served until the end.

use std::sync::Arc;

use crate::{
    component::{Listening, StartError, Stop},
    net::{
        server::{self, Family, Listener, Service, Sockets, Tuning},
        tls::{Acceptor, ServerTls},
    },
};

/// Such a port.
pub(super) struct HttpPort {
    /// `receiver` and the id, for errors.
    component: String,
    endpoint: String,
    tls: Option<Arc<Acceptor>>,
    listener: Option<Listener>,
}

impl HttpPort {
    /// A port that is not open yet. Fails if the certificates cannot be read.
    pub(super) fn new(
        id: &str,
        endpoint: String,
        tls: Option<ServerTls>,
    ) -> Result<Self, StartError> {
        let component = format!("receiver `{id}`");
        match tls.map(Acceptor::new).transpose() {
            Ok(tls) => Ok(HttpPort { component, endpoint, tls: tls.map(Arc::new), listener: None }),
            Err(text) => Err(StartError { component, message: format!("`tls`: {text}") }),
        }
    }

    /// Opens it.
    pub(super) fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let address = server::resolve(&self.endpoint, Family::Any);
        let listener = address.and_then(|address| sockets.tcp(address));
        let listener = listener.map_err(|error| StartError {
            component: self.component.clone(),
            message: server::explain_bind(&error, &self.endpoint),
        })?;
        let address = listener.address();
        self.listener = Some(listener);
        Ok(vec![Listening { protocol: "http", address, tls: self.tls.is_some() }])
    }

    /// Serves it until `stop` is raised; does nothing if it is not open.
    pub(super) async fn serve<S: Service>(self, service: S, tuning: Tuning, stop: &Stop) {
        let Some(listener) = self.listener else { return };
        server::run(listener, self.tls, Arc::new(service), tuning, stop.subscribe()).await;
    }
}
