//! Lists: what needs a person, or what stands in a state; newest first, in pages.
//!
//! Invariant: a row names nobody: no text, the phone masked. Several kinds of documents are merged by their place, which
//! one cursor names for all of them.

use serde::Serialize;

use super::{Kind, OperatorError, cursor, parse_cursor, time};
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{Reply, ReplyState};
use crate::domain::message::{FailureCode, Message, State};
use crate::domain::phone::mask;
use crate::domain::time::UnixMillis;
use crate::store::{Place, Query, Record, Store, StoreError, Unreadable};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// One of [`state_words`]; absent: what needs a person.
    pub state: Option<String>,
    pub location: Option<LocationId>,
    /// [`List::next`] of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct List {
    pub messages: Vec<Row>,
    /// Where the next page begins; absent on the last.
    pub next: Option<String>,
}

/// One document in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub id: DocId,
    pub kind: Kind,
    pub state: &'static str,
    /// Why a message failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// Why a webhook can't be read or a reply is not posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    /// Masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(serialize_with = "time")]
    pub accepted_at: UnixMillis,
    /// Parts the gateway took, of those there are; none before a message is composed.
    pub parts_sent: usize,
    pub parts_total: usize,
    /// A person set it aside for good.
    pub dropped: bool,
}

/// The state of a webhook that could not be read, in lists.
const UNREADABLE: &str = "unreadable";

/// The words `state` may have: the states of messages and replies, and `unreadable`.
#[must_use]
pub fn state_words() -> Vec<&'static str> {
    let mut words: Vec<&'static str> = State::ALL.iter().map(|state| state.as_str()).collect();
    words.extend(ReplyState::ALL.iter().map(|state| state.as_str()).filter(|word| *word != State::Dead.as_str()));
    words.push(UNREADABLE);
    words
}

/// Where rows come from: a kind of document in a state.
type Source = (Kind, &'static str);

/// What needs a person.
const ATTENTION: [Source; 5] = [
    (Kind::Message, State::Parked.as_str()),
    (Kind::Message, State::Dead.as_str()),
    (Kind::Unreadable, DEAD_WEBHOOK),
    (Kind::Reply, ReplyState::Dead.as_str()),
    (Kind::Reply, ReplyState::Unrouted.as_str()),
];

/// The stored state of an unreadable webhook nobody has dropped.
const DEAD_WEBHOOK: &str = "dead";

/// Lists a page. Without a state, what a person dropped is left out.
///
/// # Errors
/// [`OperatorError::Cursor`], [`OperatorError::Store`]
pub async fn list(store: &Store, request: &ListRequest) -> Result<List, OperatorError> {
    let after = request.after.as_deref().map(parse_cursor).transpose()?;
    let mut rows = Vec::new();
    for (kind, state) in sources(request.state.as_deref()) {
        let source = Walk { store, state, request, after: after.as_ref() };
        rows.extend(match kind {
            Kind::Message => source.rows(row_of_message).await?,
            Kind::Unreadable => source.rows(row_of_unreadable).await?,
            Kind::Reply => source.rows(row_of_reply).await?,
        });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(place(row)));
    let more = rows.len() > request.limit;
    rows.truncate(request.limit);
    let next = rows.last().filter(|_| more).map(|row| cursor(&place(row)));
    Ok(List { messages: rows, next })
}

fn sources(state: Option<&str>) -> Vec<Source> {
    let Some(word) = state else { return ATTENTION.to_vec() };
    let message = State::from_word(word).map(|state| (Kind::Message, state.as_str()));
    let reply = ReplyState::ALL.into_iter().map(ReplyState::as_str).find(|known| *known == word);
    let unreadable = (word == UNREADABLE).then_some((Kind::Unreadable, DEAD_WEBHOOK));
    message.into_iter().chain(reply.map(|state| (Kind::Reply, state))).chain(unreadable).collect()
}

fn place(row: &Row) -> Place {
    Place { accepted_at: row.accepted_at, id: row.id.clone() }
}

/// A walk through one source, from the cursor on.
struct Walk<'a> {
    store: &'a Store,
    state: &'static str,
    request: &'a ListRequest,
    after: Option<&'a Place>,
}

impl Walk<'_> {
    /// One row more than the page holds, if there are so many.
    async fn rows<R: Record>(&self, row: fn(&R) -> Row) -> Result<Vec<Row>, StoreError> {
        let wanted = self.request.limit.saturating_add(1);
        let mut after = self.after.cloned();
        let mut rows = Vec::new();
        while rows.len() < wanted {
            let query = Query::State {
                state: self.state.to_owned(),
                location: self.request.location.as_ref().map(ToString::to_string),
                after: after.clone(),
                limit: wanted,
            };
            let page: Vec<Row> = self.store.find::<R>(query).await?.iter().map(|stored| row(&stored.record)).collect();
            let Some(last) = page.last() else { break };
            after = Some(place(last));
            rows.extend(page.into_iter().filter(|row| self.request.state.is_some() || !row.dropped));
        }
        Ok(rows)
    }
}

pub(super) fn row_of_message(message: &Message) -> Row {
    let (intake, p) = (&message.accepted.intake, &message.progress);
    Row {
        id: message.id.clone(),
        kind: Kind::Message,
        state: p.state.as_str(),
        code: p.code,
        why: None,
        location: Some(intake.location.clone()),
        phone: intake.phone.as_deref().map(mask),
        accepted_at: message.accepted.at,
        parts_sent: p.accepted_parts(),
        parts_total: p.parts.len(),
        dropped: p.dropped_at.is_some(),
    }
}

pub(super) fn row_of_unreadable(webhook: &Unreadable) -> Row {
    Row {
        id: webhook.id.clone(),
        kind: Kind::Unreadable,
        state: UNREADABLE,
        code: None,
        why: Some(webhook.kept.why.clone()),
        location: None,
        phone: None,
        accepted_at: webhook.fate.settled_at,
        parts_sent: 0,
        parts_total: 0,
        dropped: webhook.fate.dropped_at.is_some(),
    }
}

pub(super) fn row_of_reply(reply: &Reply) -> Row {
    let p = &reply.progress;
    Row {
        id: reply.id.clone(),
        kind: Kind::Reply,
        state: p.state.as_str(),
        code: None,
        why: p.why.clone(),
        location: p.location.clone().or_else(|| reply.accepted.location.clone()),
        phone: Some(mask(&reply.accepted.from)),
        accepted_at: reply.accepted.at,
        parts_sent: 0,
        parts_total: 0,
        dropped: p.dropped_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_a_source_and_dead_names_messages_and_replies() {
        for word in state_words() {
            assert!(!sources(Some(word)).is_empty(), "{word}");
        }
        assert_eq!(sources(Some("dead")), [(Kind::Message, "dead"), (Kind::Reply, "dead")]);
        assert_eq!(sources(Some("nonsense")), []);
    }
}
