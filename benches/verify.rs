//! What it costs to verify a webhook: each scheme as the bridge does it, and P-256 by the `p256` crate beside it.
//!
//! A plain program, since a table of medians is all that is asked for. Every figure is the time of one verification on one
//! core, headers and base64 included, of a body as long as GHL's usually are.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cast_ghl_provider::signature::sign::SigningKey;
use cast_ghl_provider::signature::{PublishedKeys, Scheme, SignatureHeaders, VerifyKeys};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;

/// Bytes of a webhook of a short message with the members that live payloads carry.
const BODY: usize = 600;
/// For each row.
const TIME: Duration = Duration::from_millis(1500);
/// Verifications timed at once: the clock's own cost disappears, and a median stays possible.
const BATCH: u32 = 8;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let body: Vec<u8> = br#"{"type":"SMS","locationId":"LOC"}"#.iter().copied().cycle().take(BODY).collect();
    println!("Verifying a webhook of {BODY} bytes, one core\n");
    println!("{:<38} {:>9} {:>9} {:>11}", "", "p50", "p99", "a second");
    let keys = [
        ("Ed25519", SigningKey::generate(Scheme::Ed25519)?),
        ("RSA-2048", rsa(KeySize::Rsa2048)?),
        ("RSA-4096, as GHL's published key", rsa(KeySize::Rsa4096)?),
        ("P-256", SigningKey::generate(Scheme::EcdsaP256Sha256)?),
    ];
    let mut p256_here = 0.0;
    for (name, key) in &keys {
        let signature = key.sign(&body);
        let trusted = VerifyKeys::new(Some(key.public_pem()), PublishedKeys::Distrust)?;
        let headers = headers(key.scheme(), &signature);
        let verified = || trusted.verify(&headers, &body).is_ok();
        p256_here = row(name, true, verified);
    }
    let (_, key) = &keys[3];
    let p256_crate = row("P-256 by the p256 crate", true, by_p256(key, &body)?);

    // A stranger's worst case: well-formed signatures of every scheme, none by a trusted key, so that every key tries.
    let trusted = VerifyKeys::new(Some(key.public_pem()), PublishedKeys::Trust)?;
    let [ed25519, _, rsa, _] = keys.each_ref().map(|(_, key)| key.sign(&body));
    let p256 = SigningKey::generate(Scheme::EcdsaP256Sha256)?.sign(&body);
    let forgery = SignatureHeaders { ghl: vec![ed25519.as_bytes()], wh: vec![rsa.as_bytes(), p256.as_bytes()] };
    row("a forgery against all three keys", false, || trusted.verify(&forgery, &body).is_ok());
    println!("\nP-256 by the p256 crate takes {:.1} times as long as ours.", p256_crate / p256_here);
    Ok(())
}

fn headers(scheme: Scheme, signature: &str) -> SignatureHeaders<'_> {
    let signature = vec![signature.as_bytes()];
    match scheme {
        Scheme::Ed25519 => SignatureHeaders { ghl: signature, wh: Vec::new() },
        Scheme::RsaPkcs1Sha256 | Scheme::EcdsaP256Sha256 => SignatureHeaders { ghl: Vec::new(), wh: signature },
    }
}

/// `SigningKey::generate` makes RSA keys of 2048 bits alone, so that a sandbox starts at once.
fn rsa(size: KeySize) -> Outcome<SigningKey> {
    let pair = KeyPair::generate(size)?;
    let der: Pkcs8V1Der<'_> = pair.as_der()?;
    let base64 = STANDARD.encode(der.as_ref());
    Ok(SigningKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"))?)
}

/// The same work, signature decoded from its header's base64, by the crate that owns our P-256 keys.
fn by_p256(key: &SigningKey, body: &[u8]) -> Outcome<impl Fn() -> bool> {
    let public = p256::ecdsa::VerifyingKey::from_public_key_pem(key.public_pem())?;
    let signature = key.sign(body);
    let body = body.to_vec();
    Ok(move || {
        let der = STANDARD.decode(&signature).ok();
        let signature = der.and_then(|der| p256::ecdsa::DerSignature::try_from(der.as_slice()).ok());
        signature.is_some_and(|signature| public.verify(&body, &signature).is_ok())
    })
}

/// Measures and prints; the median in microseconds.
fn row(name: &str, expected: bool, verify: impl Fn() -> bool) -> f64 {
    assert_eq!(verify(), expected, "{name}");
    let mut measured = Vec::new();
    let began = now();
    while began.elapsed() < TIME {
        let batch = now();
        for _ in 0..BATCH {
            black_box(verify());
        }
        measured.push(batch.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    measured.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|percent| measured[(measured.len() * percent).div_ceil(100) - 1]);
    println!("{name:<38} {p50:>6.1} µs {p99:>6.1} µs {:>11.0}", 1e6 / p50);
    p50
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine, which an injected clock does not")]
fn now() -> Instant {
    Instant::now()
}
