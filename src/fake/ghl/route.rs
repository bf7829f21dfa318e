//! The contract's table of endpoints, and the way of a call: fault, version, token, limit, scope, handler.
//!
//! Owns which paths exist and what each demands (`Version`, scope). A call to anything else is 404 and written down as
//! unexpected; every other call is one line of the ledger, whatever became of it.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::date::http_date;
use super::limit::{Admission, Standing};
use super::refusal::Refusal;
use super::seen::GhlCall;
use super::token::{Grant, Owner};
use super::world::World;
use crate::fake::Unexpected;
use crate::fake::server::Reply;
use crate::fake::wire::{self, json_answer};

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint<'a> {
    /// The page where a person chooses what to install for.
    Authorize,
    /// Takes the app's secret in place of a token.
    Token,
    /// Takes a token.
    Api(Api<'a>),
}

/// An endpoint that takes a token, with the id in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api<'a> {
    Installed,
    Mint,
    Remove(&'a str),
    Channels(&'a str),
    Status(&'a str),
    Inbound,
    Thread(&'a str),
    SearchConversations,
    CreateConversation,
    Upsert,
    Duplicate,
    Contact(&'a str),
}

impl<'a> Endpoint<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let api = match (method.as_str(), segments.as_slice()) {
            ("GET", ["oauth", "chooselocation"] | ["v2", "oauth", "chooselocation"]) => {
                return Some(Self::Authorize);
            }
            ("POST", ["oauth", "token"]) => return Some(Self::Token),
            ("GET", ["oauth", "installedLocations"]) => Api::Installed,
            ("POST", ["oauth", "locationToken"]) => Api::Mint,
            ("DELETE", ["marketplace", "app", app, "installations"]) => Api::Remove(app),
            ("GET", ["locations", id, "conversationChannels", "SMS"]) => Api::Channels(id),
            ("PUT", ["conversations", "messages", id, "status"]) => Api::Status(id),
            ("POST", ["conversations", "messages", "inbound"]) => Api::Inbound,
            ("GET", ["conversations", "search"]) => Api::SearchConversations,
            ("POST", ["conversations"]) => Api::CreateConversation,
            ("GET", ["conversations", id, "messages"]) => Api::Thread(id),
            ("POST", ["contacts", "upsert"]) => Api::Upsert,
            ("GET", ["contacts", "search", "duplicate"]) => Api::Duplicate,
            ("PUT", ["contacts", id]) => Api::Contact(id),
            _ => return None,
        };
        Some(Self::Api(api))
    }
}

impl Api<'_> {
    /// The `Version` and the scope it demands.
    fn demands(self) -> (&'static str, &'static str) {
        match self {
            Self::Installed => ("2021-07-28", "oauth.readonly"),
            Self::Mint | Self::Remove(_) => ("2021-07-28", "oauth.write"),
            Self::Channels(_) => ("v3", "locations.readonly"),
            Self::Status(_) | Self::Inbound => ("2021-04-15", "conversations/message.write"),
            Self::Thread(_) => ("2021-04-15", "conversations/message.readonly"),
            Self::SearchConversations => ("2021-04-15", "conversations.readonly"),
            Self::CreateConversation => ("2021-04-15", "conversations.write"),
            Self::Upsert | Self::Contact(_) => ("2021-07-28", "contacts.write"),
            Self::Duplicate => ("2021-07-28", "contacts.readonly"),
        }
    }
}

/// What a handler answers when all went well.
pub(super) type Served = Result<(StatusCode, Value), Refusal>;

/// What is learnt of a call on its way.
#[derive(Default)]
pub(super) struct Trace {
    /// The location or company it acts for.
    pub(super) owner: Option<String>,
    standing: Option<Standing>,
    problem: Option<String>,
    breach: bool,
}

impl World {
    pub(super) fn answer(&mut self, call: &Request<Bytes>) -> Reply {
        let at = self.now();
        let (method, path) = (call.method().to_string(), call.uri().path().to_owned());
        let Some(endpoint) = Endpoint::of(call.method(), &path) else {
            let message = format!("Cannot {method} {path}");
            self.unexpected.push(Unexpected { at, method, path });
            let body = json!({"statusCode": 404, "message": message, "error": "Not Found"});
            return Reply::Answer(json_answer(StatusCode::NOT_FOUND, &body));
        };
        let mut trace = Trace::default();
        let mut reply = self.reply(endpoint, call, &mut trace);
        if let Reply::Answer(answer) = &mut reply {
            // Else the server writes the machine's time, which is not this fake's.
            wire::set_header(answer, "date", &http_date(at));
        }
        self.calls.push(GhlCall {
            at,
            method,
            path: path.clone(),
            status: reply.status(),
            location: trace.owner,
            problem: trace.problem,
            breach: trace.breach,
        });
        reply
    }

