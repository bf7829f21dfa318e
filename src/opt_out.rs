//! Suppressions in the store: a reply's STOP or START is heeded, a send is asked about, an agent's clearance is taken.
//!
//! Invariant: a wish is heeded before anything else is done about its reply, without token or route, in the order of its sender's
//! words, and as often as it takes: each time comes to the same (`domain::opt_out` compares times). Any replica may do it.
//! Must not import queue, delivery, http or config.

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::contact::ContactNote;
use crate::domain::dnd::Mirror;
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{Reply, ReplyProgress, Sender};
use crate::domain::installation::Installation;
use crate::domain::lifecycle::ContactDnd;
use crate::domain::opt_out::{self, LiftedBy, Said, Scope, Suppression, Wish, Words};
use crate::domain::phone::Phone;
use crate::domain::settings::{LocationSettings, receiving_number};
use crate::domain::time::UnixMillis;
use crate::lifecycle::Bells;
use crate::store::{Inserted, Query, Store, StoreError, Stored};

/// Far more locations than ever share a phone; of a look-up that must leave none out.
const EVERYBODY: usize = 100_000;
/// Replies of one sender whose wish is not heeded yet.
const UNHEARD: usize = 256;

/// Suppressions of one contact, of the numbers it had; locations that have, or once had, one receiving number.
const NAMESAKES: usize = 64;

/// What an agent's change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clearance {
    Lifted,
    /// It had lifted before.
    Repeated,
    /// It concerns no suppression of ours.
    Nothing,
}

/// Hears and answers; clones share the words.
#[derive(Debug, Clone)]
pub struct OptOuts {
    store: Store,
    clock: Clock,
    bells: Bells,
    /// `None`: `OPT_OUT=false`.
    words: Option<Arc<Words>>,
}

impl OptOuts {
    /// With these words, or none at all: then nothing is heard and nothing held back.
    #[must_use]
    pub fn new(store: Store, clock: Clock, bells: Bells, words: Option<Words>) -> Self {
        Self { store, clock, bells, words: words.map(Arc::new) }
    }

    /// What a reply's text asks for.
    #[must_use]
    pub fn wish(&self, text: Option<&str>) -> Option<Wish> {
        self.words.as_ref()?.read(text?)
    }

