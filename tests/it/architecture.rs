//! The rules of the sources, read from the sources: who may import whom, which library stays behind which module, how long
//! a file may be.
//!
//! A module may import only modules of a lower rank; the same rank never. So there are no cycles, and the walls of
//! docs/architecture.md stand. Test code is exempt.

mod source;

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use self::source::{Import, Module, imports, modules, tokens};

/// The ranks, lowest first.
const RANKS: [&[&str]; 15] = [
    &["domain"],
    &["clock", "digest"],
    &["random"],
    &["signature", "seal", "pacing", "ghl_pace", "telemetry", "lifecycle"],
    &["client", "store", "fake"],
    &["leader", "opt_out"],
    &["oauth", "queue", "rekey", "retention"],
    &["delivery"],
    &["operator"],
    &["http"],
    &["config"],
    &["app"],
    &["sandbox"],
    &["cli"],
    &["main", "bin"],
];

/// Imports that their ranks would allow.
const WALLS: [(&str, &str, &str); 6] = [
    ("http", "delivery", "it may enqueue, never deliver"),
    ("http", "client", "no handler calls a vendor"),
    ("fake", "client", "a fake must not share a mistake with the client"),
    ("fake", "store", "a vendor has no access to our store"),
    ("operator", "delivery", "it changes documents; the leader alone sends"),
    ("operator", "queue", "it changes documents; the leader alone claims"),
];

/// Nobody else knows how the process is configured: a module takes its own small settings.
const MAY_IMPORT_CONFIG: [&str; 3] = ["app", "sandbox", "cli"];

/// What `domain` must not even name: rules are pure.
const IMPURE: [&str; 14] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "axum",
    "mongodb",
    "reqwest",
    "rusqlite",
    "tokio",
    "tracing",
];

/// Libraries that only these modules know.
const HOMES: [(&str, &[&str]); 9] = [
    ("rusqlite", &["store"]),
    ("mongodb", &["store"]),
    ("reqwest", &["client", "fake", "sandbox", "bin"]),
    ("aws_lc_rs", &["digest", "random", "seal", "signature"]),
    ("p256", &["signature"]),
    ("envy", &["config"]),
    ("clap", &["cli", "bin"]),
    ("dotenvy", &["cli"]),
    ("anyhow", &["app", "cli", "sandbox", "bin"]),
];

/// Lines of a file, its in-file tests included.
const LONGEST_FILE: usize = 520;

/// Longer ones, with the reason.
const MAY_BE_LONGER: [(&str, &str); 1] = [("domain/compose.rs", "one algorithm, and half of it is its tests")];

/// Files that serve tests alone without being named so.
const TEST_SUPPORT: [&str; 1] = ["client/wire.rs"];

pub fn trials() -> Vec<Trial> {
    let cases: [(&str, fn()); 7] = [
        ("every_module_imports_only_lower_ranks", every_module_imports_only_lower_ranks),
        ("the_checker_finds_what_it_looks_for", the_checker_finds_what_it_looks_for),
        ("the_checker_is_not_fooled_by_tests_comments_and_strings", the_checker_is_not_fooled),
        ("every_source_file_is_a_module_or_a_test", every_source_file_is_a_module_or_a_test),
        ("every_module_says_at_its_head_what_it_owns", every_module_says_at_its_head_what_it_owns),
        ("no_file_is_too_long_to_be_read", no_file_is_too_long_to_be_read),
        ("nothing_is_left_to_do_or_silenced", nothing_is_left_to_do_or_silenced),
    ];
    let trial = |(name, case): (&str, fn())| {
        Trial::test(format!("architecture::{name}"), move || {
            case();
            Ok(())
        })
    };
    cases.into_iter().map(trial).collect()
}

