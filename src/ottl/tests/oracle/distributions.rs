//! Random metrics, with points that are often the same but for their values.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, KeyValueList, any_value::Value as Any},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
};

use super::request::Maker;

fn entry(key: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

impl Maker<'_> {
    pub(super) fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.rng.i32(0..3);
        let data = match self.rng.u8(0..6) {
            0 => None,
            1 => Some(Data::Gauge(Gauge { data_points: self.some(4, Self::number_point) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.some(4, Self::number_point),
                aggregation_temporality,
                is_monotonic: self.rng.bool(),
            })),
            3 => {
                let data_points = self.some(4, Self::histogram_point);
                Some(Data::Histogram(Histogram { data_points, aggregation_temporality }))
            }
            4 => {
                let data_points = self.some(4, Self::exponential_point);
                let data = ExponentialHistogram { data_points, aggregation_temporality };
                Some(Data::ExponentialHistogram(data))
            }
            _ => Some(Data::Summary(Summary { data_points: self.some(3, Self::summary_point) })),
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.map(3, 1),
            data,
        }
    }

    /// Attributes that several points are likely to have.
    fn few(&mut self) -> Vec<KeyValue> {
        match self.rng.u8(0..8) {
            0 | 1 => self.attributes(),
            2 => {
                // The same map in any order.
                let mut values = ["a", "b"].map(|key| entry(key, Any::IntValue(1))).to_vec();
                self.rng.shuffle(&mut values);
                vec![entry("m", Any::KvlistValue(KeyValueList { values }))]
            }
            _ => self.map(1, 0),
        }
    }

    fn time(&mut self) -> u64 {
        self.pick(&[1, 1, 1, 2])
    }

    fn maybe(&mut self, all: &[f64]) -> Option<f64> {
        if self.rng.u8(0..3) == 0 { Some(self.pick(all)) } else { None }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        let value = match self.rng.u8(0..6) {
            0 => None,
            1 => Some(number_data_point::Value::AsInt((1 << 53) + 1)),
            2..4 => Some(number_data_point::Value::AsInt(self.rng.i64(-1..4))),
            _ => Some(number_data_point::Value::AsDouble(self.pick(&[1.5, -2.0, 0.0]))),
        };
        NumberDataPoint {
            attributes: self.few(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.time(),
            exemplars: self.some(2, Self::exemplar),
            flags: u32::from(self.rng.u8(0..6) == 0),
            value,
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        let value = match self.rng.u8(0..3) {
            0 => None,
            1 => Some(exemplar::Value::AsInt(self.rng.i64(-1..4))),
            _ => Some(exemplar::Value::AsDouble(1.5)),
        };
        Exemplar {
            filtered_attributes: self.map(3, 1),
            time_unix_nano: self.number(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value,
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        let (explicit_bounds, bucket_counts): (&[f64], &[u64]) = self.pick(&[
            (&[1.5][..], &[1, 2][..]),
            (&[1.5, 2.5, 7.0], &[0, 4, 1, 2]),
            (&[1.5, 2.5, 7.0], &[3, 0, 0, 0]),
            (&[], &[3]),
            (&[], &[]),
        ]);
        HistogramDataPoint {
            attributes: self.few(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.time(),
            count: bucket_counts.iter().sum(),
            sum: (self.rng.u8(0..4) > 0).then_some(1.5),
            bucket_counts: bucket_counts.to_vec(),
            explicit_bounds: explicit_bounds.to_vec(),
            exemplars: self.some(2, Self::exemplar),
            flags: u32::from(self.rng.u8(0..6) == 0),
            min: self.maybe(&[-1.0, 0.5]),
            max: self.maybe(&[2.0, 9.0]),
        }
    }

    fn side(&mut self) -> Option<Buckets> {
        (self.rng.u8(0..3) > 0).then(|| Buckets {
            offset: self.rng.i32(-1..2),
            bucket_counts: self.some(3, |maker| maker.rng.u64(0..4)),
        })
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.few(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.time(),
            count: 2,
            sum: (self.rng.u8(0..4) > 0).then_some(1.5),
            scale: self.pick(&[-1, 0, 0, 2]),
            zero_count: self.rng.u64(0..3),
            positive: self.side(),
            negative: self.side(),
            flags: u32::from(self.rng.u8(0..6) == 0),
            exemplars: self.some(2, Self::exemplar),
            min: self.maybe(&[-1.0]),
            max: self.maybe(&[2.0]),
            zero_threshold: self.pick(&[0.0, 0.0, 0.1]),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.few(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.time(),
            count: self.rng.u64(0..4),
            sum: 1.5,
            quantile_values: self.some(3, |maker| ValueAtQuantile {
                quantile: maker.pick(&[0.0, 0.5, 0.99, 1.0]),
                value: maker.pick(&[0.0, 2.5]),
            }),
            flags: 0,
        }
    }
}
