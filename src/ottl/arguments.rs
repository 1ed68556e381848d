//! How functions get at their arguments.

use std::borrow::Cow;

use super::{
    fault::{Fault, What},
    functions::{Function, Special},
    item::Item,
    node::{Argument, Call, Eval, Lambda, Place},
    text,
    types::Types,
    value::{Map, Value, elements},
    wire::Step,
    write::write,
};

impl Call {
    pub fn has(&self, at: usize) -> bool {
        !matches!(self.arguments.get(at), None | Some(Argument::Absent))
    }

    fn name(&self, at: usize) -> &'static str {
        self.function.parameters.get(at).map_or("the argument", |parameter| parameter.name)
    }

    /// Any value; nil if it is absent.
    pub fn value<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Value<'e>, Fault> {
        match self.arguments.get(at) {
            Some(Argument::Value(node, _) | Argument::Special(_, node, _)) => node.eval(eval),
            Some(Argument::Path(place)) => place.read(eval),
            _ => Ok(Value::Nil),
        }
    }

    /// The fault of an argument that has another type.
    pub fn wrong(&self, at: usize, wanted: Types, found: &Value<'_>) -> Fault {
        let what = What::Type { subject: self.name(at), wanted, found: found.types() };
        match self.arguments.get(at) {
            Some(Argument::Value(_, span) | Argument::Special(_, _, span)) => what.at(*span),
            Some(Argument::Path(place)) => what.at(place.span),
            _ => what.at(self.span),
        }
    }

    pub fn text<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Cow<'e, [u8]>, Fault> {
        match self.value(eval, at)? {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(at, Types::TEXT, &other)),
        }
    }

    /// A text, or what is given if the argument is absent.
    pub fn text_or<'e>(
        &'e self,
        eval: Eval<'e>,
        at: usize,
        otherwise: &'static str,
    ) -> Result<Cow<'e, [u8]>, Fault> {
        if self.has(at) { self.text(eval, at) } else { Ok(otherwise.as_bytes().into()) }
    }

    /// A text as UTF-8.
    pub fn str<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Cow<'e, str>, Fault> {
        Ok(to_str(self.text(eval, at)?))
    }

    /// Anything that has a text; nil has none.
    pub fn like<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Option<Cow<'e, [u8]>>, Fault> {
        Ok(text::like(self.value(eval, at)?))
    }

    pub fn int(&self, eval: Eval<'_>, at: usize) -> Result<i64, Fault> {
        match self.value(eval, at)? {
            Value::Int(value) => Ok(value),
            other => Err(self.wrong(at, Types::INT, &other)),
        }
    }

    pub fn bool_or(&self, eval: Eval<'_>, at: usize, otherwise: bool) -> Result<bool, Fault> {
        if !self.has(at) {
            return Ok(otherwise);
        }
        match self.value(eval, at)? {
            Value::Bool(value) => Ok(value),
            other => Err(self.wrong(at, Types::BOOL, &other)),
        }
    }

    pub fn double(&self, eval: Eval<'_>, at: usize) -> Result<f64, Fault> {
        match self.value(eval, at)? {
            Value::Double(value) => Ok(value),
            other => Err(self.wrong(at, Types::DOUBLE, &other)),
        }
    }

    pub fn time(&self, eval: Eval<'_>, at: usize) -> Result<i64, Fault> {
        match self.value(eval, at)? {
            Value::Time(value) => Ok(value),
            other => Err(self.wrong(at, Types::TIME, &other)),
        }
    }

    pub fn duration(&self, eval: Eval<'_>, at: usize) -> Result<i64, Fault> {
        match self.value(eval, at)? {
            Value::Duration(value) => Ok(value),
            other => Err(self.wrong(at, Types::DURATION, &other)),
        }
    }

    pub fn map<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Map<'e>, Fault> {
        match self.value(eval, at)? {
            Value::Map(map) => Ok(map),
            other => Err(self.wrong(at, Types::MAP, &other)),
        }
    }

    pub fn list<'e>(&'e self, eval: Eval<'e>, at: usize) -> Result<Cow<'e, [u8]>, Fault> {
        match self.value(eval, at)? {
            Value::List(list) => Ok(list),
            other => Err(self.wrong(at, Types::LIST, &other)),
        }
    }

    /// A list of texts.
    pub fn texts(&self, eval: Eval<'_>, at: usize) -> Result<Vec<Vec<u8>>, Fault> {
        if !self.has(at) {
            return Ok(Vec::new());
        }
        let list = self.list(eval, at)?;
        let texts = elements(&list).map(|any| match Value::read(any) {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(self.wrong(at, Types::TEXT, &other)),
        });
        texts.collect()
    }

    pub fn special(&self, at: usize) -> &Special {
        match self.arguments.get(at) {
            Some(Argument::Special(special, _, _)) => special,
            _ => &Special::None,
        }
    }

    pub fn lambda(&self, at: usize) -> Option<&Lambda> {
        match self.arguments.get(at) {
            Some(Argument::Lambda(lambda)) => Some(lambda),
            _ => None,
        }
    }

    pub fn function(&self, at: usize) -> Option<&'static Function> {
        match self.arguments.get(at) {
            Some(Argument::Function(function)) => Some(function),
            _ => None,
        }
    }

    /// The path that an editor changes, its first argument.
    pub fn target(&self) -> Result<&Place, Fault> {
        match self.arguments.first() {
            Some(Argument::Path(place)) => Ok(place),
            _ => Err(What::text("the target is not a path").into()),
        }
    }

    /// Sets the target.
    pub fn set(&self, item: &mut Item<'_>, value: &Value<'_>) -> Result<(), Fault> {
        let place = self.target()?;
        let set = |item: &mut Item<'_>, steps: &[Step<'_>]| {
            write(item, place.tier, place.access, steps, value).map_err(|what| what.at(place.span))
        };
        if let Some(steps) = place.fixed_steps() {
            return set(item, &steps);
        }
        let steps: Vec<Step<'static>> =
            place.steps(Eval::new(item))?.into_iter().map(Step::into_owned).collect();
        set(item, &steps)
    }
}

/// Bytes as UTF-8; what is not is shown as U+FFFD.
pub(crate) fn to_str(text: Cow<'_, [u8]>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => String::from_utf8_lossy(text),
        Cow::Owned(text) => Cow::Owned(
            String::from_utf8(text)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
    }
}

/// A text as a value.
pub(crate) fn made<'e>(text: impl Into<Vec<u8>>) -> Value<'e> {
    Value::Text(Cow::Owned(text.into()))
}
