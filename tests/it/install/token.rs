//! Staying connected: tokens sealed, renewed, refused and lost.
//!
//! A token is never looked at: what the store holds and what the fake CRM was asked with it say enough.

use std::path::Path;
use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::installation::{Health, Installation, Sealed};
use cast_ghl_provider::fake::ghl::{FakeGhlOptions, GhlFault, GrantHealth, Install, TokenSpelling};
use cast_ghl_provider::lifecycle::Stop;
use cast_ghl_provider::seal::{self, SealError};
use cast_ghl_provider::store::Query;

use super::{DAY, OTHER, page, token_calls, works};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![
        token_replies_in_camel_case_connect_and_renew,
        no_token_is_in_the_store_in_the_clear,
        sealed_fields_swapped_between_two_locations_open_nowhere_and_are_kept,
        with_a_new_first_key_old_tokens_open_and_new_ones_are_sealed_with_it,
        without_its_key_a_token_is_kept_sending_goes_on_and_reports_wait_for_it,
        an_expired_token_is_renewed_before_it_is_used,
        a_token_is_renewed_ahead_of_its_end_and_once,
        twenty_reports_at_once_on_an_expired_token_renew_it_once,
        a_401_renews_the_token_once_and_repeats_the_call,
        a_refresh_whose_answer_was_lost_is_asked_again_with_the_same_token,
        a_dead_grant_is_marked_and_not_asked_again_and_a_new_install_tells_what_waited,
        a_paused_location_is_kept_asked_slowly_and_told_when_it_is_active_again,
    ]
}

async fn token_replies_in_camel_case_connect_and_renew(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_token_spelling(TokenSpelling::Camel);
    w.install(LOCATION).await;
    w.jump(DAY).await;
    works(&w, LOCATION).await;
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 1);
    w.end();
}

async fn no_token_is_in_the_store_in_the_clear(place: Place) {
    let w = World::connected(place).await;
    let code = w.ghl.marketplace_code(Install::company(COMPANY, &[OTHER]));
    page(w.callback(&code).await, 200).await;
    w.jump(DAY).await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 2);
    let all = w.app.store().find::<Installation>(Query::Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(all.len(), 2);
    let kid = if matches!(w.place(), Place::Embedded(_)) { "local" } else { "t" };
    for installation in all.iter().map(|stored| &stored.record) {
        let grant = installation.grant.as_ref().expect("a grant");
        for sealed in [&grant.access, grant.refresh.as_ref().expect("a refresh token")] {
            assert!(matches!(sealed, Sealed::Encrypted { kid: k, .. } if k == kid), "{sealed:?}");
        }
        assert!(!serde_json::to_string(installation).unwrap().contains("fake-"), "{installation:?}");
    }
    if let Place::Embedded(dir) = w.place() {
        let bytes = files(dir);
        assert!(holds(&bytes, LOCATION), "this is where it is kept");
        for token in ["fake-access-", "fake-refresh-", "fake-code-", &FakeGhlOptions::default().client_secret] {
            assert!(!holds(&bytes, token), "{token} is in the clear");
        }
    }
    w.end();
}

async fn sealed_fields_swapped_between_two_locations_open_nowhere_and_are_kept(place: Place) {
    let w = World::connected(place).await;
    w.install(OTHER).await;
    let (one, two) = (w.installation(LOCATION).await.unwrap(), w.installation(OTHER).await.unwrap());
    let grants = [(LOCATION, two.grant.clone()), (OTHER, one.grant.clone())];
    for (location, grant) in grants {
        change(&w, location, |i| Installation { grant: grant.clone(), ..i.clone() }).await;
    }
    assert_eq!(w.app.rekeyer().survey().await.unwrap().unreadable.len(), 2);
    let answer = w.sms("goes out").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1, "sending needs no token");
    assert_eq!(w.told(&answer), None);
    assert_eq!(status_calls(&w).len(), 0, "nobody's token was lent to somebody else");
    assert_eq!(w.installation(LOCATION).await.unwrap().grant, two.grant, "kept as it is");
    // Access and refresh token of one location are no more each other's than those of two.
    change(&w, LOCATION, |i| {
        let mut grant = one.grant.clone().expect("a grant");
        let access = std::mem::replace(&mut grant.access, grant.refresh.clone().expect("a refresh token"));
        grant.refresh = Some(access);
        Installation { grant: Some(grant), ..i.clone() }
    })
    .await;
    w.pass(Duration::from_secs(60)).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), None);
    w.install(LOCATION).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn with_a_new_first_key_old_tokens_open_and_new_ones_are_sealed_with_it(place: Place) {
    let (old, new) = (seal::generate("old"), seal::generate("new"));
    let w = World::start(place, &[("TOKEN_ENCRYPTION_KEYS", &old)]).await;
    w.install(LOCATION).await;
    assert_eq!(sealed_with(&w).await, ["old", "old"]);
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    works(&w, LOCATION).await;
    assert_eq!(sealed_with(&w).await, ["old", "old"], "reading changes nothing");
    w.jump(DAY).await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    assert_eq!(sealed_with(&w).await, ["new", "new"]);
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &new)]).await;
    works(&w, LOCATION).await;
    w.end();
}

