//! What the JSON targets share: reading strictly, mending halves of surrogate pairs, one member more.

use serde_json::{Map, Value};

pub fn strict(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// Read strictly behind a byte order mark, else with every lone half of a surrogate pair replaced.
pub fn whole(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    strict(body).or_else(|| strict(&mended(body)))
}

/// A string, or a number as one; nothing for anything else.
pub fn written(members: &Map<String, Value>, name: &str) -> String {
    match members.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

pub fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// The same object with one more member in front.
pub fn with_an_unknown_member(body: &[u8]) -> Option<Vec<u8>> {
    let members = strict(body)?.as_object()?.len();
    let open = body.iter().position(|byte| *byte == b'{')?;
    let member = format!(r#"{{"of a later day":[{{"locationId":7,"x":[null]}}]{}"#, if members > 0 { "," } else { "" });
    Some([&body[..open], member.as_bytes(), &body[open + 1..]].concat())
}

/// The body with each half of a surrogate pair that stands alone replaced: read escape by escape, not unit by unit.
fn mended(body: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    // Where an unpaired high half was written.
    let mut high: Option<usize> = None;
    let mut rest = body;
    while let [first, after @ ..] = rest {
        let length = match (first, after) {
            (b'\\', [b'u', hex @ ..]) if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            (b'\\', [_, ..]) => 2,
            _ => 1,
        };
        let (piece, next) = rest.split_at(length);
        let unit = (length == 6).then(|| std::str::from_utf8(&piece[2..]).unwrap());
        match (unit.map(|hex| u32::from_str_radix(hex, 16).unwrap()), high) {
            (Some(0xDC00..=0xDFFF), Some(_)) => {
                out.extend_from_slice(piece);
                high = None;
            }
            (Some(0xDC00..=0xDFFF), None) => out.extend_from_slice(br"\ufffd"),
            (unit, open) => {
                if let Some(at) = open {
                    out.splice(at.., *br"\ufffd");
                }
                high = matches!(unit, Some(0xD800..=0xDBFF)).then_some(out.len());
                out.extend_from_slice(piece);
            }
        }
        rest = next;
    }
    if let Some(at) = high {
        out.splice(at.., *br"\ufffd");
    }
    out
}
