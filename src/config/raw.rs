//! The environment as text: one struct a group, every field an optional string that envy fills.
//!
//! Owns the words of `.env.example`: a struct's doc is its heading there, a field's doc the comment above the
//! name. Its invariant, held by a test: file and docs say the same, in the same order.
//! No parsing here: envy stops at its first error and echoes values, so the second stage does that.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A group of variables that envy reads into a struct of optional strings.
pub(super) trait Group: DeserializeOwned + Default {
    /// The variables' names, the upper-case form of the fields, in their order.
    const NAMES: &'static [&'static str];
}

/// Every group, in the order of `.env.example`.
pub(super) const GROUPS: [&[&str]; 8] =
    [Web::NAMES, Ghl::NAMES, Cast::NAMES, Replies::NAMES, Admin::NAMES, Store::NAMES, Policy::NAMES, Log::NAMES];

/// Web server
#[derive(Deserialize, Default)]
pub(super) struct Web {
    /// Required. The public address of this service, such as `https://bridge.example.com`. The CRM sends its users
    /// and webhooks here.
    pub base_url: Option<String>,
    /// IP address to listen on; `::` for IPv4 and IPv6.
    pub host: Option<String>,
    /// TCP port to listen on; 0 takes a free one and logs it.
    pub port: Option<String>,
    /// IP:port of the Prometheus metrics, on a listener of their own; port 0 takes a free one, `off` serves none.
    pub metrics_addr: Option<String>,
    /// Longest time from reading a webhook's headers to its answer, 1s to 10s: GHL gives up after 10 to 15 s.
    /// Past it the webhook is answered 429, and GHL sends it again.
    pub accept_timeout: Option<String>,
    /// After SIGTERM webhooks are still stored and answered for this long, 1s to 5m. Sends in flight then get
    /// another 35s: keep the container's stop grace period (50s in docker-compose.yaml) longer than the two together.
    pub drain: Option<String>,
}

impl Group for Web {
    const NAMES: &'static [&'static str] = &["BASE_URL", "HOST", "PORT", "METRICS_ADDR", "ACCEPT_TIMEOUT", "DRAIN"];
}

/// GHL, the CRM
#[derive(Deserialize, Default)]
pub(super) struct Ghl {
    /// Required. The marketplace app's client id.
    pub ghl_client_id: Option<String>,
    /// Required. The marketplace app's client secret.
    pub ghl_client_secret: Option<String>,
    /// Public keys that may sign webhooks beside those GHL publishes: PEM or the bare base64 inside it, several
    /// one after the other. Line breaks may be written `\n`.
    pub ghl_webhook_public_key: Option<String>,
    /// Whether the keys that GHL publishes are trusted, `true` or `false`; `false` needs a key of one's own above.
    pub ghl_webhook_trust_published_keys: Option<String>,
    /// The id of the app's conversation provider. When set, messages of other providers are ignored.
    pub ghl_conversation_provider_id: Option<String>,
    /// OAuth scopes to ask for, separated by spaces. They lock when the app is published: name fewer only for an
    /// app published with fewer.
    pub ghl_scopes: Option<String>,
    /// Base of GHL's API.
    pub ghl_api_url: Option<String>,
    /// Page where a user chooses the sub-account to connect; white-label agencies use
    /// `https://marketplace.leadconnectorhq.com/oauth/chooselocation`.
    pub ghl_authorize_url: Option<String>,
    /// Wait from accepting a webhook to its first status report, 0s to 10m: GHL refuses earlier ones.
    pub status_delay: Option<String>,
    /// How long messages of a sub-account that is not installed are held before they fail, 1s to 30d.
    pub install_wait: Option<String>,
}

impl Group for Ghl {
    const NAMES: &'static [&'static str] = &[
        "GHL_CLIENT_ID",
        "GHL_CLIENT_SECRET",
        "GHL_WEBHOOK_PUBLIC_KEY",
        "GHL_WEBHOOK_TRUST_PUBLISHED_KEYS",
        "GHL_CONVERSATION_PROVIDER_ID",
        "GHL_SCOPES",
        "GHL_API_URL",
        "GHL_AUTHORIZE_URL",
        "STATUS_DELAY",
        "INSTALL_WAIT",
    ];
}

/// Cast, the SMS gateway
#[derive(Deserialize, Default)]
pub(super) struct Cast {
    /// Required. The key that pays for the messages.
    pub cast_api_key: Option<String>,
    /// Sender name shown on the phone: 1 to 11 letters, digits, spaces, `.`, `_` or `-`. Unset: the account's own.
    pub cast_sender_id: Option<String>,
    /// Base of Cast's API.
    pub cast_api_url: Option<String>,
    /// The key's rate limit in requests per second, 1 to 100000. The bridge stays just below it.
    pub cast_rate_per_second: Option<String>,
    /// The key's burst limit in requests, 1 to 100000. The bridge uses 80 % of it.
    pub cast_rate_burst: Option<String>,
    /// Who may use CAST_API_KEY: `allow` every sub-account; `approve`, those you approved; or `off`, none. The others wait
    /// for your approval (MESSAGE_MAX_AGE at most) or need a key of their own.
    pub shared_key: Option<String>,
    /// Most parts a sub-account may send a day on CAST_API_KEY, counted from midnight in Manila; 0 sets no limit.
    pub location_daily_parts: Option<String>,
}

