//! What every call must bring, limits, faults, and the ledger.

use super::*;

const UPSERT: &str = "/contacts/upsert";

fn contact() -> Value {
    json!({"locationId": DEFAULT_LOCATION, "phone": PHONE})
}

#[tokio::test]
async fn each_endpoint_demands_its_own_version() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let endpoints = [
        (Method::GET, "/oauth/installedLocations", OTHERS),
        (Method::POST, "/oauth/locationToken", OTHERS),
        (Method::DELETE, "/marketplace/app/x/installations", OTHERS),
        (Method::GET, "/locations/x/conversationChannels/SMS", "v3"),
        (Method::PUT, "/conversations/messages/x/status", CONVERSATIONS),
        (Method::POST, "/conversations/messages/inbound", CONVERSATIONS),
        (Method::GET, "/conversations/x/messages", CONVERSATIONS),
        (Method::POST, UPSERT, OTHERS),
        (Method::GET, "/contacts/search/duplicate", OTHERS),
        (Method::PUT, "/contacts/x", OTHERS),
    ];
    for (method, path, version) in endpoints {
        for given in ["", "2021-04-15", "2021-07-28", "v3"] {
            let answer = read(bench.request(method.clone(), path, given, &token)).await;
            let refused = answer.body["message"] == "version header is invalid.";
            assert_eq!(refused, given != version, "{method} {path} {given}");
        }
        let bare = bench.http.request(method, format!("{}{path}", bench.ghl.url()));
        let answer = read(bare.bearer_auth(&token)).await;
        assert_eq!(refusal(&answer), (401, "version header was not found.".into()));
        assert!(answer.body["traceId"].is_string());
    }
}

#[tokio::test]
async fn a_wrong_or_expired_token_is_401() {
    let bench = Bench::new().await;
    let reply = bench.installed(Install::default()).await;
    let token = text(&reply["access_token"]);
    assert_eq!(refusal(&bench.post(UPSERT, OTHERS, "made-up", &contact()).await), (401, "Invalid JWT".into()));
    assert_eq!(bench.post(UPSERT, OTHERS, &token, &contact()).await.status, 201);
    bench.clock.advance(Duration::from_secs(86_399));
    let expired = (401, "The token has expired".to_owned());
    assert_eq!(refusal(&bench.post(UPSERT, OTHERS, &token, &contact()).await), expired);
    let reply = bench.refresh(&text(&reply["refresh_token"]), "Location").await.body;
    let token = text(&reply["access_token"]);
    assert_eq!(bench.post(UPSERT, OTHERS, &token, &contact()).await.status, 200);
    bench.ghl.expire_access_tokens(DEFAULT_LOCATION);
    assert_eq!(refusal(&bench.post(UPSERT, OTHERS, &token, &contact()).await), expired);
}

#[tokio::test]
async fn a_token_opens_its_own_location_within_its_scopes() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let other = json!({"locationId": "LOCother", "phone": PHONE});
    let answer = bench.post(UPSERT, OTHERS, &token, &other).await;
    assert_eq!(refusal(&answer), (403, "The token does not have access to this location.".into()));
    let company = text(&bench.installed(Install::company(DEFAULT_COMPANY, &[])).await["access_token"]);
    assert_eq!(bench.post(UPSERT, OTHERS, &company, &contact()).await.status, 403);

    let scopes = vec!["contacts.readonly".to_owned()];
    let bench = Bench::with(FakeGhlOptions { scopes, ..FakeGhlOptions::default() }).await;
    let token = bench.token().await;
    let answer = bench.post(UPSERT, OTHERS, &token, &contact()).await;
    assert_eq!(refusal(&answer), (403, "The token is not authorized for this scope.".into()));
    let path = format!("/contacts/search/duplicate?locationId={DEFAULT_LOCATION}&number=%2B639170000000");
    assert_eq!(bench.get(&path, OTHERS, &token).await.body["contact"], Value::Null);
}

#[tokio::test]
async fn every_answer_tells_the_limit_and_over_it_is_429() {
    let limit = RateLimit { max: 2, interval: Duration::from_secs(10), daily: 3 };
    let bench = Bench::with(FakeGhlOptions { rate_limit: Some(limit), ..FakeGhlOptions::default() }).await;
    let token = bench.token().await;
    let told = |answer: &Answer| {
        ["max", "remaining", "interval-milliseconds", "limit-daily", "daily-remaining"]
            .map(|name| answer.headers[&format!("x-ratelimit-{name}")].to_str().unwrap().to_owned())
    };
    let first = bench.post(UPSERT, OTHERS, &token, &contact()).await;
    assert_eq!(told(&first), ["2", "1", "10000", "3", "2"]);
    bench.post(UPSERT, OTHERS, &token, &json!({})).await;
    let refused = bench.post(UPSERT, OTHERS, &token, &contact()).await;
    assert_eq!((refused.status, told(&refused)), (429, ["2", "0", "10000", "3", "1"].map(str::to_owned)));
    assert!(!refused.headers.contains_key("retry-after"));
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(bench.post(UPSERT, OTHERS, &token, &contact()).await.status, 200);
    let spent = bench.post(UPSERT, OTHERS, &token, &contact()).await;
    assert_eq!((spent.status, told(&spent)[4].as_str()), (429, "0"));
    bench.ghl.set_rate_limit(None);
    let free = bench.post(UPSERT, OTHERS, &token, &contact()).await;
    assert!(free.status == 200 && !free.headers.contains_key("x-ratelimit-max"));
}

