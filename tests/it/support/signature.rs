//! Signature Version 4 of a request, computed again by the rules of AWS; no code is shared with
//! skep.

use ring::{digest, hmac};

use crate::support::stand_in::header;

/// Keys of a sender.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Of a session.
    pub(crate) token: Option<String>,
}

/// Service and region that a request is signed for, where the signature is right.
pub(crate) fn check(head: &str, body: &[u8], keys: &Keys) -> Result<(String, String), String> {
    let said = header(head, "authorization").ok_or("no signature")?;
    let part = |name: &str| {
        let from =
            said.find(name).map(|at| at + name.len()).ok_or(format!("no {name} in {said}"))?;
        Ok::<_, String>(said[from..].split(',').next().unwrap_or_default().trim())
    };
    let (credential, signed, signature) =
        (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let scope = credential.strip_prefix(&format!("{}/", keys.id)).ok_or("another key")?;
    let fields: Vec<&str> = scope.split('/').collect();
    let [date, region, service, "aws4_request"] = fields[..] else { return Err(scope.to_owned()) };
    if header(head, "x-amz-security-token") != keys.token.as_deref() {
        return Err("another session".to_owned());
    }
    let is_signed = |name: &str| signed.split(';').any(|own| own.eq_ignore_ascii_case(name));
    let names = head.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_lowercase()));
    let left_out = |name: &String| name == "host" || name.starts_with("x-amz-");
    if let Some(name) = names.filter(left_out).find(|name| !is_signed(name)) {
        return Err(format!("`{name}` is not signed"));
    }
    let mut line = head.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let names = signed.split(';');
    let headers: Vec<String> =
        names.map(|name| format!("{name}:{}\n", header(head, name).unwrap_or_default())).collect();
    let headers = headers.concat();
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let request = format!("{method}\n{path}\n\n{headers}\n{signed}\n{}", hash(body));
    let time = header(head, "x-amz-date").ok_or("no x-amz-date")?;
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request.as_bytes()));
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = [date, region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", keys.secret).into_bytes(), |key, part| mac(&key, part));
    if hex(&mac(&key, &text)) == signature {
        Ok((service.to_owned(), region.to_owned()))
    } else {
        Err(format!("bad signature: {said}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
