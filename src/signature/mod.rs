//! Webhook signatures: is this body from GHL? Three schemes over the raw bytes, and the signer that tests and sandbox use.
//!
//! Owns the trusted keys, how they are read from configuration, and the verdict. Its one invariant: `verify` says yes only
//! when a trusted key signed exactly these bytes, and there is no way to build keys that trust nothing or everything.
//! Rank 1: must not import HTTP, JSON, configuration or any other module of this crate. P-256 keys belong to the `p256`
//! crate (parsing, signing); verifying, the hot path, is aws-lc-rs for all three.

mod key;
mod pem;
pub mod sign;
#[cfg(test)]
mod vectors;
mod verify;

use std::fmt;

pub use key::{KeyError, PUBLISHED_ED25519_KEY, PUBLISHED_RSA_KEY, PublishedKeys, VerifyKeys};
pub use sign::{SignError, SigningKey};
pub use verify::{SignatureError, SignatureHeaders};

/// How a body was signed. A key's own type decides it, never the sender (ghl contract §1, "Signature").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Pure Ed25519 (RFC 8032): what GHL sends to delivery URLs today.
    Ed25519,
    /// RSA, PKCS#1 v1.5, SHA-256: GHL's older scheme, retired in September 2026.
    RsaPkcs1Sha256,
    /// ECDSA on P-256 with SHA-256, the signature in ASN.1 DER.
    EcdsaP256Sha256,
}

impl Scheme {
    /// Every scheme, today's first.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::RsaPkcs1Sha256, Self::EcdsaP256Sha256];

    /// The header that carries this scheme's signatures, in lower case.
    #[must_use]
    pub fn header(&self) -> &'static str {
        match self {
            Self::Ed25519 => "x-ghl-signature",
            Self::RsaPkcs1Sha256 | Self::EcdsaP256Sha256 => "x-wh-signature",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
        })
    }
}
