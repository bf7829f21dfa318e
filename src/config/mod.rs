//! The configuration: environment in, checked settings or every problem out (bridge rules, "Configuration").
//!
//! Owns the variables, their defaults and bounds, and `.env.example`. Its invariants: a configuration that exists
//! is complete and free of contradictions, and no secret's value is in any error, warning, `Debug` or table.
//! Imported by app, sandbox and cli alone: other modules take their own small settings. Imports nothing of the
//! crate but `domain`, touches no file, and reads the process environment in one function.

mod describe;
mod mongo_uri;
mod name;
mod problem;
mod raw;
mod seal_key;
mod stage;
mod value;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use self::describe::describe;
pub use self::problem::{ConfigErrors, Problem};
pub use self::seal_key::SealKey;
use self::stage::Reading;
use crate::domain::secret::Secret;

/// The process environment, for the `from_vars` functions; chain the pairs of a `.env` file after it, since the
/// first occurrence of a name holds. Bytes that are no text become U+FFFD, which every reader of a variable
/// refuses by the variable's name.
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        (text(name), text(value))
    })
}

/// Syntax that other modules know: each gets a value and returns a sentence that says what is wrong and what would
/// be right, without the value of a secret.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// Judges `GHL_WEBHOOK_PUBLIC_KEY`.
    pub webhook_public_key: fn(&str) -> Result<(), String>,
    /// Judges `RUST_LOG`.
    pub log_filter: fn(&str) -> Result<(), String>,
}

impl Checks {
    /// Takes every value as it is.
    pub const NONE: Self = Self { webhook_public_key: |_| Ok(()), log_filter: |_| Ok(()) };
}

/// All that `serve` and `check-config` need.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The web server.
    pub http: HttpConfig,
    /// The CRM's side.
    pub ghl: GhlConfig,
    /// The SMS gateway's side.
    pub cast: CastConfig,
    /// Where documents are kept.
    pub store: StoreConfig,
    /// How tokens are sealed at rest.
    pub seal: SealConfig,
    /// What happens to messages.
    pub policy: PolicyConfig,
    /// The key that guards the inbound endpoint; without it the endpoint does not exist.
    pub inbound_api_key: Option<Secret>,
    /// Replies that stop and start messages.
    pub opt_out: OptOutConfig,
    /// The key that guards the operator's API; without it the API does not exist.
    pub admin_api_key: Option<Secret>,
    /// Logging.
    pub log: LogConfig,
    /// What is allowed and worth saying at start, one sentence each.
    pub warnings: Vec<String>,
}

impl ServeConfig {
    /// Reads every variable; of a name that occurs twice the first holds.
    ///
    /// # Errors
    /// Every problem there is, not only the first.
    pub fn from_vars(vars: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        Self::from_vars_with(vars, &Checks::NONE)
    }

    /// As `from_vars`, and lets other modules judge what only they can, so that their problems are listed with the
    /// rest.
    ///
    /// # Errors
    /// Every problem there is, not only the first.
    pub fn from_vars_with(vars: impl Iterator<Item = (String, String)>, checks: &Checks) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(vars);
        let http = reading.web();
        let ghl = reading.ghl(checks);
        let cast = reading.cast();
        let (inbound_api_key, default_location_id, opt_out) = reading.replies();
        let admin_api_key = reading.admin();
        let (store, seal) = reading.store();
        let policy = reading.policy(default_location_id);
        let log = reading.log(checks);
        reading.unknown_names();
        match (http, ghl, cast) {
            (Some(http), Some(ghl), Some(cast)) if reading.errors.is_empty() => {
                let warnings = reading.warnings;
                Ok(Self {
                    http,
                    ghl,
                    cast,
                    store,
                    seal,
                    policy,
                    inbound_api_key,
                    opt_out,
                    admin_api_key,
                    log,
                    warnings,
                })
            }
            _ => Err(reading.errors),
        }
    }
}

/// What commands on the store need: they read the store and key variables and no others.
#[derive(Debug, Clone)]
pub struct StoreOnlyConfig {
    /// Where documents are kept.
    pub store: StoreConfig,
    /// How tokens are sealed at rest.
    pub seal: SealConfig,
    /// What is allowed and worth saying, one sentence each.
    pub warnings: Vec<String>,
}

impl StoreOnlyConfig {
    /// Reads `MONGO_URI`, `DATA_DIR`, `TOKEN_ENCRYPTION_KEYS` and `TOKEN_ENCRYPTION`.
    ///
    /// # Errors
    /// Every problem with these four.
    pub fn from_vars(vars: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(vars);
        let (store, seal) = reading.store();
        let warnings = reading.warnings;
        finished(reading.errors).map(|()| Self { store, seal, warnings })
    }
}

