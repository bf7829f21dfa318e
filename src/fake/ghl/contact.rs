//! Contacts: upsert, search, do-not-disturb, and the hook that tells of it.
//!
//! Owns ghl contract §5 ("resolving the contact"). An upsert that carries `tags` or `name`, which would overwrite what
//! people keep there, is refused as undeclared: stricter than the vendor, on purpose.

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::date::rfc3339;
use super::refusal::Refusal;
use super::route::{Served, no_access};
use super::seen::ContactSeen;
use super::world::{World, is_e164};
use crate::fake::wire::{self, present};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct UpsertBody {
    location_id: String,
    phone: String,
    #[serde(default, deserialize_with = "present")]
    country: Option<String>,
    #[serde(default, deserialize_with = "present")]
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DuplicateQuery {
    location_id: String,
    number: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DndBody {
    dnd_settings: DndSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DndSettings {
    #[serde(rename = "SMS")]
    sms: DndChannel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DndChannel {
    status: DndStatus,
    #[serde(default, deserialize_with = "present")]
    message: Option<String>,
    #[serde(default, deserialize_with = "present")]
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DndStatus {
    Active,
    Inactive,
}

impl World {
    /// `POST /contacts/upsert`
    pub(super) fn upsert(&mut self, call: &Request<Bytes>, location: &str) -> Served {
        let body: UpsertBody = wire::json(call)?;
        if body.location_id != location {
            return Err(no_access());
        }
        if !is_e164(&body.phone) {
            return Err(Refusal::unprocessable("phone must be a valid phone number"));
        }
        let country_fits = |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
        if !body.country.as_ref().is_none_or(country_fits) {
            return Err(Refusal::unprocessable("country must be a valid country code"));
        }
        let (contact, new) = self.contact_by_phone(location, &body.phone);
        if body.source.is_some() {
            contact.source = body.source;
        }
        let shown = shown(contact);
        let body = json!({"new": new, "contact": shown, "traceId": self.fresh_id("TRC")});
        Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, body))
    }

    /// `GET /contacts/search/duplicate`
    pub(super) fn search_duplicate(&mut self, call: &Request<Bytes>, location: &str) -> Served {
        let query: DuplicateQuery = wire::query(call)?;
        if query.location_id != location {
            return Err(no_access());
        }
        if !is_e164(&query.number) {
            // A `+` that was not percent-encoded arrives as a space.
            return Err(Refusal::unprocessable("number must be a valid phone number"));
        }
        let contact = self.known_contact(location, &query.number).map(shown);
        Ok((StatusCode::OK, json!({"contact": contact})))
    }

    /// `PUT /contacts/{id}`, for `dndSettings` alone.
    pub(super) fn set_dnd(&mut self, call: &Request<Bytes>, location: &str, id: &str) -> Served {
        let DndChannel { status, message, code } = wire::json::<DndBody>(call)?.dnd_settings.sms;
        let ours = self.contacts.get_mut(id).filter(|contact| contact.location_id == location);
        let Some(contact) = ours else {
            return Err(Refusal::bad_request("Contact not found"));
        };
        let status = match status {
            DndStatus::Active => "active",
            DndStatus::Inactive => "inactive",
        };
        contact.dnd = Some(json!({"SMS": {"status": status, "message": message, "code": code}}));
        Ok((StatusCode::OK, json!({"succeded": true, "contact": shown(contact)})))
    }
}

impl World {
    /// Sets a contact's block for SMS as an agent does in the CRM; the body of its `ContactDndUpdate`, which has no `appId`.
    pub(super) fn agent_sets_dnd(&mut self, contact_id: &str, blocked: bool) -> Vec<u8> {
        let (sent_at, webhook_id) = (rfc3339(self.now()), self.fresh_id("WHK"));
        let settings = json!({"SMS": {"status": if blocked { "active" } else { "inactive" }}});
        let Some(contact) = self.contacts.get_mut(contact_id) else { return Vec::new() };
        contact.dnd = Some(settings.clone());
        let body = json!({
            "type": "ContactDndUpdate",
            "locationId": contact.location_id,
            "id": contact.id,
            "phone": contact.phone,
            "dnd": false,
            "dndSettings": settings,
            "timestamp": sent_at,
            "webhookId": webhook_id,
        });
        Value::to_string(&body).into_bytes()
    }
}

fn shown(contact: &ContactSeen) -> Value {
    json!({
        "id": contact.id,
        "locationId": contact.location_id,
        "phone": contact.phone,
        "source": contact.source,
        "dndSettings": contact.dnd,
    })
}
