//! Spending a refresh token, which is single-use: answers that were lost, processes that died, many who need it at once.
//!
//! The fake CRM answers the same refresh token with the same pair for 30 s, and refuses it afterwards (ghl contract §3).

use std::time::Duration;

use cast_ghl_provider::app::App;
use cast_ghl_provider::domain::id::LocationId;
use cast_ghl_provider::domain::installation::{Grant, Health};
use cast_ghl_provider::fake::ghl::{GhlFault, GrantHealth, Refreshes};
use cast_ghl_provider::lifecycle::Stop;
use cast_ghl_provider::oauth::CallError;
use futures_util::future::join_all;

use super::{DAY, OTHER, token_calls, works};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const TOKEN: &str = "/oauth/token";

pub fn cases() -> Cases<Place> {
    cases![
        a_refresh_nobody_answers_is_sent_again_in_its_slots_and_once_more_a_minute_later,
        a_refresh_the_crm_never_received_succeeds_on_the_last_try,
        a_refresh_token_is_single_use_and_a_lost_reply_is_asked_for_again_within_30_s,
        the_loop_keeps_the_slots_to_the_moment,
        a_call_that_needs_a_token_in_the_window_waits_for_the_slot,
        a_crash_between_reply_and_write_leaves_the_same_pair_to_the_successor,
        a_crash_of_more_than_30_s_ends_in_reauthorize_only_after_the_last_try,
        a_refresh_token_lost_for_good_is_replaced_by_minting_where_the_agency_is_connected,
        what_a_predecessor_began_goes_before_other_work,
        a_new_install_beats_a_refresh_under_way,
        a_limited_refresh_waits_as_long_as_it_is_told,
        a_paused_location_is_active_again_by_itself_after_a_quarter_of_an_hour,
        at_most_sixteen_refreshes_are_in_flight,
    ]
}

/// What needs several processes.
pub fn replica_cases() -> Cases<Place> {
    cases![
        three_replicas_with_300_needs_at_expiry_refresh_exactly_once,
        a_successor_sends_the_same_refresh_token_within_the_window,
        a_leader_whose_right_has_lapsed_refreshes_nothing,
    ]
}

async fn a_refresh_nobody_answers_is_sent_again_in_its_slots_and_once_more_a_minute_later(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_all(TOKEN, Some(GhlFault::refusal(503, "down")));
    assert_eq!(sendings(&w, 150).await, [0, 1, 7, 14, 21, 81, 82, 88, 95, 102]);
    let kept = w.installation(LOCATION).await.expect("kept");
    assert_eq!((kept.health, kept.refresh_started.is_some()), (Health::Active, true), "nothing is known of it");
    w.ghl.fault_all(TOKEN, None);
    w.pass(Duration::from_secs(60)).await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    assert_eq!(refreshes(&w), (1, 0, 0));
    let kept = w.installation(LOCATION).await.expect("kept");
    assert_eq!((kept.health, kept.refresh_started), (Health::Active, None));
    w.end();
}

async fn a_refresh_the_crm_never_received_succeeds_on_the_last_try(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_all(TOKEN, Some(GhlFault::Reset { after_applying: false }));
    assert_eq!(sendings(&w, 60).await, [0, 1, 7, 14, 21]);
    w.ghl.fault_all(TOKEN, None);
    assert_eq!(sendings(&w, 60).await, [0, 1, 7, 14, 21, 81]);
    assert_eq!(refreshes(&w), (1, 0, 0));
    works(&w, LOCATION).await;
    w.end();
}

async fn a_refresh_token_is_single_use_and_a_lost_reply_is_asked_for_again_within_30_s(place: Place) {
    let w = World::connected(place).await;
    for lost in [GhlFault::Reset { after_applying: true }, GhlFault::StatusAfterApplying(502), GhlFault::Garbage] {
        w.jump(DAY).await;
        let before = w.ghl.refreshes(LOCATION);
        // Lost time and again: only the fourth of the five sendings is heard.
        for _ in 0..3 {
            w.ghl.fault_next(TOKEN, lost.clone());
        }
        sendings(&w, 30).await;
        let after = w.ghl.refreshes(LOCATION);
        let spent = (after.rotated - before.rotated, after.repeated - before.repeated, after.refused);
        assert_eq!(spent, (1, 3, 0), "{lost:?}");
        works(&w, LOCATION).await;
    }
    w.end();
}

