//! The authorize page and the token endpoint.
//!
//! Owns the two grants of ghl contract §3: a code is redeemed once, a refresh token rotates. The reply's `userType` is
//! the installation's, whatever was asked for. A person is asked nothing: the next install a test set is chosen.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::knob::{GrantHealth, InstallTarget, TokenSpelling, UserType};
use super::refusal::Refusal;
use super::route::Trace;
use super::token::{Grant, Owner, Pair, Presented};
use super::world::World;
use crate::fake::wire::{self, raw_answer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizeQuery {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    /// Ours: shows a page with a button in place of choosing at once.
    #[serde(default)]
    page: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "grant_type", deny_unknown_fields)]
enum TokenForm {
    #[serde(rename = "authorization_code")]
    Code {
        client_id: String,
        client_secret: String,
        code: String,
        redirect_uri: String,
        #[serde(rename = "user_type")]
        _user_type: UserType,
    },
    #[serde(rename = "refresh_token")]
    Refresh { client_id: String, client_secret: String, refresh_token: String, user_type: UserType },
}

impl World {
    /// The authorize page: 302 to the app with code and state, or a 400 page that says what is wrong.
    pub(super) fn authorize(&mut self, call: &Request<Bytes>) -> Response<Body> {
        let asked = wire::query::<AuthorizeQuery>(call)
            .map_err(|misfit| Refusal::from(misfit).words())
            .and_then(|query| self.check_authorize(query));
        let (query, mut target) = match asked {
            Ok(asked) => asked,
            Err(words) => {
                return page(StatusCode::BAD_REQUEST, &format!("<p>{}</p>", escape(&words)));
            }
        };
        if query.page.as_deref() == Some("1") {
            let asked = call.uri().path_and_query().map_or("", |asked| asked.as_str());
            let chosen = asked.replace("&page=1", "").replace("?page=1&", "?");
            let for_whom = match self.installs.front().cloned().unwrap_or_default().target {
                InstallTarget::Location(id) => format!("sub-account {id}"),
                InstallTarget::Company(approved) => format!("{} sub-accounts", approved.len()),
            };
            let button = format!("<p><a href=\"{}\">Connect {}</a></p>", escape(&chosen), escape(&for_whom));
            return page(StatusCode::OK, &button);
        }
        let install = self.installs.pop_front().unwrap_or_default();
        let scopes = query.scope.split(' ').map(str::to_owned).collect();
        let code = self.install(install, scopes, Some(query.redirect_uri));
        target.query_pairs_mut().append_pair("code", &code).append_pair("state", &query.state);
        let mut answer = page(StatusCode::FOUND, "");
        // A URL's serialisation is ASCII, which a header value holds.
        if let Ok(value) = HeaderValue::from_str(target.as_str()) {
            answer.headers_mut().insert("location", value);
        }
        answer
    }

    fn check_authorize(&self, query: AuthorizeQuery) -> Result<(AuthorizeQuery, Url), String> {
        let no = |words: &str| Err(words.to_owned());
        if query.response_type != "code" {
            return no("response_type must be code");
        }
        if query.client_id != self.options.client_id {
            return no("No integration found with this client id");
        }
        if query.state.is_empty() {
            return no("state should not be empty");
        }
        if let Some(unknown) = query.scope.split(' ').find(|s| !self.options.scopes.iter().any(|known| known == s)) {
            return Err(format!("invalid scope: {unknown}"));
        }
        let registered = self.options.redirect_uri.as_ref();
        if registered.is_some_and(|registered| *registered != query.redirect_uri) {
            return no("redirect_uri is not registered");
        }
        match Url::parse(&query.redirect_uri) {
            Ok(target) if matches!(target.scheme(), "http" | "https") => Ok((query, target)),
            _ => no("redirect_uri must be an absolute http(s) URL"),
        }
    }

    /// The token endpoint. It needs no `Version`; `v3` there means camelCase.
    pub(super) fn token(&mut self, call: &Request<Bytes>, trace: &mut Trace) -> Result<Value, Refusal> {
        let camel = wire::header(call, "version") == Some("v3") || self.rules.token_spelling == TokenSpelling::Camel;
        let reply = match wire::form::<TokenForm>(call)? {
            TokenForm::Code { client_id, client_secret, code, redirect_uri, _user_type } => {
                self.check_client(&client_id, &client_secret)?;
                self.redeem(&code, &redirect_uri, trace)?
            }
            TokenForm::Refresh { client_id, client_secret, refresh_token, user_type } => {
                self.check_client(&client_id, &client_secret)?;
                self.refresh(&refresh_token, user_type, trace)?
            }
        };
        Ok(if camel { in_camel_case(reply) } else { reply })
    }

    fn check_client(&self, client_id: &str, client_secret: &str) -> Result<(), Refusal> {
        if client_id == self.options.client_id && client_secret == self.options.client_secret {
            return Ok(());
        }
        let words = "Client authentication failed";
        Err(Refusal::oauth(StatusCode::UNAUTHORIZED, "invalid_client", words))
    }

