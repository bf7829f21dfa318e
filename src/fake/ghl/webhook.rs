//! GHL's webhooks to the bridge: an outbound message as the vendor writes, signs and posts it.
//!
//! Owns the body, with the members live payloads carry beyond the declared ones (ghl contract §1). A webhook is built
//! once and posted as often as a test wants: the bytes, and so the signature's subject, stay the same.

use serde_json::{Value, json};

use super::seen::Direction;
use super::world::{Line, Message, World};

/// A message somebody sends from the CRM.
#[derive(Clone)]
pub struct OutboundSms {
    /// The location it is sent from.
    pub location_id: String,
    /// The contact; `None`: the one with this number, made where it is new.
    pub contact_id: Option<String>,
    /// The message's id; `None`: a new one.
    pub message_id: Option<String>,
    /// The number as the CRM has it; `None` is left out of the body.
    pub phone: Option<String>,
    /// The text; `None` is left out of the body.
    pub text: Option<String>,
    /// Links; empty is left out of the body.
    pub attachments: Vec<String>,
    /// Who sends; `None` for a workflow.
    pub user_id: Option<String>,
    /// `SMS`, `Email`, `Custom`.
    pub kind: String,
}

impl OutboundSms {
    /// An SMS typed by a user.
    #[must_use]
    pub fn new(location_id: &str, phone: &str, text: &str) -> Self {
        Self {
            location_id: location_id.to_owned(),
            contact_id: None,
            message_id: None,
            phone: Some(phone.to_owned()),
            text: Some(text.to_owned()),
            attachments: Vec::new(),
            user_id: Some(super::knob::DEFAULT_USER.to_owned()),
            kind: "SMS".to_owned(),
        }
    }
}

/// A webhook ready to be posted, any number of times.
#[derive(Clone)]
pub struct Webhook {
    /// The message it tells of.
    pub message_id: String,
    /// Its location.
    pub location_id: String,
    /// The bytes to sign and post.
    pub body: Vec<u8>,
    conversation_id: String,
    contact_id: String,
    text: Option<String>,
    attachments: Vec<String>,
}

impl World {
    pub(super) fn build_webhook(&mut self, sms: &OutboundSms) -> Webhook {
        let message_id = sms.message_id.clone().unwrap_or_else(|| self.fresh_id("MSG"));
        let phone = sms.phone.as_deref().unwrap_or_default();
        let contact = match &sms.contact_id {
            Some(id) => self.contact(id.clone(), &sms.location_id, phone),
            None => self.contact_by_phone(&sms.location_id, phone).0,
        };
        let (contact_id, conversation_id) = (contact.id.clone(), contact.conversation_id.clone());
        let mut body = json!({
            "contactId": contact_id,
            "locationId": sms.location_id,
            "messageId": message_id,
            "type": sms.kind,
            "conversationId": conversation_id,
            "conversationProviderId": self.options.provider_id,
            "customUserId": "",
            "emailTo": null,
            "emailFrom": null,
            "subject": null,
            "channelMeta": {"source": if sms.user_id.is_some() { "app" } else { "workflow" }},
        });
        let optional = [
            ("phone", sms.phone.as_ref().map(|phone| json!(phone))),
            ("message", sms.text.as_ref().map(|text| json!(text))),
            ("userId", sms.user_id.as_ref().map(|id| json!(id))),
            ("attachments", (!sms.attachments.is_empty()).then(|| json!(sms.attachments))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Webhook {
            message_id,
            location_id: sms.location_id.clone(),
            body: Value::to_string(&body).into_bytes(),
            conversation_id,
            contact_id,
            text: sms.text.clone(),
            attachments: sms.attachments.clone(),
        }
    }

    /// From now on the message is known; its status can be set after a while.
    pub(super) fn register(&mut self, location_id: &str, message_id: &str, conversation_id: Option<String>) {
        let ready = self.mono().after(self.options.status_ready_after);
        self.messages.entry(message_id.to_owned()).or_insert_with(|| Message {
            location_id: location_id.to_owned(),
            conversation_id,
            ready,
            statuses: Vec::new(),
        });
    }

    /// Registers a webhook's message and shows it in its conversation.
    pub(super) fn register_webhook(&mut self, webhook: &Webhook) {
        let conversation = Some(webhook.conversation_id.clone());
        self.register(&webhook.location_id, &webhook.message_id, conversation);
        self.lines.push(Line {
            at: self.now(),
            message_id: webhook.message_id.clone(),
            location_id: webhook.location_id.clone(),
            contact_id: webhook.contact_id.clone(),
            conversation_id: webhook.conversation_id.clone(),
            direction: Direction::Outbound,
            body: webhook.text.clone(),
            alt_id: None,
            attachments: webhook.attachments.clone(),
        });
    }
}
