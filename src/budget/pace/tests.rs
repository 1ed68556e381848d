use proptest::prelude::*;

use super::*;

const LEFT: f64 = 20.0 * DAY;

/// Estimates of a traffic that has been the same for long.
fn steady(wanted: [f64; 3]) -> Pace {
    Pace { wanted, at: 0 }
}

/// Rates in percent.
fn percent(wanted: [f64; 3], rest: u64) -> [f64; 3] {
    // As if the units were those of a whole period.
    let wanted = wanted.map(|units| units / LEFT);
    steady(wanted).rates(rest, LEFT).0.map(|rate| (rate.probability() * 1000.0).round() / 10.0)
}

#[test]
fn errors_come_first_then_what_is_slow_then_the_rest() {
    for (wanted, rates) in [
        ([0.0, 0.0, 0.0], [100.0, 100.0, 100.0]),
        // A tenth is kept for errors, whether there are any or not.
        ([0.0, 0.0, 900.0], [100.0, 100.0, 100.0]),
        ([0.0, 0.0, 1800.0], [100.0, 100.0, 50.0]),
        ([50.0, 0.0, 1800.0], [100.0, 100.0, 50.0]),
        ([400.0, 0.0, 1200.0], [100.0, 100.0, 50.0]),
        ([400.0, 300.0, 600.0], [100.0, 100.0, 50.0]),
        // The rest is never shut out.
        ([400.0, 1180.0, 600.0], [100.0, 50.0, 1.7]),
        ([980.0, 100.0, 100.0], [100.0, 10.0, 10.0]),
        ([1960.0, 100.0, 1000.0], [50.0, 10.0, 1.0]),
        // What would be sampled by less than a hundredth is not sampled.
        ([0.0, 0.0, 908.0], [100.0, 100.0, 100.0]),
    ] {
        assert_eq!(percent(wanted, 1000).map(f64::to_bits), rates.map(f64::to_bits), "{wanted:?}");
    }
    assert!(percent([1.0, 1.0, 1.0], 0).iter().all(|rate| rate.abs() < 1e-9));
}

/// Units of a sudden, endless stream that pass before the first is sampled.
fn burst(class: Class, left: f64, rest: u64) -> u64 {
    let mut pace = Pace::default();
    let mut passed = 0;
    for now in 0.. {
        let mut units = [0; 3];
        units[class as usize] = 100;
        pace.observe(units, now, left);
        if pace.rates(rest, left).of(class) != Rate::ALL {
            break;
        }
        passed += 100;
    }
    passed
}

#[test]
fn a_burst_passes_until_it_has_used_its_part_of_what_is_left() {
    // With 20 days left: the share of a day, of what is not kept for errors.
    assert_eq!(burst(Class::Rest, LEFT, 2_000_000), 90_900);
    assert_eq!(burst(Class::Slow, LEFT, 2_000_000), 89_800);
    // Of errors a quarter, whatever is left.
    assert_eq!(burst(Class::Error, LEFT, 2_000_000), 494_900);
    assert_eq!(burst(Class::Error, 3600.0, 2_000_000), 496_300);
    // Of others an eighth in the end.
    assert_eq!(burst(Class::Rest, 3600.0, 2_000_000), 227_800);
}

#[test]
fn estimates_follow_the_traffic_and_forget_it() {
    let mut pace = Pace::default();
    for second in 1..=10 * 86_400 {
        pace.observe([0, 0, 8], second * 1000, LEFT);
    }
    let [.., rest] = pace.wanted;
    assert!((7.9..8.1).contains(&rest), "{rest}");
    pace.observe([0; 3], 11 * 86_400_000, LEFT);
    let [.., later] = pace.wanted;
    assert!((rest / 2.8..rest / 2.6).contains(&later), "{later}");
    // A jump of the clock forgets a day at most, and one back nothing.
    pace.observe([0; 3], i64::MAX, LEFT);
    assert!(pace.wanted[2] > 1.0);
    let before = pace.wanted;
    pace.observe([0; 3], 0, LEFT);
    assert_eq!(pace.wanted.map(f64::to_bits), before.map(f64::to_bits));
}

#[test]
fn rates_have_few_digits_and_their_exact_probability() {
    for (probability, threshold) in [
        (1.0, 0),
        (7.0, 0),
        (0.5, 0x80_0000_0000_0000),
        (1.0 / 3.0, 0xaa_ab00_0000_0000),
        (0.001, 0xff_be77_0000_0000),
        (0.0, 1 << 56),
        (-1.0, 1 << 56),
        (f64::NAN, 1 << 56),
        (1e-30, 1 << 56),
    ] {
        assert_eq!(Rate::of(probability).threshold(), threshold, "{probability}");
    }
    assert!(Rate::ALL.keeps(0) && !Rate::NOTHING.keeps(u64::MAX));
    assert!(Rate::of(0.5).keeps(0x80_0000_0000_0000) && !Rate::of(0.5).keeps(0x7f_ffff_ffff_ffff));
}

proptest! {
    #[test]
    fn a_rate_is_never_above_its_probability_and_hardly_below(probability in 1e-12_f64..1.0) {
        let rate = Rate::of(probability);
        prop_assert!(rate.probability() <= probability);
        prop_assert!(rate.probability() >= probability * (1.0 - 1.0 / 32_768.0));
        prop_assert_eq!(Rate::from_threshold(rate.threshold()), rate);
    }

    #[test]
    fn what_passes_lasts_to_the_end(
        wanted in proptest::array::uniform3(0.0_f64..1e7),
        rest in 100_u64..1 << 50,
        left in 1.0_f64..3e6,
    ) {
        let pace = steady(wanted);
        let rates = pace.rates(rest, left);
        let forecast = pace.forecast(left);
        let passes: f64 =
            forecast.iter().zip(rates.0).map(|(units, rate)| units * rate.probability()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a bound")]
        let rest = rest as f64;
        // Each class may be rounded up by a hundredth.
        prop_assert!(passes <= rest * 1.011, "{passes} of {rest}");
        for (class, units) in Class::ALL.into_iter().zip(forecast) {
            let is_kept_whole = rates.of(class) == Rate::ALL;
            prop_assert!(is_kept_whole || units * rates.of(class).probability() >= rest * 0.0099);
        }
        if forecast[0] <= rest * 0.98 {
            prop_assert_eq!(rates.of(Class::Error), Rate::ALL);
        }
    }
}