    fn reply(&mut self, endpoint: Endpoint<'_>, call: &Request<Bytes>, trace: &mut Trace) -> Reply {
        let path = call.uri().path();
        let fault = self.faults.peek(path);
        if let Some(reply) = fault.as_ref().and_then(|fault| fault.before()) {
            self.faults.spend(path);
            trace.problem = Some("a fault was asked for".to_owned());
            return reply;
        }
        let served = self.serve(endpoint, call, trace);
        let struck = served.is_ok();
        let mut answer = served.unwrap_or_else(|refusal| {
            trace.problem = Some(refusal.words());
            trace.breach = refusal.is_breach();
            refusal.answer(&self.fresh_id("TRC"))
        });
        if let Some(standing) = trace.standing {
            standing.write(&mut answer);
        }
        match fault {
            Some(fault) if struck => {
                self.faults.spend(path);
                fault.after(answer)
            }
            _ => Reply::Answer(answer),
        }
    }

    fn serve(
        &mut self,
        endpoint: Endpoint<'_>,
        call: &Request<Bytes>,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Refusal> {
        match endpoint {
            Endpoint::Authorize => Ok(self.authorize(call)),
            Endpoint::Token => {
                let reply = self.token(call, trace)?;
                Ok(json_answer(StatusCode::OK, &reply))
            }
            Endpoint::Api(api) => {
                let grant = self.admit(call, api, trace)?;
                let (status, body) = self.act(api, call, &grant)?;
                Ok(json_answer(status, &body))
            }
        }
    }

    /// Version, token, rate limit, scope, in this order.
    fn admit(&mut self, call: &Request<Bytes>, api: Api<'_>, trace: &mut Trace) -> Result<Grant, Refusal> {
        let (version, scope) = api.demands();
        match wire::header(call, "version") {
            Some(given) if given == version => {}
            Some(_) => return Err(Refusal::unauthorized("version header is invalid.").breach()),
            None => return Err(Refusal::unauthorized("version header was not found.").breach()),
        }
        let (now, wall) = (self.mono(), self.now());
        let token = wire::header(call, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let grant = match token.and_then(|token| self.vault.bearer(token, now)) {
            Some((grant, true)) => grant.clone(),
            Some((_, false)) => return Err(Refusal::unauthorized("The token has expired")),
            None => return Err(Refusal::unauthorized("Invalid JWT")),
        };
        let owner = grant.owner.id().to_owned();
        trace.owner = Some(owner.clone());
        if let Some(limit) = self.options.rate_limit {
            match self.windows.entry(owner).or_default().admit(limit, now, wall) {
                Admission::Admitted(standing) => trace.standing = Some(standing),
                Admission::Refused(standing) => {
                    trace.standing = Some(standing);
                    return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"));
                }
            }
        }
        if !grant.scopes.iter().any(|granted| granted == scope) {
            return Err(Refusal::forbidden("The token is not authorized for this scope."));
        }
        Ok(grant)
    }

    fn act(&mut self, api: Api<'_>, call: &Request<Bytes>, grant: &Grant) -> Served {
        let owner = &grant.owner;
        match api {
            Api::Installed => self.installed_locations(call, company_of(owner)?, grant),
            Api::Mint => self.mint(call, company_of(owner)?, grant),
            Api::Remove(app_id) => self.remove_app(call, owner, app_id),
            Api::Channels(id) => self.channels(location_of(owner)?, id),
            Api::Status(id) => self.set_status(call, location_of(owner)?, id),
            Api::Inbound => self.add_inbound(call, location_of(owner)?),
            Api::Thread(id) => self.thread(call, location_of(owner)?, id),
            Api::SearchConversations => self.search_conversations(call, location_of(owner)?),
            Api::CreateConversation => self.create_conversation(call, location_of(owner)?),
            Api::Upsert => self.upsert(call, location_of(owner)?),
            Api::Duplicate => self.search_duplicate(call, location_of(owner)?),
            Api::Contact(id) => self.set_dnd(call, location_of(owner)?, id),
        }
    }
}

fn location_of(owner: &Owner) -> Result<&str, Refusal> {
    match owner {
        Owner::Location { id, .. } => Ok(id),
        Owner::Company { .. } => Err(no_access()),
    }
}

fn company_of(owner: &Owner) -> Result<&str, Refusal> {
    match owner {
        Owner::Company { id } => Ok(id),
        Owner::Location { .. } => Err(Refusal::forbidden("This endpoint needs an agency's token.").breach()),
    }
}

/// The token is another location's, or an agency's.
pub(super) fn no_access() -> Refusal {
    Refusal::forbidden("The token does not have access to this location.").breach()
}
