//! The doctor and the set-up check the leader does by itself: what each finds through the fake CRM, and that looking changes nothing.

use std::time::Duration;

use cast_ghl_provider::domain::checkup::{Check, Row, Verdict};
use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::installation::{Health, Installation};
use cast_ghl_provider::domain::recheck::LastCheck;
use cast_ghl_provider::fake::ghl::{ChannelList, ChannelSpelling, GhlFault, LifecycleHook, SCOPES, TokenForm};
use cast_ghl_provider::operator::{InstallsRequest, Report, installs};

use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

const OTHER_COMPANY: &str = "COMother000000000001";
const OTHER: &str = "LOCother000000000001";
const CHANNELS: &str = "/locations/LOCmain0000000000001/conversationChannels/SMS";

pub fn cases() -> Cases<Place> {
    cases![
        a_connected_sub_account_that_sends_is_well,
        our_provider_is_found_under_both_spellings_of_the_key_and_another_default_is_bad,
        a_list_in_which_nothing_is_ours_is_unknown_and_not_not_default,
        a_scope_the_app_was_published_without_is_named_and_what_asks_by_it_is_unknown,
        the_scopes_of_a_token_that_is_no_jwt_are_those_of_its_grant,
        an_expired_token_waits_for_the_leader_and_looking_neither_renews_nor_asks,
        a_token_ghl_refuses_is_bad_and_looking_does_not_renew_it,
        a_token_no_key_opens_is_named_by_its_key,
        every_way_to_stand_has_its_row_and_the_word_of_the_list,
        webhooks_of_a_sub_account_nobody_connected_show,
        a_status_refused_by_a_403_with_another_text_shows_as_a_missing_scope,
        links_in_texts_are_counted_and_no_text_or_number_is_shown,
        a_default_location_is_warned_of_once_two_companies_are_connected,
        a_wrong_clock_shows_against_ghls,
        without_an_answer_of_ghl_the_rest_is_told_all_the_same,
        many_installations_are_looked_at_page_by_page,
        an_update_has_the_set_up_checked_by_the_leader_even_after_a_restart,
        the_leaders_check_waits_out_a_429_like_every_call_of_its_location,
        the_leaders_check_takes_its_place_behind_other_calls_of_its_location,
        the_leaders_check_of_an_agency_asks_nothing_and_ends,
    ]
}

async fn of_main(w: &World) -> Report {
    w.examine(Some(LOCATION)).await
}

fn row(report: &Report, check: Check) -> Row {
    let rows = report.bridge.iter().chain(report.installations.iter().flat_map(|examined| &examined.rows));
    let found = rows.into_iter().find(|row| row.check == check);
    found.unwrap_or_else(|| panic!("no row {} in {report:?}", check.as_str())).clone()
}

fn verdict(report: &Report, check: Check) -> Verdict {
    row(report, check).verdict
}

fn asked(w: &World) -> usize {
    w.ghl.calls().iter().filter(|call| call.path == CHANNELS).count()
}

async fn last_check(w: &World) -> Option<LastCheck> {
    w.installation(LOCATION).await.and_then(|i| i.recheck).and_then(|recheck| recheck.last)
}

async fn a_connected_sub_account_that_sends_is_well(place: Place) {
    let w = World::connected(place).await;
    let fresh = of_main(&w).await;
    assert_eq!(fresh.verdict, Verdict::Warn);
    assert_eq!((verdict(&fresh, Check::Webhook), verdict(&fresh, Check::Sent)), (Verdict::Warn, Verdict::Unknown));
    w.sms("Kumusta").await;
    w.send_all().await;
    w.pass(Duration::from_secs(300)).await;
    let report = of_main(&w).await;
    let of_location = &report.installations[0];
    assert!(of_location.rows.iter().all(|row| row.verdict == Verdict::Ok), "{report:?}");
    assert_eq!(row(&report, Check::Webhook).means, "the last message came 5m ago");
    assert!(row(&report, Check::Scopes).means.ends_with("by the token itself"));
    assert_eq!((verdict(&report, Check::Clock), verdict(&report, Check::ProviderId)), (Verdict::Ok, Verdict::Ok));
    let disk = if matches!(w.place(), Place::Embedded(_)) { Verdict::Ok } else { Verdict::Unknown };
    assert_eq!((verdict(&report, Check::Disk), report.verdict), (disk, disk));
    assert_eq!(asked(&w), 2, "one call a look");
    w.end();
}