    /// Why a message of this location to this phone may not go, as a sentence for the agent; `None` if it may. A suppression
    /// that can't be read is an error, not a leave to send.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn refusal(&self, location: &LocationId, phone: &Phone) -> Result<Option<String>, StoreError> {
        let Some(words) = &self.words else { return Ok(None) };
        let (own, all) = (Scope::Location(location.clone()).document(phone), Scope::Everywhere.document(phone));
        let (own, all) = tokio::join!(self.store.get::<Suppression>(&own), self.store.get::<Suppression>(&all));
        let stands = [own?, all?].into_iter().flatten().any(|stored| stored.record.stands());
        Ok(stands.then(|| words.sentence()))
    }

    /// Heeds the wish of a stored reply, after those its sender expressed before. Nothing to do is done at once.
    ///
    /// # Errors
    /// [`StoreError`]: what was not heeded is still marked so.
    pub async fn hear(&self, id: &DocId) -> Result<(), StoreError> {
        let Some(stored) = self.store.get::<Reply>(id).await? else { return Ok(()) };
        let reply = stored.record;
        if reply.unheard().is_none() {
            return Ok(());
        }
        let lane = Query::OpenLane { lane: reply.lane(), limit: UNHEARD };
        let mut words: Vec<Reply> = self.store.find::<Reply>(lane).await?.into_iter().map(|s| s.record).collect();
        words.retain(|r| r.unheard().is_some() && r.accepted.at <= reply.accepted.at && r.id != reply.id);
        words.push(reply);
        for word in &words {
            self.heed(word).await?;
        }
        Ok(())
    }

    async fn heed(&self, reply: &Reply) -> Result<(), StoreError> {
        let (Some(wish), Some(phone)) = (reply.unheard(), &reply.accepted.phone) else { return Ok(()) };
        // A person's route names the location as well as the gateway's, and so does the number it was sent to.
        let by_hand = reply.progress.location.as_ref().filter(|_| reply.progress.routed_by_hand);
        let named = by_hand.or(reply.accepted.location.as_ref()).cloned();
        let explicit = match named {
            Some(location) => Some(location),
            None => assigned(&self.store, reply.accepted.to.as_deref()).await?,
        };
        let explicit = explicit.as_ref();
        let said = Said { at: reply.accepted.at, reply: reply.id.clone(), explicit: explicit.is_some() };
        let senders = senders(&self.store, phone, EVERYBODY).await?;
        let moved = match wish {
            Wish::Stop => self.stop(phone, &opt_out::covered(explicit, &senders, said.at), &said).await?,
            Wish::Start => self.start(phone, explicit, &senders, said.at).await?,
        };
        let now = self.clock.now();
        self.store
            .update::<Reply>(&reply.id, |r| {
                // By another route meanwhile: that one is not heeded yet.
                let same = r.unheard().is_some() && r.progress.routed_by_hand == reply.progress.routed_by_hand;
                same.then(|| r.with(ReplyProgress { heard_at: Some(now), ..r.progress.clone() }))
            })
            .await?;
        tracing::info!(inbound.id = %reply.id, phone.masked = phone.masked(), ?wish, locations = moved, "opt-out");
        self.bells.replies.ring();
        Ok(())
    }

    async fn stop(&self, phone: &Phone, scopes: &[Scope], said: &Said) -> Result<usize, StoreError> {
        for scope in scopes {
            if self.store.insert(&Suppression::begin(scope, phone, said)).await? == Inserted::Duplicate {
                self.store.update::<Suppression>(&scope.document(phone), |held| held.stopped(said)).await?;
            }
        }
        Ok(scopes.len())
    }

    async fn start(
        &self,
        phone: &Phone,
        explicit: Option<&LocationId>,
        senders: &[Sender],
        at: UnixMillis,
    ) -> Result<usize, StoreError> {
        let lane = Query::Lane { lane: phone.e164().to_owned(), limit: EVERYBODY };
        let held = self.store.find::<Suppression>(lane).await?;
        let mut lifted = 0;
        for stored in held.iter().filter(|stored| opt_out::lifts(explicit, &stored.record, senders)) {
            let id = stored.record.scope().document(phone);
            lifted += usize::from(self.lift(&id, LiftedBy::Person, at).await?.is_some());
        }
        Ok(lifted)
    }

    async fn lift(&self, id: &DocId, by: LiftedBy, at: UnixMillis) -> Result<Option<()>, StoreError> {
        Ok(self.store.update::<Suppression>(id, |held| held.lift(by, at)).await?.map(drop))
    }

    /// Replies whose wish nobody has heeded yet, oldest first: of a process that died, or a store that failed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn unheard(&self, limit: usize) -> Result<Vec<DocId>, StoreError> {
        let due = Query::ReportDue { now: UnixMillis(i64::MAX), limit };
        Ok(self.store.find::<Reply>(due).await?.into_iter().map(|stored| stored.record.id).collect())
    }

    /// An agent changed a contact's settings in the CRM, says GHL's event `id`: cleared, they lift the suppression GHL had
    /// acknowledged. GHL signs every app's events with one key, so they count for an installed location alone (ghl contract §2).
    ///
    /// # Errors
    /// [`StoreError`]: the event is to be sent again.
    pub async fn contact_dnd(&self, dnd: &ContactDnd, id: &str) -> Result<Clearance, StoreError> {
        if dnd.sms_blocked != Some(false) {
            return Ok(Clearance::Nothing);
        }
        let installation = self.store.get::<Installation>(&DocId::location(&dnd.location)).await?;
        if !installation.is_some_and(|stored| stored.record.installed()) {
            return Ok(Clearance::Nothing);
        }
        let mut clearance = Clearance::Nothing;
        for stored in self.of_contact(dnd).await? {
            let held = stored.record;
            if held.location.as_ref() != Some(&dnd.location) {
                continue;
            }
            if held.events.iter().any(|seen| seen == id) {
                clearance = Clearance::Repeated;
            }
            let now = self.clock.now();
            let key = held.scope().document(&held.phone);
            let lifted = self.store.update::<Suppression>(&key, |held| held.cleared(id, dnd.sent_at, now)).await?;
            if lifted.is_some() {
                tracing::info!(location.id = %dnd.location, phone.masked = held.phone.masked(), "an agent lifted an opt-out");
                return Ok(Clearance::Lifted);
            }
        }
        Ok(clearance)
    }

    /// By number, and by contact: its number may have been edited since.
    async fn of_contact(&self, dnd: &ContactDnd) -> Result<Vec<Stored<Suppression>>, StoreError> {
        let mut found = Vec::new();
        if let Some(phone) = dnd.phone.as_deref().and_then(|raw| Phone::parse(raw).ok()) {
            let key = Scope::Location(dnd.location.clone()).document(&phone);
            found.extend(self.store.get::<Suppression>(&key).await?);
        }
        if let Some(contact) = &dnd.contact_id {
            let named = Query::Named { name: contact.clone(), limit: NAMESAKES };
            found.extend(self.store.find::<Suppression>(named).await?);
        }
        Ok(found)
    }

    /// The reply that set a suppression is in the conversation: GHL may be told of the block.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn posted(&self, location: &LocationId, phone: &Phone) -> Result<(), StoreError> {
        let now = self.clock.now();
        let id = Scope::Location(location.clone()).document(phone);
        self.store
            .update::<Suppression>(&id, |held| {
                let waits = held.mirror.due_at.is_some_and(|at| at > now);
                let mirror = Mirror { due_at: Some(now), ..held.mirror.clone() };
                waits.then(|| Suppression { mirror, ..held.clone() })
            })
            .await?;
        Ok(())
    }
}

/// The location a receiving number or SIM is assigned to (bridge §7); one that is assigned twice belongs to nobody.
///
/// # Errors
/// [`StoreError`]
pub async fn assigned(store: &Store, to: Option<&str>) -> Result<Option<LocationId>, StoreError> {
    let Some(number) = to.and_then(receiving_number) else { return Ok(None) };
    let named = Query::Named { name: number.clone(), limit: NAMESAKES };
    let found = store.find::<LocationSettings>(named).await?.into_iter().map(|stored| stored.record);
    // A store may also find who had it before.
    let mut owners = found.filter(|settings| settings.receiving_numbers.contains(&number)).map(|s| s.location);
    let owner = owners.next();
    Ok(owner.filter(|_| owners.next().is_none()))
}

/// The locations that messaged a phone.
///
/// # Errors
/// [`StoreError`]
pub async fn senders(store: &Store, phone: &Phone, limit: usize) -> Result<Vec<Sender>, StoreError> {
    let lane = Query::Lane { lane: phone.e164().to_owned(), limit };
    let notes = store.find::<ContactNote>(lane).await?;
    let of = |note: ContactNote| {
        let at = note.last_outbound_at?;
        Some(Sender { location: note.location, company: note.company, last_outbound_at: at })
    };
    Ok(notes.into_iter().filter_map(|stored| of(stored.record)).collect())
}
