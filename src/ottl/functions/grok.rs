//! `ExtractGrokPatterns`: patterns of named pieces, such as `%{IP:client} %{NUMBER:bytes:int}`.
//!
//! A pattern is expanded to one regular expression at the start. The pieces are those of Logstash
//! in forms without look-around, so that matching takes linear time.

use std::collections::HashMap;

use regex::bytes::Regex;

use super::{
    super::{
        fault::{Fault, What},
        node::{Argument, Call, Eval},
        pattern::compile,
        types::Types,
        value::{Map, Value, put_entry},
    },
    Function, Special, Takes, converter,
    numbers::{parse_double, truncated},
    optional, parameter, value,
};

pub(crate) const FUNCTIONS: &[Function] = &[Function {
    prepare: Some(prepare),
    ..converter(
        "ExtractGrokPatterns",
        &[
            value("target", Types::TEXT),
            parameter("pattern", Takes::Literal(Types::TEXT)),
            optional("named_captures_only", Takes::Literal(Types::BOOL)),
            optional("pattern_definitions", Takes::Literal(Types::LIST)),
        ],
        Types::MAP,
        extract,
        "A map of the named pieces of a Grok pattern; empty if it does not match.",
    )
}];

/// Deepest nesting of pieces.
const DEPTH: usize = 32;

/// Most bytes of an expanded pattern.
const LARGEST: usize = 16 << 10;

/// A pattern that was expanded.
#[derive(Debug, Clone)]
pub struct Grok {
    regex: Regex,
    groups: Vec<Group>,
}

/// A group of the expression that becomes an entry.
#[derive(Debug, Clone)]
struct Group {
    /// Its name in the expression, which has no dots.
    name: String,
    key: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Double,
    Bool,
}

fn prepare(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let constant = |at: usize| match arguments.get(at) {
        Some(Argument::Value(node, _)) => node.constant(),
        _ => None,
    };
    let Some(Value::Text(pattern)) = constant(1) else { return Ok(Special::None) };
    let named_only = matches!(constant(2), Some(Value::Bool(true)));
    let mut pieces: HashMap<String, String> =
        PIECES.iter().map(|(name, regex)| ((*name).to_owned(), (*regex).to_owned())).collect();
    if let Some(Value::List(list)) = constant(3) {
        for value in Value::values(list) {
            let Value::Text(text) = value else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            let Some((name, regex)) = text.split_once('=') else {
                return Err((3, format!("`{text}` is not of the form `NAME=pattern`")));
            };
            pieces.insert(name.to_owned(), regex.to_owned());
        }
    }
    let mut expansion = Expansion { pieces: &pieces, named_only, groups: Vec::new(), size: 0 };
    let pattern = String::from_utf8_lossy(pattern);
    let expanded = expansion.expand(&pattern, 0).map_err(|message| (1, message))?;
    let groups = expansion.groups;
    let regex = compile(&expanded).map_err(|message| (1, message))?;
    if groups.is_empty() && named_only {
        return Err((1, "the pattern has no named piece, such as `%{NUMBER:bytes}`".to_owned()));
    }
    Ok(Special::Grok(Grok { regex, groups }))
}

struct Expansion<'p> {
    pieces: &'p HashMap<String, String>,
    named_only: bool,
    groups: Vec<Group>,
    size: usize,
}

impl Expansion<'_> {
    fn expand(&mut self, pattern: &str, depth: usize) -> Result<String, String> {
        if depth > DEPTH {
            return Err("pieces of the pattern contain each other".to_owned());
        }
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find("%{") {
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                return Err("a piece has no closing `}`".to_owned());
            };
            out.push_str(&self.piece(&rest[at + 2..at + end], depth)?);
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        self.size += out.len();
        if self.size > LARGEST {
            return Err("the pattern is too large".to_owned());
        }
        Ok(out)
    }

    /// `NUMBER:bytes:int`
    fn piece(&mut self, text: &str, depth: usize) -> Result<String, String> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or("");
        let (key, kind) = (parts.next(), parts.next());
        let kind = match kind {
            None | Some("string") => Kind::Text,
            Some("int" | "long") => Kind::Int,
            Some("float" | "double") => Kind::Double,
            Some("bool" | "boolean") => Kind::Bool,
            Some(other) => return Err(format!("`{other}` is not a type; use `int` or `float`")),
        };
        let pieces = self.pieces;
        let Some(regex) = pieces.get(name) else {
            return Err(format!("there is no pattern `{name}`"));
        };
        let key = match key {
            Some(key) => key.to_owned(),
            None if self.named_only || depth > 0 => {
                return Ok(format!("(?:{})", self.expand(regex, depth + 1)?));
            }
            None => name.to_owned(),
        };
        let group = format!("grok{}", self.groups.len());
        self.groups.push(Group { name: group.clone(), key, kind });
        Ok(format!("(?P<{group}>{})", self.expand(regex, depth + 1)?))
    }
}

