use super::*;
use crate::client::builder::{HttpSettings, http_client};
use crate::client::transport::BODY_LIMIT;
use crate::client::wire::{self, Act, Wire, json, with_headers};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(784_111_777_000);
const TAKEN: &str = r#"{"success":true,"message_id":"abc","parts":1}"#;

fn answered(status: u16, body: &str) -> SendOutcome {
    outcome(Seen::Answered { status, retry_after: None, body: Body::Whole(body.into()) }, NOW)
}

fn hinted(status: u16, retry_after: &str) -> SendOutcome {
    let body = Body::Whole(Vec::new());
    outcome(Seen::Answered { status, retry_after: Some(retry_after.to_owned()), body }, NOW)
}

fn rejected(reason: &str) -> SendOutcome {
    SendOutcome::Rejected { reason: reason.to_owned() }
}

fn accepted(gateway_id: Option<&str>, parts: Option<u32>) -> SendOutcome {
    SendOutcome::Accepted { gateway_id: gateway_id.map(str::to_owned), parts }
}

const UNREACHABLE: SendOutcome = SendOutcome::NotSent { why: NotSent::Unreachable, retry_after: None };

fn is_unknown(outcome: &SendOutcome) -> bool {
    matches!(outcome, SendOutcome::Unknown { .. })
}

