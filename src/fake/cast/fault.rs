//! The faults a fake Cast can be told to have, and which one strikes next.
//!
//! Owns the order: queued faults first, then a number's own, then the standing one. A fault says whether the SMS was
//! taken before it struck, since that is what a caller cannot know. Pure.

use std::collections::VecDeque;

/// What goes wrong with a send that is in order by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CastFault {
    /// None: served as usual. Lets a later call of the queue be the faulty one.
    Pass,
    /// Answers this status and body; nothing is taken.
    Status(u16, String),
    /// Takes the SMS, then answers this status.
    StatusAfterTaking(u16),
    /// Says nothing until [`super::FakeCast::release`], the caller leaves, or the fake stops.
    Hang {
        /// Whether the SMS was taken.
        after_taking: bool,
    },
    /// Drops the connection unanswered; nothing is taken.
    ResetBeforeTaking,
    /// Takes the SMS, then drops the connection unanswered.
    ResetAfterTaking,
    /// Takes the SMS, answers 200 and what is no JSON.
    Garbage,
    /// Takes the SMS, answers 200 `{}`: no `success`.
    WithoutSuccess,
    /// Takes the SMS, answers `success:true` without id and parts.
    SuccessWithoutId,
    /// Takes the SMS, answers with a number for an id.
    NumericId,
    /// Answers 200 `success:false` with these words; nothing is taken.
    SuccessFalse(String),
    /// Answers 429 with this `Retry-After`, or none; nothing is taken.
    RateLimited {
        /// The header's value, sent as it is.
        retry_after: Option<String>,
    },
    /// Answers a redirect to another path; nothing is taken.
    Redirect,
    /// Takes the SMS, sends the beginning of an answer and no more.
    SlowBody,
    /// Takes the SMS, answers 8 MiB of well-formed JSON without a length.
    BigBody,
    /// Refuses the key with 401, 402 or 403; nothing is taken.
    KeyRefused(u16),
}

impl CastFault {
    /// Whether Cast takes the SMS of a call that meets this fault.
    #[must_use]
    pub fn takes(&self) -> bool {
        match self {
            Self::Pass
            | Self::StatusAfterTaking(_)
            | Self::Hang { after_taking: true }
            | Self::ResetAfterTaking
            | Self::Garbage
            | Self::WithoutSuccess
            | Self::SuccessWithoutId
            | Self::NumericId
            | Self::SlowBody
            | Self::BigBody => true,
            Self::Status(..)
            | Self::Hang { after_taking: false }
            | Self::ResetBeforeTaking
            | Self::SuccessFalse(_)
            | Self::RateLimited { .. }
            | Self::Redirect
            | Self::KeyRefused(_) => false,
        }
    }
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) next: VecDeque<CastFault>,
    pub(super) standing: Option<CastFault>,
    numbers: Vec<(String, CastFault)>,
}

impl Faults {
    pub(super) fn set_number(&mut self, suffix: &str, fault: Option<CastFault>) {
        self.numbers.retain(|(known, _)| known != suffix);
        self.numbers.extend(fault.map(|fault| (suffix.to_owned(), fault)));
    }

    /// The fault of the send to `to`; queued ones are used up.
    pub(super) fn strike(&mut self, to: &str) -> CastFault {
        if let Some(fault) = self.next.pop_front() {
            return fault;
        }
        let of_number = self.numbers.iter().find(|(suffix, _)| to.ends_with(suffix.as_str()));
        of_number.map(|(_, fault)| fault).or(self.standing.as_ref()).cloned().unwrap_or(CastFault::Pass)
    }
}
