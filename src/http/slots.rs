//! How many requests may hold a body at once; what comes beyond is answered before its body is read.
//!
//! Invariant: bodies under way take at most 512 × 64 KiB + 64 × 1 MiB + 64 × 256 KiB = 112 MiB, whoever sends them. Large
//! bodies and the gateway's have slots of their own, so neither keeps an ordinary webhook out. A slot moves into the
//! request's future and is free when that ends.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Webhooks at once: at 20 ms for a durable write, 25,000 a second.
const WEBHOOKS: usize = 512;
/// Of those, the ones that may be larger than [`ORDINARY`].
const LARGE: usize = 64;
/// Replies at once, calls of the operator's API and installers' keys among them.
const REPLIES: usize = 64;
/// Above every webhook but a hostile one, bytes: an SMS and its attachments' links take 1 to 4 KiB.
const ORDINARY: u64 = 64 * 1024;

/// The slots of one process.
#[derive(Debug)]
pub struct Slots {
    webhooks: Pool,
    large: Pool,
    replies: Pool,
}

/// Room for one body; free when dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(#[expect(dead_code, reason = "held, never read")] [Option<SemaphorePermit<'a>>; 2]);

impl Default for Slots {
    fn default() -> Self {
        Self {
            webhooks: Pool::of("webhooks", WEBHOOKS),
            large: Pool::of("large webhooks", LARGE),
            replies: Pool::of("replies", REPLIES),
        }
    }
}

impl Slots {
    /// Room for a webhook whose head declares `length` bytes; one that declares none may become large.
    pub(super) fn webhook(&self, length: Option<u64>) -> Option<Slot<'_>> {
        let ordinary = length.is_some_and(|length| length <= ORDINARY);
        let large = if ordinary { None } else { Some(self.large.take()?) };
        Some(Slot([Some(self.webhooks.take()?), large]))
    }

    /// Room for a reply.
    pub(super) fn reply(&self) -> Option<Slot<'_>> {
        Some(Slot([Some(self.replies.take()?), None]))
    }
}

#[derive(Debug)]
struct Pool {
    what: &'static str,
    size: usize,
    free: Semaphore,
    /// Somebody was turned away, and it was logged.
    full: AtomicBool,
}

impl Pool {
    fn of(what: &'static str, size: usize) -> Self {
        Self { what, size, free: Semaphore::new(size), full: AtomicBool::new(false) }
    }

    fn take(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.free.try_acquire().ok();
        let news = match &permit {
            None => !self.full.swap(true, Ordering::Relaxed),
            Some(_) => {
                let relieved = self.free.available_permits() * 2 > self.size;
                relieved && self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::Relaxed)
            }
        };
        match (news, permit.is_some()) {
            (true, false) => tracing::warn!(what = self.what, limit = self.size, "too many at once: turned away"),
            (true, true) => tracing::info!(what = self.what, "no longer too many at once"),
            (false, _) => {}
        }
        permit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_bound_and_a_dropped_slot_is_free_again() {
        let slots = Slots::default();
        let mut webhooks: Vec<Slot<'_>> = (0..WEBHOOKS).filter_map(|_| slots.webhook(Some(ORDINARY))).collect();
        assert_eq!(webhooks.len(), WEBHOOKS);
        assert!(slots.webhook(Some(1)).is_none());
        let replies: Vec<Slot<'_>> = (0..=REPLIES).filter_map(|_| slots.reply()).collect();
        assert_eq!(replies.len(), REPLIES, "webhooks do not take the gateway's slots");
        webhooks.pop();
        assert!(slots.webhook(Some(1)).is_some());
    }

    #[test]
    fn large_bodies_and_those_of_unknown_length_leave_room_for_ordinary_ones() {
        let slots = Slots::default();
        let large: Vec<Slot<'_>> =
            [None, Some(ORDINARY + 1)].iter().cycle().take(LARGE + 2).filter_map(|l| slots.webhook(*l)).collect();
        assert_eq!(large.len(), LARGE);
        assert!(slots.webhook(Some(ORDINARY)).is_some());
    }
}
