//! OAuth scopes: the nine the app needs, what is lost without each, and which of them a token says it carries.
//!
//! Owns the list (ghl contract §3) and the reading of a token's payload. Invariant: that reading is unverified and serves
//! diagnosis alone: nothing is allowed or refused by it. Pure: imports `installation` for whose grant it is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::installation::GrantKind;

/// A token's payload has a few hundred bytes; more is not read.
const LONGEST_TOKEN: usize = 64 * 1024;

/// How much is lost without a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing works.
    Vital,
    /// Something does not.
    Useful,
    /// An agency's installs do not work; a sub-account's own grant is not asked for it.
    Agency,
}

/// One scope of the nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    pub name: &'static str,
    /// What does not work without it.
    pub without: &'static str,
    need: Need,
}

impl Scope {
    /// Whether a grant of this kind is of no use without it.
    #[must_use]
    pub fn is_vital(&self, kind: GrantKind) -> bool {
        match self.need {
            Need::Vital => true,
            Need::Agency => kind == GrantKind::Company,
            Need::Useful => false,
        }
    }

    fn concerns(&self, kind: GrantKind) -> bool {
        self.need != Need::Agency || kind == GrantKind::Company
    }
}

const fn scope(name: &'static str, need: Need, without: &'static str) -> Scope {
    Scope { name, without, need }
}

/// The nine, in the order they are asked for.
pub const NEEDED: [Scope; 9] = [
    scope(
        "conversations/message.write",
        Need::Vital,
        "GHL sends no messages to deliver, and takes neither statuses nor replies",
    ),
    scope(
        "conversations/message.readonly",
        Need::Useful,
        "a reply whose outcome nobody saw can't be looked for, and may show twice",
    ),
    scope("conversations.write", Need::Useful, "replies are lost where GHL insists on a conversation of its own"),
    scope("conversations.readonly", Need::Useful, "a conversation can't be found where GHL insists on one"),
    scope("contacts.readonly", Need::Useful, "contacts can't be looked up for replies and opt-outs"),
    scope(
        "contacts.write",
        Need::Useful,
        "replies of people nobody messaged before can't be shown, and opt-outs don't show as do-not-disturb",
    ),
    scope("oauth.readonly", Need::Agency, "an agency's sub-accounts can't be listed"),
    scope("oauth.write", Need::Agency, "an agency's sub-accounts get no tokens"),
    scope("locations.readonly", Need::Useful, "this check can't ask which provider is the default"),
];

/// Which of the nine a grant of this kind lacks.
#[must_use]
pub fn missing(granted: &[String], kind: GrantKind) -> Vec<Scope> {
    let lacks = |scope: &Scope| scope.concerns(kind) && !granted.iter().any(|name| name == scope.name);
    NEEDED.into_iter().filter(lacks).collect()
}

/// The names in a list as OAuth writes it: separated by spaces, or by commas.
#[must_use]
pub fn listed(text: &str) -> Vec<String> {
    let names = text.split(|c: char| c.is_whitespace() || c == ',');
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The scopes in the payload of an access token, if it is a JWT that names any: `{oauthMeta:{scopes}}` as GHL's tokens have
/// it, or `scopes` or `scope` beside it, as a list or as text. The signature is not looked at.
#[must_use]
pub fn of_token(token: &str) -> Option<Vec<String>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > LONGEST_TOKEN {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    let meta = payload.get("oauthMeta");
    let places = [meta.and_then(|m| m.get("scopes")), meta.and_then(|m| m.get("scope"))];
    places.into_iter().chain([payload.get("scopes"), payload.get("scope")]).flatten().find_map(names)
}

/// `None` for a value that is no list of names; an empty one is a list.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(listed(text)),
        Value::Array(all) => all.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn jwt(payload: &Value) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.sig", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(&payload.to_string()))
    }

    fn all() -> Vec<String> {
        NEEDED.iter().map(|scope| scope.name.to_owned()).collect()
    }

    #[test]
    fn a_sub_accounts_grant_needs_seven_and_an_agencys_all_nine() {
        assert_eq!(missing(&all(), GrantKind::Location), []);
        assert_eq!(missing(&all(), GrantKind::Company), []);
        let count = |kind| missing(&[], kind).len();
        assert_eq!((count(GrantKind::Location), count(GrantKind::Company)), (7, 9));
        let without: Vec<String> = all().into_iter().filter(|name| name != "oauth.write").collect();
        assert_eq!(missing(&without, GrantKind::Location), []);
        let lacking = missing(&without, GrantKind::Company);
        assert!(lacking.len() == 1 && lacking[0].is_vital(GrantKind::Company));
    }

    #[test]
    fn only_what_carries_the_webhook_is_vital_to_a_sub_account() {
        let vital = |kind| NEEDED.iter().filter(|s| s.is_vital(kind)).map(|s| s.name).collect::<Vec<_>>();
        assert_eq!(vital(GrantKind::Location), ["conversations/message.write"]);
        assert_eq!(vital(GrantKind::Company), ["conversations/message.write", "oauth.readonly", "oauth.write"]);
    }

    #[test]
    fn the_scopes_of_a_token_are_read_wherever_they_stand_and_however_they_are_written() {
        let expected = Some(vec!["a.read".to_owned(), "b/c.write".to_owned()]);
        for payload in [
            json!({"authClass": "Location", "oauthMeta": {"scopes": ["a.read", "b/c.write"], "client": "x"}}),
            json!({"oauthMeta": {"scopes": "a.read b/c.write"}}),
            json!({"oauthMeta": {"client": "x"}, "scopes": ["a.read", "b/c.write"]}),
            json!({"oauthMeta": null, "scope": "a.read, b/c.write"}),
        ] {
            assert_eq!(of_token(&jwt(&payload)), expected, "{payload}");
        }
        assert_eq!(of_token(&jwt(&json!({"oauthMeta": {"scopes": []}}))), Some(Vec::new()));
        let padded = jwt(&json!({"scope": "a"})).replacen(".sig", "==.sig", 1);
        assert_eq!(of_token(&padded), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn a_token_that_is_no_jwt_or_names_no_scopes_says_nothing() {
        let odd = jwt(&json!({"oauthMeta": {"scopes": [1, 2]}}));
        let silent = jwt(&json!({"sub": "x"}));
        for token in ["", "opaque", "a.b", "a.b.c", "a.b.c.d", "e30.W10.x", odd.as_str(), silent.as_str()] {
            assert_eq!(of_token(token), None, "{token}");
        }
        assert_eq!(of_token(&jwt(&json!({"scope": "x".repeat(LONGEST_TOKEN)}))), None);
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = of_token(&token);
        }
    }
}
