//! What an operator, or the installer for the key, set for one location; and what follows for its messages.
//!
//! Owns the stored shape (version 1), the merge patch that changes it with the words for whatever is wrong in one, and the
//! policy of the shared key (bridge §8). Invariant: what is not set is the operator's default, so an absent document and an
//! empty one are the same. Pure: sealing is `seal`'s, writing `operator`'s.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{DocId, LocationId};
use super::installation::{HoldsSealed, Sealed};
use super::message::{DOCUMENT_VERSION, FailureCode};
use super::phone::Phone;
use super::secret::Secret;
use super::time::UnixMillis;
use super::transition::StatusOnAccept;

/// The settings of one location. Absent fields are the operator's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationSettings {
    pub v: u32,
    pub location: LocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast_key: Option<OwnKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_on_accept: Option<StatusOnAccept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_kind: Option<ProviderKind>,
    /// Numbers in E.164 and names of SIMs whose replies belong to this location.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receiving_numbers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
    /// Most parts a day on the shared key; 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_parts: Option<u64>,
    pub changed_at: UnixMillis,
}

/// A location's own gateway key at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnKey {
    pub sealed: Sealed,
    /// Its last four characters: they tell two keys apart, and leave 60 of the 64 digits that Cast's keys have unknown.
    pub ending: String,
    pub set_at: UnixMillis,
}

/// How the CRM knows our app: as a default SMS provider, or as an extra one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    Default,
    Custom,
}

impl OwnKey {
    /// The name its seal is bound to.
    pub const FIELD: &str = "cast_api_key";

    /// What is shown of a key.
    #[must_use]
    pub fn ending(key: &Secret) -> String {
        let shown = key.expose().len().saturating_sub(4);
        key.expose().get(shown..).unwrap_or_default().to_owned()
    }
}

impl LocationSettings {
    /// Nothing set.
    #[must_use]
    pub fn new(location: LocationId, now: UnixMillis) -> Self {
        Self {
            v: DOCUMENT_VERSION,
            location,
            sender_id: None,
            cast_key: None,
            status_on_accept: None,
            provider_kind: None,
            receiving_numbers: Vec::new(),
            enabled: None,
            approved: None,
            daily_parts: None,
            changed_at: now,
        }
    }

    /// The document's key.
    #[must_use]
    pub fn id(&self) -> DocId {
        DocId::settings(&self.location)
    }
}

impl HoldsSealed for LocationSettings {
    fn seal_id(&self) -> Option<DocId> {
        Some(self.id())
    }

    fn sealed_fields(&mut self) -> Vec<(&'static str, &mut Sealed)> {
        self.cast_key.iter_mut().map(|key| (OwnKey::FIELD, &mut key.sealed)).collect()
    }
}

/// Who may send on the operator's key (`SHARED_KEY`). A public app with one key is an open SMS account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKey {
    /// Every location.
    Allow,
    /// Those an operator approved; others wait for that or for a key of their own.
    Approve,
    /// None: every location needs its own key.
    Off,
}

/// How a location stands with its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    MayGo,
    /// Its messages wait for an approval or a key of its own.
    Awaiting,
    Never(FailureCode, &'static str),
}

/// What an agent reads when nobody approved in time.
pub const NOT_APPROVED: &str =
    "This sub-account is not approved to send yet. Ask whoever runs Cast SMS for you, and send again.";

/// May a location's messages go, as far as its settings decide? First whether it is enabled, then who pays.
#[must_use]
pub fn standing(settings: Option<&LocationSettings>, shared: SharedKey) -> Standing {
    const DISABLED: &str = "Sending is switched off for this sub-account. Ask whoever runs Cast SMS for you.";
    const NEEDS_KEY: &str = "This sub-account needs a Cast API key of its own. Have it entered by whoever runs Cast SMS for you, and send again.";
    if settings.and_then(|s| s.enabled) == Some(false) {
        return Standing::Never(FailureCode::Disabled, DISABLED);
    }
    let own_key = settings.is_some_and(|s| s.cast_key.is_some());
    let approved = settings.and_then(|s| s.approved) == Some(true);
    match shared {
        SharedKey::Allow => Standing::MayGo,
        _ if own_key => Standing::MayGo,
        SharedKey::Approve if approved => Standing::MayGo,
        SharedKey::Approve => Standing::Awaiting,
        SharedKey::Off => Standing::Never(FailureCode::AwaitingApproval, NEEDS_KEY),
    }
}

