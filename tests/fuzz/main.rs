//! Fuzzing on the stable compiler: each thing a stranger, an editor or a broken disk may put before the bridge, as one small
//! function of bytes with properties that must hold for any bytes whatever.
//!
//! Random bytes find little behind a JSON parser or a base64 decoder, and there is no coverage feedback without a nightly
//! compiler. So inputs are mutated seeds, by grammar where they are JSON, and an input whose *outcome* is new becomes a seed
//! for the rest of the run.
//!
//! - `cargo test --test fuzz` tries a fixed number of cases from a fixed start: the same on every machine.
//! - `FUZZ_SECONDS=600 cargo test --profile fuzz --test fuzz` tries each target that long, optimised and with overflow
//!   checks, from a start of its own (printed).
//! - `FUZZ_CASES=n` and `FUZZ_SEED=n` set either; `FUZZ_TRACE=1` writes each input down *before* it is tried, for what no
//!   panic handler survives (a stack overflow, an abort, a hang).
//!
//! A failing input is made smaller, written to `target/tmp/fuzz/` and named in the failure. Committed under
//! `tests/fuzz/seeds/<target>/` it is tried first in every later run: mend the defect and keep the file.

#![expect(clippy::unwrap_used, reason = "a case that panics has failed, as it should")]

mod mutation;
mod runner;
mod target;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use runner::{Budget, Target};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let budget = match Budget::of_environment() {
        Ok(budget) => Arc::new(budget),
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    runner::remember_panics();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut trials = vec![Trial::test("fuzz::a_planted_defect_is_found_made_small_and_written_down", || {
        runner::a_planted_defect_is_found_made_small_and_written_down();
        Ok(())
    })];
    for target in target::all() {
        let (budget, lines) = (Arc::clone(&budget), Arc::clone(&lines));
        trials.push(Trial::test(format!("fuzz::{}", target.name), move || tried(&target, &budget, &lines)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut lines = lines.lock().unwrap();
    lines.sort();
    if !lines.is_empty() {
        println!("{}\n{}\n", lines.join("\n"), budget.describe());
    }
    conclusion.exit_code()
}

fn tried(target: &Target, budget: &Budget, lines: &Mutex<Vec<String>>) -> Result<(), Failed> {
    let tally = runner::run(target, budget);
    lines.lock().unwrap().push(tally.to_string());
    tally.failure.map_or(Ok(()), |failure| Err(failure.into()))
}
