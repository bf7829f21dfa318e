//! New inputs from old ones: bytes flipped, cut, repeated, spliced, words of a dictionary put in; JSON changed as JSON.
//!
//! Owns its own generator, so that a start number means the same cases on every machine and release of any crate.
//! Invariant: an input is a function of the start number and the pool. Knows no target.

mod json;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough to choose what to break.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next()) * (end as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What inputs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    Bytes,
    /// JSON as a whole, or line by line: half of the mutations change a value, the other half bytes.
    Json,
}

/// Words that break things everywhere: the ends of number types, halves of pairs, what editors and scripts leave behind.
const WORDS: [&str; 44] = [
    "",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\u{a0}",
    "\u{feff}",
    "\u{200b}",
    "\u{200d}",
    "\u{202e}",
    "\u{2028}",
    "\u{fffd}",
    "\u{301}",
    "ñ",
    "€",
    "₱",
    "😀",
    "👨\u{200d}👩\u{200d}👧",
    "नमस्ते",
    "０９１７",
    "\"",
    "'",
    "\\",
    "\\n",
    "\\u0000",
    "\\ud83d",
    "\\ude00",
    "\\ud83d\\ude00",
    "0",
    "-0",
    "-1",
    "1e999",
    "1.5",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "null",
    "{}",
    "[]",
    "[[[[[[[[",
    "%00",
];

/// Bytes that mean something to parsers.
const BYTES: [u8; 12] = [0, b'\n', b' ', b'"', b'\\', b',', b'{', b'[', b'0', 0x7f, 0x80, 0xff];

/// Makes inputs.
pub struct Mutator {
    rng: Rng,
    grammar: Grammar,
    dictionary: &'static [&'static str],
    largest: usize,
}

/// Repetition stays below this, but for one time in [`RARELY`].
const USUALLY: usize = 2048;
const RARELY: usize = 256;

impl Mutator {
    pub fn new(rng: Rng, grammar: Grammar, dictionary: &'static [&'static str], largest: usize) -> Self {
        Self { rng, grammar, dictionary, largest }
    }

    /// One change or several to one of `pool`, which is not empty.
    pub fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.rng.choose(pool).clone();
        loop {
            let structural = self.grammar == Grammar::Json && self.rng.once_in(2);
            if !(structural && self.change_json(&mut input)) {
                self.change_bytes(&mut input, pool);
            }
            if self.rng.once_in(2) {
                break;
            }
        }
        input.truncate(self.largest);
        input
    }

    fn word(&mut self) -> &'static str {
        let own = !self.dictionary.is_empty() && self.rng.once_in(2);
        let words = if own { self.dictionary } else { WORDS.as_slice() };
        words[self.rng.below(words.len())]
    }

    /// A range of `input`, short more often than long.
    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.rng.below(input.len() + 1);
        let rest = input.len() - start;
        let longest = if self.rng.once_in(2) { rest.min(8) } else { rest };
        start..start + self.rng.below(longest + 1)
    }

    fn change_bytes(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let range = self.range(input);
        match self.rng.below(11) {
            0 => {
                if let Some(byte) = input.get_mut(range.start) {
                    *byte ^= 1 << self.rng.below(8);
                }
            }
            1 => {
                let byte =
                    if self.rng.once_in(2) { *self.rng.choose(&BYTES) } else { self.rng.next().to_le_bytes()[0] };
                if let Some(place) = input.get_mut(range.start) {
                    *place = byte;
                }
            }
            2 => drop(input.drain(range)),
            3 => self.repeat(input, &range),
            4 => input.truncate(range.start),
            5 => {
                input.truncate(range.start);
                if !pool.is_empty() {
                    let other = self.rng.choose(pool);
                    input.extend_from_slice(&other[self.rng.below(other.len() + 1)..]);
                }
            }
            6 => {
                let piece = input[range].to_vec();
                let at = self.rng.below(input.len() + 1);
                input.splice(at..at, piece);
            }
            7 => {
                let c = char::from_u32(u32::try_from(self.rng.below(0x11_0000)).unwrap_or(0)).unwrap_or('\u{fffd}');
                input.splice(range.start..range.start, c.to_string().into_bytes());
            }
            8 => {
                let word = self.word();
                input.splice(range, word.bytes());
            }
            _ => {
                let word = self.word();
                input.splice(range.start..range.start, word.bytes());
            }
        }
    }

    /// Length is a dimension of its own: nesting, limits, and what only costs time when there is much of it.
    fn repeat(&mut self, input: &mut Vec<u8>, range: &std::ops::Range<usize>) {
        let piece = input[range.clone()].to_vec();
        if piece.is_empty() {
            return;
        }
        let most = if self.rng.once_in(RARELY) { self.largest } else { USUALLY.min(self.largest) };
        let times = self.rng.below(most / piece.len() + 1);
        input.splice(range.end..range.end, piece.repeat(times));
    }
}
