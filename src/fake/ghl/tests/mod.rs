//! The fake GHL, asked over real sockets by a plain client.

mod message;
mod oauth;
mod route;
mod webhook;

use reqwest::Method;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, TestClock};
use crate::domain::time::UnixMillis;

const CALLBACK: &str = "https://bridge.example/oauth-callback";
const CONVERSATIONS: &str = "2021-04-15";
const OTHERS: &str = "2021-07-28";
const PHONE: &str = "+639171234567";

struct Bench {
    ghl: FakeGhl,
    clock: TestClock,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Bench {
    async fn new() -> Self {
        Self::with(FakeGhlOptions::default()).await
    }

    async fn with(options: FakeGhlOptions) -> Self {
        let clock = TestClock::at(UnixMillis(1_790_000_000_000));
        let options = FakeGhlOptions { clock: Clock::Test(clock.clone()), ..options };
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        Self { ghl: FakeGhl::start(options).await.unwrap(), clock, http }
    }

    /// A call as the contract wants it.
    fn request(&self, method: Method, path: &str, version: &str, token: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.ghl.url()))
            .header("version", version)
            .header("authorization", format!("Bearer {token}"))
    }

    async fn get(&self, path: &str, version: &str, token: &str) -> Answer {
        read(self.request(Method::GET, path, version, token)).await
    }

    async fn send(&self, method: Method, path: &str, version: &str, token: &str, body: &Value) -> Answer {
        let request = self.request(method, path, version, token);
        read(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn post(&self, path: &str, version: &str, token: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, version, token, body).await
    }

    async fn set_status(&self, token: &str, id: &str, body: &Value) -> Answer {
        let path = format!("/conversations/messages/{id}/status");
        self.send(Method::PUT, &path, CONVERSATIONS, token, body).await
    }

    async fn form(&self, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(format!("{}/oauth/token", self.ghl.url()));
        read(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    async fn exchange(&self, code: &str) -> Answer {
        let options = FakeGhlOptions::default();
        self.form(&[
            ("client_id", &options.client_id),
            ("client_secret", &options.client_secret),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("user_type", "Location"),
        ])
        .await
    }

    async fn refresh(&self, refresh_token: &str, user_type: &str) -> Answer {
        let options = FakeGhlOptions::default();
        self.form(&[
            ("client_id", &options.client_id),
            ("client_secret", &options.client_secret),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("user_type", user_type),
        ])
        .await
    }

    /// Installs and gives the token reply.
    async fn installed(&self, install: Install) -> Value {
        let code = self.ghl.marketplace_code(install);
        let answer = self.exchange(&code).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// A token of the default location.
    async fn token(&self) -> String {
        text(&self.installed(Install::default()).await["access_token"])
    }
}

async fn read(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn refusal(answer: &Answer) -> (u16, String) {
    let message = &answer.body["message"];
    (answer.status, text(message.as_array().map_or(message, |list| &list[0])))
}
