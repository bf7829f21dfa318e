//! Tries one target: its seeds first, then mutations of them, until the budget is spent or a property fails.
//!
//! Owns the budget, the pool and what is left of a failure: a small input in a file, and the panic's own words. Invariant: a
//! case is bytes alone, so that a file repeats it. Knows nothing of what the targets try.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cast_ghl_provider::digest::sha256_hex;

use crate::mutation::{Grammar, Mutator, Rng};

/// Where failing inputs are written.
const FOUND: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/fuzz");
/// Where the seeds are, one directory for each target.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds");
/// Where the corpus is, and which of its bodies are seeds, too.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const CORPUS: [(&str, &[&str]); 3] = [
    ("webhook_body", &["ghl/message", "ghl/event", "ghl/dnd"]),
    ("inbound_json", &["cast/reply"]),
    ("receipt_json", &["cast/receipt"]),
];
/// Inputs kept for their outcome, and the longest one worth keeping.
const MOST_KEPT: usize = 4096;
const LONGEST_KEPT: usize = 8 * 1024;
/// Smaller inputs tried for one that failed.
const MOST_SHRINKS: usize = 8000;

/// What one case came to: the name says which way it went, the detail what else tells it from others. The runner keeps an
/// input for each new pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    pub name: &'static str,
    pub detail: usize,
}

/// Tries one input; panics when a property fails.
pub type Try = Box<dyn FnMut(&[u8]) -> Outcome>;

/// One thing to be fuzzed.
pub struct Target {
    /// Also the directory of its seeds.
    pub name: &'static str,
    pub grammar: Grammar,
    /// Words that matter to it.
    pub dictionary: &'static [&'static str],
    /// Bytes of the largest input.
    pub largest: usize,
    /// Cases of a short run.
    pub cases: u64,
    /// Outcomes that the seeds alone must come to, each: a seed that went stale is a failure.
    pub reaches: &'static [&'static str],
    pub start: fn() -> Try,
}

/// How long to try, and from where.
pub struct Budget {
    seed: u64,
    cases: Option<u64>,
    time: Option<Duration>,
    trace: bool,
}

impl Budget {
    /// `FUZZ_SECONDS` or `FUZZ_CASES` for each target, `FUZZ_SEED`, `FUZZ_TRACE`.
    pub fn of_environment() -> Result<Self, String> {
        let (time, cases) = (number("FUZZ_SECONDS")?.map(Duration::from_secs), number("FUZZ_CASES")?);
        // A short run guards what holds already: the same cases for everybody. A long one explores.
        let fresh = || if time.is_some() { u64::from_le_bytes(cast_ghl_provider::random::bytes()) } else { 1 };
        let seed = number("FUZZ_SEED")?.unwrap_or_else(fresh);
        Ok(Self { seed, cases, time, trace: number("FUZZ_TRACE")?.is_some() })
    }

    /// How to repeat the run.
    pub fn describe(&self) -> String {
        format!("FUZZ_SEED={}", self.seed)
    }

    fn spent(&self, short: u64, tried: u64, since: Instant) -> bool {
        match (self.time, self.cases) {
            (_, Some(cases)) if tried >= cases => true,
            (Some(time), _) => since.elapsed() >= time,
            (None, cases) => tried >= cases.unwrap_or(short),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to fuzz is said by the environment")]
fn number(name: &str) -> Result<Option<u64>, String> {
    match std::env::var(name).ok().filter(|value| !value.trim().is_empty()) {
        None => Ok(None),
        Some(value) => value.trim().parse().map(Some).map_err(|_| format!("{name} is a whole number")),
    }
}

/// What a run came to. `Display` is its line.
pub struct Tally {
    name: &'static str,
    tried: u64,
    seeds: usize,
    outcomes: usize,
    pub failure: Option<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, seeds, outcomes, .. } = self;
        let failures = if self.failure.is_some() { "1 failure" } else { "0 failures" };
        write!(f, "{name}: {} cases, {failures} ({seeds} seeds, {outcomes} outcomes)", grouped(self.tried))
    }
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Tries the seeds of `target`, then mutations, until the budget is spent or a property fails.
pub fn run(target: &Target, budget: &Budget) -> Tally {
    let mut session = Session::new(target, budget.trace);
    let failure = session.seeds().and_then(|()| session.mutations(budget)).err();
    Tally { name: target.name, tried: session.tried, seeds: session.seeds, outcomes: session.seen.len(), failure }
}

struct Session<'a> {
    target: &'a Target,
    attempt: Try,
    pool: Vec<Vec<u8>>,
    seen: HashSet<Outcome>,
    seeds: usize,
    tried: u64,
    trace: Option<PathBuf>,
}

impl<'a> Session<'a> {
    fn new(target: &'a Target, trace: bool) -> Self {
        let trace = trace.then(|| found(target.name, "last"));
        let (pool, seen) = (Vec::new(), HashSet::new());
        Self { target, attempt: (target.start)(), pool, seen, seeds: 0, tried: 0, trace }
    }

