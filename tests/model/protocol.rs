//! The model: from which state which steps are possible, and what must hold.
//!
//! Time is not counted. What the real clocks guarantee is a condition on a step: nobody takes over while the other's right
//! holds (`election` proves that of the beats), and a `sending` is judged only when its maker's call can't be under way any
//! more, unless its maker froze between its last check and its call. Must not change a state: that is `step`'s.

use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::domain::transition::{MAX_CRASHES, Rules, UnknownSend};
use stateright::{Model, Property};

use super::book::{Book, Doc, Hour, Learnt, Reply};
use super::promise;
use super::world::{Fate, Fault, Job, Late, Left, MESSAGES, Phase, Replica, Seen, Slot, Snap, Truth, What, World};

/// What is explored.
pub struct Protocol {
    pub store: Store,
    pub broken: Option<Broken>,
    /// Parts of each message.
    pub parts: [u8; MESSAGES],
    /// The first message was claimed four times in vain before.
    pub worn: bool,
    /// Whether GHL is told; without it the report is only looked at.
    pub reports: bool,
    pub faults: Left,
    /// States of a message that must turn up somewhere.
    pub reaches: &'static [State],
    /// Whether the documented late call must turn up.
    pub late_call: bool,
    pub book: Book,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A write lands or does not; what landed stays.
    Linearisable,
    /// A write lands on the primary; what no majority holds may be taken back.
    RollsBack,
}

/// A rule of the protocol, left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The right is not looked at after the acknowledgement of `sending`.
    NoCheckAfterSending,
    /// An outcome is dropped when the term of its try is over.
    StaleOutcomeDropped,
    /// A `sending` of somebody else is judged at once.
    NoWaitBeforeJudging,
    /// `NotSent` is written back after the wait, not before.
    WaitBeforeNotSent,
    /// An attempt whose record was not acknowledged is left as it is.
    NoWithdrawal,
    /// `sending` is filtered on state and term, not on the version it was decided on.
    SendingOnAnyVersion,
    /// A stopping process leaves its calls in doubt while they are still under way.
    StopWithoutDrain,
    /// A claim whose acknowledgement was lost counts as a crash.
    LostClaimCounts,
    /// A job of an earlier term gives the lane free in the schedule of this one.
    OldJobFreesTheLane,
    /// A call that told an older verdict is noted once, not until that lands.
    ReportNotedOnce,
    /// That an attempt is not in the document is taken from a read that may lag behind.
    LagBelieved,
    /// The webhook is answered when the primary alone has the message.
    InsertByOne,
    /// The call is made when the primary alone has its `sending`.
    SendingByOne,
    /// An outcome is done with when the primary alone has it.
    OutcomeByOne,
    /// The leader decides on what the primary alone holds.
    LocalReads,
}

/// A step of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Post(usize),
    Answer200(usize),
    Commit,
    Failover,
    Land(usize),
    TakeOver(usize),
    Regain(usize),
    Lapse(usize),
    Freeze(usize, usize),
    Crash(usize),
    Stop(usize),
    Pick(usize, Hour),
    Judge(usize),
    Work(usize, usize, Work),
    Arrive { wire: usize, taken: bool },
    Tell(usize, usize),
    Heard { replica: usize, telling: usize, reply: Reply, heard: bool },
    Note { replica: usize, telling: usize, kept: bool },
}

/// The next step of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Save(Loss),
    Begin(Loss),
    Hold,
    Reject,
    GiveBackLost,
    Acknowledged,
    NotAcknowledged,
    Withdraw,
    WithdrawLagging,
    Cast { taken: bool, seen: Learnt },
    Waited,
    Record,
    RecordLagging,
}

/// What gets lost of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    Acknowledgement,
    /// It may still land, when nobody waits for it.
    Write,
}

impl Protocol {
    /// What the leader goes by.
    pub fn read(&self, slot: &Slot) -> Option<Snap> {
        if self.broken == Some(Broken::LocalReads) { slot.read_local() } else { slot.read_safe() }
    }

