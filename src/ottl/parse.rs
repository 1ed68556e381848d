//! Tokens to a syntax tree, by recursive descent.
//!
//! One grammar serves for values and conditions; whether a comparison may be used at a place is
//! decided by the compiler, which can say why. Nesting is limited: no text exhausts the stack.

use super::{
    lex::{Token, TokenKind, tokens},
    problem::Problem,
    syntax::{Argument, Call, Comparison, Expr, ExprKind, Math, Path, Segment, Span, Statement},
};

/// Deepest nesting of expressions.
const DEPTH: usize = 64;

/// Most signs of arithmetic in a statement: they make a tree as deep as the chain is long.
const SUMS: usize = 128;

/// Longest text of a statement, in bytes.
const LONGEST: usize = 64 << 10;

/// Parses `editor(...) where condition`.
pub(crate) fn statement(text: &str) -> Result<Statement, Problem> {
    let mut parser = Parser::new(text)?;
    let start = parser.span();
    let name = parser.editor_name()?;
    let editor = parser.call(name, start)?;
    let span = start.to(parser.before());
    if parser.is_sign("[") {
        let message = "the result of an editor cannot be indexed";
        return Err(Problem::new(parser.span(), message));
    }
    let condition = if parser.take_word("where") { Some(parser.any_of()?) } else { None };
    parser.end(if condition.is_none() { "`where` or the end" } else { "the end" })?;
    Ok(Statement { editor, condition, span })
}

