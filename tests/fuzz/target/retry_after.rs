//! `Retry-After` of either vendor: what is read of any value, and what the caps make of it.
//!
//! An input is the time of day in milliseconds, a line break, and the header's value.

use std::time::Duration;

use cast_ghl_provider::client::retry_after::retry_after;
use cast_ghl_provider::domain::retry::{CAST_HINT_CAP, GHL_HINT_CAP, cast_limited, ghl_limited};
use cast_ghl_provider::domain::time::UnixMillis;

use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};
use crate::target::LARGEST;

const SECOND: Duration = Duration::from_secs(1);

pub fn target() -> Target {
    Target {
        name: "retry_after",
        grammar: Grammar::Bytes,
        dictionary: &[
            "Sun",
            "Mon",
            "Sunday",
            ", ",
            "06 Nov 1994",
            "Nov  6",
            "06-Nov-94",
            "08:49:37",
            "23:59:60",
            "24:00:00",
            " GMT",
            "1969",
            "1970",
            "9999",
            "10000",
            "29 Feb",
            "31 Apr",
            "784111777000",
        ],
        largest: LARGEST,
        cases: 40_000,
        reaches: &["seconds", "absurd", "date", "past date", "nothing"],
        start: || Box::new(try_one),
    }
}

fn try_one(input: &[u8]) -> Outcome {
    let input = String::from_utf8_lossy(input);
    let (now, value) = input.split_once('\n').unwrap_or(("784111777000", &input));
    let now = UnixMillis(now.trim().parse().unwrap_or(0));
    let hint = retry_after(value, now);
    assert_eq!(retry_after(&format!("\t {value} "), now), hint, "white space around it means nothing");
    for streak in [0, 1, 2, 3, 40, u32::MAX] {
        capped(hint, streak);
    }
    let digits = value.trim();
    let detail = hint.unwrap_or_default().as_secs().checked_ilog2().unwrap_or(0) as usize;
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let hint = hint.expect("a number is seconds");
        assert_eq!(u128::from(hint.as_secs()), digits.parse::<u128>().unwrap_or(u128::MAX).min(u64::MAX.into()));
        assert_eq!(retry_after(value, UnixMillis(0)), Some(hint), "seconds do not depend on the clock");
        let larger = retry_after(&format!("{digits}0"), now).expect("a number is seconds");
        assert!(larger >= hint && cast_limited(Some(larger), 0) >= cast_limited(Some(hint), 0));
        return Outcome { name: if hint.as_secs() == u64::MAX { "absurd" } else { "seconds" }, detail };
    }
    let Some(hint) = hint else { return Outcome { name: "nothing", detail } };
    assert_eq!(Some(hint), by_another_reader(value, now, hint));
    let later = retry_after(value, now.after(SECOND)).expect("a date is a date at any time");
    assert!(
        later <= hint && hint.saturating_sub(later) <= SECOND,
        "a second later there is at most a second less to wait"
    );
    Outcome { name: if hint.is_zero() { "past date" } else { "date" }, detail }
}

/// Whatever a server asks for, we wait at least a second and no longer than the contract's cap.
fn capped(hint: Option<Duration>, streak: u32) {
    let (cast, ghl) = (cast_limited(hint, streak), ghl_limited(hint, None, streak));
    assert!((SECOND..=CAST_HINT_CAP).contains(&cast) && (SECOND..=GHL_HINT_CAP).contains(&ghl));
    if let Some(hint) = hint {
        assert_eq!(cast, hint.max(SECOND).min(CAST_HINT_CAP), "a hint replaces the schedule");
        assert_eq!(ghl, hint.max(SECOND).min(GHL_HINT_CAP), "a hint replaces the schedule");
    } else {
        assert!(cast_limited(None, streak.saturating_add(1)) >= cast);
    }
}

/// A second reader of the preferred form; `known` where it does not read it.
fn by_another_reader(value: &str, now: UnixMillis, known: Duration) -> Option<Duration> {
    match jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()) {
        Ok(at) => Some(UnixMillis(at.as_millisecond()).since(now)),
        Err(_) => Some(known),
    }
}
