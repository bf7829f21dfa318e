//! The outbound message: the document that is stored, and its words.
//!
//! Owns the shape (version 1) and the closed lists of states and failure codes; what may follow what lives in
//! `transition`, what GHL is told in `report`. Changing a field here is a migration. Pure: imports `id`, `time`, `report`.

use serde::{Deserialize, Serialize};

use super::id::{AttemptId, DocId, Epoch, GhlMessageId, LocationId};
use super::phone::Phone;
use super::receipt::Receipt;
use super::report::Report;
use super::time::UnixMillis;

/// The version of every stored document of this release.
pub const DOCUMENT_VERSION: u32 = 1;

/// What the webhook asked for. Never changes once stored; removed when the document is stripped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intake {
    pub location: LocationId,
    pub message_id: GhlMessageId,
    pub contact_id: Option<String>,
    pub conversation_id: Option<String>,
    /// As GHL wrote it: normalised when the message is prepared, so that a bad number is a stored, reported failure.
    pub phone: Option<String>,
    pub text: Option<String>,
    pub attachments: Vec<String>,
    pub user_id: Option<String>,
}

impl Intake {
    /// The lane this message keeps its order in: location and phone; an unreadable phone is a lane by itself.
    #[must_use]
    pub fn lane(&self) -> String {
        let raw = self.phone.as_deref().unwrap_or_default();
        match Phone::parse(raw) {
            Ok(phone) => format!("{}:{}", self.location, phone.e164()),
            Err(_) => format!("{}:?{}", self.location, self.message_id),
        }
    }
}

/// Shows no text and no number.
impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("location", &self.location)
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// An outbound message as stored: what never changes, and its [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: DocId,
    pub accepted: Accepted,
    pub progress: Progress,
}

/// The part of the document written once, at acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// [`DOCUMENT_VERSION`] of the release that wrote it.
    pub v: u32,
    /// Wall time of acceptance, at the replica that took the webhook.
    pub at: UnixMillis,
    /// Random name of that process, for order among equals.
    pub replica: String,
    /// Position among the messages that process accepted.
    pub counter: u64,
    pub intake: Intake,
}

impl Message {
    /// A message just accepted: `queued`, due at once. Only the leader ever holds it.
    #[must_use]
    pub fn accept(intake: Intake, at: UnixMillis, replica: &str, counter: u64) -> Self {
        Self {
            id: DocId::outbound(&intake.location, &intake.message_id),
            accepted: Accepted { v: DOCUMENT_VERSION, at, replica: replica.to_owned(), counter, intake },
            progress: Progress::queued(at),
        }
    }

    /// Since when it waits to be sent: its acceptance, or a person's resend.
    #[must_use]
    pub fn waits_since(&self) -> UnixMillis {
        self.progress.resent_at.unwrap_or(self.accepted.at)
    }

    /// The same message with other progress.
    #[must_use]
    pub fn with(&self, progress: Progress) -> Self {
        Self { progress, ..self.clone() }
    }
}

/// What an accepted SMS is reported as; not everyone gets receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusOnAccept {
    Delivered,
    Pending,
}

/// Everything about a message that changes, in one piece, so that state, outcome and report move in one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    /// Why it failed, for `rejected`, `parked`, `expired` and `dead`; for `accepted`, that a receipt says it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// The term of the last claim.
    #[serde(default)]
    pub epoch: Epoch,
    /// Claims since the last recorded outcome: five in a row are a poison message.
    #[serde(default)]
    pub crashes: u32,
    /// Not looked at before this (wall time): a hold's end, a retry.
    pub due_at: UnixMillis,
    /// The composed parts; empty until the first `sending`, fixed from then on, so that a new rule can't change a half-sent message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartRecord>,
    /// Every try recorded, oldest first; of very many, the oldest that were never sent are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Rises with a person's resend: part of the idempotency key.
    #[serde(default)]
    pub generation: u32,
    /// A person's last resend: from here its age counts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent_at: Option<UnixMillis>,
    /// A person set it aside for good: it is neither sent nor sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<UnixMillis>,
    /// What it was last held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_for: Option<HeldFor>,
    /// What its location wanted an accepted SMS reported as when it was last sent; absent is the operator's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_on_accept: Option<StatusOnAccept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<UnixMillis>,
    /// When the document becomes a tombstone; exists only on settled, unstripped documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

