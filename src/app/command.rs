//! Opening the store for a command: beside the `serve` that may be using it, without its lock.
//!
//! Invariant: a command makes no store and prepares none; what is not there is an error that says where it looked.

use std::time::Duration;

use super::AppError;
use crate::config::StoreConfig;
use crate::store::{Access, EmbeddedStore, MongoSettings, MongoStore, Store};

/// A person waits, but no webhook does.
const FIND_SERVER: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(20);

/// Opens the store of the configuration for reading or changing.
///
/// # Errors
/// [`AppError::Store`]
pub async fn open_store(config: &StoreConfig, access: Access) -> Result<Store, AppError> {
    Ok(match config {
        StoreConfig::Embedded { data_dir } => Store::Embedded(EmbeddedStore::open_existing(data_dir, access)?),
        StoreConfig::Mongo { uri, database } => {
            let settings = MongoSettings {
                uri: uri.clone(),
                database: database.clone(),
                server_selection: FIND_SERVER,
                connect: FIND_SERVER,
                operation: OPERATION,
            };
            Store::Mongo(MongoStore::open(&settings).await?)
        }
    })
}
