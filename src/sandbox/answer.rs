//! The bridge's answers to webhooks and replies, each compared with the one that is due.
//!
//! Pure. An answer counts only when status and body both say what they should (bridge rules, "Endpoints").

use serde_json::Value;

use crate::fake::WebhookAnswer;

/// The answer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A webhook, stored.
    Accepted,
    /// A webhook that is stored already.
    Duplicate,
    /// A webhook whose signature does not fit.
    Refused,
    /// A reply, stored.
    ReplyAccepted,
    /// A reply that is stored already.
    ReplyRepeated,
    /// A receipt, stored.
    ReceiptAccepted,
}

impl Due {
    fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Duplicate | Self::ReplyRepeated => 200,
            Self::Refused => 401,
            Self::ReplyAccepted | Self::ReceiptAccepted => 202,
        }
    }

    /// Where in the body it says so, and what.
    fn body(self) -> (&'static str, Value) {
        match self {
            Self::Accepted => ("/status", "accepted".into()),
            Self::Duplicate => ("/status", "duplicate".into()),
            Self::Refused => ("/error/code", "signature_invalid".into()),
            Self::ReplyAccepted | Self::ReceiptAccepted => ("/accepted", true.into()),
            Self::ReplyRepeated => ("/duplicate", true.into()),
        }
    }

    /// Whether `answer` is the one.
    pub(super) fn is(self, answer: &WebhookAnswer) -> bool {
        let (at, value) = self.body();
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        answer.status == Some(self.status()) && body.pointer(at) == Some(&value)
    }

    /// Ends a sentence about the bridge.
    fn words(self) -> &'static str {
        match self {
            Self::Accepted | Self::ReplyAccepted | Self::ReceiptAccepted => "the bridge answered: accepted",
            Self::Duplicate | Self::ReplyRepeated => "the bridge answered: duplicate",
            Self::Refused => "the bridge refused it (401)",
        }
    }
}

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    right: Vec<Due>,
    wrong: usize,
}

impl Answers {
    /// Counts an answer, and says what it was.
    pub(super) fn note(&mut self, due: Due, answer: &WebhookAnswer) -> String {
        if due.is(answer) {
            self.right.push(due);
            return due.words().to_owned();
        }
        self.wrong += 1;
        match answer.status {
            Some(status) => format!("the bridge answered {status} {}, which is WRONG", answer.body.trim()),
            None => format!("WRONG: the bridge gave no answer ({})", answer.body),
        }
    }

    /// How often this was due and came.
    pub(super) fn right(&self, due: Due) -> usize {
        self.right.iter().filter(|right| **right == due).count()
    }

    /// How many were not what was due.
    pub(super) fn wrong(&self) -> usize {
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: Option<u16>, body: &str) -> WebhookAnswer {
        WebhookAnswer { status, body: body.to_owned(), elapsed_ms: 1, message_id: None }
    }

    #[test]
    fn status_and_body_must_both_be_right() {
        let accepted = r#"{"status":"accepted","id":"out:L:M"}"#;
        assert!(Due::Accepted.is(&answer(Some(200), accepted)));
        assert!(!Due::Accepted.is(&answer(Some(202), accepted)));
        assert!(!Due::Accepted.is(&answer(Some(200), r#"{"status":"ignored"}"#)));
        assert!(!Due::Accepted.is(&answer(Some(200), "")));
        assert!(!Due::Accepted.is(&answer(None, accepted)));
        assert!(Due::Refused.is(&answer(Some(401), r#"{"error":{"code":"signature_invalid"}}"#)));
        assert!(Due::ReplyRepeated.is(&answer(Some(200), r#"{"duplicate":true,"id":"in:1"}"#)));
    }

    #[test]
    fn what_was_not_due_is_counted_apart_and_shown() {
        let mut answers = Answers::default();
        answers.note(Due::Accepted, &answer(Some(200), r#"{"status":"accepted"}"#));
        let said = answers.note(Due::Duplicate, &answer(Some(500), "oops"));
        assert_eq!(said, "the bridge answered 500 oops, which is WRONG");
        assert_eq!((answers.right(Due::Accepted), answers.right(Due::Duplicate), answers.wrong()), (1, 0, 1));
    }
}
