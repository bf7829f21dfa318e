//! The state of the model: two documents, two replicas, what is under way, and what is true whoever knows it.
//!
//! Owns the store: a write lands on exactly the version its writer read, and a version nobody acknowledged may be taken
//! back. Invariant: revisions are kept only as far as they can matter (is the version a writer saw the one a save would find
//! now?), so equal worlds are equal whatever led there. Must not decide what follows what: that is `book`'s and `step`'s.

use std::ops::{Index, IndexMut};

use super::book::{Doc, Hour, Learnt, Reply};

/// Two messages of one lane, the earlier first; the later is sent to the bridge when the earlier was answered 200.
pub const MESSAGES: usize = 2;
/// Identical processes on one store.
pub const REPLICAS: usize = 2;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub slots: [Slot; MESSAGES],
    /// Writes their writers gave up on, which may still land.
    pub late: Vec<Late>,
    pub replicas: [Replica; REPLICAS],
    /// The term in the leader document.
    pub epoch: u8,
    /// Requests of dead processes, on their way to Cast.
    pub wires: Vec<Wire>,
    pub truth: Truth,
    pub left: Left,
}

/// One document in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// What a majority holds.
    pub safe: Option<Doc>,
    /// What the primary holds beyond that.
    pub fast: Option<Doc>,
    /// What a majority held a write ago; kept only while a read may lag.
    pub before: Option<Doc>,
    /// Its webhook is waiting for the answer.
    pub asked: bool,
    /// Its webhook was answered 200.
    pub answered: bool,
}

/// Where a version once read or written stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A save would find it.
    Current,
    /// Another version lies on it that may be taken back.
    Beneath,
    Gone,
}

/// A document as read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snap {
    pub doc: Doc,
    pub seen: Seen,
}

/// A write without a writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Late {
    pub message: usize,
    pub seen: Seen,
    pub next: Doc,
    pub what: What,
}

/// A process; a crash leaves a new one, which knows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The last term this process won; 0 for none.
    pub term: u8,
    /// Its right to act holds.
    pub holds: bool,
    /// Its schedule has a job of the lane handed out.
    pub out: bool,
    pub jobs: Vec<Job>,
    pub tellings: Vec<Telling>,
}

/// A piece of work on one message, in the term it was begun in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Job {
    pub message: usize,
    pub epoch: u8,
    pub phase: Phase,
}

/// How far a job has come; what it holds is all it knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Read, and the right held: claims next.
    Read { from: Snap, hour: Hour },
    /// Claimed, and the right held: records an attempt next, or holds or rejects.
    Claimed { from: Snap },
    /// Claimed, and the right had lapsed.
    GiveBack { from: Snap },
    /// The acknowledgement of a claim on this document was lost: given up, so that it does not count as a crash.
    ClaimLost { before: Doc },
    /// A call nobody answers for was looked at, and the right held.
    Judge { from: Snap, attempt: u8 },
    /// Written, not acknowledged.
    Saving(Saving),
    /// The acknowledgement of `sending` was lost; no call is made.
    Withdraw { before: Seen, attempt: u8 },
    /// The right held after `sending`: the request leaves, or has left.
    Calling { attempt: u8, part: usize, frozen: bool },
    /// (A broken rule.) Waits before `NotSent` is written back.
    Waiting { attempt: u8 },
    /// Something came back: written until it lands.
    Outcome { attempt: u8, learnt: Learnt },
}

/// A save under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Saving {
    pub what: What,
    /// What it was decided on.
    pub before: Doc,
    pub next: Doc,
    /// Where the version written stands.
    pub mine: Seen,
    /// Where the version it was written on stands.
    pub base: Seen,
    pub fate: Fate,
}

/// What a save is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Claim,
    GiveBack,
    GiveBackLost,
    Hold,
    Reject,
    Begin { attempt: u8 },
    Judge,
    Record { attempt: u8, learnt: Learnt },
    Withdraw { attempt: u8, before: Seen },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No majority has it yet.
    Open,
    Kept,
    TakenBack,
}

/// A report on its way to GHL, until what came back is noted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Telling {
    pub message: usize,
    pub revision: u32,
    pub verdict: u16,
    pub reply: Option<Reply>,
}

/// A request without a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wire {
    pub message: usize,
    pub attempt: u8,
    pub part: usize,
}

