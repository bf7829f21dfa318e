//! The keys whose signatures count: GHL's published ones, built in, and the operator's own.
//!
//! Owns reading them and saying what is wrong with one. Its invariant: a `VerifyKeys` holds at least one key, every one
//! valid, of an accepted type and size, and parsed once. An error never repeats what it was given: operators paste private
//! keys by mistake. Must not know headers, bodies or environment variables.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use p256::ecdsa::VerifyingKey;
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfoRef, SubjectPublicKeyInfoRef};

use super::Scheme;
use super::pem::{self, Block};

/// The Ed25519 key GHL signs with today, from its
/// [webhook guide](https://marketplace.gohighlevel.com/docs/webhook/WebhookIntegrationGuide).
pub const PUBLISHED_ED25519_KEY: &str = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";

/// The RSA-4096 key GHL signed with before, from the same guide; retired in September 2026.
pub const PUBLISHED_RSA_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSC
Frm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6
dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfB
csedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv
uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF
3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU
J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXp
IocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN
h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhC
HULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ
PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAyk
T1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ==
-----END PUBLIC KEY-----
";

/// Algorithm of an Ed25519 key, public or private (RFC 8410).
pub(super) const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// `rsaEncryption` (RFC 8017); keys bound to PSS have another one.
pub(super) const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480); the curve is its parameter.
pub(super) const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1`, also called P-256 and prime256v1 (RFC 5480).
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Bits of an accepted RSA modulus: NIST SP 800-131A's minimum, and the most that aws-lc-rs verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why keys were refused, each with what would be right. Holds nothing of the text that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing could verify anything.
    #[error("no key to verify webhooks with: give a public key, or trust the keys that GHL publishes")]
    NoKey,
    /// Neither PEM nor base64 of a public key, or something stands beside the keys.
    #[error(
        "not a public key: expected PEM (-----BEGIN PUBLIC KEY-----) or its base64 alone, several one after the other, \
         and nothing else"
    )]
    NotAKey,
    /// The secret half.
    #[error("this is a private key: expected the public one (openssl pkey -in KEY -pubout)")]
    PrivateKey,
    /// The key inside would do.
    #[error("this is a certificate: expected the public key inside it (openssl x509 -in CERT -noout -pubkey)")]
    Certificate,
    /// PEM of something else, often `RSA PUBLIC KEY`.
    #[error(
        "this PEM is of another kind: expected -----BEGIN PUBLIC KEY----- \
         (from BEGIN RSA PUBLIC KEY: openssl rsa -RSAPublicKey_in -in KEY -pubout)"
    )]
    OtherPem,
    /// A public key of a type that no scheme uses.
    #[error("this type of key signs no webhooks: expected Ed25519, RSA (rsaEncryption) or EC on the curve P-256")]
    Algorithm,
    /// An EC key, but not on P-256 by name.
    #[error("this EC key is on another curve: expected P-256 (also called prime256v1 or secp256r1), given by name")]
    Curve,
    /// Breakable, or too slow to verify.
    #[error("this RSA key has {bits} bits: expected 2048 to 8192")]
    RsaSize {
        /// Length of the modulus.
        bits: usize,
    },
    /// Right type, wrong numbers: a point off the curve, a cut modulus.
    #[error("this public key is damaged: expected a valid one; copy it again from its source")]
    Invalid,
    /// One of several keys.
    #[error("key {position} of {count}: {problem}")]
    OneOf {
        /// Which, counted from 1.
        position: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        problem: Box<KeyError>,
    },
}

/// Whether the keys GHL publishes count beside the operator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedKeys {
    /// They count.
    Trust,
    /// Only the operator's own count.
    Distrust,
}

/// The keys whose signatures count; never empty. `Debug` shows each key's scheme and fingerprint: the first 12 hex digits
/// of the SHA-256 of its `SubjectPublicKeyInfo`, as `openssl pkey -pubin -outform DER | openssl sha256` prints it.
pub struct VerifyKeys {
    keys: Vec<PublicKey>,
}

impl VerifyKeys {
    /// Reads the operator's own keys and adds GHL's where those are trusted.
    ///
    /// `own` holds one or more PEM blocks or bare base64 `SubjectPublicKeyInfo`s; each key's algorithm decides its scheme.
    /// Mangling by environment editors is undone: `\n` and `\r\n` spelt out, wrapping quotes, lost or blank line breaks,
    /// lost padding. Blank text is no key; a key given twice counts once.
    ///
    /// # Errors
    ///
    /// The first key that is not acceptable, or [`KeyError::NoKey`].
    pub fn new(own: Option<&str>, trust: PublishedKeys) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        if let Some(own) = own.filter(|own| !own.trim().is_empty()) {
            read(own, &mut keys)?;
        }
        if trust == PublishedKeys::Trust {
            read(PUBLISHED_ED25519_KEY, &mut keys)?;
            read(PUBLISHED_RSA_KEY, &mut keys)?;
        }
        if keys.is_empty() {
            return Err(KeyError::NoKey);
        }
        Ok(Self { keys })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }
}

impl fmt::Debug for VerifyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

/// Adds every key of `text`; at least one.
fn read(text: &str, keys: &mut Vec<PublicKey>) -> Result<(), KeyError> {
    let blocks = pem::blocks(text).map_err(|pem::Garbled| KeyError::NotAKey)?;
    if blocks.is_empty() {
        return Err(KeyError::NotAKey);
    }
    for (index, block) in blocks.iter().enumerate() {
        let key = PublicKey::from_block(block).map_err(|problem| match blocks.len() {
            1 => problem,
            count => KeyError::OneOf { position: index + 1, count, problem: Box::new(problem) },
        })?;
        if keys.iter().all(|known| known.parsed.as_ref() != key.parsed.as_ref()) {
            keys.push(key);
        }
    }
    Ok(())
}

/// One key, ready to verify.
pub(super) struct PublicKey {
    scheme: Scheme,
    fingerprint: String,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    fn from_block(block: &Block) -> Result<Self, KeyError> {
        match block.label() {
            None | Some("PUBLICKEY") => {}
            Some(label) if label.contains("PRIVATE") => return Err(KeyError::PrivateKey),
            Some(label) if label.contains("CERTIFICATE") => return Err(KeyError::Certificate),
            Some(_) => return Err(KeyError::OtherPem),
        }
        Self::from_spki(&block.der().ok_or(KeyError::NotAKey)?)
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let Ok(spki) = SubjectPublicKeyInfoRef::try_from(der) else {
            let private = PrivateKeyInfoRef::try_from(der).is_ok() || p256::SecretKey::from_sec1_der(der).is_ok();
            return Err(if private { KeyError::PrivateKey } else { KeyError::NotAKey });
        };
        let (scheme, parsed) = match spki.algorithm.oid {
            ED25519_OID => (Scheme::Ed25519, parse(&ED25519, der)?),
            RSA_OID => (Scheme::RsaPkcs1Sha256, parse_rsa(der)?),
            EC_OID => (Scheme::EcdsaP256Sha256, parse_p256(spki)?),
            _ => return Err(KeyError::Algorithm),
        };
        Ok(Self { scheme, fingerprint: fingerprint(der), parsed })
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether this key made `signature` over exactly `body`.
    pub(super) fn verifies(&self, body: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(body, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scheme, self.fingerprint)
    }
}

fn parse(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    ParsedPublicKey::new(algorithm, key).map_err(|_| KeyError::Invalid)
}

fn parse_rsa(der: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Invalid)?;
    let modulus = key.modulus();
    let modulus = modulus.big_endian_without_leading_zero();
    // Bytes alone would take a 2047-bit modulus for one of 2048.
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    parse(&RSA_PKCS1_2048_8192_SHA256, der)
}

/// Parsed by `p256`, which refuses points off the curve, and handed on as a plain point.
fn parse_p256(spki: SubjectPublicKeyInfoRef<'_>) -> Result<ParsedPublicKey, KeyError> {
    if spki.algorithm.parameters_oid() != Ok(P256_OID) {
        return Err(KeyError::Curve);
    }
    let key = VerifyingKey::try_from(spki).map_err(|_| KeyError::Invalid)?;
    parse(&ECDSA_P256_SHA256_ASN1, key.to_sec1_point(false).as_bytes())
}

/// The first 12 hex digits of the SHA-256: enough to tell configured keys apart.
pub(super) fn fingerprint(spki: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, spki);
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
