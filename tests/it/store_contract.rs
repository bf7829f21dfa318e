//! What a store promises, on every back end: one suite over [`Store`], and what each back end promises besides.
//!
//! Owns the cases; who opens the stores and where is the harness's affair. A case gets a store that is empty, prepared and
//! its own. Invariant: no case waits for time to pass. Must not import anything of the crate but `store` and `domain`.

mod embedded;
mod kinds;
mod lookup;
mod mongo;
mod sample;

use std::time::Duration;

use cast_ghl_provider::domain::contact::ContactNote;
use cast_ghl_provider::domain::id::{AttemptId, Epoch};
use cast_ghl_provider::domain::message::{
    Attempt, AttemptResult, FailureCode, Intake, Message, PartRecord, Progress, State,
};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::store::{
    Collection, Discovered, Discovery, Header, Inserted, Keys, Query, Record, Saved, Store, Stored,
};

pub use self::embedded::embedded_cases;
pub use self::mongo::{MongoPlace, mongo_cases};
use self::sample::{
    T0, at, counters, discovered, found, insert, intake, location, message, read, reply, report_due, settled,
    settled_reply, survives, together,
};
use crate::{Cases, cases};

/// What every back end promises. Each case gets an empty store of its own.
pub fn cases() -> Cases<Store> {
    let mut all: Cases<Store> = cases![
        a_document_is_new_once_and_a_duplicate_ever_after,
        a_duplicate_changes_nothing_that_can_be_read,
        of_fifty_racing_inserts_of_one_id_exactly_one_is_new,
        an_absent_document_reads_as_none,
        a_message_reads_back_exactly_however_odd_its_text,
        a_message_of_900_kilobytes_is_kept_whole,
        numbers_of_63_bits_read_back_exactly,
        a_save_lands_on_its_revision_and_the_next_on_the_new_one,
        a_save_on_a_stale_revision_conflicts_and_changes_nothing,
        a_save_of_an_absent_document_conflicts_and_makes_none,
        of_32_racing_saves_of_a_revision_exactly_one_lands,
        racing_updates_lose_nothing,
        an_update_that_decides_nothing_changes_nothing,
        due_finds_open_documents_earliest_first_up_to_its_limit,
        report_due_finds_due_reports_earliest_first_up_to_its_limit,
        waiting_finds_whose_report_waits_for_the_token_of_a_location,
        a_lane_holds_all_of_its_documents_and_its_open_lane_the_open_ones,
        pages_walk_through_everything_by_id,
        a_limit_of_nothing_finds_nothing,
        a_fresh_poller_sees_all_that_is_open_in_order_of_acceptance,
        a_poll_tells_of_what_came_since_the_last,
        a_settled_document_is_not_discovered,
        what_is_open_is_counted_and_what_is_settled_is_not,
        a_header_holds_what_the_queue_orders_by,
        a_backlog_of_several_pages_is_discovered_to_its_end,
        racing_inserts_are_all_discovered,
        a_store_that_answers_is_reachable,
    ];
    all.extend(kinds::cases());
    all.extend(lookup::cases());
    all
}

// Inserting and reading

async fn a_document_is_new_once_and_a_duplicate_ever_after(store: Store) {
    let first = message(1);
    assert_eq!(store.insert(&first).await.unwrap(), Inserted::New);
    for _ in 0..3 {
        assert_eq!(store.insert(&first).await.unwrap(), Inserted::Duplicate);
    }
    assert_eq!(store.insert(&message(2)).await.unwrap(), Inserted::New);
}

async fn a_duplicate_changes_nothing_that_can_be_read(store: Store) {
    let original = message(1);
    insert(&store, &original).await;
    let stored = read::<Message>(&store, &original.id).await;
    let saved = store.save(&stored, &settled(&original)).await.unwrap();
    let Saved::Done(saved) = saved else { panic!("nobody else wrote") };

    let again =
        Message::accept(Intake { text: Some("another text".into()), ..intake(1) }, at(9_999), "another replica", 77);
    assert_eq!(store.insert(&again).await.unwrap(), Inserted::Duplicate);
    assert_eq!(read::<Message>(&store, &original.id).await, saved);
    assert_eq!(discovered(&store).await, []);
}

