//! Retry and drop: one rule of `domain`, evaluated on the very revision it is saved to.
//!
//! Invariant: whatever races with it (a late outcome, another person) is seen and judged, never overwritten. Settling stays
//! the leader's: `RETENTION` is its to know, not a command's.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Kind, OperatorError, Target, UnreadableRefusal, gone, read, resolve};
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{self, Reply};
use crate::domain::installation::Installation;
use crate::domain::message::Message;
use crate::domain::resend;
use crate::domain::time::UnixMillis;
use crate::domain::webhook::{Read, read as read_webhook};
use crate::random;
use crate::store::{Inserted, Record, Store, Stored, Unreadable, UnreadableFate};

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub id: DocId,
    pub kind: Kind,
    pub done: Done,
    /// The message made of an unreadable webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<DocId>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It is on its way again.
    Retried,
    /// An unreadable webhook became a message.
    Enqueued,
    /// The message of an unreadable webhook was there already.
    AlreadyEnqueued,
    /// It is set aside for good.
    Dropped,
    /// It waited to be sent, and ends unsent at the leader's next look.
    Stopped,
}

/// Sends a message again under a new idempotency key, reads an unreadable webhook with this release's reader, or tries a
/// stranded reply anew. `name` as in [`super::show`].
///
/// # Errors
/// [`OperatorError`]
pub async fn retry(store: &Store, name: &str, now: UnixMillis) -> Result<Change, OperatorError> {
    let target = resolve(store, name).await?;
    let (done, message) = match target.kind {
        Kind::Message => {
            change(store, &target, |m: &Message| resend::resend(m, now).map(|p| m.with(p)), refused_message).await?;
            (Done::Retried, None)
        }
        Kind::Reply => {
            change(store, &target, |r: &Reply| inbound::retry(r, now).map(|p| r.with(p)), refused_reply).await?;
            (Done::Retried, None)
        }
        Kind::Unreadable => {
            let (done, message) = read_again(store, &target, now).await?;
            (done, Some(message))
        }
    };
    Ok(Change { id: target.id, kind: target.kind, done, message })
}

/// Sends a reply nobody could route or post to an installed location. `name` as in [`super::show`].
///
/// # Errors
/// [`OperatorError`]
pub async fn route(store: &Store, name: &str, to: &LocationId, now: UnixMillis) -> Result<Change, OperatorError> {
    let target = resolve(store, name).await?;
    if target.kind != Kind::Reply {
        return Err(OperatorError::NoReply(target.id));
    }
    let installation = store.get::<Installation>(&DocId::location(to)).await?;
    if !installation.is_some_and(|stored| stored.record.installed()) {
        return Err(OperatorError::NotInstalled(to.clone()));
    }
    change(store, &target, |r: &Reply| inbound::reroute(r, to, now).map(|p| r.with(p)), refused_reply).await?;
    Ok(Change { id: target.id, kind: target.kind, done: Done::Retried, message: None })
}

/// Sets a document aside for good: it leaves the list of what needs a person and is not retried. What waits to be sent is
/// stopped. `name` as in [`super::show`].
///
/// # Errors
/// [`OperatorError`]
pub async fn drop(store: &Store, name: &str, now: UnixMillis) -> Result<Change, OperatorError> {
    let target = resolve(store, name).await?;
    let done = match target.kind {
        Kind::Message => {
            let set_aside = |m: &Message| resend::set_aside(m, now).map(|p| m.with(p));
            let dropped = change(store, &target, set_aside, refused_message).await?;
            if dropped.record.progress.state.settled() { Done::Dropped } else { Done::Stopped }
        }
        Kind::Reply => {
            change(store, &target, |r: &Reply| inbound::set_aside(r, now).map(|p| r.with(p)), refused_reply).await?;
            Done::Dropped
        }
        Kind::Unreadable => {
            change(store, &target, |u| dropped(u, now), refused_unreadable).await?;
            Done::Dropped
        }
    };
    Ok(Change { id: target.id, kind: target.kind, done, message: None })
}

/// The message first, then the mark: a crash between the two leaves a retry that finds the message there.
async fn read_again(store: &Store, target: &Target, now: UnixMillis) -> Result<(Done, DocId), OperatorError> {
    let stored = read::<Unreadable>(store, target).await?;
    let refused = |refusal| refused_unreadable(target.id.clone(), refusal);
    dropped(&stored.record, now).map_err(refused)?;
    let body = STANDARD.decode(&stored.record.kept.raw);
    let body = body.map_err(|_| refused(UnreadableRefusal::StillUnreadable("what was kept is damaged")))?;
    // Whose provider's it is was no question when it was kept, and is none to the person who retries it.
    let intake = match read_webhook(&body, None) {
        Read::Message(intake) => *intake,
        Read::Ignored(_) | Read::Lifecycle(_) => return Err(refused(UnreadableRefusal::NoSms)),
        Read::Unreadable(why) => return Err(refused(UnreadableRefusal::StillUnreadable(why))),
    };
    // Accepted now: it would be too old otherwise.
    let message = Message::accept(intake, now, &random::hex::<8>(), 0);
    let done = match store.insert(&message).await? {
        Inserted::New => Done::Enqueued,
        Inserted::Duplicate => Done::AlreadyEnqueued,
    };
    match change(store, target, |u| dropped(u, now), refused_unreadable).await {
        // Somebody else marked it meanwhile.
        Ok(_) | Err(OperatorError::Unreadable { .. } | OperatorError::Stripped(_)) => Ok((done, message.id)),
        Err(e) => Err(e),
    }
}

/// Stripped by the next purge: nothing more is to be made of it.
fn dropped(webhook: &Unreadable, now: UnixMillis) -> Result<Unreadable, UnreadableRefusal> {
    let fate = &webhook.fate;
    if fate.dropped_at.is_some() {
        return Err(UnreadableRefusal::Dropped);
    }
    let fate = UnreadableFate { strip_at: Some(now), dropped_at: Some(now), ..fate.clone() };
    Ok(Unreadable { fate, ..webhook.clone() })
}

/// Applies a rule until it lands or refuses.
async fn change<R: Record, E: Send>(
    store: &Store,
    target: &Target,
    rule: impl Fn(&R) -> Result<R, E> + Send + Sync,
    refused: fn(DocId, E) -> OperatorError,
) -> Result<Stored<R>, OperatorError> {
    let refusal = Mutex::new(None);
    let slot = || refusal.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = store.update(&target.id, |record| match rule(record) {
        Ok(next) => Some(next),
        Err(e) => {
            *slot() = Some(e);
            None
        }
    });
    if let Some(stored) = changed.await? {
        return Ok(stored);
    }
    let refusal = slot().take();
    match refusal {
        Some(refusal) => Err(refused(target.id.clone(), refusal)),
        None => Err(gone(store, target).await),
    }
}

fn refused_message(id: DocId, refusal: resend::Refusal) -> OperatorError {
    OperatorError::Message { id, refusal }
}

fn refused_reply(id: DocId, refusal: inbound::ReplyRefusal) -> OperatorError {
    OperatorError::Reply { id, refusal }
}

fn refused_unreadable(id: DocId, refusal: UnreadableRefusal) -> OperatorError {
    OperatorError::Unreadable { id, refusal }
}
