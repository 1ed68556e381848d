//! Editors of metrics as trees, how they are written, and random ones.

use std::fmt::{self, Display};

use super::{
    fields::Kind,
    generate::Writer,
    program::{Edit, Expr},
    value::Val,
};

/// An editor of a metric or of a data point.
#[derive(Debug, Clone)]
pub(super) enum Measure {
    SumToGauge,
    GaugeToSum(Nature),
    ExtractCount(bool, Suffix),
    ExtractSum(bool, Suffix),
    Percentile(f64, Suffix),
    Scale(f64, Option<Expr>),
    /// Name, description and unit, as far as they are given.
    Copy([Option<Expr>; 3]),
    ToExplicit(&'static str, Vec<f64>),
    Aggregate(&'static str, Option<Vec<&'static str>>),
    AggregateValue(&'static str, &'static str, Vec<&'static str>, &'static str),
    SummaryCount(Nature, Suffix),
    SummarySum(Nature, Suffix),
    Quantiles(Option<&'static str>, Suffix),
    RemoveBound(f64),
    LimitBuckets(i64),
}

pub(super) type Suffix = Option<&'static str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nature {
    pub is_delta: bool,
    pub is_monotonic: bool,
}

impl Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let temporality = if self.is_delta { "delta" } else { "cumulative" };
        write!(f, "{temporality:?}, {}", self.is_monotonic)
    }
}

/// Arguments that are given by name.
fn named(arguments: &[(&str, Option<String>)]) -> String {
    let given = arguments.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let texts: Vec<String> = given.map(|(name, value)| format!(", {name}={value}")).collect();
    texts.concat()
}

fn suffix(suffix: Suffix) -> String {
    named(&[("suffix", suffix.map(|text| format!("{text:?}")))])
}

impl Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::SumToGauge => write!(f, "convert_sum_to_gauge()"),
            Measure::GaugeToSum(nature) => write!(f, "convert_gauge_to_sum({nature})"),
            Measure::ExtractCount(is_monotonic, end) => {
                write!(f, "extract_count_metric({is_monotonic}{})", suffix(*end))
            }
            Measure::ExtractSum(is_monotonic, end) => {
                write!(f, "extract_sum_metric({is_monotonic}{})", suffix(*end))
            }
            Measure::Percentile(percentile, end) => {
                write!(f, "extract_percentile_metric({percentile:?}{})", suffix(*end))
            }
            Measure::Scale(factor, unit) => {
                let unit = unit.as_ref().map(ToString::to_string);
                write!(f, "scale_metric({factor:?}{})", named(&[("unit", unit)]))
            }
            Measure::Copy(texts) => {
                let [name, description, unit] =
                    texts.each_ref().map(|text| text.as_ref().map(ToString::to_string));
                let all = named(&[("name", name), ("description", description), ("unit", unit)]);
                write!(f, "copy_metric({})", all.trim_start_matches(", "))
            }
            Measure::ToExplicit(distribution, bounds) => write!(
                f,
                "convert_exponential_histogram_to_histogram({distribution:?}, {bounds:?})"
            ),
            Measure::Aggregate(function, None) => {
                write!(f, "aggregate_on_attributes({function:?})")
            }
            Measure::Aggregate(function, Some(keys)) => {
                write!(f, "aggregate_on_attributes({function:?}, {keys:?})")
            }
            Measure::AggregateValue(function, key, values, new) => write!(
                f,
                "aggregate_on_attribute_value({function:?}, {key:?}, {values:?}, {new:?})"
            ),
            Measure::SummaryCount(nature, end) => {
                write!(f, "convert_summary_count_val_to_sum({nature}{})", suffix(*end))
            }
            Measure::SummarySum(nature, end) => {
                write!(f, "convert_summary_sum_val_to_sum({nature}{})", suffix(*end))
            }
            Measure::Quantiles(key, end) => {
                let key = key.map(|key| format!("{key:?}"));
                let end = end.map(|end| format!("{end:?}"));
                let all = named(&[("attribute_key", key), ("suffix", end)]);
                let all = all.trim_start_matches(", ");
                write!(f, "convert_summary_quantile_val_to_gauge({all})")
            }
            Measure::RemoveBound(bound) => write!(f, "merge_histogram_buckets({bound:?})"),
            Measure::LimitBuckets(most) => {
                write!(f, "merge_histogram_buckets({most}, \"limit_buckets\")")
            }
        }
    }
}

