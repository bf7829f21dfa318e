//! That `.env.example` tells the truth.

use super::*;
use crate::config::raw::GROUPS;

const EXAMPLE: &str = include_str!("../../../.env.example");
const RAW: &str = include_str!("../raw.rs");

/// A variable as file or structs present it.
#[derive(Debug, PartialEq)]
struct Entry {
    heading: String,
    words: Vec<String>,
    name: String,
}

/// The variables of `.env.example`; the second of a pair says how the file gives the value.
fn example() -> Vec<(Entry, Given)> {
    let (mut heading, mut words, mut entries) = (String::new(), Vec::new(), Vec::new());
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ");
        let assigned = bare
            .unwrap_or(line)
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        } else if let Some((name, value)) = assigned {
            let entry = Entry { heading: heading.clone(), words: std::mem::take(&mut words), name: name.to_owned() };
            let value = value.to_owned();
            entries.push((entry, if bare.is_some() { Given::Commented(value) } else { Given::Set(value) }));
        } else if let Some(text) = bare {
            words.push(text.to_owned());
        } else {
            words.clear();
        }
    }
    entries
}

enum Given {
    Set(String),
    Commented(String),
}

/// The variables of the raw structs with their docs.
fn documented() -> Vec<Entry> {
    let (mut heading, mut words, mut entries) = (String::new(), Vec::new(), Vec::new());
    for line in RAW.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            words.push(text.to_owned());
        } else if line.starts_with("pub(super) struct ") {
            heading = std::mem::take(&mut words).join(" ");
        } else if let Some(field) = line.strip_prefix("pub ").and_then(|l| l.strip_suffix(": Option<String>,")) {
            entries.push(Entry {
                heading: heading.clone(),
                words: std::mem::take(&mut words),
                name: field.to_uppercase(),
            });
        } else if !line.starts_with("#[") {
            words.clear();
        }
    }
    entries
}

#[test]
fn the_example_file_says_what_the_structs_docs_say_in_the_same_order() {
    let example: Vec<Entry> = example().into_iter().map(|(entry, _)| entry).collect();
    let documented = documented();
    assert_eq!(example.len(), documented.len());
    for (example, documented) in example.iter().zip(&documented) {
        assert_eq!(example, documented);
        assert!(!documented.words.is_empty(), "{} has no words", documented.name);
    }
}

#[test]
fn every_known_name_is_a_field_and_occurs_once_in_the_example_file() {
    let known: Vec<&str> = GROUPS.iter().flat_map(|group| group.iter().copied()).collect();
    let example = example();
    let listed: Vec<&str> = example.iter().map(|(entry, _)| entry.name.as_str()).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_example_file_sets_the_required_names_to_nothing_and_comments_out_the_rest() {
    for (entry, given) in example() {
        let required = REQUIRED.iter().any(|(name, _)| *name == entry.name);
        assert_eq!(entry.words[0].starts_with("Required. "), required, "{}", entry.name);
        assert!(
            match given {
                Given::Set(value) => required && value.is_empty(),
                Given::Commented(_) => !required,
            },
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_example_file_with_the_required_values_filled_in_is_fine_and_changes_nothing() {
    let filled: String = EXAMPLE
        .lines()
        .map(|line| {
            let value = REQUIRED.iter().find(|(name, _)| line == format!("{name}="));
            format!("{line}{}\n", value.map_or("", |(_, value)| value))
        })
        .collect();
    let vars: Result<Vec<(String, String)>, _> = dotenvy::from_read_iter(filled.as_bytes()).collect();
    let config = ServeConfig::from_vars(vars.expect("a .env file").into_iter()).expect("fine");
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(describe(&config), describe(&accepted(&[])));
}

#[test]
fn a_value_that_the_example_file_shows_commented_out_is_the_default() {
    let shown: String = example()
        .into_iter()
        .filter_map(|(entry, given)| match given {
            Given::Commented(value) if !value.is_empty() => Some(format!("{}={value}\n", entry.name)),
            _ => None,
        })
        .collect();
    let vars: Result<Vec<(String, String)>, _> = dotenvy::from_read_iter(shown.as_bytes()).collect();
    let vars = vars.expect("a .env file").into_iter();
    let config = ServeConfig::from_vars(vars.chain(pairs(REQUIRED))).expect("fine");
    assert_eq!(describe(&config), describe(&accepted(&[])));
}
