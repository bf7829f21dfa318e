//! `cast-ghl locations` beside a running `serve`: what it prints, what follows for the next message, its exit codes.

use super::child::LIMIT;
use super::serving::{Serving, Spot};
use crate::support::world::LOCATION;
use crate::{Cases, cases};

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![
        what_is_set_beside_a_running_serve_holds_for_the_next_message,
        a_key_is_read_from_standard_input_and_never_printed,
        a_link_that_was_made_beside_a_running_serve_takes_a_key_once,
        a_message_that_waits_goes_once_its_location_is_approved_from_the_command_line,
    ]
}

async fn what_is_set_beside_a_running_serve_holds_for_the_next_message(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let set =
        serving.command(&["locations", "set", LOCATION, "sender_id=MYBRAND", "receiving_numbers=0917 123 4567"]).await;
    assert_eq!(set.code, Some(0), "{}", set.err);
    assert!(set.out.contains("sender_id          MYBRAND") && set.out.contains("+639171234567"), "{}", set.out);
    let answer = serving.sms("under its own name").await;
    assert_eq!(serving.told(&answer).await, "delivered");
    assert_eq!(serving.cast.taken().pop().and_then(|call| call.sender_id).as_deref(), Some("MYBRAND"));
    let list = serving.command(&["locations", "list"]).await;
    let row = list.out.lines().nth(1).expect("a row");
    assert!(row.starts_with(LOCATION) && row.contains("yes") && row.contains("MYBRAND"), "{}", list.out);
    let stopped = serving.command(&["locations", "set", LOCATION, "enabled=false", "sender_id=", "--json"]).await;
    let view: serde_json::Value = serde_json::from_str(&stopped.out).expect("one JSON document");
    assert_eq!((&view["enabled"], &view["sender_id"]), (&false.into(), &serde_json::Value::Null));
    let answer = serving.sms("not any more").await;
    assert_eq!(serving.told(&answer).await, "failed");
    for (args, code, said) in [
        (vec!["locations", "show", "LOCnobody"], 1, "neither installed nor configured"),
        (vec!["locations", "set", LOCATION, "colour=blue"], 1, "`colour` is not a setting"),
        (vec!["locations", "set", LOCATION, "colour"], 2, "NAME=VALUE"),
    ] {
        let refused = serving.command(&args).await;
        assert_eq!(refused.code, Some(code), "{args:?}");
        assert!(refused.err.contains(said), "{}", refused.err);
    }
}

async fn a_key_is_read_from_standard_input_and_never_printed(spot: Spot) {
    const KEY: &str = "cast_0123456789abcdef0wn1";
    let serving = Serving::connected(&spot, &[]).await;
    let refused = serving.command(&["locations", "set", LOCATION, &format!("cast_api_key={KEY}")]).await;
    assert_eq!(refused.code, Some(1));
    let set = serving.command_fed(&["locations", "set", LOCATION, "cast_api_key=-"], KEY).await;
    assert_eq!(set.code, Some(0), "{}", set.err);
    assert!(set.out.contains("…0wn1"), "{}", set.out);
    for said in [&refused.out, &refused.err, &set.out, &set.err] {
        assert!(!said.contains("cast_0123"), "{said}");
    }
    let keys = serving.command(&["keys", "status", "--json"]).await;
    let keys: serde_json::Value = serde_json::from_str(&keys.out).expect("one JSON document");
    assert_eq!((&keys["documents"], &keys["in_the_clear"]), (&2.into(), &0.into()), "its installation and its key");
}

async fn a_link_that_was_made_beside_a_running_serve_takes_a_key_once(spot: Spot) {
    let serving = Serving::connected(&spot, &[("SHARED_KEY", "off")]).await;
    let made = serving.command(&["locations", "link", LOCATION]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let path = made.out.split_whitespace().find(|word| word.starts_with("/connect/")).expect("a link").to_owned();
    assert_eq!(serving.get(&path).await.status(), 200);
    let enter = || {
        let url = format!("{}{path}", serving.base);
        let form = ("content-type", "application/x-www-form-urlencoded");
        serving.http.post(url).header(form.0, form.1).body("cast_api_key=cast_0123456789abcdef0wn1").send()
    };
    assert_eq!(enter().await.expect("an answer").status(), 200);
    assert_eq!(enter().await.expect("an answer").status(), 410);
    let shown = serving.command(&["locations", "show", LOCATION]).await;
    assert!(shown.out.contains("…0wn1"), "{}", shown.out);
}

async fn a_message_that_waits_goes_once_its_location_is_approved_from_the_command_line(spot: Spot) {
    let serving = Serving::connected(&spot, &[("SHARED_KEY", "approve")]).await;
    let answer = serving.sms("patience").await;
    let held = async {
        let list = ["messages", "list", "--state", "held", "--json"];
        let listed = async || serde_json::from_str::<serde_json::Value>(&serving.command(&list).await.out);
        while listed().await.expect("one JSON document")["messages"][0]["state"] != "held" {}
    };
    tokio::time::timeout(LIMIT, held).await.expect("it is held");
    assert_eq!(serving.cast.taken_count(), 0);
    let set = serving.command(&["locations", "set", LOCATION, "approved=true"]).await;
    assert_eq!(set.code, Some(0), "{}", set.err);
    assert_eq!(serving.told(&answer).await, "delivered");
}
