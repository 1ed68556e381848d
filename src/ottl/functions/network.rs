//! Converters of addresses, URLs and user agents.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;

use super::{
    super::{
        arguments::made,
        entries::Entries,
        fault::{Fault, What},
        node::{Argument, Call, Eval},
        types::Types,
        user_agent,
        value::{Value, elements},
    },
    Function, Special, Takes, converter, optional, value,
};

const TEXT: Types = Types::TEXT;
const INT: Types = Types::INT;

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "URL",
        &[value("url", TEXT)],
        Types::MAP,
        url,
        "A map of the parts of a URL: `url.scheme`, `url.domain`, `url.path`, ...",
    ),
    converter(
        "UserAgent",
        &[value("user_agent", TEXT)],
        Types::MAP,
        agent,
        "A map of what the header `User-Agent` says: `user_agent.name`, `user_agent.version`, ...",
    ),
    converter(
        "IsInCIDR",
        &[value("target", TEXT), value("networks", Types::LIST)],
        Types::BOOL,
        is_in_cidr,
        "Whether an IP address is in one of some networks, such as `10.0.0.0/8`.",
    )
    .with(prepare_networks),
    converter(
        "CommunityID",
        &[
            value("source_ip", TEXT),
            value("source_port", INT),
            value("destination_ip", TEXT),
            value("destination_port", INT),
            optional("protocol", Takes::Value(TEXT)),
            optional("seed", Takes::Value(INT)),
        ],
        TEXT,
        community_id,
        "The Community ID of a network flow, version 1.",
    ),
];

/// `10.0.0.0/8`
#[derive(Debug, Clone, Copy)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network such as `10.0.0.0/8`");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(wrong());
        }
        Ok(Network { address, bits })
    }

    fn has(self, other: IpAddr) -> bool {
        let shifted = |bits: u128, width: u32| bits.checked_shr(width - self.bits).unwrap_or(0);
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                shifted(a.to_bits().into(), 32) == shifted(b.to_bits().into(), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                shifted(a.to_bits(), 128) == shifted(b.to_bits(), 128)
            }
            _ => false,
        }
    }
}

fn prepare_networks(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let Some(Argument::Value(node, _)) = arguments.get(1) else { return Ok(Special::None) };
    let Some(Value::List(list)) = node.constant() else { return Ok(Special::None) };
    let mut networks = Vec::new();
    for value in Value::values(list) {
        let Value::Text(text) = value else {
            return Err((1, "`networks` must be texts".to_owned()));
        };
        networks.push(Network::parse(&String::from_utf8_lossy(&text)).map_err(|words| (1, words))?);
    }
    Ok(Special::Networks(networks))
}

fn is_in_cidr<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let Ok(address) = call.str(eval, 0)?.parse::<IpAddr>() else {
        return Ok(Value::Bool(false));
    };
    if let Special::Networks(networks) = &call.prepared {
        return Ok(Value::Bool(networks.iter().any(|network| network.has(address))));
    }
    for text in call.texts(eval, 1)? {
        let network = Network::parse(&String::from_utf8_lossy(&text)).map_err(What::owned)?;
        if network.has(address) {
            return Ok(Value::Bool(true));
        }
    }
    let list = call.list(eval, 1)?;
    if elements(&list).next().is_none() {
        return Err(What::text("networks is empty").into());
    }
    Ok(Value::Bool(false))
}