/// What `doctor` needs beside the store; nothing of it is required, so that it runs where little is set.
#[derive(Debug, Clone)]
pub struct DoctorConfig {
    /// Where documents are kept.
    pub store: StoreConfig,
    /// How tokens are sealed at rest.
    pub seal: SealConfig,
    /// Public address of this service, without a trailing slash.
    pub base_url: Option<String>,
    /// Base of GHL's API.
    pub ghl_api_url: Url,
    /// The app's conversation provider.
    pub conversation_provider_id: Option<String>,
    /// Scopes asked for at an install.
    pub scopes: Vec<String>,
    /// The location that gets replies nobody else can be found for.
    pub default_location_id: Option<String>,
    /// Space left free on the embedded store's disk, in bytes.
    pub disk_reserve: u64,
}

impl DoctorConfig {
    /// Reads the four variables of the store, `BASE_URL`, `GHL_API_URL`, `GHL_CONVERSATION_PROVIDER_ID`, `GHL_SCOPES`,
    /// `DEFAULT_LOCATION_ID` and `DISK_RESERVE`.
    ///
    /// # Errors
    /// Every problem with these.
    pub fn from_vars(vars: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(vars);
        match reading.doctor() {
            Some(config) if reading.errors.is_empty() => Ok(config),
            _ => Err(reading.errors),
        }
    }
}

/// What `sandbox` needs: everything else it makes up.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Logging.
    pub log: LogConfig,
}

impl SandboxConfig {
    /// Reads `LOG_FORMAT` and `RUST_LOG`.
    ///
    /// # Errors
    /// Every problem with these two.
    pub fn from_vars(vars: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        Self::from_vars_with(vars, &Checks::NONE)
    }

    /// As `from_vars`, with `RUST_LOG` judged by the module that obeys it.
    ///
    /// # Errors
    /// Every problem with these two.
    pub fn from_vars_with(vars: impl Iterator<Item = (String, String)>, checks: &Checks) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(vars);
        let log = reading.log(checks);
        finished(reading.errors).map(|()| Self { log })
    }
}

/// What `healthcheck` needs: where the `serve` beside it listens.
#[derive(Debug, Clone, Copy)]
pub struct HealthcheckConfig {
    /// The address to ask, loopback where `serve` listens on all.
    pub target: SocketAddr,
}

impl HealthcheckConfig {
    /// Reads `HOST` and `PORT`.
    ///
    /// # Errors
    /// Every problem with these two; port 0 is one, since nobody can know which port it became.
    pub fn from_vars(vars: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(vars.filter(|(name, _)| ["HOST", "PORT"].contains(&name.as_str())));
        let raw: raw::Web = reading.group();
        let (host, port) = reading.listener(raw.host, raw.port);
        if port == 0 {
            let right = "give `serve` a fixed port";
            reading.errors.push(Problem::new("PORT", "is 0, which a health check cannot find", right));
        }
        let ip = match host {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        finished(reading.errors).map(|()| Self { target: SocketAddr::new(ip, port) })
    }
}

fn finished(errors: ConfigErrors) -> Result<(), ConfigErrors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The web server.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 is any free one.
    pub port: u16,
    /// Public address of this service: http or https, without query; its path has no trailing slash, except that
    /// an empty path reads `/`. For links use `public_url`.
    pub base_url: Url,
    /// Where metrics are served, if anywhere; never the web server's own address.
    pub metrics_addr: Option<SocketAddr>,
    /// Longest time from a webhook's headers to its answer: 1 to 10 s, since GHL gives up after 10 to 15 s.
    pub accept_timeout: Duration,
    /// How long webhooks are still taken after SIGTERM: 1 s to 5 min.
    pub drain: Duration,
}

impl HttpConfig {
    /// The public URL of `path`, which begins with a slash.
    #[must_use]
    pub fn public_url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.as_str().trim_end_matches('/'))
    }
}

/// The CRM's side.
#[derive(Debug, Clone)]
pub struct GhlConfig {
    /// The marketplace app's client id.
    pub client_id: String,
    /// The marketplace app's client secret.
    pub client_secret: Secret,
    /// Base of the API, normalised as `HttpConfig::base_url` is.
    pub api_url: Url,
    /// Page where a user chooses the sub-account; as given, without query.
    pub authorize_url: Url,
    /// Scopes to ask for, in order, each once.
    pub scopes: Vec<String>,
    /// The app's conversation provider; messages of another one are ignored when set.
    pub conversation_provider_id: Option<String>,
    /// One's own webhook keys, their syntax judged by `Checks` alone.
    pub webhook_public_key: Option<String>,
    /// Whether GHL's published keys count; never false without a key of one's own.
    pub trust_published_keys: bool,
    /// From accepting a webhook to its first status report: 0 s to 10 min.
    pub status_delay: Duration,
    /// How long messages of a location that is not installed are held: 1 s to 30 d.
    pub install_wait: Duration,
}

