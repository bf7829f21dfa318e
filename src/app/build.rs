//! From configuration to parts: every `new` of the product.

use std::sync::Arc;
use std::time::Duration;

use super::{App, AppError, token_key};
use crate::client::builder::{HttpSettings as ClientSettings, http_client};
use crate::client::cast::CastClient;
use crate::client::ghl::{GhlClient, TokenApp};
use crate::clock::Clock;
use crate::config::{self, ConfigErrors, OptOutConfig, Problem, SealConfig, SealKey, ServeConfig, StoreConfig};
use crate::delivery::{
    AccountSettings, InboundSettings, InboundWorker, LoopParts, Mirrors, Outbound, OutboundSettings, Receipts, Reporter,
};
use crate::domain::checkup::Setting;
use crate::domain::compose::{self, ComposeRules};
use crate::domain::id::LocationId;
use crate::domain::opt_out::Words;
use crate::domain::settings::SharedKey;
use crate::domain::transition::{self, Rules};
use crate::ghl_pace::SharedPace;
use crate::http::{HttpParts, HttpSettings, Slots, router};
use crate::leader::{Kind, Leadership};
use crate::lifecycle::{Bells, Condition, Stop};
use crate::oauth::{Agency, AgencySettings, Installer, InstallerSettings, Tokens, TokensParts};
use crate::operator::Locations;
use crate::opt_out::OptOuts;
use crate::pacing::Pace;
use crate::queue::{Admission, Bounds, Census, Enqueue, Worker, WorkerParts};
use crate::rekey::Rekeyer;
use crate::retention::Purger;
use crate::seal::KeyRing;
use crate::signature::{PublishedKeys, VerifyKeys};
use crate::store::{EmbeddedStore, Lock, MongoSettings, MongoStore, Store};
use crate::telemetry::Metrics;

/// Finding a server, connecting and one operation each stay below every allowed `ACCEPT_TIMEOUT` share of this.
const MONGO_SHARE: f64 = 0.8;

impl App {
    /// Builds the bridge: takes the lock, opens the store, reads the keys. Binds no port and starts no loop.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn build(config: &ServeConfig, clock: Clock) -> Result<Self, AppError> {
        let keys = verify_keys(config)?;
        let (store, lock, kind) = open_store(config).await?;
        let ring = Arc::new(key_ring(&config.seal, &config.store, OwnKey::Make)?);
        let http = http_client(&ClientSettings::default()).map_err(|e| AppError::Broken(e.to_string()))?;
        let (bells, condition, metrics, stop) =
            (Bells::default(), Condition::default(), Metrics::default(), Stop::default());
        let leadership = Leadership::new(kind, store.clone(), clock.clone(), metrics.clone(), bells.messages.clone());
        let pace = SharedPace::default();
        let ghl = GhlClient::new(http.clone(), config.ghl.api_url.clone());
        let app = TokenApp { client_id: config.ghl.client_id.clone(), client_secret: config.ghl.client_secret.clone() };
        let tokens = Tokens::new(TokensParts {
            store: store.clone(),
            ring: Arc::clone(&ring),
            ghl,
            app,
            install_url: config.http.public_url("/install"),
            clock: clock.clone(),
            leadership: leadership.clone(),
            bells: bells.clone(),
            metrics: metrics.clone(),
            pace: pace.clone(),
        });
        let agency = Agency::new(
            tokens.clone(),
            AgencySettings {
                app_id: app_id(config).to_owned(),
                retention: config.policy.retention,
                setting: Setting {
                    base_url: Some(config.http.public_url("")),
                    provider_id: config.ghl.conversation_provider_id.clone(),
                },
            },
        );
        let opt_outs = OptOuts::new(store.clone(), clock.clone(), bells.clone(), words(config));
        let handler = Outbound::new(
            store.clone(),
            Arc::clone(&ring),
            CastClient::new(http, config.cast.api_url.clone()),
            clock.clone(),
            outbound_settings(config),
            opt_outs.clone(),
        );
        let worker = Worker::new(
            WorkerParts {
                store: store.clone(),
                clock: clock.clone(),
                leadership: leadership.clone(),
                handler,
                rules: rules(config),
                pace: Pace { per_second: config.cast.rate_per_second, burst: config.cast.rate_burst },
                bells: bells.clone(),
                condition: condition.clone(),
                metrics: metrics.clone(),
                sole: kind == Kind::Sole,
            },
            stop.clone(),
        );
        let loops = LoopParts {
            store: store.clone(),
            tokens: tokens.clone(),
            clock: clock.clone(),
            leadership: leadership.clone(),
            bells: bells.clone(),
            metrics: metrics.clone(),
            pace,
        };
        let reporter = Reporter::new(loops.clone());
        let receipts = Receipts::new(loops.clone(), rules(config));
        let inbound = InboundWorker::new(loops.clone(), opt_outs.clone(), inbound_settings(config));
        let mirrors = Mirrors::new(loops);
        let rekeyer = Rekeyer::new(store.clone(), Arc::clone(&ring), clock.clone(), leadership.clone());
        let memory = config.policy.replay_memory;
        let purger = Purger::new(store.clone(), clock.clone(), leadership.clone(), memory);
        let admission = Admission::new(bounds(config));
        let census = Census::new(store.clone(), clock.clone(), admission.clone(), condition.clone(), metrics.clone());
        let me = leadership.me();
        let locations = Locations::new(store.clone(), Arc::clone(&ring), bells.clone());
        let router = router(HttpParts {
            enqueue: Enqueue::new(
                store.clone(),
                clock.clone(),
                bells,
                me,
                config.policy.retention,
                admission,
                opt_outs,
            ),
            keys,
            installer: Installer::new(tokens.clone(), installer_settings(config)),
            locations,
            condition: condition.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            slots: Slots::default(),
            settings: HttpSettings {
                accept_timeout: config.http.accept_timeout,
                app_id: app_id(config).to_owned(),
                provider_id: config.ghl.conversation_provider_id.clone(),
                inbound_api_key: config.inbound_api_key.clone(),
                admin_api_key: config.admin_api_key.clone(),
                shared_key: shared_key(config),
                callback_path: callback_path(config),
                secure_cookies: config.http.base_url.scheme() == "https",
            },
        });
        Ok(Self {
            router,
            worker,
            reporter,
            receipts,
            inbound,
            mirrors,
            tokens,
            agency,
            purger,
            census,
            rekeyer,
            leadership,
            store,
            condition,
            metrics,
            clock,
            stop,
            drain: config.http.drain,
            http_addr: (config.http.host, config.http.port).into(),
            metrics_addr: config.http.metrics_addr,
            lock,
        })
    }
}

