//! What the MongoDB store promises besides the suite: the shape of its documents, seen through a client of its own.
//!
//! Each case gets a database that does not exist yet. Imports `store`, `domain` and the driver.

use std::time::Duration;

use cast_ghl_provider::domain::leadership::LeaderDoc;
use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::domain::secret::Secret;
use cast_ghl_provider::store::{
    Collection, Discovered, Discovery, Inserted, LeaderRecord, MongoSettings, MongoStore, Query, Saved, Store,
    StoreError,
};
use mongodb::bson::{Bson, Document, doc};

use super::sample::{at, found, insert, intake, message, read, settled, together};
use crate::{Cases, cases};

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
async fn preparing_again_changes_nothing(place: MongoPlace) {
    let store = place.open().await;
    store.prepare().await.unwrap();
    place.open().await;
    let messages = place.collection(Collection::Messages).await;
    let mut names = messages.list_index_names().await.unwrap();
    names.sort_unstable();
    let ours = ["_id_", "due", "lane", "names", "newest", "open", "report", "settled", "state", "strip", "waits"];
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
        "due_at": at(1).on_any_clock().0,
        "replica": "replica",
        "location": "L1",
        "lane": intake(1).lane(),
        "state": "queued",
        "names": ["m000001"],
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
    insert(&store, &message(2)).await;
    let polled = store.discover(Collection::Messages, &mut Discovery::default()).await.unwrap();
    let Discovered::Whole(headers) = polled else { panic!("a walk is whole") };
    assert_eq!(headers.len(), 1, "it does not hold up the queue");
}