/// The SMS gateway's side.
#[derive(Debug, Clone)]
pub struct CastConfig {
    /// The shared API key.
    pub api_key: Secret,
    /// Base of the API, normalised as `HttpConfig::base_url` is.
    pub api_url: Url,
    /// The sender name, if not the account's own: 1 to 11 of `[A-Za-z0-9 ._-]`.
    pub sender_id: Option<String>,
    /// The key's limit as Cast states it, in requests per second: 1 to 100000.
    pub rate_per_second: u32,
    /// The key's burst as Cast states it, in requests: 1 to 100000.
    pub rate_burst: u32,
    /// Who may use the shared key.
    pub shared_key: SharedKey,
    /// Most parts of a location a day on the shared key; 0 is no limit.
    pub location_daily_parts: u64,
}

/// Where documents are kept.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In files of this process.
    Embedded {
        /// Their directory.
        data_dir: PathBuf,
    },
    /// In MongoDB, shared by replicas.
    Mongo {
        /// The connection string, as given.
        uri: Secret,
        /// The database it names, decoded, or `cast-ghl`.
        database: String,
    },
}

/// How tokens are sealed at rest.
#[derive(Debug, Clone)]
pub struct SealConfig {
    /// Whether they are.
    pub encryption: Encryption,
    /// The first seals, all open. Empty: the embedded store makes its own key. Never empty for MongoDB with
    /// encryption on, always empty with it off.
    pub keys: Vec<SealKey>,
}

/// What happens to messages.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// What the CRM is told once the gateway took a message.
    pub status_on_accept: StatusOnAccept,
    /// What becomes of a message longer than one part.
    pub long_message: LongMessage,
    /// Most parts of a message: 1 to 100.
    pub max_parts: usize,
    /// What becomes of attachments.
    pub attachments: Attachments,
    /// What follows a send of unknown outcome.
    pub unknown_send: UnknownSend,
    /// Age at which an unsent message expires; at most `retention`.
    pub message_max_age: Duration,
    /// How long a settled message is kept whole; at most `replay_memory`.
    pub retention: Duration,
    /// How long a settled message's id is remembered.
    pub replay_memory: Duration,
    /// Most unsettled messages: 1 or more.
    pub backlog_limit: u64,
    /// Space left free on the embedded store's disk, in bytes.
    pub disk_reserve: u64,
    /// The location that gets replies nobody else can be found for.
    pub default_location_id: Option<String>,
}

/// Replies that stop and start messages.
#[derive(Debug, Clone)]
pub struct OptOutConfig {
    /// Whether they do.
    pub enabled: bool,
    /// Words that stop; never empty, none of them among those that start.
    pub stop: Vec<String>,
    /// Words that start; never empty.
    pub start: Vec<String>,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, as a `tracing` filter; its syntax is judged by `Checks` alone.
    pub filter: String,
}

/// A closed list of words, the first of them the default.
trait Words: Copy + PartialEq + Sized + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }
}

impl Words for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("true", true), ("false", false)];
}

/// What the CRM is told once the gateway took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusOnAccept {
    /// `delivered`: not everyone gets receipts.
    Delivered,
    /// `pending`, until a receipt says more.
    Pending,
}

impl Words for StatusOnAccept {
    const WORDS: &'static [(&'static str, Self)] = &[("delivered", Self::Delivered), ("pending", Self::Pending)];
}

/// Who may use the shared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKey {
    /// Every location.
    Allow,
    /// Those an operator approved.
    Approve,
    /// None: every location needs its own.
    Off,
}

impl Words for SharedKey {
    const WORDS: &'static [(&'static str, Self)] =
        &[("allow", Self::Allow), ("approve", Self::Approve), ("off", Self::Off)];
}

/// What becomes of a message longer than one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongMessage {
    /// It is sent in parts.
    Split,
    /// It fails as too long.
    Reject,
}

impl Words for LongMessage {
    const WORDS: &'static [(&'static str, Self)] = &[("split", Self::Split), ("reject", Self::Reject)];
}

/// What becomes of attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachments {
    /// They are sent as links.
    Link,
    /// The message is refused.
    Reject,
}

impl Words for Attachments {
    const WORDS: &'static [(&'static str, Self)] = &[("link", Self::Link), ("reject", Self::Reject)];
}

/// What follows a send of unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSend {
    /// It waits for a person: at most once.
    Park,
    /// It is sent again: at least once.
    Resend,
}

impl Words for UnknownSend {
    const WORDS: &'static [(&'static str, Self)] = &[("park", Self::Park), ("resend", Self::Resend)];
}

/// Whether tokens are sealed at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// They are.
    On,
    /// They lie readable, which is warned of.
    Off,
}

impl Words for Encryption {
    const WORDS: &'static [(&'static str, Self)] = &[("on", Self::On), ("off", Self::Off)];
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