/// What becomes of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    #[default]
    Keep,
    /// Back to the operator's default.
    Reset,
    To(T),
}

impl<T: Clone> Change<T> {
    fn over(&self, old: &Option<T>) -> Option<T> {
        match self {
            Self::Keep => old.clone(),
            Self::Reset => None,
            Self::To(new) => Some(new.clone()),
        }
    }
}

/// A change of settings: RFC 7396, so a member that is absent stays and one that is `null` goes back to the default.
#[derive(Debug, Clone, Default)]
pub struct SettingsPatch {
    pub sender_id: Change<String>,
    pub cast_api_key: Change<Secret>,
    pub status_on_accept: Change<StatusOnAccept>,
    pub provider_kind: Change<ProviderKind>,
    pub receiving_numbers: Change<Vec<String>>,
    pub enabled: Change<bool>,
    pub approved: Change<bool>,
    pub daily_parts: Change<u64>,
    named: Vec<&'static str>,
}

/// The settings by name, as patches and answers have them.
pub const SETTINGS: [&str; 8] = [
    "sender_id",
    "cast_api_key",
    "status_on_accept",
    "provider_kind",
    "receiving_numbers",
    "enabled",
    "approved",
    "daily_parts",
];

/// What is wrong with a patch, and what would be right. Repeats no value: one of them is a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("The body is a JSON object of settings.")]
    NotAnObject,
    #[error("`{0}` is not a setting; there are {list}.", list = SETTINGS.join(", "))]
    Unknown(String),
    #[error("`{0}` is {1}.")]
    Wrong(&'static str, &'static str),
}

/// Most receiving numbers of a location.
const MOST_NUMBERS: usize = 50;
/// Above what any key can send in a day, and a number either store can hold.
const MOST_PARTS: u64 = 1_000_000_000;

impl SettingsPatch {
    /// Reads a merge patch.
    ///
    /// # Errors
    /// [`SettingsError`] for the first member that is wrong.
    pub fn read(value: &Value) -> Result<Self, SettingsError> {
        let object = value.as_object().ok_or(SettingsError::NotAnObject)?;
        if let Some(unknown) = object.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
            let shown = unknown.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(SettingsError::Unknown(shown));
        }
        let reading = Reading(object);
        Ok(Self {
            sender_id: reading.member("sender_id", SENDER_ID, |v| sender_id(v.as_str()?))?,
            cast_api_key: reading.member("cast_api_key", KEY, |v| cast_api_key(v.as_str()?))?,
            status_on_accept: reading.member("status_on_accept", "`delivered`, `pending` or null", word)?,
            provider_kind: reading.member("provider_kind", "`default`, `custom` or null", word)?,
            receiving_numbers: reading.member("receiving_numbers", NUMBERS, receiving_numbers)?,
            enabled: reading.member("enabled", "true, false or null", Value::as_bool)?,
            approved: reading.member("approved", "true, false or null", Value::as_bool)?,
            daily_parts: reading.member("daily_parts", PARTS, |v| v.as_u64().filter(|n| *n <= MOST_PARTS))?,
            named: SETTINGS.into_iter().filter(|name| object.contains_key(*name)).collect(),
        })
    }

    /// A new sender name and nothing else.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn sender_id_alone(value: &Value) -> Result<Self, SettingsError> {
        let object = value.as_object().filter(|o| o.len() == 1 && o.contains_key("sender_id"));
        object.ok_or(SettingsError::Wrong("sender_id", "the one member of the body")).and_then(|_| Self::read(value))
    }

    /// A new key and nothing else; what the installer enters.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn own_key(text: &str) -> Result<Self, SettingsError> {
        let key = cast_api_key(text.trim()).ok_or(SettingsError::Wrong("cast_api_key", KEY))?;
        Ok(Self { cast_api_key: Change::To(key), named: vec!["cast_api_key"], ..Self::default() })
    }

    /// The settings it names, for the log.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.named
    }

    /// The settings after it; `key` is the sealed form of its own key.
    #[must_use]
    pub fn apply(&self, old: &LocationSettings, key: &Change<OwnKey>, now: UnixMillis) -> LocationSettings {
        LocationSettings {
            v: old.v,
            location: old.location.clone(),
            sender_id: self.sender_id.over(&old.sender_id),
            cast_key: key.over(&old.cast_key),
            status_on_accept: self.status_on_accept.over(&old.status_on_accept),
            provider_kind: self.provider_kind.over(&old.provider_kind),
            receiving_numbers: self.receiving_numbers.over(&Some(old.receiving_numbers.clone())).unwrap_or_default(),
            enabled: self.enabled.over(&old.enabled),
            approved: self.approved.over(&old.approved),
            daily_parts: self.daily_parts.over(&old.daily_parts),
            changed_at: now,
        }
    }
}

