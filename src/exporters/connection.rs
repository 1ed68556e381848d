//! Settings of headers and connections that exporters share, with the Collector's keys.

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::{
    config::{Interval, Node, Problems, Secret},
    net::{client::Tuning, proxy},
};

/// Headers of every request: a map, or a list of `{ name, value }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub BTreeMap<String, Secret>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    name: String,
    #[serde(default)]
    value: Secret,
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of headers, or a list of `{name, value}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            headers.insert(name, value);
        }
        Ok(Headers(headers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
        let mut headers = BTreeMap::new();
        while let Some(Pair { name, value }) = list.next_element()? {
            headers.insert(name, value);
        }
        Ok(Headers(headers))
    }
}

impl JsonSchema for Headers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "headers".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({ "anyOf": [
            { "type": "object", "additionalProperties": secret },
            { "type": "array", "items": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "value": secret },
                "required": ["name"],
                "additionalProperties": false,
            } },
        ] })
    }
}

/// `keepalive` of an HTTP exporter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpKeepalive {
    /// Whether an HTTP/1.1 connection carries more than one request.
    pub enabled: bool,
    /// How long a connection may wait for a request; 0: until the backend closes it.
    pub idle_conn_timeout: Interval,
    /// HTTP/1.1 connections that may wait; 0: 100.
    pub max_idle_conns: usize,
    /// The same as `max_idle_conns`, since all connections go to one host.
    pub max_idle_conns_per_host: usize,
}

impl Default for HttpKeepalive {
    fn default() -> Self {
        HttpKeepalive {
            enabled: true,
            idle_conn_timeout: Interval(Duration::from_secs(90)),
            max_idle_conns: 0,
            max_idle_conns_per_host: 0,
        }
    }
}

/// `keepalive` of a gRPC exporter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// Ping a quiet connection after so long.
    pub time: Interval,
    /// Close it when the ping is not answered in so long.
    pub timeout: Interval,
    /// Ping also while no request is on its way.
    pub permit_without_stream: bool,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive {
            time: Interval(Duration::from_secs(10)),
            timeout: Interval(Duration::from_secs(10)),
            permit_without_stream: false,
        }
    }
}

impl Keepalive {
    pub(super) fn tuning(&self) -> Tuning {
        Tuning {
            ping_after: Some(self.time.0).filter(|time| !time.is_zero()),
            ping_timeout: self.timeout.0,
            pings_idle: self.permit_without_stream,
            ..Tuning::default()
        }
    }
}

/// A key that is known and not supported: whether it is set, its name, why, and what to do instead.
pub(super) type Unsupported = (bool, &'static str, &'static str, &'static str);

pub(super) const MIDDLEWARES: &str = "middlewares are extensions that skep does not have";
pub(super) const REMOVE: &str = "remove the key";

/// Reports keys that are set but not supported.
pub(super) fn refuse(keys: &[Unsupported], at: &Node, problems: &mut Problems) {
    for (is_set, key, why, remedy) in keys {
        if *is_set {
            problems.error(at.at(key), format!("`{key}` is not supported: {why}")).help(*remedy);
        }
    }
}

/// Checks the URL of a proxy.
pub(super) fn check_proxy(key: &str, url: &Secret, at: &Node, problems: &mut Problems) {
    if url.expose().is_empty() {
        return;
    }
    if let Err(message) = proxy::check(url.expose()) {
        problems.error(at.at(key), format!("the proxy cannot be used: {message}")).help(
            "write `http://host:port`, with `user:password@` before the host if it wants that",
        );
    }
}
