//! What contradicts what, what is warned of, what each command reads.

use super::*;

#[test]
fn distrusting_the_published_keys_needs_a_key_of_ones_own() {
    const TRUST: &str = "GHL_WEBHOOK_TRUST_PUBLISHED_KEYS";
    let said = problem(&[(TRUST, "false")]);
    assert!(said.starts_with(TRUST) && said.contains("no webhook could be verified"), "{said}");
    let c = accepted(&[(TRUST, "false"), ("GHL_WEBHOOK_PUBLIC_KEY", "some key")]);
    assert!(!c.ghl.trust_published_keys);
}

#[test]
fn encryption_off_contradicts_keys() {
    let said = problem(&[("TOKEN_ENCRYPTION", "off"), ("TOKEN_ENCRYPTION_KEYS", KEYS)]);
    assert!(said.starts_with("TOKEN_ENCRYPTION: is off while"), "{said}");
}

#[test]
fn encryption_off_is_warned_of_out_loud() {
    let c = accepted(&[("TOKEN_ENCRYPTION", "off")]);
    assert_eq!(c.seal.encryption, Encryption::Off);
    assert!(c.warnings[0].starts_with("TOKEN_ENCRYPTION: off"), "{:?}", c.warnings);
}

#[test]
fn a_message_must_be_done_before_it_is_stripped_and_stripped_before_it_is_forgotten() {
    assert_eq!(
        problem(&[("MESSAGE_MAX_AGE", "31d")]),
        "MESSAGE_MAX_AGE: is 31d, longer than RETENTION, which is 30d; shorten it or lengthen RETENTION"
    );
    assert!(problem(&[("REPLAY_MEMORY", "29d")]).starts_with("RETENTION: is 30d, longer than REPLAY_MEMORY"));
    accepted(&[("MESSAGE_MAX_AGE", "2d"), ("RETENTION", "2d"), ("REPLAY_MEMORY", "2d")]);
}

#[test]
fn a_bad_value_causes_no_contradiction_with_the_default_in_its_place() {
    let errors = refused(&[("RETENTION", "2 years and a bit"), ("MESSAGE_MAX_AGE", "60d")]);
    assert_eq!(names(&errors), ["RETENTION"]);
}

#[test]
fn metrics_may_not_want_the_web_servers_own_address() {
    for (host, port, metrics) in [
        ("0.0.0.0", "3002", "127.0.0.1:3002"),
        ("127.0.0.1", "3002", "0.0.0.0:3002"),
        ("10.0.0.1", "9464", "10.0.0.1:9464"),
        ("::", "3002", "127.0.0.1:3002"),
        ("::", "3002", "[::1]:3002"),
    ] {
        let said = problem(&[("HOST", host), ("PORT", port), ("METRICS_ADDR", metrics)]);
        assert!(said.starts_with("METRICS_ADDR: is where the web server listens"), "{said}");
    }
    for (host, port, metrics) in [
        ("127.0.0.1", "3002", "127.0.0.2:3002"),
        ("0.0.0.0", "3002", "[::1]:3002"),
        ("0.0.0.0", "3002", "127.0.0.1:3003"),
        ("0.0.0.0", "0", "127.0.0.1:0"),
    ] {
        accepted(&[("HOST", host), ("PORT", port), ("METRICS_ADDR", metrics)]);
    }
}

#[test]
fn mongodb_needs_keys_and_the_problem_names_the_command_that_makes_them() {
    let said = problem(&[("MONGO_URI", "mongodb://localhost")]);
    assert!(said.starts_with("TOKEN_ENCRYPTION_KEYS: is missing"), "{said}");
    assert!(said.contains("`cast-ghl keys generate`"), "{said}");
}

#[test]
fn mongodb_starts_with_keys_or_with_encryption_off() {
    let uri = ("MONGO_URI", "mongodb://u:p@h1:1,h2:2/sms?replicaSet=rs0");
    for with in [("TOKEN_ENCRYPTION_KEYS", KEYS), ("TOKEN_ENCRYPTION", "off")] {
        let c = accepted(&[uri, with, ("DATA_DIR", "ignored")]);
        assert!(matches!(c.store, StoreConfig::Mongo { uri: u, database } if u.expose() == uri.1 && database == "sms"));
    }
}