const SENDER_ID: &str = "1 to 11 letters, digits, spaces, `.`, `_` or `-`, or null";
const PARTS: &str = "a whole number up to 1000000000, 0 for no limit, or null";
const KEY: &str = "a Cast API key, 16 to 256 visible characters without spaces, or null";
const NUMBERS: &str =
    "a list of at most 50 Philippine mobile numbers or names of SIMs (1 to 64 characters), each once, or null";

struct Reading<'a>(&'a Map<String, Value>);

impl Reading<'_> {
    fn member<T>(
        &self,
        name: &'static str,
        right: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Change<T>, SettingsError> {
        match self.0.get(name) {
            None => Ok(Change::Keep),
            Some(Value::Null) => Ok(Change::Reset),
            Some(value) => read(value).map(Change::To).ok_or(SettingsError::Wrong(name, right)),
        }
    }
}

/// A sender name: 1 to 11 of `[A-Za-z0-9 ._-]` (bridge §2).
fn sender_id(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b" ._-".contains(&b);
    let fits = (1..=11).contains(&text.len()) && text.bytes().all(allowed) && text.trim() == text;
    fits.then(|| text.to_owned())
}

fn cast_api_key(text: &str) -> Option<Secret> {
    let fits = (16..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| Secret::from(text))
}

fn word<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    // As text alone: serde also knows a word as `{"word": null}`.
    serde_json::from_value(Value::from(value.as_str()?)).ok()
}

fn receiving_numbers(value: &Value) -> Option<Vec<String>> {
    let mut numbers = Vec::new();
    for item in value.as_array().filter(|items| items.len() <= MOST_NUMBERS)? {
        let number = receiving_number(item.as_str()?)?;
        if numbers.contains(&number) {
            return None;
        }
        numbers.push(number);
    }
    Some(numbers)
}