    /// Whether `UNKNOWN_SEND=park`.
    pub fn parks(&self) -> bool {
        self.book.rules().unknown_send == UnknownSend::Park
    }

    /// Nothing is under way and nothing will happen by itself any more.
    pub fn idle(&self, w: &World) -> bool {
        let mut next = Vec::new();
        w.replicas.iter().all(|r| r.jobs.is_empty() && r.tellings.is_empty()) && {
            self.progress(w, &mut next);
            next.is_empty()
        }
    }

    /// What happens without anything going wrong.
    fn progress(&self, w: &World, next: &mut Vec<Action>) {
        for message in 0..MESSAGES {
            let earlier_answered = message == 0 || w[message - 1].answered;
            if !w[message].answered && !w[message].asked && earlier_answered {
                next.push(Action::Post(message));
            }
            if w[message].asked && self.may_answer(&w[message]) {
                next.push(Action::Answer200(message));
            }
        }
        if w.ahead() {
            next.push(Action::Commit);
        }
        for (at, late) in w.late.iter().enumerate() {
            if self.may_land(w, late) {
                next.push(Action::Land(at));
            }
        }
        for wire in 0..w.wires.len() {
            next.extend([true, false].map(|taken| Action::Arrive { wire, taken }));
        }
        let led = w.replicas.iter().any(|r| r.holds);
        for (replica, r) in w.replicas.iter().enumerate() {
            if !led && r.term == w.epoch {
                next.push(Action::Regain(replica));
            } else if !led && !w.ahead() {
                // A majority that acknowledges it has all that was written before.
                next.push(Action::TakeOver(replica));
            }
            next.extend(r.jobs.iter().enumerate().filter_map(|(at, job)| {
                let work = Self::next_work(w, job)?;
                Some(Action::Work(replica, at, work))
            }));
            next.extend(r.tellings.iter().enumerate().filter_map(|(telling, it)| match it.reply {
                None => Some(Action::Heard { replica, telling, reply: Reply::Told, heard: true }),
                Some(_) if w.ahead() => None,
                Some(_) => Some(Action::Note { replica, telling, kept: true }),
            }));
            if r.holds {
                self.lead(w, replica, r, next);
            }
        }
    }

    /// How a job goes on when all is well.
    fn next_work(w: &World, job: &Job) -> Option<Work> {
        // A save that finds another version than it was decided on is told so by a majority: it waits as long as that does.
        let level = w[job.message].fast.is_none();
        match &job.phase {
            Phase::Read { from, .. } | Phase::GiveBack { from } | Phase::Judge { from, .. } => {
                (from.seen != Seen::Beneath).then_some(Work::Save(Loss::Nothing))
            }
            Phase::Claimed { from } => (from.seen != Seen::Beneath).then_some(Work::Begin(Loss::Nothing)),
            Phase::ClaimLost { .. } => level.then_some(Work::GiveBackLost),
            Phase::Saving(saving) => match saving.fate {
                Fate::Open => None,
                Fate::Kept => Some(Work::Acknowledged),
                Fate::TakenBack => Some(Work::NotAcknowledged),
            },
            Phase::Withdraw { .. } => level.then_some(Work::Withdraw),
            Phase::Calling { .. } => Some(Work::Cast { taken: true, seen: Learnt::Accepted }),
            Phase::Waiting { .. } => Some(Work::Waited),
            Phase::Outcome { .. } => level.then_some(Work::Record),
        }
    }

    /// What a leader begins.
    fn lead(&self, w: &World, replica: usize, r: &Replica, next: &mut Vec<Action>) {
        if r.free()
            && let Some((message, snap)) = w.head(|slot| self.read(slot))
        {
            match snap.doc.state() {
                State::Sending | State::InDoubt => {
                    if self.may_judge(w, r, message, &snap.doc) {
                        next.push(Action::Judge(replica));
                    }
                }
                _ => next.push(Action::Pick(replica, Hour::InTime)),
            }
        }
        for message in 0..MESSAGES {
            let told = r.tellings.iter().any(|t| t.message == message);
            let due = w[message].safe.as_ref().is_some_and(|doc| doc.due().is_some());
            if self.reports && due && !told {
                next.push(Action::Tell(replica, message));
            }
        }
    }

