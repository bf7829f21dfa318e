//! Agencies: one install, and the tokens of all its sub-accounts, through everything that can come in between.
//!
//! The background work is stepped; limits are asserted on the injected clock, by when the fake CRM was called.

mod lifecycle;
mod mint;

use std::time::Duration;

use cast_ghl_provider::domain::agency::Progress;
use cast_ghl_provider::domain::id::{CompanyId, DocId};
use cast_ghl_provider::domain::installation::{GrantKind, Health, Installation};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::fake::ghl::{GhlFault, GrantHealth, Install, OutboundSms};
use cast_ghl_provider::operator::{InstallState, InstallsRequest, installs};
use cast_ghl_provider::store::Query;

use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

const OTHER_COMPANY: &str = "COMother000000000001";
const MINT: &str = "/oauth/locationToken";
const LIST: &str = "/oauth/installedLocations";

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        an_agency_of_250_locations_over_three_pages_is_connected_whole_with_a_restart_in_the_middle,
        count_is_the_companys_total_and_neither_ends_nor_prolongs_the_list,
        what_the_installer_approved_for_the_future_is_kept,
        held_messages_of_a_sub_account_are_sent_when_its_token_is_minted,
        the_success_page_says_how_far_it_is_when_it_is_reloaded,
        a_lost_install_hook_is_made_up_for_within_six_hours_and_absence_from_the_list_takes_nothing_away,
        a_list_that_cannot_be_read_is_asked_for_again_and_begins_where_it_stopped,
        a_429_of_the_company_rests_all_of_its_work_and_no_other_companys,
        a_page_longer_than_64_kilobytes_is_read,
        operators_see_who_is_connected_who_waits_and_what_a_grant_needs,
    ];
    all.extend(mint::cases());
    all.extend(lifecycle::cases());
    all
}

/// Cases with several processes on one database.
pub fn replica_cases() -> Cases<Place> {
    cases![only_the_leader_works_and_what_another_process_took_in_is_done_by_it]
}

/// Ids of sub-accounts of a fake agency.
fn locations(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("LOCagency{n:011}")).collect()
}

fn borrowed(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// Calls of a path, by when they came and how they were answered.
fn calls(w: &World, path: &str) -> Vec<(UnixMillis, Option<u16>)> {
    w.ghl.calls().iter().filter(|call| call.path == path).map(|call| (call.at, call.status)).collect()
}

/// The most calls with a company's token in any 10 s.
fn busiest_window(w: &World, company: &str) -> usize {
    let of_company = w.ghl.calls().into_iter().filter(|c| c.location.as_deref() == Some(company));
    let times: Vec<i64> = of_company.filter(|c| c.path != "/oauth/token").map(|c| c.at.0).collect();
    times.iter().map(|from| times.iter().filter(|t| (*from..from + 10_000).contains(*t)).count()).max().unwrap_or(0)
}

async fn connected(w: &World, ids: &[String]) -> usize {
    let mut connected = 0;
    for id in ids {
        connected += usize::from(w.installation(id).await.is_some_and(|i| i.installed()));
    }
    connected
}

async fn agency(w: &World, company: &str) -> Option<Installation> {
    let id = DocId::company(&CompanyId::parse(company).expect("an id"));
    w.app.store().get::<Installation>(&id).await.expect("the store answers").map(|stored| stored.record)
}

/// The token works: a message of the location is sent and its status told.
async fn works(w: &World, location: &str) {
    let answer = w.ghl.send_sms(&OutboundSms::new(location, PHONE, "hello"), &w.key).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)), "{location}");
}

async fn an_agency_of_250_locations_over_three_pages_is_connected_whole_with_a_restart_in_the_middle(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(250);
    w.install_agency(COMPANY, &borrowed(&ids)).await;
    w.work_for(Duration::from_secs(12)).await;
    let so_far = connected(&w, &ids).await;
    assert!((50..200).contains(&so_far), "{so_far} after 12 s: paced, and under way");
    let w = w.restart().await;
    w.work_for(Duration::from_secs(30)).await;
    assert_eq!(connected(&w, &ids).await, 250);
    assert_eq!(calls(&w, LIST).len(), 3, "three pages, none read twice");
    let mints = calls(&w, MINT);
    assert_eq!(mints.len(), 250, "each token once");
    assert!(mints.iter().all(|(_, status)| *status == Some(201)), "no call was refused for its pace");
    assert!(busiest_window(&w, COMPANY) <= 100, "{} calls in 10 s", busiest_window(&w, COMPANY));
    works(&w, &ids[0]).await;
    works(&w, &ids[249]).await;
    w.end();
}

