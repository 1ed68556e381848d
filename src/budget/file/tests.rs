use proptest::prelude::*;

use super::*;

fn some() -> Contents {
    Contents {
        number: 42,
        seen: 1_764_400_000,
        reached: 1_764_400_000,
        behind: 0,
        wanted: [0.01, 0.0, 7.7],
        wanted_at: 1_764_400_000_123,
        outlook: Outlook { units: [10.0, 0.0, 99_999.5], seconds: 604_800.0 },
        days: vec![Day { last: 1_764_300_000, units: 7 }, Day { last: 1_764_400_000, units: 123 }],
        ids: vec![(0x00f1_e2d3_c4b5_a697, 1_764_400_000)],
        eaters: vec![eater("", "cron", 512, 0), eater("shop", "GET /b\u{e4}r%", 40_112_000, 7)],
        left_out: LeftOut {
            units: [512_100, 3],
            services: [(Box::from(""), 103), (Box::from("a shop"), 512_000)].into(),
        },
    }
}

fn eater(service: &str, name: &str, wanted: u64, error: u64) -> Eater {
    Eater { service: service.into(), name: name.into(), wanted, error }
}

#[test]
fn a_ledger_is_text() {
    let text = some().to_text();
    let expected = "\
skep budget ledger 3
number 42
clock 1764400000 1764400000 0
wanted 0.01 0 7.7 1764400000123
outlook 10 0 99999.5 604800
left_out 512100 3
day 1764300000 7
day 1764400000 123
id 00f1e2d3c4b5a697 1764400000
eater 512 0  cron
eater 40112000 7 shop GET%20/b%C3%A4r%25
without 103 
without 512000 a%20shop
crc32c 330d1b52
";
    assert_eq!(text, expected);
    assert_eq!(parse(text.as_bytes()), Some(some()));
}

#[test]
fn a_ledger_of_an_older_version_is_read() {
    let text = "\
skep budget ledger 1
number 42
clock 1764400000 1764400000 0
wanted 0.01 0 7.7 1764400000123
day 1764300000 7
day 1764400000 123
id 00f1e2d3c4b5a697 1764400000
crc32c 14a3c402
";
    let outlook = Outlook { units: [864.0, 0.0, 665_280.0], seconds: 86_400.0 };
    let left_out = LeftOut::default();
    let first = Contents { eaters: Vec::new(), outlook, left_out, ..some() };
    assert_eq!(parse(text.as_bytes()), Some(first.clone()));
    let second = text.replace("ledger 1", "ledger 2");
    let second = second.split("crc32c").next().unwrap().to_owned() + "eater 512 0  cron\n";
    let eaters = vec![eater("", "cron", 512, 0)];
    assert_eq!(parse(signed(&second).as_bytes()), Some(Contents { eaters, ..first }));
}

#[test]
fn files_that_were_removed_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("storage/ledger");
    let (mut files, _) = Files::open(&folder).unwrap();
    let read = || Files::peek(&folder).unwrap();
    let is_read = |found: Found| matches!(found, Found::Whole(contents) if contents == some());
    files.write(&some()).unwrap();
    assert!(!files.are_gone() && !files.restore().unwrap());
    let aside = dir.path().join("aside");
    let removals: [&dyn Fn(); 4] = [
        &|| fs::remove_dir_all(dir.path().join("storage")).unwrap(),
        &|| fs::remove_file(folder.join("ledger-a")).unwrap(),
        &|| fs::remove_file(folder.join("ledger-b")).unwrap(),
        &|| {
            fs::rename(&folder, &aside).unwrap();
            fs::create_dir(&folder).unwrap();
        },
    ];
    for removal in removals {
        removal();
        assert!(files.are_gone() && files.restore().unwrap() && !files.are_gone());
        files.write(&some()).unwrap();
        assert!(is_read(read()));
    }
    fs::remove_dir_all(dir.path().join("storage")).unwrap();
    fs::write(dir.path().join("storage"), "a file is in the way").unwrap();
    assert!(files.restore().is_err() && files.are_gone());
}

/// With the checksum that belongs to it.
fn signed(body: &str) -> String {
    format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
}

