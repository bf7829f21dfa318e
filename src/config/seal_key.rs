//! Sealing keys as text: `id:base64 of 32 bytes`, separated by commas.
//!
//! Owns the form of an entry and of an id. Its invariant: no piece of an entry is in an error or in `Debug`, since
//! an entry without its id is a bare key; only the id of a good one may be shown.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::value::{Wrong, is_word};

/// A sealing key: 256 bits and the id that sealed records name it by.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey {
    /// 1 to 32 of `[A-Za-z0-9_-]`, unique among the keys; no secret.
    pub kid: String,
    bytes: [u8; 32],
}

impl SealKey {
    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({}, [secret])", self.kid)
    }
}

/// Standard alphabet; padding may be missing, since editors and shells lose it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Sealing keys as `id:base64 of 32 bytes`, separated by commas; every bad entry is named by its place alone.
pub(super) fn parse(text: &str) -> Result<Vec<SealKey>, Vec<Wrong>> {
    let mut keys: Vec<SealKey> = Vec::new();
    let mut wrongs = Vec::new();
    for (i, entry) in text.split(',').map(str::trim).enumerate() {
        match one(entry) {
            Ok(key) if keys.iter().any(|k| k.kid == key.kid) => wrongs.push(Wrong::new(
                format!("entry {} has the id of an earlier one", i + 1),
                "give every key an id of its own",
            )),
            Ok(key) => keys.push(key),
            Err((wrong, right)) => wrongs.push(Wrong::new(format!("entry {} {wrong}", i + 1), right)),
        }
    }
    if wrongs.is_empty() { Ok(keys) } else { Err(wrongs) }
}

fn one(entry: &str) -> Result<SealKey, (&'static str, &'static str)> {
    let right = "write `id:base64 of 32 bytes`, as `cast-ghl keys generate` prints it";
    if entry.is_empty() {
        return Err(("is empty", "leave no comma too many"));
    }
    let (kid, encoded) = entry.split_once(':').ok_or(("has no id", right))?;
    if kid.len() > 32 || !is_word(kid) {
        return Err(("has an id that will not do", "use 1 to 32 letters, digits, `_` or `-`"));
    }
    let bytes = BASE64.decode(encoded).map_err(|_| ("is not base64", right))?;
    let bytes = bytes.try_into().map_err(|_| ("is not 32 bytes long", right))?;
    Ok(SealKey { kid: kid.to_owned(), bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(byte: u8) -> String {
        BASE64.encode([byte; 32])
    }

    #[test]
    fn sealing_keys_keep_their_order_and_bear_spaces_and_lost_padding() {
        let unpadded = encoded(2).trim_end_matches('=').to_owned();
        let keys = parse(&format!("new:{} , old-1:{unpadded}", encoded(1))).expect("keys");
        let kids: Vec<&str> = keys.iter().map(|k| k.kid.as_str()).collect();
        assert_eq!(kids, ["new", "old-1"]);
        assert_eq!(keys[0].expose(), &[1; 32]);
        assert_eq!(keys[1].expose(), &[2; 32]);
    }

    #[test]
    fn every_bad_sealing_key_is_named_by_its_place_and_not_by_its_text() {
        let text = format!(
            "ok:{good},{good},ok:{good},b d:{good},{long}:{good},short:aGk=,junk:%%%,",
            good = encoded(7),
            long = "k".repeat(33),
        );
        let wrongs = parse(&text).expect_err("six of them");
        let said: Vec<&str> = wrongs.iter().map(|w| w.wrong.as_str()).collect();
        assert_eq!(
            said,
            [
                "entry 2 has no id",
                "entry 3 has the id of an earlier one",
                "entry 4 has an id that will not do",
                "entry 5 has an id that will not do",
                "entry 6 is not 32 bytes long",
                "entry 7 is not base64",
                "entry 8 is empty",
            ]
        );
    }

    #[test]
    fn debug_shows_the_id_and_not_the_key() {
        let keys = parse(&format!("k1:{}", encoded(7))).expect("a key");
        assert_eq!(format!("{:?}", keys[0]), "SealKey(k1, [secret])");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_32_bytes_are_a_sealing_key(bytes: [u8; 32]) {
            let keys = parse(&format!("k1:{}", BASE64.encode(bytes))).expect("a key");
            prop_assert_eq!(keys[0].expose(), &bytes);
        }
    }
}
