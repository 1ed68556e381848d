//! Passwords and keys in URLs and connection strings: they are replaced by `REDACTED`, as in the
//! semantic conventions of OpenTelemetry (`url.full`). If a text can be read in two ways, the
//! longer secret counts.
//!
//! The forms of connections: `scheme://user:password@host`, `user:password@tcp(host)` of Go,
//! `user/password@host` of Oracle, `Password=x;` and `pwd={x}` of `ADO.NET`, ODBC and JDBC,
//! `password='x'` of libpq, `(password=x)` of `MySQL`, `?password=x&`.

use std::{borrow::Cow, ops::Range};

use smallvec::SmallVec;

const REDACTED: &[u8] = b"REDACTED";

/// Parts of a text, in order.
type Places = SmallVec<[Range<usize>; 2]>;

/// A URL, its target or its query.
pub(super) fn url(text: &[u8]) -> Cow<'_, [u8]> {
    hidden(text, |places| {
        let mut from = 0;
        // There may be a URL within a URL.
        while let Some(start) = after_scheme(text, from) {
            from = start;
            let Some(at) = user_end(text, start, b"/?#") else { continue };
            of_user(text, start..at, is_web(&text[..start]), places);
            from = at;
        }
    })
}

/// A connection string of a database client; a host is one, too.
pub(super) fn connection(text: &[u8]) -> Cow<'_, [u8]> {
    hidden(text, |places| {
        let scheme = after_scheme(text, 0);
        // Passwords are not always escaped: the last `@` before the options counts, unless it is
        // in an option.
        let options = scheme.map_or(text.len(), |start| {
            let len = text[start..].iter().position(|byte| b"?=".contains(byte));
            len.map_or(text.len(), |len| start + len)
        });
        if let Some(start) = scheme
            && last_at(text, 0..start).is_none()
        {
            let at = last_at(text, start..options).or_else(|| user_end(text, start, b"/?#;"));
            if let Some(at) = at {
                of_user(text, start..at, is_web(&text[..start]), places);
            }
            if !may_be_user(&text[..start]) {
                return;
            }
        }
        // `user:password@tcp(host)`, `jdbc:oracle:thin:user/password@tcps://host`
        let Some(at) = last_at(text, 0..options) else { return };
        let start = match text {
            [b'j', b'd', b'b', b'c', b':', ..] if text.starts_with(b"jdbc:oracle:") => {
                let mut colons = (0..at).filter(|place| text[*place] == b':');
                colons.nth(2).map_or(at, |colon| colon + 1)
            }
            [b'j', b'd', b'b', b'c', b':', ..] => return,
            _ => 0,
        };
        let user = text[start..at].iter().position(|byte| b":/=".contains(byte));
        if let Some(len) = user.filter(|len| *len > 0 && text[start + len] != b'=') {
            push(start + len + 1..at, places);
        }
    })
}

/// Whether a text that ends in `://` may be a user and the beginning of a password, not a scheme.
fn may_be_user(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"://").unwrap_or(before);
    if let Some(rest) = before.strip_prefix(b"jdbc:oracle:") {
        return rest.contains(&b':');
    }
    let has_parts = before.iter().any(|byte| b":/".contains(byte));
    has_parts && !before.starts_with(b"jdbc:") && !before.starts_with(b"r2dbc:")
}

/// The `@` behind a user, in the authority that begins at `start` and ends before one of `ends`.
fn user_end(text: &[u8], start: usize, ends: &[u8]) -> Option<usize> {
    let len = text[start..].iter().position(|byte| ends.contains(byte));
    let authority = &text[start..len.map_or(text.len(), |len| start + len)];
    if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
        return Some(start + at);
    }
    // `user:a/b@host`: the text after the colon is not a port, so it is a password.
    let port = authority.splitn(2, |byte| *byte == b':').nth(1)?;
    let is_port = authority.starts_with(b"[") || port.iter().all(u8::is_ascii_digit);
    if is_port { None } else { last_at(text, start..text.len()) }
}

/// The text without the parts that `find` finds and without the values of secret keys.
fn hidden(text: &[u8], find: impl FnOnce(&mut Places)) -> Cow<'_, [u8]> {
    // Nearly all addresses contain neither.
    if !text.iter().any(|byte| matches!(byte, b'@' | b'=')) {
        return Cow::Borrowed(text);
    }
    let mut places = Places::new();
    find(&mut places);
    of_keys(text, &mut places);
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    places.sort_unstable_by_key(|place| place.start);
    let mut out = Vec::with_capacity(text.len() + REDACTED.len());
    let mut from = 0;
    for place in places {
        if place.start >= from {
            out.extend_from_slice(&text[from..place.start]);
            out.extend_from_slice(REDACTED);
        }
        from = from.max(place.end);
    }
    out.extend_from_slice(&text[from..]);
    Cow::Owned(out)
}

