//! What a listener says of clients that cannot be served: one line a minute for each kind, with
//! the remedy.

use std::{io, net::SocketAddr};

use crate::net::seldom::Seldom;

/// When each kind was last given.
#[derive(Debug, Default)]
pub(super) struct Hints([Seldom; 5]);

/// One kind of trouble.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hint<'a> {
    Accept(&'a io::Error),
    TlsOnPlain(Option<SocketAddr>),
    PlainOnTls(Option<SocketAddr>),
    Handshake(Option<SocketAddr>, &'a io::Error),
    /// So many connections, and one more.
    Crowded(usize),
}

impl Hint<'_> {
    const fn kind(&self) -> usize {
        match self {
            Hint::Accept(_) => 0,
            Hint::TlsOnPlain(_) => 1,
            Hint::PlainOnTls(_) => 2,
            Hint::Handshake(..) => 3,
            Hint::Crowded(_) => 4,
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
                tracing::warn!(%error, "accepting a connection failed; too few file descriptors?");
            }
            Hint::TlsOnPlain(client) => tracing::warn!(
                client = peer(client),
                "a client speaks TLS to a plaintext port; let it use http:// (insecure), or \
                 configure `tls` on the receiver"
            ),
            Hint::PlainOnTls(client) => tracing::warn!(
                client = peer(client),
                "a client speaks plaintext to a TLS port; let it use https://"
            ),
            Hint::Handshake(client, error) => tracing::warn!(
                client = peer(client),
                %error,
                "a TLS handshake failed; does the client trust the certificate's authority?"
            ),
            Hint::Crowded(limit) => tracing::warn!(
                limit,
                "there are as many connections as the byte budget allows; those go that have been \
                 quiet for longest, and `limit_mib` of `memory_limiter` sets the budget"
            ),
        }
    }
}