fn community_id<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let address = |at: usize| -> Result<IpAddr, Fault> {
        let text = call.str(eval, at)?;
        text.parse().map_err(|_| What::owned(format!("`{text}` is not an IP address")).into())
    };
    let port = |at: usize| -> Result<u16, Fault> {
        let port = call.int(eval, at)?;
        u16::try_from(port).map_err(|_| What::owned(format!("{port} is not a port")).into())
    };
    let source = (address(0)?, port(1)?);
    let destination = (address(2)?, port(3)?);
    let protocol = match &*call.text_or(eval, 4, "TCP")? {
        b"ICMP" => 1_u8,
        b"TCP" => 6,
        b"UDP" => 17,
        b"RSVP" => 46,
        b"ICMP6" => 58,
        b"SCTP" => 132,
        other => {
            let message = format!("unsupported protocol `{}`", String::from_utf8_lossy(other));
            return Err(What::owned(message).into());
        }
    };
    let seed = if call.has(5) { port(5)? } else { 0 };
    let (first, second) =
        if source <= destination { (source, destination) } else { (destination, source) };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut flow = seed.to_be_bytes().to_vec();
    flow.extend(octets(first.0));
    flow.extend(octets(second.0));
    flow.extend([protocol, 0]);
    flow.extend(first.1.to_be_bytes());
    flow.extend(second.1.to_be_bytes());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &flow);
    Ok(made(format!("1:{}", STANDARD.encode(hash.as_ref()))))
}

fn url<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let url = call.str(eval, 0)?;
    let parts = url_parts(&url).ok_or_else(|| {
        let shown: String = url.chars().take(100).collect();
        What::owned(format!("`{shown}` is not a URL"))
    })?;
    Ok(parts.into_value())
}

fn url_parts(url: &str) -> Option<Entries> {
    if url.is_empty() || url.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let mut entries = Entries::default();
    entries.put_text("url.original", url);
    let (rest, fragment) = match url.split_once('#') {
        Some((rest, fragment)) => (rest, fragment),
        None => (url, ""),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    let (scheme, rest) = scheme(rest)?;
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (domain, port) = host_and_port(host)?;
    entries.put_text("url.domain", domain);
    entries.put_text("url.scheme", scheme.to_ascii_lowercase());
    let path = unescaped(path)?;
    entries.put_text("url.path", &path);
    if !query.is_empty() {
        entries.put_text("url.query", query);
    }
    if !fragment.is_empty() {
        entries.put_text("url.fragment", unescaped(fragment)?);
    }
    let file = path.rsplit(|c| *c == b'/').next().unwrap_or(&[]);
    if let Some(dot) = file.iter().rposition(|c| *c == b'.')
        && dot + 1 < file.len()
    {
        entries.put_text("url.extension", &file[dot + 1..]);
    }
    if let Some(port) = port {
        entries.put("url.port", &Value::Int(i64::from(port)));
    }
    if let Some(user) = user {
        entries.put_text("url.user_info", user);
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        entries.put_text("url.username", unescaped(name)?);
        if !password.is_empty() {
            entries.put_text("url.password", unescaped(password)?);
        }
    }
    Some(entries)
}

/// The scheme before a colon; `None` if it is invalid.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let end = url.find(|c| !is_scheme(c)).unwrap_or(url.len());
    match url[end..].strip_prefix(':') {
        Some(_) if end == 0 => None,
        Some(rest) if url.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some((&url[..end], rest))
        }
        Some(_) => None,
        None => Some(("", url)),
    }
}

fn host_and_port(host: &str) -> Option<(&str, Option<u16>)> {
    let port_start = match host.rfind(']') {
        Some(end) => host[end..].find(':').map(|at| end + at),
        None => host.find(':'),
    };
    let (name, port) = match port_start {
        Some(at) => (&host[..at], &host[at + 1..]),
        None => (host, ""),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    Some((name.trim_start_matches('[').trim_end_matches(']'), port))
}

/// A text without `%41` escapes; `None` if one is invalid.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(c) = bytes.next() {
        if c != b'%' {
            out.push(c);
            continue;
        }
        let mut digit = || bytes.next().and_then(|c| char::from(c).to_digit(16));
        out.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    Some(out)
}

fn agent<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let found = user_agent::read(&text);
    let mut entries = Entries::default();
    entries.put_text("user_agent.original", &*text);
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            entries.put_text(key, value);
        }
    };
    put("user_agent.name", &found.name);
    put("user_agent.version", &found.version);
    put("os.name", &found.os);
    put("os.version", &found.os_version);
    Ok(entries.into_value())
}
