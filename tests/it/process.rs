//! The real binary as a process, with an environment of its own, between fakes that live in the test process.
//!
//! What only a process shows is tested here: exit codes, signals, kills, files, what stands on its output. All of it runs on
//! the machine's clock; what needs another hour of the day is tested in-process (`support::world`).

pub mod child;
mod configuration;
mod doctor;
mod drain;
mod durability;
mod installs;
mod keys;
mod life;
mod locations;
mod messages;
mod opt_outs;
mod sandbox;
pub mod serving;
mod signature;

use std::path::PathBuf;

use libtest_mimic::{Completion, Failed, Trial};

use self::serving::Spot;
use crate::support::world::Place;
use crate::{Running, fresh_database, in_runtime, with_database};

/// Every case, on the stores it is for; `dir` names a fresh directory.
pub fn trials(dir: impl Fn() -> PathBuf, uri: &Result<String, String>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let curl_missing = sandbox::curl_missing();
    let plain = [
        configuration::cases(),
        life::other_cases(),
        messages::other_cases(),
        keys::other_cases(),
        sandbox::cases(),
        durability::cases(),
    ];
    let plain = plain.into_iter().flatten();
    let with_curl = sandbox::curl_cases().into_iter().map(|case| (case, curl_missing.clone()));
    for ((name, case), missing) in plain.map(|case| (case, None)).chain(with_curl) {
        let dir = dir();
        trials.push(trial(format!("process::{name}"), missing, move || case(dir)));
    }
    let strace_missing = durability::strace_missing();
    for (name, case) in durability::strace_cases() {
        let (spot, name) = (Spot::embedded(dir()), format!("embedded::process::{name}"));
        trials.push(match &strace_missing {
            Some(why) if durability::strace_demanded() => {
                let why = format!("REQUIRE_STRACE asks for it: {why}");
                Trial::test(name, move || Err(Failed::from(why)))
            }
            missing => trial(name, missing.clone(), move || case(spot)),
        });
    }
    for (name, case) in keys::embedded_cases() {
        let spot = Spot::embedded(dir());
        trials.push(trial(format!("embedded::process::{name}"), None, move || case(spot)));
    }
    let openssl_missing = signature::openssl_missing();
    let everywhere = [
        life::cases(),
        doctor::cases(),
        drain::cases(),
        installs::cases(),
        keys::cases(),
        locations::cases(),
        messages::cases(),
        opt_outs::cases(),
        signature::cases(),
    ];
    let everywhere = everywhere.into_iter().flatten().map(|case| (case, None));
    let with_openssl = signature::openssl_cases().into_iter().map(|case| (case, openssl_missing.clone()));
    for ((name, case), missing) in everywhere.chain(with_openssl) {
        let spot = Spot::embedded(dir());
        trials.push(trial(format!("embedded::process::{name}"), missing.clone(), move || case(spot)));
        let missing = missing.or(uri.clone().err());
        let (uri, dir) = (uri.clone().unwrap_or_default(), dir());
        trials.push(trial(format!("mongo::process::{name}"), missing, move || {
            case(Spot { store: Place::Mongo { uri: with_database(&uri, &fresh_database()) }, dir })
        }));
    }
    for (name, case) in drain::replica_cases() {
        let missing = uri.clone().err();
        let (uri, dir) = (uri.clone().unwrap_or_default(), dir());
        trials.push(trial(format!("mongo::process::{name}"), missing, move || {
            case(Spot { store: Place::Mongo { uri: with_database(&uri, &fresh_database()) }, dir })
        }));
    }
    trials
}

/// A case that is shown as ignored where something it needs is `missing`.
fn trial(name: String, missing: Option<String>, case: impl FnOnce() -> Running + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match missing {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => {
            in_runtime(case);
            Ok(Completion::Completed)
        }
    })
}
