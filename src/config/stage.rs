//! The second stage: a group of raw strings becomes a part of the configuration.
//!
//! Owns defaults, bounds, contradictions and what is warned of. Its invariant: it never stops at a problem;
//! a default stands in for a bad value until all problems are collected, and none of it gets out then.
//! Must not read the environment or know a value's syntax (see `value`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::name::{self, Verdict};
use super::raw::{Admin, Cast, Ghl, Group, Log, Policy, Replies, Store, Web};
use super::value::{self, Wrong};
use super::{
    CastConfig, Checks, ConfigErrors, DoctorConfig, Encryption, GhlConfig, HttpConfig, LogConfig, OptOutConfig,
    PolicyConfig, Problem, SealConfig, StoreConfig, Words, mongo_uri, seal_key,
};
use crate::domain::opt_out::folded;
use crate::domain::secret::Secret;

/// The six scopes of the bridge's own calls, the two that agency installs cannot work without, and the one of the
/// set-up check (GHL contract, OAuth).
const DEFAULT_SCOPES: &str = "conversations/message.write conversations/message.readonly conversations.write \
    conversations.readonly contacts.readonly contacts.write oauth.readonly oauth.write locations.readonly";

const GHL_API_URL: &str = "https://services.leadconnectorhq.com";

/// 256 MiB.
const DISK_RESERVE: u64 = 256 << 20;

/// What people reply who want no more messages, and who want them again (bridge rules, inbound).
const STOP_WORDS: [&str; 4] = ["STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE"];
const START_WORDS: [&str; 3] = ["START", "UNSTOP", "SUBSCRIBE"];

/// The scope that carries the delivery webhook itself.
const DELIVERY_SCOPE: &str = "conversations/message.write";

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

const fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

const fn days(n: u64) -> Duration {
    hours(24 * n)
}

/// Ten years: longer is a slip of the finger.
const LONGEST: Duration = days(3650);

/// The environment being read, and what has been found so far.
pub(super) struct Reading {
    vars: BTreeMap<String, String>,
    pub errors: ConfigErrors,
    pub warnings: Vec<String>,
}

impl Reading {
    /// Of a name that occurs twice the first holds, as with `getenv`: put the process environment before `.env`.
    pub fn new(vars: impl Iterator<Item = (String, String)>) -> Self {
        let mut first = BTreeMap::new();
        for (name, value) in vars {
            first.entry(name).or_insert(value);
        }
        Self { vars: first, errors: ConfigErrors::default(), warnings: Vec::new() }
    }

