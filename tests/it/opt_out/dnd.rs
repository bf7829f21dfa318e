//! The CRM's do-not-disturb setting: told after the reply, told until it has it, and an agent's word that lifts.

use std::time::Duration;

use cast_ghl_provider::domain::dnd::GivenUp;
use cast_ghl_provider::domain::opt_out::LiftedBy;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::GhlFault;

use super::{DAY, OTHER, STRANGERS, arrives, connect, messaged, say, suppression};
use crate::support::world::{LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

const CONTACTS: &str = "/contacts/";
const POST: &str = "/conversations/messages/inbound";

pub fn cases() -> Cases<Place> {
    cases![
        a_stop_is_mirrored_after_its_reply_and_a_start_clears_it,
        every_location_a_stop_covers_is_told,
        a_start_before_the_crm_was_told_of_the_stop_tells_it_nothing,
        the_crm_is_told_until_it_has_it_and_no_longer_than_a_day,
        three_429_in_a_row_let_an_opt_out_rest_a_minute_and_each_is_counted,
        a_scope_that_is_missing_is_given_up_and_still_nothing_is_sent,
        a_deleted_contact_is_looked_up_and_never_made,
        a_contact_dnd_update_without_an_app_id_lifts_only_what_ghl_had_acknowledged,
        a_contact_dnd_update_counts_for_an_installed_location_alone,
        a_repeated_contact_dnd_update_does_not_lift_the_next_stop,
        a_contact_whose_number_was_edited_is_known_by_its_id,
    ]
}

/// Steps whatever is due, for a while.
async fn settle(w: &World) {
    for _ in 0..4 {
        w.reply_all().await;
        w.mirror_all().await;
        w.pass(Duration::from_secs(5)).await;
    }
}

/// What the CRM shows for SMS of the contact with the usual phone.
fn shown(w: &World, location: &str) -> Option<String> {
    let contact = w.ghl.contacts().into_iter().find(|c| c.phone == PHONE && c.location_id == location)?;
    contact.dnd?["SMS"]["status"].as_str().map(str::to_owned)
}

fn contact(w: &World, location: &str) -> String {
    let contact = w.ghl.contacts().into_iter().find(|c| c.phone == PHONE && c.location_id == location);
    contact.expect("a contact").id
}

/// Calls that set a contact's block.
fn told(w: &World) -> usize {
    w.ghl.calls().iter().filter(|call| call.method == "PUT" && call.path.starts_with(CONTACTS)).count()
}

/// An agent clears the block, and GHL says so.
async fn clears(w: &World, location: &str) -> (Vec<u8>, WebhookAnswer) {
    let hook = w.ghl.agent_sets_dnd(&contact(w, location), false);
    let answer = w.ghl.post_signed(hook.clone(), &w.key).await;
    (hook, answer)
}

async fn a_stop_is_mirrored_after_its_reply_and_a_start_clears_it(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_next(POST, GhlFault::RateLimited { retry_after: Some("20".into()) });
    say(&w, "STOP").await;
    w.reply_all().await;
    w.mirror_all().await;
    assert_eq!((w.ghl.inbound().len(), told(&w)), (0, 0), "the reply goes first");
    w.pass(Duration::from_secs(25)).await;
    settle(&w).await;
    assert_eq!((w.ghl.inbound().len(), told(&w), shown(&w, LOCATION).as_deref()), (1, 1, Some("active")));
    let paths: Vec<String> = w.ghl.calls().into_iter().map(|call| call.path).collect();
    let at = |prefix: &str| paths.iter().rposition(|path| path.starts_with(prefix));
    assert!(at(POST) < at(CONTACTS));
    say(&w, "START").await;
    settle(&w).await;
    assert_eq!((told(&w), shown(&w, LOCATION).as_deref()), (2, Some("inactive")));
    settle(&w).await;
    assert_eq!(told(&w), 2, "each is told once");
    w.end();
}

async fn every_location_a_stop_covers_is_told(place: Place) {
    let w = messaged(place).await;
    connect(&w, OTHER, STRANGERS).await;
    assert!(arrives(&w, OTHER).await);
    // Two companies: the reply is nobody's.
    say(&w, "STOP").await;
    settle(&w).await;
    assert!(w.ghl.inbound().is_empty());
    for location in [LOCATION, OTHER] {
        assert_eq!(shown(&w, location).as_deref(), Some("active"), "{location}");
    }
    w.end();
}

async fn a_start_before_the_crm_was_told_of_the_stop_tells_it_nothing(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    w.clock.advance(Duration::from_millis(5));
    say(&w, "START").await;
    settle(&w).await;
    assert_eq!((w.ghl.inbound().len(), told(&w)), (2, 0));
    w.end();
}

async fn the_crm_is_told_until_it_has_it_and_no_longer_than_a_day(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_next(CONTACTS, GhlFault::refusal(502, "bad gateway"));
    w.ghl.fault_next(CONTACTS, GhlFault::Reset { after_applying: false });
    w.ghl.fault_next(CONTACTS, GhlFault::RateLimited { retry_after: Some("7".into()) });
    say(&w, "STOP").await;
    for _ in 0..10 {
        settle(&w).await;
    }
    assert_eq!((told(&w), shown(&w, LOCATION).as_deref()), (4, Some("active")));
    w.ghl.fault_all(CONTACTS, Some(GhlFault::refusal(503, "down")));
    say(&w, "START").await;
    settle(&w).await;
    let tried = told(&w);
    assert!(tried > 4);
    w.jump(DAY).await;
    settle(&w).await;
    w.jump(DAY).await;
    settle(&w).await;
    assert!(told(&w) <= tried + 2, "not for ever");
    let held = suppression(&w, Some(LOCATION)).await.expect("kept");
    assert_eq!((held.mirror.given_up, held.mirror.due_at), (Some(GivenUp::Exhausted), None));
    assert!(arrives(&w, LOCATION).await, "whatever the CRM shows");
    w.end();
}

async fn three_429_in_a_row_let_an_opt_out_rest_a_minute_and_each_is_counted(place: Place) {
    let w = messaged(place).await;
    for _ in 0..3 {
        w.ghl.fault_next(CONTACTS, GhlFault::RateLimited { retry_after: None });
    }
    say(&w, "STOP").await;
    w.reply_all().await;
    // The reply goes first, and is looked for every few seconds.
    w.pass(Duration::from_secs(5)).await;
    w.mirror_all().await;
    for (wait, calls) in [(10, 2), (10, 3), (58, 3), (2, 4)] {
        w.pass(Duration::from_secs(wait)).await;
        w.mirror_all().await;
        assert_eq!(told(&w), calls);
    }
    assert_eq!((shown(&w, LOCATION).as_deref(), w.counted("rate_limited", "dnd")), (Some("active"), 3));
    w.end();
}

async fn a_scope_that_is_missing_is_given_up_and_still_nothing_is_sent(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_all(CONTACTS, Some(GhlFault::refusal(403, "The token is not authorized for this scope.")));
    say(&w, "STOP").await;
    settle(&w).await;
    settle(&w).await;
    assert_eq!(told(&w), 1);
    assert!(!arrives(&w, LOCATION).await);
    let held = suppression(&w, Some(LOCATION)).await.expect("kept");
    assert_eq!(held.mirror.given_up, Some(GivenUp::Scopes));
    w.end();
}

async fn a_deleted_contact_is_looked_up_and_never_made(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    w.reply_all().await;
    let id = contact(&w, LOCATION);
    w.ghl.fault_next(&format!("{CONTACTS}{id}"), GhlFault::refusal(400, "Contact not found"));
    settle(&w).await;
    settle(&w).await;
    assert_eq!((told(&w), shown(&w, LOCATION).as_deref()), (2, Some("active")));
    let looked = w.ghl.calls().iter().filter(|call| call.path == "/contacts/search/duplicate").count();
    let made = w.ghl.calls().iter().filter(|call| call.path == "/contacts/upsert").count();
    assert_eq!((looked, made), (1, 0));
    w.end();
}

async fn a_contact_dnd_update_without_an_app_id_lifts_only_what_ghl_had_acknowledged(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    let (_, answer) = clears(&w, LOCATION).await;
    assert_eq!(word(&answer), "ignored", "GHL has no block of ours yet");
    assert!(!arrives(&w, LOCATION).await);
    settle(&w).await;
    assert_eq!(shown(&w, LOCATION).as_deref(), Some("active"));
    let blocks = w.ghl.agent_sets_dnd(&contact(&w, LOCATION), true);
    assert_eq!(word(&w.ghl.post_signed(blocks, &w.key).await), "ignored");
    assert!(!arrives(&w, LOCATION).await);
    let calls = told(&w);
    let (_, answer) = clears(&w, LOCATION).await;
    assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "accepted"));
    assert!(arrives(&w, LOCATION).await);
    let held = suppression(&w, Some(LOCATION)).await.expect("kept");
    assert_eq!(held.lifted.map(|lifted| lifted.by), Some(LiftedBy::Agent));
    settle(&w).await;
    assert_eq!(told(&w), calls, "the CRM knows");
    w.end();
}

