//! What a step does: the shell of `queue::worker` and `delivery::report`, with a state for each await that matters.
//!
//! Every change of a document is asked of the `book`. Two steps of the shell are one here only where nothing in between
//! could be seen: a check follows its acknowledgement at once, since a lapse in between is a lapse before.

use cast_ghl_provider::domain::message::{AttemptResult, State};
use cast_ghl_provider::domain::transition::{MAX_CRASHES, Refused};

use super::book::{Change, Doc, Hour, Learnt, Reply};
use super::protocol::{Action, Broken, Loss, Protocol, Store, Work};
use super::world::{Fate, Fault, Job, Late, MESSAGES, Phase, Replica, Saving, Seen, Snap, Telling, What, Wire, World};

impl Protocol {
    /// Takes a step that was possible.
    pub fn step(&self, w: &mut World, action: Action) {
        let may_die = u32::from(self.faults.all()) + self.in_vain_before() >= MAX_CRASHES;
        w.truth.vain += u32::from(may_die && may_leave_a_claim(action));
        self.act(w, action);
        w.late.retain(|late| late.seen != Seen::Gone || self.broken == Some(Broken::SendingOnAnyVersion));
    }

    fn act(&self, w: &mut World, action: Action) {
        match action {
            Action::Post(message) => self.post(w, message),
            Action::Answer200(message) => {
                w[message].asked = false;
                w[message].answered = true;
            }
            Action::Commit => w.commit(),
            Action::Failover => Self::fail_over(w),
            Action::Land(late) => {
                let Late { message, next, .. } = w.late.remove(late);
                w.put(message, next, self.store == Store::Linearisable);
            }
            Action::TakeOver(replica) => {
                w.epoch += 1;
                w.replicas[replica].term = w.epoch;
                w.replicas[replica].holds = true;
                w.replicas[replica].out = false;
            }
            Action::Regain(replica) => w.replicas[replica].holds = true,
            Action::Lapse(replica) => {
                w.left.spend(Fault::Lapse);
                w.replicas[replica].holds = false;
            }
            Action::Freeze(replica, job) => {
                w.left.spend(Fault::Freeze);
                w.replicas[replica].holds = false;
                if let Phase::Calling { frozen, .. } = &mut w.replicas[replica].jobs[job].phase {
                    *frozen = true;
                }
            }
            Action::Crash(replica) => {
                w.left.spend(Fault::Crash);
                Self::die(w, replica);
            }
            Action::Stop(replica) => self.stop(w, replica),
            Action::Pick(replica, hour) => {
                if hour == Hour::TooLate {
                    w.left.spend(Fault::TooOld);
                }
                self.start(w, replica, |from| Phase::Read { from, hour });
                w.replicas[replica].out = true;
            }
            Action::Judge(replica) => self.start(w, replica, |from| {
                let attempt = from.doc.newest().map_or(0, |(attempt, _)| attempt);
                Phase::Judge { from, attempt }
            }),
            Action::Work(replica, job, work) => self.work(w, replica, job, work),
            Action::Arrive { wire, taken } => {
                let wire = w.wires.remove(wire);
                if taken {
                    take(w, wire.message, wire.part, false);
                }
            }
            Action::Tell(replica, message) => {
                if let Some((revision, verdict)) = w[message].safe.as_ref().and_then(Doc::due) {
                    w.replicas[replica].tellings.push(Telling { message, revision, verdict, reply: None });
                }
            }
            Action::Heard { replica, telling, reply, heard } => Self::heard(w, replica, telling, reply, heard),
            Action::Note { replica, telling, kept } => self.note(w, replica, telling, kept),
        }
    }

    fn fail_over(w: &mut World) {
        w.left.spend(Fault::Failover);
        w.roll_back();
        for slot in &mut w.slots {
            // A webhook whose document went was answered 429: GHL sends it again.
            slot.asked &= slot.safe.is_some();
        }
    }