async fn our_provider_is_found_under_both_spellings_of_the_key_and_another_default_is_bad(place: Place) {
    let w = World::connected(place).await;
    for spelling in [ChannelSpelling::Upper, ChannelSpelling::Lower] {
        w.ghl.set_channel_spelling(spelling);
        assert_eq!(verdict(&of_main(&w).await, Check::Provider), Verdict::Ok, "{spelling:?}");
    }
    w.ghl.choose_other_provider(LOCATION);
    let report = of_main(&w).await;
    let provider = row(&report, Check::Provider);
    assert_eq!((provider.verdict, report.verdict), (Verdict::Bad, Verdict::Bad));
    assert!(provider.means.contains("“Phone System”"), "{provider:?}");
    assert!(provider.next.is_some_and(|next| next.contains("SMS Provider → Cast SMS → Save")));
    w.end();
}

async fn a_list_in_which_nothing_is_ours_is_unknown_and_not_not_default(place: Place) {
    let w = World::connected(place).await;
    w.ghl.set_channel_list(ChannelList::OthersAlone);
    assert_eq!(verdict(&of_main(&w).await, Check::Provider), Verdict::Unknown);
    // Without an id to go by, our name is enough.
    w.ghl.set_channel_list(ChannelList::All);
    let unset = w.examine_with(Some(LOCATION), &[("GHL_CONVERSATION_PROVIDER_ID", "")], &w.clock).await;
    assert_eq!((verdict(&unset, Check::Provider), verdict(&unset, Check::ProviderId)), (Verdict::Ok, Verdict::Warn));
    w.end();
}

async fn a_scope_the_app_was_published_without_is_named_and_what_asks_by_it_is_unknown(place: Place) {
    let w = World::start(place, &[]).await;
    let fewer: Vec<&str> = SCOPES.into_iter().filter(|name| *name != "locations.readonly").collect();
    w.ghl.set_scopes(&fewer);
    w.install(LOCATION).await;
    let report = of_main(&w).await;
    let scopes = row(&report, Check::Scopes);
    assert_eq!(scopes.verdict, Verdict::Warn);
    assert!(scopes.means.contains("locations.readonly"), "{scopes:?}");
    // ⚠ This 403 is no "not yet": the token is fine.
    let provider = row(&report, Check::Provider);
    assert_eq!((provider.verdict, verdict(&report, Check::Token)), (Verdict::Unknown, Verdict::Ok));
    assert!(provider.means.contains("403"), "{provider:?}");
    let asks_fewer = w.examine_with(None, &[("GHL_SCOPES", &fewer.join(" "))], &w.clock).await;
    assert_eq!(verdict(&asks_fewer, Check::AskedScopes), Verdict::Warn);
    w.ghl.set_scopes(&["contacts.readonly"]);
    w.install(LOCATION).await;
    assert_eq!(verdict(&of_main(&w).await, Check::Scopes), Verdict::Bad, "without the webhook nothing works");
    w.end();
}

async fn the_scopes_of_a_token_that_is_no_jwt_are_those_of_its_grant(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_token_form(TokenForm::Opaque);
    w.install(LOCATION).await;
    let scopes = row(&of_main(&w).await, Check::Scopes);
    assert_eq!(scopes.verdict, Verdict::Ok);
    assert!(scopes.means.contains("when it gave the token"), "{scopes:?}");
    w.end();
}

async fn an_expired_token_waits_for_the_leader_and_looking_neither_renews_nor_asks(place: Place) {
    let w = World::connected(place).await;
    w.pass(Duration::from_secs(25 * 3600)).await;
    let before = w.installation(LOCATION).await;
    let report = of_main(&w).await;
    let token = row(&report, Check::Token);
    assert_eq!(token.verdict, Verdict::Warn);
    assert!(token.means.contains("waiting for the leader"), "{token:?}");
    assert_eq!(
        (verdict(&report, Check::Provider), verdict(&report, Check::Clock)),
        (Verdict::Unknown, Verdict::Unknown)
    );
    assert_eq!((asked(&w), w.ghl.refreshes(LOCATION).rotated), (0, 0));
    assert_eq!(w.installation(LOCATION).await, before);
    w.end();
}

