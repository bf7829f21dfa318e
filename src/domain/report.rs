//! What GHL is to be told about a message: a sub-document of the message, written with the outcome it tells of.
//!
//! Invariant: the last report told agrees with the newest revision; a call that ends for an older revision makes the
//! report due again. Decides what follows each of GHL's answers (ghl contract §4). Pure: imports `time`, `message`'s codes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::FailureCode;
use super::retry;
use super::time::UnixMillis;

/// GHL shows 403 "not yet" for some seconds after its webhook; it is also the permanent answer for a message that is not ours.
pub const NOT_YET_LIMIT: Duration = Duration::from_secs(15 * 60);
/// 5xx and transport errors are retried this long, from the first try.
pub const RETRY_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// A report without a usable token looks again this often; a stored token wakes it sooner.
pub const NO_TOKEN_WAIT: Duration = Duration::from_secs(60);

/// The words GHL knows for a message we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    Delivered,
    Failed,
    Pending,
}

/// Where a status comes from; a receipt overrides policy and unknown, a late `Accepted` overrides unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportSource {
    Policy,
    Unknown,
    Receipt,
}

/// What an agent is to read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub status: ReportStatus,
    pub source: ReportSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// One sentence an agent can act on. May hold the number they typed: for the conversation, never for a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

impl Verdict {
    /// An agent would see no difference.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        (self.status, self.code, &self.sentence) == (other.status, other.code, &other.sentence)
    }
}

/// The report sub-document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub verdict: Verdict,
    /// Rises with each new verdict, with each call that ended for an older one, and when it is withdrawn.
    pub revision: u32,
    /// The revision GHL acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u32>,
    /// When to call; absent when told, given up or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<UnixMillis>,
    /// Calls made for this revision.
    #[serde(default)]
    pub tries: u32,
    /// The first call for this revision: both caps run from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_try_at: Option<UnixMillis>,
    /// Why nobody will be told any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
    /// Waits for a token of its location.
    #[serde(default)]
    pub no_token: bool,
    /// 429 in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limited: u32,
    /// The status GHL acknowledged last, whatever revision it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<ReportStatus>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Why a report was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenUp {
    /// 403 "no conversation provider" for 15 minutes: not our message.
    NotOurs,
    /// Another 403: the app's scopes do not allow it.
    Scopes,
    /// 404: GHL does not know the message.
    Unknown,
    /// 400 or 422: GHL refuses the status.
    Refused,
    /// 24 hours without an answer.
    Exhausted,
}

/// What came back from one status call, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportReply {
    Told,
    /// 401 or 403 with "No conversation provider found for this message".
    NotYet,
    /// 403 with any other text.
    Forbidden,
    NotFound,
    /// 400 or 422, and every other 4xx.
    Refused,
    /// 429: GHL is to be left alone so long.
    Limited {
        wait: Duration,
    },
    /// 5xx, a redirect, or nothing readable came back.
    Trouble,
    /// No stored token could be used, or it was refused after a refresh.
    NoToken,
}

impl Report {
    /// The first report of a message, due at `due_at`.
    #[must_use]
    pub fn new(verdict: Verdict, due_at: UnixMillis) -> Self {
        Self {
            verdict,
            revision: 1,
            told: None,
            due_at: Some(due_at),
            tries: 0,
            first_try_at: None,
            given_up: None,
            no_token: false,
            limited: 0,
            shown: None,
        }
    }

    /// A new verdict replaces the old one and is due at `due_at`, told or not.
    #[must_use]
    pub fn corrected(&self, verdict: Verdict, due_at: UnixMillis) -> Self {
        Self { revision: self.revision + 1, told: self.told, shown: self.shown, ..Self::new(verdict, due_at) }
    }

    /// Its message is on its way again: nobody is told before the next verdict, not even by a call under way that fails.
    #[must_use]
    pub fn withdrawn(&self) -> Self {
        Self {
            revision: self.revision + 1,
            told: self.told,
            shown: self.shown,
            due_at: None,
            ..Self::new(self.verdict.clone(), UnixMillis::default())
        }
    }

