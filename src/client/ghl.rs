//! GHL (HighLevel): tokens, message status, contacts and inbound messages, one call each.
//!
//! Owns the one table of (method, path, `Version`) and the request bodies. Invariant: no property is sent that the endpoint
//! does not declare, for GHL answers those with 422. Tokens are lent per call; `oauth` owns and refreshes them.
//! Must not import `cast`, `store` or `oauth`.

mod agency;
mod channel;
mod conversation;
mod error;
mod message;
mod token;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

pub use agency::InstalledPage;
pub use channel::ChannelsAsked;
pub use error::{ApiRefusal, GhlError, RateLimits};
pub use message::{InboundPost, InboundPosted, MessageStatus, ProviderKind, StatusErrorBody, StatusUpdate, Thread};
pub use token::{TokenApp, TokenReply, UserType};

use super::transport::{self, Answer, Reached};
use super::{builder, lenient};
use crate::domain::secret::Secret;

/// The installer waits for this call in a browser.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Below the seven seconds between two sendings of the same refresh token (GHL contract §3).
pub const REFRESH_TIMEOUT: Duration = crate::domain::refresh::SENDING;

/// A call this client knows. Adding one means adding its row in [`Call::endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Token,
    MessageStatus,
    Inbound,
    UpsertContact,
    FindContact,
    InstalledLocations,
    LocationToken,
    Channels,
    Contact,
    Thread,
    SearchConversation,
    CreateConversation,
}

/// An id that can stand in a path.
struct PathId<'a>(&'a str);

impl<'a> PathId<'a> {
    /// URLs drop the segments that can't: the call would go to another endpoint.
    fn new(id: &'a str) -> Result<Self, GhlError> {
        if matches!(id, "" | "." | "..") {
            let detail = "the id cannot stand in a path".to_owned();
            return Err(GhlError::Transport { reached: Reached::No, detail });
        }
        Ok(Self(id))
    }
}

/// Where a call goes. The `Version` header belongs to the endpoint, not to the API.
struct Endpoint {
    method: Method,
    path: &'static str,
    version: Option<&'static str>,
}

impl Call {
    /// The table (GHL contract, first section).
    const fn endpoint(self) -> Endpoint {
        const CONVERSATIONS: Option<&str> = Some("2021-04-15");
        const CONTACTS: Option<&str> = Some("2021-07-28");
        const OAUTH: Option<&str> = Some("2021-07-28");
        const CHANNELS: Option<&str> = Some("v3");
        let (method, path, version) = match self {
            Self::Token => (Method::POST, "/oauth/token", None),
            Self::MessageStatus => (Method::PUT, "/conversations/messages/{id}/status", CONVERSATIONS),
            Self::Inbound => (Method::POST, "/conversations/messages/inbound", CONVERSATIONS),
            Self::UpsertContact => (Method::POST, "/contacts/upsert", CONTACTS),
            Self::FindContact => (Method::GET, "/contacts/search/duplicate", CONTACTS),
            Self::InstalledLocations => (Method::GET, "/oauth/installedLocations", OAUTH),
            Self::LocationToken => (Method::POST, "/oauth/locationToken", OAUTH),
            Self::Channels => (Method::GET, "/locations/{id}/conversationChannels/SMS", CHANNELS),
            Self::Contact => (Method::PUT, "/contacts/{id}", CONTACTS),
            Self::Thread => (Method::GET, "/conversations/{id}/messages", CONVERSATIONS),
            Self::SearchConversation => (Method::GET, "/conversations/search", CONVERSATIONS),
            Self::CreateConversation => (Method::POST, "/conversations", CONVERSATIONS),
        };
        Endpoint { method, path, version }
    }
}

/// Calls GHL. Cheap to clone; the access token is lent per call.
#[derive(Debug, Clone)]
pub struct GhlClient {
    http: reqwest::Client,
    base: Url,
    exchange_timeout: Duration,
    refresh_timeout: Duration,
}

impl GhlClient {
    /// A client for the GHL at `base_url`, whose own path is kept.
    #[must_use]
    pub fn new(http: reqwest::Client, base_url: Url) -> Self {
        Self {
            http,
            base: builder::base(base_url),
            exchange_timeout: EXCHANGE_TIMEOUT,
            refresh_timeout: REFRESH_TIMEOUT,
        }
    }

