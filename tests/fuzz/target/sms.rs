//! How many SMS a text is, said a second time: the alphabets of 3GPP TS 23.038 written out, and segments packed one by one.

use std::sync::LazyLock;

use cast_ghl_provider::domain::segment::{Encoding, Segments};

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Septets by code point; 0 for what is in neither table.
static SEPTETS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut septets = vec![0; '€' as usize + 1];
    for (table, width) in [(BASIC, 1), (EXTENSION, 2)] {
        table.chars().for_each(|c| septets[c as usize] = width);
    }
    septets
});

/// Counts by packing.
pub fn count(text: &str) -> Segments {
    let septets = |c: char| SEPTETS.get(c as usize).copied().unwrap_or(0);
    let gsm7 = text.chars().all(|c| septets(c) > 0);
    let (encoding, single, joined) = if gsm7 { (Encoding::Gsm7, 160, 153) } else { (Encoding::Ucs2, 70, 67) };
    let width = |c: char| if gsm7 { septets(c) } else { u32::from(c > '\u{ffff}') + 1 };
    let widths: Vec<u32> = text.chars().map(width).collect();
    let units = widths.iter().sum();
    let mut packed: Vec<u32> = Vec::new();
    for width in widths {
        match packed.last_mut() {
            Some(open) if *open + width <= joined => *open += width,
            _ => packed.push(width),
        }
    }
    let segments = if units <= single { u32::from(units > 0) } else { u32::try_from(packed.len()).unwrap() };
    Segments { encoding, units, segments }
}

/// Both limits of the gateway: 450 characters and 3 segments.
pub fn fits(text: &str) -> bool {
    text.chars().count() <= 450 && count(text).segments <= 3
}
