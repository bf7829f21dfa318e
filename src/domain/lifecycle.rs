//! GHL's app lifecycle hooks: what one says, and what it changes for the location or company it names.
//!
//! Owns the order of events: one older than the last applied to its target changes nothing, and an uninstall that may be older
//! than our installation, as far as clocks can tell, is in doubt. Never rejects by age, since a redelivery carries its original time (ghl contract §2).
//! Pure: imports `agency`, `id`, `installation`, `json`, `time`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agency::{Doubt, Listing, Mint};
use super::id::{CompanyId, DocId, LocationId};
use super::installation::{GrantKind, Health, Installation};
use super::json;
use super::time::{CLOCKS_APART, UnixMillis};

/// What a lifecycle hook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The app was installed, removed or changed somewhere.
    App(Box<AppHook>),
    /// A contact's do-not-disturb settings changed.
    ContactDnd(Box<ContactDnd>),
    /// A plan changed, or the hook names neither a location nor a company: of no consequence.
    Other,
}

/// What happened to an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Install,
    Uninstall,
    Update,
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEvent {
    pub change: Change,
    /// Absent for an event of a whole company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// GHL's `timestamp`: its clock, not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<UnixMillis>,
}

impl AppEvent {
    /// The installation it is about.
    #[must_use]
    pub fn target(&self) -> Option<DocId> {
        self.location.as_ref().map(DocId::location).or_else(|| self.company.as_ref().map(DocId::company))
    }
}

/// An event as the hook brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppHook {
    /// Absent in bodies that are not to be trusted to be about our app.
    pub app_id: Option<String>,
    /// Stays the same over redeliveries.
    pub webhook_id: Option<String>,
    pub event: AppEvent,
}

/// A contact's do-not-disturb settings, as an agent left them.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactDnd {
    pub location: LocationId,
    pub contact_id: Option<String>,
    /// As GHL wrote it.
    pub phone: Option<String>,
    /// Whether SMS are blocked: by the setting for SMS, else by the one for everything.
    pub sms_blocked: Option<bool>,
    pub sent_at: Option<UnixMillis>,
    pub webhook_id: Option<String>,
}

/// Shows neither number nor contact.
impl std::fmt::Debug for ContactDnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContactDnd")
            .field("location", &self.location)
            .field("sms_blocked", &self.sms_blocked)
            .finish_non_exhaustive()
    }
}

/// The hook of a body whose `type` is `kind`; `None` when that is no lifecycle type.
#[must_use]
pub fn read(kind: &str, body: &Map<String, Value>) -> Option<Hook> {
    let is = |name: &str| kind.trim().eq_ignore_ascii_case(name);
    let change = match () {
        () if is("INSTALL") => Change::Install,
        () if is("UNINSTALL") => Change::Uninstall,
        () if is("UPDATE") => Change::Update,
        () if is("PLAN_CHANGE") => return Some(Hook::Other),
        () if is("ContactDndUpdate") => return Some(contact_dnd(body)),
        () => return None,
    };
    let event = AppEvent {
        change,
        location: location(body),
        company: text(body, &["companyId", "company_id"]).and_then(|id| CompanyId::parse(&id).ok()),
        version_id: text(body, &["versionId", "version_id"]),
        sent_at: sent_at(body),
    };
    if event.target().is_none() {
        return Some(Hook::Other);
    }
    Some(Hook::App(Box::new(AppHook { app_id: text(body, &["appId", "app_id"]), webhook_id: webhook_id(body), event })))
}

fn contact_dnd(body: &Map<String, Value>) -> Hook {
    let Some(location) = location(body) else { return Hook::Other };
    let settings = json::member(body, &["dndSettings", "dnd_settings"]);
    let sms = ["SMS", "sms", "Sms"].iter().find_map(|name| {
        let sms = settings?.get(name)?;
        sms.get("status").unwrap_or(sms).as_str()
    });
    Hook::ContactDnd(Box::new(ContactDnd {
        location,
        contact_id: text(body, &["id", "contactId", "contact_id"]),
        phone: text(body, &["phone"]),
        // "active" means that the block is.
        sms_blocked: sms
            .map(|status| !status.trim().eq_ignore_ascii_case("inactive"))
            .or_else(|| flag(json::member(body, &["dnd"])?)),
        sent_at: sent_at(body),
        webhook_id: webhook_id(body),
    }))
}

fn location(body: &Map<String, Value>) -> Option<LocationId> {
    text(body, &["locationId", "location_id"]).and_then(|id| LocationId::parse(&id).ok())
}

fn webhook_id(body: &Map<String, Value>) -> Option<String> {
    text(body, &["webhookId", "webhook_id"])
}

/// A boolean, also one written as a word.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(s) => s.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// The first of `names` that says something.
fn text(body: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match body.get(*name)? {
        Value::String(s) if !s.trim().is_empty() => Some(s.trim().to_owned()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    })
}

fn sent_at(body: &Map<String, Value>) -> Option<UnixMillis> {
    json::instant(body.get("timestamp")?)
}

/// What an event comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The installation from now on, new or changed.
    Applied(Box<Installation>),
    /// An uninstall that has to be checked with GHL first.
    InDoubt(Box<Installation>),
    /// A later one was applied before.
    Older,
    /// There is nothing to change.
    Nothing,
}

/// What `event` changes, given the installation `held` of its target.
#[must_use]
pub fn effect(event: &AppEvent, held: Option<&Installation>, now: UnixMillis) -> Effect {
    let last = held.and_then(|i| i.last_event_at);
    if event.sent_at.zip(last).is_some_and(|(sent, last)| sent < last) {
        return Effect::Older;
    }
    match event.change {
        Change::Install => install(event, held, now),
        Change::Uninstall => uninstall(event, held, now),
        Change::Update => held.map_or(Effect::Nothing, |i| changed(i, seen(i, event).to_be_checked(now))),
    }
}

