//! Name and namespace of a segment.

use std::borrow::Cow;

use super::{
    attributes::{Attributes, Known},
    secrets,
};
use crate::otlp::view::Span;

/// Most characters of a name (X-Ray segment documents).
const NAME_LIMIT: usize = 200;
/// Most bytes of a text that are read for a name.
const NAME_BYTES: usize = 16 << 10;

/// `SpanKind`.
pub(super) const INTERNAL: i32 = 1;
pub(super) const SERVER: i32 = 2;
pub(super) const CLIENT: i32 = 3;
pub(super) const PRODUCER: i32 = 4;
pub(super) const CONSUMER: i32 = 5;

/// The part of a text that X-Ray accepts as a name: letters, digits, blanks and `_.:/%&#=+\-@`, at
/// most 200 characters.
pub(super) fn clean(text: &[u8]) -> Cow<'_, str> {
    // Nearly all names are valid, so check the bytes instead of copying the characters.
    if text.len() <= NAME_LIMIT
        && text.iter().all(|byte| IS_CLEAN[usize::from(*byte)])
        && text.iter().any(|byte| *byte != b' ')
        && let Ok(name) = std::str::from_utf8(text)
    {
        return Cow::Borrowed(name);
    }
    let text = String::from_utf8_lossy(&text[..text.len().min(NAME_BYTES)]);
    let is_taken = |char: char| char.is_alphanumeric() || "_.:/%&#=+\\-@ ".contains(char);
    let blank = |char: char| if char.is_whitespace() { ' ' } else { char };
    let name: String = text.chars().map(blank).filter(|c| is_taken(*c)).take(NAME_LIMIT).collect();
    if name.trim().is_empty() { Cow::Borrowed("span") } else { Cow::Owned(name) }
}

/// Whether an ASCII character is allowed in a name.
const IS_CLEAN: [bool; 256] = {
    let others = b"_.:/%&#=+\\-@ ";
    let mut table = [false; 256];
    let mut at: u8 = 0;
    while at < 128 {
        table[at as usize] = at.is_ascii_alphanumeric();
        at += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether the span begins the work of its service, as marked by AWS's Application Signals.
pub(super) fn is_local_root(attributes: &Attributes<'_>) -> bool {
    attributes.text(Known::AwsSpanKind) == Some(b"LOCAL_ROOT")
}

/// `aws.remote.service` without the prefix that AWS's SDKs write.
pub(super) fn remote_service<'a>(attributes: &Attributes<'a>) -> Option<&'a [u8]> {
    let name = attributes.text(Known::AwsRemoteService)?;
    let prefix: &[u8] = if is_aws_api(attributes) { b"AWS.SDK." } else { b"AWS::" };
    Some(name.strip_prefix(prefix).unwrap_or(name))
}

fn is_aws_api(attributes: &Attributes<'_>) -> bool {
    attributes.text(Known::RpcSystem) == Some(b"aws-api")
}

/// The name of the service that the segment shows.
pub(super) fn of<'a>(
    span: &Span<'a>,
    attributes: &Attributes<'a>,
    service: Option<&'a [u8]>,
) -> Cow<'a, str> {
    use Known as K;
    let text = |known| attributes.text(known).map(Cow::Borrowed);
    let host = |known| attributes.text(known).map(secrets::connection);
    let is_local = span.kind == SERVER || span.kind == INTERNAL && is_local_root(attributes);
    let local = || text(K::AwsLocalService).filter(|_| is_local);
    let is_remote = matches!(span.kind, CLIENT | PRODUCER | CONSUMER);
    let remote = || remote_service(attributes).filter(|_| is_remote).map(Cow::Borrowed);
    let own = |kind| service.filter(|_| span.kind == kind).map(Cow::Borrowed);
    let name = local()
        .or_else(remote)
        .or_else(|| text(K::PeerService))
        .or_else(|| text(K::AwsService))
        .or_else(|| database(attributes).map(Cow::Owned))
        .or_else(|| own(SERVER))
        .or_else(|| own(CONSUMER))
        .or_else(|| text(K::RpcService))
        .or_else(|| host(K::HttpHost))
        .or_else(|| host(K::NetPeerName))
        .or_else(|| host(K::ServerAddress))
        .or_else(|| text(K::DbNamespace))
        .or_else(|| text(K::MessagingDestination));
    match name.unwrap_or_else(|| secrets::url(span.name.0)) {
        Cow::Borrowed(name) => clean(name),
        Cow::Owned(name) => Cow::Owned(clean(&name).into_owned()),
    }
}

/// `db.name`, with the host of the connection if that is a URL.
fn database(attributes: &Attributes<'_>) -> Option<Vec<u8>> {
    let mut name = attributes.text(Known::DbName)?.to_vec();
    if let Some(host) = attributes.text(Known::DbConnectionString).and_then(host_of) {
        name.push(b'@');
        name.extend_from_slice(host);
    }
    Some(name)
}

/// The host of `scheme://user@host:port/...`.
fn host_of(url: &[u8]) -> Option<&[u8]> {
    let url = url.strip_prefix(b"jdbc:").unwrap_or(url);
    let at = url.windows(3).position(|three| three == b"://")?;
    let rest = url[at + 3..].split(|byte| b"/?#;".contains(byte)).next()?;
    let host = rest.rsplit(|byte| *byte == b'@').next()?;
    let host = match host {
        [b'[', rest @ ..] => rest.split(|byte| *byte == b']').next()?,
        _ => host.split(|byte| *byte == b':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// Where the work was done: `aws`, `remote`, or locally.
pub(super) fn namespace(span: &Span<'_>, attributes: &Attributes<'_>) -> Option<&'static str> {
    use Known as K;
    let is_named_before = [K::AwsRemoteService, K::PeerService];
    let is_aws_service = attributes.text(K::AwsService).is_some()
        && is_named_before.iter().all(|known| attributes.text(*known).is_none());
    if is_aws_api(attributes) || is_aws_service {
        return Some("aws");
    }
    matches!(span.kind, CLIENT | PRODUCER).then_some("remote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_what_x_ray_takes() {
        assert_eq!(clean("GET /a,b?x=\u{1F600}|z".as_bytes()), "GET /abx=z");
        assert_eq!(clean(b"a\n\tb\\c"), "a  b\\c");
        assert_eq!((&*clean(b"?|"), &*clean(b""), &*clean(b" ")), ("span", "span", "span"));
        assert_eq!(clean("\u{e4}".repeat(300).as_bytes()).chars().count(), 200);
        assert_eq!(clean(&[0xFF, b'a']), "a");
    }

    #[test]
    fn hosts_of_connections() {
        for (url, host) in [
            ("jdbc:postgresql://u:p@db.test:5432/shop?x=1", Some("db.test")),
            ("mysql://[::1]:3306/a", Some("::1")),
            ("sqlserver://h;database=x", Some("h")),
            ("Server=h", None),
            ("x://", None),
        ] {
            assert_eq!(host_of(url.as_bytes()), host.map(str::as_bytes), "{url}");
        }
    }
}
