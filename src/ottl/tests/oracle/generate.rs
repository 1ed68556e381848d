//! Random programs. Most have the right types; what the compiler refuses is left out.

use fastrand::Rng;

use super::{
    fields::{Kind, fields},
    program::{Expr, Group, Path},
    value::{Op, Val},
};
use crate::{
    otlp::Signal,
    ottl::{self, Context, Program},
};

/// Keys and texts of programs and requests alike, so that one finds what is in the other.
pub(super) const KEYS: [&str; 8] = ["a", "b", "ab", "k", "m", "l", "key", ""];
pub(super) const TEXTS: [&str; 12] = [
    "a",
    "b",
    "ab",
    "",
    "x;y;z",
    "12",
    "1.5",
    "true",
    "h\u{e9}\u{e9}",
    "{\"a\": [1, null]}",
    "1h",
    "[2]",
];
pub(super) const PATTERNS: [&str; 8] = ["a", "^a", "b$", ".", "(a)(b)?", "[;x]", "h.\u{e9}", "a*"];
pub(super) const GLOBS: [&str; 5] = ["*", "a*", "?", "x;*z", "a"];
pub(super) const NEW: [&str; 5] = ["n", "", "$1-", "$1x", "<${0}>"];

pub(super) struct Writer<'r> {
    pub rng: &'r mut Rng,
    pub signal: Signal,
    pub context: Context,
}

