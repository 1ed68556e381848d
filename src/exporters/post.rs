//! OTLP over HTTP to one URL: what `otlp_http` and `honeycomb` send with.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Uri, Version, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    authenticated::{self, Head},
    aws_otlp,
    compression::compressed,
    endpoint::{Endpoint, user_agent},
    masked::Secrets,
    outcome,
};
use crate::{
    component::{
        Authenticator, BoxFuture, BuildContext, Compression, Encodes, ExportError, Exporter, Piece,
        Progress, Sent, StartError, Work,
    },
    config::Secret,
    net::{
        client::{Answer, Client, Segments, Target, Tuning},
        codec,
        proxy::{self, Destination, Way},
        tls::{ClientTls, Connector},
    },
    otlp::{
        Content,
        json::{self, Extent},
        payload::Body,
    },
};

/// Form of the bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    /// Binary protobuf, forwarded as it is.
    #[default]
    Proto,
    /// OTLP/JSON, written from it: some thirty times the CPU. Large requests become several, and an
    /// item that has no room is left out and counted.
    Json,
}

/// The way that requests to a URL take.
pub(super) fn way(url: &str, proxy_url: &str, tls: &ClientTls) -> Result<Way, String> {
    let Endpoint { tls: scheme, host, port, .. } = Endpoint::parse(url, None)?;
    let destination = Destination { is_https: scheme == Some(true), host: &host, port };
    proxy::way(destination, ("proxy_url", proxy_url), tls)
}

/// Settings of a [`Poster`].
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) tls: ClientTls,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) connections: usize,
    pub(super) encoding: BodyEncoding,
    pub(super) tuning: Tuning,
    pub(super) proxy_url: Secret,
}

impl Post {
    pub(super) fn build(self, cx: &BuildContext) -> Result<Poster, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let endpoint = Endpoint::parse(&self.url, None).map_err(fail)?;
        let has_tls = endpoint.tls == Some(true);
        let needs_http1 = cx.auth.as_ref().is_some_and(|auth| auth.needs_http1());
        let protocols: &[&[u8]] = if needs_http1 { &[b"http/1.1"] } else { &[b"h2", b"http/1.1"] };
        let tls = has_tls.then(|| Connector::new(self.tls.clone(), protocols));
        let tls = tls.transpose().map_err(fail)?;
        let mut headers = self.headers;
        let media_type = match self.encoding {
            BodyEncoding::Proto => "application/x-protobuf",
            BodyEncoding::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent("").map_err(fail)?);
        }
        if self.compression != Compression::Identity {
            let name = HeaderValue::from_static(self.compression.name());
            headers.insert(header::CONTENT_ENCODING, name);
        }
        // A configured host is sent in either version of HTTP.
        let authority = match headers.remove(header::HOST) {
            Some(host) => host,
            None => HeaderValue::try_from(endpoint.host_header())
                .map_err(|_| fail(format!("`{}` is not a host", endpoint.host)))?,
        };
        let scheme = if endpoint.tls == Some(true) { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_bytes())
            .path_and_query(if endpoint.path.is_empty() { "/" } else { &endpoint.path })
            .build()
            .map_err(|_| fail(format!("`{}` is not a URL", self.url)))?;
        let way = way(&self.url, self.proxy_url.expose(), &self.tls).map_err(fail)?;
        let target = Target {
            host: endpoint.host,
            port: endpoint.port,
            way,
            tls,
            server_name: self.tls.server_name_override.clone(),
            http2_only: false,
            tuning: self.tuning,
        };
        let auth = authenticated::open(cx, &uri).map_err(fail)?;
        let is_xray = aws_otlp::is_xray(&self.url);
        headers.insert(header::HOST, authority);
        Ok(Poster {
            client: Arc::new(Client::new(target, self.connections)),
            head: Arc::new(Head { uri, version: Version::HTTP_11, headers }),
            auth,
            is_xray,
            compression: self.compression,
            level: self.level,
            encoding: self.encoding,
        })
    }
}

/// Posts requests to one URL.
pub(super) struct Poster {
    client: Arc<Client>,
    head: Arc<Head>,
    auth: Option<Arc<dyn Authenticator>>,
    is_xray: bool,
    compression: Compression,
    level: Option<i32>,
    encoding: BodyEncoding,
}