fn push(place: Range<usize>, places: &mut Places) {
    if !place.is_empty() {
        places.push(place);
    }
}

/// Where the next authority begins.
fn after_scheme(text: &[u8], from: usize) -> Option<usize> {
    let len = text[from..].windows(3).position(|three| three == b"://")?;
    Some(from + len + 3)
}

fn last_at(text: &[u8], within: Range<usize>) -> Option<usize> {
    text[within.clone()].iter().rposition(|byte| *byte == b'@').map(|at| within.start + at)
}

/// Whether the name of a user may be a token: `https://token@host`.
fn is_web(before: &[u8]) -> bool {
    let ends = |scheme: &[u8]| {
        let len = before.len().saturating_sub(3);
        before[..len].to_ascii_lowercase().ends_with(scheme)
    };
    ends(b"http") || ends(b"https") || ends(b"ws") || ends(b"wss")
}

/// `user:password`, or `user`.
fn of_user(text: &[u8], place: Range<usize>, is_web: bool, places: &mut Places) {
    let colon = text[place.clone()].iter().position(|byte| *byte == b':');
    let colon = colon.map(|len| place.start + len);
    if is_web {
        push(place.start..colon.unwrap_or(place.end), places);
    }
    if let Some(colon) = colon {
        push(colon + 1..place.end, places);
    }
}

/// The values of secret keys.
fn of_keys(text: &[u8], places: &mut Places) {
    let mut from = 0;
    // Ends of a value at the beginning or after a blank.
    let usual: &[u8] = match (text.contains(&b';'), text.contains(&b'&')) {
        (true, _) => b";",
        (_, true) => b"&",
        _ => b" \t\r\n",
    };
    for equals in (0..text.len()).filter(|at| text[*at] == b'=') {
        if equals < from {
            continue;
        }
        let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.%[]$".contains(byte);
        let key_end = equals - trailing_blanks(&text[..equals]);
        let key_start = text[..key_end].iter().rposition(|byte| !is_of_key(byte));
        let key_start = key_start.map_or(0, |at| at + 1);
        if !is_secret(&text[key_start..key_end]) {
            continue;
        }
        let end = value_end(text, key_start, equals + 1, usual);
        push(equals + 1..end, places);
        from = end;
    }
}

fn trailing_blanks(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the value that begins at `start`. It depends on the text before its key and on
/// quotes.
fn value_end(text: &[u8], key: usize, start: usize, usual: &[u8]) -> usize {
    let before = key - trailing_blanks(&text[..key]);
    let before = before.checked_sub(1).map(|at| text[at]);
    let find = |from: usize, ends: &[u8]| {
        let len = text[from..].iter().position(|byte| ends.contains(byte));
        len.map_or(text.len(), |len| from + len)
    };
    let ends: &[u8] = match before {
        Some(b'?' | b'&' | b'#') => return find(start, b"&"),
        Some(b'(' | b',') => b",)",
        _ => usual,
    };
    let blanks = text[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let value = start + blanks;
    let close = match text.get(value) {
        Some(b'{') => b'}',
        Some(quote @ (b'"' | b'\'')) => *quote,
        _ => return find(value, ends),
    };
    let mut at = value + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == close && text.get(at + 1) == Some(&close) => at += 2,
            byte if byte == close => return find(at, ends),
            _ => at += 1,
        }
    }
    text.len()
}

