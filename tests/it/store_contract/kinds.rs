//! Every kind of document comes back as it was written, and is found by its own keys.
//!
//! Owns the cases of replies, unreadable webhooks, installations, contacts and the leader document; messages are the rest
//! of the suite's. Imports `store` and `domain`.

use std::time::Duration;

use cast_ghl_provider::domain::agency::{Mint, MintFailure};
use cast_ghl_provider::domain::connect::ConnectLink;
use cast_ghl_provider::domain::contact::ContactNote;
use cast_ghl_provider::domain::day::{Day, DayCount, Reserve, Spent};
use cast_ghl_provider::domain::id::{CompanyId, DocId, Epoch};
use cast_ghl_provider::domain::inbound::{Reply, ReplyAccepted, ReplyProgress};
use cast_ghl_provider::domain::installation::{Grant, GrantKind, Installation, Sealed};
use cast_ghl_provider::domain::leadership::LeaderDoc;
use cast_ghl_provider::domain::lifecycle::{AppEvent, Change, EventAccepted, EventState, StoredEvent};
use cast_ghl_provider::domain::message::DOCUMENT_VERSION;
use cast_ghl_provider::domain::opt_out::{LiftedBy, Said, Scope, Suppression, Wish};
use cast_ghl_provider::domain::receipt::{Fate, KeptReceipt, Receipt};
use cast_ghl_provider::domain::settings::{LocationSettings, OwnKey, ProviderKind};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::domain::transition::StatusOnAccept;
use cast_ghl_provider::store::{
    Collection, Discovered, Discovery, Inserted, LeaderRecord, Query, Record, Saved, Store, StoreError, Unreadable,
    UnreadableFate, UnreadableKept,
};

use super::sample::{T0, at, insert, location, phone, read, reply, settled_reply, survives, together};
use crate::{Cases, cases};

/// The cases of this module; part of the suite.
pub(super) fn cases() -> Cases<Store> {
    cases![
        a_reply_reads_back_exactly,
        an_unreadable_webhook_reads_back_exactly,
        an_installation_reads_back_exactly_and_is_due_for_its_refresh,
        an_installation_is_found_by_its_next_work_and_by_the_company_it_waits_for,
        an_installation_that_names_nothing_is_corrupt,
        a_receipt_reads_back_exactly_is_due_while_it_waits_and_leaves_nothing_once_settled,
        a_lifecycle_event_reads_back_exactly_is_due_until_it_is_settled_and_remembered_when_stripped,
        a_contact_reads_back_exactly_and_is_found_by_its_phone,
        a_suppression_reads_back_exactly_and_is_found_by_phone_state_and_contact,
        a_reply_whose_wish_is_not_heeded_is_due_to_be,
        the_leader_document_reads_back_exactly_and_is_taken_over_once,
        settings_read_back_exactly_and_are_found_by_their_numbers,
        a_days_count_and_a_link_read_back_exactly_and_are_purged_after_their_time,
    ]
}

async fn a_reply_reads_back_exactly(store: Store) {
    assert!(survives(&store, &reply(1)).await);
    assert!(survives(&store, &settled_reply(2)).await);
    let name = ReplyAccepted { from: "GLOBE".into(), phone: None, ..reply(3).accepted };
    let name = Reply::accept(reply(3).id, name, Duration::from_secs(60));
    assert!(survives(&store, &name).await);

    let lane = Query::OpenLane { lane: "+639171234567".into(), limit: 9 };
    let open = store.find::<Reply>(lane).await.unwrap();
    assert!(open.iter().map(|stored| &stored.record).eq([&reply(1)]));
    let due = Query::Due { now: at(9), limit: 9 };
    assert_eq!(store.find::<Reply>(due).await.unwrap().len(), 1);
}

async fn an_unreadable_webhook_reads_back_exactly(store: Store) {
    let record = Unreadable {
        id: DocId::dead(&"ab".repeat(32)),
        kept: UnreadableKept { v: DOCUMENT_VERSION, raw: "bm90IGpzb24=".into(), why: "not JSON".into() },
        fate: UnreadableFate { settled_at: at(1), strip_at: Some(at(2)), dropped_at: None },
    };
    assert!(survives(&store, &record).await);
    assert_eq!(store.insert(&record).await.unwrap(), Inserted::Duplicate);
    let found = store.discover(Collection::Unreadable, &mut Discovery::default()).await.unwrap();
    assert_eq!(found, Discovered::Whole(Vec::new()), "nobody works on what nobody can read");
}

