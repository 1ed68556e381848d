//! Changes the `:authority` of requests on a unix socket so that the HTTP/2 library accepts it.
//!
//! gRPC clients on the C core (Python, C++, Ruby, PHP) send the percent-encoded path of the socket,
//! gRPC for Java the path itself. Neither is the authority of a URI, and the library resets such
//! streams before anybody sees them (hyperium/h2#487). On a unix socket it means nothing, so the
//! characters that no host name has are replaced: `tmp%2Fskep.sock` becomes `tmp-2Fskep.sock`.
//!
//! Only bytes of the value change, each for another one of the same length, also in Huffman code:
//! lengths and the dynamic table of HPACK (RFC 7541) stay as the client has them, so no header
//! block has to be decoded and encoded again. A later request that refers to the table finds the
//! changed value there. The bytes may arrive in any pieces.

/// The spelled-out name: in plain text, and in Huffman code.
const NAME: &[u8] = b":authority";
const NAME_HUFFMAN: &[u8] = &[0xB8, 0x3B, 0x53, 0x39, 0xEC, 0x32, 0x7D, 0x7F];
/// Index of the name in the static table.
const INDEX: u8 = 1;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The position in the header blocks of a connection.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Bytes of the frame before its part of the block: the length of the padding comes first.
    lead: u32,
    is_padded: bool,
    /// Bytes of the frame that belong to the block; the padding is behind them.
    left: u32,
    at: At,
}

#[derive(Debug, Clone, Copy, Default)]
enum At {
    #[default]
    Field,
    /// The rest of an index that is larger than its first byte.
    Index(After),
    Length(Part),
    /// The rest of a length that is larger than its first byte: so far, and by how much to shift.
    LongLength(Part, Coding, u32, u32),
    Text(Part, Coding, u32),
    /// The block is malformed; the library will reject it.
    Lost,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Field,
    Value,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    /// Bytes of the value of `:authority`; `None` for another name.
    Name(Option<usize>),
    /// The bits of `:authority` in Huffman code that do not form a whole character yet.
    Authority(Bits),
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Huffman,
}

impl Block {
    /// Called at the beginning of a frame.
    pub(super) fn begin(&mut self, kind: u8, flags: u8, len: u32) {
        (self.lead, self.is_padded, self.left) = (0, false, 0);
        match kind {
            HEADERS => {
                self.at = At::Field;
                self.is_padded = flags & PADDED != 0;
                self.lead = u32::from(self.is_padded) + if flags & PRIORITY == 0 { 0 } else { 5 };
                self.left = len.saturating_sub(self.lead);
            }
            CONTINUATION => self.left = len,
            _ => {}
        }
    }

    /// Called for each piece of the payload of that frame.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.lead > 0 {
                self.lead -= 1;
                if std::mem::take(&mut self.is_padded) {
                    self.left = self.left.saturating_sub(u32::from(*byte));
                }
            } else if self.left > 0 {
                self.left -= 1;
                self.at = self.at.next(byte);
            } else {
                return;
            }
        }
    }
}

impl At {
    fn next(self, byte: &mut u8) -> At {
        match self {
            At::Field => At::field(*byte),
            At::Index(_) if *byte & 0x80 != 0 => self,
            At::Index(After::Field) => At::Field,
            At::Index(After::Value) => At::Length(Part::Value),
            At::Length(part) => {
                let coding = if *byte & 0x80 == 0 { Coding::Plain } else { Coding::Huffman };
                match *byte & 0x7F {
                    0x7F => At::LongLength(part, coding, 0x7F, 0),
                    len => At::text(part, coding, u32::from(len)),
                }
            }
            At::LongLength(_, _, _, shift) if shift > 21 => At::Lost,
            At::LongLength(part, coding, len, shift) => {
                let len = len + (u32::from(*byte & 0x7F) << shift);
                match *byte & 0x80 {
                    0 => At::text(part, coding, len),
                    _ => At::LongLength(part, coding, len, shift + 7),
                }
            }
            At::Text(part, coding, left) => At::text(part.next(coding, byte), coding, left - 1),
            At::Lost => At::Lost,
        }
    }

    /// How a field is represented (RFC 7541, section 6).
    fn field(byte: u8) -> At {
        let (most, index) = match byte {
            0x80.. => (0x7F, byte & 0x7F),
            0x40.. => (0x3F, byte & 0x3F),
            0x20.. => (0x1F, byte & 0x1F),
            _ => (0x0F, byte & 0x0F),
        };
        let is_alone = byte >= 0x80 || (0x20..0x40).contains(&byte);
        match (is_alone, index) {
            (true, index) if index == most => At::Index(After::Field),
            (true, _) => At::Field,
            (false, 0) => At::Length(Part::Name(Some(0))),
            (false, INDEX) => At::Length(Part::Authority(Bits::default())),
            (false, index) if index == most => At::Index(After::Value),
            (false, _) => At::Length(Part::Value),
        }
    }

    /// Called when `left` bytes of a text follow.
    fn text(part: Part, coding: Coding, left: u32) -> At {
        if left > 0 {
            return At::Text(part, coding, left);
        }
        let whole = if coding == Coding::Plain { NAME.len() } else { NAME_HUFFMAN.len() };
        match part {
            Part::Name(Some(len)) if len == whole => At::Length(Part::Authority(Bits::default())),
            Part::Name(_) => At::Length(Part::Value),
            Part::Authority(_) | Part::Value => At::Field,
        }
    }
}