async fn the_loop_keeps_the_slots_to_the_moment(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_all(TOKEN, Some(GhlFault::refusal(500, "oops")));
    let (tokens, stop) = (w.app.tokens().clone(), Stop::default());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { tokens.run(&stop).await }
    });
    // Half a second, so that a loop that looked once a second would miss every slot by that much.
    let began = token_times(&w).len();
    w.ghl.until(|_| token_times(&w).len() > began).await;
    for expected in [1_000, 7_000] {
        let sent = token_times(&w).len();
        while token_times(&w).len() == sent {
            let heard = w.ghl.until(|_| token_times(&w).len() > sent);
            if tokio::time::timeout(Duration::from_millis(100), heard).await.is_err() {
                w.pass(Duration::from_millis(250)).await;
            }
        }
        let times = token_times(&w);
        assert_eq!(times[times.len() - 1] - times[began], expected);
    }
    stop.begin();
    running.await.expect("it ends");
    w.end();
}

async fn a_call_that_needs_a_token_in_the_window_waits_for_the_slot(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_next(TOKEN, GhlFault::Reset { after_applying: true });
    assert!(matches!(need(&w.app).await, Err(CallError::Refresh(_))));
    for _ in 0..20 {
        assert!(matches!(need(&w.app).await, Err(CallError::RefreshWaits)));
    }
    assert_eq!(token_calls(&w), 2, "the install and one refresh");
    w.pass(Duration::from_secs(1)).await;
    need(&w.app).await.expect("a token");
    assert_eq!(refreshes(&w), (1, 1, 0));
    w.end();
}

async fn a_crash_between_reply_and_write_leaves_the_same_pair_to_the_successor(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    die_between_reply_and_write(&w).await;
    let w = w.restart().await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1, "at once, whatever the clock says is due");
    assert_eq!(refreshes(&w), (1, 1, 0));
    works(&w, LOCATION).await;
    w.end();
}

async fn a_crash_of_more_than_30_s_ends_in_reauthorize_only_after_the_last_try(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    die_between_reply_and_write(&w).await;
    w.clock.advance(Duration::from_secs(31));
    let w = w.restart().await;
    w.app.tokens().refresh_due().await.unwrap();
    assert_eq!(refreshes(&w), (1, 0, 1));
    let health = async || w.installation(LOCATION).await.expect("kept").health;
    assert_eq!(health().await, Health::Active, "another process may have the pair and be about to store it");
    w.pass(Duration::from_secs(59)).await;
    w.app.tokens().refresh_due().await.unwrap();
    assert!(matches!(need(&w.app).await, Err(CallError::RefreshWaits)));
    assert_eq!(refreshes(&w), (1, 0, 1));
    w.pass(Duration::from_secs(1)).await;
    w.app.tokens().refresh_due().await.unwrap();
    assert_eq!((refreshes(&w), health().await), ((1, 0, 2), Health::Reauthorize));
    // Nothing but a new install changes that.
    w.jump(DAY).await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 0);
    w.install(LOCATION).await;
    assert_eq!(health().await, Health::Active);
    works(&w, LOCATION).await;
    w.end();
}

async fn a_refresh_token_lost_for_good_is_replaced_by_minting_where_the_agency_is_connected(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    w.jump(DAY).await;
    // The process dies between reply and write, in a call that needs the location's token.
    w.ghl.fault_next(TOKEN, GhlFault::Hang { after_applying: true });
    let tokens = w.app.tokens().clone();
    let call = tokio::spawn(async move {
        let ghl = tokens.ghl();
        let upsert = |token| async move { ghl.upsert_contact(&token, LOCATION, PHONE).await };
        tokens.call(&LocationId::parse(LOCATION).expect("an id"), upsert).await
    });
    w.ghl.until(|ghl| ghl.refreshes(LOCATION).rotated == 1).await;
    call.abort();
    let _ = call.await;
    w.clock.advance(Duration::from_secs(31));
    let w = w.restart().await;
    w.app.tokens().refresh_due().await.unwrap();
    w.pass(Duration::from_secs(60)).await;
    let minted = || w.ghl.calls().iter().filter(|call| call.path == "/oauth/locationToken").count();
    assert_eq!((refreshes(&w), minted()), ((1, 0, 1), 1), "not before the last try");
    w.app.tokens().refresh_due().await.unwrap();
    assert_eq!((refreshes(&w), minted()), ((1, 0, 2), 2));
    let stored = w.installation(LOCATION).await.expect("kept");
    assert_eq!((stored.health, stored.refresh_started), (Health::Active, None));
    works(&w, LOCATION).await;
    w.end();
}

