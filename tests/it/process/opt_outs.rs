//! `cast-ghl opt-outs` and `cast-ghl inbound` beside a running `serve`: what they print, what they change, their exit codes.

use cast_ghl_provider::fake::ghl::FakeGhl;
use serde_json::{Value, json};

use super::child::LIMIT;
use super::serving::{Serving, Spot};
use crate::support::world::{INBOUND_KEY, LOCATION};
use crate::{Cases, cases};

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![an_opt_out_is_listed_masked_and_lifted_and_an_unrouted_reply_routed_beside_a_running_serve]
}

async fn say(serving: &Serving, from: &str, words: &str) {
    let url = format!("{}/api/cast/v1/inbound", serving.base);
    let body = json!({"from": from, "message": words});
    let answer = serving.http.post(url).header("x-api-key", INBOUND_KEY).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
}

async fn an_opt_out_is_listed_masked_and_lifted_and_an_unrouted_reply_routed_beside_a_running_serve(spot: Spot) {
    let serving = Serving::connected(&spot, &[("INBOUND_API_KEY", INBOUND_KEY)]).await;
    serving.sms("hi").await;
    serving.taken(1).await;
    say(&serving, "09171234567", "STOP").await;
    let refused = serving.sms("more").await;
    assert_eq!(serving.told(&refused).await, "failed");

    let table = serving.command(&["opt-outs", "list"]).await;
    assert_eq!(table.code, Some(0), "{}", table.err);
    assert!(table.out.contains("+63917*****67") && table.out.contains(LOCATION), "{}", table.out);
    let listed = serving.command(&["opt-outs", "list", "--json", "--numbers", "--phone", "0917 123 4567"]).await;
    let listed: Value = serde_json::from_str(&listed.out).expect("one JSON document");
    assert_eq!(listed["opt_outs"][0]["phone"], "+639171234567");
    let lifted = serving.command(&["opt-outs", "lift", "09171234567", "--location", LOCATION]).await;
    assert_eq!(lifted.code, Some(0), "{}", lifted.err);
    assert!(lifted.out.contains("+63917*****67 may be messaged again"), "{}", lifted.out);
    let again = serving.command(&["opt-outs", "lift", "09171234567"]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("nothing holds messages") && !again.err.contains("1234567"), "{}", again.err);
    assert_eq!(serving.command(&["opt-outs", "lift", "12345"]).await.code, Some(2));
    serving.sms("welcome back").await;
    assert_eq!(serving.taken(2).await, ["hi", "welcome back"]);

    say(&serving, "09181234567", "Who is this?").await;
    let listed = async {
        loop {
            let list = serving.command(&["inbound", "list", "--json"]).await;
            let list: Value = serde_json::from_str(&list.out).expect("one JSON document");
            if let Some(id) = list["messages"][0]["id"].as_str() {
                return id.to_owned();
            }
        }
    };
    let id = tokio::time::timeout(LIMIT, listed).await.expect("it is listed");
    let nowhere = serving.command(&["inbound", "route", &id, "LOCnowhere0000000001"]).await;
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.out);
    let routed = serving.command(&["inbound", "route", &id, LOCATION]).await;
    assert_eq!((routed.code, routed.out), (Some(0), format!("{id}: on its way to {LOCATION}")));
    let asked = |ghl: &FakeGhl| ghl.inbound().iter().any(|posted| posted.message.as_deref() == Some("Who is this?"));
    tokio::time::timeout(LIMIT, serving.ghl.until(asked)).await.expect("it is posted");
    assert_eq!(serving.command(&["inbound", "list"]).await.out, "None.");
    serving.end();
}
