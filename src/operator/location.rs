//! Locations and what is set for them: list, show, change; and the links by which an installer enters a key.
//!
//! Invariants: a key is written and never read back, what is shown of it is its ending; a change is the pure rule of
//! `domain::settings` on the revision it is written to, and is logged by the names of what changed. Settings are read anew for
//! each message, so unlike the rest of `operator` this may work on the store of a running `serve`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{maybe_time, rfc3339};
use crate::digest;
use crate::domain::connect::ConnectLink;
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::Installation;
use crate::domain::settings::{
    Change as Setting, LocationSettings, OwnKey, ProviderKind, SettingsError, SettingsPatch,
};
use crate::domain::time::UnixMillis;
use crate::domain::transition::StatusOnAccept;
use crate::lifecycle::Bells;
use crate::random;
use crate::seal::KeyRing;
use crate::store::{Inserted, Query, Record, Store, StoreError};

/// A location with its settings. What is null holds as the operator's variables say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LocationView {
    #[schema(value_type = String)]
    pub location_id: LocationId,
    pub installation: Installed,
    /// The agency it belongs to, where that is known.
    #[schema(value_type = Option<String>)]
    pub company_id: Option<CompanyId>,
    /// The sender name, instead of `CAST_SENDER_ID`.
    pub sender_id: Option<String>,
    /// Its own Cast key, of which only this is shown.
    pub cast_api_key: Option<KeyView>,
    /// `delivered` or `pending`, instead of `STATUS_ON_ACCEPT`.
    #[schema(value_type = Option<String>)]
    pub status_on_accept: Option<StatusOnAccept>,
    /// How the CRM knows this app there: `default`, or `custom` for an extra provider.
    #[schema(value_type = Option<String>)]
    pub provider_kind: Option<ProviderKind>,
    /// Replies to these numbers and SIMs belong to this location.
    pub receiving_numbers: Vec<String>,
    /// `false`: nothing is sent for it.
    pub enabled: Option<bool>,
    /// `true`: it may send on the operator's key under `SHARED_KEY=approve`.
    pub approved: Option<bool>,
    /// Most parts a day on the operator's key, instead of `LOCATION_DAILY_PARTS`; 0 is no limit.
    pub daily_parts: Option<u64>,
    /// When something was last set; null when nothing ever was.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>)]
    pub changed_at: Option<UnixMillis>,
}

/// Whether the app is installed in a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Installed {
    Installed,
    Uninstalled,
    /// Not yet: it was configured before.
    Never,
}

/// What is shown of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyView {
    /// Its last four characters.
    pub ending: String,
    /// When it was set, RFC 3339.
    pub set_at: String,
}

/// A page of locations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LocationList {
    pub locations: Vec<LocationView>,
    /// `after` of the next page; null on the last.
    #[schema(value_type = Option<String>)]
    pub next: Option<LocationId>,
}

/// Why it can't be done.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("Nothing is known of this sub-account: it is neither installed nor configured.")]
    Unknown,
    #[error("`receiving_numbers` holds one that belongs to the sub-account {0} already.")]
    Taken(LocationId),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What became of a key that was entered by a link.
#[derive(Debug)]
pub enum Entered {
    Saved(LocationId),
    /// The link is unknown, used or too old.
    Over,
    /// It is no key; the link still holds.
    Refused(SettingsError),
}

/// Locations looked at that have, or once had, a receiving number.
const MOST_OWNERS: usize = 50;

/// Locations in a store; clones share it.
#[derive(Debug, Clone)]
pub struct Locations {
    store: Store,
    ring: Arc<KeyRing>,
    bells: Bells,
}

impl Locations {
    /// `bells` wake who holds messages of a location that may send now.
    #[must_use]
    pub fn new(store: Store, ring: Arc<KeyRing>, bells: Bells) -> Self {
        Self { store, ring, bells }
    }

    /// Locations that are installed, were, or are configured, by id, after a given one.
    ///
    /// # Errors
    /// [`LocationError::Store`]
    pub async fn list(&self, after: Option<&LocationId>, limit: usize) -> Result<LocationList, LocationError> {
        let wanted = limit.saturating_add(1);
        let first = |prefix: DocId, at: fn(&LocationId) -> DocId| Some(after.map_or(prefix, at));
        let installations = first(DocId("loc:".to_owned()), DocId::location);
        let installations = self.store.find::<Installation>(Query::Page { after: installations, limit: wanted });
        let configured = first(DocId("set:".to_owned()), DocId::settings);
        let configured = self.store.find::<LocationSettings>(Query::Page { after: configured, limit: wanted });
        let mut found: BTreeMap<LocationId, (Option<Installation>, Option<LocationSettings>)> = BTreeMap::new();
        for installation in installations.await?.into_iter().map(|stored| stored.record) {
            if let Some(location) = installation.location.clone() {
                found.entry(location).or_default().0 = Some(installation);
            }
        }
        for settings in configured.await?.into_iter().map(|stored| stored.record) {
            let location = settings.location.clone();
            found.entry(location).or_default().1 = Some(settings);
        }
        let more = found.len() > limit;
        let views = found.into_iter().take(limit).map(|(id, (i, s))| view(id, i.as_ref(), s.as_ref()));
        let locations: Vec<LocationView> = views.collect();
        let next = locations.last().filter(|_| more).map(|last| last.location_id.clone());
        Ok(LocationList { locations, next })
    }

