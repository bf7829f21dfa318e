//! How long to wait before trying again: one pure function of (attempt, hint, random), and a policy for each thing that is
//! retried: Cast, GHL, tokens, the store.
//!
//! Owns every back-off of the product. Nothing here sleeps; nothing outside invents a delay. Pure: imports nothing.

use std::time::Duration;

/// Cast's `Retry-After` is honoured up to this (cast contract).
pub const CAST_HINT_CAP: Duration = Duration::from_secs(60);
/// GHL's `Retry-After` is honoured up to this (ghl contract §6).
pub const GHL_HINT_CAP: Duration = Duration::from_secs(600);
/// After so many 429 in a row a call to GHL rests in its document.
const GHL_REST_AFTER: u32 = 2;

/// How one kind of failure is waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    /// After the first failure; doubled by each that follows.
    first: Duration,
    cap: Duration,
    /// A hint replaces the schedule, from a second up to this; `None`: nobody gives one.
    hint_cap: Option<Duration>,
    spread: Spread,
}

/// Whether equals may move in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// One key, one document: there is nobody to be in step with.
    None,
    /// Shortened by up to a fifth.
    Fifth,
}

impl Policy {
    const fn seconds(first: u64, cap: u64) -> Self {
        let (first, cap) = (Duration::from_secs(first), Duration::from_secs(cap));
        Self { first, cap, hint_cap: None, spread: Spread::None }
    }

    const fn spread(self) -> Self {
        Self { spread: Spread::Fifth, ..self }
    }

    const fn hinted(self, cap: Duration) -> Self {
        Self { hint_cap: Some(cap), ..self }
    }

    /// The wait after so many failures before this one. `random` is uniform in 0..1.
    fn delay(self, attempt: u32, hint: Option<Duration>, random: f64) -> Duration {
        if let Some((hint, cap)) = hint.zip(self.hint_cap) {
            return hint.clamp(Duration::from_secs(1), cap);
        }
        let whole = self.first.saturating_mul(2u32.saturating_pow(attempt.min(31))).min(self.cap);
        match self.spread {
            Spread::None => whole,
            Spread::Fifth => whole.mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0)),
        }
    }
}

const CAST_LIMITED: Policy = Policy::seconds(1, 60).hinted(CAST_HINT_CAP);
const CAST_UNREACHABLE: Policy = Policy::seconds(1, 30);
const CAST_REFUSED: Policy = Policy::seconds(60, 60);
const CAST_SICK: Policy = Policy::seconds(5, 300);
const GHL_NOT_YET: Policy = Policy::seconds(2, 60).spread();
const GHL_TROUBLE: Policy = Policy::seconds(5, 900).spread();
const GHL_UNKNOWN: Policy = Policy::seconds(30, 900);
const GHL_LIMITED: Policy = Policy::seconds(10, 10).hinted(GHL_HINT_CAP);
const GHL_RESTS: Policy = Policy::seconds(60, 60).hinted(GHL_HINT_CAP);
const TOKEN_TROUBLE: Policy = Policy::seconds(60, 60);
const TOKEN_SUSPENDED: Policy = Policy::seconds(900, 900);
const RECONCILE: Policy = Policy::seconds(6 * 3600, 6 * 3600).spread();
const LIFECYCLE_EVENT: Policy = Policy::seconds(60, 60);
const RECEIPT_UNMATCHED: Policy = Policy::seconds(1, 300);
const STORE_WRITE: Policy =
    Policy { first: Duration::from_millis(50), cap: Duration::from_secs(5), hint_cap: None, spread: Spread::None };

/// A key that answered 429: the hint, 1 to 60 s; else 1, 2, 4 … 60 s.
#[must_use]
pub fn cast_limited(hint: Option<Duration>, streak: u32) -> Duration {
    CAST_LIMITED.delay(streak, hint, 0.0)
}

/// A key whose gateway could not be reached: 1, 2, 4 … 30 s.
#[must_use]
pub fn cast_unreachable(streak: u32) -> Duration {
    CAST_UNREACHABLE.delay(streak, None, 0.0)
}

/// A key the gateway refuses: one probe a minute.
#[must_use]
pub fn cast_refused(streak: u32) -> Duration {
    CAST_REFUSED.delay(streak, None, 0.0)
}

/// A key paused after three unknown outcomes: 5 s doubling to 5 min.
#[must_use]
pub fn cast_sick(pauses: u32) -> Duration {
    CAST_SICK.delay(pauses, None, 0.0)
}

/// GHL's 403 "not yet": 2, 4, 8 … 60 s.
#[must_use]
pub fn not_yet(tries: u32, jitter: f64) -> Duration {
    GHL_NOT_YET.delay(tries, None, jitter)
}

/// A call to GHL that failed on its side: 5, 10, 20 s … 15 min.
#[must_use]
pub fn report(tries: u32, jitter: f64) -> Duration {
    GHL_TROUBLE.delay(tries, None, jitter)
}

/// A reply whose post nobody saw answered: at least half a minute, then as any other failure on GHL's side.
#[must_use]
pub fn reply_unknown(tries: u32, jitter: f64) -> Duration {
    GHL_UNKNOWN.delay(0, None, 0.0).max(report(tries, jitter))
}

