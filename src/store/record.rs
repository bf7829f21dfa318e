//! Which documents there are, and what each is found by.
//!
//! Owns the mapping from the domain's types to [`Keys`]; no SQL and no BSON. A changed key is a migration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Collection, Keys, Record};
use crate::domain::connect::ConnectLink;
use crate::domain::contact::ContactNote;
use crate::domain::day::DayCount;
use crate::domain::id::DocId;
use crate::domain::inbound::{Reply, ReplyAccepted, ReplyProgress, ReplyState};
use crate::domain::installation::Installation;
use crate::domain::leadership::LeaderDoc;
use crate::domain::lifecycle::{EventAccepted, EventProgress, EventState, StoredEvent};
use crate::domain::message::{Accepted, Message, Progress};
use crate::domain::opt_out::Suppression;
use crate::domain::settings::LocationSettings;
use crate::domain::time::UnixMillis;

/// Counters stored in 63 bits.
trait ReplicaSafe {
    /// The number as a signed one; saturates.
    fn stored(self) -> i64;
}

impl ReplicaSafe for u64 {
    fn stored(self) -> i64 {
        i64::try_from(self).unwrap_or(i64::MAX)
    }
}

fn at(t: Option<UnixMillis>) -> Option<i64> {
    t.map(|t| t.0)
}

impl Record for Message {
    const COLLECTION: Collection = Collection::Messages;
    type Fixed = Accepted;
    type Live = Progress;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&Accepted, &Progress) {
        (&self.accepted, &self.progress)
    }

    fn join(id: DocId, accepted: Accepted, progress: Progress) -> Option<Self> {
        Some(Self { id, accepted, progress })
    }

    fn keys(&self) -> Keys {
        let p = &self.progress;
        let intake = &self.accepted.intake;
        Keys {
            open: !p.state.settled(),
            accepted_at: Some(self.accepted.at.0),
            replica: Some(self.accepted.replica.clone()),
            counter: Some(self.accepted.counter.stored()),
            location: Some(intake.location.to_string()),
            lane: Some(intake.lane()),
            state: Some(p.state.as_str().to_owned()),
            due_at: (!p.state.settled()).then_some(p.due_at.0),
            claimed: p.epoch.0 > 0,
            report_at: p.report.as_ref().and_then(|r| at(r.due_at)),
            waits: p.report.as_ref().filter(|r| r.no_token).map(|_| intake.location.to_string()),
            strip_at: at(p.strip_at),
            settled_at: at(p.settled_at),
            names: names(self),
        }
    }
}

/// GHL's id, then the gateway's.
fn names(message: &Message) -> Vec<String> {
    let p = &message.progress;
    let mut names = vec![message.accepted.intake.message_id.to_string()];
    for part in 0..p.parts.len() {
        let attempts = p.attempts.iter().filter(|a| a.part == part).filter_map(|a| a.gateway_id.as_ref());
        for name in attempts.chain(&p.parts[part].gateway_id) {
            if name.len() <= LONGEST_NAME && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// Longer ids of a gateway are kept, but nobody finds a message by them: MongoDB's indexes have a limit.
const LONGEST_NAME: usize = 256;

impl Record for Reply {
    const COLLECTION: Collection = Collection::Inbound;
    type Fixed = ReplyAccepted;
    type Live = ReplyProgress;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&ReplyAccepted, &ReplyProgress) {
        (&self.accepted, &self.progress)
    }

    fn join(id: DocId, accepted: ReplyAccepted, progress: ReplyProgress) -> Option<Self> {
        Some(Self { id, accepted, progress })
    }

    fn keys(&self) -> Keys {
        let p = &self.progress;
        let open = p.state == ReplyState::Received;
        Keys {
            open,
            accepted_at: Some(self.accepted.at.0),
            replica: Some(self.accepted.replica.clone()),
            counter: Some(self.accepted.counter.stored()),
            location: p.location.as_ref().map(ToString::to_string),
            lane: Some(self.lane()),
            state: Some(p.state.as_str().to_owned()),
            due_at: open.then_some(p.due_at.0),
            report_at: self.unheard().map(|_| self.accepted.at.0),
            strip_at: at(p.strip_at),
            settled_at: at(p.settled_at),
            ..Keys::default()
        }
    }
}

impl Record for Suppression {
    const COLLECTION: Collection = Collection::Suppressions;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        self.scope().document(&self.phone)
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        (Record::id(&live) == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        Keys {
            open: self.stands(),
            accepted_at: Some(self.since.0),
            location: self.location.as_ref().map(ToString::to_string),
            lane: Some(self.phone.e164().to_owned()),
            state: Some(if self.stands() { "standing" } else { "lifted" }.to_owned()),
            report_at: at(self.mirror.due_at),
            names: self.mirror.contact.iter().filter(|name| name.len() <= LONGEST_NAME).cloned().collect(),
            ..Keys::default()
        }
    }
}

/// A webhook that was signed but could not be read: kept byte for byte for a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub id: DocId,
    pub kept: UnreadableKept,
    pub fate: UnreadableFate,
}

/// The bytes and why they could not be read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableKept {
    pub v: u32,
    /// Base64 of the body.
    pub raw: String,
    pub why: String,
}

