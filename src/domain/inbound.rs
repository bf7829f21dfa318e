//! A reply on its way into the CRM: the stored document, what makes two posts the same reply, and where it belongs.
//!
//! Invariant: a reply is never dropped and never guessed into a stranger's CRM. Pure: imports `id`, `phone`, `time`;
//! hashing is the caller's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{CompanyId, DocId, LocationId};
use super::message::DOCUMENT_VERSION;
use super::opt_out::Wish;
use super::phone::Phone;
use super::retry as backoff;
use super::time::UnixMillis;

/// The reply as the gateway posted it. Never changes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyAccepted {
    pub v: u32,
    pub at: UnixMillis,
    pub replica: String,
    pub counter: u64,
    /// As posted: a number or a name such as `GLOBE`.
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default)]
    pub attachments: Vec<String>,
    /// When the person sent it, as the gateway says; else `at`.
    pub sent_at: UnixMillis,
    /// An explicit route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    /// It is a STOP or a START, by the words that held when it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
}

/// A reply and its progress.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub id: DocId,
    pub accepted: ReplyAccepted,
    pub progress: ReplyProgress,
}

/// What has been done about a reply, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyProgress {
    pub state: ReplyState,
    /// The next look (wall time).
    pub due_at: UnixMillis,
    /// Tries at the step in hand.
    #[serde(default)]
    pub tries: u32,
    /// Before everything else: its wish was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<UnixMillis>,
    /// 429 in a row, of any step.
    #[serde(default)]
    pub limited: u32,
    /// Step 1: where it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    /// Step 2: whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// Step 3: GHL's ids of the posted message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// A post may have landed unseen: the conversation is looked through before the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look_first: bool,
    /// 2xx answers without a `messageId`: GHL did not store it.
    #[serde(default)]
    pub not_stored: u32,
    /// Why it is not posted, in a word for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// A person said where it belongs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routed_by_hand: bool,
    /// A person's last retry: from here its age counts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<UnixMillis>,
    /// A person set it aside for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_at: Option<UnixMillis>,
}

/// Where a reply stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyState {
    Received,
    Posted,
    /// Nobody's: kept for a person to route.
    Unrouted,
    /// From a name or a foreign number: kept, nobody to post it to.
    NotAPhone,
    Dead,
}

impl ReplyState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Received, Self::Posted, Self::Unrouted, Self::NotAPhone, Self::Dead];

    /// The word stored in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Posted => "posted",
            Self::Unrouted => "unrouted",
            Self::NotAPhone => "not_a_phone",
            Self::Dead => "dead",
        }
    }
}

/// A reply GHL answered 2xx without storing is tried this often.
pub const NOT_STORED_LIMIT: u32 = 3;
/// Every other failure is retried for this long before a person has to look.
pub const REPLY_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Reply {
    /// A reply just received: posted next if it is from a phone.
    #[must_use]
    pub fn accept(id: DocId, accepted: ReplyAccepted, retention: Duration) -> Self {
        let at = accepted.at;
        let phone = accepted.phone.is_some();
        let progress = ReplyProgress {
            state: if phone { ReplyState::Received } else { ReplyState::NotAPhone },
            due_at: at.on_any_clock(),
            tries: 0,
            heard_at: None,
            limited: 0,
            location: None,
            contact_id: None,
            posted_message: None,
            conversation_id: None,
            look_first: false,
            not_stored: 0,
            why: None,
            routed_by_hand: false,
            retried_at: None,
            dropped_at: None,
            settled_at: (!phone).then_some(at),
            strip_at: (!phone).then(|| at.after(retention)),
        };
        Self { id, accepted: ReplyAccepted { v: DOCUMENT_VERSION, ..accepted }, progress }
    }

    /// The same reply with other progress.
    #[must_use]
    pub fn with(&self, progress: ReplyProgress) -> Self {
        Self { progress, ..self.clone() }
    }

    /// The wish nobody has heeded yet.
    #[must_use]
    pub fn unheard(&self) -> Option<Wish> {
        self.accepted.wish.filter(|_| self.accepted.phone.is_some() && self.progress.heard_at.is_none())
    }

    /// Replies of one sender are posted in order.
    #[must_use]
    pub fn lane(&self) -> String {
        self.accepted.phone.as_ref().map_or_else(|| self.id.0.clone(), |p| p.e164().to_owned())
    }
}

