//! Random programs on random requests: nothing panics, and what is edited passes the door.

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Theirs},
};
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    otlp::{
        Signal,
        check::{self, Utf8},
        purse::Purse,
        wild::{self, OneOfs},
    },
    ottl::{
        Changed, Context, ErrorMode, Fate, Function, Group, Program, Types, Walk, fields,
        functions, functions::Takes, walk,
    },
};

/// Writes random statements, most of which have the right types.
struct Writer {
    rng: Rng,
    context: Context,
}

const TEXTS: [&str; 12] = [
    "",
    "a",
    "k",
    "a.b",
    "x=1 y=2",
    "{\"a\": [1, null]}",
    "<a b=\"c\">t</a>",
    "2024-01-02",
    "1h",
    "%s",
    "1,2",
    "ab",
];

impl Writer {
    fn pick<'t>(&mut self, all: &[&'t str]) -> &'t str {
        self.rng.choice(all.iter().copied()).unwrap_or("")
    }

    fn path(&mut self) -> String {
        let contexts: Vec<Context> =
            [self.context].into_iter().chain(self.context.above().iter().copied()).collect();
        let context = contexts[self.rng.usize(..contexts.len())];
        let all = fields(context);
        let field = &all[self.rng.usize(..all.len())];
        let mut path = format!("{}.{}", context.name(), field.path);
        if field.has_keys && self.rng.bool() {
            path.push_str(self.pick(&[
                "[\"a\"]",
                "[\"k\"]",
                "[\"b\"][\"c\"]",
                "[0]",
                "[\"l\"][1]",
            ]));
        }
        path
    }

    fn value(&mut self, depth: usize) -> String {
        match self.rng.u8(0..if depth == 0 { 6 } else { 10 }) {
            0 => format!("{:?}", self.pick(&TEXTS)),
            1 => {
                self.pick(&["0", "1", "2", "300", "0x0102", "1.5", "0.0", "true", "nil"]).to_owned()
            }
            2 | 3 => self.path(),
            4 => "[1, \"a\", nil]".to_owned(),
            5 => "{\"a\": 1, \"b\": [2]}".to_owned(),
            6 => {
                let sign = self.pick(&["+", "-", "*", "/"]);
                format!("({} {sign} {})", self.value(depth - 1), self.value(depth - 1))
            }
            _ => self.call(false, depth - 1),
        }
    }

    fn call(&mut self, is_editor: bool, depth: usize) -> String {
        let all: Vec<&'static Function> =
            functions().filter(|f| f.is_editor() == is_editor && f.fits(self.context)).collect();
        let function = all[self.rng.usize(..all.len())];
        let mut arguments = Vec::new();
        for parameter in function.parameters {
            if parameter.is_optional && self.rng.bool() {
                break;
            }
            arguments.push(match parameter.takes {
                Takes::Path(_) => self.path(),
                Takes::OneOf(names) => format!("{:?}", self.pick(names)),
                Takes::Regex => format!("{:?}", self.pick(&["a", "(?P<n>.)", "^k", ".*", "x|y"])),
                Takes::Glob => format!("{:?}", self.pick(&["*", "a*", "?"])),
                Takes::TimeFormat => "\"%Y-%m-%d\"".to_owned(),
                Takes::XPath => {
                    format!("{:?}", self.pick(&["//a", "/a/@b", "//Some(text())", "//*"]))
                }
                Takes::Function => self.pick(&["SHA256", "ToUpperCase"]).to_owned(),
                Takes::Lambda(0) => "() => true".to_owned(),
                Takes::Lambda(2) => self.pick(&["(k, v) => v != nil", "(k, v) => k"]).to_owned(),
                Takes::Lambda(_) => "(r, k, v) => v".to_owned(),
                Takes::Literal(types) if types == Types::INT => {
                    self.pick(&["0", "1", "3"]).to_owned()
                }
                Takes::Literal(types) if types == Types::DOUBLE => "2.5".to_owned(),
                Takes::Literal(types) if types == Types::BOOL => "true".to_owned(),
                Takes::Literal(types) if types == Types::LIST => "[\"a\"]".to_owned(),
                Takes::Literal(_) => format!("{:?}", self.pick(&["=", ",", "1.37.0", "_x"])),
                Takes::Value(types) if types == Types::LIST => {
                    self.pick(&["[\"a\", \"k\"]", "[\"10.0.0.0/8\"]", "[1.0, 2.0]"]).to_owned()
                }
                Takes::Value(types) if types == Types::INT => {
                    self.pick(&["0", "1", "2", "-1"]).to_owned()
                }
                Takes::Value(types) if types == Types::TIME => "Now()".to_owned(),
                Takes::Value(types) if types == Types::DURATION => "Duration(\"1h\")".to_owned(),
                Takes::Value(_) => self.value(depth),
            });
        }
        format!("{}({})", function.name, arguments.join(", "))
    }

    fn statement(&mut self) -> String {
        let editor = self.call(true, 2);
        match self.rng.u8(0..3) {
            0 => editor,
            1 => format!("{editor} where {} == {}", self.value(1), self.value(1)),
            _ => format!(
                "{editor} where {} != nil or not IsMatch({}, \"a\")",
                self.path(),
                self.value(1)
            ),
        }
    }
}

