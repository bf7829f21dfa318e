//! Posting one reply: in the shape the location takes, and after a look when an earlier post may have landed unseen.
//!
//! Owns the calls; which shape follows GHL's objection is `domain::post`'s. Invariant: what GHL taught us is remembered, so that
//! an objection costs one call once. Must not import http or config.

use super::super::gone;
use super::{InboundWorker, rfc3339};
use crate::client::ghl::{ApiRefusal, GhlError, InboundPost, InboundPosted, ProviderKind, Thread};
use crate::domain::contact::ContactNote;
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{Reply, ReplyStep};
use crate::domain::installation::Installation;
use crate::domain::phone::Phone;
use crate::domain::post::{Objection, PostKind, PostMemory, PostShape};
use crate::domain::settings::LocationSettings;
use crate::oauth::CallError;
use crate::store::StoreError;

/// Whose reply goes where.
#[derive(Clone, Copy)]
pub(super) struct Addressed<'a> {
    pub(super) reply: &'a Reply,
    pub(super) location: &'a LocationId,
    pub(super) phone: &'a Phone,
    pub(super) contact: &'a str,
}

/// What a try to post came to, but for GHL's refusals.
enum Tried {
    Posted(InboundPosted),
    /// No post was made.
    Stopped(ReplyStep),
}

impl InboundWorker {
    /// Before it is posted again: if an earlier post is in the conversation it is posted. Where no conversation is known, or GHL
    /// does not show it, better twice than lost.
    pub(super) async fn look(&self, to: Addressed<'_>) -> Result<ReplyStep, StoreError> {
        let Some(conversation) = self.known_conversation(to).await? else { return self.post(to).await };
        if let Some(wait) = self.not_its_turn(to.location) {
            return Ok(wait);
        }
        let ghl = self.0.parts.tokens.ghl();
        let (seen_in, alt_id) = (&conversation, to.reply.id.as_str());
        let found = self
            .0
            .parts
            .tokens
            .call(to.location, |token| async move { ghl.find_posted(&token, seen_in, alt_id).await })
            .await;
        match found {
            Ok(Some(message)) => Ok(ReplyStep::Posted { message, conversation: Some(conversation) }),
            Ok(None) | Err(CallError::Ghl(GhlError::Unreadable { .. })) => Ok(ReplyStep::NotThere),
            Err(CallError::Ghl(GhlError::Api(refusal))) if matches!(refusal.status, 400 | 403 | 404 | 422) => {
                Ok(ReplyStep::NotThere)
            }
            Err(e) => self.failed(e, to.location, to.reply.progress.limited),
        }
    }

    pub(super) async fn post(&self, to: Addressed<'_>) -> Result<ReplyStep, StoreError> {
        let installation = self.0.parts.store.get::<Installation>(&DocId::location(to.location)).await?;
        let (memory, phone_refused) =
            installation.map(|s| (s.record.post, s.record.inbound_phone_refused)).unwrap_or_default();
        let provider = self.0.settings.provider_id.as_deref();
        let settings = self.0.parts.store.get::<LocationSettings>(&DocId::settings(to.location)).await?;
        let kind = settings.and_then(|s| s.record.provider_kind).map_or_else(PostKind::default, PostKind::from);
        let mut shape = PostShape::first(&memory, kind, phone_refused, provider);
        let mut tried = vec![shape];
        loop {
            let refusal = match self.post_once(to, shape).await {
                Ok(Tried::Posted(posted)) => {
                    self.learn(to, shape.learnt(&memory, kind, provider), !shape.phone).await?;
                    self.learn_conversation(to, posted.conversation_id.as_deref()).await?;
                    let InboundPosted { message_id, conversation_id, .. } = posted;
                    return Ok(ReplyStep::Posted { message: message_id, conversation: conversation_id });
                }
                Ok(Tried::Stopped(step)) => return Ok(step),
                Err(CallError::Ghl(GhlError::Api(refusal))) => refusal,
                Err(e) => return self.failed(e, to.location, to.reply.progress.limited),
            };
            if gone(&refusal, "contact") {
                return self.forget(to, |note| ContactNote { contact_id: None, ..note }).await;
            }
            if shape.conversation && gone(&refusal, "conversation") {
                return self.forget(to, |note| ContactNote { conversation_id: None, ..note }).await;
            }
            let objection = objection(&refusal, shape);
            if objection == Some(Objection::Phone) {
                // Certain whatever follows; of the other objections only the shape that was taken says what they meant.
                self.learn(to, memory.clone(), true).await?;
            }
            match objection.and_then(|objection| PostShape::next(&tried, objection)) {
                Some(next) => {
                    shape = next;
                    tried.push(shape);
                }
                None => {
                    let error = CallError::Ghl(GhlError::Api(refusal));
                    return self.failed(error, to.location, to.reply.progress.limited);
                }
            }
        }
    }

