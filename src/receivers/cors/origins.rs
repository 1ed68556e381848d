//! The entries of `allowed_origins`: which pages each allows, and what is wrong with one that can
//! never match the `Origin` of a browser.
//!
//! Browsers write an origin as `scheme://host`, with the port if it is not that of the scheme, in
//! ASCII and without anything behind it
//! (<https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin>).

use crate::config::{Node, Problems, diagnostics::closest};

/// The schemes of most pages, with their ports.
const SCHEMES: [(&str, &str); 2] = [("https", "443"), ("http", "80")];

/// Whether `text` is `pattern`, in which `*` stands for any characters, and `:*` at the end for any
/// port. Case-insensitive. Browsers leave out the port that a scheme has by default, so a pattern
/// for any port takes none, too.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    match pattern.strip_suffix(":*") {
        Some(pattern) => fits(pattern, without_port(&text)),
        None => fits(&pattern, &text),
    }
}

fn without_port(origin: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    origin.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(origin, |(host, _)| host)
}

fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Reports the entries that no page can match; `place` finds the node of an entry.
pub(super) fn validate<'n>(
    entries: &[String],
    place: impl Fn(usize) -> &'n Node,
    problems: &mut Problems,
) {
    for (index, entry) in entries.iter().enumerate() {
        let Some(why) = wrong(entry) else { continue };
        let meant = meant(entry);
        let remedy = match wrong(&meant) {
            None => format!("write `{meant}`"),
            Some(_) => {
                "write for instance `https://shop.example`, or `http://localhost:*` for any \
                        port"
                    .to_owned()
            }
        };
        let message = format!("no page has the origin `{entry}`: {why}");
        problems.error(place(index), message).help(remedy);
    }
}

/// An entry in its parts. Each may have wildcards.
struct Parts<'a> {
    /// Empty if there is none.
    scheme: &'a str,
    /// With the brackets of an IPv6 address.
    host: &'a str,
    port: Option<&'a str>,
    /// A path, a query or a fragment.
    tail: &'a str,
}

impl<'a> Parts<'a> {
    fn of(entry: &'a str) -> Self {
        let (scheme, rest) = entry.split_once("://").unwrap_or(("", entry));
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Parts { scheme, host, port, tail }
    }

    /// The scheme that was meant; `None` if the entry may have its scheme.
    fn meant_scheme(&self) -> Option<&'static str> {
        let scheme = self.scheme.to_ascii_lowercase();
        if scheme.contains('*') || SCHEMES.iter().any(|(known, _)| *known == scheme) {
            return None;
        }
        match &*scheme {
            "" => {
                let is_local = ["localhost", "127.", "[::1]"];
                let is_local = is_local.iter().any(|start| self.host.starts_with(start));
                Some(if is_local { "http" } else { "https" })
            }
            "ws" => Some("http"),
            "wss" => Some("https"),
            // Extensions and applications have schemes of their own, such as `moz-extension`.
            other => {
                let near = closest(other, SCHEMES.map(|(known, _)| known))?;
                SCHEMES.iter().map(|(known, _)| *known).find(|known| *known == near)
            }
        }
    }

    fn has_default_port(&self) -> bool {
        let is_it = |(scheme, port): &(&str, &str)| {
            self.scheme.eq_ignore_ascii_case(scheme) && self.port == Some(*port)
        };
        SCHEMES.iter().any(is_it)
    }
}

/// Whether browsers can write this port. A part with a wildcard may be any.
fn is_port(port: &str) -> bool {
    let is_written_so = |number: u16| number > 0 && number.to_string() == port;
    port.contains('*') || port.parse().is_ok_and(is_written_so)
}

/// Why no page can have the origin of this entry.
fn wrong(entry: &str) -> Option<String> {
    let parts = Parts::of(entry);
    // `null` is the origin of files and of sandboxed frames.
    if matches!(entry, "*" | "null") {
        return None;
    }
    if entry.trim().is_empty() {
        return Some("it is empty".to_owned());
    }
    if entry.contains([',', ';']) || entry.trim().contains(char::is_whitespace) {
        return Some("each entry is one origin".to_owned());
    }
    if entry.trim() != entry {
        return Some("it has blanks around it".to_owned());
    }
    if !entry.contains("://") {
        // `*.shop.example` and `https*` match origins with a scheme.
        let start = entry.split('*').next().unwrap_or_default().to_ascii_lowercase();
        let may_match = entry.contains('*')
            && (SCHEMES.iter().any(|(scheme, _)| format!("{scheme}://").starts_with(&start)));
        if !may_match {
            return Some("it has no scheme, such as `https://`".to_owned());
        }
    } else if parts.meant_scheme().is_some() {
        return Some(format!("pages have no scheme `{}`", parts.scheme));
    }
    if parts.tail == "/" {
        return Some("browsers write no slash at the end".to_owned());
    }
    if !parts.tail.is_empty() {
        return Some(format!("an origin has no path, so nothing like `{}`", parts.tail));
    }
    if parts.host.contains('@') {
        return Some("an origin has no user".to_owned());
    }
    if parts.host.is_empty() {
        return Some("it has no host".to_owned());
    }
    if !parts.host.is_ascii() {
        return Some("browsers write names in ASCII, which begin with `xn--` here".to_owned());
    }
    if parts.has_default_port() {
        return Some(format!("browsers leave out the port of `{}`", parts.scheme));
    }
    let port = parts.port.filter(|port| !is_port(port))?;
    Some(format!("`{port}` is not a port as browsers write it"))
}