/// Whether the value of a key with this name is to be hidden.
fn is_secret(key: &[u8]) -> bool {
    let letters = key.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let name: SmallVec<[u8; 48]> = letters.map(u8::to_ascii_lowercase).collect();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let parts: [&[u8]; 12] = [
        b"password",
        b"passwd",
        b"passphrase",
        b"pwd",
        b"secret",
        b"apikey",
        b"accesskey",
        b"accountkey",
        b"privatekey",
        b"subscriptionkey",
        b"credential",
        b"signature",
    ];
    let whole: [&[u8]; 8] =
        [b"pass", b"pw", b"pswd", b"key", b"sig", b"auth", b"authorization", b"jwt"];
    name.ends_with(b"token") || whole.contains(&&*name) || parts.into_iter().any(has)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn passwords_go_and_the_rest_stays() {
        for (from, to) in [
            ("mysql+pymysql://shop:s@db:3306/o", "mysql+pymysql://shop:REDACTED@db:3306/o"),
            ("redis://:s@h/0", "redis://:REDACTED@h/0"),
            ("postgres://shop@h/o", "postgres://shop@h/o"),
            ("mongodb://u:a/b@c@h1,h2/o?w=1", "mongodb://u:REDACTED@h1,h2/o?w=1"),
            (
                "jdbc:postgresql://h/o?user=u&password=s&ssl=1",
                "jdbc:postgresql://h/o?user=u&password=REDACTED&ssl=1",
            ),
            (
                "jdbc:sqlserver://h:1;databaseName=o;password={a;}}b};x=1",
                "jdbc:sqlserver://h:1;databaseName=o;password=REDACTED;x=1",
            ),
            (
                "jdbc:oracle:thin:scott/tiger@//h:1521/o",
                "jdbc:oracle:thin:scott/REDACTED@//h:1521/o",
            ),
            (
                "jdbc:oracle:thin:scott/t@tcps://h:1/o",
                "jdbc:oracle:thin:scott/REDACTED@tcps://h:1/o",
            ),
            ("jdbc:oracle:thin:scott/t://@h:1:o", "jdbc:oracle:thin:scott/REDACTED@h:1:o"),
            ("u:s://@tcp(h)/o", "u:REDACTED@tcp(h)/o"),
            ("u:s@t://u@tcp(h)/o", "u:REDACTED@tcp(h)/o"),
            ("r2dbc:mysql://u:s@h/o", "r2dbc:mysql://u:REDACTED@h/o"),
            ("url=mysql://u:s@h/o", "url=mysql://u:REDACTED@h/o"),
            ("jdbc:oracle:thin:@tcps://h:1/o", "jdbc:oracle:thin:@tcps://h:1/o"),
            ("jdbc:oracle:thin:@h:1521:o", "jdbc:oracle:thin:@h:1521:o"),
            ("scott/tiger@h/o", "scott/REDACTED@h/o"),
            ("u:s@tcp(h:3306)/o?x=1", "u:REDACTED@tcp(h:3306)/o?x=1"),
            (
                "jdbc:mysql://address=(host=h)(user=u)(password=s)/o",
                "jdbc:mysql://address=(host=h)(user=u)(password=REDACTED)/o",
            ),
            (
                "Server=h;User Id=u@x;Password = \"a;\"\"b\";Pooling=true",
                "Server=h;User Id=u@x;Password =REDACTED;Pooling=true",
            ),
            ("DRIVER={x};PWD=a b&c;DATABASE=o", "DRIVER={x};PWD=REDACTED;DATABASE=o"),
            ("host=h password='a b\\'c' dbname=o", "host=h password=REDACTED dbname=o"),
            ("AccountName=a;AccountKey=abc==;End=x", "AccountName=a;AccountKey=REDACTED;End=x"),
            ("h:6379,password=s,ssl=True", "h:6379,password=REDACTED,ssl=True"),
            ("db.example:5432", "db.example:5432"),
        ] {
            assert_eq!(text(&connection(from.as_bytes())), to, "{from}");
        }
        for (from, to) in [
            ("https://u:p@h/a?b=1", "https://REDACTED:REDACTED@h/a?b=1"),
            ("https://token@h/", "https://REDACTED@h/"),
            ("https://h:8443/a@b?x=@", "https://h:8443/a@b?x=@"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("http://u:a/b@h/", "http://REDACTED:REDACTED@h/"),
            ("/a?api_key=1&b=2#c", "/a?api_key=REDACTED&b=2#c"),
            ("password=a&c=d", "password=REDACTED&c=d"),
            ("/cb#access_token=x&y=z", "/cb#access_token=REDACTED&y=z"),
            (
                "https://s3/x?X-Amz-Signature=1&X-Amz-Date=2",
                "https://s3/x?X-Amz-Signature=REDACTED&X-Amz-Date=2",
            ),
            ("/go?to=https://u:p@h/", "/go?to=https://REDACTED:REDACTED@h/"),
            ("/f?user%5Bpassword%5D=x&a=b", "/f?user%5Bpassword%5D=REDACTED&a=b"),
        ] {
            assert_eq!(text(&url(from.as_bytes())), to, "{from}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_left(secret in "s3cret([a-z!$^*~.:/-]{0,6}|[a-z]{0,2}://[a-z]{0,2})", form in select(vec![
            "mysql://u:{}@h:1/d", "jdbc:oracle:thin:u/{}@h:1:d", "u:{}@tcp(h)/d", "Server=h;Pwd={};Database=d",
            "host=h password={} dbname=d", "jdbc:postgresql://h/d?password={}&x=y", "password={}", "x://h/d?pwd={}",
        ])) {
            let hidden = connection(form.replace("{}", &secret).as_bytes()).into_owned();
            prop_assert!(!text(&hidden).contains("s3cret"), "{}", text(&hidden));
            prop_assert!(text(&hidden).contains("REDACTED"));
        }

        #[test]
        fn any_text_is_taken(bytes: Vec<u8>, noise in "[@:/=?&;'\"{}() a]{0,40}") {
            for text in [&bytes[..], noise.as_bytes()] {
                let (one, two) = (url(text), connection(text));
                prop_assert_eq!(url(&one).into_owned(), one.into_owned());
                prop_assert!(two.len() <= text.len() + text.len() * REDACTED.len());
            }
        }
    }
}
