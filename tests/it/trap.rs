//! The page of traps, docs/traps.md: each is held by a test that exists, and none that the reference marks is left out.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let cases: [(&str, fn()); 3] = [
        ("every_trap_names_tests_that_exist", every_trap_names_tests_that_exist),
        (
            "a_row_without_a_test_and_a_test_that_is_gone_are_found",
            a_row_without_a_test_and_a_test_that_is_gone_are_found,
        ),
        (
            "every_part_of_the_reference_with_a_warning_has_its_traps",
            every_part_of_the_reference_with_a_warning_has_its_traps,
        ),
    ];
    let trial = |(name, case): (&str, fn())| {
        Trial::test(format!("trap::{name}"), move || {
            case();
            Ok(())
        })
    };
    cases.into_iter().map(trial).collect()
}

fn every_trap_names_tests_that_exist() {
    let code: String = ["src", "tests"].iter().flat_map(|root| sources(&at(root))).collect();
    let (rows, wrong) = checked(&read("docs/traps.md"), &code);
    assert!(rows > 20, "{rows} rows");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn a_row_without_a_test_and_a_test_that_is_gone_are_found() {
    let page = "| trap | rule | held by |\n|---|---|---|\n| a | b | `is_there`, `is_gone` |\n| c | `d` | nothing |\n";
    let (rows, wrong) = checked(page, "async fn is_there(place: Place) {}\nfn is_gone_no_longer() {}\n");
    assert_eq!(rows, 2);
    assert_eq!(wrong, ["there is no test `is_gone`", "no test holds: c"]);
}

fn every_part_of_the_reference_with_a_warning_has_its_traps() {
    let (reference, traps) = (read("docs/ghl-api-reference.md"), read("docs/traps.md"));
    let (mut part, mut warned) = (None, 0);
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            part = Some(anchor(heading));
        }
        if let (Some(part), true) = (&part, line.contains('⚠')) {
            warned += 1;
            assert!(traps.contains(&format!("(ghl-api-reference.md#{part})")), "no trap of {part}: {line}");
        }
    }
    assert!(warned > 10, "{warned} warnings");
}

/// How many rows a page has, and what is wrong with them.
fn checked(page: &str, code: &str) -> (usize, Vec<String>) {
    let (mut rows, mut wrong) = (0, Vec::new());
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| held by |")) {
        rows += 1;
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let names: Vec<&str> =
            cells.last().map(|cell| cell.split('`').skip(1).step_by(2).collect()).unwrap_or_default();
        if names.is_empty() {
            wrong.push(format!("no test holds: {}", cells.first().copied().unwrap_or_default()));
        }
        // A function, or the name a case is given in a list of them.
        let there = |name: &str| code.contains(&format!("fn {name}(")) || code.contains(&format!("\"{name}\""));
        let gone = names.into_iter().filter(|name| !there(name));
        wrong.extend(gone.map(|name| format!("there is no test `{name}`")));
    }
    (rows, wrong)
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every Rust source below a directory.
fn sources(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in dir.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(std::fs::read_to_string(&path).expect("a source in UTF-8"));
        }
    }
    found
}
