//! Randomness from the operating system's generator, by way of the crypto crate that is linked anyway.
//!
//! The one home of random numbers: ids, nonces, jitter. Rules take randomness as an argument. Imports nothing of ours.

/// `N` random bytes.
///
/// # Panics
/// When the operating system has no randomness: nothing here could be safe then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    aws_lc_rs::rand::fill(&mut out).expect("the operating system gives randomness");
    out
}

/// `2 N` hex digits.
#[must_use]
pub fn hex<const N: usize>() -> String {
    crate::digest::hex(&bytes::<N>())
}

/// Uniform in 0..1, for jitter.
#[must_use]
pub fn unit() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
