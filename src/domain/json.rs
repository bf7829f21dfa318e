//! JSON as JavaScript and Windows write it: read strictly, and once more where half an emoji is all that is wrong.
//!
//! Invariant: what a strict reader takes is taken as it is. Pure: imports `time`.

use serde_json::{Map, Value};

use super::time::UnixMillis;

/// Reads a body; `None` when it is not JSON.
///
/// JavaScript writes an emoji that was cut in half as a lone `\\ud83d`, which no strict reader takes (ECMA-404 allows it): the
/// half becomes U+FFFD, and the message is not lost for it. A byte order mark before the body is passed over (RFC 8259 §8.1).
#[must_use]
pub fn read(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&without_lone_surrogates(body))).ok()
}

/// A member under the first of its spellings that is there and not null: vendors change between camelCase and snake_case.
#[must_use]
pub fn member<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()))
}

/// An instant: RFC 3339, or an epoch number in seconds or milliseconds ([`UnixMillis::from_epoch`]), also one written as text; a
/// fraction is dropped. `None` for anything else.
#[must_use]
pub fn instant(value: &Value) -> Option<UnixMillis> {
    match value {
        Value::Number(n) => {
            #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
            let whole = n.as_i64().or_else(|| n.as_f64().map(|f| f as i64));
            whole.map(UnixMillis::from_epoch)
        }
        Value::String(s) => match s.trim().parse::<i64>() {
            Ok(n) => Some(UnixMillis::from_epoch(n)),
            Err(_) => s.trim().parse::<jiff::Timestamp>().ok().map(|t| UnixMillis(t.as_millisecond())),
        },
        _ => None,
    }
}

fn without_lone_surrogates(body: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let hex = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        let (taken, written): (usize, &[u8]) = match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, &body[at..at + 12]),
            (Some(0xD800..=0xDFFF), _) => (6, b"\\ufffd"),
            // An escaped backslash is no beginning of an escape.
            _ if body[at] == b'\\' => (2, &body[at..body.len().min(at + 2)]),
            _ => (1, &body[at..=at]),
        };
        out.extend_from_slice(written);
        at += taken;
    }
    out
}
