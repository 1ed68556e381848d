//! What commands tell of a port for pages.

use super::{
    public::settings::Public,
    settings::{Config, Transport},
};
use crate::component::{BrowserPort, takes_strangers};

impl Config {
    /// The port over HTTP if pages may send to it; `endpoint` is its address if none is set.
    pub(super) fn for_pages(&self, endpoint: &str) -> Option<BrowserPort> {
        let http = self.protocols.http.on()?;
        let (cors, public) = (http.cors.clone().unwrap_or_default(), http.public.on());
        let is_used = public.is_some() || !cors.allowed_origins.is_empty();
        if http.transport == Transport::Unix || !is_used {
            return None;
        }
        let endpoint = http.endpoint.clone().unwrap_or_else(|| endpoint.to_owned());
        let mut doubts = cors.doubts("protocols::http::cors");
        match public {
            Some(public) => doubts.extend(doubts_of(public, &cors.allowed_origins)),
            None if takes_strangers(&cors.allowed_origins) => doubts.push((
                "pages of strangers may send, and nothing limits or marks what they say".to_owned(),
                "give them a receiver of their own with `protocols::http::public`, see \
                 docs/browser.md"
                    .to_owned(),
            )),
            None => {}
        }
        let header = public.and_then(|public| Some(public.token.as_ref()?.header.clone()));
        let code = match &header {
            None => "new OTLPTraceExporter({ url: '{url}' })".to_owned(),
            Some(name) => format!(
                "new OTLPTraceExporter({{ url: '{{url}}', headers: async () => \
                 ({{ '{name}': await telemetryToken() }}) }})"
            ),
        };
        let port = BrowserPort {
            endpoint,
            is_tls: http.tls.is_some(),
            path: format!("/{}", http.traces_url_path.trim_start_matches('/')),
            origins: cors.allowed_origins,
            header,
            code,
            is_for_pages: public.is_some(),
            doubts,
        };
        let hides_clients = public.is_some_and(|public| public.client_address_header.is_none());
        Some(if hides_clients { doubt_proxy(port) } else { port })
    }
}

/// Pages of strangers reach a port that only this machine can reach through a proxy here. Without
/// the header of the proxy all of them are one client.
fn doubt_proxy(mut port: BrowserPort) -> BrowserPort {
    if port.takes_strangers() && port.is_loopback() {
        let message = format!(
            "pages of strangers come to `{}` through a proxy, so all of them share the rates of one \
             client",
            port.endpoint
        );
        let remedy = "set `public::client_address_header` to the header in which the proxy writes the \
                      client's address, such as `x-forwarded-for`";
        port.doubts.push((message, remedy.to_owned()));
    }
    port
}

fn doubts_of(public: &Public, origins: &[String]) -> Vec<(String, String)> {
    let mut doubts = Vec::new();
    for (key, rate) in [
        ("requests_per_second_per_client", public.requests_per_second_per_client),
        ("items_per_second_per_client", public.items_per_second_per_client),
        ("requests_per_second", public.requests_per_second),
    ] {
        if rate == 0 {
            let message = format!("`public::{key}` is 0: there is no such limit");
            doubts.push((message, format!("remove `{key}` for the default")));
        }
    }
    if public.token.is_none() && takes_strangers(origins) {
        doubts.push((
            "nobody signs who the users of these pages are: `user.id` stays a claim".to_owned(),
            "add `public::token`, see docs/browser.md".to_owned(),
        ));
    }
    doubts
}
