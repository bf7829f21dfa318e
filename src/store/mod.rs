//! Durable documents: insert once, read, compare-and-set, and a handful of look-ups, on one of two back ends.
//!
//! Owns durability and atomicity and nothing else: what a change *means* is decided by the pure rules of `domain`, and a
//! save takes effect only on the very revision that rule was given. Invariant: `Ok` from [`Store::insert`] and
//! [`Store::save`] means durable. Must not import queue, oauth, delivery or config.

mod embedded;
mod mongo;
mod receipt;
mod record;

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

pub use embedded::{EmbeddedStore, Lock};
pub use mongo::{MongoSettings, MongoStore};
pub use record::{LeaderRecord, Unreadable, UnreadableFate, UnreadableKept};

use crate::domain::id::DocId;
use crate::domain::time::UnixMillis;

/// Where a kind of document lives; the name of its table or collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Outbound messages.
    Messages,
    /// Webhooks that could not be read, kept raw.
    Unreadable,
    /// Replies.
    Inbound,
    /// Installations of locations and agencies.
    Installations,
    /// Contact memory.
    Contacts,
    /// Lifecycle events.
    Events,
    /// Phones that are not to be messaged.
    Suppressions,
    /// Receipts on their way to their messages.
    Receipts,
    /// What was set for a location.
    Settings,
    /// What a location sent on the shared key on a day.
    Days,
    /// Links to enter a location's own key by.
    Links,
    /// The leader document.
    Leader,
}

impl Collection {
    /// All of them, for creating tables and indexes.
    pub const ALL: [Self; 12] = [
        Self::Messages,
        Self::Unreadable,
        Self::Inbound,
        Self::Installations,
        Self::Contacts,
        Self::Events,
        Self::Suppressions,
        Self::Receipts,
        Self::Settings,
        Self::Days,
        Self::Links,
        Self::Leader,
    ];

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Unreadable => "unreadable",
            Self::Inbound => "inbound",
            Self::Installations => "installations",
            Self::Contacts => "contacts",
            Self::Events => "events",
            Self::Suppressions => "suppressions",
            Self::Receipts => "receipts",
            Self::Settings => "settings",
            Self::Days => "days",
            Self::Links => "links",
            Self::Leader => "leader",
        }
    }
}

/// A kind of document: a part that never changes, a part that moves as one, and the keys it is found by.
pub trait Record: Clone + Send + Sync + 'static {
    /// Where it lives.
    const COLLECTION: Collection;
    /// Written once. `()` where everything moves.
    type Fixed: Serialize + DeserializeOwned + Send + Sync;
    /// Rewritten by every save.
    type Live: Serialize + DeserializeOwned + Send + Sync;

    /// The document's `_id`.
    fn id(&self) -> DocId;
    /// Both parts.
    fn parts(&self) -> (&Self::Fixed, &Self::Live);
    /// The document of both parts; `None` when they do not belong together.
    fn join(id: DocId, fixed: Self::Fixed, live: Self::Live) -> Option<Self>;
    /// What it is found by.
    fn keys(&self) -> Keys;
}

/// What documents are found by: plain columns or fields beside the document, the same on both back ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Unsettled.
    pub open: bool,
    /// Order of acceptance: wall time, process, position. These never change while a document is open.
    pub accepted_at: Option<i64>,
    pub replica: Option<String>,
    pub counter: Option<i64>,
    pub location: Option<String>,
    /// What keeps its order together: see `Intake::lane`, `Reply::lane`; a contact's phone.
    pub lane: Option<String>,
    pub state: Option<String>,
    /// The next look: a send, a reply's step, a refresh.
    pub due_at: Option<i64>,
    /// Claimed at least once.
    pub claimed: bool,
    /// The next call that reports it; an installation's next background work; of a reply, that its wish is not heeded yet.
    pub report_at: Option<i64>,
    /// The location, or for a location the company, whose token it waits for.
    pub waits: Option<String>,
    /// When it becomes a tombstone; only on settled, unstripped documents.
    pub strip_at: Option<i64>,
    pub settled_at: Option<i64>,
    /// What others call it: GHL's message id, the gateway's ids of its parts. They only grow until the document is stripped.
    pub names: Vec<String>,
}

/// A document's place in the queue, without its text. Of the keys, its names and those of reports and of settled documents
/// are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub id: DocId,
    pub keys: Keys,
}

