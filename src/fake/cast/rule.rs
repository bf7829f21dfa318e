//! What Cast demands of a message, and its rate limit.
//!
//! Owns this fake's own reading of the cast contract: number, length, sender id, segments, token bucket. Pure.
//! Must not import the bridge's phone, segment or rate rules: they are what it is there to check.

use std::time::Duration;

use crate::domain::time::Mono;

/// Longest message, in Unicode scalar values (cast contract, "Send").
pub(super) const MAX_CHARS: usize = 450;
/// Most SMS segments. The contract leaves open what Cast counts; the fake holds a caller to both readings.
pub(super) const MAX_SEGMENTS: u32 = 3;

/// GSM 03.38 basic table, without the escape.
const GSM_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// GSM 03.38 extension table: two septets each.
const GSM_EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Whether `to` is a Philippine mobile in Cast's form: `09` and nine digits, or one of the 08 mobile ranges.
pub(super) fn is_mobile(to: &str) -> bool {
    const OLD_RANGES: [&str; 6] = ["0813", "0817", "0895", "0896", "0897", "0898"];
    let digits = to.len() == 11 && to.bytes().all(|b| b.is_ascii_digit());
    digits && (to.starts_with("09") || OLD_RANGES.iter().any(|range| to.starts_with(range)))
}

/// Whether `sender_id` is well formed: 1–11 of `[A-Za-z0-9 ._-]`.
pub(super) fn is_sender_id(sender_id: &str) -> bool {
    (1..=11).contains(&sender_id.len()) && sender_id.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-".contains(&b))
}

/// SMS segments of `text`: 160/153 septets or 70/67 code units, no escape or surrogate pair split over two.
pub(super) fn segments(text: &str) -> u32 {
    let septets: Option<Vec<u32>> = text.chars().map(septets).collect();
    match septets {
        Some(widths) => pack(&widths, 160, 153),
        None => {
            // A scalar value has one or two UTF-16 code units.
            let widths: Vec<u32> = text.chars().map(|c| if c.len_utf16() == 1 { 1 } else { 2 }).collect();
            pack(&widths, 70, 67)
        }
    }
}

fn septets(c: char) -> Option<u32> {
    if GSM_BASIC.contains(c) {
        Some(1)
    } else if GSM_EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

fn pack(widths: &[u32], single: u32, multi: u32) -> u32 {
    if widths.iter().sum::<u32>() <= single {
        return 1;
    }
    let (mut segments, mut used) = (1, 0);
    for width in widths {
        if used + width > multi {
            segments += 1;
            used = 0;
        }
        used += width;
    }
    segments
}

/// A key's token bucket. It starts full, as a vendor's does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Mono,
}

impl Bucket {
    pub(super) fn full(burst: u32, now: Mono) -> Self {
        Self { tokens: f64::from(burst), filled: now }
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&mut self, per_second: f64, burst: u32, now: Mono) -> Result<(), Duration> {
        let gained = now.since(self.filled).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(f64::from(burst));
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bucket_never_gives_more_than_the_burst_and_the_rate(gaps in prop::collection::vec(0u64..400, 1..200)) {
            let (mut bucket, mut now, mut given) = (Bucket::full(5, Mono::default()), Mono::default(), 0.0);
            for gap in gaps {
                now = now.after(Duration::from_millis(gap));
                given += f64::from(u8::from(bucket.take(10.0, 5, now).is_ok()));
                prop_assert!(given <= 5.0 + 10.0 * now.0.as_secs_f64() + 1e-6);
            }
        }
    }

    #[test]
    fn mobiles_are_09_and_the_six_old_ranges() {
        for to in ["09171234567", "08131234567", "08951234567"] {
            assert!(is_mobile(to), "{to}");
        }
        for to in ["9171234567", "+639171234567", "0917123456", "02812345678", "08121234567", "0917123456a"] {
            assert!(!is_mobile(to), "{to}");
        }
    }

    #[test]
    fn segments_never_split_an_escape_or_a_surrogate_pair() {
        assert_eq!(segments(&"a".repeat(160)), 1);
        assert_eq!(segments(&"a".repeat(161)), 2);
        assert_eq!(segments(&"€".repeat(153)), 3);
        assert_eq!(segments(&"ñ".repeat(160)), 1);
        assert_eq!(segments(&"₱".repeat(70)), 1);
        assert_eq!(segments(&"₱".repeat(71)), 2);
        assert_eq!(segments(&"😀".repeat(67)), 3);
    }

    #[test]
    fn the_bucket_allows_the_burst_and_then_the_rate() {
        let start = Mono::default();
        let mut bucket = Bucket::full(3, start);
        for _ in 0..3 {
            assert!(bucket.take(2.0, 3, start).is_ok());
        }
        assert_eq!(bucket.take(2.0, 3, start), Err(Duration::from_millis(500)));
        assert!(bucket.take(2.0, 3, start.after(Duration::from_millis(500))).is_ok());
        assert!(bucket.take(2.0, 3, start.after(Duration::from_millis(501))).is_err());
    }
}
