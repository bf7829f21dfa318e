//! Reading GHL's webhooks, leniently: what it asks for, decided from the bytes alone.
//!
//! `type` decides first; then the provider; then the ids. Unknown fields are ignored, and a missing or bad phone or text is
//! not judged here: that is a message that ends `failed`. Pure.

use serde_json::Value;

use super::id::{GhlMessageId, LocationId};
use super::json;
use super::lifecycle::{self, Hook};
use super::message::Intake;

/// What a webhook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Message(Box<Intake>),
    /// It concerns the installation, or a contact's settings.
    Lifecycle(Hook),
    /// 200, nothing stored.
    Ignored(Ignored),
    /// Kept raw for a person.
    Unreadable(&'static str),
}

/// Why nothing is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// `Email`, or a type nobody knows.
    Type,
    /// Another conversation provider's message.
    OtherProvider,
}

/// Reads the raw body. `provider` is the configured conversation provider.
#[must_use]
pub fn read(body: &[u8], provider: Option<&str>) -> Read {
    let Some(value) = json::read(body) else { return Read::Unreadable("it is not JSON") };
    let Some(object) = value.as_object() else { return Read::Unreadable("it is not a JSON object") };
    let field = |names: &[&str]| json::member(object, names);
    match field(&["type"]) {
        None => {}
        Some(Value::String(kind)) if claims_sms(kind) => {}
        Some(Value::String(kind)) => {
            return lifecycle::read(kind, object).map_or(Read::Ignored(Ignored::Type), Read::Lifecycle);
        }
        Some(_) => return Read::Ignored(Ignored::Type),
    }
    if let (Some(ours), Some(theirs)) = (provider, text(field(&["conversationProviderId", "conversation_provider_id"])))
        && !theirs.trim().is_empty()
        && theirs.trim() != ours
    {
        return Read::Ignored(Ignored::OtherProvider);
    }
    let location = text(field(&["locationId", "location_id"])).and_then(|id| LocationId::parse(id.trim()).ok());
    let message = text(field(&["messageId", "message_id"])).and_then(|id| GhlMessageId::parse(id.trim()).ok());
    let (Some(location), Some(message_id)) = (location, message) else {
        return Read::Unreadable("it has no usable locationId or messageId");
    };
    Read::Message(Box::new(Intake {
        location,
        message_id,
        contact_id: text(field(&["contactId", "contact_id"])),
        conversation_id: text(field(&["conversationId", "conversation_id"])),
        phone: text(field(&["phone"])),
        text: text(field(&["message"])).or_else(|| text(field(&["body"]))),
        attachments: attachments(field(&["attachments"])),
        user_id: text(field(&["userId", "user_id"])),
    }))
}

/// Empty, `SMS` in any case, and `Custom` (an extra provider) claim to be an SMS.
fn claims_sms(kind: &str) -> bool {
    let kind = kind.trim();
    kind.is_empty() || kind.eq_ignore_ascii_case("sms") || kind.eq_ignore_ascii_case("custom")
}

/// A string, or a number written as one: phones of imports come so.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// Links, as strings or as objects with a `url`; one alone instead of a list.
fn attachments(value: Option<&Value>) -> Vec<String> {
    let link = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Object(o) => o.get("url").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let links: Vec<String> = match value {
        Some(Value::Array(items)) => items.iter().filter_map(link).collect(),
        Some(one) => link(one).into_iter().collect(),
        None => Vec::new(),
    };
    links.into_iter().filter(|l| !l.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(rest: &str) -> String {
        format!(r#"{{"locationId":"L1","messageId":"m1"{rest}}}"#)
    }

    fn message(body: &str) -> Intake {
        match read(body.as_bytes(), Some("prov")) {
            Read::Message(intake) => *intake,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn absent_null_empty_sms_in_any_case_and_custom_are_messages() {
        for kind in
            ["", r#","type":null"#, r#","type":"""#, r#","type":"sms""#, r#","type":"SMS""#, r#","type":"Custom""#]
        {
            message(&ids(kind));
        }
    }

    #[test]
    fn email_and_unknown_types_are_ignored_whatever_else_they_hold() {
        for body in [r#"{"type":"Email"}"#, r#"{"type":"WhatsApp","locationId":"L1","messageId":"m"}"#, r#"{"type":7}"#]
        {
            assert_eq!(read(body.as_bytes(), None), Read::Ignored(Ignored::Type), "{body}");
        }
        assert_eq!(read(br#"{"type":"INSTALL"}"#, None), Read::Lifecycle(Hook::Other));
    }

    #[test]
    fn another_providers_message_is_ignored_only_when_ours_is_configured() {
        let body = ids(r#","conversationProviderId":"other""#);
        assert_eq!(read(body.as_bytes(), Some("prov")), Read::Ignored(Ignored::OtherProvider));
        assert!(matches!(read(body.as_bytes(), None), Read::Message(_)));
        message(&ids(r#","conversationProviderId":"prov""#));
    }

    #[test]
    fn half_an_emoji_does_not_lose_the_message() {
        for (written, read) in [
            (r"cut \ud83d here", "cut \u{fffd} here"),
            (r"low \ude00 alone", "low \u{fffd} alone"),
            (r"whole \ud83d\ude00 and half \ud83d", "whole \u{1f600} and half \u{fffd}"),
            (r"half \ud83d and a path C:\\ud83d", "half \u{fffd} and a path C:\\ud83d"),
        ] {
            assert_eq!(message(&ids(&format!(r#","message":"{written}""#))).text.as_deref(), Some(read));
        }
    }

    #[test]
    fn a_missing_phone_or_text_is_still_a_message() {
        let intake = message(&ids(""));
        assert_eq!((intake.phone, intake.text), (None, None));
    }

    #[test]
    fn a_body_without_usable_ids_is_unreadable() {
        for body in ["", "nope", "[]", "{}", r#"{"locationId":"L1"}"#, r#"{"locationId":"a/b","messageId":"m"}"#] {
            assert!(matches!(read(body.as_bytes(), None), Read::Unreadable(_)), "{body}");
        }
    }

    #[test]
    fn attachments_are_links_as_strings_or_objects() {
        let intake = message(&ids(r#","attachments":["https://a",{"url":"https://b"},7,""]"#));
        assert_eq!(intake.attachments, ["https://a", "https://b"]);
        assert_eq!(message(&ids(r#","attachments":null"#)).attachments, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_reading_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, Some("p"));
        }

        #[test]
        fn unknown_fields_change_nothing(name in "[a-z]{1,12}x9", value in "[ -~]{0,20}") {
            let extra = format!(",{}:{}", serde_json::to_string(&name).unwrap(), serde_json::to_string(&value).unwrap());
            prop_assert_eq!(message(&ids(&extra)), message(&ids("")));
        }
    }
}
