//! The leader document, model-checked: beats, looks and take-overs of two replicas on clocks of their own.
//!
//! Owns the proof of what `protocol` takes for granted: while one right to act holds, nobody else has one, and no later term
//! exists. Every decision is `domain::leadership`'s. Here time counts, in ticks; a step may be as late as it likes, which is
//! what being frozen, slow or cut off comes to. Must not know of messages.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use cast_ghl_provider::domain::id::Epoch;
use cast_ghl_provider::domain::leadership::{LeaderDoc, Look, Right, Standby};
use cast_ghl_provider::domain::time::Mono;
use stateright::{Model, Property};

pub const ONE_RIGHT: &str = "at most one right holds";
pub const NEWEST_TERM: &str = "a right that holds is of the newest term";

/// What is explored.
pub struct Election {
    /// How fine time is.
    pub tick: Duration,
    /// How long it goes on.
    pub ticks: u32,
    /// Lost answers, crashes and clean stops, all together.
    pub faults: u8,
    pub broken: Option<Broken>,
}

/// A rule of leadership, left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The right runs from a beat's answer, not from its start.
    RightFromAnswer,
    /// A take-over is filtered on the term alone, not on the beat that was seen.
    AnyBeat,
    /// A process's clock stands still while its machine sleeps.
    SleepingClock,
}

/// Two processes and the document between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    now: u32,
    doc: Option<LeaderDoc>,
    processes: [Process; 2],
    /// Writes nobody waits for, on the version they were decided on.
    late: Vec<(Option<LeaderDoc>, LeaderDoc)>,
    /// Names given so far: each start has its own.
    named: u8,
    faults: u8,
}

#[derive(Debug, Clone, PartialEq)]
struct Process {
    me: String,
    right: Option<Right>,
    standby: Standby,
    /// At most one beat a tick.
    beat_at: Option<Mono>,
    doing: Option<Doing>,
    /// Ticks its clock did not see.
    asleep: u32,
}

/// A beat or a look under way.
#[derive(Debug, Clone, PartialEq)]
struct Doing {
    began: Mono,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Beat(Epoch),
    /// The beat was written, or the term was found to be over.
    Beaten(Epoch, bool),
    /// The document as it was read.
    Look(Option<LeaderDoc>),
    /// The take-over was written, or somebody was faster.
    Taken(Epoch, bool),
}

/// The production types know no hash: what is public of them is taken as it is, the rest by its debug form.
impl Hash for Field {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.named, self.faults).hash(state);
        hash_doc(self.doc.as_ref(), state);
        for (read, next) in &self.late {
            hash_doc(read.as_ref(), state);
            hash_doc(Some(next), state);
        }
        for p in &self.processes {
            (&p.me, p.beat_at, p.asleep).hash(state);
            p.right.map(|right| (right.epoch, right.until)).hash(state);
            format!("{:?}", p.standby).hash(state);
            let Some(Doing { began, what }) = &p.doing else { continue };
            (began, std::mem::discriminant(what)).hash(state);
            match what {
                What::Beat(epoch) => epoch.hash(state),
                What::Beaten(epoch, done) | What::Taken(epoch, done) => (epoch, done).hash(state),
                What::Look(seen) => hash_doc(seen.as_ref(), state),
            }
        }
    }
}

fn hash_doc<H: Hasher>(doc: Option<&LeaderDoc>, state: &mut H) {
    doc.map(|doc| (&doc.holder, doc.epoch, doc.beat)).hash(state);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Tick,
    /// A tick that one process's machine sleeps through.
    Sleep(usize),
    Begin(usize),
    Land(usize),
    Answer(usize),
    /// Neither lands, or the answer does not come; what did not land may do so later.
    Lose(usize),
    LandLate(usize),
    Crash(usize),
    Release(usize),
}

impl Election {
    fn clock(&self, field: &Field, process: usize) -> Mono {
        Mono(self.tick * (field.now - field.processes[process].asleep))
    }

    fn holds(&self, field: &Field, process: usize) -> bool {
        field.processes[process].right.is_some_and(|right| right.holds(self.clock(field, process)))
    }

    fn begin(&self, field: &mut Field, process: usize) {
        let began = self.clock(field, process);
        let doc = field.doc.clone();
        let p = &mut field.processes[process];
        let what = match p.right {
            Some(right) => {
                p.beat_at = Some(began);
                What::Beat(right.epoch)
            }
            None => What::Look(doc),
        };
        p.doing = Some(Doing { began, what });
    }

    /// Reads, decides and writes what the process would write; `None` when it writes nothing.
    fn decide(&self, field: &mut Field, process: usize) -> Option<LeaderDoc> {
        let now = self.clock(field, process);
        let p = &mut field.processes[process];
        match &p.doing.as_ref()?.what {
            What::Beat(epoch) => field.doc.as_ref()?.beaten_by(&p.me, *epoch),
            What::Look(seen) => match p.standby.look(seen.as_ref(), now) {
                Look::Wait => None,
                Look::Found => Some(LeaderDoc::first(&p.me)),
                Look::TakeOver => seen.as_ref().map(|doc| doc.taken_by(&p.me)),
            },
            What::Beaten(..) | What::Taken(..) => None,
        }
    }

    fn land(&self, field: &mut Field, process: usize) {
        let Some(doing) = field.processes[process].doing.clone() else { return };
        let next = self.decide(field, process);
        let what = match (doing.what, next) {
            (What::Beat(epoch), next) => {
                let beaten = next.is_some();
                field.doc = next.or(field.doc.take());
                Some(What::Beaten(epoch, beaten))
            }
            (What::Look(seen), Some(next)) => {
                let term = |doc: &Option<LeaderDoc>| doc.as_ref().map(|doc| doc.epoch);
                let any_beat = self.broken == Some(Broken::AnyBeat) && term(&field.doc) == term(&seen);
                let first = seen == field.doc || any_beat;
                let epoch = next.epoch;
                if first {
                    field.doc = Some(next);
                }
                Some(What::Taken(epoch, first))
            }
            _ => None,
        };
        field.processes[process].doing = what.map(|what| Doing { what, ..doing });
    }

