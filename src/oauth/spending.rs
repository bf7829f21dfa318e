//! What this leader remembers of the refresh tokens it is spending: a stage each, in memory.
//!
//! Invariant: a sending is written down as unanswered before it is made, so whatever cuts it off leaves the truth behind. The
//! stored mark is what a successor has; memory of an earlier term counts as much as a predecessor's: not at all.

use std::collections::HashMap;

use crate::domain::id::{DocId, Epoch};
use crate::domain::refresh::{Look, Stage};
use crate::domain::time::Mono;

/// The stages, by installation.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<DocId, Entry>,
    /// The term whose predecessors' marks are in here.
    pub(super) taken_up: Option<Epoch>,
}

#[derive(Debug)]
struct Entry {
    hash: String,
    epoch: Epoch,
    stage: Stage,
}

/// One refresh token under the right of one term.
#[derive(Debug, Clone)]
pub(super) struct Spending {
    pub(super) id: DocId,
    /// Of the refresh token.
    pub(super) hash: String,
    pub(super) epoch: Epoch,
}

impl Book {
    /// How far the spending has come; `marked` is what the store says.
    pub(super) fn stage(&self, spending: &Spending, marked: bool) -> Stage {
        match self.entries.get(&spending.id) {
            Some(entry) if entry.hash == spending.hash && entry.epoch == spending.epoch => entry.stage,
            _ if marked => Stage::Inherited,
            _ => Stage::UNSENT,
        }
    }

    pub(super) fn set(&mut self, spending: &Spending, stage: Stage) {
        let Spending { id, hash, epoch } = spending.clone();
        self.entries.insert(id, Entry { hash, epoch, stage });
    }

    pub(super) fn forget(&mut self, id: &DocId) {
        self.entries.remove(id);
    }

    /// Whether the token with this hash is being spent. What is remembered of another token of `id` is over.
    pub(super) fn knows(&mut self, id: &DocId, hash: Option<&str>) -> bool {
        self.entries.retain(|known, entry| known != id || Some(entry.hash.as_str()) == hash);
        self.entries.contains_key(id)
    }

    /// A new term: what predecessors marked is all there is to know.
    pub(super) fn take_up(&mut self, epoch: Epoch, marked: impl IntoIterator<Item = Spending>) {
        self.entries.retain(|_, entry| entry.epoch == epoch);
        for spending in marked {
            let Spending { id, hash, epoch } = spending;
            self.entries.entry(id).or_insert(Entry { hash, epoch, stage: Stage::Inherited });
        }
        self.taken_up = Some(epoch);
    }

    /// What may be sent at `now`: where there is anything of a predecessor's, that alone.
    pub(super) fn due(&self, now: Mono) -> Vec<DocId> {
        let of = |wanted: fn(Stage) -> bool| -> Vec<DocId> {
            let due = |entry: &Entry| wanted(entry.stage) && matches!(entry.stage.look(now), Look::Send(_));
            self.entries.iter().filter(|(_, entry)| due(entry)).map(|(id, _)| id.clone()).collect()
        };
        let inherited = of(|stage| stage == Stage::Inherited);
        if inherited.is_empty() { of(|_| true) } else { inherited }
    }

    /// When the next one may be sent; `None`: none waits.
    pub(super) fn next(&self, now: Mono) -> Option<Mono> {
        let waits = |entry: &Entry| match entry.stage.look(now) {
            Look::Wait(until) => Some(until),
            Look::Send(_) => None,
        };
        self.entries.values().filter_map(waits).min()
    }
}
