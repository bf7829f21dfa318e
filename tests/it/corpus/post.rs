//! What Cast's gateway posts: through the router, with the key, into the store.
//!
//! An expectation is `{status, stored}` or `{status, says}`, the sentence that names what is wrong.

use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::inbound::Reply;
use cast_ghl_provider::domain::receipt::KeptReceipt;
use cast_ghl_provider::store::Record;
use serde_json::{Value, json};

use super::file::{Findings, Sample, samples};
use crate::support::world::{INBOUND_KEY, Place, RECEIPTS, World};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![
        a_reply_of_the_gateway_is_read_in_either_spelling_and_every_shape,
        a_receipt_of_the_gateway_is_read_in_either_spelling_and_every_shape,
    ]
}

/// Posts the bytes as the gateway does; the status and the answer.
async fn posted(w: &World, path: &str, sample: &Sample) -> (u16, Value) {
    let answer = w.post(path, &[("x-api-key", INBOUND_KEY)], sample.said.clone()).await;
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn stored<R: Record>(w: &World, answer: &Value) -> R {
    let id = DocId(answer["id"].as_str().expect("an id").to_owned());
    w.app.store().get::<R>(&id).await.expect("the store answers").expect("a document").record
}

async fn a_reply_of_the_gateway_is_read_in_either_spelling_and_every_shape(place: Place) {
    let w = World::connected(place).await;
    let mut findings = Findings::default();
    for sample in samples("cast/reply") {
        let came = match posted(&w, "/api/cast/v1/inbound", &sample).await {
            (202, answer) => {
                let accepted = stored::<Reply>(&w, &answer).await.accepted;
                let unsaid = accepted.sent_at == accepted.at;
                let mut stored = json!(accepted);
                for ours in ["v", "at", "replica", "counter"].into_iter().chain(unsaid.then_some("sent_at")) {
                    stored[ours] = Value::Null;
                }
                json!({"status": 202, "stored": stored})
            }
            (status, answer) => json!({"status": status, "says": answer["error"]["message"]}),
        };
        findings.compare(&sample, came);
    }
    findings.end();
    w.end();
}

async fn a_receipt_of_the_gateway_is_read_in_either_spelling_and_every_shape(place: Place) {
    let w = World::connected(place).await;
    let mut findings = Findings::default();
    for sample in samples("cast/receipt") {
        let came = match posted(&w, RECEIPTS, &sample).await {
            (202, answer) => {
                let KeptReceipt { accepted, progress, .. } = stored(&w, &answer).await;
                let mut stored = json!(progress.receipt);
                stored["gateway_id"] = json!(accepted.gateway_id);
                json!({"status": 202, "stored": stored})
            }
            (status, answer) => json!({"status": status, "says": answer["error"]["message"]}),
        };
        findings.compare(&sample, came);
    }
    findings.end();
    w.end();
}
