//! `cast-ghl installs`: arguments in, a table or JSON out; what is shown is `operator`'s.
//!
//! Reads the store and key variables alone and changes nothing. Exit codes: 0 done, 2 configuration, 3 the store.

use clap::{Args, Subcommand};

use super::commands::{bad_config, complain, explain, in_runtime, print, print_json, vars};
use super::messages::refuse;
use super::{logging, table};
use crate::app::open_store;
use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat, StoreOnlyConfig};
use crate::domain::id::CompanyId;
use crate::operator::{self, Installs, InstallsRequest};
use crate::store::{Access, Store};

const CONFIG: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List agencies and sub-accounts: how each stands, when its token ends, how far an agency is
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this agency alone
    #[arg(long, value_name = "ID", value_parser = CompanyId::parse)]
    company: Option<CompanyId>,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// The next page: what the list before this one ended with
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(Command::List(args): &Command) -> u8 {
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
        match open_store(&config.store, Access::Read).await {
            Ok(store) => list(&store, args).await,
            Err(e) => complain(&explain(&e), e.exit_code()),
        }
    })
}

async fn list(store: &Store, args: &ListArgs) -> u8 {
    let request =
        InstallsRequest { company: args.company.clone(), after: args.after.clone(), limit: args.limit.into() };
    let whole = args.company.is_none() && args.after.is_none();
    match operator::installs(store, &request).await {
        Ok(installs) if args.json => print_json(&installs),
        Ok(Installs { installations, .. }) if installations.is_empty() => {
            print(if whole { "Nobody has connected.\n" } else { "None.\n" })
        }
        Ok(installs) => print(&table::installs(&installs, Clock::System.now())),
        Err(e) => refuse(e),
    }
}
