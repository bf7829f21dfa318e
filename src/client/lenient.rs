//! Reading JSON whose shape is not promised: several spellings, ids as strings or numbers, errors as text, list or object.
//!
//! Owns the tolerance of both contracts ("parse leniently"). Invariant: an unexpected type in one field never spoils
//! another. Pure: imports serde_json only.

use serde_json::Value;

use crate::domain::words::clean;

/// Longest id worth keeping; the services' own have 12 to 36 characters.
const ID_MAX: usize = 128;

/// Longest error text kept for recognising phrases in it.
const SENTENCE_MAX: usize = 1000;

/// The first of `names` that is present and not null.
fn first<'a>(object: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().filter_map(|name| object.get(name)).find(|value| !value.is_null())
}

/// A non-empty string under one of `names`.
pub(super) fn text(object: &Value, names: &[&str]) -> Option<String> {
    first(object, names)?.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

/// An id under one of `names`: a string of at most 128 characters without control characters, or a whole number.
pub(super) fn id(object: &Value, names: &[&str]) -> Option<String> {
    as_id(first(object, names)?)
}

/// `value` as an id, see [`id`].
pub(super) fn as_id(value: &Value) -> Option<String> {
    match value {
        Value::Number(n) if n.is_u64() || n.is_i64() => Some(n.to_string()),
        Value::String(s) => {
            let s = s.trim();
            let fits = !s.is_empty() && s.chars().count() <= ID_MAX && !s.chars().any(char::is_control);
            fits.then(|| s.to_owned())
        }
        _ => None,
    }
}

/// A number of 0 or more under one of `names`, also one written as a string; a fraction is dropped.
pub(super) fn number(object: &Value, names: &[&str]) -> Option<u64> {
    match first(object, names)? {
        Value::Number(n) => n.as_u64().or_else(|| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range: it saturates")]
            n.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64)
        }),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// A boolean under one of `names`, also one written as a word.
pub(super) fn flag(object: &Value, names: &[&str]) -> Option<bool> {
    match first(object, names)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(s) => s.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// Words under one of `names`, separated by spaces: as one text, or as a list.
pub(super) fn words(object: &Value, names: &[&str]) -> Option<String> {
    let Value::Array(items) = first(object, names)? else { return text(object, names) };
    let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The id of a sub-account in a list: of an object that has one, or the entry itself.
pub(super) fn id_of_location(entry: &Value) -> Option<String> {
    id(entry, &["_id", "id", "locationId", "location_id"]).or_else(|| as_id(entry))
}

/// What a service says in `value`: a string as it is, a list joined, of an object the member that speaks.
/// One line, at most 1000 characters, never empty.
pub(super) fn sentence(value: &Value) -> Option<String> {
    let said = match value {
        Value::String(s) => clean(s, SENTENCE_MAX),
        Value::Number(n) => n.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(sentence).collect();
            clean(&items.join("; "), SENTENCE_MAX)
        }
        Value::Object(_) => ["message", "error", "error_description", "description", "detail", "code"]
            .iter()
            .filter_map(|name| value.get(name))
            .find_map(sentence)?,
        Value::Null | Value::Bool(_) => return None,
    };
    (!said.is_empty()).then_some(said)
}

/// What an error reply says: under `error` (text, list or object), else under `message` or `errors`.
pub(super) fn sentence_of_error(reply: &Value) -> Option<String> {
    ["error", "message", "errors"].iter().filter_map(|name| reply.get(name)).find_map(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_id_may_be_a_string_or_a_whole_number() {
        for (value, expected) in [
            (json!("abc"), Some("abc")),
            (json!(" abc "), Some("abc")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(1.5), None),
            (json!(""), None),
            (json!("a\nb"), None),
            (json!("x".repeat(129)), None),
            (json!(true), None),
            (json!({"id": "x"}), None),
        ] {
            assert_eq!(as_id(&value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_first_spelling_that_is_present_counts_and_null_is_absent() {
        let reply =
            json!({"access_token": null, "accessToken": "t", "expires_in": "86399", "flag": "yes", "no": "False"});
        assert_eq!(text(&reply, &["access_token", "accessToken"]).as_deref(), Some("t"));
        assert_eq!(number(&reply, &["expires_in"]), Some(86399));
        assert_eq!((flag(&reply, &["flag"]), flag(&reply, &["no"])), (None, Some(false)));
        assert_eq!(text(&json!([1]), &["x"]), None);
    }

    #[test]
    fn errors_speak_in_every_shape() {
        for (value, expected) in [
            (json!("no"), Some("no")),
            (json!(["a", "b"]), Some("a; b")),
            (json!({"code": "E1", "message": "no"}), Some("no")),
            (json!({"code": "E1"}), Some("E1")),
            (json!({"error": {"message": ["x"]}}), Some("x")),
            (json!(17), Some("17")),
            (json!("\u{7}"), None),
            (json!(null), None),
            (json!({}), None),
            (json!([]), None),
        ] {
            assert_eq!(sentence(&value).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_list_of_texts_stays_bounded(texts in proptest::collection::vec("\\PC{0,200}", 0..20)) {
            let said = sentence(&json!(texts)).unwrap_or_default();
            prop_assert!(said.chars().count() <= SENTENCE_MAX);
        }
    }
}