async fn a_contact_dnd_update_counts_for_an_installed_location_alone(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    settle(&w).await;
    let hook = w.ghl.agent_sets_dnd(&contact(&w, LOCATION), false);
    let mut elsewhere: serde_json::Value = serde_json::from_slice(&hook).unwrap();
    elsewhere["locationId"] = OTHER.into();
    let answer = w.ghl.post_signed(elsewhere.to_string().into_bytes(), &w.key).await;
    assert_eq!(word(&answer), "ignored");
    let forged = w.ghl.post_webhook(hook, &[("x-ghl-signature", "AAAA")]).await;
    assert_eq!(forged.status, Some(401));
    assert!(!arrives(&w, LOCATION).await);
    w.end();
}

async fn a_repeated_contact_dnd_update_does_not_lift_the_next_stop(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    settle(&w).await;
    let (hook, answer) = clears(&w, LOCATION).await;
    assert_eq!(word(&answer), "accepted");
    assert_eq!(word(&w.ghl.post_signed(hook.clone(), &w.key).await), "duplicate");
    w.pass(Duration::from_secs(100)).await;
    say(&w, "STOP").await;
    settle(&w).await;
    assert_eq!(shown(&w, LOCATION).as_deref(), Some("active"));
    assert_eq!(word(&w.ghl.post_signed(hook, &w.key).await), "duplicate");
    assert!(!arrives(&w, LOCATION).await);
    w.end();
}

async fn a_contact_whose_number_was_edited_is_known_by_its_id(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    settle(&w).await;
    let hook = w.ghl.agent_sets_dnd(&contact(&w, LOCATION), false);
    let mut edited: serde_json::Value = serde_json::from_slice(&hook).unwrap();
    edited["phone"] = "+639190000000".into();
    let answer = w.ghl.post_signed(edited.to_string().into_bytes(), &w.key).await;
    assert_eq!(word(&answer), "accepted");
    assert!(arrives(&w, LOCATION).await);
    w.end();
}