fn extract<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let Special::Grok(grok) = &call.prepared else {
        return Err(What::text("the pattern is not constant").into());
    };
    let mut map = Vec::new();
    if let Some(captures) = grok.regex.captures(&text) {
        for group in &grok.groups {
            let Some(found) = captures.name(&group.name) else { continue };
            put_entry(&mut map, 1, group.key.as_bytes(), &group.kind.value(found.as_bytes()));
        }
        // Groups that the pattern names itself.
        for name in grok.regex.capture_names().flatten() {
            if grok.groups.iter().any(|group| group.name == name) {
                continue;
            }
            if let Some(found) = captures.name(name) {
                put_entry(&mut map, 1, name.as_bytes(), &Kind::Text.value(found.as_bytes()));
            }
        }
    }
    Ok(Value::Map(Map::made(map)))
}

impl Kind {
    /// A text as this type; it stays a text if it is none.
    fn value(self, text: &[u8]) -> Value<'_> {
        let number = parse_double(text);
        match (self, number, text) {
            (Kind::Int, Some(number), _) => Value::Int(truncated(number)),
            (Kind::Double, Some(number), _) => Value::Double(number),
            (Kind::Bool, _, b"true") => Value::Bool(true),
            (Kind::Bool, _, b"false") => Value::Bool(false),
            _ => Value::Text(text.into()),
        }
    }
}

