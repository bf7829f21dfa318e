//! The way in: who may post, what is stored, and what every answer looks like, whatever arrives.
//!
//! Each case posts real bytes to the real router and looks into the store. Only the two deadlines run on real time, and no
//! case measures any.

mod secrecy;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cast_ghl_provider::digest;
use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::{OutboundSms, Webhook};
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;
use cast_ghl_provider::store::{Query, Unreadable};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::world::{INBOUND_KEY, LOCATION, PHONE, Place, World, header, json as body_of, word};
use crate::{Cases, cases};

/// Where messages go.
const MESSAGES: &str = "/api/ghl/v1/webhook/messages";
/// Where lifecycle events go.
const EVENTS: &str = "/api/ghl/v1/webhook";
const MEBIBYTE: usize = 1024 * 1024;

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        each_of_the_three_schemes_is_accepted_and_one_good_header_of_two_is_enough,
        what_no_trusted_key_signed_is_401_stored_nowhere_and_counted,
        signed_bytes_that_cannot_be_read_are_kept_raw_and_answered_dead_letter_each_time,
        a_body_of_one_mebibyte_is_judged_and_one_byte_more_is_413,
        email_and_unknown_types_are_ignored_without_an_id_and_stored_nowhere,
        a_message_of_another_provider_is_ignored,
        both_routes_take_both_kinds_of_body,
        a_duplicate_is_answered_200_and_sent_once_also_after_a_restart,
        of_fifty_copies_at_once_one_is_accepted_and_one_is_sent,
        a_body_that_does_not_arrive_in_time_is_429_and_welcome_later,
        an_unknown_address_and_a_wrong_method_are_answered_in_shape,
        a_sane_request_id_is_kept_and_a_hostile_one_replaced,
        health_says_ok_and_ready_says_starting_before_it_runs,
    ];
    all.extend(secrecy::cases());
    all
}

/// What needs the embedded store's file.
pub fn embedded_cases() -> Cases<Place> {
    cases![a_store_that_cannot_write_is_429_to_the_crm_and_503_to_the_gateway_and_nothing_is_lost]
}

async fn each_of_the_three_schemes_is_accepted_and_one_good_header_of_two_is_enough(place: Place) {
    let keys = Scheme::ALL.map(|scheme| SigningKey::generate(scheme).expect("a key"));
    let pems: String = keys.iter().map(SigningKey::public_pem).collect();
    let w = World::start(place, &[("GHL_WEBHOOK_PUBLIC_KEY", &pems)]).await;
    w.install(LOCATION).await;
    for (n, key) in keys.iter().enumerate() {
        let sms = OutboundSms::new(LOCATION, PHONE, &format!("signed {n}"));
        assert_eq!(word(&w.ghl.send_sms(&sms, key).await), "accepted", "{key:?}");
    }
    let [ed25519, _, p256] = &keys;
    let body = sms(&w, "two headers").body;
    let (bad, good) = (ed25519.sign(b"something else"), p256.sign(&body));
    let two = [(ed25519.scheme().header(), bad.as_str()), (p256.scheme().header(), good.as_str())];
    assert_eq!(word(&w.ghl.post_webhook(body, &two).await), "accepted");
    for (kind, times) in [("ed25519", 1), ("rsa", 1), ("p256", 2)] {
        assert_eq!(w.counted("signatures", kind), times, "{kind}");
    }
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 4);
    w.end();
}

async fn what_no_trusted_key_signed_is_401_stored_nowhere_and_counted(place: Place) {
    let w = World::connected(place).await;
    let body = sms(&w, "forged").body;
    let tampered = String::from_utf8(body.clone()).unwrap().replace("forged", "fOrged").into_bytes();
    let stranger = SigningKey::generate(Scheme::Ed25519).unwrap();
    let (good, foreign) = (w.key.sign(&body), stranger.sign(&body));
    let truncated = &good[..good.len() - 8];
    let invalid: [(&[u8], &str, &str); 5] = [
        (&tampered, "x-ghl-signature", &good),
        (&body, "x-ghl-signature", &foreign),
        (&body, "x-ghl-signature", truncated),
        (&body, "x-ghl-signature", "not base64 !"),
        (b"", "x-ghl-signature", &good),
    ];
    for (body, header, value) in invalid {
        refused(&w, body, &[(header, value)], "signature_invalid").await;
    }
    let missing: [&[(&str, &str)]; 4] = [
        &[],
        &[("x-ghl-signature", "N/A")],
        &[("x-ghl-signature", ""), ("x-wh-signature", "N/A")],
        &[("x-signature", &good)],
    ];
    for headers in missing {
        refused(&w, &body, headers, "signature_missing").await;
    }
    // A good signature under the header of the other scheme proves nothing.
    let answer = w.post(MESSAGES, &[("x-wh-signature", &good)], body.clone()).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(stored(&w).await, (0, 0));
    assert_eq!(w.counted("signatures", "ed25519"), 0);
    let answer = w.ghl.post_signed(body, &w.key).await;
    assert_eq!(word(&answer), "accepted", "the same bytes, signed");
    w.end();
}

