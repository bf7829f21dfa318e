//! Just enough of a MongoDB connection string: its scheme, that its credentials are encoded, its database name.
//!
//! Owns the split at the marks the driver splits at, by hand: the url crate refuses `host1:1,host2:2`. Its
//! invariant: no error holds a piece of the string, and no piece of a password is taken for a database name.
//! Hosts and options are the driver's to judge, when it connects.

use super::value::Wrong;

/// The database of a URI that names none.
pub(super) const DEFAULT_DATABASE: &str = "cast-ghl";

/// What MongoDB and its driver refuse in a database name.
const NOT_IN_A_NAME: [char; 7] = ['/', '\\', ' ', '"', '$', '.', '\0'];

/// MongoDB's limit on a database name, in bytes.
const NAME_MAX: usize = 63;

/// Reads the database name out of a connection string (`mongodb://` or `mongodb+srv://`).
pub(super) fn database(uri: &str) -> Result<String, Wrong> {
    if uri.is_empty() {
        return Err(Wrong::new(
            "is set but blank",
            "give a connection string, or unset it for the embedded store in DATA_DIR",
        ));
    }
    let rest = ["mongodb://", "mongodb+srv://"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme))
        .ok_or_else(|| malformed("does not begin with mongodb:// or mongodb+srv://"))?;
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(malformed("holds a space or a control character"));
    }
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (credentials, place) = place.rsplit_once('@').map_or((None, place), |(c, p)| (Some(c), p));
    let (user, password) = credentials.map(|c| c.split_once(':').unwrap_or((c, ""))).unwrap_or_default();
    if [user, password].iter().any(|s| s.contains(RESERVED)) || swallowed_credentials(options) {
        return Err(Wrong::new(
            "has a user name or password that is not percent-encoded",
            "write @ as %40, : as %3A, / as %2F, ? as %3F and % as %25 in them",
        ));
    }
    let (hosts, name) = place.split_once('/').unwrap_or((place, ""));
    if hosts.split(',').any(str::is_empty) {
        return Err(malformed("lacks a host name"));
    }
    if name.is_empty() {
        return Ok(DEFAULT_DATABASE.to_owned());
    }
    percent_decoded(name)
        .filter(|n| n.len() <= NAME_MAX && !n.contains(NOT_IN_A_NAME))
        .filter(|n| !n.contains(char::is_control))
        .ok_or_else(|| {
            Wrong::new(
                "names a database that MongoDB would refuse",
                r#"use at most 63 bytes without / \ . " $ or spaces"#,
            )
        })
}

/// Characters that end a user name or password when they are not encoded.
const RESERVED: [char; 7] = [':', '/', '?', '#', '[', ']', '@'];

/// Whether what follows the first `?` looks like the rest of a password with a bare `?` in it, rather than
/// options: an `@` in a name, or one with a path after it. (`appName=@account@` is Cosmos DB's own.)
fn swallowed_credentials(options: &str) -> bool {
    let in_a_name = options.split('&').any(|option| option.split('=').next().is_some_and(|k| k.contains('@')));
    let before_a_path = options.split_once('@').is_some_and(|(_, after)| after.contains(['/', '?']));
    in_a_name || before_a_path
}

fn malformed(wrong: &str) -> Wrong {
    Wrong::new(wrong, "give a connection string such as mongodb://user:password@host:27017/cast-ghl")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |d: u8| char::from(d).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        bytes.push(u8::try_from(value).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(uri: &str) -> String {
        database(uri).expect_err(uri).to_string()
    }

    #[test]
    fn a_uri_without_a_database_name_means_cast_ghl() {
        for uri in [
            "mongodb://localhost",
            "mongodb://localhost:27017",
            "mongodb://localhost:27017/",
            "mongodb://localhost:27017?directConnection=true",
            "mongodb://localhost/?replicaSet=rs0",
            "mongodb://h1:1,h2:2,h3:3/?replicaSet=rs0",
            "mongodb+srv://user:p%40ss@cluster0.example.net",
            "mongodb://%2Ftmp%2Fmongodb-27017.sock",
        ] {
            assert_eq!(database(uri).as_deref(), Ok("cast-ghl"), "{uri}");
        }
    }

    #[test]
    fn the_database_name_is_found_behind_many_hosts_credentials_and_options() {
        for (uri, name) in [
            ("mongodb://h/sms", "sms"),
            ("mongodb://u:p@h1:1,h2:2/sms?w=1", "sms"),
            ("mongodb+srv://u:p%2Fq%3Fr@h/sms", "sms"),
            ("mongodb://h/s%6Ds", "sms"),
            ("mongodb://h/caf%C3%A9", "café"),
            ("mongodb://%2Ftmp%2Fm.sock/sms", "sms"),
            ("mongodb://[::1]:27017/sms", "sms"),
            ("mongodb://a:k%3D%3D@a.example.net:10255/sms?ssl=true&appName=@a@", "sms"),
            ("mongodb://h/sms?tlsCAFile=/etc/ca.pem", "sms"),
        ] {
            assert_eq!(database(uri).as_deref(), Ok(name), "{uri}");
        }
    }

    #[test]
    fn a_bare_reserved_character_in_the_credentials_is_named_as_such() {
        for uri in [
            "mongodb://user:pa@ss@host/db",
            "mongodb://user:pa/ss@host/db",
            "mongodb://user:pa:ss@host/db",
            "mongodb://user:pa?ss@host/db",
            "mongodb://user:12/ab?cd@host/db",
            "mongodb://user:a@bb/cc?dd=ee@host/db",
        ] {
            assert!(wrong(uri).contains("percent-encoded"), "{uri}: {}", wrong(uri));
        }
    }

    #[test]
    fn other_schemes_blanks_and_missing_hosts_are_refused() {
        assert!(wrong("").contains("blank"));
        assert!(wrong("postgres://h/db").contains("mongodb+srv://"));
        assert!(wrong("localhost:27017").contains("mongodb://"));
        assert!(wrong("mongodb://").contains("host"));
        assert!(wrong("mongodb://h1,,h2/db").contains("host"));
        assert!(wrong("mongodb://h/a b").contains("space"));
    }

    #[test]
    fn a_database_name_that_mongodb_refuses_is_refused() {
        let long = format!("mongodb://h/{}", "x".repeat(64));
        for uri in [
            "mongodb://h/a.b",
            "mongodb://h/a/b",
            "mongodb://h/a%2Fb",
            "mongodb://h/a%",
            "mongodb://h/a%+f",
            "mongodb://h/a%FF",
            "mongodb://h/%00",
            long.as_str(),
        ] {
            assert!(wrong(uri).contains("database"), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(tail in "\\PC{0,60}") {
            let _ = database(&format!("mongodb://{tail}"));
        }

        #[test]
        fn an_encoded_name_comes_back_decoded(name in "[a-zA-Zéñ_-]{1,20}") {
            let encoded: String = name.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(database(&format!("mongodb://h/{encoded}?w=1")).ok(), Some(name));
        }

        #[test]
        fn no_piece_of_a_password_is_shown_or_taken_for_the_name(
            password in "[QXZJ]{5}([@/:?][QXZJ]{5}){0,4}",
            tail in prop::sample::select(vec!["", "/", "/db", "/db?w=1"]),
        ) {
            let said = match database(&format!("mongodb://user:{password}@host{tail}")) {
                Ok(name) => name,
                Err(wrong) => wrong.to_string(),
            };
            for piece in password.split(['@', '/', ':', '?']) {
                prop_assert!(!said.contains(piece), "{said}");
            }
        }
    }
}
