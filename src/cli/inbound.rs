//! `cast-ghl inbound`: replies nobody could route, and the location a person sends one to.
//!
//! The rest of what may be done to a reply is `messages`'s. Reads the store and key variables alone. Exit codes: 0 done,
//! 1 refused or not found, 2 configuration, 3 the store.

use clap::{Args, Subcommand};

use super::commands::{print, print_json};
use super::messages::{on_a_store, refuse};
use super::table;
use crate::clock::Clock;
use crate::domain::id::LocationId;
use crate::domain::inbound::ReplyState;
use crate::operator::{self, List, ListRequest};
use crate::store::{Access, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List replies nobody could route
    List(ListArgs),
    /// Send a reply to this sub-account's conversation with its sender
    Route(RouteArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
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
pub(super) struct RouteArgs {
    /// The reply's id, `in:…`
    id: String,
    /// The sub-account's id
    #[arg(value_parser = LocationId::parse)]
    location: LocationId,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> u8 {
    let access = match command {
        Command::List(_) => Access::Read,
        Command::Route(_) => Access::Change,
    };
    on_a_store(access, async |store| match command {
        Command::List(args) => list(&store, args).await,
        Command::Route(args) => route(&store, args).await,
    })
}

async fn list(store: &Store, args: &ListArgs) -> u8 {
    let request = ListRequest {
        state: Some(ReplyState::Unrouted.as_str().to_owned()),
        location: None,
        after: args.after.clone(),
        limit: args.limit.into(),
    };
    match operator::list(store, &request).await {
        Ok(list) if args.json => print_json(&list),
        Ok(List { messages, .. }) if messages.is_empty() => print("None.\n"),
        Ok(list) => print(&table::list(&list, Clock::System.now())),
        Err(e) => refuse(e),
    }
}

async fn route(store: &Store, args: &RouteArgs) -> u8 {
    match operator::route(store, &args.id, &args.location, Clock::System.now()).await {
        Ok(change) if args.json => print_json(&change),
        Ok(change) => print(&format!("{}: on its way to {}\n", change.id, args.location)),
        Err(e) => refuse(e),
    }
}
