//! Documents to try a store with, and the shortest ways to put them in and to ask for them.
//!
//! Owns what a sample looks like: nth of its kind, accepted n milliseconds after a fixed time. Imports `store` and `domain`.

use std::future::Future;
use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, GhlMessageId, LocationId};
use cast_ghl_provider::domain::inbound::{Reply, ReplyAccepted, ReplyProgress, ReplyState};
use cast_ghl_provider::domain::message::{DOCUMENT_VERSION, Intake, Message, Progress, State};
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::domain::report::{Report, ReportSource, ReportStatus, Verdict};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::store::{Collection, Discovered, Discovery, Header, Inserted, Query, Record, Store, Stored};

pub(super) const T0: UnixMillis = UnixMillis(1_760_000_000_000);

pub(super) fn at(offset: i64) -> UnixMillis {
    UnixMillis(T0.0 + offset)
}

pub(super) fn location(name: &str) -> LocationId {
    LocationId::parse(name).unwrap()
}

pub(super) fn phone(last: u64) -> Phone {
    Phone::parse(&format!("+63917{last:07}")).unwrap()
}

pub(super) fn intake(n: u64) -> Intake {
    Intake {
        location: location("L1"),
        message_id: GhlMessageId::parse(&format!("m{n:06}")).unwrap(),
        contact_id: Some("c1".into()),
        conversation_id: None,
        phone: Some("+639171234567".into()),
        text: Some("Kumusta".into()),
        attachments: Vec::new(),
        user_id: None,
    }
}

/// The nth message of a process: accepted n milliseconds after the first.
pub(super) fn message(n: u64) -> Message {
    Message::accept(intake(n), at(n.cast_signed()), "replica", n)
}

pub(super) fn settled(message: &Message) -> Message {
    message.with(Progress {
        state: State::Accepted,
        settled_at: Some(at(500)),
        strip_at: Some(at(1_000)),
        ..message.progress.clone()
    })
}

pub(super) fn report_due(message: &Message, due: UnixMillis, no_token: bool) -> Message {
    let verdict = Verdict { status: ReportStatus::Delivered, source: ReportSource::Policy, code: None, sentence: None };
    let report = Report { no_token, ..Report::new(verdict, due) };
    let settled = settled(message);
    settled.with(Progress { report: Some(report), ..settled.progress.clone() })
}

pub(super) async fn insert<R: Record>(store: &Store, record: &R) {
    assert_eq!(store.insert(record).await.unwrap(), Inserted::New);
}

pub(super) async fn read<R: Record>(store: &Store, id: &DocId) -> Stored<R> {
    store.get::<R>(id).await.unwrap().expect("it was inserted")
}

/// Inserts a record and reads it back; says whether it came back the same.
pub(super) async fn survives<R: Record + PartialEq>(store: &Store, record: &R) -> bool {
    insert(store, record).await;
    read::<R>(store, &record.id()).await.record == *record
}

pub(super) async fn found(store: &Store, query: Query) -> Vec<u64> {
    let stored = store.find::<Message>(query).await.unwrap();
    stored.iter().map(|stored| stored.record.accepted.counter).collect()
}

pub(super) async fn discovered(store: &Store) -> Vec<Header> {
    let found = store.discover(Collection::Messages, &mut Discovery::default()).await;
    match found.unwrap() {
        Discovered::Whole(headers) => headers,
        Discovered::New(_) => panic!("a fresh poller was told only what is new"),
    }
}

pub(super) fn counters(headers: &[Header]) -> Vec<i64> {
    headers.iter().filter_map(|header| header.keys.counter).collect()
}

/// Runs all at once, each on a task of its own.
pub(super) async fn together<T: Send + 'static>(
    work: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

pub(super) fn reply(n: u64) -> Reply {
    let accepted = ReplyAccepted {
        v: DOCUMENT_VERSION,
        at: at(n.cast_signed()),
        replica: "replica".into(),
        counter: n,
        from: "+639171234567".into(),
        phone: Some(phone(1_234_567)),
        to: None,
        text: Some("Oo 👍 at \u{0} salamat".into()),
        attachments: Vec::new(),
        sent_at: at(-5),
        location: Some(location("L1")),
        wish: None,
    };
    Reply::accept(DocId::inbound(&format!("{n:064}")), accepted, Duration::from_secs(60))
}

pub(super) fn settled_reply(n: u64) -> Reply {
    let reply = reply(n);
    let progress = ReplyProgress {
        state: ReplyState::Unrouted,
        why: Some("nobody's".into()),
        settled_at: Some(at(9)),
        ..reply.progress.clone()
    };
    reply.with(progress)
}
