//! What a text reads of the request that brought an item, so that a receiver keeps it.

use super::{
    language::Context,
    lex::{TokenKind, tokens},
};

/// Fields of the request that texts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestUse {
    /// Anything of it.
    pub any: bool,
    /// Its headers.
    pub metadata: bool,
    /// What an authenticator knows of the client.
    pub auth: bool,
}

impl RequestUse {
    /// What the texts of statements or conditions read.
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut all = RequestUse::default();
        for text in texts.into_iter().filter(|text| text.contains(Context::Request.name())) {
            all.add(text);
        }
        all
    }

    /// Looks for `otelcol.client.metadata` and its like. A text that is wrong names nothing.
    fn add(&mut self, text: &str) {
        let names: Vec<String> = tokens(text)
            .unwrap_or_default()
            .into_iter()
            .filter(|token| token.kind != TokenKind::Sign("."))
            .map(|token| match token.kind {
                TokenKind::Name(name) => name,
                _ => String::new(),
            })
            .collect();
        for (at, _) in names.iter().enumerate().filter(|(_, n)| *n == Context::Request.name()) {
            self.any = true;
            let field = names.get(at + 2).map(String::as_str);
            self.metadata |= field == Some("metadata");
            self.auth |= field == Some("auth");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_authentication_are_told_apart() {
        let used = |text: &str| {
            let RequestUse { any, metadata, auth } = RequestUse::of([text]);
            (any, metadata, auth)
        };
        assert_eq!(used(r#"otelcol.client.metadata["x"][0] == "a""#), (true, true, false));
        assert_eq!(used(r#"set(log.body, otelcol.grpc.metadata["x"])"#), (true, true, false));
        assert_eq!(used(r#"otelcol.client.auth.attributes["x"] == "a""#), (true, false, true));
        assert_eq!(used(r#"otelcol.client.addr == "a""#), (true, false, false));
        assert_eq!(used(r#"log.body == "otelcol.client.metadata""#), (false, false, false));
    }
}