/// The origin that was most likely meant.
fn meant(entry: &str) -> String {
    let first = entry.split([',', ';']).map(str::trim).find(|part| !part.is_empty());
    let first = first.unwrap_or_default().split_whitespace().next().unwrap_or_default();
    // `https:/shop.example` and `https:shop.example`.
    let mut text = first.to_owned();
    for (scheme, _) in SCHEMES {
        if !text.contains("://")
            && let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':'))
        {
            text = format!("{scheme}://{}", rest.trim_start_matches('/'));
            break;
        }
    }
    let parts = Parts::of(&text);
    let scheme = parts.meant_scheme().unwrap_or(parts.scheme);
    let host = parts.host.rsplit('@').next().unwrap_or_default();
    let port = parts.port.map(digits).filter(|port| {
        !port.is_empty() && SCHEMES.iter().all(|default| *default != (scheme, &**port))
    });
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

/// A port with letters that look like digits replaced by these.
fn digits(port: &str) -> String {
    let digit = |letter: char| match letter {
        'O' | 'o' => '0',
        'l' | 'I' | 'i' => '1',
        other => other,
    };
    let text: String = port.chars().map(digit).collect();
    match text.parse::<u16>() {
        Ok(number) if number > 0 => number.to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_with_wildcards() {
        assert!(matches("*", "https://a.example"));
        assert!(matches("https://*.example.com", "https://App.example.com"));
        assert!(!matches("https://*.example.com", "https://example.org"));
        assert!(matches("http://localhost:*", "http://localhost:3000"));
        assert!(matches("http://localhost:*", "http://localhost"));
        for other in [
            "http://localhost.example.com",
            "http://localhost:3000.example.com",
            "http://localhost:3000@example.com",
            "http://localhost:x",
            "http://localhost:",
        ] {
            assert!(!matches("http://localhost:*", other), "{other}");
        }
        assert!(matches("http://[::1]:*", "http://[::1]:3000"));
        assert!(matches("http://[::1]:*", "http://[::1]"));
        assert!(matches("https://*.example.com:*", "https://a.example.com:8443"));
        assert!(!matches("http://localhost", "http://localhost:3000"));
    }

    #[test]
    fn entries_that_a_page_can_match_are_right() {
        for entry in [
            "*",
            "null",
            "https://shop.example",
            "HTTPS://Shop.example:8443",
            "http://localhost:3000",
            "http://localhost:*",
            "http://localhost:30*",
            "http://[::1]:3000",
            "http://[::1]",
            "https://*.example.com",
            "https://*",
            "http*://shop.example",
            "*://shop.example",
            "*.shop.example",
            "https*",
            "moz-extension://*",
            "capacitor://localhost",
            "tauri://localhost",
            "app://shop",
        ] {
            assert_eq!(wrong(entry), None, "{entry}");
        }
    }

    #[test]
    fn the_origin_to_write_is_named() {
        for (entry, expected) in [
            ("shop.example", "https://shop.example"),
            ("shop.example:8443", "https://shop.example:8443"),
            ("shop.example*", "https://shop.example*"),
            ("localhost:3000", "http://localhost:3000"),
            ("https://shop.example/", "https://shop.example"),
            ("https://*.shop.example/*", "https://*.shop.example"),
            ("htps://shop.example", "https://shop.example"),
            ("wss://shop.example", "https://shop.example"),
            ("https:/shop.example", "https://shop.example"),
            ("https://shop.example/app", "https://shop.example"),
            ("https://user@shop.example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("https://*.shop.example:443", "https://*.shop.example"),
            ("http://localhost:80/", "http://localhost"),
            ("http://localhost:300O", "http://localhost:3000"),
            ("http://localhost:03000", "http://localhost:3000"),
            ("http://localhost:", "http://localhost"),
            (" https://shop.example", "https://shop.example"),
            ("https://a.example, https://b.example", "https://a.example"),
        ] {
            assert!(wrong(entry).is_some(), "{entry}");
            assert_eq!(meant(entry), expected);
            assert_eq!(wrong(expected), None, "{expected}");
        }
        for entry in ["", "https://", "http://localhost:99999", "https://b\u{fc}cher.example"] {
            assert!(wrong(entry).is_some() && wrong(&meant(entry)).is_some(), "{entry}");
        }
    }
}
