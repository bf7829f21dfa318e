//! Whose key pays for a location's messages, on which terms, and how many of them the shared key still carries today.
//!
//! Invariants: a location that has a key of its own never sends on the shared one, not even when its own can't be opened; a part
//! on a limited shared key is reserved before it is sent (`domain::day`). Reads what is set anew for each message.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::day::{Day, DayCount, Reserve, Spent};
use crate::domain::id::{DocId, LocationId};
use crate::domain::message::{FailureCode, HeldFor, Message};
use crate::domain::secret::Secret;
use crate::domain::settings::{LocationSettings, OwnKey, SharedKey, Standing, standing};
use crate::domain::time::UnixMillis;
use crate::pacing::KeyName;
use crate::queue::{Prepared, Terms};
use crate::seal::{KeyRing, SealError};
use crate::store::{Inserted, Store, StoreError};

/// A message whose location's key can't be opened is looked at this often: the right `TOKEN_ENCRYPTION_KEYS` bring it back.
const SEALED_WAIT: Duration = Duration::from_secs(60);

/// The operator's terms, for whoever has none of its own.
#[derive(Debug)]
pub struct AccountSettings {
    pub api_key: Secret,
    pub sender_id: Option<String>,
    pub shared_key: SharedKey,
    /// Parts of a location a day on the shared key; 0: no limit.
    pub daily_parts: u64,
    /// How long a message waits for an approval.
    pub message_max_age: Duration,
}

/// What every location sends on.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    store: Store,
    ring: Arc<KeyRing>,
    /// The name of the operator's key.
    shared: KeyName,
    settings: Arc<AccountSettings>,
}

/// How a location's message is paid for.
pub(super) struct Account {
    pub key: KeyName,
    pub terms: Terms,
    /// Parts a day, where there is a limit.
    daily_parts: Option<u64>,
}

impl Accounts {
    pub(super) fn new(store: Store, ring: Arc<KeyRing>, settings: AccountSettings) -> Self {
        Self { store, ring, shared: KeyName::of(&settings.api_key), settings: Arc::new(settings) }
    }

    /// The account of a message's location, or what becomes of the message instead.
    pub(super) async fn of(&self, message: &Message, now: UnixMillis) -> Result<Result<Account, Prepared>, StoreError> {
        let location = &message.accepted.intake.location;
        let own = self.settings_of(location).await?;
        match standing(own.as_ref(), self.settings.shared_key) {
            Standing::MayGo => {}
            Standing::Awaiting => {
                let until = message.waits_since().after(self.settings.message_max_age);
                return Ok(Err(Prepared::Hold { until, why: HeldFor::Approval }));
            }
            Standing::Never(code, sentence) => {
                return Ok(Err(Prepared::Reject { code, sentence: sentence.to_owned() }));
            }
        }
        let own_key = match self.own_key(own.as_ref()) {
            Ok(own_key) => own_key,
            Err(e) => {
                tracing::error!(location.id = %location, error = %e, "this location's Cast key can't be opened: its messages wait");
                return Ok(Err(Prepared::Hold { until: now.after(SEALED_WAIT), why: HeldFor::Seal }));
            }
        };
        let daily_parts = own.as_ref().and_then(|s| s.daily_parts).unwrap_or(self.settings.daily_parts);
        let daily_parts = Some(daily_parts).filter(|most| *most > 0 && own_key.is_none());
        let key = own_key.as_ref().map_or_else(|| self.shared.clone(), KeyName::of);
        let terms = Terms {
            api_key: own_key.unwrap_or_else(|| self.settings.api_key.clone()),
            sender_id: own.as_ref().and_then(|s| s.sender_id.clone()).or_else(|| self.settings.sender_id.clone()),
            status_on_accept: own.and_then(|s| s.status_on_accept),
            reserved_in: None,
        };
        Ok(Ok(Account { key, terms, daily_parts }))
    }

    /// Which key a location sends on now. One that can't be opened stands in the shared key's queue, and is held there.
    pub(super) async fn key_of(&self, location: &LocationId) -> Result<KeyName, StoreError> {
        let own = self.settings_of(location).await?;
        let key = self.own_key(own.as_ref()).ok().flatten();
        Ok(key.as_ref().map_or_else(|| self.shared.clone(), KeyName::of))
    }

    /// Whether a location's held messages would not be held again for its account's sake.
    pub(super) async fn may_go(&self, location: &LocationId) -> Result<bool, StoreError> {
        let own = self.settings_of(location).await?;
        Ok(standing(own.as_ref(), self.settings.shared_key) != Standing::Awaiting && self.own_key(own.as_ref()).is_ok())
    }

    /// Reserves what a message still has to send, where its day is limited; `None` when that is too much.
    pub(super) async fn reserve(
        &self,
        account: Account,
        message: &Message,
        parts: usize,
        now: UnixMillis,
    ) -> Result<Option<Account>, StoreError> {
        let Some(most) = account.daily_parts else { return Ok(Some(account)) };
        let location = message.accepted.intake.location.clone();
        let empty = DayCount::new(location, Day::of(now));
        let (id, parts) = (empty.id(), u64::try_from(parts).unwrap_or(u64::MAX));
        let reserved = match empty.reserve(&message.id, parts, most) {
            Reserve::Now(first) => self.store.insert(&first).await? == Inserted::New,
            Reserve::Standing => true,
            Reserve::Over => return Ok(None),
        };
        if !reserved {
            self.store
                .update::<DayCount>(&id, |day| match day.reserve(&message.id, parts, most) {
                    Reserve::Now(next) => Some(next),
                    Reserve::Standing | Reserve::Over => None,
                })
                .await?;
            // What was refused was not written: the document says which it was.
            let day = self.store.get::<DayCount>(&id).await?;
            if !day.is_some_and(|day| day.record.reserve(&message.id, parts, most) == Reserve::Standing) {
                return Ok(None);
            }
        }
        Ok(Some(Account { terms: Terms { reserved_in: Some(id), ..account.terms }, ..account }))
    }

    /// Settles the part of a call. What can't be written stays reserved until midnight.
    pub(super) async fn settle(&self, reserved_in: &DocId, message: &DocId, spent: Spent) {
        let settled = self.store.update::<DayCount>(reserved_in, |day| Some(day.settle(message, spent)));
        if let Err(e) = settled.await {
            tracing::warn!(job.id = %message, error = %e, "the day's count could not be kept up: it counts too many");
        }
    }

    /// What an agent reads when the day is full.
    pub(super) fn day_is_full() -> Prepared {
        let sentence = "This sub-account has sent all the SMS it may send today. It can send again tomorrow.";
        Prepared::Reject { code: FailureCode::DailyLimit, sentence: sentence.to_owned() }
    }

    async fn settings_of(&self, location: &LocationId) -> Result<Option<LocationSettings>, StoreError> {
        let stored = self.store.get::<LocationSettings>(&DocId::settings(location)).await?;
        Ok(stored.map(|stored| stored.record))
    }

    fn own_key(&self, own: Option<&LocationSettings>) -> Result<Option<Secret>, SealError> {
        let Some((settings, key)) = own.and_then(|s| Some((s, s.cast_key.as_ref()?))) else { return Ok(None) };
        self.ring.open(&settings.id(), OwnKey::FIELD, &key.sealed).map(Some)
    }
}
