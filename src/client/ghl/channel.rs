//! The set-up check's question: which providers send a sub-account's SMS, and which of them is the default.
//!
//! Owns the reading of the list (ghl contract §7). Invariant: an entry that can't be read spoils no other, and what GHL does
//! not say stays unsaid. Also tells GHL's time, whatever it answered: the one clock there is to compare ours with.

use reqwest::header::DATE;
use serde_json::Value;

use super::{ApiRefusal, Call, GhlClient, GhlError, PathId, readable};
use crate::client::lenient;
use crate::client::retry_after::http_date;
use crate::client::transport;
use crate::domain::checkup::Provider;
use crate::domain::secret::Secret;
use crate::domain::time::UnixMillis;

/// What came of asking.
#[derive(Debug)]
pub struct ChannelsAsked {
    /// GHL's own time, to the second; absent without an answer.
    pub at: Option<UnixMillis>,
    /// Any [`GhlError`] but `NotStored`; `Unreadable` if the reply has no list.
    pub answer: Result<Vec<Provider>, GhlError>,
}

impl GhlClient {
    /// Asks which providers the location has for SMS. Takes the location's own token, never an agency's.
    #[tracing::instrument(name = "ghl.channels", skip_all, fields(location.id = location))]
    pub async fn sms_channels(&self, token: &Secret, location: &str) -> ChannelsAsked {
        let id = match PathId::new(location) {
            Ok(id) => id,
            Err(e) => return ChannelsAsked { at: None, answer: Err(e) },
        };
        let answer = match transport::call(self.authorised(Call::Channels, id.0, token)).await {
            Ok(answer) => answer,
            Err(failure) => {
                let error = GhlError::Transport { reached: failure.reached, detail: failure.detail };
                return ChannelsAsked { at: None, answer: Err(error) };
            }
        };
        let at = answer.header(DATE.as_str()).and_then(http_date);
        if !(200..=299).contains(&answer.status) {
            return ChannelsAsked { at, answer: Err(GhlError::Api(Box::new(ApiRefusal::read(&answer)))) };
        }
        let unreadable = GhlError::Unreadable { status: answer.status };
        let answer = readable(&answer).and_then(|reply| providers(&reply).ok_or(unreadable));
        ChannelsAsked { at, answer }
    }
}

/// `{conversationChannel:{SMS:[{conversationProvider:{…}}]}}`. ⚠ The key is `SMS` under one version and `sms` under another;
/// any spelling is read, as are entries and lists without their wrapping.
fn providers(reply: &Value) -> Option<Vec<Provider>> {
    let channel = reply.get("conversationChannel").or_else(|| reply.get("conversation_channel")).unwrap_or(reply);
    let of_sms = |members: &serde_json::Map<String, Value>| {
        let member = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("sms"))?;
        member.1.as_array().cloned()
    };
    let entries = match channel {
        Value::Array(entries) => entries.clone(),
        Value::Object(members) => of_sms(members)?,
        _ => return None,
    };
    Some(entries.iter().filter(|entry| entry.is_object()).map(provider).collect())
}

fn provider(entry: &Value) -> Provider {
    let inner = ["conversationProvider", "conversation_provider"].iter().find_map(|name| entry.get(name));
    let inner = inner.filter(|inner| inner.is_object()).unwrap_or(entry);
    Provider {
        id: lenient::id(inner, &["_id", "id", "conversationProviderId"]),
        name: lenient::text(inner, &["name"]).map(|name| crate::domain::words::clean(&name, NAME_SHOWN)),
        default: lenient::flag(inner, &["default", "isDefault"])
            .or_else(|| lenient::flag(entry, &["default", "isDefault"])),
    }
}

/// Characters of a provider's name that are shown.
const NAME_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::builder::{HttpSettings, http_client};
    use crate::client::wire::{Wire, json, with_headers};
    use serde_json::json as value;

    fn ours(default: Option<bool>) -> Provider {
        Provider { id: Some("PRV1".into()), name: Some("Cast SMS".into()), default }
    }

    #[test]
    fn the_list_is_read_under_both_spellings_of_its_key_wrapped_and_bare() {
        let inner = value!({"_id": "PRV1", "name": "Cast SMS", "type": "SMS", "default": true});
        let wrapped = value!([{"conversationProvider": inner}, "odd", {"conversationProvider": null}]);
        for reply in [
            value!({"conversationChannel": {"SMS": wrapped}}),
            value!({"conversationChannel": {"sms": wrapped}, "traceId": "t"}),
            value!({"conversation_channel": {"Sms": wrapped, "Email": []}}),
            value!({"SMS": [inner, {}]}),
            value!({"conversationChannel": [inner, {}]}),
        ] {
            let read = providers(&reply).unwrap_or_default();
            assert_eq!(read, [ours(Some(true)), Provider::default()], "{reply}");
        }
    }

    #[test]
    fn what_is_not_said_stays_unsaid_and_what_has_no_list_is_none() {
        let silent = value!({"SMS": [{"conversationProvider": {"id": "PRV1", "name": "Cast SMS", "default": "yes"}}]});
        assert_eq!(providers(&silent), Some(vec![ours(None)]));
        assert_eq!(providers(&value!({"conversationChannel": {"SMS": []}})), Some(Vec::new()));
        for odd in
            [value!({}), value!({"conversationChannel": {"Email": []}}), value!({"SMS": {}}), value!(null), value!("x")]
        {
            assert_eq!(providers(&odd), None, "{odd}");
        }
    }

    async fn ask(answer: crate::client::wire::Act) -> (Vec<String>, ChannelsAsked) {
        let wire = Wire::start(vec![answer]).await;
        let ghl = GhlClient::new(http_client(&HttpSettings::default()).expect("a client"), wire.url.clone());
        let asked = ghl.sms_channels(&Secret::from("at-1"), "L/1").await;
        (wire.seen(), asked)
    }

    #[tokio::test]
    async fn the_question_has_version_v3_and_the_locations_token() {
        let (seen, asked) = ask(json(200, r#"{"conversationChannel":{"sms":[]}}"#)).await;
        let head = seen[0].to_ascii_lowercase();
        assert!(seen[0].starts_with("GET /prefix/locations/L%2F1/conversationChannels/SMS HTTP/1.1"), "{head}");
        assert!(head.contains("version: v3\r\n") && head.contains("authorization: bearer at-1\r\n"), "{head}");
        assert_eq!(asked.answer.ok(), Some(Vec::new()));
    }

    #[tokio::test]
    async fn a_refusal_tells_the_time_as_well_and_no_answer_tells_none() {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let (_, asked) = ask(with_headers(403, date, r#"{"message":"no"}"#)).await;
        assert_eq!(asked.at, Some(UnixMillis(784_111_777_000)));
        assert!(matches!(asked.answer, Err(GhlError::Api(refusal)) if refusal.status == 403));
        let (_, asked) = ask(crate::client::wire::Act::Close).await;
        assert!(asked.at.is_none() && matches!(asked.answer, Err(GhlError::Transport { .. })));
        let (_, asked) = ask(json(200, "[1]")).await;
        assert_eq!(asked.answer.ok(), Some(Vec::new()));
        let (_, asked) = ask(json(200, "{}")).await;
        assert!(matches!(asked.answer, Err(GhlError::Unreadable { status: 200 })));
    }
}
