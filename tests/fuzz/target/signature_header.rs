//! Signature headers over a body: yes only for what a trusted key signed, said by string comparison instead of cryptography.
//!
//! An input is lines `g VALUE` (`x-ghl-signature`) and `w VALUE` (`x-wh-signature`), an empty line, and the body. The keys are
//! the vectors of tests/data/signature: openssl signed one body with each, so a yes to any other body or signature is forged.

use cast_ghl_provider::signature::{PublishedKeys, Scheme, SignatureError, SignatureHeaders, SigningKey, VerifyKeys};

use crate::mutation::Grammar;
use crate::runner::{Outcome, Target, Try};
use crate::target::LARGEST;

macro_rules! vector {
    ($file:literal) => {
        include_str!(concat!("../../data/signature/", $file))
    };
}

const BODY: &str = vector!("body.json");
const ED25519: &str = vector!("ed25519/signature.b64");
const RSA: &str = vector!("rsa/signature.b64");
/// Of an ECDSA signature both s and n − s are good; openssl's own is one of the two.
const P256: [&str; 3] = [vector!("p256/signature.b64"), vector!("p256/low-s.b64"), vector!("p256/high-s.b64")];

pub fn target() -> Target {
    Target {
        name: "signature_header",
        grammar: Grammar::Bytes,
        dictionary: &[
            "g ", "w ", "g N/A", "w n/a", ",", ", ", "=", "==", "\n\n", BODY, ED25519, RSA, P256[1], P256[2], "MEUCIQ",
        ],
        largest: LARGEST,
        cases: 4_000,
        reaches: &["missing", "no match", "ed25519", "rsa-pkcs1-sha256", "ecdsa-p256-sha256"],
        start,
    }
}

fn start() -> Try {
    let trusted = [vector!("ed25519/public.pem"), vector!("rsa/public.pem"), vector!("p256/public.pem")].concat();
    let keys = VerifyKeys::new(Some(&trusted), PublishedKeys::Trust).unwrap();
    let own: Vec<(SigningKey, VerifyKeys)> = Scheme::ALL
        .map(|scheme| {
            let key = SigningKey::generate(scheme).unwrap();
            let public = VerifyKeys::new(Some(key.public_pem()), PublishedKeys::Distrust).unwrap();
            (key, public)
        })
        .into();
    Box::new(move |input| {
        let (headers, body) = request(input);
        signed_and_then_changed(&own, body);
        let verdict = keys.verify(&headers, body);
        assert_eq!(verdict, expected(&headers, body));
        let name = match verdict {
            Err(SignatureError::Missing) => "missing",
            Err(SignatureError::NoMatch) => "no match",
            Ok(Scheme::Ed25519) => "ed25519",
            Ok(Scheme::RsaPkcs1Sha256) => "rsa-pkcs1-sha256",
            Ok(Scheme::EcdsaP256Sha256) => "ecdsa-p256-sha256",
        };
        Outcome { name, detail: headers.ghl.len().min(6) * 8 + headers.wh.len().min(6) }
    })
}

fn request(input: &[u8]) -> (SignatureHeaders<'_>, &[u8]) {
    let mut headers = SignatureHeaders::default();
    let mut rest = input;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        match line {
            [b'g', b' ', value @ ..] => headers.ghl.push(value),
            [b'w', b' ', value @ ..] => headers.wh.push(value),
            [] => break,
            _ => {}
        }
    }
    (headers, rest)
}

/// The documented rule, with a list of the only good signatures there are in place of the cryptography.
fn expected(headers: &SignatureHeaders<'_>, body: &[u8]) -> Result<Scheme, SignatureError> {
    let presented = |values: &[&[u8]]| -> Vec<String> {
        let text = values.iter().map(|v| v.iter().map(|b| char::from(*b)).collect::<String>()).collect::<Vec<_>>();
        let listed = text.join(",");
        let each = listed.split(',').map(|value| value.trim_matches([' ', '\t', '\r', '\u{c}']).to_owned());
        each.filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("N/A")).take(4).collect()
    };
    let (ghl, wh) = (presented(&headers.ghl), presented(&headers.wh));
    if ghl.is_empty() && wh.is_empty() {
        return Err(SignatureError::Missing);
    }
    let good = |given: &[String], known: &[&str]| {
        body == BODY.as_bytes() && given.iter().any(|value| known.iter().any(|known| known.trim() == value))
    };
    if good(&ghl, &[ED25519]) {
        Ok(Scheme::Ed25519)
    } else if good(&wh, &[RSA]) {
        Ok(Scheme::RsaPkcs1Sha256)
    } else if good(&wh, &P256) {
        Ok(Scheme::EcdsaP256Sha256)
    } else {
        Err(SignatureError::NoMatch)
    }
}

/// What a key signs it verifies, and after one bit of body or signature has changed it does not. Each case pays for one
/// scheme, today's most often: signing with the others costs a hundred times as much.
fn signed_and_then_changed(own: &[(SigningKey, VerifyKeys)], body: &[u8]) {
    let (key, public) = &own[if body.len() % 16 == 7 { 1 + body.len() / 16 % 2 } else { 0 }];
    let signature = key.sign(body);
    let verify = |signature: &str, body: &[u8]| {
        let value = vec![signature.as_bytes()];
        let headers = match key.scheme() {
            Scheme::Ed25519 => SignatureHeaders { ghl: value, wh: Vec::new() },
            Scheme::RsaPkcs1Sha256 | Scheme::EcdsaP256Sha256 => SignatureHeaders { ghl: Vec::new(), wh: value },
        };
        public.verify(&headers, body)
    };
    assert_eq!(verify(&signature, body), Ok(key.scheme()));
    let mut changed = body.to_vec();
    match changed.len() {
        0 => changed.push(0),
        length => changed[length / 2] ^= 1 << (length % 8),
    }
    assert_eq!(verify(&signature, &changed), Err(SignatureError::NoMatch), "another body");
    let mut forged = signature.into_bytes();
    let at = body.len() % forged.len();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(verify(&forged, body), Err(SignatureError::NoMatch), "another signature");
}