async fn of_fifty_racing_inserts_of_one_id_exactly_one_is_new(store: Store) {
    let race = (0..50).map(|n| {
        let store = store.clone();
        async move { store.insert(&Message::accept(intake(1), at(n), "replica", 1)).await.unwrap() }
    });
    let results = together(race).await;
    let new = results.iter().filter(|inserted| **inserted == Inserted::New).count();
    assert_eq!((new, results.len()), (1, 50));
    assert_eq!(discovered(&store).await.len(), 1);
}

async fn an_absent_document_reads_as_none(store: Store) {
    assert_eq!(store.get::<Message>(&message(1).id).await.unwrap(), None);
    insert(&store, &message(1)).await;
    assert_eq!(store.get::<Message>(&message(2).id).await.unwrap(), None);
    let same_id = store.get::<ContactNote>(&message(1).id).await.unwrap();
    assert_eq!(same_id, None, "a document of another kind was found");
}

async fn a_message_reads_back_exactly_however_odd_its_text(store: Store) {
    let texts = [
        "",
        " leading and trailing \n\t\r\n",
        "Magandang umaga po! ₱500 — “oo” ñ 🇵🇭 👩‍👩‍👧‍👦 e\u{301}",
        "$set.k: {\"$where\": 1} \\u0000 ' \" ` %s {} \u{202e}\u{feff}\u{fffd}\u{10ffff}",
    ];
    for (n, text) in (1..).zip(texts) {
        let accepted = Message::accept(
            Intake {
                text: Some(text.into()),
                phone: None,
                contact_id: Some(text.into()),
                user_id: None,
                attachments: vec!["https://example.com/a?b=c&d".into(), text.into()],
                ..intake(n)
            },
            at(-1),
            "replica",
            n,
        );
        let attempt = Attempt {
            id: AttemptId("00ff".into()),
            part: 1,
            epoch: Epoch(7),
            at: at(3),
            result: AttemptResult::Unknown,
            gateway_id: Some("sms_0".into()),
        };
        let part = PartRecord {
            text: text.into(),
            segments: 3,
            accepted: true,
            gateway_id: Some("sms_1".into()),
            receipt: None,
        };
        let record = accepted.with(Progress {
            state: State::Parked,
            code: Some(FailureCode::UnknownOutcome),
            epoch: Epoch(7),
            crashes: 2,
            parts: vec![part.clone(), PartRecord { accepted: false, gateway_id: None, ..part }],
            attempts: vec![attempt],
            generation: 1,
            ..report_due(&accepted, at(4), true).progress
        });
        assert!(survives(&store, &record).await, "{text:?}");
    }
}

async fn a_message_of_900_kilobytes_is_kept_whole(store: Store) {
    let text: String = "🏝️ñ5%".chars().cycle().take(300_000).collect();
    assert!(text.len() > 600_000);
    let long = Intake { text: Some(text + &"x".repeat(250_000)), ..intake(1) };
    let record = Message::accept(long, T0, "replica", 1);
    assert!(survives(&store, &record).await);
}

async fn numbers_of_63_bits_read_back_exactly(store: Store) {
    let most = i64::MAX.cast_unsigned();
    let accepted = Message::accept(intake(1), UnixMillis(i64::MAX), "replica", most);
    let record = accepted.with(Progress {
        epoch: Epoch(most),
        crashes: u32::MAX,
        due_at: UnixMillis(i64::MIN),
        ..accepted.progress.clone()
    });
    assert!(survives(&store, &record).await);
    assert_eq!(counters(&discovered(&store).await), [i64::MAX]);
}

// Saving

async fn a_save_lands_on_its_revision_and_the_next_on_the_new_one(store: Store) {
    let record = message(1);
    insert(&store, &record).await;
    let mut stored = read::<Message>(&store, &record.id).await;
    for crashes in 1..=5 {
        let next = record.with(Progress { crashes, ..record.progress.clone() });
        let Saved::Done(done) = store.save(&stored, &next).await.unwrap() else {
            panic!("save {crashes} conflicted with nobody")
        };
        assert_eq!(done.record, next);
        assert_ne!(done.revision, stored.revision);
        assert_eq!(read::<Message>(&store, &record.id).await, done);
        stored = done;
    }
}