impl Writer<'_> {
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.usize(..all.len())]
    }

    pub(super) fn chance(&mut self, one_in: u8) -> bool {
        self.rng.u8(0..one_in) == 0
    }

    pub(super) fn literal(value: &str) -> Expr {
        Expr::Literal(Val::text(value))
    }

    /// A group that the compiler takes; `None` if it refused all of it.
    pub(super) fn group(&mut self) -> Group {
        let mut group = Group { conditions: Vec::new(), statements: Vec::new() };
        for _ in 0..self.pick(&[0, 0, 1, 2]) {
            let condition = self.condition(2);
            if self.is_taken(&[&condition.to_string()], &[]) {
                group.conditions.push(condition);
            }
        }
        for _ in 0..self.rng.u8(1..6) {
            let statement = self.statement();
            if self.is_taken(&[], &[&statement.to_string()]) {
                group.statements.push(statement);
            }
        }
        group
    }

    pub(super) fn is_taken(&self, conditions: &[&str], statements: &[&str]) -> bool {
        let context = Some(self.context);
        let group = ottl::Group { signal: self.signal, context, conditions, statements };
        Program::compile(&group).is_ok()
    }

    pub(super) fn level(&mut self) -> Context {
        match self.rng.u8(0..10) {
            0..2 => Context::Resource,
            2..4 if self.context != Context::Resource => Context::Scope,
            4 if matches!(self.context, Context::DataPoint | Context::Exemplar) => Context::Metric,
            5 if self.context == Context::Exemplar => Context::DataPoint,
            4 if matches!(self.context, Context::SpanEvent | Context::SpanLink) => Context::Span,
            _ => self.context,
        }
    }

    pub(super) fn path_to(
        &mut self,
        context: Context,
        field: &'static str,
        keys: Vec<Expr>,
    ) -> Path {
        let is_bare = context == self.context && self.chance(4);
        let is_old = context == Context::Scope && context != self.context && self.chance(3);
        Path { context, field, keys, is_bare, is_old }
    }

    pub(super) fn map_field(context: Context) -> &'static str {
        match context {
            Context::Metric => "metadata",
            Context::Exemplar => "filtered_attributes",
            _ => "attributes",
        }
    }

    /// An attribute, or what is in it.
    pub(super) fn attribute(&mut self) -> Path {
        let context = self.level();
        let is_cached = context == self.context && self.chance(8);
        let field = if is_cached { "cache" } else { Self::map_field(context) };
        let mut keys = vec![self.key()];
        match self.rng.u8(0..10) {
            0 => keys.push(Self::literal("a")),
            1 => keys.push(Expr::Literal(Val::Int(self.rng.i64(0..3)))),
            2 => keys.extend([Self::literal("m"), Self::literal("b")]),
            _ => {}
        }
        self.path_to(context, field, keys)
    }

    pub(super) fn key(&mut self) -> Expr {
        if self.chance(16) {
            let level = self.level();
            let keys = vec![Self::literal("k")];
            return Expr::Path(self.path_to(level, Self::map_field(level), keys));
        }
        Self::literal(self.pick(&KEYS))
    }

    /// A map as a whole, or one in an attribute.
    pub(super) fn map_path(&mut self) -> Path {
        let context = self.level();
        let keys = if self.chance(4) { vec![self.key()] } else { Vec::new() };
        let field = match self.rng.u8(0..10) {
            0 if context == self.context => "cache",
            1 if context == Context::Log => "body",
            _ => Self::map_field(context),
        };
        self.path_to(context, field, keys)
    }

    pub(super) fn field(&mut self, wanted: Kind) -> Option<Path> {
        let level = self.level();
        let all: Vec<&str> = fields(level)
            .iter()
            .filter(|(_, kind)| *kind == wanted || wanted == Kind::Any)
            .map(|(field, _)| *field)
            .collect();
        let field = self.rng.choice(all)?;
        let has_keys = field == "body" && self.chance(2);
        let keys = if has_keys { vec![self.key()] } else { Vec::new() };
        Some(self.path_to(level, field, keys))
    }

    /// An expression of a kind, or of an attribute that may have it.
    pub(super) fn expr(&mut self, kind: Kind, depth: u8) -> Expr {
        if matches!(kind, Kind::Any | Kind::Text) && self.chance(16) {
            return self.of_request();
        }
        match self.rng.u8(0..8) {
            0..2 if kind != Kind::Time => Expr::Path(self.attribute()),
            2 | 3 => match self.field(kind) {
                Some(path) => Expr::Path(path),
                None => self.constant(kind),
            },
            4 | 5 if depth > 0 => self.call(kind, depth - 1),
            _ => self.constant(kind),
        }
    }

    pub(super) fn constant(&mut self, kind: Kind) -> Expr {
        let value = match kind {
            Kind::Any => match self.rng.u8(0..8) {
                0 => Val::Nil,
                1 => Val::Bool(self.rng.bool()),
                2 => Val::Int(self.rng.i64(0..4)),
                3 => Val::Double(self.pick(&[0.0, 1.0, 1.5])),
                4 => Val::Bytes(vec![1, 0xff]),
                _ => Val::text(self.pick(&TEXTS)),
            },
            Kind::Text => Val::text(self.pick(&TEXTS)),
            Kind::Int if self.chance(8) => {
                let number = [("SEVERITY_NUMBER_INFO", 9), ("STATUS_CODE_ERROR", 2)];
                let (name, value) = self.pick(&number);
                return Expr::Enum(name, value);
            }
            Kind::Int => Val::Int(self.pick(&[0, 1, 2, 3, 255, i64::MAX])),
            Kind::Double => Val::Double(self.pick(&[0.0, 1.0, 1.5, 2.25])),
            Kind::Bool => Val::Bool(self.rng.bool()),
            Kind::Map => {
                let (key, value) = (self.pick(&KEYS), self.expr(Kind::Any, 0));
                let (other, second) = (self.pick(&KEYS), self.constant(Kind::Text));
                let second = (other != key).then_some((other, second));
                return Expr::Map([(key, value)].into_iter().chain(second).collect());
            }
            Kind::List => {
                let len = self.rng.usize(0..3);
                return Expr::List((0..len).map(|_| self.expr(Kind::Any, 0)).collect());
            }
            Kind::Time => return Expr::Path(self.attribute()),
            Kind::TraceId => {
                let text = self.pick(&["0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "00"]);
                return Expr::Call("TraceID", vec![Self::literal(text)]);
            }
            Kind::SpanId => {
                let text = self.pick(&["0000000000000000", "0102030405060708"]);
                return Expr::Call("SpanID", vec![Self::literal(text)]);
            }
        };
        Expr::Literal(value)
    }

    pub(super) fn call(&mut self, kind: Kind, depth: u8) -> Expr {
        let kind = match kind {
            Kind::Any => {
                self.pick(&[Kind::Text, Kind::Int, Kind::Double, Kind::Bool, Kind::Map, Kind::List])
            }
            other => other,
        };
        match kind {
            Kind::Text => self.text_call(depth),
            Kind::Int => match self.rng.u8(0..7) {
                0 => Expr::Call("Len", vec![self.expr(Kind::Any, depth)]),
                1 => Expr::Call("Int", vec![self.expr(Kind::Any, depth)]),
                2 => Expr::Call("FNV", vec![self.expr(Kind::Text, depth)]),
                3 => Expr::Call("UnixNano", vec![self.expr(Kind::Time, depth)]),
                4 => {
                    let arguments = [self.expr(Kind::Text, depth), self.constant(Kind::Text)];
                    Expr::Call("Index", arguments.to_vec())
                }
                _ => {
                    let sign = self.pick(&['+', '-', '*', '/']);
                    let sides = (self.expr(Kind::Int, depth), self.expr(Kind::Int, depth));
                    Expr::Math(sign, Box::new(sides))
                }
            },
            Kind::Double if self.rng.bool() => {
                Expr::Call("Double", vec![self.expr(Kind::Any, depth)])
            }
            Kind::Double => {
                let sign = self.pick(&['+', '-', '*', '/']);
                let sides = (self.expr(Kind::Double, depth), self.expr(Kind::Int, depth));
                Expr::Math(sign, Box::new(sides))
            }
            Kind::Bool => self.bool_call(depth),
            Kind::Map => match self.rng.u8(0..4) {
                0 => Expr::Call("ParseJSON", vec![self.expr(Kind::Text, depth)]),
                1 => {
                    let pattern = Self::literal("(?P<a>.)(?P<b>b)?");
                    Expr::Call("ExtractPatterns", vec![self.expr(Kind::Text, depth), pattern])
                }
                _ => self.each("Filter", depth),
            },
            Kind::List => match self.rng.u8(0..4) {
                0 => Expr::Call("Keys", vec![self.expr(Kind::Map, depth)]),
                1 => Expr::Call("Values", vec![self.expr(Kind::Map, depth)]),
                2 => Expr::Call("ParseJSON", vec![self.expr(Kind::Text, depth)]),
                _ => {
                    let arguments = [self.expr(Kind::Text, depth), Self::literal(";")];
                    Expr::Call("Split", arguments.to_vec())
                }
            },
            Kind::Time => {
                let sign = self.pick(&['+', '-']);
                let duration = Expr::Call("Duration", vec![Self::literal("1h")]);
                match self.field(Kind::Time) {
                    Some(time) => Expr::Math(sign, Box::new((Expr::Path(time), duration))),
                    None => duration,
                }
            }
            other => self.constant(other),
        }
    }

    pub(super) fn text_call(&mut self, depth: u8) -> Expr {
        let text = self.expr(Kind::Text, depth);
        match self.rng.u8(0..10) {
            0 => Expr::Call("ToUpperCase", vec![text]),
            1 => Expr::Call("ToLowerCase", vec![text]),
            2 => {
                let list = Expr::List(vec![text, self.expr(Kind::Any, depth)]);
                Expr::Call("Concat", vec![list, Self::literal("-")])
            }
            3 => Expr::Call("String", vec![self.expr(Kind::Any, depth)]),
            4 => {
                let numbers = [self.rng.i64(0..3), self.rng.i64(0..3)];
                let [start, len] = numbers.map(|number| Expr::Literal(Val::Int(number)));
                Expr::Call("Substring", vec![text, start, len])
            }
            5 => Expr::Call("Hex", vec![self.expr(Kind::Any, depth)]),
            6 => Expr::Call("Base64Encode", vec![text]),
            7 => {
                let name = self.pick(&["TrimPrefix", "TrimSuffix", "Trim"]);
                Expr::Call(name, vec![text, Self::literal("a")])
            }
            8 => {
                let split = Expr::Call("Split", vec![text, Self::literal(";")]);
                Expr::Key(Box::new(split), Box::new(Expr::Literal(Val::Int(self.rng.i64(0..3)))))
            }
            _ => {
                let list = vec![Expr::Path(self.attribute()), Expr::Path(self.attribute()), text];
                Expr::Call("Coalesce", vec![Expr::List(list)])
            }
        }
    }

    pub(super) fn bool_call(&mut self, depth: u8) -> Expr {
        let any = self.expr(Kind::Any, depth);
        match self.rng.u8(0..8) {
            0 => {
                let arguments = [any, Self::literal(self.pick(&PATTERNS))];
                Expr::Call("IsMatch", arguments.to_vec())
            }
            1 => {
                let name = self.pick(&["HasPrefix", "HasSuffix"]);
                let arguments = [self.expr(Kind::Text, depth), self.constant(Kind::Text)];
                Expr::Call(name, arguments.to_vec())
            }
            2 => {
                let list = Expr::List(vec![any, self.constant(Kind::Any)]);
                Expr::Call("ContainsValue", vec![list, self.constant(Kind::Any)])
            }
            3 => {
                let name = self.pick(&["Any", "All"]);
                self.each(name, depth)
            }
            4 if self.context == Context::Metric => {
                let key = Self::literal(self.pick(&["a", "b", "k"]));
                if self.rng.bool() {
                    return Expr::Call("HasAttrKeyOnDatapoint", vec![key]);
                }
                let text = self.constant(Kind::Text);
                Expr::Call("HasAttrOnDatapoint", vec![key, text])
            }
            4 if matches!(self.context, Context::Span | Context::SpanEvent) => {
                Expr::Call("IsRootSpan", Vec::new())
            }
            5 => Expr::Call("Bool", vec![any]),
            _ => {
                let names =
                    ["IsString", "IsMap", "IsList", "IsBool", "IsInt", "IsDouble", "IsEmpty"];
                Expr::Call(self.pick(&names), vec![any])
            }
        }
    }

    pub(super) fn each(&mut self, name: &'static str, depth: u8) -> Expr {
        let kind = self.pick(&[Kind::Map, Kind::List]);
        let source = self.expr(kind, depth);
        Expr::Each(name, Box::new(source), self.pick(&Op::ALL), Box::new(self.constant(Kind::Any)))
    }
}
