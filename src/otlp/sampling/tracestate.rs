//! The member `ot` of a W3C `tracestate`: `ot=th:c;rv:d29d6a7215ced0,vendor=value`.

use std::fmt::Write as _;

use super::{Randomness, Threshold};

/// A `tracestate`, its member `ot` taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TraceState<'a> {
    /// `th`.
    pub(crate) threshold: Option<Threshold>,
    /// `rv`.
    pub(crate) randomness: Option<Randomness>,
    /// Other fields of `ot`, in order.
    fields: Vec<&'a str>,
    /// Other members, in order.
    members: Vec<&'a str>,
}

impl<'a> TraceState<'a> {
    /// Parses it; `None` if `ot` has a `th` or `rv` that is no such number, or a form that
    /// it may not have. Other vendors' members are theirs, whatever is in them.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut state = TraceState::default();
        for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let Some(own) = member.strip_prefix("ot=") else {
                state.members.push(member);
                continue;
            };
            for field in own.split(';').map(str::trim).filter(|field| !field.is_empty()) {
                match field.split_once(':')? {
                    ("th", value) => state.threshold = Some(Threshold::parse(value.as_bytes())?),
                    ("rv", value) => state.randomness = Some(Randomness::parse(value.as_bytes())?),
                    _ => state.fields.push(field),
                }
            }
        }
        Some(state)
    }

    /// Puts it together: `ot` comes first, as W3C asks of a member that was changed.
    pub(crate) fn write(&self) -> String {
        let mut own = String::new();
        if let Some(threshold) = self.threshold {
            let _ = write!(own, ";th:{threshold}");
        }
        if let Some(randomness) = self.randomness {
            let _ = write!(own, ";rv:{randomness}");
        }
        for field in &self.fields {
            let _ = write!(own, ";{field}");
        }
        let own = (!own.is_empty()).then(|| format!("ot={}", &own[1..]));
        let members = self.members.iter().map(|member| (*member).to_owned());
        own.into_iter().chain(members).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_member_is_read_and_the_others_stay() {
        let state = TraceState::parse(b"a=1, ot=rv:d29d6a7215ced0;x:y;th:c ,b=2").unwrap();
        assert_eq!(state.threshold, Threshold::parse(b"c"));
        assert_eq!(state.randomness, Randomness::parse(b"d29d6a7215ced0"));
        assert_eq!(state.write(), "ot=th:c;rv:d29d6a7215ced0;x:y,a=1,b=2");
        assert_eq!(TraceState::parse(b"").unwrap().write(), "");
        assert_eq!(TraceState::parse(b"a=1").unwrap().write(), "a=1");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_written_reads_the_same(
            text in "(ot=|th:|rv:|[0-9a-f]{1,15}|[a-z]=|[;:,= ]|.){0,12}",
        ) {
            if let Some(state) = TraceState::parse(text.as_bytes()) {
                let written = state.write();
                let again = TraceState::parse(written.as_bytes());
                prop_assert_eq!(again.as_ref(), Some(&state), "{}", written);
            }
        }
    }

    #[test]
    fn wrong_numbers_are_none() {
        for text in ["ot=th:", "ot=th:xyz", "ot=rv:12", "ot=th", "ot=th:123456789abcdef"] {
            assert_eq!(TraceState::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TraceState::parse(b"ot=th:\xFF"), None);
    }
}
