//! The command line: what each subcommand reads, prints and exits with.
//!
//! Owns the exit codes' last word (bridge §2) and the set-up of logging and the runtime. Imports app, config, operator
//! and sandbox.

mod commands;
mod doctor;
mod inbound;
mod installs;
mod keys;
mod locations;
mod logging;
mod messages;
mod opt_outs;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Makes Cast.ph the SMS provider of a CRM's sub-accounts.
#[derive(Debug, Parser)]
#[command(name = "cast-ghl", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge, configured by the environment (and `.env`, for development)
    Serve,
    /// Run the real bridge against a built-in fake CRM and a fake Cast, and show what happens
    Sandbox(SandboxArgs),
    /// Read the configuration, list every problem in it, and show what would be used
    CheckConfig,
    /// Messages in the store, beside a running `serve` or without one
    #[command(subcommand)]
    Messages(messages::Messages),
    /// Replies nobody could route, beside a running `serve` or without one
    #[command(subcommand)]
    Inbound(inbound::Command),
    /// People who replied STOP, beside a running `serve` or without one
    #[command(subcommand)]
    OptOuts(opt_outs::Command),
    /// Who is connected, beside a running `serve` or without one
    #[command(subcommand)]
    Installs(installs::Command),
    /// Sub-accounts and what is set for them
    #[command(subcommand)]
    Locations(locations::Locations),
    /// Look whether everything is set up, and say what to do next; beside a running `serve` or without one
    Doctor(doctor::Doctor),
    /// Keys that seal tokens at rest
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Sign a webhook body, and print the header to send with it
    Sign(SignArgs),
    /// Ask the running bridge on this machine whether it lives; for containers
    Healthcheck,
}

#[derive(Debug, Args)]
struct SandboxArgs {
    /// Keep everything running at the end, and print commands to try
    #[arg(long)]
    stay: bool,
    /// Drive this many messages through it instead of the story
    #[arg(long, value_name = "N")]
    messages: Option<u32>,
    /// Messages a second to drive
    #[arg(long, value_name = "R", requires = "messages", default_value_t = 200.0)]
    rate: f64,
}

#[derive(Debug, Args)]
struct SignArgs {
    /// The private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The body; `-` or nothing reads standard input
    #[arg(default_value = "-")]
    body: PathBuf,
}

/// Runs the command line; the process's exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.command {
        Command::Serve => commands::serve(),
        Command::Sandbox(args) => {
            commands::sandbox(crate::sandbox::Options { stay: args.stay, messages: args.messages, rate: args.rate })
        }
        Command::CheckConfig => commands::check_config(),
        Command::Messages(command) => messages::run(&command),
        Command::Inbound(command) => inbound::run(&command),
        Command::OptOuts(command) => opt_outs::run(&command),
        Command::Installs(command) => installs::run(&command),
        Command::Locations(command) => locations::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Sign(args) => commands::sign(&args.key, &args.body),
        Command::Healthcheck => commands::healthcheck(),
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
