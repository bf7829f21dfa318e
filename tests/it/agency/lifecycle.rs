//! Lifecycle hooks: early, repeated, late, of other apps, in doubt; an uninstall, an agency's end, and coming back.

use std::time::Duration;

use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::installation::{GrantKind, Installation};
use cast_ghl_provider::domain::lifecycle::{EventState, StoredEvent};
use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::{GhlFault, GrantHealth, Install, LifecycleHook};
use cast_ghl_provider::store::{Collection, Query};
use futures_util::future::join_all;

use super::{MINT, OTHER_COMPANY, agency, borrowed, busiest_window, calls, connected, locations, works};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World, json, word};
use crate::{Cases, cases};

const TOKEN: &str = "/oauth/token";
const MINUTE: Duration = Duration::from_secs(60);

pub fn cases() -> Cases<Place> {
    cases![
        five_hundred_installs_before_the_callback_are_answered_at_once_and_connected_after_it,
        an_install_in_a_connected_agency_connects_the_location,
        an_event_told_again_is_a_duplicate_even_days_later_and_after_it_was_stripped,
        a_hook_first_seen_a_month_after_it_was_sent_is_applied_and_not_rejected_for_its_age,
        an_event_of_another_app_or_of_none_is_ignored_and_stored_nowhere,
        an_uninstall_purges_the_token_stops_what_is_queued_and_a_new_install_is_told_of_it,
        an_uninstall_that_arrives_after_the_new_install_does_no_harm,
        an_uninstall_in_doubt_is_believed_only_once_a_refresh_was_refused,
        an_uninstall_of_a_sub_account_without_a_refresh_token_is_checked_by_minting,
        an_uninstall_before_its_install_event_ends_it,
        the_end_of_an_agency_reaches_all_its_locations_with_a_restart_in_the_middle_and_no_other_agencys,
        a_location_that_came_back_is_spared_by_the_end_of_its_agency,
        an_update_keeps_the_version_and_has_the_set_up_checked_again,
    ]
}

async fn tell(w: &World, hook: &LifecycleHook) -> WebhookAnswer {
    let answer = w.ghl.tell(hook, &w.key).await;
    assert_eq!(answer.status, Some(200), "{}", answer.body);
    answer
}

/// Tells it and has it applied; what became of the event.
async fn applied(w: &World, hook: &LifecycleHook) -> EventState {
    let answer = tell(w, hook).await;
    assert_eq!(word(&answer), "accepted");
    w.work_all().await;
    let id = DocId(json(&answer)["id"].as_str().expect("an id").to_owned());
    w.app.store().get::<StoredEvent>(&id).await.unwrap().expect("an event").record.progress.state
}

fn uninstall(w: &World) -> LifecycleHook {
    w.ghl.lifecycle_hook("UNINSTALL", Some(LOCATION), Some(COMPANY))
}

async fn five_hundred_installs_before_the_callback_are_answered_at_once_and_connected_after_it(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(500);
    let code = w.ghl.marketplace_code(Install::company(COMPANY, &borrowed(&ids)));
    let hooks: Vec<_> = ids.iter().map(|id| w.ghl.lifecycle_hook("INSTALL", Some(id), Some(COMPANY))).collect();
    for together in hooks.chunks(100) {
        let answers = join_all(together.iter().map(|hook| tell(&w, hook))).await;
        assert!(answers.iter().all(|answer| word(answer) == "accepted"));
    }
    w.work_all().await;
    assert_eq!(w.ghl.calls().len(), 0, "there is no token to ask with");
    let w = w.restart().await;
    assert_eq!(w.callback(&code).await.status(), 200);
    w.work_for(Duration::from_secs(75)).await;
    assert_eq!(connected(&w, &ids).await, 500);
    let mints = calls(&w, MINT);
    assert_eq!(mints.len(), 500, "each once, though event and list both named it");
    assert!(mints.iter().all(|(_, status)| *status == Some(201)));
    assert!(busiest_window(&w, COMPANY) <= 80);
    works(&w, &ids[499]).await;
    w.end();
}

