//! A suppression as GHL shows it: the contact's do-not-disturb setting for SMS, told and told again until GHL has it.
//!
//! Invariant: what GHL acknowledged is what it was last told; a call that ends after the suppression changed says nothing of
//! the change. Bounded: 24 h from the first call, a week without a token. Pure: imports `retry`, `time`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry;
use super::time::UnixMillis;

/// From the first call.
const CALL_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Without a usable token, from when it was first due.
const TOKEN_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A usable token is looked for this often.
const TOKEN_WAIT: Duration = Duration::from_secs(60);

/// How far GHL knows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The next call; absent when there is nothing to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<UnixMillis>,
    /// When it first was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_call_at: Option<UnixMillis>,
    /// Whose block it is, once a call was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Calls begun; written before each, so that whoever lifts the suppression knows whether GHL may show a block.
    #[serde(default)]
    pub calls: u32,
    /// 429 in a row.
    #[serde(default)]
    pub limited: u32,
    /// GHL acknowledged a block and was not told otherwise since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<UnixMillis>,
    /// Why GHL will not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
}

/// Why GHL will not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenUp {
    /// The location has no contact with this number.
    NoContact,
    /// The app is not installed there.
    NotInstalled,
    /// GHL refuses it for good.
    Refused,
    /// The app's scopes do not allow it.
    Scopes,
    /// It was tried for too long.
    Exhausted,
}

/// What one try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorReply {
    Told,
    /// The reply is not posted yet, or it is another's turn.
    Later(Duration),
    /// GHL answered 429 and is to be left alone so long.
    Limited(Duration),
    /// GHL was in trouble, or nobody knows.
    Trouble,
    NoToken,
    Never(GivenUp),
}

impl Mirror {
    /// To be told at `at`.
    #[must_use]
    pub fn due(at: UnixMillis) -> Self {
        Self { due_at: Some(at.on_any_clock()), since: Some(at), ..Self::default() }
    }

    /// A new block, whatever became of the one before.
    #[must_use]
    pub(super) fn renewed(&self, at: UnixMillis) -> Self {
        Self { calls: self.calls, contact: self.contact.clone(), ..Self::due(at) }
    }

    /// The block is to go. There is nothing to tell if no call was ever begun.
    #[must_use]
    pub(super) fn withdrawn(&self, at: UnixMillis) -> Self {
        if self.calls == 0 { Self::default() } else { self.renewed(at) }
    }

    /// GHL knows already.
    #[must_use]
    pub(super) fn at_rest(&self) -> Self {
        Self::default()
    }

    /// Before a call.
    #[must_use]
    pub fn calling(&self, contact: &str, now: UnixMillis) -> Self {
        Self {
            contact: Some(contact.to_owned()),
            calls: self.calls.saturating_add(1),
            first_call_at: self.first_call_at.or(Some(now)),
            ..self.clone()
        }
    }

    /// After a try to tell that it is `blocked`. `jitter` is uniform in 0..1.
    #[must_use]
    pub fn after(&self, reply: MirrorReply, blocked: bool, now: UnixMillis, jitter: f64) -> Self {
        let limit = |since: Option<UnixMillis>, limit: Duration| since.is_some_and(|at| now.since(at) >= limit);
        let put_off = |wait: Duration| Self { due_at: Some(now.after(wait)), limited: 0, ..self.clone() };
        let never = |why| Self { due_at: None, given_up: Some(why), ..self.clone() };
        match reply {
            MirrorReply::Told if blocked => {
                Self { due_at: None, acknowledged_at: Some(now), given_up: None, limited: 0, ..self.clone() }
            }
            MirrorReply::Told => Self::default(),
            MirrorReply::Later(wait) => Self { limited: self.limited, ..put_off(wait) },
            // Nothing is dropped for a limit: the day does not run while it lasts.
            MirrorReply::Limited(wait) => Self {
                limited: self.limited.saturating_add(1),
                first_call_at: self.first_call_at.map(|at| at.after(wait)),
                ..put_off(wait)
            },
            MirrorReply::Never(why) => never(why),
            MirrorReply::Trouble if limit(self.first_call_at, CALL_LIMIT) => never(GivenUp::Exhausted),
            MirrorReply::NoToken if limit(self.since, TOKEN_LIMIT) => never(GivenUp::Exhausted),
            MirrorReply::Trouble => put_off(retry::report(self.calls.saturating_sub(1), jitter)),
            MirrorReply::NoToken => put_off(TOKEN_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixMillis = UnixMillis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_was_never_called_needs_no_withdrawal_and_what_may_have_landed_does() {
        let due = Mirror::due(T0);
        assert_eq!(due.withdrawn(T0.after(HOUR)), Mirror::default());
        let called = due.calling("c", T0);
        assert!(called.withdrawn(T0.after(HOUR)).due_at.is_some());
        let told = called.after(MirrorReply::Told, true, T0, 0.5);
        assert_eq!((told.due_at, told.acknowledged_at), (None, Some(T0)));
        let gone = told.withdrawn(T0.after(HOUR)).calling("c", T0.after(HOUR)).after(MirrorReply::Told, false, T0, 0.5);
        assert_eq!(gone, Mirror::default());
    }

    #[test]
    fn a_429_is_waited_out_without_an_end_and_counted_only_while_they_come_in_a_row() {
        let mut mirror = Mirror::due(T0).calling("c", T0);
        let mut now = T0;
        for n in 1..=300 {
            mirror = mirror.after(MirrorReply::Limited(Duration::from_secs(600)), true, now, 0.5);
            assert_eq!((mirror.limited, mirror.given_up), (n, None));
            now = mirror.due_at.unwrap();
        }
        let turn = mirror.after(MirrorReply::Later(Duration::from_secs(1)), true, now, 0.5);
        assert_eq!(turn.limited, 300, "no call was made");
        let trouble = turn.after(MirrorReply::Trouble, true, now, 0.5);
        assert_eq!((trouble.limited, trouble.given_up), (0, None));
    }

    #[test]
    fn trouble_is_retried_for_a_day_from_the_first_call_and_a_missing_token_for_a_week() {
        let mut mirror = Mirror::due(T0).calling("c", T0);
        let mut now = T0;
        while let Some(at) = mirror.after(MirrorReply::Trouble, true, now, 0.0).due_at {
            assert!(at > now && at <= now.after(Duration::from_secs(900)));
            (mirror, now) = (mirror.calling("c", at), at);
        }
        assert!(now.since(T0) >= CALL_LIMIT && now.since(T0) < CALL_LIMIT + HOUR);
        let waiting = Mirror::due(T0);
        let six_days = T0.after(HOUR * 24 * 6);
        assert_eq!(waiting.after(MirrorReply::NoToken, true, six_days, 0.5).due_at, Some(six_days.after(TOKEN_WAIT)));
        let eight = waiting.after(MirrorReply::NoToken, true, T0.after(HOUR * 24 * 8), 0.5);
        assert_eq!((eight.due_at, eight.given_up), (None, Some(GivenUp::Exhausted)));
    }
}
