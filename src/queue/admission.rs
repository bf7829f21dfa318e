//! Who is still let in: the bounds on unsettled messages and on the disk (bridge §2, §3.1), checked without asking anybody.
//!
//! Invariant: what this process let in since the last count is on top of that count, so its own messages never overshoot
//! `BACKLOG_LIMIT`; what other replicas took since then may, until the next one. Readings come from `census`. No I/O here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much may wait, and how much of the disk stays free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most unsettled messages.
    pub backlog: u64,
    /// Bytes of the embedded store's disk that new documents leave free, for the outcomes and reports of what is stored.
    pub disk_reserve: u64,
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("BACKLOG_LIMIT is reached")]
    Backlog,
    #[error("the disk is down to DISK_RESERVE")]
    Disk,
}

/// The bounds and what is known of both; clones share it.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    bounds: Bounds,
    /// Messages this process let in and did not give back.
    entered: AtomicU64,
    /// Those of them that became documents.
    kept: AtomicU64,
    /// What `entered` may rise to.
    ceiling: AtomicU64,
    turned_away: AtomicBool,
    backlog_full: AtomicBool,
    disk_low: AtomicBool,
}

/// A message let in. Dropped it is given back; kept it counts until a count has seen it.
#[derive(Debug)]
#[must_use = "dropped, the place is given back"]
pub(super) struct Place<'a>(Option<&'a Gate>);

impl Admission {
    /// Everything may come in until the first reading, up to the limit itself.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Gate {
            bounds,
            entered: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            ceiling: AtomicU64::new(bounds.backlog),
            turned_away: AtomicBool::new(false),
            backlog_full: AtomicBool::new(false),
            disk_low: AtomicBool::new(false),
        }))
    }

    /// Lets a message in.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn message(&self) -> Result<Place<'_>, Full> {
        self.document()?;
        let gate = &*self.0;
        let ceiling = gate.ceiling.load(Ordering::Acquire);
        let below = |entered| (entered < ceiling).then_some(entered + 1);
        if gate.entered.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).is_err() {
            gate.turned_away.store(true, Ordering::Relaxed);
            return Err(Full::Backlog);
        }
        Ok(Place(Some(gate)))
    }

    /// Lets any other document in: it waits for nobody, so the disk alone may be full for it.
    ///
    /// # Errors
    /// [`Full::Disk`]
    pub(super) fn document(&self) -> Result<(), Full> {
        if self.0.disk_low.load(Ordering::Relaxed) { Err(Full::Disk) } else { Ok(()) }
    }

    /// What a count that begins now is sure to see.
    pub(super) fn kept(&self) -> u64 {
        self.0.kept.load(Ordering::Acquire)
    }

    /// A count came to `open`; it saw at least the first `kept` of this process. Answers whether the backlog is full and,
    /// if that is news, says so in the second.
    pub(super) fn counted(&self, kept: u64, open: u64) -> Reading {
        let gate = &*self.0;
        let limit = gate.bounds.backlog;
        gate.ceiling.store(ceiling(limit, open, kept), Ordering::Release);
        let turned_away = gate.turned_away.swap(false, Ordering::Relaxed);
        let was = gate.backlog_full.load(Ordering::Relaxed);
        let is = backlog_full(was, limit, open, turned_away);
        gate.backlog_full.store(is, Ordering::Relaxed);
        Reading { holds: is, news: is != was }
    }

    /// The disk has `free` bytes left.
    pub(super) fn measured(&self, free: u64) -> Reading {
        let was = self.0.disk_low.load(Ordering::Relaxed);
        let is = disk_low(was, self.0.bounds.disk_reserve, free);
        self.0.disk_low.store(is, Ordering::Relaxed);
        Reading { holds: is, news: is != was }
    }
}

