//! Round trips, bombs, cut-off and random input for every codec.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const ALL: [Compression; 7] = [
    Compression::Identity,
    Compression::Gzip,
    Compression::Zlib,
    Compression::Zstd,
    Compression::Snappy,
    Compression::SnappyFramed,
    Compression::Lz4,
];

fn inflate_all(compression: Compression, body: &[u8], max: usize) -> Result<Bytes, InflateError> {
    inflate(compression, body, max, &mut |_| true)
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"spans and more spans "[i % 21] ^ u8::from(i % 97 == 0)).collect()
}

#[test]
fn segments_come_back_as_one_body() {
    let whole = text(300_000);
    let pieces: Vec<Bytes> = whole.chunks(7001).map(Bytes::copy_from_slice).collect();
    for compression in ALL {
        let compressed = deflate(compression, None, &pieces).unwrap();
        let back = inflate_all(compression, &compressed, 1 << 20).unwrap();
        assert!(back == whole, "{compression:?}");
    }
}

#[test]
fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let whole = text(50_000);
    for compression in ALL {
        let compressed = deflate(compression, None, &[whole.clone().into()]).unwrap();
        assert!(inflate_all(compression, &compressed, 50_000).is_ok(), "{compression:?}");
        let error = inflate_all(compression, &compressed, 49_999).unwrap_err();
        assert_eq!(error, InflateError::TooLarge, "{compression:?}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit_and_pays_for_what_it_grew() {
    let bomb = vec![0u8; 64 << 20];
    for compression in ALL.into_iter().skip(1) {
        let compressed = deflate(compression, None, &[bomb.clone().into()]).unwrap();
        let mut paid = 0;
        let mut grow = |bytes| {
            paid += bytes;
            true
        };
        let error = inflate(compression, &compressed, 1 << 20, &mut grow).unwrap_err();
        assert_eq!(error, InflateError::TooLarge, "{compression:?}");
        assert!(paid <= (1 << 20) + 1, "{compression:?} paid {paid}");
    }
}

#[test]
fn a_large_body_is_counted_before_it_is_allocated() {
    for compression in ALL.into_iter().skip(1) {
        for len in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000] {
            let whole = Bytes::from(vec![7; len]);
            let compressed = deflate(compression, None, std::slice::from_ref(&whole)).unwrap();
            let mut paid = 0;
            let mut grow = |bytes: usize| {
                paid += bytes;
                true
            };
            let body = inflate(compression, &compressed, len, &mut grow).unwrap();
            assert_eq!(body, whole, "{compression:?}");
            assert!(paid <= len.max(1 << 20) + 1, "{compression:?} paid {paid} for {len}");
        }
    }
}

#[test]
fn a_trailer_that_lies_about_the_length_is_found_out() {
    let body = deflate(Compression::Gzip, None, &[Bytes::from(vec![7; 3 << 20])]).unwrap();
    for lie in [0u32, 1 << 20, 3 << 20 | 1, u32::MAX] {
        let at = body.len() - 4;
        let body = [&body[..at], &lie.to_le_bytes()].concat();
        let error = inflate_all(Compression::Gzip, &body, 10 << 20).unwrap_err();
        assert_eq!(error, InflateError::Corrupt(Compression::Gzip), "{lie}");
    }
}

#[test]
fn gzip_members_have_a_limit() {
    let member = deflate(Compression::Gzip, None, &[Bytes::from_static(b"x")]).unwrap();
    assert_eq!(inflate_all(Compression::Gzip, &member.repeat(1024), 10_000).unwrap().len(), 1024);
    let error = inflate_all(Compression::Gzip, &member.repeat(1025), 10_000).unwrap_err();
    assert_eq!(error, InflateError::Corrupt(Compression::Gzip));
}

