//! Distributions of all sorts over the whole translation: of every document least <= sum / count <=
//! greatest, and what was sent adds up to what was observed.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sort {
    Explicit,
    Exponential,
    Summary,
}

/// What is different from one point to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    /// The process starts again, and says so.
    Restart,
    /// It starts again and does not say it; seen where there is less than before.
    QuietRestart,
    /// Nothing is heard for more than five minutes.
    Gap,
    /// The buckets get twice as wide.
    Widen,
    /// And half as wide.
    Narrow,
    /// The zero bucket takes in others; explicit bounds are others.
    Rebound,
}

/// How a sender says what it has observed.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each sort with each")]
struct Sender {
    sort: Sort,
    is_total: bool,
    with_sum: bool,
    with_ends: bool,
    with_buckets: bool,
    with_start: bool,
}

/// What a sender has at a time.
#[derive(Debug, Clone)]
struct State {
    values: Vec<f64>,
    start: u64,
    time: u64,
    scale: i32,
    threshold: f64,
    bounds: Vec<f64>,
}

#[expect(clippy::cast_possible_truncation, reason = "indexes of small numbers")]
fn side(values: &[f64], scale: i32) -> Option<Buckets> {
    // As SDKs do: an index is the logarithm of the value, rounded up, less one.
    let index = |value: &f64| ((value.log2() * 2_f64.powi(scale)).ceil() as i32) - 1;
    let first = values.iter().map(index).min()?;
    let last = values.iter().map(index).max()?;
    let mut bucket_counts = vec![0; usize::try_from(last - first + 1).unwrap()];
    for value in values {
        bucket_counts[usize::try_from(index(value) - first).unwrap()] += 1;
    }
    Some(Buckets { offset: first, bucket_counts })
}

