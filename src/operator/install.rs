//! Installations as operators see them: who is connected, who waits, what a grant needs, how far an agency is.
//!
//! Invariant: no token, sealed or not, is in a row. Reads alone; what becomes of an installation is `oauth`'s.

use serde::Serialize;

use super::{LastCheckView, OperatorError, maybe_time, time};
use crate::domain::agency::Progress;
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{GrantKind, InstallState, Installation};
use crate::domain::time::UnixMillis;
use crate::store::{Query, Store, StoreError};

/// Sub-accounts of one agency that are counted: it has some thousands at most.
const MOST: usize = 100_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct InstallsRequest {
    /// Of this agency alone.
    pub company: Option<CompanyId>,
    /// [`Installs::next`] of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

/// One page, in the order of ids: agencies first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installs {
    pub installations: Vec<InstallRow>,
    /// Where the next page begins; absent on the last.
    pub next: Option<DocId>,
}

/// One installation in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstallRow {
    pub id: DocId,
    pub kind: GrantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    pub state: InstallState,
    /// An uninstall is being checked with the CRM.
    pub uninstall_in_doubt: bool,
    #[serde(serialize_with = "time")]
    pub installed_at: UnixMillis,
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub uninstalled_at: Option<UnixMillis>,
    /// When the access token ends; it is renewed before.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<UnixMillis>,
    /// When its token is minted next, or again.
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub mint_at: Option<UnixMillis>,
    /// Mints that were refused or failed in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mint_tries: Option<u32>,
    /// Of an agency: how many of its sub-accounts are connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// What the bridge's own set-up check found last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<LastCheckView>,
}

/// Lists a page of installations.
///
/// # Errors
/// [`OperatorError::Store`]
pub async fn installs(store: &Store, request: &InstallsRequest) -> Result<Installs, OperatorError> {
    let wanted = request.limit.saturating_add(1);
    let mut after = request.after.clone().map(DocId);
    let mut found: Vec<Installation> = Vec::new();
    while found.len() < wanted {
        let page = store.find::<Installation>(Query::Page { after: after.clone(), limit: wanted }).await?;
        let Some(last) = page.last().and_then(|stored| stored.record.id()) else { break };
        after = Some(last);
        let of_company = |i: &Installation| request.company.is_none() || i.company == request.company;
        found.extend(page.into_iter().map(|stored| stored.record).filter(of_company));
    }
    let more = found.len() > request.limit;
    found.truncate(request.limit);
    let mut installations = Vec::new();
    for installation in &found {
        installations.extend(row(store, installation).await?);
    }
    let next = installations.last().filter(|_| more).map(|row: &InstallRow| row.id.clone());
    Ok(Installs { installations, next })
}

async fn row(store: &Store, installation: &Installation) -> Result<Option<InstallRow>, StoreError> {
    let Some(id) = installation.id() else { return Ok(None) };
    let progress = match (installation.kind, &installation.company) {
        (GrantKind::Company, Some(company)) => {
            let query = Query::Lane { lane: company.to_string(), limit: MOST };
            let all = store.find::<Installation>(query).await?;
            Some(Progress::of(all.iter().map(|stored| &stored.record)))
        }
        _ => None,
    };
    Ok(Some(InstallRow {
        id,
        kind: installation.kind,
        location: installation.location.clone(),
        company: installation.company.clone(),
        state: InstallState::of(installation),
        uninstall_in_doubt: installation.doubt.is_some(),
        installed_at: installation.installed_at,
        uninstalled_at: installation.uninstalled_at,
        token_expires_at: installation.grant.as_ref().map(|grant| grant.expires_at),
        mint_at: installation.mint.as_ref().and_then(|mint| mint.due_at),
        mint_tries: installation.mint.as_ref().map(|mint| mint.tries),
        progress,
        version_id: installation.version_id.clone(),
        last_check: LastCheckView::of(installation),
    }))
}