async fn what_a_predecessor_began_goes_before_other_work(place: Place) {
    let w = World::connected(place).await;
    w.install(OTHER).await;
    w.jump(DAY).await;
    w.ghl.fault_all(TOKEN, Some(GhlFault::Reset { after_applying: true }));
    need(&w.app).await.expect_err("its answer is lost");
    w.ghl.fault_all(TOKEN, None);
    let w = w.restart().await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    let spent = |location| w.ghl.refreshes(location).rotated + w.ghl.refreshes(location).repeated;
    assert_eq!((spent(LOCATION), spent(OTHER)), (2, 0));
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    assert_eq!((spent(LOCATION), spent(OTHER)), (2, 1));
    w.end();
}

async fn a_new_install_beats_a_refresh_under_way(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_next(TOKEN, GhlFault::Hang { after_applying: true });
    let refresh = begin_refresh(&w).await;
    w.install(LOCATION).await;
    let installed = grant_of(&w).await;
    w.ghl.release();
    refresh.await.expect("it ends");
    assert_eq!(grant_of(&w).await, installed, "the older pair is not written over it");
    works(&w, LOCATION).await;
    assert_eq!(refreshes(&w), (1, 0, 0));
    w.end();
}

async fn a_limited_refresh_waits_as_long_as_it_is_told(place: Place) {
    let w = World::connected(place).await;
    w.jump(DAY).await;
    w.ghl.fault_next(TOKEN, GhlFault::RateLimited { retry_after: Some("40".to_owned()) });
    assert_eq!(sendings(&w, 45).await, [0, 40]);
    assert_eq!(refreshes(&w), (1, 0, 0));
    // A limit is no doubt: the next refusal is the end.
    w.jump(DAY).await;
    w.ghl.fault_next(TOKEN, GhlFault::RateLimited { retry_after: Some("5".to_owned()) });
    w.ghl.set_grant_health(LOCATION, GrantHealth::InvalidOauth);
    let before = token_calls(&w);
    sendings(&w, 120).await;
    assert_eq!(token_calls(&w) - before, 2);
    assert_eq!(w.installation(LOCATION).await.expect("kept").health, Health::Reauthorize);
    w.end();
}

async fn a_paused_location_is_active_again_by_itself_after_a_quarter_of_an_hour(place: Place) {
    let w = World::connected(place).await;
    let grant = grant_of(&w).await;
    w.ghl.set_grant_health(LOCATION, GrantHealth::NotActive);
    w.jump(DAY).await;
    let quarter: u64 = 15 * 60;
    let asked = sendings_looking_every(&w, Duration::from_secs(60), 31).await;
    assert_eq!(asked, [0, quarter, 2 * quarter], "400 `Location is not active` is asked again slowly");
    let paused = w.installation(LOCATION).await.expect("kept");
    assert_eq!((paused.health, paused.refresh_started), (Health::Suspended, None));
    assert_eq!(grant_of(&w).await, grant, "the token is kept");
    w.ghl.set_grant_health(LOCATION, GrantHealth::Alive);
    sendings_looking_every(&w, Duration::from_secs(60), 15).await;
    assert_eq!(w.installation(LOCATION).await.expect("kept").health, Health::Active);
    works(&w, LOCATION).await;
    w.end();
}

async fn at_most_sixteen_refreshes_are_in_flight(place: Place) {
    let w = World::connected(place).await;
    let locations: Vec<String> = (0..40).map(|n| format!("LOCmany{n:013}")).collect();
    for location in &locations {
        w.install(location).await;
    }
    let before = token_calls(&w);
    w.jump(DAY).await;
    w.ghl.fault_all(TOKEN, Some(GhlFault::Hang { after_applying: true }));
    let begun = token_calls(&w);
    let (tokens, calls) = (w.app.tokens().clone(), locations.clone());
    let ghl = w.app.tokens().ghl().clone();
    let needs = tokio::spawn(async move {
        let call = async |location: &String| {
            let parsed = LocationId::parse(location).expect("an id");
            let (ghl, id) = (&ghl, location.as_str());
            let upsert = |token| async move { ghl.upsert_contact(&token, id, PHONE).await };
            tokens.call(&parsed, upsert).await.map(drop)
        };
        join_all(calls.iter().map(call)).await
    });
    w.ghl.until(|_| token_calls(&w) >= begun + 16).await;
    // Time for more of them to come, if they could; too little would hide a fault, never make one.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(token_calls(&w) - before, 16);
    w.ghl.fault_all(TOKEN, None);
    w.ghl.release();
    assert!(needs.await.expect("they end").iter().all(Result::is_ok));
    assert!(locations.iter().all(|location| w.ghl.refreshes(location).rotated == 1));
    w.end();
}

