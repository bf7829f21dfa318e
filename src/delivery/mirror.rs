//! Telling GHL of opt-outs: the contact's do-not-disturb setting for SMS follows the suppression.
//!
//! Its own loop and index: neither a reply nor a report waits for it. Invariant: a call is written down before it is made, so
//! that whoever lifts the suppression meanwhile knows that GHL may show a block. What follows an answer is `domain::dnd`'s.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{LoopParts, gone};
use crate::client::ghl::GhlError;
use crate::domain::contact::ContactNote;
use crate::domain::dnd::{GivenUp, Mirror, MirrorReply};
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{Reply, ReplyState};
use crate::domain::opt_out::Suppression;
use crate::ghl_pace::Turn;
use crate::lifecycle::Stop;
use crate::oauth::CallError;
use crate::store::{Query, StoreError};

/// Suppressions read at once.
const BATCH: usize = 32;
/// Calls to GHL for them under way at once.
const AT_ONCE: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The reply that said STOP goes first; it is looked at again this often at the most.
const REPLY_FIRST: Duration = Duration::from_secs(5);

/// The loop; clones share it.
#[derive(Clone)]
pub struct Mirrors(Arc<LoopParts>);

impl Mirrors {
    /// A loop that has told nothing yet.
    #[must_use]
    pub fn new(parts: LoopParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Takes every suppression that is due one try further; answers how many there were.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn step(&self) -> Result<usize, StoreError> {
        if self.0.leadership.right().is_none() {
            return Ok(0);
        }
        let now = self.0.clock.now();
        let due = self.0.store.find::<Suppression>(Query::ReportDue { now, limit: BATCH }).await?;
        let count = due.len();
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |stored| async move {
                if let Err(e) = self.tell(&stored.record).await {
                    tracing::warn!(error = %e, "an opt-out could not be told or noted");
                }
            })
            .await;
        Ok(count)
    }

    /// Tells until shutdown begins.
    pub async fn run(&self, stop: &Stop) {
        loop {
            if let Err(e) = self.step().await {
                tracing::warn!(error = %e, "opt-outs can't be read now");
            }
            tokio::select! {
                () = self.0.clock.sleep(LOOK_EVERY) => {}
                () = stop.soft() => return,
            }
        }
    }

