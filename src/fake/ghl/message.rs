//! Conversations: the status of an outbound message, inbound messages, the list of both.
//!
//! Owns ghl contract §4 and §5 as the live API has them: 403 until a message is ready and for ever where it is not ours;
//! `direction` defaults to outbound; a message lost on purpose is answered 2xx without an id and is not stored.

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::date::{is_rfc3339, rfc3339};
use super::knob::{AddresseeRule, PhoneRule, ProviderIdRule, ProviderKind};
use super::location::number;
use super::refusal::Refusal;
use super::route::{Served, no_access};
use super::seen::{ContactSeen, Direction, InboundSeen, StatusError, StatusSeen};
use super::world::{Line, World, is_e164};
use crate::fake::wire::{self, present};

const STATUSES: [&str; 4] = ["delivered", "failed", "pending", "read"];
/// Lines of a conversation where no limit is asked for.
const PAGE: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusBody {
    status: String,
    #[serde(default, deserialize_with = "present")]
    error: Option<StatusError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InboundBody {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "present")]
    message: Option<String>,
    #[serde(default, deserialize_with = "present")]
    contact_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    conversation_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    conversation_provider_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    direction: Option<Direction>,
    #[serde(default, deserialize_with = "present")]
    date: Option<String>,
    #[serde(default, deserialize_with = "present")]
    alt_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    attachments: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    phone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThreadQuery {
    #[serde(default)]
    limit: Option<String>,
}

impl World {
    /// `PUT /conversations/messages/{id}/status`
    pub(super) fn set_status(&mut self, call: &Request<Bytes>, location: &str, id: &str) -> Served {
        let body: StatusBody = wire::json(call)?;
        if !STATUSES.contains(&body.status.as_str()) {
            let words = format!("status must be one of the following values: {}", STATUSES.join(", "));
            return Err(Refusal::unprocessable(&words));
        }
        let (at, now) = (self.now(), self.mono());
        let ours = self.messages.get_mut(id);
        let Some(message) = ours.filter(|m| m.location_id == location && m.ready <= now) else {
            return Err(Refusal::forbidden("No conversation provider found for this message"));
        };
        self.told += usize::from(message.statuses.is_empty());
        message.statuses.push(StatusSeen { at, status: body.status, error: body.error });
        let reply = json!({"messageId": id, "conversationId": message.conversation_id});
        Ok((StatusCode::OK, reply))
    }

    /// `POST /conversations/messages/inbound`
    pub(super) fn add_inbound(&mut self, call: &Request<Bytes>, location: &str) -> Served {
        let body: InboundBody = wire::json(call)?;
        self.check_inbound(&body, location)?;
        if self.rules.addressee == AddresseeRule::Conversation && body.conversation_id.is_none() {
            return Err(Refusal::bad_request("conversationId is required"));
        }
        let contact = self.addressee(&body, location)?.clone();
        let mut reply = json!({
            "success": true,
            "conversationId": contact.conversation_id,
            "message": "Message queued successfully.",
            "contactId": contact.id,
        });
        if self.rules.lose_inbound > 0 {
            self.rules.lose_inbound -= 1;
            return Ok((StatusCode::CREATED, reply));
        }
        let message_id = self.fresh_id("MSG");
        reply["messageId"] = json!(message_id);
        let seen = InboundSeen {
            at: self.now(),
            location_id: location.to_owned(),
            contact_id: contact.id,
            conversation_id: contact.conversation_id,
            message_id,
            kind: body.kind,
            message: body.message,
            direction: body.direction.unwrap_or(Direction::Outbound),
            provider_id: body.conversation_provider_id,
            phone: body.phone,
            date: body.date,
            alt_id: body.alt_id,
            attachments: body.attachments.unwrap_or_default(),
        };
        self.lines.push(Line {
            at: seen.at,
            message_id: seen.message_id.clone(),
            location_id: seen.location_id.clone(),
            contact_id: seen.contact_id.clone(),
            conversation_id: seen.conversation_id.clone(),
            direction: seen.direction,
            body: seen.message.clone(),
            alt_id: seen.alt_id.clone(),
            attachments: seen.attachments.clone(),
        });
        self.inbound.push(seen);
        Ok((StatusCode::CREATED, reply))
    }