/// What every event leaves behind.
fn seen(held: &Installation, event: &AppEvent) -> Installation {
    Installation {
        version_id: event.version_id.clone().or_else(|| held.version_id.clone()),
        company: held.company.clone().or_else(|| event.company.clone()),
        last_event_at: held.last_event_at.max(event.sent_at),
        ..held.clone()
    }
}

fn changed(from: &Installation, to: Installation) -> Effect {
    if to == *from { Effect::Nothing } else { Effect::Applied(Box::new(to)) }
}

/// ⚠ It may come before the callback, and again: a location waits for its company's token, a company for its own callback.
fn install(event: &AppEvent, held: Option<&Installation>, now: UnixMillis) -> Effect {
    let Some(held) = held else {
        return match &event.location {
            Some(location) => {
                let new = Installation::awaiting_token(location.clone(), event.company.clone(), now);
                Effect::Applied(Box::new(seen(&new, event)))
            }
            None => Effect::Nothing,
        };
    };
    let mut next = seen(held, event);
    match held.kind {
        // Whatever is new at an agency shows in its list.
        GrantKind::Company if held.installed() => {
            next.listing = Some(Listing {
                due_at: now.on_any_clock(),
                ..held.listing.clone().unwrap_or_else(|| Listing::begin(now))
            });
        }
        GrantKind::Company => {}
        GrantKind::Location if held.installed() && !needs_new_token(held, event) => {}
        GrantKind::Location => {
            next.mint = Some(Mint { due_at: next.company.is_some().then_some(now.on_any_clock()), tries: 0 });
            next.doubt = None;
            if held.uninstalled_at.is_some() {
                next.uninstalled_at = None;
                next.installed_at = now;
            }
        }
    }
    changed(held, next)
}

/// A grant that is dead, or older than this install: GHL ended it when the app was removed in between.
fn needs_new_token(held: &Installation, event: &AppEvent) -> bool {
    held.health == Health::Reauthorize || event.sent_at.is_some_and(|sent| sent > held.installed_at.after(CLOCKS_APART))
}

fn uninstall(event: &AppEvent, held: Option<&Installation>, now: UnixMillis) -> Effect {
    let Some(held) = held else {
        // Nobody we know; its locations may be. Without a time nothing says that this is not an old event.
        return match (&event.location, event.sent_at) {
            (Some(_), None) => Effect::Nothing,
            (location, sent_at) => {
                let gone = Installation::gone(location.clone(), event.company.clone(), now);
                Effect::Applied(Box::new(gone.uninstalled(sent_at, now)))
            }
        };
    };
    let next = seen(held, event);
    let location = held.kind == GrantKind::Location;
    if location && !held.installed() && held.mint.is_none() && held.uninstalled_at.is_some() {
        return changed(held, next);
    }
    if !in_doubt(event, held) {
        return Effect::Applied(Box::new(next.uninstalled(event.sent_at, now)));
    }
    let doubt = Some(Doubt { due_at: now.on_any_clock(), tries: 0, sent_at: event.sent_at });
    // Not yet applied, so it does not count as the last event.
    Effect::InDoubt(Box::new(Installation { doubt, last_event_at: held.last_event_at, ..next }))
}

/// Whether it may be older than the installation it would end, which is dated by another clock. A location that still waits for its token was made known by an
/// event of GHL's own clock: with that no doubt is left.
fn in_doubt(event: &AppEvent, held: &Installation) -> bool {
    match event.sent_at {
        None => true,
        Some(_) if held.grant.is_none() && held.last_event_at.is_some() => false,
        Some(sent) => sent < held.installed_at.after(CLOCKS_APART),
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Stored, and answered.
    Received,
    Applied,
    /// Handed to the installation, to be checked with GHL.
    InDoubt,
    Older,
    Nothing,
}

impl EventState {
    /// The word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Applied => "applied",
            Self::InDoubt => "in_doubt",
            Self::Older => "older",
            Self::Nothing => "nothing",
        }
    }
}

/// An event as stored: remembered for `REPLAY_MEMORY`, so that a repeat of it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub id: DocId,
    pub accepted: EventAccepted,
    pub progress: EventProgress,
}

/// The part written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAccepted {
    pub v: u32,
    pub at: UnixMillis,
    /// Which process took it, and its how many-th.
    pub replica: String,
    pub counter: u64,
    pub event: AppEvent,
}

/// The part that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventProgress {
    pub state: EventState,
    pub due_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_at: Option<UnixMillis>,
}

impl StoredEvent {
    /// Taken in, to be applied at once.
    #[must_use]
    pub fn accept(id: DocId, accepted: EventAccepted) -> Self {
        let due_at = accepted.at.on_any_clock();
        let progress = EventProgress { state: EventState::Received, due_at, settled_at: None, strip_at: None };
        Self { id, accepted, progress }
    }

    /// Applied, or found to change nothing.
    #[must_use]
    pub fn settled(&self, state: EventState, now: UnixMillis, retention: Duration) -> Self {
        let progress = EventProgress {
            state,
            due_at: self.progress.due_at,
            settled_at: Some(now),
            strip_at: Some(now.after(retention)),
        };
        Self { progress, ..self.clone() }
    }

    /// Looked at again at `due_at`.
    #[must_use]
    pub fn put_off(&self, due_at: UnixMillis) -> Self {
        Self { progress: EventProgress { due_at, ..self.progress.clone() }, ..self.clone() }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
