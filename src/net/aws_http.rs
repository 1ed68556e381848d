//! Runs the AWS SDK on the HTTP client of the other exporters, so that proxies, certificates and
//! error messages are the same for all.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use http::{HeaderValue, Request, Version, header};
use http_body_util::BodyExt as _;

use super::{
    client::{CallError, Client, Segments, Target, Tuning},
    proxy::{self, Destination},
    tls::{ClientTls, Connector},
};

use crate::sync;

/// Limit of a response body. Responses of AWS are small documents.
const ANSWER_LIMIT: usize = 1 << 20;

/// Target and connect timeout of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    has_tls: bool,
    host: String,
    port: u16,
    connect_timeout: Duration,
}

/// The HTTP clients of one SDK client: for the service, and for sources of credentials.
struct Clients {
    /// If empty, the environment decides.
    proxy_address: String,
    open: Mutex<HashMap<Place, Arc<Client>>>,
}

/// The HTTP client for the SDK. `proxy_address` is a URL, or empty.
pub(super) fn client(proxy_address: &str) -> SharedHttpClient {
    let clients = Clients { proxy_address: proxy_address.to_owned(), open: Mutex::default() };
    let clients = Arc::new(clients);
    http_client_fn(move |settings, _| {
        let default = Tuning::default().connect_timeout;
        SharedHttpConnector::new(Calls {
            clients: Arc::clone(&clients),
            connect_timeout: settings.connect_timeout().unwrap_or(default),
            read_timeout: settings.read_timeout(),
        })
    })
}

impl Clients {
    fn client(&self, place: Place) -> Result<Arc<Client>, String> {
        let mut open = sync::lock(&self.open);
        if let Some(client) = open.get(&place) {
            return Ok(Arc::clone(client));
        }
        let Place { has_tls, ref host, port, connect_timeout } = place;
        let settings = ClientTls::default();
        let destination = Destination { is_https: has_tls, host, port };
        let way = proxy::way(destination, ("proxy_address", &self.proxy_address), &settings)?;
        let tls = has_tls.then(|| Connector::new(settings, &[b"http/1.1"])).transpose()?;
        let target = Target {
            host: host.clone(),
            port,
            way,
            tls,
            server_name: None,
            http2_only: false,
            // AWS closes connections that are idle for longer.
            tuning: Tuning {
                connect_timeout,
                idle_timeout: Some(Duration::from_secs(20)),
                ..Tuning::default()
            },
        };
        let client = Arc::new(Client::new(target, 1).keeping(ANSWER_LIMIT));
        open.insert(place, Arc::clone(&client));
        Ok(client)
    }
}

/// Sends requests with the timeouts of one operation.
struct Calls {
    clients: Arc<Clients>,
    connect_timeout: Duration,
    read_timeout: Option<Duration>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl HttpConnector for Calls {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (clients, connect_timeout) = (Arc::clone(&self.clients), self.connect_timeout);
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let wrong = |error: String| ConnectorError::user(error.into());
            let request = request.try_into_http1x().map_err(|error| wrong(error.to_string()))?;
            let place = place(&request, connect_timeout).ok_or_else(|| wrong(no_url(&request)))?;
            let client = clients.client(place).map_err(wrong)?;
            let request = ready(request).await.map_err(wrong)?;
            let limit = read_timeout.unwrap_or(Duration::MAX);
            let answer = tokio::time::timeout(limit, client.call(request)).await.map_err(|_| {
                ConnectorError::timeout(io::Error::from(io::ErrorKind::TimedOut).into())
            })?;
            let answer = answer.map_err(|error: CallError| ConnectorError::io(error.into()))?;
            let mut response = http::Response::new(SdkBody::from(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn no_url(request: &Request<SdkBody>) -> String {
    format!("`{}` is not a URL", request.uri())
}

fn place(request: &Request<SdkBody>, connect_timeout: Duration) -> Option<Place> {
    let uri = request.uri();
    let has_tls = uri.scheme_str()? == "https";
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if has_tls { 443 } else { 80 });
    Some(Place { has_tls, host, port, connect_timeout })
}

/// The request with the host that HTTP/1.1 needs. The body is already in memory.
async fn ready(request: Request<SdkBody>) -> Result<Request<Segments>, String> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    parts.version = Version::HTTP_11;
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(header::HOST)
    {
        let host = HeaderValue::try_from(authority.as_str()).map_err(|error| error.to_string())?;
        parts.headers.insert(header::HOST, host);
    }
    Ok(Request::from_parts(parts, Segments::new([body])))
}