    /// The group's variables without the spaces and quotes around them; blank ones are unset, except that a blank
    /// `MONGO_URI` stays for its parser to refuse.
    pub fn group<G: Group>(&mut self) -> G {
        let mut pairs = Vec::new();
        for name in G::NAMES {
            let Some(value) = self.vars.get(*name).map(|v| bare(v)) else {
                continue;
            };
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let right = "copy it again as plain text";
                self.errors.push(Problem::new(name, "is not valid UTF-8", right));
            } else if !value.is_empty() || *name == "MONGO_URI" {
                pairs.push(((*name).to_owned(), value.to_owned()));
            }
        }
        // Optional strings, each name once: envy has nothing to refuse. Were it to, its error would echo values.
        envy::from_iter(pairs).unwrap_or_else(|_| {
            let cause = Problem::new(G::NAMES[0], "and its neighbours cannot be read", "report this");
            self.errors.push(cause);
            G::default()
        })
    }

    fn take<T>(&mut self, name: &str, text: Option<String>, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        match parse(&text?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.errors.push(problem(name, &wrong));
                None
            }
        }
    }

    fn required<T>(
        &mut self,
        name: &str,
        text: Option<String>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
        right: &str,
    ) -> Option<T> {
        if text.is_none() && !self.errors.concern(name) {
            self.errors.push(Problem::new(name, "is missing", right));
        }
        self.take(name, text, parse)
    }

    fn word<W: Words>(&mut self, name: &str, text: Option<String>) -> W {
        self.take(name, text, value::word).unwrap_or(W::WORDS[0].1)
    }

    fn duration(
        &mut self,
        name: &str,
        text: Option<String>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.take(name, text, value::duration(range)).unwrap_or(default)
    }

    fn fine(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.errors.concern(name))
    }

    pub fn web(&mut self) -> Option<HttpConfig> {
        let raw: Web = self.group();
        let right = "give this service's public address, such as https://bridge.example.com";
        let base_url = self.required("BASE_URL", raw.base_url, value::base_url, right);
        let (host, port) = self.listener(raw.host, raw.port);
        let metrics_addr = self
            .take("METRICS_ADDR", raw.metrics_addr, value::socket_or_off)
            .unwrap_or(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))));
        let range = seconds(1)..=seconds(10);
        let accept_timeout = self.duration("ACCEPT_TIMEOUT", raw.accept_timeout, seconds(5), range);
        let drain = self.duration("DRAIN", raw.drain, seconds(5), seconds(1)..=minutes(5));
        if self.fine(&["HOST", "PORT", "METRICS_ADDR"])
            && metrics_addr.is_some_and(|addr| overlap(addr, SocketAddr::new(host, port)))
        {
            self.errors.push(Problem::new(
                "METRICS_ADDR",
                "is where the web server listens already (HOST, PORT)",
                "give it a port of its own, or off",
            ));
        }
        let base_url = base_url?;
        self.warn_if_plain("BASE_URL", &base_url);
        Some(HttpConfig { host, port, base_url, metrics_addr, accept_timeout, drain })
    }

    /// Where `serve` listens.
    pub fn listener(&mut self, host: Option<String>, port: Option<String>) -> (IpAddr, u16) {
        let host = self.take("HOST", host, value::ip);
        let port = self.take("PORT", port, value::number(0..=u16::MAX));
        (host.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.unwrap_or(3002))
    }

    pub fn ghl(&mut self, checks: &Checks) -> Option<GhlConfig> {
        let raw: Ghl = self.group();
        let right = "copy it from the marketplace app's settings";
        let client_id = self.required("GHL_CLIENT_ID", raw.ghl_client_id, value::token, right);
        let client_secret = self.required("GHL_CLIENT_SECRET", raw.ghl_client_secret, value::secret, right);
        let (webhook_public_key, trust_published_keys) =
            self.webhook_keys(raw.ghl_webhook_public_key, raw.ghl_webhook_trust_published_keys, checks);
        let conversation_provider_id =
            self.take("GHL_CONVERSATION_PROVIDER_ID", raw.ghl_conversation_provider_id, value::crm_id);
        let scopes = raw.ghl_scopes.or_else(|| Some(DEFAULT_SCOPES.to_owned()));
        let scopes = self.take("GHL_SCOPES", scopes, value::scopes).unwrap_or_default();
        if self.fine(&["GHL_SCOPES"]) && !scopes.iter().any(|s| s == DELIVERY_SCOPE) {
            self.warnings
                .push(format!("GHL_SCOPES: lacks {DELIVERY_SCOPE}, without which GHL sends no messages to deliver"));
        }
        let api_url = self.api_url("GHL_API_URL", raw.ghl_api_url, GHL_API_URL);
        let authorize_url = raw
            .ghl_authorize_url
            .or_else(|| Some("https://marketplace.gohighlevel.com/oauth/chooselocation".to_owned()));
        let authorize_url = self.take("GHL_AUTHORIZE_URL", authorize_url, value::plain_url);
        let range = Duration::ZERO..=minutes(10);
        let status_delay = self.duration("STATUS_DELAY", raw.status_delay, seconds(5), range);
        let range = seconds(1)..=days(30);
        let install_wait = self.duration("INSTALL_WAIT", raw.install_wait, minutes(15), range);
        Some(GhlConfig {
            client_id: client_id?,
            client_secret: client_secret?,
            api_url: api_url?,
            authorize_url: authorize_url?,
            scopes,
            conversation_provider_id,
            webhook_public_key,
            trust_published_keys,
            status_delay,
            install_wait,
        })
    }

    fn webhook_keys(&mut self, own: Option<String>, trust: Option<String>, checks: &Checks) -> (Option<String>, bool) {
        const OWN: &str = "GHL_WEBHOOK_PUBLIC_KEY";
        const TRUST: &str = "GHL_WEBHOOK_TRUST_PUBLISHED_KEYS";
        if let Some(Err(sentence)) = own.as_deref().map(checks.webhook_public_key) {
            self.errors.push(Problem::sentence(OWN, &sentence));
        }
        let trust = self.word::<bool>(TRUST, trust);
        if !trust && own.is_none() && self.fine(&[OWN, TRUST]) {
            self.errors.push(Problem::new(
                TRUST,
                "is false while GHL_WEBHOOK_PUBLIC_KEY is not set, so that no webhook could be verified",
                "set a key of your own, or trust the published ones",
            ));
        }
        (own, trust)
    }

    pub fn cast(&mut self) -> Option<CastConfig> {
        let raw: Cast = self.group();
        let right = "copy it from the Cast account";
        let api_key = self.required("CAST_API_KEY", raw.cast_api_key, value::secret, right);
        let sender_id = self.take("CAST_SENDER_ID", raw.cast_sender_id, value::sender_id);
        let api_url = self.api_url("CAST_API_URL", raw.cast_api_url, "https://api.cast.ph");
        let limit = || value::number(1..=100_000u32);
        let rate = self.take("CAST_RATE_PER_SECOND", raw.cast_rate_per_second, limit());
        let burst = self.take("CAST_RATE_BURST", raw.cast_rate_burst, limit());
        let shared_key = self.word("SHARED_KEY", raw.shared_key);
        let daily = self.take("LOCATION_DAILY_PARTS", raw.location_daily_parts, value::number(0..=u64::MAX));
        Some(CastConfig {
            api_key: api_key?,
            api_url: api_url?,
            sender_id,
            rate_per_second: rate.unwrap_or(30),
            rate_burst: burst.unwrap_or(50),
            shared_key,
            location_daily_parts: daily.unwrap_or(0),
        })
    }

    pub fn replies(&mut self) -> (Option<Secret>, Option<String>, OptOutConfig) {
        let raw: Replies = self.group();
        let key = self.take("INBOUND_API_KEY", raw.inbound_api_key, value::guard);
        let location = self.take("DEFAULT_LOCATION_ID", raw.default_location_id, value::crm_id);
        let enabled: bool = self.word("OPT_OUT", raw.opt_out);
        let default = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let stop = self.take("OPT_OUT_WORDS", raw.opt_out_words, value::reply_words);
        let stop: Vec<String> = stop.unwrap_or_else(|| default(&STOP_WORDS));
        let start = self.take("OPT_IN_WORDS", raw.opt_in_words, value::reply_words);
        let start: Vec<String> = start.unwrap_or_else(|| default(&START_WORDS));
        let stops = |word: &&String| stop.iter().any(|other| folded(other) == folded(word));
        if let Some(both) = start.iter().find(stops) {
            let wrong = format!("holds {}, which is one of OPT_OUT_WORDS", value::echo(both));
            self.errors.push(Problem::new("OPT_IN_WORDS", &wrong, "leave it out of one of the two"));
        }
        if !enabled {
            self.warnings.push("OPT_OUT: false, so a person who replies STOP goes on getting messages".to_owned());
        }
        (key, location, OptOutConfig { enabled, stop, start })
    }

    pub fn admin(&mut self) -> Option<Secret> {
        let raw: Admin = self.group();
        self.take("ADMIN_API_KEY", raw.admin_api_key, value::guard)
    }

    pub fn store(&mut self) -> (StoreConfig, SealConfig) {
        const KEYS: &str = "TOKEN_ENCRYPTION_KEYS";
        let raw: Store = self.group();
        let mongo = raw.mongo_uri.is_some();
        let database = self.take("MONGO_URI", raw.mongo_uri.clone(), mongo_uri::database);
        let given = raw.token_encryption_keys.is_some();
        let keys = raw.token_encryption_keys.as_deref().map_or(Ok(Vec::new()), seal_key::parse);
        let keys = keys.unwrap_or_else(|wrongs| {
            for wrong in &wrongs {
                self.errors.push(problem(KEYS, wrong));
            }
            Vec::new()
        });
        let encryption = self.word("TOKEN_ENCRYPTION", raw.token_encryption);
        if encryption == Encryption::Off {
            self.warnings
                .push("TOKEN_ENCRYPTION: off, so tokens lie readable in the store and in its backups".to_owned());
            if given {
                self.errors.push(Problem::new(
                    "TOKEN_ENCRYPTION",
                    "is off while TOKEN_ENCRYPTION_KEYS is set",
                    "unset one of the two",
                ));
            }
        } else if mongo && !given && self.fine(&["MONGO_URI", KEYS, "TOKEN_ENCRYPTION"]) {
            self.errors.push(Problem::new(
                KEYS,
                "is missing while MONGO_URI is set",
                "make a key with `cast-ghl keys generate` and give every replica the same",
            ));
        }
        let store = match (raw.mongo_uri, database) {
            (Some(uri), Some(database)) => StoreConfig::Mongo { uri: Secret::from(uri), database },
            _ => StoreConfig::Embedded { data_dir: PathBuf::from(raw.data_dir.unwrap_or_else(|| "./data".to_owned())) },
        };
        (store, SealConfig { encryption, keys })
    }

    /// What `doctor` looks at; `None` for an address that is none.
    pub fn doctor(&mut self) -> Option<DoctorConfig> {
        let (store, seal) = self.store();
        let (web, ghl, replies, policy): (Web, Ghl, Replies, Policy) =
            (self.group(), self.group(), self.group(), self.group());
        let base_url = self.take("BASE_URL", web.base_url, value::base_url);
        let scopes = ghl.ghl_scopes.or_else(|| Some(DEFAULT_SCOPES.to_owned()));
        let provider = ghl.ghl_conversation_provider_id;
        Some(DoctorConfig {
            store,
            seal,
            base_url: base_url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            conversation_provider_id: self.take("GHL_CONVERSATION_PROVIDER_ID", provider, value::crm_id),
            scopes: self.take("GHL_SCOPES", scopes, value::scopes).unwrap_or_default(),
            default_location_id: self.take("DEFAULT_LOCATION_ID", replies.default_location_id, value::crm_id),
            disk_reserve: self.take("DISK_RESERVE", policy.disk_reserve, value::byte_size).unwrap_or(DISK_RESERVE),
            ghl_api_url: self.api_url("GHL_API_URL", ghl.ghl_api_url, GHL_API_URL)?,
        })
    }

    pub fn policy(&mut self, default_location_id: Option<String>) -> PolicyConfig {
        let raw: Policy = self.group();
        let max_parts = self.take("MAX_PARTS", raw.max_parts, value::number(1..=100usize));
        let backlog = self.take("BACKLOG_LIMIT", raw.backlog_limit, value::number(1..=u64::MAX));
        let reserve = self.take("DISK_RESERVE", raw.disk_reserve, value::byte_size);
        let policy = PolicyConfig {
            status_on_accept: self.word("STATUS_ON_ACCEPT", raw.status_on_accept),
            long_message: self.word("LONG_MESSAGE", raw.long_message),
            max_parts: max_parts.unwrap_or(8),
            attachments: self.word("ATTACHMENTS", raw.attachments),
            unknown_send: self.word("UNKNOWN_SEND", raw.unknown_send),
            message_max_age: self.duration("MESSAGE_MAX_AGE", raw.message_max_age, hours(24), seconds(1)..=LONGEST),
            retention: self.duration("RETENTION", raw.retention, days(30), hours(1)..=LONGEST),
            replay_memory: self.duration("REPLAY_MEMORY", raw.replay_memory, days(400), days(1)..=LONGEST),
            backlog_limit: backlog.unwrap_or(1_000_000),
            disk_reserve: reserve.unwrap_or(DISK_RESERVE),
            default_location_id,
        };
        self.in_order(("MESSAGE_MAX_AGE", policy.message_max_age), ("RETENTION", policy.retention));
        self.in_order(("RETENTION", policy.retention), ("REPLAY_MEMORY", policy.replay_memory));
        policy
    }

    /// A message is done before it is stripped, and stripped before it is forgotten.
    fn in_order(&mut self, (short, shorter): (&str, Duration), (long, longer): (&str, Duration)) {
        if shorter > longer && self.fine(&[short, long]) {
            let [shorter, longer] = [shorter, longer].map(value::duration_text);
            self.errors.push(Problem::new(
                short,
                &format!("is {shorter}, longer than {long}, which is {longer}"),
                &format!("shorten it or lengthen {long}"),
            ));
        }
    }

    pub fn log(&mut self, checks: &Checks) -> LogConfig {
        let raw: Log = self.group();
        let filter = raw.rust_log.unwrap_or_else(|| "info".to_owned());
        if let Err(sentence) = (checks.log_filter)(&filter) {
            self.errors.push(Problem::sentence("RUST_LOG", &sentence));
        }
        LogConfig { format: self.word("LOG_FORMAT", raw.log_format), filter }
    }

    /// Names under our prefixes that nobody asked for.
    pub fn unknown_names(&mut self) {
        for name in self.vars.keys() {
            match name::judge(name) {
                Verdict::Fine => {}
                Verdict::Misspelt(known) => {
                    let right = format!("did you mean {known}?");
                    self.errors.push(Problem::new(&value::printable(name), "is not a known name", &right));
                }
                Verdict::Unknown => {
                    let name = value::printable(name);
                    self.warnings.push(format!("{name}: not a known name, ignored"));
                }
            }
        }
    }

    fn api_url(&mut self, name: &str, text: Option<String>, default: &str) -> Option<Url> {
        let text = text.unwrap_or_else(|| default.to_owned());
        let url = self.take(name, Some(text), value::base_url)?;
        self.warn_if_plain(name, &url);
        Some(url)
    }

    fn warn_if_plain(&mut self, name: &str, url: &Url) {
        let own = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(domain)) => domain == "localhost",
            None => false,
        };
        if url.scheme() == "http" && !own {
            self.warnings.push(format!("{name}: http, so keys and messages travel unencrypted"));
        }
    }
}

fn problem(name: &str, wrong: &Wrong) -> Problem {
    Problem::new(name, &wrong.wrong, &wrong.right)
}

/// A value without white space around it, nor one pair of quotes: `docker run --env-file` keeps those that a shell
/// or a `.env` reader takes off.
fn bare(value: &str) -> &str {
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|q| {
        let inner = value.strip_prefix(*q)?.strip_suffix(*q)?;
        (!inner.contains(*q)).then_some(inner.trim())
    });
    unquoted.unwrap_or(value)
}

/// Whether two listeners would want the same port of the same address; port 0 is never the same.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Linux binds `::` for IPv4 too.
    let covers = |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}
