//! Installing, tokens, and an agency's sub-accounts.

use super::*;

fn authorize(bench: &Bench, change: &[(&str, Option<&str>)]) -> reqwest::RequestBuilder {
    let options = FakeGhlOptions::default();
    let scopes = SCOPES.join(" ");
    let mut fields = vec![
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("client_id", options.client_id.as_str()),
        ("scope", scopes.as_str()),
        ("state", "s<1>"),
    ];
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        fields.extend(value.map(|value| (*name, value)));
    }
    let url = url::Url::parse_with_params(&bench.ghl.authorize_url(), fields).unwrap();
    bench.http.get(url.as_str())
}

#[tokio::test]
async fn the_authorize_page_sends_code_and_state_back() {
    let bench = Bench::new().await;
    let answer = read(authorize(&bench, &[])).await;
    assert_eq!(answer.status, 302);
    let target = url::Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
    assert!(target.as_str().starts_with(CALLBACK));
    let back: Vec<_> = target.query_pairs().into_owned().collect();
    assert_eq!((back[0].0.as_str(), &back[1]), ("code", &("state".into(), "s<1>".into())));
    let reply = bench.exchange(&back[0].1).await;
    assert_eq!((reply.status, &reply.body["locationId"]), (200, &json!(DEFAULT_LOCATION)));
    assert_eq!(reply.body["scope"], SCOPES.join(" "));
}

#[tokio::test]
async fn the_authorize_page_refuses_what_is_not_right_and_escapes_it() {
    let bench =
        Bench::with(FakeGhlOptions { redirect_uri: Some(CALLBACK.to_owned()), ..FakeGhlOptions::default() }).await;
    let wrong = [
        ("response_type", Some("token")),
        ("client_id", Some("other")),
        ("scope", Some("<script>")),
        ("state", None),
        ("state", Some("")),
        ("redirect_uri", Some("https://elsewhere.example/")),
        ("user_type", Some("Location")),
    ];
    for (name, value) in wrong {
        let answer = read(authorize(&bench, &[(name, value)])).await;
        assert_eq!(answer.status, 400, "{name}={value:?}");
        assert!(!text(&answer.body).contains("<script>"));
    }
}

#[tokio::test]
async fn the_page_variant_has_a_link_that_installs() {
    let bench = Bench::new().await;
    let shown = text(&read(authorize(&bench, &[("page", Some("1"))])).await.body);
    let link = shown.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let link = format!("{}{}", bench.ghl.url(), link.replace("&amp;", "&"));
    assert_eq!(read(bench.http.get(link)).await.status, 302);
}

#[tokio::test]
async fn a_code_is_good_once_for_ten_minutes_and_its_own_redirect_uri() {
    let bench = Bench::new().await;
    let code = bench.ghl.marketplace_code(Install::default());
    assert_eq!(bench.exchange(&code).await.status, 200);
    let again = bench.exchange(&code).await;
    assert_eq!((again.status, &again.body["error"]), (400, &json!("invalid_grant")));
    let code = bench.ghl.marketplace_code(Install::default());
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.exchange(&code).await.status, 400);
    let elsewhere = read(authorize(&bench, &[("redirect_uri", Some("https://elsewhere.example/"))])).await;
    let target = url::Url::parse(elsewhere.headers["location"].to_str().unwrap()).unwrap();
    let code = target.query_pairs().next().unwrap().1.into_owned();
    assert_eq!(bench.exchange(&code).await.status, 400);
}

#[tokio::test]
async fn the_token_endpoint_takes_forms_with_exactly_its_fields() {
    let bench = Bench::new().await;
    let json_body = bench.http.post(format!("{}/oauth/token", bench.ghl.url()));
    let json_body = json_body.header("content-type", "application/json").body("{}");
    assert_eq!(read(json_body).await.status, 415);
    let options = FakeGhlOptions::default();
    let good = [
        ("client_id", options.client_id.as_str()),
        ("client_secret", options.client_secret.as_str()),
        ("grant_type", "authorization_code"),
        ("code", "none"),
        ("redirect_uri", CALLBACK),
        ("user_type", "Company"),
    ];
    assert_eq!(bench.form(&good).await.body["error"], "invalid_grant");
    for (index, (name, _)) in good.iter().enumerate() {
        let mut fields = good.to_vec();
        fields.remove(index);
        assert_eq!(bench.form(&fields).await.status, 422, "without {name}");
    }
    let mut fields = good.to_vec();
    fields.push(("state", "x"));
    assert_eq!(refusal(&bench.form(&fields).await), (422, "property state should not exist".into()));
    fields = good.to_vec();
    fields[1].1 = "wrong";
    let answer = bench.form(&fields).await;
    assert_eq!((answer.status, &answer.body["error"]), (401, &json!("invalid_client")));
}

#[tokio::test]
async fn the_reply_says_company_whatever_was_asked_for() {
    let bench = Bench::new().await;
    let reply = bench.installed(Install::company(DEFAULT_COMPANY, &["LOCa", "LOCb"])).await;
    assert_eq!(reply["userType"], "Company");
    assert_eq!(reply["locationId"], Value::Null);
    assert_eq!(reply["approvedLocations"], json!(["LOCa", "LOCb"]));
    assert_eq!(reply["expires_in"], 86_399);
}

