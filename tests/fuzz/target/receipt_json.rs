//! The gateway's receipt: what is read of any body, and what is kept of its words.
//!
//! Acceptance and meaning are told again from the contract (cast contract, "Inbound and receipts"); spelling and unknown
//! members must make no difference, and no text of the gateway comes through unbounded.

use cast_ghl_provider::domain::receipt::{Fate, Receipt};
use cast_ghl_provider::http::read_receipt;
use serde_json::{Map, Value};

use super::json::{whole, with_an_unknown_member, written};
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

pub fn target() -> Target {
    Target {
        name: "receipt_json",
        grammar: Grammar::Json,
        dictionary: &[
            "message_id",
            "messageId",
            "status",
            "delivered",
            "failed",
            "expired",
            "rejected",
            "undelivered",
            "pending",
            "DELIVERED",
            "enroute",
            "error",
            "code",
            "message",
            "at",
            "2023-11-14T22:13:20Z",
            "1700000000",
            "99999999999",
            "\\n",
            "\\u0000",
        ],
        largest: 256 * 1024,
        cases: 10_000,
        reaches: &["delivered", "failed", "pending", "unclear", "refused", "not JSON"],
        start: || Box::new(try_one),
    }
}

fn try_one(body: &[u8]) -> Outcome {
    let read = read_receipt(body);
    assert!(read == read_receipt(body), "the same bytes are read the same way");
    assert_eq!(read.is_ok(), acceptable(body), "{:?}", read.as_ref().err());
    if let Some(longer) = with_an_unknown_member(body) {
        assert!(read_receipt(&longer) == read, "an unknown member changes nothing");
    }
    if let Some(Value::Object(members)) = whole(body) {
        let (one, other) = (Value::Object(members.clone()), Value::Object(respelt(members)));
        let both = [one, other].map(|value| read_receipt(value.to_string().as_bytes()));
        assert!(both[0] == both[1], "camelCase and snake_case are the same");
    }
    match read {
        Err("The body is not JSON.") => Outcome { name: "not JSON", detail: 0 },
        Err(why) => Outcome { name: "refused", detail: why.len() },
        Ok((id, receipt)) => check(body, &id, &receipt),
    }
}

fn respelt(members: Map<String, Value>) -> Map<String, Value> {
    if members.contains_key("message_id") && members.contains_key("messageId") {
        return members;
    }
    let other = |name: String| match name.as_str() {
        "message_id" => "messageId".to_owned(),
        "messageId" => "message_id".to_owned(),
        _ => name,
    };
    members.into_iter().map(|(name, value)| (other(name), value)).collect()
}

/// The SMS it is about, by the spelling that counts.
fn named(members: &Map<String, Value>) -> String {
    let spelt = ["message_id", "messageId"].into_iter().find(|name| members.get(*name).is_some_and(|v| !v.is_null()));
    spelt.map(|name| written(members, name)).unwrap_or_default().trim().to_owned()
}

/// Whether the contract wants this body taken.
fn acceptable(body: &[u8]) -> bool {
    let Some(Value::Object(members)) = whole(body) else { return false };
    let id = named(&members);
    let says = matches!(members.get("status"), Some(Value::String(_) | Value::Number(_)));
    says && (1..=128).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

fn check(body: &[u8], id: &str, receipt: &Receipt) -> Outcome {
    let Some(Value::Object(members)) = whole(body) else { panic!("what is no object is refused") };
    assert_eq!(id, named(&members));
    let said = written(&members, "status");
    let meant = match said.trim().to_ascii_lowercase().as_str() {
        "delivered" => Some(Fate::Delivered),
        "pending" => Some(Fate::Pending),
        "failed" | "expired" | "rejected" | "undelivered" => Some(Fate::Failed),
        _ => None,
    };
    // A word with odd space or controls in it may still be one of the contract's: what it is must not be guessed wrong.
    if let Some(meant) = meant {
        assert_eq!(receipt.fate, meant, "{said:?}");
    }
    for (kept, most) in [(Some(&receipt.status), 40), (receipt.words.as_ref(), 200)] {
        let kept = kept.map(String::as_str).unwrap_or_default();
        assert!(kept.chars().count() <= most && !kept.chars().any(char::is_control), "bounded, on one line");
    }
    assert!(receipt.words.as_deref() != Some(""));
    let bits = [receipt.at.is_some(), receipt.words.is_some(), receipt.status.is_empty()];
    Outcome { name: receipt.fate.as_str(), detail: bits.iter().fold(0, |bits, bit| bits * 2 + usize::from(*bit)) }
}
