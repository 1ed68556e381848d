//! Units: translates those of UCUM, which OTLP uses, to those of CloudWatch. CloudWatch refuses a
//! document with an unknown unit, so other units are left out.

/// CloudWatch's units (`MetricDatum`, `StandardUnit`).
const KNOWN: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// UCUM units and the units of CloudWatch that mean the same.
const SAME: [(&str, &str); 16] = [
    ("ms", "Milliseconds"),
    ("s", "Seconds"),
    ("us", "Microseconds"),
    ("By", "Bytes"),
    ("kBy", "Kilobytes"),
    ("MBy", "Megabytes"),
    ("GBy", "Gigabytes"),
    ("TBy", "Terabytes"),
    ("bit", "Bits"),
    ("kbit", "Kilobits"),
    ("Mbit", "Megabits"),
    ("Gbit", "Gigabits"),
    ("%", "Percent"),
    ("By/s", "Bytes/Second"),
    ("bit/s", "Bits/Second"),
    ("1/s", "Count/Second"),
];

/// The unit of CloudWatch; `None` if there is none.
pub(super) fn of(unit: &str) -> Option<&'static str> {
    let same = SAME.iter().find(|(ucum, _)| *ucum == unit).map(|(_, own)| *own);
    same.or_else(|| known(unit))
}

/// A unit in CloudWatch's own words.
pub(super) fn known(unit: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == unit)
}

/// All of them, for people.
pub(super) fn all() -> String {
    KNOWN.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M07, and that every translation is a unit.
    #[test]
    fn units_are_those_of_cloudwatch_or_none() {
        assert_eq!(
            [of("ms"), of("By"), of("1"), of("ns")],
            [Some("Milliseconds"), Some("Bytes"), None, None]
        );
        assert_eq!([of("{request}"), of("Count")], [None, Some("Count")]);
        assert!(SAME.iter().all(|(_, own)| known(own).is_some()));
    }
}
