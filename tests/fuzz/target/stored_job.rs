//! Documents on the disk: what the embedded store makes of rows that a broken disk, a person or a later release wrote.
//!
//! An input is three lines: collection and `_id`, the fixed part, the live part. The row is written behind the store's back
//! and read through it: the document, or `Corrupt`, and never anything less for its neighbour.

use std::fs;
use std::path::{Path, PathBuf};

use cast_ghl_provider::domain::connect::ConnectLink;
use cast_ghl_provider::domain::contact::ContactNote;
use cast_ghl_provider::domain::day::DayCount;
use cast_ghl_provider::domain::id::{DocId, GhlMessageId, LocationId};
use cast_ghl_provider::domain::inbound::Reply;
use cast_ghl_provider::domain::installation::Installation;
use cast_ghl_provider::domain::lifecycle::StoredEvent;
use cast_ghl_provider::domain::message::{Intake, Message};
use cast_ghl_provider::domain::opt_out::Suppression;
use cast_ghl_provider::domain::receipt::KeptReceipt;
use cast_ghl_provider::domain::settings::LocationSettings;
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::store::{
    Collection, EmbeddedStore, LeaderRecord, Query, Record, Saved, Store, StoreError, Unreadable,
};
use mongodb::bson::{deserialize_from_bson, serialize_to_bson};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use super::json::with_an_unknown_member;
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target, Try};

pub fn target() -> Target {
    Target {
        name: "stored_job",
        grammar: Grammar::Json,
        dictionary: &[
            "v",
            "at",
            "state",
            "queued",
            "sending",
            "in_doubt",
            "accepted",
            "parked",
            "code",
            "unknown_outcome",
            "epoch",
            "due_at",
            "parts",
            "attempts",
            "result",
            "open",
            "not_sent",
            "report",
            "verdict",
            "revision",
            "told",
            "settled_at",
            "strip_at",
            "grant",
            "access",
            "plain",
            "kid",
            "nonce",
            "ct",
            "health",
            "phone",
            "+639171234567",
            "raw",
            "holder",
            "mirror",
            "lifted",
            "receipt",
            "fate",
            "reserved",
            "ends_at",
            "receiving_numbers",
        ],
        largest: 64 * 1024,
        cases: 4_000,
        reaches: &[
            "messages",
            "inbound",
            "unreadable",
            "installations",
            "contacts",
            "events",
            "suppressions",
            "receipts",
            "settings",
            "days",
            "links",
            "leader",
            "Syntax",
            "Data",
            "EOF",
            "apart",
        ],
        start,
    }
}

fn start() -> Try {
    let mut bench = Bench::new();
    Box::new(move |input| bench.try_one(input))
}

/// A store, and a way past it to its file.
struct Bench {
    runtime: Runtime,
    store: Store,
    behind: Connection,
    neighbour: Message,
    _directory: Scratch,
}