/// GHL's 429: the hint, at most 10 min; else the interval it names or its usual one, and after three in a row a minute.
#[must_use]
pub fn ghl_limited(hint: Option<Duration>, interval: Option<Duration>, tries: u32) -> Duration {
    if tries < GHL_REST_AFTER {
        GHL_LIMITED.delay(tries, hint.or(interval), 0.0)
    } else {
        GHL_RESTS.delay(tries, hint, 0.0)
    }
}

/// A refresh that was refused, and not for its token: a minute. What follows one without an answer is `refresh`'s.
#[must_use]
pub fn token_trouble() -> Duration {
    TOKEN_TROUBLE.delay(0, None, 0.0)
}

/// A paused sub-account, however many calls wait for it: a quarter of an hour, since replies wait for the answer.
#[must_use]
pub fn token_suspended() -> Duration {
    TOKEN_SUSPENDED.delay(0, None, 0.0)
}

/// An agency's list of sub-accounts is read again: every five to six hours, each agency at its own moment. A hook that was
/// lost is made up for within this time.
#[must_use]
pub fn reconcile(jitter: f64) -> Duration {
    RECONCILE.delay(0, None, jitter)
}

/// A lifecycle event that could not be applied: a minute.
#[must_use]
pub fn lifecycle_event() -> Duration {
    LIFECYCLE_EVENT.delay(0, None, 0.0)
}

/// A receipt whose SMS is not known yet: 1, 2, 4 s … 5 min, so that strangers' receipts cost a few looks an hour.
#[must_use]
pub fn receipt(tries: u32) -> Duration {
    RECEIPT_UNMATCHED.delay(tries, None, 0.0)
}

/// A write that must land (an outcome): 50 ms doubling to 5 s, for as long as the process lives.
#[must_use]
pub fn store_write(tries: u32) -> Duration {
    STORE_WRITE.delay(tries, None, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Policy; 13] = [
        CAST_LIMITED,
        CAST_UNREACHABLE,
        CAST_REFUSED,
        CAST_SICK,
        GHL_NOT_YET,
        GHL_TROUBLE,
        GHL_UNKNOWN,
        GHL_LIMITED,
        GHL_RESTS,
        TOKEN_TROUBLE,
        TOKEN_SUSPENDED,
        RECEIPT_UNMATCHED,
        STORE_WRITE,
    ];

    proptest! {
        #[test]
        fn a_delay_keeps_its_bounds_whatever_it_is_given(
            policy in proptest::sample::select(&ALL[..]), attempt in any::<u32>(), random in -1.0f64..2.0
        ) {
            let delay = policy.delay(attempt, None, random);
            prop_assert!(delay <= policy.cap);
            prop_assert!(delay >= policy.first.mul_f64(0.8));
        }

        #[test]
        fn a_delay_never_shrinks_with_another_failure(
            policy in proptest::sample::select(&ALL[..]), attempt in 0u32..200, random in 0.0f64..1.0
        ) {
            prop_assert!(policy.delay(attempt + 1, None, random) >= policy.delay(attempt, None, random));
        }

        #[test]
        fn a_hint_replaces_the_schedule_capped_and_never_undercut(
            policy in proptest::sample::select(&ALL[..]),
            attempt in any::<u32>(), hint in any::<u64>(), random in 0.0f64..1.0,
        ) {
            let hint = Duration::from_secs(hint);
            let delay = policy.delay(attempt, Some(hint), random);
            match policy.hint_cap {
                Some(cap) => {
                    prop_assert!(delay <= cap && delay >= Duration::from_secs(1));
                    prop_assert!(delay >= hint.min(cap));
                }
                None => prop_assert_eq!(delay, policy.delay(attempt, None, random)),
            }
        }
    }

    #[test]
    fn a_key_without_a_hint_waits_1_2_4_to_60_seconds() {
        let waits: Vec<u64> = (0..8).map(|n| cast_limited(None, n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn ghl_names_the_wait_or_its_interval_and_after_three_refusals_a_call_rests() {
        let seconds = |hint: Option<u64>, interval: Option<u64>, tries| {
            ghl_limited(hint.map(Duration::from_secs), interval.map(Duration::from_secs), tries).as_secs()
        };
        assert_eq!((0..4).map(|tries| seconds(None, None, tries)).collect::<Vec<_>>(), [10, 10, 60, 60]);
        assert_eq!((0..4).map(|tries| seconds(None, Some(20), tries)).collect::<Vec<_>>(), [20, 20, 60, 60]);
        assert_eq!((0..4).map(|tries| seconds(Some(5), Some(20), tries)).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert_eq!(seconds(Some(100_000), None, 0), 600);
    }

    #[test]
    fn a_reply_nobody_saw_answered_waits_half_a_minute_or_longer() {
        let waits: Vec<u64> = (0..9).map(|tries| reply_unknown(tries, 0.0).as_secs()).collect();
        assert_eq!(waits, [30, 30, 30, 40, 80, 160, 320, 640, 900]);
    }
}
