//! An agency's calls: where the app is installed, and a location's token minted from the agency's.
//!
//! Owns the reading of the list. Invariant: an entry that can't be read spoils no other, and the page's length counts every
//! entry, readable or not, since the next page begins after all of them. Must not import `store`.

use serde_json::Value;

use super::token::TokenReply;
use super::{Call, GhlClient, GhlError, readable, taken};
use crate::client::lenient;
use crate::domain::secret::Secret;

/// One page of the sub-accounts where the app is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPage {
    /// Entries on it, those that say "not installed" or nothing readable among them.
    pub length: usize,
    /// The ids of those where the app is installed.
    pub locations: Vec<String>,
    /// Whether new sub-accounts follow by themselves.
    pub install_to_future: Option<bool>,
}

impl InstalledPage {
    /// `{locations:[{_id, isInstalled}]}`, or the list alone; `None` when there is no list.
    ///
    /// ⚠ `count` is the company's total and not the filter's: it is not read.
    fn read(reply: &Value) -> Option<Self> {
        let entries = reply.get("locations").unwrap_or(reply).as_array()?;
        let installed = |entry: &&Value| lenient::flag(entry, &["isInstalled", "is_installed"]) != Some(false);
        Some(Self {
            length: entries.len(),
            locations: entries.iter().filter(installed).filter_map(lenient::id_of_location).collect(),
            install_to_future: lenient::flag(reply, &["installToFutureLocations", "install_to_future_locations"]),
        })
    }
}

impl GhlClient {
    /// Lists sub-accounts of the company where the app is installed, `limit` of them after the first `skip`.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`; `Unreadable` if the reply has no list.
    #[tracing::instrument(name = "ghl.installed", skip_all, fields(company.id = company, skip))]
    pub async fn installed_locations(
        &self,
        token: &Secret,
        company: &str,
        app_id: &str,
        skip: usize,
        limit: usize,
    ) -> Result<InstalledPage, GhlError> {
        let (skip, limit) = (skip.to_string(), limit.to_string());
        let query = [
            ("companyId", company),
            ("appId", app_id),
            ("isInstalled", "true"),
            ("skip", skip.as_str()),
            ("limit", limit.as_str()),
        ];
        let answer = taken(self.request(Call::InstalledLocations, "", &query).bearer_auth(token.expose())).await?;
        InstalledPage::read(&readable(&answer)?).ok_or(GhlError::Unreadable { status: answer.status })
    }

    /// Mints a token of a location from its company's. The reply may lack refresh token, user type, company and location.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`; `Unreadable` if the reply has no access token. A repeat mints another token.
    #[tracing::instrument(name = "ghl.mint", skip_all, fields(location.id = location))]
    pub async fn mint_location_token(
        &self,
        token: &Secret,
        company: &str,
        location: &str,
    ) -> Result<TokenReply, GhlError> {
        let form = [("companyId", company), ("locationId", location)];
        let answer = taken(self.authorised(Call::LocationToken, "", token).form(&form)).await?;
        TokenReply::read(&readable(&answer)?).ok_or(GhlError::Unreadable { status: answer.status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_page_is_read_and_count_the_companys_total_means_nothing() {
        let page = InstalledPage::read(&json!({
            "locations": [
                {"_id": "L1", "name": "One", "address": "", "isInstalled": true},
                {"_id": "L2", "isInstalled": false},
                {"id": "L3"},
                {"name": "nameless"},
                "L4",
                null
            ],
            "count": 4000,
            "installToFutureLocations": true
        }))
        .expect("a page");
        assert_eq!(page.locations, ["L1", "L3", "L4"]);
        assert_eq!((page.length, page.install_to_future), (6, Some(true)));
    }

    #[test]
    fn a_bare_list_is_a_page_and_what_has_no_list_is_none() {
        let bare = InstalledPage::read(&json!([{"locationId": "L1"}])).expect("a page");
        assert_eq!((bare.length, bare.locations), (1, vec!["L1".to_owned()]));
        for odd in [json!({"count": 7}), json!({"locations": {}}), json!(null), json!("L1")] {
            assert_eq!(InstalledPage::read(&odd), None, "{odd}");
        }
    }
}
