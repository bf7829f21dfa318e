//! How long to wait before trying again: one pure function of (attempt, hint, random) for each thing that is retried.
//!
//! Owns every back-off of the product. Nothing here sleeps; nothing outside invents a delay. Pure: imports nothing.

use std::time::Duration;

/// Cast's `Retry-After` is honoured up to this (cast contract).
pub const CAST_HINT_CAP: Duration = Duration::from_secs(60);
/// GHL's `Retry-After` is honoured up to this (ghl contract §6).
pub const GHL_HINT_CAP: Duration = Duration::from_secs(600);
/// GHL's rate window, waited out when a 429 names nothing.
pub const GHL_INTERVAL: Duration = Duration::from_secs(10);
/// After three 429 in a row a call rests this long in its document.
pub const GHL_REST: Duration = Duration::from_secs(60);

/// `base · 2^attempt`, at most `cap`.
#[must_use]
pub fn doubling(base: Duration, attempt: u32, cap: Duration) -> Duration {
    base.saturating_mul(2u32.saturating_pow(attempt.min(31))).min(cap)
}

/// `whole` shortened by up to a fifth, so that equals do not move in step. `jitter` is uniform in 0..1.
#[must_use]
pub fn jittered(whole: Duration, jitter: f64) -> Duration {
    whole.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

/// A key that answered 429: the hint, 1 to 60 s; else 1, 2, 4 … 60 s.
#[must_use]
pub fn cast_limited(hint: Option<Duration>, streak: u32) -> Duration {
    hint.map_or_else(
        || doubling(Duration::from_secs(1), streak, CAST_HINT_CAP),
        |hint| hint.clamp(Duration::from_secs(1), CAST_HINT_CAP),
    )
}

/// A key whose gateway could not be reached: 1, 2, 4 … 30 s.
#[must_use]
pub fn cast_unreachable(streak: u32) -> Duration {
    doubling(Duration::from_secs(1), streak, Duration::from_secs(30))
}

/// A key paused after three unknown outcomes: 5 s doubling to 5 min.
#[must_use]
pub fn cast_sick(pauses: u32) -> Duration {
    doubling(Duration::from_secs(5), pauses, Duration::from_secs(300))
}

/// GHL's 403 "not yet": 2, 4, 8 … 60 s.
#[must_use]
pub fn not_yet(tries: u32, jitter: f64) -> Duration {
    jittered(doubling(Duration::from_secs(2), tries, Duration::from_secs(60)), jitter)
}

/// A call to GHL that failed on its side: 5, 10, 20 s … 15 min.
#[must_use]
pub fn report(tries: u32, jitter: f64) -> Duration {
    jittered(doubling(Duration::from_secs(5), tries, Duration::from_secs(900)), jitter)
}

/// GHL's 429: the hint, at most 10 min; else its interval, and after three in a row a minute.
#[must_use]
pub fn ghl_limited(hint: Option<Duration>, tries: u32) -> Duration {
    match hint {
        Some(hint) => hint.clamp(Duration::from_secs(1), GHL_HINT_CAP),
        None if tries >= 2 => GHL_REST,
        None => GHL_INTERVAL,
    }
}

/// A write that must land (an outcome): 50 ms doubling to 5 s, for as long as the process lives.
#[must_use]
pub fn store_write(tries: u32) -> Duration {
    doubling(Duration::from_millis(50), tries, Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_cap_and_never_undercuts_a_capped_hint(
            attempt in 0u32..1000, hint in proptest::option::of(0u64..10_000_000), jitter in -1.0f64..2.0
        ) {
            let hint = hint.map(Duration::from_secs);
            prop_assert!(cast_limited(hint, attempt) <= CAST_HINT_CAP);
            if let Some(hint) = hint {
                prop_assert!(cast_limited(Some(hint), attempt) >= hint.min(CAST_HINT_CAP));
            }
            prop_assert!(cast_unreachable(attempt) <= Duration::from_secs(30));
            prop_assert!(cast_sick(attempt) <= Duration::from_secs(300));
            prop_assert!(not_yet(attempt, jitter) <= Duration::from_secs(60));
            prop_assert!(not_yet(attempt, jitter) >= Duration::from_millis(1600));
            prop_assert!(report(attempt, jitter) <= Duration::from_secs(900));
            prop_assert!(ghl_limited(hint, attempt) <= GHL_HINT_CAP);
            prop_assert!(store_write(attempt) <= Duration::from_secs(5));
        }
    }

    #[test]
    fn a_key_without_a_hint_waits_1_2_4_to_60_seconds() {
        let waits: Vec<u64> = (0..8).map(|n| cast_limited(None, n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
