//! The fake Cast, asked over real sockets by a plain client.

use std::error::Error as _;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::clock::TestClock;
use crate::domain::time::UnixMillis;

const TO: &str = "09171234567";

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

struct Bench {
    fake: FakeCast,
    clock: TestClock,
    http: reqwest::Client,
}

impl Bench {
    async fn new() -> Self {
        Self::with(FakeCastOptions::default()).await
    }

    async fn with(options: FakeCastOptions) -> Self {
        let clock = TestClock::at(UnixMillis(1_790_000_000_000));
        let options = FakeCastOptions { clock: Clock::Test(clock.clone()), ..options };
        Self { fake: FakeCast::start(options).await.unwrap(), clock, http: http() }
    }

    fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/api/sms/send", self.fake.url()))
            .header("x-api-key", DEFAULT_API_KEY)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    async fn send(&self, body: &Value) -> (StatusCode, Value) {
        let answer = self.request(body).send().await.unwrap();
        (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }
}

fn sms(message: &str) -> Value {
    json!({"to": TO, "message": message})
}

#[tokio::test]
async fn a_good_send_is_taken_and_written_down() {
    let bench = Bench::new().await;
    let body = json!({"to": TO, "message": "Hello", "sender_id": "CAST"});
    let answer = bench.request(&body).header("idempotency-key", "k1").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let calls = bench.fake.calls();
    assert_eq!(answer, json!({"success": true, "message_id": calls[0].message_id, "parts": 1}));
    let expected = CastCall {
        at: UnixMillis(1_790_000_000_000),
        key: "…ca57".to_owned(),
        to: Some(TO.to_owned()),
        message: Some("Hello".to_owned()),
        sender_id: Some("CAST".to_owned()),
        idempotency_key: Some("k1".to_owned()),
        status: Some(200),
        taken: true,
        message_id: calls[0].message_id.clone(),
        problem: None,
        breach: false,
    };
    assert_eq!(calls, [expected]);
    assert_eq!((bench.fake.taken(), bench.fake.taken_count()), (calls, 1));
}

#[tokio::test]
async fn a_wrong_key_is_401_in_the_gateways_words() {
    let bench = Bench::new().await;
    for key in ["", "cast_other"] {
        let answer = bench
            .http
            .post(format!("{}/api/sms/send", bench.fake.url()))
            .header("x-api-key", key)
            .header("content-type", "application/json")
            .body(sms("Hi").to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.text().await.unwrap(), r#"{"error":"Invalid API key","success":false}"#);
    }
    assert_eq!((bench.fake.taken_count(), bench.fake.breaches()), (0, vec![]));
}

#[tokio::test]
async fn what_the_contract_does_not_allow_is_refused() {
    let bench =
        Bench::with(FakeCastOptions { sender_ids: vec!["CAST".to_owned()], ..FakeCastOptions::default() }).await;
    let refused = [
        (json!({"to": "+639171234567", "message": "Hi"}), "Invalid phone number"),
        (json!({"to": "0281234567", "message": "Hi"}), "Invalid phone number"),
        (json!({"to": TO, "message": ""}), "Message is required"),
        (json!({"to": TO}), "message is required"),
        (json!({"to": TO, "message": "a".repeat(451)}), "Message exceeds 450 characters"),
        (json!({"to": TO, "message": "₱".repeat(202)}), "Message exceeds 3 SMS parts"),
        (json!({"to": TO, "message": "Hi", "sender_id": null}), "Invalid type, expected a string"),
        (json!({"to": TO, "message": "Hi", "sender_id": "TWELVE CHARS"}), "Invalid sender_id"),
        (json!({"to": TO, "message": "Hi", "sender_id": "UNKNOWN"}), "Unknown sender_id"),
        (json!({"to": TO, "message": "Hi", "from": "CAST"}), "Unknown field from"),
    ];
    for (body, words) in refused {
        let answer = bench.send(&body).await;
        let expected = json!({"success": false, "error": words});
        assert_eq!(answer, (StatusCode::BAD_REQUEST, expected), "{body}");
    }
    let form = bench.request(&sms("Hi")).header("content-type", "text/plain");
    assert_eq!(form.send().await.unwrap().status(), 415);
    let breaches = bench.fake.breaches().len();
    assert_eq!(breaches, 10, "all but the sender id it does not know");
    assert_eq!(bench.fake.taken_count(), 0);
    assert_eq!(bench.send(&sms(&"a".repeat(450))).await.0, 200);
    assert_eq!(bench.send(&sms(&"₱".repeat(201))).await.1["parts"], 3);
}

#[tokio::test]
async fn an_unknown_path_is_404_and_written_down() {
    let bench = Bench::new().await;
    let answer = bench.http.get(format!("{}/api/sms/status?id=1", bench.fake.url())).send().await;
    assert_eq!(answer.unwrap().status(), 404);
    let answer = bench.http.get(format!("{}/api/sms/send", bench.fake.url())).send().await;
    assert_eq!(answer.unwrap().status(), 405);
    let seen: Vec<_> = bench.fake.unexpected().into_iter().map(|u| (u.method, u.path)).collect();
    assert_eq!(seen, [("GET".into(), "/api/sms/status".into()), ("GET".into(), "/api/sms/send".into())]);
}

#[tokio::test]
async fn over_the_burst_it_answers_429_with_a_wait_that_is_long_enough() {
    let bench = Bench::with(FakeCastOptions { rate_per_second: 0.4, burst: 2, ..FakeCastOptions::default() }).await;
    assert_eq!(bench.send(&sms("1")).await.0, 200);
    assert_eq!(bench.send(&sms("2")).await.0, 200);
    let answer = bench.request(&sms("3")).send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"3".parse().unwrap())
    );
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(bench.send(&sms("3")).await.0, 200);
    assert_eq!(bench.fake.taken_count(), 3);
}

