//! The way in: signed webhooks, unreadable ones and replies become durable documents.
//!
//! Invariant: an `Ok` from here means durable, for duplicates too; what is beyond a bound is refused before the store is
//! asked. Decides nothing about sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::admission::{Admission, Full};
use crate::clock::Clock;
use crate::digest;
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{self, Identity, Reply, ReplyAccepted};
use crate::domain::lifecycle::{AppHook, ContactDnd, EventAccepted, StoredEvent};
use crate::domain::message::{DOCUMENT_VERSION, Intake, Message};
use crate::domain::opt_out::Wish;
use crate::domain::phone::Phone;
use crate::domain::receipt::{KeptReceipt, Receipt};
use crate::domain::time::UnixMillis;
use crate::lifecycle::Bells;
use crate::opt_out::{Clearance, OptOuts};
use crate::store::{Inserted, Store, StoreError, Unreadable, UnreadableFate, UnreadableKept};

/// What came of an enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: DocId,
    pub inserted: Inserted,
}

/// Why nothing is promised.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// Refused without asking the store.
    #[error(transparent)]
    Full(#[from] Full),
    /// Stored or not; a repeat makes one document all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A reply as the gateway posted it, checked for shape.
#[derive(Clone, PartialEq, Eq)]
pub struct NewReply {
    pub from: String,
    pub to: Option<String>,
    pub text: Option<String>,
    pub gateway_id: Option<String>,
    pub sent_at: Option<UnixMillis>,
    pub location: Option<LocationId>,
    pub attachments: Vec<String>,
}

/// The way in; clones share the counter.
#[derive(Debug, Clone)]
pub struct Enqueue {
    store: Store,
    clock: Clock,
    bells: Bells,
    replica: Arc<str>,
    counter: Arc<AtomicU64>,
    retention: Duration,
    admission: Admission,
    opt_outs: OptOuts,
}

impl Enqueue {
    /// `replica` is the random name of this process.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        bells: Bells,
        replica: &str,
        retention: Duration,
        admission: Admission,
        opt_outs: OptOuts,
    ) -> Self {
        Self { store, clock, bells, replica: replica.into(), counter: Arc::default(), retention, admission, opt_outs }
    }

    /// Stores an outbound message. Beyond a bound a duplicate is refused as well: only the store could tell it from a new
    /// message, and its next redelivery finds it.
    ///
    /// # Errors
    /// [`EnqueueError`]: nothing is promised; a redelivery makes one job all the same.
    pub async fn message(&self, intake: Intake) -> Result<Answer, EnqueueError> {
        let place = self.admission.message()?;
        let message = Message::accept(intake, self.clock.now(), &self.replica, self.position());
        let inserted = self.store.insert(&message).await?;
        if inserted == Inserted::New {
            place.keep();
            self.bells.messages.ring();
        }
        Ok(Answer { id: message.id, inserted })
    }

    /// Stores a lifecycle event, or finds that it is a repeat: by the hook's own id, else by the bytes it came as.
    ///
    /// # Errors
    /// [`EnqueueError`]: nothing is promised; a redelivery makes one event all the same.
    pub async fn event(&self, hook: AppHook, raw: &[u8]) -> Result<Answer, EnqueueError> {
        self.admission.document()?;
        let own = hook.webhook_id.filter(|id| LocationId::parse(id).is_ok());
        let id = DocId::event(&own.unwrap_or_else(|| digest::sha256_hex(raw)));
        let accepted = EventAccepted {
            v: DOCUMENT_VERSION,
            at: self.clock.now(),
            replica: self.replica.to_string(),
            counter: self.position(),
            event: hook.event,
        };
        let inserted = self.store.insert(&StoredEvent::accept(id.clone(), accepted)).await?;
        if inserted == Inserted::New {
            self.bells.installs.ring();
        }
        Ok(Answer { id, inserted })
    }

    /// Takes a change of a contact's do-not-disturb settings; `None` when it concerns nothing of ours.
    ///
    /// # Errors
    /// [`EnqueueError`]: a redelivery comes to the same.
    pub async fn contact_dnd(&self, dnd: &ContactDnd, raw: &[u8]) -> Result<Option<Answer>, EnqueueError> {
        let own = dnd.webhook_id.clone().filter(|id| LocationId::parse(id).is_ok());
        let key = own.unwrap_or_else(|| digest::sha256_hex(raw));
        let inserted = match self.opt_outs.contact_dnd(dnd, &key).await? {
            Clearance::Lifted => Inserted::New,
            Clearance::Repeated => Inserted::Duplicate,
            Clearance::Nothing => return Ok(None),
        };
        Ok(Some(Answer { id: DocId::event(&key), inserted }))
    }

    /// Keeps a signed webhook that could not be read. It is settled from the start, so no backlog keeps it out.
    ///
    /// # Errors
    /// [`EnqueueError`]
    pub async fn unreadable(&self, raw: &[u8], why: &str) -> Result<Answer, EnqueueError> {
        self.admission.document()?;
        let now = self.clock.now();
        let id = DocId::dead(&digest::sha256_hex(raw));
        let kept = UnreadableKept { v: DOCUMENT_VERSION, raw: STANDARD.encode(raw), why: why.to_owned() };
        let fate = UnreadableFate { settled_at: now, strip_at: Some(now.after(self.retention)), dropped_at: None };
        let inserted = self.store.insert(&Unreadable { id: id.clone(), kept, fate }).await?;
        Ok(Answer { id, inserted })
    }

    /// Stores a reply, or finds that it is a repeat. A STOP in it holds from before the answer on: no message is begun
    /// after it.
    ///
    /// # Errors
    /// [`EnqueueError`]
    pub async fn reply(&self, new: NewReply) -> Result<Answer, EnqueueError> {
        let wish = self.opt_outs.wish(new.text.as_deref());
        let answer = self.store_reply(new, wish).await?;
        if wish.is_some() {
            // A repeat's, too: of a reply whose wish could not be heeded the first time.
            self.opt_outs.hear(&answer.id).await?;
        }
        Ok(answer)
    }

    async fn store_reply(&self, new: NewReply, wish: Option<Wish>) -> Result<Answer, EnqueueError> {
        self.admission.document()?;
        let now = self.clock.now();
        let identity = inbound::identity(
            new.gateway_id.as_deref(),
            &new.from,
            new.to.as_deref(),
            new.text.as_deref(),
            new.sent_at,
            now,
        );
        let key = |text: &str| DocId::inbound(&digest::sha256_hex(text.as_bytes()));
        let id = match &identity {
            Identity::Exact(text) => key(text),
            Identity::Minute { this, before } => {
                let earlier = key(before);
                if let Some(answer) = self.repeat_within_a_minute(earlier, now).await? {
                    return Ok(answer);
                }
                key(this)
            }
        };
        let accepted = ReplyAccepted {
            v: DOCUMENT_VERSION,
            at: now,
            replica: self.replica.to_string(),
            counter: self.position(),
            phone: Phone::parse(&new.from).ok(),
            from: new.from,
            to: new.to,
            text: new.text,
            attachments: new.attachments,
            sent_at: new.sent_at.unwrap_or(now),
            location: new.location,
            wish,
        };
        let inserted = self.store.insert(&Reply::accept(id.clone(), accepted, self.retention)).await?;
        if inserted == Inserted::New {
            self.bells.replies.ring();
        }
        Ok(Answer { id, inserted })
    }

    /// Stores what became of an SMS, for the leader to find its message; the strongest of several stays.
    ///
    /// # Errors
    /// [`EnqueueError`]: a repeat changes nothing twice.
    pub async fn receipt(&self, gateway_id: &str, receipt: Receipt) -> Result<Answer, EnqueueError> {
        self.admission.document()?;
        let now = self.clock.now();
        let fresh = KeptReceipt::accept(gateway_id, receipt, now);
        let inserted = self.store.insert(&fresh).await?;
        if inserted == Inserted::Duplicate {
            let there = AtomicBool::new(false);
            let join = |kept: &KeptReceipt| {
                there.store(true, Ordering::Relaxed);
                kept.joined(&fresh.progress.receipt, now)
            };
            self.store.update::<KeptReceipt>(&fresh.id, join).await?;
            if !there.load(Ordering::Relaxed) {
                let why = "an earlier receipt for this SMS is just being forgotten";
                return Err(StoreError::Unavailable(why.to_owned()).into());
            }
        }
        self.bells.receipts.ring();
        Ok(Answer { id: fresh.id, inserted })
    }

    /// The look at the minute before: a repeat counts only within 60 s ("people do answer Yes twice").
    async fn repeat_within_a_minute(&self, earlier: DocId, now: UnixMillis) -> Result<Option<Answer>, StoreError> {
        let Some(stored) = self.store.get::<Reply>(&earlier).await? else { return Ok(None) };
        if now.since(stored.record.accepted.at) >= Duration::from_secs(60) {
            return Ok(None);
        }
        // Raising the counter of the original proves it durable, as for any duplicate.
        let inserted = self.store.insert(&stored.record).await?;
        Ok(Some(Answer { id: earlier, inserted }))
    }

    fn position(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}