#[test]
fn a_bad_mongo_uri_or_a_bad_key_is_one_problem_and_not_a_missing_key_as_well() {
    assert_eq!(names(&refused(&[("MONGO_URI", "localhost")])), ["MONGO_URI"]);
    assert_eq!(
        names(&refused(&[("MONGO_URI", "mongodb://h"), ("TOKEN_ENCRYPTION_KEYS", "k1")])),
        ["TOKEN_ENCRYPTION_KEYS"]
    );
}

#[test]
fn commands_on_the_store_read_only_the_store_and_key_variables() {
    let vars = [("DATA_DIR", "/srv/sms"), ("PORT", "nonsense"), ("CAST_API_KYE", "x")];
    let c = StoreOnlyConfig::from_vars(pairs(vars)).expect("two of them are not its business");
    assert!(matches!(c.store, StoreConfig::Embedded { data_dir } if data_dir.as_os_str() == "/srv/sms"));
    assert!(c.warnings.is_empty());
    let errors = StoreOnlyConfig::from_vars(pairs([("MONGO_URI", ""), ("TOKEN_ENCRYPTION", "no")]))
        .expect_err("two of them are");
    assert_eq!(names(&errors), ["MONGO_URI", "TOKEN_ENCRYPTION"]);
}

#[test]
fn the_sandbox_reads_only_how_to_log() {
    let vars = [("MONGO_URI", ""), ("GHL_CLIENTID", "x"), ("LOG_FORMAT", "json"), ("RUST_LOG", "debug")];
    let log = SandboxConfig::from_vars(pairs(vars)).expect("fine").log;
    assert_eq!((log.format, log.filter.as_str()), (LogFormat::Json, "debug"));
    assert!(SandboxConfig::from_vars(pairs([("LOG_FORMAT", "xml")])).is_err());
}

#[test]
fn the_doctor_requires_nothing_and_refuses_what_is_wrong_of_what_it_reads() {
    let unset = DoctorConfig::from_vars(pairs([("CAST_API_KEY", ""), ("GHL_CLIENTID", "x")])).expect("fine");
    let needed: Vec<&str> = crate::domain::scope::NEEDED.iter().map(|scope| scope.name).collect();
    assert_eq!(unset.scopes, needed);
    assert_eq!((unset.base_url, unset.conversation_provider_id, unset.disk_reserve), (None, None, 256 << 20));
    assert_eq!(unset.ghl_api_url.as_str(), "https://services.leadconnectorhq.com/");
    let vars = [("BASE_URL", "https://b.test/x/"), ("DISK_RESERVE", "1GiB"), ("DEFAULT_LOCATION_ID", "L1")];
    let set = DoctorConfig::from_vars(pairs(vars)).expect("fine");
    assert_eq!(set.base_url.as_deref(), Some("https://b.test/x"));
    assert_eq!((set.disk_reserve, set.default_location_id.as_deref()), (1 << 30, Some("L1")));
    let wrong = [("GHL_API_URL", "x"), ("DISK_RESERVE", "much"), ("GHL_SCOPES", ","), ("MONGO_URI", " ")];
    let errors = DoctorConfig::from_vars(pairs(wrong)).expect_err("four are wrong").to_string();
    for (name, _) in wrong {
        assert!(errors.contains(name), "{name} in {errors}");
    }
}

#[test]
fn the_health_check_asks_where_serve_listens_and_loopback_where_it_listens_on_all() {
    let target = |vars: &[(&str, &str)]| {
        let outcome = HealthcheckConfig::from_vars(pairs(vars.iter().copied()));
        outcome.map(|c| c.target.to_string())
    };
    assert_eq!(target(&[("BASE_URL", "nonsense")]).as_deref(), Ok("127.0.0.1:3002"));
    assert_eq!(target(&[("HOST", "::"), ("PORT", "80")]).as_deref(), Ok("[::1]:80"));
    assert_eq!(target(&[("HOST", "10.0.0.1")]).as_deref(), Ok("10.0.0.1:3002"));
    assert!(target(&[("PORT", "0")]).is_err());
}