impl Place<'_> {
    /// The message became a document.
    pub(super) fn keep(mut self) {
        if let Some(gate) = self.0.take() {
            gate.kept.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.entered.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Whether a bound is reached, and whether that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub holds: bool,
    pub news: bool,
}

/// How far this process's own entries may rise: the room a count left, on top of those the count is sure to hold.
fn ceiling(limit: u64, open: u64, kept: u64) -> u64 {
    kept.saturating_add(limit.saturating_sub(open))
}

/// Whether the backlog is *called* full: from the first refusal until a twentieth of the limit is free and nobody was turned
/// away any more. Entry itself has no such slack: every settled message makes room for one, or a long backlog would turn
/// away for an hour what GHL repeats for an hour at most.
fn backlog_full(was: bool, limit: u64, open: u64, turned_away: bool) -> bool {
    let relieved = open < limit && open <= limit - limit / 20;
    turned_away || open >= limit || (was && !relieved)
}

/// Whether new documents are refused for want of disk: from below the reserve until an eighth of it is free beyond it, since
/// a log that is checkpointed moves the figure by megabytes.
fn disk_low(was: bool, reserve: u64, free: u64) -> bool {
    free < if was { reserve.saturating_add(reserve / 8) } else { reserve }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission(backlog: u64) -> Admission {
        Admission::new(Bounds { backlog, disk_reserve: 800 })
    }

    #[test]
    fn a_place_given_back_is_free_again_and_one_kept_is_not() {
        let admission = admission(1);
        drop(admission.message().unwrap());
        admission.message().unwrap().keep();
        assert_eq!(admission.message().unwrap_err(), Full::Backlog);
        assert_eq!(
            admission.counted(admission.kept(), 0),
            Reading { holds: true, news: true },
            "somebody was turned away"
        );
        assert!(admission.message().is_ok());
    }

    #[test]
    fn a_message_that_lands_during_a_count_is_counted_once_too_often_and_never_too_seldom() {
        let admission = admission(3);
        let kept = admission.kept();
        admission.message().unwrap().keep();
        // The count may have seen it, or not: room for two is left if it has, and if it has not.
        admission.counted(kept, 1);
        admission.message().unwrap().keep();
        assert!(admission.message().is_err());
        admission.counted(admission.kept(), 2);
        admission.message().unwrap().keep();
        assert!(admission.message().is_err());
    }

    #[test]
    fn a_full_backlog_is_announced_at_its_edges_alone() {
        let admission = admission(100);
        let news: Vec<(u64, bool, bool)> = [99, 100, 100, 99, 96, 95, 99, 100]
            .into_iter()
            .map(|open| {
                let Reading { holds, news } = admission.counted(0, open);
                (open, holds, news)
            })
            .collect();
        let edges: Vec<(u64, bool)> = news.into_iter().filter(|(.., news)| *news).map(|(o, h, _)| (o, h)).collect();
        assert_eq!(edges, [(100, true), (95, false), (100, true)]);
    }

    #[test]
    fn a_low_disk_refuses_every_document_until_it_has_some_more_than_the_reserve() {
        let admission = admission(10);
        for (free, low) in [(800, false), (799, true), (800, true), (899, true), (900, false), (801, false)] {
            assert_eq!(admission.measured(free).holds, low, "{free}");
            assert_eq!(admission.document().is_err(), low);
            assert_eq!(admission.message().is_err(), low);
        }
    }

    #[derive(Debug, Clone)]
    enum Event {
        Enter,
        Land(usize),
        GiveBack(usize),
        Settle,
        BeginCount,
        /// The count saw everything that landed until now.
        EndCount,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Enter),
            3 => any::<usize>().prop_map(Event::Land),
            1 => any::<usize>().prop_map(Event::GiveBack),
            1 => Just(Event::Settle),
            1 => Just(Event::BeginCount),
            1 => Just(Event::EndCount),
        ]
    }

    proptest! {
        #[test]
        fn alone_a_process_never_holds_more_open_messages_than_the_limit(
            limit in 1u64..6,
            events in prop::collection::vec(event(), 0..80),
        ) {
            let admission = admission(limit);
            let (mut inside, mut open, mut count) = (Vec::new(), 0u64, None);
            for event in events {
                match event {
                    Event::Enter => inside.extend(admission.message()),
                    Event::Land(n) if !inside.is_empty() => {
                        // Durable first, then known to be kept.
                        open += 1;
                        inside.remove(n % inside.len()).keep();
                    }
                    Event::GiveBack(n) if !inside.is_empty() => drop(inside.remove(n % inside.len())),
                    Event::Settle => open = open.saturating_sub(1),
                    Event::BeginCount => count = Some(admission.kept()),
                    Event::EndCount => {
                        if let Some(kept) = count.take() {
                            admission.counted(kept, open);
                        }
                    }
                    Event::Land(_) | Event::GiveBack(_) => {}
                }
                prop_assert!(open + inside.len() as u64 <= limit, "{open} open, {} inside, limit {limit}", inside.len());
            }
        }
    }
}
