//! The verdict against signatures that openssl made (`tests/data/signature/make.sh`), and against every bit flipped.
//!
//! Owns the proof that the schemes mean what other software means by them. Tests alone; imports the module's public face.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{PublishedKeys, Scheme, SignError, SignatureError, SignatureHeaders, SigningKey, VerifyKeys};

macro_rules! data {
    ($path:expr) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signature/", $path))
    };
}

/// What openssl made for one scheme.
struct Vector {
    scheme: Scheme,
    private: &'static [u8],
    public: &'static [u8],
    other: &'static [u8],
    signature: &'static [u8],
    cut: &'static [u8],
    url: &'static [u8],
    hex: &'static [u8],
}

macro_rules! vector {
    ($scheme:expr, $dir:literal) => {
        Vector {
            scheme: $scheme,
            private: data!(concat!($dir, "/private.pem")),
            public: data!(concat!($dir, "/public.pem")),
            other: data!(concat!($dir, "/other.pem")),
            signature: data!(concat!($dir, "/signature.b64")),
            cut: data!(concat!($dir, "/signature.cut.b64")),
            url: data!(concat!($dir, "/signature.url.b64")),
            hex: data!(concat!($dir, "/signature.hex")),
        }
    };
}

static VECTORS: [Vector; 3] = [
    vector!(Scheme::Ed25519, "ed25519"),
    vector!(Scheme::RsaPkcs1Sha256, "rsa"),
    vector!(Scheme::EcdsaP256Sha256, "p256"),
];

static BODY: &[u8] = data!("body.json");
static TAMPERED: &[u8] = data!("tampered.json");
static HIGH_S: &[u8] = data!("p256/high-s.b64");
static LOW_S: &[u8] = data!("p256/low-s.b64");
static RAW: &[u8] = data!("p256/raw.b64");
static SEC1: &[u8] = data!("p256/sec1.pem");

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("vectors are ASCII")
}

fn keys(pem: &[u8]) -> VerifyKeys {
    VerifyKeys::new(Some(text(pem)), PublishedKeys::Distrust).expect("a good key")
}

/// The values, in the header of the scheme.
fn sent<'a>(scheme: Scheme, values: &[&'a [u8]]) -> SignatureHeaders<'a> {
    match scheme.header() {
        "x-ghl-signature" => SignatureHeaders { ghl: values.to_vec(), wh: vec![] },
        _ => SignatureHeaders { ghl: vec![], wh: values.to_vec() },
    }
}

impl Vector {
    fn verify(&self, values: &[&[u8]]) -> Result<Scheme, SignatureError> {
        keys(self.public).verify(&sent(self.scheme, values), BODY)
    }
}

#[test]
fn what_openssl_signed_verifies() {
    for v in &VECTORS {
        assert_eq!(v.verify(&[v.signature]), Ok(v.scheme));
    }
}

#[test]
fn a_tampered_body_never_verifies() {
    for v in &VECTORS {
        let headers = sent(v.scheme, &[v.signature]);
        assert_eq!(keys(v.public).verify(&headers, TAMPERED), Err(SignatureError::NoMatch));
        assert_eq!(keys(v.public).verify(&headers, b""), Err(SignatureError::NoMatch));
        let with_line_break = [BODY, b"\n"].concat();
        assert_eq!(keys(v.public).verify(&headers, &with_line_break), Err(SignatureError::NoMatch));
    }
}

#[test]
fn another_key_never_verifies() {
    for v in &VECTORS {
        let headers = sent(v.scheme, &[v.signature]);
        assert_eq!(keys(v.other).verify(&headers, BODY), Err(SignatureError::NoMatch));
        let published = VerifyKeys::new(None, PublishedKeys::Trust).unwrap();
        assert_eq!(published.verify(&headers, BODY), Err(SignatureError::NoMatch));
    }
}

#[test]
fn a_truncated_signature_or_one_in_another_encoding_never_verifies() {
    for v in &VECTORS {
        let half_text = &v.signature[..v.signature.len() - 1];
        let unpadded = v.signature.trim_ascii_end().strip_suffix(b"=").unwrap_or(half_text);
        for bad in [v.cut, v.url, v.hex, half_text, unpadded, b"\xff\xfe", b"!", &v.signature.repeat(20)] {
            assert_eq!(v.verify(&[bad]), Err(SignatureError::NoMatch), "{}", v.scheme);
        }
    }
}

