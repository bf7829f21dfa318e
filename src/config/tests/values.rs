//! What is required, what defaults hold, what blank means, how it is shown.

use super::*;

#[test]
fn the_four_required_variables_are_enough_and_warn_of_nothing() {
    assert_eq!(accepted(&[]).warnings, Vec::<String>::new());
}

#[test]
fn an_empty_environment_lists_all_four_required_variables() {
    let errors = ServeConfig::from_vars(pairs([])).expect_err("nothing is set");
    assert_eq!(names(&errors), REQUIRED.map(|(name, _)| name));
    assert!(errors.to_string().lines().all(|l| l.contains(": is missing; ")), "{errors}");
}

#[test]
fn defaults_are_those_of_the_specification() {
    let c = accepted(&[]);
    assert_eq!((c.http.host, c.http.port), (Ipv4Addr::UNSPECIFIED.into(), 3002));
    assert_eq!(c.http.metrics_addr, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
    assert_eq!((c.http.accept_timeout.as_secs(), c.http.drain.as_secs()), (5, 5));
    assert_eq!(c.ghl.api_url.as_str(), "https://services.leadconnectorhq.com/");
    assert_eq!(c.ghl.authorize_url.as_str(), "https://marketplace.gohighlevel.com/oauth/chooselocation");
    assert_eq!(c.ghl.scopes.len(), 9);
    assert_eq!(c.ghl.conversation_provider_id, None);
    assert_eq!(c.ghl.webhook_public_key, None);
    assert!(c.ghl.trust_published_keys);
    assert_eq!((c.ghl.status_delay.as_secs(), c.ghl.install_wait.as_secs()), (5, 900));
    assert_eq!(c.cast.api_url.as_str(), "https://api.cast.ph/");
    assert_eq!(c.cast.sender_id, None);
    assert_eq!((c.cast.rate_per_second, c.cast.rate_burst), (30, 50));
    assert!(matches!(&c.store, StoreConfig::Embedded { data_dir } if data_dir.as_os_str() == "./data"));
    assert_eq!(c.seal.encryption, Encryption::On);
    assert!(c.seal.keys.is_empty());
    assert_eq!(c.policy.status_on_accept, StatusOnAccept::Delivered);
    assert_eq!((c.policy.long_message, c.policy.max_parts), (LongMessage::Split, 8));
    assert_eq!(c.policy.attachments, Attachments::Link);
    assert_eq!(c.policy.unknown_send, UnknownSend::Park);
    let days = |d: Duration| d.as_secs() / 86_400;
    assert_eq!(days(c.policy.message_max_age), 1);
    assert_eq!((days(c.policy.retention), days(c.policy.replay_memory)), (30, 400));
    assert_eq!((c.policy.backlog_limit, c.policy.disk_reserve), (1_000_000, 268_435_456));
    assert_eq!(c.policy.default_location_id, None);
    assert!(c.inbound_api_key.is_none() && c.admin_api_key.is_none());
    assert_eq!((c.cast.shared_key, c.cast.location_daily_parts), (SharedKey::Allow, 0));
    assert_eq!((c.log.format, c.log.filter.as_str()), (LogFormat::Text, "info"));
}

#[test]
fn every_alternative_can_be_chosen() {
    let c = accepted(&[
        ("STATUS_ON_ACCEPT", "pending"),
        ("LONG_MESSAGE", "reject"),
        ("ATTACHMENTS", "reject"),
        ("UNKNOWN_SEND", "resend"),
        ("LOG_FORMAT", "json"),
        ("METRICS_ADDR", "off"),
        ("TOKEN_ENCRYPTION_KEYS", KEYS),
    ]);
    assert_eq!(c.policy.status_on_accept, StatusOnAccept::Pending);
    assert_eq!(c.policy.long_message, LongMessage::Reject);
    assert_eq!(c.policy.attachments, Attachments::Reject);
    assert_eq!(c.policy.unknown_send, UnknownSend::Resend);
    assert_eq!(c.log.format, LogFormat::Json);
    assert_eq!(c.http.metrics_addr, None);
    assert_eq!(c.seal.keys[0].kid, "k1");
}

#[test]
fn a_blank_variable_counts_as_unset_whichever_it_is() {
    for name in name::known().filter(|n| *n != "MONGO_URI") {
        for blank in ["", "  ", "\n", "\"\"", "' '"] {
            let outcome = read(&[(name, blank)]);
            if REQUIRED.iter().any(|(required, _)| *required == name) {
                let errors = outcome.expect_err(name).to_string();
                assert!(errors.starts_with(&format!("{name}: is missing; ")), "{errors}");
            } else {
                let config = outcome.expect(name);
                assert_eq!(describe(&config), describe(&accepted(&[])), "{name}");
                assert_eq!(config.warnings, Vec::<String>::new(), "{name}");
            }
        }
    }
}

#[test]
fn a_blank_mongo_uri_is_an_error_so_that_an_empty_secret_cannot_split_the_store() {
    for blank in ["", "  ", "\"\""] {
        let said = problem(&[("MONGO_URI", blank)]);
        assert!(said.starts_with("MONGO_URI: is set but blank; "), "{said}");
    }
}

#[test]
fn spaces_and_one_pair_of_quotes_around_a_value_are_taken_off() {
    let c = accepted(&[
        ("CAST_API_KEY", " \"cast_0123\"\n"),
        ("CAST_SENDER_ID", "'My Brand'"),
        ("RUST_LOG", "\"a\" \"b\""),
    ]);
    assert_eq!(c.cast.api_key.expose(), "cast_0123");
    assert_eq!(c.cast.sender_id.as_deref(), Some("My Brand"));
    assert_eq!(c.log.filter, "\"a\" \"b\"");
}

#[test]
fn of_a_name_that_occurs_twice_the_first_holds() {
    let twice = pairs([("PORT", "1234"), ("PORT", "5678")]).chain(pairs(REQUIRED));
    assert_eq!(ServeConfig::from_vars(twice).expect("fine").http.port, 1234);
}

#[test]
fn names_in_lower_case_are_other_names() {
    assert_eq!(accepted(&[("port", "1234"), ("host", "nonsense")]).http.port, 3002);
}

#[test]
fn the_table_has_one_line_a_variable_in_the_order_of_the_example_file() {
    let table = describe(&accepted(&[]));
    let shown: Vec<&str> = table.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(shown, name::known().collect::<Vec<_>>());
}

#[test]
fn the_table_shows_values_and_of_secrets_only_that_they_are_set() {
    let table = describe(&accepted(&[
        ("MONGO_URI", "mongodb://u:hunter2@h/sms"),
        ("TOKEN_ENCRYPTION_KEYS", KEYS),
        ("PORT", "8080"),
        ("INBOUND_API_KEY", "hunter2hunter2hunter2"),
    ]));
    let value = |name: &str| {
        let line = table.lines().find(|l| l.split_whitespace().next() == Some(name));
        line.expect(name)[name.len()..].trim().to_owned()
    };
    assert_eq!(value("PORT"), "8080");
    assert_eq!(value("BASE_URL"), "https://bridge.example.com");
    assert_eq!(value("MONGO_URI"), "set (database sms)");
    assert_eq!(value("DATA_DIR"), "ignored");
    assert_eq!(value("TOKEN_ENCRYPTION_KEYS"), "set (1 in all, k1 seals)");
    assert_eq!(value("INBOUND_API_KEY"), "set");
    assert_eq!(value("CAST_API_KEY"), "set");
    assert_eq!(value("CAST_SENDER_ID"), "not set");
    assert_eq!(value("REPLAY_MEMORY"), "400d");
    assert!(!table.contains("hunter2"));
}
