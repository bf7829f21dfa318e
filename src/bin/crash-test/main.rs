//! `crash-test`: real bridges, killed and frozen under load, and an account of every message at the end.
//!
//! Owns the arguments and the exit code: 0 when nothing was lost, doubled, reordered or told wrongly, 1 otherwise. The
//! bridges are this very executable, started under the product's name, so one build holds both and they are what
//! `cast-ghl serve` is. The vendors, the sender and all ledgers live in this process, which is never killed. Everything
//! random comes from the seed. Must not look into a bridge: it judges by what the vendors and the sender saw.

mod dice;
mod fleet;
mod ledger;
mod log_tail;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/it/support/mongo.rs"]
mod mongo;
mod plan;
mod progress;
mod reconcile;
mod replica;
mod round;
mod scratch;
mod sender;
mod settle;
mod stage;
mod weather;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use self::fleet::Fleet;
use self::ledger::Ledger;
use self::mongo::MongoServer;
use self::progress::Progress;
use self::reconcile::Account;
use self::round::Rounds;
use self::scratch::Scratch;
use self::sender::Sender;
use self::stage::{Stage, Whereabouts};
use self::weather::Weather;

/// Kills and freezes real bridges under load, and accounts for every message.
#[derive(Debug, Clone, Parser)]
#[command(name = "crash-test")]
struct Options {
    /// Kills and freezes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bridges side by side on one MongoDB
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Where the bridges keep their messages
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    store: StoreKind,
    /// Decides what is killed, when, and what goes wrong besides; without it one is drawn and printed
    #[arg(long, value_name = "K")]
    seed: Option<u64>,
    /// A MongoDB to use; without it a `mongod` on the PATH, else the stand-in of the tests, is started
    #[arg(long, value_name = "URI")]
    mongo_uri: Option<String>,
    /// Messages a second; by default 60 on the embedded store and 3 on MongoDB
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    Embedded,
    Mongo,
}

impl Options {
    fn rate(&self) -> f64 {
        // What two cores take with room to catch up after a take-over; the MongoDB stand-in slows down with all it holds.
        let usual = match self.store {
            StoreKind::Embedded => 60,
            StoreKind::Mongo => 3,
        };
        f64::from(self.rate.unwrap_or(usual))
    }

    fn store_name(&self) -> &'static str {
        match self.store {
            StoreKind::Embedded => "embedded",
            StoreKind::Mongo => "mongo",
        }
    }
}

fn main() -> ExitCode {
    // Started by a harness under this name: the bridge itself, through the product's own entry.
    if std::env::args_os().next().is_some_and(|name| name == replica::NAME) {
        return bridge();
    }
    let options = Options::parse();
    match prepare_and_run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("crash-test: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn bridge() -> ExitCode {
    if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("crash-test: this bridge would outlive its harness: {e}");
        return ExitCode::FAILURE;
    }
    cast_ghl_provider::cli::main()
}

/// Sets up what must exist before a runtime does; `true` when all is well.
fn prepare_and_run(options: &Options) -> anyhow::Result<bool> {
    anyhow::ensure!(
        options.replicas == 1 || options.store == StoreKind::Mongo,
        "the embedded store has one bridge: --replicas wants --store mongo"
    );
    let scratch = Scratch::make().context("no temporary directory can be made")?;
    let mongo = match options.store {
        StoreKind::Embedded => None,
        StoreKind::Mongo => Some(database(options, &scratch)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seed = options.seed.unwrap_or_else(|| u64::from_le_bytes(cast_ghl_provider::random::bytes()) >> 32);
    println!(
        "crash-test: {} rounds, {} replica(s), {}, seed {seed}, {} messages a second",
        options.rounds,
        options.replicas,
        mongo.as_ref().map_or_else(|| options.store_name().to_owned(), MongoServer::describe),
        options.rate(),
    );
    // On this thread: a bridge dies with the thread that started it.
    let judged = runtime.block_on(run(options, seed, &scratch, mongo.as_ref()));
    if !matches!(judged, Ok(true)) {
        println!("kept: {}", scratch.keep().display());
        // Its data ends with it; it ends with this process.
        std::mem::forget(mongo);
    }
    judged
}

fn database(options: &Options, scratch: &Scratch) -> anyhow::Result<MongoServer> {
    let found = options.mongo_uri.clone().map_or_else(mongo::find, mongo::Found::Uri);
    mongo::start(&found, scratch.path()).map_err(anyhow::Error::msg)
}

async fn run(options: &Options, seed: u64, scratch: &Scratch, mongo: Option<&MongoServer>) -> anyhow::Result<bool> {
    let whereabouts = match mongo {
        None => Whereabouts::Embedded,
        Some(server) => {
            Whereabouts::Mongo(server.uri_for(&format!("crash-test-{}", cast_ghl_provider::random::hex::<4>())))
        }
    };
    let stage = Stage::set(scratch, whereabouts).await?;
    let mut fleet = Fleet::start(&stage, options.replicas).await?;
    stage.install(&fleet).await?;

    let ledger = Ledger::default();
    let progress = Progress::start(&stage, &ledger, options.rounds);
    let weather = Weather::start(&stage, seed);
    let sender = Sender::start(&stage, &fleet, &ledger, seed, options.rate());
    let mut rounds = Rounds::new(&stage, seed, progress.clone());
    let interrupted = tokio::select! {
        played = rounds.play(&mut fleet, options.rounds) => { played?; false }
        () = interrupt() => true,
    };
    if interrupted {
        progress.say("interrupted: no more rounds; once more to end at once");
        tokio::spawn(async {
            interrupt().await;
            std::process::exit(1);
        });
    }
    let faults = weather.clear().await;
    fleet.revive().await?;
    sender.stop();
    let account = settle::settle(&stage, &mut fleet, &ledger, &progress).await?;
    progress.end();
    let right = account.is_right() && account.is_earned(progress.blows(), faults);
    show(options, seed, &rounds, &account, right);
    Ok(right)
}

fn show(options: &Options, seed: u64, rounds: &Rounds, account: &Account, right: bool) {
    println!("\ncrash-test: store {}, replicas {}, seed {seed}", options.store_name(), options.replicas);
    for (name, value) in rounds.figures().into_iter().chain(account.figures()) {
        println!("  {name:24} {value}");
    }
    for line in account.faults() {
        println!("  {line}");
    }
    println!("{}", if right { "nothing lost, nothing sent twice" } else { "NOT everything is right" });
}

/// Ctrl-C or SIGTERM.
async fn interrupt() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        // Without handlers the signal's default action ends the process: nothing to wait for.
        return std::future::pending().await;
    };
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Options::command().debug_assert();
    }
}