async fn three_replicas_with_300_needs_at_expiry_refresh_exactly_once(place: Place) {
    let w = World::connected(place).await;
    w.ghl.set_rate_limit(None);
    let others = [w.replica().await, w.replica().await];
    for other in &others {
        other.leadership().step().await.unwrap();
        assert!(other.leadership().right().is_none());
    }
    w.jump(DAY).await;
    let apps = [&w.app, &others[0], &others[1]];
    let needs = join_all((0..300).map(|n| need(apps[n % 3]))).await;
    assert_eq!(refreshes(&w), (1, 0, 0));
    let refused: Vec<usize> = (0..300).filter(|n| needs[*n].is_err()).collect();
    assert!(refused.iter().all(|n| n % 3 != 0), "all of the leader's have been served");
    assert!(refused.iter().all(|n| matches!(needs[*n], Err(CallError::WaitingForLeader))), "nobody else refreshes");
    let again = join_all((0..300).map(|n| need(apps[n % 3]))).await;
    assert!(again.iter().all(Result::is_ok), "what the leader stored serves everybody");
    assert_eq!((refreshes(&w), token_calls(&w)), ((1, 0, 0), 2), "the install and one refresh");
    w.end();
}

async fn a_successor_sends_the_same_refresh_token_within_the_window(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    w.jump(DAY).await;
    die_between_reply_and_write(&w).await;
    standby.leadership().step().await.unwrap();
    w.clock.advance(Duration::from_secs(16));
    standby.leadership().step().await.unwrap();
    assert!(standby.leadership().right().is_some(), "it took over");
    assert_eq!(standby.tokens().refresh_due().await.unwrap(), 1);
    assert_eq!(refreshes(&w), (1, 1, 0));
    need(&standby).await.expect("a token");
    w.end();
}

async fn a_leader_whose_right_has_lapsed_refreshes_nothing(place: Place) {
    let w = World::connected(place).await;
    w.clock.advance(DAY);
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 0);
    assert!(matches!(need(&w.app).await, Err(CallError::WaitingForLeader)));
    // Between two slots as well: the right is asked for before each sending.
    w.app.leadership().step().await.unwrap();
    w.ghl.fault_next(TOKEN, GhlFault::Reset { after_applying: true });
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    w.clock.advance(Duration::from_secs(11));
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 0);
    assert!(matches!(need(&w.app).await, Err(CallError::WaitingForLeader)));
    assert_eq!(refreshes(&w), (1, 0, 0));
    w.end();
}

/// A call of `app` that needs the main location's token.
async fn need(app: &App) -> Result<(), CallError> {
    let ghl = app.tokens().ghl();
    let location = LocationId::parse(LOCATION).expect("an id");
    let upsert = |token| async move { ghl.upsert_contact(&token, LOCATION, PHONE).await };
    app.tokens().call(&location, upsert).await.map(drop)
}

/// Passes so many seconds in halves, renewing what is due; at which seconds since the first a refresh was sent by now.
async fn sendings(w: &World, seconds: u64) -> Vec<u64> {
    sendings_looking_every(w, Duration::from_millis(500), 2 * seconds).await
}

/// The same with `looks` at this pace.
async fn sendings_looking_every(w: &World, pace: Duration, looks: u64) -> Vec<u64> {
    for _ in 0..looks {
        w.app.tokens().refresh_due().await.unwrap();
        w.pass(pace).await;
    }
    let times = token_times(w);
    // The first is the install's.
    times[1..].iter().map(|at| u64::try_from((at - times[1]) / 1000).expect("in order")).collect()
}

fn token_times(w: &World) -> Vec<i64> {
    w.ghl.calls().iter().filter(|call| call.path == TOKEN).map(|call| call.at.0).collect()
}

/// New pairs, repeated ones and refusals of the main location.
fn refreshes(w: &World) -> (u32, u32, u32) {
    let Refreshes { rotated, repeated, refused } = w.ghl.refreshes(LOCATION);
    (rotated, repeated, refused)
}

async fn begin_refresh(w: &World) -> tokio::task::JoinHandle<()> {
    let before = token_calls(w);
    let tokens = w.app.tokens().clone();
    let refresh = tokio::spawn(async move {
        tokens.refresh_due().await.unwrap();
    });
    w.ghl.until(|_| token_calls(w) > before).await;
    refresh
}

/// The CRM has spent the refresh token and answers; the process that asked is gone.
async fn die_between_reply_and_write(w: &World) {
    w.ghl.fault_next(TOKEN, GhlFault::Hang { after_applying: true });
    let refresh = begin_refresh(w).await;
    refresh.abort();
    let _ = refresh.await;
}

async fn grant_of(w: &World) -> Option<Grant> {
    w.installation(LOCATION).await.and_then(|i| i.grant)
}