async fn an_install_in_a_connected_agency_connects_the_location(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[]).await;
    w.work_all().await;
    let _ = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    let hook = w.ghl.lifecycle_hook("INSTALL", Some(LOCATION), Some(COMPANY));
    let hook = LifecycleHook { version_id: Some("v7".into()), ..hook };
    assert_eq!(applied(&w, &hook).await, EventState::Applied);
    works(&w, LOCATION).await;
    assert_eq!(w.installation(LOCATION).await.and_then(|i| i.version_id).as_deref(), Some("v7"));
    // The same happening told by another hook changes nothing: it has its token.
    let again = LifecycleHook { webhook_id: Some("another".into()), ..hook };
    assert_eq!(applied(&w, &again).await, EventState::Nothing);
    assert_eq!(calls(&w, MINT).len(), 1);
    w.end();
}

async fn an_event_told_again_is_a_duplicate_even_days_later_and_after_it_was_stripped(place: Place) {
    let w = World::connected(place).await;
    w.pass(16 * MINUTE).await;
    let by_id = uninstall(&w);
    let by_bytes = LifecycleHook { webhook_id: None, kind: "UPDATE".into(), ..uninstall(&w) };
    for hook in [&by_id, &by_bytes] {
        let first = tell(&w, hook).await;
        let id = json(&first)["id"].as_str().expect("an id").to_owned();
        assert!(id.starts_with("event:"), "{id}");
        assert_eq!(word(&first), "accepted");
        let again = tell(&w, hook).await;
        assert_eq!((word(&again), json(&again)["id"].as_str()), ("duplicate".into(), Some(id.as_str())));
    }
    w.work_all().await;
    assert!(!w.installation(LOCATION).await.expect("known").installed());
    w.install(LOCATION).await;
    // ⚠ Never rejected by age: the same bytes with the same time, weeks later.
    w.pass(Duration::from_secs(31 * 86_400)).await;
    while w.app.purger().step().await.unwrap() > 0 {}
    for hook in [&by_id, &by_bytes] {
        assert_eq!(word(&tell(&w, hook).await), "duplicate");
    }
    w.work_all().await;
    assert!(w.installation(LOCATION).await.expect("known").installed());
    w.end();
}

async fn a_hook_first_seen_a_month_after_it_was_sent_is_applied_and_not_rejected_for_its_age(place: Place) {
    let w = World::connected(place).await;
    w.pass(16 * MINUTE).await;
    let hook = w.ghl.lifecycle_hook("UPDATE", Some(LOCATION), Some(COMPANY));
    let hook = LifecycleHook { version_id: Some("v9".into()), ..hook };
    w.pass(Duration::from_secs(30 * 86_400)).await;
    assert_eq!(applied(&w, &hook).await, EventState::Applied);
    assert_eq!(w.installation(LOCATION).await.and_then(|i| i.version_id).as_deref(), Some("v9"));
    w.end();
}

async fn an_event_of_another_app_or_of_none_is_ignored_and_stored_nowhere(place: Place) {
    let w = World::connected(place).await;
    w.pass(16 * MINUTE).await;
    for app_id in [Some("64f0c0ffee64f0c0ffee0002".to_owned()), Some(String::new()), None] {
        for kind in ["INSTALL", "UNINSTALL", "UPDATE"] {
            let hook = w.ghl.lifecycle_hook(kind, Some(LOCATION), Some(COMPANY));
            let answer = tell(&w, &LifecycleHook { app_id: app_id.clone(), ..hook }).await;
            assert_eq!(json(&answer), serde_json::json!({"status": "ignored"}), "{kind} of {app_id:?}");
        }
    }
    let plan = w.ghl.lifecycle_hook("PLAN_CHANGE", Some(LOCATION), Some(COMPANY));
    assert_eq!(word(&tell(&w, &plan).await), "ignored");
    let events = w.app.store().find::<StoredEvent>(Query::Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(events.len(), 0, "{}", Collection::Events.name());
    assert_eq!(w.app.agency().step().await.unwrap(), 0);
    works(&w, LOCATION).await;
    w.end();
}

async fn an_uninstall_purges_the_token_stops_what_is_queued_and_a_new_install_is_told_of_it(place: Place) {
    let w = World::connected(place).await;
    let sent = w.sms_to(LOCATION, "09171234501", "sent before").await;
    w.send_all().await;
    w.pass(16 * MINUTE).await;
    let queued = w.sms_to(LOCATION, "09171234502", "queued").await;
    w.ghl.uninstall(LOCATION);
    assert_eq!(applied(&w, &uninstall(&w)).await, EventState::Applied);
    let gone = w.installation(LOCATION).await.expect("known");
    assert_eq!((gone.grant, gone.refresh_at), (None, None), "no token is kept");
    let late = w.sms_to(LOCATION, "09171234503", "after").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1, "nothing goes out any more");
    for answer in [&queued, &late] {
        let progress = w.message(answer).await.progress;
        assert_eq!((progress.state, progress.code), (State::Rejected, Some(FailureCode::NotInstalled)));
    }
    w.report_all().await;
    assert_eq!(w.told(&sent), None, "there is no token to tell with");
    w.install(LOCATION).await;
    w.report_all().await;
    assert_eq!(w.told(&sent), Some(("delivered".into(), None)));
    for answer in [&queued, &late] {
        assert_eq!(w.told(answer), Some(("failed".into(), Some("not_installed".into()))));
    }
    works(&w, LOCATION).await;
    w.end();
}

