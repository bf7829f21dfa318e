//! Chance with a seed: the same seed, the same case (SplitMix64, public domain; Steele, Lea and Flood 2014).

/// A die.
pub struct Dice(u64);

impl Dice {
    /// The same throws for the same seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, each as likely as the next, near enough for a case.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound.max(1)).expect("64 bits")).expect("below a usize")
    }
}
