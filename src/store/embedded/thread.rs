//! Threads, each around a connection of its own: one that writes with group commit, and those that read.
//!
//! The writer drains what is waiting, runs it in one transaction, commits once and answers all: no timer. Invariant: no
//! answer before the commit. After a failed commit the connection is closed, and nothing is promised until a new one has
//! checkpointed the whole WAL (frames it recovered may live in the page cache alone).

use std::path::PathBuf;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::super::{Access, StoreError};
use super::schema;

/// Writes that share a commit. Bounds memory and the wait of the first in line.
const BATCH: usize = 512;
/// Writers beyond this wait outside, where their deadline runs.
const QUEUE: usize = 4096;

type Answer = Box<dyn FnOnce(Result<(), &str>) + Send>;
type Write = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Answer> + Send>;
type Read = Box<dyn FnOnce(&Connection) + Send>;
type Look = Box<dyn FnOnce(&Connection, u64) + Send>;

enum Job {
    /// Part of a transaction, answered by its commit.
    Write(Write),
    /// A look through the writer's connection, outside any transaction.
    Look(Look),
}

/// The writing thread.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    pub(super) fn start(path: PathBuf) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        spawn("store-writer", move || write_loop(&path, receiver))?;
        Ok(Self(sender))
    }

    /// Of a store that was opened for reading.
    pub(super) fn absent() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Runs `work` in the next transaction; the answer comes with its commit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |db| {
            let value = work(db)?;
            Ok(Box::new(move |committed: Result<(), &str>| {
                let result = committed.map(|()| value).map_err(|why| StoreError::Unavailable(why.to_owned()));
                // The asker may have given up at its deadline: its write stands all the same.
                let _ = answer.send(result);
            }) as Answer)
        });
        self.0.send(Job::Write(write)).await.map_err(|_| gone())?;
        // A dropped answer: the batch failed before this write could build its own.
        answered.await.map_err(|_| StoreError::Unavailable("the transaction failed".into()))?
    }

    /// Looks through the writer's connection; the first of the answer is that connection's number.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<(u64, T), StoreError> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |db, number| {
            let _ = answer.send(work(db).map(|value| (number, value)).map_err(unavailable));
        });
        self.0.send(Job::Look(look)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| StoreError::Unavailable("the store is being reopened".into()))?
    }
}

fn write_loop(path: &std::path::Path, mut jobs: mpsc::Receiver<Job>) {
    let mut connection: Option<Connection> = None;
    let mut clean = true;
    let mut number = 0;
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            batch.push(job);
            next = if batch.len() < BATCH { jobs.try_recv().ok() } else { None };
        }
        let opened = connection.take().map_or_else(
            || {
                number += 1;
                reopen(path, clean)
            },
            Ok,
        );
        let db = match opened {
            Ok(db) => db,
            Err(e) => {
                tracing::error!(error = %e, "the store can't be opened");
                // Dropping the batch answers every waiter with an error.
                std::thread::sleep(REOPEN_PAUSE);
                continue;
            }
        };
        match commit(&db, number, batch) {
            Ok(()) => {
                clean = true;
                connection = Some(db);
            }
            Err(e) => {
                clean = false;
                tracing::error!(error = %e, "a commit failed; the store is reopened");
            }
        }
    }
}

/// A full disk is asked again a few times a second, not in a hot loop.
const REOPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

fn reopen(path: &std::path::Path, clean: bool) -> rusqlite::Result<Connection> {
    let db = schema::connect(path)?;
    if !clean {
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(rusqlite::Error::InvalidParameterName("the WAL could not be checkpointed".into()));
        }
    }
    Ok(db)
}

/// Runs a batch and answers it. An error means that nothing of it may be promised; the waiters were told.
fn commit(db: &Connection, number: u64, batch: Vec<Job>) -> rusqlite::Result<()> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut looks: Vec<Look> = Vec::new();
    let mut writes: Vec<Write> = Vec::new();
    for job in batch {
        match job {
            Job::Write(write) => writes.push(write),
            Job::Look(look) => looks.push(look),
        }
    }
    let result = if writes.is_empty() { Ok(()) } else { transact(db, writes, &mut answers) };
    let failure = result.as_ref().err().map(ToString::to_string);
    for answer in answers {
        answer(failure.as_deref().map_or(Ok(()), Err));
    }
    for look in looks {
        look(db, number);
    }
    result
}

fn transact(db: &Connection, writes: Vec<Write>, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
    let transaction = rusqlite::Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for write in writes {
        answers.push(write(&transaction)?);
    }
    transaction.commit()
}

/// A reading thread.
#[derive(Debug, Clone)]
pub(super) struct Reader(mpsc::Sender<Read>);

impl Reader {
    pub(super) fn start(path: PathBuf, access: Access) -> Result<Self, StoreError> {
        let (sender, mut receiver) = mpsc::channel::<Read>(QUEUE);
        spawn("store-reader", move || {
            let mut connection: Option<Connection> = None;
            while let Some(read) = receiver.blocking_recv() {
                match connection.take().map_or_else(|| schema::connect_for(access, &path), Ok) {
                    Ok(db) => {
                        read(&db);
                        connection = Some(db);
                    }
                    Err(e) => tracing::error!(error = %e, "the store can't be opened for reading"),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Runs `work` on the reading connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let read: Read = Box::new(move |db| {
            let _ = answer.send(work(db).map_err(unavailable));
        });
        self.0.send(read).await.map_err(|_| gone())?;
        answered.await.map_err(|_| StoreError::Unavailable("the store can't be read".into()))?
    }
}

fn unavailable(e: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(e.to_string())
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|e| StoreError::Refused(format!("no thread for the store: {e}")))
}