async fn an_installation_reads_back_exactly_and_is_due_for_its_refresh(store: Store) {
    let early = installation("L1", Some(at(5)));
    let late = installation("L2", Some(at(50)));
    let gone = Installation { grant: None, uninstalled_at: Some(at(1)), ..installation("L3", Some(at(5))) };
    let agency = Installation { kind: GrantKind::Company, install_to_future: true, ..installation("L4", None) };
    for record in [&early, &late, &gone, &agency] {
        assert!(survives(&store, record).await);
    }
    let due = Query::Due { now: at(9), limit: 9 };
    let found = store.find::<Installation>(due).await.unwrap();
    assert!(found.iter().map(|stored| &stored.record).eq([&early]));

    let of_company = Query::Lane { lane: "C1".into(), limit: 9 };
    assert_eq!(store.find::<Installation>(of_company).await.unwrap().len(), 4);
}

async fn an_installation_is_found_by_its_next_work_and_by_the_company_it_waits_for(store: Store) {
    let named = |name: &str| Installation::awaiting_token(location(name), CompanyId::parse("C1").ok(), at(5));
    let due = named("L1");
    let later = Installation { mint: Some(Mint::due(at(50))), ..named("L2") };
    let waits = named("L3").not_minted(&named("L3"), MintFailure::NoCompanyToken, at(6), 0.0).unwrap();
    let orphan = Installation::awaiting_token(location("L4"), None, at(5));
    let gone = due.clone().uninstalled(Some(at(7)), at(8));
    let gone = Installation { location: Some(location("L5")), ..gone };
    for record in [&due, &later, &waits, &orphan, &gone] {
        assert!(survives(&store, record).await);
    }
    let found = store.find::<Installation>(Query::ReportDue { now: at(9), limit: 9 }).await.unwrap();
    assert!(found.iter().map(|stored| &stored.record).eq([&due]));
    let found = store.find::<Installation>(Query::Waiting { location: "C1".into(), limit: 9 }).await.unwrap();
    assert!(found.iter().map(|stored| &stored.record).eq([&waits]));
}

async fn a_lifecycle_event_reads_back_exactly_is_due_until_it_is_settled_and_remembered_when_stripped(store: Store) {
    let event = |n: u64| {
        let event = AppEvent {
            change: Change::Uninstall,
            location: Some(location("L1")),
            company: None,
            version_id: Some("v1".into()),
            sent_at: (n == 1).then(|| at(-5)),
        };
        let accepted = EventAccepted {
            v: DOCUMENT_VERSION,
            at: at(n.cast_signed()),
            replica: "replica".into(),
            counter: n,
            event,
        };
        StoredEvent::accept(DocId::event(&format!("w{n}")), accepted)
    };
    for n in [2, 1] {
        assert!(survives(&store, &event(n)).await);
    }
    let due = async || store.find::<StoredEvent>(Query::Due { now: at(9), limit: 9 }).await.unwrap();
    assert!(due().await.iter().map(|stored| &stored.record).eq([&event(1), &event(2)]), "in the order of acceptance");
    let first = read::<StoredEvent>(&store, &event(1).id).await;
    let settled = event(1).settled(EventState::Applied, at(10), Duration::from_millis(5));
    assert!(matches!(store.save(&first, &settled).await.unwrap(), Saved::Done(_)));
    assert!(due().await.iter().map(|stored| &stored.record).eq([&event(2)]));
    assert_eq!(store.purge(Collection::Events, at(15), at(0), 9).await.unwrap(), 1);
    assert_eq!(store.insert(&event(1)).await.unwrap(), Inserted::Duplicate);
}

