//! Text to tokens. Blanks separate tokens and mean nothing else; there are no comments.
//!
//! An identifier is read whole and told apart by its first letter. The Collector reads `ParseJSON`
//! as a sequence of pieces, which makes no difference except that skep refuses blanks inside names.

use super::{problem::Problem, syntax::Span};

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Bytes(Vec<u8>),
    Double(f64),
    Int(i64),
    Text(String),
    /// An identifier or a word such as `and`.
    Name(String),
    /// Anything else: `==`, `=>`, `(`.
    Sign(&'static str),
    End,
}

/// Longer signs first.
const SIGNS: [&str; 22] = [
    "==", "!=", ">=", "<=", "=>", ">", "<", "+", "-", "*", "/", "=", "(", ")", "{", "}", ":", ",",
    ".", "[", "]", "_",
];

/// All tokens of a text, with an end token.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, len) = token(text, at)?;
        found.push(Token { kind, span: Span::new(at, at + len) });
        at += len;
    }
    found.push(Token { kind: TokenKind::End, span: Span::new(text.len(), text.len()) });
    Ok(found)
}

fn token(text: &str, at: usize) -> Result<(TokenKind, usize), Problem> {
    let rest = &text[at..];
    let first = rest.as_bytes()[0];
    if let Some(digits) = rest.strip_prefix("0x") {
        return hexadecimal(digits, at);
    }
    if first == b'"' {
        return quoted(rest, at);
    }
    let is_fraction = first == b'.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || is_fraction {
        return number(rest, at);
    }
    if first.is_ascii_alphabetic() {
        let len = run(rest, |c| c.is_ascii_alphanumeric() || c == b'_');
        return Ok((TokenKind::Name(rest[..len].to_owned()), len));
    }
    if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        return Ok((TokenKind::Sign(sign), sign.len()));
    }
    let c = rest.chars().next().unwrap_or(' ');
    let span = Span::new(at, at + c.len_utf8());
    let problem = Problem::new(span, format!("unexpected character `{c}`"));
    Err(match c {
        '\'' | '`' => problem.help("text is written in double quotes"),
        '&' => problem.help("write `and`"),
        '|' => problem.help("write `or`"),
        '!' => problem.help("write `not`"),
        _ => problem,
    })
}

fn run(text: &str, takes: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|c| !takes(c)).unwrap_or(text.len())
}

fn hexadecimal(digits: &str, at: usize) -> Result<(TokenKind, usize), Problem> {
    let len = run(digits, |c| c.is_ascii_hexdigit());
    let span = Span::new(at, at + 2 + len);
    if len == 0 || len % 2 == 1 {
        let message = "bytes need an even number of hexadecimal digits";
        return Err(Problem::new(span, message));
    }
    let bytes = (0..len).step_by(2).filter_map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok());
    Ok((TokenKind::Bytes(bytes.collect()), 2 + len))
}

fn number(rest: &str, at: usize) -> Result<(TokenKind, usize), Problem> {
    let digit = |c: u8| c.is_ascii_digit();
    let mut len = run(rest, digit);
    if !rest[len..].starts_with('.') {
        let span = Span::new(at, at + len);
        let value = rest[..len].parse().map_err(|_| {
            Problem::new(span, "the integer does not fit into 64 bits").help(format!(
                "the largest is {}; write a decimal point for a larger number",
                i64::MAX
            ))
        })?;
        return Ok((TokenKind::Int(value), len));
    }
    len += 1;
    len += run(&rest[len..], digit);
    if rest[len..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[len + 1..].starts_with(['+', '-']));
        let exponent = run(&rest[len + 1 + sign..], digit);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    let value = rest[..len].parse().map_err(|_| {
        Problem::new(Span::new(at, at + len), format!("`{}` is not a number", &rest[..len]))
    })?;
    Ok((TokenKind::Double(value), len))
}

/// A text in double quotes with the escapes of Go.
fn quoted(rest: &str, at: usize) -> Result<(TokenKind, usize), Problem> {
    let mut bytes = Vec::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                let span = Span::new(at, at + i + 1);
                let text = String::from_utf8(bytes)
                    .map_err(|_| Problem::new(span, "the escapes do not make valid UTF-8"))?;
                return Ok((TokenKind::Text(text), i + 1));
            }
            '\n' => {
                let message = "a text cannot contain a line break";
                return Err(
                    Problem::new(Span::new(at + i, at + i + 1), message).help("write `\\n`")
                );
            }
            '\\' => {
                let len = escape(&rest[i..], at + i, &mut bytes)?;
                while chars.next_if(|(next, _)| *next < i + len).is_some() {}
            }
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(Problem::new(Span::new(at, at + rest.len()), "the text has no closing quote"))
}

/// Appends what an escape means; returns its length.
fn escape(rest: &str, at: usize, out: &mut Vec<u8>) -> Result<usize, Problem> {
    let c = rest.chars().nth(1).unwrap_or(' ');
    let simple = match c {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '\\' => b'\\',
        '"' => b'"',
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'v' => 11,
        'x' | 'u' | 'U' | '0'..='7' => return coded(rest, c, at, out),
        _ => {
            let span = Span::new(at, at + 1 + c.len_utf8());
            let message = format!("`\\{c}` is not an escape");
            return Err(Problem::new(span, message)
                .help(format!("write `\\\\{c}` for a backslash in a regular expression")));
        }
    };
    out.push(simple);
    Ok(2)
}

/// `\x41`, `\101`, `A`, `\U00000041`.
fn coded(rest: &str, c: char, at: usize, out: &mut Vec<u8>) -> Result<usize, Problem> {
    let (start, len, radix) = match c {
        'x' => (2, 2, 16),
        'u' => (2, 4, 16),
        'U' => (2, 8, 16),
        _ => (1, 3, 8),
    };
    let wrong = || {
        let end = rest.char_indices().map(|(i, _)| i).nth(start).unwrap_or(rest.len());
        Problem::new(Span::new(at, at + end), format!("`\\{c}` needs {len} digits"))
    };
    let digits = rest.get(start..start + len).ok_or_else(wrong)?;
    if !digits.bytes().all(|d| char::from(d).is_digit(radix)) {
        return Err(wrong());
    }
    let value = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
    if matches!(c, 'u' | 'U') {
        let c = char::from_u32(value).ok_or_else(wrong)?;
        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(value).map_err(|_| wrong())?);
    }
    Ok(start + len)
}