#[tokio::test]
async fn unknown_paths_are_404_and_written_down() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    for path in ["/conversations/search/messages/export", "/contacts/", "/", "/v2/oauth/token"] {
        assert_eq!(bench.get(path, CONVERSATIONS, &token).await.status, 404, "{path}");
    }
    assert_eq!(bench.get(UPSERT, OTHERS, &token).await.status, 404, "wrong method");
    let seen: Vec<String> = bench.ghl.unexpected().into_iter().map(|u| u.path).collect();
    assert_eq!(seen, ["/conversations/search/messages/export", "/contacts/", "/", "/v2/oauth/token", UPSERT]);
}

#[tokio::test]
async fn the_ledger_has_every_call_with_its_outcome() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.post(UPSERT, OTHERS, &token, &contact()).await;
    bench.post(UPSERT, OTHERS, &token, &json!({"locationId": DEFAULT_LOCATION, "phone": PHONE, "tags": []})).await;
    let calls: Vec<_> = bench.ghl.calls().into_iter().map(|c| (c.path, c.status, c.location, c.problem)).collect();
    let location = Some(DEFAULT_LOCATION.to_owned());
    let problem = Some("property tags should not exist".to_owned());
    assert_eq!(
        calls,
        [
            ("/oauth/token".to_owned(), Some(200), location.clone(), None),
            (UPSERT.to_owned(), Some(201), location.clone(), None),
            (UPSERT.to_owned(), Some(422), location, problem),
        ]
    );
}

#[tokio::test]
async fn a_breach_is_the_callers_own_mistake_and_nothing_else() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.set_phone_rule(PhoneRule::Refused);
    bench.ghl.register_message(DEFAULT_LOCATION, "MSG1");
    let inbound = "/conversations/messages/inbound";
    let innocent = json!({"type": "SMS", "message": "Hi", "contactId": "gone", "phone": PHONE});
    bench.post(inbound, CONVERSATIONS, &token, &innocent).await;
    let innocent = json!({"type": "SMS", "message": "Hi", "contactId": "gone"});
    bench.post(inbound, CONVERSATIONS, &token, &innocent).await;
    let delivered = json!({"status": "delivered"});
    bench.set_status(&token, "MSG1", &delivered).await;
    bench.ghl.fault_next("/conversations", GhlFault::Status(422, "{}".into()));
    bench.set_status(&token, "MSG1", &delivered).await;
    bench.post(UPSERT, OTHERS, "made-up", &contact()).await;
    assert_eq!(bench.ghl.breaches(), []);
    bench.post(UPSERT, "v3", &token, &contact()).await;
    bench.set_status(&token, "MSG1", &json!({"status": "sent"})).await;
    let paths: Vec<String> = bench.ghl.breaches().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, [UPSERT, "/conversations/messages/MSG1/status"]);
}

#[tokio::test]
async fn faults_strike_by_path_before_or_after_the_work() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.fault_next("/conversations", GhlFault::Status(500, "{}".into()));
    bench.ghl.fault_next("/contacts", GhlFault::Pass);
    bench.ghl.fault_next("/contacts", GhlFault::refusal(403, "No"));
    bench.ghl.fault_next("/contacts", GhlFault::RateLimited { retry_after: Some("7".into()) });
    bench.ghl.fault_next("/contacts", GhlFault::Garbage);
    bench.ghl.fault_next("/contacts", GhlFault::Redirect);
    let upsert = async |phone: &str| {
        bench.post(UPSERT, OTHERS, &token, &json!({"locationId": DEFAULT_LOCATION, "phone": phone})).await
    };
    assert_eq!(upsert("+639170000001").await.status, 201);
    assert_eq!(refusal(&upsert("+639170000002").await), (403, "No".into()));
    let limited = upsert("+639170000003").await;
    assert_eq!((limited.status, &limited.headers["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(upsert("+639170000004").await.body, "<html>OK</html>");
    assert_eq!(upsert("+639170000005").await.status, 307);
    let made: Vec<String> = bench.ghl.contacts().into_iter().map(|c| c.phone).collect();
    assert_eq!(made, ["+639170000001", "+639170000004"]);
    bench.ghl.fault_all("/contacts", Some(GhlFault::StatusAfterApplying(503)));
    assert_eq!(upsert("+639170000006").await.status, 503);
    assert_eq!(upsert("nonsense").await.status, 422, "a refusal of its own is not hidden");
    bench.ghl.fault_all("/contacts", None);
    assert_eq!(upsert("+639170000006").await.status, 200, "it was made before the fault");
}

#[tokio::test]
async fn hanging_and_reset_calls_have_no_status() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let request = || {
        bench
            .request(Method::POST, UPSERT, OTHERS, &token)
            .header("content-type", "application/json")
            .body(contact().to_string())
    };
    bench.ghl.fault_next("/contacts", GhlFault::Reset { after_applying: true });
    assert!(request().send().await.is_err());
    bench.ghl.fault_next("/contacts", GhlFault::Hang { after_applying: true });
    let open = tokio::spawn(request().send());
    bench.ghl.until(|ghl| ghl.calls().len() == 3).await;
    bench.ghl.fault_next("/contacts", GhlFault::Hang { after_applying: false });
    let other = tokio::spawn(request().send());
    bench.ghl.until(|ghl| ghl.calls().len() == 4).await;
    bench.ghl.release();
    assert_eq!(open.await.unwrap().unwrap().status(), 200);
    assert!(other.await.unwrap().is_err());
    assert!(bench.ghl.calls()[1..].iter().all(|call| call.status.is_none()));
    assert_eq!(bench.ghl.contacts().len(), 1);
}

#[tokio::test]
async fn stopped_it_refuses_and_restarted_it_remembers() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.stop().await;
    assert!(bench.request(Method::GET, "/", OTHERS, &token).send().await.unwrap_err().is_connect());
    bench.ghl.restart().await.unwrap();
    assert_eq!(bench.post(UPSERT, OTHERS, &token, &contact()).await.status, 201);
}