async fn a_receipt_reads_back_exactly_is_due_while_it_waits_and_leaves_nothing_once_settled(store: Store) {
    let says = |status: &str| Receipt { fate: Fate::of(status), at: Some(at(3)), status: status.into(), words: None };
    let kept = KeptReceipt::accept("sms_1", says("failed"), at(1));
    assert!(survives(&store, &kept).await);
    let due = || store.find::<KeptReceipt>(Query::Due { now: at(9), limit: 9 });
    assert_eq!(due().await.unwrap().len(), 1);
    let stored = read::<KeptReceipt>(&store, &kept.id).await;
    let matched = kept.matched(&says("failed"), at(5)).unwrap();
    assert!(store.save(&stored, &matched).await.unwrap() != Saved::Conflict);
    assert_eq!((due().await.unwrap().len(), read::<KeptReceipt>(&store, &kept.id).await.record), (0, matched));
    let purge = || store.purge(Collection::Receipts, at(9), at(9), 9);
    while purge().await.unwrap() > 0 {}
    assert_eq!(store.tombstone(Collection::Receipts, &kept.id).await.unwrap(), None);
    assert_eq!(store.insert(&kept).await.unwrap(), Inserted::New);
}

async fn an_installation_that_names_nothing_is_corrupt(store: Store) {
    let nameless = Installation { location: None, ..installation("L1", None) };
    insert(&store, &nameless).await;
    let id = Record::id(&nameless);
    let error = store.get::<Installation>(&id).await.unwrap_err();
    let StoreError::Corrupt { id: named, detail } = &error else { panic!("{error}") };
    assert_eq!(*named, id);
    assert!(detail.contains("do not belong together"), "{detail}");
    let page = Query::Page { after: None, limit: 9 };
    insert(&store, &installation("L2", None)).await;
    assert_eq!(store.find::<Installation>(page).await.unwrap().len(), 1, "it does not hold up the others");
}

async fn a_contact_reads_back_exactly_and_is_found_by_its_phone(store: Store) {
    let note = |name: &str, last: u64, outbound: Option<i64>| ContactNote {
        v: DOCUMENT_VERSION,
        location: location(name),
        company: CompanyId::parse("C1").ok(),
        phone: phone(last),
        contact_id: Some("c1".into()),
        conversation_id: None,
        last_outbound_at: outbound.map(at),
    };
    for record in [note("L1", 1, Some(5)), note("L2", 1, None), note("L1", 2, Some(1))] {
        assert!(survives(&store, &record).await);
    }
    let lane = phone(1).e164().to_owned();
    let found = store.find::<ContactNote>(Query::Lane { lane, limit: 9 }).await.unwrap();
    let mut of: Vec<_> = found.iter().map(|stored| stored.record.location.as_str()).collect();
    of.sort_unstable();
    assert_eq!(of, ["L1", "L2"]);
}

async fn a_suppression_reads_back_exactly_and_is_found_by_phone_state_and_contact(store: Store) {
    let of = |scope: Scope, last: u64, since: i64| {
        let said = Said { at: at(since), reply: DocId::inbound("ab"), explicit: false };
        Suppression::begin(&scope, &phone(last), &said)
    };
    let own = of(Scope::Location(location("L1")), 1, 5);
    let all = of(Scope::Everywhere, 1, 6);
    let told = of(Scope::Location(location("L1")), 2, 7);
    let told = Suppression { mirror: told.mirror.calling("c1", at(8)), ..told };
    let lifted = of(Scope::Location(location("L2")), 3, 1).lift(LiftedBy::Operator, at(2)).expect("it stands");
    for record in [&own, &all, &told, &lifted] {
        assert!(survives(&store, record).await);
    }
    let find = async |query| -> Vec<Suppression> {
        store.find::<Suppression>(query).await.unwrap().into_iter().map(|stored| stored.record).collect()
    };
    let lane = find(Query::OpenLane { lane: phone(1).e164().to_owned(), limit: 9 }).await;
    assert_eq!(lane.len(), 2);
    assert_eq!(find(Query::Named { name: "c1".into(), limit: 9 }).await, std::slice::from_ref(&told));
    assert_eq!(find(Query::ReportDue { now: at(0), limit: 9 }).await.len(), 2, "what the CRM is to be told");
    let standing = Query::State { state: "standing".into(), location: Some("L1".into()), after: None, limit: 9 };
    assert_eq!(find(standing).await, [told, own]);
    let state = Query::State { state: "lifted".into(), location: None, after: None, limit: 9 };
    assert_eq!(find(state).await, [lifted]);
}