impl Progress {
    /// Fresh, and due at once whichever replica's clock is asked.
    #[must_use]
    pub fn queued(at: UnixMillis) -> Self {
        Self {
            state: State::Queued,
            code: None,
            epoch: Epoch::default(),
            crashes: 0,
            due_at: at.on_any_clock(),
            parts: Vec::new(),
            attempts: Vec::new(),
            generation: 0,
            resent_at: None,
            dropped_at: None,
            held_for: None,
            status_on_accept: None,
            settled_at: None,
            strip_at: None,
            report: None,
        }
    }

    /// What it is reported as once it is accepted, where nothing better is known.
    #[must_use]
    pub fn on_accept(&self, rule: StatusOnAccept) -> StatusOnAccept {
        self.status_on_accept.unwrap_or(rule)
    }

    /// The newest try, which alone decides what is open.
    #[must_use]
    pub fn newest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The first part nobody has accepted yet; `None` before composition and when all are sent.
    #[must_use]
    pub fn next_part(&self) -> Option<usize> {
        self.parts.iter().position(|part| !part.accepted)
    }

    /// How many parts the gateway took.
    #[must_use]
    pub fn accepted_parts(&self) -> usize {
        self.parts.iter().filter(|part| part.accepted).count()
    }
}

/// What a held message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldFor {
    Installation,
    /// An approval, or a key of the location's own.
    Approval,
    /// A key of the ring that opens the location's own gateway key.
    Seal,
}

/// One Cast call's worth of text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    pub text: String,
    /// SMS segments by our own count.
    pub segments: u32,
    /// Settled for good: an accepted part is never sent again.
    #[serde(default)]
    pub accepted: bool,
    /// The gateway's id of the SMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
    /// The strongest receipt for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Shows no text.
impl std::fmt::Debug for PartRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartRecord")
            .field("segments", &self.segments)
            .field("accepted", &self.accepted)
            .field("gateway_id", &self.gateway_id)
            .finish_non_exhaustive()
    }
}

/// One try at one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub id: AttemptId,
    /// Index of the part, from 0.
    pub part: usize,
    pub epoch: Epoch,
    pub at: UnixMillis,
    pub result: AttemptResult,
    /// The gateway's id of an SMS that nobody vouched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
}

/// What is known of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptResult {
    /// Recorded before the call; nothing came back yet.
    Open,
    Accepted,
    NotSent,
    Rejected,
    /// The call was made, or may have been, and nobody can say.
    Unknown,
}

/// Where a message stands (bridge §3, table of states).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Queued,
    Held,
    Sending,
    InDoubt,
    Accepted,
    Rejected,
    Parked,
    Expired,
    Dead,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Held,
        Self::Sending,
        Self::InDoubt,
        Self::Accepted,
        Self::Rejected,
        Self::Parked,
        Self::Expired,
        Self::Dead,
    ];

    /// Settled messages neither block their lane nor are looked at again by the queue.
    #[must_use]
    pub fn settled(self) -> bool {
        match self {
            Self::Queued | Self::Held | Self::Sending | Self::InDoubt => false,
            Self::Accepted | Self::Rejected | Self::Parked | Self::Expired | Self::Dead => true,
        }
    }

    /// The word stored in keys and shown to operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Parked => "parked",
            Self::Expired => "expired",
            Self::Dead => "dead",
        }
    }

    /// The state of a stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Why a message failed: the closed list GHL and operators see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    InvalidPhone,
    EmptyMessage,
    TooLong,
    AttachmentRefused,
    OptedOut,
    NotInstalled,
    AwaitingApproval,
    DailyLimit,
    Disabled,
    CastRejected,
    Undelivered,
    NotSent,
    UnknownOutcome,
    Expired,
    InternalError,
}

