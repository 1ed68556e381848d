//! Rules that are easily missed: functions on odd values, limits, ids, times.

use std::slice::from_ref;

use serde_json::{Value, json};

use super::{
    super::{
        text::like,
        value::{Map, Value as Ours, put_entry},
    },
    runs::{holds, run, value},
};
use crate::{
    otlp::{
        Signal,
        plain::{logs, record, span, spans},
    },
    ottl::Context,
};

fn log() -> Value {
    json!({"body": "x", "attributes": {
        "url": "http://user:pw@example.com:8080/a/b.html?q=1#frag",
        "agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "list": [1, 2, 3], "map": {"a": 1, "b": "z"}, "bytes": "bytes:Af8=", "text": "Hello World",
        "xml": "<a id=\"1\"><b>x</b><b>y</b><c/></a>", "csv": "1,\"two, 2\",3",
    }})
}

#[track_caller]
fn gives(expression: &str, wanted: Value) {
    assert_eq!(value(&log(), expression), Ok(wanted), "{expression}");
}

#[track_caller]
fn fails(expression: &str, words: &str) {
    let found = value(&log(), expression).unwrap_err();
    assert!(found.contains(words), "{expression}: {found}");
}

#[test]
fn hashes_and_encodings() {
    gives(r#"MD5("a")"#, json!("0cc175b9c0f1b6a831c399e269772661"));
    gives(r#"SHA1("a")"#, json!("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"));
    gives(
        r#"SHA256("a")"#,
        json!("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    );
    gives(r#"Substring(SHA512("a"), 0, 8)"#, json!("1f40fc92"));
    gives(r#"FNV("hello world")"#, json!(8_618_312_879_776_256_743_i64));
    gives(r#"Murmur3Hash("Hello World")"#, json!("ce837619"));
    gives(r#"Murmur3Hash128("Hello World")"#, json!("dbc2a0c1ab26631a27b4c09fcf1fe683"));
    gives(r#"XXH3("hello world")"#, json!("d447b1ea40e6988b"));
    gives(r#"XXH128("hello world")"#, json!("df8d09e93f874900a99b8775cc15b6c7"));
    gives(r#"Base64Encode("hi?>", "base64-raw-url")"#, json!("aGk_Pg"));
    gives(r#"Decode("aGk/Pg==", "base64")"#, json!("hi?>"));
    gives(r#"Decode(0x00680069, "utf-16")"#, json!("hi"));
    gives(r#"Decode(0xe9, "iso-8859-1")"#, json!("\u{e9}"));
    gives("Hex(1)", json!("0000000000000001"));
    gives(r#"Hex(attributes["absent"])"#, json!(""));
    gives("Hex(true)", json!("01"));
    gives("Len(UUID())", json!(36));
    gives("Substring(UUIDv7(), 14, 1)", json!("7"));
    fails(r#"Decode("x", "klingon")"#, "unknown encoding");
}

#[test]
fn texts() {
    gives(r#"ToSnakeCase("HTTPServerName")"#, json!("http_server_name"));
    gives(r#"ToCamelCase("foo_bar")"#, json!("FooBar"));
    gives(r#"ToUpperCase(attributes["text"])"#, json!("HELLO WORLD"));
    gives(r#"Trim("__a_", "_")"#, json!("a"));
    gives(r#"TrimPrefix("abc", "ab")"#, json!("c"));
    gives(r#"TrimSuffix("abc", "bc")"#, json!("a"));
    gives(r#"HasPrefix("abc", "ab")"#, json!(true));
    gives(r#"Split("h\u00e9", "")"#, json!(["h", "\u{e9}"]));
    gives(r#"IsValidLuhn("4539 1488 0343 6467")"#, json!(true));
    gives(r#"IsValidLuhn("4539 1488 0343 6468")"#, json!(false));
    gives(
        r#"Format("%s-%03d-%5.2f|%-4s|%v", ["a", 7, 1.5, "b", [1, "x"]])"#,
        json!("a-007- 1.50|b   |[1 x]"),
    );
    gives(r#"Format("%d", ["x"])"#, json!("%!d(string=x)"));
    gives(
        r#"Format("%s %x %q %t %%", ["a"])"#,
        json!("a %!x(MISSING) %!q(MISSING) %!t(MISSING) %"),
    );
    gives(r#"Index("abcabc", "ca")"#, json!(2));
    gives(r#"Index(attributes["list"], 3.0)"#, json!(2));
    gives(r#"String(attributes["map"])"#, json!("{\"a\":1,\"b\":\"z\"}"));
    gives(r#"String({"k": "<&>"})"#, json!("{\"k\":\"\\u003c\\u0026\\u003e\"}"));
    gives(r#"String(attributes["bytes"])"#, json!("01ff"));
    gives("String(span_id)", json!("[0,0,0,0,0,0,0,0]"));
    gives(r#"ExtractPatterns("a-12", "(?P<l>\\w)-(?P<n>\\d+)")"#, json!({"l": "a", "n": "12"}));
    gives(
        r#"ExtractGrokPatterns("1.2.3.4 GET 17", "%{IP:ip} %{WORD:verb} %{NUMBER:n:int}", true)"#,
        json!({"ip": "1.2.3.4", "verb": "GET", "n": 17}),
    );
    gives(
        r#"ExtractGrokPatterns("id=77", "id=%{ID:id}", true, ["ID=[0-9]+"])"#,
        json!({"id": "77"}),
    );
}

#[test]
fn lists_and_maps() {
    gives(r#"Keys(attributes["map"])"#, json!(["a", "b"]));
    gives(r#"Values(attributes["map"])"#, json!([1, "z"]));
    gives(r#"Sort([3, 1, 2], "desc")"#, json!([3, 2, 1]));
    gives(r#"ContainsValue(attributes["list"], 2.0)"#, json!(true));
    gives(r#"Coalesce([attributes["absent"], body, ParseJSON("x")])"#, json!("x"));
    gives(
        r#"SliceToMap([{"n": "a", "v": 1}, {"n": "b", "v": 2}], ["n"], ["v"])"#,
        json!({"a": 1, "b": 2}),
    );
    gives(r#"SliceToMap(["x", "y"])"#, json!({"0": "x", "1": "y"}));
    gives(r#"Filter(attributes["list"], (_, v) => v > 1)"#, json!([2, 3]));
    gives(
        r#"MapEach(attributes["map"], (k, v) => Concat([k, v], "="))"#,
        json!({"a": "a=1", "b": "b=z"}),
    );
    gives(r#"Any(attributes["list"], (i, v) => v == 2 and i == 1)"#, json!(true));
    gives("All([], (_, _) => false)", json!(true));
    gives(r#"Find(attributes["list"], (_, v) => v > 1, (i, v) => i + v)"#, json!(3));
    gives(r#"Reduce(attributes["list"], 0, (acc, _, v) => acc + v)"#, json!(6));
    gives(r#"MapKeys(attributes["map"], (k, _) => ToUpperCase(k))"#, json!({"A": 1, "B": "z"}));
    gives(r#"When(() => body == "x", "yes", "no")"#, json!("yes"));
    gives(r#"IsEmpty(attributes["absent"])"#, json!(true));
    gives(r#"IsList(Split("a", ","))"#, json!(true));
    gives(r#"IsInt(attributes["map"]["a"])"#, json!(true));
    fails("Keys(body)", "target is text, but must be a map");
    fails("Filter(body, (_, v) => true)", "source is text");
}

#[test]
fn of_a_key_that_is_there_twice_json_has_the_last_value() {
    let mut list = Vec::new();
    for (key, number) in [("b", 1), ("a", 2), ("b", 3)] {
        put_entry(&mut list, 1, key.as_bytes(), &Ours::Int(number));
    }
    let text = like(Ours::Map(Map::made(list)));
    assert_eq!(text.as_deref(), Some(&br#"{"a":2,"b":3}"#[..]));
}

#[test]
fn of_a_key_that_is_there_twice_the_first_value_is_inserted() {
    let entry = |value: &str| json!({"key": "n", "value": {"stringValue": value}});
    let map = json!({"kvlistValue": {"values": [entry("first"), entry("last")]}});
    let request = logs(&[json!({"attributes": [{"key": "m", "value": map}]})]);
    for (strategy, wanted) in [("insert", "first"), ("upsert", "last")] {
        let statement = format!("merge_maps(attributes, attributes[\"m\"], {strategy:?})");
        let outcome = run(Signal::Logs, Some(Context::Log), &request, &[&statement]);
        assert_eq!(record(&outcome.request)["attributes"]["n"], wanted);
    }
}

#[test]
fn formats() {
    gives(
        r#"URL(attributes["url"])"#,
        json!({
            "url.original": "http://user:pw@example.com:8080/a/b.html?q=1#frag",
            "url.scheme": "http", "url.domain": "example.com", "url.port": 8080,
            "url.path": "/a/b.html", "url.query": "q=1", "url.fragment": "frag",
            "url.extension": "html", "url.user_info": "user:pw", "url.username": "user",
            "url.password": "pw",
        }),
    );
    gives(r#"UserAgent(attributes["agent"])["user_agent.name"]"#, json!("Chrome"));
    gives(r#"UserAgent(attributes["agent"])["os.name"]"#, json!("Windows"));
    gives(r#"UserAgent("curl/7.81.0")["user_agent.version"]"#, json!("7.81.0"));
    gives(r#"ParseCSV(attributes["csv"], "a,b,c")"#, json!({"a": "1", "b": "two, 2", "c": "3"}));
    gives(r#"ParseXML(attributes["xml"])["attributes"]"#, json!({"id": "1"}));
    gives(r#"ParseSimplifiedXML(attributes["xml"])"#, json!({"a": {"b": ["x", "y"], "c": ""}}));
    gives(r#"GetXML(attributes["xml"], "/a/b[2]")"#, json!("<b>y</b>"));
    gives(r#"GetXML(attributes["xml"], "//@id")"#, json!("1"));
    gives(r#"RemoveXML(attributes["xml"], "//b")"#, json!("<a id=\"1\"><c></c></a>"));
    gives(r#"InsertXML("<a></a>", "/a", "<b/>")"#, json!("<a><b></b></a>"));
    gives(r#"ConvertAttributesToElementsXML("<a b=\"c\"/>")"#, json!("<a><b>c</b></a>"));
    gives(r#"ConvertTextToElementsXML("<a>t<b/></a>")"#, json!("<a><value>t</value><b></b></a>"));
    gives(r#"ParseSeverity(503, {"error": [{"range": "5xx"}], "info": ["ok"]})"#, json!("error"));
    gives(
        r#"ParseCLF("h - u [10/Oct/2000:13:55:36 -0700] \"GET /x HTTP/1.0\" 200 5")["clf.status"]"#,
        json!(200),
    );
    gives(
        r#"ParseCEF("CEF:0|V|P|1|100|name|5|src=1.1.1.1 msg=two words")["cef.extensions.msg"]"#,
        json!("two words"),
    );
    gives(r#"IsInCIDR("10.1.2.3", ["192.168.0.0/16", "10.0.0.0/8"])"#, json!(true));
    gives(r#"IsInCIDR("x", ["10.0.0.0/8"])"#, json!(false));
    gives(
        r#"CommunityID("128.232.110.120", 34855, "66.35.250.204", 80)"#,
        json!("1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    );
    fails(r#"ParseCSV("a\"b", "x")"#, "quote inside");
    fails(r#"ParseXML("<a><b></a>")"#, "invalid XML");
    fails(r#"URL("")"#, "is not a URL");
}

#[test]
fn times() {
    let time = r#"Time("2024-02-29 13:04:05.5 +0200", "%Y-%m-%d %H:%M:%S %z")"#;
    gives(&format!("UnixNano({time})"), json!(1_709_204_645_500_000_000_i64));
    gives(
        &format!(r#"FormatTime({time}, "%a %d %b %y, %I:%M %p %L")"#),
        json!("Thu 29 Feb 24, 11:04 AM 500"),
    );
    gives(&format!("Weekday({time})"), json!(4));
    gives(&format!("Hour({time})"), json!(11));
    gives(&format!(r#"UnixSeconds(TruncateTime({time}, Duration("1h")))"#), json!(1_709_204_400));
    gives(r#"UnixSeconds(Time("2024-07-01", "%F", "Europe/Berlin"))"#, json!(1_719_784_800));
    gives(r#"Seconds(Duration("1m1.5s"))"#, json!(61.5));
    gives(r#"Milliseconds(Duration("-1.5s"))"#, json!(-1500));
    gives("Nanoseconds(Unix(3) - Unix(1, 5))", json!(1_999_999_995));
    fails(r#"Time("x", "%Y")"#, "does not fit the format");
    fails(r#"Duration("1x")"#, "is not a duration");
}

#[test]
fn globs_and_expressions_are_those_of_go() {
    for (condition, wanted) in [
        (r#"IsMatch("a.b", "^a\\.b$")"#, true),
        (r#"IsMatch("\u0663", "\\d")"#, false),
        (r#"IsMatch("a[b", "[[]")"#, true),
        (r#"IsMatch("a.b*", "\\Qa.b*\\E")"#, true),
        (r#"IsMatch("x&&y", "[a&&b]&")"#, true),
        (r#"IsMatch("one two", "\\btwo\\b")"#, true),
        (r#"IsMatch("(?i)", "\\(\\?i\\)")"#, true),
        (r#"IsMatch("ABC", "(?i)abc")"#, true),
        (r#"IsMatch(15, "^1")"#, true),
        (r#"IsMatch(nil, ".*")"#, false),
    ] {
        assert_eq!(holds(&log(), condition), Ok(wanted), "{condition}");
    }
    let matched = |glob: &str, text: &str| {
        let statement = format!("replace_match(body, \"{glob}\", \"hit\")");
        let outcome =
            run(Signal::Logs, Some(Context::Log), &logs(&[json!({"body": text})]), &[&statement]);
        record(&outcome.request)["body"] == json!("hit")
    };
    assert!(matched("a*d", "a/b/d") && matched("{x,y}z", "yz") && matched("[!a]?", "bc"));
    assert!(!matched("a*", "ba") && !matched("[!a]?", "ab"));
}

#[test]
fn ids_kinds_and_trace_states() {
    let start = json!({"name": "n", "kind": 2, "traceState": "a=1,b=2",
        "traceId": "0102030405060708090a0b0c0d0e0f10", "events": [{"name": "e"}]});
    let after = |statement: &str| {
        let outcome =
            run(Signal::Traces, Some(Context::Span), &spans(from_ref(&start)), &[statement]);
        assert_eq!(outcome.failures, Vec::<String>::new(), "{statement}");
        span(&outcome.request)
    };
    let found = after(r#"set(trace_id.string, "ff02030405060708090a0b0c0d0e0f10")"#);
    assert_eq!(found["traceId"], json!("ff02030405060708090a0b0c0d0e0f10"));
    assert_eq!(
        after(r#"set(kind.string, "Client") where kind.string == "Server""#)["kind"],
        json!(3)
    );
    assert_eq!(after(r#"set(trace_state["b"], "9")"#)["traceState"], json!("b=9,a=1"));
    assert_eq!(after(r#"set(trace_state["B!"], "9")"#)["traceState"], json!("a=1,b=2"));
    assert_eq!(after(r#"set(name, trace_state["b"])"#)["name"], json!("2"));
    assert_eq!(after("set(status.code, STATUS_CODE_ERROR)")["status"], json!({"code": 2}));
    assert_eq!(after("set(flags, 257)")["flags"], json!(257));
    assert_eq!(after(r#"set(attributes["n"], Len(events))"#)["attributes"]["n"], json!(1));
    assert_eq!(after(r#"set(resource.schema_url, "u")"#)["name"], json!("n"));
    let outcome = run(
        Signal::Traces,
        Some(Context::Span),
        &spans(&[start]),
        &["set(dropped_events_count, -1)"],
    );
    assert!(outcome.failures[0].contains("-1 does not fit into the field"));
}

#[test]
fn nil_empties() {
    let record_in = json!({"body": {"a": 1}, "attributes": {"a": 1, "b": 2}});
    let after = |statement: &str| {
        record(
            &run(Signal::Logs, Some(Context::Log), &logs(from_ref(&record_in)), &[statement])
                .request,
        )
    };
    assert_eq!(after("set(attributes, nil)").get("attributes"), None);
    assert_eq!(after("set(body, nil)")["body"], Value::Null);
    assert_eq!(after("clear(body)")["body"], json!({}));
    assert_eq!(
        after(r#"set(attributes["c"], attributes)"#)["attributes"]["c"],
        json!({"a": 1, "b": 2})
    );
}

#[test]
fn growth_has_a_limit() {
    let statement = r#"set(attributes["a"]["b"], {"x": attributes["a"]})"#;
    let statements = vec![statement; 40];
    let outcome = run(
        Signal::Logs,
        Some(Context::Log),
        &logs(&[json!({"body": "x", "attributes": {"a": {"b": 1}}})]),
        &statements,
    );
    assert!(outcome.failures.iter().any(|words| words.contains("nested too deep")));
    fails(r#"attributes["list"][99999999999]"#, "out of range");
    let outcome = run(
        Signal::Logs,
        Some(Context::Log),
        &logs(&[log()]),
        &[r#"set(attributes["new"][1000000000], 1)"#],
    );
    assert!(outcome.failures[0].contains("out of range"));
}

#[test]
fn a_format_of_any_width_and_precision_is_no_panic() {
    for verb in ["%.70000f", "%.70000e", "%.70000g", "%.70000d", "%070000d", "%70000s", "%-70000x"]
    {
        for number in ["1.5", "7", "\"x\""] {
            let expression = format!("Len(Format(\"{verb}\", [{number}]))");
            let found = value(&log(), &expression).map(|len| len.as_i64() > Some(0));
            assert_eq!(found, Ok(true), "{expression}");
        }
    }
}

#[test]
fn an_element_of_xml_has_a_limit_of_attributes() {
    let xml = |count: usize| {
        let attributes: Vec<String> = (0..count).map(|i| format!(" a{i}='x'")).collect();
        json!({"body": format!("<a{}/>", attributes.concat())})
    };
    assert_eq!(value(&xml(1000), r#"Len(ParseXML(body)["attributes"])"#), Ok(json!(1000)));
    let fault = value(&xml(1001), "ParseXML(body)").unwrap_err();
    assert!(fault.contains("more than 1000 attributes"), "{fault}");
}

#[test]
fn lambdas_take_a_limited_number_of_steps() {
    let list = json!({"body": "x,".repeat(2000)});
    let nested = r#"Any(Split(body, ","), (_, a) => Any(Split(body, ","), (_, b) => a == "z"))"#;
    let fault = value(&list, nested).unwrap_err();
    assert!(fault.contains("too many steps"), "{fault}");
    let fits = r#"Any(Split(body, ","), (_, a) => a == "z")"#;
    assert_eq!(value(&list, fits), Ok(json!(false)));
    let long = json!({"body": "x".repeat(100_000)});
    let grows = r#"Reduce(Split(body, ""), "", (all, _, one) => Concat([all, one], ""))"#;
    let fault = value(&long, grows).unwrap_err();
    assert!(fault.contains("too many steps"), "{fault}");
}

#[test]
fn replacing_reads_a_text_a_limited_number_of_times() {
    let after = |text: &str, statement: &str| {
        let outcome = run(Signal::Logs, None, &logs(&[json!({"body": text})]), &[statement]);
        (outcome.failures, outcome.is_changed)
    };
    let long = "xa".repeat(1 << 15);
    // Each `a` is a match only because no `b` follows in the rest of the text.
    let (failures, is_changed) =
        after(&long, r#"replace_pattern(log.body, "a[^b]*b|a", "n") where log.body != nil"#);
    assert!(failures[0].contains("far behind each match"), "{failures:?}");
    assert!(!is_changed, "the statement leaves its item as it is");
    for pattern in ["a", "a[^x]*x|a", "x(?:a|b)?"] {
        let statement = format!("replace_pattern(log.body, {pattern:?}, \"n\")");
        assert_eq!(after(&long, &statement), (Vec::new(), true), "{pattern}");
    }
    let statement = r#"replace_pattern(log.body, "a*", "-")"#;
    let outcome = run(Signal::Logs, None, &logs(&[json!({"body": "h\u{e9}a"})]), &[statement]);
    assert_eq!(record(&outcome.request)["body"], json!("-h-\u{e9}-"));
}