async fn a_reply_whose_wish_is_not_heeded_is_due_to_be(store: Store) {
    let accepted = ReplyAccepted { wish: Some(Wish::Stop), ..reply(1).accepted };
    let stop = Reply::accept(reply(1).id, accepted, Duration::from_secs(60));
    let heard = ReplyProgress { heard_at: Some(at(3)), ..stop.progress.clone() };
    assert!(survives(&store, &stop).await);
    assert!(survives(&store, &reply(2)).await);
    let due = Query::ReportDue { now: at(9), limit: 9 };
    assert_eq!(store.find::<Reply>(due.clone()).await.unwrap().len(), 1);
    let stored = read::<Reply>(&store, &stop.id).await;
    assert!(store.save(&stored, &stop.with(heard)).await.unwrap() != Saved::Conflict);
    assert!(store.find::<Reply>(due).await.unwrap().is_empty());
}

async fn the_leader_document_reads_back_exactly_and_is_taken_over_once(store: Store) {
    let first = LeaderRecord(LeaderDoc::first("a"));
    assert!(survives(&store, &first).await);
    let stored = read::<LeaderRecord>(&store, &LeaderRecord::key()).await;
    let race = ["b", "c", "d", "e"].map(|me| {
        let (store, stored) = (store.clone(), stored.clone());
        let next = LeaderRecord(stored.record.0.taken_by(me));
        async move { store.save(&stored, &next).await.unwrap() != Saved::Conflict }
    });
    let taken = together(race).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
    let now = read::<LeaderRecord>(&store, &LeaderRecord::key()).await;
    assert_eq!(now.record.0.epoch, Epoch(2));
}

async fn settings_read_back_exactly_and_are_found_by_their_numbers(store: Store) {
    let sealed = Sealed::Encrypted { kid: "k1".into(), nonce: "AAAAAAAAAAAAAAAA".into(), ct: "Y2lwaGVy".into() };
    let full = LocationSettings {
        sender_id: Some("MYBRAND".into()),
        cast_key: Some(OwnKey { sealed, ending: "wxyz".into(), set_at: at(3) }),
        status_on_accept: Some(StatusOnAccept::Pending),
        provider_kind: Some(ProviderKind::Custom),
        receiving_numbers: vec!["+639171234567".into(), "SIM 1".into()],
        enabled: Some(false),
        approved: Some(true),
        daily_parts: Some(0),
        ..LocationSettings::new(location("L1"), T0)
    };
    assert!(survives(&store, &full).await);
    assert!(survives(&store, &LocationSettings::new(location("L2"), T0)).await);
    for name in &full.receiving_numbers {
        let found = store.find::<LocationSettings>(Query::Named { name: name.clone(), limit: 9 }).await.unwrap();
        assert!(found.iter().map(|stored| &stored.record).eq([&full]), "{name}");
    }
}

async fn a_days_count_and_a_link_read_back_exactly_and_are_purged_after_their_time(store: Store) {
    let day = DayCount::new(location("L1"), Day::of(T0)).settle(&DocId("out:L1:a".into()), Spent::Accepted);
    let Reserve::Now(day) = day.reserve(&DocId("out:L1:b".into()), 2, 9) else { panic!("it fits") };
    assert!(survives(&store, &day).await);
    let link = ConnectLink::new(&"ab".repeat(32), location("L1"), T0);
    assert!(survives(&store, &link).await);
    let long = Duration::from_secs(400 * 24 * 3600);
    let later = T0.after(Duration::from_secs(3 * 24 * 3600));
    for collection in [Collection::Days, Collection::Links] {
        assert_eq!(store.purge(collection, T0, T0.before(long), 9).await.unwrap(), 0, "not yet");
        assert_eq!(store.purge(collection, later, later.before(long), 9).await.unwrap(), 1);
    }
    assert_eq!(store.get::<ConnectLink>(&link.id).await.unwrap(), None);
    assert_eq!(store.get::<DayCount>(&day.id()).await.unwrap(), None);
}

fn installation(name: &str, refresh_at: Option<UnixMillis>) -> Installation {
    let sealed = Sealed::Encrypted { kid: "k1".into(), nonce: "AAAAAAAAAAAAAAAA".into(), ct: "Y2lwaGVy".into() };
    let grant = Grant {
        access: sealed,
        refresh: Some(Sealed::Plain { plain: "in the clear".into() }),
        refresh_hash: None,
        expires_at: at(86_400_000),
        scope: Some("conversations.readonly".into()),
    };
    let company = CompanyId::parse("C1").ok();
    let new = Installation::new(GrantKind::Location, Some(location(name)), company, grant, T0);
    Installation { refresh_at, ..new }
}