#[test]
fn texts_that_nobody_wrote_are_refused() {
    let good = "skep budget ledger 2\nnumber 1\nclock 0 0 0\nwanted 0 0 0 0\n";
    assert!(parse(signed(good).as_bytes()).is_some());
    for (from, to) in [
        ("ledger 2", "ledger 3"),
        ("number 1", "number -1"),
        ("number 1", "number 1 1"),
        ("clock 0 0 0", "clock 0 0"),
        ("wanted 0 0 0 0", "wanted 0 0 NaN 0"),
        ("wanted 0 0 0 0", "wanted 0 0 inf 0"),
        ("wanted 0 0 0 0", "wanted 0 -1 0 0"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\n\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\nday 2 1\nday 1 1\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\nday 9223372036854775807 1\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\nid 01 1\nid 01 1\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\nhour 1 1\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\neater 1 0 a\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\neater 1 0 a %ff\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0\neater 1 0 b c\neater 1 0 b c\n"),
        ("wanted 0 0 0 0\n", "wanted 0 0 0 0"),
    ] {
        let wrong = signed(&good.replacen(from, to, 1));
        assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
    }
    assert_eq!(parse(good.as_bytes()), None);
    let days = "day 1 1\n".repeat(MOST_DAYS + 1);
    assert_eq!(parse(signed(&format!("{good}{days}")).as_bytes()), None);
    let long = "x".repeat(LONGEST_NAME + 1);
    assert_eq!(parse(signed(&format!("{good}eater 1 0 a {long}\n")).as_bytes()), None);
    let many: Vec<String> = (0..=MOST_KEPT).map(|at| format!("eater 1 0 a {at:03}\n")).collect();
    let many = many.concat();
    assert_eq!(parse(signed(&format!("{good}{many}")).as_bytes()), None);
}

fn any_contents() -> impl Strategy<Value = Contents> {
    let estimates = proptest::array::uniform3(0.0_f64..1e300);
    let days = proptest::collection::vec((any::<i32>(), any::<u64>()), 0..MOST_DAYS);
    let ids = proptest::collection::btree_map(any::<u64>(), any::<i64>(), 0..20);
    let names = (".{0,30}", "[ -~]{0,120}");
    let eaters = proptest::collection::btree_map(names, any::<(u64, u64)>(), 0..=MOST_KEPT);
    let services = proptest::collection::btree_map(".{0,30}", any::<u64>(), 0..=MOST_SERVICES);
    let outlook =
        (estimates.clone(), 0.0..1e9).prop_map(|(units, seconds)| Outlook { units, seconds });
    let left_out = (any::<[u64; 2]>(), services).prop_map(|(units, services)| {
        let services = services.into_iter().map(|(name, units)| (name.into(), units));
        LeftOut { units, services: services.collect() }
    });
    (any::<(u64, i64, i64, i64, i64)>(), estimates, days, ids, eaters, outlook, left_out).prop_map(
        |(numbers, wanted, days, ids, eaters, outlook, left_out)| {
            let mut days: Vec<Day> =
                days.into_iter().map(|(last, units)| Day { last: last.into(), units }).collect();
            days.sort_by_key(|day| day.last);
            let (number, seen, reached, behind, wanted_at) = numbers;
            Contents {
                number,
                seen,
                reached,
                behind,
                wanted,
                wanted_at,
                outlook,
                left_out,
                days,
                ids: ids.into_iter().collect(),
                eaters: eaters
                    .into_iter()
                    .map(|((service, name), (wanted, error))| eater(&service, &name, wanted, error))
                    .collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(contents in any_contents()) {
        prop_assert_eq!(parse(contents.to_text().as_bytes()), Some(contents));
    }

    #[test]
    fn a_changed_byte_is_noticed(contents in any_contents(), at: usize, bit in 0_u8..8) {
        let mut bytes = contents.to_text().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(parse(&bytes), None);
    }

    #[test]
    fn a_part_is_no_ledger(contents in any_contents(), at: usize) {
        let text = contents.to_text();
        prop_assert_eq!(parse(&text.as_bytes()[..at % text.len()]), None);
    }

    #[test]
    fn any_text_is_read_or_refused(lines in "(number|day|id|clock|wanted|eater)?[ 0-9a-f.-]{0,20}\n") {
        parse(lines.as_bytes());
        let text = format!("{TITLE}\n{lines}");
        parse(signed(&text).as_bytes());
    }
}

fn found(folder: &Path) -> Found {
    Files::open(folder).unwrap().1
}

fn numbered(number: u64) -> Contents {
    Contents { number, ..some() }
}

#[test]
fn the_newer_of_two_files_counts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    let (mut files, nothing) = Files::open(&folder).unwrap();
    assert!(matches!(nothing, Found::Nothing));
    let begun = found(&folder);
    assert!(matches!(begun, Found::Whole(contents) if contents == Contents::default()));
    for number in 1..6 {
        files.write(&numbered(number)).unwrap();
        let found = found(&folder);
        assert!(matches!(found, Found::Whole(contents) if contents.number == number));
    }
    drop(files);
    // A shorter one leaves nothing of the longer one before it.
    let (mut files, _) = Files::open(&folder).unwrap();
    for number in [6, 7] {
        files.write(&Contents { number, ..Contents::default() }).unwrap();
    }
    assert!(matches!(found(&folder), Found::Whole(contents) if contents.number == 7));
}

#[test]
fn a_write_that_is_torn_leaves_the_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = Files::open(dir.path()).unwrap();
    for number in 1..=2 {
        files.write(&numbered(number)).unwrap();
    }
    let torn = &numbered(3).to_text()[..50];
    let paths = NAMES.map(|name| dir.path().join(name));
    // The first file has the beginning of the ledger, and then the second contents.
    let older = fs::read_to_string(&paths[1]).unwrap();
    fs::write(&paths[1], format!("{torn}{}", &older[50..])).unwrap();
    assert!(matches!(found(dir.path()), Found::Older(contents) if contents.number == 2));
    // The next write replaces the torn one, not the good one.
    let (mut files, _) = Files::open(dir.path()).unwrap();
    files.write(&numbered(3)).unwrap();
    assert!(matches!(found(dir.path()), Found::Whole(contents) if contents.number == 3));
    for text in ["\0\0\0", ""] {
        for path in &paths {
            fs::write(path, text).unwrap();
        }
        assert!(matches!(found(dir.path()), Found::Damaged), "{text:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Files::open(&dir.path().join("file/x")).unwrap_err().to_string();
    assert!(error.starts_with("cannot open the ledger of a budget, `") && error.contains("file/x"));
}
