//! The set-up check the bridge does by itself: when it is due, and what the last one found.
//!
//! Owns the part of an installation's document that carries it, so that a check once due survives a restart. Invariant: a result
//! is noted only for the very check that was due; what became due meanwhile stays due. Pure; what is checked is `checkup`'s.

use serde::{Deserialize, Serialize};

use super::checkup::{Row, Verdict};
use super::installation::Installation;
use super::retry;
use super::time::UnixMillis;

/// A check without a usable answer is tried this often, then noted as far as it came: some ten minutes in all.
pub const TRIES: u32 = 8;

/// The bridge's own check of an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recheck {
    /// Absent when none is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<UnixMillis>,
    /// Tries of the one that is due.
    #[serde(default)]
    pub tries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastCheck>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    pub at: UnixMillis,
    pub verdicts: Vec<CheckedRow>,
}

impl LastCheck {
    /// Its worst verdict.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.verdicts.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Ok)
    }
}

/// A row in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRow {
    /// The check's word: text, so that a word of a later release spoils no document for an earlier one.
    pub check: String,
    pub verdict: Verdict,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// With what there is to know.
    Answered(&'a [Row]),
    /// GHL could not be asked, or gave no usable answer: these rows say less than they might.
    Unanswered(&'a [Row]),
    /// Not its turn before then.
    NotBefore(UnixMillis),
    /// There is nothing to check any more.
    Gone,
}

impl Installation {
    /// To be checked at once, whoever leads; one that is not installed has nothing to check.
    #[must_use]
    pub fn to_be_checked(self, now: UnixMillis) -> Self {
        if !self.installed() {
            return self;
        }
        let last = self.recheck.and_then(|recheck| recheck.last);
        Self { recheck: Some(Recheck { due_at: Some(now.on_any_clock()), tries: 0, last }), ..self }
    }

    /// After the check that was due in `seen`; `None` when another one is due by now, or none.
    #[must_use]
    pub fn rechecked(&self, seen: &Recheck, asked: Asked<'_>, now: UnixMillis, jitter: f64) -> Option<Self> {
        let held = self.recheck.as_ref().filter(|held| held.due_at == seen.due_at && held.tries == seen.tries)?;
        let found = |rows: &[Row]| {
            let verdicts =
                rows.iter().map(|row| CheckedRow { check: row.check.as_str().to_owned(), verdict: row.verdict });
            Recheck { due_at: None, tries: 0, last: Some(LastCheck { at: now, verdicts: verdicts.collect() }) }
        };
        let next = match asked {
            Asked::Answered(rows) => Some(found(rows)),
            Asked::Unanswered(rows) if held.tries.saturating_add(1) >= TRIES => Some(found(rows)),
            Asked::Unanswered(_) => {
                let due_at = Some(now.after(retry::report(held.tries, jitter)));
                Some(Recheck { due_at, tries: held.tries + 1, last: held.last.clone() })
            }
            Asked::NotBefore(at) => Some(Recheck { due_at: Some(at), ..held.clone() }),
            Asked::Gone => None,
        };
        Some(Self { recheck: next, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkup::Check;
    use super::super::id::LocationId;
    use super::super::installation::{Grant, GrantKind, Sealed};
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_780_000_000_000);

    fn installed() -> Installation {
        let grant = Grant {
            access: Sealed::Plain { plain: "a".into() },
            refresh: None,
            refresh_hash: None,
            expires_at: NOW,
            scope: None,
        };
        Installation::new(GrantKind::Location, LocationId::parse("L1").ok(), None, grant, NOW)
    }

    fn rows() -> [Row; 2] {
        [Row::new(Check::Token, Verdict::Ok, "fine"), Row::new(Check::Provider, Verdict::Bad, "another")]
    }

    fn due(installation: &Installation) -> Recheck {
        installation.recheck.clone().expect("one is due")
    }

    #[test]
    fn a_check_is_due_at_once_and_is_background_work() {
        let i = installed().to_be_checked(NOW);
        assert_eq!(i.work_at(), Some(NOW.on_any_clock()));
        let gone = installed().uninstalled(None, NOW);
        assert_eq!(gone.clone().to_be_checked(NOW), gone);
    }

    #[test]
    fn a_result_ends_the_check_and_keeps_time_and_verdicts() {
        let i = installed().to_be_checked(NOW);
        let done = i.rechecked(&due(&i), Asked::Answered(&rows()), NOW, 0.0).expect("noted");
        let last = due(&done).last.expect("a result");
        assert_eq!((due(&done).due_at, last.at, last.worst()), (None, NOW, Verdict::Bad));
        assert_eq!(last.verdicts.iter().map(|row| row.check.as_str()).collect::<Vec<_>>(), ["token", "provider"]);
        assert_eq!(done.work_at(), None);
        // The next one keeps the last result until it has one of its own.
        assert_eq!(due(&done.to_be_checked(NOW)).last, Some(last));
    }

    #[test]
    fn a_check_that_became_due_meanwhile_stays_due() {
        let i = installed().to_be_checked(NOW);
        let seen = due(&i);
        let later = i.to_be_checked(UnixMillis(NOW.0 + 5));
        assert_eq!(later.rechecked(&seen, Asked::Answered(&rows()), NOW, 0.0), None);
        assert_eq!(installed().rechecked(&seen, Asked::Gone, NOW, 0.0), None);
    }

    #[test]
    fn without_an_answer_it_is_tried_again_and_noted_in_the_end() {
        let mut i = installed().to_be_checked(NOW);
        for tries in 1..TRIES {
            i = i.rechecked(&due(&i), Asked::Unanswered(&rows()), NOW, 0.0).expect("noted");
            assert_eq!((due(&i).tries, due(&i).last.is_none()), (tries, true));
            assert!(due(&i).due_at > Some(NOW));
        }
        i = i.rechecked(&due(&i), Asked::Unanswered(&rows()), NOW, 0.0).expect("noted");
        assert_eq!((due(&i).due_at, due(&i).last.is_some()), (None, true));
    }

    #[test]
    fn a_check_that_has_to_wait_counts_no_try_and_one_that_is_gone_leaves_nothing() {
        let i = installed().to_be_checked(NOW);
        let at = UnixMillis(NOW.0 + 9);
        let waits = i.rechecked(&due(&i), Asked::NotBefore(at), NOW, 0.0).expect("noted");
        assert_eq!((due(&waits).due_at, due(&waits).tries), (Some(at), 0));
        let gone = i.rechecked(&due(&i), Asked::Gone, NOW, 0.0).expect("noted");
        assert_eq!(gone, installed());
    }

    #[test]
    fn a_document_without_a_check_reads_and_one_of_a_later_release_too() {
        let stored = serde_json::to_value(installed()).expect("JSON");
        assert!(stored.get("recheck").is_none());
        let of_later = serde_json::json!({"last": {"at": 5, "verdicts": [{"check": "colour", "verdict": "warn"}]}});
        let read: Recheck = serde_json::from_value(of_later).expect("it reads");
        assert_eq!(read.last.map(|last| last.worst()), Some(Verdict::Warn));
    }
}
