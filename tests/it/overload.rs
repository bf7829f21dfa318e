//! More than there is room for: too long a backlog, too full a disk, too many at once. All of it is "later" to the CRM, and
//! nothing of it is an illness: health stays green, and what is stored goes on.

use std::time::Duration;

use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::{OutboundSms, Webhook};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::world::{INBOUND_KEY, LOCATION, PHONE, Place, World, header, json as body_of, word};
use crate::webhook::in_shape;
use crate::{Cases, cases};

const MESSAGES: &str = "/api/ghl/v1/webhook/messages";
const REPLIES: &str = "/api/cast/v1/inbound";
/// Only something broken takes longer.
const LIMIT: Duration = Duration::from_secs(120);

pub fn cases() -> Cases<Place> {
    cases![
        at_the_backlog_limit_a_message_is_429_and_welcome_once_another_is_settled,
        at_the_backlog_limit_what_does_not_wait_is_still_stored,
        what_an_earlier_process_left_open_counts,
        a_refused_message_is_stored_nowhere_and_a_duplicate_takes_no_room,
        beyond_512_webhooks_at_once_the_next_is_429_before_its_body_is_read_and_health_is_green,
        large_bodies_at_once_are_fewer_and_leave_room_for_ordinary_ones,
    ]
}

/// What needs a disk of the bridge's own.
pub fn embedded_cases() -> Cases<Place> {
    cases![below_the_disk_reserve_new_documents_are_refused_and_outcomes_are_still_written]
}

/// What needs a server beside the bridge: MongoDB alone.
pub fn replica_cases() -> Cases<Place> {
    cases![what_another_replica_took_counts_from_the_next_count_on, the_disk_under_mongodb_is_not_the_bridges_affair,]
}

async fn at_the_backlog_limit_a_message_is_429_and_welcome_once_another_is_settled(place: Place) {
    let w = limited(place, "3").await;
    let webhooks: Vec<Webhook> = (0..4).map(|n| sms(&w, &format!("message {n}"))).collect();
    let mut answers = Vec::new();
    for webhook in &webhooks[..3] {
        answers.push(w.ghl.deliver(webhook, &w.key).await);
    }
    assert!(answers.iter().all(|answer| word(answer) == "accepted"), "{answers:?}");
    // No count was taken yet: what came in is known without one.
    later(&w.ghl.deliver(&webhooks[3], &w.key).await);
    w.app.census().step().await.unwrap();
    later(&w.ghl.redeliver(&webhooks[3], &w.key).await);
    assert_eq!(degraded(&w).await, ["backlog"]);
    assert_eq!(w.get("/health").await.status(), 200);
    assert_eq!(gauge(&w, "messages_unsettled"), 3);

    w.send_all().await;
    // Nobody is turned away when nobody comes: the second count says that the first refusals are over.
    w.app.census().step().await.unwrap();
    w.app.census().step().await.unwrap();
    assert_eq!(degraded(&w).await, [""; 0]);
    assert_eq!(gauge(&w, "messages_unsettled"), 0);
    answers.push(w.ghl.redeliver(&webhooks[3], &w.key).await);
    assert_eq!(word(&answers[3]), "accepted");
    w.send_all().await;
    w.report_all().await;
    assert!(answers.iter().all(|answer| w.told(answer) == Some(("delivered".into(), None))));
    assert_eq!(w.cast.calls().len(), 4);
    assert_eq!(w.counted("webhooks", "backlog_full"), 2);
    w.end();
}

async fn at_the_backlog_limit_what_does_not_wait_is_still_stored(place: Place) {
    let w = limited(place, "1").await;
    assert_eq!(word(&w.sms("fills it").await), "accepted");
    w.app.census().step().await.unwrap();
    later(&w.sms("one more").await);
    let unreadable = w.ghl.post_signed(b"not JSON".to_vec(), &w.key).await;
    assert_eq!((unreadable.status, word(&unreadable).as_str()), (Some(200), "dead_letter"));
    let mail = OutboundSms { kind: "Email".into(), ..OutboundSms::new(LOCATION, PHONE, "hi") };
    assert_eq!(word(&w.ghl.send_sms(&mail, &w.key).await), "ignored");
    let (status, _) = w.reply(json!({"id": "1", "from": PHONE, "message": "a reply"})).await;
    assert_eq!(status, 202);
    let forged = w.post(MESSAGES, &[("x-ghl-signature", "AAAA")], "{}").await;
    assert_eq!(forged.status(), 401, "who it is comes before whether there is room");
    w.end();
}

