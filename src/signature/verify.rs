//! The verdict on one request: its signature headers and its raw body against the trusted keys.
//!
//! Owns which header values count and how much work a stranger can cause. Its invariant: it fails closed; nothing that
//! is absent, unreadable or unknown ever counts as verified. Must not parse the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Scheme, VerifyKeys};

/// Signatures tried of each header, the rest ignored: a rotation needs two, and each costs a pass over the body for each key.
const MAX_SIGNATURES: usize = 4;
/// Characters of the longest signature there is: base64 of RSA-8192's 1024 bytes.
const MAX_SIGNATURE_CHARS: usize = 1368;

/// A request's signature headers as received, each header as often as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureHeaders<'a> {
    /// Values of `x-ghl-signature`.
    pub ghl: Vec<&'a [u8]>,
    /// Values of `x-wh-signature`.
    pub wh: Vec<&'a [u8]>,
}

/// Why a request is not verified; both are answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header, or only values that stand for none: empty, or `N/A` as GHL writes it.
    #[error("the request carries no signature")]
    Missing,
    /// A signature, but by no trusted key over these bytes, or in no encoding a scheme uses.
    #[error("the signature matches no trusted key")]
    NoMatch,
}

impl VerifyKeys {
    /// Tries every trusted key on the signatures of its header and says which scheme matched.
    ///
    /// A signature is base64 of the standard alphabet, padded, with white space around it ignored; hex and the url-safe
    /// alphabet never match. ECDSA signatures are ASN.1 DER with high or low s; raw r‖s never matches. A value may be a
    /// list, as proxies fold repeated headers with commas (RFC 9110 §5.3). Of each header the first four signatures count.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]; in either case nothing of the request may be believed.
    pub fn verify(&self, headers: &SignatureHeaders<'_>, body: &[u8]) -> Result<Scheme, SignatureError> {
        let ghl = presented(&headers.ghl);
        let wh = presented(&headers.wh);
        if ghl.is_empty() && wh.is_empty() {
            return Err(SignatureError::Missing);
        }
        for key in self.iter() {
            let signatures = match key.scheme() {
                Scheme::Ed25519 => &ghl,
                Scheme::RsaPkcs1Sha256 | Scheme::EcdsaP256Sha256 => &wh,
            };
            if signatures.iter().flatten().any(|signature| key.verifies(body, signature)) {
                return Ok(key.scheme());
            }
        }
        Err(SignatureError::NoMatch)
    }
}

/// The signatures of one header; none in place of one that cannot be read, so that it is not taken for absent.
fn presented(values: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    values
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"N/A"))
        .take(MAX_SIGNATURES)
        .map(decode)
        .collect()
}

fn decode(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > MAX_SIGNATURE_CHARS {
        return None;
    }
    STANDARD.decode(value).ok()
}
