//! The syntax tree of a statement or condition. Every node has its position in the text.

/// A range of bytes in the text of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// From the start of this to the end of another.
    pub(super) fn to(self, other: Span) -> Self {
        Span { start: self.start, end: other.end.max(self.start) }
    }
}

/// An editor call with its condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub editor: Call,
    pub condition: Option<Expr>,
    /// The editor call.
    pub span: Span,
}

/// A value or a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// A name in capitals: `STATUS_CODE_ERROR`.
    Enum(String),
    List(Vec<Expr>),
    Map(Vec<(String, Expr)>),
    Path(Path),
    Call(Call),
    Negate(Box<Expr>),
    Math(Math, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// `(key, value) => body`; a name is `None` for `_`.
    Lambda(Vec<Option<String>>, Box<Expr>),
}

/// `span.attributes["a"]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub segments: Vec<Segment>,
}

/// One name of a path with its keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub name: String,
    pub span: Span,
    pub keys: Vec<Expr>,
}

/// A call of an editor or converter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub name: String,
    pub name_span: Span,
    pub arguments: Vec<Argument>,
    pub keys: Vec<Expr>,
}

/// An argument, which may be named.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    pub name: Option<(String, Span)>,
    pub value: Expr,
}

/// `+ - * /`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Math {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Math {
    pub fn sign(self) -> &'static str {
        match self {
            Math::Add => "+",
            Math::Subtract => "-",
            Math::Multiply => "*",
            Math::Divide => "/",
        }
    }
}

/// `== != < <= > >=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}
