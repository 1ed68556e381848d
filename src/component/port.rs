//! Where a component listens, known before anything is opened.

use super::default_address;

/// A port that a component wants to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The key of the body that sets the address, whether it is there or not.
    pub key: &'static str,
    /// `host:port` as it is configured.
    pub endpoint: Option<String>,
    /// The port without that. Its address depends on the machine, see [`default_address`].
    pub default: u16,
    /// Datagrams have ports of their own.
    pub is_udp: bool,
}

impl Port {
    /// A port for connections.
    pub fn tcp(key: &'static str, endpoint: Option<&String>, default: u16) -> Self {
        Port { key, endpoint: endpoint.cloned(), default, is_udp: false }
    }

    /// A port for datagrams.
    pub fn udp(key: &'static str, endpoint: Option<&String>, default: u16) -> Self {
        Port { is_udp: true, ..Port::tcp(key, endpoint, default) }
    }

    /// The address, on a machine that is no container if it is not configured.
    pub fn address(&self) -> String {
        let default = || default_address(false, self.default).to_string();
        self.endpoint.clone().unwrap_or_else(default)
    }
}