/// Judges `GHL_WEBHOOK_PUBLIC_KEY` for the configuration's own report.
///
/// # Errors
/// A sentence that says what would be right, without the value.
pub fn check_webhook_key(text: &str) -> Result<(), String> {
    VerifyKeys::new(Some(text), PublishedKeys::Distrust).map(drop).map_err(|e| e.to_string())
}

fn verify_keys(config: &ServeConfig) -> Result<VerifyKeys, AppError> {
    let trust = if config.ghl.trust_published_keys { PublishedKeys::Trust } else { PublishedKeys::Distrust };
    VerifyKeys::new(config.ghl.webhook_public_key.as_deref(), trust).map_err(|e| {
        let mut errors = ConfigErrors::default();
        errors.push(Problem::sentence("GHL_WEBHOOK_PUBLIC_KEY", &e.to_string()));
        AppError::Config(errors)
    })
}

async fn open_store(config: &ServeConfig) -> Result<(Store, Option<Lock>, Kind), AppError> {
    match &config.store {
        StoreConfig::Embedded { data_dir } => {
            let lock = Lock::take(data_dir)?;
            let store = EmbeddedStore::open(data_dir)?;
            tracing::info!(store = "embedded", dir = %data_dir.display(), "messages are kept in DATA_DIR");
            Ok((Store::Embedded(store), Some(lock), Kind::Sole))
        }
        StoreConfig::Mongo { uri, database } => {
            let share = config.http.accept_timeout.mul_f64(MONGO_SHARE);
            let settings = MongoSettings {
                uri: uri.clone(),
                database: database.clone(),
                server_selection: share / 2,
                connect: share / 2,
                operation: share,
            };
            let store = MongoStore::open(&settings).await?;
            tracing::info!(store = "mongodb", database, "messages are kept in MongoDB; DATA_DIR is ignored");
            Ok((Store::Mongo(store), None, Kind::Elected))
        }
    }
}

/// What becomes of an embedded store without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnKey {
    /// One is made.
    Make,
    /// It has none.
    Read,
}

