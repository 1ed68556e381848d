use std::{hint::black_box, io::Read as _};

use prost::Message as _;

use super::*;

#[test]
fn a_profile_names_the_function_that_burns() {
    let sampling = Sampling::start().unwrap();
    let deadline = Instant::now() + Duration::from_millis(700);
    while Instant::now() < deadline {
        black_box((0..10_000_u64).map(black_box).sum::<u64>());
    }
    let zipped = sampling.finish().unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut bytes).unwrap();
    let profile = profile::Profile::decode(&*bytes).unwrap();
    assert_eq!(profile.string_table[0], "");
    assert_eq!((profile.sample_type.len(), profile.period), (2, 10_101_010));
    assert!(!profile.sample.is_empty());
    for sample in &profile.sample {
        let known = |id: &u64| (1..=profile.location.len() as u64).contains(id);
        assert!(sample.location_id.iter().all(known) && sample.value.len() == 2);
    }
    let ours = |name: &String| name.contains("a_profile_names_the_function_that_burns");
    assert!(profile.string_table.iter().any(ours), "{:?}", profile.string_table);
}
