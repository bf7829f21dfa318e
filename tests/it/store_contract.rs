//! What a store promises, on every back end: one suite over [`Store`], and what each back end promises besides.
//!
//! Owns the cases and their documents; who opens the stores and where is the harness's affair. A case gets a store that is
//! empty, prepared and its own. Invariant: no case waits for time to pass. Must not import anything of the crate but
//! `store` and `domain`.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use cast_ghl_provider::domain::contact::ContactNote;
use cast_ghl_provider::domain::id::{AttemptId, CompanyId, DocId, Epoch, GhlMessageId, LocationId};
use cast_ghl_provider::domain::inbound::{Reply, ReplyAccepted, ReplyProgress, ReplyState};
use cast_ghl_provider::domain::installation::{Grant, GrantKind, Installation, Sealed};
use cast_ghl_provider::domain::leadership::LeaderDoc;
use cast_ghl_provider::domain::message::{
    Attempt, AttemptResult, DOCUMENT_VERSION, FailureCode, Intake, Message, PartRecord, Progress, State,
};
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::domain::report::{Report, ReportSource, ReportStatus, Verdict};
use cast_ghl_provider::domain::secret::Secret;
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::store::{
    Collection, Discovered, Discovery, EmbeddedStore, Header, Inserted, LeaderRecord, Lock, MongoSettings, MongoStore,
    Query, Record, Saved, Store, StoreError, Stored, Unreadable, UnreadableFate, UnreadableKept,
};
use mongodb::bson::{Bson, Document, doc};

/// A case on its way.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Cases with their names, which are sentences.
pub type Cases<Place> = Vec<(&'static str, fn(Place) -> Running)>;

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        vec![$((stringify!($case), |place| Box::pin($case(place)))),*]
    };
}

/// What every back end promises. Each case gets an empty store of its own.
pub fn cases() -> Cases<Store> {
    cases![
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
        a_header_holds_what_the_queue_orders_by,
        a_backlog_of_several_pages_is_discovered_to_its_end,
        racing_inserts_are_all_discovered,
        a_reply_reads_back_exactly,
        an_unreadable_webhook_reads_back_exactly,
        an_installation_reads_back_exactly_and_is_due_for_its_refresh,
        an_installation_that_names_nothing_is_corrupt,
        a_contact_reads_back_exactly_and_is_found_by_its_phone,
        the_leader_document_reads_back_exactly_and_is_taken_over_once,
        a_store_that_answers_is_reachable,
    ]
}

/// What the embedded store promises besides. Each case gets a directory that does not exist yet.
pub fn embedded_cases() -> Cases<PathBuf> {
    cases![
        a_restart_keeps_everything,
        the_data_directory_and_its_files_are_the_owners_alone,
        a_second_lock_is_refused_and_told_who_holds_it,
        the_lock_is_free_once_its_holder_is_gone,
        a_schema_of_a_later_release_is_refused_and_left_alone,
        a_directory_that_cannot_be_made_is_refused,
        own_commits_are_told_as_new_and_told_once,
        a_commit_of_another_process_makes_the_next_poll_whole,
    ]
}

/// What the MongoDB store promises besides. Each case gets a database that does not exist yet.
pub fn mongo_cases() -> Cases<MongoPlace> {
    cases![
        preparing_again_changes_nothing,
        a_document_in_the_database_has_the_documented_shape,
        redeliveries_are_counted_in_the_database,
        a_tombstone_reads_as_absent_and_its_repeat_is_a_duplicate,
        a_foreign_document_is_corrupt_and_its_values_are_not_shown,
    ]
}

/// A server and a database of one's own on it.
#[derive(Clone)]
pub struct MongoPlace {
    pub uri: String,
    pub database: String,
}

impl MongoPlace {
    /// A prepared store in this place.
    pub async fn open(&self) -> MongoStore {
        let settings = MongoSettings {
            uri: Secret::from(self.uri.as_str()),
            database: self.database.clone(),
            server_selection: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            // Generous: a build on the same two cores is no fault of the store.
            operation: Duration::from_secs(20),
        };
        let store = MongoStore::open(&settings).await.expect("a URI the driver takes");
        store.prepare().await.expect("a server that answers");
        store
    }

    async fn collection(&self, collection: Collection) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.uri).await.expect("a URI the driver takes");
        client.database(&self.database).collection(collection.name())
    }
}

const T0: UnixMillis = UnixMillis(1_760_000_000_000);

fn at(offset: i64) -> UnixMillis {
    UnixMillis(T0.0 + offset)
}

fn location(name: &str) -> LocationId {
    LocationId::parse(name).unwrap()
}