async fn count_is_the_companys_total_and_neither_ends_nor_prolongs_the_list(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(130);
    for id in &ids[10..] {
        w.ghl.add_location(id, COMPANY);
    }
    w.install_agency(COMPANY, &borrowed(&ids[..10])).await;
    w.work_for(Duration::from_secs(2)).await;
    assert_eq!(calls(&w, LIST).len(), 1, "ten of 130: a short page is the last one");
    assert_eq!(connected(&w, &ids).await, 10);
    assert_eq!(w.installation(&ids[10]).await, None);
    w.end();
}

async fn what_the_installer_approved_for_the_future_is_kept(place: Place) {
    let w = World::start(place, &[]).await;
    let install = Install { for_all: true, ..Install::company(COMPANY, &[LOCATION]) };
    assert_eq!(w.callback(&w.ghl.marketplace_code(install)).await.status(), 200);
    w.work_all().await;
    let stored = agency(&w, COMPANY).await.expect("an agency");
    assert_eq!((stored.kind, stored.approve_all, stored.install_to_future), (GrantKind::Company, true, true));
    w.pass(Duration::from_secs(86_399)).await;
    w.app.tokens().refresh_due().await.unwrap();
    let stored = agency(&w, COMPANY).await.expect("an agency");
    assert_eq!((stored.approve_all, stored.install_to_future), (true, true), "a refresh changes neither");
    w.end();
}

