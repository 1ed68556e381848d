//! The part of a URL behind `?`.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use super::access::Refusal;

/// Names with their values, decoded, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query; a name that is none of `known` is refused, so that no wish is passed over.
    pub(super) fn read(text: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            if !known.contains(&&*name) {
                let error = format!("there is no parameter `{}`", name.escape_debug());
                let help = format!("there is {}", known.join(", "));
                return Err(Refusal::new(StatusCode::BAD_REQUEST, error, help));
            }
            pairs.push((name, value));
        }
        Ok(Query(pairs))
    }

    /// The first value of a name; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value).unwrap_or_default()
    }

    /// All values of a name.
    pub(super) fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// A whole number; 0 if it is not there.
    pub(super) fn number(&self, name: &str) -> Result<u64, Refusal> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| {
            let error = format!("`{name}` is not a whole number");
            Refusal::new(StatusCode::BAD_REQUEST, error, format!("write `{name}=20`"))
        })
    }
}

/// What stands for a text; browsers write a space as `+`.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_browsers_write_it() {
        let known = ["where", "redact", "rate"];
        let text = "where=name+%3D%3D+%22a%26b%2B%22&redact=x&redact=y&rate=7&";
        let query = Query::read(text, &known).unwrap();
        assert_eq!(query.text("where"), "name == \"a&b+\"");
        assert_eq!(query.texts("redact").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(query.number("rate"), Ok(7));
        assert_eq!(Query::read("", &known).unwrap().number("rate"), Ok(0));
        for (wrong, words) in [("rat=7", "no parameter `rat`"), ("%00=1", "`\\0`")] {
            let refusal = Query::read(wrong, &known).unwrap_err();
            assert!(refusal.error.contains(words), "{}", refusal.error);
        }
        for wrong in ["-1", "1e3", "x", "99999999999999999999"] {
            let query = Query::read(&format!("rate={wrong}"), &known).unwrap();
            assert_eq!(query.number("rate").unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }
}