    async fn tell(&self, held: &Suppression) -> Result<(), StoreError> {
        let Some(location) = &held.location else { return Ok(()) };
        let Some(reply) = self.attempt(held, location).await? else { return Ok(()) };
        let (now, jitter) = (self.0.clock.now(), crate::random::unit());
        let noted = self.change(held, |mirror| mirror.after(reply, held.stands(), now, jitter)).await?;
        match (reply, noted.and_then(|mirror| mirror.given_up)) {
            (MirrorReply::Told, _) => {
                tracing::info!(location.id = %location, phone.masked = held.phone.masked(), blocked = held.stands(), "ghl.dnd");
            }
            (_, Some(why)) => {
                tracing::warn!(location.id = %location, ?why, "ghl.dnd: given up; nothing is sent all the same")
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// Applies a change to the mirror, unless somebody spoke about the suppression meanwhile.
    async fn change(
        &self,
        held: &Suppression,
        next: impl Fn(&Mirror) -> Mirror + Send + Sync,
    ) -> Result<Option<Mirror>, StoreError> {
        let id = held.scope().document(&held.phone);
        let changed = self.0.store.update::<Suppression>(&id, |now| {
            let same = now.changed_at == held.changed_at && now.stands() == held.stands();
            same.then(|| Suppression { mirror: next(&now.mirror), ..now.clone() })
        });
        Ok(changed.await?.map(|stored| stored.record.mirror))
    }

    /// One try; `None` when it was not this one's to make.
    async fn attempt(&self, held: &Suppression, location: &LocationId) -> Result<Option<MirrorReply>, StoreError> {
        let now = self.0.clock.now();
        if let Some(wait) = self.reply_first(held, location).await? {
            return Ok(Some(MirrorReply::Later(wait)));
        }
        let contact = match self.contact(held, location).await? {
            Ok(contact) => contact,
            Err(reply) => return Ok(Some(reply)),
        };
        if let Some(wait) = self.not_its_turn(location) {
            return Ok(Some(wait));
        }
        if self.change(held, |mirror| mirror.calling(&contact, now)).await?.is_none() {
            return Ok(None);
        }
        let (ghl, contact, blocked) = (self.0.tokens.ghl(), contact.as_str(), held.stands());
        let told =
            self.0.tokens.call(location, |token| async move { ghl.set_sms_dnd(&token, contact, blocked).await }).await;
        match told {
            Ok(()) => Ok(Some(MirrorReply::Told)),
            Err(CallError::Ghl(GhlError::Api(refusal))) if gone(&refusal, "contact") => {
                self.forget_contact(held, location).await?;
                Ok(Some(MirrorReply::Trouble))
            }
            Err(e) => self.failed(e, location, held.mirror.limited).map(Some),
        }
    }

    /// The reply is shown in the conversation before the block: as long as it is on its way there, it goes first.
    async fn reply_first(&self, held: &Suppression, location: &LocationId) -> Result<Option<Duration>, StoreError> {
        if !held.stands() {
            return Ok(None);
        }
        let Some(reply) = self.0.store.get::<Reply>(&held.reply).await? else { return Ok(None) };
        let p = &reply.record.progress;
        let here = p.location.as_ref().is_none_or(|routed| routed == location);
        let wait = p.due_at.since(self.0.clock.now()).max(REPLY_FIRST);
        Ok((p.state == ReplyState::Received && here).then_some(wait))
    }

    /// Whose block it is: learnt from messages and replies, else looked up; none is made.
    async fn contact(
        &self,
        held: &Suppression,
        location: &LocationId,
    ) -> Result<Result<String, MirrorReply>, StoreError> {
        let note = self.0.store.get::<ContactNote>(&DocId::contact(location, held.phone.e164())).await?;
        if let Some(contact) = note.and_then(|stored| stored.record.contact_id) {
            return Ok(Ok(contact));
        }
        if let Some(wait) = self.not_its_turn(location) {
            return Ok(Err(wait));
        }
        let (ghl, phone) = (self.0.tokens.ghl(), held.phone.e164());
        let look = |token| async move { ghl.find_contact(&token, location.as_str(), phone).await };
        Ok(match self.0.tokens.call(location, look).await {
            Ok(Some(contact)) => Ok(contact),
            Ok(None) => Err(MirrorReply::Never(GivenUp::NoContact)),
            Err(e) => Err(self.failed(e, location, held.mirror.limited)?),
        })
    }

    fn not_its_turn(&self, location: &LocationId) -> Option<MirrorReply> {
        let now = self.0.clock.now();
        match self.0.pace.contact(location.as_str(), now) {
            Turn::Now => None,
            Turn::At(place) => Some(MirrorReply::Later(place.since(now))),
        }
    }

    async fn forget_contact(&self, held: &Suppression, location: &LocationId) -> Result<(), StoreError> {
        let id = DocId::contact(location, held.phone.e164());
        self.0
            .store
            .update::<ContactNote>(&id, |note| {
                note.contact_id.is_some().then(|| ContactNote { contact_id: None, ..note.clone() })
            })
            .await?;
        Ok(())
    }

    fn failed(&self, error: CallError, location: &LocationId, limited: u32) -> Result<MirrorReply, StoreError> {
        Ok(match error {
            CallError::Store(e) => return Err(e),
            CallError::NotInstalled => MirrorReply::Never(GivenUp::NotInstalled),
            CallError::Ghl(GhlError::Api(refusal)) => match refusal.status {
                401 => MirrorReply::NoToken,
                403 => MirrorReply::Never(GivenUp::Scopes),
                429 => {
                    let until = self.0.tokens.limited(location.as_str(), "dnd", &refusal, limited);
                    MirrorReply::Limited(until.since(self.0.clock.now()))
                }
                _ if refusal.is_trouble() => MirrorReply::Trouble,
                _ => MirrorReply::Never(GivenUp::Refused),
            },
            CallError::Ghl(_) => MirrorReply::Trouble,
            _ => MirrorReply::NoToken,
        })
    }
}
