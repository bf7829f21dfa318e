//! What the suite of the store's promises can't see from outside: the plans of the look-ups, and batches whose commit
//! fails.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::*;
use crate::domain::id::{GhlMessageId, LocationId};
use crate::domain::message::{Intake, Message};
use crate::domain::time::UnixMillis;

/// A directory of this test alone, gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cast-ghl-embedded-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        // One left by a killed process of the same number.
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn message(id: &str, text: &str) -> Message {
    let intake = Intake {
        location: LocationId::parse("L1").unwrap(),
        message_id: GhlMessageId::parse(id).unwrap(),
        contact_id: None,
        conversation_id: None,
        phone: None,
        text: Some(text.into()),
        attachments: Vec::new(),
        user_id: None,
    };
    Message::accept(intake, UnixMillis(1), "replica", 1)
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Makes the commit itself fail, after every write of its batch went well.
fn spoil_commit(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO child VALUES (1);",
    )
}

/// Keeps the writer busy, so that what is asked for meanwhile becomes one batch, until the answer is used.
async fn hold(store: &EmbeddedStore) -> mpsc::Sender<()> {
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = mpsc::channel();
    let writer = store.writer.clone();
    tokio::spawn(async move {
        let wait = move |_: &Connection| {
            let _ = begun.send(());
            // A dropped sender releases it as well.
            let _ = released.recv();
            Ok(())
        };
        writer.look(wait).await
    });
    has_begun.await.unwrap();
    release
}

async fn redeliveries(store: &EmbeddedStore, message: &Message) -> i64 {
    let id = message.id.0.clone();
    let count = move |db: &Connection| {
        let sql = "SELECT redeliveries FROM messages WHERE id = ?";
        db.query_row(sql, [id], |row| row.get(0))
    };
    store.reader.run(count).await.unwrap()
}

#[tokio::test]
async fn a_batch_whose_commit_fails_is_refused_to_all_its_waiters_and_the_next_one_is_not() {
    let place = Place::new();
    let store = place.open();
    let (durable, fresh) = (message("durable", "a"), message("fresh", "b"));
    assert_eq!(store.insert(&durable).await.unwrap(), Inserted::New);

    let release = hold(&store).await;
    let (first, repeat, of_durable, _, ()) = tokio::join!(
        biased;
        store.insert(&fresh),
        store.insert(&fresh),
        store.insert(&durable),
        store.writer.run(spoil_commit),
        async { release.send(()).unwrap() },
    );
    for answer in [first, repeat, of_durable] {
        assert!(refused(answer).contains("FOREIGN KEY"), "it is the commit that failed");
    }
    assert_eq!(store.get::<Message>(&fresh.id).await.unwrap(), None);

    // The same store, a new connection: nothing of the batch is left, and nothing was promised on its account.
    assert_eq!(store.insert(&fresh).await.unwrap(), Inserted::New);
    assert_eq!(store.insert(&fresh).await.unwrap(), Inserted::Duplicate);
    assert_eq!(redeliveries(&store, &fresh).await, 1);
    assert_eq!(redeliveries(&store, &durable).await, 0);
}

#[tokio::test]
async fn a_full_disk_refuses_a_batch_and_takes_the_next_once_there_is_room() {
    let place = Place::new();
    let store = place.open();
    let (small, later) = (message("small", "a"), message("later", "b"));
    assert_eq!(store.insert(&small).await.unwrap(), Inserted::New);
    // The limit ends with the connection, as a full disk may have room when one looks again.
    let fill = "PRAGMA max_page_count = 1";
    let fill = move |db: &Connection| db.query_row(fill, [], |row| row.get::<_, i64>(0));
    store.writer.run(fill).await.unwrap();

    let large = message("large", &"x".repeat(500_000));
    let release = hold(&store).await;
    let (of_small, of_large, of_later, ()) = tokio::join!(
        biased;
        store.insert(&small),
        store.insert(&large),
        store.insert(&later),
        async { release.send(()).unwrap() },
    );
    for answer in [of_small, of_large, of_later] {
        refused(answer);
    }
    assert_eq!(store.insert(&large).await.unwrap(), Inserted::New);
    assert_eq!(store.insert(&small).await.unwrap(), Inserted::Duplicate);
    assert_eq!(store.insert(&later).await.unwrap(), Inserted::New);
}

