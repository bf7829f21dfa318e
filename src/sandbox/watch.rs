//! What the fakes saw, as sentences: each look tells what is new since the last.
//!
//! Invariant: nothing is told twice and no call is left out, except those that belong together (the parts of a known
//! message, an agency's tokens, reports that came too early), which become one sentence. Numbers are masked and texts left out: with `--stay`
//! a person may type their own.

use std::collections::{HashMap, HashSet};

use crate::domain::phone::mask;
use crate::fake::cast::{CastCall, FakeCast};
use crate::fake::ghl::{FakeGhl, GhlCall, InboundSeen, StatusSeen};

/// A message GHL was told about and did not know: (location, message).
pub(super) type Stranger = (String, String);

/// What has been told so far.
#[derive(Default)]
pub(super) struct Watch {
    sends: usize,
    calls: usize,
    replies: usize,
    unexpected: (usize, usize),
    /// Messages on their way to Cast, by the number they go to.
    awaited: HashMap<String, Awaited>,
    /// Names of messages, by GHL's id.
    names: HashMap<String, String>,
    strangers: Vec<Stranger>,
    campaign: Campaign,
}

/// Messages that are told of together, once all are there.
#[derive(Default)]
struct Campaign {
    location: String,
    ids: HashSet<String>,
    numbers: HashSet<String>,
    taken: usize,
    delivered: usize,
}

struct Awaited {
    name: String,
    parts: usize,
    taken: usize,
}

impl Watch {
    /// From now on the message has a name; its `parts` SMS to `to` are one sentence.
    pub(super) fn expect(&mut self, message_id: &str, name: String, to: &str, parts: usize) {
        self.names.insert(message_id.to_owned(), name.clone());
        if parts > 0 {
            self.awaited.insert(to.to_owned(), Awaited { name, parts, taken: 0 });
        }
    }

    /// From now on the message belongs to the location's campaign.
    pub(super) fn gather(&mut self, location: &str, message_id: &str, to: &str) {
        location.clone_into(&mut self.campaign.location);
        self.campaign.ids.insert(message_id.to_owned());
        self.campaign.numbers.insert(to.to_owned());
    }