    async fn post_once(&self, to: Addressed<'_>, shape: PostShape) -> Result<Tried, CallError> {
        let date = rfc3339(to.reply.accepted.sent_at);
        let conversation = match shape.conversation {
            true => match self.conversation(to).await? {
                Ok(found) => Some(found),
                Err(step) => return Ok(Tried::Stopped(step)),
            },
            false => None,
        };
        if let Some(wait) = self.not_its_turn(to.location) {
            return Ok(Tried::Stopped(wait));
        }
        let ghl = self.0.parts.tokens.ghl();
        let post = InboundPost {
            kind: match shape.kind {
                PostKind::Sms => ProviderKind::Sms,
                PostKind::Custom => ProviderKind::Custom,
            },
            thread: conversation.as_deref().map_or(Thread::Contact(to.contact), Thread::Conversation),
            message: to.reply.accepted.text.as_deref(),
            provider_id: self.0.settings.provider_id.as_deref().filter(|_| shape.provider),
            phone: shape.phone.then(|| to.phone.e164()),
            date: &date,
            alt_id: to.reply.id.as_str(),
            attachments: &to.reply.accepted.attachments,
        };
        let posted =
            self.0.parts.tokens.call(to.location, |token| async move { ghl.post_inbound(&token, &post).await }).await?;
        Ok(Tried::Posted(posted))
    }

    async fn known_conversation(&self, to: Addressed<'_>) -> Result<Option<String>, StoreError> {
        let note = self.0.parts.store.get::<ContactNote>(&DocId::contact(to.location, to.phone.e164())).await?;
        Ok(note.and_then(|stored| stored.record.conversation_id))
    }

    /// The contact's conversation, for a location where GHL insists on it: remembered, found or made; or what keeps it from
    /// that now.
    async fn conversation(&self, to: Addressed<'_>) -> Result<Result<String, ReplyStep>, CallError> {
        if let Some(known) = self.known_conversation(to).await? {
            return Ok(Ok(known));
        }
        let (tokens, location, contact) = (&self.0.parts.tokens, to.location.as_str(), to.contact);
        let ghl = tokens.ghl();
        let search = |token| async move { ghl.find_conversation(&token, location, contact).await };
        let create = |token| async move { ghl.create_conversation(&token, location, contact).await };
        // Where there is one that the first search did not know, the second may.
        for make in [false, true, false] {
            if let Some(wait) = self.not_its_turn(to.location) {
                return Ok(Err(wait));
            }
            let found =
                if make { tokens.call(to.location, create).await } else { tokens.call(to.location, search).await }?;
            if let Some(found) = found {
                self.learn_conversation(to, Some(&found)).await?;
                return Ok(Ok(found));
            }
        }
        Ok(Err(ReplyStep::Later { wait: None, why: "the CRM does not show the conversation yet" }))
    }

    /// Remembered with the installation: what GHL taught us of the location outlives a grant.
    async fn learn(&self, to: Addressed<'_>, memory: PostMemory, phone_refused: bool) -> Result<(), StoreError> {
        self.0
            .parts
            .store
            .update::<Installation>(&DocId::location(to.location), |i| {
                let next = Installation { post: memory.clone(), inbound_phone_refused: phone_refused, ..i.clone() };
                (next != *i).then_some(next)
            })
            .await?;
        Ok(())
    }

    async fn learn_conversation(&self, to: Addressed<'_>, conversation: Option<&str>) -> Result<(), StoreError> {
        let Some(conversation) = conversation else { return Ok(()) };
        self.0
            .parts
            .store
            .update::<ContactNote>(&DocId::contact(to.location, to.phone.e164()), |note| {
                let known = note.conversation_id.as_deref() == Some(conversation);
                (!known).then(|| ContactNote { conversation_id: Some(conversation.to_owned()), ..note.clone() })
            })
            .await?;
        Ok(())
    }

    /// What we knew of the phone was deleted or merged since: it is looked for anew.
    async fn forget(
        &self,
        to: Addressed<'_>,
        without: impl Fn(ContactNote) -> ContactNote + Send + Sync,
    ) -> Result<ReplyStep, StoreError> {
        self.0
            .parts
            .store
            .update::<ContactNote>(&DocId::contact(to.location, to.phone.e164()), |note| {
                let next = without(note.clone());
                (next != *note).then_some(next)
            })
            .await?;
        Ok(ReplyStep::ContactGone)
    }
}

fn objection(refusal: &ApiRefusal, shape: PostShape) -> Option<Objection> {
    if refusal.is_wrong_kind() {
        return Some(Objection::Kind);
    }
    let named = [
        (shape.phone, "phone", Objection::Phone),
        (shape.provider, "conversationProviderId", Objection::Provider),
        (!shape.conversation, "conversationId", Objection::Contact),
    ];
    named.into_iter().find(|(sent, name, _)| *sent && refusal.names(name)).map(|(_, _, objection)| objection)
}
