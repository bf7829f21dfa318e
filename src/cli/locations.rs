//! `cast-ghl locations`: arguments in, tables or JSON out; what is done is `operator`'s.
//!
//! Invariant: a key is taken from standard input alone, since arguments are seen by everybody on the machine. Reads the store
//! and key variables alone. Exit codes: 0 done, 1 refused or not found, 2 configuration, 3 the store.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::commands::{bad_config, complain, explain, in_runtime, print, print_json, vars};
use super::{logging, table};
use crate::app::{open_ring, open_store};
use crate::clock::Clock;
use crate::config::{Encryption, LogConfig, LogFormat, StoreOnlyConfig};
use crate::domain::id::LocationId;
use crate::domain::settings::{Change, SettingsPatch};
use crate::lifecycle::Bells;
use crate::operator::{Installed, LocationError, LocationView, Locations as Desk};
use crate::store::Access;

const CONFIG: u8 = 2;
const REFUSED: u8 = 1;
const STORE: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum Locations {
    /// List sub-accounts that are installed, were, or are configured
    List(ListArgs),
    /// Show what is set for one; what is not set holds as the variables of `serve` say
    Show(ShowArgs),
    /// Change what is set for one, which need not be installed yet
    Set(SetArgs),
    /// Make a link by which its installer enters a Cast key of its own: once, within 30 minutes
    Link(LinkArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// The next page: what the list before this one ended with
    #[arg(long, value_name = "ID", value_parser = LocationId::parse)]
    after: Option<LocationId>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The sub-account
    #[arg(value_parser = LocationId::parse)]
    id: LocationId,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The sub-account
    #[arg(value_parser = LocationId::parse)]
    id: LocationId,
    /// Settings: `sender_id=MYBRAND`, `enabled=false`, `approved=true`, `daily_parts=500`, `status_on_accept=pending`,
    /// `provider_kind=custom`, `receiving_numbers=09171234567,SIM2`, `cast_api_key=-` (read from standard input). Nothing
    /// behind the `=` goes back to the default
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = assignment)]
    settings: Vec<(String, String)>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// The sub-account
    #[arg(value_parser = LocationId::parse)]
    id: LocationId,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name == "cast_api_key" && !["-", ""].contains(&value) {
        // Clap would show a refused value; this one must not be.
        return Ok((name.to_owned(), "refused".to_owned()));
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(command: &Locations) -> u8 {
    let vars = match vars() {
        Ok(vars) => vars,
        Err(e) => return complain(&e.to_string(), CONFIG),
    };
    let config = match StoreOnlyConfig::from_vars(vars.into_iter()) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    logging::start(&LogConfig { format: LogFormat::Text, filter: "warn".to_owned() });
    let (access, patch) = match command {
        Locations::List(_) | Locations::Show(_) => (Access::Read, SettingsPatch::default()),
        Locations::Link(_) => (Access::Change, SettingsPatch::default()),
        Locations::Set(args) => match patch(&args.settings) {
            Ok(patch) => (Access::Change, patch),
            Err(why) => return complain(&why, REFUSED),
        },
    };
    in_runtime(async move {
        let opened = async {
            let store = open_store(&config.store, access).await?;
            Ok((store, open_ring(&config.seal, &config.store)?))
        };
        let (store, ring) = match opened.await {
            Ok(opened) => opened,
            Err(e) => return complain(&explain(&e), e.exit_code()),
        };
        if matches!(patch.cast_api_key, Change::To(_)) && config.seal.encryption == Encryption::On && !ring.encrypts() {
            return complain(
                "there is no key to seal with yet: start `cast-ghl serve` once, or set TOKEN_ENCRYPTION_KEYS",
                REFUSED,
            );
        }
        // A running `serve` reads settings anew for each message: nobody is to be woken from here.
        let desk = Desk::new(store, Arc::new(ring), Bells::default());
        on_desk(&desk, command, &patch).await
    })
}

async fn on_desk(desk: &Desk, command: &Locations, patch: &SettingsPatch) -> u8 {
    match command {
        Locations::List(args) => match desk.list(args.after.as_ref(), args.limit.into()).await {
            Ok(list) if args.json => print_json(&list),
            Ok(list) if list.locations.is_empty() => print("None.\n"),
            Ok(list) => print(&rows(&list.locations, list.next.as_ref())),
            Err(e) => refuse(&e),
        },
        Locations::Show(args) => shown(desk.get(&args.id).await, args.json),
        Locations::Link(args) => match desk.new_link(&args.id, Clock::System.now()).await {
            Ok(token) => print(&format!("Below BASE_URL, once, within 30 minutes: /connect/{token}\n")),
            Err(e) => refuse(&e.into()),
        },
        Locations::Set(args) => shown(desk.change(&args.id, patch, Clock::System.now()).await, args.json),
    }
}

/// The assignments as the merge patch they stand for.
fn patch(assignments: &[(String, String)]) -> Result<SettingsPatch, String> {
    let mut object = Map::new();
    for (name, value) in assignments {
        let value = match (name.as_str(), value.as_str()) {
            ("cast_api_key", "refused") => {
                return Err("`cast_api_key` is read from standard input: write cast_api_key=-".into());
            }
            (_, "") => Value::Null,
            ("cast_api_key", _) => Value::String(standard_input()?),
            ("enabled" | "approved" | "daily_parts", text) => {
                serde_json::from_str(text).unwrap_or(Value::String(text.into()))
            }
            ("receiving_numbers", list) => list.split(',').map(|number| Value::String(number.trim().into())).collect(),
            (_, text) => Value::String(text.to_owned()),
        };
        object.insert(name.clone(), value);
    }
    SettingsPatch::read(&Value::Object(object)).map_err(|e| e.to_string())
}

fn standard_input() -> Result<String, String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| format!("standard input can't be read: {e}"))?;
    Ok(text.trim().to_owned())
}