    /// What is new.
    pub(super) fn look(&mut self, cast: &FakeCast, ghl: &FakeGhl) -> Vec<String> {
        let (sends, calls, replies) = (cast.calls(), ghl.calls(), ghl.inbound());
        let mut said: Vec<String> = sends.iter().skip(self.sends).filter_map(|call| self.sent(call)).collect();
        let (mut early, mut minted) = (0, 0);
        for call in calls.iter().skip(self.calls) {
            match self.called(call, |id| ghl.statuses(id).pop()) {
                Told::Sentence(sentence) => said.push(sentence),
                Told::TooEarly => early += 1,
                Told::Minted => minted += 1,
                Told::Nothing => {}
            }
        }
        said.extend(tokens(minted));
        said.extend(too_early(early));
        said.extend(replies.iter().skip(self.replies).map(replied));
        let (of_cast, of_ghl) = (cast.unexpected(), ghl.unexpected());
        let strange = |whose: &'static str| {
            move |call: &crate::fake::Unexpected| {
                format!("The bridge called what {whose} does not have: {} {}.", call.method, call.path)
            }
        };
        said.extend(of_cast.iter().skip(self.unexpected.0).map(strange("Cast")));
        said.extend(of_ghl.iter().skip(self.unexpected.1).map(strange("GHL")));
        self.unexpected = (of_cast.len(), of_ghl.len());
        (self.sends, self.calls, self.replies) = (sends.len(), calls.len(), replies.len());
        said
    }

    /// Tells nothing of what has been seen until now.
    pub(super) fn skip(&mut self, cast: &FakeCast, ghl: &FakeGhl) {
        (self.sends, self.calls, self.replies) = (cast.calls().len(), ghl.calls().len(), ghl.inbound().len());
        self.unexpected = (cast.unexpected().len(), ghl.unexpected().len());
    }

    /// The messages GHL was told about and did not know, since this was last asked.
    pub(super) fn strangers(&mut self) -> Vec<Stranger> {
        std::mem::take(&mut self.strangers)
    }

    fn sent(&mut self, call: &CastCall) -> Option<String> {
        if !call.taken {
            // Without a number the call was refused before its body was read: a wrong key.
            let to = call.to.as_deref().map_or_else(String::new, |to| format!(" to {}", mask(to)));
            let why = call.problem.as_deref().unwrap_or("it gave no reason");
            return Some(format!("Cast did not take an SMS{to}: {why}."));
        }
        let to = call.to.as_deref().unwrap_or_default();
        if self.campaign.numbers.contains(to) {
            self.campaign.taken += 1;
            let all = self.campaign.numbers.len();
            return (self.campaign.taken == all).then(|| format!("Cast took the {all} SMS of the campaign."));
        }
        let Some(awaited) = self.awaited.get_mut(to).filter(|awaited| awaited.taken < awaited.parts) else {
            return Some(format!("Cast took an SMS to {}.", mask(to)));
        };
        awaited.taken += 1;
        let Awaited { name, parts, taken } = awaited;
        match *parts {
            parts if *taken < parts => None,
            1 => Some(format!("Cast took the {name}.")),
            parts => Some(format!("Cast took the {name}, in {parts} parts.")),
        }
    }

    fn called(&mut self, call: &GhlCall, told: impl Fn(&str) -> Option<StatusSeen>) -> Told {
        let fine = call.status.is_some_and(|status| status / 100 == 2);
        if let Some(id) = message_of(call) {
            return self.reported(id, fine, call, told(id));
        }
        match (call.method.as_str(), call.path.as_str(), fine) {
            // What became of these is told by the reply itself, and by the pages the person sees.
            ("POST", "/conversations/messages/inbound", true) | ("GET", "/oauth/chooselocation", _) => Told::Nothing,
            ("POST", "/oauth/token", true) if call.location.as_ref() == Some(&self.campaign.location) => {
                Told::Sentence("GHL gave the bridge a new token in the middle of the campaign.".to_owned())
            }
            ("POST", "/oauth/token", true) => Told::Sentence("GHL gave the bridge tokens.".to_owned()),
            ("POST", "/oauth/locationToken", true) => Told::Minted,
            ("GET", "/oauth/installedLocations", true) => {
                Told::Sentence("GHL listed an agency's sub-accounts.".to_owned())
            }
            ("POST", "/contacts/upsert", true) => {
                Told::Sentence("GHL found or made the contact of a reply.".to_owned())
            }
            ("PUT", path, true) if path.starts_with("/contacts/") => {
                Told::Sentence("GHL shows the person's do-not-disturb setting as the bridge told it.".to_owned())
            }
            (method, path, true) => Told::Sentence(format!("GHL answered {method} {path}.")),
            (method, path, false) => Told::Sentence(format!("GHL refused {method} {path}{}.", why(call))),
        }
    }

    fn reported(&mut self, id: &str, fine: bool, call: &GhlCall, told: Option<StatusSeen>) -> Told {
        let name = self.names.get(id);
        if fine && self.campaign.ids.contains(id) && told.as_ref().is_some_and(|told| told.status == "delivered") {
            self.campaign.delivered += 1;
            let all = self.campaign.ids.len();
            let sentence = || Told::Sentence(format!("GHL shows the {all} messages of the campaign as delivered."));
            return if self.campaign.delivered == all { sentence() } else { Told::Nothing };
        }
        if fine {
            let name = name.map_or_else(|| format!("message {id}"), |name| format!("the {name}"));
            return Told::Sentence(shown(&name, told.as_ref()));
        }
        let not_yet = call.status == Some(403) && call.problem.as_deref().is_some_and(|why| why.contains(NOT_YET));
        if !not_yet {
            return Told::Sentence(format!("GHL refused the status of a message{}.", why(call)));
        }
        if name.is_none() && !self.campaign.ids.contains(id) {
            self.strangers.extend(call.location.clone().map(|location| (location, id.to_owned())));
        }
        Told::TooEarly
    }
}

enum Told {
    Sentence(String),
    TooEarly,
    /// A sub-account's token: many come at once.
    Minted,
    Nothing,
}

/// GHL's words for "not yet" (ghl contract §4).
const NOT_YET: &str = "No conversation provider found";

/// The message a status call is about.
fn message_of(call: &GhlCall) -> Option<&str> {
    call.path.strip_prefix("/conversations/messages/")?.strip_suffix("/status")
}

fn why(call: &GhlCall) -> String {
    let status = call.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    call.problem.as_deref().map_or_else(|| format!(" ({status})"), |words| format!(" ({status}: {words})"))
}

fn shown(name: &str, told: Option<&StatusSeen>) -> String {
    let status = told.map_or("told", |told| told.status.as_str());
    match told.and_then(|told| told.error.as_ref()) {
        Some(error) => format!("GHL shows {name} as {status}: \"{}\".", error.message),
        None => format!("GHL shows {name} as {status}."),
    }
}

fn tokens(minted: usize) -> Option<String> {
    match minted {
        0 => None,
        1 => Some("GHL gave the bridge the token of a sub-account.".to_owned()),
        minted => Some(format!("GHL gave the bridge the tokens of {minted} sub-accounts.")),
    }
}

fn too_early(count: usize) -> Option<String> {
    let reports = match count {
        0 => return None,
        1 => "a status report".to_owned(),
        count => format!("{count} status reports"),
    };
    Some(format!(
        "GHL refused {reports} as too early (403 \"{NOT_YET} …\"), as it does at first; the bridge will ask again."
    ))
}