async fn without_its_key_a_token_is_kept_sending_goes_on_and_reports_wait_for_it(place: Place) {
    let (lost, other) = (seal::generate("lost"), seal::generate("other"));
    let w = World::start(place, &[("TOKEN_ENCRYPTION_KEYS", &lost)]).await;
    w.install(LOCATION).await;
    let before = w.installation(LOCATION).await;
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &other)]).await;
    let answer = w.sms("goes out").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.told(&answer), None);
    w.jump(DAY).await;
    w.app.tokens().refresh_due().await.unwrap();
    let kept = w.installation(LOCATION).await.expect("kept");
    let grant = |i: &Installation| i.grant.clone();
    assert_eq!((grant(&kept), kept.health), (before.as_ref().and_then(grant), Health::Active));
    let survey = w.app.rekeyer().survey().await.unwrap();
    assert_eq!(survey.unreadable, [(DocId(format!("loc:{LOCATION}")), SealError::NoKey("lost".into()))]);
    assert_eq!(token_calls(&w), 1, "there was nothing to ask with");
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &format!("{other},{lost}"))]).await;
    w.pass(Duration::from_secs(60)).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)), "the key came back");
    w.end();
}

async fn an_expired_token_is_renewed_before_it_is_used(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_token_life(Duration::from_secs(60));
    w.install(LOCATION).await;
    w.ghl.set_token_life(DAY);
    w.pass(Duration::from_secs(60)).await;
    works(&w, LOCATION).await;
    assert_eq!(status_calls(&w), [Some(200)], "no call with the expired one");
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 1);
    works(&w, LOCATION).await;
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 1, "the new one is kept");
    w.end();
}

async fn a_token_is_renewed_ahead_of_its_end_and_once(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_token_life(Duration::from_secs(1000));
    w.install(LOCATION).await;
    let rotated = || w.ghl.refreshes(LOCATION).rotated;
    w.pass(Duration::from_secs(740)).await;
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (0, 0), "not before 75 % of its life");
    w.pass(Duration::from_secs(120)).await;
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (1, 1), "not after 85 % of it");
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (0, 1));
    // A CRM that does not answer is asked again, and not in a hot loop.
    w.pass(Duration::from_secs(860)).await;
    w.ghl.fault_next("/oauth/token", GhlFault::refusal(503, "down"));
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (1, 1));
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (0, 1));
    w.pass(Duration::from_secs(61)).await;
    assert_eq!((w.app.tokens().refresh_due().await.unwrap(), rotated()), (1, 2));
    w.end();
}

async fn twenty_reports_at_once_on_an_expired_token_renew_it_once(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_token_life(Duration::from_secs(60));
    w.install(LOCATION).await;
    w.ghl.set_token_life(DAY);
    for n in 0..20 {
        w.sms_to(LOCATION, &format!("091712345{n:02}"), "hi").await;
    }
    w.send_all().await;
    w.pass(Duration::from_secs(60)).await;
    // The loop itself, since steps tell one after the other.
    let (reporter, stop) = (w.app.reporter().clone(), Stop::default());
    let mut telling = tokio::spawn({
        let stop = stop.clone();
        async move { reporter.run(&stop).await }
    });
    // Its pauses are the clock's: while it rests, the clock moves on.
    let patience = Duration::from_millis(100);
    for _ in 0..100 {
        let all = w.ghl.until(|ghl| ghl.told_count() == 20);
        if tokio::time::timeout(patience, all).await.is_ok() {
            break;
        }
        w.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(w.ghl.told_count(), 20);
    stop.begin();
    while tokio::time::timeout(patience, &mut telling).await.is_err() {
        w.pass(Duration::from_secs(1)).await;
    }
    let refreshed = w.ghl.refreshes(LOCATION);
    assert_eq!((refreshed.rotated, refreshed.repeated, refreshed.refused), (1, 0, 0));
    assert!(status_calls(&w).iter().all(|status| *status == Some(200)), "none went out with the expired one");
    w.end();
}

async fn a_401_renews_the_token_once_and_repeats_the_call(place: Place) {
    let w = World::connected(place).await;
    w.ghl.expire_access_tokens(LOCATION);
    works(&w, LOCATION).await;
    assert_eq!(status_calls(&w), [Some(401), Some(200)]);
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 1);
    // A CRM that refuses the fresh one, too, is not asked for a third.
    let answer = w.sms("refused").await;
    w.send_all().await;
    w.pass(Duration::from_secs(6)).await;
    w.ghl.fault_all("/conversations/messages", Some(GhlFault::refusal(401, "Unauthorized")));
    w.app.reporter().step().await.unwrap();
    assert_eq!(status_calls(&w)[2..], [Some(401), Some(401)]);
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 2);
    w.ghl.fault_all("/conversations/messages", None);
    w.pass(Duration::from_secs(60)).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)), "and the report is not lost");
    w.end();
}