fn phone(last: u64) -> Phone {
    Phone::parse(&format!("+63917{last:07}")).unwrap()
}

fn intake(n: u64) -> Intake {
    Intake {
        location: location("L1"),
        message_id: GhlMessageId::parse(&format!("m{n:06}")).unwrap(),
        contact_id: Some("c1".into()),
        conversation_id: None,
        phone: Some("+639171234567".into()),
        text: Some("Kumusta".into()),
        attachments: Vec::new(),
        user_id: None,
    }
}

/// The nth message of a process: accepted n milliseconds after the first.
fn message(n: u64) -> Message {
    Message::accept(intake(n), at(n.cast_signed()), "replica", n)
}

fn settled(message: &Message) -> Message {
    message.with(Progress {
        state: State::Accepted,
        settled_at: Some(at(500)),
        strip_at: Some(at(1_000)),
        ..message.progress.clone()
    })
}

fn report_due(message: &Message, due: UnixMillis, no_token: bool) -> Message {
    let verdict = Verdict { status: ReportStatus::Delivered, source: ReportSource::Policy, code: None, sentence: None };
    let report = Report { no_token, ..Report::new(verdict, due) };
    let settled = settled(message);
    settled.with(Progress { report: Some(report), ..settled.progress.clone() })
}

async fn insert<R: Record>(store: &Store, record: &R) {
    assert_eq!(store.insert(record).await.unwrap(), Inserted::New);
}

async fn read<R: Record>(store: &Store, id: &DocId) -> Stored<R> {
    store.get::<R>(id).await.unwrap().expect("it was inserted")
}

/// Inserts a record and reads it back; says whether it came back the same.
async fn survives<R: Record + PartialEq>(store: &Store, record: &R) -> bool {
    insert(store, record).await;
    read::<R>(store, &record.id()).await.record == *record
}

async fn found(store: &Store, query: Query) -> Vec<u64> {
    let stored = store.find::<Message>(query).await.unwrap();
    stored.iter().map(|stored| stored.record.accepted.counter).collect()
}

async fn discovered(store: &Store) -> Vec<Header> {
    let found = store.discover(Collection::Messages, &mut Discovery::default()).await;
    match found.unwrap() {
        Discovered::Whole(headers) => headers,
        Discovered::New(_) => panic!("a fresh poller was told only what is new"),
    }
}

fn counters(headers: &[Header]) -> Vec<i64> {
    headers.iter().filter_map(|header| header.keys.counter).collect()
}

/// Runs all at once, each on a task of its own.
async fn together<T: Send + 'static>(
    work: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
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
        };
        let part = PartRecord { text: text.into(), segments: 3, accepted: true, gateway_id: Some("sms_1".into()) };
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

