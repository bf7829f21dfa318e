//! Opt-outs: who replied STOP and is not messaged, and lifting that for a person who asked by another way.
//!
//! Invariant: numbers are masked unless they were asked for. A lift is `domain::opt_out`'s rule on the revision it is written to;
//! the leader tells the CRM.

use serde::Serialize;

use super::{OperatorError, Reveal, maybe_time, time};
use crate::domain::dnd::GivenUp;
use crate::domain::id::LocationId;
use crate::domain::opt_out::{LiftedBy, Suppression};
use crate::domain::phone::Phone;
use crate::domain::time::UnixMillis;
use crate::store::{Place, Query, Store};

/// Documents read at once.
const PAGE: usize = 256;
/// Far more locations than ever share a phone.
const EVERYBODY: usize = 100_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct OptOutsRequest {
    pub location: Option<LocationId>,
    pub phone: Option<Phone>,
    /// Those that were lifted instead of those that stand.
    pub lifted: bool,
    pub limit: usize,
}

/// What was found, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptOuts {
    pub opt_outs: Vec<OptOutRow>,
    /// There are more than were asked for.
    pub more: bool,
}

/// One suppression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptOutRow {
    /// Absent: everywhere, since nobody was known to have written to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    /// Masked unless full numbers were asked for.
    pub phone: String,
    /// When they said STOP, last.
    #[serde(serialize_with = "time")]
    pub since: UnixMillis,
    /// The STOP named the location; else it covers all who wrote to them.
    pub explicit: bool,
    pub crm: CrmView,
    #[serde(serialize_with = "maybe_time", skip_serializing_if = "Option::is_none")]
    pub lifted_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<LiftedBy>,
}

/// How the CRM shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CrmView {
    /// As we do.
    Told,
    /// Not told yet.
    Due,
    /// It will not be told.
    GivenUp(GivenUp),
    /// There is nothing to tell.
    Nothing,
}

/// Lists what stands, or what was lifted.
///
/// # Errors
/// [`OperatorError::Store`]
pub async fn opt_outs(store: &Store, request: &OptOutsRequest, reveal: Reveal) -> Result<OptOuts, OperatorError> {
    let mut found = match &request.phone {
        Some(phone) => of_phone(store, phone).await?,
        None => walk(store, request).await?,
    };
    found.retain(|s| s.stands() != request.lifted);
    found.retain(|s| request.location.is_none() || s.location == request.location);
    found.sort_by_key(|s| std::cmp::Reverse(s.since));
    let more = found.len() > request.limit;
    found.truncate(request.limit);
    Ok(OptOuts { opt_outs: found.iter().map(|held| row(held, reveal)).collect(), more })
}

/// Lifts what stands for a phone: of one location, or all. Answers what was lifted.
///
/// # Errors
/// [`OperatorError::NoOptOut`] when nothing stands; [`OperatorError::Store`]
pub async fn lift_opt_outs(
    store: &Store,
    phone: &Phone,
    location: Option<&LocationId>,
    now: UnixMillis,
) -> Result<Vec<OptOutRow>, OperatorError> {
    let mut lifted = Vec::new();
    for held in of_phone(store, phone).await? {
        if location.is_some() && held.location.as_ref() != location {
            continue;
        }
        let id = held.scope().document(phone);
        let by_us =
            |held: &Suppression| held.lift(LiftedBy::Operator, now.max(held.changed_at)).filter(|_| held.stands());
        if let Some(stored) = store.update::<Suppression>(&id, by_us).await? {
            lifted.push(row(&stored.record, Reveal::Nothing));
        }
    }
    if lifted.is_empty() { Err(OperatorError::NoOptOut { phone: phone.masked() }) } else { Ok(lifted) }
}

async fn of_phone(store: &Store, phone: &Phone) -> Result<Vec<Suppression>, OperatorError> {
    let lane = Query::Lane { lane: phone.e164().to_owned(), limit: EVERYBODY };
    Ok(store.find::<Suppression>(lane).await?.into_iter().map(|stored| stored.record).collect())
}

/// As many as were asked for and one more, if there are so many.
async fn walk(store: &Store, request: &OptOutsRequest) -> Result<Vec<Suppression>, OperatorError> {
    let (state, wanted) = (if request.lifted { "lifted" } else { "standing" }, request.limit.saturating_add(1));
    let mut found: Vec<Suppression> = Vec::new();
    let mut after = None;
    while found.len() < wanted {
        let query = Query::State {
            state: state.to_owned(),
            location: request.location.as_ref().map(ToString::to_string),
            after,
            limit: PAGE.min(wanted),
        };
        let page = store.find::<Suppression>(query).await?;
        let Some(last) = page.last() else { break };
        after = Some(Place { accepted_at: last.record.since, id: last.record.scope().document(&last.record.phone) });
        found.extend(page.into_iter().map(|stored| stored.record));
    }
    Ok(found)
}

fn row(held: &Suppression, reveal: Reveal) -> OptOutRow {
    let phone = match reveal {
        Reveal::Nothing => held.phone.masked(),
        Reveal::Content => held.phone.e164().to_owned(),
    };
    let mirror = &held.mirror;
    let crm = match (mirror.given_up, mirror.due_at) {
        (Some(why), _) => CrmView::GivenUp(why),
        (None, Some(_)) => CrmView::Due,
        (None, None) if held.location.is_none() => CrmView::Nothing,
        (None, None) => CrmView::Told,
    };
    OptOutRow {
        location: held.location.clone(),
        phone,
        since: held.since,
        explicit: held.explicit,
        crm,
        lifted_at: held.lifted.as_ref().map(|lifted| lifted.at),
        lifted_by: held.lifted.as_ref().map(|lifted| lifted.by),
    }
}

impl CrmView {
    /// In a word, for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Due => "due",
            Self::Nothing => "-",
            Self::GivenUp(GivenUp::NoContact) => "no contact",
            Self::GivenUp(GivenUp::NotInstalled) => "not installed",
            Self::GivenUp(GivenUp::Refused) => "refused",
            Self::GivenUp(GivenUp::Scopes) => "scopes",
            Self::GivenUp(GivenUp::Exhausted) => "gave up",
        }
    }
}
