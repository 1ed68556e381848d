//! The hash Murmur3 with seed 0, by Austin Appleby.

/// The 32-bit hash.
pub(crate) fn hash32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mixed = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let (chunks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for chunk in chunks {
        hash ^= mixed(u32::from_le_bytes(*chunk));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let k = tail.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte));
        hash ^= mixed(k);
    }
    // The length counts modulo 2^32.
    hash ^= u32::try_from(bytes.len() & 0xFFFF_FFFF).unwrap_or(0);
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The 128-bit hash for 64-bit machines, as two halves.
pub(crate) fn hash128(bytes: &[u8]) -> (u64, u64) {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let first = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let second = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |k, byte| k << 8 | u64::from(*byte));
    let (chunks, tail) = bytes.as_chunks::<16>();
    let (mut h1, mut h2) = (0_u64, 0_u64);
    for chunk in chunks {
        h1 ^= first(number(&chunk[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= second(number(&chunk[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    if tail.len() > 8 {
        h2 ^= second(number(&tail[8..]));
    }
    if !tail.is_empty() {
        h1 ^= first(number(&tail[..tail.len().min(8)]));
    }
    let len = bytes.len() as u64;
    (h1, h2) = (h1 ^ len, h2 ^ len);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finished(h1), finished(h2));
    h1 = h1.wrapping_add(h2);
    (h1, h2.wrapping_add(h1))
}

fn finished(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}
