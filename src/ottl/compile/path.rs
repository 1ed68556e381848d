//! Paths: which context they are of, which field, and what their keys are.

use super::{
    super::{
        item::Tier,
        language::{Access, Context, Field, RequestField, fields},
        node::{Found, Key, Node, Place},
        problem::{Problem, closest},
        syntax::{Expr, ExprKind, Path, Segment, Span},
        types::Types,
        value::Value,
    },
    Compiler, Typed,
};

impl Compiler {
    /// A path that is read; or a name of a lambda.
    pub(super) fn path_value(&mut self, path: &Path, span: Span) -> Option<Typed> {
        if let [only] = &*path.segments
            && let Some(at) =
                self.locals.iter().rposition(|local| local.as_deref() == Some(&*only.name))
        {
            let keys = self.keys(&only.keys)?;
            let node = Node::Local(at);
            let node =
                if keys.is_empty() { node } else { Node::Inside(Box::new(node), keys, span) };
            return Some(Typed { node, types: Types::ALL });
        }
        let place = self.place(path, span)?;
        let types = place.reads;
        Some(Typed { node: Node::Path(Box::new(place)), types })
    }

    /// A path that is read or written.
    pub(super) fn place(&mut self, path: &Path, span: Span) -> Option<Place> {
        let (context, segments) = self.context_of(path)?;
        let (field, last) = self.field(context, segments, span)?;
        let keys = self.keys(&last.keys)?;
        if !keys.is_empty() && !field.has_keys {
            let message = format!("`{}` has no keys", field.path);
            self.error(Problem::new(last.span.to(span), message));
            return None;
        }
        let tier = match (field.access, field.path) {
            (Access::Schema, _) if context == Context::Resource => Tier::ResourceSchema,
            (Access::Schema, _) => Tier::ScopeSchema,
            (_, "cache") => Tier::Cache,
            _ => context.tier(),
        };
        let (reads, writes) = self.types_behind(&field, &keys, span);
        let shown = keys.iter().map(|key| match key {
            Key::Text(text) => format!("[\"{}\"]", String::from_utf8_lossy(text)),
            Key::Index(index) => format!("[{index}]"),
            Key::Dynamic(_) => "[...]".to_owned(),
        });
        let text = format!("{}.{}{}", context.name(), field.path, shown.collect::<String>());
        let found = Found::default();
        Some(Place { tier, access: field.access, keys, span, reads, writes, text, found })
    }

    /// What a field with keys may give and take.
    fn types_behind(&mut self, field: &Field, keys: &[Key], span: Span) -> (Types, Types) {
        if keys.is_empty() {
            let is_map = matches!(field.access, Access::Attributes(_)) || field.reads == Types::MAP;
            let writes = if is_map { field.writes.or(Types::NIL) } else { field.writes };
            return (field.reads, writes);
        }
        let is_map = field.reads == Types::MAP || matches!(field.access, Access::Request(_));
        let wants_text = is_map || matches!(field.access, Access::TraceState(_));
        let is_wrong = match &keys[0] {
            Key::Text(_) => false,
            Key::Index(_) => wants_text,
            Key::Dynamic(node) => {
                node.constant().is_some_and(|value| !matches!(value, Value::Text(_)))
            }
        };
        if is_wrong {
            let message = format!("a key of `{}` must be text, so this always fails", field.path);
            self.error(Problem::warning(span, message));
        }
        match field.access {
            Access::TraceState(_) => (Types::TEXT.or(Types::NIL), Types::TEXT),
            Access::Request(RequestField::Address) => (Types::TEXT, Types::NONE),
            Access::Request(_) => (Types::ANY, Types::NONE),
            _ => (Types::ANY, Types::ANY),
        }
    }