/// When it came and how long it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFate {
    pub settled_at: UnixMillis,
    pub strip_at: Option<UnixMillis>,
    /// A person made a message of it, or set it aside for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<UnixMillis>,
}

impl Record for Unreadable {
    const COLLECTION: Collection = Collection::Unreadable;
    type Fixed = UnreadableKept;
    type Live = UnreadableFate;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&UnreadableKept, &UnreadableFate) {
        (&self.kept, &self.fate)
    }

    fn join(id: DocId, kept: UnreadableKept, fate: UnreadableFate) -> Option<Self> {
        Some(Self { id, kept, fate })
    }

    fn keys(&self) -> Keys {
        let dropped = self.fate.dropped_at.is_some();
        Keys {
            accepted_at: Some(self.fate.settled_at.0),
            state: Some(if dropped { "dropped" } else { "dead" }.to_owned()),
            strip_at: at(self.fate.strip_at),
            settled_at: Some(self.fate.settled_at.0),
            ..Keys::default()
        }
    }
}

impl Record for Installation {
    const COLLECTION: Collection = Collection::Installations;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        // A record read back names itself; one that names nothing is refused by `join` and never made by `oauth`.
        Installation::id(self).unwrap_or_else(|| DocId("loc:".to_owned()))
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        (Installation::id(&live)? == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        Keys {
            open: self.installed(),
            location: self.location.as_ref().map(ToString::to_string),
            lane: self.company.as_ref().map(ToString::to_string),
            due_at: at(self.refresh_at),
            report_at: at(self.work_at()),
            waits: self.waits_for().map(ToString::to_string),
            ..Keys::default()
        }
    }
}

impl Record for StoredEvent {
    const COLLECTION: Collection = Collection::Events;
    type Fixed = EventAccepted;
    type Live = EventProgress;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&EventAccepted, &EventProgress) {
        (&self.accepted, &self.progress)
    }

    fn join(id: DocId, accepted: EventAccepted, progress: EventProgress) -> Option<Self> {
        Some(Self { id, accepted, progress })
    }

    fn keys(&self) -> Keys {
        let p = &self.progress;
        let open = p.state == EventState::Received;
        Keys {
            open,
            accepted_at: Some(self.accepted.at.0),
            replica: Some(self.accepted.replica.clone()),
            counter: Some(self.accepted.counter.stored()),
            location: self.accepted.event.location.as_ref().map(ToString::to_string),
            state: Some(p.state.as_str().to_owned()),
            due_at: open.then_some(p.due_at.0),
            strip_at: at(p.strip_at),
            settled_at: at(p.settled_at),
            ..Keys::default()
        }
    }
}

impl Record for ContactNote {
    const COLLECTION: Collection = Collection::Contacts;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        DocId::contact(&self.location, self.phone.e164())
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        // A save writes under the record's own name: one that names another phone would take that one's place.
        (Record::id(&live) == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        Keys {
            location: Some(self.location.to_string()),
            lane: Some(self.phone.e164().to_owned()),
            accepted_at: at(self.last_outbound_at),
            ..Keys::default()
        }
    }
}

impl Record for LocationSettings {
    const COLLECTION: Collection = Collection::Settings;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        LocationSettings::id(self)
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        (LocationSettings::id(&live) == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        Keys { location: Some(self.location.to_string()), names: self.receiving_numbers.clone(), ..Keys::default() }
    }
}

impl Record for DayCount {
    const COLLECTION: Collection = Collection::Days;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        DayCount::id(self)
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        (DayCount::id(&live) == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        // Kept a little longer than the day: the calls of its last minute are still to be settled.
        let over = self.day.end().after(DAY_KEPT);
        Keys {
            location: Some(self.location.to_string()),
            state: Some("day".to_owned()),
            strip_at: Some(over.0),
            settled_at: Some(over.0),
            ..Keys::default()
        }
    }
}

/// How long a day's count stays after its end.
const DAY_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Record for ConnectLink {
    const COLLECTION: Collection = Collection::Links;
    type Fixed = ();
    type Live = Self;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&(), &Self) {
        (&(), self)
    }

    fn join(id: DocId, (): (), live: Self) -> Option<Self> {
        (live.id == id).then_some(live)
    }

    fn keys(&self) -> Keys {
        Keys {
            location: Some(self.location.to_string()),
            state: Some("link".to_owned()),
            strip_at: Some(self.ends_at.0),
            settled_at: Some(self.ends_at.0),
            ..Keys::default()
        }
    }
}

/// The leader document as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderRecord(pub LeaderDoc);

impl LeaderRecord {
    /// Its one `_id`.
    #[must_use]
    pub fn key() -> DocId {
        DocId("leader".to_owned())
    }
}

impl Record for LeaderRecord {
    const COLLECTION: Collection = Collection::Leader;
    type Fixed = ();
    type Live = LeaderDoc;

    fn id(&self) -> DocId {
        Self::key()
    }

    fn parts(&self) -> (&(), &LeaderDoc) {
        (&(), &self.0)
    }

    fn join(id: DocId, (): (), live: LeaderDoc) -> Option<Self> {
        (id == Self::key()).then_some(Self(live))
    }

    fn keys(&self) -> Keys {
        Keys::default()
    }
}