async fn a_header_holds_what_the_queue_orders_by(store: Store) {
    let record = message(7);
    let claimed =
        record.with(Progress { state: State::Sending, epoch: Epoch(3), due_at: at(99), ..record.progress.clone() });
    insert(&store, &claimed).await;
    let headers = discovered(&store).await;
    let [Header { id, keys }] = headers.as_slice() else { panic!("one is open") };
    assert_eq!(*id, record.id);
    assert_eq!(*keys, claimed.keys());

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

// Every kind of document

fn reply(n: u64) -> Reply {
    let accepted = ReplyAccepted {
        v: DOCUMENT_VERSION,
        at: at(n.cast_signed()),
        replica: "replica".into(),
        counter: n,
        from: "+639171234567".into(),
        phone: Some(phone(1_234_567)),
        to: None,
        text: Some("Oo 👍 at \u{0} salamat".into()),
        attachments: Vec::new(),
        sent_at: at(-5),
        location: Some(location("L1")),
    };
    Reply::accept(DocId::inbound(&format!("{n:064}")), accepted, Duration::from_secs(60))
}

fn settled_reply(n: u64) -> Reply {
    let reply = reply(n);
    let progress = ReplyProgress {
        state: ReplyState::Unrouted,
        why: Some("nobody's".into()),
        settled_at: Some(at(9)),
        ..reply.progress.clone()
    };
    reply.with(progress)
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
        fate: UnreadableFate { settled_at: at(1), strip_at: Some(at(2)) },
    };
    assert!(survives(&store, &record).await);
    assert_eq!(store.insert(&record).await.unwrap(), Inserted::Duplicate);
    let found = store.discover(Collection::Unreadable, &mut Discovery::default()).await.unwrap();
    assert_eq!(found, Discovered::Whole(Vec::new()), "nobody works on what nobody can read");
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

async fn an_installation_that_names_nothing_is_corrupt(store: Store) {
    let nameless = Installation { location: None, ..installation("L1", None) };
    insert(&store, &nameless).await;
    let id = Record::id(&nameless);
    let error = store.get::<Installation>(&id).await.unwrap_err();
    let StoreError::Corrupt { id: named, detail } = &error else { panic!("{error}") };
    assert_eq!(*named, id);
    assert!(detail.contains("do not belong together"), "{detail}");
    let page = Query::Page { after: None, limit: 9 };
    assert!(matches!(store.find::<Installation>(page).await, Err(StoreError::Corrupt { .. })));
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

async fn a_store_that_answers_is_reachable(store: Store) {
    assert!(store.reachable(Duration::from_secs(10)).await);
    assert!(["embedded", "mongodb"].contains(&store.kind()));
}

// The embedded store

fn open(dir: &Path) -> Store {
    Store::Embedded(EmbeddedStore::open(dir).expect("a directory of our own"))
}

async fn a_restart_keeps_everything(dir: PathBuf) {
    let store = open(&dir);
    for n in 1..=20 {
        insert(&store, &message(n)).await;
    }
    let stored = read::<Message>(&store, &message(7).id).await;
    let saved = store.save(&stored, &settled(&stored.record)).await.unwrap();
    drop(store);

    let store = open(&dir);
    let again = read::<Message>(&store, &message(7).id).await;
    assert_eq!(Saved::Done(again), saved);
    let open: Vec<_> = (1..=20).filter(|n| *n != 7).collect();
    assert_eq!(counters(&discovered(&store).await), open);
    assert_eq!(store.insert(&message(3)).await.unwrap(), Inserted::Duplicate);
    insert(&store, &message(21)).await;
    assert_eq!(counters(&discovered(&store).await).last(), Some(&21));
}

async fn the_data_directory_and_its_files_are_the_owners_alone(dir: PathBuf) {
    let _lock = Lock::take(&dir).unwrap();
    let store = open(&dir);
    insert(&store, &message(1)).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "the database, its log and the lock");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

async fn a_second_lock_is_refused_and_told_who_holds_it(dir: PathBuf) {
    let _held = Lock::take(&dir).unwrap();
    for _ in 0..2 {
        let error = Lock::take(&dir).unwrap_err();
        let StoreError::Held(holder) = &error else { panic!("{error}") };
        assert_eq!(*holder, format!("process {}", std::process::id()));
    }
    // The lock is not the store's: a command opens it beside `serve`.
    assert!(open(&dir).reachable(Duration::from_secs(10)).await);
}

async fn the_lock_is_free_once_its_holder_is_gone(dir: PathBuf) {
    for _ in 0..3 {
        drop(Lock::take(&dir).unwrap());
    }
}

async fn a_schema_of_a_later_release_is_refused_and_left_alone(dir: PathBuf) {
    let store = open(&dir);
    insert(&store, &message(1)).await;
    drop(store);
    let file = dir.join("cast-ghl.sqlite3");
    let version = |set: Option<i64>| {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        if let Some(version) = set {
            db.pragma_update(None, "user_version", version).unwrap();
        }
        db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let ours = version(None);
    version(Some(ours + 1));
    let error = EmbeddedStore::open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(error.to_string().contains("later release"), "{error}");
    assert_eq!(version(None), ours + 1);
    version(Some(ours));
    read::<Message>(&open(&dir), &message(1).id).await;
}

async fn a_directory_that_cannot_be_made_is_refused(dir: PathBuf) {
    fs::write(&dir, "a file in its place").unwrap();
    assert!(matches!(EmbeddedStore::open(&dir), Err(StoreError::Refused(_))));
    assert!(matches!(Lock::take(&dir), Err(StoreError::Refused(_))));
}

async fn own_commits_are_told_as_new_and_told_once(dir: PathBuf) {
    let store = open(&dir);
    insert(&store, &message(1)).await;
    let mut seen = Discovery::default();
    let first = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert!(matches!(first, Discovered::Whole(headers) if headers.len() == 1));
    insert(&store, &message(2)).await;
    insert(&store, &settled(&message(3))).await;
    let second = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert!(matches!(second, Discovered::New(headers) if counters(&headers) == [2]));
    let third = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert_eq!(third, Discovered::New(Vec::new()));
}

async fn a_commit_of_another_process_makes_the_next_poll_whole(dir: PathBuf) {
    let (store, other) = (open(&dir), open(&dir));
    for n in 1..=3 {
        insert(&store, &message(n)).await;
    }
    let mut seen = Discovery::default();
    store.discover(Collection::Messages, &mut seen).await.unwrap();
    let stored = read::<Message>(&other, &message(2).id).await;
    other.save(&stored, &settled(&stored.record)).await.unwrap();
    let next = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert!(matches!(next, Discovered::Whole(headers) if counters(&headers) == [1, 3]));
    let quiet = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert_eq!(quiet, Discovered::New(Vec::new()));
}

// The MongoDB store

async fn preparing_again_changes_nothing(place: MongoPlace) {
    let store = place.open().await;
    store.prepare().await.unwrap();
    place.open().await;
    let messages = place.collection(Collection::Messages).await;
    let mut names = messages.list_index_names().await.unwrap();
    names.sort_unstable();
    let ours = ["_id_", "due", "lane", "open", "report", "settled", "strip", "waits"];
    assert_eq!(names, ours);
}

async fn a_document_in_the_database_has_the_documented_shape(place: MongoPlace) {
    let store = Store::Mongo(place.open().await);
    insert(&store, &message(1)).await;
    insert(&store, &LeaderRecord(LeaderDoc::first("a"))).await;

    let messages = place.collection(Collection::Messages).await;
    let found = messages.find_one(doc! {}).await.unwrap().expect("it was inserted");
    let mut fields: Vec<_> = found.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["_id", "fixed", "k", "live", "redeliveries", "rev"]);
    assert_eq!(found.get_str("_id").unwrap(), message(1).id.as_str());
    assert_eq!(found.get("rev"), Some(&Bson::Int64(0)));
    let k = doc! {
        "open": true,
        "claimed": false,
        "accepted_at": at(1).0,
        "counter": 1_i64,
        "due_at": at(1).0,
        "replica": "replica",
        "location": "L1",
        "lane": intake(1).lane(),
        "state": "queued",
    };
    assert_eq!(found.get("k"), Some(&Bson::Document(k)), "what is absent has no key");

    let leader = place.collection(Collection::Leader).await;
    let found = leader.find_one(doc! {}).await.unwrap().expect("it was inserted");
    assert_eq!(found.get("fixed"), Some(&Bson::Null), "present, since this is no tombstone");
}

async fn redeliveries_are_counted_in_the_database(place: MongoPlace) {
    let store = Store::Mongo(place.open().await);
    insert(&store, &message(1)).await;
    let race = (0..20).map(|_| {
        let store = store.clone();
        async move { store.insert(&message(1)).await.unwrap() }
    });
    assert!(together(race).await.iter().all(|inserted| *inserted == Inserted::Duplicate));
    let messages = place.collection(Collection::Messages).await;
    let found = messages.find_one(doc! {}).await.unwrap().expect("it was inserted");
    assert_eq!(found.get("redeliveries"), Some(&Bson::Int64(20)));
}

async fn a_tombstone_reads_as_absent_and_its_repeat_is_a_duplicate(place: MongoPlace) {
    let store = Store::Mongo(place.open().await);
    let record = settled(&message(1));
    insert(&store, &record).await;
    let stored = read::<Message>(&store, &record.id).await;
    let strip = doc! {
        "$unset": { "fixed": "", "live": "" },
        "$set": { "k": { "state": "accepted", "settled_at": at(500).0 } },
    };
    place.collection(Collection::Messages).await.update_one(doc! {}, strip).await.unwrap();

    assert_eq!(store.get::<Message>(&record.id).await.unwrap(), None);
    assert_eq!(found(&store, Query::Page { after: None, limit: 9 }).await, [0_u64; 0]);
    assert_eq!(store.save(&stored, &record).await.unwrap(), Saved::Conflict);
    assert_eq!(store.insert(&record).await.unwrap(), Inserted::Duplicate);
    assert_eq!(store.get::<Message>(&record.id).await.unwrap(), None);
}

async fn a_foreign_document_is_corrupt_and_its_values_are_not_shown(place: MongoPlace) {
    let store = Store::Mongo(place.open().await);
    insert(&store, &message(1)).await;
    let id = message(1).id;
    let messages = place.collection(Collection::Messages).await;
    for (change, part) in [
        (doc! { "live": { "state": "09171234567" } }, "live"),
        (doc! { "fixed": "09171234567" }, "fixed"),
        (doc! { "rev": "09171234567" }, "revision"),
    ] {
        messages.update_one(doc! {}, doc! { "$set": change }).await.unwrap();
        let error = store.get::<Message>(&id).await.unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { id: named, .. } if *named == id));
        let said = error.to_string();
        assert!(said.contains(part) && !said.contains("0917"), "{said}");
    }
    messages.update_one(doc! {}, doc! { "$set": { "k.due_at": "soon" } }).await.unwrap();
    let polled = store.discover(Collection::Messages, &mut Discovery::default()).await;
    assert!(matches!(polled, Err(StoreError::Corrupt { .. })), "half a queue is no queue");
}