#[tokio::test]
async fn token_replies_can_be_spelled_in_camel_case() {
    let bench = Bench::new().await;
    bench.ghl.set_token_spelling(TokenSpelling::Camel);
    let reply = bench.installed(Install::default()).await;
    assert!(reply["accessToken"].is_string() && reply["refreshToken"].is_string());
    assert_eq!(reply["access_token"], Value::Null);
}

#[tokio::test]
async fn a_refresh_token_gives_the_same_pair_for_30_s_and_is_dead_after() {
    let bench = Bench::new().await;
    let first = bench.installed(Install::default()).await;
    let spent = text(&first["refresh_token"]);
    let second = bench.refresh(&spent, "Location").await;
    assert_eq!(second.status, 200);
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(bench.refresh(&spent, "Location").await.body, second.body);
    bench.clock.advance(Duration::from_millis(1));
    let dead = bench.refresh(&spent, "Location").await;
    assert_eq!((dead.status, &dead.body["error"]), (400, &json!("invalid_grant")));
    let newer = text(&second.body["refresh_token"]);
    assert_eq!(bench.refresh(&newer, "Location").await.status, 200, "the newer pair lives");
    let counts = Refreshes { rotated: 2, repeated: 1, refused: 1 };
    assert_eq!(bench.ghl.refreshes(DEFAULT_LOCATION), counts);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_ages_no_token() {
    let bench = Bench::new().await;
    let reply = bench.installed(Install::default()).await;
    let spent = text(&reply["refresh_token"]);
    assert_eq!(bench.refresh(&spent, "Location").await.status, 200);
    bench.clock.set_wall(UnixMillis(1_990_000_000_000));
    assert_eq!(bench.refresh(&spent, "Location").await.status, 200);
}

#[tokio::test]
async fn a_refresh_names_the_stored_user_type() {
    let bench = Bench::new().await;
    let reply = bench.installed(Install::company(DEFAULT_COMPANY, &[])).await;
    let token = text(&reply["refresh_token"]);
    assert_eq!(bench.refresh(&token, "Location").await.body["error"], "invalid_request");
    assert_eq!(bench.refresh(&token, "Company").await.status, 200);
}

#[tokio::test]
async fn a_grants_health_decides_the_refusal_and_a_new_install_heals_it() {
    let bench = Bench::new().await;
    let token = text(&bench.installed(Install::default()).await["refresh_token"]);
    bench.ghl.set_grant_health(DEFAULT_LOCATION, GrantHealth::NotActive);
    assert_eq!(refusal(&bench.refresh(&token, "Location").await), (400, "Location is not active".into()));
    bench.ghl.set_grant_health(DEFAULT_LOCATION, GrantHealth::Invalid);
    let words = "Invalid grant: refresh token is invalid";
    assert_eq!(refusal(&bench.refresh(&token, "Location").await), (400, words.into()));
    bench.ghl.set_grant_health(DEFAULT_LOCATION, GrantHealth::InvalidOauth);
    let answer = bench.refresh(&token, "Location").await;
    assert_eq!((&answer.body["error"], &answer.body["error_description"]), (&json!("invalid_grant"), &json!(words)));
    assert_eq!(bench.ghl.refreshes(DEFAULT_LOCATION).refused, 3);
    let token = text(&bench.installed(Install::default()).await["refresh_token"]);
    assert_eq!(bench.refresh(&token, "Location").await.status, 200);
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_has_spent_the_token() {
    let bench = Bench::new().await;
    let token = text(&bench.installed(Install::default()).await["refresh_token"]);
    bench.ghl.fault_next("/oauth/token", GhlFault::StatusAfterApplying(502));
    assert_eq!(bench.refresh(&token, "Location").await.status, 502);
    assert_eq!(bench.refresh(&token, "Location").await.status, 200);
    assert_eq!(bench.ghl.refreshes(DEFAULT_LOCATION), Refreshes { rotated: 1, repeated: 1, refused: 0 });
}

#[tokio::test]
async fn an_agency_lists_its_installed_locations_page_by_page() {
    let bench = Bench::new().await;
    let reply = bench.installed(Install::company(DEFAULT_COMPANY, &["LOCa", "LOCb", "LOCc"])).await;
    bench.ghl.add_location("LOCnot", DEFAULT_COMPANY);
    bench.ghl.add_location("LOCother", "COMother");
    let token = text(&reply["access_token"]);
    let list = async |query: &str| {
        let path = format!(
            "/oauth/installedLocations?companyId={DEFAULT_COMPANY}&appId={}&isInstalled=true{query}",
            bench.ghl.app_id()
        );
        bench.get(&path, OTHERS, &token).await
    };
    let ids = |answer: &Answer| -> Vec<String> {
        answer.body["locations"].as_array().unwrap().iter().map(|l| text(&l["_id"])).collect()
    };
    let first = list("&skip=0&limit=2").await;
    assert_eq!(ids(&first), ["LOCa", "LOCb"]);
    assert_eq!(first.body["count"], 4, "the company's total, not the filter's");
    assert_eq!(ids(&list("&skip=2&limit=2").await), ["LOCc"]);
    assert!(ids(&list("&skip=4&limit=2").await).is_empty());
    assert_eq!(first.body["installToFutureLocations"], false);
    assert_eq!(reply["approveAllLocations"], false);
    let all = Install { for_all: true, ..Install::company(DEFAULT_COMPANY, &[]) };
    let all = bench.installed(all).await;
    assert_eq!((&all["approveAllLocations"], &all["installToFutureLocations"]), (&json!(true), &json!(true)));
    assert_eq!(list("&skip=x").await.status, 422);
    assert_eq!(list("&offset=2").await.status, 422);
}

#[tokio::test]
async fn a_company_token_mints_location_tokens_in_three_shapes() {
    let bench = Bench::new().await;
    let company = text(&bench.installed(Install::company(DEFAULT_COMPANY, &["LOCa"])).await["access_token"]);
    let mint = async |location: &str, token: &str| {
        let request = bench.request(Method::POST, "/oauth/locationToken", OTHERS, token);
        let body = format!("companyId={DEFAULT_COMPANY}&locationId={location}");
        read(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    };
    let full = mint("LOCa", &company).await;
    assert_eq!((full.status, &full.body["userType"]), (201, &json!("Location")));
    let refreshed = bench.refresh(&text(&full.body["refresh_token"]), "Location").await;
    assert_eq!(refreshed.body["locationId"], "LOCa");
    bench.ghl.set_mint_shape(MintShape::Bare);
    let bare = mint("LOCa", &company).await.body;
    assert_eq!((&bare["refresh_token"], &bare["locationId"]), (&Value::Null, &Value::Null));
    let token = text(&bare["access_token"]);
    assert_eq!(bench.get("/locations/LOCa/conversationChannels/SMS", "v3", &token).await.status, 200);
    assert_eq!(mint("LOCnot", &company).await.status, 400);
    assert_eq!(mint("LOCa", &token).await.status, 403, "a location's token cannot mint");
    bench.ghl.set_grant_health("LOCa", GrantHealth::NotActive);
    assert_eq!(refusal(&mint("LOCa", &company).await).1, "Location is not active");
}

#[tokio::test]
async fn the_set_up_check_tells_the_default_provider_under_either_key() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let path = format!("/locations/{DEFAULT_LOCATION}/conversationChannels/SMS");
    let upper = bench.get(&path, "v3", &token).await.body;
    let ours = &upper["conversationChannel"]["SMS"][0]["conversationProvider"];
    assert_eq!((&ours["_id"], &ours["default"]), (&json!(FakeGhlOptions::default().provider_id), &json!(true)));
    bench.ghl.choose_other_provider(DEFAULT_LOCATION);
    bench.ghl.set_channel_spelling(ChannelSpelling::Lower);
    let lower = bench.get(&path, "v3", &token).await.body;
    assert_eq!(lower["conversationChannel"]["sms"][0]["conversationProvider"]["default"], false);
    bench.ghl.set_channel_list(ChannelList::OthersAlone);
    let others = bench.get(&path, "v3", &token).await.body;
    assert_eq!(others["conversationChannel"]["sms"].as_array().map(Vec::len), Some(1));
    assert_ne!(others["conversationChannel"]["sms"][0]["conversationProvider"]["_id"], ours["_id"]);
}

#[tokio::test]
async fn removing_the_app_voids_every_token_and_a_company_takes_its_locations_along() {
    let bench = Bench::new().await;
    let location = bench.token().await;
    let company = text(&bench.installed(Install::company(DEFAULT_COMPANY, &[])).await["access_token"]);
    let path = format!("/marketplace/app/{}/installations", bench.ghl.app_id());
    let body = json!({"companyId": DEFAULT_COMPANY, "reason": "asked to"});
    assert_eq!(bench.send(Method::DELETE, &path, OTHERS, &location, &body).await.status, 403);
    assert_eq!(bench.send(Method::DELETE, &path, OTHERS, &company, &body).await.status, 200);
    for token in [location, company] {
        let answer = bench.send(Method::DELETE, &path, OTHERS, &token, &body).await;
        assert_eq!(refusal(&answer), (401, "Invalid JWT".into()));
    }
}

#[tokio::test]
async fn an_access_token_names_its_scopes_unless_it_is_no_jwt() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    assert_eq!(crate::domain::scope::of_token(&token), Some(SCOPES.map(str::to_owned).to_vec()));
    bench.ghl.set_token_form(TokenForm::Opaque);
    bench.ghl.set_scopes(&["contacts.readonly"]);
    let reply = bench.installed(Install::default()).await;
    assert!(text(&reply["access_token"]).starts_with("fake-access-"));
    assert_eq!(reply["scope"], "contacts.readonly");
}
