//! The vendors' own outgoing calls: a webhook posted to the bridge.
//!
//! Owns the one HTTP client of the fakes. It neither retries nor follows redirects: what the bridge answered is what
//! the caller gets, and a redelivery is a decision of the test.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;

use crate::clock::Clock;

/// GHL gives a webhook up after about 10 to 15 s (ghl contract §1).
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back for a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// The status, or `None` when there was no answer (refused, reset, 15 s passed).
    pub status: Option<u16>,
    /// The answer's body, or why there was none.
    pub body: String,
    /// From sending to the end of the answer, on the fake's clock.
    pub elapsed_ms: u64,
    /// The message the webhook carried, where the fake built it.
    pub message_id: Option<String>,
}

/// Posts bytes to the bridge.
#[derive(Debug, Clone)]
pub(super) struct Postman {
    http: reqwest::Client,
    clock: Clock,
}

impl Postman {
    /// # Errors
    /// The HTTP client cannot be built (no TLS provider).
    pub(super) fn new(clock: Clock) -> std::io::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(PATIENCE)
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self { http, clock })
    }

    pub(super) async fn post(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> WebhookAnswer {
        let began = self.clock.mono();
        let mut request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, body) = match exchange(request).await {
            Ok((status, body)) => (Some(status), body),
            Err(error) => (None, error.without_url().to_string()),
        };
        let elapsed = self.clock.mono().since(began);
        WebhookAnswer {
            status,
            body,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            message_id: None,
        }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, String)> {
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}
