//! The way to the server: one driver client, handles that carry our concerns, and limits on every wait.
//!
//! Owns the client's settings. Invariant: a driver's future is polled to its end in a task of its own, since dropping one
//! half-way can leave the driver's state broken (its README, "Warning about timeouts"); an asker that gives up leaves only
//! the wait. Imports `trouble`, `store`'s types and the driver.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::Result as Driven;
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, ConnectionString, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use mongodb::{Client, Cursor};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio::time::timeout;

use super::super::{Collection, StoreError};
use super::MongoSettings;
use super::trouble::{self, Trouble};

/// Connections to a server unless the URI says otherwise: the driver's 10 would make a commit of 20 ms a ceiling of 500
/// webhooks a second.
const CONNECTIONS: u32 = 64;

/// Operations at the driver at once. Against a server that fell silent they hang until its monitor notices (10 s and the
/// connect limit); askers beyond this wait outside, where their own limit runs.
const IN_FLIGHT: usize = 1024;

/// A client, made when it can be, and what its server is.
pub(super) struct Link {
    settings: MongoSettings,
    /// Late only for a `mongodb+srv` name that did not resolve.
    client: OnceCell<Client>,
    /// Whether reads may ask for what a majority holds; unknown until a server first answered.
    majority: OnceCell<bool>,
    in_flight: Arc<Semaphore>,
}

/// Shows neither the URI nor the client, whose options hold it.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("database", &self.settings.database).finish_non_exhaustive()
    }
}

impl Link {
    /// Judges the URI and makes the client, but connects to nothing.
    pub(super) async fn open(settings: MongoSettings) -> Result<Self, StoreError> {
        // A bad URI is refused even while its name does not resolve.
        ConnectionString::parse(settings.uri.expose()).map_err(|e| trouble::in_settings(&e))?;
        let link = Self {
            settings,
            client: OnceCell::new(),
            majority: OnceCell::new(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        };
        match link.client().await {
            Ok(_) => Ok(link),
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(reason = %why, "MongoDB can't be looked up yet");
                Ok(link)
            }
            Err(e) => Err(e),
        }
    }

    /// The limit of one operation.
    pub(super) fn operation(&self) -> Duration {
        self.settings.operation
    }

    /// The handle every write goes through. Its concern is its own: none in the URI can weaken it. The server gives up
    /// waiting for the majority when the asker does.
    pub(super) async fn writing(&self, collection: Collection) -> Result<mongodb::Collection<Document>, StoreError> {
        self.handle(collection, None).await
    }

    /// The handle every read goes through: the primary, and where members can fall away, what a majority holds (a write
    /// seen and then rolled back could otherwise reorder a lane).
    pub(super) async fn reading(&self, collection: Collection) -> Result<mongodb::Collection<Document>, StoreError> {
        let majority = self.majority.get_or_try_init(|| self.ask_majority()).await?;
        self.handle(collection, majority.then(ReadConcern::majority)).await
    }

    async fn handle(
        &self,
        collection: Collection,
        read_concern: Option<ReadConcern>,
    ) -> Result<mongodb::Collection<Document>, StoreError> {
        let write_concern = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(self.settings.operation)
            .build();
        let options = CollectionOptions::builder()
            .write_concern(write_concern)
            .read_concern(read_concern)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let database = self.client().await?.database(&self.settings.database);
        Ok(database.collection_with_options(collection.name(), options))
    }

    /// Reaches the primary and learns what it is.
    pub(super) async fn greet(&self) -> Result<(), StoreError> {
        self.majority.get_or_try_init(|| self.ask_majority()).await.map(drop)
    }

    /// A member of a replica set says so in `hello`, and a router of a sharded cluster stands before replica sets. A
    /// server of its own has no majority to ask.
    async fn ask_majority(&self) -> Result<bool, StoreError> {
        let admin = self.client().await?.database("admin");
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let hello = async move { admin.run_command(doc! { "hello": 1 }).selection_criteria(primary).await };
        let said = self.run(hello).await.map_err(Trouble::at_start)?;
        Ok(said.contains_key("setName") || said.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"))
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        self.client.get_or_try_init(|| connect(&self.settings)).await
    }

    /// Runs one operation of the driver within the limit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Driven<T>> + Send + 'static,
    ) -> Result<T, Trouble> {
        let in_flight = Arc::clone(&self.in_flight);
        let done = async move {
            // Nobody closes the semaphore.
            let permit = in_flight.acquire_owned().await.map_err(|_| Trouble::Lost)?;
            let task = tokio::spawn(async move {
                let done = work.await;
                drop(permit);
                done
            });
            task.await.map_err(|_| Trouble::Lost)?.map_err(Trouble::Driver)
        };
        timeout(self.settings.operation, done).await.unwrap_or(Err(Trouble::Late))
    }

    /// Walks a cursor to its end in a task of its own, which stops when nobody takes its pages any more.
    pub(super) fn pages(
        &self,
        size: u32,
        find: impl Future<Output = Driven<Cursor<Document>>> + Send + 'static,
    ) -> Pages {
        let (give, pages) = mpsc::channel(1);
        tokio::spawn(async move {
            let end = walk(size, find, &give).await.map(|()| None);
            // Fails when the asker gave up: then there is nobody to tell.
            let _ = give.send(end).await;
        });
        Pages { pages, limit: self.settings.operation }
    }
}

/// The answer to a walk, page by page.
pub(super) struct Pages {
    /// `None` is the end; a channel that closes without it was cut off.
    pages: mpsc::Receiver<Driven<Option<Vec<Document>>>>,
    /// For each page.
    limit: Duration,
}

impl Pages {
    /// The next page; `None` after the last, and only then.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Document>>, Trouble> {
        match timeout(self.limit, self.pages.recv()).await {
            Ok(Some(page)) => page.map_err(Trouble::Driver),
            Ok(None) => Err(Trouble::Lost),
            Err(_) => Err(Trouble::Late),
        }
    }
}

async fn walk(
    size: u32,
    find: impl Future<Output = Driven<Cursor<Document>>>,
    give: &mpsc::Sender<Driven<Option<Vec<Document>>>>,
) -> Driven<()> {
    let mut cursor = find.await?;
    let mut page = Vec::new();
    while cursor.advance().await? {
        page.push(cursor.deserialize_current()?);
        if page.len() == usize::try_from(size).unwrap_or(usize::MAX)
            && give.send(Ok(Some(std::mem::take(&mut page)))).await.is_err()
        {
            return Ok(());
        }
    }
    // Fails when the asker gave up: then there is nobody to tell.
    let _ = give.send(Ok(Some(page))).await;
    Ok(())
}

/// Makes the client. Reaches no server; a `mongodb+srv` name is looked up.
async fn connect(settings: &MongoSettings) -> Result<Client, StoreError> {
    let parse = ClientOptions::parse(settings.uri.expose());
    let mut options = timeout(settings.server_selection, parse)
        .await
        .map_err(|_| Trouble::Late)?
        .map_err(|e| trouble::in_settings(&e))?;
    options.app_name.get_or_insert_with(|| "cast-ghl".to_owned());
    options.server_selection_timeout = Some(settings.server_selection);
    options.connect_timeout = Some(settings.connect);
    options.max_pool_size.get_or_insert(CONNECTIONS);
    // A server without a majority to ask is asked for no concern at all.
    options.read_concern = None;
    // One layer repeats writes, and it is the caller, who reads again first. The driver's repeats need sessions besides,
    // which not every server has.
    options.retry_writes = Some(false);
    Client::with_options(options).map_err(|e| trouble::in_settings(&e))
}
