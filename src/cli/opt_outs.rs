//! `cast-ghl opt-outs`: arguments in, a table or JSON out; what is shown and lifted is `operator`'s.
//!
//! Reads the store and key variables alone. Exit codes: 0 done, 1 nothing to lift, 2 configuration, 3 the store.

use clap::{Args, Subcommand};

use super::commands::{print, print_json};
use super::messages::{on_a_store, refuse};
use super::table;
use crate::clock::Clock;
use crate::domain::id::LocationId;
use crate::domain::phone::Phone;
use crate::operator::{self, OptOuts, OptOutsRequest, Reveal};
use crate::store::{Access, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List who replied STOP and is not messaged
    List(ListArgs),
    /// Message a person again who asked for it by another way than START
    Lift(LiftArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this sub-account alone
    #[arg(long, value_name = "ID", value_parser = LocationId::parse)]
    location: Option<LocationId>,
    /// Of this number alone
    #[arg(long, value_name = "NUMBER", value_parser = Phone::parse)]
    phone: Option<Phone>,
    /// What was lifted instead
    #[arg(long)]
    lifted: bool,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// With full numbers
    #[arg(long)]
    numbers: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LiftArgs {
    /// The person's number
    #[arg(value_name = "NUMBER", value_parser = Phone::parse)]
    phone: Phone,
    /// For this sub-account alone; without it for all
    #[arg(long, value_name = "ID", value_parser = LocationId::parse)]
    location: Option<LocationId>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> u8 {
    let access = match command {
        Command::List(_) => Access::Read,
        Command::Lift(_) => Access::Change,
    };
    on_a_store(access, async |store| match command {
        Command::List(args) => list(&store, args).await,
        Command::Lift(args) => lift(&store, args).await,
    })
}

async fn list(store: &Store, args: &ListArgs) -> u8 {
    let request = OptOutsRequest {
        location: args.location.clone(),
        phone: args.phone.clone(),
        lifted: args.lifted,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    };
    let reveal = if args.numbers { Reveal::Content } else { Reveal::Nothing };
    match operator::opt_outs(store, &request, reveal).await {
        Ok(found) if args.json => print_json(&found),
        Ok(OptOuts { opt_outs, .. }) if opt_outs.is_empty() => print("None.\n"),
        Ok(found) => print(&table::opt_outs(&found, Clock::System.now())),
        Err(e) => refuse(e),
    }
}

async fn lift(store: &Store, args: &LiftArgs) -> u8 {
    match operator::lift_opt_outs(store, &args.phone, args.location.as_ref(), Clock::System.now()).await {
        Ok(lifted) if args.json => print_json(&serde_json::json!({ "lifted": lifted })),
        Ok(lifted) => {
            let line = |row: &operator::OptOutRow| {
                let scope = row.location.as_ref().map_or("everywhere", LocationId::as_str);
                format!("{scope}: {} may be messaged again; the CRM is told\n", row.phone)
            };
            print(&lifted.iter().map(line).collect::<String>())
        }
        Err(e) => refuse(e),
    }
}
