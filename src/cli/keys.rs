//! `cast-ghl keys`: a fresh key, which key seals what, and sealing everything anew; what is done is `operator`'s.
//!
//! Invariant: a key is printed by `generate` alone, and to standard output alone. Reads the store and key variables alone.
//! Exit codes: 0 done, 1 refused or not everything could be done, 2 configuration, 3 the store.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::commands::{bad_config, complain, explain, in_runtime, print, print_json, vars};
use super::logging;
use crate::app::{open_ring, open_store};
use crate::config::{LogConfig, LogFormat, StoreOnlyConfig};
use crate::operator::{KeyError, KeyStatus, Role, Rotation, key_status, rotate_keys};
use crate::seal::{self, KeyRing};
use crate::store::{Access, Store};

const CONFIG: u8 = 2;
const REFUSED: u8 = 1;
const STORE: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print a fresh key in the form `TOKEN_ENCRYPTION_KEYS` takes
    Generate {
        /// The key's id: 1 to 32 letters, digits, `_` or `-`
        #[arg(long, default_value = "k1")]
        kid: String,
    },
    /// Show which key seals how much, which may be dropped, and what no key opens
    Status(ReadArgs),
    /// Seal everything with the first key, now. A running `serve` must have been started with these keys: it does the same
    /// in the background
    Rotate(ReadArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Keys) -> u8 {
    match command {
        Keys::Generate { kid } => generate(kid),
        Keys::Status(args) => on_store(Access::Read, async |store, ring| status(&store, &ring, args.json).await),
        Keys::Rotate(args) => on_store(Access::Change, async |store, ring| rotate(&store, &ring, args.json).await),
    }
}

fn generate(kid: &str) -> u8 {
    let plain =
        (1..=32).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !plain {
        return complain("--kid is 1 to 32 letters, digits, `_` or `-`", CONFIG);
    }
    println!("{}", seal::generate(kid));
    eprintln!(
        "Put this first in TOKEN_ENCRYPTION_KEYS, before older keys, and keep a copy: without it stored tokens can't be read.\n\
         With several replicas, add it last everywhere first, and move it to the front when all of them know it.\n\
         The embedded store needs none: it makes its own, DATA_DIR/token.key, which goes on opening what it sealed."
    );
    0
}

/// Opens store and ring as the variables say, and works on them.
fn on_store(access: Access, work: impl AsyncFnOnce(Store, KeyRing) -> u8) -> u8 {
    let vars = match vars() {
        Ok(vars) => vars,
        Err(e) => return complain(&e.to_string(), CONFIG),
    };
    let config = match StoreOnlyConfig::from_vars(vars.into_iter()) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    logging::start(&LogConfig { format: LogFormat::Text, filter: "warn".to_owned() });
    in_runtime(async move {
        let opened = async {
            let store = open_store(&config.store, access).await?;
            Ok((store, open_ring(&config.seal, &config.store)?))
        };
        match opened.await {
            Ok((store, ring)) => work(store, ring).await,
            Err(e) => complain(&explain(&e), e.exit_code()),
        }
    })
}

async fn status(store: &Store, ring: &KeyRing, json: bool) -> u8 {
    match key_status(store, ring).await {
        Ok(status) if json => print_json(&status),
        Ok(status) => print(&table(&status)),
        Err(e) => refuse(&e),
    }
}

async fn rotate(store: &Store, ring: &KeyRing, json: bool) -> u8 {
    let rotation = match rotate_keys(store, ring).await {
        Ok(rotation) => rotation,
        Err(e) => return refuse(&e),
    };
    let printed = if json { print_json(&rotation) } else { print(&summary(&rotation)) };
    let left = u8::from(!rotation.status.unreadable.is_empty());
    printed.max(left * REFUSED)
}

fn summary(rotation: &Rotation) -> String {
    let mut text = match rotation.resealed {
        0 => "Nothing was left to seal anew.\n\n".to_owned(),
        1 => "1 document was sealed anew.\n\n".to_owned(),
        n => format!("{n} documents were sealed anew.\n\n"),
    };
    text.push_str(&table(&rotation.status));
    text
}

fn table(status: &KeyStatus) -> String {
    let width = status.keys.iter().map(|key| key.kid.len()).chain([3]).max().unwrap_or(3);
    let mut text = format!("{:width$}  DOCUMENTS\n", "KEY");
    for key in &status.keys {
        let what = match (key.role, key.may_be_dropped) {
            (Role::Seals, _) => "seals",
            (Role::Opens, false) => "opens",
            (Role::Opens, true) => "may be dropped; backups made before may still need it",
            (Role::Missing, _) => "not in the ring",
        };
        let _ = writeln!(text, "{:width$}  {:9}  {what}", key.kid, key.documents);
    }
    if status.in_the_clear > 0 {
        let _ = writeln!(text, "\nIn the clear: {}", status.in_the_clear);
    }
    if !status.unreadable.is_empty() {
        text.push_str(
            "\nNo key opens these. They are kept: the right key brings them back, and so does a new install.\n",
        );
        for document in &status.unreadable {
            let _ = writeln!(text, "  {}  {}", document.id, document.why);
        }
    }
    text
}

fn refuse(e: &KeyError) -> u8 {
    let code = match e {
        KeyError::NoKey => REFUSED,
        KeyError::Store(_) => STORE,
    };
    complain(&e.to_string(), code)
}
