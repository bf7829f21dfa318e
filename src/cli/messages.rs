//! `cast-ghl messages`: arguments in, tables or JSON out; what is done is `operator`'s.
//!
//! Reads the store and key variables alone. Exit codes: 0 done, 1 refused or not found, 2 configuration, 3 the store.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::commands::{bad_config, complain, explain, in_runtime, print, print_json, vars};
use super::{logging, table};
use crate::app::open_store;
use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat, StoreOnlyConfig};
use crate::domain::id::LocationId;
use crate::operator::{self, Change, Done, List, ListRequest, OperatorError, Reveal, state_words};
use crate::store::{Access, Store};

const CONFIG: u8 = 2;
const REFUSED: u8 = 1;
const STORE: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum Messages {
    /// List what needs a person: parked and dead messages, unreadable webhooks, replies nobody could route or post
    List(ListArgs),
    /// Show one in full: its tries, parts and report
    Show(ShowArgs),
    /// Send again what was not sent or may not have been; read an unreadable webhook again; route a reply again
    Retry(ChangeArgs),
    /// Set aside for good; stop what waits to be sent
    Drop(ChangeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Everything in this state instead
    #[arg(long, value_parser = PossibleValuesParser::new(state_words()))]
    state: Option<String>,
    /// Of this sub-account alone
    #[arg(long, value_name = "ID", value_parser = LocationId::parse)]
    location: Option<LocationId>,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// The next page: what the list before this one ended with
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A document's id, or of a message the CRM's or Cast's own
    id: String,
    /// With text and full phone number
    #[arg(long)]
    text: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Ids as `show` takes them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Messages) -> u8 {
    let access = match command {
        Messages::List(_) | Messages::Show(_) => Access::Read,
        Messages::Retry(_) | Messages::Drop(_) => Access::Change,
    };
    on_a_store(access, async |store| on_store(&store, command).await)
}

/// Opens the store that the environment names and works on it; the exit code.
pub(super) fn on_a_store(access: Access, work: impl AsyncFnOnce(Store) -> u8) -> u8 {
    let vars = match vars() {
        Ok(vars) => vars,
        Err(e) => return complain(&e.to_string(), CONFIG),
    };
    let config = match StoreOnlyConfig::from_vars(vars.into_iter()) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    // What the store has to say of documents it can't read.
    logging::start(&LogConfig { format: LogFormat::Text, filter: "warn".to_owned() });
    in_runtime(async move {
        match open_store(&config.store, access).await {
            Ok(store) => work(store).await,
            Err(e) => complain(&explain(&e), e.exit_code()),
        }
    })
}

async fn on_store(store: &Store, command: &Messages) -> u8 {
    match command {
        Messages::List(args) => list(store, args).await,
        Messages::Show(args) => {
            let reveal = if args.text { Reveal::Content } else { Reveal::Nothing };
            match operator::show(store, &args.id, reveal).await {
                Ok(shown) if args.json => print_json(&shown),
                Ok(shown) => print(&table::shown(&shown)),
                Err(e) => refuse(e),
            }
        }
        Messages::Retry(args) => change(store, args, Verb::Retry).await,
        Messages::Drop(args) => change(store, args, Verb::Drop).await,
    }
}

async fn list(store: &Store, args: &ListArgs) -> u8 {
    let request = ListRequest {
        state: args.state.clone(),
        location: args.location.clone(),
        after: args.after.clone(),
        limit: args.limit.into(),
    };
    match operator::list(store, &request).await {
        Ok(list) if args.json => print_json(&list),
        Ok(List { messages, .. }) if messages.is_empty() => {
            print(if args.state.is_some() { "None.\n" } else { "Nothing needs you.\n" })
        }
        Ok(list) => print(&table::list(&list, Clock::System.now())),
        Err(e) => refuse(e),
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Retry,
    Drop,
}

/// What became of one id.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Changed(Change),
    Refused { name: String, error: String },
}

/// Each id by itself: one that is refused keeps no other from its change.
async fn change(store: &Store, args: &ChangeArgs, verb: Verb) -> u8 {
    let mut code = 0;
    let mut results = Vec::new();
    for name in &args.ids {
        let now = Clock::System.now();
        let changed = match verb {
            Verb::Retry => operator::retry(store, name, now).await,
            Verb::Drop => operator::drop(store, name, now).await,
        };
        results.push(match changed {
            Ok(change) => Outcome::Changed(change),
            Err(e) => {
                code = code.max(exit_code(&e));
                if !args.json {
                    refuse(e);
                    continue;
                }
                Outcome::Refused { name: name.clone(), error: e.to_string() }
            }
        });
    }
    let printed = if args.json {
        print_json(&serde_json::json!({ "results": results }))
    } else {
        let lines = results.iter().filter_map(|result| match result {
            Outcome::Changed(change) => Some(sentence(change)),
            Outcome::Refused { .. } => None,
        });
        print(&lines.collect::<String>())
    };
    code.max(printed)
}

fn sentence(change: &Change) -> String {
    let mut said = format!("{}: ", change.id);
    let what = match change.done {
        Done::Retried => "on its way again; `show` tells how it ends",
        Done::Enqueued => "read, and on its way as",
        Done::AlreadyEnqueued => "read; its message was there already:",
        Done::Dropped => "dropped; it needs nobody any more",
        Done::Stopped => "stopped; it ends unsent and its sender is told",
    };
    said.push_str(what);
    if let Some(message) = &change.message {
        let _ = write!(said, " {message}");
    }
    said.push('\n');
    said
}

pub(super) fn refuse(e: OperatorError) -> u8 {
    let code = exit_code(&e);
    complain(&e.to_string(), code)
}

fn exit_code(e: &OperatorError) -> u8 {
    match e {
        OperatorError::Store(_) => STORE,
        _ => REFUSED,
    }
}