/// Removed when the target is done.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is under target/ and made anew by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Bench {
    fn new() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-store-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let scratch = Scratch(directory.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = Store::Embedded(EmbeddedStore::open(&directory).unwrap());
        let behind = Connection::open(directory.join("cast-ghl.sqlite3")).unwrap();
        behind.execute_batch("PRAGMA synchronous=OFF; PRAGMA busy_timeout=5000").unwrap();
        let intake = Intake {
            location: LocationId::parse("neighbour").unwrap(),
            message_id: GhlMessageId::parse("m1").unwrap(),
            contact_id: None,
            conversation_id: None,
            phone: None,
            text: Some("Kumusta".into()),
            attachments: Vec::new(),
            user_id: None,
        };
        let neighbour = Message::accept(intake, UnixMillis(0), "replica", 1);
        runtime.block_on(store.insert(&neighbour)).unwrap();
        Self { runtime, store, behind, neighbour, _directory: scratch }
    }

    fn try_one(&mut self, input: &[u8]) -> Outcome {
        let mut lines = input.splitn(3, |byte| *byte == b'\n');
        let (name, fixed, live) = (lines.next(), lines.next(), lines.next());
        let name = String::from_utf8_lossy(name.unwrap_or_default());
        let (collection, id) = name.split_once(' ').unwrap_or(("messages", &name));
        let row = Row { id: DocId(id.to_owned()), fixed: fixed.unwrap_or_default(), live: live.unwrap_or_default() };
        match collection {
            "inbound" => self.read::<Reply>(&row),
            "unreadable" => self.read::<Unreadable>(&row),
            "installations" => self.read::<Installation>(&row),
            "contacts" => self.read::<ContactNote>(&row),
            "events" => self.read::<StoredEvent>(&row),
            "suppressions" => self.read::<Suppression>(&row),
            "receipts" => self.read::<KeptReceipt>(&row),
            "settings" => self.read::<LocationSettings>(&row),
            "days" => self.read::<DayCount>(&row),
            "links" => self.read::<ConnectLink>(&row),
            "leader" => self.read::<LeaderRecord>(&row),
            _ => self.read::<Message>(&row),
        }
    }

    fn read<R: Record + PartialEq>(&mut self, row: &Row<'_>) -> Outcome {
        self.write(R::COLLECTION, row);
        let read = self.runtime.block_on(self.store.get::<R>(&row.id));
        let outcome = match read {
            Ok(None) => panic!("a document that is there reads as absent"),
            Ok(Some(stored)) => {
                let record = &stored.record;
                assert!(record.id() == row.id, "a document read back names itself");
                check(record, row);
                let saved = self.runtime.block_on(self.store.save(&stored, record)).unwrap();
                assert!(matches!(saved, Saved::Done(now) if now.record == *record));
                let again = self.runtime.block_on(self.store.get::<R>(&row.id)).unwrap();
                assert!(again.is_some_and(|again| again.record == *record), "what is saved reads back the same");
                Outcome { name: R::COLLECTION.name(), detail: shape(&record.keys()) }
            }
            Err(StoreError::Corrupt { id, detail }) => {
                assert_eq!(id, row.id);
                Outcome { name: reason(&detail), detail: 0 }
            }
            Err(other) => panic!("one bad document is not the store's trouble: {other:?}"),
        };
        if R::COLLECTION == Collection::Messages {
            let page = Query::Page { after: None, limit: 8 };
            let found = self.runtime.block_on(self.store.find::<Message>(page)).unwrap();
            assert!(found.iter().any(|stored| stored.record == self.neighbour), "its neighbour is still found");
        }
        outcome
    }

    /// Puts the row there as bytes, text or not.
    fn write(&self, collection: Collection, row: &Row<'_>) {
        let table = collection.name();
        let (id, neighbour) = (row.id.as_str(), self.neighbour.id.as_str());
        self.behind.execute(&format!("DELETE FROM {table} WHERE id <> ?"), [neighbour]).unwrap();
        let insert = format!(
            "INSERT INTO {table} (id, rev, fixed, live, open) VALUES (?, 1, CAST(? AS TEXT), CAST(? AS TEXT), 0)
             ON CONFLICT (id) DO NOTHING"
        );
        self.behind.execute(&insert, (id, row.fixed, row.live)).unwrap();
    }
}

struct Row<'a> {
    id: DocId,
    fixed: &'a [u8],
    live: &'a [u8],
}

/// Which keys it has: what makes it another kind of document to the queue.
fn shape(keys: &cast_ghl_provider::store::Keys) -> usize {
    let bits = [
        keys.open,
        keys.claimed,
        keys.due_at.is_some(),
        keys.report_at.is_some(),
        keys.waits.is_some(),
        keys.strip_at.is_some(),
        keys.settled_at.is_some(),
    ];
    let state = keys.state.as_deref().map_or(0, |state| state.bytes().map(usize::from).sum());
    bits.iter().fold(state, |bits, bit| bits * 2 + usize::from(*bit))
}

/// The closed list of reasons: none can hold a value of the document.
fn reason(detail: &str) -> &'static str {
    match detail {
        "Syntax" => "Syntax",
        "Data" => "Data",
        "Eof" => "EOF",
        "its parts do not belong together" => "apart",
        other => panic!("a reason nobody knows: {} characters", other.len()),
    }
}

/// What was read is what is written, on either store; members of a later release are passed over.
fn check<R: Record + PartialEq>(record: &R, row: &Row<'_>) {
    let (fixed, live) = record.parts();
    let join = |fixed: Option<R::Fixed>, live: Option<R::Live>| R::join(row.id.clone(), fixed?, live?);
    let by_json = join(through_json(fixed), through_json(live));
    assert!(by_json.is_some_and(|again| again == *record), "encoded and decoded it is the same document");
    // BSON has no unsigned 64-bit numbers: what does not fit is refused, never changed.
    if let (Some(fixed), Some(live)) = (through_bson(fixed), through_bson(live)) {
        assert!(join(Some(fixed), Some(live)).is_some_and(|again| again == *record), "the other store keeps it, too");
    }
    let longer = |part: &[u8]| with_an_unknown_member(part).unwrap_or_else(|| part.to_vec());
    let later = join(from_json(&longer(row.fixed)), from_json(&longer(row.live)));
    assert!(later.is_some_and(|later| later == *record), "members of a later release are passed over");
    assert!(record.keys() == record.keys());
}

fn through_json<T: Serialize + DeserializeOwned>(part: &T) -> Option<T> {
    from_json(&serde_json::to_vec(part).ok()?)
}

fn from_json<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

fn through_bson<T: Serialize + DeserializeOwned>(part: &T) -> Option<T> {
    let bson = serialize_to_bson(part).ok()?;
    Some(deserialize_from_bson(bson).expect("what was written can be read"))
}