impl FailureCode {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::InvalidPhone,
        Self::EmptyMessage,
        Self::TooLong,
        Self::AttachmentRefused,
        Self::OptedOut,
        Self::NotInstalled,
        Self::AwaitingApproval,
        Self::DailyLimit,
        Self::Disabled,
        Self::CastRejected,
        Self::Undelivered,
        Self::NotSent,
        Self::UnknownOutcome,
        Self::Expired,
        Self::InternalError,
    ];

    /// What an agent is told where nobody has better words: what happened, and what to do.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::InvalidPhone => "This number can't receive SMS. Check the contact's phone number and send again.",
            Self::EmptyMessage => "There was nothing to send. Write a text and send again.",
            Self::TooLong => "This message is too long for SMS. Shorten it and send again.",
            Self::AttachmentRefused => "SMS can't carry attachments here. Send the text without them.",
            Self::OptedOut => "This person replied STOP. They can text START.",
            Self::NotInstalled => "This sub-account has not connected Cast SMS. Connect it and send again.",
            Self::AwaitingApproval => "This sub-account may not send SMS yet. Ask who set up Cast SMS to approve it.",
            Self::DailyLimit => "This sub-account has sent all the SMS it may today. Send again tomorrow.",
            Self::Disabled => "SMS are switched off for this sub-account. Ask who set up Cast SMS to switch them on.",
            Self::CastRejected => "Cast refused this SMS. Check the number and the text before sending again.",
            Self::Undelivered => "This SMS was not delivered. Check the number before sending again.",
            Self::NotSent => "This SMS was not sent. You can send it again.",
            Self::UnknownOutcome => super::transition::UNKNOWN_SENTENCE,
            Self::Expired => "This SMS waited too long and was not sent. Send it again if it still matters.",
            Self::InternalError => "This SMS could not be processed and was not sent. You can send it again.",
        }
    }

    /// The code as reported in `error.code`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPhone => "invalid_phone",
            Self::EmptyMessage => "empty_message",
            Self::TooLong => "too_long",
            Self::AttachmentRefused => "attachment_refused",
            Self::OptedOut => "opted_out",
            Self::NotInstalled => "not_installed",
            Self::AwaitingApproval => "awaiting_approval",
            Self::DailyLimit => "daily_limit",
            Self::Disabled => "disabled",
            Self::CastRejected => "cast_rejected",
            Self::Undelivered => "undelivered",
            Self::NotSent => "not_sent",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Expired => "expired",
            Self::InternalError => "internal_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marketplace forbids its own names where an agency's staff read (white label).
    const NEVER_SAID: [&str; 4] = ["ghl", "highlevel", "leadconnector", "gohighlevel"];

    #[test]
    fn every_failure_code_has_a_sentence_an_agent_can_act_on() {
        const ACTS: [&str; 9] =
            ["check", "send", "write", "shorten", "text start", "connect", "ask", "can send", "again"];
        for code in FailureCode::ALL {
            let (word, sentence) = (code.as_str(), code.sentence());
            let lower = sentence.to_lowercase();
            assert!(sentence.ends_with('.') && sentence.chars().count() <= 200, "{word}: {sentence}");
            assert!(NEVER_SAID.iter().all(|name| !lower.contains(name)), "{word}: {sentence}");
            assert!(ACTS.iter().any(|act| lower.contains(act)), "{word}: it says nothing to do: {sentence}");
            assert!(!lower.contains(word) || !word.contains('_'), "{word}: a code is no sentence");
        }
    }

    #[test]
    fn the_list_of_failure_codes_is_whole_and_each_reads_back() {
        for code in FailureCode::ALL {
            let json = serde_json::json!(code.as_str());
            assert_eq!(serde_json::from_value::<FailureCode>(json).unwrap(), code);
        }
        let words: std::collections::HashSet<_> = FailureCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), FailureCode::ALL.len());
    }
}