const FUNCTIONS: [&str; 8] = ["sum", "sum", "sum", "max", "min", "mean", "median", "count"];

impl Writer<'_> {
    fn nature(&mut self) -> Nature {
        Nature { is_delta: self.rng.bool(), is_monotonic: self.rng.bool() }
    }

    fn suffix(&mut self) -> Suffix {
        self.pick(&[None, None, Some("_x"), Some("")])
    }

    fn maybe_text(&mut self) -> Option<Expr> {
        self.rng.bool().then(|| self.expr(Kind::Text, 1))
    }

    /// An editor of metrics.
    pub(super) fn measure(&mut self) -> Edit {
        Edit::Measure(match self.rng.u8(0..16) {
            0 => Measure::SumToGauge,
            1 => Measure::GaugeToSum(self.nature()),
            2 | 3 => Measure::ExtractCount(self.rng.bool(), self.suffix()),
            4 | 5 => Measure::ExtractSum(self.rng.bool(), self.suffix()),
            6 | 7 => Measure::Percentile(self.pick(&[1.0, 50.0, 90.0, 99.5]), self.suffix()),
            8 => Measure::Scale(self.pick(&[2.0, 0.5, -1.0]), self.maybe_text()),
            9 => Measure::Copy([self.maybe_text(), self.maybe_text(), self.maybe_text()]),
            10 | 11 => {
                let distribution = self.pick(&["upper", "midpoint", "uniform"]);
                let bounds: [&[f64]; 3] = [&[0.3, 3.0, 100.0], &[5.0], &[-3.0, -0.3, 0.1, 3.0]];
                Measure::ToExplicit(distribution, self.pick(&bounds).to_vec())
            }
            12..14 => {
                let keys: [Option<&[&'static str]>; 4] =
                    [None, Some(&[]), Some(&["a"]), Some(&["b", "k"])];
                let keys = self.pick(&keys).map(<[_]>::to_vec);
                Measure::Aggregate(self.pick(&FUNCTIONS), keys)
            }
            _ => {
                let values: [&[&'static str]; 3] = [&["a", "b"], &["ab"], &[]];
                let (key, new) = (self.pick(&["a", "b", "k"]), self.pick(&["a", "n"]));
                let values = self.pick(&values).to_vec();
                Measure::AggregateValue(self.pick(&FUNCTIONS), key, values, new)
            }
        })
    }

    /// An editor of data points.
    pub(super) fn measure_of_point(&mut self) -> Edit {
        Edit::Measure(match self.rng.u8(0..5) {
            0 => Measure::SummaryCount(self.nature(), self.suffix()),
            1 => Measure::SummarySum(self.nature(), self.suffix()),
            2 => Measure::Quantiles(self.pick(&[None, Some("a")]), self.suffix()),
            3 => Measure::RemoveBound(self.pick(&[1.5, 2.5, 7.0])),
            _ => Measure::LimitBuckets(self.pick(&[-1, 0, 1, 2, 3])),
        })
    }

    /// What is known of the client or of its request.
    pub(super) fn of_request(&mut self) -> Expr {
        let field = self.pick(&[
            "client.addr",
            "client.auth.attributes",
            "client.metadata",
            "grpc.metadata",
        ]);
        let mut keys = Vec::new();
        if field != "client.addr" {
            keys.push(Self::literal(self.pick(&["a", "A", "b", "none"])));
            if self.chance(3) {
                keys.push(Expr::Literal(Val::Int(self.rng.i64(0..2))));
            }
        }
        Expr::Path(super::program::Path {
            context: crate::ottl::Context::Request,
            field,
            keys,
            is_bare: false,
            is_old: false,
        })
    }
}
