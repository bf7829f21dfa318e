//! The key ring over time: a new key in front, older ones still opening, everything sealed anew so that they can go.

use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::installation::{Installation, Sealed};
use cast_ghl_provider::seal;
use cast_ghl_provider::store::Query;

use super::{DAY, OTHER, works};
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

const RING: &str = "TOKEN_ENCRYPTION_KEYS";

pub fn cases() -> Cases<Place> {
    cases![
        the_leader_seals_everything_anew_in_batches_and_the_old_key_can_go,
        sealing_anew_beside_a_refresh_loses_neither,
        tokens_in_the_clear_are_sealed_once_encryption_is_on,
        what_no_key_opens_is_kept_as_it_is_and_listed,
    ]
}

/// What needs several processes.
pub fn replica_cases() -> Cases<Place> {
    cases![only_the_leader_seals_anew]
}

async fn the_leader_seals_everything_anew_in_batches_and_the_old_key_can_go(place: Place) {
    let (old, new) = (seal::generate("old"), seal::generate("new"));
    let w = World::start(place, &[(RING, &old)]).await;
    for n in 0..70 {
        w.install(&format!("LOCmany{n:013}")).await;
    }
    w.install(LOCATION).await;
    assert!(w.app.rekeyer().step().await.unwrap(), "one batch");
    while w.app.rekeyer().step().await.unwrap() {}
    assert_eq!(by_key(&w).await, [("old".to_owned(), 71)]);
    let w = w.restart_with(&[(RING, &format!("{new},{old}"))]).await;
    w.app.rekeyer().step().await.unwrap();
    assert_eq!(by_key(&w).await, [("new".to_owned(), 64), ("old".to_owned(), 7)]);
    while w.app.rekeyer().step().await.unwrap() {}
    assert_eq!(by_key(&w).await, [("new".to_owned(), 71)]);
    assert!(!w.app.rekeyer().step().await.unwrap(), "it rests");
    let w = w.restart_with(&[(RING, &new)]).await;
    assert!(w.app.rekeyer().survey().await.unwrap().unreadable.is_empty());
    works(&w, LOCATION).await;
    w.jump(DAY).await;
    works(&w, LOCATION).await;
    w.end();
}

async fn sealing_anew_beside_a_refresh_loses_neither(place: Place) {
    let (old, new) = (seal::generate("old"), seal::generate("new"));
    let w = World::start(place, &[(RING, &old)]).await;
    w.install(LOCATION).await;
    let mut w = w.restart_with(&[(RING, &format!("{new},{old}"))]).await;
    for round in 0..10 {
        w.jump(DAY).await;
        let (tokens, rekeyer) = (w.app.tokens(), w.app.rekeyer());
        let (refreshed, sealed) = tokio::join!(tokens.refresh_due(), rekeyer.step());
        refreshed.unwrap();
        sealed.unwrap();
        assert_eq!(w.ghl.refreshes(LOCATION).rotated, round + 1);
        let (a, b) = if round % 2 == 0 { (&old, &new) } else { (&new, &old) };
        w = w.restart_with(&[(RING, &format!("{a},{b}"))]).await;
    }
    while w.app.rekeyer().step().await.unwrap() {}
    assert_eq!(by_key(&w).await, [("new".to_owned(), 1)]);
    works(&w, LOCATION).await;
    assert_eq!(w.ghl.refreshes(LOCATION).refused, 0);
    w.end();
}

async fn tokens_in_the_clear_are_sealed_once_encryption_is_on(place: Place) {
    let w = World::start(place, &[("TOKEN_ENCRYPTION", "off"), (RING, "")]).await;
    w.install(LOCATION).await;
    let survey = w.app.rekeyer().survey().await.unwrap();
    assert_eq!((survey.documents, survey.plain, survey.unreadable.len()), (1, 1, 0));
    assert!(!w.app.rekeyer().step().await.unwrap(), "a ring without keys seals nothing");
    let w = w.restart_with(&[("TOKEN_ENCRYPTION", "on"), (RING, &seal::generate("k1"))]).await;
    while w.app.rekeyer().step().await.unwrap() {}
    let survey = w.app.rekeyer().survey().await.unwrap();
    assert_eq!((survey.plain, survey.sealed_by.get("k1")), (0, Some(&1)));
    works(&w, LOCATION).await;
    w.end();
}

async fn what_no_key_opens_is_kept_as_it_is_and_listed(place: Place) {
    let (lost, new) = (seal::generate("lost"), seal::generate("new"));
    let w = World::start(place, &[(RING, &lost)]).await;
    w.install(LOCATION).await;
    let w = w.restart_with(&[(RING, &new)]).await;
    w.install(OTHER).await;
    let before = w.installation(LOCATION).await;
    while w.app.rekeyer().step().await.unwrap() {}
    let survey = w.app.rekeyer().survey().await.unwrap();
    let listed: Vec<&DocId> = survey.unreadable.iter().map(|(id, _)| id).collect();
    assert_eq!(listed, [&DocId(format!("loc:{LOCATION}"))]);
    assert_eq!(w.installation(LOCATION).await, before);
    let all = w.app.store().find::<Installation>(Query::Page { after: None, limit: 10 }).await.unwrap();
    let kid = |i: &Installation| match i.grant.as_ref().map(|grant| &grant.access) {
        Some(Sealed::Encrypted { kid, .. }) => kid.clone(),
        other => panic!("{other:?}"),
    };
    let kids: Vec<String> = all.iter().map(|stored| kid(&stored.record)).collect();
    assert_eq!(kids, ["lost", "new"]);
    w.end();
}

async fn only_the_leader_seals_anew(place: Place) {
    let (old, new) = (seal::generate("old"), seal::generate("new"));
    let w = World::start(place, &[(RING, &old)]).await;
    w.install(LOCATION).await;
    let w = w.restart_with(&[(RING, &format!("{new},{old}"))]).await;
    let standby = w.replica().await;
    standby.leadership().step().await.unwrap();
    assert!(!standby.rekeyer().step().await.unwrap());
    assert_eq!(by_key(&w).await, [("old".to_owned(), 1)]);
    w.app.rekeyer().step().await.unwrap();
    assert_eq!(by_key(&w).await, [("new".to_owned(), 1)]);
    w.end();
}

/// How many documents each key seals.
async fn by_key(w: &World) -> Vec<(String, usize)> {
    w.app.rekeyer().survey().await.unwrap().sealed_by.into_iter().collect()
}
