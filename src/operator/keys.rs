//! The key ring as an operator sees it: which key seals how much, which may be dropped, what no key opens; and sealing
//! everything anew at once.
//!
//! Invariant: keys are named by their ids alone. Works beside a running `serve`, which seals by compare-and-set as this does.

use serde::Serialize;

use crate::domain::id::DocId;
use crate::rekey::{Survey, reseal_all, survey};
use crate::seal::KeyRing;
use crate::store::{Store, StoreError};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The first of the ring.
    Seals,
    /// A later one of the ring.
    Opens,
    /// Something is sealed by it, and it is not in the ring.
    Missing,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    pub kid: String,
    pub role: Role,
    /// Documents with something sealed by it.
    pub documents: usize,
    /// Nothing in the store needs it any more. A backup made earlier may.
    pub may_be_dropped: bool,
}

/// A document with something no key opens. It is kept: the right key brings it back, and so does a new install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unopened {
    pub id: DocId,
    pub why: String,
}

/// The ring and what it holds together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// In the ring's order, then those that are missing.
    pub keys: Vec<KeyRow>,
    /// Documents with secrets in them.
    pub documents: usize,
    /// Documents with something that is not sealed at all.
    pub in_the_clear: usize,
    pub unreadable: Vec<Unopened>,
}

/// What sealing anew came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Documents that changed.
    pub resealed: usize,
    #[serde(flatten)]
    pub status: KeyStatus,
}

/// Why keys can't be looked through or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "there is no key to seal with: TOKEN_ENCRYPTION=off, or neither TOKEN_ENCRYPTION_KEYS nor DATA_DIR/token.key"
    )]
    NoKey,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which key seals how much.
///
/// # Errors
/// [`KeyError::Store`]
pub async fn key_status(store: &Store, ring: &KeyRing) -> Result<KeyStatus, KeyError> {
    Ok(status(ring, survey(store, ring).await?))
}

/// Seals everything anew with the first key, now.
///
/// # Errors
/// [`KeyError`]; what was done stays done.
pub async fn rotate_keys(store: &Store, ring: &KeyRing) -> Result<Rotation, KeyError> {
    if !ring.encrypts() {
        return Err(KeyError::NoKey);
    }
    let resealed = reseal_all(store, ring).await?;
    Ok(Rotation { resealed, status: key_status(store, ring).await? })
}

fn status(ring: &KeyRing, mut found: Survey) -> KeyStatus {
    let mut keys: Vec<KeyRow> = Vec::new();
    for (place, kid) in ring.kids().enumerate() {
        let documents = found.sealed_by.remove(kid).unwrap_or_default();
        let role = if place == 0 { Role::Seals } else { Role::Opens };
        let may_be_dropped = role == Role::Opens && documents == 0;
        keys.push(KeyRow { kid: kid.to_owned(), role, documents, may_be_dropped });
    }
    let missing = found.sealed_by.into_iter();
    keys.extend(missing.map(|(kid, documents)| KeyRow { kid, role: Role::Missing, documents, may_be_dropped: false }));
    let unreadable = found.unreadable.into_iter().map(|(id, why)| Unopened { id, why: why.to_string() });
    KeyStatus { keys, documents: found.documents, in_the_clear: found.plain, unreadable: unreadable.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_dropped_when_it_seals_nothing_and_is_not_the_first() {
        let ring = KeyRing::new(["a", "b", "c"].map(|kid| (kid, [7u8; 32].as_slice()))).expect("a ring");
        let sealed_by = [("b".to_owned(), 2), ("x".to_owned(), 1)].into();
        let status = status(&ring, Survey { documents: 3, sealed_by, ..Survey::default() });
        let rows: Vec<_> =
            status.keys.iter().map(|key| (key.kid.as_str(), key.role, key.documents, key.may_be_dropped)).collect();
        let expected = [
            ("a", Role::Seals, 0, false),
            ("b", Role::Opens, 2, false),
            ("c", Role::Opens, 0, true),
            ("x", Role::Missing, 1, false),
        ];
        assert_eq!(rows, expected);
    }
}
