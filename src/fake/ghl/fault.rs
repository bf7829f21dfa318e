//! The faults a fake GHL can be told to have, by path, and which one strikes next.
//!
//! Owns the order (queued before standing, first come first) and the two moments a fault can strike: before anything is
//! done, or after it was. The second matters most where a thing is single-use, as a refresh token is.

use std::collections::VecDeque;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::json;

use crate::fake::server::Reply;
use crate::fake::wire::{self, json_answer, raw_answer, set_header};

const JSON: &str = "application/json; charset=utf-8";

/// What goes wrong with a call. One that strikes *after applying* hits only a call that succeeded by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GhlFault {
    /// None: served as usual. Lets a later call of the queue be the faulty one.
    Pass,
    /// Answers this status and body; nothing is done.
    Status(u16, String),
    /// Does what was asked, then answers this status.
    StatusAfterApplying(u16),
    /// Says nothing until [`super::FakeGhl::release`], the caller leaves, or the fake stops.
    Hang {
        /// Whether what was asked is done first.
        after_applying: bool,
    },
    /// Drops the connection unanswered.
    Reset {
        /// Whether what was asked is done first.
        after_applying: bool,
    },
    /// Answers 429 with this `Retry-After`, or none; nothing is done.
    RateLimited {
        /// The header's value, sent as it is.
        retry_after: Option<String>,
    },
    /// Does what was asked, answers the success status and what is no JSON.
    Garbage,
    /// Answers a redirect to another path; nothing is done.
    Redirect,
}

impl GhlFault {
    /// A refusal in GHL's usual shape: `{"statusCode", "message"}`.
    #[must_use]
    pub fn refusal(code: u16, message: &str) -> Self {
        Self::Status(code, json!({"statusCode": code, "message": message}).to_string())
    }

    /// The reply of a fault that strikes before anything is done.
    pub(super) fn before(&self) -> Option<Reply> {
        match self {
            Self::Status(code, body) => Some(Reply::Answer(raw_answer(wire::status(*code), JSON, body.clone()))),
            Self::Hang { after_applying: false } => Some(Reply::Hang { released: None }),
            Self::Reset { after_applying: false } => Some(Reply::Reset),
            Self::RateLimited { retry_after } => {
                let body = json!({"statusCode": 429, "message": "Too Many Requests"});
                let mut answer = json_answer(StatusCode::TOO_MANY_REQUESTS, &body);
                if let Some(value) = retry_after {
                    set_header(&mut answer, "retry-after", value);
                }
                Some(Reply::Answer(answer))
            }
            Self::Redirect => {
                let mut answer = json_answer(StatusCode::TEMPORARY_REDIRECT, &json!({}));
                set_header(&mut answer, "location", "/moved");
                Some(Reply::Answer(answer))
            }
            Self::Pass
            | Self::StatusAfterApplying(_)
            | Self::Hang { after_applying: true }
            | Self::Reset { after_applying: true }
            | Self::Garbage => None,
        }
    }

    /// What a fault that strikes afterwards makes of a success.
    pub(super) fn after(&self, answer: Response<Body>) -> Reply {
        match self {
            Self::StatusAfterApplying(code) => {
                let body = json!({"statusCode": code, "message": "Internal server error"});
                Reply::Answer(json_answer(wire::status(*code), &body))
            }
            Self::Hang { .. } => Reply::Hang { released: Some(answer) },
            Self::Reset { .. } => Reply::Reset,
            Self::Garbage => Reply::Answer(raw_answer(answer.status(), "text/html", "<html>OK</html>")),
            Self::Pass | Self::Status(..) | Self::RateLimited { .. } | Self::Redirect => Reply::Answer(answer),
        }
    }
}

/// The faults that wait, each for paths with its prefix.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: VecDeque<(String, GhlFault)>,
    standing: Vec<(String, GhlFault)>,
}

impl Faults {
    pub(super) fn queue(&mut self, prefix: &str, fault: GhlFault) {
        self.next.push_back((prefix.to_owned(), fault));
    }

    pub(super) fn set_standing(&mut self, prefix: &str, fault: Option<GhlFault>) {
        self.standing.retain(|(known, _)| known != prefix);
        self.standing.extend(fault.map(|fault| (prefix.to_owned(), fault)));
    }

    /// The fault that would strike a call to `path`.
    pub(super) fn peek(&self, path: &str) -> Option<GhlFault> {
        let mut waiting = self.next.iter().chain(&self.standing);
        waiting.find(|(prefix, _)| path.starts_with(prefix.as_str())).map(|(_, fault)| fault.clone())
    }

    /// Uses up the fault that [`Faults::peek`] gave, unless it stands.
    pub(super) fn spend(&mut self, path: &str) {
        let first = self.next.iter().position(|(prefix, _)| path.starts_with(prefix.as_str()));
        if let Some(index) = first {
            self.next.remove(index);
        }
    }
}
