//! Connecting: the installer's pages, from our own button or the marketplace, in every way that can go wrong.
//!
//! A case reads pages as a browser does, and sees codes and tokens only through what the fake CRM was asked.

mod keys;
mod refresh;
mod token;

use std::time::Duration;

use cast_ghl_provider::domain::id::{CompanyId, DocId, LocationId};
use cast_ghl_provider::domain::installation::{GrantKind, Health, Installation};
use cast_ghl_provider::fake::ghl::{FakeGhlOptions, GhlFault, Install, OutboundSms, SCOPES};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use url::Url;

use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World, header};
use crate::{Cases, cases};

const OTHER: &str = "LOCother000000000001";
const DAY: Duration = Duration::from_secs(86_399);

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        install_leads_to_the_crm_with_nine_scopes_and_a_state_that_is_also_a_cookie,
        an_https_page_says_so_in_its_redirect_and_its_cookie,
        the_whole_way_through_the_authorize_page_connects,
        an_install_begun_in_the_marketplace_comes_without_a_state_and_connects,
        a_state_that_is_not_this_browsers_is_400_and_leaves_the_code_unspent,
        an_error_and_a_missing_code_are_clear_pages_and_what_they_quote_is_escaped,
        a_spent_or_expired_code_is_400_and_a_crm_that_is_down_502_until_it_is_back,
        an_app_the_crm_does_not_know_is_a_502_that_sends_the_installer_to_the_operator,
        a_reloaded_callback_shows_success_for_ten_minutes_and_exchanges_once,
        two_callbacks_at_once_exchange_the_code_once_and_both_show_success,
        a_browser_that_leaves_during_the_exchange_leaves_the_location_connected,
        a_reply_that_says_company_is_stored_and_renewed_as_an_agency_though_a_location_was_asked_for,
    ];
    all.extend(token::cases());
    all.extend(refresh::cases());
    all.extend(keys::cases());
    all
}

/// What needs several processes.
pub fn replica_cases() -> Cases<Place> {
    [refresh::replica_cases(), keys::replica_cases()].concat()
}

async fn install_leads_to_the_crm_with_nine_scopes_and_a_state_that_is_also_a_cookie(place: Place) {
    let w = World::start(place, &[]).await;
    let (first, second) = (w.get("/install").await, w.get("/install").await);
    assert_eq!(first.status(), 302);
    assert_eq!(header(&first, "cache-control"), "no-store");
    let to = header(&first, "location");
    let (page, query) = to.split_once('?').expect("a query");
    assert_eq!(page, w.ghl.authorize_url());
    let cookie = header(&first, "set-cookie");
    let (name, rest) = cookie.split_once('=').expect("a cookie");
    let (state, attributes) = rest.split_once("; ").expect("attributes");
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/oauth-callback; Max-Age=600", "no Secure on plain http");
    assert!(state.len() >= 32, "128 bits");
    let port = w.base.rsplit_once(':').expect("a port").1;
    let scopes = SCOPES.map(|s| s.replace('/', "%2F")).join("%20");
    assert_eq!(scopes.matches("%20").count(), 8);
    let client = FakeGhlOptions::default().client_id;
    let back = format!("http%3A%2F%2F127.0.0.1%3A{port}%2Foauth-callback");
    let asked = format!("response_type=code&redirect_uri={back}&client_id={client}&scope={scopes}&state={state}");
    assert_eq!(query, asked);
    let another = header(&second, "set-cookie");
    assert!(another.starts_with(&format!("{name}=")) && another != cookie, "a state of its own each time");
    w.end();
}

async fn an_https_page_says_so_in_its_redirect_and_its_cookie(place: Place) {
    let w = World::start(place, &[("BASE_URL", "https://sms.example.com/bridge/"), ("GHL_SCOPES", "a.b c.d")]).await;
    let begun = w.get("/install").await;
    assert!(header(&begun, "set-cookie").ends_with("; Max-Age=600; Secure"), "{}", header(&begun, "set-cookie"));
    let to = header(&begun, "location");
    assert!(to.contains("&redirect_uri=https%3A%2F%2Fsms.example.com%2Fbridge%2Foauth-callback&"), "{to}");
    assert!(to.contains("&scope=a.b%20c.d&"), "{to}");
    w.end();
}

