//! Finds keys in text that has been through an environment editor: PEM blocks and bare base64, several in a row.
//!
//! Owns the tolerance, and its limit: line breaks may be lost, doubled, escaped or turned into spaces and quotes may wrap
//! the keys, but every other character must belong to a key. Text that does not is refused whole, never skipped.
//! Knows base64 and the outline of DER, nothing of key types. Nothing here has `Debug`: the text may be a private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use p256::pkcs8::der::Decode as _;
use p256::pkcs8::der::asn1::AnyRef;

/// Opens and closes both armour lines of a PEM block (RFC 7468).
const DASHES: &str = "-----";

/// One key as found, not yet decoded: its label may already say that it is the wrong thing.
pub(super) struct Block {
    /// What follows `BEGIN`, without spaces (`PUBLICKEY`); none for bare base64.
    label: Option<String>,
    /// What is between the armour lines, without white space.
    body: String,
}

impl Block {
    /// The label without its spaces.
    pub(super) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The bytes, if the body is base64 of the standard alphabet; an editor may have eaten the padding.
    pub(super) fn der(&self) -> Option<Vec<u8>> {
        decode(&self.body)
    }

    /// Whether the body has the RFC 1421 headers of a key encrypted the old way.
    pub(super) fn has_encryption_header(&self) -> bool {
        self.body.starts_with("Proc-Type:")
    }
}

/// The text is not a sequence of keys.
pub(super) struct Garbled;

/// Every key in `text`, in order; none for text of separators alone.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, Garbled> {
    let text = unescape(text);
    let mut rest = text.trim_start_matches(separates);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (block, after) = match rest.strip_prefix(DASHES) {
            Some(inside) => armoured(inside).ok_or(Garbled)?,
            None => bare(rest).ok_or(Garbled)?,
        };
        found.push(block);
        rest = after.trim_start_matches(separates);
    }
    Ok(found)
}

/// Undoes what quoting does: `\n` and `\r` spelt out become line breaks, `\"` a quote, however often they were escaped.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.peek() {
            Some('n' | 'r') => {
                chars.next();
                plain.push('\n');
            }
            Some('\\' | '"' | '\'' | '\n' | '\r') => {}
            _ => plain.push(c),
        }
    }
    plain
}

/// A PEM block; `text` begins after its first dashes.
fn armoured(text: &str) -> Option<(Block, &str)> {
    let (begin, text) = text.split_once(DASHES)?;
    let (body, text) = text.split_once(DASHES)?;
    let (end, rest) = text.split_once(DASHES)?;
    let label = squeeze(begin).strip_prefix("BEGIN")?.to_owned();
    if squeeze(end).strip_prefix("END") != Some(&label) {
        return None;
    }
    let block = Block { label: Some(label), body: squeeze(body) };
    Some((block, rest))
}

/// A key without armour. White space may break it or end it: it ends once its DER is whole.
fn bare(text: &str) -> Option<(Block, &str)> {
    let mut body = String::new();
    let mut rest = text;
    while !rest.is_empty() && !rest.starts_with(DASHES) && !rest.starts_with(separates) {
        let end = rest.find(separates).unwrap_or(rest.len());
        let end = rest.find(DASHES).map_or(end, |dashes| end.min(dashes));
        let (piece, after) = rest.split_at(end);
        body.push_str(piece);
        if decode(&body).is_some_and(|der| AnyRef::from_der(&der).is_ok()) {
            return Some((Block { label: None, body }, after));
        }
        rest = after.trim_start_matches(blank);
    }
    None
}

fn decode(body: &str) -> Option<Vec<u8>> {
    STANDARD_PAD_INDIFFERENT.decode(body).ok()
}

fn squeeze(text: &str) -> String {
    text.replace(blank, "")
}

/// What may stand between keys.
fn separates(c: char) -> bool {
    blank(c) || matches!(c, ',' | '"' | '\'')
}

/// White space, and the two invisible characters that come with text copied from files and web pages.
fn blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole DER value (an empty sequence), enough for the outline this module looks at.
    const WHOLE: &str = "MAA=";

    fn labels(text: &str) -> Option<Vec<Option<String>>> {
        let blocks = blocks(text).ok()?;
        Some(blocks.into_iter().map(|block| block.label).collect())
    }

    #[test]
    fn blocks_and_bare_keys_may_follow_each_other_without_a_break() {
        let text =
            format!("{WHOLE}-----BEGIN A B-----MAA=-----END A B----------BEGIN C-----MAA=-----END C-----{WHOLE}");
        let expected = [None, Some("AB"), Some("C"), None].map(|label| label.map(String::from));
        assert_eq!(labels(&text), Some(expected.to_vec()));
    }

    #[test]
    fn nothing_but_separators_holds_no_key() {
        for text in ["", "  \n", "''", r#" "\n" "#, ",,", "\u{feff}"] {
            assert_eq!(labels(text), Some(vec![]), "{text:?}");
        }
    }

    #[test]
    fn a_character_that_belongs_to_no_key_refuses_the_whole_text() {
        for text in [
            "key: MAA=",
            "MAA= and more",
            "MAA,A=",
            "MAA\\",
            "-----BEGIN A-----MAA=-----END A----- # mine",
            "-----BEGIN A-----MAA=-----END B-----",
            "-----BEGIN A-----MAA=-----END A----",
            "-----BEGIN A-----MAA=",
            "-----END A-----MAA=-----BEGIN A-----",
            "-----",
        ] {
            assert_eq!(labels(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_body_of_another_alphabet_is_found_and_not_decoded() {
        let text = "-----BEGIN A-----MA_-=-----END A-----";
        let found = blocks(text).unwrap_or_else(|Garbled| vec![]);
        assert_eq!(found.len(), 1);
        assert!(found[0].der().is_none());
    }
}
