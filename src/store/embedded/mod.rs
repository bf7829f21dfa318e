//! The embedded back end: SQLite in `DATA_DIR`, WAL, `synchronous=FULL`, one writer thread with group commit.
//!
//! Owns the data directory, its schema and the lock of `serve`. Invariant: an answer leaves only after the commit that
//! holds its change was synced; a failed commit answers every waiter with an error. Imports `store`'s types alone.

mod lock;
mod schema;
mod thread;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

pub use lock::Lock;

use self::thread::{Reader, Writer};
use super::{
    Access, Collection, Discovered, Discovery, Header, Inserted, Keys, Query, Record, Revision, Saved, StoreError,
    Stored, Tombstone, readable,
};
use crate::domain::id::DocId;
use crate::domain::time::UnixMillis;

/// SQLite behind its threads; clones share them.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    dir: Arc<Path>,
    writer: Writer,
    reader: Reader,
    /// Counting walks every open row: on a connection of its own, so that no look-up waits for it.
    counter: Reader,
    /// So does a poll after another process's change: the same for it.
    lookout: Reader,
}

impl EmbeddedStore {
    /// Opens or creates the store in `dir` (made with mode 0700; the file has 0600).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the directory or file can't be used, or a later release wrote it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = schema::prepare(dir)?;
        let writer = Writer::start(path.clone())?;
        Self::with(dir, path, writer, Access::Change)
    }

    /// Opens the store in `dir` for a command, beside the `serve` that may be using it: takes no lock, makes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no store of this release, or it can't be read.
    pub fn open_existing(dir: &Path, access: Access) -> Result<Self, StoreError> {
        let path = schema::existing(dir)?;
        let writer = match access {
            Access::Read => Writer::absent(),
            Access::Change => Writer::start(path.clone())?,
        };
        Self::with(dir, path, writer, access)
    }

    fn with(dir: &Path, path: PathBuf, writer: Writer, access: Access) -> Result<Self, StoreError> {
        let reader = Reader::start(path.clone(), access)?;
        let counter = Reader::start(path.clone(), access)?;
        let lookout = Reader::start(path, access)?;
        Ok(Self { dir: dir.into(), writer, reader, counter, lookout })
    }

    pub(super) async fn insert<R: Record>(&self, record: &R) -> Result<Inserted, StoreError> {
        let row = Values::of(record, Revision::FIRST)?;
        let names = names(&record.keys());
        let (fixed, _) = record.parts();
        let fixed = json(&record.id(), fixed)?;
        let table = R::COLLECTION.name();
        self.writer
            .run(move |db| {
                let insert =
                    format!("INSERT INTO {table} (fixed, {COLUMNS}) VALUES (?, {MARKS}) ON CONFLICT (id) DO NOTHING");
                let id = row.0[0].clone();
                let values = std::iter::once(Value::Text(fixed)).chain(row.0);
                if db.prepare_cached(&insert)?.execute(params_from_iter(values))? == 1 {
                    if let Some(names) = names {
                        let seq = db.last_insert_rowid();
                        db.prepare_cached(&name_sql(table, "?"))?.execute((seq, names))?;
                    }
                    return Ok(Inserted::New);
                }
                // The counter gives this batch something to sync: its commit proves that the original is durable.
                db.prepare_cached(&format!("UPDATE {table} SET redeliveries = redeliveries + 1 WHERE id = ?"))?
                    .execute([id])?;
                Ok(Inserted::Duplicate)
            })
            .await
    }

    pub(super) async fn get<R: Record>(&self, id: &DocId) -> Result<Option<Stored<R>>, StoreError> {
        let id = id.0.clone();
        let row = self
            .reader
            .run(move |db| {
                let sql = format!(
                    "SELECT id, rev, fixed, live FROM {} WHERE id = ? AND fixed IS NOT NULL",
                    R::COLLECTION.name()
                );
                db.prepare_cached(&sql)?.query_row([id], RawDoc::read).optional()
            })
            .await?;
        row.map(RawDoc::decode).transpose()
    }

    pub(super) async fn save<R: Record>(&self, from: &Stored<R>, to: &R) -> Result<Saved<R>, StoreError> {
        let revision = Revision::fresh();
        let row = Values::of(to, revision)?;
        let expected = from.revision.0;
        let keys = to.keys();
        // They only grow: most saves leave them alone.
        let names = if keys.names == from.record.keys().names { None } else { names(&keys) };
        let changed = self
            .writer
            .run(move |db| {
                let table = R::COLLECTION.name();
                let sql = format!(
                    "UPDATE {table} SET ({COLUMNS}) = ({MARKS}) WHERE id = ? AND rev = ? AND fixed IS NOT NULL"
                );
                let id = row.0[0].clone();
                let values = row.0.into_iter().chain([id.clone(), Value::Integer(expected)]);
                let changed = db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
                if let (1, Some(names)) = (changed, names) {
                    let seq = format!("(SELECT seq FROM {table} WHERE id = ?)");
                    db.prepare_cached(&name_sql(table, &seq))?.execute((id, names))?;
                }
                Ok(changed)
            })
            .await?;
        Ok(if changed == 1 { Saved::Done(Stored { record: to.clone(), revision }) } else { Saved::Conflict })
    }

    pub(super) async fn find<R: Record>(&self, query: Query) -> Result<Vec<Stored<R>>, StoreError> {
        let (filter, mut values, limit) = clause(R::COLLECTION, query);
        values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let rows = self
            .reader
            .run(move |db| {
                let mut statement = db.prepare_cached(&select::<R>(&filter))?;
                let rows = statement.query_map(params_from_iter(values), RawDoc::read)?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        Ok(readable(rows.into_iter().map(RawDoc::decode)))
    }

    pub(super) async fn tombstone(&self, collection: Collection, id: &DocId) -> Result<Option<Tombstone>, StoreError> {
        let id = id.0.clone();
        let read = |row: &Row<'_>| Ok(Tombstone { state: row.get(0)?, settled_at: UnixMillis(row.get(1)?) });
        self.reader
            .run(move |db| {
                let table = collection.name();
                let sql = format!("SELECT state, settled_at FROM {table} WHERE id = ? AND fixed IS NULL");
                db.prepare_cached(&sql)?.query_row([id], read).optional()
            })
            .await
    }

    pub(super) async fn purge(
        &self,
        collection: Collection,
        now: UnixMillis,
        forget: UnixMillis,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.writer
            .run(move |db| {
                let (unname, strip, forgotten) = purge_sql(collection);
                db.prepare_cached(&unname)?.execute((now.0, limit))?;
                let stripped = db.prepare_cached(&strip)?.execute((Revision::fresh().0, now.0, limit))?;
                Ok(stripped + db.prepare_cached(&forgotten)?.execute((forget.0, limit))?)
            })
            .await
    }

    pub(super) async fn discover(
        &self,
        collection: Collection,
        seen: &mut Discovery,
    ) -> Result<Discovered, StoreError> {
        // `data_version` of the writer's own connection moves only when another process commits; it says nothing about
        // the one of a connection before it.
        let foreign = self.writer.look(|db| db.query_row("PRAGMA data_version", [], |row| row.get(0))).await?;
        let since = match seen.last_seq {
            Some(seq) if seen.foreign == Some(foreign) => Some(seq),
            _ => None,
        };
        let (last, headers) = self.lookout.run(move |db| open_headers(db, collection, since)).await?;
        *seen = Discovery { last_seq: Some(last.max(since.unwrap_or(0))), foreign: Some(foreign) };
        Ok(if since.is_some() { Discovered::New(headers) } else { Discovered::Whole(headers) })
    }

    pub(super) async fn count_open(&self, collection: Collection) -> Result<u64, StoreError> {
        let count = move |db: &Connection| {
            db.prepare_cached(&count_open_sql(collection))?.query_row([], |row| row.get::<_, i64>(0))
        };
        self.counter.run(count).await.map(i64::unsigned_abs)
    }

    pub(super) async fn free_space(&self) -> Result<u64, StoreError> {
        let dir = Arc::clone(&self.dir);
        // A system call that waits for the disk.
        let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&*dir)).await;
        let unavailable = |e: String| StoreError::Unavailable(format!("the disk can't be measured: {e}"));
        let disk = asked.map_err(|e| unavailable(e.to_string()))?.map_err(|e| unavailable(e.to_string()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Counts along the partial index of open rows, which holds nothing else.
fn count_open_sql(collection: Collection) -> String {
    let table = collection.name();
    format!("SELECT COUNT(*) FROM {table} INDEXED BY {table}_open WHERE open = 1")
}

fn select<R: Record>(filter: &str) -> String {
    let table = R::COLLECTION.name();
    format!("SELECT id, rev, fixed, live FROM {table} WHERE fixed IS NOT NULL AND {filter} LIMIT ?")
}

/// What inserts the names of the document at `seq` for its look-up.
fn name_sql(table: &str, seq: &str) -> String {
    format!("INSERT OR IGNORE INTO {table}_names (seq, name) SELECT {seq}, value FROM json_each(?)")
}

/// The names of a batch away, the batch to tombstones, a batch of tombstones away.
fn purge_sql(collection: Collection) -> (String, String, String) {
    let table = collection.name();
    // What is still to be told, and may be, outlives its time: at most the day in which reports are repeated.
    let told = "(report_at IS NULL OR waits IS NOT NULL)";
    let batch = format!("SELECT seq FROM {table} WHERE strip_at <= ? AND {told} ORDER BY strip_at LIMIT ?");
    let unname = format!(
        "DELETE FROM {table}_names WHERE (name, seq) IN
             (SELECT named.value, doc.seq FROM {table} AS doc, json_each(doc.names) AS named WHERE doc.seq IN ({batch}))"
    );
    let strip = format!(
        "UPDATE {table} SET rev = ?, fixed = NULL, live = json_object('state', state, 'settled_at', settled_at),
             accepted_at = NULL, replica = NULL, counter = NULL, location = NULL, lane = NULL, due_at = NULL,
             claimed = 0, report_at = NULL, waits = NULL, strip_at = NULL, names = NULL
         WHERE seq IN ({batch})"
    );
    let forget = format!(
        "DELETE FROM {table} WHERE seq IN
             (SELECT seq FROM {table} WHERE settled_at <= ? AND fixed IS NULL ORDER BY settled_at LIMIT ?)"
    );
    (unname, strip, forget)
}

/// Walks the partial index of open rows: flat in the number of settled documents.
fn select_open(collection: Collection) -> String {
    let table = collection.name();
    format!(
        "SELECT seq, id, accepted_at, replica, counter, location, lane, state, due_at, claimed
         FROM {table} INDEXED BY {table}_open WHERE open = 1 AND seq > ? ORDER BY seq"
    )
}

fn open_headers(db: &Connection, collection: Collection, since: Option<i64>) -> rusqlite::Result<(i64, Vec<Header>)> {
    let mut statement = db.prepare_cached(&select_open(collection))?;
    let mut rows = statement.query([since.unwrap_or(0)])?;
    let mut last = since.unwrap_or(0);
    let mut headers = Vec::new();
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        let keys = Keys {
            open: true,
            accepted_at: row.get(2)?,
            replica: row.get(3)?,
            counter: row.get(4)?,
            location: row.get(5)?,
            lane: row.get(6)?,
            state: row.get(7)?,
            due_at: row.get(8)?,
            claimed: row.get(9)?,
            ..Keys::default()
        };
        headers.push(Header { id: DocId(row.get(1)?), keys });
    }
    Ok((last, headers))
}

fn clause(collection: Collection, query: Query) -> (Cow<'static, str>, Vec<Value>, usize) {
    let (filter, values, limit) = match query {
        Query::Due { now, limit } => {
            ("open = 1 AND due_at <= ? ORDER BY due_at, seq", vec![Value::Integer(now.0)], limit)
        }
        Query::ReportDue { now, limit } => {
            ("report_at <= ? ORDER BY report_at, seq", vec![Value::Integer(now.0)], limit)
        }
        Query::Waiting { location, limit } => ("waits = ? ORDER BY seq", vec![Value::Text(location)], limit),
        Query::Lane { lane, limit } => ("lane = ? ORDER BY seq", vec![Value::Text(lane)], limit),
        Query::OpenLane { lane, limit } => ("lane = ? AND open = 1 ORDER BY seq", vec![Value::Text(lane)], limit),
        Query::Page { after, limit } => {
            ("id > ? ORDER BY id", vec![Value::Text(after.map(|id| id.0).unwrap_or_default())], limit)
        }
        Query::Named { name, limit } => {
            let table = collection.name();
            let filter = format!("seq IN (SELECT seq FROM {table}_names WHERE name = ?) ORDER BY seq");
            return (filter.into(), vec![Value::Text(name)], limit);
        }
        Query::Newest { location, limit } => {
            let filter = "location = ? AND accepted_at IS NOT NULL ORDER BY accepted_at DESC, id DESC";
            (filter, vec![Value::Text(location)], limit)
        }
        Query::State { state, location, after, limit } => {
            // Beyond every place there is.
            let (at, id) = after.map_or((i64::MAX, char::MAX.to_string()), |place| (place.accepted_at.0, place.id.0));
            let values = vec![
                Value::Text(state),
                Value::Integer(at),
                Value::Integer(at),
                Value::Text(id),
                location.map_or(Value::Null, Value::Text),
            ];
            let filter =
                "state = ? AND accepted_at <= ? AND (accepted_at, id) < (?, ?) AND location IS coalesce(?, location)
                 ORDER BY accepted_at DESC, id DESC";
            (filter, values, limit)
        }
    };
    (filter.into(), values, limit)
}

const COLUMNS: &str = "id, rev, live, open, accepted_at, replica, counter, location, lane, state, due_at, claimed, \
                       report_at, waits, strip_at, settled_at, names";
const MARKS: &str = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?";

/// The values of `COLUMNS`, in order.
struct Values(Vec<Value>);

impl Values {
    fn of<R: Record>(record: &R, revision: Revision) -> Result<Self, StoreError> {
        let id = record.id();
        let (_, live) = record.parts();
        let keys = record.keys();
        let text = |v: Option<String>| v.map_or(Value::Null, Value::Text);
        let number = |v: Option<i64>| v.map_or(Value::Null, Value::Integer);
        let live = json(&id, live)?;
        let names = names(&keys);
        Ok(Self(vec![
            Value::Text(id.0),
            Value::Integer(revision.0),
            Value::Text(live),
            Value::Integer(i64::from(keys.open)),
            number(keys.accepted_at),
            text(keys.replica),
            number(keys.counter),
            text(keys.location),
            text(keys.lane),
            text(keys.state),
            number(keys.due_at),
            Value::Integer(i64::from(keys.claimed)),
            number(keys.report_at),
            text(keys.waits),
            number(keys.strip_at),
            number(keys.settled_at),
            text(names),
        ]))
    }
}

/// As a JSON list; `None` for none.
fn names(keys: &Keys) -> Option<String> {
    (!keys.names.is_empty()).then(|| serde_json::Value::from(keys.names.clone()).to_string())
}

/// A row as it is on the disk: bytes, since a broken one may not even be text, and must not spoil its neighbours.
struct RawDoc {
    id: DocId,
    revision: Revision,
    fixed: Vec<u8>,
    live: Vec<u8>,
}

impl RawDoc {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?.to_vec());
        Ok(Self { id: DocId(row.get(0)?), revision: Revision(row.get(1)?), fixed: bytes(2)?, live: bytes(3)? })
    }

    fn decode<R: Record>(self) -> Result<Stored<R>, StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt { id: self.id.clone(), detail };
        // serde_json's errors name positions and types; values only for short scalars of our own fields.
        let fixed = serde_json::from_slice(&self.fixed).map_err(|e| corrupt(format!("{:?}", e.classify())))?;
        let live = serde_json::from_slice(&self.live).map_err(|e| corrupt(format!("{:?}", e.classify())))?;
        let record =
            R::join(self.id.clone(), fixed, live).ok_or_else(|| corrupt("its parts do not belong together".into()))?;
        Ok(Stored { record, revision: self.revision })
    }
}

fn json<T: serde::Serialize>(id: &DocId, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::Corrupt { id: id.clone(), detail: format!("{:?}", e.classify()) })
}

#[cfg(test)]
mod tests;