    /// One location.
    ///
    /// # Errors
    /// [`LocationError`]
    pub async fn get(&self, location: &LocationId) -> Result<LocationView, LocationError> {
        let installation = self.read::<Installation>(&DocId::location(location)).await?;
        let settings = self.read::<LocationSettings>(&DocId::settings(location)).await?;
        if installation.is_none() && settings.is_none() {
            return Err(LocationError::Unknown);
        }
        Ok(view(location.clone(), installation.as_ref(), settings.as_ref()))
    }

    /// Changes what is set for a location, which need not be installed.
    ///
    /// # Errors
    /// [`LocationError`]
    pub async fn change(
        &self,
        location: &LocationId,
        patch: &SettingsPatch,
        now: UnixMillis,
    ) -> Result<LocationView, LocationError> {
        if let Setting::To(numbers) = &patch.receiving_numbers {
            self.nobody_elses(location, numbers).await?;
        }
        self.save(location, patch, now).await?;
        self.get(location).await
    }

    /// A link's token, shown once: the store keeps its hash.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn new_link(&self, location: &LocationId, now: UnixMillis) -> Result<String, StoreError> {
        let token = random::hex::<32>();
        let link = ConnectLink::new(&digest::sha256_hex(token.as_bytes()), location.clone(), now);
        self.store.insert(&link).await?;
        Ok(token)
    }

    /// The location a link is for, while it holds.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn linked(&self, token: &str, now: UnixMillis) -> Result<Option<LocationId>, StoreError> {
        let link = self.read::<ConnectLink>(&link_id(token)).await?;
        Ok(link.filter(|link| link.holds(now)).map(|link| link.location))
    }

    /// Stores the key an installer entered, and with that ends the link. Of two who enter one at once, one does.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was stored, and the link holds if the store can still say so.
    pub async fn enter_key(&self, token: &str, key: &str, now: UnixMillis) -> Result<Entered, StoreError> {
        let id = link_id(token);
        if self.linked(token, now).await?.is_none() {
            return Ok(Entered::Over);
        }
        let patch = match SettingsPatch::own_key(key) {
            Ok(patch) => patch,
            Err(wrong) => return Ok(Entered::Refused(wrong)),
        };
        let Some(link) = self.store.update::<ConnectLink>(&id, |link| link.used(now)).await? else {
            return Ok(Entered::Over);
        };
        if let Err(e) = self.save(&link.record.location, &patch, now).await {
            self.store.update::<ConnectLink>(&id, |link| link.unused(now)).await?;
            return Err(e);
        }
        Ok(Entered::Saved(link.record.location))
    }

    async fn save(&self, location: &LocationId, patch: &SettingsPatch, now: UnixMillis) -> Result<(), StoreError> {
        if patch.names().is_empty() {
            return Ok(());
        }
        let id = DocId::settings(location);
        let key = match &patch.cast_api_key {
            Setting::Keep => Setting::Keep,
            Setting::Reset => Setting::Reset,
            Setting::To(key) => Setting::To(OwnKey {
                sealed: self.ring.seal(&id, OwnKey::FIELD, key),
                ending: OwnKey::ending(key),
                set_at: now,
            }),
        };
        let first = patch.apply(&LocationSettings::new(location.clone(), now), &key, now);
        if self.store.insert(&first).await? == Inserted::Duplicate {
            self.store.update::<LocationSettings>(&id, |old| Some(patch.apply(old, &key, now))).await?;
        }
        tracing::info!(location.id = %location, settings = patch.names().join(" "), "settings changed");
        self.bells.settings_changed(location.as_str());
        Ok(())
    }

    /// A number belongs to one location, or a reply to it could go to a stranger. Two operators who assign it at the same
    /// moment are not kept apart: a number that is assigned twice routes nothing.
    async fn nobody_elses(&self, location: &LocationId, numbers: &[String]) -> Result<(), LocationError> {
        for number in numbers {
            let query = Query::Named { name: number.clone(), limit: MOST_OWNERS };
            let found = self.store.find::<LocationSettings>(query).await?.into_iter().map(|stored| stored.record);
            // A store may also find who had it before.
            let mut others = found.filter(|s| s.location != *location && s.receiving_numbers.contains(number));
            if let Some(other) = others.next() {
                return Err(LocationError::Taken(other.location));
            }
        }
        Ok(())
    }

    async fn read<R: Record>(&self, id: &DocId) -> Result<Option<R>, StoreError> {
        Ok(self.store.get::<R>(id).await?.map(|stored| stored.record))
    }
}

fn link_id(token: &str) -> DocId {
    DocId::link(&digest::sha256_hex(token.as_bytes()))
}

fn view(id: LocationId, installation: Option<&Installation>, settings: Option<&LocationSettings>) -> LocationView {
    let key = settings.and_then(|s| s.cast_key.as_ref());
    LocationView {
        location_id: id,
        installation: match installation {
            Some(i) if i.installed() => Installed::Installed,
            Some(i) if i.uninstalled_at.is_some() => Installed::Uninstalled,
            Some(_) | None => Installed::Never,
        },
        company_id: installation.and_then(|i| i.company.clone()),
        sender_id: settings.and_then(|s| s.sender_id.clone()),
        cast_api_key: key.map(|key| KeyView { ending: key.ending.clone(), set_at: rfc3339(key.set_at) }),
        status_on_accept: settings.and_then(|s| s.status_on_accept),
        provider_kind: settings.and_then(|s| s.provider_kind),
        receiving_numbers: settings.map(|s| s.receiving_numbers.clone()).unwrap_or_default(),
        enabled: settings.and_then(|s| s.enabled),
        approved: settings.and_then(|s| s.approved),
        daily_parts: settings.and_then(|s| s.daily_parts),
        changed_at: settings.map(|s| s.changed_at),
    }
}
