//! That no secret gets out, whatever the environment.

use proptest::prelude::*;

use super::*;

/// Variables that hold secrets, and how a value is made around the random part.
fn with_secret(name: &str, random: &str, good: bool) -> String {
    let spoilt = if good { "" } else { " \u{e9}" };
    match name {
        "MONGO_URI" if good => format!("mongodb://user:{random}@host/sms"),
        "MONGO_URI" => format!("mongodb://user:{random}/{random}@host/{random}"),
        "TOKEN_ENCRYPTION_KEYS" if good => format!("k1:{random:A<43}="),
        "TOKEN_ENCRYPTION_KEYS" => format!("{random},k1:{random},{random}:{random}"),
        "INBOUND_API_KEY" | "ADMIN_API_KEY" if good => format!("{random}{random}"),
        _ => format!("{random}{spoilt}"),
    }
}

const SECRETS: [&str; 6] =
    ["GHL_CLIENT_SECRET", "CAST_API_KEY", "INBOUND_API_KEY", "MONGO_URI", "TOKEN_ENCRYPTION_KEYS", "ADMIN_API_KEY"];

proptest! {
    #[test]
    fn no_secret_is_in_any_error_warning_debug_or_table(
        random in prop::collection::vec("[QXZJ]{11}A", SECRETS.len()),
        good in prop::collection::vec(prop::bool::weighted(0.8), SECRETS.len()),
        port in prop::sample::select(vec!["3002", "nonsense"]),
        encryption in prop::sample::select(vec!["on", "off", "maybe"]),
        misspelt in any::<bool>(),
    ) {
        let mut vars: Vec<(String, String)> = SECRETS
            .iter()
            .zip(&random)
            .zip(&good)
            .map(|((name, random), good)| ((*name).to_owned(), with_secret(name, random, *good)))
            .collect();
        vars.push(("PORT".to_owned(), port.to_owned()));
        vars.push(("TOKEN_ENCRYPTION".to_owned(), encryption.to_owned()));
        vars.push(("GHL_COLOUR".to_owned(), random[0].clone()));
        if misspelt {
            vars.push(("CAST_APIKEY".to_owned(), random[1].clone()));
        }
        let outcome = ServeConfig::from_vars(vars.clone().into_iter().chain(pairs(REQUIRED)));
        let mut said = match outcome {
            Ok(c) => format!("{c:?} {c:#?} {:?} {}", c.warnings, describe(&c)),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        said += &match StoreOnlyConfig::from_vars(vars.into_iter()) {
            Ok(c) => format!("{c:?} {:?}", c.warnings),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        for secret in &random {
            prop_assert!(!said.contains(&secret[..6]), "{said}");
        }
    }

    #[test]
    fn any_environment_is_judged_without_a_panic(
        values in prop::collection::vec(prop::option::of("\\PC{0,30}"), 64),
    ) {
        let vars = name::known()
            .zip(values)
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        if let Err(errors) = ServeConfig::from_vars(vars) {
            prop_assert!(!errors.is_empty());
        }
    }
}
