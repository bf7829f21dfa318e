//! What GHL posts: signed, through the router, into the store; a message on to its end, a do-not-disturb change to what it lifts.
//!
//! An expectation is `{answer, …}`: of a message `stored`, what it `becomes`, or `why` it is kept raw; of a lifecycle event
//! `stored`; of a contact's settings whether the opt-out GHL showed was `lifted`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::lifecycle::StoredEvent;
use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::domain::opt_out::{Scope, Suppression};
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::OutboundSms;
use cast_ghl_provider::store::{Record, Unreadable};
use serde_json::{Value, json};

use super::file::{Findings, Sample, samples};
use crate::support::world::{LOCATION, PHONE, Place, World, json as body_of, word};
use crate::{Cases, cases};

/// The contact whose settings change.
const CONTACT: &str = "CONcorpus00000000001";

pub fn cases() -> Cases<Place> {
    cases![
        real_webhooks_carry_more_and_less_than_their_contract_and_no_strict_reader_stands_in_their_way,
        lifecycle_events_are_read_in_every_shape_and_count_for_our_app_alone,
        a_contacts_do_not_disturb_is_read_in_every_shape,
    ]
}

/// Posts the bytes as GHL does.
async fn posted(w: &World, sample: &Sample) -> WebhookAnswer {
    let answer = w.ghl.post_signed(sample.said.clone(), &w.key).await;
    assert_eq!(answer.status, Some(200), "{}: {}", sample.file, answer.body);
    answer
}

async fn stored<R: Record>(w: &World, answer: &WebhookAnswer) -> R {
    let id = DocId(body_of(answer)["id"].as_str().expect("an id").to_owned());
    w.app.store().get::<R>(&id).await.expect("the store answers").expect("a document").record
}

async fn real_webhooks_carry_more_and_less_than_their_contract_and_no_strict_reader_stands_in_their_way(place: Place) {
    let w = World::connected(place).await;
    let mut answered = Vec::new();
    for sample in samples("ghl/message") {
        let answer = posted(&w, &sample).await;
        answered.push((sample, answer));
    }
    w.send_all().await;
    let mut findings = Findings::default();
    for (sample, answer) in answered {
        let word = word(&answer);
        let rest = match word.as_str() {
            "accepted" => {
                let Message { accepted, progress, .. } = w.message(&answer).await;
                let code = progress.code.map_or_else(String::new, |code| format!(": {}", code.as_str()));
                json!({"stored": accepted.intake, "becomes": format!("{}{code}", progress.state.as_str())})
            }
            "dead_letter" => {
                let kept = stored::<Unreadable>(&w, &answer).await.kept;
                assert_eq!(STANDARD.decode(kept.raw).as_ref(), Ok(&sample.said), "{}: kept as it came", sample.file);
                json!({"why": kept.why})
            }
            _ => json!({}),
        };
        findings.compare(&sample, with(rest, &word));
    }
    findings.end();
    w.end();
}

async fn lifecycle_events_are_read_in_every_shape_and_count_for_our_app_alone(place: Place) {
    let w = World::connected(place).await;
    w.ghl.set_webhook_url(&format!("{}/api/ghl/v1/webhook", w.base));
    let mut findings = Findings::default();
    for sample in samples("ghl/event") {
        let answer = posted(&w, &sample).await;
        let word = word(&answer);
        let rest = match word.as_str() {
            "accepted" => json!({"stored": stored::<StoredEvent>(&w, &answer).await.accepted.event}),
            _ => json!({}),
        };
        findings.compare(&sample, with(rest, &word));
    }
    findings.end();
    w.end();
}

async fn a_contacts_do_not_disturb_is_read_in_every_shape(place: Place) {
    let w = World::connected(place).await;
    let mut findings = Findings::default();
    for sample in samples("ghl/dnd") {
        if !held_back(&w).await {
            opt_out(&w).await;
        }
        let answer = posted(&w, &sample).await;
        findings.compare(&sample, json!({"answer": word(&answer), "lifted": !held_back(&w).await}));
    }
    findings.end();
    w.end();
}

fn with(mut rest: Value, word: &str) -> Value {
    rest["answer"] = json!(word);
    rest
}

async fn held_back(w: &World) -> bool {
    let scope = Scope::Location(LocationId::parse(LOCATION).expect("an id"));
    let id = scope.document(&Phone::parse(PHONE).expect("a phone"));
    let held = w.app.store().get::<Suppression>(&id).await.expect("the store answers");
    held.is_some_and(|stored| stored.record.stands())
}

/// The person is messaged, replies STOP, and the CRM shows it.
async fn opt_out(w: &World) {
    let sms = OutboundSms { contact_id: Some(CONTACT.to_owned()), ..OutboundSms::new(LOCATION, PHONE, "An offer") };
    w.ghl.send_sms(&sms, &w.key).await;
    w.send_all().await;
    let id = cast_ghl_provider::random::hex::<8>();
    let (status, answer) = w.reply(json!({"id": id, "from": PHONE, "message": "STOP"})).await;
    assert_eq!(status, 202, "{answer}");
    for _ in 0..4 {
        w.reply_all().await;
        w.mirror_all().await;
        w.pass(Duration::from_secs(5)).await;
    }
    let shown = w.ghl.contacts().into_iter().find(|contact| contact.id == CONTACT).and_then(|contact| contact.dnd);
    assert_eq!(shown.expect("told of it")["SMS"]["status"], "active");
}