/// Parses a condition.
pub(crate) fn condition(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser::new(text)?;
    let found = parser.any_of()?;
    parser.end("the end")?;
    Ok(found)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    sums: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, Problem> {
        if text.len() > LONGEST {
            let message = format!("a statement can have at most {LONGEST} bytes");
            return Err(Problem::new(Span::new(0, 1), message));
        }
        Ok(Parser { tokens: tokens(text)?, at: 0, depth: 0, sums: 0 })
    }

    fn peek(&self, ahead: usize) -> &TokenKind {
        self.tokens.get(self.at + ahead).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn span(&self) -> Span {
        let last = self.tokens.len() - 1;
        self.tokens[self.at.min(last)].span
    }

    /// The place of the token before this one.
    fn before(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(0), TokenKind::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = self.is_sign(sign);
        self.at += usize::from(is_it);
        is_it
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(0), TokenKind::Name(found) if found == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn need(&mut self, sign: &str) -> Result<(), Problem> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn end(&self, wanted: &str) -> Result<(), Problem> {
        if *self.peek(0) == TokenKind::End { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.peek(0) {
            TokenKind::End => "the end".to_owned(),
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Sign(sign) => format!("`{sign}`"),
            TokenKind::Text(_) => "a text".to_owned(),
            TokenKind::Int(_) | TokenKind::Double(_) => "a number".to_owned(),
            TokenKind::Bytes(_) => "bytes".to_owned(),
        };
        let problem = Problem::new(self.span(), format!("expected {wanted}, found {found}"));
        match self.peek(0) {
            TokenKind::Sign("=") => problem.help("write `==` to compare"),
            TokenKind::Name(name) if name == "AND" => problem.help("write `and`"),
            TokenKind::Name(name) if name == "OR" => problem.help("write `or`"),
            TokenKind::Sign("==" | "!=" | "<" | "<=" | ">" | ">=") => {
                problem.help("comparisons cannot be chained; join two by `and`")
            }
            _ => problem,
        }
    }

    fn editor_name(&mut self) -> Result<String, Problem> {
        let TokenKind::Name(name) = self.peek(0).clone() else {
            return Err(self.unexpected("an editor such as `set(...)`"));
        };
        let is_call = matches!(self.peek(1), TokenKind::Sign("("));
        if name.starts_with(|c: char| c.is_ascii_uppercase()) && is_call {
            let message =
                format!("`{name}` is a converter, which returns a value and changes nothing");
            return Err(Problem::new(self.span(), message)
                .help("a statement begins with an editor, such as `set(path, value)`"));
        }
        self.at += 1;
        if !is_call {
            return Err(self.unexpected("`(` after the name of an editor"));
        }
        Ok(name)
    }

    fn deeper(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > DEPTH {
            let message = format!("expressions are nested more than {DEPTH} deep");
            return Err(Problem::new(self.span(), message));
        }
        Ok(())
    }

    fn any_of(&mut self) -> Result<Expr, Problem> {
        self.deeper()?;
        let mut all = vec![self.all_of()?];
        while self.take_word("or") {
            all.push(self.all_of()?);
        }
        self.depth -= 1;
        Ok(joined(all, ExprKind::Or))
    }

    fn all_of(&mut self) -> Result<Expr, Problem> {
        let mut all = vec![self.negation()?];
        while self.take_word("and") {
            all.push(self.negation()?);
        }
        Ok(joined(all, ExprKind::And))
    }

    fn negation(&mut self) -> Result<Expr, Problem> {
        let start = self.span();
        if self.take_word("not") {
            let inner = self.comparison()?;
            let span = start.to(inner.span);
            return Ok(Expr { kind: ExprKind::Not(Box::new(inner)), span });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Problem> {
        let left = self.sum()?;
        let comparison = match self.peek(0) {
            TokenKind::Sign("==") => Comparison::Equal,
            TokenKind::Sign("!=") => Comparison::NotEqual,
            TokenKind::Sign("<") => Comparison::Less,
            TokenKind::Sign("<=") => Comparison::LessOrEqual,
            TokenKind::Sign(">") => Comparison::Greater,
            TokenKind::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return Ok(left),
        };
        self.at += 1;
        let right = self.sum()?;
        let span = left.span.to(right.span);
        Ok(Expr { kind: ExprKind::Compare(comparison, Box::new(left), Box::new(right)), span })
    }

    fn sum(&mut self) -> Result<Expr, Problem> {
        let mut left = self.product()?;
        loop {
            let math = match self.peek(0) {
                TokenKind::Sign("+") => Math::Add,
                TokenKind::Sign("-") => Math::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.product()?;
            left = self.calculated(math, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Expr, Problem> {
        let mut left = self.signed()?;
        loop {
            let math = match self.peek(0) {
                TokenKind::Sign("*") => Math::Multiply,
                TokenKind::Sign("/") => Math::Divide,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.signed()?;
            left = self.calculated(math, left, right)?;
        }
    }

    fn calculated(&mut self, math: Math, left: Expr, right: Expr) -> Result<Expr, Problem> {
        let span = left.span.to(right.span);
        self.sums += 1;
        if self.sums > SUMS {
            let message = format!("a statement can have at most {SUMS} signs of arithmetic");
            return Err(Problem::new(span, message));
        }
        Ok(Expr { kind: ExprKind::Math(math, Box::new(left), Box::new(right)), span })
    }

    fn signed(&mut self) -> Result<Expr, Problem> {
        let start = self.span();
        if self.take_sign("-") {
            let inner = self.primary()?;
            let span = start.to(inner.span);
            return Ok(Expr { kind: ExprKind::Negate(Box::new(inner)), span });
        }
        self.take_sign("+");
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, Problem> {
        let start = self.span();
        let kind = match self.peek(0).clone() {
            TokenKind::Int(value) => self.literal(ExprKind::Int(value)),
            TokenKind::Double(value) => self.literal(ExprKind::Double(value)),
            TokenKind::Text(text) => self.literal(ExprKind::Text(text)),
            TokenKind::Bytes(bytes) => self.literal(ExprKind::Bytes(bytes)),
            TokenKind::Sign("(") => return self.parenthesis(),
            TokenKind::Sign("[") => self.list()?,
            TokenKind::Sign("{") => self.map()?,
            TokenKind::Name(name) => match &*name {
                "nil" => self.literal(ExprKind::Nil),
                "true" => self.literal(ExprKind::Bool(true)),
                "false" => self.literal(ExprKind::Bool(false)),
                "and" | "or" | "not" | "where" => return Err(self.unexpected("a value")),
                _ => self.named(name)?,
            },
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Expr { kind, span: start.to(self.before()) })
    }

    fn literal(&mut self, kind: ExprKind) -> ExprKind {
        self.at += 1;
        kind
    }

    /// A call, an enum or a path.
    fn named(&mut self, name: String) -> Result<ExprKind, Problem> {
        let start = self.span();
        let is_upper = name.starts_with(|c: char| c.is_ascii_uppercase());
        if matches!(self.peek(1), TokenKind::Sign("(")) {
            if !is_upper {
                let message = format!("`{name}` is an editor, which returns no value");
                return Err(Problem::new(start, message)
                    .help("converters begin with a capital letter, such as `Concat(...)`"));
            }
            self.at += 1;
            let mut call = self.call(name, start)?;
            call.keys = self.keys()?;
            return Ok(ExprKind::Call(call));
        }
        if is_upper {
            self.at += 1;
            return Ok(ExprKind::Enum(name));
        }
        self.path().map(ExprKind::Path)
    }

    fn path(&mut self) -> Result<Path, Problem> {
        let mut segments = Vec::new();
        loop {
            let span = self.span();
            let TokenKind::Name(name) = self.peek(0).clone() else {
                return Err(self.unexpected("a field"));
            };
            if name.contains(|c: char| c.is_ascii_uppercase()) {
                let message = format!("`{name}` is not a field; fields have no capital letters");
                let problem = Problem::new(span, message);
                return Err(match segments.last() {
                    Some(Segment { name: before, .. }) => {
                        problem.help(format!("write `{before}[\"{name}\"]` for a key"))
                    }
                    None => problem,
                });
            }
            self.at += 1;
            let keys = self.keys()?;
            segments.push(Segment { name, span, keys });
            if !self.take_sign(".") {
                return Ok(Path { segments });
            }
        }
    }

    fn keys(&mut self) -> Result<Vec<Expr>, Problem> {
        let mut keys = Vec::new();
        while self.take_sign("[") {
            keys.push(self.value()?);
            self.need("]")?;
        }
        Ok(keys)
    }

    fn value(&mut self) -> Result<Expr, Problem> {
        self.any_of()
    }

    /// The arguments of a call whose name was read.
    fn call(&mut self, name: String, name_span: Span) -> Result<Call, Problem> {
        self.need("(")?;
        let mut arguments = Vec::new();
        while !self.take_sign(")") {
            arguments.push(self.argument()?);
            if !self.is_sign(")") {
                self.need(",")?;
                if self.is_sign(")") {
                    return Err(self.unexpected("an argument"));
                }
            }
        }
        Ok(Call { name, name_span, arguments, keys: Vec::new() })
    }

    fn argument(&mut self) -> Result<Argument, Problem> {
        let span = self.span();
        let mut name = None;
        if let (TokenKind::Name(found), TokenKind::Sign("=")) = (self.peek(0), self.peek(1)) {
            name = Some((found.clone(), span));
            self.at += 2;
        }
        Ok(Argument { name, value: self.value()? })
    }

    fn list(&mut self) -> Result<ExprKind, Problem> {
        self.at += 1;
        let mut values = Vec::new();
        while !self.take_sign("]") {
            values.push(self.value()?);
            if !self.is_sign("]") {
                self.need(",")?;
            }
        }
        Ok(ExprKind::List(values))
    }

    fn map(&mut self) -> Result<ExprKind, Problem> {
        self.at += 1;
        let mut members = Vec::new();
        while !self.take_sign("}") {
            let TokenKind::Text(key) = self.peek(0).clone() else {
                return Err(self.unexpected("a key in quotes"));
            };
            self.at += 1;
            self.need(":")?;
            members.push((key, self.value()?));
            if !self.is_sign("}") {
                self.need(",")?;
            }
        }
        Ok(ExprKind::Map(members))
    }

    /// A lambda, or something in parentheses.
    fn parenthesis(&mut self) -> Result<Expr, Problem> {
        let start = self.span();
        if let Some((names, len)) = self.lambda_head() {
            self.at += len;
            let body = self.value()?;
            let span = start.to(body.span);
            return Ok(Expr { kind: ExprKind::Lambda(names, Box::new(body)), span });
        }
        self.at += 1;
        let inner = self.any_of()?;
        self.need(")")?;
        Ok(Expr { kind: inner.kind, span: start.to(self.before()) })
    }

    /// The names of `(a, _) =>` and its number of tokens, if that is what follows.
    fn lambda_head(&self) -> Option<(Vec<Option<String>>, usize)> {
        let mut names = Vec::new();
        let mut at = 1;
        loop {
            match self.peek(at) {
                TokenKind::Sign(")") if names.is_empty() => break,
                TokenKind::Sign("_") => names.push(None),
                TokenKind::Name(name) => names.push(Some(name.clone())),
                _ => return None,
            }
            at += 1;
            match self.peek(at) {
                TokenKind::Sign(",") => at += 1,
                TokenKind::Sign(")") => break,
                _ => return None,
            }
        }
        (*self.peek(at + 1) == TokenKind::Sign("=>")).then_some((names, at + 2))
    }
}

fn joined(mut all: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> ExprKind) -> Expr {
    if all.len() > 1 {
        let span = all[0].span.to(all[all.len() - 1].span);
        return Expr { kind: join(all), span };
    }
    all.remove(0)
}