    /// Every committed seed as it is: a past finding must stay mended.
    fn seeds(&mut self) -> Result<(), String> {
        for (name, seed) in seeds(self.target.name) {
            self.case(&seed).map_err(|why| format!("seed {}/{name}: {why}", self.target.name))?;
            self.seeds += 1;
            self.pool.push(seed);
        }
        let reached: HashSet<&str> = self.seen.iter().map(|outcome| outcome.name).collect();
        match self.target.reaches.iter().find(|name| !reached.contains(*name)) {
            Some(missing) => Err(format!("no seed of {} comes to `{missing}` any more", self.target.name)),
            None => Ok(()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a long run ends by the clock on the wall")]
    fn mutations(&mut self, budget: &Budget) -> Result<(), String> {
        let own = self.target.name.bytes().fold(budget.seed, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let mut mutator = Mutator::new(Rng::new(own), self.target.grammar, self.target.dictionary, self.target.largest);
        let since = Instant::now();
        while !budget.spent(self.target.cases, self.tried, since) {
            let input = mutator.next(&self.pool);
            if let Err(why) = self.case(&input) {
                let small = shrunk(input, |candidate| self.fails(candidate));
                let file = found(self.target.name, &sha256_hex(&small)[..12]);
                write(&file, &small);
                return Err(format!("{why}\nthe input, {} bytes, is in {}", small.len(), file.display()));
            }
        }
        Ok(())
    }

    /// Tries one input; an error is the panic's own words.
    fn case(&mut self, input: &[u8]) -> Result<(), String> {
        if let Some(trace) = &self.trace {
            write(trace, input);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.attempt)(input))).map_err(|_| last_panic())?;
        self.tried += 1;
        if self.seen.len() < MOST_KEPT && self.seen.insert(outcome) && input.len() <= LONGEST_KEPT {
            self.pool.push(input.to_vec());
        }
        Ok(())
    }

    fn fails(&mut self, input: &[u8]) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.attempt)(input))).is_err()
    }
}

/// The seeds of a target by file name: its own, then the bodies of the corpus that are its like.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let of_corpus = CORPUS.iter().filter(|(name, _)| *name == target).flat_map(|(_, kinds)| *kinds);
    let directories =
        std::iter::once(Path::new(SEEDS).join(target)).chain(of_corpus.map(|kind| Path::new(DATA).join(kind)));
    directories.flat_map(|directory| files(&directory)).collect()
}

/// The files of a directory by name, without the expectations of the corpus.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("the seeds in {}: {e}", directory.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .filter(|(name, _)| !name.ends_with(".expect.json"))
        .collect();
    files.sort();
    files
}

/// The same failure from fewer bytes: leaves out ever smaller pieces for as long as it still fails.
fn shrunk(input: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut small = input;
    let mut tries = 0;
    let (mut piece, mut before) = (small.len(), small.len());
    while piece > 0 {
        let mut at = 0;
        while at < small.len() && tries < MOST_SHRINKS {
            tries += 1;
            let end = (at + piece).min(small.len());
            let candidate = [&small[..at], &small[end..]].concat();
            // Small pieces are tried at every place: a member of an object has no even length.
            if fails(&candidate) { small = candidate } else { at += piece.div_ceil(16) }
        }
        piece = if piece > 16 { piece / 2 } else { piece - 1 };
        // What is empty now may go as a whole: once more, while that helps.
        if piece == 0 && small.len() < before {
            (piece, before) = (small.len(), small.len());
        }
    }
    small
}

fn found(target: &str, name: &str) -> PathBuf {
    Path::new(FOUND).join(format!("{target}-{name}"))
}

fn write(file: &Path, input: &[u8]) {
    fs::create_dir_all(FOUND).and_then(|()| fs::write(file, input)).expect("the input can be written down");
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic said for the failure, and the screen free of the many that shrinking needs.
pub fn remember_panics() {
    set_hook(Box::new(|info| LAST_PANIC.with_borrow_mut(|last| *last = info.to_string())));
}

fn last_panic() -> String {
    LAST_PANIC.with_borrow(Clone::clone)
}

/// The runner under its own test: a fuzzer that finds nothing proves nothing.
pub fn a_planted_defect_is_found_made_small_and_written_down() {
    const LATE: &str = "a phone that is a number below zero";
    fn start() -> Try {
        Box::new(|input| {
            let value = serde_json::from_slice::<serde_json::Value>(input).unwrap_or_default();
            assert!(value["phone"].as_i64().is_none_or(|n| n >= 0), "{LATE}");
            Outcome { name: if value.is_object() { "object" } else { "other" }, detail: 0 }
        })
    }
    let target = Target {
        name: "webhook_body",
        grammar: Grammar::Json,
        dictionary: &[],
        largest: 4096,
        cases: 200_000,
        reaches: &["object"],
        start,
    };
    let budget = Budget { seed: 1, cases: None, time: None, trace: false };
    let tally = run(&target, &budget);
    let failure = tally.failure.expect("the defect is found");
    assert!(failure.contains(LATE), "{failure}");
    let file = failure.rsplit_once(" is in ").unwrap().1;
    let small = fs::read(file).unwrap();
    assert!(small.len() < 2 * r#"{"phone":-1}"#.len(), "{} bytes are left", small.len());
    assert!(catch_unwind(|| start()(&small)).is_err(), "the file repeats it");
    fs::remove_file(file).unwrap();
    let gone = Target { reaches: &["nowhere"], ..target };
    assert!(run(&gone, &budget).failure.unwrap().contains("`nowhere`"), "a stale seed is noticed");
}