/// What happened, whoever knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    /// How often Cast took each part.
    pub taken: [[u8; 2]; MESSAGES],
    /// Attempts ever made up.
    pub begun: [u8; MESSAGES],
    /// Attempts, by bit, whose process knew that nothing left and went on to something else.
    pub unsent: [u16; MESSAGES],
    /// Parts, by bit, whose `Accepted` was acknowledged by the store.
    pub sure: [u8; MESSAGES],
    /// Messages whose state `accepted` was acknowledged.
    pub done: [bool; MESSAGES],
    /// The earlier message was first taken after the later one, and not by the documented late call.
    pub reordered: bool,
    /// A leader frozen after its last check made its call after the later message was taken.
    pub late_call: bool,
    /// A process that lived to write what it had learnt went on without it.
    pub forgotten: bool,
    /// The last verdict GHL heard.
    pub heard: [Option<u16>; MESSAGES],
    /// An older verdict was told, and who told it died before it could note that.
    pub garbled: [bool; MESSAGES],
    /// How often a claim may have come to nothing; counted where a message can die of it.
    pub vain: u32,
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A process dies and is started anew.
    Crash,
    /// A process is cut off, slow or frozen until its right has lapsed.
    Lapse,
    /// The same, between its last check and its call.
    Freeze,
    /// A process is stopped before it could write what it learnt.
    Stop,
    /// A write or its acknowledgement is lost.
    Lose,
    /// Nobody can say whether Cast took it.
    Silence,
    /// Cast provably did not take it.
    NotSent,
    /// Cast refuses it.
    Refusal,
    /// The location is not installed yet.
    Hold,
    /// The text cannot be sent.
    Unsendable,
    /// The message grew too old.
    TooOld,
    /// GHL answers with an error, whether it heard or not.
    Trouble,
    /// The primary is lost with what no majority held.
    Failover,
    /// A read shows what a majority held a write ago, as a new primary's may.
    Lag,
}

/// How many kinds of faults there are.
const KINDS: usize = Fault::Lag as usize + 1;

/// How often each fault may still happen, and all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Left {
    each: [u8; KINDS],
    all: u8,
}

impl Left {
    /// At most `all` faults, of each kind at most as stated.
    pub fn new(all: u8, each: &[(Fault, u8)]) -> Self {
        let mut left = Self { each: [0; KINDS], all };
        for (fault, times) in each {
            left.each[*fault as usize] = *times;
        }
        left
    }

    pub fn all(&self) -> u8 {
        self.all
    }

    pub fn any(&self, fault: Fault) -> bool {
        self.all > 0 && self.each[fault as usize] > 0
    }

    /// Takes one; with none left in all, what is left of each does not matter.
    pub fn spend(&mut self, fault: Fault) {
        self.all -= 1;
        self.each[fault as usize] -= 1;
        if self.all == 0 {
            self.each = [0; KINDS];
        }
    }
}

impl Index<usize> for World {
    type Output = Slot;

    fn index(&self, message: usize) -> &Slot {
        &self.slots[message]
    }
}

impl IndexMut<usize> for World {
    fn index_mut(&mut self, message: usize) -> &mut Slot {
        &mut self.slots[message]
    }
}

impl Slot {
    /// What a write would find.
    pub fn current(&self) -> Option<&Doc> {
        self.fast.as_ref().or(self.safe.as_ref())
    }

    /// What a majority holds, as a writer may take it.
    pub fn read_safe(&self) -> Option<Snap> {
        let seen = if self.fast.is_some() { Seen::Beneath } else { Seen::Current };
        self.safe.clone().map(|doc| Snap { doc, seen })
    }

    /// What the primary holds.
    pub fn read_local(&self) -> Option<Snap> {
        self.current().cloned().map(|doc| Snap { doc, seen: Seen::Current })
    }
}

impl World {
    /// Puts a version in the place of the current one: at once for good, or only on top.
    pub fn put(&mut self, message: usize, next: Doc, kept: bool) {
        let on_top = self[message].fast.is_some();
        let under = if kept || on_top { Seen::Gone } else { Seen::Beneath };
        self.each_seen(message, |seen| {
            if *seen == Seen::Current {
                *seen = under;
            }
        });
        let slot = &mut self[message];
        if kept {
            slot.safe = Some(next);
        } else {
            slot.fast = Some(next);
        }
    }

    /// Whether the primary holds anything a majority does not.
    pub fn ahead(&self) -> bool {
        self.slots.iter().any(|slot| slot.fast.is_some())
    }