async fn a_save_on_a_stale_revision_conflicts_and_changes_nothing(store: Store) {
    let record = message(1);
    insert(&store, &record).await;
    let stale = read::<Message>(&store, &record.id).await;
    let Saved::Done(current) = store.save(&stale, &settled(&record)).await.unwrap() else {
        panic!("nobody else wrote")
    };
    for _ in 0..2 {
        assert_eq!(store.save(&stale, &record).await.unwrap(), Saved::Conflict);
    }
    assert_eq!(read::<Message>(&store, &record.id).await, current);
    assert_eq!(discovered(&store).await, []);
}

async fn a_save_of_an_absent_document_conflicts_and_makes_none(store: Store) {
    insert(&store, &message(1)).await;
    let Stored { revision, .. } = read::<Message>(&store, &message(1).id).await;
    let absent = Stored { record: message(2), revision };
    assert_eq!(store.save(&absent, &settled(&message(2))).await.unwrap(), Saved::Conflict);
    assert_eq!(store.get::<Message>(&message(2).id).await.unwrap(), None);
}

async fn of_32_racing_saves_of_a_revision_exactly_one_lands(store: Store) {
    let record = message(1);
    insert(&store, &record).await;
    for _ in 0..4 {
        let stored = read::<Message>(&store, &record.id).await;
        let race = (0..32).map(|crashes| {
            let (store, stored) = (store.clone(), stored.clone());
            let next = record.with(Progress { crashes, ..record.progress.clone() });
            async move { store.save(&stored, &next).await.unwrap() }
        });
        let landed: Vec<_> = together(race)
            .await
            .into_iter()
            .filter_map(|saved| match saved {
                Saved::Done(done) => Some(done),
                Saved::Conflict => None,
            })
            .collect();
        assert_eq!(landed, [read::<Message>(&store, &record.id).await]);
    }
}

async fn racing_updates_lose_nothing(store: Store) {
    let record = message(1);
    insert(&store, &record).await;
    let race = (0..8).map(|_| {
        let (store, id) = (store.clone(), record.id.clone());
        async move {
            for _ in 0..10 {
                let one_more = |m: &Message| {
                    let crashes = m.progress.crashes + 1;
                    Some(m.with(Progress { crashes, ..m.progress.clone() }))
                };
                store.update(&id, one_more).await.unwrap().expect("it is there");
            }
        }
    });
    together(race).await;
    assert_eq!(read::<Message>(&store, &record.id).await.record.progress.crashes, 80);
}

async fn an_update_that_decides_nothing_changes_nothing(store: Store) {
    let record = message(1);
    let settle = |m: &Message| Some(settled(m));
    assert_eq!(store.update(&record.id, settle).await.unwrap(), None, "there is no document");
    insert(&store, &record).await;
    let before = read::<Message>(&store, &record.id).await;
    assert_eq!(store.update::<Message>(&record.id, |_| None).await.unwrap(), None);
    assert_eq!(read::<Message>(&store, &record.id).await, before);
}

// Looking up

async fn due_finds_open_documents_earliest_first_up_to_its_limit(store: Store) {
    for (n, due) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 40)] {
        let record = message(n);
        let record = record.with(Progress { due_at: at(due), ..record.progress.clone() });
        insert(&store, &record).await;
    }
    let due = message(6);
    let due = due.with(Progress { due_at: at(0), ..due.progress.clone() });
    insert(&store, &settled(&due)).await;

    let due = |now, limit| Query::Due { now: at(now), limit };
    assert_eq!(found(&store, due(30, 9)).await, [2, 4, 3, 1]);
    assert_eq!(found(&store, due(30, 3)).await, [2, 4, 3]);
    assert_eq!(found(&store, due(9, 9)).await, [0_u64; 0]);
}

