use std::{fs, time::Duration};

use super::*;
use crate::otlp::{
    Content, Payload,
    content::Cursor,
    json, split,
    wild::{self, OneOfs},
};

fn exporter(folder: &tempfile::TempDir, config: Config) -> File {
    let path = folder.path().join(&config.path).to_string_lossy().into_owned();
    let config = Config { path, ..config };
    *config.files.0.lock().unwrap() = Some(Files::new(config.clone()));
    File { config }
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_000 + millis)
}

/// A payload of one resource entry of a service.
fn payload(service: &str) -> Payload {
    let document = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeLogs":[]}}]}}"#
    );
    let body = json::to_protobuf(Signal::Logs, document.as_bytes(), 64).unwrap();
    Payload::unpaid(Signal::Logs, body.into(), 0)
}

fn write(exporter: &File, payload: &Payload, millis: u64) {
    write_in(exporter, &Content::of(payload), usize::MAX, millis);
}

/// Writes in pieces of so much room; the items that were left out.
fn write_in(exporter: &File, content: &Content, room: usize, millis: u64) -> u64 {
    let (mut from, mut rejected) = (Some(Cursor::default()), 0);
    while let Some(start) = from {
        let piece = exporter.encode(&Work { content, from: start, room }).unwrap();
        assert!(piece.next.is_none_or(|next| next != start));
        from = piece.next;
        rejected += exporter.write(&piece.encoded, at(millis)).unwrap().rejected;
    }
    rejected
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn config(path: &str) -> Config {
    Config { path: path.to_owned(), ..Config::default() }
}

#[test]
fn json_is_a_document_per_line_and_the_file_begins_empty() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("out.json"), "old").unwrap();
    let exporter = exporter(&folder, config("out.json"));
    write(&exporter, &payload("a"), 0);
    write(&exporter, &payload("b"), 0);
    let text = fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().all(|line| line.starts_with(r#"{"resourceLogs":[{"resource":"#)));
}

#[test]
fn an_exporter_that_takes_the_place_of_another_one_keeps_what_that_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (exporter(&folder, config("out.json")), exporter(&folder, config("out.json")));
    write(&old, &payload("one"), 0);
    write(&new, &payload("two"), 0);
    write(&old, &payload("three"), 0);
    let text = fs::read_to_string(folder.path().join("out.json")).unwrap();
    let found: Vec<&str> =
        ["one", "two", "three"].into_iter().filter(|name| text.contains(name)).collect();
    assert_eq!((found.len(), text.lines().count()), (3, 3), "{text}");
}

#[test]
fn append_keeps_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("out.json"), "old\n").unwrap();
    let exporter = exporter(&folder, Config { append: true, ..config("out.json") });
    write(&exporter, &payload("a"), 0);
    let text = fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert!(text.starts_with("old\n{"));
}

/// Reads messages that are preceded by their lengths.
fn framed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (message, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

#[test]
fn proto_has_lengths_and_zstd_frames_unpack_to_the_message() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Zstd] {
        let name = format!("{compression:?}.pb");
        let config = Config { format: Format::Proto, compression, ..config(&name) };
        let exporter = exporter(&folder, config);
        let payload = payload("a");
        write(&exporter, &payload, 0);
        write(&exporter, &payload, 0);
        let messages = framed(&fs::read(folder.path().join(&name)).unwrap());
        assert_eq!(messages.len(), 2);
        for message in messages {
            let message = match compression {
                Compression::None => message,
                Compression::Zstd => zstd::decode_all(&message[..]).unwrap(),
            };
            assert_eq!(message, payload.body[0]);
        }
    }
}

#[test]
fn full_files_are_put_aside_and_old_backups_deleted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("out-notes.json"), "mine").unwrap();
    let rotation = Rotation { max_megabytes: 1, max_backups: 2, ..Rotation::default() };
    let config = Config { rotation: Section::On(rotation), ..config("out.json") };
    let exporter = exporter(&folder, config);
    let large = payload(&"x".repeat(700 * 1024));
    for i in 0..5 {
        write(&exporter, &large, i * 1000);
    }
    assert_eq!(
        names(&folder),
        [
            "out-2020-09-13T12-26-43.000.json",
            "out-2020-09-13T12-26-44.000.json",
            "out-notes.json",
            "out.json"
        ]
    );
}

#[test]
fn after_the_clock_was_set_back_the_newest_backups_stay() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_megabytes: 1, max_backups: 2, ..Rotation::default() };
    let config = Config { rotation: Section::On(rotation), ..config("out.json") };
    let exporter = exporter(&folder, config);
    let large = payload(&"x".repeat(700 * 1024));
    for seconds in [5, 6, 7, 1, 2] {
        write(&exporter, &large, seconds * 1000);
    }
    assert_eq!(
        names(&folder),
        ["out-2020-09-13T12-26-41.000.json", "out-2020-09-13T12-26-42.000.json", "out.json"]
    );
}

#[test]
fn backups_are_deleted_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_megabytes: 1, max_days: 1, ..Rotation::default() };
    let config = Config { rotation: Section::On(rotation), ..config("out.json") };
    let exporter = exporter(&folder, config);
    let large = payload(&"x".repeat(700 * 1024));
    for i in 0..4 {
        write(&exporter, &large, i * 50_000_000);
    }
    assert_eq!(
        names(&folder),
        ["out-2020-09-14T16-13-20.000.json", "out-2020-09-15T06-06-40.000.json", "out.json"]
    );
}