#[test]
fn ecdsa_is_der_alone_with_high_s_or_low() {
    let v = &VECTORS[2];
    assert_eq!(v.verify(&[HIGH_S]), Ok(v.scheme));
    assert_eq!(v.verify(&[LOW_S]), Ok(v.scheme));
    assert_eq!(v.verify(&[RAW]), Err(SignatureError::NoMatch));
}

#[test]
fn no_signature_at_all_is_missing() {
    for v in &VECTORS {
        let absent: [&[&[u8]]; 8] =
            [&[], &[b""], &[b"  \t"], &[b"N/A"], &[b"n/a"], &[b" N/a "], &[b"", b"N/A"], &[b"N/A, ,"]];
        for values in absent {
            assert_eq!(v.verify(values), Err(SignatureError::Missing), "{values:?}");
        }
    }
}

#[test]
fn one_good_signature_among_bad_ones_is_enough() {
    for v in &VECTORS {
        let orders: [&[&[u8]]; 4] = [
            &[v.cut, v.signature],
            &[v.signature, v.hex],
            &[b"N/A", v.signature],
            &[b"", b"", b"", b"", b"", v.signature],
        ];
        for values in orders {
            assert_eq!(v.verify(values), Ok(v.scheme));
        }
        assert_eq!(v.verify(&[v.cut, v.hex]), Err(SignatureError::NoMatch));
    }
}

#[test]
fn white_space_around_a_signature_and_folded_headers_are_understood() {
    for v in &VECTORS {
        let spaced = [b" ", v.signature, b"\t"].concat();
        let folded = [b"N/A, ", v.cut, b" ,", v.signature].concat();
        assert_eq!(v.verify(&[&spaced]), Ok(v.scheme));
        assert_eq!(v.verify(&[&folded]), Ok(v.scheme));
    }
}

#[test]
fn of_each_header_four_signatures_are_tried() {
    for v in &VECTORS {
        assert_eq!(v.verify(&[v.cut, v.cut, v.cut, v.signature]), Ok(v.scheme));
        let fifth = [v.cut, v.cut, v.cut, v.cut, v.signature];
        assert_eq!(v.verify(&fifth), Err(SignatureError::NoMatch));
    }
}

#[test]
fn either_header_may_be_the_good_one() {
    let [ed25519, rsa, p256] = &VECTORS;
    let all = [ed25519.public, rsa.public, p256.public].concat();
    let verify = |ghl: &[u8], wh: &[u8]| {
        let headers = SignatureHeaders { ghl: vec![ghl], wh: vec![wh] };
        keys(&all).verify(&headers, BODY)
    };
    assert_eq!(verify(ed25519.signature, b"N/A"), Ok(Scheme::Ed25519));
    assert_eq!(verify(ed25519.signature, rsa.cut), Ok(Scheme::Ed25519));
    assert_eq!(verify(ed25519.cut, rsa.signature), Ok(Scheme::RsaPkcs1Sha256));
    assert_eq!(verify(b"", p256.signature), Ok(Scheme::EcdsaP256Sha256));
    assert_eq!(verify(ed25519.cut, p256.cut), Err(SignatureError::NoMatch));
    assert_eq!(verify(b"N/A", b""), Err(SignatureError::Missing));
}

#[test]
fn a_good_signature_in_the_wrong_header_never_verifies() {
    for v in &VECTORS {
        let mut headers = sent(v.scheme, &[v.signature]);
        std::mem::swap(&mut headers.ghl, &mut headers.wh);
        assert_eq!(keys(v.public).verify(&headers, BODY), Err(SignatureError::NoMatch));
    }
}

#[test]
fn during_a_rotation_the_old_key_and_the_new_both_verify() {
    for v in &VECTORS {
        let headers = sent(v.scheme, &[v.signature]);
        for both in [[v.public, v.other].concat(), [v.other, v.public].concat()] {
            assert_eq!(keys(&both).verify(&headers, BODY), Ok(v.scheme));
        }
    }
}

#[test]
fn a_key_that_openssl_made_signs_and_keeps_its_public_half() {
    for v in &VECTORS {
        let key = SigningKey::from_pem(text(v.private)).unwrap();
        assert_eq!(key.scheme(), v.scheme);
        assert_eq!(key.public_pem(), text(v.public));
        assert_eq!(v.verify(&[key.sign(BODY).as_bytes()]), Ok(v.scheme));
        if v.scheme != Scheme::EcdsaP256Sha256 {
            assert_eq!(key.sign(BODY).as_bytes(), v.signature, "the scheme has one signature of a body");
        }
    }
}

