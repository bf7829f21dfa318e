//! The configuration as a whole, from pairs of strings to settings or problems.
//!
//! Owns the helpers; the rules are below it, by subject.

mod example;
mod problems;
mod rules;
mod secrecy;
mod values;

use std::collections::BTreeMap;

use super::*;

const KEYS: &str = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

const REQUIRED: [(&str, &str); 4] = [
    ("BASE_URL", "https://bridge.example.com"),
    ("GHL_CLIENT_ID", "65f0example-app1"),
    ("GHL_CLIENT_SECRET", "client-secret"),
    ("CAST_API_KEY", "cast_0123"),
];

fn pairs<'a>(vars: impl IntoIterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<(String, String)> =
        vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    owned.into_iter()
}

/// The required variables, then `changes` in their stead or beside them.
fn read(changes: &[(&str, &str)]) -> Result<ServeConfig, ConfigErrors> {
    let mut vars = BTreeMap::from(REQUIRED);
    vars.extend(changes.iter().copied());
    ServeConfig::from_vars(pairs(vars))
}

fn accepted(changes: &[(&str, &str)]) -> ServeConfig {
    read(changes).unwrap_or_else(|errors| panic!("{changes:?}:\n{errors}"))
}

fn refused(changes: &[(&str, &str)]) -> ConfigErrors {
    read(changes).expect_err("a configuration with a problem")
}

/// The one problem that `changes` cause.
fn problem(changes: &[(&str, &str)]) -> String {
    let errors = refused(changes);
    assert_eq!(errors.problems().len(), 1, "{errors}");
    errors.to_string()
}

fn names(errors: &ConfigErrors) -> Vec<&str> {
    errors.problems().iter().map(Problem::name).collect()
}