    /// Exchanges an authorization code, within 10 s.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`; `Unreadable` if the reply has no access token: the code is spent then.
    #[tracing::instrument(name = "ghl.token", skip_all, fields(grant = "authorization_code"))]
    pub async fn exchange_code(
        &self,
        app: &TokenApp,
        code: &str,
        redirect_uri: &str,
        user_type: UserType,
    ) -> Result<TokenReply, GhlError> {
        let form = [
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.expose()),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("user_type", user_type.as_str()),
        ];
        self.token(&form, self.exchange_timeout).await
    }

    /// Spends a refresh token, within 6 s. After `Transport` with [`Reached::Maybe`], `Unreadable` or a 5xx it may be
    /// spent: the same token is to be sent again within 30 s, and GHL answers with the same new pair.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`.
    #[tracing::instrument(name = "ghl.token", skip_all, fields(grant = "refresh_token"))]
    pub async fn refresh(
        &self,
        app: &TokenApp,
        refresh_token: &Secret,
        user_type: UserType,
    ) -> Result<TokenReply, GhlError> {
        let form = [
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.expose()),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
            ("user_type", user_type.as_str()),
        ];
        self.token(&form, self.refresh_timeout).await
    }

    async fn token(&self, form: &[(&str, &str)], timeout: Duration) -> Result<TokenReply, GhlError> {
        let request = self.request(Call::Token, "", &[]).form(form).timeout(timeout);
        let answer = taken(request).await?;
        let status = answer.status;
        TokenReply::read(&readable(&answer)?).ok_or(GhlError::Unreadable { status })
    }

    /// Sets the status of a message we provide; any 2xx counts, whatever its body.
    ///
    /// # Errors
    /// `Transport` or `Api`. An id that cannot stand in a path (empty, `.` or `..`) is `Transport`, not sent.
    #[tracing::instrument(name = "ghl.status", skip_all, fields(message.id = message_id))]
    pub async fn update_status(&self, token: &Secret, message_id: &str, update: &StatusUpdate) -> Result<(), GhlError> {
        let id = PathId::new(message_id)?;
        let request = self.authorised(Call::MessageStatus, id.0, token).json(&update.body());
        taken(request).await.map(drop)
    }

    /// Finds or makes the contact with this phone number. Sends nothing that overwrites what the user has.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`; `Unreadable` if the reply has no contact id.
    #[tracing::instrument(name = "ghl.contact", skip_all, fields(location.id = location))]
    pub async fn upsert_contact(&self, token: &Secret, location: &str, phone_e164: &str) -> Result<String, GhlError> {
        let body = json!({
            "locationId": location,
            "phone": phone_e164,
            "country": "PH",
            "source": "Cast SMS",
        });
        let answer = taken(self.authorised(Call::UpsertContact, "", token).json(&body)).await?;
        let status = answer.status;
        contact_id(&readable(&answer)?).ok_or(GhlError::Unreadable { status })
    }

    /// Looks the contact up without making one: the fallback when [`Self::upsert_contact`] is refused.
    ///
    /// # Errors
    /// Any [`GhlError`] but `NotStored`.
    #[tracing::instrument(name = "ghl.contact", skip_all, fields(location.id = location))]
    pub async fn find_contact(
        &self,
        token: &Secret,
        location: &str,
        phone_e164: &str,
    ) -> Result<Option<String>, GhlError> {
        // `phone` instead of `number` is a 422.
        let query = [("locationId", location), ("number", phone_e164)];
        let request = self.request(Call::FindContact, "", &query).bearer_auth(token.expose());
        let answer = taken(request).await?;
        Ok(contact_id(&readable(&answer)?))
    }

    /// Puts a reply into the conversation.
    ///
    /// # Errors
    /// `NotStored` for a 2xx without a message id: GHL did not keep it. `Unreadable` and `Transport` with
    /// [`Reached::Maybe`] leave that open; look for `alt_id` before posting again.
    #[tracing::instrument(name = "ghl.inbound", skip_all, fields(inbound.id = post.alt_id))]
    pub async fn post_inbound(&self, token: &Secret, post: &InboundPost<'_>) -> Result<InboundPosted, GhlError> {
        let answer = taken(self.authorised(Call::Inbound, "", token).json(&post.body())).await?;
        InboundPosted::read(&readable(&answer)?).ok_or(GhlError::NotStored)
    }

    fn authorised(&self, call: Call, id: &str, token: &Secret) -> RequestBuilder {
        self.request(call, id, &[]).bearer_auth(token.expose())
    }

    fn request(&self, call: Call, id: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let Endpoint { method, path, version } = call.endpoint();
        let mut url = builder::join(&self.base, path, id);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).header("Accept", "application/json");
        match version {
            Some(version) => request.header("Version", version),
            None => request,
        }
    }
}

/// Sends once; anything but a 2xx is an error.
async fn taken(request: RequestBuilder) -> Result<Answer, GhlError> {
    match transport::call(request).await {
        Ok(answer) if (200..=299).contains(&answer.status) => Ok(answer),
        Ok(answer) => Err(GhlError::Api(Box::new(ApiRefusal::read(&answer)))),
        Err(failure) => Err(GhlError::Transport { reached: failure.reached, detail: failure.detail }),
    }
}

fn readable(answer: &Answer) -> Result<Value, GhlError> {
    answer.body.json().ok_or(GhlError::Unreadable { status: answer.status })
}

/// `{contact:{id}}`, or unwrapped.
fn contact_id(reply: &Value) -> Option<String> {
    reply
        .get("contact")
        .and_then(|contact| lenient::id(contact, &["id", "_id", "contactId", "contact_id"]))
        .or_else(|| lenient::id(reply, &["contactId", "contact_id", "id"]))
}

#[cfg(test)]
mod tests;
