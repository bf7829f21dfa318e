//! Keys as operators paste them: `VerifyKeys` and `SigningKey` from any text.
//!
//! What mangling the reader forgives must not change what is read, no text is a public and a private key at once, and an
//! error never repeats what it was given.

use std::fmt::{Debug, Display};

use cast_ghl_provider::signature::{KeyError, PublishedKeys, SignatureHeaders, SigningKey, VerifyKeys};

use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

pub fn target() -> Target {
    Target {
        name: "pem",
        grammar: Grammar::Bytes,
        dictionary: &[
            "-----",
            "-----BEGIN PUBLIC KEY-----",
            "-----END PUBLIC KEY-----",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "BEGIN ",
            "END ",
            "EC PARAMETERS",
            "CERTIFICATE",
            "Proc-Type: 4,ENCRYPTED",
            "MCowBQYDK2VwAyEA",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
            "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8A",
            "MAA=",
            "=",
            "\\\\n",
            "\\\"",
        ],
        largest: 16 * 1024,
        cases: 4_000,
        reaches: &[
            "public",
            "private",
            "NotAKey",
            "PrivateKey",
            "Certificate",
            "OtherPem",
            "Algorithm",
            "Curve",
            "OneOf",
        ],
        start: || Box::new(try_one),
    }
}

fn try_one(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let signing = SigningKey::from_pem(&text);
    match &signing {
        Ok(key) => signs(key, input),
        Err(why) => repeats_nothing(why),
    }
    match read(&text) {
        Ok(keys) => {
            assert!(signing.is_err(), "a text is a public key or a private one");
            forgives(&text, &keys);
            Outcome { name: "public", detail: keys.split(',').count() }
        }
        Err(why) => {
            repeats_nothing(&why);
            let blank = text.trim().is_empty();
            assert_eq!(why == KeyError::NoKey, blank, "no text is no key, and any other says what is wrong with it");
            assert_eq!(
                VerifyKeys::new(Some(&text), PublishedKeys::Trust).is_ok(),
                blank,
                "a bad key is never left out"
            );
            let said = format!("{why:?}");
            let name = ["NotAKey", "PrivateKey", "Certificate", "OtherPem", "Algorithm", "Curve", "OneOf", "Invalid"]
                .into_iter()
                .find(|name| said.starts_with(name));
            let name = if signing.is_ok() { "private" } else { name.unwrap_or("another") };
            Outcome { name, detail: said.len() }
        }
    }
}

/// The keys as `Debug` names them: scheme and fingerprint.
fn read(text: &str) -> Result<String, KeyError> {
    VerifyKeys::new(Some(text), PublishedKeys::Distrust).map(|keys| format!("{keys:?}"))
}

/// Quotes around it, line breaks spelt out or doubled, the same keys once more: nothing changes.
fn forgives(text: &str, keys: &str) {
    let expected = Ok(keys.to_owned());
    for mangled in [
        format!("\"{text}\""),
        text.replace('\n', "\\n"),
        text.replace('\n', "\r\n\r\n"),
        format!(" {text}\n{text}\u{feff}"),
    ] {
        assert_eq!(read(&mangled), expected, "what editors do to a key changes nothing");
    }
    let names = keys.trim_matches(['[', ']']).split(", ");
    for name in names {
        let (scheme, fingerprint) = name.split_once(' ').unwrap();
        assert!(["ed25519", "rsa-pkcs1-sha256", "ecdsa-p256-sha256"].contains(&scheme));
        assert!(fingerprint.len() == 12 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}

/// A key that was read has two halves that belong together.
fn signs(key: &SigningKey, body: &[u8]) {
    let name = format!("{key:?}");
    let again = SigningKey::from_pem(key.private_pem()).unwrap();
    assert_eq!(format!("{again:?}"), name, "its own PEM is the same key");
    let public = VerifyKeys::new(Some(key.public_pem()), PublishedKeys::Distrust).unwrap();
    assert_eq!(format!("SigningKey({})", format!("{public:?}").trim_matches(['[', ']'])), name);
    let signature = key.sign(body);
    let value = vec![signature.as_bytes()];
    let headers = SignatureHeaders { ghl: value.clone(), wh: value };
    assert_eq!(public.verify(&headers, body), Ok(key.scheme()));
    assert!(longest_run(&name) < 16);
}

/// No sentence of ours has sixteen base64 characters in a row, and no key has fewer.
fn repeats_nothing(why: &(impl Debug + Display)) {
    assert!(
        longest_run(&why.to_string()) < 16 && longest_run(&format!("{why:?}")) < 16,
        "{} characters",
        why.to_string().len()
    );
}

fn longest_run(text: &str) -> usize {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/".contains(c))).map(str::len).max().unwrap_or(0)
}