    /// A majority has everything the primary has: the log is copied in order.
    pub fn commit(&mut self) {
        for message in 0..MESSAGES {
            let lag = self.left.any(Fault::Lag);
            let slot = &mut self[message];
            let Some(doc) = slot.fast.take() else { continue };
            slot.before = slot.safe.replace(doc).filter(|_| lag);
            self.each_seen(message, |seen| {
                if *seen == Seen::Beneath {
                    *seen = Seen::Gone;
                }
            });
        }
        self.each_saving(|saving| {
            if saving.fate == Fate::Open {
                saving.fate = Fate::Kept;
            }
        });
    }

    /// Another primary, without what no majority had.
    pub fn roll_back(&mut self) {
        for message in 0..MESSAGES {
            if self[message].fast.take().is_none() {
                continue;
            }
            self.each_seen(message, |seen| {
                *seen = match seen {
                    Seen::Current | Seen::Gone => Seen::Gone,
                    Seen::Beneath => Seen::Current,
                };
            });
        }
        self.each_saving(|saving| {
            if saving.fate == Fate::Open {
                saving.fate = Fate::TakenBack;
            }
        });
    }

    /// The message that is first in the lane, by what `read` shows of each.
    pub fn head(&self, read: impl Fn(&Slot) -> Option<Snap>) -> Option<(usize, Snap)> {
        let open = |message: usize| read(&self[message]).filter(|snap| !snap.doc.settled());
        (0..MESSAGES).find_map(|message| open(message).map(|snap| (message, snap)))
    }

    fn each_seen(&mut self, message: usize, mut change: impl FnMut(&mut Seen)) {
        for job in self.replicas.iter_mut().flat_map(|r| &mut r.jobs).filter(|job| job.message == message) {
            job.phase.each_seen(&mut change);
        }
        for late in self.late.iter_mut().filter(|late| late.message == message) {
            change(&mut late.seen);
        }
    }

    fn each_saving(&mut self, mut change: impl FnMut(&mut Saving)) {
        for job in self.replicas.iter_mut().flat_map(|r| &mut r.jobs) {
            if let Phase::Saving(saving) = &mut job.phase {
                change(saving);
            }
        }
    }
}

impl Replica {
    /// The right given for `epoch` holds now.
    pub fn holds(&self, epoch: u8) -> bool {
        self.holds && self.term == epoch
    }

    /// Nothing of the lane is handed out, and no poll is judging.
    pub fn free(&self) -> bool {
        !self.out && !self.jobs.iter().any(|job| job.phase.judges())
    }

    /// The table of calls in flight.
    pub fn answers_for(&self, message: usize, attempt: u8) -> bool {
        self.jobs.iter().any(|job| job.message == message && job.phase.attempt() == Some(attempt))
    }
}

impl Phase {
    /// The try this job answers for.
    pub fn attempt(&self) -> Option<u8> {
        match self {
            Self::Read { .. }
            | Self::Claimed { .. }
            | Self::GiveBack { .. }
            | Self::ClaimLost { .. }
            | Self::Judge { .. } => None,
            Self::Saving(saving) => match saving.what {
                What::Begin { attempt } | What::Record { attempt, .. } | What::Withdraw { attempt, .. } => {
                    Some(attempt)
                }
                What::Claim | What::GiveBack | What::GiveBackLost => None,
                What::Hold | What::Reject | What::Judge => None,
            },
            Self::Withdraw { attempt, .. }
            | Self::Calling { attempt, .. }
            | Self::Waiting { attempt }
            | Self::Outcome { attempt, .. } => Some(*attempt),
        }
    }

    /// Part of a poll, not of a job handed out.
    pub fn judges(&self) -> bool {
        match self {
            Self::Judge { .. } => true,
            Self::Saving(saving) => saving.what == What::Judge,
            _ => false,
        }
    }

    fn each_seen(&mut self, mut change: impl FnMut(&mut Seen)) {
        match self {
            Self::Read { from, .. } | Self::Claimed { from } | Self::GiveBack { from } | Self::Judge { from, .. } => {
                change(&mut from.seen);
            }
            Self::Saving(saving) => {
                change(&mut saving.mine);
                change(&mut saving.base);
                if let What::Withdraw { before, .. } = &mut saving.what {
                    change(before);
                }
            }
            Self::Withdraw { before, .. } => change(before),
            Self::ClaimLost { .. } | Self::Calling { .. } | Self::Waiting { .. } | Self::Outcome { .. } => {}
        }
    }
}