    fn heard(w: &mut World, replica: usize, telling: usize, reply: Reply, heard: bool) {
        if reply == Reply::Trouble {
            w.left.spend(Fault::Trouble);
        }
        let it = &mut w.replicas[replica].tellings[telling];
        it.reply = Some(reply);
        if heard {
            w.truth.heard[it.message] = Some(it.verdict);
        }
    }

    fn post(&self, w: &mut World, message: usize) {
        w[message].asked = true;
        if w[message].current().is_none() {
            w.put(message, self.message(message), self.store == Store::Linearisable);
        }
    }

    /// A leader takes up the head of the lane.
    fn start(&self, w: &mut World, replica: usize, phase: impl FnOnce(Snap) -> Phase) {
        let Some((message, from)) = w.head(|slot| self.read(slot)) else { return };
        let epoch = w.replicas[replica].term;
        w.replicas[replica].jobs.push(Job { message, epoch, phase: phase(from) });
    }

    /// Memory goes, requests that left do not.
    fn die(w: &mut World, replica: usize) {
        let Replica { jobs, tellings, .. } = std::mem::take(&mut w.replicas[replica]);
        for job in jobs {
            if let Phase::Calling { attempt, part, frozen: false } = job.phase {
                w.wires.push(Wire { message: job.message, attempt, part });
            }
        }
        for telling in tellings {
            let report = w[telling.message].current().and_then(|doc| doc.progress().report.as_ref());
            let older = report.is_some_and(|report| report.revision != telling.revision);
            w.truth.garbled[telling.message] |= older && telling.reply.is_some();
        }
    }

    fn stop(&self, w: &mut World, replica: usize) {
        w.left.spend(Fault::Stop);
        for job in w.replicas[replica].jobs.clone() {
            if let Some(attempt) = job.phase.attempt()
                && let Some(doc) = w[job.message].current().cloned()
                && let Ok(next) = self.book.change(&doc, Change::Doubt { attempt })
            {
                w.put(job.message, next, self.store == Store::Linearisable);
            }
        }
        Self::die(w, replica);
    }

    fn note(&self, w: &mut World, replica: usize, telling: usize, kept: bool) {
        let telling = w.replicas[replica].tellings.remove(telling);
        if !kept {
            w.left.spend(Fault::Lose);
            return;
        }
        let (Some(doc), Some(reply)) = (w[telling.message].safe.clone(), telling.reply) else { return };
        let change = Change::Tell { revision: telling.revision, reply };
        if let Ok(next) = self.book.change(&doc, change) {
            w.put(telling.message, next, true);
        }
    }

    fn work(&self, w: &mut World, replica: usize, job: usize, work: Work) {
        let mut it = Task { protocol: self, w, replica, job };
        match work {
            Work::Save(loss) => it.save_decided(loss),
            Work::Begin(loss) => it.begin(loss),
            Work::Hold => it.set_aside(Fault::Hold),
            Work::Reject => it.set_aside(Fault::Unsendable),
            Work::GiveBackLost => it.give_back_lost(),
            Work::Acknowledged => it.acknowledged(),
            Work::NotAcknowledged => it.not_acknowledged(),
            Work::Withdraw => it.withdraw(),
            Work::WithdrawLagging => it.withdraw_lagging(),
            Work::Cast { taken, seen } => it.call(taken, seen),
            Work::Waited => it.waited(),
            Work::Record => it.record(),
            Work::RecordLagging => it.record_lagging(),
        }
    }
}

/// One job, while a step of it is done.
struct Task<'a> {
    protocol: &'a Protocol,
    w: &'a mut World,
    replica: usize,
    job: usize,
}

