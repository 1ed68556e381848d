//! `Format`: the verbs of Go's `Sprintf` for values of the language.

use super::{
    super::{
        arguments::made,
        fault::{Fault, What},
        node::{Call, Eval},
        text::{hex, like},
        types::Types,
        value::{Value, elements},
    },
    Function, converter,
    replace::LARGEST,
    value,
};

pub(crate) const FUNCTIONS: &[Function] = &[converter(
    "Format",
    &[value("format", Types::TEXT), value("args", Types::LIST)],
    Types::TEXT,
    format,
    "A text from a format with verbs such as `%s`, `%d`, `%05.2f`, `%v`, `%q`, `%x` and values.",
)];

/// Largest width and precision. The standard library panics at larger ones: it adds one to a
/// precision of 16 bits.
const WIDEST: usize = u16::MAX as usize - 1;

/// `%-08.3f`
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a verb are independent")]
struct Verb {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

fn format<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let format = call.str(eval, 0)?;
    let list = call.list(eval, 1)?;
    let mut values = elements(&list).map(Value::read);
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(verb) = parse(&mut chars) else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb.letter == '%' {
            out.push('%');
            continue;
        }
        match values.next() {
            Some(value) => write(&verb, &value, &mut out),
            None => out.extend(["%!", &verb.letter.to_string(), "(MISSING)"]),
        }
        if out.len() > LARGEST {
            return Err(What::TooLarge.into());
        }
    }
    let extra: Vec<String> = values.map(|value| with_type(&value)).collect();
    if !extra.is_empty() {
        out.extend(["%!(EXTRA ", &extra.join(", "), ")"]);
    }
    Ok(made(out))
}

fn parse(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Verb> {
    let mut verb = Verb::default();
    loop {
        let flag = match chars.peek()? {
            '-' => &mut verb.minus,
            '+' => &mut verb.plus,
            '0' => &mut verb.zero,
            ' ' => &mut verb.space,
            '#' => &mut verb.sharp,
            _ => break,
        };
        *flag = true;
        chars.next();
    }
    verb.width = number(chars);
    if chars.next_if_eq(&'.').is_some() {
        verb.precision = Some(number(chars));
    }
    verb.letter = chars.next()?;
    Some(verb)
}

/// The digits that follow as a number, at most the widest.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut number = 0_usize;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        number = (number * 10 + digit as usize).min(WIDEST);
        chars.next();
    }
    number
}

fn go_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Double(_) => "float64",
        Value::Text(_) => "string",
        Value::Bytes(_) => "[]uint8",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        _ => "<nil>",
    }
}

/// `string=abc`
fn with_type(value: &Value<'_>) -> String {
    if value.is_nil() { "<nil>".to_owned() } else { format!("{}={}", go_type(value), plain(value)) }
}

/// What `%v` gives.
fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        Value::List(list) => {
            let parts: Vec<String> = Value::values(list).map(|value| plain(&value)).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::Map(map) => {
            let mut entries: Vec<(String, String)> = map
                .entries()
                .map(|(key, any)| {
                    (String::from_utf8_lossy(key).into_owned(), plain(&Value::read(&any)))
                })
                .collect();
            entries.sort();
            let parts: Vec<String> = entries.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            format!("map[{}]", parts.join(" "))
        }
        Value::Double(value) => general(*value),
        Value::Bytes(bytes) => {
            let parts: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("[{}]", parts.join(" "))
        }
        other => String::from_utf8_lossy(&like(other.clone()).unwrap_or_default()).into_owned(),
    }
}

/// Go's `%v` of a double: shortest, with an exponent below 1e-4 and from 1e21 on.
fn general(value: f64) -> String {
    if value == 0.0 || (1e-4..1e21).contains(&value.abs()) {
        return value.to_string();
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    exponent(&format!("{value:e}"), 'e')
}

/// `1e5` as Go writes it: `1e+05`.
fn exponent(text: &str, letter: char) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{letter}{sign}{digits:0>2}")
}

fn write(verb: &Verb, value: &Value<'_>, out: &mut String) {
    let text = match (verb.letter, value) {
        ('v', Value::Int(_) | Value::Double(_)) if verb.plus => format!("+{}", plain(value)),
        ('v', _) => plain(value),
        ('T', _) => go_type(value).to_owned(),
        ('t', Value::Bool(value)) => value.to_string(),
        ('s' | 'q' | 'x' | 'X', Value::Text(_) | Value::Bytes(_)) => text_form(verb, value),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Int(number)) => {
            int_form(verb, *number)
        }
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Double(number)) => double_form(verb, *number),
        _ => {
            let words = format!("%!{}({})", verb.letter, with_type(value));
            out.push_str(&words);
            return;
        }
    };
    let missing = verb.width.saturating_sub(text.chars().count());
    let is_number = matches!(value, Value::Int(_) | Value::Double(_));
    if verb.minus {
        out.push_str(&text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if verb.zero && is_number {
        let sign = usize::from(text.starts_with(['+', '-', ' ']));
        out.push_str(&text[..sign]);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(&text[sign..]);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(&text);
    }
}

fn text_form(verb: &Verb, value: &Value<'_>) -> String {
    let (Value::Text(bytes) | Value::Bytes(bytes)) = value else { return String::new() };
    let text = String::from_utf8_lossy(bytes);
    let cut: String = match verb.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.into_owned(),
    };
    match verb.letter {
        'q' => format!("{cut:?}"),
        'x' => String::from_utf8_lossy(&hex(bytes)).into_owned(),
        'X' => String::from_utf8_lossy(&hex(bytes)).to_uppercase(),
        _ => cut,
    }
}

fn int_form(verb: &Verb, number: i64) -> String {
    let size = number.unsigned_abs();
    let digits = match verb.letter {
        'b' => format!("{size:b}"),
        'o' => format!("{}{size:o}", if verb.sharp { "0" } else { "" }),
        'O' => format!("0o{size:o}"),
        'x' => format!("{}{size:x}", if verb.sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if verb.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return match verb.letter {
                'c' => c.to_string(),
                'q' => format!("{c:?}"),
                _ => format!("U+{:04X}", u32::from(c)),
            };
        }
        _ => size.to_string(),
    };
    let digits = format!("{digits:0>width$}", width = verb.precision.unwrap_or(1));
    format!("{}{digits}", sign(verb, number < 0))
}

fn sign(verb: &Verb, is_negative: bool) -> &'static str {
    match (is_negative, verb.plus, verb.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn double_form(verb: &Verb, number: f64) -> String {
    if !number.is_finite() {
        return general(number);
    }
    let size = number.abs();
    let precision = verb.precision.unwrap_or(6);
    let digits = match verb.letter {
        'e' => exponent(&format!("{size:.precision$e}"), 'e'),
        'E' => exponent(&format!("{size:.precision$e}"), 'E'),
        'g' | 'G' => general(size),
        _ => format!("{size:.precision$}"),
    };
    format!("{}{digits}", sign(verb, number.is_sign_negative()))
}
