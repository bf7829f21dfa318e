//! Lanes: what keeps its order together, by place.
//!
//! Invariant: a lane with a job handed out gives no other. Most lanes hold one job, so that one is stored without a tree.
//! Knows numbers and places alone.

use std::collections::{BTreeSet, HashMap};

use super::{Number, Place};

#[derive(Debug)]
struct Lane {
    head: Place,
    #[expect(clippy::box_collection, reason = "most lanes hold one job: 8 bytes for nothing behind it, not 24")]
    behind: Option<Box<BTreeSet<Place>>>,
    out: Option<Number>,
}

/// All lanes, by the hash of their names; one without a job is gone.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<u64, Lane>);

impl Lanes {
    /// Adds a job; answers the head it displaced, unless that one is out.
    pub(super) fn enter(&mut self, lane: u64, place: Place) -> Option<Number> {
        let Some(known) = self.0.get_mut(&lane) else {
            self.0.insert(lane, Lane { head: place, behind: None, out: None });
            return None;
        };
        let displaced = known.head;
        if place > displaced {
            known.behind.get_or_insert_default().insert(place);
            return None;
        }
        known.head = place;
        known.behind.get_or_insert_default().insert(displaced);
        (known.out != Some(displaced.1)).then_some(displaced.1)
    }

    /// Takes a job away for good.
    pub(super) fn leave(&mut self, lane: u64, place: Place) {
        let Some(known) = self.0.get_mut(&lane) else { return };
        if place == known.head {
            match known.behind.as_mut().and_then(|behind| behind.pop_first()) {
                Some(next) => known.head = next,
                None => {
                    self.0.remove(&lane);
                    return;
                }
            }
        } else if let Some(behind) = &mut known.behind {
            behind.remove(&place);
        }
        known.behind.take_if(|behind| behind.is_empty());
    }

    /// A job of the lane is handed out: nothing else of it goes.
    pub(super) fn hand_out(&mut self, lane: u64, number: Number) {
        if let Some(known) = self.0.get_mut(&lane) {
            known.out = Some(number);
        }
    }

    /// The job that was handed out is back.
    pub(super) fn put_back(&mut self, lane: u64, number: Number) {
        if let Some(known) = self.0.get_mut(&lane) {
            known.out.take_if(|out| *out == number);
        }
    }

    /// The lane's first job, unless one of the lane is out.
    pub(super) fn may_go(&self, lane: u64) -> Option<Number> {
        self.0.get(&lane).filter(|known| known.out.is_none()).map(|known| known.head.1)
    }
}
