//! What the extensions that serve pages have in common: opening the listener, serving a site, and
//! the refusal of server keys that such a page does not have.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{BoxFuture, BuildContext, Extension, Listening, StartError, Stop},
    config::{Node, Problems, Value},
    net::{
        pages::{Pages, Site},
        server::{self, Sockets},
        tls::{Acceptor, ServerTls},
    },
};

/// The Collector's server keys that have no meaning here, with the remedy.
const REFUSED: &[(&str, &str)] = &[
    ("tls", "the page is served without TLS; keep it on loopback or put a proxy in front"),
    ("auth", "the page knows no users; keep it on loopback or put a proxy in front"),
    ("cors", "the page answers no other site; remove the key"),
    ("middlewares", "the page has no middleware; remove the key"),
    ("response_headers", "the headers of the page are fixed; remove the key"),
    ("include_metadata", "nothing reads request headers here; remove the key"),
    ("compression_algorithms", "no body is read here; remove the key"),
    ("max_request_body_size", "no body is read here; remove the key"),
    ("read_timeout", "headers have 10 seconds; remove the key"),
    ("read_header_timeout", "headers have 10 seconds; remove the key"),
    ("write_timeout", "the time to write is not limited; remove the key"),
    ("idle_timeout", "an idle connection has 10 seconds; remove the key"),
    ("keep_alives_enabled", "connections are kept alive; remove the key"),
];

/// The body without the keys that are refused, each of which becomes an error of its own words.
/// Those in `taken` are not refused.
pub(super) fn without_server_keys(body: &Node, taken: &[&str], problems: &mut Problems) -> Node {
    let mut body = body.clone();
    if let Value::Map(members) = &mut body.value {
        members.retain(|member| {
            let refused =
                REFUSED.iter().find(|(key, _)| *key == member.key && !taken.contains(key));
            if let (Some((key, remedy)), false) = (refused, member.value.plain() == &Value::Null) {
                let message = format!("`{key}` is not supported for this extension");
                problems.error(&member.value, message).help(*remedy);
            }
            refused.is_none()
        });
    }
    body
}

/// `transport` of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The only one.
    #[default]
    Tcp,
}

/// Checks the key `endpoint` of the body `at`.
pub(super) fn validate(endpoint: &str, at: &Node, problems: &mut Problems) {
    if let Err((message, remedy)) = server::check(endpoint) {
        problems.error(at.at("endpoint"), message).help(remedy);
    }
}

/// An extension that does nothing but serve one site.
pub(super) struct SiteServer<S> {
    component: String,
    endpoint: String,
    tls: Option<Arc<Acceptor>>,
    site: S,
    pages: Option<Pages>,
}

impl<S> SiteServer<S> {
    pub(super) fn new(cx: &BuildContext, endpoint: String, site: S) -> Self {
        let component = format!("extension \"{}\"", cx.id);
        SiteServer { component, endpoint, tls: None, site, pages: None }
    }

    /// Serves over TLS. Reads the certificate; the error says what is wrong with it.
    pub(super) fn over(self, tls: Option<&ServerTls>) -> Result<Self, StartError> {
        let acceptor = tls.map(|tls| Acceptor::new(tls.clone()).map(Arc::new)).transpose();
        let wrong = |text| StartError {
            component: self.component.clone(),
            message: format!("`tls`: {text}"),
        };
        let tls = acceptor.map_err(wrong)?;
        Ok(SiteServer { tls, ..self })
    }
}

impl<S: Site> Extension for SiteServer<S> {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let (pages, listening) = open(&self.component, &self.endpoint, sockets)?;
        self.pages = Some(pages);
        Ok(vec![Listening { tls: self.tls.is_some(), ..listening }])
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        Box::pin(async move {
            if let Some(pages) = self.pages {
                pages.over(self.tls).run(self.site, stop.subscribe()).await;
            }
        })
    }
}

/// Opens the listener of an extension.
pub(super) fn open(
    component: &str,
    endpoint: &str,
    sockets: &mut Sockets,
) -> Result<(Pages, Listening), StartError> {
    let pages = Pages::bind(endpoint, sockets)
        .map_err(|message| StartError { component: component.to_owned(), message })?;
    let address = pages.address().to_string();
    Ok((pages, Listening { protocol: "http", address, tls: false }))
}