/// A JSON document gets one of so many parts of the room: writing it takes five times its length.
const JSON: usize = 5;
/// The same if it is compressed: then it takes twice its length beside the compressed bytes.
const COMPRESSED_JSON: usize = 8;
/// Bytes of JSON to ask room for, per byte of protobuf. Most documents need a third of that.
const GROWTH: usize = 4;

/// The body of a request.
#[derive(Debug, Clone)]
pub(super) struct Posted {
    body: Body,
    /// Items that had no room.
    left_out: u64,
}

impl Poster {
    /// The next items as a document.
    fn json(&self, work: &Work<'_>) -> Result<Piece<Posted>, ExportError> {
        let is_compressed = self.compression != Compression::Identity;
        let most = work.room / if is_compressed { COMPRESSED_JSON } else { JSON };
        let mut text = Vec::with_capacity(work.content.len().saturating_mul(2).min(most));
        let mut walk = work.walk();
        let left_out = json::write_page(&mut walk, Extent::Entries, most, &mut text);
        if is_compressed {
            let (text_room, body) = (text.capacity(), [text.into()]);
            let room = work.room.saturating_sub(text_room);
            text = compressed(self.compression, self.level, &body, room)?;
        }
        let held = text.capacity();
        let posted = Posted { body: smallvec::smallvec![Bytes::from(text)], left_out };
        Ok(work.piece(posted, held, &walk))
    }
}

impl Exporter for Poster {
    type Encoded = Posted;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Posted>, ExportError> {
        if self.encoding == BodyEncoding::Json {
            return self.json(work);
        }
        if self.compression == Compression::Identity {
            return Ok(work.last(Posted { body: work.rest(), left_out: 0 }, 0));
        }
        let bytes = compressed(self.compression, self.level, &work.rest(), work.room)?;
        let held = bytes.capacity();
        let posted = Posted { body: smallvec::smallvec![Bytes::from(bytes)], left_out: 0 };
        Ok(work.last(posted, held))
    }

    fn encodes(&self) -> Encodes {
        let is_forwarded =
            self.compression == Compression::Identity && self.encoding == BodyEncoding::Proto;
        if is_forwarded { Encodes::Inline } else { Encodes::OnWorker }
    }

    fn room(&self, content: &Content) -> usize {
        match self.encoding {
            BodyEncoding::Proto => codec::deflate_room(self.compression, content.len()),
            BodyEncoding::Json => {
                content.len().saturating_mul(GROWTH * COMPRESSED_JSON).saturating_add(64 << 10)
            }
        }
    }

    fn prepare(&self) -> BoxFuture<()> {
        match &self.auth {
            Some(auth) => Arc::clone(auth).prepare(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn send(
        &self,
        Posted { body, left_out }: Posted,
        _: &Arc<Progress>,
    ) -> BoxFuture<Result<Sent, ExportError>> {
        let client = Arc::clone(&self.client);
        let is_xray = self.is_xray;
        let explain = move |error, answer: &Answer| {
            if is_xray { aws_otlp::explain(error, answer) } else { error }
        };
        if let Some(auth) = &self.auth {
            let (auth, head) = (Arc::clone(auth), Arc::clone(&self.head));
            return Box::pin(async move {
                let (answer, refusal, secrets) =
                    authenticated::call(&client, &*auth, &head, body).await?;
                outcome::of_authenticated(&answer, refusal, &secrets)
                    .map(|sent| with_left_out(sent, left_out))
                    .map_err(|error| explain(error, &answer))
            });
        }
        let mut http = HttpRequest::new(Segments::new(body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.head.uri.clone();
        *http.version_mut() = self.head.version;
        *http.headers_mut() = self.head.headers.clone();
        let secrets = Secrets::of(&self.head.uri, &self.head.headers);
        Box::pin(async move {
            let answer = client.call(http).await.map_err(|error| outcome::of_failure(&error))?;
            outcome::of_http(&answer, &secrets)
                .map(|sent| with_left_out(sent, left_out))
                .map_err(|error| explain(error, &answer))
        })
    }
}

/// A backend's answer to a request that lacks some of its items.
fn with_left_out(sent: Sent, left_out: u64) -> Sent {
    if left_out == 0 {
        return sent;
    }
    let own = format!("{left_out} items were not sent: {}", json::NO_ROOM);
    let message = sent.message.map_or(own.clone(), |message| format!("{own}; {message}"));
    Sent { rejected: sent.rejected.saturating_add(left_out), message: Some(message), ..sent }
}
