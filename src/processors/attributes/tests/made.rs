//! What `convert` and `hash` make of values.

use super::*;

/// The value that a convert or hash makes of another one.
fn made_of(action: &str, value: Value) -> Value {
    let config = config(&format!("actions: [{{ key: a, {action} }}]"));
    let (_, bytes) = edited(&config, Signal::Traces, &traces(vec![vec![attribute("a", value)]]), 1);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let made = got.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.clone();
    made.unwrap().value.unwrap()
}

#[test]
fn values_are_converted_as_the_collector_converts_them() {
    use Value::{BoolValue, DoubleValue, IntValue, StringValue};
    let string = |text: &str| StringValue(text.to_owned());
    for (to, value, made) in [
        ("int", BoolValue(true), IntValue(1)),
        ("int", BoolValue(false), IntValue(0)),
        ("double", BoolValue(true), DoubleValue(1.0)),
        ("double", BoolValue(false), DoubleValue(0.0)),
        ("string", BoolValue(true), string("true")),
        ("string", DoubleValue(1e20), string("100000000000000000000")),
        ("string", DoubleValue(1e-6), string("0.000001")),
        ("string", DoubleValue(1e300), string("1e+300")),
        ("double", string("1e3"), DoubleValue(1000.0)),
        ("double", string("1e400"), string("1e400")),
        ("double", string("Infinity"), DoubleValue(f64::INFINITY)),
        ("int", string("1.5"), string("1.5")),
    ] {
        let action = format!("action: convert, converted_type: {to}");
        assert_eq!(made_of(&action, value.clone()), made, "{value:?} to {to}");
    }
}

/// Vectors of SHA-256 (FIPS 180): the empty text, and the bytes of a boolean and a double.
#[test]
fn an_empty_text_has_a_hash_and_a_list_has_none() {
    let hash = |value| made_of("action: hash", value);
    let string = |text: &str| Value::StringValue(text.to_owned());
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hash(string("")), string(of_nothing));
    let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hash(string("abc")), string(of_abc));
    let of_true = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a";
    assert_eq!(hash(Value::BoolValue(true)), string(of_true));
    assert_eq!(hash(Value::ArrayValue(ArrayValue::default())), string(""));
    assert_eq!(hash(Value::BytesValue(vec![1])), string(""));
}