async fn an_uninstall_that_arrives_after_the_new_install_does_no_harm(place: Place) {
    let w = World::connected(place).await;
    w.pass(20 * MINUTE).await;
    let old = uninstall(&w);
    w.ghl.uninstall(LOCATION);
    w.pass(16 * MINUTE).await;
    w.install(LOCATION).await;
    let refreshed = w.ghl.refreshes(LOCATION).rotated;
    // Older than our installation: in doubt, and GHL renews the grant.
    assert_eq!(applied(&w, &old).await, EventState::InDoubt);
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, refreshed + 1);
    let timeless = LifecycleHook { timestamp: None, ..uninstall(&w) };
    assert_eq!(applied(&w, &timeless).await, EventState::InDoubt);
    let spared = w.installation(LOCATION).await.expect("known");
    assert!(spared.installed() && spared.doubt.is_none());
    // Older than the last event of GHL's own clock: no question to ask.
    let install = w.ghl.lifecycle_hook("INSTALL", Some(LOCATION), Some(COMPANY));
    assert_eq!(applied(&w, &install).await, EventState::Applied);
    let older = LifecycleHook { webhook_id: Some("retried-by-hand".into()), ..old };
    assert_eq!(applied(&w, &older).await, EventState::Older);
    works(&w, LOCATION).await;
    w.end();
}

async fn an_uninstall_in_doubt_is_believed_only_once_a_refresh_was_refused(place: Place) {
    let w = World::connected(place).await;
    let timeless = LifecycleHook { timestamp: None, ..uninstall(&w) };
    w.ghl.fault_all(TOKEN, Some(GhlFault::refusal(503, "down")));
    assert_eq!(applied(&w, &timeless).await, EventState::InDoubt);
    w.work_for(2 * MINUTE).await;
    let doubted = w.installation(LOCATION).await.expect("known");
    assert!(doubted.installed() && doubted.doubt.is_some(), "no answer is no refusal");
    let w = w.restart().await;
    w.ghl.fault_all(TOKEN, None);
    w.ghl.set_grant_health(LOCATION, GrantHealth::NotActive);
    w.pass(20 * MINUTE).await;
    w.work_all().await;
    assert!(w.installation(LOCATION).await.expect("known").installed(), "a pause is none either");
    w.ghl.set_grant_health(LOCATION, GrantHealth::Alive);
    w.ghl.uninstall(LOCATION);
    w.pass(20 * MINUTE).await;
    w.work_for(2 * MINUTE).await;
    let gone = w.installation(LOCATION).await.expect("known");
    assert_eq!((gone.grant, gone.doubt, gone.uninstalled_at.is_some()), (None, None, true));
    w.end();
}

