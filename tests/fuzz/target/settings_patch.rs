//! A change of settings as an operator's program posts it: which bodies are taken, and what the settings are afterwards.
//!
//! Acceptance is told again from the bridge's own contract (bridge §8); a refused body repeats no value of its own, since one
//! of them is a key; a change that is made twice is made once.

use cast_ghl_provider::domain::id::LocationId;
use cast_ghl_provider::domain::installation::Sealed;
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::domain::settings::{Change, LocationSettings, OwnKey, SETTINGS, SettingsError, SettingsPatch};
use cast_ghl_provider::domain::time::UnixMillis;
use serde_json::{Map, Value, json};

use super::json::{strict, written};
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

const NOW: UnixMillis = UnixMillis(1_760_000_012_345);

pub fn target() -> Target {
    Target {
        name: "settings_patch",
        grammar: Grammar::Json,
        dictionary: &[
            "sender_id",
            "cast_api_key",
            "status_on_accept",
            "provider_kind",
            "receiving_numbers",
            "enabled",
            "approved",
            "daily_parts",
            "delivered",
            "pending",
            "default",
            "custom",
            "MYBRAND",
            "cast_0123456789abcdef",
            "+639171234567",
            "0917 123 4567",
            "SIM 2",
            "1000000000",
            "18446744073709551615",
            "null",
        ],
        largest: 256 * 1024,
        cases: 10_000,
        reaches: &["taken", "refused", "unknown", "no object", "not JSON"],
        start: || Box::new(try_one),
    }
}

fn try_one(body: &[u8]) -> Outcome {
    let Some(value) = strict(body) else { return Outcome { name: "not JSON", detail: 0 } };
    let read = SettingsPatch::read(&value);
    assert_eq!(read.is_ok(), value.as_object().is_some_and(acceptable), "{:?}", read.as_ref().err());
    match read {
        Ok(patch) => check(&patch, &value),
        Err(SettingsError::NotAnObject) => Outcome { name: "no object", detail: 0 },
        Err(SettingsError::Unknown(name)) => {
            assert!(name.chars().count() <= 40 && !name.contains(char::is_control));
            Outcome { name: "unknown", detail: 0 }
        }
        Err(wrong @ SettingsError::Wrong(name, _)) => {
            // An object is wrong for every setting.
            let another = SettingsPatch::read(&json!({ name: {} })).err();
            assert_eq!(another, Some(wrong), "what is said depends on no value");
            Outcome { name: "refused", detail: name.len() }
        }
    }
}

/// Whether the contract wants this change made.
fn acceptable(members: &Map<String, Value>) -> bool {
    members
        .iter()
        .all(|(name, value)| value.is_null() && SETTINGS.contains(&name.as_str()) || fits(members, name, value))
}

fn fits(members: &Map<String, Value>, name: &str, value: &Value) -> bool {
    let text = if value.is_string() { written(members, name) } else { String::new() };
    match name {
        "sender_id" => {
            let edges = text.starts_with(' ') || text.ends_with(' ');
            let plain = text.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | '_' | '-'));
            !text.is_empty() && text.chars().count() <= 11 && plain && !edges
        }
        "cast_api_key" => (16..=256).contains(&text.chars().count()) && text.chars().all(|c| ('!'..='~').contains(&c)),
        "status_on_accept" => ["delivered", "pending"].contains(&text.as_str()),
        "provider_kind" => ["default", "custom"].contains(&text.as_str()),
        "receiving_numbers" => value.as_array().is_some_and(|list| numbers(list)),
        "enabled" | "approved" => value.is_boolean(),
        "daily_parts" => {
            value.is_number() && value.to_string().parse::<u32>().is_ok_and(|parts| parts <= 1_000_000_000)
        }
        _ => false,
    }
}

fn numbers(list: &[Value]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    list.len() <= 50
        && list.iter().all(|item| {
            let Some(name) = item.as_str().map(str::trim) else { return false };
            let phone = Phone::parse(name).ok().map(|phone| phone.e164().to_owned());
            let a_name = !name.is_empty() && name.chars().count() <= 64 && !name.chars().any(char::is_control);
            (phone.is_some() || a_name) && seen.insert(phone.unwrap_or_else(|| name.to_owned()))
        })
}

fn check(patch: &SettingsPatch, value: &Value) -> Outcome {
    let named: Vec<&str> = SETTINGS.into_iter().filter(|name| value.get(name).is_some()).collect();
    assert_eq!(patch.names(), named);
    if let Some(key) = value.get("cast_api_key").and_then(Value::as_str) {
        let [this, another] = [key, "cast_0123456789abcdef"].map(|key| format!("{:?}", SettingsPatch::own_key(key)));
        assert_eq!(this, another, "a key is not shown");
    }
    let sealed = match &patch.cast_api_key {
        Change::Keep => Change::Keep,
        Change::Reset => Change::Reset,
        Change::To(key) => {
            let ending = OwnKey::ending(key);
            assert_eq!(ending.chars().count(), 4);
            Change::To(OwnKey { sealed: Sealed::Plain { plain: "k".into() }, ending, set_at: NOW })
        }
    };
    let location = LocationId::parse("L1").unwrap();
    let before = LocationSettings {
        sender_id: Some("BEFORE".into()),
        enabled: Some(false),
        ..LocationSettings::new(location, UnixMillis(1))
    };
    let after = patch.apply(&before, &sealed, NOW);
    assert!(patch.apply(&after, &sealed, NOW) == after, "made twice it is made once");
    if value.get("sender_id").is_none() {
        assert_eq!(after.sender_id, before.sender_id, "what is absent stays");
    }
    let again = serde_json::from_value::<LocationSettings>(serde_json::to_value(&after).unwrap());
    assert!(again.is_ok_and(|again| again == after), "it is stored as it is");
    Outcome { name: "taken", detail: named.iter().map(|name| name.len()).sum() }
}