/// The mark of one version of a document: drawn at random for each write, so that a version that was rolled back can't be
/// mistaken for its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(pub(crate) i64);

impl Revision {
    /// The revision every document is inserted with.
    pub(crate) const FIRST: Self = Self(0);

    /// A revision nobody else draws.
    pub(crate) fn fresh() -> Self {
        Self(i64::from_le_bytes(crate::random::bytes()) | 1)
    }
}

/// A document as read, with the revision a save must still find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<R> {
    pub record: R,
    pub revision: Revision,
}

/// What an insert came to; both are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// The `_id` was there, and is durable. Its redelivery counter rose; nothing else changed.
    Duplicate,
}

/// What a save came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved<R> {
    Done(Stored<R>),
    /// Somebody else changed or removed the document since it was read.
    Conflict,
}

/// A look-up. Limits bound the answer; callers page by repeating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Open documents whose `due_at` has come, earliest first.
    Due { now: UnixMillis, limit: usize },
    /// Documents whose `report_at` has come, earliest first.
    ReportDue { now: UnixMillis, limit: usize },
    /// Documents that wait for the token of a location, or locations that wait for a company's.
    Waiting { location: String, limit: usize },
    /// Everything of a lane.
    Lane { lane: String, limit: usize },
    /// Open documents of a lane, in order of acceptance.
    OpenLane { lane: String, limit: usize },
    /// Everything, by `_id`, after a given one.
    Page { after: Option<DocId>, limit: usize },
    /// What somebody else calls so (see [`Keys::names`]): any part of it, so ask the document which.
    Named { name: String, limit: usize },
    /// The newest of a location, newest first.
    Newest { location: String, limit: usize },
    /// What stands in a state, newest first, after a given place.
    State { state: String, location: Option<String>, after: Option<Place>, limit: usize },
}

/// A document's place among those of its state: time of acceptance, then `_id`. It holds whatever becomes of the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub accepted_at: UnixMillis,
    pub id: DocId,
}

/// What is left of a document after `RETENTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The state it was settled in.
    pub state: String,
    pub settled_at: UnixMillis,
}

/// What a command opens a store of another process for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Change,
}

/// Open headers found by one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovered {
    /// All that is open now, in order: what is not listed is not open.
    Whole(Vec<Header>),
    /// What came since the last poll, in order.
    New(Vec<Header>),
}

/// A poller's own position; a fresh one sees everything.
#[derive(Debug, Default, Clone)]
pub struct Discovery {
    pub(crate) last_seq: Option<i64>,
    /// The writer's connection, by number, and the commits of others it saw.
    pub(crate) foreign: Option<(u64, i64)>,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing can be promised now: try again later. A write may or may not have landed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A document can't be read by this release.
    #[error("the document {id} can't be read: {detail}")]
    Corrupt { id: DocId, detail: String },
    /// Another process holds the data directory.
    #[error("the data directory is held by {0}")]
    Held(String),
    /// The store can't be opened as configured: credentials, address, schema.
    #[error("{0}")]
    Refused(String),
}

/// One of the two back ends.
#[derive(Debug, Clone)]
pub enum Store {
    Embedded(EmbeddedStore),
    Mongo(MongoStore),
}

/// Races lost in a row before a writer begins to pause, and the longest pause.
const POLITE_AFTER: usize = 3;
const POLITE: Duration = Duration::from_millis(30);
/// Writers that lose a race this often in a row are told the store is unavailable.
const MAX_CONFLICTS: usize = 64;

impl Store {
    /// Stores a new document durably; a repeat raises its redelivery counter durably.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: stored or not, nothing is promised.
    pub async fn insert<R: Record>(&self, record: &R) -> Result<Inserted, StoreError> {
        match self {
            Self::Embedded(store) => store.insert(record).await,
            Self::Mongo(store) => store.insert(record).await,
        }
    }

