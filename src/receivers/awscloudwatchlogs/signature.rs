//! Signature Version 4 of a call: which key it is signed with, and whether it is right.
//!
//! A call is signed over its method, path, query, some headers and the SHA-256 of its body, with a
//! key that is made of the secret, the day, the region and the service. To verify it is to sign it
//! again. Every `x-amz-*` header has to be among the signed ones, as for AWS. The host is the one
//! that the client wrote: a proxy that rewrites it makes every signature wrong.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, Uri, header, request::Parts};
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

use super::{
    answer::{Fault, Kind},
    chunked,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";
/// The hash of a body whose chunks are signed one by one.
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// What the header `Authorization` says, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature<'h> {
    /// Id of the access key.
    pub(super) key: &'h str,
    /// `20261129/eu-west-1/logs/aws4_request`
    scope: &'h str,
    date: &'h str,
    region: &'h str,
    service: &'h str,
    signed_headers: &'h str,
    /// In hexadecimal digits.
    value: &'h str,
}

impl<'h> Signature<'h> {
    /// The signature of a call; `None` if it has none, or in another form.
    pub(super) fn read(headers: &'h HeaderMap) -> Option<Self> {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let rest = text.strip_prefix(ALGORITHM)?;
        let part = |name: &str| {
            rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (key, scope) = part("Credential")?.split_once('/')?;
        let mut fields = scope.split('/');
        let (date, region, service) = (fields.next()?, fields.next()?, fields.next()?);
        let is_whole = fields.next() == Some("aws4_request") && fields.next().is_none();
        let (signed_headers, value) = (part("SignedHeaders")?, part("Signature")?);
        is_whole.then_some(Signature { key, scope, date, region, service, signed_headers, value })
    }

    /// The region that the call is meant for, if it can be the name of one.
    pub(super) fn region(&self) -> Option<&'h str> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_name = self.region.len() <= 64 && self.region.bytes().all(is_letter);
        Some(self.region).filter(|region| is_name && !region.is_empty())
    }

    /// What is signed with `secret` has this signature.
    fn of_text(&self, secret: &str, text: &str) -> String {
        let first = format!("AWS4{secret}").into_bytes();
        let parts = [self.date, self.region, self.service, "aws4_request"];
        let key = parts.iter().fold(first, |key, part| mac(&key, part).as_ref().to_vec());
        hex(mac(&key, text).as_ref())
    }
}

/// A call that has come whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) head: &'a Parts,
    /// As it came, without anything undone.
    pub(super) body: &'a [u8],
}

impl Signed<'_> {
    /// Whether a call was signed with `secret`, at most `skew` seconds from `now`, in seconds since
    /// 1970.
    pub(super) fn verify(
        &self,
        signature: &Signature<'_>,
        secret: &str,
        (now, skew): (i64, i64),
    ) -> Result<(), Fault> {
        let wrong = |message: String| Fault::new(Kind::InvalidSignature, message);
        let headers = &self.head.headers;
        let time = headers.get(DATE).and_then(|time| time.to_str().ok());
        let time = time.ok_or_else(|| wrong(format!("the call has no header `{DATE}`")))?;
        let seconds = seconds_of(time).filter(|_| time.starts_with(signature.date));
        let seconds = seconds.ok_or_else(|| wrong(format!("`{DATE}` is not of the signed day")))?;
        if (seconds - now).abs() > skew {
            return Err(wrong(format!(
                "the signature is of {time}, which is {} s from the clock of skep; {skew} s are allowed \
                 (max_clock_skew)",
                (seconds - now).abs()
            )));
        }
        let is_signed = |name: &str| signature.signed_headers.split(';').any(|own| own == name);
        let must = headers.keys().map(http::HeaderName::as_str);
        let must = must.filter(|name| name.starts_with("x-amz-")).chain(["host"]);
        if let Some(name) = must.into_iter().find(|name| !is_signed(name)) {
            return Err(wrong(format!("the header `{name}` is not signed")));
        }
        let content = headers.get(CONTENT_HASH).and_then(|hash| hash.to_str().ok());
        let hash = match content {
            Some(SIGNED_CHUNKS) => SIGNED_CHUNKS.to_owned(),
            _ => hash(self.body),
        };
        let text = format!(
            "{ALGORITHM}\n{time}\n{}\n{}",
            signature.scope,
            self::hash(self.canonical(signature, &hash).as_bytes())
        );
        let is_right = is_same(&signature.of_text(secret, &text), signature.value)
            && content.is_none_or(|content| content == hash);
        if !is_right {
            return Err(wrong(
                "the signature is not that of this call; check the secret key, and that no proxy \
                 changes the host or the body"
                    .to_owned(),
            ));
        }
        if hash == SIGNED_CHUNKS && !self.has_right_chunks(signature, secret, time) {
            return Err(wrong("the signature of a chunk is wrong".to_owned()));
        }
        Ok(())
    }

    /// Each chunk is signed together with the signature before it.
    fn has_right_chunks(&self, signature: &Signature<'_>, secret: &str, time: &str) -> bool {
        let mut before = signature.value.to_owned();
        let joined = chunked::join(self.body, |data, own| {
            let text = format!(
                "{ALGORITHM}-PAYLOAD\n{time}\n{}\n{before}\n{}\n{}",
                signature.scope,
                hash(b""),
                hash(data)
            );
            before = signature.of_text(secret, &text);
            is_same(&before, &String::from_utf8_lossy(own))
        });
        joined.is_some()
    }

    /// What is signed, as a text (AWS, "Create a signed AWS API request").
    fn canonical(&self, signature: &Signature<'_>, hash: &str) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.head.method,
            path_of(&self.head.uri),
            query_of(&self.head.uri)
        );
        for name in signature.signed_headers.split(';') {
            let values = self.head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            let values: Vec<String> = values.map(trimmed).collect();
            let mut value = values.join(",");
            // HTTP/2 has the host in its place in the URI.
            if name == "host" && values.is_empty() {
                value = self.head.uri.authority().map(ToString::to_string).unwrap_or_default();
            }
            let _ = writeln!(text, "{name}:{value}");
        }
        let _ = write!(text, "\n{}\n{hash}", signature.signed_headers);
        text
    }
}

