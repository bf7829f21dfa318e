//! Turns: whose messages are served next, and which locations hold some back.
//!
//! Invariant: a location stands in the round exactly while a job of it is ready, once; it goes to the end of the round when
//! it was served. Knows locations, numbers and places alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::{Number, Place};

#[derive(Debug, Default)]
struct Location {
    jobs: usize,
    ready: BTreeSet<Place>,
    turn: Option<u64>,
    /// Heads of lanes that wait for the location to be installed, and were not released yet.
    held: BTreeSet<Number>,
}

/// All locations with open jobs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    locations: HashMap<Arc<str>, Location>,
    round: BTreeMap<u64, Arc<str>>,
    given: u64,
    holding: BTreeSet<Arc<str>>,
    /// The last of the holding ones that was asked about.
    asked: Option<Arc<str>>,
}

impl Turns {
    /// One more job of this location; answers its name as all its jobs share it.
    pub(super) fn enter(&mut self, name: &str) -> Arc<str> {
        let shared = self.locations.get_key_value(name).map_or_else(|| name.into(), |(shared, _)| Arc::clone(shared));
        self.locations.entry(Arc::clone(&shared)).or_default().jobs += 1;
        shared
    }

    /// One job less, which waits nowhere any more.
    pub(super) fn leave(&mut self, location: &Arc<str>) {
        if let Some(known) = self.locations.get_mut(location) {
            known.jobs -= 1;
            if known.jobs == 0 {
                self.locations.remove(location);
            }
        }
    }

    /// A job may go when its location's turn comes.
    pub(super) fn ready(&mut self, location: &Arc<str>, place: Place) {
        let Some(known) = self.locations.get_mut(location) else { return };
        known.ready.insert(place);
        if known.turn.is_none() {
            self.to_the_end(location);
        }
    }

    /// A job may not go after all.
    pub(super) fn not_ready(&mut self, location: &Arc<str>, place: Place) {
        let Some(known) = self.locations.get_mut(location) else { return };
        known.ready.remove(&place);
        if known.ready.is_empty()
            && let Some(turn) = known.turn.take()
        {
            self.round.remove(&turn);
        }
    }

    /// The earliest ready job of the location whose turn it is.
    pub(super) fn next(&mut self) -> Option<Number> {
        let (_, location) = self.round.pop_first()?;
        let known = self.locations.get_mut(&location)?;
        known.turn = None;
        let (_, number) = known.ready.pop_first()?;
        if !known.ready.is_empty() {
            self.to_the_end(&location);
        }
        Some(number)
    }

    /// A ready job goes before its turn; its location has been served by that.
    pub(super) fn out_of_turn(&mut self, location: &Arc<str>, place: Place) {
        self.not_ready(location, place);
        let served = self.locations.get_mut(location).and_then(|known| known.turn.take());
        if let Some(turn) = served {
            self.round.remove(&turn);
            self.to_the_end(location);
        }
    }

    fn to_the_end(&mut self, location: &Arc<str>) {
        self.given += 1;
        self.round.insert(self.given, Arc::clone(location));
        if let Some(known) = self.locations.get_mut(location) {
            known.turn = Some(self.given);
        }
    }

    /// The head of a lane waits for its location.
    pub(super) fn hold(&mut self, location: &Arc<str>, number: Number) {
        if let Some(known) = self.locations.get_mut(location)
            && known.held.insert(number)
        {
            self.holding.insert(Arc::clone(location));
        }
    }

    /// It does not any more.
    pub(super) fn unhold(&mut self, location: &Arc<str>, number: Number) {
        if let Some(known) = self.locations.get_mut(location)
            && known.held.remove(&number)
            && known.held.is_empty()
        {
            self.holding.remove(location);
        }
    }

    /// Everything held for a location, which holds nothing any more.
    pub(super) fn release(&mut self, location: &str) -> BTreeSet<Number> {
        self.holding.remove(location);
        self.locations.get_mut(location).map(|known| std::mem::take(&mut known.held)).unwrap_or_default()
    }

    /// At most `most` holding locations, after those of the last call; from the start again when all had their turn.
    pub(super) fn held_locations(&mut self, most: usize) -> Vec<String> {
        let after = self.asked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<Arc<str>> = self.holding.range((after, Bound::Unbounded)).take(most).cloned().collect();
        // Fewer than asked for: the round is over, and the next call begins anew.
        self.asked = some.last().filter(|_| some.len() == most).cloned();
        some.iter().map(ToString::to_string).collect()
    }
}
