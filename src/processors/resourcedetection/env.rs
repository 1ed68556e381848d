//! `env`: attributes that somebody wrote into the environment, in the form of
//! <https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>.
//!
//! `OTEL_SERVICE_NAME` is not read, as in the Collector: it is the name of a service, and here are
//! many.
//!
//! Unlike the Collector a `+` stays a `+`: the specification asks for percent-encoding, not for
//! that of forms.

use percent_encoding::percent_decode_str;

use super::probe::Probe;
use crate::processors::editing::value::AttributeValue;

/// The variables with attributes; the second one is the old name, read if the first is not set.
const VARIABLES: [&str; 2] = ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE"];

pub(super) fn detect(probe: &Probe) {
    let environment = &probe.environment;
    let Some((variable, text)) =
        VARIABLES.into_iter().find_map(|name| Some((name, environment.var(name)?)))
    else {
        return;
    };
    match parse(&text) {
        Ok(attributes) => {
            for (name, value) in attributes {
                probe.set(&name, AttributeValue::Text(value));
            }
        }
        Err(wrong) => probe.warn(format!(
            "{variable} is left out as a whole: {wrong}; write `key=value,key=value`, other \
             characters percent-encoded"
        )),
    }
}

/// `key=value,key=value`, percent-encoded. One wrong pair makes all of it wrong: half of a resource
/// is another resource.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair:.100}` has no `=`"))?;
        let (key, value) = (decode(key.trim())?, decode(value.trim())?);
        if key.is_empty() {
            return Err(format!("`{pair:.100}` has no key"));
        }
        match attributes.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => attributes.push((key, value)),
        }
    }
    Ok(attributes)
}

/// Takes percent-encoding back.
fn decode(text: &str) -> Result<String, String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        if !is_digit(bytes.get(at + 1)) || !is_digit(bytes.get(at + 2)) {
            return Err(format!("`{text:.100}` has a `%` without two hexadecimal digits"));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("`{text:.100}` is not UTF-8 once decoded"))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::{
        super::mock::{outcome, text, variables},
        *,
    };

    #[test]
    fn attributes_are_read_from_the_environment() {
        let read = |pairs: &[(&str, &str)]| outcome("detectors: [env]", variables(pairs));
        let notes = read(&[("OTEL_RESOURCE_ATTRIBUTES", " a=1, b.c = x%2Cy%3Dz=+ ,d=,")]);
        assert_eq!(notes.attributes, [text("a", "1"), text("b.c", "x,y=z=+"), text("d", "")]);
        let old = read(&[("OTEL_SERVICE_NAME", "cart"), ("OTEL_RESOURCE", "team=shop")]);
        assert_eq!(old.attributes, [text("team", "shop")]);
        let nothing = read(&[("OTEL_RESOURCE_ATTRIBUTES", " ")]);
        assert!(nothing.attributes.is_empty() && nothing.warning.is_none());
    }

    #[test]
    fn a_wrong_pair_makes_all_wrong() {
        for wrong in ["a=1,b", "=1", "a=%", "a=%4", "a=%zz", "a=%ff", "a=1,%="] {
            let notes = outcome("", variables(&[("OTEL_RESOURCE_ATTRIBUTES", wrong)]));
            assert!(notes.attributes.is_empty(), "{wrong}");
            assert!(notes.warning.unwrap().contains("OTEL_RESOURCE_ATTRIBUTES"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(
            pairs in proptest::collection::btree_map(".{1,8}", ".{0,8}", 0..6),
        ) {
            let pairs: Vec<(String, String)> = pairs.into_iter().collect();
            let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let written: Vec<String> =
                pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
            prop_assert_eq!(parse(&written.join(",")), Ok(pairs));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*|[a=,% 0-9]*") {
            let _ = parse(&text);
        }
    }
}
