//! What nobody may see: one flow through everything, every answer and every log line of it read back.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::{FakeGhlOptions, GhlFault, Install};
use serde_json::json;

use super::{MESSAGES, sms};
use crate::support::world::{COMPANY, INBOUND_KEY, LOCATION, Place, World};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![no_answer_and_no_log_shows_a_text_a_number_or_a_secret]
}

/// On a thread of its own: a log is captured by the thread that writes it, and here one thread writes all of it but the
/// embedded store's, whose lines name a file or an error of SQLite.
async fn no_answer_and_no_log_shows_a_text_a_number_or_a_secret(place: Place) {
    let (answers, log) = tokio::task::spawn_blocking(move || captured(a_bit_of_everything(place))).await.unwrap();
    for shown in ["webhook refused", "kept raw", "connecting failed", "token refreshed", "ghl.status", "answered"] {
        assert!(log.contains(shown), "no line says {shown}:\n{log}");
    }
    let secret = FakeGhlOptions::default().client_secret;
    let hidden = [
        "Magandang",
        "umaga",
        "Salamat",
        "9171234567",
        "4155550100",
        "fake-access-",
        "fake-refresh-",
        "fake-code-",
        INBOUND_KEY,
        &secret,
        "cast_0000",
        "BEGIN PUBLIC",
        "unreadable words",
    ];
    for hidden in hidden {
        for (what, text) in [("an answer", &answers), ("the log", &log)] {
            let line = text.lines().find(|line| line.contains(hidden));
            assert!(line.is_none(), "{what} shows {hidden}: {}", line.unwrap_or_default());
        }
    }
    assert!(!answers.to_ascii_lowercase().contains("\r\nserver:"), "what serves is nobody's business");
}

/// Accepted, duplicate, refused, unreadable, failed for three reasons, replies of all kinds, a refresh: every answer in one.
async fn a_bit_of_everything(place: Place) -> String {
    let w = World::start(place, &[]).await;
    let mut answers = String::new();
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    answers += &whole(w.callback(&code).await).await;
    answers += &whole(w.get("/oauth-callback?code=fake-code-nobody-gave").await).await;
    let good = sms(&w, "Magandang umaga po");
    let signature = w.key.sign(&good.body);
    w.ghl.register_message(LOCATION, &good.message_id);
    for _ in 0..2 {
        answers += &whole(w.post(MESSAGES, &[("x-ghl-signature", &signature)], good.body.clone()).await).await;
    }
    answers += &whole(w.post(MESSAGES, &[], good.body.clone()).await).await;
    let raw = b"unreadable words to 09171234567".to_vec();
    answers += &whole(w.post(MESSAGES, &[("x-ghl-signature", &w.key.sign(&raw))], raw).await).await;
    for phone in ["+14155550100", "Magandang"] {
        answers += &w.sms_to(LOCATION, phone, "umaga").await.body;
    }
    w.send_all().await;
    let echo = "Magandang umaga po to 09171234567 (+639171234567) refused";
    for fault in [
        CastFault::SuccessFalse(echo.into()),
        CastFault::Status(400, json!({"success": false, "error": echo}).to_string()),
        CastFault::Status(500, echo.into()),
        CastFault::KeyRefused(401),
        CastFault::Garbage,
    ] {
        w.cast.fault_next(fault);
        answers += &w.sms("Magandang umaga ulit").await.body;
        w.send_all().await;
        w.pass(Duration::from_secs(61)).await;
        w.send_all().await;
    }
    w.ghl.expire_access_tokens(LOCATION);
    w.ghl.fault_next("/conversations", GhlFault::refusal(422, echo));
    w.ghl.fault_next("/conversations", GhlFault::refusal(500, echo));
    w.report_all().await;
    w.report_all().await;
    for from in ["09171234567", "+14155550100", "GLOBE"] {
        let reply = json!({"from": from, "message": "Salamat po"}).to_string();
        for key in [INBOUND_KEY, "cast_0000"] {
            answers += &whole(w.post("/api/cast/v1/inbound", &[("x-api-key", key)], reply.clone()).await).await;
        }
    }
    let bad = json!({"from": "09171234567", "message": "Salamat", "received_at": "Salamat"}).to_string();
    answers += &whole(w.post("/api/cast/v1/inbound", &[("x-api-key", INBOUND_KEY)], bad).await).await;
    w.ghl.fault_next("/conversations", GhlFault::refusal(500, echo));
    w.reply_all().await;
    w.pass(Duration::from_secs(31)).await;
    w.reply_all().await;
    assert_eq!(w.ghl.inbound().len(), 1);
    w.end();
    answers
}

/// Runs it on a runtime of this thread alone, and answers with all that was logged meanwhile.
fn captured(case: impl Future<Output = String>) -> (String, String) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answers = runtime.block_on(case);
    let log = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    (answers, log)
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Status, headers and body as text.
async fn whole(answer: reqwest::Response) -> String {
    let mut text = format!("{}\r\n", answer.status());
    for (name, value) in answer.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().expect("plain"));
    }
    text + &answer.text().await.expect("a body") + "\r\n"
}
