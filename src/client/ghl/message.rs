//! Message bodies: the status of an outbound message, and a reply posted into its conversation.
//!
//! Owns exactly the properties each endpoint declares; absent means left out, never null or empty. Pure.
//! No `Debug` on what holds message text or a number.

use serde::Serialize;
use serde_json::Value;

use crate::client::lenient;

/// The statuses this bridge reports; GHL has no "sent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    Delivered,
    Failed,
    Pending,
}

/// A message's new status.
#[derive(Clone)]
pub struct StatusUpdate {
    pub status: MessageStatus,
    /// Given with `Failed`, so that the agent sees why in the conversation.
    pub error: Option<StatusErrorBody>,
}

/// Why a message failed, for the agent. May name the number they typed.
#[derive(Clone)]
pub struct StatusErrorBody {
    /// One of the bridge's failure codes.
    pub code: String,
    /// One sentence.
    pub message: String,
}

#[derive(Serialize)]
pub(super) struct StatusBody<'a> {
    status: MessageStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<StatusError<'a>>,
}

/// All three members are strings and required (official schema; the flat `error_code` is not declared).
#[derive(Serialize)]
struct StatusError<'a> {
    code: &'a str,
    r#type: &'static str,
    message: &'a str,
}

impl StatusUpdate {
    pub(super) fn body(&self) -> StatusBody<'_> {
        let error =
            self.error.as_ref().map(|error| StatusError { code: &error.code, r#type: "saas", message: &error.message });
        StatusBody { status: self.status, error }
    }
}

/// How an inbound message names its type. For a custom provider the docs and the live API disagree: the caller remembers
/// which one a location takes ([`is_wrong_kind`](super::ApiRefusal::is_wrong_kind)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ProviderKind {
    #[serde(rename = "SMS")]
    Sms,
    Custom,
}

/// Where a reply goes; GHL needs one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread<'a> {
    Contact(&'a str),
    Conversation(&'a str),
}

/// A reply to post.
#[derive(Clone, Copy)]
pub struct InboundPost<'a> {
    pub kind: ProviderKind,
    pub thread: Thread<'a>,
    /// Absent when there are only attachments.
    pub message: Option<&'a str>,
    /// `GHL_CONVERSATION_PROVIDER_ID`, when configured.
    pub provider_id: Option<&'a str>,
    /// E.164. In the user's reference and not in the official schema: leave it out where GHL refused it.
    pub phone: Option<&'a str>,
    /// When the person sent it, RFC 3339.
    pub date: &'a str,
    /// Our own id, by which a post with an unknown outcome is found again.
    pub alt_id: &'a str,
    /// Links; left out when empty.
    pub attachments: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InboundBody<'a> {
    r#type: ProviderKind,
    /// GHL's default is outbound.
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_provider_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<&'a str>,
    date: &'a str,
    alt_id: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    attachments: &'a [String],
}

impl<'a> InboundPost<'a> {
    pub(super) fn body(&self) -> InboundBody<'a> {
        let (contact_id, conversation_id) = match self.thread {
            Thread::Contact(id) => (Some(id), None),
            Thread::Conversation(id) => (None, Some(id)),
        };
        InboundBody {
            r#type: self.kind,
            direction: "inbound",
            contact_id,
            conversation_id,
            message: self.message,
            conversation_provider_id: self.provider_id,
            phone: self.phone,
            date: self.date,
            alt_id: self.alt_id,
            attachments: self.attachments,
        }
    }
}

/// Where a reply landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPosted {
    pub message_id: String,
    pub conversation_id: Option<String>,
    pub contact_id: Option<String>,
}