fn edited(program: &Program, signal: Signal, body: &[u8]) -> Changed {
    let how = Walk { signal, context: program.context(), request: None, prunes: false };
    walk(&how, body, &mut Purse::default(), &mut |item| {
        program.run(item, ErrorMode::Ignore, &mut |_| {})?;
        Ok(Fate::Keep)
    })
    .expect("nothing ends the walk")
}

/// Runs random programs on a random request.
fn random_programs_keep_requests_valid(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let signal = Signal::ALL[rng.usize(..3)];
    let contexts = Context::of_signal(signal);
    let context = contexts[rng.usize(..contexts.len())];
    let body = wild::request(signal, seed, OneOfs::Mixed);
    let mut writer = Writer { rng, context };
    for _ in 0..4 {
        let texts: Vec<String> = (0..3).map(|_| writer.statement()).collect();
        let statements: Vec<&str> = texts.iter().map(String::as_str).collect();
        for statement in &statements {
            let group =
                Group { signal, context: Some(context), conditions: &[], statements: &[statement] };
            let Ok((program, _)) = Program::compile(&group) else { continue };
            let Changed::Body(new) = edited(&program, signal, &body) else { continue };
            if let Err(error) = check::check(signal, &new, Utf8::Strict) {
                panic!("{statement}: {error}");
            }
        }
    }
}

/// Sets, deletes or keeps attributes of decoded log records.
fn model(request: &mut ExportLogsServiceRequest, action: u8, key: &str) {
    let records = request
        .resource_logs
        .iter_mut()
        .flat_map(|entry| &mut entry.scope_logs)
        .flat_map(|scope| &mut scope.log_records);
    for record in records {
        let attributes = &mut record.attributes;
        let place = attributes.iter().position(|attribute| attribute.key == key);
        match (action, place) {
            (0, Some(at)) => attributes[at].value = Some(text()),
            (0, None) => attributes.push(KeyValue {
                key: key.to_owned(),
                value: Some(text()),
                ..Default::default()
            }),
            (1, Some(at)) => drop(attributes.remove(at)),
            (1, None) => {}
            _ => attributes.retain(|attribute| attribute.key == key),
        }
    }
}

fn text() -> AnyValue {
    AnyValue { value: Some(Theirs::StringValue("new".to_owned())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_run_on_random_requests(seed: u64) {
        random_programs_keep_requests_valid(seed);
    }

    #[test]
    fn set_delete_and_keep_do_what_a_model_does(seed: u64, action in 0_u8..3) {
        let body = wild::request(Signal::Logs, seed, OneOfs::Mixed);
        let mut decoded = ExportLogsServiceRequest::decode(&*body).unwrap();
        let keys: Vec<String> = decoded.resource_logs.iter().flat_map(|e| &e.scope_logs)
            .flat_map(|s| &s.log_records).flat_map(|r| &r.attributes).map(|a| a.key.clone()).collect();
        let key = keys.first().cloned().unwrap_or_else(|| "k".to_owned());
        let statement = match action {
            0 => format!("set(attributes[{key:?}], \"new\")"),
            1 => format!("delete_key(attributes, {key:?})"),
            _ => format!("keep_keys(attributes, [{key:?}])"),
        };
        let group = Group { signal: Signal::Logs, context: Some(Context::Log), conditions: &[], statements: &[&statement] };
        let Ok((program, _)) = Program::compile(&group) else { return Ok(()) };
        model(&mut decoded, action, &key);
        let new = match edited(&program, Signal::Logs, &body) {
            Changed::Body(new) => new,
            Changed::Nothing => body,
            Changed::Empty => Vec::new(),
        };
        let found = ExportLogsServiceRequest::decode(&*new).unwrap();
        prop_assert!(found.encode_to_vec() == decoded.encode_to_vec(), "{}", statement);
    }

    #[test]
    fn any_text_is_compiled_or_refused(text in "[a-z(){}\\[\\]\"\\\\0-9., =<>!+*/_A-Z-]{0,60}") {
        let group = Group { signal: Signal::Logs, context: Some(Context::Log), conditions: &[&text], statements: &[&text] };
        if let Err(problems) = Program::compile(&group) {
            for located in problems {
                let _ = located.problem.shown(&text).to_string();
            }
        }
    }

    #[test]
    fn damaged_statements_are_compiled_or_refused(seed: u64, at in 0_usize..200, with in any::<char>()) {
        let mut writer = Writer { rng: Rng::with_seed(seed), context: Context::Log };
        let mut chars: Vec<char> = writer.statement().chars().collect();
        let at = at % chars.len();
        chars[at] = with;
        let text: String = chars.into_iter().collect();
        let group = Group { signal: Signal::Logs, context: Some(Context::Log), conditions: &[], statements: &[&text] };
        if let Err(problems) = Program::compile(&group) {
            for located in problems {
                let _ = located.problem.shown(&text).to_string();
            }
        }
    }
}
