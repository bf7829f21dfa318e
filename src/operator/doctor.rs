//! The doctor: the set-up check of installations and of the bridge itself, in rows that say what to do next.
//!
//! Invariant: changes nothing and renews nothing (bridge §5), so it works beside a running `serve`. What a finding means is
//! `domain::checkup`'s; how an installation is looked at is `oauth`'s.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{OperatorError, time};
use crate::domain::checkup::{self, BridgeFindings, Clocks, DefaultLocation, Row, Setting, Verdict};
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{GrantKind, Installation};
use crate::domain::recheck::{CheckedRow, LastCheck};
use crate::domain::time::UnixMillis;
use crate::oauth::{Inspector, several_companies};
use crate::store::{Query, StoreError};

/// Installations looked at at once: each is a call to GHL with a token of its own.
const AT_ONCE: usize = 4;

/// Whom to look at.
#[derive(Debug, Clone, Default)]
pub struct DoctorRequest {
    /// This sub-account alone, known or not.
    pub location: Option<LocationId>,
    /// [`Report::next`] of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

/// What the bridge is set to, as far as it is looked at.
#[derive(Debug, Clone, Default)]
pub struct DoctorSettings {
    pub setting: Setting,
    /// `GHL_SCOPES`, or what stands in for it.
    pub asked_scopes: Vec<String>,
    pub default_location: Option<LocationId>,
    /// `DISK_RESERVE`, in bytes.
    pub disk_reserve: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(serialize_with = "time")]
    pub checked_at: UnixMillis,
    /// The worst there is.
    pub verdict: Verdict,
    pub bridge: Vec<Row>,
    /// In the order of ids: agencies first.
    pub installations: Vec<Examined>,
    /// Where the next page begins; absent on the last.
    pub next: Option<DocId>,
}

/// One installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examined {
    pub id: DocId,
    pub kind: GrantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    pub rows: Vec<Row>,
    /// What the bridge's own check found last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<LastCheckView>,
}

/// The bridge's own check, as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastCheckView {
    #[serde(serialize_with = "time")]
    pub at: UnixMillis,
    /// The worst of them.
    pub verdict: Verdict,
    pub verdicts: Vec<CheckedRow>,
}

impl LastCheckView {
    pub(super) fn of(installation: &Installation) -> Option<Self> {
        let last: LastCheck = installation.recheck.as_ref()?.last.clone()?;
        Some(Self { at: last.at, verdict: last.worst(), verdicts: last.verdicts })
    }
}

/// Looks at everything that was asked for.
///
/// # Errors
/// [`OperatorError::Store`]
pub async fn doctor(
    inspector: &Inspector,
    settings: &DoctorSettings,
    request: &DoctorRequest,
) -> Result<Report, OperatorError> {
    let (held, next) = chosen(inspector, request).await?;
    let looks = held.into_iter().map(|subject| examine(inspector, &settings.setting, subject));
    let looked: Vec<(Examined, Option<Clocks>)> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let clocks = looked.iter().find_map(|(_, clocks)| *clocks);
    let installations: Vec<Examined> = looked.into_iter().map(|(examined, _)| examined).collect();
    let bridge = checkup::bridge(&BridgeFindings {
        disk_free: inspector.store().free_space().await?,
        disk_reserve: settings.disk_reserve,
        clocks,
        provider_id_set: settings.setting.provider_id.is_some(),
        asked_scopes: settings.asked_scopes.clone(),
        default_location: match &settings.default_location {
            Some(location) => Some(default_location(inspector, location).await?),
            None => None,
        },
    });
    let verdict = Verdict::worst(bridge.iter().chain(installations.iter().flat_map(|examined| &examined.rows)));
    Ok(Report { checked_at: inspector.now(), verdict, bridge, installations, next })
}

/// What is looked at.
enum Subject {
    Held(Box<Installation>),
    /// Nobody connected it; its messages may be here all the same.
    Stranger(LocationId),
}

/// One sub-account, or a page of everything.
async fn chosen(inspector: &Inspector, request: &DoctorRequest) -> Result<(Vec<Subject>, Option<DocId>), StoreError> {
    if let Some(location) = &request.location {
        let held = inspector.store().get::<Installation>(&DocId::location(location)).await?;
        let subject =
            held.map_or_else(|| Subject::Stranger(location.clone()), |held| Subject::Held(held.record.into()));
        return Ok((vec![subject], None));
    }
    let after = request.after.clone().map(DocId);
    let page = Query::Page { after, limit: request.limit.saturating_add(1) };
    let mut held = inspector.store().find::<Installation>(page).await?;
    let more = held.len() > request.limit;
    held.truncate(request.limit);
    let next = held.last().filter(|_| more).and_then(|stored| stored.record.id());
    Ok((held.into_iter().map(|stored| Subject::Held(stored.record.into())).collect(), next))
}

async fn examine(
    inspector: &Inspector,
    setting: &Setting,
    subject: Subject,
) -> Result<(Examined, Option<Clocks>), StoreError> {
    let (looked, id, company, last_check) = match &subject {
        Subject::Held(held) => {
            // The store reads no installation that names nobody.
            let id = held.id().unwrap_or_else(DocId::before_locations);
            (inspector.installation(held).await?, id, held.company.clone(), LastCheckView::of(held))
        }
        Subject::Stranger(location) => (inspector.stranger(location).await?, DocId::location(location), None, None),
    };
    let rows = checkup::installation(&looked.findings, setting, inspector.now());
    let kind = looked.findings.standing.kind;
    Ok((Examined { id, kind, company, rows, last_check }, looked.clocks))
}

async fn default_location(inspector: &Inspector, location: &LocationId) -> Result<DefaultLocation, StoreError> {
    if several_companies(inspector.store()).await? {
        return Ok(DefaultLocation::Ignored);
    }
    let held = inspector.store().get::<Installation>(&DocId::location(location)).await?;
    let installed = held.is_some_and(|stored| stored.record.installed());
    Ok(if installed { DefaultLocation::Works } else { DefaultLocation::NotInstalled })
}
