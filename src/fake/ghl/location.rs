//! An agency's view of its sub-accounts: where the app is installed, a location's own token, the set-up check, removal.
//!
//! Owns ghl contract §3 (company installs), §7 and §8. `count` is the company's total, never the filter's.

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::knob::{ChannelList, ChannelSpelling, MintShape};
use super::refusal::Refusal;
use super::route::{Served, no_access};
use super::token::{Grant, Owner};
use super::world::World;
use crate::fake::wire::{self, present};

/// Page size where none is asked for, and the largest.
const PAGE: usize = 20;
const MAX_PAGE: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InstalledQuery {
    company_id: String,
    app_id: String,
    #[serde(default)]
    is_installed: Option<String>,
    #[serde(default)]
    skip: Option<String>,
    #[serde(default)]
    limit: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MintForm {
    company_id: String,
    location_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RemoveBody {
    #[serde(default, deserialize_with = "present")]
    location_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    company_id: Option<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

impl World {
    /// `GET /oauth/installedLocations`
    pub(super) fn installed_locations(&mut self, call: &Request<Bytes>, company: &str, of: &Grant) -> Served {
        let query: InstalledQuery = wire::query(call)?;
        if query.company_id != company {
            return Err(no_access());
        }
        if query.app_id != self.app_id() {
            return Err(Refusal::bad_request("No integration found with this app id").breach());
        }
        let only_installed = match query.is_installed.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                return Err(Refusal::unprocessable("isInstalled must be a boolean value"));
            }
        };
        let skip = number(query.skip.as_deref(), 0)?;
        let limit = number(query.limit.as_deref(), PAGE)?.min(MAX_PAGE);
        let of_company: Vec<_> = self.places.iter().filter(|(_, place)| place.company == company).collect();
        let page: Vec<Value> = of_company
            .iter()
            .filter(|(_, place)| place.installed || !only_installed)
            .skip(skip)
            .take(limit)
            .map(|(id, place)| {
                json!({
                    "_id": id,
                    "name": format!("Sub-account {id}"),
                    "address": "",
                    "isInstalled": place.installed,
                })
            })
            .collect();
        let body = json!({
            "locations": page,
            "count": of_company.len(),
            "installToFutureLocations": of.for_all,
        });
        Ok((StatusCode::OK, body))
    }

    /// `POST /oauth/locationToken`: mints a token of a location from its company's.
    pub(super) fn mint(&mut self, call: &Request<Bytes>, company: &str, of: &Grant) -> Served {
        let form: MintForm = wire::form(call)?;
        if form.company_id != company {
            return Err(no_access());
        }
        let place = self.places.get(&form.location_id).filter(|place| place.company == company);
        if !place.is_some_and(|place| place.installed) {
            return Err(Refusal::bad_request("The app is not installed in this location"));
        }
        if let Some(refusal) = self.unhealthy(&form.location_id) {
            return Err(refusal);
        }
        let owner = Owner::Location { id: form.location_id.clone(), company: company.to_owned() };
        let grant = Grant { owner, approved: Vec::new(), ..of.clone() };
        let (life, now) = (self.options.token_life, self.mono());
        let mut reply = json!({
            "token_type": "Bearer",
            "expires_in": life.as_secs(),
            "scope": grant.scopes.join(" "),
            "traceId": self.fresh_id("TRC"),
        });
        match self.rules.mint {
            MintShape::Full => {
                let pair = self.vault.issue_pair(&grant, life, now);
                reply["access_token"] = json!(pair.access);
                reply["refresh_token"] = json!(pair.refresh);
            }
            MintShape::WithoutRefresh | MintShape::Bare => {
                reply["access_token"] = json!(self.vault.issue_access(&grant, life, now));
            }
        }
        if self.rules.mint != MintShape::Bare {
            reply["userType"] = json!(grant.owner.user_type());
            reply["companyId"] = json!(company);
            reply["locationId"] = json!(form.location_id);
            reply["userId"] = json!(grant.user_id);
        }
        Ok((StatusCode::CREATED, reply))
    }

    /// `GET /locations/{id}/conversationChannels/SMS`
    pub(super) fn channels(&mut self, location: &str, asked: &str) -> Served {
        if asked != location {
            return Err(no_access());
        }
        let ours_is_default = self.places.get(location).is_some_and(|place| place.default_provider);
        let provider = |id: &str, name: &str, default: bool| {
            let inner = json!({"_id": id, "name": name, "type": "SMS", "default": default});
            json!({"conversationProvider": inner})
        };
        let ours = provider(&self.options.provider_id, &self.options.provider_name, ours_is_default);
        let other = provider("PRVother000000000001", "Phone System", !ours_is_default);
        let channels = match self.rules.channel_list {
            ChannelList::All => json!([ours, other]),
            ChannelList::OthersAlone => json!([other]),
        };
        let body = match self.rules.channel_spelling {
            ChannelSpelling::Upper => json!({"conversationChannel": {"SMS": channels}}),
            ChannelSpelling::Lower => json!({"conversationChannel": {"sms": channels}}),
        };
        Ok((StatusCode::OK, body))
    }

    /// `DELETE /marketplace/app/{appId}/installations`. ⚠ With an agency's token it removes every location.
    pub(super) fn remove_app(&mut self, call: &Request<Bytes>, owner: &Owner, app_id: &str) -> Served {
        let body: RemoveBody = wire::json(call)?;
        if app_id != self.app_id() {
            return Err(Refusal::bad_request("No integration found with this app id").breach());
        }
        let named = match owner {
            Owner::Location { .. } => (body.location_id.as_deref(), body.company_id.is_none()),
            Owner::Company { .. } => (body.company_id.as_deref(), body.location_id.is_none()),
        };
        if named != (Some(owner.id()), true) {
            return Err(no_access());
        }
        self.uninstall(owner.id());
        Ok((StatusCode::OK, json!({"success": true})))
    }
}

/// A count in a query.
pub(super) fn number(text: Option<&str>, default: usize) -> Result<usize, Refusal> {
    match text.map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(Refusal::unprocessable("skip and limit must be numbers")),
    }
}