/// A value without blanks around it, and with one in place of several.
fn trimmed(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The path, encoded once more than it was sent.
fn path_of(uri: &Uri) -> String {
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn query_of(uri: &Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(&str, &str)> =
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Seconds since 1970 of a time such as `20261129T103000Z`.
fn seconds_of(time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, len: usize| {
        let digits = time.get(from..from + len)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    let (hour, minute, second) = (number(9, 2)?, number(11, 2)?, number(13, 2)?);
    // Days of the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn is_same(own: &str, given: &str) -> bool {
    own.as_bytes().ct_eq(given.as_bytes()).into()
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// The example of AWS in "Signature Version 4 test suite", `post-x-www-form-urlencoded`.
    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/\
        aws4_request, SignedHeaders=content-type;host;x-amz-date, \
        Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";

    fn request(change: impl FnOnce(&mut HeaderMap)) -> Parts {
        let mut request = Request::post("/").body(()).unwrap();
        let headers = request.headers_mut();
        for (name, value) in [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            ("authorization", AUTHORIZATION),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(headers);
        request.into_parts().0
    }

    fn verify(head: &Parts, body: &[u8], now: i64) -> Result<(), String> {
        let signature = Signature::read(&head.headers).ok_or("no signature")?;
        let verified = Signed { head, body }.verify(&signature, SECRET, (now, 900));
        verified.map_err(|fault| fault.message)
    }

    #[test]
    fn a_signature_is_taken_apart() {
        let head = request(|_| {});
        let signature = Signature::read(&head.headers).unwrap();
        assert_eq!((signature.key, signature.region()), ("AKIDEXAMPLE", Some("us-east-1")));
        for wrong in
            ["", "Basic x", "AWS4-HMAC-SHA256 Credential=a", "AWS4-HMAC-SHA256 Credential=a/b/c"]
        {
            let head = request(|headers| {
                headers.insert("authorization", HeaderValue::from_str(wrong).unwrap());
            });
            assert_eq!(Signature::read(&head.headers), None, "{wrong}");
        }
    }

    #[test]
    fn days_are_counted() {
        assert_eq!(seconds_of("19700101T000000Z"), Some(0));
        assert_eq!(seconds_of("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(seconds_of("20240229T235959Z"), Some(1_709_251_199));
        for wrong in ["", "20150830", "2015083aT123600Z", "20150830T1236\u{e9}0"] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_example_of_aws_is_right_and_a_change_of_it_is_not() {
        let now = 1_440_938_160;
        let body = b"Param1=value1";
        assert_eq!(verify(&request(|_| {}), body, now + 899), Ok(()));
        let told = verify(&request(|_| {}), b"Param1=value2", now).unwrap_err();
        assert!(told.contains("not that of this call"), "{told}");
        let told = verify(&request(|_| {}), body, now + 901).unwrap_err();
        assert!(told.contains("max_clock_skew"), "{told}");
        let unsigned = request(|headers| {
            headers.insert("x-amz-target", HeaderValue::from_static("x"));
        });
        assert!(verify(&unsigned, body, now).unwrap_err().contains("`x-amz-target` is not signed"));
        let other = request(|headers| {
            headers.insert("host", HeaderValue::from_static("example.com"));
        });
        assert!(verify(&other, body, now).is_err());
    }

    #[test]
    fn paths_and_queries_are_brought_into_one_form() {
        let uri: Uri = "http://h/a%20b/c?z=1&a=2&b".parse().unwrap();
        assert_eq!(path_of(&uri), "/a%2520b/c");
        assert_eq!(query_of(&uri), "a=2&b=&z=1");
        assert_eq!(trimmed(b"  a   b  "), "a b");
    }
}