    /// Reads a document; a tombstone reads as absent.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn get<R: Record>(&self, id: &DocId) -> Result<Option<Stored<R>>, StoreError> {
        match self {
            Self::Embedded(store) => store.get(id).await,
            Self::Mongo(store) => store.get(id).await,
        }
    }

    /// Replaces the live part and the keys of exactly the revision in `from`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it may have landed; read again before deciding anything.
    pub async fn save<R: Record>(&self, from: &Stored<R>, to: &R) -> Result<Saved<R>, StoreError> {
        match self {
            Self::Embedded(store) => store.save(from, to).await,
            Self::Mongo(store) => store.save(from, to).await,
        }
    }

    /// What is left of a document that was stripped; `None` for one that is whole or never was.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn tombstone(&self, collection: Collection, id: &DocId) -> Result<Option<Tombstone>, StoreError> {
        match self {
            Self::Embedded(store) => store.tombstone(collection, id).await,
            Self::Mongo(store) => store.tombstone(collection, id).await,
        }
    }

    /// Runs a look-up. A document that can't be read is left out and logged: it must not hold up the others.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find<R: Record>(&self, query: Query) -> Result<Vec<Stored<R>>, StoreError> {
        match self {
            Self::Embedded(store) => store.find(query).await,
            Self::Mongo(store) => store.find(query).await,
        }
    }

    /// The open documents of a collection, as far as `seen` does not know them.
    ///
    /// # Errors
    /// [`StoreError`]; `seen` is unchanged then.
    pub async fn discover(&self, collection: Collection, seen: &mut Discovery) -> Result<Discovered, StoreError> {
        match self {
            Self::Embedded(store) => store.discover(collection, seen).await,
            Self::Mongo(store) => store.discover(collection).await,
        }
    }

    /// How many documents of a collection are open now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_open(&self, collection: Collection) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.count_open(collection).await,
            Self::Mongo(store) => store.count_open(collection).await,
        }
    }

    /// Bytes that may still be written to the disk of the embedded store; `None` where the disk is the server's affair.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the data directory can't be asked.
    pub async fn free_space(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Embedded(store) => store.free_space().await.map(Some),
            Self::Mongo(_) => Ok(None),
        }
    }

    /// Reads, decides and saves until it lands. `decide` answers `None` when nothing is to be changed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn update<R: Record>(
        &self,
        id: &DocId,
        decide: impl Fn(&R) -> Option<R> + Send,
    ) -> Result<Option<Stored<R>>, StoreError> {
        for conflicts in 0..MAX_CONFLICTS {
            if conflicts >= POLITE_AFTER {
                // Many writers of one document: a random pause, or the slowest of them would lose every race.
                tokio::time::sleep(POLITE.mul_f64(crate::random::unit())).await;
            }
            let Some(stored) = self.get::<R>(id).await? else { return Ok(None) };
            let Some(next) = decide(&stored.record) else { return Ok(None) };
            if let Saved::Done(done) = self.save(&stored, &next).await? {
                return Ok(Some(done));
            }
        }
        Err(StoreError::Unavailable("a document is changed by too many at once".into()))
    }

    /// Strips a batch of settled documents whose time has come to tombstones, and forgets a batch of tombstones settled
    /// before `forget`. Answers how many documents changed: 0 when nothing is left to do.
    ///
    /// # Errors
    /// [`StoreError`]; what was done stays done.
    pub async fn purge(
        &self,
        collection: Collection,
        now: UnixMillis,
        forget: UnixMillis,
        limit: usize,
    ) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(store) => store.purge(collection, now, forget, limit).await,
            Self::Mongo(store) => store.purge(collection, now, forget, limit).await,
        }
    }

    /// Makes ready what must exist before the first write: indexes of MongoDB. The embedded store is ready once open.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: try again; [`StoreError::Refused`]: credentials or rights are wrong.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Mongo(store) => store.prepare().await,
        }
    }

    /// Answers whether the back end can be reached now, within `limit`.
    pub async fn reachable(&self, limit: Duration) -> bool {
        let probe = self.find::<LeaderRecord>(Query::Page { after: None, limit: 1 });
        matches!(tokio::time::timeout(limit, probe).await, Ok(Ok(_)))
    }

    /// One word for logs: which back end this is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Mongo(_) => "mongodb",
        }
    }
}

/// What could be read; the rest is kept where it is, and logged.
fn readable<T>(found: impl IntoIterator<Item = Result<T, StoreError>>) -> Vec<T> {
    let kept = found.into_iter().filter_map(|read| {
        read.inspect_err(|e| tracing::error!(error = %e, "left out of a look-up; kept as it is")).ok()
    });
    kept.collect()
}