fn replied(reply: &InboundSeen) -> String {
    match reply.phone.as_deref() {
        Some(phone) => format!("GHL shows a reply in the conversation with {}.", mask(phone)),
        None => "GHL shows a reply in a conversation.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UnixMillis;
    use crate::fake::ghl::StatusError;

    fn sms(to: &str, taken: bool) -> CastCall {
        CastCall {
            at: UnixMillis(0),
            key: String::new(),
            to: Some(to.to_owned()),
            message: Some("a secret".to_owned()),
            sender_id: None,
            idempotency_key: None,
            status: Some(if taken { 200 } else { 429 }),
            taken,
            message_id: None,
            problem: (!taken).then(|| "Rate limit exceeded".to_owned()),
            breach: false,
        }
    }

    fn status_call(id: &str, status: u16, problem: Option<&str>) -> GhlCall {
        GhlCall {
            at: UnixMillis(0),
            method: "PUT".to_owned(),
            path: format!("/conversations/messages/{id}/status"),
            status: Some(status),
            location: Some("LOC".to_owned()),
            problem: problem.map(str::to_owned),
            breach: false,
        }
    }

    fn failed() -> StatusSeen {
        let error = StatusError {
            code: "invalid_phone".to_owned(),
            kind: "saas".to_owned(),
            message: "That is a landline".to_owned(),
        };
        StatusSeen { at: UnixMillis(0), status: "failed".to_owned(), error: Some(error) }
    }

    fn sentence(told: Told) -> Option<String> {
        match told {
            Told::Sentence(sentence) => Some(sentence),
            Told::TooEarly | Told::Minted | Told::Nothing => None,
        }
    }

    #[test]
    fn the_parts_of_a_known_message_are_one_sentence_and_one_more_is_told_by_itself() {
        let mut watch = Watch::default();
        watch.expect("M", "long message".to_owned(), "09170000001", 2);
        assert_eq!(watch.sent(&sms("09170000001", true)), None);
        assert_eq!(watch.sent(&sms("09170000001", true)).as_deref(), Some("Cast took the long message, in 2 parts."));
        assert_eq!(watch.sent(&sms("09170000001", true)).as_deref(), Some("Cast took an SMS to +63917*****01."));
    }

    #[test]
    fn a_campaign_is_told_of_when_all_of_it_is_there_and_its_new_token_at_once() {
        let mut watch = Watch::default();
        for n in 1..=2 {
            watch.gather("LOC", &format!("M{n}"), &format!("0918000000{n}"));
        }
        let delivered = || StatusSeen { at: UnixMillis(0), status: "delivered".to_owned(), error: None };
        assert_eq!(watch.sent(&sms("09180000001", true)), None);
        assert_eq!(watch.sent(&sms("09180000002", true)).as_deref(), Some("Cast took the 2 SMS of the campaign."));
        assert_eq!(sentence(watch.called(&status_call("M1", 200, None), |_| Some(delivered()))), None);
        let last = watch.called(&status_call("M2", 200, None), |_| Some(delivered()));
        assert_eq!(sentence(last).as_deref(), Some("GHL shows the 2 messages of the campaign as delivered."));
        let renewed =
            GhlCall { method: "POST".to_owned(), path: "/oauth/token".to_owned(), ..status_call("", 200, None) };
        let said = "GHL gave the bridge a new token in the middle of the campaign.";
        assert_eq!(sentence(watch.called(&renewed, |_| None)).as_deref(), Some(said));
    }

    #[test]
    fn neither_a_text_nor_a_whole_number_is_told() {
        let mut watch = Watch::default();
        for taken in [true, false] {
            let said = watch.sent(&sms("09171234567", taken)).unwrap();
            assert!(!said.contains("secret") && !said.contains("1234"), "{said}");
        }
    }

    #[test]
    fn a_failed_status_is_told_with_its_reason() {
        let mut watch = Watch::default();
        watch.expect("M", "message to a landline".to_owned(), "028123", 0);
        let told = watch.called(&status_call("M", 200, None), |_| Some(failed()));
        assert_eq!(
            sentence(told).as_deref(),
            Some("GHL shows the message to a landline as failed: \"That is a landline\".")
        );
    }

    #[test]
    fn a_report_that_came_too_early_is_counted_and_one_on_an_unknown_message_noted() {
        let mut watch = Watch::default();
        watch.expect("M", "short message".to_owned(), "0917", 1);
        let early = "No conversation provider found for this message";
        for id in ["M", "X"] {
            let told = watch.called(&status_call(id, 403, Some(early)), |_| None);
            assert!(matches!(told, Told::TooEarly), "{id}");
        }
        assert_eq!(watch.strangers(), [("LOC".to_owned(), "X".to_owned())]);
        assert!(watch.strangers().is_empty());
        assert!(too_early(2).unwrap().starts_with("GHL refused 2 status reports as too early"));
        assert_eq!(too_early(0), None);
    }

    #[test]
    fn any_other_refusal_is_told_with_ghls_words() {
        let mut watch = Watch::default();
        let told = watch.called(&status_call("M", 422, Some("property x should not exist")), |_| None);
        assert_eq!(
            sentence(told).as_deref(),
            Some("GHL refused the status of a message (422: property x should not exist).")
        );
    }
}