/// The pieces that every pattern can use.
const PIECES: &[(&str, &str)] = &[
    ("USERNAME", r"[a-zA-Z0-9._-]+"),
    ("USER", "%{USERNAME}"),
    (
        "EMAILLOCALPART",
        r"[a-zA-Z0-9!#$%&'*+\-/=?^_`{|}~]{1,64}(?:\.[a-zA-Z0-9!#$%&'*+\-/=?^_`{|}~]{1,62}){0,63}",
    ),
    ("EMAILADDRESS", "%{EMAILLOCALPART}@%{HOSTNAME}"),
    ("INT", r"[+-]?(?:[0-9]+)"),
    ("BASE10NUM", r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"),
    ("NUMBER", "%{BASE10NUM}"),
    ("BASE16NUM", r"[+-]?(?:0x)?[0-9A-Fa-f]+"),
    ("BASE16FLOAT", r"\b[+-]?(?:0x)?(?:[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]*)?|\.[0-9A-Fa-f]+)\b"),
    ("POSINT", r"\b[1-9][0-9]*\b"),
    ("NONNEGINT", r"\b[0-9]+\b"),
    ("WORD", r"\b\w+\b"),
    ("NOTSPACE", r"\S+"),
    ("SPACE", r"\s*"),
    ("DATA", ".*?"),
    ("GREEDYDATA", ".*"),
    ("QUOTEDSTRING", r#""(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*'|`(?:\\.|[^\\`])*`"#),
    ("QS", "%{QUOTEDSTRING}"),
    ("UUID", "[A-Fa-f0-9]{8}-(?:[A-Fa-f0-9]{4}-){3}[A-Fa-f0-9]{12}"),
    (
        "URN",
        r"urn:[0-9A-Za-z][0-9A-Za-z-]{0,31}:(?:%[0-9a-fA-F]{2}|[0-9A-Za-z()+,.:=@;$_!*'/?#-])+",
    ),
    ("MAC", "%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC}"),
    ("CISCOMAC", r"(?:[A-Fa-f0-9]{4}\.){2}[A-Fa-f0-9]{4}"),
    ("WINDOWSMAC", "(?:[A-Fa-f0-9]{2}-){5}[A-Fa-f0-9]{2}"),
    ("COMMONMAC", "(?:[A-Fa-f0-9]{2}:){5}[A-Fa-f0-9]{2}"),
    ("IPV6", r"(?:[0-9A-Fa-f]{0,4}:){2,7}(?:%{IPV4}|[0-9A-Fa-f]{0,4})(?:%[0-9A-Za-z]+)?"),
    (
        "IPV4",
        r"(?:(?:25[0-5]|2[0-4][0-9]|[0-1]?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|[0-1]?[0-9]{1,2})",
    ),
    ("IP", "%{IPV6}|%{IPV4}"),
    ("HOSTNAME", r"\b[0-9A-Za-z][0-9A-Za-z-]{0,62}(?:\.[0-9A-Za-z][0-9A-Za-z-]{0,62})*\.?"),
    ("IPORHOST", "%{IP}|%{HOSTNAME}"),
    ("HOSTPORT", "%{IPORHOST}:%{POSINT}"),
    ("PATH", "%{UNIXPATH}|%{WINPATH}"),
    ("UNIXPATH", r"(?:/[\w_%!$@:.,+~-]*)+"),
    ("TTY", r"/dev/(?:pts|tty(?:[pq])?)(?:\w+)?/?(?:[0-9]+)"),
    ("WINPATH", r"(?:[A-Za-z]+:|\\)(?:\\[^\\?*]*)+"),
    ("URIPROTO", r"[A-Za-z](?:[A-Za-z0-9+\-.]+)+"),
    ("URIHOST", "%{IPORHOST}(?::%{POSINT})?"),
    ("URIPATH", r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_\-]*)+"),
    ("URIPARAM", r"\?[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\-\[\]<>]*"),
    ("URIPATHPARAM", "%{URIPATH}(?:%{URIPARAM})?"),
    ("URI", "%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?"),
    (
        "MONTH",
        r"\b(?:[Jj]an(?:uary)?|[Ff]eb(?:ruary)?|[Mm]ar(?:ch)?|[Aa]pr(?:il)?|[Mm]ay|[Jj]une?|[Jj]uly?|[Aa]ug(?:ust)?|[Ss]ep(?:t(?:ember)?)?|[Oo]ct(?:ober)?|[Nn]ov(?:ember)?|[Dd]ec(?:ember)?)\b",
    ),
    ("MONTHNUM", "0?[1-9]|1[0-2]"),
    ("MONTHNUM2", "0[1-9]|1[0-2]"),
    ("MONTHDAY", "(?:0[1-9]|[12][0-9]|3[01]|[1-9])"),
    (
        "DAY",
        "(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)",
    ),
    ("YEAR", r"(?:\d\d){1,2}"),
    ("HOUR", "2[0123]|[01]?[0-9]"),
    ("MINUTE", "[0-5][0-9]"),
    ("SECOND", "(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?"),
    ("TIME", "%{HOUR}:%{MINUTE}(?::%{SECOND})?"),
    ("DATE_US", "%{MONTHNUM}[/-]%{MONTHDAY}[/-]%{YEAR}"),
    ("DATE_EU", "%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}"),
    ("ISO8601_TIMEZONE", "Z|[+-]%{HOUR}(?::?%{MINUTE})"),
    ("ISO8601_SECOND", "%{SECOND}|60"),
    (
        "TIMESTAMP_ISO8601",
        "%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[T ]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?(?:%{ISO8601_TIMEZONE})?",
    ),
    ("DATE", "%{DATE_US}|%{DATE_EU}"),
    ("DATESTAMP", "%{DATE}[- ]%{TIME}"),
    ("TZ", "[A-Z]{3}"),
    ("DATESTAMP_RFC822", "%{DAY} %{MONTH} %{MONTHDAY} %{YEAR} %{TIME} %{TZ}"),
    ("DATESTAMP_RFC2822", "%{DAY}, %{MONTHDAY} %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}"),
    ("DATESTAMP_OTHER", "%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{TZ} %{YEAR}"),
    ("DATESTAMP_EVENTLOG", "%{YEAR}%{MONTHNUM2}%{MONTHDAY}%{HOUR}%{MINUTE}%{SECOND}"),
    ("HTTPDERROR_DATE", "%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{YEAR}"),
    ("SYSLOGTIMESTAMP", "%{MONTH} +%{MONTHDAY} %{TIME}"),
    ("PROG", r"[\x21-\x5a\x5c\x5e-\x7e]+"),
    ("SYSLOGPROG", r"%{PROG:process.name}(?:\[%{POSINT:process.pid:int}\])?"),
    ("SYSLOGHOST", "%{IPORHOST}"),
    (
        "SYSLOGFACILITY",
        "<%{NONNEGINT:log.syslog.facility.code:int}.%{NONNEGINT:log.syslog.priority:int}>",
    ),
    (
        "SYSLOGBASE",
        "%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:host.hostname} %{SYSLOGPROG}:",
    ),
    ("HTTPDATE", "%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}"),
    ("HTTPDUSER", "%{EMAILADDRESS}|%{USER}"),
    (
        "HTTPD_COMMONLOG",
        r#"%{IPORHOST:source.address} (?:-|%{HTTPDUSER:apache.access.user.identity}) (?:-|%{HTTPDUSER:user.name}) \[%{HTTPDATE:timestamp}\] "(?:%{WORD:http.request.method} %{NOTSPACE:url.original}(?: HTTP/%{NUMBER:http.version})?|%{DATA})" (?:-|%{INT:http.response.status_code:int}) (?:-|%{INT:http.response.body.bytes:int})"#,
    ),
    (
        "HTTPD_COMBINEDLOG",
        r#"%{HTTPD_COMMONLOG} "(?:-|%{DATA:http.request.referrer})" "(?:-|%{DATA:user_agent.original})""#,
    ),
    ("COMMONAPACHELOG", "%{HTTPD_COMMONLOG}"),
    ("COMBINEDAPACHELOG", "%{HTTPD_COMBINEDLOG}"),
    (
        "LOGLEVEL",
        "(?:[Aa]lert|ALERT|[Tt]race|TRACE|[Dd]ebug|DEBUG|[Nn]otice|NOTICE|[Ii]nfo?(?:rmation)?|INFO?(?:RMATION)?|[Ww]arn?(?:ing)?|WARN?(?:ING)?|[Ee]rr?(?:or)?|ERR?(?:OR)?|[Cc]rit?(?:ical)?|CRIT?(?:ICAL)?|[Ff]atal|FATAL|[Ss]evere|SEVERE|EMERG(?:ENCY)?|[Ee]merg(?:ency)?)",
    ),
];
