//! Outbound: may it go, as which parts, and the call to Cast.
//!
//! Holds no state of its own; who pays is `account`'s. Contact memory is learnt here, from installed locations alone.

use std::sync::Arc;
use std::time::Duration;

use super::account::{AccountSettings, Accounts};
use crate::client::cast::{CastClient, CastSms};
use crate::clock::Clock;
use crate::domain::compose::{ComposeError, ComposeRules, compose};
use crate::domain::contact::ContactNote;
use crate::domain::day::Spent;
use crate::domain::id::{DocId, LocationId};
use crate::domain::installation::{Installation, MaySend, may_send};
use crate::domain::message::{DOCUMENT_VERSION, FailureCode, HeldFor, Message, PartRecord};
use crate::domain::outcome::SendOutcome;
use crate::domain::phone::Phone;
use crate::domain::time::UnixMillis;
use crate::opt_out::OptOuts;
use crate::pacing::KeyName;
use crate::queue::{Call, Handler, Prepared};
use crate::seal::KeyRing;
use crate::store::{Inserted, Store, StoreError};

/// What outbound delivery is set to.
#[derive(Debug)]
pub struct OutboundSettings {
    pub account: AccountSettings,
    pub compose: ComposeRules,
    /// How long messages wait for an installation.
    pub install_wait: Duration,
}

/// The queue's handler; clones share the client.
#[derive(Debug, Clone)]
pub struct Outbound {
    store: Store,
    cast: CastClient,
    clock: Clock,
    accounts: Accounts,
    compose: ComposeRules,
    install_wait: Duration,
    opt_outs: OptOuts,
}

impl Outbound {
    /// A handler for the operator's Cast key and those that locations have of their own, which `ring` opens.
    #[must_use]
    pub fn new(
        store: Store,
        ring: Arc<KeyRing>,
        cast: CastClient,
        clock: Clock,
        settings: OutboundSettings,
        opt_outs: OptOuts,
    ) -> Self {
        let OutboundSettings { account, compose, install_wait } = settings;
        let accounts = Accounts::new(store.clone(), ring, account);
        Self { accounts, store, cast, clock, compose, install_wait, opt_outs }
    }

    /// Remembers whose contact this phone is, for the reply.
    async fn learn(
        &self,
        message: &Message,
        installation: &Installation,
        phone: &Phone,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let intake = &message.accepted.intake;
        let note = ContactNote {
            v: DOCUMENT_VERSION,
            location: intake.location.clone(),
            company: installation.company.clone(),
            phone: phone.clone(),
            contact_id: intake.contact_id.clone(),
            conversation_id: intake.conversation_id.clone(),
            last_outbound_at: Some(now),
        };
        if self.store.insert(&note).await? == Inserted::New {
            return Ok(());
        }
        let id = DocId::contact(&intake.location, phone.e164());
        self.store
            .update::<ContactNote>(&id, |old| {
                Some(ContactNote {
                    contact_id: note.contact_id.clone().or_else(|| old.contact_id.clone()),
                    conversation_id: note.conversation_id.clone().or_else(|| old.conversation_id.clone()),
                    ..note.clone()
                })
            })
            .await?;
        Ok(())
    }
}

impl Handler for Outbound {
    async fn prepare(&self, message: &Message, now: UnixMillis) -> Result<Prepared, StoreError> {
        let accepted = &message.accepted;
        let intake = &accepted.intake;
        let stored = self.store.get::<Installation>(&DocId::location(&intake.location)).await?;
        let installation = stored.map(|s| s.record);
        match may_send(installation.as_ref(), message.waits_since(), now, self.install_wait) {
            MaySend::Yes => {}
            MaySend::HoldUntil(until) => {
                return Ok(Prepared::Hold { until, why: HeldFor::Installation });
            }
            MaySend::Never(code, sentence) => return Ok(Prepared::Reject { code, sentence: sentence.to_owned() }),
        }
        let phone = match Phone::parse(intake.phone.as_deref().unwrap_or_default()) {
            Ok(phone) => phone,
            Err(e) => return Ok(Prepared::Reject { code: FailureCode::InvalidPhone, sentence: e.to_string() }),
        };
        // Before each part: a STOP in the middle of a long message stops the rest of it.
        if let Some(sentence) = self.opt_outs.refusal(&intake.location, &phone).await? {
            return Ok(Prepared::Reject { code: FailureCode::OptedOut, sentence });
        }
        let account = match self.accounts.of(message, now).await? {
            Ok(account) => account,
            Err(instead) => return Ok(instead),
        };
        let parts = match compose(intake.text.as_deref(), &intake.attachments, &self.compose) {
            Ok(parts) => parts,
            Err(e) => return Ok(Prepared::Reject { code: code(&e), sentence: e.to_string() }),
        };
        let left = message.progress.parts.iter().filter(|part| !part.accepted).count();
        let left = if message.progress.parts.is_empty() { parts.len() } else { left };
        let Some(account) = self.accounts.reserve(account, message, left, now).await? else {
            return Ok(Accounts::day_is_full());
        };
        // Once a message, not once a part.
        if message.progress.attempts.is_empty()
            && let Some(installation) = &installation
        {
            self.learn(message, installation, &phone, now).await?;
        }
        let parts = parts
            .into_iter()
            .map(|part| PartRecord {
                segments: part.segments.segments,
                text: part.text,
                accepted: false,
                gateway_id: None,
                receipt: None,
            })
            .collect();
        Ok(Prepared::Send { phone, parts, key: account.key, terms: account.terms })
    }

    async fn key_of(&self, location: &LocationId) -> Result<KeyName, StoreError> {
        self.accounts.key_of(location).await
    }

    #[tracing::instrument(name = "cast.send", skip_all, fields(location.id = %call.location, phone.masked = call.phone.masked()))]
    async fn send(&self, call: Call) -> SendOutcome {
        let to = call.phone.cast_local();
        let sms = CastSms {
            to: &to,
            message: &call.text,
            sender_id: call.terms.sender_id.as_deref(),
            idempotency_key: &call.idempotency_key,
        };
        let outcome = self.cast.send(&call.terms.api_key, &sms, self.clock.now()).await;
        if let Some(reserved_in) = &call.terms.reserved_in {
            self.accounts.settle(reserved_in, &call.message, spent(&outcome)).await;
        }
        outcome
    }

    async fn may_go(&self, location: &LocationId) -> Result<bool, StoreError> {
        let stored = self.store.get::<Installation>(&DocId::location(location)).await?;
        // An uninstalled location's messages are looked at, too: they fail at once.
        Ok(match stored.map(|s| s.record) {
            Some(i) if i.installed() => self.accounts.may_go(location).await?,
            Some(i) => i.uninstalled_at.is_some(),
            None => false,
        })
    }
}

/// What a call cost of the day.
fn spent(outcome: &SendOutcome) -> Spent {
    match outcome {
        SendOutcome::Accepted { .. } => Spent::Accepted,
        SendOutcome::Unknown { .. } => Spent::Perhaps,
        SendOutcome::NotSent { .. } | SendOutcome::Rejected { .. } => Spent::Not,
    }
}

fn code(e: &ComposeError) -> FailureCode {
    match e {
        ComposeError::Empty => FailureCode::EmptyMessage,
        ComposeError::AttachmentRefused => FailureCode::AttachmentRefused,
        ComposeError::TooLong(_) => FailureCode::TooLong,
    }
}
