//! Opening the store and its keys for a command: beside the `serve` that may be using them, without its lock.
//!
//! Invariant: a command makes no store and no key, and prepares none; what is not there is an error that says where it looked.

use std::time::Duration;

use super::AppError;
use super::build::{OwnKey, key_ring};
use crate::config::{SealConfig, StoreConfig};
use crate::seal::KeyRing;
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

/// The keys that open what is sealed in the store: those of the configuration and the embedded store's own, if it has one.
///
/// # Errors
/// [`AppError::TokenKey`]
pub fn open_ring(seal: &SealConfig, store: &StoreConfig) -> Result<KeyRing, AppError> {
    key_ring(seal, store, OwnKey::Read)
}