#[tokio::test]
async fn a_poll_after_the_connection_was_reopened_trusts_no_count_of_the_one_before() {
    let place = Place::new();
    let store = place.open();
    store.insert(&message("one", "a")).await.unwrap();
    let mut seen = Discovery::default();
    store.discover(Collection::Messages, &mut seen).await.unwrap();
    refused(store.writer.run(spoil_commit).await);
    let next = store.discover(Collection::Messages, &mut seen).await.unwrap();
    assert!(matches!(next, Discovered::Whole(headers) if headers.len() == 1));
}

#[tokio::test]
async fn a_tombstone_reads_as_absent_and_its_repeat_is_a_duplicate() {
    let place = Place::new();
    let store = place.open();
    let record = message("one", "a");
    store.insert(&record).await.unwrap();
    let stored = store.get::<Message>(&record.id).await.unwrap().unwrap();
    let strip = "UPDATE messages SET fixed = NULL, live = '', open = 0, due_at = NULL";
    store.writer.run(|db| db.execute(strip, [])).await.unwrap();

    assert_eq!(store.get::<Message>(&record.id).await.unwrap(), None);
    let page = Query::Page { after: None, limit: 9 };
    assert_eq!(store.find::<Message>(page).await.unwrap(), []);
    assert_eq!(store.save(&stored, &record).await.unwrap(), Saved::Conflict);
    assert_eq!(store.insert(&record).await.unwrap(), Inserted::Duplicate);
    assert_eq!(store.get::<Message>(&record.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_document_that_is_not_even_text_is_corrupt_and_its_neighbour_is_still_found() {
    let place = Place::new();
    let store = place.open();
    let (bad, good) = (message("bad", "a"), message("good", "a"));
    store.insert(&bad).await.unwrap();
    store.insert(&good).await.unwrap();
    for column in ["fixed", "live"] {
        let spoil = format!("UPDATE messages SET {column} = CAST(x'7bff7d' AS TEXT) WHERE id = '{}'", bad.id.as_str());
        store.writer.run(move |db| db.execute(&spoil, [])).await.unwrap();
        let error = store.get::<Message>(&bad.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { id, .. } if id == bad.id));
        let found = store.find::<Message>(Query::Due { now: UnixMillis(9), limit: 9 }).await.unwrap();
        assert!(found.len() == 1 && found[0].record == good);
    }
}

/// The steps of SQLite's plan for `sql`.
fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![Value::Integer(1); statement.parameter_count()];
    let steps = statement.query_map(params_from_iter(values), |row| row.get(3)).unwrap();
    steps.map(Result::unwrap).collect()
}

#[test]
fn every_look_up_is_an_index_in_its_own_order() {
    let place = Place::new();
    let db = schema::connect(&schema::prepare(&place.0).unwrap()).unwrap();
    let (now, limit) = (UnixMillis(1), 5);
    for (query, index) in [
        (Query::Due { now, limit }, "messages_due"),
        (Query::ReportDue { now, limit }, "messages_report"),
        (Query::Waiting { location: "L".into(), limit }, "messages_waits"),
        (Query::Lane { lane: "L".into(), limit }, "messages_lane"),
        (Query::OpenLane { lane: "L".into(), limit }, "messages_open_lane"),
        (Query::Page { after: None, limit }, "sqlite_autoindex_messages_1"),
        (Query::State { state: "parked".into(), location: None, after: None, limit }, "messages_state"),
        (Query::Newest { location: "L".into(), limit }, "messages_newest"),
    ] {
        let steps = plan(&db, &select::<Message>(&clause(Collection::Messages, query).0));
        assert!(matches!(steps.as_slice(), [step] if step.contains(index)), "{steps:?}");
        assert!(steps[0].starts_with("SEARCH"), "{steps:?}");
    }
    let named = Query::Named { name: "n".into(), limit };
    let steps = plan(&db, &select::<Message>(&clause(Collection::Messages, named).0));
    assert!(steps.iter().all(|step| !step.starts_with("SCAN") && !step.contains("B-TREE")), "{steps:?}");
    let (unname, ..) = purge_sql(Collection::Messages);
    let steps = plan(&db, &unname);
    assert!(
        steps.iter().any(|step| step.contains("SEARCH messages_names USING PRIMARY KEY (name=? AND seq=?)")),
        "{steps:?}"
    );
    let steps = plan(&db, &select_open(Collection::Messages));
    assert!(matches!(steps.as_slice(), [step] if step.contains("messages_open ")), "{steps:?}");
    let steps = plan(&db, &count_open_sql(Collection::Messages));
    assert!(matches!(steps.as_slice(), [step] if step.ends_with("COVERING INDEX messages_open")), "{steps:?}");
}
