//! One document in full: where it stands, every try with its result, every part with its id, what the CRM was told.
//!
//! Invariant: text, full numbers and the sentences that may repeat them are left out unless [`Reveal::Content`] asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::list::{Row, row_of_message, row_of_reply, row_of_unreadable};
use super::{Kind, OperatorError, maybe_time, read, resolve, time};
use crate::domain::id::{AttemptId, DocId, Epoch, GhlMessageId};
use crate::domain::inbound::Reply;
use crate::domain::message::{Attempt, AttemptResult, FailureCode, Message, PartRecord};
use crate::domain::receipt::Fate;
use crate::domain::report::{GivenUp, Report, ReportStatus};
use crate::domain::time::UnixMillis;
use crate::store::{Store, Unreadable};

/// Whether text and full numbers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reveal {
    Nothing,
    Content,
}

/// A document in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Message(Box<MessageView>),
    Unreadable(UnreadableView),
    Reply(ReplyView),
    Stripped(Stripped),
}

/// What is left after `RETENTION`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stripped {
    pub id: DocId,
    pub kind: Kind,
    pub state: String,
    #[serde(serialize_with = "time")]
    pub settled_at: UnixMillis,
}

/// An outbound message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageView {
    #[serde(flatten)]
    pub row: Row,
    pub message_id: GhlMessageId,
    pub contact_id: Option<String>,
    /// Of a message that waits: not looked at before this.
    #[serde(serialize_with = "maybe_time")]
    pub due_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub settled_at: Option<UnixMillis>,
    /// When only its id will be left.
    #[serde(serialize_with = "maybe_time")]
    pub strip_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub resent_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub dropped_at: Option<UnixMillis>,
    /// Resends by a person.
    pub generation: u32,
    /// Claims since the last recorded outcome.
    pub crashes: u32,
    /// The term of the last claim.
    pub epoch: Epoch,
    pub parts: Vec<PartView>,
    pub attempts: Vec<AttemptView>,
    pub report: Option<ReportView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartView {
    /// From 1, as reports count.
    pub part: usize,
    /// SMS segments by our own count.
    pub segments: u32,
    /// Unicode scalar values.
    pub characters: usize,
    pub accepted: bool,
    /// Cast's `message_id`.
    pub gateway_id: Option<String>,
    /// What the gateway's receipts say of it: `delivered`, `failed`, `pending` or `unclear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Fate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A try at a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    pub id: AttemptId,
    /// From 1.
    pub part: usize,
    pub epoch: Epoch,
    #[serde(serialize_with = "time")]
    pub at: UnixMillis,
    pub result: AttemptResult,
}

/// What the CRM is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportView {
    pub status: ReportStatus,
    pub code: Option<FailureCode>,
    /// What the agent reads; may repeat the number they typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    pub revision: u32,
    /// Whether the CRM acknowledged this revision.
    pub told: bool,
    #[serde(serialize_with = "maybe_time")]
    pub due_at: Option<UnixMillis>,
    pub tries: u32,
    pub given_up: Option<GivenUp>,
    pub waits_for_token: bool,
    /// The message is on its way again: nothing is told before the next verdict.
    pub withdrawn: bool,
}

/// What nobody sees who did not ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    pub phone: Option<String>,
    pub text: Option<String>,
    pub attachments: Vec<String>,
}

/// A webhook that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableView {
    #[serde(flatten)]
    pub row: Row,
    pub bytes: usize,
    #[serde(serialize_with = "maybe_time")]
    pub strip_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub dropped_at: Option<UnixMillis>,
    /// The body; what is no UTF-8 in it is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A person's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplyView {
    #[serde(flatten)]
    pub row: Row,
    pub contact_id: Option<String>,
    pub conversation_id: Option<String>,
    /// The CRM's id of it, once posted.
    pub posted_message: Option<String>,
    pub tries: u32,
    #[serde(serialize_with = "maybe_time")]
    pub due_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub settled_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub retried_at: Option<UnixMillis>,
    #[serde(serialize_with = "maybe_time")]
    pub dropped_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// Shows the document that `name` stands for: its id, or of a message the CRM's or Cast's.
