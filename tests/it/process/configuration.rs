//! What the commands make of their environment, and the exit code that says what kind of problem it was (bridge §2).

use std::net::TcpListener;
use std::path::PathBuf;

use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;

use super::child::{Ended, replaced, run, vars};
use super::serving::{listening, minimal, some_key};
use crate::{Cases, cases};

pub fn cases() -> Cases<PathBuf> {
    cases![
        check_config_shows_what_would_be_used_and_no_secret,
        check_config_lists_every_problem_at_once_and_no_secret,
        a_misspelt_name_is_told_the_right_one,
        a_file_named_env_fills_in_what_the_environment_leaves_out,
        serve_without_configuration_ends_before_it_touches_anything,
        mongodb_without_a_key_for_tokens_names_the_command_that_makes_one,
        a_generated_key_is_one_that_check_config_takes,
        a_blank_mongo_uri_is_an_error_and_never_the_embedded_store,
        a_malformed_mongo_uri_is_refused_without_repeating_it,
        a_second_serve_on_the_same_data_directory_is_refused_and_told_who_holds_it,
        a_data_directory_that_cannot_be_made_is_a_store_that_cannot_be_opened,
        a_taken_port_is_named_and_has_an_exit_code_of_its_own,
    ]
}

/// In every secret of these tests.
const SECRET: &str = "s3cr3t";

async fn check_config_shows_what_would_be_used_and_no_secret(dir: PathBuf) {
    let vars = replaced(minimal(), &[("INBOUND_API_KEY", "s3cr3t-of-the-replies"), ("DRAIN", "7s")]);
    let ended = run(&["check-config"], &vars, &dir).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for shown in ["http://bridge.test", "7s", "The configuration is complete."] {
        assert!(ended.out.contains(shown), "{}", ended.out);
    }
    assert_no_secret(&ended);
    assert!(!dir.join("data").exists(), "it makes no store");
}

async fn check_config_lists_every_problem_at_once_and_no_secret(dir: PathBuf) {
    let private = SigningKey::generate(Scheme::EcdsaP256Sha256).expect("a key");
    let wrong = vars(&[
        ("GHL_CLIENT_SECRET", "s3cr3t with spaces"),
        ("GHL_WEBHOOK_PUBLIC_KEY", private.private_pem()),
        ("CAST_API_KEYS", "s3cr3t-under-a-wrong-name"),
        ("INBOUND_API_KEY", "s3cr3t-short"),
        ("MONGO_URI", "mongodb://user:s3cr3t@home@db.test"),
        ("TOKEN_ENCRYPTION_KEYS", "k1:s3cr3tAAAA"),
        ("PORT", "65536"),
        ("METRICS_ADDR", "9464"),
        ("STATUS_DELAY", "5"),
        ("LONG_MESSAGE", "cut"),
        ("RUST_LOG", "info,=,"),
    ]);
    let ended = run(&["check-config"], &wrong, &dir).await;
    assert_eq!(ended.code, Some(2));
    let missing = ["BASE_URL", "GHL_CLIENT_ID", "CAST_API_KEY"];
    for name in wrong.iter().map(|(name, _)| name.as_str()).chain(missing) {
        let said = ended.err.lines().filter(|line| line.starts_with(&format!("{name}: "))).count();
        assert_eq!(said, 1, "{name} in:\n{}", ended.err);
    }
    assert_no_secret(&ended);
    let key = private.private_pem().lines().nth(1).expect("a line of the key");
    assert!(!ended.err.contains(key) && !ended.out.contains(key), "{}", ended.err);
}

async fn a_misspelt_name_is_told_the_right_one(dir: PathBuf) {
    let ended = run(&["check-config"], &replaced(minimal(), &[("GHL_CLIENTID", "x")]), &dir).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("GHL_CLIENTID") && ended.err.contains("GHL_CLIENT_ID"), "{}", ended.err);
}

async fn a_file_named_env_fills_in_what_the_environment_leaves_out(dir: PathBuf) {
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(".env"), "DRAIN=9s\nMAX_PARTS=3\n").expect("a file");
    let ended = run(&["check-config"], &replaced(minimal(), &[("MAX_PARTS", "4")]), &dir).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let shown = |name: &str| {
        let line = ended.out.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned)
    };
    assert_eq!((shown("DRAIN").as_deref(), shown("MAX_PARTS").as_deref()), (Some("9s"), Some("4")));
}

async fn serve_without_configuration_ends_before_it_touches_anything(dir: PathBuf) {
    let ended = run(&["serve"], &[], &dir).await;
    assert_eq!(ended.code, Some(2));
    for name in ["BASE_URL", "GHL_CLIENT_ID", "GHL_CLIENT_SECRET", "CAST_API_KEY"] {
        assert!(ended.err.contains(name), "{}", ended.err);
    }
    assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 0);
}

