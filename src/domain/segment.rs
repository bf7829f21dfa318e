//! How a phone network packs a text into SMS segments: 3GPP TS 23.038 (alphabets) and TS 23.040 (concatenation).
//!
//! Invariant: an escape pair or a surrogate pair is never split over two segments, so segments can be more than the
//! quotient of units and capacity. Pure: must not import any other module.

/// Septets of a lone GSM-7 segment.
const GSM7_SINGLE: u32 = 160;
/// Septets of a GSM-7 segment of several: the 6-byte concatenation header costs 7.
const GSM7_JOINED: u32 = 153;
/// UTF-16 code units of a lone UCS-2 segment.
const UCS2_SINGLE: u32 = 70;
/// UTF-16 code units of a UCS-2 segment of several: the 6-byte header costs 3.
const UCS2_JOINED: u32 = 67;

/// The alphabet a text needs. One character outside GSM-7 moves the whole text to UCS-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The default alphabet and its extension table (23.038, 6.2.1), no national shift tables.
    Gsm7,
    /// 16-bit code units. What lies beyond the 16-bit plane takes a surrogate pair, as handsets do.
    Ucs2,
}

/// What a text costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// The alphabet it is sent in.
    pub encoding: Encoding,
    /// Septets (GSM-7, an extension character is two) or UTF-16 code units (UCS-2), without headers and unused room.
    pub units: u32,
    /// SMS segments on the air, as they are charged; 0 for an empty text.
    pub segments: u32,
}

/// Counts `text` as a phone would pack it: GSM-7 160 alone or 153 a segment, UCS-2 70 alone or 67 a segment.
#[must_use]
pub fn count(text: &str) -> Segments {
    let mut meter = Meter::default();
    text.chars().for_each(|c| meter.push(c));
    meter.segments()
}

/// Counts character by character. A copy is a bookmark: push on, and go back to the copy if it was too much.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    beyond_gsm7: bool,
    gsm7: Packing,
    ucs2: Packing,
}

impl Meter {
    /// Adds one character to the text.
    pub(crate) fn push(&mut self, c: char) {
        match septets(c) {
            Some(septets) => self.gsm7.push(septets, GSM7_JOINED),
            None => self.beyond_gsm7 = true,
        }
        self.ucs2.push(if u32::from(c) > 0xFFFF { 2 } else { 1 }, UCS2_JOINED);
    }

    /// The cost of the text so far.
    pub(crate) fn segments(&self) -> Segments {
        if self.beyond_gsm7 {
            self.ucs2.segments(Encoding::Ucs2, UCS2_SINGLE)
        } else {
            self.gsm7.segments(Encoding::Gsm7, GSM7_SINGLE)
        }
    }
}

/// One way of packing: characters go whole into the open segment, or open the next.
#[derive(Debug, Clone, Copy, Default)]
struct Packing {
    units: u32,
    full: u32,
    open: u32,
}

impl Packing {
    fn push(&mut self, units: u32, room: u32) {
        if self.open + units > room {
            self.full = self.full.saturating_add(1);
            self.open = 0;
        }
        self.open += units;
        self.units = self.units.saturating_add(units);
    }

    fn segments(self, encoding: Encoding, single: u32) -> Segments {
        let segments = match self.units {
            0 => 0,
            units if units <= single => 1,
            _ => self.full.saturating_add(1),
        };
        Segments { encoding, units: self.units, segments }
    }
}