#[test]
fn any_2xx_with_success_true_is_accepted_with_or_without_an_id() {
    assert_eq!(answered(200, TAKEN), accepted(Some("abc"), Some(1)));
    assert_eq!(answered(202, r#"{"success":true,"message_id":42,"parts":"3"}"#), accepted(Some("42"), Some(3)));
    assert_eq!(answered(201, r#"{"success":true}"#), accepted(None, None));
    let odd = r#"{"success":true,"message_id":{"x":1},"parts":-1,"more":[1]}"#;
    assert_eq!(answered(200, odd), accepted(None, None));
}

#[test]
fn a_refusal_is_rejected_with_casts_own_words() {
    assert_eq!(answered(200, r#"{"success":false,"error":"Invalid number"}"#), rejected("Invalid number"));
    assert_eq!(answered(400, r#"{"error":{"code":"E1","message":"bad\nnumber\u0007"}}"#), rejected("bad number"));
    assert_eq!(answered(422, r#"{"message":["a","b"]}"#), rejected("a; b"));
    let silent = "Cast refused this SMS without a reason";
    assert_eq!(answered(200, r#"{"success":false}"#), rejected(&format!("{silent} (HTTP 200)")));
    assert_eq!(answered(404, "<html>not found</html>"), rejected(&format!("{silent} (HTTP 404)")));
    let contradiction = r#"{"success":true,"error":"no"}"#;
    assert_eq!(answered(400, contradiction), rejected("no"));
}

#[test]
fn casts_words_are_cut_at_200_characters() {
    let SendOutcome::Rejected { reason } = answered(400, &format!(r#"{{"error":"{}"}}"#, "ñ".repeat(500))) else {
        panic!("rejected");
    };
    assert_eq!(reason.chars().count(), 200);
}

#[test]
fn every_4xx_without_a_row_of_its_own_is_rejected() {
    for status in (400..500).filter(|status| ![401, 402, 403, 429].contains(status)) {
        assert!(matches!(answered(status, ""), SendOutcome::Rejected { .. }), "{status}");
    }
}

#[test]
fn a_4xx_whose_body_broke_off_is_still_rejected() {
    for body in [Body::Cut, Body::TooLarge] {
        let seen = Seen::Answered { status: 400, retry_after: None, body };
        assert!(matches!(outcome(seen, NOW), SendOutcome::Rejected { .. }));
    }
}

#[test]
fn a_refused_key_is_not_sent_whatever_the_body_says() {
    for status in [401, 402, 403] {
        let refused = SendOutcome::NotSent { why: NotSent::KeyRefused { status }, retry_after: None };
        assert_eq!(answered(status, TAKEN), refused);
    }
}

#[test]
fn a_429_is_not_sent_and_carries_the_hint_uncapped() {
    for (value, wait) in [
        ("7", Some(7)),
        ("86400", Some(86_400)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
        ("soon", None),
        ("", None),
    ] {
        let retry_after = wait.map(Duration::from_secs);
        assert_eq!(hinted(429, value), SendOutcome::NotSent { why: NotSent::RateLimited, retry_after }, "{value}");
    }
}

#[test]
fn every_5xx_redirect_and_undefined_status_is_unknown_whatever_the_body_says() {
    for status in (300..400).chain(500..1000).chain(100..200) {
        assert!(is_unknown(&answered(status, TAKEN)), "{status}");
        assert!(is_unknown(&answered(status, r#"{"success":false}"#)), "{status}");
    }
}

#[test]
fn a_2xx_that_cannot_be_read_or_has_no_success_is_unknown() {
    for body in [
        "",
        "ok",
        "{}",
        "[]",
        "true",
        "null",
        r#"{"success":"true"}"#,
        r#"{"success":1}"#,
        r#"{"success":null}"#,
        r#"{"success":true"#,
        r#"{"success":true} x"#,
        r#"{"message_id":"abc"}"#,
    ] {
        assert!(is_unknown(&answered(200, body)), "{body}");
    }
    for body in [Body::Cut, Body::TooLarge] {
        assert!(is_unknown(&outcome(Seen::Answered { status: 200, retry_after: None, body }, NOW)));
    }
}

#[test]
fn no_answer_is_unknown_and_never_having_left_is_not_sent() {
    assert!(is_unknown(&outcome(Seen::NoAnswer { detail: "no answer in time".to_owned() }, NOW)));
    assert_eq!(outcome(Seen::NeverLeft, NOW), UNREACHABLE);
}

#[test]
fn an_answer_in_doubt_still_says_what_cast_calls_the_sms() {
    let named = |outcome: SendOutcome| match outcome {
        SendOutcome::Unknown { gateway_id, .. } => gateway_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(answered(200, r#"{"message_id":"abc"}"#)).as_deref(), Some("abc"));
    assert_eq!(named(answered(503, r#"{"success":true,"messageId":42}"#)).as_deref(), Some("42"));
    assert_eq!(named(answered(503, "<html>")), None);
    assert_eq!(named(outcome(Seen::NoAnswer { detail: String::new() }, NOW)), None);
}

#[test]
fn evidence_holds_nothing_of_the_body() {
    for status in [200, 302, 503] {
        let shown = format!("{:?}", answered(status, r#"{"echo":"Hello Maria"}"#));
        assert!(!shown.contains("Maria"), "{shown}");
    }
}

proptest! {
    #[test]
    fn only_a_429_and_the_three_key_statuses_are_not_sent(
        status in 100..1000u16, body in proptest::collection::vec(any::<u8>(), 0..100), hint in proptest::option::of(".{0,30}")
    ) {
        let seen = Seen::Answered { status, retry_after: hint, body: Body::Whole(body) };
        let not_sent = matches!(outcome(seen, NOW), SendOutcome::NotSent { .. });
        prop_assert_eq!(not_sent, [401, 402, 403, 429].contains(&status));
    }
}

fn client(base: &Url) -> CastClient {
    let settings = HttpSettings {
        connect_timeout: Duration::from_millis(250),
        timeout: Duration::from_millis(600),
        ..HttpSettings::default()
    };
    CastClient::new(http_client(&settings).expect("a client"), base.clone())
}

fn sms() -> CastSms<'static> {
    CastSms { to: "09171234567", message: "Hello ñ", sender_id: Some("CAST"), idempotency_key: "out:L:M:0" }
}

async fn send(client: &CastClient) -> SendOutcome {
    client.send(&Secret::from("cast_k1".to_owned()), &sms(), NOW).await
}

/// The outcome of one send against one act, and how many requests the server saw.
async fn against(act: Act) -> (SendOutcome, usize) {
    let wire = Wire::start(vec![act, json(200, TAKEN)]).await;
    let outcome = send(&client(&wire.url)).await;
    (outcome, wire.seen().len())
}

#[tokio::test]
async fn the_request_is_the_documented_one() {
    let wire = Wire::start(vec![json(200, TAKEN), json(200, TAKEN)]).await;
    let client = client(&wire.url);
    assert_eq!(send(&client).await, accepted(Some("abc"), Some(1)));
    let plain = CastSms { sender_id: None, ..sms() };
    client.send(&Secret::from("cast_k2".to_owned()), &plain, NOW).await;

    let seen = wire.seen();
    let (head, body) = seen[0].split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /prefix/api/sms/send http/1.1\r\n"), "{head}");
    for line in ["x-api-key: cast_k1", "content-type: application/json", "idempotency-key: out:l:m:0"] {
        assert!(head.lines().any(|seen| seen == line), "{line} in {head}");
    }
    assert!(head.contains("user-agent: cast-ghl-provider/"), "{head}");
    assert_eq!(body, r#"{"to":"09171234567","message":"Hello ñ","sender_id":"CAST"}"#);
    assert!(seen[1].ends_with(r#"{"to":"09171234567","message":"Hello ñ"}"#), "{}", seen[1]);
}

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    assert_eq!(send(&client(&wire::nobody().await)).await, UNREACHABLE);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent() {
    // A label of 64 characters is refused by every resolver before it asks the network.
    let url = format!("http://{}.test", "a".repeat(64)).parse().expect("a URL");
    assert_eq!(send(&client(&url)).await, UNREACHABLE);
}

#[tokio::test]
async fn a_tls_handshake_that_fails_or_never_ends_was_not_sent() {
    for greeting in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", ""] {
        let (url, task) = wire::greeter("https", greeting).await;
        assert_eq!(send(&client(&url)).await, UNREACHABLE, "{greeting}");
        task.abort();
    }
}

#[tokio::test]
async fn a_key_that_is_no_header_value_was_not_sent_and_nothing_leaves() {
    let wire = Wire::start(vec![json(200, TAKEN)]).await;
    let key = Secret::from("cast\nk1".to_owned());
    assert_eq!(client(&wire.url).send(&key, &sms(), NOW).await, UNREACHABLE);
    assert!(wire.seen().is_empty());
}

#[tokio::test]
async fn a_base_url_of_another_scheme_was_not_sent() {
    let url = "mailto:a@b.test".parse().expect("a URL");
    assert_eq!(send(&client(&url)).await, UNREACHABLE);
}

#[tokio::test]
async fn a_server_that_never_answers_is_unknown_after_the_timeout() {
    let (outcome, requests) = against(Act::WriteAndHang(String::new())).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn an_answer_that_stops_in_its_head_or_body_is_unknown_after_the_timeout() {
    for part in ["HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n{\"success\":true"] {
        let (outcome, requests) = against(Act::WriteAndHang(part.to_owned())).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_reset_or_an_end_of_stream_after_the_request_is_unknown_and_not_repeated() {
    for act in [Act::Reset, Act::Close] {
        let (outcome, requests) = against(act).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_reused_connection_that_breaks_after_the_request_is_unknown_and_not_repeated() {
    for act in [Act::Reset, Act::Close] {
        let wire = Wire::start(vec![json(200, TAKEN), act, json(200, TAKEN)]).await;
        let client = client(&wire.url);
        assert_eq!(send(&client).await, accepted(Some("abc"), Some(1)));
        assert!(is_unknown(&send(&client).await));
        assert_eq!((wire.seen().len(), wire.connections()), (2, 1));
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_sending_twice() {
    let closing = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{TAKEN}", TAKEN.len());
    let wire = Wire::start(vec![Act::WriteAndClose(closing), json(200, TAKEN)]).await;
    let client = client(&wire.url);
    assert_eq!(send(&client).await, accepted(Some("abc"), Some(1)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(send(&client).await, accepted(Some("abc"), Some(1)));
    assert_eq!((wire.seen().len(), wire.connections()), (2, 2));
}

#[tokio::test]
async fn an_idle_connection_is_dropped_before_a_server_would_close_it() {
    let wire = Wire::start(vec![json(200, TAKEN), json(200, TAKEN)]).await;
    let settings = HttpSettings { pool_idle_timeout: Duration::from_millis(20), ..HttpSettings::default() };
    let client = CastClient::new(http_client(&settings).expect("a client"), wire.url.clone());
    send(&client).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(send(&client).await, accepted(Some("abc"), Some(1)));
    assert_eq!(wire.connections(), 2);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read_and_unknown() {
    let (outcome, _) =
        against(json(200, &format!("{{\"success\":true,\"pad\":\"{}\"}}", "x".repeat(BODY_LIMIT)))).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    let body = format!("{{\"success\":true{}}}", " ".repeat(BODY_LIMIT - 16));
    assert_eq!(body.len(), BODY_LIMIT);
    assert_eq!(against(json(200, &body)).await.0, accepted(None, None));
}

#[tokio::test]
async fn an_endless_chunked_body_is_cut_off_at_the_limit() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (outcome, _) = against(Act::WriteAndHang(format!("{head}{}", chunk.repeat(BODY_LIMIT / 0x1000 + 2)))).await;
    assert!(matches!(&outcome, SendOutcome::Unknown { evidence, .. } if evidence.contains("more than")), "{outcome:?}");
}

#[tokio::test]
async fn a_content_length_that_lies_is_unknown() {
    let longer = format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{TAKEN}");
    let shorter = format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{TAKEN}");
    for lie in [longer, shorter] {
        let (outcome, requests) = against(Act::WriteAndClose(lie)).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn what_is_not_http_is_unknown() {
    let (outcome, _) = against(Act::WriteAndClose("SSH-2.0-OpenSSH_9.2\r\n".to_owned())).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (outcome, requests) = against(with_headers(status, "Location: /elsewhere\r\n", "")).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_429_with_its_header_comes_through_the_wire() {
    let (outcome, _) = against(with_headers(429, "Retry-After: 3\r\n", "")).await;
    let retry_after = Some(Duration::from_secs(3));
    assert_eq!(outcome, SendOutcome::NotSent { why: NotSent::RateLimited, retry_after });
}

#[tokio::test]
async fn no_outcome_and_no_client_shows_key_number_or_text() {
    let wire = Wire::start(vec![Act::Close]).await;
    let client = client(&wire.url);
    let shown = format!("{:?} {client:?}", send(&client).await);
    for secret in ["cast_k1", "09171234567", "Hello"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