    fn check_inbound(&self, body: &InboundBody, location: &str) -> Result<(), Refusal> {
        let unprocessable = |words: &str| Err(Refusal::unprocessable(words));
        if !matches!(body.kind.as_str(), "SMS" | "Custom") {
            return unprocessable("type must be one of the following values: SMS, Custom");
        }
        match &body.phone {
            Some(_) if self.rules.phone == PhoneRule::Refused => {
                return Err(Refusal::unprocessable("property phone should not exist").variation());
            }
            Some(phone) if !is_e164(phone) => {
                return unprocessable("phone must be a valid phone number");
            }
            _ => {}
        }
        if body.date.as_deref().is_some_and(|date| !is_rfc3339(date)) {
            return unprocessable("date must be a valid ISO 8601 date string");
        }
        match body.attachments.as_deref() {
            Some([]) => return unprocessable("attachments should not be empty"),
            Some(links) if links.iter().any(|link| url::Url::parse(link).is_err()) => {
                return unprocessable("each value in attachments must be a URL address");
            }
            _ => {}
        }
        if body.message.as_deref().is_none_or(str::is_empty) && body.attachments.is_none() {
            let words = "There is no message or attachments for this message. Skip sending.";
            return Err(Refusal::bad_request(words).breach());
        }
        self.check_provider(body, location)
    }

    fn check_provider(&self, body: &InboundBody, location: &str) -> Result<(), Refusal> {
        let given = body.conversation_provider_id.as_deref();
        match (self.rules.provider_id, given) {
            (ProviderIdRule::Required, None) => {
                return Err(Refusal::bad_request("conversationProviderId is required"));
            }
            (ProviderIdRule::Refused, Some(_)) => {
                return Err(Refusal::bad_request("conversationProviderId is not allowed for this provider"));
            }
            _ => {}
        }
        let wanted = match self.rules.provider_kind.get(location).copied().unwrap_or_default() {
            ProviderKind::Default => "SMS",
            ProviderKind::Custom => "Custom",
        };
        if body.kind != wanted || given.is_some_and(|id| id != self.options.provider_id) {
            return Err(Refusal::bad_request("Incorrect conversationProviderId/type"));
        }
        Ok(())
    }

    /// The contact a message is from: named itself, by its conversation, or both alike.
    fn addressee(&self, body: &InboundBody, location: &str) -> Result<&ContactSeen, Refusal> {
        let by_conversation = match &body.conversation_id {
            Some(id) => Some(self.contact_of(id, location)?),
            None => None,
        };
        let by_id = match &body.contact_id {
            Some(id) => {
                let contact = self.contacts.get(id).filter(|contact| contact.location_id == location);
                Some(contact.ok_or_else(|| Refusal::bad_request("Contact not found"))?)
            }
            None => None,
        };
        match (by_id, by_conversation) {
            (Some(contact), Some(other)) if contact.id != other.id => {
                Err(Refusal::bad_request("The conversation is not this contact's"))
            }
            (Some(contact), _) | (None, Some(contact)) => Ok(contact),
            (None, None) => Err(Refusal::unprocessable("contactId or conversationId should not be empty")),
        }
    }

    fn contact_of(&self, conversation_id: &str, location: &str) -> Result<&ContactSeen, Refusal> {
        let contact = self.conversations.get(conversation_id).and_then(|id| self.contacts.get(id));
        match contact {
            None => Err(Refusal::bad_request("Conversation not found")),
            Some(contact) if contact.location_id != location => Err(no_access()),
            Some(contact) => Ok(contact),
        }
    }

    /// `GET /conversations/{id}/messages`, newest first.
    pub(super) fn thread(&mut self, call: &Request<Bytes>, location: &str, id: &str) -> Served {
        let query: ThreadQuery = wire::query(call)?;
        self.contact_of(id, location)?;
        let limit = number(query.limit.as_deref(), PAGE)?;
        let lines: Vec<&Line> = self.lines.iter().rev().filter(|line| line.conversation_id == id).collect();
        let messages: Vec<Value> = lines.iter().take(limit).map(|line| self.line(line)).collect();
        let body = json!({"messages": {
            "lastMessageId": messages.last().map(|message| message["id"].clone()),
            "nextPage": lines.len() > limit,
            "messages": messages,
        }});
        Ok((StatusCode::OK, body))
    }

    fn line(&self, line: &Line) -> Value {
        let told = self.messages.get(&line.message_id).and_then(|message| message.statuses.last());
        let mut shown = json!({
            "id": line.message_id,
            "type": 2,
            "messageType": "TYPE_SMS",
            "locationId": line.location_id,
            "contactId": line.contact_id,
            "conversationId": line.conversation_id,
            "dateAdded": rfc3339(line.at),
            "direction": line.direction,
            "status": told.map_or("delivered", |seen| &seen.status),
            "contentType": "text/plain",
            "attachments": line.attachments,
        });
        if let Some(body) = &line.body {
            shown["body"] = json!(body);
        }
        if let Some(alt_id) = &line.alt_id {
            shown["altId"] = json!(alt_id);
        }
        shown
    }
}
