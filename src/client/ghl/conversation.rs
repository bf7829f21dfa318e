//! Conversations and contacts: the calls around a reply that are not the reply itself.
//!
//! Looking for a post nobody saw land, finding or making a conversation where GHL insists on one (eventually consistent: a
//! fallback only, ghl contract §5), and a contact's do-not-disturb setting. One call each; reads leniently.

use serde_json::{Value, json};

use super::{Call, GhlClient, GhlError, PathId, readable, taken};
use crate::client::lenient;
use crate::domain::secret::Secret;

/// How many of a conversation's newest messages are looked through (bridge §7).
const NEWEST: &str = "20";

impl GhlClient {
    /// GHL's id of the message that carries our `alt_id`, if it is among the newest 20 of the conversation.
    ///
    /// # Errors
    /// `Transport`, `Api`, or `Unreadable`.
    #[tracing::instrument(name = "ghl.conversation", skip_all, fields(inbound.id = alt_id))]
    pub async fn find_posted(
        &self,
        token: &Secret,
        conversation: &str,
        alt_id: &str,
    ) -> Result<Option<String>, GhlError> {
        let id = PathId::new(conversation)?;
        let request = self.request(Call::Thread, id.0, &[("limit", NEWEST)]).bearer_auth(token.expose());
        let answer = taken(request).await?;
        let status = answer.status;
        let reply = readable(&answer)?;
        let list = list(&reply, "messages").ok_or(GhlError::Unreadable { status })?;
        let ours = list.iter().find(|m| lenient::text(m, &["altId", "alt_id"]).as_deref() == Some(alt_id));
        Ok(ours.and_then(|message| lenient::id(message, &["id", "_id", "messageId", "message_id"])))
    }

    /// Makes the conversation of a contact; `None` where GHL says that there is one, which its search may not know yet.
    ///
    /// # Errors
    /// `Transport`, `Api`, or `Unreadable`.
    #[tracing::instrument(name = "ghl.conversation", skip_all, fields(location.id = location))]
    pub async fn create_conversation(
        &self,
        token: &Secret,
        location: &str,
        contact: &str,
    ) -> Result<Option<String>, GhlError> {
        let body = json!({"locationId": location, "contactId": contact});
        let answer = match taken(self.authorised(Call::CreateConversation, "", token).json(&body)).await {
            Err(GhlError::Api(refusal)) if refusal.is_already_there() => return Ok(None),
            answer => answer?,
        };
        let reply = readable(&answer)?;
        let wrapped = reply.get("conversation").and_then(|inner| lenient::id(inner, &["id", "_id"]));
        let made = wrapped.or_else(|| lenient::id(&reply, &["conversationId", "conversation_id", "id"]));
        made.map(Some).ok_or(GhlError::Unreadable { status: answer.status })
    }

    /// The conversation of a contact, as far as GHL's search knows.
    ///
    /// # Errors
    /// `Transport`, `Api`, or `Unreadable`.
    #[tracing::instrument(name = "ghl.conversation", skip_all, fields(location.id = location))]
    pub async fn find_conversation(
        &self,
        token: &Secret,
        location: &str,
        contact: &str,
    ) -> Result<Option<String>, GhlError> {
        let query = [("locationId", location), ("contactId", contact)];
        let answer = taken(self.request(Call::SearchConversation, "", &query).bearer_auth(token.expose())).await?;
        let reply = readable(&answer)?;
        let theirs =
            |found: &&Value| lenient::id(found, &["contactId", "contact_id"]).is_none_or(|whose| whose == contact);
        let found = list(&reply, "conversations").and_then(|all| all.iter().find(theirs));
        Ok(found.and_then(|conversation| lenient::id(conversation, &["id", "_id"])))
    }

    /// Sets or clears a contact's do-not-disturb setting for SMS; the others are left as they are.
    ///
    /// # Errors
    /// `Transport` or `Api`; an id that cannot stand in a path is `Transport`, not sent.
    #[tracing::instrument(name = "ghl.dnd", skip_all, fields(blocked))]
    pub async fn set_sms_dnd(&self, token: &Secret, contact: &str, blocked: bool) -> Result<(), GhlError> {
        let id = PathId::new(contact)?;
        let (status, message, code) = if blocked {
            ("active", "This person opted out by SMS.", "opted_out")
        } else {
            ("inactive", "This person may be messaged again.", "opted_in")
        };
        let body = json!({"dndSettings": {"SMS": {"status": status, "message": message, "code": code}}});
        taken(self.authorised(Call::Contact, id.0, token).json(&body)).await.map(drop)
    }
}

/// A list by its name, perhaps wrapped in an object of the same name, or without either.
fn list<'a>(reply: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    let Some(named) = reply.get(name) else { return reply.as_array() };
    named.as_array().or_else(|| named.get(name)?.as_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_flat_and_wrapped() {
        for reply in [json!({"messages": [1]}), json!({"messages": {"messages": [1], "nextPage": false}}), json!([1])] {
            assert_eq!(list(&reply, "messages").map(Vec::len), Some(1), "{reply}");
        }
        for reply in [json!({}), json!("x"), json!({"messages": null}), json!({"messages": {"messages": 1}})] {
            assert_eq!(list(&reply, "messages"), None, "{reply}");
        }
    }
}
