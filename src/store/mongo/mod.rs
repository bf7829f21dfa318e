//! The MongoDB back end: one collection per kind of document, and nothing but operations on single documents.
//!
//! Owns the promises of [`super::Store`] on MongoDB: every write is acknowledged `w: majority, j: true`, every read goes
//! to the primary, and a save lands on exactly the revision it was decided on. Invariant: a write is never repeated here
//! after an error, so a save that lost its acknowledgement is `Unavailable` and never a `Conflict` with itself.
//! Imports `store`'s types, `domain::{id, secret}` and the driver; the words of an error are ours, not the driver's.

mod document;
mod link;
mod lookup;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use self::link::Link;
use self::trouble::Trouble;
use super::{
    Collection, Discovered, Header, Inserted, Query, Record, Revision, Saved, StoreError, Stored, Tombstone, readable,
};
use crate::domain::id::DocId;
use crate::domain::secret::Secret;
use crate::domain::time::UnixMillis;

/// Where the server is, and how long it may take; every limit belongs below `ACCEPT_TIMEOUT`.
#[derive(Debug, Clone)]
pub struct MongoSettings {
    /// The connection string, credentials and all.
    pub uri: Secret,
    /// The database; the one in the URI is only the default of its `authSource`.
    pub database: String,
    /// For finding a primary.
    pub server_selection: Duration,
    /// For opening a connection.
    pub connect: Duration,
    /// For one write, one read, or one page of a poll, all of the above included.
    pub operation: Duration,
}

/// MongoDB behind one driver client; clones share it.
#[derive(Debug, Clone)]
pub struct MongoStore(Arc<Link>);

/// An insert that finds its document there and then gone goes round this often. Only a purge can cause one round.
const INSERT_ROUNDS: usize = 4;

/// Headers that a poll hands over at once: each page must arrive within `operation`, the whole may take longer.
const PAGE: u32 = 1_000;

impl MongoStore {
    /// Judges the settings and makes the client; the server need not be there yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a URI the driver does not take, without repeating any of it.
    pub async fn open(settings: &MongoSettings) -> Result<Self, StoreError> {
        Link::open(settings.clone()).await.map(|link| Self(Arc::new(link)))
    }

