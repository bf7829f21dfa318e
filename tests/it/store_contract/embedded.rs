//! What the embedded store promises besides the suite: its files, its lock, its schema, its restart, its polls.
//!
//! Each case gets a directory that does not exist yet. Imports `store` and `domain`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::store::{
    Access, Collection, Discovered, Discovery, EmbeddedStore, Inserted, Lock, Saved, Store, StoreError,
};

use super::sample::{counters, discovered, insert, message, read, settled};
use crate::{Cases, cases};

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
        a_command_opens_a_store_that_is_there_and_makes_none,
        a_store_opened_for_reading_cannot_be_written,
    ]
}

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

async fn a_command_opens_a_store_that_is_there_and_makes_none(dir: PathBuf) {
    for access in [Access::Read, Access::Change] {
        let error = EmbeddedStore::open_existing(&dir, access).unwrap_err();
        assert!(matches!(&error, StoreError::Refused(why) if why.contains("holds no store")), "{error}");
        assert!(!dir.exists());
    }
    let _lock = Lock::take(&dir).unwrap();
    assert!(EmbeddedStore::open_existing(&dir, Access::Read).is_err(), "a directory is not yet a store");
    let store = open(&dir);
    insert(&store, &message(1)).await;
    let command = Store::Embedded(EmbeddedStore::open_existing(&dir, Access::Change).unwrap());
    let stored = read::<Message>(&command, &message(1).id).await;
    command.save(&stored, &settled(&stored.record)).await.unwrap();
    assert_eq!(read::<Message>(&store, &message(1).id).await.record, settled(&message(1)));
}

async fn a_store_opened_for_reading_cannot_be_written(dir: PathBuf) {
    let store = open(&dir);
    insert(&store, &message(1)).await;
    drop(store);
    let reading = Store::Embedded(EmbeddedStore::open_existing(&dir, Access::Read).unwrap());
    let stored = read::<Message>(&reading, &message(1).id).await;
    assert!(matches!(reading.save(&stored, &settled(&stored.record)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(reading.insert(&message(2)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(read::<Message>(&open(&dir), &message(1).id).await.record, message(1));
}
