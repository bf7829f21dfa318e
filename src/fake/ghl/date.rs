//! Dates as GHL writes and reads them: RFC 3339, and HTTP's in a header.
//!
//! Owns a civil-calendar conversion and a strict check of the form, both the fake's own. Pure.

use std::time::{Duration, UNIX_EPOCH};

use crate::domain::time::UnixMillis;

/// `2026-08-01T09:30:00.123Z`
pub(super) fn rfc3339(at: UnixMillis) -> String {
    let (days, ms) = (at.0.div_euclid(86_400_000), at.0.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// As the `Date` header has it, in whole seconds: `Sat, 01 Aug 2026 09:30:00 GMT`; years before 1970 read as 1970.
pub(super) fn http_date(at: UnixMillis) -> String {
    let since = Duration::from_secs(u64::try_from(at.0.div_euclid(1000)).unwrap_or(0));
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

/// Year, month and day of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Whether `text` has the form of an RFC 3339 date-time with upper-case `T` and an offset.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => return false,
    };
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    fits(date, "0000-00-00")
        && fits(seconds, "00:00:00")
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (offset == "Z" || fits(&offset[1..], "00:00"))
}

/// Whether `text` has a digit wherever `form` has a `0`, and is `form` elsewhere.
fn fits(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_can_be_read_and_keeps_the_order_of_time(a in 0..4_000_000_000_000i64, b in 0..4_000_000_000_000i64) {
            let (first, second) = (rfc3339(UnixMillis(a)), rfc3339(UnixMillis(b)));
            prop_assert!(is_rfc3339(&first));
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
        }
    }

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis(951_782_400_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis(1_785_576_600_123)), "2026-08-01T09:30:00.123Z");
        assert_eq!(rfc3339(UnixMillis(-1)), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_header_has_whole_seconds() {
        assert_eq!(http_date(UnixMillis(784_111_777_999)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn only_rfc_3339_is_read() {
        for good in ["2026-08-01T09:30:00Z", "2026-08-01T09:30:00.1+08:00", "2026-08-01T09:30:00-00:00"] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "1785576600",
            "2026-08-01",
            "2026-08-01 09:30:00Z",
            "2026-08-01T09:30:00",
            "2026-8-1T09:30:00Z",
            "2026-08-01T09:30:00.Z",
            "2026-08-01T09:30:00Z+",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
