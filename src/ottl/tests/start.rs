//! What is found at the start: mistakes with their place and remedy, and warnings.

use super::runs::problems;
use crate::{
    otlp::Signal,
    ottl::{Context, Group, Program},
};

/// The statement is refused with these words, each in one of the shown lines.
#[track_caller]
fn refused(context: Context, statement: &str, words: &[&str]) {
    let (errors, _) = problems(context, statement);
    assert!(!errors.is_empty(), "{statement} is not refused");
    let all = errors.join("\n");
    for word in words {
        assert!(all.contains(word), "{statement}: {all}");
    }
}

#[track_caller]
fn warned(context: Context, statement: &str, words: &str) {
    let (errors, warnings) = problems(context, statement);
    assert_eq!(errors, Vec::<String>::new(), "{statement}");
    assert!(warnings.iter().any(|shown| shown.contains(words)), "{statement}: {warnings:?}");
}

#[test]
fn mistakes_are_shown_with_line_and_column() {
    let (errors, _) = problems(Context::Log, "set(attributes[\"a\"],\n  Concatt([\"x\"], \"\"))");
    assert_eq!(
        errors,
        [
            "2:3: there is no converter `Concatt`\n  |   Concatt([\"x\"], \"\"))\n  |   ^^^^^^^\n  = did you mean `Concat`?"
        ]
    );
}

#[test]
fn syntax_errors_say_what_is_expected() {
    let log = Context::Log;
    for (statement, words) in [
        ("set(attributes[\"a\"], 1", &["expected `,`, found the end"][..]),
        ("set(attributes['a'], 1)", &["unexpected character `'`", "double quotes"]),
        ("set(body, \"\\d\")", &["`\\d` is not an escape", "write `\\\\d`"]),
        ("set(body, \"a)", &["the text has no closing quote"]),
        ("set(body, 99999999999999999999)", &["does not fit into 64 bits"]),
        ("set(body, 0x123)", &["even number of hexadecimal digits"]),
        ("set(body, 1) where 1 < severity_number < 3", &["comparisons cannot be chained"]),
        ("set(body, 1) where body = \"x\"", &["write `==` to compare"]),
        ("set(body, 1) where body == \"x\" && true", &["write `and`"]),
        ("set(body, 1) if true", &["expected `where` or the end, found `if`"]),
        ("Concat([\"a\"], \"\")", &["is a converter", "begins with an editor"]),
        ("set(body, delete_key(attributes, \"a\"))", &["is an editor, which returns no value"]),
        (
            "set(attributes.fooBar, 1)",
            &["fields have no capital letters", "attributes[\"fooBar\"]"],
        ),
        ("set(body, 1e3)", &["expected `,`, found `e3`"]),
        ("", &["expected an editor"]),
    ] {
        refused(log, statement, words);
    }
}

#[test]
fn names_are_checked() {
    for (context, statement, words) in [
        (
            Context::Log,
            "set(attribtes[\"a\"], 1)",
            &["has no field `attribtes`", "did you mean `attributes`?"][..],
        ),
        (Context::Log, "set(span.name, \"x\")", &["`span` cannot be used here", "a log record"]),
        (
            Context::Span,
            "set(status.cod, 1)",
            &["has no field `status.cod`", "did you mean `status.code`?"],
        ),
        (Context::Span, "set(attributes.http, 1)", &["write `attributes[\"http\"]`"]),
        (Context::Metric, "set(attributes[\"a\"], 1)", &["datapoint.attributes"]),
        (Context::Span, "set(kind, SPAN_KIND_SERVR)", &["did you mean `SPAN_KIND_SERVER`?"]),
        (Context::Log, "set(severity_number, STATUS_CODE_OK)", &["known in the context span"]),
        (Context::Span, "sett(name, \"x\")", &["there is no editor `sett`", "did you mean `set`?"]),
        (Context::Span, "convert_sum_to_gauge()", &["needs the context metric"]),
        (Context::Log, "set(body, IsRootSpan())", &["needs the context span"]),
        (Context::Log, "set(resource.cache[\"a\"], 1)", &["write `log.cache`"]),
        (Context::Log, "set(severity_text[\"a\"], \"x\")", &["`severity_text` has no keys"]),
        (Context::Log, "set(body[\"a\"].b, 1)", &["nothing can follow the keys of `body`"]),
        (Context::Log, "set(profile.name, 1)", &["skep does not carry profiles"]),
    ] {
        refused(context, statement, words);
    }
}

