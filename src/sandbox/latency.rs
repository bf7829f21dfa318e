//! Percentiles of a set of durations. Pure.

use std::fmt;
use std::time::Duration;

/// The figures worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latency {
    pub(super) p50: Duration,
    pub(super) p95: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Latency {
    /// By nearest rank: every figure is one that was measured. `None` of nothing.
    pub(super) fn of(mut measured: Vec<Duration>) -> Option<Self> {
        measured.sort_unstable();
        let rank = |percent: usize| {
            let rank = (measured.len() * percent).div_ceil(100);
            measured.get(rank.checked_sub(1)?).copied()
        };
        Some(Self { p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: rank(100)? })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let [p50, p95, p99, max] = [self.p50, self.p95, self.p99, self.max].map(ms);
        write!(f, "p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn of_a_hundred_the_percentiles_are_their_ranks() {
        let latency = Latency::of((1..=100).rev().map(ms).collect());
        assert_eq!(latency, Some(Latency { p50: ms(50), p95: ms(95), p99: ms(99), max: ms(100) }));
    }

    #[test]
    fn one_measurement_is_all_of_them_and_none_is_none() {
        assert_eq!(Latency::of(vec![ms(7)]), Some(Latency { p50: ms(7), p95: ms(7), p99: ms(7), max: ms(7) }));
        assert_eq!(Latency::of(Vec::new()), None);
    }

    proptest! {
        #[test]
        fn at_least_the_named_share_is_no_slower(measured in prop::collection::vec(0u64..5000, 1..300)) {
            let latency = Latency::of(measured.iter().copied().map(ms).collect()).expect("not empty");
            for (percent, bound) in [(50, latency.p50), (95, latency.p95), (99, latency.p99), (100, latency.max)] {
                let within = measured.iter().filter(|m| ms(**m) <= bound).count();
                prop_assert!(within * 100 >= measured.len() * percent);
            }
        }
    }
}
