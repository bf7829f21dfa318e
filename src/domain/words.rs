//! Other people's sentences, made fit to show: bounded, on one line, and without phone numbers where nobody needs them.
//!
//! Owns the cleaning of the texts of both services and of the gateway. Invariant: the result never has a control character and
//! never exceeds the bound. Pure: imports nothing.

/// Characters of a vendor's words that are reported or logged (bridge rules, failure codes).
pub const SHOWN: usize = 200;

/// A run of digits this long may be a phone number; a national Philippine mobile has ten.
const PHONE_LIKE: usize = 7;

/// `text` on one line: line breaks and tabs become a space, other control characters go, ends are trimmed, and at most
/// `max` characters stay, the last of them `…` if something was cut.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut chars = text
        .trim()
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .filter(|c| !c.is_control());
    let mut out: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() && out.pop().is_some() {
        out.push('…');
    }
    out.trim().to_owned()
}

/// `text` with every run of seven or more digits (spaces, dots, dashes and brackets between them allowed) reduced to
/// its last two: enough to tell two numbers of one conversation apart, too little to call anybody.
#[must_use]
pub fn mask_numbers(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let run = digit_run(&chars[at..]);
        let digits = chars[at..at + run].iter().filter(|c| c.is_ascii_digit()).count();
        if digits >= PHONE_LIKE {
            let mut left = digits;
            for c in &chars[at..at + run] {
                if c.is_ascii_digit() {
                    out.push(if left > 2 { '*' } else { *c });
                    left -= 1;
                } else {
                    out.push(*c);
                }
            }
            at += run;
        } else {
            let step = run.max(1);
            out.extend(&chars[at..at + step]);
            at += step;
        }
    }
    out
}

/// Length of the run that starts with a digit and ends with one, with single separators between.
fn digit_run(chars: &[char]) -> usize {
    let mut end = 0;
    let mut gap = 0;
    for (i, c) in chars.iter().enumerate() {
        if c.is_ascii_digit() {
            end = i + 1;
            gap = 0;
        } else if i > 0 && gap < 2 && matches!(c, ' ' | '-' | '.' | '(' | ')') {
            gap += 1;
        } else {
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_on_one_line_without_control_characters() {
        assert_eq!(clean("  bad\u{7} number\r\n\tagain\u{0} ", 200), "bad number   again");
        assert_eq!(clean("\u{1b}[31mred\u{9b}", 200), "[31mred");
        assert_eq!(clean("ñ ₱ 😀", 200), "ñ ₱ 😀");
    }

    #[test]
    fn words_are_cut_by_characters_and_the_cut_shows() {
        assert_eq!(clean(&"ñ".repeat(200), 200), "ñ".repeat(200));
        assert_eq!(clean(&"ñ".repeat(201), 200), format!("{}…", "ñ".repeat(199)));
        assert_eq!(clean("abc", 0), "");
    }

    #[test]
    fn phone_numbers_are_masked_and_short_numbers_stay() {
        for (given, masked) in [
            ("contact +639171234567 exists", "contact +**********67 exists"),
            ("0917 123-4567", "**** ***-**67"),
            ("+63 (0)917 123 4567.", "+** (*)*** *** **67."),
            ("HTTP 429, 30 requests in 10 s", "HTTP 429, 30 requests in 10 s"),
            ("id GKJxs4P5L8dWc5CFUITM", "id GKJxs4P5L8dWc5CFUITM"),
            ("", ""),
        ] {
            assert_eq!(mask_numbers(given), masked);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cleaned_within_its_bound(text in any::<String>(), max in 0..300usize) {
            let out = clean(&text, max);
            prop_assert!(out.chars().count() <= max);
            prop_assert!(!out.chars().any(char::is_control));
        }

        #[test]
        fn masking_keeps_length_and_leaves_no_long_run(text in "[0-9a-z .()+-]{0,60}") {
            let out = mask_numbers(&text);
            prop_assert_eq!(out.chars().count(), text.chars().count());
            let longest = out.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
            prop_assert!(longest < PHONE_LIKE, "{}", out);
        }
    }
}