impl Task<'_> {
    fn job(&self) -> &Job {
        &self.w.replicas[self.replica].jobs[self.job]
    }

    fn message(&self) -> usize {
        self.job().message
    }

    fn holds(&self) -> bool {
        self.w.replicas[self.replica].holds(self.job().epoch)
    }

    fn spend(&mut self, fault: Fault) {
        self.w.left.spend(fault);
    }

    fn go(&mut self, phase: Phase) {
        self.w.replicas[self.replica].jobs[self.job].phase = phase;
    }

    /// The process knows that nothing left, and turns to something else.
    fn went_on(&mut self, attempt: u8) {
        let message = self.message();
        self.w.truth.unsent[message] |= 1 << attempt;
    }

    fn end(&mut self) {
        let any_term = self.protocol.broken == Some(Broken::OldJobFreesTheLane);
        let replica = &mut self.w.replicas[self.replica];
        let job = replica.jobs.remove(self.job);
        if !job.phase.judges() && (any_term || job.epoch == replica.term) {
            replica.out = false;
        }
    }

    /// The save of a phase in which everything is decided.
    fn save_decided(&mut self, loss: Loss) {
        let epoch = self.job().epoch;
        let (from, change, what) = match self.job().phase.clone() {
            Phase::Read { from, hour } => (from, Change::Claim { epoch, hour }, What::Claim),
            Phase::GiveBack { from } => (from, Change::Unclaim { epoch }, What::GiveBack),
            Phase::Judge { from, attempt } => (from, Change::Judge { attempt }, What::Judge),
            _ => return,
        };
        self.save(&from, change, what, loss);
    }

    fn begin(&mut self, loss: Loss) {
        let Phase::Claimed { from } = self.job().phase.clone() else { return };
        let (message, epoch) = (self.message(), self.job().epoch);
        let attempt = self.w.truth.begun[message];
        self.w.truth.begun[message] += 1;
        self.save(&from, Change::Begin { epoch, attempt }, What::Begin { attempt }, loss);
    }

    fn set_aside(&mut self, fault: Fault) {
        let Phase::Claimed { from } = self.job().phase.clone() else { return };
        self.spend(fault);
        let epoch = self.job().epoch;
        if fault == Fault::Hold {
            self.save(&from, Change::Hold { epoch }, What::Hold, Loss::Nothing);
        } else {
            self.save(&from, Change::Reject { epoch }, What::Reject, Loss::Nothing);
        }
    }

    fn save(&mut self, from: &Snap, change: Change, what: What, loss: Loss) {
        if loss != Loss::Nothing {
            self.spend(Fault::Lose);
        }
        let Ok(next) = self.protocol.book.change(&from.doc, change) else { return self.end() };
        if loss == Loss::Write {
            let message = self.message();
            self.w.late.push(Late { message, seen: from.seen, next, what });
            return self.failed(what, from.seen, &from.doc);
        }
        if from.seen != Seen::Current {
            return self.end();
        }
        if loss == Loss::Acknowledgement {
            let message = self.message();
            self.w.put(message, next, self.kept());
            return self.failed(what, Seen::Gone, &from.doc);
        }
        self.write(&from.doc, next, what);
    }

    /// Nothing can happen between a write and its acknowledgement that a step before the write could not stand for; but a
    /// `sending` may be seen by a successor before its maker knows that it is there.
    fn at_once(&self, what: What) -> bool {
        let split = matches!(what, What::Begin { .. }) || self.protocol.store == Store::RollsBack;
        !split || self.protocol.by_one(what)
    }

    fn kept(&self) -> bool {
        self.protocol.store == Store::Linearisable
    }

    fn write(&mut self, before: &Doc, next: Doc, what: What) {
        let message = self.message();
        let (kept, before) = (self.kept(), before.clone());
        let fate = if kept { Fate::Kept } else { Fate::Open };
        self.go(Phase::Saving(Saving {
            what,
            before,
            next: next.clone(),
            mine: Seen::Gone,
            base: Seen::Current,
            fate,
        }));
        self.w.put(message, next, kept);
        if let Phase::Saving(saving) = &mut self.w.replicas[self.replica].jobs[self.job].phase {
            saving.mine = Seen::Current;
        }
        if self.at_once(what) {
            self.acknowledged();
        }
    }

    fn acknowledged(&mut self) {
        let Phase::Saving(Saving { what, next, mine, .. }) = self.job().phase.clone() else { return };
        let message = self.message();
        match what {
            What::Claim if next.settled() => self.end(),
            What::Claim => {
                let from = Snap { doc: next, seen: mine };
                self.go(if self.holds() { Phase::Claimed { from } } else { Phase::GiveBack { from } });
            }
            What::Begin { attempt } => {
                let part = next.newest().map_or(0, |(_, part)| part);
                let go = self.holds() || self.protocol.broken == Some(Broken::NoCheckAfterSending);
                self.go(if go {
                    Phase::Calling { attempt, part, frozen: false }
                } else {
                    Phase::Outcome { attempt, learnt: Learnt::NotSent }
                });
            }
            What::GiveBack | What::GiveBackLost | What::Hold | What::Reject | What::Judge => self.end(),
            What::Record { attempt, learnt } => {
                let truth = &mut self.w.truth;
                for part in (0..2).filter(|part| next.accepted(*part)) {
                    truth.sure[message] |= 1 << part;
                }
                truth.done[message] |= next.state() == State::Accepted;
                self.learnt(attempt, learnt);
            }
            What::Withdraw { attempt, .. } => {
                self.went_on(attempt);
                self.end();
            }
        }
    }

    /// The acknowledgement does not come: by a fault, or since the version was taken back.
    fn not_acknowledged(&mut self) {
        let Phase::Saving(Saving { what, base, fate, before, .. }) = self.job().phase.clone() else { return };
        if fate != Fate::TakenBack {
            self.spend(Fault::Lose);
        }
        self.failed(what, base, &before);
    }

    /// What follows a save that was not acknowledged.
    fn failed(&mut self, what: What, base: Seen, before: &Doc) {
        match what {
            What::Claim if self.protocol.broken != Some(Broken::LostClaimCounts) => {
                self.go(Phase::ClaimLost { before: before.clone() });
            }
            What::Begin { attempt } if self.protocol.broken == Some(Broken::NoWithdrawal) => {
                self.went_on(attempt);
                self.end();
            }
            What::Begin { attempt } => self.go(Phase::Withdraw { before: base, attempt }),
            What::Record { attempt, learnt } => self.go(Phase::Outcome { attempt, learnt }),
            What::Withdraw { attempt, before } => self.go(Phase::Withdraw { before, attempt }),
            What::Claim | What::GiveBack | What::GiveBackLost | What::Hold | What::Reject | What::Judge => self.end(),
        }
    }

    fn give_back_lost(&mut self) {
        let Phase::ClaimLost { before } = self.job().phase.clone() else { return };
        let (message, epoch) = (self.message(), self.job().epoch);
        let Some(doc) = self.w[message].safe.clone() else { return self.end() };
        let (old, new) = (before.progress(), doc.progress());
        let ours = new.crashes == old.crashes + 1 && new.attempts == old.attempts;
        match self.protocol.book.change(&doc, Change::Unclaim { epoch }) {
            Ok(next) if ours => self.write(&doc, next, What::GiveBackLost),
            _ => self.end(),
        }
    }

    fn withdraw(&mut self) {
        let Phase::Withdraw { before, attempt } = self.job().phase else { return };
        let (message, epoch) = (self.message(), self.job().epoch);
        let Some(doc) = self.w[message].safe.clone() else { return self.end() };
        let book = &self.protocol.book;
        let next = match book.change(&doc, Change::Record { attempt, learnt: Learnt::NotSent }) {
            Err(Refused::UnknownAttempt) if before == Seen::Current => book.change(&doc, Change::Unclaim { epoch }),
            next => next,
        };
        let Ok(next) = next else {
            self.went_on(attempt);
            return self.end();
        };
        self.write(&doc, next, What::Withdraw { attempt, before });
    }

    fn call(&mut self, taken: bool, seen: Learnt) {
        let Phase::Calling { attempt, part, frozen } = self.job().phase else { return };
        let message = self.message();
        match seen {
            Learnt::Accepted => {}
            Learnt::Unknown => self.spend(Fault::Silence),
            Learnt::NotSent => self.spend(Fault::NotSent),
            Learnt::Rejected => self.spend(Fault::Refusal),
        }
        if taken {
            take(self.w, message, part, frozen);
        }
        if seen == Learnt::NotSent && self.protocol.broken == Some(Broken::WaitBeforeNotSent) {
            self.went_on(attempt);
            return self.go(Phase::Waiting { attempt });
        }
        self.go(Phase::Outcome { attempt, learnt: seen });
    }

    fn waited(&mut self) {
        let Phase::Waiting { attempt } = self.job().phase else { return };
        self.go(Phase::Outcome { attempt, learnt: Learnt::NotSent });
    }

    fn record(&mut self) {
        let Phase::Outcome { attempt, learnt } = self.job().phase else { return };
        let dropped = self.protocol.broken == Some(Broken::StaleOutcomeDropped) && !self.holds();
        let message = self.message();
        let Some(doc) = self.w[message].safe.clone() else { return self.end() };
        let next = self.protocol.book.change(&doc, Change::Record { attempt, learnt });
        let (Ok(next), false) = (next, dropped) else { return self.learnt(attempt, learnt) };
        self.write(&doc, next, What::Record { attempt, learnt });
    }

    /// The attempt is not in what a majority held a write ago: it is taken for one nobody recorded.
    fn record_lagging(&mut self) {
        let Phase::Outcome { attempt, learnt } = self.job().phase else { return };
        self.spend(Fault::Lag);
        if self.missing_a_write_ago(attempt) {
            self.learnt(attempt, learnt);
        }
    }

    /// Neither is the attempt there nor the version it would land on: that is taken for a door already shut.
    fn withdraw_lagging(&mut self) {
        let Phase::Withdraw { attempt, .. } = self.job().phase else { return };
        self.spend(Fault::Lag);
        if self.missing_a_write_ago(attempt) {
            self.went_on(attempt);
            self.end();
        }
    }

    fn missing_a_write_ago(&self, attempt: u8) -> bool {
        self.w[self.message()].before.as_ref().is_some_and(|doc| doc.result(attempt).is_none())
    }

    /// The job is done with what it learnt.
    fn learnt(&mut self, attempt: u8, learnt: Learnt) {
        let message = self.message();
        let known = self.w[message].current().and_then(|doc| doc.result(attempt));
        let kept = match learnt {
            Learnt::Accepted => known == Some(AttemptResult::Accepted),
            Learnt::NotSent => known == Some(AttemptResult::NotSent),
            Learnt::Rejected => known == Some(AttemptResult::Rejected),
            Learnt::Unknown => true,
        };
        self.w.truth.forgotten |= !kept;
        if learnt == Learnt::NotSent {
            self.went_on(attempt);
        }
        self.end();
    }
}

/// Cast takes a part.
fn take(w: &mut World, message: usize, part: usize, frozen: bool) {
    let truth = &mut w.truth;
    let first = truth.taken[message][part] == 0;
    truth.taken[message][part] += 1;
    let later_taken = (message + 1..MESSAGES).any(|m| truth.taken[m].iter().any(|times| *times > 0));
    truth.reordered |= first && later_taken && !frozen;
    truth.late_call |= first && later_taken && frozen;
}

/// Whether a claim may come to nothing by this.
fn may_leave_a_claim(action: Action) -> bool {
    match action {
        Action::Crash(_) | Action::Stop(_) | Action::Lapse(_) | Action::Freeze(..) => true,
        // It may land when it was looked for already.
        Action::Work(_, _, Work::Save(Loss::Write)) => true,
        _ => false,
    }
}
