//! The `Retry-After` header: seconds or an HTTP date (RFC 9110 §10.2.3).
//!
//! Owns the parsing alone. Invariant: no header value panics, and an absurd one comes out absurd: the cap is the caller's
//! (Cast 60 s, GHL 10 min). Imports `domain::time`.

use std::time::{Duration, UNIX_EPOCH};

use crate::domain::time::UnixMillis;

/// How long the server asks to wait, as seen at `now`. A date in the past is zero; a number too large for 64 bits
/// saturates, so add it to nothing before capping it. `None`: not a value the RFC knows.
#[must_use]
pub fn retry_after(value: &str, now: UnixMillis) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(http_date(value)?.since(now))
}

/// An HTTP date in any of its three forms; `None` also for one before 1970.
pub(super) fn http_date(value: &str) -> Option<UnixMillis> {
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMillis(i64::try_from(since.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example.
    const RFC: UnixMillis = UnixMillis(784_111_777_000);

    #[test]
    fn seconds_and_all_three_date_forms_are_read() {
        let half_a_minute_before = RFC.before(Duration::from_secs(30));
        for (value, wait) in [
            ("0", 0),
            ("7", 7),
            (" 120 ", 120),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 30),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 30),
            ("Sun Nov  6 08:49:37 1994", 30),
        ] {
            let parsed = retry_after(value, half_a_minute_before);
            assert_eq!(parsed, Some(Duration::from_secs(wait)), "{value}");
        }
    }

    #[test]
    fn a_date_in_the_past_means_now() {
        let later = RFC.after(Duration::from_secs(1));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", later), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_no_hint() {
        for value in ["", " ", "-1", "+5", "1.5", "5s", "soon", "1e9", "Sun, 99 Nov 1994 08:49:37 GMT", "٣"] {
            assert_eq!(retry_after(value, RFC), None, "{value}");
        }
    }

    #[test]
    fn an_absurd_number_saturates() {
        let absurd = retry_after("99999999999999999999999999", RFC);
        assert_eq!(absurd, Some(Duration::from_secs(u64::MAX)));
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any::<String>(), now in any::<i64>()) {
            let _ = retry_after(&value, UnixMillis(now));
        }

        #[test]
        fn no_date_like_value_panics(value in "(Sun|Mon|Foo),? [0-9]{1,3}[ -](Nov|Feb|Xyz)[ -][0-9]{1,5} [0-9:]{1,9}( GMT)?", now in any::<i64>()) {
            let _ = retry_after(&value, UnixMillis(now));
        }

        #[test]
        fn every_number_of_seconds_is_that_many(seconds in any::<u64>(), now in any::<i64>()) {
            prop_assert_eq!(retry_after(&seconds.to_string(), UnixMillis(now)), Some(Duration::from_secs(seconds)));
        }
    }
}
