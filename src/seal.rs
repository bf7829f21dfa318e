//! Secrets at rest: AES-256-GCM under a ring of keys; the first seals, all open.
//!
//! Invariant: a sealed value opens only in the record and field it was sealed for, so swapped rows fail to open. Owns the key
//! ring and its text form; the stored shape is `domain::installation::Sealed`. Imports `domain` alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::id::DocId;
use crate::domain::installation::{HoldsSealed, Sealed};
use crate::domain::secret::Secret;

/// Why a value can't be opened. The record is kept all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("no key `{0}` in the ring")]
    NoKey(String),
    #[error("the key `{0}` does not open it")]
    WrongKey(String),
    #[error("it is not in the form of a sealed value")]
    Malformed,
    /// The ring itself.
    #[error("the key `{0}` is not 32 bytes")]
    BadKey(String),
}

/// The keys that open; the first one seals. An empty ring neither seals nor opens: `TOKEN_ENCRYPTION=off`.
pub struct KeyRing {
    keys: Vec<(String, LessSafeKey)>,
}

/// Shows key ids alone.
impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(kid, _)| kid)).finish()
    }
}

impl KeyRing {
    /// A ring of `(kid, 32 bytes in base64)`, in the order given.
    ///
    /// # Errors
    /// [`SealError::BadKey`]
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, SealError> {
        let keys = keys
            .into_iter()
            .map(|(kid, bytes)| {
                let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::BadKey(kid.to_owned()))?;
                Ok((kid.to_owned(), LessSafeKey::new(key)))
            })
            .collect::<Result<_, SealError>>()?;
        Ok(Self { keys })
    }

    /// A ring that stores in the clear, because the operator said so out loud.
    #[must_use]
    pub fn off() -> Self {
        Self { keys: Vec::new() }
    }

    /// Whether values are encrypted.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The keys' ids; the first is of the one that seals.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(kid, _)| kid.as_str())
    }

    /// `record` with every secret that can be opened sealed by the first key; `None` when there is nothing to change, as always
    /// for a ring that does not encrypt.
    #[must_use]
    pub fn resealed<R: HoldsSealed>(&self, record: &R) -> Option<R> {
        let (id, first) = (record.seal_id()?, self.kids().next()?);
        let (mut next, mut changed) = (record.clone(), false);
        for (field, sealed) in next.sealed_fields() {
            if matches!(sealed, Sealed::Encrypted { kid, .. } if kid == first) {
                continue;
            }
            if let Ok(secret) = self.open(&id, field, sealed) {
                *sealed = self.seal(&id, field, &secret);
                changed = true;
            }
        }
        changed.then_some(next)
    }

    /// Seals `value` for `field` of the record `id`.
    ///
    /// # Panics
    /// When the value is longer than AES-GCM can take (64 GiB): tokens are not.
    #[must_use]
    pub fn seal(&self, id: &DocId, field: &str, value: &Secret) -> Sealed {
        let Some((kid, key)) = self.keys.first() else { return Sealed::Plain { plain: value.expose().to_owned() } };
        let nonce: [u8; NONCE_LEN] = crate::random::bytes();
        let mut sealed = value.expose().as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(id, field), &mut sealed)
            .expect("a token is shorter than 64 GiB");
        Sealed::Encrypted { kid: kid.clone(), nonce: STANDARD.encode(nonce), ct: STANDARD.encode(sealed) }
    }

    /// Opens a value sealed for `field` of the record `id`.
    ///
    /// # Errors
    /// [`SealError`]; also for a plain value in a ring that encrypts is none: it is opened, and sealed at its next write.
    pub fn open(&self, id: &DocId, field: &str, sealed: &Sealed) -> Result<Secret, SealError> {
        let (kid, nonce, ct) = match sealed {
            Sealed::Plain { plain } => return Ok(Secret::from(plain.as_str())),
            Sealed::Encrypted { kid, nonce, ct } => (kid, nonce, ct),
        };
        let (_, key) = self.keys.iter().find(|(k, _)| k == kid).ok_or_else(|| SealError::NoKey(kid.clone()))?;
        let nonce = STANDARD.decode(nonce).map_err(|_| SealError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| SealError::Malformed)?;
        let mut bytes = STANDARD.decode(ct).map_err(|_| SealError::Malformed)?;
        let plain =
            key.open_in_place(nonce, aad(id, field), &mut bytes).map_err(|_| SealError::WrongKey(kid.clone()))?;
        let text = std::str::from_utf8(plain).map_err(|_| SealError::Malformed)?;
        Ok(Secret::from(text))
    }
}