async fn held_messages_of_a_sub_account_are_sent_when_its_token_is_minted(place: Place) {
    let w = World::start(place, &[]).await;
    let answer = w.sms("hello").await;
    w.send_all().await;
    assert_eq!((w.cast.taken_count(), word(&answer)), (0, "accepted".into()));
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn the_success_page_says_how_far_it_is_when_it_is_reloaded(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(40);
    let code = w.ghl.marketplace_code(Install::company(COMPANY, &borrowed(&ids)));
    let page = async || w.callback(&code).await.text().await.expect("a page");
    let first = page().await;
    assert!(first.contains(COMPANY) && first.contains("Looking for its sub-accounts"), "{first}");
    w.work_all().await;
    let half = page().await;
    assert!(half.contains("Connecting ") && half.contains(" of 40 sub-accounts"), "{half}");
    w.work_for(Duration::from_secs(5)).await;
    let whole = page().await;
    assert!(whole.contains("All 40 sub-accounts are connected"), "{whole}");
    for shown in [first, half, whole] {
        let lower = shown.to_ascii_lowercase();
        assert!(!["ghl", "highlevel", "leadconnector"].iter().any(|brand| lower.contains(brand)));
    }
    let none = w.install_agency(OTHER_COMPANY, &[]).await;
    assert!(none.contains("Looking for its sub-accounts"), "{none}");
    w.end();
}

async fn a_lost_install_hook_is_made_up_for_within_six_hours_and_absence_from_the_list_takes_nothing_away(
    place: Place,
) {
    let w = World::start(place, &[]).await;
    let ids = locations(3);
    w.install_agency(COMPANY, &borrowed(&ids[..2])).await;
    w.work_all().await;
    assert_eq!(connected(&w, &ids).await, 2);
    // Somebody installs the app in a third, and its hook is lost. The first is not listed any more, though nobody said why.
    let _ = w.ghl.marketplace_code(Install::location(&ids[2], COMPANY));
    w.ghl.fault_next(
        LIST,
        GhlFault::Status(200, format!(r#"{{"locations":[{{"_id":"{}"}},{{"_id":"{}"}}],"count":3}}"#, ids[1], ids[2])),
    );
    w.pass(Duration::from_secs(6 * 3600)).await;
    w.work_all().await;
    assert_eq!(connected(&w, &ids).await, 3);
    works(&w, &ids[0]).await;
    assert_eq!(calls(&w, MINT).len(), 3, "who has a token needs no other");
    w.end();
}

async fn a_list_that_cannot_be_read_is_asked_for_again_and_begins_where_it_stopped(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(110);
    w.install_agency(COMPANY, &borrowed(&ids)).await;
    for fault in [
        GhlFault::refusal(503, "down"),
        GhlFault::Pass,
        GhlFault::Garbage,
        GhlFault::Reset { after_applying: true },
        GhlFault::refusal(403, "The token is not authorized for this scope."),
    ] {
        w.ghl.fault_next(LIST, fault);
    }
    w.work_for(Duration::from_secs(120)).await;
    assert_eq!(connected(&w, &ids).await, 110);
    assert_eq!(calls(&w, LIST).len(), 6, "one failure, the first page, three failures, the second page");
    w.end();
}

async fn a_429_of_the_company_rests_all_of_its_work_and_no_other_companys(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(20);
    w.install_agency(COMPANY, &borrowed(&ids[..10])).await;
    w.install_agency(OTHER_COMPANY, &borrowed(&ids[10..])).await;
    w.ghl.fault_next(MINT, GhlFault::Pass);
    w.ghl.fault_next(MINT, GhlFault::RateLimited { retry_after: Some("30".into()) });
    w.work_for(Duration::from_secs(29)).await;
    let limited = calls(&w, MINT).iter().filter(|(_, status)| *status == Some(429)).count();
    assert!((1..=10).contains(&limited), "those under way at that moment: {limited}");
    let done = connected(&w, &ids).await;
    assert!((11..20).contains(&done), "one company rests, the other is done: {done}");
    w.work_for(Duration::from_secs(10)).await;
    assert_eq!(connected(&w, &ids).await, 20);
    w.end();
}

async fn a_page_longer_than_64_kilobytes_is_read(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    let address = "Ayala Avenue ".repeat(80);
    let entries: Vec<String> = std::iter::once(LOCATION.to_owned())
        .chain((0..99).map(|n| format!("LOCgone{n:013}")))
        .map(|id| format!(r#"{{"_id":"{id}","isInstalled":{},"address":"{address}"}}"#, id == LOCATION))
        .collect();
    let body = format!(r#"{{"locations":[{}],"count":100}}"#, entries.join(","));
    assert!(body.len() > 100_000);
    w.ghl.fault_next(LIST, GhlFault::Status(200, body));
    w.work_all().await;
    assert!(w.installation(LOCATION).await.is_some_and(|i| i.installed()));
    let known = w.app.store().find::<Installation>(Query::Page { after: None, limit: 200 }).await.unwrap();
    assert_eq!(known.len(), 2, "isInstalled=false is no sub-account of ours");
    w.end();
}

async fn operators_see_who_is_connected_who_waits_and_what_a_grant_needs(place: Place) {
    let w = World::start(place, &[]).await;
    let ids = locations(6);
    w.install_agency(COMPANY, &borrowed(&ids[..4])).await;
    w.ghl.set_grant_health(&ids[3], GrantHealth::Invalid);
    w.work_for(Duration::from_secs(600)).await;
    for (id, health) in [(&ids[1], GrantHealth::NotActive), (&ids[2], GrantHealth::InvalidOauth)] {
        w.ghl.set_grant_health(id, health);
        w.ghl.expire_access_tokens(id);
        w.ghl.send_sms(&OutboundSms::new(id, PHONE, "hello"), &w.key).await;
    }
    w.send_all().await;
    w.report_all().await;
    w.ghl.tell(&w.ghl.lifecycle_hook("INSTALL", Some(&ids[4]), Some(OTHER_COMPANY)), &w.key).await;
    w.ghl.tell(&w.ghl.lifecycle_hook("UNINSTALL", Some(&ids[5]), Some(COMPANY)), &w.key).await;
    w.work_all().await;
    let all = InstallsRequest { limit: 50, ..InstallsRequest::default() };
    let list = installs(w.app.store(), &all).await.unwrap();
    let states: Vec<InstallState> = list.installations.iter().map(|row| row.state).collect();
    use InstallState::{Active, NotConnected, Reauthorize, Suspended, Uninstalled, WaitingForToken};
    assert_eq!(states, [Active, Active, Suspended, Reauthorize, NotConnected, WaitingForToken, Uninstalled]);
    assert_eq!(list.installations[0].progress, Some(Progress { connected: 3, known: 3, listed: true }));
    assert_eq!(list.next, None);
    let two = InstallsRequest { limit: 2, ..all };
    let page = installs(w.app.store(), &two).await.unwrap();
    assert_eq!((page.installations.len(), page.next.as_ref()), (2, Some(&list.installations[1].id)));
    let rest = InstallsRequest { after: page.next.map(|id| id.0), limit: 50, company: CompanyId::parse(COMPANY).ok() };
    let rest = installs(w.app.store(), &rest).await.unwrap();
    assert!(rest.installations.iter().eq(list.installations[2..].iter().filter(|row| row.state != WaitingForToken)));
    w.end();
}

async fn only_the_leader_works_and_what_another_process_took_in_is_done_by_it(place: Place) {
    let w = World::start(place, &[]).await;
    let other = w.replica().await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    assert_eq!(other.agency().step().await.unwrap(), 0, "it does not lead");
    assert_eq!(calls(&w, LIST).len(), 0);
    // The callback and the hook came to any process; the leader finds them in the store.
    w.work_all().await;
    assert!(w.installation(LOCATION).await.is_some_and(|i| i.installed() && i.health == Health::Active));
    w.end();
}