async fn an_uninstall_of_a_sub_account_without_a_refresh_token_is_checked_by_minting(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_mint_shape(cast_ghl_provider::fake::ghl::MintShape::Bare);
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    assert_eq!(applied(&w, &uninstall(&w)).await, EventState::InDoubt, "close to our installation");
    works(&w, LOCATION).await;
    w.ghl.uninstall(LOCATION);
    let timeless = LifecycleHook { timestamp: None, ..uninstall(&w) };
    assert_eq!(applied(&w, &timeless).await, EventState::InDoubt);
    assert_eq!(w.installation(LOCATION).await.expect("known").grant, None);
    w.end();
}

async fn an_uninstall_before_its_install_event_ends_it(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[]).await;
    w.work_all().await;
    let install = w.ghl.lifecycle_hook("INSTALL", Some(LOCATION), Some(COMPANY));
    w.pass(MINUTE).await;
    assert_eq!(applied(&w, &uninstall(&w)).await, EventState::Applied);
    assert_eq!(applied(&w, &install).await, EventState::Older);
    assert_eq!(calls(&w, MINT).len(), 0);
    w.end();
}

async fn the_end_of_an_agency_reaches_all_its_locations_with_a_restart_in_the_middle_and_no_other_agencys(
    place: Place,
) {
    let w = World::start(place, &[]).await;
    let ids = locations(300);
    w.install_agency(COMPANY, &borrowed(&ids)).await;
    w.install_agency(OTHER_COMPANY, &[LOCATION]).await;
    w.work_for(Duration::from_secs(45)).await;
    assert_eq!(connected(&w, &ids).await, 300);
    w.pass(16 * MINUTE).await;
    let queued = w.sms_to(&ids[299], PHONE, "queued").await;
    w.ghl.uninstall(COMPANY);
    tell(&w, &w.ghl.lifecycle_hook("UNINSTALL", None, Some(COMPANY))).await;
    // One step applies the event and looks at the first 256 of them.
    w.app.agency().step().await.unwrap();
    let rest = connected(&w, &ids).await;
    assert!((1..300).contains(&rest), "{rest} to go");
    let w = w.restart().await;
    w.work_all().await;
    assert_eq!(connected(&w, &ids).await, 0);
    let company = agency(&w, COMPANY).await.expect("known");
    assert_eq!((company.grant, company.cascade, company.listing), (None, None, None));
    w.send_all().await;
    assert_eq!(w.message(&queued).await.progress.code, Some(FailureCode::NotInstalled));
    works(&w, LOCATION).await;
    // And all of them come back.
    w.install_agency(COMPANY, &borrowed(&ids)).await;
    w.work_for(Duration::from_secs(45)).await;
    assert_eq!(connected(&w, &ids).await, 300);
    w.end();
}

async fn a_location_that_came_back_is_spared_by_the_end_of_its_agency(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(2);
    w.install_agency(COMPANY, &borrowed(&ids)).await;
    w.work_all().await;
    w.pass(16 * MINUTE).await;
    w.ghl.uninstall(COMPANY);
    let gone = w.ghl.lifecycle_hook("UNINSTALL", None, Some(COMPANY));
    w.pass(16 * MINUTE).await;
    // Told late: meanwhile one of them was connected by itself.
    w.install(&ids[1]).await;
    assert_eq!(applied(&w, &gone).await, EventState::Applied);
    assert_eq!(connected(&w, &ids).await, 1);
    works(&w, &ids[1]).await;
    assert!(!agency(&w, COMPANY).await.expect("known").installed());
    w.end();
}

async fn an_update_keeps_the_version_and_has_the_set_up_checked_again(place: Place) {
    let w = World::connected(place).await;
    let before = w.installation(LOCATION).await.expect("known");
    let hook = w.ghl.lifecycle_hook("UPDATE", Some(LOCATION), Some(COMPANY));
    assert_eq!(applied(&w, &LifecycleHook { version_id: Some("v2".into()), ..hook }).await, EventState::Applied);
    let after = w.installation(LOCATION).await.expect("known");
    assert_eq!((after.kind, after.version_id.as_deref()), (GrantKind::Location, Some("v2")));
    let sent_at = after.last_event_at;
    assert!(after.recheck.as_ref().is_some_and(|recheck| recheck.last.is_some()), "the set-up was checked again");
    assert_eq!(Installation { version_id: None, last_event_at: None, recheck: None, ..after }, before);
    assert!(sent_at.is_some());
    w.end();
}