    /// The context of a path and the names behind it.
    fn context_of<'p>(&mut self, path: &'p Path) -> Option<(Context, &'p [Segment])> {
        let own = self.options.context;
        let first = &path.segments[0];
        let has_more = path.segments.len() > 1 && first.keys.is_empty();
        let named = Context::named(&first.name)
            .filter(|_| first.name.bytes().all(|c| !c.is_ascii_uppercase()));
        match named {
            Some(context) if has_more && own.reaches(context) => {
                return Some((context, &path.segments[1..]));
            }
            Some(context) if has_more => {
                let message = format!(
                    "`{}` cannot be used here, since the statement runs on {}",
                    first.name,
                    of(own)
                );
                let problem = Problem::new(first.span, message);
                self.error(if context.reaches(own) {
                    problem.help(format!("it needs the context `{}`", context.name()))
                } else {
                    problem.suggest("", prefixes(own))
                });
                return None;
            }
            _ => {}
        }
        if has_more && matches!(&*first.name, "profile" | "profilesample") {
            let message = "skep does not carry profiles";
            self.error(Problem::new(first.span, message));
            return None;
        }
        if self.options.needs_context {
            let name = &first.name;
            let owners = [own].into_iter().chain(own.above().iter().copied());
            let fits: Vec<String> = owners
                .filter(|context| fields(*context).iter().any(|field| head(field.path) == name))
                .map(|context| format!("`{}.{name}`", context.name()))
                .collect();
            let message = format!("`{name}` does not say of what it is a field");
            let problem = Problem::new(first.span, message);
            self.error(if fits.is_empty() {
                problem.suggest(name, prefixes(own))
            } else {
                problem.help(format!("write {}", fits.join(" or ")))
            });
            return None;
        }
        Some((own, &path.segments))
    }

    /// The field of a context that some names make, and the last of them.
    fn field<'p>(
        &mut self,
        context: Context,
        segments: &'p [Segment],
        span: Span,
    ) -> Option<(Field, &'p Segment)> {
        let joined: Vec<&str> = segments.iter().map(|segment| &*segment.name).collect();
        let joined = joined.join(".");
        let last = &segments[segments.len() - 1];
        let known = fields(context).iter().find(|field| field.path == joined);
        let inner = segments.iter().rev().skip(1).find(|segment| !segment.keys.is_empty());
        if let Some(inner) = inner {
            let message = format!("nothing can follow the keys of `{}`", inner.name);
            self.error(
                Problem::new(last.span, message)
                    .help(format!("write another key: `[\"{}\"]`", last.name)),
            );
            return None;
        }
        let Some(field) = known else {
            let message = format!("{} has no field `{joined}`", of(context));
            let whole = segments[0].span.to(last.span);
            let problem = Problem::new(whole, message);
            let others = || fields(context).iter().map(|field| field.path);
            let is_known_head = others().any(|path| path == segments[0].name);
            let best = closest(&joined, others());
            self.error(if let Some(best) = best {
                problem.help(format!("did you mean `{best}`?"))
            } else if segments.len() > 1 && is_known_head {
                let head = &segments[0].name;
                problem.help(format!("write `{head}[\"{}\"]` for a key", last.name))
            } else if context == Context::Metric && joined.starts_with("attributes") {
                problem.help("attributes are of data points: `datapoint.attributes`")
            } else {
                problem.suggest(&joined, others())
            });
            return None;
        };
        let own = self.options.context;
        if field.path == "cache" && context != own {
            let message = format!("the cache of {} cannot be used here", of(context));
            let own = own.name();
            self.error(Problem::new(span, message).help(format!("write `{own}.cache`")));
            return None;
        }
        Some((*field, last))
    }

    pub(super) fn keys(&mut self, keys: &[Expr]) -> Option<Vec<Key>> {
        let found: Vec<Option<Key>> = keys.iter().map(|key| self.key(key)).collect();
        found.into_iter().collect()
    }

    fn key(&mut self, key: &Expr) -> Option<Key> {
        if let ExprKind::Text(text) = &key.kind {
            return Some(Key::Text(text.clone().into_bytes()));
        }
        let typed = self.value(key)?;
        if !typed.types.meets(Types::TEXT.or(Types::INT)) {
            let message = format!("a key must be text or an integer, but this is {}", typed.types);
            self.error(Problem::warning(key.span, message));
        }
        Some(match typed.node {
            Node::Constant(Value::Int(index)) => Key::Index(index),
            Node::Constant(Value::Text(text)) => Key::Text(text.into_owned()),
            node => Key::Dynamic(node),
        })
    }
}

/// The first name of a path.
fn head(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The contexts that a statement can name.
fn prefixes(own: Context) -> impl Iterator<Item = &'static str> {
    [own].into_iter().chain(own.above().iter().copied()).map(Context::name)
}

/// A context in words.
fn of(context: Context) -> &'static str {
    match context {
        Context::Resource => "a resource",
        Context::Scope => "a scope",
        Context::Span => "a span",
        Context::SpanEvent => "a span event",
        Context::SpanLink => "a span link",
        Context::Metric => "a metric",
        Context::DataPoint => "a data point",
        Context::Exemplar => "an exemplar",
        Context::Log => "a log record",
        Context::Request => "a request",
    }
}