#[test]
fn tiny_members_before_a_large_one_cost_no_more_than_their_size() {
    let tiny = deflate(Compression::Gzip, None, &[Bytes::from_static(b"x")]).unwrap();
    let large = deflate(Compression::Gzip, None, &[Bytes::from(vec![7; 19 << 20])]).unwrap();
    let all = [tiny.repeat(1000), large.clone()].concat();
    let time = |body: &[u8]| {
        let once = || {
            let begin = std::time::Instant::now();
            assert!(inflate_all(Compression::Gzip, body, 20 << 20).unwrap().len() >= 19 << 20);
            begin.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    // There are three passes, because the last trailer states too small a size. When each tiny
    // member cleared all the room that was left, 19 GB were cleared.
    let (alone, together) = (time(&large), time(&all));
    assert!(together < 10 * alone, "{together:?}, the large one alone {alone:?}");
}

#[test]
fn frames_of_lz4_are_joined_and_have_a_limit() {
    let frame =
        |text: &[u8]| deflate(Compression::Lz4, None, &[Bytes::copy_from_slice(text)]).unwrap();
    let read = |body: &[u8]| inflate_all(Compression::Lz4, body, 10_000);
    let body = [frame(b"first "), frame(b""), frame(b"second")].concat();
    assert_eq!(read(&body).unwrap(), "first second");
    for cut in 1..body.len() {
        let is_between =
            cut == frame(b"first ").len() || cut == body.len() - frame(b"second").len();
        assert_eq!(read(&body[..cut]).is_ok(), is_between, "{cut}");
    }
    assert!(read(&[&body[..], b"and what is no frame"].concat()).is_err());
    assert_eq!(read(&frame(b"x").repeat(1024)).unwrap().len(), 1024);
    assert_eq!(read(&frame(b"x").repeat(1025)), Err(InflateError::Corrupt(Compression::Lz4)));
}

#[test]
fn encodings_have_names_in_any_case() {
    for compression in ALL {
        let name = compression.name().to_uppercase();
        assert_eq!(Compression::from_name(&name), Some(compression));
    }
    assert_eq!(Compression::from_name("X-GZip"), Some(Compression::Gzip));
    assert_eq!(Compression::from_name("gzip2"), None);
}

#[test]
fn growth_that_is_not_paid_for_ends_it() {
    let whole = text(1 << 20);
    for compression in ALL.into_iter().skip(1) {
        let compressed = deflate(compression, None, &[whole.clone().into()]).unwrap();
        let mut left = 100_000usize;
        let mut grow = |bytes: usize| {
            left = left.saturating_sub(bytes);
            left > 0
        };
        let error = inflate(compression, &compressed, 1 << 21, &mut grow).unwrap_err();
        assert_eq!(error, InflateError::OverBudget, "{compression:?}");
    }
}

#[test]
fn a_cut_off_body_is_an_error() {
    let whole = text(20_000);
    for compression in ALL.into_iter().skip(1) {
        let compressed = deflate(compression, None, &[whole.clone().into()]).unwrap();
        for cut in [1, compressed.len() / 2, compressed.len() - 1] {
            let result = inflate_all(compression, &compressed[..cut], 1 << 20);
            // A body that ends between frames is valid: its content is a prefix of the whole.
            let is_framed = compression == Compression::SnappyFramed;
            let is_beginning = result.as_ref().is_ok_and(|body| whole.starts_with(body));
            assert!(result.is_err() || is_framed && is_beginning, "{compression:?} at {cut}");
        }
    }
}

#[test]
fn gzip_members_are_joined_and_headers_with_names_are_read() {
    let mut named = flate2::GzBuilder::new()
        .filename("spans")
        .comment("of a test")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::new(6));
    named.write_all(b"first ").unwrap();
    let mut body = named.finish().unwrap();
    body.extend(deflate(Compression::Gzip, Some(9), &[Bytes::from_static(b"second")]).unwrap());
    assert_eq!(inflate_all(Compression::Gzip, &body, 100).unwrap(), "first second");
}

#[test]
fn a_wrong_checksum_is_corrupt() {
    for compression in [Compression::Gzip, Compression::Zlib] {
        let mut body = deflate(compression, None, &[text(1000).into()]).unwrap();
        let at = if compression == Compression::Gzip { body.len() - 6 } else { body.len() - 1 };
        body[at] ^= 1;
        let error = inflate_all(compression, &body, 10_000).unwrap_err();
        assert_eq!(error, InflateError::Corrupt(compression));
    }
}

#[test]
fn deflate_is_read_with_and_without_its_wrapper() {
    let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    bare.write_all(b"bare").unwrap();
    assert_eq!(inflate_all(Compression::Zlib, &bare.finish().unwrap(), 100).unwrap(), "bare");
    let mut wrapped = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    wrapped.write_all(b"wrapped").unwrap();
    assert_eq!(inflate_all(Compression::Zlib, &wrapped.finish().unwrap(), 100).unwrap(), "wrapped");
}

#[test]
fn framed_snappy_is_recognised_under_the_plain_name() {
    let body = deflate(Compression::SnappyFramed, None, &[text(500).into()]).unwrap();
    assert_eq!(inflate_all(Compression::Snappy, &body, 1000).unwrap(), text(500));
}

#[test]
fn a_zstd_frame_that_asks_for_a_huge_window_is_refused() {
    // Magic, a frame header without content size, a window of 2^27 bytes, one empty last block.
    let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
    let error = inflate_all(Compression::Zstd, &frame, 1 << 20).unwrap_err();
    assert_eq!(error, InflateError::Corrupt(Compression::Zstd));
    let small = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (20 - 10) << 3, 0x01, 0x00, 0x00];
    assert_eq!(inflate_all(Compression::Zstd, &small, 1 << 20).unwrap(), "");
}

#[test]
fn flate2_reads_what_we_write() {
    use std::io::Read as _;
    let body = deflate(Compression::Gzip, None, &[text(70_000).into()]).unwrap();
    let mut back = Vec::new();
    flate2::read::GzDecoder::new(&*body).read_to_end(&mut back).unwrap();
    assert_eq!(back, text(70_000));
    let body = deflate(Compression::Zlib, None, &[text(70_000).into()]).unwrap();
    let mut back = Vec::new();
    flate2::read::ZlibDecoder::new(&*body).read_to_end(&mut back).unwrap();
    assert_eq!(back, text(70_000));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, codec in 0..7usize) {
        let _ = inflate_all(ALL[codec], &bytes, 1 << 16);
    }

    #[test]
    fn a_flipped_bit_never_panics(position in 0..300usize, bit in 0..8u8, codec in 1..7usize) {
        let mut body = deflate(ALL[codec], None, &[text(3000).into()]).unwrap();
        let at = position % body.len();
        body[at] ^= 1 << bit;
        let _ = inflate_all(ALL[codec], &body, 1 << 16);
    }
}
