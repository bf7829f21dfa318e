//! What operators and receipts look documents up by: names others gave them, the state they stand in, what is left of them.
//!
//! Owns the cases of `Query::Named`, `Query::State` and `Store::tombstone`. Imports `store` and `domain`.

use std::time::Duration;

use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::message::{Intake, Message, PartRecord, Progress, State};
use cast_ghl_provider::store::{
    Collection, Place, Query, Saved, Store, Tombstone, Unreadable, UnreadableFate, UnreadableKept,
};

use super::sample::{at, found, insert, intake, location, message, read, settled};
use crate::{Cases, cases};

/// The cases of this module; part of the suite.
pub(super) fn cases() -> Cases<Store> {
    cases![
        a_message_is_found_by_the_id_of_the_crm_and_by_each_of_the_gateway,
        a_state_is_walked_newest_first_page_by_page_and_by_location,
        the_newest_of_a_location_are_found_whatever_their_state_and_stripped_ones_are_not,
        an_unreadable_webhook_stands_among_the_dead_until_it_is_dropped,
        a_stripped_message_leaves_its_state_and_time_and_answers_to_no_name,
    ]
}

fn sent(message: &Message, ids: &[&str]) -> Message {
    let part = |id: &&str| PartRecord {
        text: "x".into(),
        segments: 1,
        accepted: true,
        gateway_id: (!id.is_empty()).then(|| (*id).to_owned()),
        receipt: None,
    };
    let parts = ids.iter().map(part).collect();
    message.with(Progress { parts, ..message.progress.clone() })
}

fn named(name: &str) -> Query {
    Query::Named { name: name.into(), limit: 9 }
}

async fn a_message_is_found_by_the_id_of_the_crm_and_by_each_of_the_gateway(store: Store) {
    insert(&store, &message(1)).await;
    insert(&store, &sent(&message(2), &["g2"])).await;
    assert_eq!(found(&store, named("m000001")).await, [1]);
    assert_eq!(found(&store, named("g1")).await, [0_u64; 0]);
    // Ids come with the parts, one after the other.
    let mut stored = read::<Message>(&store, &message(1).id).await;
    for ids in [["g1", ""], ["g1", "g2"]] {
        let Saved::Done(done) = store.save(&stored, &sent(&message(1), &ids)).await.unwrap() else {
            panic!("nobody else wrote")
        };
        stored = done;
        assert_eq!(found(&store, named("g1")).await, [1]);
    }
    assert_eq!(found(&store, named("g2")).await, [1, 2], "nothing promises that a gateway's id is unique");
    assert_eq!(found(&store, Query::Named { name: "g2".into(), limit: 1 }).await, [1]);
    assert_eq!(found(&store, named("m000001")).await, [1]);
    assert_eq!(found(&store, named("")).await, [0_u64; 0]);
    let stale = sent(&message(2), &["g9"]);
    let old = read::<Message>(&store, &message(2).id).await;
    store.save(&old, &message(2)).await.unwrap();
    assert_eq!(store.save(&old, &stale).await.unwrap(), Saved::Conflict);
    assert_eq!(found(&store, named("g9")).await, [0_u64; 0], "a save that did not land names nothing");
}

async fn a_state_is_walked_newest_first_page_by_page_and_by_location(store: Store) {
    let parked = |m: &Message| m.with(Progress { state: State::Parked, ..settled(m).progress });
    for n in 1..=7 {
        insert(&store, &parked(&message(n))).await;
    }
    // Two of one moment, and one of another place; one that waits still.
    let twin = Message::accept(intake(9), at(4), "replica", 9);
    insert(&store, &parked(&twin)).await;
    let elsewhere = Message::accept(Intake { location: location("L2"), ..intake(8) }, at(8), "replica", 8);
    insert(&store, &parked(&elsewhere)).await;
    insert(&store, &message(10)).await;

    let state = |place: Option<&str>, after, limit| Query::State {
        state: "parked".into(),
        location: place.map(str::to_owned),
        after,
        limit,
    };
    assert_eq!(found(&store, state(None, None, 99)).await, [8, 7, 6, 5, 9, 4, 3, 2, 1]);
    assert_eq!(found(&store, state(Some("L2"), None, 99)).await, [8]);
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let page = store.find::<Message>(state(Some("L1"), after.clone(), 3)).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Place { accepted_at: last.record.accepted.at, id: last.record.id.clone() });
        walked.extend(page.iter().map(|stored| stored.record.accepted.counter));
        // What was walked over may leave its state: the place holds.
        store.save(last, &settled(&last.record)).await.unwrap();
    }
    assert_eq!(walked, [7, 6, 5, 9, 4, 3, 2, 1]);
    let waiting = Query::State { state: "queued".into(), location: None, after: None, limit: 9 };
    assert_eq!(found(&store, waiting).await, [10]);
    assert_eq!(found(&store, state(None, None, 0)).await, [0_u64; 0]);
}