async fn a_refresh_whose_answer_was_lost_is_asked_again_with_the_same_token(place: Place) {
    let w = World::connected(place).await;
    let answer = w.sms("hello").await;
    w.send_all().await;
    w.pass(Duration::from_secs(6)).await;
    w.ghl.expire_access_tokens(LOCATION);
    w.ghl.fault_next("/oauth/token", GhlFault::Reset { after_applying: true });
    w.app.reporter().step().await.unwrap();
    assert_eq!(w.told(&answer), None);
    let w = w.restart().await;
    w.pass(Duration::from_secs(6)).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    let refreshed = w.ghl.refreshes(LOCATION);
    assert_eq!((refreshed.rotated, refreshed.repeated, refreshed.refused), (1, 1, 0));
    works(&w, LOCATION).await;
    w.end();
}

async fn a_dead_grant_is_marked_and_not_asked_again_and_a_new_install_tells_what_waited(place: Place) {
    let w = World::connected(place).await;
    w.install(OTHER).await;
    for (location, health) in [(LOCATION, GrantHealth::Invalid), (OTHER, GrantHealth::InvalidOauth)] {
        w.ghl.set_grant_health(location, health);
        w.ghl.expire_access_tokens(location);
        let answer = w.sms_to(location, PHONE, "hello").await;
        w.send_all().await;
        w.report_all().await;
        let marked = w.installation(location).await.expect("kept");
        assert_eq!((marked.health, marked.grant.is_some()), (Health::Reauthorize, true), "{health:?}");
        assert_eq!(w.told(&answer), None);
        let still = w.sms_to(location, PHONE, "still sent").await;
        w.send_all().await;
        w.jump(DAY).await;
        w.app.tokens().refresh_due().await.unwrap();
        w.report_all().await;
        assert_eq!(w.ghl.refreshes(location).refused, 1, "a dead grant is asked once");
        w.install(location).await;
        w.report_all().await;
        for answer in [&answer, &still] {
            assert_eq!(w.told(answer), Some(("delivered".into(), None)));
        }
        assert_eq!(w.installation(location).await.expect("renewed").health, Health::Active);
    }
    assert_eq!(w.cast.taken_count(), 4);
    w.end();
}

async fn a_paused_location_is_kept_asked_slowly_and_told_when_it_is_active_again(place: Place) {
    let w = World::connected(place).await;
    let grant = w.installation(LOCATION).await.unwrap().grant;
    w.ghl.set_grant_health(LOCATION, GrantHealth::NotActive);
    w.ghl.expire_access_tokens(LOCATION);
    let mut answers = vec![];
    for n in 0..5 {
        answers.push(w.sms(&format!("hello {n}")).await);
    }
    w.send_all().await;
    for _ in 0..10 {
        w.report_all().await;
        w.pass(Duration::from_secs(60)).await;
    }
    let paused = w.installation(LOCATION).await.expect("kept");
    assert_eq!((paused.health, paused.grant), (Health::Suspended, grant), "paused is not dead");
    assert_eq!(w.cast.taken_count(), 5, "sending does not depend on the token");
    let asked = w.ghl.refreshes(LOCATION).refused;
    assert!(asked <= 2, "asked {asked} times in a quarter of an hour: slowly means slowly, however many reports wait");
    w.ghl.set_grant_health(LOCATION, GrantHealth::Alive);
    w.jump(DAY).await;
    w.app.tokens().refresh_due().await.unwrap();
    assert_eq!(w.installation(LOCATION).await.expect("kept").health, Health::Active);
    w.report_all().await;
    for answer in &answers {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)));
    }
    w.end();
}

async fn change(w: &World, location: &str, to: impl Fn(&Installation) -> Installation + Sync) {
    let id = DocId::location(&LocationId::parse(location).unwrap());
    let changed = w.app.store().update::<Installation>(&id, |i| Some(to(i))).await;
    assert!(changed.expect("the store answers").is_some());
}

/// The keys the main location's tokens are sealed with.
async fn sealed_with(w: &World) -> [String; 2] {
    let grant = w.installation(LOCATION).await.and_then(|i| i.grant).expect("a grant");
    [grant.access, grant.refresh.expect("a refresh token")].map(|sealed| match sealed {
        Sealed::Encrypted { kid, .. } => kid,
        Sealed::Plain { .. } => panic!("in the clear"),
    })
}

/// All bytes of a directory's files.
fn files(dir: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.flat_map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
/// What status calls were answered, in their order.
fn status_calls(w: &World) -> Vec<Option<u16>> {
    w.ghl.calls().iter().filter(|call| call.path.ends_with("/status")).map(|call| call.status).collect()
}