async fn mongodb_without_a_key_for_tokens_names_the_command_that_makes_one(dir: PathBuf) {
    for command in ["serve", "check-config"] {
        let ended = run(&[command], &replaced(minimal(), &[("MONGO_URI", "mongodb://127.0.0.1:1")]), &dir).await;
        assert_eq!(ended.code, Some(2), "{command}");
        assert!(ended.err.contains("cast-ghl keys generate"), "{}", ended.err);
    }
}

async fn a_generated_key_is_one_that_check_config_takes(dir: PathBuf) {
    let made = run(&["keys", "generate", "--kid", "2026-08"], &[], &dir).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let again = run(&["keys", "generate", "--kid", "2026-08"], &[], &dir).await;
    assert_ne!(made.out, again.out, "every key is a new one");
    let keys = format!("{},{}", made.out.trim(), some_key());
    let on_mongo = [("MONGO_URI", "mongodb://127.0.0.1:1"), ("TOKEN_ENCRYPTION_KEYS", keys.as_str())];
    let ended = run(&["check-config"], &replaced(minimal(), &on_mongo), &dir).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let secret = made.out.trim().split_once(':').expect("an id and a key").1;
    assert!(!ended.out.contains(secret) && ended.out.contains("2026-08"), "{}", ended.out);
}

async fn a_blank_mongo_uri_is_an_error_and_never_the_embedded_store(dir: PathBuf) {
    for blank in ["", "  "] {
        let ended = run(&["serve"], &replaced(minimal(), &[("MONGO_URI", blank)]), &dir).await;
        assert_eq!(ended.code, Some(2));
        assert!(ended.err.contains("MONGO_URI: is set but blank"), "{}", ended.err);
        assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 0);
    }
}

async fn a_malformed_mongo_uri_is_refused_without_repeating_it(dir: PathBuf) {
    for (uri, code) in [
        // What configuration knows of a connection string …
        ("mongo://user:s3cr3t@db.test", 2),
        ("mongodb://user:s3cr3t@/sms", 2),
        // … and what only the driver knows.
        ("mongodb://user:s3cr3t@127.0.0.1:99999", 3),
        ("mongodb://user:s3cr3t@127.0.0.1/?authMechanism=s3cr3t", 3),
    ] {
        let keys = some_key();
        let vars = replaced(minimal(), &[("MONGO_URI", uri), ("TOKEN_ENCRYPTION_KEYS", &keys)]);
        let ended = run(&["serve"], &vars, &dir).await;
        assert_eq!(ended.code, Some(code), "{uri}: {}", ended.err);
        assert!(ended.err.contains("MONGO_URI"), "{}", ended.err);
        assert_no_secret(&ended);
    }
}

async fn a_second_serve_on_the_same_data_directory_is_refused_and_told_who_holds_it(dir: PathBuf) {
    let (mut first, _) = listening(&minimal(), &dir).await;
    let second = run(&["serve"], &minimal(), &dir).await;
    assert_eq!(second.code, Some(3));
    assert!(second.err.contains(&format!("held by process {}", first.pid())), "{}", second.err);
    // The lock is the kernel's: free the moment the holder is gone, however it went.
    first.kill();
    let (third, _) = listening(&minimal(), &dir).await;
    drop(third);
}

async fn a_data_directory_that_cannot_be_made_is_a_store_that_cannot_be_opened(dir: PathBuf) {
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("data"), "a file where the directory should be").expect("a file");
    let ended = run(&["serve"], &minimal(), &dir).await;
    assert_eq!(ended.code, Some(3));
    assert!(ended.err.contains("data"), "{}", ended.err);
}

async fn a_taken_port_is_named_and_has_an_exit_code_of_its_own(dir: PathBuf) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address");
    for extra in [("PORT", addr.port().to_string()), ("METRICS_ADDR", addr.to_string())] {
        let ended = run(&["serve"], &replaced(minimal(), &[(extra.0, &extra.1)]), &dir).await;
        assert_eq!(ended.code, Some(4), "{}: {}", extra.0, ended.err);
        assert!(ended.err.contains(&addr.to_string()), "{}", ended.err);
    }
    // Neither left anything behind that stands in the way of the next.
    drop(listening(&minimal(), &dir).await);
}

fn assert_no_secret(ended: &Ended) {
    assert!(!ended.out.contains(SECRET), "{}", ended.out);
    assert!(!ended.err.contains(SECRET), "{}", ended.err);
}
