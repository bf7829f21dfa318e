//! Webhooks, posted to a small server in the bridge's place.

use std::sync::Mutex;

use axum::http::StatusCode;

use super::*;
use crate::fake::server::Server;
use crate::fake::wire::{header, json_answer};
use crate::signature::Scheme;

/// Answers 200 and keeps the signature and the body of each call.
#[derive(Default)]
struct Bridge(Mutex<Vec<(Option<String>, Value)>>);

impl Site for Bridge {
    fn answer(&self, call: &Request<Bytes>) -> Reply {
        let signature = header(call, "x-ghl-signature").map(str::to_owned);
        let body = serde_json::from_slice(call.body()).unwrap_or_default();
        lock(&self.0).push((signature, body));
        Reply::Answer(json_answer(StatusCode::OK, &json!({"status": "accepted"})))
    }
}

async fn bridge() -> (Server<Bridge>, String) {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::start(addr, Clock::default(), Bridge::default()).await.unwrap();
    let url = format!("http://{}/api/ghl/v1/webhook/messages", server.addr());
    (server, url)
}

#[tokio::test]
async fn an_sms_is_posted_signed_with_more_than_the_declared_members() {
    let (bench, (bridge, url)) = (Bench::new().await, bridge().await);
    bench.ghl.set_webhook_url(&url);
    let key = SigningKey::generate(Scheme::Ed25519).unwrap();
    let sms = OutboundSms {
        attachments: vec!["https://a.example/b.jpg".to_owned()],
        ..OutboundSms::new(DEFAULT_LOCATION, "09171234567", "Hello")
    };
    let answer = bench.ghl.send_sms(&sms, &key).await;
    assert_eq!((answer.status, answer.body.as_str()), (Some(200), r#"{"status":"accepted"}"#));
    let id = answer.message_id.unwrap();
    assert_eq!(id.len(), 20);
    let (signature, body) = lock(&bridge.site().0).remove(0);
    assert!(signature.is_some());
    assert_eq!(
        (&body["messageId"], &body["phone"], &body["message"]),
        (&json!(id), &json!("09171234567"), &json!("Hello"))
    );
    assert_eq!(body["attachments"], json!(["https://a.example/b.jpg"]));
    assert!(body["channelMeta"].is_object() && body["conversationProviderId"].is_string());

    let contact = bench.ghl.contacts().remove(0);
    assert_eq!((&contact.id, contact.phone.as_str()), (&text(&body["contactId"]), PHONE));
    let token = bench.token().await;
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(bench.set_status(&token, &id, &json!({"status": "delivered"})).await.status, 200);
    let path = format!("/conversations/{}/messages", contact.conversation_id);
    let list = bench.get(&path, CONVERSATIONS, &token).await.body;
    assert_eq!(list["messages"]["messages"][0]["direction"], "outbound");
}

#[tokio::test]
async fn a_redelivery_is_the_same_bytes_and_does_not_make_the_message_young_again() {
    let (bench, (bridge, url)) = (Bench::new().await, bridge().await);
    bench.ghl.set_webhook_url(&url);
    let key = SigningKey::generate(Scheme::Ed25519).unwrap();
    let webhook = bench.ghl.build_webhook(&OutboundSms::new(DEFAULT_LOCATION, PHONE, "Hello"));
    bench.ghl.deliver(&webhook, &key).await;
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(bench.ghl.redeliver(&webhook, &key).await.status, Some(200));
    let calls = lock(&bridge.site().0).clone();
    assert_eq!((calls.len(), &calls[0]), (2, &calls[1]));
    let token = bench.token().await;
    let delivered = json!({"status": "delivered"});
    assert_eq!(bench.set_status(&token, &webhook.message_id, &delivered).await.status, 200);
}

#[tokio::test]
async fn absent_members_are_left_out_and_a_built_webhook_is_not_yet_a_message() {
    let bench = Bench::new().await;
    let sms = OutboundSms {
        phone: None,
        text: None,
        user_id: None,
        contact_id: Some("CONmine".to_owned()),
        message_id: Some("MSGmine".to_owned()),
        ..OutboundSms::new(DEFAULT_LOCATION, "", "")
    };
    let webhook = bench.ghl.build_webhook(&sms);
    let body: Value = serde_json::from_slice(&webhook.body).unwrap();
    for name in ["phone", "message", "userId", "attachments"] {
        assert!(body.get(name).is_none(), "{name}");
    }
    assert_eq!((&body["contactId"], &body["messageId"]), (&json!("CONmine"), &json!("MSGmine")));
    let token = bench.token().await;
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(bench.set_status(&token, "MSGmine", &json!({"status": "read"})).await.status, 403);
}

#[tokio::test]
async fn a_forgery_and_an_absent_bridge_are_answered_as_they_are() {
    let (bench, (bridge, url)) = (Bench::new().await, bridge().await);
    let answer = bench.ghl.post_webhook(b"{}".to_vec(), &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (None, "no webhook URL is set"));
    bench.ghl.set_webhook_url(&url);
    let answer = bench.ghl.post_webhook(b"{}".to_vec(), &[("x-ghl-signature", "forged")]).await;
    assert_eq!(answer.status, Some(200));
    assert_eq!(lock(&bridge.site().0)[0].0.as_deref(), Some("forged"));
    bridge.stop().await;
    assert_eq!(bench.ghl.post_webhook(b"{}".to_vec(), &[]).await.status, None);
}

#[tokio::test]
async fn a_lifecycle_hook_goes_to_its_own_url_signed_and_the_same_each_time() {
    let (bench, (messages, url), (events, events_url)) = (Bench::new().await, bridge().await, bridge().await);
    bench.ghl.set_webhook_url(&url);
    let key = SigningKey::generate(Scheme::Ed25519).unwrap();
    let hook = bench.ghl.lifecycle_hook("UNINSTALL", None, Some(DEFAULT_COMPANY));
    bench.ghl.tell(&hook, &key).await;
    bench.ghl.set_lifecycle_url(&events_url);
    bench.clock.advance(Duration::from_secs(60));
    bench.ghl.tell(&hook, &key).await;
    let (before, now) = (lock(&messages.site().0).clone(), lock(&events.site().0).clone());
    assert_eq!((before.len(), now.len(), &before[0]), (1, 1, &now[0]));
    let body = &now[0].1;
    assert_eq!((&body["appId"], &body["companyId"]), (&json!(bench.ghl.app_id()), &json!(DEFAULT_COMPANY)));
    assert_eq!(body["timestamp"], "2026-09-21T14:13:20.000Z");
    assert!(body["webhookId"].is_string() && body.get("locationId").is_none());
    assert_ne!(bench.ghl.lifecycle_hook("UNINSTALL", None, None).webhook_id, hook.webhook_id);
}