/// Posts it on both routes and checks the whole answer.
async fn refused(w: &World, body: &[u8], headers: &[(&str, &str)], code: &str) {
    for route in [MESSAGES, EVENTS] {
        let before = w.counted("signatures", code);
        let answer = w.post(route, headers, body.to_vec()).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(in_shape(answer).await, code);
        assert_eq!(w.counted("signatures", code), before + 1);
    }
}

async fn signed_bytes_that_cannot_be_read_are_kept_raw_and_answered_dead_letter_each_time(place: Place) {
    let w = World::connected(place).await;
    let unreadable: [&[u8]; 7] = [
        b"not JSON",
        b"",
        b"[1,2]",
        b"{}",
        br#"{"type":"SMS","locationId":"LOCmain0000000000001"}"#,
        br#"{"messageId":"m","locationId":"../x"}"#,
        b"\xff\xfe\x00 no UTF-8",
    ];
    for raw in unreadable {
        let id = format!("dead:{}", digest::sha256_hex(raw));
        for _ in 0..2 {
            let answer = w.ghl.post_signed(raw.to_vec(), &w.key).await;
            assert_eq!(answer.status, Some(200));
            assert_eq!(body_of(&answer), json!({"status": "dead_letter", "id": id}));
        }
        let kept = w.app.store().get::<Unreadable>(&DocId(id)).await.unwrap().expect("a document").record.kept;
        assert_eq!(STANDARD.decode(kept.raw).unwrap(), raw);
    }
    assert_eq!(stored(&w).await, (0, unreadable.len()));
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

async fn a_body_of_one_mebibyte_is_judged_and_one_byte_more_is_413(place: Place) {
    let w = World::connected(place).await;
    let frame = json!({"locationId": LOCATION, "messageId": "MSGlarge", "phone": PHONE, "pad": ""}).to_string();
    let padding = "x".repeat(MEBIBYTE - frame.len());
    let body = frame.replace(r#""pad":"""#, &format!(r#""pad":"{padding}""#)).into_bytes();
    assert_eq!(body.len(), MEBIBYTE);
    refused(&w, &body, &[("x-ghl-signature", &w.key.sign(b"something else"))], "signature_invalid").await;
    assert_eq!(word(&w.ghl.post_signed(body.clone(), &w.key).await), "accepted");
    // Only the head is sent: what the length says is enough.
    let head = format!("POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let declared = raw(&w, format!("{head}Content-Length: {}\r\n\r\n", MEBIBYTE + 1).as_bytes()).await;
    // No length and no end: the first byte too many is enough.
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", MEBIBYTE + 1).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"x\r\n");
    for answer in [declared, raw(&w, &chunked).await] {
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(
            answer.contains(r#"{"error":{"code":"too_large","#) && answer.contains(r#""request_id":""#),
            "{answer}"
        );
    }
    assert_eq!(stored(&w).await, (1, 0));
    assert_eq!(w.counted("webhooks", "too_large"), 2);
    w.end();
}

async fn email_and_unknown_types_are_ignored_without_an_id_and_stored_nowhere(place: Place) {
    let w = World::connected(place).await;
    for kind in ["Email", "WhatsApp", "email", "SMS2", "PLAN_CHANGE"] {
        let mail = OutboundSms { kind: kind.into(), ..OutboundSms::new(LOCATION, PHONE, "hi") };
        let answer = w.ghl.send_sms(&mail, &w.key).await;
        assert_eq!((answer.status, body_of(&answer)), (Some(200), json!({"status": "ignored"})), "{kind}");
    }
    for bare in [json!({"type": "Email"}), json!({"type": 7, "locationId": "a/b"})] {
        let answer = w.ghl.post_signed(bare.to_string().into_bytes(), &w.key).await;
        assert_eq!(body_of(&answer), json!({"status": "ignored"}), "whatever else it holds");
    }
    assert_eq!(stored(&w).await, (0, 0));
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

async fn a_message_of_another_provider_is_ignored(place: Place) {
    let w = World::connected(place).await;
    let mut body: Value = serde_json::from_slice(&sms(&w, "theirs").body).unwrap();
    let ours = body["conversationProviderId"].clone();
    assert!(ours.is_string());
    body["conversationProviderId"] = json!("PRVother000000000001");
    let answer = w.ghl.post_signed(body.to_string().into_bytes(), &w.key).await;
    assert_eq!((answer.status, body_of(&answer)), (Some(200), json!({"status": "ignored"})));
    assert_eq!(stored(&w).await, (0, 0));
    for provider in [ours, json!(""), Value::Null] {
        body["conversationProviderId"] = provider;
        body["messageId"] = json!(format!("MSG{}", digest::sha256_hex(body.to_string().as_bytes()).split_at(16).0));
        assert_eq!(word(&w.ghl.post_signed(body.to_string().into_bytes(), &w.key).await), "accepted");
    }
    w.end();
}

async fn both_routes_take_both_kinds_of_body(place: Place) {
    let w = World::connected(place).await;
    for (n, route) in [MESSAGES, EVENTS].into_iter().enumerate() {
        w.ghl.set_webhook_url(&format!("{}{route}", w.base));
        for kind in ["INSTALL", "UNINSTALL", "UPDATE", "PLAN_CHANGE", "ContactDndUpdate"] {
            let event = json!({
                "type": kind, "appId": w.ghl.app_id(), "locationId": LOCATION, "webhookId": format!("w{n}{kind}"),
                "timestamp": "2026-05-28T20:26:40.000Z",
            });
            let answer = w.ghl.post_signed(event.to_string().into_bytes(), &w.key).await;
            let due = match kind {
                "PLAN_CHANGE" | "ContactDndUpdate" => json!({"status": "ignored"}),
                _ => json!({"status": "accepted", "id": format!("event:w{n}{kind}")}),
            };
            assert_eq!((answer.status, body_of(&answer)), (Some(200), due), "{kind}");
        }
        assert_eq!(word(&w.sms(&format!("message {n}")).await), "accepted", "{route}");
    }
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 2);
    w.end();
}

async fn a_duplicate_is_answered_200_and_sent_once_also_after_a_restart(place: Place) {
    let mut w = World::connected(place).await;
    let webhook = sms(&w, "once");
    let first = w.ghl.deliver(&webhook, &w.key).await;
    let id = body_of(&first)["id"].clone();
    assert_eq!(id, json!(format!("out:{LOCATION}:{}", webhook.message_id)));
    assert_eq!(body_of(&w.ghl.redeliver(&webhook, &w.key).await), json!({"status": "duplicate", "id": id}));
    w.send_all().await;
    for _ in 0..2 {
        w = w.restart().await;
        let again = w.ghl.redeliver(&webhook, &w.key).await;
        assert_eq!((again.status, body_of(&again)), (Some(200), json!({"status": "duplicate", "id": id})));
        w.send_all().await;
    }
    w.report_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(w.told(&first), Some(("delivered".into(), None)));
    w.end();
}

async fn of_fifty_copies_at_once_one_is_accepted_and_one_is_sent(place: Place) {
    let w = World::connected(place).await;
    let webhook = sms(&w, "fifty");
    w.ghl.register_message(LOCATION, &webhook.message_id);
    let answers: Vec<WebhookAnswer> = join_all((0..50).map(|_| w.ghl.redeliver(&webhook, &w.key))).await;
    assert!(answers.iter().all(|a| a.status == Some(200)), "{answers:?}");
    let said = |what: &str| answers.iter().filter(|a| word(a) == what).count();
    assert_eq!((said("accepted"), said("duplicate")), (1, 49));
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(stored(&w).await, (1, 0));
    w.end();
}

async fn a_body_that_does_not_arrive_in_time_is_429_and_welcome_later(place: Place) {
    let w = World::start(place, &[("ACCEPT_TIMEOUT", "1s")]).await;
    w.install(LOCATION).await;
    let webhook = sms(&w, "slow");
    let (half, signature) = (&webhook.body[..webhook.body.len() / 2], w.key.sign(&webhook.body));
    let length = webhook.body.len();
    let head = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nX-GHL-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n"
    );
    let answer = raw(&w, &[head.as_bytes(), half].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 30\r\n"), "{answer}");
    assert!(answer.contains(r#"{"error":{"code":"try_again","#), "{answer}");
    assert_eq!(w.counted("webhooks", "deadline"), 1);
    assert_eq!(stored(&w).await, (0, 0));
    assert_eq!(word(&w.ghl.deliver(&webhook, &w.key).await), "accepted");
    w.end();
}

async fn an_unknown_address_and_a_wrong_method_are_answered_in_shape(place: Place) {
    let w = World::start(place, &[]).await;
    for path in ["/nope", "/api", "/api/ghl/v1/webhook/", "/api/ghl/v1/webhook/messages/x", "/console", "/%2e%2e/etc"] {
        let answer = w.get(path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(in_shape(answer).await, "not_found");
    }
    let gets = [MESSAGES, EVENTS, "/api/cast/v1/inbound"];
    for path in gets {
        let answer = w.get(path).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "allow").as_str()), (405, "POST"), "{path}");
        assert_eq!(in_shape(answer).await, "method_not_allowed");
    }
    for path in ["/", "/health", "/ready", "/install", "/oauth-callback"] {
        let answer = w.post(path, &[], "").await;
        assert_eq!(answer.status(), 405, "{path}");
        assert_eq!(header(&answer, "allow"), "GET,HEAD", "{path}");
        assert_eq!(in_shape(answer).await, "method_not_allowed");
    }
    w.end();
}

async fn a_sane_request_id_is_kept_and_a_hostile_one_replaced(place: Place) {
    let w = World::start(place, &[]).await;
    let longest = "x".repeat(64);
    for sane in ["a", "7f3c-2.B_9", longest.as_str()] {
        let answer = w.post("/nope", &[("x-request-id", sane)], "").await;
        assert_eq!(header(&answer, "x-request-id"), sane);
        in_shape(answer).await;
    }
    let too_long = "x".repeat(65);
    let mut made = std::collections::HashSet::new();
    for hostile in ["", "<script>", "a b", "{\"x\":1}", "\u{e9}", too_long.as_str()] {
        let answer = w.post("/nope", &[("x-request-id", hostile)], "").await;
        let id = header(&answer, "x-request-id");
        assert!(id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(made.insert(id), "an id of its own");
        in_shape(answer).await;
    }
    let page = w.get("/").await;
    assert_eq!(header(&page, "x-request-id").len(), 16, "pages have one, too");
    w.end();
}

async fn health_says_ok_and_ready_says_starting_before_it_runs(place: Place) {
    let w = World::start(place, &[]).await;
    let health = w.get("/health").await;
    assert_eq!(health.status(), 200);
    assert_eq!(health.json::<Value>().await.unwrap(), json!({"status": "ok"}));
    // The world steps the loops itself: what `run` would call started never comes.
    let ready = w.get("/ready").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap(), json!({"status": "starting"}));
    assert_eq!(w.get("/metrics").await.status(), 404, "metrics have a listener of their own");
    w.end();
}

/// A writer that cannot write: another process holds the write lock, as a backup gone wrong does.
async fn a_store_that_cannot_write_is_429_to_the_crm_and_503_to_the_gateway_and_nothing_is_lost(place: Place) {
    let w = World::start(place, &[("ACCEPT_TIMEOUT", "1s")]).await;
    w.install(LOCATION).await;
    let Place::Embedded(dir) = w.place().clone() else { panic!("a case of the embedded store") };
    let webhook = sms(&w, "in the way");
    let other = rusqlite::Connection::open(dir.join("cast-ghl.sqlite3")).expect("the store's file");
    other.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    let (to_crm, to_gateway) = tokio::join!(
        async { w.post(MESSAGES, &[("x-ghl-signature", &w.key.sign(&webhook.body))], webhook.body.clone()).await },
        w.post("/api/cast/v1/inbound", &[("x-api-key", INBOUND_KEY)], r#"{"id":"1","from":"GLOBE","message":"x"}"#),
    );
    for (answer, status, code) in [(to_crm, 429, "try_again"), (to_gateway, 503, "unavailable")] {
        assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (status, "30"));
        assert_eq!(in_shape(answer).await, code);
    }
    other.execute_batch("ROLLBACK").expect("the write lock is free");
    // The write may have landed after its 429: then this is a duplicate, and harmless.
    let answer = w.ghl.deliver(&webhook, &w.key).await;
    assert_eq!(answer.status, Some(200));
    assert!(["accepted", "duplicate"].contains(&word(&answer).as_str()));
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

/// An SMS of the main location to the usual phone, not yet posted.
fn sms(w: &World, text: &str) -> Webhook {
    w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, text))
}

/// How many messages and unreadable webhooks are stored.
async fn stored(w: &World) -> (usize, usize) {
    let all = || Query::Page { after: None, limit: 1000 };
    let messages = w.app.store().find::<Message>(all()).await.expect("the store answers");
    let unreadable = w.app.store().find::<Unreadable>(all()).await.expect("the store answers");
    (messages.len(), unreadable.len())
}

/// Checks the one shape of errors and answers its code.
pub async fn in_shape(answer: reqwest::Response) -> String {
    let id = header(&answer, "x-request-id");
    assert_eq!(header(&answer, "content-type"), "application/json");
    let body: Value = answer.json().await.expect("JSON");
    let code = body["error"]["code"].as_str().expect("a code").to_owned();
    let sentence = body["error"]["message"].as_str().expect("a sentence");
    assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
    assert!(sentence.ends_with('.'), "{sentence}");
    assert_eq!(body, json!({"error": {"code": code, "message": sentence}, "request_id": id}), "and nothing else");
    code
}

/// Writes the bytes to a connection of its own and answers with all that comes back until the bridge closes it.
async fn raw(w: &World, bytes: &[u8]) -> String {
    let addr = w.base.strip_prefix("http://").expect("a base");
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(bytes).await.expect("taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8(answer).expect("text")
}