#[tokio::test]
async fn each_key_has_its_own_bucket() {
    let keys = vec![DEFAULT_API_KEY.to_owned(), "cast_second".to_owned()];
    let bench = Bench::with(FakeCastOptions { api_keys: keys, burst: 1, ..FakeCastOptions::default() }).await;
    assert_eq!(bench.send(&sms("1")).await.0, 200);
    assert_eq!(bench.send(&sms("2")).await.0, 429);
    let other = bench
        .http
        .post(format!("{}/api/sms/send", bench.fake.url()))
        .header("x-api-key", "cast_second")
        .header("content-type", "application/json")
        .body(sms("3").to_string());
    assert_eq!(other.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn answering_faults_say_what_they_were_told_and_take_only_what_they_name() {
    let bench = Bench::new().await;
    let cases = [
        (CastFault::Status(503, r#"{"error":"SMPP"}"#.into()), 503, json!({"error": "SMPP"}), false),
        (CastFault::StatusAfterTaking(500), 500, json!({"success": false, "error": "Internal server error"}), true),
        (CastFault::Garbage, 200, Value::Null, true),
        (CastFault::WithoutSuccess, 200, json!({}), true),
        (CastFault::SuccessWithoutId, 200, json!({"success": true}), true),
        (CastFault::SuccessFalse("No credit".into()), 200, json!({"success": false, "error": "No credit"}), false),
        (
            CastFault::RateLimited { retry_after: None },
            429,
            json!({"success": false, "error": "Rate limit exceeded"}),
            false,
        ),
        (CastFault::Redirect, 307, json!({}), false),
        (CastFault::KeyRefused(402), 402, json!({"success": false, "error": "This API key may not send"}), false),
    ];
    for (fault, status, body, taken) in cases {
        bench.fake.fault_next(fault.clone());
        let answer = bench.send(&sms("Hi")).await;
        assert_eq!(answer, (StatusCode::from_u16(status).unwrap(), body), "{fault:?}");
        let line = bench.fake.calls().pop().unwrap();
        assert_eq!((line.taken, line.message_id.is_some(), line.status), (taken, taken, Some(status)), "{fault:?}");
    }
    bench.fake.fault_next(CastFault::NumericId);
    let id = bench.send(&sms("Hi")).await.1["message_id"].as_u64().unwrap();
    assert_eq!(bench.fake.taken().pop().unwrap().message_id, Some(id.to_string()));
    assert_eq!(bench.send(&sms("Hi")).await.0, 200, "queued faults are used up");
}

#[tokio::test]
async fn a_reset_is_a_reset_and_the_ledger_knows_whether_the_sms_went_out() {
    let bench = Bench::new().await;
    for (fault, taken) in [(CastFault::ResetBeforeTaking, false), (CastFault::ResetAfterTaking, true)] {
        bench.fake.fault_next(fault);
        let error = bench.request(&sms("Hi")).send().await.unwrap_err();
        assert!(!error.is_connect() && !error.is_timeout(), "{error:?}");
        let mut source = error.source();
        let mut reset = false;
        while let Some(cause) = source {
            reset |= cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionReset);
            source = cause.source();
        }
        assert!(reset, "{error:?}");
        let line = bench.fake.calls().pop().unwrap();
        assert_eq!((line.taken, line.status), (taken, None));
    }
}

#[tokio::test]
async fn a_hanging_call_answers_when_released() {
    let bench = Bench::new().await;
    bench.fake.fault_next(CastFault::Hang { after_taking: true });
    bench.fake.fault_next(CastFault::Hang { after_taking: false });
    let took = tokio::spawn(bench.request(&sms("1")).send());
    bench.fake.until(|fake| fake.calls().len() == 1).await;
    let other = tokio::spawn(bench.request(&sms("2")).send());
    bench.fake.until(|fake| fake.calls().len() == 2).await;
    assert!(!took.is_finished() && !other.is_finished());
    bench.fake.release();
    assert_eq!(took.await.unwrap().unwrap().status(), 200);
    assert!(other.await.unwrap().is_err());
    assert_eq!(bench.fake.taken_count(), 1);
}

#[tokio::test]
async fn a_slow_body_never_ends_and_a_big_body_is_8_mib_without_a_length() {
    let bench = Bench::new().await;
    bench.fake.fault_next(CastFault::SlowBody);
    let answer = bench.request(&sms("1")).timeout(Duration::from_millis(300)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap_err().is_timeout());
    bench.fake.fault_next(CastFault::BigBody);
    let answer = bench.request(&sms("2")).send().await.unwrap();
    assert_eq!(answer.content_length(), None);
    let body = answer.bytes().await.unwrap();
    assert!(body.len() > 8 * 1024 * 1024);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["success"], true);
    assert_eq!(bench.fake.taken_count(), 2);
}

#[tokio::test]
async fn a_queued_fault_goes_before_a_numbers_own_and_that_before_the_standing_one() {
    let bench = Bench::new().await;
    bench.fake.fault_all(Some(CastFault::Status(500, "{}".into())));
    bench.fake.fault_number("4567", Some(CastFault::Status(502, "{}".into())));
    bench.fake.fault_next(CastFault::Pass);
    assert_eq!(bench.send(&sms("1")).await.0, 200);
    assert_eq!(bench.send(&sms("2")).await.0, 502);
    bench.fake.fault_number("4567", None);
    assert_eq!(bench.send(&sms("3")).await.0, 500);
    bench.fake.fault_all(None);
    assert_eq!(bench.send(&sms("4")).await.0, 200);
}

#[tokio::test]
async fn a_refused_number_does_not_use_up_a_fault() {
    let bench = Bench::new().await;
    bench.fake.refuse_number("4567", "Subscriber is blocked");
    bench.fake.fault_next(CastFault::Status(500, "{}".into()));
    let refused = json!({"success": false, "error": "Subscriber is blocked"});
    assert_eq!(bench.send(&sms("1")).await, (StatusCode::BAD_REQUEST, refused));
    assert_eq!(bench.send(&json!({"to": "09170000000", "message": "2"})).await.0, 500);
}

#[tokio::test]
async fn stopped_it_refuses_and_restarted_it_remembers() {
    let bench = Bench::new().await;
    assert_eq!(bench.send(&sms("1")).await.0, 200);
    bench.fake.stop().await;
    bench.fake.stop().await;
    assert!(bench.request(&sms("2")).send().await.unwrap_err().is_connect());
    bench.fake.restart().await.unwrap();
    assert!(bench.fake.restart().await.is_err(), "it already runs");
    assert_eq!(bench.send(&sms("3")).await.0, 200);
    assert_eq!(bench.fake.taken_count(), 2);
}

#[tokio::test]
async fn stopping_breaks_open_calls() {
    let bench = Bench::new().await;
    bench.fake.fault_next(CastFault::Hang { after_taking: true });
    let open = tokio::spawn(bench.request(&sms("1")).send());
    bench.fake.until(|fake| fake.calls().len() == 1).await;
    bench.fake.stop().await;
    assert!(open.await.unwrap().is_err());
}

#[tokio::test]
async fn the_last_handle_dropped_stops_it() {
    let bench = Bench::new().await;
    let (url, other) = (bench.fake.url(), bench.fake.clone());
    drop(bench.fake);
    let get = |url: String| bench.http.get(url).send();
    assert_eq!(get(format!("{url}/a")).await.unwrap().status(), 404);
    drop(other);
    while get(format!("{url}/a")).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn latency_is_waited_on_the_fakes_clock() {
    let bench = Bench::new().await;
    bench.fake.set_latency(Duration::from_secs(60));
    let open = tokio::spawn(bench.request(&sms("1")).send());
    bench.fake.until(|fake| fake.taken_count() == 1).await;
    assert!(!open.is_finished());
    while !open.is_finished() {
        bench.clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(open.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_persons_reply_is_posted_with_the_inbound_key() {
    // A second fake plays the bridge: it knows no such path, and its answer comes back as it is.
    let (bench, bridge) = (Bench::new().await, Bench::new().await);
    let reply =
        PersonReply { from: TO.to_owned(), message: "Yes please".to_owned(), to: None, id: Some("gw1".to_owned()) };
    let url = format!("{}/api/cast/v1/inbound", bridge.fake.url());
    let answer = bench.fake.reply(&url, "inbound-key-of-a-test", &reply).await;
    assert_eq!(answer.status, Some(404));
    assert_eq!(bridge.fake.unexpected()[0].path, "/api/cast/v1/inbound");
    bridge.fake.stop().await;
    assert_eq!(bench.fake.reply(&url, "inbound-key-of-a-test", &reply).await.status, None);
}