    fn answer(&self, field: &mut Field, process: usize) {
        let now = self.clock(field, process);
        let p = &mut field.processes[process];
        let Some(Doing { began, what }) = p.doing.take() else { return };
        let from = if self.broken == Some(Broken::RightFromAnswer) { now } else { began };
        match what {
            What::Beaten(epoch, true) => p.right = Some(Right::from_beat(epoch, from)),
            What::Beaten(_, false) => (p.right, p.standby) = (None, Standby::default()),
            What::Taken(epoch, true) => {
                (p.right, p.standby) = (Some(Right::from_beat(epoch, from)), Standby::default());
            }
            What::Beat(_) | What::Look(_) | What::Taken(_, false) => {}
        }
    }

    fn lose(&self, field: &mut Field, process: usize) {
        let read = match field.processes[process].doing.as_ref().map(|doing| &doing.what) {
            Some(What::Beat(_)) => field.doc.clone(),
            Some(What::Look(seen)) => seen.clone(),
            _ => None,
        };
        if let Some(next) = self.decide(field, process) {
            field.late.push((read, next));
        }
        field.processes[process].doing = None;
    }

    fn restart(field: &mut Field, process: usize) {
        field.named += 1;
        let asleep = field.processes[process].asleep;
        field.processes[process] = Process { asleep, ..Process::new(field.named) };
    }

    fn release(field: &mut Field, process: usize) {
        let p = &field.processes[process];
        if let (Some(doc), Some(right)) = (&field.doc, p.right)
            && let Some(released) = doc.released_by(&p.me, right.epoch)
        {
            field.doc = Some(released);
        }
        Self::restart(field, process);
    }
}

impl Process {
    fn new(name: u8) -> Self {
        let (right, standby) = (None, Standby::default());
        Self { me: name.to_string(), right, standby, beat_at: None, doing: None, asleep: 0 }
    }
}

impl Model for Election {
    type State = Field;
    type Action = Action;

    /// Nobody ever led, or the first process just came to.
    fn init_states(&self) -> Vec<Field> {
        let processes = [Process::new(0), Process::new(1)];
        let nobody = Field { now: 0, doc: None, processes, late: Vec::new(), named: 1, faults: self.faults };
        let mut led = nobody.clone();
        led.doc = Some(LeaderDoc::first(&led.processes[0].me));
        led.processes[0].right = Some(Right::from_beat(Epoch(1), Mono::default()));
        led.processes[0].beat_at = Some(Mono::default());
        vec![nobody, led]
    }

    fn actions(&self, field: &Field, next: &mut Vec<Action>) {
        if field.now < self.ticks {
            next.push(Action::Tick);
            if self.broken == Some(Broken::SleepingClock) {
                next.extend([Action::Sleep(0), Action::Sleep(1)]);
            }
        }
        next.extend((0..field.late.len()).map(Action::LandLate));
        for (at, p) in field.processes.iter().enumerate() {
            match p.doing.as_ref().map(|doing| &doing.what) {
                None if p.right.is_some() && p.beat_at == Some(self.clock(field, at)) => {}
                None => next.push(Action::Begin(at)),
                Some(What::Beat(_) | What::Look(_)) => next.push(Action::Land(at)),
                Some(What::Beaten(..) | What::Taken(..)) => next.push(Action::Answer(at)),
            }
            if field.faults > 0 {
                next.push(Action::Crash(at));
                if p.doing.is_some() {
                    next.push(Action::Lose(at));
                } else if p.right.is_some() {
                    next.push(Action::Release(at));
                }
            }
        }
    }

    fn next_state(&self, field: &Field, action: Action) -> Option<Field> {
        let mut field = field.clone();
        match action {
            Action::Tick => field.now += 1,
            Action::Sleep(process) => {
                field.now += 1;
                field.processes[process].asleep += 1;
            }
            Action::Begin(process) => self.begin(&mut field, process),
            Action::Land(process) => self.land(&mut field, process),
            Action::Answer(process) => self.answer(&mut field, process),
            Action::Lose(process) => {
                field.faults -= 1;
                self.lose(&mut field, process);
            }
            Action::LandLate(late) => {
                let (read, next) = field.late.remove(late);
                if read == field.doc {
                    field.doc = Some(next);
                }
            }
            Action::Crash(process) => {
                field.faults -= 1;
                Self::restart(&mut field, process);
            }
            Action::Release(process) => {
                field.faults -= 1;
                Self::release(&mut field, process);
            }
        }
        Some(field)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn taken_over(field: &Field) -> bool {
            field.doc.as_ref().is_some_and(|doc| doc.epoch > Epoch(1))
        }
        vec![
            Property::always(ONE_RIGHT, |e: &Election, f: &Field| !(e.holds(f, 0) && e.holds(f, 1))),
            Property::always(NEWEST_TERM, |e: &Election, f: &Field| {
                let term = f.doc.as_ref().map(|doc| doc.epoch);
                (0..2).all(|p| !e.holds(f, p) || f.processes[p].right.map(|right| right.epoch) == term)
            }),
            Property::sometimes("a standby takes over", |_, f: &Field| taken_over(f)),
            Property::sometimes("a right lapses and nobody takes over yet", |e: &Election, f: &Field| {
                !taken_over(f) && (0..2).any(|p| f.processes[p].right.is_some() && !e.holds(f, p))
            }),
        ]
    }
}
