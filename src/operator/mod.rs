//! What operators do, whatever they do it with: list, show, retry and drop messages, list installations, count and rotate
//! keys, list and lift opt-outs, look whether all is set up. Command line, admin API and console print and parse; this decides.
//!
//! Invariant: text and full numbers are in no answer unless they were asked for ([`Reveal::Content`]). A change is the pure
//! rule of `domain` on the revision it is written to. On the embedded store the leader learns of it from another connection's
//! commit: hand these functions a store of their own, as `app::open_store` makes it, never the one `serve` works with.
//! Must not import queue, delivery, http or config.

mod change;
mod doctor;
mod install;
mod keys;
mod list;
mod location;
mod opt_out;
mod show;

pub use change::{Change, Done, drop, retry, route};
pub use doctor::{DoctorRequest, DoctorSettings, Examined, LastCheckView, Report, doctor};
pub use install::{InstallRow, Installs, InstallsRequest, installs};
pub use keys::{KeyError, KeyRow, KeyStatus, Role, Rotation, Unopened, key_status, rotate_keys};
pub use list::{List, ListRequest, Row, list, state_words};
pub use location::{Entered, Installed, KeyView, LocationError, LocationList, LocationView, Locations};
pub use opt_out::{CrmView, OptOutRow, OptOuts, OptOutsRequest, lift_opt_outs, opt_outs};
pub use show::{
    AttemptView, Content, MessageView, PartView, ReplyView, ReportView, Reveal, Shown, Stripped, UnreadableView, show,
};

pub use crate::domain::installation::InstallState;

use serde::{Serialize, Serializer};

use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::ReplyRefusal;
use crate::domain::message::Message;
use crate::domain::resend::Refusal;
use crate::domain::time::UnixMillis;
use crate::store::{Collection, Place, Query, Record, Store, StoreError, Stored};

/// What kind of document something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An outbound message, `out:…`.
    Message,
    /// A webhook that could not be read, `dead:…`.
    Unreadable,
    /// A person's reply, `in:…`.
    Reply,
}

impl Kind {
    fn collection(self) -> Collection {
        match self {
            Self::Message => Collection::Messages,
            Self::Unreadable => Collection::Unreadable,
            Self::Reply => Collection::Inbound,
        }
    }
}

/// Why it can't be done; each a sentence that says how things stand or what would be right.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(
        "{0}: nothing is kept by this name. A document has its id (`out:…`, `dead:…`, `in:…`); a message is also found by \
         the CRM's id or Cast's, until RETENTION ends"
    )]
    Unknown(String),
    #[error("{name}: more than one message is called so; give the id of one: {}", listed(.ids))]
    Ambiguous { name: String, ids: Vec<DocId> },
    #[error(
        "{}: it was settled as {} and its RETENTION is over; only its id is kept, so that a repeated webhook sends nothing",
        .0.id, .0.state
    )]
    Stripped(Stripped),
    #[error("{id}: {refusal}")]
    Message { id: DocId, refusal: Refusal },
    #[error("{id}: {refusal}")]
    Reply { id: DocId, refusal: ReplyRefusal },
    #[error("{id}: {refusal}")]
    Unreadable { id: DocId, refusal: UnreadableRefusal },
    #[error("{0}: this is no reply; the id of one begins with `in:`")]
    NoReply(DocId),
    #[error("{0}: this sub-account has not connected Cast SMS; `cast-ghl installs list` shows those that have")]
    NotInstalled(LocationId),
    #[error("{phone}: nothing holds messages to this number back")]
    NoOptOut { phone: String },
    #[error("this is not where a list ended; give `--after` what the list before this one printed")]
    Cursor,
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Why an unreadable webhook stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRefusal {
    #[error("this release can't read it either: {0}")]
    StillUnreadable(&'static str),
    #[error("this release reads it, but it asks for no SMS; drop it")]
    NoSms,
    #[error("it was dropped, or made a message of, before")]
    Dropped,
}

fn listed(ids: &[DocId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    kind: Kind,
    id: DocId,
}

/// Documents called by one name that are told apart in an error.
const MOST_NAMESAKES: usize = 10;

/// Finds what an operator means: a document's id, or for a message the CRM's or Cast's.
async fn resolve(store: &Store, name: &str) -> Result<Target, OperatorError> {
    for (prefix, kind) in [("out:", Kind::Message), ("dead:", Kind::Unreadable), ("in:", Kind::Reply)] {
        if name.starts_with(prefix) {
            return Ok(Target { kind, id: DocId(name.to_owned()) });
        }
    }
    let found = store.find::<Message>(Query::Named { name: name.to_owned(), limit: MOST_NAMESAKES }).await?;
    let mut ids: Vec<DocId> = found.into_iter().map(|stored| stored.record.id).collect();
    match (ids.pop(), ids.is_empty()) {
        (None, _) => Err(OperatorError::Unknown(name.to_owned())),
        (Some(id), true) => Ok(Target { kind: Kind::Message, id }),
        (Some(last), false) => {
            ids.push(last);
            Err(OperatorError::Ambiguous { name: name.to_owned(), ids })
        }
    }
}

/// Reads a document, or says what became of it.
async fn read<R: Record>(store: &Store, target: &Target) -> Result<Stored<R>, OperatorError> {
    match store.get::<R>(&target.id).await? {
        Some(stored) => Ok(stored),
        None => Err(gone(store, target).await),
    }
}

/// Why there is no whole document of this id.
async fn gone(store: &Store, target: &Target) -> OperatorError {
    match store.tombstone(target.kind.collection(), &target.id).await {
        Ok(Some(left)) => OperatorError::Stripped(Stripped {
            id: target.id.clone(),
            kind: target.kind,
            state: left.state,
            settled_at: left.settled_at,
        }),
        Ok(None) => OperatorError::Unknown(target.id.0.clone()),
        Err(e) => OperatorError::Store(e),
    }
}

/// A place as text, for the next page.
fn cursor(place: &Place) -> String {
    format!("{}/{}", place.accepted_at.0, place.id.0)
}

/// The place of [`cursor`].
fn parse_cursor(text: &str) -> Result<Place, OperatorError> {
    let (at, id) = text.split_once('/').ok_or(OperatorError::Cursor)?;
    let accepted_at = UnixMillis(at.parse().map_err(|_| OperatorError::Cursor)?);
    Ok(Place { accepted_at, id: DocId(id.to_owned()) })
}

/// RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}

fn time<S: Serializer>(at: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*at))
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn maybe_time<S: Serializer>(at: &Option<UnixMillis>, to: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_to_the_millisecond_even_at_the_ends_of_time() {
        assert_eq!(rfc3339(UnixMillis(1_700_000_000_120)), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(UnixMillis(i64::MAX)), i64::MAX.to_string());
    }

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_told_so() {
        let place = Place { accepted_at: UnixMillis(-5), id: DocId("out:L/1:m".into()) };
        assert_eq!(parse_cursor(&cursor(&place)).unwrap(), place);
        for other in ["", "out:L1:m", "x/out:L1:m"] {
            assert!(matches!(parse_cursor(other), Err(OperatorError::Cursor)), "{other}");
        }
    }
}