async fn the_newest_of_a_location_are_found_whatever_their_state_and_stripped_ones_are_not(store: Store) {
    insert(&store, &settled(&message(1))).await;
    for n in 2..=5 {
        let parked = message(n).with(Progress { state: State::Parked, ..message(n).progress.clone() });
        insert(&store, &if n == 3 { parked } else { message(n) }).await;
    }
    let elsewhere = Message::accept(Intake { location: location("L2"), ..intake(8) }, at(8), "replica", 8);
    insert(&store, &elsewhere).await;
    // Of one moment with another.
    insert(&store, &Message::accept(intake(9), at(4), "replica", 9)).await;
    let newest = |place: &str, limit| Query::Newest { location: place.into(), limit };
    assert_eq!(found(&store, newest("L1", 99)).await, [5, 9, 4, 3, 2, 1]);
    assert_eq!(found(&store, newest("L1", 3)).await, [5, 9, 4]);
    assert_eq!(found(&store, newest("L2", 99)).await, [8]);
    assert_eq!(found(&store, newest("L3", 99)).await, [0_u64; 0]);
    assert_eq!(found(&store, newest("L1", 0)).await, [0_u64; 0]);
    let forget = at(0).before(Duration::from_secs(1));
    assert_eq!(store.purge(Collection::Messages, at(1_000), forget, 9).await.unwrap(), 1);
    assert_eq!(found(&store, newest("L1", 99)).await, [5, 9, 4, 3, 2]);
}

async fn an_unreadable_webhook_stands_among_the_dead_until_it_is_dropped(store: Store) {
    let dead = |n: u8, dropped| Unreadable {
        id: DocId::dead(&format!("{n:02x}").repeat(32)),
        kept: UnreadableKept { v: 1, raw: String::new(), why: "it is not JSON".into() },
        fate: UnreadableFate { settled_at: at(n.into()), strip_at: None, dropped_at: dropped },
    };
    insert(&store, &dead(1, None)).await;
    insert(&store, &dead(2, None)).await;
    insert(&store, &dead(3, Some(at(5)))).await;
    let query = || Query::State { state: "dead".into(), location: None, after: None, limit: 9 };
    let found = store.find::<Unreadable>(query()).await.unwrap();
    assert!(found.iter().map(|stored| &stored.record).eq([&dead(2, None), &dead(1, None)]));
    store.save(&found[0], &dead(2, Some(at(6)))).await.unwrap();
    assert_eq!(store.find::<Unreadable>(query()).await.unwrap().len(), 1);
}

async fn a_stripped_message_leaves_its_state_and_time_and_answers_to_no_name(store: Store) {
    let record = settled(&sent(&message(1), &["g1"]));
    insert(&store, &record).await;
    assert_eq!(store.tombstone(Collection::Messages, &record.id).await.unwrap(), None, "it is whole");
    let forget = at(0).before(Duration::from_secs(1));
    assert_eq!(store.purge(Collection::Messages, at(1_000), forget, 9).await.unwrap(), 1);
    let left = Tombstone { state: "accepted".into(), settled_at: at(500) };
    assert_eq!(store.tombstone(Collection::Messages, &record.id).await.unwrap(), Some(left));
    for name in ["m000001", "g1"] {
        assert_eq!(found(&store, named(name)).await, [0_u64; 0]);
    }
    let query = Query::State { state: "accepted".into(), location: None, after: None, limit: 9 };
    assert_eq!(found(&store, query).await, [0_u64; 0]);
    // Forgotten in the end, and then as good as new.
    assert_eq!(store.purge(Collection::Messages, at(1_000), at(500), 9).await.unwrap(), 1);
    assert_eq!(store.tombstone(Collection::Messages, &record.id).await.unwrap(), None);
    insert(&store, &record).await;
    assert_eq!(found(&store, named("g1")).await, [1]);
}
