//! The gateway's post of a reply: what is read of any body, and what makes two posts the same reply.
//!
//! Acceptance is told again from the contract (cast contract, "Inbound and receipts"); spelling, order and unknown members
//! must make no difference, to the reading or to the identity.

use cast_ghl_provider::domain::inbound::{Identity, identity};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::http::read_reply;
use cast_ghl_provider::queue::NewReply;
use serde_json::{Map, Value};

use super::json::{is_id, whole, with_an_unknown_member, written};
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

const NOW: UnixMillis = UnixMillis(1_760_000_012_345);

pub fn target() -> Target {
    Target {
        name: "inbound_json",
        grammar: Grammar::Json,
        dictionary: &[
            "from",
            "to",
            "message",
            "text",
            "id",
            "message_id",
            "messageId",
            "received_at",
            "receivedAt",
            "location_id",
            "locationId",
            "attachments",
            "https://a.ph/1.jpg",
            "javascript:x",
            "+639171234567",
            "GLOBE",
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20+08:00",
            "1700000000",
            "1700000000000",
            "99999999999",
            "100000000000",
        ],
        largest: 256 * 1024,
        cases: 10_000,
        reaches: &["by id", "by time", "by minute", "refused", "not JSON"],
        start: || Box::new(try_one),
    }
}

fn try_one(body: &[u8]) -> Outcome {
    let read = read_reply(body);
    assert!(read == read_reply(body), "the same bytes are read the same way");
    assert_eq!(read.is_ok(), acceptable(body), "{:?}", read.as_ref().err());
    if let Some(longer) = with_an_unknown_member(body) {
        assert!(read_reply(&longer) == read, "an unknown member changes nothing");
    }
    if let Some(Value::Object(members)) = whole(body) {
        let (one, other) = (Value::Object(members.clone()), Value::Object(respelt(members)));
        let both = [one, other].map(|value| read_reply(value.to_string().as_bytes()));
        assert!(both[0] == both[1], "camelCase and snake_case are the same");
    }
    match read {
        Err("The body is not JSON.") => Outcome { name: "not JSON", detail: 0 },
        Err(why) => Outcome { name: "refused", detail: why.len() },
        Ok(reply) => check(&reply),
    }
}

/// Every member that has two spellings in its other one.
fn respelt(members: Map<String, Value>) -> Map<String, Value> {
    const SPELLINGS: [(&str, &str); 3] =
        [("message_id", "messageId"), ("received_at", "receivedAt"), ("location_id", "locationId")];
    let both = SPELLINGS.iter().any(|(snake, camel)| members.contains_key(*snake) && members.contains_key(*camel));
    if both {
        return members;
    }
    let other = |name: String| match SPELLINGS.iter().find(|(snake, camel)| name == *snake || name == *camel) {
        Some((snake, camel)) => (if name == *snake { *camel } else { *snake }).to_owned(),
        None => name,
    };
    members.into_iter().map(|(name, value)| (other(name), value)).collect()
}

/// Whether the contract wants this body taken.
fn acceptable(body: &[u8]) -> bool {
    let Some(Value::Object(members)) = whole(body) else { return false };
    let first =
        |names: [&'static str; 2]| names.into_iter().find(|name| members.get(*name).is_some_and(|v| !v.is_null()));
    let from = written(&members, "from");
    let listed = match members.get("attachments") {
        None => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(one) => vec![one.clone()],
    };
    // Of an object its `url`; nothing where there is none; anything else can't be meant.
    let link = |item: &Value| match item.as_object().and_then(|object| object.get("url")).unwrap_or(item) {
        Value::Null => item.is_null().then(String::new),
        Value::String(link) => Some(link.trim().to_owned()),
        _ => None,
    };
    let links: Option<Vec<String>> = listed.iter().map(link).collect();
    let links = links.map(|links| links.into_iter().filter(|link| !link.is_empty()).collect::<Vec<_>>());
    let web = |link: &String| link.starts_with("https://") || link.starts_with("http://");
    let links = links.filter(|links| links.iter().all(web)).map(|links| links.len());
    let said = first(["message", "text"]).is_some_and(|name| !written(&members, name).trim().is_empty());
    let route = match first(["location_id", "locationId"]).map(|name| &members[name]) {
        None => true,
        Some(value @ (Value::String(_) | Value::Number(_))) => {
            let route = value.as_str().map_or_else(|| value.to_string(), |route| route.trim().to_owned());
            route.is_empty() || is_id(&route)
        }
        // Not text at all counts as absent.
        Some(_) => true,
    };
    let time = match first(["received_at", "receivedAt"]).map(|name| &members[name]) {
        None | Some(Value::Number(_)) => true,
        Some(Value::String(at)) => {
            let at = at.trim();
            at.is_empty() || at.parse::<i64>().is_ok() || at.parse::<jiff::Timestamp>().is_ok()
        }
        Some(_) => false,
    };
    !from.trim().is_empty() && from.len() <= 64 && route && time && links.is_some_and(|count| count > 0 || said)
}

fn check(reply: &NewReply) -> Outcome {
    assert!(!reply.from.is_empty() && reply.from == reply.from.trim());
    assert!(reply.gateway_id.as_deref() != Some(""));
    let at = |reply: &NewReply, now| {
        let NewReply { gateway_id, from, to, text, sent_at, .. } = reply;
        identity(gateway_id.as_deref(), from, to.as_deref(), text.as_deref(), *sent_at, now)
    };
    let (same, next) = (at(reply, NOW), at(reply, NOW.after(std::time::Duration::from_secs(60))));
    let by_id = reply.gateway_id.is_some();
    // A character moved over the border of two fields is another reply, unless the gateway's id says otherwise.
    let mut shifted = reply.clone();
    let moved = shifted.from.pop().unwrap_or_default();
    shifted.to = Some(format!("{moved}{}", shifted.to.unwrap_or_default()));
    assert_eq!(at(&shifted, NOW) == same, by_id, "only the gateway's own id makes other words the same reply");
    let name = match (&same, &next) {
        (Identity::Exact(one), Identity::Exact(other)) => {
            assert_eq!(one, other, "what has an id or a time is the same reply at any time");
            if by_id { "by id" } else { "by time" }
        }
        (Identity::Minute { this, before }, Identity::Minute { this: later, before: was }) => {
            assert!(
                this == was && this != before && this != later,
                "a minute later it is looked for in the minute before"
            );
            "by minute"
        }
        _ => panic!("the clock decides nothing about the kind of identity"),
    };
    let bits = [reply.to.is_some(), reply.text.is_some(), reply.location.is_some(), reply.attachments.is_empty()];
    Outcome { name, detail: bits.iter().fold(0, |bits, bit| bits * 2 + usize::from(*bit)) }
}