pub(super) fn key_ring(seal: &SealConfig, store: &StoreConfig, own: OwnKey) -> Result<KeyRing, AppError> {
    if seal.encryption == config::Encryption::Off {
        tracing::warn!("TOKEN_ENCRYPTION=off: tokens are stored in the clear");
        return Ok(KeyRing::off());
    }
    let made;
    let keys: Vec<(&str, &[u8])> = match (seal.keys.as_slice(), store) {
        ([], StoreConfig::Embedded { data_dir }) => {
            made = match own {
                OwnKey::Make => Some(token_key::read_or_make(data_dir)?),
                OwnKey::Read => token_key::read(data_dir)?,
            };
            made.iter().map(|(kid, key)| (kid.as_str(), key.as_slice())).collect()
        }
        (keys, StoreConfig::Embedded { data_dir }) => {
            // What the store's own key sealed before still opens.
            made = token_key::read(data_dir)?;
            let named_alike = |(kid, _): &&(String, Vec<u8>)| keys.iter().any(|k| k.kid == *kid);
            if let Some((kid, _)) = made.iter().find(named_alike).filter(|(kid, key)| !holds(keys, kid, key)) {
                return Err(AppError::TokenKey(format!(
                    "`{kid}` is the id of the key in {}: give the key of this id in TOKEN_ENCRYPTION_KEYS another",
                    data_dir.join(token_key::NAME).display()
                )));
            }
            let own = made.iter().filter(|own| !named_alike(own)).map(|(kid, key)| (kid.as_str(), key.as_slice()));
            keys.iter().map(|k| (k.kid.as_str(), k.expose().as_slice())).chain(own).collect()
        }
        (keys, StoreConfig::Mongo { .. }) => keys.iter().map(|k| (k.kid.as_str(), k.expose().as_slice())).collect(),
    };
    KeyRing::new(keys).map_err(|e| AppError::TokenKey(e.to_string()))
}

fn holds(keys: &[SealKey], kid: &str, key: &[u8]) -> bool {
    keys.iter().any(|k| k.kid == kid && k.expose().as_slice() == key)
}

fn rules(config: &ServeConfig) -> Rules {
    Rules {
        status_on_accept: match config.policy.status_on_accept {
            config::StatusOnAccept::Delivered => transition::StatusOnAccept::Delivered,
            config::StatusOnAccept::Pending => transition::StatusOnAccept::Pending,
        },
        status_delay: config.ghl.status_delay,
        unknown_send: match config.policy.unknown_send {
            config::UnknownSend::Park => transition::UnknownSend::Park,
            config::UnknownSend::Resend => transition::UnknownSend::Resend,
        },
        message_max_age: config.policy.message_max_age,
        retention: config.policy.retention,
    }
}

fn bounds(config: &ServeConfig) -> Bounds {
    Bounds { backlog: config.policy.backlog_limit, disk_reserve: config.policy.disk_reserve }
}

fn outbound_settings(config: &ServeConfig) -> OutboundSettings {
    OutboundSettings {
        account: AccountSettings {
            api_key: config.cast.api_key.clone(),
            sender_id: config.cast.sender_id.clone(),
            shared_key: shared_key(config),
            daily_parts: config.cast.location_daily_parts,
            message_max_age: config.policy.message_max_age,
        },
        compose: ComposeRules {
            long_message: match config.policy.long_message {
                config::LongMessage::Split => compose::LongMessage::Split,
                config::LongMessage::Reject => compose::LongMessage::Reject,
            },
            max_parts: config.policy.max_parts,
            attachments: match config.policy.attachments {
                config::Attachments::Link => compose::Attachments::Link,
                config::Attachments::Reject => compose::Attachments::Reject,
            },
        },
        // A message is held no longer than it may live.
        install_wait: config.ghl.install_wait.min(config.policy.message_max_age),
    }
}

fn shared_key(config: &ServeConfig) -> SharedKey {
    match config.cast.shared_key {
        config::SharedKey::Allow => SharedKey::Allow,
        config::SharedKey::Approve => SharedKey::Approve,
        config::SharedKey::Off => SharedKey::Off,
    }
}

fn inbound_settings(config: &ServeConfig) -> InboundSettings {
    InboundSettings {
        provider_id: config.ghl.conversation_provider_id.clone(),
        default_location: config.policy.default_location_id.as_deref().and_then(|id| LocationId::parse(id).ok()),
        retention: config.policy.retention,
    }
}

/// GHL's id of our app: the part of the client id before the `-`.
fn app_id(config: &ServeConfig) -> &str {
    let client_id = config.ghl.client_id.as_str();
    client_id.split_once('-').map_or(client_id, |(app_id, _)| app_id)
}

fn words(config: &ServeConfig) -> Option<Words> {
    let OptOutConfig { enabled, stop, start } = &config.opt_out;
    enabled.then(|| Words::new(stop, start))
}

/// The path of the redirect URI: the public address may have one of its own in front.
fn callback_path(config: &ServeConfig) -> String {
    format!("{}/oauth-callback", config.http.base_url.path().trim_end_matches('/'))
}

fn installer_settings(config: &ServeConfig) -> InstallerSettings {
    InstallerSettings {
        authorize_url: config.ghl.authorize_url.clone(),
        redirect_uri: config.http.public_url("/oauth-callback"),
        scopes: config.ghl.scopes.clone(),
    }
}

/// How often a store that was not there at start is looked for.
pub(super) const STORE_LOOK: Duration = Duration::from_secs(1);