impl Sender {
    fn metric(self, state: &State, values: &[f64]) -> Metric {
        let ends = |end: fn(f64, f64) -> f64| {
            values.iter().copied().reduce(end).filter(|_| self.with_ends)
        };
        let sum = Some(values.iter().sum()).filter(|_| self.with_sum);
        let (min, max, count) = (ends(f64::min), ends(f64::max), values.len() as u64);
        let start_time_unix_nano = if self.with_start { state.start } else { 0 };
        let time_unix_nano = state.time;
        let aggregation_temporality = if self.is_total { CUMULATIVE } else { DELTA };
        match self.sort {
            Sort::Explicit => {
                let mut bucket_counts = vec![0; state.bounds.len() + 1];
                for value in values {
                    bucket_counts[state.bounds.iter().filter(|bound| value > bound).count()] += 1;
                }
                let mut one = HistogramDataPoint {
                    start_time_unix_nano,
                    time_unix_nano,
                    count,
                    sum,
                    min,
                    max,
                    bucket_counts,
                    explicit_bounds: state.bounds.clone(),
                    ..HistogramDataPoint::default()
                };
                if !self.with_buckets {
                    (one.bucket_counts, one.explicit_bounds) = (Vec::new(), Vec::new());
                }
                let data_points = vec![one];
                metric(
                    "m",
                    "s",
                    Data::Histogram(Histogram { data_points, aggregation_temporality }),
                )
            }
            Sort::Exponential => {
                let is_zero = |value: &f64| value.abs() <= state.threshold;
                let some = |sign: f64| -> Vec<f64> {
                    let all =
                        values.iter().filter(|value| !is_zero(value)).map(|value| value * sign);
                    all.filter(|value| *value > 0.0).collect()
                };
                let one = ExponentialHistogramDataPoint {
                    start_time_unix_nano,
                    time_unix_nano,
                    count,
                    sum,
                    min,
                    max,
                    scale: state.scale,
                    zero_count: values.iter().filter(|value| is_zero(value)).count() as u64,
                    zero_threshold: state.threshold,
                    positive: side(&some(1.0), state.scale),
                    negative: side(&some(-1.0), state.scale),
                    ..ExponentialHistogramDataPoint::default()
                };
                let data_points = vec![one];
                let data = ExponentialHistogram { data_points, aggregation_temporality };
                metric("m", "s", Data::ExponentialHistogram(data))
            }
            Sort::Summary => {
                let ends = [(0.0, min), (1.0, max)];
                let ends = ends.into_iter().filter_map(|(quantile, value)| {
                    Some(ValueAtQuantile { quantile, value: value? })
                });
                let one = SummaryDataPoint {
                    start_time_unix_nano,
                    time_unix_nano,
                    count,
                    sum: values.iter().sum(),
                    quantile_values: ends.collect(),
                    ..SummaryDataPoint::default()
                };
                metric("m", "s", Data::Summary(Summary { data_points: vec![one] }))
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    use Change::{Gap, Narrow, Nothing, QuietRestart, Rebound, Restart, Widen};
    prop_oneof![
        4 => Just(Nothing),
        1 => prop::sample::select(vec![Restart, QuietRestart, Gap, Widen, Narrow, Rebound]),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        1 => Just(0.0),
        4 => (-8_i32..20, 1.0..2.0).prop_map(|(power, part): (i32, f64)| part * 2_f64.powi(power)),
        1 => (-8_i32..20, 1.0..2.0).prop_map(|(power, part): (i32, f64)| -part * 2_f64.powi(power)),
    ]
}

fn sender() -> impl Strategy<Value = Sender> {
    let sort = prop::sample::select(vec![Sort::Explicit, Sort::Exponential, Sort::Summary]);
    (sort, any::<[bool; 5]>()).prop_map(|(sort, [is_total, sum, ends, buckets, with_start])| {
        Sender {
            sort,
            is_total: is_total || sort == Sort::Summary,
            // Where neither is said, the sum is not known at all.
            with_buckets: buckets || !sum,
            with_sum: sum || sort == Sort::Summary,
            with_ends: ends,
            with_start,
        }
    })
}

/// Count and sum of all documents of a point, each of which is sound.
fn sent(documents: &[Json], is_exponential: bool) -> (u64, f64) {
    let mut all = (0, 0.0);
    for document in documents {
        let own = &document["m"];
        let [min, max, sum] = ["Min", "Max", "Sum"].map(|name| own[name].as_f64().unwrap());
        let count = own["Count"].as_u64().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let mean = sum / count as f64;
        assert!(min <= mean && mean <= max, "{own}");
        if let (true, Some(values)) = (is_exponential, own["Values"].as_array()) {
            let counts = own["Counts"].as_array().unwrap().iter().map(|one| one.as_u64().unwrap());
            assert_eq!((values.len(), counts.clone().sum::<u64>()), (counts.len(), count), "{own}");
            let is_within = |value: &Json| (min..=max).contains(&value.as_f64().unwrap());
            assert!(values.len() <= 100 && values.iter().all(is_within), "{own}");
        }
        all = (all.0 + count, all.1 + sum);
    }
    all
}

fn check(sender: Sender, steps: &[(Change, Vec<f64>)], runtime: &tokio::runtime::Runtime) {
    let mut bench = Bench::new(&Config::default());
    let bounds = vec![0.0, 1.0, 5.0, 25.0, 100.0];
    let mut state =
        State { values: Vec::new(), start: 1, time: TIME, scale: 3, threshold: 0.0, bounds };
    let mut is_known = false;
    for (change, values) in steps {
        let mut is_anew = false;
        match change {
            Change::Nothing => {}
            Change::Restart if !sender.with_start => {}
            Change::QuietRestart if values.len() >= state.values.len() => {}
            Change::Restart | Change::QuietRestart => {
                state.values.clear();
                is_anew = *change == Change::Restart;
            }
            Change::Gap => {
                runtime.block_on(tokio::time::advance(Duration::from_mins(7)));
                is_known = false;
            }
            Change::Widen => state.scale = (state.scale - 1).max(-3),
            Change::Narrow => state.scale = (state.scale + 1).min(6),
            Change::Rebound => {
                state.threshold = (state.threshold * 2.0).clamp(0.01, 4.0);
                state.bounds = vec![-3.0, 1.0, 7.0, 25.0];
            }
        }
        state.time += 1_000_000_000;
        state.start = if is_anew { state.time - 1 } else { state.start };
        state.values.extend(values);
        let said = if sender.is_total { &state.values } else { values };
        let (all, note) = {
            let _guard = runtime.enter();
            bench.send(&payload(&[], "", vec![sender.metric(&state, said)]))
        };
        assert_eq!(note.lost(), 0);
        let documents: Vec<Json> = all.into_iter().map(|(_, document)| document).collect();
        let (count, sum) = sent(&documents, sender.sort == Sort::Exponential);
        let is_sent = !sender.is_total || is_known;
        is_known = true;
        let expected = if is_sent { &values[..] } else { &[] };
        assert_eq!(count, expected.len() as u64, "{change:?} of {state:?}");
        assert_eq!(documents.is_empty(), expected.is_empty());
        let expected_sum: f64 = expected.iter().sum();
        let scale: f64 = state.values.iter().chain(values).map(|value| value.abs()).sum();
        if sender.with_sum {
            assert!((sum - expected_sum).abs() <= scale * 1e-12, "{sum} for {expected_sum}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_sent_is_sound_and_adds_up(
        sender in sender(),
        steps in prop::collection::vec((change(), prop::collection::vec(value(), 0..12)), 1..12),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        check(sender, &steps, &runtime);
    }

    /// Whatever numbers are in a point: what comes of it is sound, or it is counted.
    #[test]
    fn no_distribution_gives_an_unsound_document(
        counts in prop::collection::vec(any::<u8>(), 0..400),
        numbers: [u64; 6],
        options: [bool; 6],
        scale in -12_i32..25,
        offset in prop_oneof![-5_i32..5, any::<i32>(), Just(1100)],
    ) {
        let [sum, min, max, zero_threshold, ..] = numbers.map(f64::from_bits);
        let some = |is: bool, number: f64| Some(number).filter(|_| is);
        let counts: Vec<u64> = counts.into_iter().map(u64::from).collect();
        let all: u64 = counts.iter().sum();
        let count = if options[3] { all + numbers[4] % 5 } else { numbers[5] };
        let one = ExponentialHistogramDataPoint {
            time_unix_nano: TIME,
            count,
            sum: some(options[0], sum),
            min: some(options[1], min),
            max: some(options[2], max),
            scale,
            zero_count: numbers[4] % 5,
            zero_threshold,
            positive: Some(Buckets { offset, bucket_counts: counts.clone() }).filter(|_| options[4]),
            negative: Some(Buckets { offset, bucket_counts: counts.clone() }).filter(|_| !options[4]),
            ..ExponentialHistogramDataPoint::default()
        };
        let other = HistogramDataPoint {
            time_unix_nano: TIME,
            count,
            sum: one.sum,
            min: one.min,
            max: one.max,
            explicit_bounds: counts.iter().skip(1).map(|count| f64::from_bits(count << 54)).collect(),
            bucket_counts: counts,
            ..HistogramDataPoint::default()
        };
        let data_points = vec![one];
        let data = ExponentialHistogram { data_points, aggregation_temporality: DELTA };
        let explicit = Histogram { data_points: vec![other], aggregation_temporality: DELTA };
        for data in [Data::ExponentialHistogram(data), Data::Histogram(explicit)] {
            let mut bench = Bench::new(&Config::default());
            let (all, note) = bench.send(&payload(&[], "", vec![metric("m", "s", data)]));
            let documents: Vec<Json> = all.into_iter().map(|(_, document)| document).collect();
            let (sent, _) = sent(&documents, true);
            prop_assert!(sent == count || sent == 0 && (note.lost() == 1 || count == 0));
            prop_assert!(documents.len() <= 3);
        }
    }
}

fn explicit(values: &[f64], bounds: &[f64]) -> Metric {
    let sender = Sender {
        sort: Sort::Explicit,
        is_total: true,
        with_sum: true,
        with_ends: true,
        with_buckets: true,
        with_start: true,
    };
    let bounds = bounds.to_vec();
    let state = State { values: vec![], start: 1, time: TIME, scale: 0, threshold: 0.0, bounds };
    sender.metric(&state, values)
}

#[test]
fn least_and_greatest_of_what_was_added_are_no_others_than_could_be() {
    let mut bench = Bench::new(&Config::default());
    let bounds = [0.005, 0.01, 0.1];
    let mut values = vec![0.001];
    assert!(bench.documents(vec![explicit(&values, &bounds)]).is_empty());
    values.extend([0.001; 4]);
    let small = &bench.documents(vec![explicit(&values, &bounds)])[0]["m"];
    assert_eq!(
        (&small["Min"], &small["Max"], &small["Count"]),
        (&json!(0.001), &json!(0.001), &json!(4))
    );
    values.extend([0.7; 2]);
    let large = &bench.documents(vec![explicit(&values, &bounds)])[0]["m"];
    assert_eq!(
        (&large["Min"], &large["Max"], &large["Count"]),
        (&json!(0.1), &json!(0.7), &json!(2))
    );
}

fn exponential(count: u64, zero_count: u64, scale: i32, offset: i32, sure: bool) -> Metric {
    let one = ExponentialHistogramDataPoint {
        time_unix_nano: TIME,
        count,
        sum: Some(12.5),
        min: Some(1.5).filter(|_| sure),
        max: Some(4.0).filter(|_| sure),
        scale,
        zero_count,
        positive: Some(Buckets { offset, bucket_counts: vec![count - zero_count] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let aggregation_temporality = if sure { DELTA } else { CUMULATIVE };
    let data = ExponentialHistogram { data_points: vec![one], aggregation_temporality };
    metric("m", "", Data::ExponentialHistogram(data))
}

#[test]
fn a_bucket_beyond_the_largest_number_ends_at_the_greatest() {
    for (scale, offset, value) in [(-10, 0, json!(2.75)), (0, 1100, json!(4))] {
        let mut bench = Bench::new(&Config::default());
        let sent = bench.documents(vec![exponential(5, 0, scale, offset, true)]);
        let expected = json!({"Values": [value], "Counts": [5], "Max": 4, "Min": 1.5, "Count": 5, "Sum": 12.5});
        assert_eq!(sent[0]["m"], expected);
    }
}

#[test]
fn a_zero_more_is_one_zero() {
    let mut bench = Bench::new(&Config::default());
    assert!(bench.documents(vec![exponential(2, 1, 0, 0, false)]).is_empty());
    for zeros in [2, 3] {
        let sent = bench.documents(vec![exponential(1 + zeros, zeros, 0, 0, false)]);
        let expected =
            json!({"Values": [0], "Counts": [1], "Max": 0, "Min": 0, "Count": 1, "Sum": 0});
        assert_eq!(sent[0]["m"], expected);
    }
}