fn shown(location: Result<LocationView, LocationError>, json: bool) -> u8 {
    match location {
        Ok(view) if json => print_json(&view),
        Ok(view) => print(&one(&view)),
        Err(e) => refuse(&e),
    }
}

fn rows(locations: &[LocationView], next: Option<&LocationId>) -> String {
    const HEAD: [&str; 6] = ["LOCATION", "INSTALLED", "ENABLED", "APPROVED", "SENDER", "OWN KEY"];
    let cells = |l: &LocationView| {
        [
            l.location_id.to_string(),
            installed(l.installation).to_owned(),
            if l.enabled == Some(false) { "no" } else { "yes" }.to_owned(),
            if l.approved == Some(true) { "yes" } else { "-" }.to_owned(),
            l.sender_id.clone().unwrap_or_else(|| "-".to_owned()),
            l.cast_api_key.as_ref().map_or_else(|| "-".to_owned(), |key| format!("…{}", key.ending)),
        ]
    };
    table::columns(HEAD, locations.iter().map(cells).collect(), next.map(LocationId::as_str))
}

fn one(l: &LocationView) -> String {
    let own = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
    let key = l.cast_api_key.as_ref();
    let numbers =
        if l.receiving_numbers.is_empty() { "none".to_owned() } else { table::plain(&l.receiving_numbers.join(", ")) };
    let lines = [
        ("location", l.location_id.to_string()),
        ("installation", installed(l.installation).to_owned()),
        ("company", l.company_id.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string)),
        ("sender_id", own(l.sender_id.clone())),
        ("cast_api_key", own(key.map(|key| format!("…{}, set {}", key.ending, key.set_at)))),
        ("status_on_accept", own(l.status_on_accept.as_ref().map(word))),
        ("provider_kind", own(l.provider_kind.as_ref().map(word))),
        ("receiving_numbers", numbers),
        ("enabled", l.enabled.unwrap_or(true).to_string()),
        ("approved", l.approved.unwrap_or(false).to_string()),
        ("daily_parts", own(l.daily_parts.map(|n| if n == 0 { "no limit".to_owned() } else { n.to_string() }))),
    ];
    lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:17}  {value}");
        text
    })
}

fn installed(state: Installed) -> &'static str {
    match state {
        Installed::Installed => "yes",
        Installed::Uninstalled => "uninstalled",
        Installed::Never => "not yet",
    }
}

/// The word a closed list is written by.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn refuse(e: &LocationError) -> u8 {
    let code = match e {
        LocationError::Unknown | LocationError::Taken(_) => REFUSED,
        LocationError::Store(_) => STORE,
    };
    complain(&e.to_string(), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(assignments: &[&str]) -> Result<SettingsPatch, String> {
        patch(&assignments.iter().map(|text| assignment(text).expect("an assignment")).collect::<Vec<_>>())
    }

    #[test]
    fn assignments_are_a_merge_patch() {
        let patch = read(&["enabled=false", "daily_parts=5", "sender_id=", "receiving_numbers=09171234567, SIM2"]);
        let patch = patch.expect("fine");
        assert_eq!(
            (patch.enabled, patch.daily_parts, patch.sender_id),
            (Change::To(false), Change::To(5), Change::Reset)
        );
        assert_eq!(patch.receiving_numbers, Change::To(vec!["+639171234567".into(), "SIM2".into()]));
        assert!(read(&["enabled=maybe"]).is_err_and(|why| why.contains("`enabled` is true, false")));
        assert!(read(&["colour=blue"]).is_err_and(|why| why.contains("`colour` is not a setting")));
    }

    #[test]
    fn a_key_among_the_arguments_is_refused_unseen() {
        let why = read(&["cast_api_key=cast_hunter2hunter2"]).expect_err("refused");
        assert!(why.contains("standard input") && !why.contains("hunter2"), "{why}");
    }
}
