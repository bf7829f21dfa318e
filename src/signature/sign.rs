//! Signs bodies as GHL would: for the sandbox, the `sign` command and tests.
//!
//! Owns private keys, made here or read from PEM. Its invariant: what `sign` makes, the key of `public_pem` verifies. The
//! private half leaves only through `private_pem`; `Debug` shows scheme and fingerprint. Production paths never sign.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{
    DecodePrivateKey as _, Document, EncodePrivateKey as _, EncodePublicKey as _, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};

use super::Scheme;
use super::key::{EC_OID, ED25519_OID, RSA_OID, fingerprint};
use super::pem;

/// Why there is no signing key. Holds nothing of the text that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not one private key in PEM.
    #[error("not a private key: expected exactly one in PEM (-----BEGIN PRIVATE KEY-----)")]
    NotAKey,
    /// The wrong half.
    #[error("this is a public key: signing needs the private one")]
    PublicKey,
    /// Password-protected.
    #[error("this private key is encrypted: expected it without a password (openssl pkey -in KEY)")]
    Encrypted,
    /// Another algorithm, curve or size, or damaged.
    #[error("this private key cannot sign webhooks: expected a valid Ed25519, RSA (2048 bits or more) or EC P-256 key")]
    Refused,
    /// The system gave no randomness.
    #[error("no key could be made: the system's random number generator failed")]
    Generate,
}

enum Kind {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    P256(p256::ecdsa::SigningKey),
}

/// A private key of one of the three schemes.
pub struct SigningKey {
    kind: Kind,
    fingerprint: String,
    public_pem: String,
    private_pem: Zeroizing<String>,
}

impl SigningKey {
    /// A new key: RSA keys have 2048 bits, so that a sandbox starts at once.
    ///
    /// # Errors
    ///
    /// [`SignError::Generate`] when the system gives no randomness.
    pub fn generate(scheme: Scheme) -> Result<Self, SignError> {
        let kind = match scheme {
            Scheme::Ed25519 => Ed25519KeyPair::generate().ok().map(Kind::Ed25519),
            Scheme::RsaPkcs1Sha256 => RsaKeyPair::generate(KeySize::Rsa2048).ok().map(Kind::Rsa),
            Scheme::EcdsaP256Sha256 => p256::ecdsa::SigningKey::try_generate().ok().map(Kind::P256),
        };
        kind.and_then(Self::new).ok_or(SignError::Generate)
    }

    /// Reads one key: PKCS#8 of any scheme, SEC 1 (`EC PRIVATE KEY`, also after `EC PARAMETERS`) or PKCS#1
    /// (`RSA PRIVATE KEY`). Forgives the same mangling as public keys.
    ///
    /// # Errors
    ///
    /// [`SignError`], never repeating the text.
    pub fn from_pem(text: &str) -> Result<Self, SignError> {
        let mut blocks = pem::blocks(text).map_err(|pem::Garbled| SignError::NotAKey)?;
        // `openssl ecparam -genkey` names the curve in a block of its own; the key names it again.
        blocks.retain(|block| block.label() != Some("ECPARAMETERS"));
        let [block] = blocks.as_slice() else {
            return Err(SignError::NotAKey);
        };
        if block.has_encryption_header() {
            return Err(SignError::Encrypted);
        }
        let der = || block.der().map(Zeroizing::new).ok_or(SignError::NotAKey);
        let kind = match block.label() {
            Some("PRIVATEKEY") => from_pkcs8(&der()?)?,
            Some("ECPRIVATEKEY") => p256::SecretKey::from_sec1_der(&der()?).ok().map(|key| Kind::P256(key.into())),
            Some("RSAPRIVATEKEY") => RsaKeyPair::from_der(&der()?).ok().map(Kind::Rsa),
            Some("ENCRYPTEDPRIVATEKEY") => return Err(SignError::Encrypted),
            Some("PUBLICKEY" | "RSAPUBLICKEY") => return Err(SignError::PublicKey),
            _ => return Err(SignError::NotAKey),
        };
        kind.and_then(Self::new).ok_or(SignError::Refused)
    }

    /// Encodes both halves once, so that nothing later can fail.
    fn new(kind: Kind) -> Option<Self> {
        let (public, private) = match &kind {
            Kind::Ed25519(pair) => {
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
                let private = pair.to_pkcs8v1().ok()?;
                (document(public.as_ref())?, SecretDocument::try_from(private.as_ref()).ok()?)
            }
            Kind::Rsa(pair) => {
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
                let private: Pkcs8V1Der<'_> = pair.as_der().ok()?;
                (document(public.as_ref())?, SecretDocument::try_from(private.as_ref()).ok()?)
            }
            Kind::P256(key) => (key.verifying_key().to_public_key_der().ok()?, key.to_pkcs8_der().ok()?),
        };
        Some(Self {
            fingerprint: fingerprint(public.as_bytes()),
            public_pem: public.to_pem("PUBLIC KEY", LineEnding::LF).ok()?,
            private_pem: private.to_pem("PRIVATE KEY", LineEnding::LF).ok()?,
            kind,
        })
    }

    /// The scheme this key signs in.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self.kind {
            Kind::Ed25519(_) => Scheme::Ed25519,
            Kind::Rsa(_) => Scheme::RsaPkcs1Sha256,
            Kind::P256(_) => Scheme::EcdsaP256Sha256,
        }
    }

    /// The public half, as `VerifyKeys` and openssl read it.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The private half in PKCS#8: a secret, for a key file of mode 0600.
    #[must_use]
    pub fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// The value of the scheme's header for `body`: base64.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        match &self.kind {
            Kind::Ed25519(pair) => STANDARD.encode(pair.sign(body)),
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature)
                    .expect("a checked key of 2048 bits or more has room for every SHA-256 signature");
                STANDARD.encode(signature)
            }
            Kind::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(body);
                STANDARD.encode(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.scheme(), self.fingerprint)
    }
}

/// `None` for a key of the right form and no use here.
fn from_pkcs8(der: &[u8]) -> Result<Option<Kind>, SignError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| SignError::NotAKey)?;
    Ok(match info.algorithm.oid {
        ED25519_OID => Ed25519KeyPair::from_pkcs8(der).ok().map(Kind::Ed25519),
        RSA_OID => RsaKeyPair::from_pkcs8(der).ok().map(Kind::Rsa),
        EC_OID => p256::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(Kind::P256),
        _ => None,
    })
}

fn document(der: &[u8]) -> Option<Document> {
    Document::try_from(der).ok()
}