    /// What may go wrong.
    fn trouble(&self, w: &World, next: &mut Vec<Action>) {
        let may = |fault| w.left.any(fault);
        if may(Fault::Failover) && w.ahead() {
            next.push(Action::Failover);
        }
        let works = |r: &Replica| !r.jobs.is_empty() || !r.tellings.is_empty();
        for (replica, r) in w.replicas.iter().enumerate() {
            // A leader is as good as the next while nobody works.
            if may(Fault::Lapse) && r.holds && w.replicas.iter().any(works) {
                next.push(Action::Lapse(replica));
            }
            if may(Fault::Crash) && works(r) {
                next.push(Action::Crash(replica));
            }
            if may(Fault::Stop) && self.may_stop(r) {
                next.push(Action::Stop(replica));
            }
            if may(Fault::TooOld) && next.contains(&Action::Pick(replica, Hour::InTime)) {
                next.push(Action::Pick(replica, Hour::TooLate));
            }
            for (at, job) in r.jobs.iter().enumerate() {
                if let Phase::Calling { frozen: false, .. } = job.phase
                    && may(Fault::Freeze)
                {
                    next.push(Action::Freeze(replica, at));
                }
                let works = self.bad_work(w, job).into_iter().filter(|(fault, _)| may(*fault));
                next.extend(works.map(|(_, work)| Action::Work(replica, at, work)));
            }
            for (telling, it) in r.tellings.iter().enumerate() {
                let heard = |heard| Action::Heard { replica, telling, reply: Reply::Trouble, heard };
                if may(Fault::Trouble) && it.reply.is_none() {
                    next.extend([true, false].map(heard));
                }
                let once = self.broken == Some(Broken::ReportNotedOnce);
                if once && may(Fault::Lose) && it.reply.is_some() {
                    next.push(Action::Note { replica, telling, kept: false });
                }
            }
        }
    }

    /// How a job goes on when something goes wrong.
    fn bad_work(&self, w: &World, job: &Job) -> Vec<(Fault, Work)> {
        let lost = |seen: Seen, work: fn(Loss) -> Work, losses: &[Loss]| {
            let losses = if seen == Seen::Gone { &[] } else { losses };
            losses.iter().map(|loss| (Fault::Lose, work(*loss))).collect()
        };
        let lag = |work| {
            let lags = self.broken == Some(Broken::LagBelieved) && w[job.message].before.is_some();
            if lags { vec![(Fault::Lag, work)] } else { Vec::new() }
        };
        match &job.phase {
            Phase::Read { from, .. } => lost(from.seen, Work::Save, &[Loss::Acknowledgement, Loss::Write]),
            Phase::GiveBack { from } | Phase::Judge { from, .. } => lost(from.seen, Work::Save, &[Loss::Write]),
            Phase::Claimed { from } => {
                let mut works: Vec<_> = lost(from.seen, Work::Begin, &[Loss::Write]);
                works.extend([(Fault::Hold, Work::Hold), (Fault::Unsendable, Work::Reject)]);
                works
            }
            Phase::Saving(saving) if saving.fate == Fate::TakenBack => Vec::new(),
            Phase::Saving(_) => vec![(Fault::Lose, Work::NotAcknowledged)],
            Phase::Calling { .. } => vec![
                (Fault::Silence, Work::Cast { taken: true, seen: Learnt::Unknown }),
                (Fault::Silence, Work::Cast { taken: false, seen: Learnt::Unknown }),
                (Fault::NotSent, Work::Cast { taken: false, seen: Learnt::NotSent }),
                (Fault::Refusal, Work::Cast { taken: false, seen: Learnt::Rejected }),
            ],
            Phase::Outcome { .. } => lag(Work::RecordLagging),
            Phase::Withdraw { .. } => lag(Work::WithdrawLagging),
            Phase::ClaimLost { .. } | Phase::Waiting { .. } => Vec::new(),
        }
    }

