//! Turns: whose messages are served next by which key, and which locations hold some back.
//!
//! Invariant: a location stands in the round of its key exactly while a job of it is ready, once; it goes to the end of the
//! round when it was served; before its key is known it stands in none. Knows locations, keys, numbers and places alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::{Number, Place};
use crate::pacing::KeyName;

#[derive(Debug, Default)]
struct Location {
    jobs: usize,
    /// The key that pays for its messages, once somebody said so.
    key: Option<KeyName>,
    ready: BTreeSet<Place>,
    turn: Option<u64>,
    /// Heads of lanes that wait for the location to be installed, and were not released yet.
    held: BTreeSet<Number>,
}

/// All locations with open jobs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    locations: HashMap<Arc<str>, Location>,
    /// By key, those with somebody in them.
    rounds: HashMap<KeyName, BTreeMap<u64, Arc<str>>>,
    given: u64,
    /// Locations whose key nobody said yet.
    strangers: BTreeSet<Arc<str>>,
    holding: BTreeSet<Arc<str>>,
    /// The last of the holding ones that was asked about.
    asked: Option<Arc<str>>,
}

impl Turns {
    /// One more job of this location; answers its name as all its jobs share it.
    pub(super) fn enter(&mut self, name: &str) -> Arc<str> {
        let shared = self.locations.get_key_value(name).map_or_else(|| name.into(), |(shared, _)| Arc::clone(shared));
        let location = self.locations.entry(Arc::clone(&shared)).or_default();
        location.jobs += 1;
        if location.key.is_none() {
            self.strangers.insert(Arc::clone(&shared));
        }
        shared
    }

    /// Locations whose key is not known.
    pub(super) fn strangers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.strangers.iter()
    }

    /// This key pays for a location's messages from now on.
    pub(super) fn assign(&mut self, location: &str, key: &KeyName) {
        let Some((name, _)) = self.locations.get_key_value(location) else { return };
        let name = Arc::clone(name);
        self.strangers.remove(&name);
        self.stand_back(&name);
        let Some(known) = self.locations.get_mut(&name) else { return };
        known.key = Some(key.clone());
        if !known.ready.is_empty() {
            self.line_up(&name);
        }
    }

    /// Whether this key pays for the location's messages.
    pub(super) fn pays(&self, key: &KeyName, location: &Arc<str>) -> bool {
        self.locations.get(location).is_some_and(|known| known.key.as_ref() == Some(key))
    }

    /// Keys with something to do.
    pub(super) fn keys(&self) -> Vec<KeyName> {
        self.rounds.keys().cloned().collect()
    }

    /// One job less, which waits nowhere any more.
    pub(super) fn leave(&mut self, location: &Arc<str>) {
        if let Some(known) = self.locations.get_mut(location) {
            known.jobs -= 1;
            if known.jobs == 0 {
                self.locations.remove(location);
                self.strangers.remove(location);
            }
        }
    }

    /// A job may go when its location's turn comes.
    pub(super) fn ready(&mut self, location: &Arc<str>, place: Place) {
        let Some(known) = self.locations.get_mut(location) else { return };
        known.ready.insert(place);
        if known.turn.is_none() {
            self.line_up(location);
        }
    }

    /// A job may not go after all.
    pub(super) fn not_ready(&mut self, location: &Arc<str>, place: Place) {
        let Some(known) = self.locations.get_mut(location) else { return };
        known.ready.remove(&place);
        if known.ready.is_empty() {
            self.stand_back(location);
        }
    }

    /// The earliest ready job of the location whose turn it is with this key.
    pub(super) fn next(&mut self, key: &KeyName) -> Option<Number> {
        let round = self.rounds.get_mut(key)?;
        let (_, location) = round.pop_first()?;
        if round.is_empty() {
            self.rounds.remove(key);
        }
        let known = self.locations.get_mut(&location)?;
        known.turn = None;
        let (_, number) = known.ready.pop_first()?;
        if !known.ready.is_empty() {
            self.line_up(&location);
        }
        Some(number)
    }

    /// A ready job goes before its turn; its location has been served by that.
    pub(super) fn out_of_turn(&mut self, location: &Arc<str>, place: Place) {
        self.not_ready(location, place);
        if self.stand_back(location) {
            self.line_up(location);
        }
    }

    fn line_up(&mut self, location: &Arc<str>) {
        let Some(known) = self.locations.get_mut(location) else { return };
        let Some(key) = &known.key else { return };
        self.given += 1;
        known.turn = Some(self.given);
        self.rounds.entry(key.clone()).or_default().insert(self.given, Arc::clone(location));
    }

    /// Takes a location out of its round; answers whether it stood in one.
    fn stand_back(&mut self, location: &Arc<str>) -> bool {
        let Some(known) = self.locations.get_mut(location) else { return false };
        let (Some(turn), Some(key)) = (known.turn.take(), &known.key) else { return false };
        if let Some(round) = self.rounds.get_mut(key) {
            round.remove(&turn);
            if round.is_empty() {
                self.rounds.remove(key);
            }
        }
        true
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