impl InboundPosted {
    /// `{messageId, conversationId, contactId?}`, each perhaps wrapped (`{message:{id}}`); `None` without a message id.
    pub(super) fn read(reply: &Value) -> Option<Self> {
        const CONVERSATION: [&str; 2] = ["conversationId", "conversation_id"];
        const CONTACT: [&str; 2] = ["contactId", "contact_id"];
        let wrapped = |object: &str, names: &[&str]| reply.get(object).and_then(|inner| lenient::id(inner, names));
        let id = |[camel, snake]: [&str; 2], object: &str| {
            lenient::id(reply, &[camel, snake]).or_else(|| wrapped(object, &["id", "_id", camel, snake]))
        };
        Some(Self {
            message_id: id(["messageId", "message_id"], "message")?,
            conversation_id: id(CONVERSATION, "conversation").or_else(|| wrapped("message", &CONVERSATION)),
            contact_id: id(CONTACT, "contact").or_else(|| wrapped("message", &CONTACT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn post<'a>() -> InboundPost<'a> {
        InboundPost {
            kind: ProviderKind::Sms,
            thread: Thread::Contact("C1"),
            message: Some("Yes please"),
            provider_id: Some("P1"),
            phone: Some("+639171234567"),
            date: "2026-08-11T02:03:04Z",
            alt_id: "in:1",
            attachments: &[],
        }
    }

    #[test]
    fn a_failure_is_told_with_the_nested_error_object() {
        let failed = StatusUpdate {
            status: MessageStatus::Failed,
            error: Some(StatusErrorBody { code: "invalid_phone".to_owned(), message: "No.".to_owned() }),
        };
        assert_eq!(
            json!(failed.body()),
            json!({"status": "failed", "error": {"code": "invalid_phone", "type": "saas", "message": "No."}})
        );
        for (status, word) in [(MessageStatus::Delivered, "delivered"), (MessageStatus::Pending, "pending")] {
            assert_eq!(json!(StatusUpdate { status, error: None }.body()), json!({"status": word}));
        }
    }

    #[test]
    fn a_reply_is_inbound_and_names_its_contact() {
        assert_eq!(
            json!(post().body()),
            json!({
                "type": "SMS", "direction": "inbound", "contactId": "C1", "message": "Yes please",
                "conversationProviderId": "P1", "phone": "+639171234567",
                "date": "2026-08-11T02:03:04Z", "altId": "in:1"
            })
        );
    }

    #[test]
    fn what_is_absent_is_left_out_never_null() {
        let links = ["https://a.test/1.jpg".to_owned()];
        let bare = InboundPost {
            kind: ProviderKind::Custom,
            thread: Thread::Conversation("V1"),
            message: None,
            provider_id: None,
            phone: None,
            attachments: &links,
            ..post()
        };
        assert_eq!(
            json!(bare.body()),
            json!({
                "type": "Custom", "direction": "inbound", "conversationId": "V1",
                "date": "2026-08-11T02:03:04Z", "altId": "in:1", "attachments": ["https://a.test/1.jpg"]
            })
        );
    }

    #[test]
    fn ids_are_found_flat_and_wrapped() {
        let all = InboundPosted {
            message_id: "M1".to_owned(),
            conversation_id: Some("V1".to_owned()),
            contact_id: Some("C1".to_owned()),
        };
        for reply in [
            json!({"success": true, "messageId": "M1", "conversationId": "V1", "contactId": "C1", "message": "Done"}),
            json!({"message": {"id": "M1"}, "conversation": {"id": "V1"}, "contact": {"id": "C1"}}),
            json!({"message": {"_id": "M1", "conversationId": "V1", "contactId": "C1"}}),
        ] {
            assert_eq!(InboundPosted::read(&reply).as_ref(), Some(&all), "{reply}");
        }
        let only = InboundPosted::read(&json!({"messageId": 5})).expect("a message id");
        assert_eq!((only.message_id.as_str(), only.conversation_id), ("5", None));
    }

    #[test]
    fn without_a_message_id_nothing_was_stored() {
        for reply in [
            json!({"success": true, "conversationId": "V1", "message": "Event added"}),
            json!({"messageId": null}),
            json!({"messageId": ""}),
            json!({}),
            json!([]),
            json!("ok"),
        ] {
            assert_eq!(InboundPosted::read(&reply), None, "{reply}");
        }
    }
}
