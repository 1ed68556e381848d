//! Logs clients that cannot be served: one line a minute for each kind of problem, with the remedy.

use std::{io, net::SocketAddr};

use super::seats::Crowd;
use crate::net::rate_limit::RateLimit;

/// What the log says of clients that speak another protocol. The table of senders has the same
/// words.
pub(super) const TLS_ON_PLAIN: &str = "a client speaks TLS to a plaintext port; let it use http:// (insecure), or configure `tls` on \
     the receiver";
pub(super) const PLAIN_ON_TLS: &str =
    "a client speaks plaintext to a TLS port; let it use https://";
pub(super) const HANDSHAKE_FAILED: &str =
    "a TLS handshake failed; does the client trust the certificate's authority?";
pub(super) const NOT_HTTP: &str =
    "a client speaks neither HTTP nor gRPC; check which protocol it sends to this port";

/// When each kind was last logged.
#[derive(Debug, Default)]
pub(super) struct Hints([RateLimit; 8]);

/// One kind of problem.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hint<'a> {
    Accept(&'a io::Error),
    TlsOnPlain(Option<SocketAddr>),
    PlainOnTls(Option<SocketAddr>),
    Handshake(Option<SocketAddr>, &'a io::Error),
    /// A connection beyond a limit of connections.
    Crowded(Crowd),
    /// Many frames without a request.
    Flood(Option<SocketAddr>),
    /// Responses that a client does not read.
    Stuck(Option<SocketAddr>),
}

impl Hint<'_> {
    const fn kind(&self) -> usize {
        match self {
            Hint::Accept(_) => 0,
            Hint::TlsOnPlain(_) => 1,
            Hint::PlainOnTls(_) => 2,
            Hint::Handshake(..) => 3,
            Hint::Crowded(Crowd::Port(_)) => 4,
            Hint::Crowded(Crowd::Process(_)) => 5,
            Hint::Flood(_) => 6,
            Hint::Stuck(_) => 7,
        }
    }
}

impl Hints {
    pub(super) fn give(&self, hint: Hint<'_>) {
        if !self.0[hint.kind()].is_due() {
            return;
        }
        let peer = |peer: Option<SocketAddr>| peer.map(|peer| peer.to_string()).unwrap_or_default();
        match hint {
            Hint::Accept(error) => {
                tracing::warn!(
                    %error,
                    "a connection could not be accepted, so the quietest ones are closed; if there \
                     are too few file descriptors, raise the limit (`ulimit -n`, `LimitNOFILE`)"
                );
            }
            Hint::TlsOnPlain(client) => {
                tracing::warn!(client = peer(client), "{TLS_ON_PLAIN}");
            }
            Hint::PlainOnTls(client) => {
                tracing::warn!(client = peer(client), "{PLAIN_ON_TLS}");
            }
            Hint::Handshake(client, error) => {
                tracing::warn!(client = peer(client), %error, "{HANDSHAKE_FAILED}");
            }
            Hint::Crowded(Crowd::Port(limit)) => tracing::warn!(
                limit,
                "there are as many connections as the byte budget allows; those go that have been \
                 quiet for longest, and `limit_mib` of `memory_limiter` sets the budget"
            ),
            Hint::Crowded(Crowd::Process(descriptors)) => tracing::warn!(
                descriptors,
                "there are as many connections as the file descriptors allow; those go that have \
                 been quiet for longest; raise the hard limit (`ulimit -Hn`, `LimitNOFILE`)"
            ),
            Hint::Flood(client) => tracing::warn!(
                client = peer(client),
                "a client sent many HTTP/2 frames and no request; its connection was closed"
            ),
            Hint::Stuck(client) => tracing::warn!(
                client = peer(client),
                "a client did not take its answers for seconds; its connection was closed"
            ),
        }
    }
}