/// What one try at the step in hand came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyStep {
    Routed(LocationId),
    Unrouted,
    ContactFound(String),
    /// The contact we knew was deleted: look again.
    ContactGone,
    Posted {
        message: String,
        conversation: Option<String>,
    },
    /// It is not among the last of its conversation: it may be posted again.
    NotThere,
    /// 2xx without `messageId`.
    NotStored,
    /// Nothing was stored for sure: try again after `wait`, or by the usual back-off.
    Later {
        wait: Option<Duration>,
        why: &'static str,
    },
    /// Our own limiter has no room before that: no try was made.
    NotItsTurn(Duration),
    /// GHL answered 429 and is to be left alone so long.
    Limited(Duration),
    /// Nobody knows whether it was stored (5xx, time-out, reset).
    Unknown,
    /// GHL refuses it for good.
    Refused(String),
}

/// What follows a step.
#[must_use]
pub fn after_step(reply: &Reply, step: ReplyStep, now: UnixMillis, retention: Duration, jitter: f64) -> ReplyProgress {
    let mut p = reply.progress.clone();
    let limited = std::mem::take(&mut p.limited);
    let again = |mut p: ReplyProgress, wait: Duration, why: &str| {
        if now.since(reply.progress.retried_at.unwrap_or(reply.accepted.at)) >= REPLY_MAX_AGE {
            return settle(p, ReplyState::Dead, Some(why), now, retention);
        }
        p.tries += 1;
        p.why = Some(why.to_owned());
        p.due_at = now.after(wait);
        p
    };
    match step {
        ReplyStep::Routed(location) => {
            p.location = Some(location);
            ReplyProgress { tries: 0, due_at: now.on_any_clock(), why: None, ..p }
        }
        ReplyStep::Unrouted => settle(p, ReplyState::Unrouted, Some("no location messaged this phone"), now, retention),
        ReplyStep::ContactFound(contact) => {
            p.contact_id = Some(contact);
            ReplyProgress { tries: 0, due_at: now.on_any_clock(), why: None, ..p }
        }
        ReplyStep::ContactGone => {
            p.contact_id = None;
            let wait = backoff::report(p.tries, jitter);
            again(p, wait, "the contact was deleted")
        }
        ReplyStep::Posted { message, conversation } => {
            p.posted_message = Some(message);
            p.conversation_id = conversation;
            settle(p, ReplyState::Posted, None, now, retention)
        }
        // Its tries go on counting, so that the waits between posts grow.
        ReplyStep::NotThere => ReplyProgress { look_first: false, due_at: now.on_any_clock(), ..p },
        ReplyStep::NotStored => {
            p.not_stored += 1;
            // It may have been kept all the same, where the answer could not be read.
            p.look_first = true;
            if p.not_stored >= NOT_STORED_LIMIT {
                settle(p, ReplyState::Dead, Some("the CRM answered without storing it"), now, retention)
            } else {
                let wait = backoff::report(p.tries, jitter);
                again(p, wait, "the CRM answered without storing it")
            }
        }
        ReplyStep::Later { wait, why } => {
            let wait = wait.unwrap_or_else(|| backoff::report(p.tries, jitter));
            again(p, wait, why)
        }
        ReplyStep::NotItsTurn(wait) => ReplyProgress { limited, due_at: now.after(wait), ..p },
        // Nothing is dropped for a limit: it is no try.
        ReplyStep::Limited(wait) => ReplyProgress {
            limited: limited.saturating_add(1),
            why: Some("the CRM's rate limit".to_owned()),
            due_at: now.after(wait),
            ..p
        },
        ReplyStep::Unknown => {
            let wait = backoff::reply_unknown(p.tries, jitter);
            p.look_first = true;
            again(p, wait, "the CRM did not answer")
        }
        ReplyStep::Refused(why) => settle(p, ReplyState::Dead, Some(&why), now, retention),
    }
}

fn settle(
    p: ReplyProgress,
    state: ReplyState,
    why: Option<&str>,
    now: UnixMillis,
    retention: Duration,
) -> ReplyProgress {
    ReplyProgress {
        state,
        why: why.map(str::to_owned),
        settled_at: Some(now),
        strip_at: Some(now.after(retention)),
        ..p
    }
}

/// Why a person can't do that to a reply, as a sentence that says how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyRefusal {
    #[error("it is in the CRM already")]
    Posted,
    #[error("it is on its way into the CRM already")]
    OnItsWay,
    #[error("its sender is no phone number, so there is nobody to post it to")]
    NotAPhone,
    #[error("it was dropped, which is for good")]
    Dropped,
}