    /// Neither told nor to be told.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.due_at.is_none() && self.told != Some(self.revision) && self.given_up.is_none()
    }

    /// What follows a call that was made for `revision`. `jitter` is uniform in 0..1.
    #[must_use]
    pub fn after_reply(&self, revision: u32, reply: &ReportReply, now: UnixMillis, jitter: f64) -> Self {
        if self.is_withdrawn() {
            return self.clone();
        }
        if revision != self.revision {
            // The older call may have landed last: tell the newest again, under a number of its own.
            return self.corrected(self.verdict.clone(), now);
        }
        let first = self.first_try_at.unwrap_or(now);
        let next = Self { tries: self.tries + 1, first_try_at: Some(first), no_token: false, ..self.clone() };
        let mut next = Self { limited: 0, ..next };
        let spent = now.since(first);
        let again_within = |limit: Duration, wait: Duration, end: GivenUp| {
            if spent >= limit { Err(end) } else { Ok(wait) }
        };
        let decision = match reply {
            ReportReply::Told => {
                next.told = Some(revision);
                next.shown = Some(self.verdict.status);
                next.due_at = None;
                return next;
            }
            ReportReply::NotYet => again_within(NOT_YET_LIMIT, retry::not_yet(self.tries, jitter), GivenUp::NotOurs),
            ReportReply::Trouble => again_within(RETRY_LIMIT, retry::report(self.tries, jitter), GivenUp::Exhausted),
            ReportReply::Limited { wait } => {
                // Nothing is dropped for a limit, and the caps don't run while it lasts.
                next.limited = self.limited.saturating_add(1);
                next.first_try_at = Some(first.after(*wait));
                Ok(*wait)
            }
            ReportReply::Forbidden => Err(GivenUp::Scopes),
            ReportReply::NotFound => Err(GivenUp::Unknown),
            ReportReply::Refused => Err(GivenUp::Refused),
            ReportReply::NoToken => {
                // Not a try: the caps run only while GHL is actually asked.
                return Self { no_token: true, due_at: Some(now.after(NO_TOKEN_WAIT)), ..self.clone() };
            }
        };
        match decision {
            Ok(wait) => next.due_at = Some(now.after(wait)),
            Err(end) => {
                next.given_up = Some(end);
                next.due_at = None;
            }
        }
        next
    }

    /// A token came: look at once.
    #[must_use]
    pub fn woken(&self, now: UnixMillis) -> Self {
        Self { no_token: false, due_at: self.due_at.map(|_| now), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: UnixMillis = UnixMillis(1_000_000);

    fn failed() -> Verdict {
        Verdict {
            status: ReportStatus::Failed,
            source: ReportSource::Unknown,
            code: Some(FailureCode::UnknownOutcome),
            sentence: None,
        }
    }

    fn delivered() -> Verdict {
        Verdict { status: ReportStatus::Delivered, source: ReportSource::Policy, code: None, sentence: None }
    }

    #[test]
    fn a_told_report_is_not_due_any_more() {
        let r = Report::new(delivered(), T0).after_reply(1, &ReportReply::Told, T0, 0.5);
        assert_eq!((r.told, r.due_at), (Some(1), None));
    }

    #[test]
    fn a_call_that_ends_for_an_older_revision_makes_the_newest_due_again_even_if_it_was_told() {
        let first = Report::new(failed(), T0);
        let told = first.corrected(delivered(), T0).after_reply(2, &ReportReply::Told, T0, 0.5);
        let late = told.after_reply(1, &ReportReply::Told, T0, 0.5);
        assert_eq!(late.revision, 3);
        assert_eq!(late.due_at, Some(T0));
        assert_eq!(late.verdict, delivered());
    }

    #[test]
    fn a_withdrawn_report_stays_so_whatever_an_older_call_brings_and_the_next_verdict_is_due() {
        let withdrawn = Report::new(failed(), T0).withdrawn();
        for reply in [ReportReply::Told, ReportReply::NotYet, ReportReply::NoToken, ReportReply::NotFound] {
            assert_eq!(withdrawn.after_reply(1, &reply, T0, 0.5), withdrawn);
        }
        assert_eq!(withdrawn.woken(T0), withdrawn);
        let next = withdrawn.corrected(delivered(), T0);
        assert_eq!((next.revision, next.due_at), (3, Some(T0)));
        let late = next.after_reply(3, &ReportReply::Told, T0, 0.5).after_reply(1, &ReportReply::Told, T0, 0.5);
        assert_eq!((late.verdict.clone(), late.due_at), (delivered(), Some(T0)), "the older call may have landed last");
    }

    #[test]
    fn not_yet_is_repeated_for_fifteen_minutes_and_then_given_up() {
        let mut r = Report::new(delivered(), T0);
        let mut now = T0;
        let mut calls = 0;
        while let Some(due) = r.due_at {
            now = now.max(due);
            r = r.after_reply(1, &ReportReply::NotYet, now, 0.5);
            calls += 1;
        }
        assert_eq!(r.given_up, Some(GivenUp::NotOurs));
        assert!(now.since(T0) >= NOT_YET_LIMIT && now.since(T0) < NOT_YET_LIMIT * 2);
        assert!((10..200).contains(&calls), "{calls}");
    }

    #[test]
    fn a_day_of_429_gives_no_report_up_and_only_three_in_a_row_make_it_rest() {
        let wait = |r: &Report, now: UnixMillis| r.due_at.unwrap().since(now).as_secs();
        let mut r = Report::new(delivered(), T0);
        for _ in 0..5 {
            r = r.after_reply(1, &ReportReply::NotYet, r.due_at.unwrap(), 0.5);
        }
        let mut waits = Vec::new();
        let mut now = r.due_at.unwrap();
        while now.since(T0) < Duration::from_secs(26 * 3600) {
            let wait_for = retry::ghl_limited(None, None, r.limited);
            r = r.after_reply(1, &ReportReply::Limited { wait: wait_for }, now, 0.5);
            waits.push(wait(&r, now));
            now = r.due_at.unwrap();
        }
        assert_eq!(waits[..4], [10, 10, 60, 60]);
        let after_trouble = r.after_reply(1, &ReportReply::Trouble, now, 0.5);
        assert_eq!((after_trouble.given_up, after_trouble.limited), (None, 0));
    }

    #[test]
    fn what_the_crm_shows_is_remembered_over_corrections() {
        let told = Report::new(delivered(), T0).after_reply(1, &ReportReply::Told, T0, 0.5);
        let corrected = told.corrected(failed(), T0);
        assert_eq!((corrected.shown, corrected.told), (Some(ReportStatus::Delivered), Some(1)));
        assert_eq!(corrected.after_reply(2, &ReportReply::Told, T0, 0.5).shown, Some(ReportStatus::Failed));
    }

    #[test]
    fn a_report_without_a_token_waits_without_spending_its_caps() {
        let r = Report::new(delivered(), T0).after_reply(1, &ReportReply::NoToken, T0, 0.5);
        assert!(r.no_token && r.first_try_at.is_none() && r.given_up.is_none());
        assert_eq!(r.woken(T0).due_at, Some(T0));
    }

    proptest! {
        #[test]
        fn a_report_is_always_due_told_or_given_up(
            replies in proptest::collection::vec(0..8usize, 1..30), steps in proptest::collection::vec(0..600_000i64, 30)
        ) {
            let all = [
                ReportReply::Told, ReportReply::NotYet, ReportReply::Forbidden, ReportReply::NotFound, ReportReply::Refused,
                ReportReply::Limited { wait: Duration::from_secs(10) }, ReportReply::Trouble, ReportReply::NoToken,
            ];
            let mut r = Report::new(delivered(), T0);
            let mut now = T0;
            for (reply, step) in replies.iter().zip(steps) {
                now = UnixMillis(now.0 + step);
                r = r.after_reply(r.revision, &all[*reply], now, 0.3);
                let told = r.told == Some(r.revision);
                prop_assert!(r.due_at.is_some() || told || r.given_up.is_some());
                prop_assert!(r.due_at.is_none_or(|d| d >= now && d.since(now) <= Duration::from_secs(24 * 3600)));
                if r.due_at.is_none() { break; }
            }
        }
    }
}