async fn report_due_finds_due_reports_earliest_first_up_to_its_limit(store: Store) {
    for (n, due) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 40)] {
        insert(&store, &report_due(&message(n), at(due), false)).await;
    }
    insert(&store, &message(6)).await;
    insert(&store, &settled(&message(7))).await;

    let due = |now, limit| Query::ReportDue { now: at(now), limit };
    assert_eq!(found(&store, due(30, 9)).await, [2, 4, 3, 1]);
    assert_eq!(found(&store, due(30, 2)).await, [2, 4]);

    let first = read::<Message>(&store, &message(2).id).await;
    store.save(&first, &settled(&first.record)).await.unwrap();
    let told = first.record.with(Progress { report: None, ..first.record.progress.clone() });
    let newest = read::<Message>(&store, &message(2).id).await;
    store.save(&newest, &told).await.unwrap();
    assert_eq!(found(&store, due(30, 2)).await, [4, 3], "a key that is gone still finds it");
}

async fn waiting_finds_whose_report_waits_for_the_token_of_a_location(store: Store) {
    for n in 1..=4 {
        insert(&store, &report_due(&message(n), at(0), n != 2)).await;
    }
    let elsewhere = Intake { location: location("L2"), ..intake(9) };
    let elsewhere = Message::accept(elsewhere, at(9), "replica", 9);
    insert(&store, &report_due(&elsewhere, at(0), true)).await;

    let waiting = |name: &str, limit| Query::Waiting { location: name.into(), limit };
    assert_eq!(found(&store, waiting("L1", 9)).await, [1, 3, 4]);
    assert_eq!(found(&store, waiting("L1", 2)).await, [1, 3]);
    assert_eq!(found(&store, waiting("L2", 9)).await, [9]);
    assert_eq!(found(&store, waiting("L3", 9)).await, [0_u64; 0]);
}

