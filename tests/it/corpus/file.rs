//! The files of the corpus, and what was found different from what they expect.
//!
//! `tests/data/<vendor>/<kind>/<name>.json` is a body byte for byte (`.txt` where it is no JSON at all); `<name>.expect.json`
//! beside it says what comes of it. Invariant: nothing is passed over, and every difference names its file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One body and its expectation.
pub struct Sample {
    /// Where it is, from `tests/data`.
    pub file: String,
    pub said: Vec<u8>,
    pub expect: Value,
}

const EXPECTED: &str = ".expect.json";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The kinds there are: `ghl/token`, `cast/reply` …
pub fn kinds() -> BTreeSet<String> {
    let under = |vendor: &str| {
        let dirs = data().join(vendor).read_dir().expect("a vendor's directory");
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("a name in UTF-8");
        dirs.map(|entry| name(entry.expect("a directory"))).map(|kind| format!("{vendor}/{kind}")).collect::<Vec<_>>()
    };
    ["ghl", "cast"].into_iter().flat_map(under).collect()
}

/// The samples of a kind, in the order of their names.
pub fn samples(kind: &str) -> Vec<Sample> {
    samples_in(&data().join(kind)).unwrap_or_else(|found| panic!("{kind}: {}", found.join("; ")))
}

/// The same of a directory.
///
/// # Errors
/// What is alone, each in a sentence; or that there is nothing.
pub fn samples_in(dir: &Path) -> Result<Vec<Sample>, Vec<String>> {
    let names: BTreeSet<String> = dir
        .read_dir()
        .map_err(|e| vec![format!("{}: {e}", dir.display())])?
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name in UTF-8"))
        .collect();
    let (mut samples, mut alone) = (Vec::new(), Vec::new());
    for name in &names {
        if let Some(stem) = name.strip_suffix(EXPECTED) {
            if !["json", "txt"].iter().any(|end| names.contains(&format!("{stem}.{end}"))) {
                alone.push(format!("{name} has no {stem}.json or {stem}.txt"));
            }
            continue;
        }
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let expected = format!("{stem}{EXPECTED}");
        if !names.contains(&expected) {
            alone.push(format!("{name} has no {expected}"));
            continue;
        }
        let read = |name: &str| std::fs::read(dir.join(name)).expect("a readable file");
        let path = dir.join(name);
        samples.push(Sample {
            file: path.strip_prefix(data()).unwrap_or(&path).display().to_string(),
            said: read(name),
            expect: serde_json::from_slice(&read(&expected)).unwrap_or_else(|e| panic!("{expected}: {e}")),
        });
    }
    match (alone.is_empty(), samples.is_empty()) {
        (true, false) => Ok(samples),
        (true, true) => Err(vec!["there are no files".to_owned()]),
        (false, _) => Err(alone),
    }
}

/// What came otherwise than expected.
#[derive(Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Compares what came of a sample with what is expected of it; nothing, null and empty are the same.
    pub fn compare(&mut self, sample: &Sample, came: Value) {
        let (came, expected) = (bare(came), bare(sample.expect.clone()));
        if came != expected {
            self.0.push(format!("{}\n  expected {expected}\n  came     {came}", sample.file));
        }
    }

    /// Fails when anything was different.
    pub fn end(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

fn bare(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let members = members.into_iter().map(|(name, value)| (name, bare(value)));
    let says = |value: &Value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty));
    Value::Object(members.filter(|(_, value)| says(value)).collect())
}