async fn a_token_ghl_refuses_is_bad_and_looking_does_not_renew_it(place: Place) {
    let w = World::connected(place).await;
    w.ghl.expire_access_tokens(LOCATION);
    let report = of_main(&w).await;
    assert_eq!((verdict(&report, Check::Token), verdict(&report, Check::Provider)), (Verdict::Bad, Verdict::Unknown));
    assert_eq!(verdict(&report, Check::Clock), Verdict::Ok, "a refusal tells the time, too");
    assert_eq!((asked(&w), w.ghl.refreshes(LOCATION).rotated), (1, 0));
    w.end();
}

async fn a_token_no_key_opens_is_named_by_its_key(place: Place) {
    let key = |kid: &str, letter: &str| format!("{kid}:{}=", letter.repeat(43));
    let w = World::start(place, &[("TOKEN_ENCRYPTION_KEYS", &key("old", "A"))]).await;
    w.install(LOCATION).await;
    let other = w.examine_with(Some(LOCATION), &[("TOKEN_ENCRYPTION_KEYS", &key("new", "E"))], &w.clock).await;
    let token = row(&other, Check::Token);
    assert_eq!(token.verdict, Verdict::Bad);
    assert!(token.means.contains("`old`") && token.next.is_some_and(|next| next.contains("keys status")));
    assert_eq!(verdict(&other, Check::Scopes), Verdict::Ok, "the grant says, though the token can't");
    assert_eq!(asked(&w), 0);
    w.end();
}

