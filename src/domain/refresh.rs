//! Spending a refresh token: when the same one may be sent again, and what a refusal is worth (ghl contract §3).
//!
//! A refresh token is single-use, and GHL answers the same request with the same new pair for 30 s. So an answer that was lost
//! is asked for again in that time, and a refusal counts only where no earlier sending can have been what spent the token.
//! Invariant: a newer pair is never overwritten, by an older one or by a mark. Pure: `now` is an argument, always monotonic.

use std::time::Duration;

use super::installation::{Grant, Health, Installation};
use super::time::{Mono, UnixMillis};

/// GHL answers the same refresh token with the same pair this long.
pub const SAME_PAIR: Duration = Duration::from_secs(30);
/// A sending takes at most this long; it is the client's time-out.
pub const SENDING: Duration = Duration::from_secs(6);
/// After a first sending without an answer the same token is sent again then: the last of them ends at 27 s.
pub const SLOTS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(7), Duration::from_secs(14), Duration::from_secs(21)];
/// After the window the token is tried once more: GHL may never have received it.
pub const LAST_TRY_AFTER: Duration = Duration::from_secs(60);
/// A sending that began later than this after the first could end outside the window.
const LATEST: Duration = SAME_PAIR.saturating_sub(SENDING);

/// How far the spending of one refresh token has come, as one leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No sending is unaccounted for; not to be sent before `from`.
    Fresh { from: Mono },
    /// A predecessor marked it: it may have been sent, nobody knows when. To be sent at once, before other work.
    Inherited,
    /// First sent at `first`, and nothing that decides was heard until `idle`.
    Unanswered { first: Mono, idle: Mono },
    /// The window is over; tried once more, not before `from`.
    LastTry { from: Mono },
}

/// What a refusal of the next sending would be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It may be the echo of an earlier sending whose answer was lost.
    Doubtful,
    /// No earlier sending can explain it.
    Decisive,
}

/// Whether the token may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Send(Weight),
    Wait(Mono),
}

/// What GHL made of a sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshAnswer {
    /// Nothing, or nothing that decides: a transport error, a 5xx, a 2xx without a token.
    None,
    /// `invalid_grant`.
    InvalidGrant,
    /// `Location is not active`: paused or unpaid, asked again after this long.
    Inactive(Duration),
    /// Refused without looking at the token (429, our own credentials …): nothing was spent. Ask again after this long.
    NotNow(Duration),
}

/// What follows from an answer that brought no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The token is kept, and this is how far its spending has come.
    Keep(Stage),
    /// The same, and the sub-account is paused.
    Suspend(Stage),
    /// The `invalid_grant` rules.
    Dead,
}

impl Stage {
    /// Nothing was ever sent.
    pub const UNSENT: Self = Self::Fresh { from: Mono(Duration::ZERO) };

    /// Whether the token may be sent at `now`. A slot that passed while a call was out is skipped.
    #[must_use]
    pub fn look(self, now: Mono) -> Look {
        let (from, weight) = match self {
            Self::Fresh { from } | Self::LastTry { from } => (from, Weight::Decisive),
            Self::Inherited => return Look::Send(Weight::Doubtful),
            Self::Unanswered { first, idle } => {
                let slot = SLOTS.into_iter().find(|slot| *slot > idle.since(first));
                match slot.filter(|_| now.since(first) <= LATEST) {
                    Some(slot) => (first.after(slot), Weight::Doubtful),
                    None => (idle.after(LAST_TRY_AFTER), Weight::Decisive),
                }
            }
        };
        if now < from { Look::Wait(from) } else { Look::Send(weight) }
    }

    /// As it is from the moment a sending begins at `now`, until its answer: if none is ever heard, this is what happened.
    #[must_use]
    pub fn sent(self, now: Mono) -> Self {
        match self {
            // Still the same window, unless this is its last try: that opens the next one.
            Self::Unanswered { first, .. } if self.look(now) == Look::Send(Weight::Doubtful) => {
                Self::Unanswered { first, idle: now }
            }
            Self::Fresh { .. } | Self::Inherited | Self::Unanswered { .. } | Self::LastTry { .. } => {
                Self::Unanswered { first: now, idle: now }
            }
        }
    }

    /// What follows when a sending of this stage that weighed `weight` and began at `began` was answered at `now`.
    #[must_use]
    pub fn answered(self, weight: Weight, began: Mono, answer: RefreshAnswer, now: Mono) -> Next {
        let idle_until = |idle: Mono| match self.sent(began) {
            Self::Unanswered { first, .. } => Self::Unanswered { first, idle },
            other => other,
        };
        let later = |wait: Duration| match weight {
            // Still nothing unaccounted for.
            Weight::Decisive => Self::Fresh { from: now.after(wait) },
            Weight::Doubtful => idle_until(now.after(wait)),
        };
        match (answer, weight) {
            (RefreshAnswer::None, _) => Next::Keep(idle_until(now)),
            (RefreshAnswer::InvalidGrant, Weight::Decisive) => Next::Dead,
            (RefreshAnswer::InvalidGrant, Weight::Doubtful) => {
                Next::Keep(Self::LastTry { from: now.after(LAST_TRY_AFTER) })
            }
            (RefreshAnswer::Inactive(wait), _) => Next::Suspend(later(wait)),
            (RefreshAnswer::NotNow(wait), _) => Next::Keep(later(wait)),
        }
    }

    /// Whether a successor must know that the token may have been sent.
    #[must_use]
    pub fn in_doubt(self) -> bool {
        !matches!(self, Self::Fresh { .. })
    }
}

impl Installation {
    /// The hash of the refresh token it holds.
    #[must_use]
    pub fn refresh_hash(&self) -> Option<&str> {
        self.grant.as_ref()?.refresh_hash.as_deref()
    }

    /// Whether the refresh token it holds may have been sent already.
    #[must_use]
    pub fn refresh_begun(&self) -> bool {
        self.refresh_started.is_some() && self.refresh_started.as_deref() == self.refresh_hash()
    }

    /// Marked before its refresh token is sent, and looked at again at `look_at` whatever comes. `None`: another pair is stored.
    #[must_use]
    pub fn spending(&self, hash: &str, look_at: UnixMillis) -> Option<Self> {
        let holds = self.refresh_hash() == Some(hash);
        let (refresh_started, refresh_at) = (Some(hash.to_owned()), Some(look_at));
        holds.then(|| Self { refresh_started, refresh_at, ..self.clone() })
    }

    /// With the pair that spending `hash` brought: it beats every mark. `None`: a newer pair, or none, is stored.
    #[must_use]
    pub fn renewed(&self, hash: &str, fresh: &Grant, refresh_at: Option<UnixMillis>) -> Option<Self> {
        (self.refresh_hash() == Some(hash)).then(|| Self {
            grant: Some(fresh.clone()),
            health: Health::Active,
            refresh_at,
            refresh_started: None,
            ..self.clone()
        })
    }

    /// Its health as learnt with the refresh token `hash` (or without any), which is kept. `None`: a newer pair, or none, is
    /// stored.
    #[must_use]
    pub fn marked(
        &self,
        hash: Option<&str>,
        health: Health,
        refresh_at: Option<UnixMillis>,
        in_doubt: bool,
    ) -> Option<Self> {
        let holds = self.grant.is_some() && self.refresh_hash() == hash;
        let refresh_started = self.refresh_started.clone().filter(|_| in_doubt);
        holds.then(|| Self { health, refresh_at, refresh_started, ..self.clone() })
    }
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
