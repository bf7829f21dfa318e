//! The sender's ledger: every message, every time it was posted, and what each post was answered.
//!
//! Owns the sender's side of the account. Invariant: a post is entered before it leaves, its answer when it is read, so the
//! times bracket what happened in between. Clones share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cast_ghl_provider::domain::time::Mono;

/// What a post was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200, stored.
    Accepted,
    /// 200, stored before.
    Duplicate,
    /// 429: to be sent again.
    Later,
    /// Refused, reset, nothing in time.
    Nothing,
    /// What a bridge must never answer to an honest webhook.
    Wrong(u16),
}

impl Answer {
    /// Whether the bridge answers for the message from now on.
    pub(super) fn acknowledges(self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate)
    }
}

/// A message posted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) sent: Mono,
    /// `None` while it is under way.
    pub(super) answered: Option<(Mono, Answer)>,
}

/// A message and its posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) message_id: String,
    pub(super) lane: u32,
    pub(super) words: u32,
    pub(super) posts: Vec<Post>,
}

/// The ledger: message `n` of the plan is entry `n`.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    acknowledged: usize,
}

impl Ledger {
    /// Opens the entry of the next message.
    pub(super) fn open(&self, entry: Entry) {
        self.book().entries.push(entry);
    }

    /// A post leaves; its place among the message's posts.
    pub(super) fn posting(&self, message: u32, sent: Mono) -> usize {
        let mut book = self.book();
        let Some(entry) = book.entry(message) else { return 0 };
        entry.posts.push(Post { sent, answered: None });
        entry.posts.len() - 1
    }

    /// A post was answered.
    pub(super) fn answered(&self, message: u32, post: usize, at: Mono, answer: Answer) {
        let mut book = self.book();
        let Some(entry) = book.entry(message) else { return };
        let first = !entry.posts.iter().any(|p| p.answered.is_some_and(|(_, a)| a.acknowledges()));
        if let Some(post) = entry.posts.get_mut(post) {
            post.answered = Some((at, answer));
        }
        book.acknowledged += usize::from(first && answer.acknowledges());
    }

    /// How many messages there are, and how many of them were answered 200.
    pub(super) fn counts(&self) -> (usize, usize) {
        let book = self.book();
        (book.entries.len(), book.acknowledged)
    }

    /// All entries as they are now.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.book().entries.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn entry(&mut self, message: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(message).ok()?)
    }
}
