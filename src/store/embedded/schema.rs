//! The data directory and the tables in it, version 1.
//!
//! Owns names, modes and indexes. A change here is a migration: raise `VERSION` and write the step.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::{Access, Collection, StoreError};

const FILE: &str = "cast-ghl.sqlite3";
/// `PRAGMA user_version` of this release.
const VERSION: i64 = 1;
/// A CLI's transaction holds the write lock for milliseconds.
const BUSY: Duration = Duration::from_secs(5);

pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| StoreError::Refused(format!("the data directory {} can't be made: {e}", dir.display())))
}

/// Makes the directory, the file (0600) and the tables; answers the file's path.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf, StoreError> {
    make_dir(dir)?;
    let path = dir.join(FILE);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| StoreError::Refused(format!("the store {} can't be opened: {e}", path.display())))?;
    let db = connect(&path).map_err(|e| StoreError::Refused(format!("the store can't be opened: {e}")))?;
    migrate(&db).map_err(|e| match e {
        Migration::Later(found) => later(found),
        Migration::Sqlite(e) => StoreError::Refused(format!("the store can't be prepared: {e}")),
    })?;
    Ok(path)
}

/// The file of a store that is there already; makes and changes nothing.
pub(super) fn existing(dir: &Path) -> Result<PathBuf, StoreError> {
    let none = || {
        StoreError::Refused(format!("{} holds no store; DATA_DIR is the directory that `serve` uses", dir.display()))
    };
    let path = dir.join(FILE);
    if !path.is_file() {
        return Err(none());
    }
    let version =
        connect_for(Access::Read, &path).and_then(|db| db.query_row("PRAGMA user_version", [], |row| row.get(0)));
    match version {
        Ok(VERSION) => Ok(path),
        Ok(found) if found > VERSION => Err(later(found)),
        Ok(_) => Err(none()),
        Err(e) => Err(StoreError::Refused(format!("the store {} can't be opened: {e}", path.display()))),
    }
}

fn later(found: i64) -> StoreError {
    StoreError::Refused(format!(
        "the store was written by a later release (schema {found}, this one knows {VERSION}); run that release"
    ))
}

/// A connection that can do no more than it is for.
pub(super) fn connect_for(access: Access, path: &Path) -> rusqlite::Result<Connection> {
    match access {
        Access::Change => connect(path),
        Access::Read => {
            let db =
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            db.busy_timeout(BUSY)?;
            db.execute_batch("PRAGMA temp_store=MEMORY;")?;
            Ok(db)
        }
    }
}

/// A connection with the settings durability rests on.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(64);
    let mode: String = db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(rusqlite::Error::InvalidParameterName(format!("WAL refused, journal mode is {mode}")));
    }
    db.execute_batch("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;")?;
    Ok(db)
}

enum Migration {
    Later(i64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Migration {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

fn migrate(db: &Connection) -> Result<(), Migration> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(Migration::Later(found));
    }
    // Also of the same version: a kind of document that came later has a table of its own, and none is changed.
    let tables: String = Collection::ALL.iter().map(|c| table(c.name())).collect();
    db.execute_batch(&format!("BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    Ok(())
}

/// `seq` is the order of commits by the one writer: exact order of acceptance. `names` is a JSON list, and one row each in
/// the table beside it, which is its index. Partial indexes keep every look-up flat in
/// the number of settled documents.
fn table(name: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {name} (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            rev INTEGER NOT NULL,
            redeliveries INTEGER NOT NULL DEFAULT 0,
            fixed TEXT,
            live TEXT NOT NULL,
            open INTEGER NOT NULL,
            accepted_at INTEGER, replica TEXT, counter INTEGER,
            location TEXT, lane TEXT, state TEXT,
            due_at INTEGER, claimed INTEGER NOT NULL DEFAULT 0,
            report_at INTEGER, waits TEXT, strip_at INTEGER, settled_at INTEGER,
            names TEXT
        ) STRICT;
        CREATE TABLE IF NOT EXISTS {name}_names (
            name TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (name, seq)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS {name}_open ON {name} (seq) WHERE open = 1;
        CREATE INDEX IF NOT EXISTS {name}_due ON {name} (due_at, seq) WHERE open = 1 AND due_at IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_report ON {name} (report_at, seq) WHERE report_at IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_waits ON {name} (waits, seq) WHERE waits IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_lane ON {name} (lane, seq) WHERE lane IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_open_lane ON {name} (lane, seq) WHERE open = 1 AND lane IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_state ON {name} (state, accepted_at, id)
            WHERE state IS NOT NULL AND accepted_at IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_newest ON {name} (location, accepted_at, id)
            WHERE location IS NOT NULL AND accepted_at IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_strip ON {name} (strip_at) WHERE strip_at IS NOT NULL;
        CREATE INDEX IF NOT EXISTS {name}_settled ON {name} (settled_at) WHERE settled_at IS NOT NULL;"
    )
}