fn every_module_imports_only_lower_ranks() {
    let found: Vec<String> = modules(&src()).iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// What a file imports and must not, one sentence each.
fn violations(module: &Module) -> Vec<String> {
    let own = module.path.first().map(String::as_str);
    let file = module.file.strip_prefix(src()).unwrap_or(&module.file).display().to_string();
    let mut found = Vec::new();
    if own.is_some_and(|own| rank(own).is_none()) {
        found.push(format!("{file}: this module has no rank; give it one in tests/it/architecture.rs"));
    }
    for Import { path, line } in imports(module) {
        if let Some(why) = forbidden(own, &path) {
            found.push(format!("{file}:{line}: `{}`: {why}", path.join("::")));
        }
    }
    let words =
        module.tokens.iter().filter(|t| matches!(&t.kind, source::Kind::Word(w) if w == "async" || w == "await"));
    if own == Some("domain") {
        found.extend(words.map(|t| format!("{file}:{}: `domain` is pure and does not wait", t.line)));
    }
    found
}

/// Why the module `own`, or the root for `None`, must not name `path`.
fn forbidden(own: Option<&str>, path: &[String]) -> Option<String> {
    if path[0] != "crate" {
        return foreign(own?, path);
    }
    let (own, theirs) = (own?, path.get(1)?.as_str());
    if own == theirs {
        return None;
    }
    let Some(their_rank) = rank(theirs) else {
        return Some(format!("`{theirs}` is no module with a rank"));
    };
    if let Some((.., why)) = WALLS.iter().find(|(from, to, _)| (*from, *to) == (own, theirs)) {
        return Some(format!("`{own}` must not import `{theirs}`: {why}"));
    }
    if theirs == "config" && !MAY_IMPORT_CONFIG.contains(&own) {
        return Some(format!("only {} may import `config`", MAY_IMPORT_CONFIG.join(", ")));
    }
    let own_rank = rank(own)?;
    (their_rank >= own_rank)
        .then(|| format!("`{own}` (rank {own_rank}) must not import `{theirs}` (rank {their_rank}): only lower ranks"))
}

fn foreign(own: &str, path: &[String]) -> Option<String> {
    let path = path.join("::");
    let within = |place: &str| path == place || path.starts_with(&format!("{place}::"));
    if own == "domain" && IMPURE.into_iter().any(within) {
        return Some("`domain` is pure: no clock, no I/O, no environment".to_owned());
    }
    let (library, homes) = HOMES.iter().find(|(library, _)| within(library))?;
    (!homes.contains(&own)).then(|| format!("only {} may know the library `{library}`", homes.join(", ")))
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

fn the_checker_finds_what_it_looks_for() {
    for (module, line, expected) in [
        ("queue", "use crate::delivery::Outbound;", "`queue` (rank 6) must not import `delivery` (rank 7)"),
        ("queue", "use crate::oauth::Tokens;", "`queue` (rank 6) must not import `oauth` (rank 6)"),
        ("queue", "use crate::{clock::Clock, store::{Store, Lock}, http::Listener};", "`http`"),
        ("queue", "use {std::fmt, crate::{domain, delivery as d}};", "`delivery`"),
        ("queue::worker", "use super::super::delivery::Outbound;", "`delivery`"),
        ("queue::worker", "use super::{job, super::delivery};", "`delivery`"),
        ("queue", "fn f() { let x = Some(crate::app::App::build::<crate::cli::Cli>()); }", "`app`"),
        ("queue", "fn f() { g::<crate::cli::Cli>(); }", "`cli`"),
        ("queue", "mod inner { use super::super::delivery::Outbound; }", "`delivery`"),
        ("queue", "mod a {} mod b { mod c { type T = super::super::super::http::Listener; } }", "`http`"),
        ("queue", "#[derive(Serialize)] struct S { #[serde(with = \"crate::http::form\")] a: u8 }", "`http`"),
        ("queue", "#[cfg(feature = \"x\")] use crate::app::App;", "`app`"),
        ("queue", "#[cfg(any(test, unix))] use crate::app::App;", "`app`"),
        ("queue", "struct S { #[cfg(test)] a: u8, b: crate::app::App }", "`app`"),
        ("queue", "#[cfg(test)] mod tests { fn f() { \"}\"; } } use crate::app::App;", "`app`"),
        ("queue", "/* /* */ */ use crate::app::App;", "`app`"),
        ("queue", "const Q: char = '\"'; use crate::app::App;", "`app`"),
        ("queue", "use cast_ghl_provider::app::App;", "`app`"),
        ("queue", "use crate::*;", "`*` is no module with a rank"),
        ("queue", "use crate::nowhere::Thing;", "`nowhere` is no module with a rank"),
        ("nowhere", "", "this module has no rank"),
        ("http", "use crate::delivery::Outbound;", "it may enqueue, never deliver"),
        ("http", "use crate::client::cast::CastClient;", "no handler calls a vendor"),
        ("fake", "use crate::client::wire;", "must not share a mistake"),
        ("fake", "use crate::store::Store;", "no access to our store"),
        ("operator", "use crate::delivery::Outbound;", "the leader alone sends"),
        ("operator", "use crate::queue::Worker;", "the leader alone claims"),
        ("leader", "use crate::config::ServeConfig;", "only app, sandbox, cli may import `config`"),
        ("main", "use cast_ghl_provider::config;", "only app, sandbox, cli may import `config`"),
        ("bin::crash-test", "use cast_ghl_provider::config;", "only app, sandbox, cli may import `config`"),
        ("cli", "use crate::bin;", "must not import `bin` (rank 14): only lower ranks"),
        ("domain", "use crate::clock::Clock;", "`domain` (rank 0)"),
        ("domain", "use tokio::sync::mpsc;", "`domain` is pure"),
        ("domain", "use std::{fmt, time::{Duration, SystemTime}};", "`domain` is pure"),
        ("domain", "fn f() { std::env::var(\"X\"); }", "`domain` is pure"),
        ("domain", "pub async fn f() {}", "does not wait"),
        ("http", "fn f() { ::p256::ecdsa::x(); }", "only signature may know the library `p256`"),
        ("delivery", "use rusqlite::Connection;", "only store may know the library `rusqlite`"),
        ("oauth", "use anyhow::Context as _;", "only app, cli, sandbox, bin may know the library `anyhow`"),
    ] {
        let found = violations(&synthetic(module, line));
        assert!(found.iter().any(|v| v.contains(expected)), "{module}: {line}\nfound: {found:?}");
    }
    let found = violations(&synthetic("queue", "//! Head.\n\nuse crate::domain::id::DocId;\nuse crate::app::App;\n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("queue.rs:4: `crate::app::App`: "), "{}", found[0]);
}

fn the_checker_is_not_fooled() {
    for (module, line) in [
        ("queue", "use crate::domain::id::{DocId, LocationId};"),
        ("queue", "use crate::queue::Worker; use super::queue::Worker; use self::worker::Worker;"),
        ("queue::worker", "use super::super::queue::schedule; use super::schedule::{self, After};"),
        ("queue", "mod inner { use super::worker::Worker; }"),
        ("queue", "pub(crate) fn f() {} pub(in crate::queue) fn g() {} pub(super) fn h() {}"),
        ("queue", "#[cfg(test)] mod tests { use crate::app::App; }"),
        ("queue", "#[cfg(test)] #[path = \"x.rs\"] mod tests; #[cfg(all(test, unix))] use crate::app::App;"),
        ("queue", "#[cfg(test)] fn f(a: [u8; 2]) -> crate::app::App { crate::app::App {} }"),
        ("queue", "// use crate::app::App;\n/// [`crate::app::App`]\n/* use crate::app::App; */"),
        ("queue", "const S: &str = \"use crate::app::App;\"; const R: &str = r#\"\" crate::app::App\"#;"),
        ("queue", "fn f<'a>(x: &'a str) -> char { '\\'' } const C: [char; 2] = ['\"', '\\u{22}'];"),
        ("queue", "use tokio::sync::{mpsc, oneshot}; use other::app::crate_app;"),
        ("domain", "use std::time::Duration; use std::fmt::{self, Display}; mod time { use super::id; }"),
        ("app", "use crate::config::{self, ServeConfig}; use anyhow::Context as _;"),
        ("main", "fn main() { cast_ghl_provider::cli::main() }"),
        ("bin::crash-test", "use self::plan::Plan; use cast_ghl_provider::fake::cast::FakeCast;"),
        ("bin::crash-test::plan", "use super::dice::Dice; use clap::Parser;"),
    ] {
        let found = violations(&synthetic(module, line));
        assert!(found.is_empty(), "{module}: {line}\nfound: {found:?}");
    }
}

/// A module `a::b` whose file holds `text`.
fn synthetic(module: &str, text: &str) -> Module {
    let path: Vec<String> = module.split("::").map(str::to_owned).collect();
    let file = PathBuf::from(format!("{}.rs", path.join("/")));
    Module { tokens: source::without_tests(&tokens(text)), path, file }
}

fn every_source_file_is_a_module_or_a_test() {
    let known: Vec<PathBuf> = modules(&src()).into_iter().map(|m| m.file).collect();
    let lost: Vec<PathBuf> = files().into_iter().filter(|file| !is_test_file(file) && !known.contains(file)).collect();
    assert!(lost.is_empty(), "no `mod` line names these: {lost:?}");
    let used: Vec<&PathBuf> = known.iter().filter(|file| is_test_file(file)).collect();
    assert!(used.is_empty(), "these are named like test files and hold product code: {used:?}");
}

fn every_module_says_at_its_head_what_it_owns() {
    let silent: Vec<PathBuf> =
        files().into_iter().filter(|file| !is_test_file(file) && !read(file).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

fn no_file_is_too_long_to_be_read() {
    for file in files() {
        let name = file.strip_prefix(src()).expect("a file of src").display().to_string();
        let excused = MAY_BE_LONGER.iter().any(|(long, _)| *long == name);
        let lines = read(&file).lines().count();
        assert!(excused || lines <= LONGEST_FILE, "{name} has {lines} lines: split it");
        assert!(!excused || lines > LONGEST_FILE, "{name} needs its exception no longer");
    }
}

fn nothing_is_left_to_do_or_silenced() {
    for file in files() {
        let text = read(&file);
        for never in ["#[allow(", "#![allow(", "TODO", "FIXME"] {
            let line = text.lines().position(|line| line.contains(never));
            assert_eq!(line, None, "{}: `{never}` (lines counted from 0)", file.display());
        }
    }
}

/// By name: `tests.rs`, `…_tests.rs`, `vectors.rs`, what lies in a `tests` directory, and [`TEST_SUPPORT`].
fn is_test_file(file: &Path) -> bool {
    let below = file.strip_prefix(src()).unwrap_or(file);
    let name = below.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_tests = below.components().any(|part| part.as_os_str() == "tests");
    let support = TEST_SUPPORT.iter().any(|support| below == Path::new(support));
    in_tests || support || name == "tests.rs" || name.ends_with("_tests.rs") || name == "vectors.rs"
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![src()];
    while let Some(dir) = ahead.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                ahead.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
