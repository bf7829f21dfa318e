//! Opening the store and its keys for a command: beside the `serve` that may be using them, without its lock.
//!
//! Invariant: a command makes no store and no key, and prepares none; what is not there is an error that says where it looked.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::build::{OwnKey, key_ring};
use crate::client::builder::{HttpSettings, http_client};
use crate::client::ghl::GhlClient;
use crate::clock::Clock;
use crate::config::{DoctorConfig, SealConfig, StoreConfig};
use crate::domain::checkup::Setting;
use crate::domain::id::LocationId;
use crate::oauth::Inspector;
use crate::operator::DoctorSettings;
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

/// What `doctor` looks with and judges by.
///
/// # Errors
/// [`AppError`]
pub async fn open_doctor(config: &DoctorConfig, clock: Clock) -> Result<(Inspector, DoctorSettings), AppError> {
    let store = open_store(&config.store, Access::Read).await?;
    let ring = Arc::new(open_ring(&config.seal, &config.store)?);
    let http = http_client(&HttpSettings::default()).map_err(|e| AppError::Broken(e.to_string()))?;
    let inspector = Inspector::new(store, ring, GhlClient::new(http, config.ghl_api_url.clone()), clock);
    let default_location = config.default_location_id.as_deref().and_then(|id| LocationId::parse(id).ok());
    let setting = Setting { base_url: config.base_url.clone(), provider_id: config.conversation_provider_id.clone() };
    let settings = DoctorSettings {
        setting,
        asked_scopes: config.scopes.clone(),
        default_location,
        disk_reserve: config.disk_reserve,
    };
    Ok((inspector, settings))
}