/// A person's retry of a reply nobody could route or post: routed anew unless its place is known. After an unknown outcome
/// it may stand in the CRM twice (bridge §7: better twice than lost).
///
/// # Errors
/// [`ReplyRefusal`]
pub fn retry(reply: &Reply, now: UnixMillis) -> Result<ReplyProgress, ReplyRefusal> {
    Ok(ReplyProgress {
        state: ReplyState::Received,
        due_at: now.on_any_clock(),
        tries: 0,
        not_stored: 0,
        why: None,
        retried_at: Some(now),
        settled_at: None,
        strip_at: None,
        ..stranded(reply)?.clone()
    })
}

/// Sends a reply nobody could route or post to the location a person names, whoever it was meant for by the rules. A STOP or
/// START in it now names that location.
///
/// # Errors
/// [`ReplyRefusal`]
pub fn reroute(reply: &Reply, to: &LocationId, now: UnixMillis) -> Result<ReplyProgress, ReplyRefusal> {
    let retried = retry(reply, now)?;
    Ok(ReplyProgress {
        contact_id: retried.contact_id.filter(|_| retried.location.as_ref() == Some(to)),
        location: Some(to.clone()),
        routed_by_hand: true,
        heard_at: None,
        ..retried
    })
}

/// Sets a reply nobody could route or post aside for good.
///
/// # Errors
/// [`ReplyRefusal`]
pub fn set_aside(reply: &Reply, now: UnixMillis) -> Result<ReplyProgress, ReplyRefusal> {
    Ok(ReplyProgress { dropped_at: Some(now), ..stranded(reply)?.clone() })
}

/// The progress of a reply that only a person can help.
fn stranded(reply: &Reply) -> Result<&ReplyProgress, ReplyRefusal> {
    let p = &reply.progress;
    match p.state {
        ReplyState::Posted => Err(ReplyRefusal::Posted),
        ReplyState::Received => Err(ReplyRefusal::OnItsWay),
        ReplyState::NotAPhone => Err(ReplyRefusal::NotAPhone),
        ReplyState::Unrouted | ReplyState::Dead if p.dropped_at.is_some() => Err(ReplyRefusal::Dropped),
        ReplyState::Unrouted | ReplyState::Dead => Ok(p),
    }
}

/// A location that messaged the phone, for routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub location: LocationId,
    pub company: Option<CompanyId>,
    pub last_outbound_at: UnixMillis,
}

/// How far back an outbound message counts for routing a reply.
pub const ROUTE_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a reply belongs: explicit → the location its receiving number or SIM is `assigned` to → the last location that
/// messaged this phone, however long ago, if all of the last seven days belong to one company → the default. `None`: kept as
/// unrouted.
#[must_use]
pub fn route(
    explicit: Option<&LocationId>,
    assigned: Option<&LocationId>,
    senders: &[Sender],
    default: Option<&LocationId>,
    now: UnixMillis,
) -> Option<LocationId> {
    if let Some(location) = explicit.or(assigned) {
        return Some(location.clone());
    }
    let recent: Vec<&Sender> = senders.iter().filter(|s| now.since(s.last_outbound_at) <= ROUTE_MEMORY).collect();
    if let Some(last) = senders.iter().max_by_key(|s| s.last_outbound_at) {
        let one_location = recent.iter().all(|s| s.location == last.location);
        let one_company = last.company.is_some() && recent.iter().all(|s| s.company == last.company);
        return (one_location || one_company).then(|| last.location.clone());
    }
    default.cloned()
}

/// What identifies a reply: the gateway's id, else its content and the minute or time it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// One key decides.
    Exact(String),
    /// Neither id nor time: the content and the UTC minute, after a look at the minute before.
    Minute { this: String, before: String },
}

/// The text to be hashed into the `_id`. Fields are length-prefixed, so that no two replies can spell the same.
#[must_use]
pub fn identity(
    gateway_id: Option<&str>,
    from: &str,
    to: Option<&str>,
    text: Option<&str>,
    sent: Option<UnixMillis>,
    now: UnixMillis,
) -> Identity {
    let join = |fields: &[&str]| fields.iter().map(|f| format!("{}:{f}", f.len())).collect::<String>();
    if let Some(id) = gateway_id {
        return Identity::Exact(join(&["id", id]));
    }
    let (to, text) = (to.unwrap_or_default(), text.unwrap_or_default());
    if let Some(sent) = sent {
        return Identity::Exact(join(&["at", from, to, text, &sent.0.to_string()]));
    }
    let minute = now.0.div_euclid(60_000);
    let key = |m: i64| join(&["minute", from, to, text, &m.to_string()]);
    Identity::Minute { this: key(minute), before: key(minute - 1) }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
