//! GHL's app lifecycle hooks: what it tells the bridge when the app is installed, removed or changed somewhere.
//!
//! Owns the body, with the members live payloads carry (ghl contract §2). A hook tells and does nothing: what is installed is
//! `world`'s, and a test says one, the other or both, in the order it wants.

use serde_json::{Value, json};

use super::date::rfc3339;
use super::world::World;
use crate::domain::time::UnixMillis;

/// A lifecycle hook; what is `None` is left out of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleHook {
    /// `INSTALL`, `UNINSTALL`, `UPDATE`, `PLAN_CHANGE`.
    pub kind: String,
    /// Our app's; a test sets another's.
    pub app_id: Option<String>,
    /// The location; `None` for a company's.
    pub location_id: Option<String>,
    /// The company.
    pub company_id: Option<String>,
    /// When it happened, on GHL's clock.
    pub timestamp: Option<UnixMillis>,
    /// The same over redeliveries.
    pub webhook_id: Option<String>,
    /// The app's version.
    pub version_id: Option<String>,
}

impl LifecycleHook {
    /// The bytes to sign and post; the same each time.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = json!({
            "type": self.kind,
            "installType": if self.location_id.is_some() { "Location" } else { "Company" },
            "userId": super::knob::DEFAULT_USER,
            "companyName": "Fake Agency",
            "isWhitelabelCompany": true,
            "whitelabelDetails": {"domain": "crm.agency.example", "logoUrl": null},
            "planId": null,
            "trial": {"onTrial": false},
        });
        let optional = [
            ("appId", self.app_id.as_ref().map(|id| json!(id))),
            ("locationId", self.location_id.as_ref().map(|id| json!(id))),
            ("companyId", self.company_id.as_ref().map(|id| json!(id))),
            ("timestamp", self.timestamp.map(|at| json!(rfc3339(at)))),
            ("webhookId", self.webhook_id.as_ref().map(|id| json!(id))),
            ("versionId", self.version_id.as_ref().map(|id| json!(id))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Value::to_string(&body).into_bytes()
    }
}

impl World {
    pub(super) fn lifecycle_hook(
        &mut self,
        kind: &str,
        location: Option<&str>,
        company: Option<&str>,
    ) -> LifecycleHook {
        LifecycleHook {
            kind: kind.to_owned(),
            app_id: Some(self.app_id().to_owned()),
            location_id: location.map(str::to_owned),
            company_id: company.map(str::to_owned),
            timestamp: Some(self.now()),
            webhook_id: Some(self.fresh_id("WHK")),
            version_id: None,
        }
    }
}