fn aad(id: &DocId, field: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{}\0{field}", id.as_str()).into_bytes())
}

/// A fresh key as `TOKEN_ENCRYPTION_KEYS` takes it: `kid:base64`.
#[must_use]
pub fn generate(kid: &str) -> String {
    format!("{kid}:{}", STANDARD.encode(crate::random::bytes::<32>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::LocationId;
    use crate::domain::installation::{Grant, GrantKind, Installation};
    use crate::domain::time::UnixMillis;

    fn ring(keys: &[(&str, u8)]) -> KeyRing {
        let bytes: Vec<(&str, [u8; 32])> = keys.iter().map(|(kid, b)| (*kid, [*b; 32])).collect();
        KeyRing::new(bytes.iter().map(|(kid, b)| (*kid, b.as_slice()))).unwrap()
    }

    fn id(s: &str) -> DocId {
        DocId(s.to_owned())
    }

    #[test]
    fn a_value_opens_in_its_own_record_and_field_alone() {
        let ring = ring(&[("a", 1)]);
        let sealed = ring.seal(&id("loc:A"), "access", &Secret::from("tok"));
        assert_eq!(ring.open(&id("loc:A"), "access", &sealed).unwrap().expose(), "tok");
        assert!(ring.open(&id("loc:B"), "access", &sealed).is_err());
        assert!(ring.open(&id("loc:A"), "refresh", &sealed).is_err());
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = ring(&[("a", 1)]);
        let both = ring(&[("b", 2), ("a", 1)]);
        let sealed = old.seal(&id("x"), "f", &Secret::from("tok"));
        assert_eq!(both.open(&id("x"), "f", &sealed).unwrap().expose(), "tok");
        let Sealed::Encrypted { kid, .. } = both.seal(&id("x"), "f", &Secret::from("tok")) else { panic!() };
        assert_eq!(kid, "b");
    }

    #[test]
    fn a_missing_or_wrong_key_is_an_error_that_names_the_kid() {
        let sealed = ring(&[("a", 1)]).seal(&id("x"), "f", &Secret::from("tok"));
        assert_eq!(ring(&[("b", 2)]).open(&id("x"), "f", &sealed).unwrap_err(), SealError::NoKey("a".into()));
        assert_eq!(ring(&[("a", 9)]).open(&id("x"), "f", &sealed).unwrap_err(), SealError::WrongKey("a".into()));
    }

    #[test]
    fn what_is_sealed_anew_opens_with_the_first_key_alone_and_what_no_key_opens_is_left() {
        let (old, lost) = (ring(&[("a", 1)]), ring(&[("x", 7)]));
        let name = LocationId::parse("L1").ok();
        let id = id("loc:L1");
        let grant = |access: Sealed, refresh: Sealed| Grant {
            access,
            refresh: Some(refresh),
            refresh_hash: Some("h".into()),
            expires_at: UnixMillis(1),
            scope: None,
        };
        let sealed = grant(
            old.seal(&id, Grant::ACCESS, &Secret::from("at")),
            lost.seal(&id, Grant::REFRESH, &Secret::from("rt")),
        );
        let installed = Installation::new(GrantKind::Location, name.clone(), None, sealed, UnixMillis(0));
        let resealed = ring(&[("b", 2), ("a", 1)]).resealed(&installed).expect("something to do");
        let kept = resealed.grant.as_ref().expect("a grant");
        assert_eq!(ring(&[("b", 2)]).open(&id, Grant::ACCESS, &kept.access).unwrap().expose(), "at");
        assert_eq!(kept.refresh, installed.grant.as_ref().unwrap().refresh, "what can't be opened is kept as it is");
        assert_eq!(ring(&[("b", 2), ("a", 1)]).resealed(&resealed), None, "and nothing is left to do");
        assert_eq!(KeyRing::off().resealed(&installed), None);
        // In the clear: sealed at last.
        let plain = || Sealed::Plain { plain: "t".into() };
        let clear = Installation::new(GrantKind::Location, name, None, grant(plain(), plain()), UnixMillis(0));
        let closed = old.resealed(&clear).expect("something to do").grant.expect("a grant");
        assert!(matches!((closed.access, closed.refresh), (Sealed::Encrypted { .. }, Some(Sealed::Encrypted { .. }))));
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let ring = ring(&[("a", 1)]);
        assert_ne!(ring.seal(&id("x"), "f", &Secret::from("t")), ring.seal(&id("x"), "f", &Secret::from("t")));
    }
}