impl Part {
    fn next(self, coding: Coding, byte: &mut u8) -> Part {
        match (self, coding) {
            (Part::Name(Some(at)), _) => {
                let name = if coding == Coding::Plain { NAME } else { NAME_HUFFMAN };
                Part::Name((name.get(at) == Some(&*byte)).then_some(at + 1))
            }
            (Part::Authority(_), Coding::Plain) => {
                if !byte.is_ascii_alphanumeric() && !b"-._~".contains(byte) {
                    *byte = b'-';
                }
                self
            }
            (Part::Authority(bits), Coding::Huffman) => Part::Authority(bits.next(byte)),
            _ => self,
        }
    }
}

/// The beginning of a character in Huffman code (RFC 7541, appendix B).
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    code: u16,
    /// More than 8: a character that stays unchanged, and so does the rest.
    len: u8,
}

impl Bits {
    /// Adds eight bits. A replacement differs only in the last known bit, because the bits before
    /// it may have been passed on already: `%` becomes `.`, a blank `-`, and `/` becomes `3`.
    fn next(mut self, byte: &mut u8) -> Bits {
        for shift in (0..8).rev() {
            if self.len > 8 {
                return self;
            }
            self.code = self.code << 1 | u16::from(*byte >> shift & 1);
            self.len += 1;
            if matches!((self.len, self.code), (5, 0b01010) | (6, 0b01_1000)) {
                self.code |= 1;
                *byte |= 1 << shift;
            }
            let is_whole = match self.len {
                5 => self.code < 0x0A,
                6 => (0x14..0x2E).contains(&self.code),
                7 => (0x5C..0x7C).contains(&self.code),
                8 => (0xF8..0xFE).contains(&self.code),
                _ => false,
            };
            if is_whole {
                self = Bits::default();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a header block, in a frame each, in pieces of any size.
    fn passed(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let results = [1, 2, 3, payload.len()].map(|piece| {
            let (mut block, mut bytes) = (Block::default(), payload.to_vec());
            block.begin(kind, flags, u32::try_from(payload.len()).unwrap());
            bytes.chunks_mut(piece).for_each(|piece| block.pass(piece));
            bytes
        });
        assert!(results.iter().all(|result| *result == results[0]));
        results[0].clone()
    }

    fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        let len = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0x40, len(name)], name, &[len(value)], value].concat()
    }

    #[test]
    fn a_path_becomes_a_name_and_all_else_stays() {
        let path = literal(b":path", b"/a%2Fb");
        let cases: [(Vec<u8>, &[u8]); 3] = [
            (literal(b":authority", b"tmp%2Fs.sock"), b"tmp-2Fs.sock"),
            ([&[0x41, 11][..], b"/run/s.sock"].concat(), b"-run-s.sock"),
            ([&[0x01, 11][..], b"a@b:[1]/c~d"].concat(), b"a-b--1--c~d"),
        ];
        for (field, wanted) in cases {
            // A size update, an indexed field, one with a large index, then the others.
            let before = [&[0x3F, 0xE1, 0x1F, 0x83, 0xFF, 0x80, 0x01], &path[..]].concat();
            let after = [&[0x7F, 0x03, 3][..], b"a/b", &literal(b":authoritx", b"%")].concat();
            let block = [&before[..], &field, &after].concat();
            let value = field.len() - wanted.len();
            let expected = [&before[..], &field[..value], wanted, &after].concat();
            assert_eq!(passed(HEADERS, 4, &block), expected);
            let padded = [&[3, 0, 0, 0, 0, 9][..], &block, &[0x41, 1, b'/']].concat();
            let unpadded = [&[3, 0, 0, 0, 0, 9][..], &expected, &[0x41, 1, b'/']].concat();
            assert_eq!(passed(HEADERS, PADDED | PRIORITY, &padded), unpadded);
        }
        assert_eq!(passed(0, 0, b"\x41\x01/"), b"\x41\x01/", "DATA");
    }

    #[test]
    fn a_block_may_go_on_in_another_frame() {
        let mut block = Block::default();
        let (mut first, mut second) = (*b"\x41\x03a", *b"%/\x82");
        block.begin(HEADERS, 0, 3);
        block.pass(&mut first);
        block.begin(CONTINUATION, 4, 3);
        block.pass(&mut second);
        assert_eq!((&first, &second), (b"\x41\x03a", b"--\x82"));
    }

    /// `/` and `%` as they are in Huffman code, eight of each so that all places in a byte occur.
    #[test]
    fn huffman_code_keeps_its_length() {
        let bits = |codes: &[(u32, usize)]| {
            let texts: Vec<String> =
                codes.iter().map(|(code, len)| format!("{code:0len$b}")).collect();
            let text = texts.concat();
            let padding = "1".repeat(text.len().next_multiple_of(8) - text.len());
            let padded = text + &padding;
            let bytes = padded.as_bytes().chunks(8);
            let byte = |bits: &[u8]| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2);
            bytes.map(|bits| byte(bits).unwrap()).collect::<Vec<u8>>()
        };
        // a, slash, per cent, colon, X, and what they become.
        let codes = [(0x3, 5), (0x18, 6), (0x15, 6), (0x5C, 7), (0xFC, 8)];
        let wanted = [(0x3, 5), (0x19, 6), (0x17, 6), (0x5C, 7), (0xFC, 8)];
        let (text, wanted) = (bits(&codes.repeat(8)), bits(&wanted.repeat(8)));
        let len = u8::try_from(text.len()).unwrap() | 0x80;
        let field = |text: &[u8]| {
            let name = [&[0x40, 0x88], NAME_HUFFMAN].concat();
            [&name[..], &[len], text, &[0x83, 0x41, len], text, &[0x83]].concat()
        };
        assert_eq!(passed(HEADERS, 4, &field(&text)), field(&wanted));
    }
}
