//! Randomness that comes from the seed alone, in streams that do not disturb each other.
//!
//! Pure. SplitMix64 (Steele, Lea, Flood 2014): good enough for choices and delays, and the same on every machine.

use std::ops::RangeInclusive;
use std::time::Duration;

/// One stream.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of `seed` with this name.
    pub(super) fn new(seed: u64, stream: &str) -> Self {
        // FNV-1a keeps the streams apart.
        let name = stream
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut dice = Self(seed ^ name);
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..`bound`; 0 of nothing.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.roll()) * u128::try_from(bound).unwrap_or(0);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Uniform in the range.
    pub(super) fn within(&mut self, range: RangeInclusive<u32>) -> u32 {
        let width = usize::try_from(range.end() - range.start()).unwrap_or(0) + 1;
        range.start() + u32::try_from(self.below(width)).unwrap_or(0)
    }

    /// Milliseconds, uniform in the range.
    pub(super) fn millis(&mut self, range: RangeInclusive<u32>) -> Duration {
        Duration::from_millis(u64::from(self.within(range)))
    }

    /// True `share` times in a thousand.
    pub(super) fn chance(&mut self, share: u32) -> bool {
        self.within(0..=999) < share
    }

    /// One of them; `None` of nothing.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_again_and_another_stream_gives_others() {
        let draw = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            (0..20).map(|_| dice.within(0..=9999)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "a"), draw(7, "a"));
        assert_ne!(draw(7, "a"), draw(7, "b"));
        assert_ne!(draw(7, "a"), draw(8, "a"));
    }

    #[test]
    fn every_value_of_a_range_comes_up_and_no_other() {
        let mut dice = Dice::new(1, "range");
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[usize::try_from(dice.within(3..=7) - 3).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (100..=300).contains(count)), "{seen:?}");
        assert_eq!(dice.within(5..=5), 5);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }

    #[test]
    fn a_chance_is_so_many_in_a_thousand() {
        let mut dice = Dice::new(2, "chance");
        let hits = (0..10_000).filter(|_| dice.chance(100)).count();
        assert!((800..=1200).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| dice.chance(0)));
        assert!((0..1000).all(|_| dice.chance(1000)));
    }
}