#[test]
fn groups_have_their_own_files_and_reopened_ones_keep_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let group_by =
        GroupBy { enabled: true, resource_attribute: "service.name".to_owned(), max_open_files: 1 };
    let exporter = exporter(&folder, Config { group_by, ..config("logs-*.json") });
    let mut both = payload("shop");
    both.absorb(payload("cart"));
    both.absorb(payload("../../evil"));
    write(&exporter, &both, 0);
    write(&exporter, &both, 0);
    assert_eq!(names(&folder), ["logs-_.json", "logs-cart.json", "logs-shop.json"]);
    let text = fs::read_to_string(folder.path().join("logs-cart.json")).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("cart") && !text.contains("shop"));
}

#[test]
fn a_missing_directory_is_an_error_with_the_remedy_or_made() {
    let folder = tempfile::tempdir().unwrap();
    let closed = exporter(&folder, config("a/b/out.json"));
    let frames = closed.encode(&Work::all(&Content::of(&payload("a")))).unwrap().encoded;
    let error = closed.write(&frames, at(0)).unwrap_err();
    assert!(error.message.ends_with("set `create_directory: true`"), "{error}");
    let open = exporter(&folder, Config { create_directory: true, ..config("a/b/out.json") });
    write(&open, &payload("a"), 0);
    assert!(folder.path().join("a/b/out.json").exists());
}

#[test]
fn a_file_that_is_opened_again_after_a_failure_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.json");
    let mut files = Files::new(config("out.json"));
    files.write(&path, [b"one", b"\n"], at(0)).unwrap();
    // Another path makes room by closing the first one.
    files.write(&folder.path().join("other.json"), [b"x", b"\n"], at(0)).unwrap();
    files.write(&path, [b"two", b"\n"], at(0)).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
}

#[test]
fn bodies_are_checked() {
    let check = |yaml: &str| {
        let node = crate::config::yaml::parse(0, yaml).unwrap();
        let mut problems = Problems::default();
        if let Some(config) = crate::config::decode::<Config>(&node, &mut problems) {
            config.validate(&node, &mut problems);
        }
        problems.0.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
    };
    let good = "path: /t/*.json\nrotation:\ncompression: zstd\ngroup_by: {enabled: true}\n";
    assert_eq!(check(good), "");
    assert_eq!(check("format: proto\n"), "`path` is required: the file to write to");
    assert_eq!(check("path: a\nencoding: x\n"), "encoding extensions are not supported");
    let both = "path: a\nappend: true\nrotation: {max_days: 3}\n";
    assert!(check(both).contains("cannot be used together"));
    assert!(check("path: a\ngroup_by: {enabled: true}\n").contains("exactly one `*`"));
    assert!(check("path: a\ndirectory_permissions: \"9\"\n").contains("octal"));
}

/// Pieces hold what the whole holds, whatever is in it and however small they are.
#[test]
fn documents_of_pieces_are_the_request() {
    for seed in 0..150 {
        for signal in Signal::ALL {
            let folder = tempfile::tempdir().unwrap();
            let exporter = exporter(&folder, Config { append: true, ..config("out.json") });
            let body = wild::request(signal, seed, OneOfs::Kept);
            let content = Content::new(signal, body.into(), 0);
            let items = split::count_items(signal, &content.body[0]);
            let content = Content { items, ..content };
            let mut whole = Vec::new();
            json::write(signal, &content.body, &mut whole);
            // Room for the largest item with its headers, and not for all.
            let room = (whole.len() + 32) * 5;
            let left_out = write_in(&exporter, &content, room, 0);
            let text = fs::read_to_string(folder.path().join("out.json")).unwrap();
            let read = |line: &str| json::to_protobuf(signal, line.as_bytes(), 64).unwrap();
            let there: u64 = text.lines().map(|line| split::count_items(signal, &read(line))).sum();
            assert_eq!(there + left_out, items, "seed {seed}, {signal}");
            assert!(text.lines().all(|line| line.len() * 5 <= room));
            if text.lines().count() == 1 && left_out == 0 {
                assert_eq!(text.trim_end(), String::from_utf8(whole).unwrap(), "seed {seed}");
            }
        }
    }
}

#[test]
fn large_requests_become_several_documents_and_what_has_no_room_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let exporter = exporter(&folder, Config { append: true, ..config("out.json") });
    let record = |text: &str| format!(r#"{{"body":{{"stringValue":"{text}"}}}}"#);
    let mut records = vec![record("short"); 1000];
    records.insert(500, record(&"long".repeat(1000)));
    let document = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"k","value":{{"stringValue":"shared"}}}}]}},"scopeLogs":[{{"scope":{{"name":"lib"}},"logRecords":[{}]}}],"schemaUrl":"u"}}]}}"#,
        records.join(",")
    );
    let body = json::to_protobuf(Signal::Logs, document.as_bytes(), 64).unwrap();
    let content = Content::new(Signal::Logs, body.into(), 1001);
    assert_eq!(write_in(&exporter, &content, 8000, 0), 1);
    let text = fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert!(text.lines().count() > 15 && !text.contains("long"));
    assert_eq!(text.matches("short").count(), 1000);
    for line in text.lines() {
        assert!(
            line.len() <= 2000
                && line.contains("shared")
                && line.ends_with(r#""schemaUrl":"u"}]}"#)
        );
    }
}