async fn every_way_to_stand_has_its_row_and_the_word_of_the_list(place: Place) {
    let w = World::start(place, &[]).await;
    let ids: Vec<String> = (0..4).map(|n| format!("LOCagency{n:011}")).collect();
    w.install_agency(COMPANY, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    w.work_all().await;
    for (id, health) in [(&ids[1], Health::Suspended), (&ids[2], Health::Reauthorize)] {
        let id = DocId::location(&LocationId::parse(id).unwrap());
        w.app.store().update::<Installation>(&id, |i| Some(Installation { health, ..i.clone() })).await.unwrap();
    }
    w.pass(Duration::from_secs(16 * 60)).await;
    w.ghl.tell(&w.ghl.lifecycle_hook("UNINSTALL", Some(&ids[3]), Some(COMPANY)), &w.key).await;
    w.ghl.tell(&w.ghl.lifecycle_hook("INSTALL", Some(OTHER), Some(OTHER_COMPANY)), &w.key).await;
    w.work_all().await;
    let report = w.examine(None).await;
    let all = InstallsRequest { limit: 50, ..InstallsRequest::default() };
    let list = installs(w.app.store(), &all).await.unwrap();
    assert_eq!(report.installations.len(), list.installations.len());
    for (examined, listed) in report.installations.iter().zip(&list.installations) {
        assert_eq!(examined.id, listed.id);
        let words = &examined.rows[0].means;
        assert!(words.starts_with(&format!("{}: ", listed.state.as_str())), "{words}");
    }
    let first = |at: usize| report.installations[at].rows[0].verdict;
    use Verdict::{Bad, Ok, Warn};
    assert_eq!([0, 1, 2, 3, 4, 5].map(first), [Ok, Ok, Warn, Bad, Warn, Warn]);
    let checks = |at: usize| report.installations[at].rows.iter().map(|row| row.check).collect::<Vec<_>>();
    assert_eq!(checks(0), [Check::Connection, Check::Token, Check::Scopes, Check::SubAccounts], "the agency");
    assert!(!checks(3).contains(&Check::Token), "a dead grant's token is not looked at");
    assert!(!checks(4).contains(&Check::Provider), "nobody can be asked about it");
    w.end();
}

async fn webhooks_of_a_sub_account_nobody_connected_show(place: Place) {
    let w = World::start(place, &[]).await;
    assert_eq!(word(&w.sms("hello").await), "accepted");
    let report = of_main(&w).await;
    assert_eq!((verdict(&report, Check::Connection), verdict(&report, Check::Webhook)), (Verdict::Bad, Verdict::Ok));
    assert_eq!(w.ghl.calls().len(), 0);
    w.end();
}

async fn a_status_refused_by_a_403_with_another_text_shows_as_a_missing_scope(place: Place) {
    let w = World::connected(place).await;
    let statuses = |report: &Report| report.installations[0].rows.iter().any(|row| row.check == Check::Statuses);
    w.sms("told").await;
    w.send_all().await;
    w.report_all().await;
    assert!(!statuses(&of_main(&w).await));
    w.sms("not told").await;
    w.send_all().await;
    w.ghl.fault_next("/conversations/messages", GhlFault::refusal(403, "The token is not authorized for this scope."));
    w.report_all().await;
    let found = row(&of_main(&w).await, Check::Statuses);
    assert!(found.verdict == Verdict::Warn && found.means.contains("status of 1 for want of a scope"), "{found:?}");
    w.end();
}

async fn links_in_texts_are_counted_and_no_text_or_number_is_shown(place: Place) {
    let w = World::connected(place).await;
    for text in ["Buy at https://secret.example/now", "Kumusta", "www.secret.example"] {
        w.sms(text).await;
    }
    w.send_all().await;
    let report = of_main(&w).await;
    let links = row(&report, Check::Links);
    assert_eq!(links.verdict, Verdict::Warn);
    assert!(links.means.starts_with("2 of the last 3 messages"), "{links:?}");
    let shown = serde_json::to_string(&report).unwrap();
    for hidden in ["secret.example", "Kumusta", &PHONE[1..], "fake-access", "eyJ"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    w.end();
}

async fn a_default_location_is_warned_of_once_two_companies_are_connected(place: Place) {
    let w = World::connected(place).await;
    let default = [("DEFAULT_LOCATION_ID", LOCATION)];
    let one = w.examine_with(None, &default, &w.clock).await;
    assert_eq!(verdict(&one, Check::DefaultLocation), Verdict::Ok);
    let nobodys = w.examine_with(None, &[("DEFAULT_LOCATION_ID", OTHER)], &w.clock).await;
    assert!(row(&nobodys, Check::DefaultLocation).means.contains("not connected"));
    w.install_agency(OTHER_COMPANY, &[OTHER]).await;
    let two = w.examine_with(None, &default, &w.clock).await;
    let row = row(&two, Check::DefaultLocation);
    assert!(row.verdict == Verdict::Warn && row.means.contains("is ignored"), "{row:?}");
    w.end();
}

async fn a_wrong_clock_shows_against_ghls(place: Place) {
    let w = World::connected(place).await;
    for (ahead, expected, words) in [(300_000, Verdict::Warn, "5m ahead of"), (-7_200_000, Verdict::Bad, "2h behind")] {
        let clock = w.clock.of_another_machine(ahead, Duration::ZERO);
        let report = w.examine_with(Some(LOCATION), &[], &clock).await;
        let clock = row(&report, Check::Clock);
        assert!(clock.verdict == expected && clock.means.contains(words), "{clock:?}");
    }
    w.end();
}

async fn without_an_answer_of_ghl_the_rest_is_told_all_the_same(place: Place) {
    let w = World::connected(place).await;
    for fault in [GhlFault::Reset { after_applying: false }, GhlFault::refusal(503, "down"), GhlFault::Garbage] {
        w.ghl.fault_next("/locations/", fault.clone());
        let report = of_main(&w).await;
        assert_eq!(verdict(&report, Check::Provider), Verdict::Unknown, "{fault:?}");
        assert_eq!((verdict(&report, Check::Token), verdict(&report, Check::Scopes)), (Verdict::Ok, Verdict::Ok));
    }
    w.ghl.fault_next("/locations/", GhlFault::RateLimited { retry_after: None });
    assert!(row(&of_main(&w).await, Check::Provider).means.contains("429"));
    w.end();
}

async fn many_installations_are_looked_at_page_by_page(place: Place) {
    let w = World::start(place, &[]).await;
    let ids: Vec<String> = (0..30).map(|n| format!("LOCagency{n:011}")).collect();
    w.install_agency(COMPANY, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    w.work_for(Duration::from_secs(5)).await;
    let first = w.examine(None).await;
    assert_eq!(first.installations.len(), 20);
    let rest = w.examine_after(first.next.as_ref().map(DocId::as_str)).await;
    let all: Vec<&str> = first.installations.iter().chain(&rest.installations).map(|e| e.id.as_str()).collect();
    assert_eq!((all.len(), rest.next.as_ref()), (31, None));
    assert!(all.is_sorted());
    w.end();
}

fn update(w: &World) -> LifecycleHook {
    let hook = w.ghl.lifecycle_hook("UPDATE", Some(LOCATION), Some(COMPANY));
    LifecycleHook { version_id: Some("v2".into()), ..hook }
}

async fn an_update_has_the_set_up_checked_by_the_leader_even_after_a_restart(place: Place) {
    let w = World::connected(place).await;
    w.ghl.choose_other_provider(LOCATION);
    w.ghl.fault_next("/locations/", GhlFault::refusal(503, "down"));
    assert_eq!(word(&w.ghl.tell(&update(&w), &w.key).await), "accepted");
    w.work_all().await;
    assert_eq!((asked(&w), last_check(&w).await), (1, None), "GHL gave no answer: it is asked again");
    let w = w.restart().await;
    w.work_for(Duration::from_secs(6)).await;
    let last = last_check(&w).await.expect("it was checked");
    assert_eq!((asked(&w), last.worst()), (2, Verdict::Bad));
    let provider = last.verdicts.iter().find(|row| row.check == "provider").map(|row| row.verdict);
    assert_eq!(provider, Some(Verdict::Bad));
    assert_eq!(w.installation(LOCATION).await.and_then(|i| i.version_id).as_deref(), Some("v2"));
    // It is done once, and both commands show it.
    w.work_for(Duration::from_secs(60)).await;
    assert_eq!(asked(&w), 2);
    let list = installs(w.app.store(), &InstallsRequest { limit: 5, ..InstallsRequest::default() }).await.unwrap();
    let listed = list.installations[0].last_check.clone().expect("it is listed");
    assert_eq!((listed.at, listed.verdict), (last.at, Verdict::Bad));
    assert_eq!(of_main(&w).await.installations[0].last_check, Some(listed));
    w.end();
}

async fn the_leaders_check_waits_out_a_429_like_every_call_of_its_location(place: Place) {
    let w = World::connected(place).await;
    w.ghl.fault_next("/locations/", GhlFault::RateLimited { retry_after: Some("30".into()) });
    w.ghl.tell(&update(&w), &w.key).await;
    let told = w.now();
    w.work_for(Duration::from_secs(40)).await;
    let calls: Vec<i64> = w.ghl.calls().iter().filter(|c| c.path == CHANNELS).map(|c| c.at.0 - told.0).collect();
    assert!(matches!(calls.as_slice(), [0, again] if (30_000..32_000).contains(again)), "{calls:?}");
    assert_eq!(last_check(&w).await.map(|last| last.worst()), Some(Verdict::Warn));
    w.end();
}

async fn the_leaders_check_takes_its_place_behind_other_calls_of_its_location(place: Place) {
    let w = World::connected(place).await;
    for n in 0..40 {
        w.sms_to(LOCATION, &format!("091712345{n:02}"), "hello").await;
    }
    w.send_all().await;
    w.pass(Duration::from_secs(6)).await;
    w.app.reporter().step().await.unwrap();
    w.ghl.tell(&update(&w), &w.key).await;
    w.work_all().await;
    assert_eq!(asked(&w), 0, "all places of this moment are taken, and the next ones promised");
    w.work_for(Duration::from_secs(10)).await;
    assert_eq!(asked(&w), 1);
    assert!(last_check(&w).await.is_some());
    w.end();
}

async fn the_leaders_check_of_an_agency_asks_nothing_and_ends(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    let calls = w.ghl.calls().len();
    w.ghl.tell(&w.ghl.lifecycle_hook("UPDATE", None, Some(COMPANY)), &w.key).await;
    w.work_all().await;
    let report = w.examine(None).await;
    let agency = report.installations[0].last_check.as_ref().expect("it was checked");
    assert_eq!(agency.verdict, Verdict::Ok);
    let of_agency = w.ghl.calls()[calls..].iter().filter(|call| call.location.as_deref() == Some(COMPANY)).count();
    assert_eq!((of_agency, report.installations[1].last_check.is_none()), (0, true));
    w.end();
}
