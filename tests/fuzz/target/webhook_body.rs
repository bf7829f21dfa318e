//! The webhook's body: what `domain::webhook::read` makes of bytes a signed stranger may send.
//!
//! The verdict is told again from the spec (bridge §3.1): `type`, then the provider, then the ids.

use cast_ghl_provider::domain::message::{Intake, Message};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::domain::webhook::{Ignored, Read, read};
use serde_json::Value;

use super::json::{is_id, whole, with_an_unknown_member, written};
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

const PROVIDER: &str = "prov1";

pub fn target() -> Target {
    Target {
        name: "webhook_body",
        grammar: Grammar::Json,
        dictionary: &[
            "type",
            "SMS",
            "sms",
            "Custom",
            "Email",
            "INSTALL",
            "UNINSTALL",
            "ContactDndUpdate",
            "locationId",
            "messageId",
            "location_id",
            "message_id",
            "contactId",
            "conversationId",
            "conversationProviderId",
            PROVIDER,
            "phone",
            "+639171234567",
            "message",
            "body",
            "attachments",
            "url",
            "https://a.ph/1",
            "userId",
            "GKAWb4yu7A4LSc0skQ6g",
        ],
        largest: 1024 * 1024,
        cases: 10_000,
        reaches: &["message", "lifecycle", "other type", "other provider", "not JSON", "no object", "no ids"],
        start: || Box::new(try_one),
    }
}

fn try_one(body: &[u8]) -> Outcome {
    let (any, ours) = (read(body, None), read(body, Some(PROVIDER)));
    assert_eq!(read(body, None), any, "the same bytes are read the same way");
    assert_eq!(word(&any), expected(body, None));
    assert_eq!(word(&ours), expected(body, Some(PROVIDER)));
    if ours != any {
        assert_eq!(ours, Read::Ignored(Ignored::OtherProvider), "a configured provider only ever ignores");
    }
    if let Some(longer) = with_an_unknown_member(body) {
        assert_eq!(read(&longer, None), any, "an unknown member changes nothing");
        assert_eq!(read(&longer, Some(PROVIDER)), ours, "an unknown member changes nothing");
    }
    let detail = match &any {
        Read::Message(intake) => check(intake),
        Read::Lifecycle(_) | Read::Ignored(_) | Read::Unreadable(_) => 0,
    };
    Outcome { name: word(&ours), detail }
}

fn word(read: &Read) -> &'static str {
    match read {
        Read::Message(_) => "message",
        Read::Lifecycle(_) => "lifecycle",
        Read::Ignored(Ignored::Type) => "other type",
        Read::Ignored(Ignored::OtherProvider) => "other provider",
        Read::Unreadable("it is not JSON") => "not JSON",
        Read::Unreadable("it is not a JSON object") => "no object",
        Read::Unreadable(_) => "no ids",
    }
}

/// The verdict by the spec's words.
fn expected(body: &[u8], provider: Option<&str>) -> &'static str {
    let Some(value) = whole(body) else { return "not JSON" };
    let Value::Object(members) = value else { return "no object" };
    match &members.get("type").cloned().unwrap_or_default() {
        Value::Null => {}
        Value::String(kind) if ["", "sms", "custom"].contains(&kind.trim().to_ascii_lowercase().as_str()) => {}
        Value::String(kind)
            if ["install", "uninstall", "update", "plan_change", "contactdndupdate"]
                .contains(&kind.trim().to_ascii_lowercase().as_str()) =>
        {
            return "lifecycle";
        }
        _ => return "other type",
    }
    // In either spelling, the first that is there.
    let id = |camel: &str, snake: &str| {
        let there = |name: &&str| members.get(*name).is_some_and(|value| !value.is_null());
        let name = [camel, snake].into_iter().find(|name| there(name)).unwrap_or(camel);
        written(&members, name).trim().to_owned()
    };
    let theirs = id("conversationProviderId", "conversation_provider_id");
    if provider.is_some_and(|ours| !theirs.is_empty() && theirs != ours) {
        return "other provider";
    }
    let ids = [id("locationId", "location_id"), id("messageId", "message_id")];
    if ids.iter().all(|id| is_id(id)) { "message" } else { "no ids" }
}

/// What is stored of a message is usable, whatever it was made of.
fn check(intake: &Intake) -> usize {
    assert!(is_id(intake.location.as_str()) && is_id(intake.message_id.as_str()));
    assert!(intake.attachments.iter().all(|link| !link.trim().is_empty()));
    let lane = intake.lane();
    assert!(lane.starts_with(intake.location.as_str()));
    let message = Message::accept(intake.clone(), UnixMillis(0), "replica", 1);
    assert_eq!(message.id.as_str(), format!("out:{}:{}", intake.location, intake.message_id));
    let given = [&intake.contact_id, &intake.conversation_id, &intake.phone, &intake.text, &intake.user_id];
    given.iter().fold(usize::from(lane.contains('?')), |bits, field| bits * 2 + usize::from(field.is_some())) * 4
        + intake.attachments.len().min(3)
}