///
/// # Errors
/// [`OperatorError::Unknown`], [`OperatorError::Ambiguous`], [`OperatorError::Store`]
pub async fn show(store: &Store, name: &str, reveal: Reveal) -> Result<Shown, OperatorError> {
    let target = resolve(store, name).await?;
    let shown = match target.kind {
        Kind::Message => read(store, &target).await.map(|m| Shown::Message(Box::new(message(&m.record, reveal)))),
        Kind::Unreadable => read(store, &target).await.map(|u| Shown::Unreadable(unreadable(&u.record, reveal))),
        Kind::Reply => read(store, &target).await.map(|r| Shown::Reply(reply(&r.record, reveal))),
    };
    match shown {
        Err(OperatorError::Stripped(left)) => Ok(Shown::Stripped(left)),
        shown => shown,
    }
}

fn message(message: &Message, reveal: Reveal) -> MessageView {
    let (intake, p) = (&message.accepted.intake, &message.progress);
    MessageView {
        row: row_of_message(message),
        message_id: intake.message_id.clone(),
        contact_id: intake.contact_id.clone(),
        due_at: (!p.state.settled()).then_some(p.due_at),
        settled_at: p.settled_at,
        strip_at: p.strip_at,
        resent_at: p.resent_at,
        dropped_at: p.dropped_at,
        generation: p.generation,
        crashes: p.crashes,
        epoch: p.epoch,
        parts: p.parts.iter().enumerate().map(|(at, record)| part(at, record, reveal)).collect(),
        attempts: p.attempts.iter().map(attempt).collect(),
        report: p.report.as_ref().map(|r| report(r, reveal)),
        content: (reveal == Reveal::Content).then(|| Content {
            phone: intake.phone.clone(),
            text: intake.text.clone(),
            attachments: intake.attachments.clone(),
        }),
    }
}

fn part(at: usize, record: &PartRecord, reveal: Reveal) -> PartView {
    PartView {
        part: at + 1,
        segments: record.segments,
        characters: record.text.chars().count(),
        accepted: record.accepted,
        gateway_id: record.gateway_id.clone(),
        receipt: record.receipt.as_ref().map(|receipt| receipt.fate),
        text: (reveal == Reveal::Content).then(|| record.text.clone()),
    }
}

fn attempt(a: &Attempt) -> AttemptView {
    AttemptView { id: a.id.clone(), part: a.part + 1, epoch: a.epoch, at: a.at, result: a.result }
}

fn report(r: &Report, reveal: Reveal) -> ReportView {
    ReportView {
        status: r.verdict.status,
        code: r.verdict.code,
        sentence: r.verdict.sentence.clone().filter(|_| reveal == Reveal::Content),
        revision: r.revision,
        told: r.told == Some(r.revision),
        due_at: r.due_at,
        tries: r.tries,
        given_up: r.given_up,
        waits_for_token: r.no_token,
        withdrawn: r.is_withdrawn(),
    }
}

fn unreadable(webhook: &Unreadable, reveal: Reveal) -> UnreadableView {
    let body = STANDARD.decode(&webhook.kept.raw).unwrap_or_default();
    UnreadableView {
        row: row_of_unreadable(webhook),
        bytes: body.len(),
        strip_at: webhook.fate.strip_at,
        dropped_at: webhook.fate.dropped_at,
        body: (reveal == Reveal::Content).then(|| String::from_utf8_lossy(&body).into_owned()),
    }
}

fn reply(reply: &Reply, reveal: Reveal) -> ReplyView {
    let (accepted, p) = (&reply.accepted, &reply.progress);
    ReplyView {
        row: row_of_reply(reply),
        contact_id: p.contact_id.clone(),
        conversation_id: p.conversation_id.clone(),
        posted_message: p.posted_message.clone(),
        tries: p.tries,
        due_at: p.settled_at.is_none().then_some(p.due_at),
        settled_at: p.settled_at,
        retried_at: p.retried_at,
        dropped_at: p.dropped_at,
        content: (reveal == Reveal::Content).then(|| Content {
            phone: Some(accepted.from.clone()),
            text: accepted.text.clone(),
            attachments: accepted.attachments.clone(),
        }),
    }
}
