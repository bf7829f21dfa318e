//! The MongoDB store against a server of a few lines that answers what each test tells it to: the wire as it is, and the
//! answers a healthy server never gives.

use std::io;
use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::domain::leadership::LeaderDoc;
use crate::store::LeaderRecord;

/// What the server does about a command.
enum Answer {
    Reply(Document),
    /// Closes the connection without a word.
    HangUp,
    /// Keeps it open without a word.
    Silence,
}

type Script = dyn Fn(&Document) -> Answer + Send + Sync;

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Document>>>,
}

impl Server {
    /// A server that calls itself the primary of a replica set.
    async fn primary(script: impl Fn(&Document) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(doc! { "setName": "rs" }, script).await
    }

    async fn start(says: Document, script: impl Fn(&Document) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut hello = doc! {
            "ok": 1,
            "isWritablePrimary": true,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "maxBsonObjectSize": 16_777_216,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30,
            "hosts": [&address],
            "me": &address,
        };
        hello.extend(says);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, kept): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, kept, hello) = (Arc::clone(&script), Arc::clone(&kept), hello.clone());
                tokio::spawn(async move { serve(stream, &hello, &kept, &*script).await });
            }
        });
        Self { address, seen }
    }

    async fn store(&self) -> MongoStore {
        self.store_by("mongodb://ADDRESS/?directConnection=true").await
    }

    async fn store_by(&self, uri: &str) -> MongoStore {
        open(&uri.replace("ADDRESS", &self.address)).await.unwrap()
    }

    /// What was asked by this name, oldest first.
    fn seen(&self, name: &str) -> Vec<Document> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|command| command_name(command) == name).cloned().collect()
    }
}

fn command_name(command: &Document) -> &str {
    command.keys().next().map_or("", String::as_str)
}

async fn serve(
    mut stream: TcpStream,
    hello: &Document,
    seen: &Mutex<Vec<Document>>,
    script: &Script,
) -> io::Result<()> {
    loop {
        let (id, command) = read_message(&mut stream).await?;
        let answer = match command_name(&command) {
            "hello" | "isMaster" => Answer::Reply(hello.clone()),
            "endSessions" | "killCursors" => Answer::Reply(doc! { "ok": 1 }),
            _ => {
                let answer = script(&command);
                seen.lock().unwrap().push(command);
                answer
            }
        };
        match answer {
            Answer::Reply(reply) => write_message(&mut stream, id, &reply).await?,
            Answer::HangUp => return Ok(()),
            Answer::Silence => std::future::pending().await,
        }
    }
}

/// An `OP_MSG`: a header of four numbers, flags, a section of kind 0 with the command, sections of kind 1 with its lists.
async fn read_message(stream: &mut TcpStream) -> io::Result<(i32, Document)> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).await?;
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    let id = i32::from_le_bytes(header[4..8].try_into().unwrap());
    let mut body = vec![0; length as usize - header.len()];
    stream.read_exact(&mut body).await?;
    let mut rest = &body[4..];
    let mut command = Document::new();
    while let Some((kind, section)) = rest.split_first() {
        rest = section;
        if *kind == 0 {
            command = Document::from_reader(&mut rest).unwrap();
            continue;
        }
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (mut section, after) = (&rest[4..length], &rest[length..]);
        let end = section.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8(section[..end].to_vec()).unwrap();
        section = &section[end + 1..];
        let mut list = Vec::new();
        while !section.is_empty() {
            list.push(Bson::Document(Document::from_reader(&mut section).unwrap()));
        }
        command.insert(name, list);
        rest = after;
    }
    Ok((id, command))
}