impl Group for Cast {
    const NAMES: &'static [&'static str] = &[
        "CAST_API_KEY",
        "CAST_SENDER_ID",
        "CAST_API_URL",
        "CAST_RATE_PER_SECOND",
        "CAST_RATE_BURST",
        "SHARED_KEY",
        "LOCATION_DAILY_PARTS",
    ];
}

/// Replies
#[derive(Deserialize, Default)]
pub(super) struct Replies {
    /// The key that the SMS gateway shows when it posts replies and receipts, at least 16 characters. Unset: neither, the
    /// endpoints answer 404.
    pub inbound_api_key: Option<String>,
    /// The sub-account that gets replies nobody else can be found for. Ignored once more than one company has
    /// installed the app.
    pub default_location_id: Option<String>,
    /// Whether a reply of one of OPT_OUT_WORDS stops further messages, `true` or `false`. With `false` no message is
    /// held back, whatever people replied before.
    pub opt_out: Option<String>,
    /// Replies that stop messages, separated by commas: the whole reply, in any case, with or without `.` and `!`.
    pub opt_out_words: Option<String>,
    /// Replies that allow messages again, separated by commas.
    pub opt_in_words: Option<String>,
}

impl Group for Replies {
    const NAMES: &'static [&'static str] =
        &["INBOUND_API_KEY", "DEFAULT_LOCATION_ID", "OPT_OUT", "OPT_OUT_WORDS", "OPT_IN_WORDS"];
}

/// Operator
#[derive(Deserialize, Default)]
pub(super) struct Admin {
    /// The key of the operator's API, at least 16 characters, shown as `Authorization: Bearer`. Unset: no such API, its
    /// addresses answer 404.
    pub admin_api_key: Option<String>,
}

impl Group for Admin {
    const NAMES: &'static [&'static str] = &["ADMIN_API_KEY"];
}

/// Store and keys
#[derive(Deserialize, Default)]
pub(super) struct Store {
    /// Where messages and tokens are kept: `mongodb://` or `mongodb+srv://`, with user name and password
    /// percent-encoded; without a database name it is `cast-ghl`. Unset: the embedded store in DATA_DIR. Set but
    /// blank is an error, so that an empty secret cannot split the store.
    pub mongo_uri: Option<String>,
    /// Directory of the embedded store; ignored with MONGO_URI.
    pub data_dir: Option<String>,
    /// Keys that seal tokens at rest, as `id:base64 of 32 bytes`, separated by commas: the first seals, all open.
    /// `cast-ghl keys generate` makes one. Needed with MONGO_URI; the embedded store makes its own when unset.
    pub token_encryption_keys: Option<String>,
    /// `on` or `off`; `off` keeps tokens readable by anyone who reads the store, and warns at every start.
    pub token_encryption: Option<String>,
}

impl Group for Store {
    const NAMES: &'static [&'static str] = &["MONGO_URI", "DATA_DIR", "TOKEN_ENCRYPTION_KEYS", "TOKEN_ENCRYPTION"];
}

/// Messages
#[derive(Deserialize, Default)]
pub(super) struct Policy {
    /// What the CRM is told once Cast took a message: `delivered`, or `pending` where delivery receipts arrive.
    pub status_on_accept: Option<String>,
    /// What becomes of a message too long for one SMS call: `split` into parts, or `reject`.
    pub long_message: Option<String>,
    /// Most parts a message may be split into, 1 to 100.
    pub max_parts: Option<String>,
    /// Attachments are sent as a `link`, or the message is refused: `reject`.
    pub attachments: Option<String>,
    /// What follows a send whose outcome nobody knows: `park` leaves it to a person, `resend` sends at least once
    /// and so perhaps twice.
    pub unknown_send: Option<String>,
    /// A message not sent by this age expires, 1s or more, at most RETENTION.
    pub message_max_age: Option<String>,
    /// How long a finished message is kept whole, 1h or more, at most REPLAY_MEMORY.
    pub retention: Option<String>,
    /// How long a finished message's id is remembered, so that a repeated webhook sends nothing, 1d to 3650d.
    pub replay_memory: Option<String>,
    /// Most messages that are neither sent nor given up. Beyond it webhooks are answered 429, so that the CRM sends
    /// them again later.
    pub backlog_limit: Option<String>,
    /// Disk space the embedded store leaves free for the outcomes of what it holds, as a whole number of KiB, MiB, GiB
    /// or TiB. Beyond it webhooks are answered 429 and replies 503. Ignored with MONGO_URI.
    pub disk_reserve: Option<String>,
}

impl Group for Policy {
    const NAMES: &'static [&'static str] = &[
        "STATUS_ON_ACCEPT",
        "LONG_MESSAGE",
        "MAX_PARTS",
        "ATTACHMENTS",
        "UNKNOWN_SEND",
        "MESSAGE_MAX_AGE",
        "RETENTION",
        "REPLAY_MEMORY",
        "BACKLOG_LIMIT",
        "DISK_RESERVE",
    ];
}

/// Log
#[derive(Deserialize, Default)]
pub(super) struct Log {
    /// `text` for people, `json` for machines.
    pub log_format: Option<String>,
    /// What is logged: a level (error, warn, info, debug, trace), or levels by module.
    pub rust_log: Option<String>,
}

impl Group for Log {
    const NAMES: &'static [&'static str] = &["LOG_FORMAT", "RUST_LOG"];
}
