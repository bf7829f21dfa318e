//! Instants as plain data: wall time for ordering, delaying and expiring, monotonic time for safety.
//!
//! Owns the two newtypes, so that no rule can compare one with the other. Imports nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far apart the wall clocks of two replicas may be without one waiting for what the other wrote.
pub const CLOCKS_APART: Duration = Duration::from_secs(15 * 60);

/// Wall time in milliseconds since the Unix epoch. Orders, delays and expires; never decides leadership or safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// An epoch number of a vendor's: below 10¹¹ it counts seconds, else milliseconds (cast contract).
    #[must_use]
    pub fn from_epoch(number: i64) -> Self {
        if number.unsigned_abs() < 100_000_000_000 { Self(number.saturating_mul(1000)) } else { Self(number) }
    }

    /// This instant moved by `by` into the future, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This instant moved by `by` into the past, saturating.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// An instant that has come on every replica once this one has here: what is due at once is due for a successor, too,
    /// whose clock is up to [`CLOCKS_APART`] behind.
    #[must_use]
    pub fn on_any_clock(self) -> Self {
        self.before(CLOCKS_APART)
    }

    /// Time from `earlier` to this instant; zero when the clock was set back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A length of time in the largest unit that fits: `59s`, `1m`, `47h`, `2d`.
#[must_use]
pub fn in_words(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Monotonic time since an arbitrary start, counting a suspended machine's sleep (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// This instant moved by `by` into the future.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_told_in_the_largest_unit_that_fits() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (60, "1m"), (3_600, "1h"), (172_799, "47h"), (172_800, "2d")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn an_epoch_below_ten_to_the_eleventh_is_seconds() {
        assert_eq!(UnixMillis::from_epoch(1_700_000_000), UnixMillis(1_700_000_000_000));
        assert_eq!(UnixMillis::from_epoch(1_700_000_000_000), UnixMillis(1_700_000_000_000));
        assert_eq!(UnixMillis::from_epoch(i64::MIN), UnixMillis(i64::MIN));
    }
}
