//! A record as a BSON document: `{_id, rev, redeliveries, fixed, live, k}`.
//!
//! Owns the names of those fields. `fixed` is written once and present even where it is null; a tombstone is a document
//! without it. `k` holds the keys of [`Keys`], an absent one for `None`. Changing any of it is a migration.
//! Invariant: an error names the document and the part, never a value. Imports `store`'s types and `bson` alone.

use mongodb::bson::{Bson, Document, deserialize_from_bson, doc, serialize_to_bson};
use serde::{Serialize, de::DeserializeOwned};

use super::super::{Header, Keys, Record, Revision, StoreError, Stored, Tombstone};
use crate::domain::id::DocId;
use crate::domain::time::UnixMillis;

/// The mark of the version.
pub(super) const REVISION: &str = "rev";
/// How often it came again. In no filter.
pub(super) const REDELIVERIES: &str = "redeliveries";

const FIXED: &str = "fixed";
const LIVE: &str = "live";
const KEYS: &str = "k";

/// The filter that leaves out tombstones.
pub(super) fn not_stripped() -> Document {
    doc! { FIXED: { "$exists": true } }
}

/// A document to be inserted.
pub(super) fn fresh<R: Record>(record: &R) -> Result<Document, StoreError> {
    let id = record.id();
    let (fixed, live) = record.parts();
    Ok(doc! {
        "_id": id.as_str(),
        REVISION: Revision::FIRST.0,
        REDELIVERIES: 0_i64,
        FIXED: bson(&id, "fixed", fixed)?,
        LIVE: bson(&id, "live", live)?,
        KEYS: written(record.keys()),
    })
}

/// The update that replaces all that moves.
pub(super) fn change<R: Record>(record: &R, revision: Revision) -> Result<Document, StoreError> {
    let (_, live) = record.parts();
    let live = bson(&record.id(), "live", live)?;
    Ok(doc! { "$set": { LIVE: live, KEYS: written(record.keys()), REVISION: revision.0 } })
}

/// A document as read.
pub(super) fn stored<R: Record>(mut document: Document) -> Result<Stored<R>, StoreError> {
    let id = name(&document);
    let corrupt = |detail: &str| StoreError::Corrupt { id: id.clone(), detail: detail.to_owned() };
    let revision = document.get_i64(REVISION).map_err(|_| corrupt("it has no revision"))?;
    let fixed = part(document.remove(FIXED)).ok_or_else(|| corrupt("its fixed part does not fit this release"))?;
    let live = part(document.remove(LIVE)).ok_or_else(|| corrupt("its live part does not fit this release"))?;
    let record = R::join(id.clone(), fixed, live).ok_or_else(|| corrupt("its parts do not belong together"))?;
    Ok(Stored { record, revision: Revision(revision) })
}

/// What [`strip`] and [`tombstone`] read.
pub(super) fn mark_fields() -> Document {
    doc! { "_id": 1, REVISION: 1, "k.state": 1, "k.settled_at": 1 }
}

/// Turns exactly this revision into a tombstone: `{_id, state, settled_at}` and nothing to find it by but its end.
pub(super) fn strip(found: &Document, revision: Revision) -> Option<(Document, Document)> {
    let k = found.get_document(KEYS).ok()?;
    let (state, settled_at) = (k.get_str("state").unwrap_or_default(), k.get_i64("settled_at").ok()?);
    let live = doc! { "state": state, "settled_at": settled_at };
    let keys = doc! { "open": false, "claimed": false, "state": state, "settled_at": settled_at };
    let filter = doc! { "_id": found.get("_id")?.clone(), REVISION: found.get_i64(REVISION).ok()? };
    let update = doc! { "$set": { LIVE: live, KEYS: keys, REVISION: revision.0 }, "$unset": { FIXED: "" } };
    Some((filter, update))
}

/// Exactly this document, while it is a tombstone.
pub(super) fn tombstone(id: Bson) -> Document {
    doc! { "_id": id, FIXED: { "$exists": false } }
}

/// What a tombstone says.
pub(super) fn epitaph(found: &Document) -> Option<Tombstone> {
    let k = found.get_document(KEYS).ok()?;
    let settled_at = UnixMillis(k.get_i64("settled_at").ok()?);
    Some(Tombstone { state: k.get_str("state").ok()?.to_owned(), settled_at })
}

/// What [`header`] reads.
pub(super) fn header_fields() -> Document {
    HEADER.into_iter().map(|key| (format!("{KEYS}.{key}"), 1.into())).collect()
}

/// The keys of a header.
const HEADER: [&str; 9] =
    ["open", "accepted_at", "replica", "counter", "location", "lane", "state", "due_at", "claimed"];

/// An open document's place in the queue.
pub(super) fn header(document: &Document) -> Result<Header, StoreError> {
    let id = name(document);
    match document.get_document(KEYS).ok().and_then(read) {
        Some(keys) => Ok(Header { id, keys }),
        None => Err(StoreError::Corrupt { id, detail: "its keys do not fit this release".into() }),
    }
}

/// The `_id`; empty when it is not text, which none of ours is.
fn name(document: &Document) -> DocId {
    DocId(document.get_str("_id").unwrap_or_default().to_owned())
}

fn bson<T: Serialize>(id: &DocId, part: &str, value: &T) -> Result<Bson, StoreError> {
    serialize_to_bson(value)
        .map_err(|_| StoreError::Corrupt { id: id.clone(), detail: format!("its {part} part can't be written") })
}

/// The driver's reason is dropped: it may quote a value.
fn part<T: DeserializeOwned>(value: Option<Bson>) -> Option<T> {
    deserialize_from_bson(value?).ok()
}

fn written(keys: Keys) -> Document {
    let mut k = doc! { "open": keys.open, "claimed": keys.claimed };
    let numbers = [
        ("accepted_at", keys.accepted_at),
        ("counter", keys.counter),
        ("due_at", keys.due_at),
        ("report_at", keys.report_at),
        ("strip_at", keys.strip_at),
        ("settled_at", keys.settled_at),
    ];
    let words = [
        ("replica", keys.replica),
        ("location", keys.location),
        ("lane", keys.lane),
        ("state", keys.state),
        ("waits", keys.waits),
    ];
    k.extend(numbers.into_iter().filter_map(|(key, v)| Some((key.to_owned(), v?.into()))));
    k.extend(words.into_iter().filter_map(|(key, v)| Some((key.to_owned(), v?.into()))));
    if !keys.names.is_empty() {
        k.insert("names", keys.names);
    }
    k
}

/// The keys of a header; `None` when one is of another type.
fn read(k: &Document) -> Option<Keys> {
    Some(Keys {
        open: k.get_bool("open").ok()?,
        accepted_at: number(k, "accepted_at")?,
        replica: word(k, "replica")?,
        counter: number(k, "counter")?,
        location: word(k, "location")?,
        lane: word(k, "lane")?,
        state: word(k, "state")?,
        due_at: number(k, "due_at")?,
        claimed: k.get_bool("claimed").ok()?,
        ..Keys::default()
    })
}

/// `Some(None)` for an absent key, `None` for one of another type.
fn number(k: &Document, key: &str) -> Option<Option<i64>> {
    k.get(key).map_or(Some(None), |v| v.as_i64().map(Some))
}

fn word(k: &Document, key: &str) -> Option<Option<String>> {
    k.get(key).map_or(Some(None), |v| v.as_str().map(|v| Some(v.to_owned())))
}
