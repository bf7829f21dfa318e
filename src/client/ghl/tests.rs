use super::*;
use crate::client::builder::{HttpSettings, http_client};
use crate::client::wire::{self, Act, Wire, json, with_headers};

fn client(base: &Url) -> GhlClient {
    let settings = HttpSettings {
        connect_timeout: Duration::from_millis(250),
        timeout: Duration::from_millis(600),
        ..HttpSettings::default()
    };
    GhlClient::new(http_client(&settings).expect("a client"), base.clone())
}

fn token() -> Secret {
    Secret::from("at-1".to_owned())
}

fn app() -> TokenApp {
    TokenApp { client_id: "app-x".to_owned(), client_secret: Secret::from("s&cret".to_owned()) }
}

fn post() -> InboundPost<'static> {
    InboundPost {
        kind: ProviderKind::Sms,
        thread: Thread::Contact("C1"),
        message: Some("Yes"),
        provider_id: None,
        phone: None,
        date: "2026-08-11T02:03:04Z",
        alt_id: "in:1",
        attachments: &[],
    }
}

const DELIVERED: StatusUpdate = StatusUpdate { status: MessageStatus::Delivered, error: None };

/// Request line and lower-cased header lines, and the body.
fn split(request: &str) -> (Vec<String>, String) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let first = lines.next().expect("a request line").to_owned();
    (std::iter::once(first).chain(lines.map(str::to_ascii_lowercase)).collect(), body.to_owned())
}

async fn status_against(act: Act) -> Result<(), GhlError> {
    let wire = Wire::start(vec![act]).await;
    client(&wire.url).update_status(&token(), "M1", &DELIVERED).await
}

fn reached(result: Result<impl Sized, GhlError>) -> Option<Reached> {
    match result {
        Err(GhlError::Transport { reached, .. }) => Some(reached),
        _ => None,
    }
}

/// Every call there is.
fn table() -> [(Call, Method, &'static str, Option<&'static str>); 12] {
    [
        (Call::Token, Method::POST, "/oauth/token", None),
        (Call::MessageStatus, Method::PUT, "/conversations/messages/{id}/status", Some("2021-04-15")),
        (Call::Inbound, Method::POST, "/conversations/messages/inbound", Some("2021-04-15")),
        (Call::UpsertContact, Method::POST, "/contacts/upsert", Some("2021-07-28")),
        (Call::FindContact, Method::GET, "/contacts/search/duplicate", Some("2021-07-28")),
        (Call::InstalledLocations, Method::GET, "/oauth/installedLocations", Some("2021-07-28")),
        (Call::LocationToken, Method::POST, "/oauth/locationToken", Some("2021-07-28")),
        (Call::Contact, Method::PUT, "/contacts/{id}", Some("2021-07-28")),
        (Call::Thread, Method::GET, "/conversations/{id}/messages", Some("2021-04-15")),
        (Call::SearchConversation, Method::GET, "/conversations/search", Some("2021-04-15")),
        (Call::CreateConversation, Method::POST, "/conversations", Some("2021-04-15")),
        (Call::Channels, Method::GET, "/locations/{id}/conversationChannels/SMS", Some("v3")),
    ]
}

#[test]
fn each_endpoint_has_the_version_of_the_contract() {
    for (call, method, path, version) in table() {
        let endpoint = call.endpoint();
        assert_eq!((endpoint.method, endpoint.path, endpoint.version), (method, path, version));
    }
}

/// ⚠ With an agency's token that call removes the app from every location (GHL contract §8).
#[test]
fn no_call_removes_an_installation() {
    for (call, ..) in table() {
        let endpoint = call.endpoint();
        assert!(endpoint.method != Method::DELETE && !endpoint.path.contains("marketplace"), "{call:?}");
    }
}

#[test]
fn a_refresh_is_given_up_before_its_next_slot() {
    let ghl = client(&"http://a.test".parse().expect("a URL"));
    assert_eq!((ghl.exchange_timeout, ghl.refresh_timeout), (Duration::from_secs(10), Duration::from_secs(6)));
}

