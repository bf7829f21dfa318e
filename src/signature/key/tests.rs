//! Keys as operators paste them: mangled, in lists, of the wrong kind, beside rubbish.
//!
//! Owns the proof that a key made by openssl survives every mangling and that nothing is skipped or echoed. Tests alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

macro_rules! data {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signature/", $path))
    };
}

const ED25519_PEM: &str = data!("ed25519/public.pem");
const RSA_PEM: &str = data!("rsa/public.pem");
const P256_PEM: &str = data!("p256/public.pem");
const PEMS: [&str; 3] = [ED25519_PEM, RSA_PEM, P256_PEM];

fn own(text: &str) -> Result<VerifyKeys, KeyError> {
    VerifyKeys::new(Some(text), PublishedKeys::Distrust)
}

/// Schemes and fingerprints, or the error.
fn shown(text: &str) -> Result<String, KeyError> {
    own(text).map(|keys| format!("{keys:?}"))
}

fn refusal(text: &str) -> KeyError {
    own(text).map(|_| ()).expect_err("a refusal")
}

fn bare(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(bare(pem)).unwrap()
}

/// A name for messages, and what happens to the text.
type Mangling = (&'static str, fn(&str) -> String);

/// What editors, shells, YAML, JSON and compose files do to a PEM.
const MANGLINGS: [Mangling; 22] = [
    ("untouched", |pem| pem.to_owned()),
    ("no last line break", |pem| pem.trim().to_owned()),
    ("CRLF", |pem| pem.replace('\n', "\r\n")),
    ("CR alone", |pem| pem.replace('\n', "\r")),
    (r"literal \n", |pem| pem.replace('\n', r"\n")),
    (r"literal \r\n", |pem| pem.replace('\n', r"\r\n")),
    (r"literal \\n", |pem| pem.replace('\n', r"\\n")),
    ("literal and real line breaks", |pem| pem.replace('\n', "\\n\n")),
    ("backslash before the line break", |pem| pem.replace('\n', "\\\n")),
    ("spaces", |pem| pem.replace('\n', " ")),
    ("one line", |pem| pem.replace('\n', "")),
    ("one word", |pem| pem.replace(['\n', ' '], "")),
    ("indented", |pem| pem.replace('\n', "\n    ")),
    ("blank lines", |pem| pem.replace('\n', "\n\n")),
    ("tabs", |pem| pem.replace('\n', "\t")),
    ("double quotes", |pem| format!("\"{pem}\"")),
    ("single quotes", |pem| format!("'{pem}'")),
    (r#"quotes and literal \n"#, |pem| format!("\"{}\"", pem.replace('\n', r"\n"))),
    ("escaped quotes in quotes", |pem| format!(r#"'\"{pem}\"'"#)),
    ("half a pair of quotes", |pem| format!("\"{pem}")),
    ("byte order mark", |pem| format!("\u{feff}{pem}")),
    ("no padding", |pem| pem.replace('=', "")),
];

#[test]
fn a_pem_survives_every_mangling() {
    for pem in PEMS {
        let expected = shown(pem).unwrap();
        for (name, mangle) in MANGLINGS {
            assert_eq!(shown(&mangle(pem)).as_deref(), Ok(&*expected), "{name}");
        }
    }
}

#[test]
fn several_keys_survive_every_mangling() {
    let all = PEMS.concat();
    let expected = shown(&all).unwrap();
    assert_eq!(own(&all).unwrap().iter().count(), 3);
    for (name, mangle) in MANGLINGS {
        assert_eq!(shown(&mangle(&all)).as_deref(), Ok(&*expected), "{name}");
        let each = PEMS.map(mangle).join(", ");
        assert_eq!(shown(&each).as_deref(), Ok(&*expected), "{name}, each");
    }
}

#[test]
fn bare_base64_is_read_alone_in_lists_wrapped_and_beside_pem() {
    let expected = shown(&PEMS.concat()).unwrap();
    let bares = PEMS.map(bare);
    let wrapped = PEMS.map(|pem| pem.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n"));
    for list in [
        bares.join(","),
        bares.join(", "),
        bares.join(" "),
        bares.join("\n"),
        bares.join(r"\n"),
        format!("'{}'", bares.join("','")),
        wrapped.join("\n"),
        wrapped.join(","),
        format!("{}{}{}", bares[0], RSA_PEM, bares[2]),
    ] {
        assert_eq!(shown(&list).as_deref(), Ok(&*expected), "{list}");
    }
}

#[test]
fn the_key_decides_the_scheme_and_the_scheme_the_header() {
    let schemes: Vec<_> = own(&PEMS.concat()).unwrap().iter().map(PublicKey::scheme).collect();
    assert_eq!(schemes, Scheme::ALL);
    let headers = Scheme::ALL.map(|scheme| scheme.header());
    assert_eq!(headers, ["x-ghl-signature", "x-wh-signature", "x-wh-signature"]);
}

#[test]
fn own_keys_come_beside_the_published_ones_or_alone() {
    let count = |own, trust| VerifyKeys::new(own, trust).map(|keys| keys.iter().count());
    assert_eq!(count(None, PublishedKeys::Trust), Ok(2));
    assert_eq!(count(Some(" \n"), PublishedKeys::Trust), Ok(2));
    assert_eq!(count(Some(P256_PEM), PublishedKeys::Trust), Ok(3));
    assert_eq!(count(Some(P256_PEM), PublishedKeys::Distrust), Ok(1));
}

#[test]
fn nothing_to_verify_with_is_an_error() {
    for own in [None, Some(""), Some(" \n")] {
        let refused = VerifyKeys::new(own, PublishedKeys::Distrust).map(|_| ());
        assert_eq!(refused, Err(KeyError::NoKey), "{own:?}");
    }
    let refused = VerifyKeys::new(Some("''"), PublishedKeys::Trust).map(|_| ());
    assert_eq!(refused, Err(KeyError::NotAKey));
}

#[test]
fn a_key_given_twice_counts_once_however_it_is_written() {
    let twice = format!("{P256_PEM}{},{}", data!("p256/compressed.pem"), bare(P256_PEM));
    assert_eq!(own(&twice).unwrap().iter().count(), 1);
    let published = VerifyKeys::new(Some(PUBLISHED_ED25519_KEY), PublishedKeys::Trust).unwrap();
    assert_eq!(published.iter().count(), 2);
}

#[test]
fn a_key_of_the_wrong_kind_is_refused_with_what_would_be_right() {
    for (text, expected, advice) in [
        (data!("refused/rsa-1024.pem"), KeyError::RsaSize { bits: 1024 }, "2048 to 8192"),
        (data!("refused/rsa-2047.pem"), KeyError::RsaSize { bits: 2047 }, "2048 to 8192"),
        (data!("refused/rsa-pss.pem"), KeyError::Algorithm, "rsaEncryption"),
        (data!("refused/ed448.pem"), KeyError::Algorithm, "Ed25519"),
        (data!("refused/x25519.pem"), KeyError::Algorithm, "Ed25519"),
        (data!("refused/p384.pem"), KeyError::Curve, "P-256"),
        (data!("refused/secp256k1.pem"), KeyError::Curve, "prime256v1"),
        (data!("refused/p256-explicit.pem"), KeyError::Curve, "by name"),
        (data!("refused/rsa-pkcs1.pem"), KeyError::OtherPem, "-RSAPublicKey_in"),
        (data!("refused/certificate.pem"), KeyError::Certificate, "-pubkey"),
        (data!("refused/encrypted-private.pem"), KeyError::PrivateKey, "-pubout"),
        (data!("refused/rsa-pkcs1-private.pem"), KeyError::PrivateKey, "-pubout"),
        (data!("ed25519/private.pem"), KeyError::PrivateKey, "-pubout"),
        (data!("rsa/private.pem"), KeyError::PrivateKey, "-pubout"),
        (data!("p256/private.pem"), KeyError::PrivateKey, "-pubout"),
        (data!("p256/sec1.pem"), KeyError::PrivateKey, "-pubout"),
        ("not a key", KeyError::NotAKey, "BEGIN PUBLIC KEY"),
    ] {
        let refused = refusal(text);
        assert_eq!(refused, expected);
        assert!(refused.to_string().contains(advice), "{refused}");
    }
}

#[test]
fn a_private_key_is_recognised_without_its_label() {
    for private in [data!("p256/private.pem"), data!("p256/sec1.pem"), data!("rsa/private.pem")] {
        assert_eq!(refusal(&bare(private)), KeyError::PrivateKey);
        let disguised = format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", bare(private));
        assert_eq!(refusal(&disguised), KeyError::PrivateKey);
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let mut off = der(P256_PEM);
    *off.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&STANDARD.encode(off)), KeyError::Invalid);
}

#[test]
fn a_cut_or_lengthened_key_is_refused() {
    for pem in PEMS {
        let whole = der(pem);
        let cut = &whole[..whole.len() - 1];
        let longer = [whole.as_slice(), &[0]].concat();
        for bytes in [cut, &longer] {
            let text = format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", STANDARD.encode(bytes));
            assert_eq!(refusal(&text), KeyError::NotAKey);
            assert_eq!(refusal(&STANDARD.encode(bytes)), KeyError::NotAKey);
        }
    }
}

#[test]
fn rubbish_beside_a_good_key_is_an_error_and_never_skipped() {
    for text in [
        format!("# our key\n{P256_PEM}"),
        format!("{P256_PEM} end"),
        format!("{P256_PEM};{RSA_PEM}"),
        format!("GHL_WEBHOOK_PUBLIC_KEY={P256_PEM}"),
        format!("{P256_PEM}-----BEGIN PUBLIC KEY-----"),
        format!("{}, x", bare(P256_PEM)),
        P256_PEM.replace("MF", "M*F"),
        P256_PEM.replacen("-----", "----", 1),
    ] {
        assert_eq!(refusal(&text), KeyError::NotAKey, "{text}");
    }
}

#[test]
fn of_several_keys_the_refused_one_is_named_by_position() {
    let refused = refusal(&format!("{P256_PEM}{}", data!("refused/p384.pem")));
    assert!(refused.to_string().starts_with("key 2 of 2: this EC key"), "{refused}");
}

#[test]
fn debug_shows_the_fingerprint_openssl_prints_and_nothing_of_the_key() {
    // openssl pkey -pubin -outform DER | openssl sha256
    let keys = VerifyKeys::new(None, PublishedKeys::Trust).unwrap();
    assert_eq!(format!("{keys:?}"), "[ed25519 5a2c1b2749d3, rsa-pkcs1-sha256 2f62045d413b]");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in r#"(-----(BEGIN|END) (PUBLIC KEY)?|-----|MFkw|MAA=|[ -~]|\\n|\s){0,40}"#) {
        let _ = own(&text);
    }

    #[test]
    fn line_breaks_anywhere_in_a_pem_change_nothing(
        which in 0..PEMS.len(),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!["\n", "\r\n", r"\n", " ", "\t"])), 0..20),
    ) {
        let pem = PEMS[which].replace('\n', "");
        let mut mangled = pem.clone();
        for (at, inserted) in breaks {
            let at = at.index(mangled.len());
            // Dashes hold together, and so does an escape already put in.
            if !mangled[..at].ends_with(['-', '\\']) {
                mangled.insert_str(at, inserted);
            }
        }
        prop_assert_eq!(shown(&mangled), shown(&pem));
    }

    #[test]
    fn no_refusal_repeats_what_it_was_given(secret in "[a-zA-Z0-9+/]{24,80}") {
        for text in [secret.clone(), format!("-----BEGIN {secret}-----{secret}-----END {secret}-----")] {
            if let Err(refused) = own(&text) {
                let shown = format!("{refused} {refused:?}");
                prop_assert!(!shown.contains(&secret));
            }
        }
    }
}
