//! What a bad value is answered, and that all problems come together.

use super::*;

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_example_file() {
    let errors = refused(&[
        ("RUST_LOG", "\u{fffd}"),
        ("CAST_API_KEY", ""),
        ("MAX_PARTS", "none"),
        ("PORT", "70000"),
        ("BASE_URL", "bridge"),
        ("TOKEN_ENCRYPTION_KEYS", "nonsense,more"),
        ("CAST_SENDERID", "X"),
    ]);
    assert_eq!(
        names(&errors),
        [
            "BASE_URL",
            "PORT",
            "CAST_API_KEY",
            "TOKEN_ENCRYPTION_KEYS",
            "TOKEN_ENCRYPTION_KEYS",
            "MAX_PARTS",
            "RUST_LOG",
            "CAST_SENDERID",
        ]
    );
}

#[test]
fn every_parsed_variable_is_refused_by_its_own_name_when_it_holds_nonsense() {
    let free = ["DATA_DIR", "GHL_WEBHOOK_PUBLIC_KEY", "RUST_LOG"];
    for name in name::known().filter(|n| !free.contains(n)) {
        let errors = refused(&[(name, "§ nonsense \u{7f}")]);
        assert!(errors.concern(name), "{name}: {errors}");
        assert_eq!(errors.problems().len(), 1, "{errors}");
    }
}

#[test]
fn every_variable_that_is_not_text_is_refused_by_its_name() {
    for name in name::known() {
        let said = problem(&[(name, "a\u{fffd}b")]);
        assert!(said.starts_with(&format!("{name}: is not valid UTF-8; ")), "{said}");
    }
}

#[test]
fn a_problem_says_the_name_what_is_wrong_and_what_would_be_right() {
    assert_eq!(
        problem(&[("CAST_RATE_BURST", "0")]),
        "CAST_RATE_BURST: `0` will not do; give a whole number from 1 to 100000"
    );
    assert_eq!(
        problem(&[("STATUS_ON_ACCEPT", "sent")]),
        "STATUS_ON_ACCEPT: `sent` is not a choice; choose delivered or pending"
    );
    assert_eq!(problem(&[("DRAIN", "5")]), "DRAIN: `5` has no unit; give a duration from 1s to 5m, with its unit");
}

#[test]
fn durations_outside_their_bounds_are_refused_and_the_bounds_themselves_are_not() {
    for (name, least, most, below, above) in [
        ("ACCEPT_TIMEOUT", "1s", "10s", "999ms", "10001ms"),
        ("DRAIN", "1s", "5m", "0s", "301s"),
        ("STATUS_DELAY", "0s", "10m", "", "601s"),
        ("INSTALL_WAIT", "1s", "30d", "0s", "31d"),
        ("MESSAGE_MAX_AGE", "1s", "30d", "0s", "3651d"),
        ("RETENTION", "24h", "400d", "59m", "3651d"),
        ("REPLAY_MEMORY", "30d", "3650d", "23h", "3651d"),
    ] {
        for fine in [least, most] {
            accepted(&[(name, fine)]);
        }
        for bad in [below, above].iter().filter(|b| !b.is_empty()) {
            assert!(problem(&[(name, bad)]).contains("out of bounds"), "{name} {bad}");
        }
    }
}

#[test]
fn other_modules_checks_are_listed_with_the_rest() {
    let checks = Checks {
        webhook_public_key: |_| Err("is not a public key; paste the PEM".to_owned()),
        log_filter: |filter| {
            if filter == "info" { Ok(()) } else { Err("is no filter".to_owned()) }
        },
    };
    let vars = [("GHL_WEBHOOK_PUBLIC_KEY", "x"), ("RUST_LOG", "=="), ("PORT", "-1")];
    let errors =
        ServeConfig::from_vars_with(pairs(vars.into_iter().chain(REQUIRED)), &checks).expect_err("three problems");
    assert_eq!(names(&errors), ["PORT", "GHL_WEBHOOK_PUBLIC_KEY", "RUST_LOG"]);
    assert!(ServeConfig::from_vars_with(pairs(REQUIRED), &checks).is_ok(), "unset: nothing to judge");
    assert!(SandboxConfig::from_vars_with(pairs(vars), &checks).is_err());
}