#[test]
fn arguments_are_checked() {
    for (statement, words) in [
        ("set(body)", &["`set` lacks `value`", "set(target, value)"][..]),
        ("set(body, 1, 2)", &["takes at most 2 arguments"]),
        ("set(\"x\", 1)", &["`target` must be a path"]),
        ("set(severity_text, 1)", &["`log.severity_text` takes text, but this is an integer"]),
        ("set(severity_number, \"INFO\")", &["takes an integer, but this is text"]),
        ("set(otelcol.client.addr, \"x\")", &["is read only"]),
        ("set(body, Split(body, delim=\",\"))", &["has no parameter `delim`", "delimiter"]),
        ("set(body, Split(target=body, \",\"))", &["cannot follow one with a name"]),
        ("set(body, Split(body, \",\", delimiter=\",\"))", &["`delimiter` is given twice"]),
        ("merge_maps(attributes, body, \"add\")", &["`strategy` cannot be `add`", "`upsert`"]),
        ("limit(attributes, 1, [\"a\", \"b\"])", &["less than the number of priority keys"]),
        ("limit(attributes, severity_number, [])", &["`limit` must be a constant"]),
        ("truncate_all(attributes, -1)", &["cannot be negative"]),
        ("flatten(attributes, depth=0)", &["`depth` must be at least 1"]),
        ("append(attributes[\"a\"])", &["needs `value` or `values`"]),
        ("set(body, IsMatch(body, \"(\"))", &["the regular expression is invalid"]),
        ("replace_match(body, \"[a\", \"\")", &["the glob has no closing `]`"]),
        ("set(body, ParseKeyValue(body, \"=\", \"=\"))", &["the delimiters are the same"]),
        ("set(body, IsInCIDR(\"1.2.3.4\", [\"1.2.3\"]))", &["is not a network"]),
        ("set(body, TraceID(0x01))", &["16 bytes"]),
        ("set(time, Time(\"x\", \"%Q\"))", &["`%Q` is not a directive"]),
        ("replace_pattern(body, \"a\", \"b\", SHA257)", &["did you mean `SHA256`?"]),
        ("set(body, Base64Encode(body, \"base32\"))", &["`variant` cannot be `base32`"]),
        ("set(body, -\"x\")", &["`-` needs a number"]),
        ("set(body, 1 + \"x\")", &["`+` cannot be used with an integer and text"]),
        ("set(body, body == 1)", &["a condition cannot be used as a value"]),
        ("set(body, Any(body, (v) => true))", &["a lambda with 2 names"]),
        ("delete_key(severity_text, \"a\")", &["must be a map"]),
    ] {
        refused(Context::Log, statement, words);
    }
}

#[test]
fn a_value_is_no_condition() {
    for (statement, words) in [
        (
            "set(body, 1) where attributes[\"a\"]",
            &["a path is a value, not a condition", "!= nil"][..],
        ),
        ("set(body, 1) where Len(body)", &["this is an integer, not a condition"]),
        ("set(body, 1) where 1", &["this is a value, not a condition"]),
    ] {
        refused(Context::Log, statement, words);
    }
}

#[test]
fn what_can_never_happen_is_a_warning() {
    for (context, statement, words) in [
        (
            Context::Log,
            "set(body, 1) where severity_text == 5",
            "this never holds: text never equals an integer",
        ),
        (Context::Log, "set(body, 1) where severity_number != \"5\"", "this always holds"),
        (Context::Log, "set(body, 1) where time_unix_nano == nil", "an unset number is 0"),
        (Context::Log, "set(body, 1) where trace_id == \"ab\"", "compare the field `.string`"),
        (Context::Log, "set(body, 1) where false", "never holds, so the statement does nothing"),
        (Context::Log, "set(body, 1) where attributes < {}", "has no order"),
        (Context::Log, "set(body, attributes[1])", "must be text, so this always fails"),
        (Context::Log, "set(body, Substring(\"\", 0, 10))", "this always fails"),
        (Context::Log, "set(body, 1/0)", "this always fails: division by zero"),
    ] {
        warned(context, statement, words);
    }
    let (errors, warnings) = problems(Context::Log, "set(body, 1) where attributes[\"a\"] > 5");
    assert!(errors.is_empty() && warnings.is_empty());
}

#[test]
fn the_context_follows_from_the_paths() {
    let of = |signal, statements: &[&str]| {
        let group = Group { signal, context: None, conditions: &[], statements };
        match Program::compile(&group) {
            Ok((program, _)) => Ok(program.context()),
            Err(problems) => Err(problems[0].problem.message.clone()),
        }
    };
    for (statement, context) in [
        ("set(span.name, resource.attributes[\"a\"])", Context::Span),
        ("set(resource.attributes[\"a\"], spanevent.name)", Context::SpanEvent),
        ("set(resource.attributes[\"a\"], \"x\")", Context::Resource),
        ("set(instrumentation_scope.name, \"x\")", Context::Scope),
        ("set(resource.attributes[\"a\"], \"x\") where IsRootSpan()", Context::Span),
    ] {
        assert_eq!(of(Signal::Traces, &[statement]), Ok(context), "{statement}");
    }
    assert_eq!(of(Signal::Metrics, &["convert_sum_to_gauge()"]), Ok(Context::Metric));
    let words = of(Signal::Logs, &["set(attributes[\"a\"], 1)"]).unwrap_err();
    assert_eq!(words, "no path says what this runs on");
    let both = ["set(log.body, 1)", "set(attributes[\"a\"], 1)"];
    let words = of(Signal::Logs, &both).unwrap_err();
    assert_eq!(words, "`attributes` does not say of what it is a field");
    let words = of(Signal::Logs, &["set(span.name, \"x\")"]).unwrap_err();
    assert_eq!(words, "logs have no context `span`");
    let mixed =
        ["convert_sum_to_gauge() where metric.name == \"a\"", "limit(datapoint.attributes,100,[])"];
    assert!(of(Signal::Metrics, &mixed).unwrap_err().contains("needs the context metric"));
}

#[test]
fn all_mistakes_of_a_group_are_shown_together() {
    let group = Group {
        signal: Signal::Logs,
        context: Some(Context::Log),
        conditions: &["bod == 1"],
        statements: &["set(body, Foo())", "set(bdy, 1)"],
    };
    let problems = Program::compile(&group).unwrap_err();
    assert_eq!(problems.len(), 3);
}

#[test]
fn what_is_constant_is_calculated_at_the_start() {
    let group = Group {
        signal: Signal::Logs,
        context: Some(Context::Log),
        conditions: &["resource.attributes[\"a\"] == \"b\" and body != nil"],
        statements: &["set(attributes[\"x\"], Concat([\"a\", 1 + 2], \"-\")) where true"],
    };
    let (program, _) = Program::compile(&group).unwrap();
    assert_eq!(
        program.explain(),
        [
            "(once(resource.attributes[\"a\"] == \"b\") and log.body != nil)",
            "set(log.attributes[\"x\"], \"a-3\")",
        ]
    );
}