async fn what_an_earlier_process_left_open_counts(place: Place) {
    let w = limited(place, "2").await;
    for n in 0..2 {
        assert_eq!(word(&w.sms(&format!("left {n}")).await), "accepted");
    }
    let w = w.restart().await;
    w.app.census().step().await.unwrap();
    let answer = w.sms("beyond").await;
    later(&answer);
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 2);
    w.end();
}

async fn a_refused_message_is_stored_nowhere_and_a_duplicate_takes_no_room(place: Place) {
    let w = limited(place, "2").await;
    let first = sms(&w, "first");
    w.ghl.deliver(&first, &w.key).await;
    for _ in 0..5 {
        assert_eq!(word(&w.ghl.redeliver(&first, &w.key).await), "duplicate");
    }
    let second = sms(&w, "second");
    assert_eq!(word(&w.ghl.deliver(&second, &w.key).await), "accepted");
    later(&w.sms("third").await);
    // Only the store could tell that it is known; it is asked again when GHL repeats it.
    later(&w.ghl.redeliver(&first, &w.key).await);
    w.send_all().await;
    w.app.census().step().await.unwrap();
    assert_eq!(word(&w.ghl.redeliver(&first, &w.key).await), "duplicate");
    let texts: Vec<_> = w.cast.taken().into_iter().filter_map(|call| call.message).collect();
    assert_eq!(texts, ["first", "second"]);
    w.end();
}

async fn beyond_512_webhooks_at_once_the_next_is_429_before_its_body_is_read_and_health_is_green(place: Place) {
    let w = World::start(place, &[("ACCEPT_TIMEOUT", "10s")]).await;
    w.install(LOCATION).await;
    let head = format!("POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nthe beginning of");
    let held = fill(&w, &head, "{}".into()).await;
    assert!(held.len() >= 512, "{}", held.len());
    assert_eq!(w.get("/health").await.status(), 200);
    assert_eq!(degraded(&w).await, [""; 0]);
    let (status, _) = w.reply(json!({"id": "1", "from": PHONE, "message": "by another door"})).await;
    assert_eq!(status, 202);
    assert!(w.counted("webhooks", "busy") > 0);
    drop(held);
    emptied(&w, "{}".into()).await;
    assert_eq!(word(&w.sms("after the flood").await), "accepted");
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn large_bodies_at_once_are_fewer_and_leave_room_for_ordinary_ones(place: Place) {
    let w = World::start(place, &[("ACCEPT_TIMEOUT", "10s")]).await;
    w.install(LOCATION).await;
    // Neither says how long it will be, so both may become large.
    let head = format!("POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nthe \r\n");
    let large = vec![b' '; 200 * 1024];
    let held = fill(&w, &head, large.clone()).await;
    assert!((64..512).contains(&held.len()), "{}", held.len());
    assert_eq!(word(&w.sms("an ordinary one").await), "accepted");
    drop(held);
    emptied(&w, large).await;
    w.end();
}

async fn below_the_disk_reserve_new_documents_are_refused_and_outcomes_are_still_written(place: Place) {
    let w = World::start(place, &[("DISK_RESERVE", "1000TiB")]).await;
    w.install(LOCATION).await;
    let stored = w.sms("before the disk was looked at").await;
    assert_eq!(word(&stored), "accepted");
    w.app.census().step().await.unwrap();
    assert_eq!(degraded(&w).await, ["disk"]);
    assert_eq!(w.get("/health").await.status(), 200);
    assert!(gauge(&w, "disk_free_bytes") > 0);

    let refused = sms(&w, "for want of disk");
    later(&w.ghl.deliver(&refused, &w.key).await);
    later(&w.ghl.post_signed(b"not JSON".to_vec(), &w.key).await);
    let reply = r#"{"id":"1","from":"GLOBE","message":"x"}"#;
    let answer = w.post(REPLIES, &[("x-api-key", INBOUND_KEY)], reply).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (503, "30"));
    assert_eq!(in_shape(answer).await, "unavailable");
    assert_eq!((w.counted("webhooks", "disk_full"), w.counted("replies", "disk_full")), (2, 1));
    // That is what the reserve is for.
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&stored), Some(("delivered".into(), None)));

    let w = w.restart_with(&[("DISK_RESERVE", "1KiB")]).await;
    w.app.census().step().await.unwrap();
    assert_eq!(degraded(&w).await, [""; 0]);
    assert_eq!(word(&w.ghl.redeliver(&refused, &w.key).await), "accepted");
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 2);
    w.end();
}