    /// A call nobody here answers for, and which its maker can't be making any more.
    fn may_judge(&self, w: &World, r: &Replica, message: usize, doc: &Doc) -> bool {
        let Some((attempt, _)) = doc.newest() else { return false };
        if r.answers_for(message, attempt) {
            return false;
        }
        // Its maker said that it gave up; or 45 s as leader: the time-out of a call that began before the take-over, and some.
        let under_way =
            |phase: &Phase| matches!(phase, Phase::Calling { attempt: a, frozen: false, .. } if *a == attempt);
        let calling = w.replicas.iter().flat_map(|r| &r.jobs).any(|j| j.message == message && under_way(&j.phase));
        let on_the_wire = w.wires.iter().any(|wire| (wire.message, wire.attempt) == (message, attempt));
        let over = !calling && !on_the_wire;
        over || doc.state() == State::InDoubt || self.broken == Some(Broken::NoWaitBeforeJudging)
    }

    /// A stopping process waits longer than a call can take; it is stopped in doubt when the store does not let it write.
    fn may_stop(&self, r: &Replica) -> bool {
        let calling = |phase: &Phase| matches!(phase, Phase::Calling { .. });
        let drained = !r.jobs.iter().any(|job| calling(&job.phase)) || self.broken == Some(Broken::StopWithoutDrain);
        drained && r.jobs.iter().any(|job| job.phase.attempt().is_some())
    }

    fn may_land(&self, w: &World, late: &Late) -> bool {
        let blind = self.broken == Some(Broken::SendingOnAnyVersion) && matches!(late.what, What::Begin { .. });
        let open = |doc: &Doc| doc.state() == State::Queued && doc.progress().epoch == late.next.progress().epoch;
        late.seen == Seen::Current || (blind && w[late.message].current().is_some_and(open))
    }

    fn may_answer(&self, slot: &Slot) -> bool {
        let by_one = self.broken == Some(Broken::InsertByOne);
        if by_one { slot.current().is_some() } else { slot.safe.is_some() }
    }

    /// Whether an acknowledgement of the primary alone is taken for one of the majority.
    pub fn by_one(&self, what: What) -> bool {
        match what {
            What::Begin { .. } => self.broken == Some(Broken::SendingByOne),
            What::Record { .. } => self.broken == Some(Broken::OutcomeByOne),
            What::Claim | What::GiveBack | What::GiveBackLost => false,
            What::Hold | What::Reject | What::Judge | What::Withdraw { .. } => false,
        }
    }

    /// Claims of the first message that came to nothing before the beginning.
    pub fn in_vain_before(&self) -> u32 {
        if self.worn { MAX_CRASHES - 1 } else { 0 }
    }

    /// The document a webhook leads to.
    pub fn message(&self, message: usize) -> Doc {
        let name = ["m1", "m2"][message];
        self.book.accept(name, self.parts[message], if message == 0 { self.in_vain_before() } else { 0 })
    }

    /// Rules as shipped, but for what becomes of an unknown outcome.
    pub fn rules(unknown_send: UnknownSend) -> Rules {
        Rules { unknown_send, ..Rules::default() }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    /// The first replica leads; on a store that keeps what it took, both messages are there.
    fn init_states(&self) -> Vec<World> {
        let stored = self.store == Store::Linearisable;
        let slot = |message| Slot {
            safe: stored.then(|| self.message(message)),
            fast: None,
            before: None,
            asked: false,
            answered: stored,
        };
        let leader = Replica { term: 1, holds: true, ..Replica::default() };
        vec![World {
            slots: [slot(0), slot(1)],
            late: Vec::new(),
            replicas: [leader, Replica::default()],
            epoch: 1,
            wires: Vec::new(),
            truth: Truth::default(),
            left: self.faults,
        }]
    }

    fn actions(&self, w: &World, next: &mut Vec<Action>) {
        self.progress(w, next);
        self.trouble(w, next);
    }

    fn next_state(&self, w: &World, action: Action) -> Option<World> {
        let mut world = w.clone();
        self.step(&mut world, action);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promise::all(self)
    }
}
