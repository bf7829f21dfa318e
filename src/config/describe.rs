//! The effective configuration as a table for a person (`cast-ghl check-config`).
//!
//! Owns its layout: one line a variable, in the order of `.env.example`. Its invariant: of a secret it says only
//! that it is set. Reads the finished configuration alone, never the environment.

use url::Url;

use super::raw::{Admin, Cast, Ghl, Group, Log, Policy, Replies, Store, Web};
use super::value::{duration_text, printable, size_text};
use super::{ServeConfig, StoreConfig, Words};

/// Every supported variable with the value that holds, defaults included; secrets show as `set`.
#[must_use]
pub fn describe(config: &ServeConfig) -> String {
    let groups = [
        rows::<Web, 6>(web(config)),
        rows::<Ghl, 10>(ghl(config)),
        rows::<Cast, 7>(cast(config)),
        rows::<Replies, 5>(replies(config)),
        rows::<Admin, 1>([set(config.admin_api_key.is_some())]),
        rows::<Store, 4>(store(config)),
        rows::<Policy, 10>(policy(config)),
        rows::<Log, 2>(log(config)),
    ];
    let rows: Vec<(&str, String)> = groups.into_iter().flatten().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}\n", printable(value));
    rows.iter().map(line).collect()
}

/// Pairs a group's names with its values, which stand in the same order.
fn rows<G: Group, const N: usize>(values: [String; N]) -> Vec<(&'static str, String)> {
    const { assert!(G::NAMES.len() == N, "a value for every name of the group") };
    G::NAMES.iter().copied().zip(values).collect()
}

fn web(config: &ServeConfig) -> [String; 6] {
    let http = &config.http;
    [
        shown_url(&http.base_url),
        http.host.to_string(),
        http.port.to_string(),
        http.metrics_addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
        duration_text(http.accept_timeout),
        duration_text(http.drain),
    ]
}

fn ghl(config: &ServeConfig) -> [String; 10] {
    let ghl = &config.ghl;
    [
        ghl.client_id.clone(),
        "set".to_owned(),
        set(ghl.webhook_public_key.is_some()),
        ghl.trust_published_keys.to_string(),
        text(ghl.conversation_provider_id.as_deref()),
        ghl.scopes.join(" "),
        shown_url(&ghl.api_url),
        ghl.authorize_url.to_string(),
        duration_text(ghl.status_delay),
        duration_text(ghl.install_wait),
    ]
}

fn cast(config: &ServeConfig) -> [String; 7] {
    let cast = &config.cast;
    [
        "set".to_owned(),
        text(cast.sender_id.as_deref()),
        shown_url(&cast.api_url),
        cast.rate_per_second.to_string(),
        cast.rate_burst.to_string(),
        cast.shared_key.word().to_owned(),
        cast.location_daily_parts.to_string(),
    ]
}

fn replies(config: &ServeConfig) -> [String; 5] {
    let opt_out = &config.opt_out;
    [
        set(config.inbound_api_key.is_some()),
        text(config.policy.default_location_id.as_deref()),
        opt_out.enabled.to_string(),
        opt_out.stop.join(","),
        opt_out.start.join(","),
    ]
}

fn store(config: &ServeConfig) -> [String; 4] {
    let (uri, data_dir) = match &config.store {
        StoreConfig::Embedded { data_dir } => ("not set (embedded store)".to_owned(), data_dir.display().to_string()),
        StoreConfig::Mongo { database, .. } => (format!("set (database {database})"), "ignored".to_owned()),
    };
    let keys = match config.seal.keys.as_slice() {
        [] => set(false),
        [first, ..] => format!("set ({} in all, {} seals)", config.seal.keys.len(), first.kid),
    };
    [uri, data_dir, keys, config.seal.encryption.word().to_owned()]
}

fn policy(config: &ServeConfig) -> [String; 10] {
    let policy = &config.policy;
    [
        policy.status_on_accept.word().to_owned(),
        policy.long_message.word().to_owned(),
        policy.max_parts.to_string(),
        policy.attachments.word().to_owned(),
        policy.unknown_send.word().to_owned(),
        duration_text(policy.message_max_age),
        duration_text(policy.retention),
        duration_text(policy.replay_memory),
        policy.backlog_limit.to_string(),
        size_text(policy.disk_reserve),
    ]
}

fn log(config: &ServeConfig) -> [String; 2] {
    [config.log.format.word().to_owned(), config.log.filter.clone()]
}

fn set(is_set: bool) -> String {
    if is_set { "set" } else { "not set" }.to_owned()
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or("not set").to_owned()
}

/// A base URL as its owner writes it: without the root path's slash.
fn shown_url(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}
