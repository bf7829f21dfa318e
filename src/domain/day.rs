//! How many parts a location sent on the shared key today, by the clock of Manila.
//!
//! One document a location and day: parts known or feared accepted, and what messages under way have reserved. Invariant: a part
//! is reserved before it is sent and given back only when it provably was not, so the count never falls behind what was
//! accepted; a crash may leave a reservation standing until midnight. Pure: imports `id`, `time`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::{DocId, LocationId};
use super::message::DOCUMENT_VERSION;
use super::time::UnixMillis;

/// Manila is UTC+8 all year.
const MANILA_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// A day in Manila, as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(i64);

impl Day {
    /// The day an instant falls on.
    #[must_use]
    pub fn of(at: UnixMillis) -> Self {
        Self(at.0.saturating_add(MANILA_MS).div_euclid(DAY_MS))
    }

    /// Its last instant is the one before this.
    #[must_use]
    pub fn end(self) -> UnixMillis {
        UnixMillis(self.0.saturating_add(1).saturating_mul(DAY_MS).saturating_sub(MANILA_MS))
    }

    /// The number, for keys.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }
}

/// The parts of one location on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCount {
    pub v: u32,
    pub location: LocationId,
    pub day: Day,
    /// Accepted, or possibly so.
    pub parts: u64,
    /// By message: parts it may still send.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<DocId, u64>,
}

/// What a reservation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserve {
    /// The message has as many already.
    Standing,
    Now(DayCount),
    /// They do not fit into the day.
    Over,
}

/// What became of a part that was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It was accepted; the message's other parts stay reserved.
    Accepted,
    /// It may have been; nothing else of the message goes by itself.
    Perhaps,
    /// It was not, and what the message has reserved is free: a next try reserves anew.
    Not,
}

impl DayCount {
    /// A day on which nothing was sent.
    #[must_use]
    pub fn new(location: LocationId, day: Day) -> Self {
        Self { v: DOCUMENT_VERSION, location, day, parts: 0, reserved: BTreeMap::new() }
    }

    /// The document's key.
    #[must_use]
    pub fn id(&self) -> DocId {
        DocId::day(&self.location, self.day)
    }

    /// Reserves all the parts a message still has to send, or none.
    #[must_use]
    pub fn reserve(&self, message: &DocId, parts: u64, most: u64) -> Reserve {
        let standing = self.reserved.get(message).copied().unwrap_or_default();
        if standing >= parts {
            return Reserve::Standing;
        }
        let taken = self.reserved.values().fold(self.parts, |sum, parts| sum.saturating_add(*parts));
        let taken = taken.saturating_sub(standing);
        if taken.saturating_add(parts) > most {
            return Reserve::Over;
        }
        let mut next = self.clone();
        next.reserved.insert(message.clone(), parts);
        Reserve::Now(next)
    }

    /// Settles one part of a message.
    #[must_use]
    pub fn settle(&self, message: &DocId, spent: Spent) -> Self {
        let mut next = self.clone();
        let left = next.reserved.remove(message).unwrap_or_default();
        if spent != Spent::Not {
            next.parts = next.parts.saturating_add(1);
        }
        if spent == Spent::Accepted && left > 1 {
            next.reserved.insert(message.clone(), left - 1);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> DayCount {
        DayCount::new(LocationId::parse("L1").expect("an id"), Day(0))
    }

    fn id(name: &str) -> DocId {
        DocId(name.to_owned())
    }

    fn reserved(day: &DayCount, message: &str, parts: u64, most: u64) -> DayCount {
        match day.reserve(&id(message), parts, most) {
            Reserve::Now(next) => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_day_begins_and_ends_at_midnight_in_manila() {
        // 2026-11-21T16:00:00Z is midnight of the 22nd there.
        let midnight = UnixMillis(1_795_276_800_000);
        assert_eq!(Day::of(midnight).number() - Day::of(UnixMillis(midnight.0 - 1)).number(), 1);
        assert_eq!(Day::of(UnixMillis(midnight.0 - 1)).end(), midnight);
        assert_eq!(Day::of(UnixMillis(-1)).number(), 0);
        let _ = (Day::of(UnixMillis(i64::MAX)).end(), Day::of(UnixMillis(i64::MIN)).end());
    }

    #[test]
    fn a_message_reserves_all_its_parts_or_none_and_once() {
        let day = reserved(&empty(), "a", 3, 4);
        assert_eq!(day.reserve(&id("b"), 2, 4), Reserve::Over);
        assert_eq!(day.reserve(&id("a"), 3, 4), Reserve::Standing);
        assert_eq!(reserved(&day, "b", 1, 4).reserve(&id("c"), 1, 4), Reserve::Over);
        assert_eq!(empty().reserve(&id("a"), 2, 1), Reserve::Over);
    }

    #[test]
    fn an_accepted_part_counts_one_that_was_not_sent_is_free_and_one_in_doubt_counts() {
        let day = reserved(&empty(), "a", 3, 9);
        let day = day.settle(&id("a"), Spent::Accepted);
        assert_eq!((day.parts, day.reserved.get(&id("a")).copied()), (1, Some(2)));
        assert_eq!(day.reserve(&id("a"), 2, 9), Reserve::Standing, "the next part is paid for");
        let unsent = day.settle(&id("a"), Spent::Not);
        assert_eq!((unsent.parts, unsent.reserved.len()), (1, 0));
        let perhaps = day.settle(&id("a"), Spent::Perhaps);
        assert_eq!((perhaps.parts, perhaps.reserved.len()), (2, 0));
        let done = reserved(&empty(), "b", 1, 1).settle(&id("b"), Spent::Accepted);
        assert_eq!((done.parts, done.reserved.len()), (1, 0));
    }
}
