//! Counting segments: `domain::segment` against a counter that packs them one by one.

use cast_ghl_provider::domain::segment::{Encoding, count};

use super::sms;
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};
use crate::target::LARGEST;

pub fn target() -> Target {
    Target {
        name: "segment",
        grammar: Grammar::Bytes,
        dictionary: &[
            "€",
            "{}",
            "[~]",
            "|",
            "^",
            "\\",
            "\u{c}",
            "ñ",
            "Ñ",
            "á",
            "₱",
            "“",
            "…",
            "😀",
            "Δ",
            "à",
            "ç",
            "`",
            "aaaaaaaaaa",
        ],
        largest: LARGEST,
        cases: 15_000,
        reaches: &["none", "GSM-7, one", "GSM-7, several", "UCS-2, one", "UCS-2, several"],
        start: || Box::new(try_one),
    }
}

fn try_one(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let counted = count(&text);
    assert_eq!(counted, sms::count(&text));
    let (name, joined) = match (counted.encoding, counted.segments) {
        (_, 0) => ("none", 1),
        (Encoding::Gsm7, 1) => ("GSM-7, one", 160),
        (Encoding::Gsm7, _) => ("GSM-7, several", 153),
        (Encoding::Ucs2, 1) => ("UCS-2, one", 70),
        (Encoding::Ucs2, _) => ("UCS-2, several", 67),
    };
    assert!(counted.units <= counted.segments * joined, "no segment is fuller than it can be");
    let full = counted.segments.saturating_sub(1);
    assert!(counted.segments == 0 || counted.units > full * (joined - 1), "a full segment wastes one unit at most");
    if let Some((last, _)) = text.char_indices().last() {
        assert!(count(&text[..last]).segments <= counted.segments, "a character more is never a segment less");
    }
    Outcome {
        name,
        detail: counted.segments.min(12) as usize * 2 + usize::from(counted.units == counted.segments * joined),
    }
}
