//! Accepted messages against SMS taken: the promise of the bridge, counted.
//!
//! Pure. A message answered 429 or not at all may have been stored all the same (a write can land after its answer), so
//! one SMS of it is in order; two of any message never are.

/// What a webhook was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200: it is the bridge's now.
    Accepted,
    /// 429: it is still the CRM's.
    Later,
    /// Anything else.
    Other,
}

/// The two sides compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reconciled {
    /// Accepted and taken once.
    pub(super) once: usize,
    /// Accepted and not taken.
    pub(super) missing: usize,
    /// Taken more than once, accepted or not.
    pub(super) twice: usize,
    /// SMS that belong to no message.
    pub(super) strange: usize,
}

/// Compares: message `n` was answered `outcomes[n]`; each SMS taken says which message it is, or none that was sent.
pub(super) fn reconcile(outcomes: &[Outcome], taken: impl Iterator<Item = Option<u32>>) -> Reconciled {
    let mut times = vec![0u32; outcomes.len()];
    let mut result = Reconciled::default();
    for sms in taken {
        match sms.and_then(|n| times.get_mut(usize::try_from(n).ok()?)) {
            Some(times) => *times += 1,
            None => result.strange += 1,
        }
    }
    for (outcome, times) in outcomes.iter().zip(times) {
        match (outcome, times) {
            (_, 2..) => result.twice += 1,
            (Outcome::Accepted, 1) => result.once += 1,
            (Outcome::Accepted, 0) => result.missing += 1,
            (Outcome::Later | Outcome::Other, 0 | 1) => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_repeated_and_strange_sms_are_told_apart() {
        use Outcome::{Accepted, Later, Other};
        let outcomes = [Accepted, Accepted, Accepted, Later, Later, Other];
        let taken = [Some(0), Some(1), Some(1), Some(3), Some(99), None];
        let expected = Reconciled { once: 1, missing: 1, twice: 1, strange: 2 };
        assert_eq!(reconcile(&outcomes, taken.into_iter()), expected);
    }

    #[test]
    fn a_message_taken_twice_is_wrong_even_when_it_was_not_accepted() {
        let reconciled = reconcile(&[Outcome::Later], [Some(0), Some(0)].into_iter());
        assert_eq!(reconciled, Reconciled { twice: 1, ..Reconciled::default() });
    }
}