async fn the_whole_way_through_the_authorize_page_connects(place: Place) {
    let w = World::start(place, &[]).await;
    let home = page(w.get("/").await, 200).await;
    assert!(home.contains(r#"href="install""#) && home.contains(r#"href="health""#));
    w.ghl.next_install(Install::location(LOCATION, COMPANY));
    let (back, cookie) = through_the_crm(&w).await;
    assert!(back.starts_with(&w.base), "{back}");
    let done = w.http.get(back).header("cookie", format!("theme=dark; {cookie}; x=y")).send().await.unwrap();
    let done = page(done, 200).await;
    for word in [LOCATION, "Settings", "Phone Numbers", "Advanced Settings", "SMS Provider", "Cast SMS", "Save"] {
        assert!(done.contains(word), "the page does not say {word}");
    }
    let stored = w.installation(LOCATION).await.expect("an installation");
    assert_eq!((stored.kind, stored.health), (GrantKind::Location, Health::Active));
    assert_eq!(stored.company.map(|c| c.to_string()).as_deref(), Some(COMPANY));
    works(&w, LOCATION).await;
    w.end();
}

async fn an_install_begun_in_the_marketplace_comes_without_a_state_and_connects(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    page(w.get(&format!("/oauth-callback?code={code}")).await, 200).await;
    assert!(w.installation(LOCATION).await.is_some_and(|installation| installation.grant.is_some()));
    w.end();
}

async fn a_state_that_is_not_this_browsers_is_400_and_leaves_the_code_unspent(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.next_install(Install::location(LOCATION, COMPANY));
    let (back, cookie) = through_the_crm(&w).await;
    let (name, _) = cookie.split_once('=').unwrap();
    for wrong in ["", "theme=dark", &format!("{name}="), &format!("{name}=0123456789abcdef0123456789abcdef")] {
        let refused = w.http.get(&back).header("cookie", wrong).send().await.unwrap();
        let refused = page(refused, 400).await;
        assert_eq!(refused.matches(r#"href="install""#).count(), 1, "one way back");
    }
    assert_eq!(token_calls(&w), 0, "the code was not exchanged");
    assert_eq!(w.installation(LOCATION).await, None);
    // The marketplace brings none; an empty one counts as absent, cookie or not.
    let code = Url::parse(&back).unwrap().query_pairs().find(|(k, _)| k == "code").expect("a code").1.into_owned();
    let there = format!("{}/oauth-callback?code={code}&state=", w.base);
    page(w.http.get(there).header("cookie", &cookie).send().await.unwrap(), 200).await;
    assert!(w.installation(LOCATION).await.is_some());
    w.end();
}

async fn an_error_and_a_missing_code_are_clear_pages_and_what_they_quote_is_escaped(place: Place) {
    let w = World::start(place, &[]).await;
    let script = "%3Cscript%3Ealert(%221%22)%3C%2Fscript%3E";
    for quoted in [format!("error={script}"), format!("error=access_denied&error_description={script}")] {
        let shown = page(w.get(&format!("/oauth-callback?{quoted}&code=fake-code-x")).await, 400).await;
        assert!(!shown.contains("<script") && shown.contains("&lt;script&gt;alert(&quot;1&quot;)"), "{shown}");
    }
    let broken = ["", "?", "?code=", "?state=", "?code=1&code=2", "?error="];
    for query in broken.into_iter().map(str::to_owned).chain([format!("?code={}", "x".repeat(4000))]) {
        let shown = page(w.get(&format!("/oauth-callback{query}")).await, 400).await;
        assert!(shown.contains(r#"href="install""#), "{query}");
    }
    assert_eq!(token_calls(&w), 0);
    w.end();
}

async fn a_spent_or_expired_code_is_400_and_a_crm_that_is_down_502_until_it_is_back(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    page(w.callback("fake-code-nobody-gave").await, 400).await;
    w.ghl.stop().await;
    page(w.callback(&code).await, 502).await;
    w.ghl.restart().await.expect("the port is free");
    for fault in [GhlFault::refusal(503, "down"), GhlFault::RateLimited { retry_after: None }, GhlFault::Redirect] {
        w.ghl.fault_next("/oauth/token", fault);
        page(w.callback(&code).await, 502).await;
    }
    assert_eq!(w.installation(LOCATION).await, None);
    page(w.callback(&code).await, 200).await;
    w.pass(Duration::from_secs(601)).await;
    page(w.callback(&code).await, 400).await;
    assert!(w.installation(LOCATION).await.is_some(), "a refused code takes nothing away");
    let expired = w.ghl.marketplace_code(Install::location(OTHER, COMPANY));
    w.pass(Duration::from_secs(601)).await;
    page(w.callback(&expired).await, 400).await;
    assert_eq!(w.installation(OTHER).await, None);
    w.end();
}

async fn an_app_the_crm_does_not_know_is_a_502_that_sends_the_installer_to_the_operator(place: Place) {
    let w = World::start(place, &[("GHL_CLIENT_SECRET", "rotated-long-ago")]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    let shown = page(w.callback(&code).await, 502).await;
    assert!(shown.contains("own credentials"), "{shown}");
    assert_eq!(w.installation(LOCATION).await, None);
}

async fn a_reloaded_callback_shows_success_for_ten_minutes_and_exchanges_once(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    let first = page(w.callback(&code).await, 200).await;
    for _ in 0..3 {
        w.pass(Duration::from_secs(199)).await;
        assert_eq!(page(w.callback(&code).await, 200).await, first);
    }
    assert_eq!(token_calls(&w), 1);
    w.end();
}

async fn two_callbacks_at_once_exchange_the_code_once_and_both_show_success(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    // Both are on their way before the first is answered.
    w.ghl.fault_next("/oauth/token", GhlFault::Hang { after_applying: true });
    let both = async { tokio::join!(w.callback(&code), w.callback(&code)) };
    let release = async {
        w.ghl.until(|ghl| ghl.calls().iter().any(|call| call.path == "/oauth/token")).await;
        w.ghl.release();
    };
    let ((a, b), ()) = tokio::join!(both, release);
    page(a, 200).await;
    page(b, 200).await;
    assert_eq!(token_calls(&w), 1);
    w.end();
}

async fn a_browser_that_leaves_during_the_exchange_leaves_the_location_connected(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    w.ghl.fault_next("/oauth/token", GhlFault::Hang { after_applying: true });
    let mut browser = TcpStream::connect(w.base.strip_prefix("http://").unwrap()).await.expect("a connection");
    let request = format!("GET /oauth-callback?code={code} HTTP/1.1\r\nHost: x\r\n\r\n");
    browser.write_all(request.as_bytes()).await.expect("taken");
    w.ghl.until(|ghl| ghl.calls().iter().any(|call| call.path == "/oauth/token")).await;
    drop(browser);
    // Time for the bridge to see that it left; too little would hide a fault, never make one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    w.ghl.release();
    // The code is spent: what it brought must be kept. A reload waits for it.
    page(w.callback(&code).await, 200).await;
    assert_eq!(token_calls(&w), 1);
    works(&w, LOCATION).await;
    w.end();
}

async fn a_reply_that_says_company_is_stored_and_renewed_as_an_agency_though_a_location_was_asked_for(place: Place) {
    let w = World::start(place, &[]).await;
    let code = w.ghl.marketplace_code(Install::company(COMPANY, &[LOCATION, OTHER]));
    let shown = page(w.callback(&code).await, 200).await;
    assert!(shown.contains(COMPANY) && shown.contains("sub-accounts follow"), "{shown}");
    let id = DocId::company(&CompanyId::parse(COMPANY).unwrap());
    let stored = w.app.store().get::<Installation>(&id).await.unwrap().expect("an installation").record;
    assert_eq!((stored.kind, stored.location.clone()), (GrantKind::Company, None));
    let approved: Vec<&str> = stored.approved_locations.iter().map(LocationId::as_str).collect();
    assert_eq!(approved, [LOCATION, OTHER], "whom the installer chose");
    assert!(stored.grant.is_some() && stored.refresh_at.is_some());
    assert_eq!(w.installation(LOCATION).await, None, "its sub-accounts have tokens of their own");
    // Renewed as what it is: the fake refuses a Company's refresh token for a Location.
    w.jump(DAY).await;
    assert_eq!(w.app.tokens().refresh_due().await.unwrap(), 1);
    assert_eq!(w.ghl.refreshes(COMPANY).rotated, 1);
    w.end();
}

/// Begins on our own page and comes back from the CRM's: the URL back, and the cookie as a browser sends it.
async fn through_the_crm(w: &World) -> (String, String) {
    let begun = w.get("/install").await;
    let cookie = header(&begun, "set-cookie").split(';').next().expect("a cookie").to_owned();
    let chosen = w.http.get(header(&begun, "location")).send().await.expect("the CRM's page");
    assert_eq!(chosen.status(), 302);
    (header(&chosen, "location"), cookie)
}

/// The token works: a message of the location is sent and its status told.
async fn works(w: &World, location: &str) {
    let answer = w.ghl.send_sms(&OutboundSms::new(location, PHONE, "hello"), &w.key).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
}

/// Checks status and what holds for every page: nothing from outside, not kept, and the CRM's brand unnamed.
async fn page(answer: reqwest::Response, status: u16) -> String {
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(header(&answer, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&answer, "cache-control"), "no-store");
    assert!(header(&answer, "content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(header(&answer, "referrer-policy"), "no-referrer", "the address holds a code");
    let text = answer.text().await.expect("a page");
    let lower = text.to_ascii_lowercase();
    for brand in ["ghl", "highlevel", "leadconnector"] {
        assert!(!lower.contains(brand), "the page names {brand}");
    }
    assert!(lower.contains("name=\"viewport\"") && lower.contains("<title>"));
    text
}

/// How often the token endpoint was called.
fn token_calls(w: &World) -> usize {
    w.ghl.calls().iter().filter(|call| call.path == "/oauth/token").count()
}