async fn a_lane_holds_all_of_its_documents_and_its_open_lane_the_open_ones(store: Store) {
    for n in 1..=6 {
        let record = message(n);
        insert(&store, &if n % 2 == 0 { settled(&record) } else { record }).await;
    }
    let other = Intake { phone: Some("0918 123 4567".into()), ..intake(9) };
    insert(&store, &Message::accept(other, at(9), "replica", 9)).await;

    let lane = intake(1).lane();
    let all = |limit| Query::Lane { lane: lane.clone(), limit };
    let open = |limit| Query::OpenLane { lane: lane.clone(), limit };
    assert_eq!(found(&store, all(9)).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(found(&store, all(2)).await, [1, 2]);
    assert_eq!(found(&store, open(9)).await, [1, 3, 5]);
    assert_eq!(found(&store, open(1)).await, [1]);
}

async fn pages_walk_through_everything_by_id(store: Store) {
    let inserts = (1..=300).rev().map(|n| {
        let store = store.clone();
        async move { insert(&store, &message(n)).await }
    });
    together(inserts).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.find::<Message>(Query::Page { after, limit: 70 }).await.unwrap();
        assert!(page.len() <= 70);
        let Some(last) = page.last() else { break };
        after = Some(last.record.id.clone());
        seen.extend(page.iter().map(|stored| stored.record.accepted.counter));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

async fn a_limit_of_nothing_finds_nothing(store: Store) {
    insert(&store, &report_due(&message(1), at(0), true)).await;
    insert(&store, &message(2)).await;
    let (now, limit, lane) = (at(9), 0, intake(1).lane());
    for query in [
        Query::Due { now, limit },
        Query::ReportDue { now, limit },
        Query::Waiting { location: "L1".into(), limit },
        Query::Lane { lane: lane.clone(), limit },
        Query::OpenLane { lane, limit },
        Query::Page { after: None, limit },
    ] {
        assert_eq!(found(&store, query.clone()).await, [0_u64; 0], "{query:?}");
    }
}

// Discovering

async fn a_fresh_poller_sees_all_that_is_open_in_order_of_acceptance(store: Store) {
    assert_eq!(discovered(&store).await, []);
    for n in 1..=30 {
        insert(&store, &message(n)).await;
    }
    // Neither a save nor what it changes moves a document from its place.
    for n in (1..=30).step_by(3) {
        let stored = read::<Message>(&store, &message(n).id).await;
        let held =
            stored.record.with(Progress { state: State::Held, due_at: at(1_000), ..stored.record.progress.clone() });
        store.save(&stored, &held).await.unwrap();
    }
    assert_eq!(counters(&discovered(&store).await), (1..=30).collect::<Vec<_>>());
}

async fn a_poll_tells_of_what_came_since_the_last(store: Store) {
    let mut seen = Discovery::default();
    for n in 1..=5 {
        insert(&store, &message(n)).await;
        let (Discovered::Whole(told) | Discovered::New(told)) =
            store.discover(Collection::Messages, &mut seen).await.unwrap();
        assert_eq!(counters(&told).last(), Some(&n.cast_signed()));
    }
}

async fn a_settled_document_is_not_discovered(store: Store) {
    for n in 1..=3 {
        insert(&store, &message(n)).await;
    }
    insert(&store, &settled(&message(4))).await;
    let stored = read::<Message>(&store, &message(2).id).await;
    store.save(&stored, &settled(&stored.record)).await.unwrap();
    assert_eq!(counters(&discovered(&store).await), [1, 3]);

    // A person's resend opens it again.
    let stored = read::<Message>(&store, &message(2).id).await;
    store.save(&stored, &message(2)).await.unwrap();
    assert_eq!(counters(&discovered(&store).await), [1, 2, 3]);
}

async fn what_is_open_is_counted_and_what_is_settled_is_not(store: Store) {
    assert_eq!(store.count_open(Collection::Messages).await.unwrap(), 0);
    for n in 1..=3 {
        insert(&store, &message(n)).await;
    }
    insert(&store, &settled(&message(4))).await;
    insert(&store, &reply(5)).await;
    assert_eq!(store.count_open(Collection::Messages).await.unwrap(), 3);
    assert_eq!(store.count_open(Collection::Inbound).await.unwrap(), 1);
    let stored = read::<Message>(&store, &message(2).id).await;
    store.save(&stored, &settled(&stored.record)).await.unwrap();
    assert_eq!(store.count_open(Collection::Messages).await.unwrap(), 2);
}

async fn a_header_holds_what_the_queue_orders_by(store: Store) {
    let record = message(7);
    let claimed =
        record.with(Progress { state: State::Sending, epoch: Epoch(3), due_at: at(99), ..record.progress.clone() });
    insert(&store, &claimed).await;
    let headers = discovered(&store).await;
    let [Header { id, keys }] = headers.as_slice() else { panic!("one is open") };
    assert_eq!(*id, record.id);
    assert_eq!(*keys, Keys { names: Vec::new(), ..claimed.keys() });

    let unrouted = settled_reply(1);
    insert(&store, &unrouted).await;
    insert(&store, &reply(2)).await;
    let found = store.discover(Collection::Inbound, &mut Discovery::default()).await.unwrap();
    let Discovered::Whole(headers) = found else { panic!("a fresh poller") };
    assert_eq!(headers, [Header { id: reply(2).id, keys: reply(2).keys() }]);
}

async fn a_backlog_of_several_pages_is_discovered_to_its_end(store: Store) {
    const BACKLOG: u64 = 2_300;
    let inserts = (1..=BACKLOG).map(|n| {
        let store = store.clone();
        async move { insert(&store, &message(n)).await }
    });
    together(inserts).await;
    let mut told = counters(&discovered(&store).await);
    // Accepted at once: their order is that of the store, and each is there once.
    told.sort_unstable();
    assert_eq!(told, (1..=BACKLOG.cast_signed()).collect::<Vec<_>>());
}

async fn racing_inserts_are_all_discovered(store: Store) {
    let mut seen = Discovery::default();
    let mut told = Vec::new();
    for round in 0..5 {
        let clones = std::iter::repeat_n(store.clone(), 20);
        let inserts = clones.zip(round * 20 + 1..).map(|(store, n)| async move {
            insert(&store, &message(n)).await;
        });
        let inserting = tokio::spawn(together(inserts));
        // A poll amid the inserts misses none for good.
        told.extend(told_by(&store, &mut seen).await);
        inserting.await.unwrap();
        told.extend(told_by(&store, &mut seen).await);
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
}

async fn told_by(store: &Store, seen: &mut Discovery) -> Vec<i64> {
    let (Discovered::Whole(told) | Discovered::New(told)) = store.discover(Collection::Messages, seen).await.unwrap();
    counters(&told)
}

async fn a_store_that_answers_is_reachable(store: Store) {
    assert!(store.reachable(Duration::from_secs(10)).await);
    assert!(["embedded", "mongodb"].contains(&store.kind()));
}
