//! The subcommands. Each answers its exit code; errors are printed once, here.

use std::collections::HashSet;
use std::io::{Read, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::logging;
use crate::app::{App, AppError, check_webhook_key};
use crate::client::builder::{HttpSettings, http_client};
use crate::clock::Clock;
use crate::config::{self, Checks, ConfigErrors, HealthcheckConfig, SandboxConfig, ServeConfig};
use crate::sandbox;
use crate::signature::sign::SigningKey;

const CONFIG: u8 = 2;

const CHECKS: Checks = Checks { webhook_public_key: check_webhook_key, log_filter: logging::check_filter };

/// The environment, then `.env` for what it does not set.
pub(super) fn vars() -> anyhow::Result<Vec<(String, String)>> {
    let mut vars: Vec<(String, String)> = config::process_env().collect();
    let known: HashSet<String> = vars.iter().map(|(name, _)| name.clone()).collect();
    match dotenvy::dotenv_iter() {
        Ok(pairs) => {
            for pair in pairs {
                // The error would quote the line, and with it a secret.
                let (name, value) = pair.map_err(|_| anyhow::anyhow!(".env has a line that is not NAME=value"))?;
                if !known.contains(&name) {
                    vars.push((name, value));
                }
            }
        }
        Err(e) if e.not_found() => {}
        Err(_) => anyhow::bail!(".env can't be read"),
    }
    Ok(vars)
}

fn serve_config() -> Result<ServeConfig, u8> {
    let vars = vars().map_err(|e| complain(&e.to_string(), CONFIG))?;
    ServeConfig::from_vars_with(vars.into_iter(), &CHECKS).map_err(|e| bad_config(&e))
}

pub(super) fn serve() -> u8 {
    let config = match serve_config() {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::start(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    in_runtime(async {
        match run(&config).await {
            Ok(()) => 0,
            Err(e) => complain(&explain(&e), e.exit_code()),
        }
    })
}

async fn run(config: &ServeConfig) -> Result<(), AppError> {
    let app = App::build(config, Clock::System).await?;
    let ports = app.bind().await?;
    tracing::info!(http = %ports.http.addr(), public = %config.http.public_url("/"), "listening");
    if let Some(metrics) = &ports.metrics {
        tracing::info!(metrics = %metrics.addr(), "metrics");
    }
    app.run(ports, shutdown()).await
}

/// SIGTERM or SIGINT; a second one ends the process at once.
async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without handlers the default action of the signal ends the process: nothing to wait for.
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::warn!("a second signal: stopping at once");
        std::process::exit(1);
    });
}

pub(super) fn sandbox(options: sandbox::Options) -> u8 {
    let config = match SandboxConfig::from_vars_with(config::process_env(), &CHECKS) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    in_runtime(async move {
        match sandbox::run(options, || logging::start(&config.log)).await {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(e) => complain(&format!("{e:#}"), 1),
        }
    })
}

pub(super) fn check_config() -> u8 {
    match serve_config() {
        Ok(config) => {
            println!("{}", config::describe(&config));
            for warning in &config.warnings {
                println!("warning: {warning}");
            }
            println!("The configuration is complete.");
            0
        }
        Err(code) => code,
    }
}

pub(super) fn sign(key: &Path, body: &Path) -> u8 {
    let signed = || -> anyhow::Result<String> {
        let pem = std::fs::read_to_string(key).with_context(|| format!("{} can't be read", key.display()))?;
        let key = SigningKey::from_pem(&pem)?;
        let bytes = if body == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("standard input can't be read")?;
            bytes
        } else {
            std::fs::read(body).with_context(|| format!("{} can't be read", body.display()))?
        };
        Ok(format!("{}: {}", key.scheme().header(), key.sign(&bytes)))
    };
    match signed() {
        Ok(header) => {
            println!("{header}");
            0
        }
        Err(e) => complain(&format!("{e:#}"), 1),
    }
}

pub(super) fn healthcheck() -> u8 {
    let vars = match vars() {
        Ok(vars) => vars,
        Err(e) => return complain(&e.to_string(), CONFIG),
    };
    let config = match HealthcheckConfig::from_vars(vars.into_iter()) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    in_runtime(async move {
        let limits = Duration::from_secs(3);
        let settings = HttpSettings { connect_timeout: limits, timeout: limits, ..HttpSettings::default() };
        let asked = async {
            let http = http_client(&settings)?;
            let answer = http.get(format!("http://{}/health", config.target)).send().await?;
            anyhow::ensure!(answer.status().is_success(), "/health answered {}", answer.status());
            anyhow::Ok(())
        };
        match asked.await {
            Ok(()) => {
                println!("ok");
                0
            }
            Err(e) => complain(&format!("not healthy: {e:#}"), 1),
        }
    })
}

pub(super) fn bad_config(errors: &ConfigErrors) -> u8 {
    complain(&format!("the configuration has problems:\n{errors}"), CONFIG)
}

pub(super) fn explain(e: &AppError) -> String {
    match e {
        AppError::Config(errors) => format!("the configuration has problems:\n{errors}"),
        other => other.to_string(),
    }
}

pub(super) fn complain(what: &str, code: u8) -> u8 {
    eprintln!("cast-ghl: {what}");
    code
}

pub(super) fn print_json<T: Serialize>(value: &T) -> u8 {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(e) => complain(&format!("this can't be written as JSON: {e}"), 1),
    }
}

/// A reader that went away (`| head`) is no failure.
pub(super) fn print(text: &str) -> u8 {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => complain(&format!("standard output: {e}"), 1),
        Ok(()) | Err(_) => 0,
    }
}

pub(super) fn in_runtime(work: impl Future<Output = u8>) -> u8 {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(e) => complain(&format!("no runtime: {e}"), 1),
    }
}