async fn what_another_replica_took_counts_from_the_next_count_on(place: Place) {
    let w = limited(place, "2").await;
    let other = w.replica().await;
    other.census().step().await.unwrap();
    for n in 0..2 {
        assert_eq!(word(&w.sms(&format!("message {n}")).await), "accepted");
    }
    let beyond = sms(&w, "beyond");
    later(&w.ghl.deliver(&beyond, &w.key).await);
    let theirs = crate::support::world::Port::of(&other).await;
    w.ghl.set_webhook_url(&format!("{}{MESSAGES}", theirs.base));
    other.census().step().await.unwrap();
    later(&w.ghl.redeliver(&beyond, &w.key).await);
    w.send_all().await;
    other.census().step().await.unwrap();
    assert_eq!(word(&w.ghl.redeliver(&beyond, &w.key).await), "accepted");
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 3);
    w.end();
}

async fn the_disk_under_mongodb_is_not_the_bridges_affair(place: Place) {
    let w = World::start(place, &[("DISK_RESERVE", "1000TiB")]).await;
    w.install(LOCATION).await;
    w.app.census().step().await.unwrap();
    assert_eq!(word(&w.sms("stored elsewhere").await), "accepted");
    assert_eq!(degraded(&w).await, [""; 0]);
    w.end();
}

/// A bridge with one connected location and room for so many unsettled messages.
async fn limited(place: Place, backlog: &str) -> World {
    let w = World::start(place, &[("BACKLOG_LIMIT", backlog)]).await;
    w.install(LOCATION).await;
    w
}

fn sms(w: &World, text: &str) -> Webhook {
    w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, text))
}

/// "Cannot take it now", whole.
fn later(answer: &WebhookAnswer) {
    assert_eq!(answer.status, Some(429), "{}", answer.body);
    assert_eq!(body_of(answer)["error"]["code"], "try_again");
}

async fn degraded(w: &World) -> Vec<String> {
    let ready: Value = w.get("/ready").await.json().await.expect("JSON");
    let words = ready["degraded"].as_array().cloned().unwrap_or_default();
    words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn gauge(w: &World, name: &str) -> i64 {
    let name = format!("cast_ghl_{name} ");
    let page = w.app.metrics().render();
    page.lines().find_map(|line| line.strip_prefix(&name)).expect("a gauge").parse().expect("a number")
}

/// Begins requests and never ends them until a whole one with this body, which nobody signed, is answered "later" at once
/// instead of 401. What is held is let go at its deadline, so that on a slow machine more are begun.
async fn fill(w: &World, beginning: &str, probe: Vec<u8>) -> Vec<TcpStream> {
    let addr = w.base.strip_prefix("http://").expect("a base");
    let filling = async {
        let mut held = Vec::new();
        loop {
            for _ in 0..32 {
                let mut stream = TcpStream::connect(addr).await.expect("a connection");
                stream.write_all(beginning.as_bytes()).await.expect("taken");
                held.push(stream);
            }
            let answer = w.post(MESSAGES, &[], probe.clone()).await;
            match answer.status().as_u16() {
                429 => {
                    assert_eq!(header(&answer, "retry-after"), "30");
                    assert_eq!(in_shape(answer).await, "try_again");
                    return held;
                }
                status => assert_eq!(status, 401),
            }
        }
    };
    tokio::time::timeout(LIMIT, filling).await.expect("it is full at some time")
}

/// Waits until there is room again.
async fn emptied(w: &World, probe: Vec<u8>) {
    let emptying = async { while w.post(MESSAGES, &[], probe.clone()).await.status() != 401 {} };
    tokio::time::timeout(LIMIT, emptying).await.expect("there is room at some time");
}