#[tokio::test]
async fn a_code_is_exchanged_form_encoded_without_version_or_bearer() {
    let wire = Wire::start(vec![json(200, r#"{"access_token":"a","refresh_token":"r","userType":"Company"}"#)]).await;
    let reply = client(&wire.url)
        .exchange_code(&app(), "co de+1", "https://b.test/oauth-callback", UserType::Location)
        .await
        .expect("a reply");
    assert_eq!(reply.user_type, Some(UserType::Company));
    let (head, body) = split(&wire.seen()[0]);
    assert_eq!(head[0], "POST /prefix/oauth/token HTTP/1.1");
    assert!(head.contains(&"content-type: application/x-www-form-urlencoded".to_owned()), "{head:?}");
    assert!(!head.iter().any(|line| line.starts_with("version:") || line.starts_with("authorization:")), "{head:?}");
    assert_eq!(
        body,
        "client_id=app-x&client_secret=s%26cret&grant_type=authorization_code&code=co+de%2B1\
         &redirect_uri=https%3A%2F%2Fb.test%2Foauth-callback&user_type=Location"
    );
}

#[tokio::test]
async fn a_refresh_sends_the_stored_user_type_and_its_token() {
    let wire = Wire::start(vec![json(200, r#"{"accessToken":"a2"}"#)]).await;
    let spent = Secret::from("rt-1".to_owned());
    let reply = client(&wire.url).refresh(&app(), &spent, UserType::Company).await.expect("a reply");
    assert_eq!(reply.access_token.expose(), "a2");
    let (_, body) = split(&wire.seen()[0]);
    assert_eq!(
        body,
        "client_id=app-x&client_secret=s%26cret&grant_type=refresh_token&refresh_token=rt-1&user_type=Company"
    );
}

#[tokio::test]
async fn exchange_and_refresh_have_time_outs_of_their_own() {
    let (url, task) = wire::greeter("http", "").await;
    let http = http_client(&HttpSettings::default()).expect("a client");
    let ghl = GhlClient {
        exchange_timeout: Duration::from_millis(60),
        refresh_timeout: Duration::from_millis(40),
        ..GhlClient::new(http, url)
    };
    let own = async {
        let refreshed = ghl.refresh(&app(), &token(), UserType::Location).await;
        let exchanged = ghl.exchange_code(&app(), "c", "https://b.test", UserType::Location).await;
        (reached(refreshed), reached(exchanged))
    };
    let within = tokio::time::timeout(Duration::from_secs(5), own).await;
    let maybe = Some(Reached::Maybe);
    assert_eq!(within, Ok((maybe, maybe)), "not the client's own 30 s");
    task.abort();
}

#[tokio::test]
async fn a_token_reply_without_an_access_token_is_unreadable() {
    for body in ["{}", "[]", "nope", ""] {
        let wire = Wire::start(vec![json(200, body)]).await;
        let result = client(&wire.url).refresh(&app(), &token(), UserType::Location).await;
        assert!(matches!(result, Err(GhlError::Unreadable { status: 200 })), "{body}: {result:?}");
    }
}

#[tokio::test]
async fn a_status_is_put_with_bearer_and_version_and_the_id_encoded() {
    let wire = Wire::start(vec![json(201, "not even JSON")]).await;
    let failed = StatusUpdate {
        status: MessageStatus::Failed,
        error: Some(StatusErrorBody { code: "too_long".to_owned(), message: "Too long.".to_owned() }),
    };
    assert_eq!(client(&wire.url).update_status(&token(), "M/1", &failed).await, Ok(()));
    let (head, body) = split(&wire.seen()[0]);
    assert_eq!(head[0], "PUT /prefix/conversations/messages/M%2F1/status HTTP/1.1");
    for line in ["authorization: bearer at-1", "version: 2021-04-15", "content-type: application/json"] {
        assert!(head.contains(&line.to_owned()), "{line} in {head:?}");
    }
    assert_eq!(body, r#"{"status":"failed","error":{"code":"too_long","type":"saas","message":"Too long."}}"#);
}

#[tokio::test]
async fn an_id_that_cannot_stand_in_a_path_is_never_sent() {
    let wire = Wire::start(vec![json(200, "{}")]).await;
    for id in ["", ".", ".."] {
        let result = client(&wire.url).update_status(&token(), id, &DELIVERED).await;
        assert_eq!(reached(result), Some(Reached::No), "{id}");
    }
    assert!(wire.seen().is_empty());
}

#[tokio::test]
async fn a_2xx_whose_body_never_comes_whole_still_counts_for_a_status() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{";
    assert_eq!(status_against(Act::WriteAndClose(cut.to_owned())).await, Ok(()));
}

#[tokio::test]
async fn a_contact_is_upserted_with_nothing_that_overwrites() {
    let wire = Wire::start(vec![json(201, r#"{"new":true,"contact":{"id":"C9","tags":[]}}"#)]).await;
    let id = client(&wire.url).upsert_contact(&token(), "L1", "+639171234567").await;
    assert_eq!(id, Ok("C9".to_owned()));
    let (head, body) = split(&wire.seen()[0]);
    assert_eq!(head[0], "POST /prefix/contacts/upsert HTTP/1.1");
    assert!(head.contains(&"version: 2021-07-28".to_owned()), "{head:?}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body, json!({"locationId": "L1", "phone": "+639171234567", "country": "PH", "source": "Cast SMS"}));
}

#[tokio::test]
async fn an_upsert_without_a_contact_id_is_unreadable() {
    for body in ["{}", r#"{"contact":null}"#, r#"{"contact":{"id":""}}"#, "x"] {
        let wire = Wire::start(vec![json(200, body)]).await;
        let result = client(&wire.url).upsert_contact(&token(), "L1", "+639171234567").await;
        assert_eq!(result, Err(GhlError::Unreadable { status: 200 }), "{body}");
    }
}

#[tokio::test]
async fn a_contact_is_searched_by_number_with_the_plus_encoded() {
    for (reply, found) in
        [(r#"{"contact":{"id":"C9"}}"#, Some("C9")), (r#"{"contact":null,"traceId":"t"}"#, None), ("{}", None)]
    {
        let wire = Wire::start(vec![json(200, reply)]).await;
        let result = client(&wire.url).find_contact(&token(), "L1", "+639171234567").await;
        assert_eq!(result, Ok(found.map(str::to_owned)));
        let (head, body) = split(&wire.seen()[0]);
        assert_eq!(head[0], "GET /prefix/contacts/search/duplicate?locationId=L1&number=%2B639171234567 HTTP/1.1");
        assert!(body.is_empty());
    }
}

#[tokio::test]
async fn a_posted_reply_needs_a_message_id_in_any_2xx() {
    let stored = Wire::start(vec![json(201, r#"{"success":true,"messageId":"M1","conversationId":"V1"}"#)]).await;
    let posted = client(&stored.url).post_inbound(&token(), &post()).await.expect("stored");
    assert_eq!((posted.message_id.as_str(), posted.conversation_id.as_deref()), ("M1", Some("V1")));
    let (head, body) = split(&stored.seen()[0]);
    assert_eq!(head[0], "POST /prefix/conversations/messages/inbound HTTP/1.1");
    assert!(head.contains(&"version: 2021-04-15".to_owned()), "{head:?}");
    assert!(body.contains(r#""direction":"inbound""#), "{body}");

    for (body, error) in [
        (r#"{"success":true,"message":"queued"}"#, GhlError::NotStored),
        ("<html>", GhlError::Unreadable { status: 200 }),
    ] {
        let wire = Wire::start(vec![json(200, body)]).await;
        assert_eq!(client(&wire.url).post_inbound(&token(), &post()).await, Err(error));
    }
}

#[tokio::test]
async fn a_refusal_comes_through_the_wire_with_limits_and_trace() {
    let headers = "Retry-After: 9\r\nX-RateLimit-Interval-Milliseconds: 10000\r\nX-RateLimit-Daily-Remaining: 0\r\n";
    let body = r#"{"statusCode":429,"message":"Too many","traceId":"t-9"}"#;
    let Err(GhlError::Api(refusal)) = status_against(with_headers(429, headers, body)).await else {
        panic!("a refusal");
    };
    assert_eq!(refusal.status, 429);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(9)));
    assert_eq!((refusal.limits.interval_ms, refusal.limits.daily_remaining), (Some(10_000), Some(0)));
    assert_eq!(refusal.to_string(), "GHL answered HTTP 429: Too many (trace t-9)");
}

#[tokio::test]
async fn a_redirect_is_shown_and_not_followed() {
    let wire = Wire::start(vec![with_headers(302, "Location: /elsewhere\r\n", ""), json(200, "{}")]).await;
    let result = client(&wire.url).update_status(&token(), "M1", &DELIVERED).await;
    assert!(matches!(&result, Err(GhlError::Api(refusal)) if refusal.status == 302), "{result:?}");
    assert_eq!(wire.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_whose_body_broke_off_keeps_its_status() {
    let cut = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\n{\"message\":";
    let result = status_against(Act::WriteAndClose(cut.to_owned())).await;
    assert!(matches!(&result, Err(GhlError::Api(refusal)) if refusal.status == 401), "{result:?}");
}

#[tokio::test]
async fn transport_errors_say_whether_ghl_may_have_acted() {
    let refused = client(&wire::nobody().await).update_status(&token(), "M1", &DELIVERED).await;
    assert_eq!(reached(refused), Some(Reached::No));
    for act in [Act::Reset, Act::Close, Act::WriteAndHang(String::new())] {
        assert_eq!(reached(status_against(act).await), Some(Reached::Maybe));
    }
    let wire = Wire::start(vec![json(200, "{}")]).await;
    let bad_token = Secret::from("a\nb".to_owned());
    let unbuilt = client(&wire.url).update_status(&bad_token, "M1", &DELIVERED).await;
    assert_eq!(reached(unbuilt), Some(Reached::No));
    assert!(wire.seen().is_empty());
}

#[tokio::test]
async fn an_oversized_reply_is_unreadable() {
    let body = format!(r#"{{"access_token":"a","pad":"{}"}}"#, "x".repeat(transport::BODY_LIMIT));
    let wire = Wire::start(vec![json(200, &body)]).await;
    let result = client(&wire.url).refresh(&app(), &token(), UserType::Location).await;
    assert!(matches!(result, Err(GhlError::Unreadable { status: 200 })), "{result:?}");
}

#[tokio::test]
async fn errors_show_no_token_secret_or_number() {
    let url = wire::nobody().await;
    let ghl = client(&url);
    let errors = format!(
        "{:?} {:?} {ghl:?}",
        ghl.find_contact(&token(), "L1", "+639171234567").await,
        ghl.refresh(&app(), &token(), UserType::Location).await.map(drop),
    );
    for secret in ["at-1", "s&cret", "9171234567"] {
        assert!(!errors.contains(secret), "{errors}");
    }
}