/// What a reply's `to` is compared by: a mobile number in E.164, anything else as it is written.
#[must_use]
pub fn receiving_number(raw: &str) -> Option<String> {
    let raw = raw.trim();
    if let Ok(phone) = Phone::parse(raw) {
        return Some(phone.e164().to_owned());
    }
    let fits = (1..=64).contains(&raw.chars().count()) && !raw.contains(char::is_control);
    fits.then(|| raw.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const T0: UnixMillis = UnixMillis(1_000);

    fn settings() -> LocationSettings {
        LocationSettings::new(LocationId::parse("L1").expect("an id"), T0)
    }

    fn own_key() -> OwnKey {
        OwnKey { sealed: Sealed::Plain { plain: "k".into() }, ending: "wxyz".into(), set_at: T0 }
    }

    fn refused(patch: &Value) -> String {
        SettingsPatch::read(patch).expect_err("refused").to_string()
    }

    #[test]
    fn a_location_may_send_by_the_shared_keys_rule_its_approval_or_its_own_key_unless_it_is_disabled() {
        let approved = LocationSettings { approved: Some(true), ..settings() };
        let unapproved = LocationSettings { approved: Some(false), ..settings() };
        let own = LocationSettings { cast_key: Some(own_key()), ..settings() };
        let awaits = |s| matches!(s, Standing::Never(FailureCode::AwaitingApproval, _));
        for (who, allow, approve, off) in [
            (None, true, Standing::Awaiting, false),
            (Some(&settings()), true, Standing::Awaiting, false),
            (Some(&unapproved), true, Standing::Awaiting, false),
            (Some(&approved), true, Standing::MayGo, false),
            (Some(&own), true, Standing::MayGo, true),
        ] {
            assert_eq!(standing(who, SharedKey::Allow) == Standing::MayGo, allow);
            assert_eq!(standing(who, SharedKey::Approve), approve);
            assert_eq!(awaits(standing(who, SharedKey::Off)), !off);
        }
        let disabled = LocationSettings { enabled: Some(false), cast_key: Some(own_key()), ..approved };
        for shared in [SharedKey::Allow, SharedKey::Approve, SharedKey::Off] {
            assert!(matches!(standing(Some(&disabled), shared), Standing::Never(FailureCode::Disabled, _)));
        }
    }

    #[test]
    fn an_absent_member_stays_and_null_goes_back_to_the_default() {
        let set = json!({"sender_id": "MYBRAND", "enabled": false, "daily_parts": 5, "receiving_numbers": ["0917 123 4567", "SIM 2"],
            "status_on_accept": "pending", "provider_kind": "custom", "approved": true});
        let patch = SettingsPatch::read(&set).expect("fine");
        let first = patch.apply(&settings(), &Change::Keep, T0);
        assert_eq!(first.receiving_numbers, ["+639171234567", "SIM 2"]);
        assert_eq!(
            (first.status_on_accept, first.provider_kind),
            (Some(StatusOnAccept::Pending), Some(ProviderKind::Custom))
        );
        let patch = SettingsPatch::read(&json!({"enabled": null, "receiving_numbers": null})).expect("fine");
        let second = patch.apply(&first, &Change::To(own_key()), T0);
        assert_eq!((second.enabled, second.daily_parts, second.sender_id.as_deref()), (None, Some(5), Some("MYBRAND")));
        assert!(second.receiving_numbers.is_empty() && second.cast_key.is_some());
        assert_eq!(patch.names(), ["receiving_numbers", "enabled"]);
        assert_eq!(patch.apply(&second, &Change::Reset, T0).cast_key, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right_and_no_value_is_repeated() {
        assert!(
            refused(&json!({"sender": "X"}))
                .starts_with("`sender` is not a setting; there are sender_id, cast_api_key")
        );
        for (name, bad) in [
            ("sender_id", json!("TwelveChars1")),
            ("sender_id", json!(" X")),
            ("sender_id", json!(5)),
            ("cast_api_key", json!("hunter2 with spaces")),
            ("cast_api_key", json!("short")),
            ("status_on_accept", json!("sent")),
            ("provider_kind", json!(true)),
            ("receiving_numbers", json!("0917")),
            ("receiving_numbers", json!(["09171234567", "+639171234567"])),
            ("receiving_numbers", json!([""])),
            ("enabled", json!("yes")),
            ("daily_parts", json!(-1)),
            ("daily_parts", json!(u64::MAX)),
        ] {
            let said = refused(&json!({ name: bad }));
            assert!(said.starts_with(&format!("`{name}` is ")) && !said.contains("hunter2"), "{said}");
        }
        assert_eq!(refused(&json!(["sender_id"])), SettingsError::NotAnObject.to_string());
    }

    #[test]
    fn a_patch_shows_no_key_and_a_keys_ending_is_four_characters() {
        let patch = SettingsPatch::own_key(" cast_0123456789abcdef \n").expect("a key");
        assert!(!format!("{patch:?}").contains("cast_0"));
        assert_eq!(OwnKey::ending(&"cast_0123456789abcdef".into()), "cdef");
    }

    #[test]
    fn the_sender_route_takes_a_sender_name_alone() {
        assert!(SettingsPatch::sender_id_alone(&json!({"sender_id": "MYBRAND"})).is_ok());
        assert!(SettingsPatch::sender_id_alone(&json!({"sender_id": null})).is_ok());
        for bad in [json!({}), json!({"sender_id": "A", "enabled": true}), json!("A"), json!({"enabled": true})] {
            assert!(SettingsPatch::sender_id_alone(&bad).is_err(), "{bad}");
        }
    }
}
