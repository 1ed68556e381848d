use super::*;

#[test]
fn a_share_is_a_fraction() {
    for (text, shown) in [("1/3", "1/3"), (" 2 / 3 ", "2/3"), ("1", "1/1"), ("4/4", "4/4")] {
        assert_eq!(text.parse::<Share>().map(|share| share.to_string()), Ok(shown.to_owned()));
    }
    let wrong =
        ["", "/", "1/", "/3", "0/3", "1/0", "4/3", "-1/3", "+1/3", "0.3", "1/3/1", "9999999999"];
    for text in wrong {
        assert_eq!(text.parse::<Share>(), Err(ShareError), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn shares_of_all_replicas_are_never_more_than_the_whole(
        units: u64,
        replicas in 1_u32..200,
    ) {
        let share = Share { part: 1, whole: replicas };
        let all = u128::from(share.of(units)) * u128::from(replicas);
        proptest::prop_assert!(all <= u128::from(units));
        proptest::prop_assert!(u128::from(units) - all < u128::from(replicas));
    }
}