    /// Reaches the server and creates what indexes are missing. May be repeated until it succeeds: an index that takes
    /// longer than `operation` to build is built on by the server.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no primary answers; [`StoreError::Refused`] when the credentials, their rights, the
    /// server's version or an index of ours that somebody changed stand in the way.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.0.greet().await?;
        for collection in Collection::ALL {
            let indexes = lookup::indexes(collection);
            if indexes.is_empty() {
                continue;
            }
            let target = self.0.writing(collection).await?;
            let create = async move { target.create_indexes(indexes).await };
            self.0.run(create).await.map_err(Trouble::at_start)?;
        }
        Ok(())
    }

    pub(super) async fn insert<R: Record>(&self, record: &R) -> Result<Inserted, StoreError> {
        let id = record.id();
        let fresh = document::fresh(record)?;
        for _ in 0..INSERT_ROUNDS {
            let (target, document) = (self.0.writing(R::COLLECTION).await?, fresh.clone());
            match self.0.run(async move { target.insert_one(document).await }).await {
                Ok(_) => return Ok(Inserted::New),
                Err(trouble) if trouble.is_duplicate() => {}
                Err(trouble) => return Err(trouble.into()),
            }
            // A document that is merely visible may still be rolled back. This write comes after it, so the majority that
            // acknowledges the one has the other.
            let again = doc! { "$inc": { document::REDELIVERIES: 1_i64 } };
            if self.change(R::COLLECTION, doc! { "_id": id.as_str() }, again).await? == 1 {
                return Ok(Inserted::Duplicate);
            }
        }
        Err(StoreError::Unavailable("the document comes and goes".into()))
    }

    pub(super) async fn get<R: Record>(&self, id: &DocId) -> Result<Option<Stored<R>>, StoreError> {
        let mut filter = document::not_stripped();
        filter.insert("_id", id.as_str());
        let source = self.0.reading(R::COLLECTION).await?;
        let limit = self.0.operation();
        let found = self.0.run(async move { source.find_one(filter).max_time(limit).await }).await?;
        found.map(document::stored).transpose()
    }

    pub(super) async fn save<R: Record>(&self, from: &Stored<R>, to: &R) -> Result<Saved<R>, StoreError> {
        let revision = Revision::fresh();
        let mut filter = document::not_stripped();
        filter.insert("_id", to.id().as_str());
        filter.insert(document::REVISION, from.revision.0);
        let matched = self.change(R::COLLECTION, filter, document::change(to, revision)?).await?;
        Ok(if matched == 1 { Saved::Done(Stored { record: to.clone(), revision }) } else { Saved::Conflict })
    }

    pub(super) async fn find<R: Record>(&self, query: Query) -> Result<Vec<Stored<R>>, StoreError> {
        // To the server, a limit of 0 is no limit.
        let Some(lookup) = lookup::of(query) else { return Ok(Vec::new()) };
        let source = self.0.reading(R::COLLECTION).await?;
        let max_time = self.0.operation();
        let found = self.0.run(async move {
            let lookup::Lookup { filter, sort, limit } = lookup;
            let mut cursor = source.find(filter).sort(sort).limit(limit).max_time(max_time).await?;
            let mut documents = Vec::new();
            while cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        });
        let documents: Vec<Document> = found.await?;
        Ok(readable(documents.into_iter().map(document::stored)))
    }

    pub(super) async fn tombstone(&self, collection: Collection, id: &DocId) -> Result<Option<Tombstone>, StoreError> {
        let filter = document::tombstone(id.as_str().into());
        let source = self.0.reading(collection).await?;
        let limit = self.0.operation();
        let find = async move { source.find_one(filter).projection(document::mark_fields()).max_time(limit).await };
        Ok(self.0.run(find).await?.as_ref().and_then(document::epitaph))
    }

    /// All that is open, read to the last page or not at all. The walk follows an index whose keys never change while a
    /// document is open, so that no save can hide one from it.
    pub(super) async fn discover(&self, collection: Collection) -> Result<Discovered, StoreError> {
        let source = self.0.reading(collection).await?;
        let walk = async move {
            // No `max_time`: the server counts it over all pages.
            let open = source.find(lookup::open()).sort(lookup::order());
            open.projection(document::header_fields()).batch_size(PAGE).await
        };
        let mut pages = self.0.pages(PAGE, walk);
        let mut headers: Vec<Header> = Vec::new();
        while let Some(page) = pages.next().await? {
            headers.extend(readable(page.iter().map(document::header)));
        }
        Ok(Discovered::Whole(headers))
    }

    pub(super) async fn count_open(&self, collection: Collection) -> Result<u64, StoreError> {
        let source = self.0.reading(collection).await?;
        let limit = self.0.operation();
        let count = async move { source.count_documents(lookup::open()).max_time(limit).await };
        Ok(self.0.run(count).await?)
    }

    pub(super) async fn purge(
        &self,
        collection: Collection,
        now: UnixMillis,
        forget: UnixMillis,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut changed = 0;
        for found in self.some(collection, lookup::to_strip(now), limit).await? {
            let Some((filter, update)) = document::strip(&found, Revision::fresh()) else { continue };
            changed += usize::try_from(self.change(collection, filter, update).await?).unwrap_or(usize::MAX);
        }
        for found in self.some(collection, lookup::to_forget(forget), limit).await? {
            let target = self.0.writing(collection).await?;
            let filter = document::tombstone(found.get("_id").cloned().unwrap_or(Bson::Null));
            let gone = self.0.run(async move { target.delete_one(filter).await }).await?;
            changed += usize::try_from(gone.deleted_count).unwrap_or(usize::MAX);
        }
        Ok(changed)
    }

    /// The first documents of a filter, without their parts.
    async fn some(&self, collection: Collection, filter: Document, limit: usize) -> Result<Vec<Document>, StoreError> {
        let source = self.0.reading(collection).await?;
        let max_time = self.0.operation();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.0.run(async move {
            let some = source.find(filter).projection(document::mark_fields()).limit(limit);
            let mut cursor = some.max_time(max_time).await?;
            let mut documents = Vec::new();
            while cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        });
        Ok(found.await?)
    }

    /// One acknowledged update of one document; how many matched.
    async fn change(&self, collection: Collection, filter: Document, update: Document) -> Result<u64, StoreError> {
        let target = self.0.writing(collection).await?;
        let done = self.0.run(async move { target.update_one(filter, update).await }).await?;
        Ok(done.matched_count)
    }
}

#[cfg(test)]
mod tests;