async fn write_message(stream: &mut TcpStream, to: i32, reply: &Document) -> io::Result<()> {
    const OP_MSG: i32 = 2013;
    let reply = reply.to_vec().unwrap();
    let length = i32::try_from(16 + 4 + 1 + reply.len()).unwrap();
    let mut message = Vec::new();
    for number in [length, 1, to, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(reply);
    stream.write_all(&message).await
}

/// Generous, since a build on the same cores is no fault of the store.
const OPERATION: Duration = Duration::from_secs(10);

async fn open(uri: &str) -> Result<MongoStore, StoreError> {
    open_within(OPERATION, uri).await
}

async fn open_within(operation: Duration, uri: &str) -> Result<MongoStore, StoreError> {
    let settings = MongoSettings {
        uri: Secret::from(uri),
        database: "cast-ghl".into(),
        server_selection: operation / 2,
        connect: operation / 2,
        operation,
    };
    MongoStore::open(&settings).await
}

fn leader() -> LeaderRecord {
    LeaderRecord(LeaderDoc::first("a"))
}

fn stored() -> Stored<LeaderRecord> {
    Stored { record: leader(), revision: Revision::FIRST }
}

fn done(n: i32) -> Answer {
    Answer::Reply(doc! { "ok": 1, "n": n, "nModified": n })
}

fn no_majority() -> Document {
    doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication" }
}

fn failed(code: i32) -> Answer {
    Answer::Reply(doc! { "ok": 0, "code": code, "errmsg": "not for the log: 09171234567" })
}

fn duplicate() -> Answer {
    let error = doc! { "index": 0, "code": 11000, "errmsg": "not for the log: 09171234567" };
    Answer::Reply(doc! { "ok": 1, "n": 0, "writeErrors": [error] })
}

fn found(documents: Vec<Document>, cursor: i64) -> Answer {
    let ns = "cast-ghl.messages";
    Answer::Reply(doc! { "ok": 1, "cursor": { "id": cursor, "ns": ns, "firstBatch": documents } })
}

/// The text of an `Unavailable`, which must tell nothing that came from outside.
fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(why)) => {
            assert!(!why.contains("0917") && !why.contains("127.0.0.1"), "{why}");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_uri_weakens_a_write_and_no_driver_repeats_it() {
    let server = Server::primary(|_| done(1)).await;
    let uri = "mongodb://ADDRESS/?directConnection=true&w=1&journal=false&retryWrites=true";
    let store = server.store_by(uri).await;
    store.insert(&leader()).await.unwrap();
    store.save(&stored(), &leader()).await.unwrap();
    store.prepare().await.unwrap();
    let limit = i32::try_from(OPERATION.as_millis()).unwrap();
    let concern = doc! { "w": "majority", "wtimeout": limit, "j": true };
    for name in ["insert", "update", "createIndexes"] {
        let seen = server.seen(name);
        assert!(!seen.is_empty(), "{name}");
        for command in seen {
            assert_eq!(command.get("writeConcern"), Some(&Bson::Document(concern.clone())), "{name}");
            assert!(!command.contains_key("txnNumber"), "{name}");
        }
    }
}

#[tokio::test]
async fn a_read_asks_for_what_a_majority_holds_where_members_can_fall_away() {
    let router = doc! { "msg": "isdbgrid" };
    for (says, majority) in [(doc! { "setName": "rs" }, true), (router, true), (doc! {}, false)] {
        let server = Server::start(says, |_| found(Vec::new(), 0)).await;
        let uri = "mongodb://ADDRESS/?readPreference=secondary&readConcernLevel=available";
        let store = server.store_by(&format!("{uri}&directConnection=true")).await;
        store.get::<LeaderRecord>(&LeaderRecord::key()).await.unwrap();
        store.find::<LeaderRecord>(Query::Page { after: None, limit: 1 }).await.unwrap();
        store.discover(Collection::Messages).await.unwrap();
        let seen = server.seen("find");
        assert_eq!(seen.len(), 3);
        for command in seen {
            let concern = majority.then_some(Bson::Document(doc! { "level": "majority" }));
            assert_eq!(command.get("readConcern"), concern.as_ref());
            // A direct connection is asked for its primary with "primaryPreferred" (server selection specification).
            let preference = command.get_document("$readPreference").ok();
            let mode = preference.and_then(|preference| preference.get_str("mode").ok());
            assert!(mode.is_none_or(|mode| mode.starts_with("primary")), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_write_not_known_to_be_with_a_majority_promises_nothing() {
    let server = Server::primary(|_| {
        Answer::Reply(doc! { "ok": 1, "n": 1, "nModified": 1, "writeConcernError": no_majority() })
    })
    .await;
    let store = server.store().await;
    assert!(unavailable(store.insert(&leader()).await).contains("majority"));
    assert!(unavailable(store.save(&stored(), &leader()).await).contains("majority"));
    assert_eq!(server.seen("insert").len() + server.seen("update").len(), 2);
}

#[tokio::test]
async fn a_duplicate_whose_original_may_be_rolled_back_promises_nothing() {
    let server = Server::primary(|command| match command_name(command) {
        "insert" => duplicate(),
        _ => Answer::Reply(doc! { "ok": 1, "n": 1, "writeConcernError": no_majority() }),
    })
    .await;
    assert!(unavailable(server.store().await.insert(&leader()).await).contains("majority"));
}

#[tokio::test]
async fn a_duplicate_is_one_only_if_its_counter_rose_and_else_it_is_inserted_again() {
    let inserts = Mutex::new(0);
    let server = Server::primary(move |command| {
        if command_name(command) == "update" {
            return done(0);
        }
        let mut inserts = inserts.lock().unwrap();
        *inserts += 1;
        if *inserts == 1 { duplicate() } else { done(1) }
    })
    .await;
    let store = server.store().await;
    assert_eq!(store.insert(&leader()).await.unwrap(), Inserted::New);
    assert_eq!(server.seen("insert").len(), 2);
    let update = &server.seen("update")[0];
    let asked = update.get_array("updates").unwrap()[0].as_document().unwrap();
    assert_eq!(asked.get("q"), Some(&Bson::Document(doc! { "_id": "leader" })), "nothing but the id");

    let never = Server::primary(|command| match command_name(command) {
        "insert" => duplicate(),
        _ => done(0),
    })
    .await;
    unavailable(never.store().await.insert(&leader()).await);
    assert_eq!(never.seen("insert").len(), INSERT_ROUNDS);
}

#[tokio::test]
async fn a_write_that_lost_its_answer_is_told_as_such_and_not_repeated() {
    let server = Server::primary(|_| Answer::HangUp).await;
    unavailable(server.store().await.save(&stored(), &leader()).await);
    assert_eq!(server.seen("update").len(), 1);
    unavailable(server.store().await.insert(&leader()).await);
    assert_eq!(server.seen("insert").len(), 1);
}

#[tokio::test]
async fn a_silent_server_costs_an_asker_its_limit_and_the_next_one_nothing() {
    let server = Server::primary(|command| match command_name(command) {
        "update" => Answer::Silence,
        _ => done(1),
    })
    .await;
    let uri = format!("mongodb://{}/?directConnection=true", server.address);
    let store = open_within(Duration::from_secs(1), &uri).await.unwrap();
    assert!(unavailable(store.save(&stored(), &leader()).await).contains("in time"));
    assert_eq!(store.insert(&leader()).await.unwrap(), Inserted::New);
}

#[tokio::test]
async fn a_poll_that_is_cut_off_is_an_error_and_not_a_short_queue() {
    let first = doc! { "_id": "out:L:1", "k": { "open": true, "claimed": false } };
    let server = Server::primary(move |command| match command_name(command) {
        "find" => found(vec![first.clone()], 7),
        _ => Answer::HangUp,
    })
    .await;
    unavailable(server.store().await.discover(Collection::Messages).await);
    assert!(!server.seen("getMore").is_empty());
}

#[tokio::test]
async fn a_start_without_the_rights_is_refused_and_an_operation_without_them_may_be_tried_again() {
    for code in [13, 8000] {
        let server = Server::primary(move |_| failed(code)).await;
        let store = server.store().await;
        let error = store.prepare().await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused(_)), "{error}");
        assert!(!error.to_string().contains("0917"), "{error}");
        assert!(unavailable(store.insert(&leader()).await).contains("credentials"));
    }
    for (code, hopeless) in [(86, true), (85, true), (189, false), (10107, false), (50, false)] {
        let server = Server::primary(move |_| failed(code)).await;
        let error = server.store().await.prepare().await.unwrap_err();
        assert_eq!(matches!(&error, StoreError::Refused(_)), hopeless, "{error}");
    }
}

#[tokio::test]
async fn credentials_refused_end_a_start_and_a_server_that_shuts_down_does_not() {
    for (code, hopeless) in [(18, true), (11, true), (91, false), (11600, false)] {
        let server = Server::primary(move |_| failed(code)).await;
        let store = server.store_by("mongodb://user:hunter2@ADDRESS/?directConnection=true").await;
        let error = store.prepare().await.unwrap_err();
        assert!(!server.seen("saslStart").is_empty());
        assert_eq!(matches!(&error, StoreError::Refused(_)), hopeless, "{error}");
        let said = format!("{error} {error:?} {store:?}");
        assert!(!said.contains("hunter2") && !said.contains("user"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_fails_no_open_and_promises_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let uri = format!("mongodb://{address}");
    let store = open_within(Duration::from_millis(400), &uri).await.unwrap();
    assert!(unavailable(store.prepare().await).contains("refused"));
    unavailable(store.insert(&leader()).await);
    unavailable(store.get::<LeaderRecord>(&LeaderRecord::key()).await);
    unavailable(store.save(&stored(), &leader()).await);
    unavailable(store.discover(Collection::Messages).await);
}

#[tokio::test]
async fn a_uri_the_driver_does_not_take_is_refused_without_repeating_it() {
    for (uri, said) in [
        ("mongodb://user:hunter2@h/?socketTimeoutMS=5", "socketTimeoutMS"),
        ("mongodb://user:hunter2@h/?maxPoolSize=0", "maxPoolSize"),
        ("mongodb://user:hunter2@h1,h2/?directConnection=true", "directConnection"),
        ("mongodb://user:hunter2@h/?authMechanism=hunter2", "connection string"),
        ("mongodb://h/?hunter2=hunter2", "connection string"),
        ("mongodb://user:pass:hunter2@h", "connection string"),
        ("mongodb://h:hunter2", "connection string"),
        ("mongodb+srv://user:hunter2@h.example.test:1", "connection string"),
        ("hunter2", "connection string"),
        ("mongodb://user:hunter2@h/?tls=true&tlsCAFile=/hunter2.pem", "certificate files"),
    ] {
        let error = open(uri).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{uri}: {error}");
        let shown = error.to_string();
        assert!(shown.contains("MONGO_URI") && shown.contains(said), "{uri}: {shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{uri}: {shown}");
    }
}