#[test]
fn a_signing_key_is_read_in_the_older_formats_and_mangled() {
    let p256 = VECTORS[2].public;
    let sec1 = text(SEC1);
    let curve_named_first =
        format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{sec1}");
    let one_line = format!("\"{}\"", sec1.replace('\n', r"\n"));
    for pem in [sec1, &curve_named_first, &one_line] {
        assert_eq!(SigningKey::from_pem(pem).unwrap().public_pem(), text(p256));
    }
    let pkcs1 = SigningKey::from_pem(text(data!("refused/rsa-pkcs1-private.pem"))).unwrap();
    assert_eq!(pkcs1.public_pem(), text(VECTORS[1].public));
}

#[test]
fn what_is_not_one_signing_key_is_refused() {
    let [ed25519, rsa, _] = &VECTORS;
    let two = [ed25519.private, rsa.private].concat();
    let old_encryption = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----";
    for (pem, expected) in [
        ("", SignError::NotAKey),
        ("MAA=", SignError::NotAKey),
        ("-----BEGIN PRIVATE KEY-----MAA=-----END PRIVATE KEY-----", SignError::NotAKey),
        ("-----BEGIN EC PRIVATE KEY-----MAA=-----END EC PRIVATE KEY-----", SignError::Refused),
        (text(&two), SignError::NotAKey),
        (text(data!("refused/certificate.pem")), SignError::NotAKey),
        (text(ed25519.public), SignError::PublicKey),
        (text(data!("refused/rsa-pkcs1.pem")), SignError::PublicKey),
        (text(data!("refused/encrypted-private.pem")), SignError::Encrypted),
        (old_encryption, SignError::Encrypted),
    ] {
        assert_eq!(SigningKey::from_pem(pem).map(|_| ()), Err(expected), "{pem}");
    }
}

#[test]
fn a_made_key_survives_its_own_pem_and_shows_no_secret() {
    for scheme in Scheme::ALL {
        let made = SigningKey::generate(scheme).unwrap();
        let read = SigningKey::from_pem(made.private_pem()).unwrap();
        assert_eq!((read.scheme(), read.public_pem()), (scheme, made.public_pem()));
        let shown = format!("{made:?}");
        assert!(shown.len() < 60 && shown.starts_with(&format!("SigningKey({scheme} ")), "{shown}");
        let signature = made.sign(b"");
        let headers = sent(scheme, &[signature.as_bytes()]);
        assert_eq!(keys(made.public_pem().as_bytes()).verify(&headers, b""), Ok(scheme));
    }
}

fn flipped(bytes: &[u8], at: prop::sample::Index) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = at.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #[test]
    fn one_flipped_bit_in_body_or_signature_never_verifies(at: prop::sample::Index) {
        for v in &VECTORS {
            let keys = keys(v.public);
            let body = flipped(BODY, at);
            prop_assert_eq!(keys.verify(&sent(v.scheme, &[v.signature]), &body), Err(SignatureError::NoMatch));

            let bytes = STANDARD.encode(flipped(&STANDARD.decode(v.signature).unwrap(), at));
            prop_assert_eq!(keys.verify(&sent(v.scheme, &[bytes.as_bytes()]), BODY), Err(SignatureError::NoMatch));

            let spelling = flipped(v.signature, at);
            prop_assert_eq!(keys.verify(&sent(v.scheme, &[&spelling]), BODY), Err(SignatureError::NoMatch));
        }
    }

    #[test]
    fn any_body_signed_here_verifies_and_no_longer_or_shorter_one(body: Vec<u8>, more: u8) {
        for v in &VECTORS {
            let keys = keys(v.public);
            let signature = SigningKey::from_pem(text(v.private)).unwrap().sign(&body);
            let headers = sent(v.scheme, &[signature.as_bytes()]);
            prop_assert_eq!(keys.verify(&headers, &body), Ok(v.scheme));
            let longer = [body.as_slice(), &[more]].concat();
            prop_assert_eq!(keys.verify(&headers, &longer), Err(SignatureError::NoMatch));
            if let Some((_, shorter)) = body.split_last() {
                prop_assert_eq!(keys.verify(&headers, shorter), Err(SignatureError::NoMatch));
            }
        }
    }

    #[test]
    fn no_junk_verifies_or_panics(values: Vec<Vec<u8>>, body: Vec<u8>) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        for v in &VECTORS {
            prop_assert!(keys(v.public).verify(&sent(v.scheme, &values), &body).is_err());
        }
    }
}