#[test]
fn a_misspelt_name_is_an_error_that_names_the_one_meant() {
    assert_eq!(problem(&[("CAST_SENDERID", "X")]), "CAST_SENDERID: is not a known name; did you mean CAST_SENDER_ID?");
}

#[test]
fn unknown_names_are_one_warning_each_and_injected_ones_none() {
    let c = accepted(&[
        ("CAST_COLOUR", "blue"),
        ("GHL_SHAPE", "round"),
        ("CAST_GHL_SERVICE_HOST", "10.0.0.1"),
        ("CAST_GHL_PORT_3002_TCP_ADDR", "10.0.0.1"),
        ("CAST_PORT", "tcp://10.0.0.1:3002"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(c.warnings, ["CAST_COLOUR: not a known name, ignored", "GHL_SHAPE: not a known name, ignored",]);
}

#[test]
fn plain_http_to_another_machine_is_warned_of_and_loopback_is_not() {
    let c = accepted(&[
        ("BASE_URL", "http://bridge.example.com"),
        ("GHL_API_URL", "http://localhost:1"),
        ("CAST_API_URL", "http://[::1]:2"),
    ]);
    assert_eq!(c.warnings, ["BASE_URL: http, so keys and messages travel unencrypted"]);
    assert!(accepted(&[("BASE_URL", "http://127.0.0.1:3002")]).warnings.is_empty());
}

#[test]
fn fewer_scopes_are_allowed_and_those_without_delivery_are_warned_of() {
    let c = accepted(&[("GHL_SCOPES", "conversations/message.write contacts.write")]);
    assert_eq!(c.ghl.scopes, ["conversations/message.write", "contacts.write"]);
    assert!(c.warnings.is_empty());
    let c = accepted(&[("GHL_SCOPES", "contacts.write")]);
    assert!(c.warnings[0].starts_with("GHL_SCOPES: lacks"), "{:?}", c.warnings);
}

#[test]
fn links_hang_below_the_base_urls_path() {
    for base in ["https://b.example.com/sms", "https://b.example.com/sms/"] {
        let http = accepted(&[("BASE_URL", base)]).http;
        assert_eq!(http.public_url("/install"), "https://b.example.com/sms/install");
    }
    assert_eq!(accepted(&[]).http.public_url("/"), "https://bridge.example.com/");
}

#[test]
fn the_process_environment_is_text() {
    assert!(process_env().any(|(name, _)| name == "PATH"));
}

#[test]
fn words_that_stop_and_start_are_separated_by_commas_and_never_the_same() {
    let c = accepted(&[("OPT_OUT_WORDS", "STOP, Stop!,TIGIL NA "), ("OPT_IN_WORDS", "START")]);
    assert_eq!((c.opt_out.stop, c.opt_out.start), (vec!["STOP".into(), "TIGIL NA".into()], vec!["START".to_owned()]));
    for text in ["STOP,", ",", "!", &"x".repeat(41), "a\tb"] {
        assert!(problem(&[("OPT_OUT_WORDS", text)]).starts_with("OPT_OUT_WORDS: holds a word"), "{text:?}");
    }
    let said = problem(&[("OPT_IN_WORDS", "stop!")]);
    assert_eq!(said, "OPT_IN_WORDS: holds `stop!`, which is one of OPT_OUT_WORDS; leave it out of one of the two");
}

#[test]
fn opting_out_switched_off_is_warned_of() {
    let c = accepted(&[("OPT_OUT", "false")]);
    assert!(!c.opt_out.enabled && c.warnings[0].starts_with("OPT_OUT: false"), "{:?}", c.warnings);
}
