//! Reading a request as strictly as a validator does, and writing JSON answers.
//!
//! Owns the one rule both fakes share: a body, form or query fits its declared type exactly or is a [`Misfit`].
//! Each vendor words its own refusal. A misfit never quotes a value, so no message text or number gets into an answer.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Why a request is not what the contract declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The content type is not the one this endpoint takes.
    Media,
    /// The body is not JSON.
    Syntax,
    /// A property the endpoint does not declare.
    Undeclared(String),
    /// A required property is absent.
    Missing(String),
    /// A property occurs twice.
    Twice(String),
    /// A value has the wrong type or is not one of a closed list; the text says what was expected.
    Wrong(String),
}

/// Reads a JSON body; `T` must deny unknown fields.
pub(super) fn json<T: DeserializeOwned>(call: &Request<Bytes>) -> Result<T, Misfit> {
    if media(call) != Some("application/json") {
        return Err(Misfit::Media);
    }
    serde_json::from_slice(call.body()).map_err(|error| misfit(&error))
}

/// Reads an `application/x-www-form-urlencoded` body; `T` must deny unknown fields and holds strings.
pub(super) fn form<T: DeserializeOwned>(call: &Request<Bytes>) -> Result<T, Misfit> {
    if media(call) != Some("application/x-www-form-urlencoded") {
        return Err(Misfit::Media);
    }
    pairs(call.body())
}

/// Reads the query; `T` must deny unknown fields and holds strings.
pub(super) fn query<T: DeserializeOwned>(call: &Request<Bytes>) -> Result<T, Misfit> {
    pairs(call.uri().query().unwrap_or_default().as_bytes())
}

/// A declared property that may be left out, but not `null`: for `#[serde(default, deserialize_with = "present")]`.
pub(super) fn present<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// A header's value, if it is there exactly once and is text.
pub(super) fn header<'a>(call: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    let mut values = call.headers().get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    raw_answer(status, "application/json; charset=utf-8", body.to_string())
}

/// An answer of any type.
pub(super) fn raw_answer(status: StatusCode, media: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}

/// A status a test asked for by number; what is none becomes a 500.
pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Adds a header whose value a test chose; a value no header can hold is left out.
pub(super) fn set_header(answer: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn media(call: &Request<Bytes>) -> Option<&str> {
    header(call, CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next()).map(str::trim)
}

fn pairs<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, Misfit> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        if fields.insert(name.to_string(), Value::String(value.into_owned())).is_some() {
            return Err(Misfit::Twice(name.into_owned()));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| misfit(&error))
}

/// Sorts serde's words, which quote names in backticks and may quote values after "invalid".
fn misfit(error: &serde_json::Error) -> Misfit {
    if !error.is_data() {
        return Misfit::Syntax;
    }
    let words = error.to_string();
    let name = || words.split('`').nth(1).unwrap_or_default().to_owned();
    if words.starts_with("unknown field") {
        Misfit::Undeclared(name())
    } else if words.starts_with("missing field") {
        Misfit::Missing(name())
    } else if words.starts_with("duplicate field") {
        Misfit::Twice(name())
    } else {
        let expected = words.rsplit(", expected ").next().unwrap_or_default();
        let expected = expected.split(" at line ").next().unwrap_or_default();
        Misfit::Wrong(expected.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Small {
        name: String,
        #[serde(default, deserialize_with = "present")]
        note: Option<String>,
    }

    fn call(media: &str, body: &'static str) -> Request<Bytes> {
        Request::builder().header(CONTENT_TYPE, media).body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn each_way_a_json_body_can_be_wrong_has_its_own_misfit() {
        let read = |body| json::<Small>(&call("application/json; charset=utf-8", body));
        assert_eq!(read(r#"{"name":"a"}"#).unwrap().note, None);
        assert_eq!(read("{"), Err(Misfit::Syntax));
        assert_eq!(read(r#"{"note":"a"}"#), Err(Misfit::Missing("name".into())));
        assert_eq!(read(r#"{"name":"a","x":1}"#), Err(Misfit::Undeclared("x".into())));
        assert_eq!(read(r#"{"name":"a","name":"b"}"#), Err(Misfit::Twice("name".into())));
        assert_eq!(read(r#"{"name":"a","note":null}"#), Err(Misfit::Wrong("a string".into())));
    }

    #[test]
    fn a_misfit_does_not_quote_the_value() {
        #[derive(Debug, Deserialize)]
        struct Number {
            #[expect(dead_code, reason = "only its type matters here")]
            name: u8,
        }
        let read = json::<Number>(&call("application/json", r#"{"name":"Hello Maria"}"#));
        assert_eq!(read.unwrap_err(), Misfit::Wrong("u8".into()));
    }

    #[test]
    fn a_form_takes_its_own_content_type_only_and_each_field_once() {
        const FORM: &str = "application/x-www-form-urlencoded";
        assert_eq!(form::<Small>(&call(FORM, "name=a%20b&note=%2B63")).unwrap().name, "a b");
        assert_eq!(form::<Small>(&call("application/json", "name=a")), Err(Misfit::Media));
        assert_eq!(form::<Small>(&call(FORM, "name=a&name=b")), Err(Misfit::Twice("name".into())));
        assert_eq!(form::<Small>(&call(FORM, "name=a&x=b")), Err(Misfit::Undeclared("x".into())));
    }
}