/// Septets of a character: 1 in the default alphabet, 2 in its extension table, `None` outside both.
fn septets(c: char) -> Option<u32> {
    match c {
        ' '..='#' | '%'..='?' | 'A'..='Z' | 'a'..='z' | '\n' | '\r' => Some(1),
        '@' | '$' | '_' | '£' | '¥' | '¤' | '¡' | '¿' | '§' => Some(1),
        'è' | 'é' | 'ù' | 'ì' | 'ò' | 'à' | 'Ç' | 'É' | 'Ñ' | 'ñ' => Some(1),
        'Ø' | 'ø' | 'Å' | 'å' | 'Æ' | 'æ' | 'ß' | 'Ä' | 'Ö' | 'Ü' | 'ä' | 'ö' | 'ü' => Some(1),
        'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' => Some(1),
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The default alphabet in code order (23.038, 6.2.1), without the escape at 0x1B.
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
        ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    /// The extension table (23.038, 6.2.1.1), with its page break.
    const EXTENSION: &str = "\u{c}^{}\\[~]|€";

    fn of(text: &str) -> (Encoding, u32, u32) {
        let Segments { encoding, units, segments } = count(text);
        (encoding, units, segments)
    }

    #[test]
    fn the_alphabet_is_the_one_of_23_038() {
        assert_eq!(BASIC.chars().collect::<HashSet<_>>().len(), 127);
        for c in '\0'..=char::MAX {
            let expected = match c {
                c if BASIC.contains(c) => Some(1),
                c if EXTENSION.contains(c) => Some(2),
                _ => None,
            };
            assert_eq!(septets(c), expected, "{c:?}");
        }
    }

    #[test]
    fn the_edges_of_each_capacity() {
        use Encoding::{Gsm7, Ucs2};
        for (text, expected) in [
            (String::new(), (Gsm7, 0, 0)),
            ("a".repeat(160), (Gsm7, 160, 1)),
            ("a".repeat(161), (Gsm7, 161, 2)),
            ("a".repeat(306), (Gsm7, 306, 2)),
            ("a".repeat(307), (Gsm7, 307, 3)),
            ("a".repeat(459), (Gsm7, 459, 3)),
            ("a".repeat(460), (Gsm7, 460, 4)),
            ("₱".repeat(70), (Ucs2, 70, 1)),
            ("₱".repeat(71), (Ucs2, 71, 2)),
            ("₱".repeat(134), (Ucs2, 134, 2)),
            ("₱".repeat(135), (Ucs2, 135, 3)),
            ("₱".repeat(201), (Ucs2, 201, 3)),
            ("₱".repeat(202), (Ucs2, 202, 4)),
        ] {
            assert_eq!(of(&text), expected, "{} characters", text.chars().count());
        }
    }

    #[test]
    fn an_escape_pair_is_never_split_over_two_segments() {
        assert_eq!(of(&"€".repeat(80)), (Encoding::Gsm7, 160, 1));
        // 306 septets would fit 2 x 153, but each segment holds 76 pairs and wastes a septet.
        assert_eq!(of(&"€".repeat(153)), (Encoding::Gsm7, 306, 3));
        assert_eq!(of(&format!("{}€{}", "a".repeat(152), "a".repeat(152))), (Encoding::Gsm7, 306, 3));
        assert_eq!(of(&format!("{}€{}", "a".repeat(151), "a".repeat(153))), (Encoding::Gsm7, 306, 2));
    }

    #[test]
    fn a_surrogate_pair_is_never_split_over_two_segments() {
        assert_eq!(of(&"😀".repeat(35)), (Encoding::Ucs2, 70, 1));
        assert_eq!(of(&"😀".repeat(66)), (Encoding::Ucs2, 132, 2));
        // 134 code units would fit 2 x 67, but each segment holds 33 pairs and wastes a unit.
        assert_eq!(of(&"😀".repeat(67)), (Encoding::Ucs2, 134, 3));
    }

    #[test]
    fn one_character_outside_the_alphabet_moves_the_whole_text_to_ucs2() {
        assert_eq!(of("Niño, magkano? £5 ÄÖÜ"), (Encoding::Gsm7, 21, 1));
        for outside in ["₱", "“", "’", "–", "…", "á", "í", "ó", "ú", "ç", "`", "\t", "\u{a0}"] {
            assert_eq!(count(&format!("abc{outside}")).encoding, Encoding::Ucs2, "{outside:?}");
        }
        assert_eq!(of(&format!("{}₱", "€".repeat(69))), (Encoding::Ucs2, 70, 1));
    }

    proptest! {
        /// The slow way: segments written out one by one.
        #[test]
        fn counting_agrees_with_packing_segment_by_segment(text in "[a-z€{}~ñ \n]{0,500}|[a-z€₱😀ñ]{0,250}|\\PC{0,200}") {
            let gsm = text.chars().all(|c| BASIC.contains(c) || EXTENSION.contains(c));
            let width = |c: char| if gsm { if EXTENSION.contains(c) { 2 } else { 1 } } else { c.len_utf16() };
            let (single, joined) = if gsm { (160, 153) } else { (70, 67) };
            let units: usize = text.chars().map(width).sum();
            let mut packed: Vec<Vec<char>> = Vec::new();
            for c in text.chars() {
                match packed.last_mut() {
                    Some(open) if open.iter().map(|c| width(*c)).sum::<usize>() + width(c) <= joined => open.push(c),
                    _ => packed.push(vec![c]),
                }
            }
            let segments = if units == 0 { 0 } else if units <= single { 1 } else { packed.len() };
            let encoding = if gsm { Encoding::Gsm7 } else { Encoding::Ucs2 };
            prop_assert_eq!(of(&text), (encoding, units.try_into().unwrap(), segments.try_into().unwrap()));
        }
    }
}
