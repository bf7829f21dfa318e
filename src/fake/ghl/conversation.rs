//! Conversations as such: search and create.
//!
//! Owns what makes naive bridges avoid both (ghl contract §5): the search is eventually consistent, and creating what is there
//! is a 400 `already exists`. Every contact has one conversation, made with it.

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::refusal::Refusal;
use super::route::{Served, no_access};
use super::world::World;
use crate::fake::wire;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SearchQuery {
    location_id: String,
    contact_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateBody {
    location_id: String,
    contact_id: String,
}

impl World {
    /// `GET /conversations/search`
    pub(super) fn search_conversations(&mut self, call: &Request<Bytes>, location: &str) -> Served {
        let query: SearchQuery = wire::query(call)?;
        if query.location_id != location {
            return Err(no_access());
        }
        let known = self.contacts.get(&query.contact_id).filter(|contact| contact.location_id == location);
        let known = known.map(|contact| {
            json!({"id": contact.conversation_id, "contactId": contact.id, "locationId": location, "type": "TYPE_PHONE"})
        });
        let behind = self.rules.search_behind > 0;
        self.rules.search_behind = self.rules.search_behind.saturating_sub(1);
        let found: Vec<_> = known.into_iter().filter(|_| !behind).collect();
        Ok((StatusCode::OK, json!({"total": found.len(), "conversations": found})))
    }

    /// `POST /conversations`
    pub(super) fn create_conversation(&mut self, call: &Request<Bytes>, location: &str) -> Served {
        let body: CreateBody = wire::json(call)?;
        if body.location_id != location {
            return Err(no_access());
        }
        match self.contacts.get(&body.contact_id).filter(|contact| contact.location_id == location) {
            Some(_) => Err(Refusal::bad_request("Conversation already exists.")),
            None => Err(Refusal::bad_request("Contact not found")),
        }
    }
}