    fn redeem(&mut self, code: &str, redirect_uri: &str, trace: &mut Trace) -> Result<Value, Refusal> {
        let now = self.mono();
        let Some(grant) = self.vault.redeem(code, redirect_uri, now) else {
            return Err(invalid_grant("Invalid grant: authorization code is invalid"));
        };
        trace.owner = Some(grant.owner.id().to_owned());
        // A new install is a new grant: what was wrong with the old one is over.
        self.health.remove(grant.owner.id());
        let pair = self.vault.issue_pair(&grant, self.options.token_life, now);
        Ok(self.token_reply(&grant, pair))
    }

    fn refresh(&mut self, token: &str, user_type: UserType, trace: &mut Trace) -> Result<Value, Refusal> {
        let now = self.mono();
        let presented = self.vault.present(token, now);
        let (grant, again) = match presented {
            Presented::Dead(grant) => {
                if let Some(grant) = grant {
                    trace.owner = Some(grant.owner.id().to_owned());
                    self.vault.refreshes.entry(grant.owner.id().to_owned()).or_default().refused += 1;
                }
                return Err(invalid_grant("Invalid grant: refresh token is invalid"));
            }
            Presented::Again(grant, reply) => (grant, Some(reply)),
            Presented::Fresh(grant) => (grant, None),
        };
        let id = grant.owner.id().to_owned();
        trace.owner = Some(id.clone());
        let refused = self.refuse_refresh(&grant, user_type);
        let counts = self.vault.refreshes.entry(id).or_default();
        if let Some(refusal) = refused {
            counts.refused += 1;
            return Err(refusal);
        }
        if let Some(reply) = again {
            counts.repeated += 1;
            return Ok(reply);
        }
        counts.rotated += 1;
        let pair = self.vault.issue_pair(&grant, self.options.token_life, now);
        let reply = self.token_reply(&grant, pair);
        self.vault.spend(token, reply.clone(), now);
        Ok(reply)
    }

    fn refuse_refresh(&self, grant: &Grant, user_type: UserType) -> Option<Refusal> {
        if user_type != grant.owner.user_type() {
            let words = "user_type is not the one the token was issued for";
            let refusal = Refusal::oauth(StatusCode::BAD_REQUEST, "invalid_request", words);
            return Some(refusal.breach());
        }
        self.unhealthy(grant.owner.id())
    }

    /// What a test said is wrong with this location's or company's grant.
    pub(super) fn unhealthy(&self, owner_id: &str) -> Option<Refusal> {
        match self.health.get(owner_id).copied().unwrap_or_default() {
            GrantHealth::Alive => None,
            GrantHealth::NotActive => Some(Refusal::bad_request("Location is not active")),
            GrantHealth::Invalid => Some(Refusal::bad_request("Invalid grant: refresh token is invalid")),
            GrantHealth::InvalidOauth => Some(invalid_grant("Invalid grant: refresh token is invalid")),
        }
    }

    fn token_reply(&mut self, grant: &Grant, pair: Pair) -> Value {
        let mut reply = json!({
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": self.options.token_life.as_secs(),
            "token_type": "Bearer",
            "scope": grant.scopes.join(" "),
            "userType": grant.owner.user_type(),
            "companyId": grant.owner.company(),
            "userId": grant.user_id,
            "refreshTokenId": self.fresh_id("RTK"),
            "traceId": self.fresh_id("TRC"),
        });
        match &grant.owner {
            Owner::Location { id, .. } => {
                reply["locationId"] = json!(id);
                reply["isBulkInstallation"] = json!(false);
            }
            Owner::Company { .. } => {
                reply["isBulkInstallation"] = json!(true);
                reply["approvedLocations"] = json!(grant.approved);
                reply["installToFutureLocations"] = json!(grant.for_all);
                reply["approveAllLocations"] = json!(grant.for_all);
            }
        }
        reply
    }
}

fn invalid_grant(words: &str) -> Refusal {
    Refusal::oauth(StatusCode::BAD_REQUEST, "invalid_grant", words)
}

fn in_camel_case(mut reply: Value) -> Value {
    const NAMES: [(&str, &str); 4] = [
        ("access_token", "accessToken"),
        ("refresh_token", "refreshToken"),
        ("expires_in", "expiresIn"),
        ("token_type", "tokenType"),
    ];
    if let Some(members) = reply.as_object_mut() {
        for (snake, camel) in NAMES {
            if let Some(value) = members.remove(snake) {
                members.insert(camel.to_owned(), value);
            }
        }
    }
    reply
}

fn page(status: StatusCode, content: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Choose an account</title></head>\
         <body><h1>Choose an account</h1>{content}</body></html>"
    );
    raw_answer(status, "text/html; charset=utf-8", html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
