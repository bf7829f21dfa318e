//! SIGTERM amid traffic (bridge §6): webhooks arrive all through the end of a process, over new and kept connections, and
//! every one that was sent is answered, 200 or 429; what was answered 200 is sent once, by this process or the next.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cast_ghl_provider::fake::ghl::OutboundSms;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::child::LIMIT;
use super::serving::{Serving, Spot, until_ready};
use crate::support::world::LOCATION;
use crate::{Cases, cases};

/// Senders of each kind, and the time from one message of a sender to its next.
const SENDERS: usize = 4;
const EVERY: Duration = Duration::from_millis(300);

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![webhooks_all_through_a_shutdown_are_answered_and_each_that_was_stored_is_sent_once]
}

/// Cases with two processes: MongoDB alone.
pub fn replica_cases() -> Cases<Spot> {
    cases![when_the_leader_stops_amid_traffic_a_standby_takes_over_and_nothing_is_lost]
}

async fn webhooks_all_through_a_shutdown_are_answered_and_each_that_was_stored_is_sent_once(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[("DRAIN", "2s")]).await;
    let ledger = Ledger::default();
    let stop = async {
        ledger.answered(2 * SENDERS).await;
        serving.process.signal("TERM");
    };
    tokio::join!(traffic(&serving, &serving.base, &ledger), stop);
    let ended = serving.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("cut off"), "{}", ended.err);
    ledger.check();
    assert!(ledger.closing.load(Ordering::Relaxed) > SENDERS, "webhooks arrived during the drain");

    serving.serve_again().await;
    ledger.reconcile(&serving).await;
    serving.end();
}

async fn when_the_leader_stops_amid_traffic_a_standby_takes_over_and_nothing_is_lost(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[("DRAIN", "2s")]).await;
    let (mut standby, theirs) = serving.replica().await;
    let (to_leader, to_standby) = (Ledger::default(), Ledger::default());
    let hand_over = async {
        to_leader.answered(2 * SENDERS).await;
        serving.process.signal("TERM");
        // Only who leads calls Cast, and the old leader says when it no longer does.
        standby.logged("this process leads").await;
        let before = to_standby.accepted().len();
        to_standby.answered(before + 2 * SENDERS).await;
        to_standby.enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(traffic(&serving, &serving.base, &to_leader), traffic(&serving, &theirs, &to_standby), hand_over);
    let ended = serving.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("cut off"), "{}", ended.err);
    to_leader.check();
    to_standby.check();
    until_ready(&serving.http, &theirs, 200).await;
    let all = Ledger::default();
    all.fates().extend(to_leader.fates().drain(..).chain(to_standby.fates().drain(..)));
    serving.ghl.set_webhook_url(&format!("{theirs}/api/ghl/v1/webhook/messages"));
    all.reconcile(&serving).await;
    standby.signal("TERM");
    assert_eq!(standby.ended().await.code, Some(0));
    serving.end();
}

/// What became of a message that was sent: the status of its answer, or how its connection ended.
type Fate = (String, Result<u16, String>);

/// Every message that was sent, and what became of it.
#[derive(Default)]
struct Ledger {
    fates: Mutex<Vec<Fate>>,
    next: AtomicUsize,
    /// Answers that said `Connection: close`.
    closing: AtomicUsize,
    /// No more, although somebody still listens.
    enough: AtomicBool,
}

impl Ledger {
    fn fates(&self) -> std::sync::MutexGuard<'_, Vec<Fate>> {
        self.fates.lock().expect("no sender panics")
    }

    fn accepted(&self) -> Vec<String> {
        self.fates().iter().filter(|(_, fate)| *fate == Ok(200)).map(|(text, _)| text.clone()).collect()
    }

    async fn answered(&self, count: usize) {
        let answered = async {
            while self.accepted().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, answered).await.expect("webhooks are answered");
    }

    /// Who was sent got an answer, and no other than these two.
    fn check(&self) {
        let wrong: Vec<Fate> =
            self.fates().iter().filter(|(_, fate)| !matches!(fate, Ok(200 | 429))).cloned().collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Every message answered 200 is taken by Cast, none twice.
    async fn reconcile(&self, serving: &Serving) {
        let accepted = self.accepted();
        serving.taken(accepted.len()).await;
        // Whatever else was on its way stands before this one.
        assert_eq!(serving.sms("afterwards").await.status, Some(200));
        let taken = serving.taken(accepted.len() + 1).await;
        let mut times: HashMap<&str, usize> = HashMap::new();
        for text in &taken {
            *times.entry(text).or_default() += 1;
        }
        let lost: Vec<_> = accepted.iter().filter(|text| !times.contains_key(text.as_str())).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        times.retain(|_, times| *times > 1);
        assert!(times.is_empty(), "sent more than once: {times:?}");
    }
}

/// Sends at planned times over new connections and over kept ones, until nobody listens any more or it is enough.
async fn traffic(serving: &Serving, base: &str, ledger: &Ledger) {
    let senders = (0..2 * SENDERS).map(|n| send(serving, base, ledger, n % 2 == 0));
    tokio::time::timeout(LIMIT, join_all(senders)).await.expect("the listener is closed at some time");
}

async fn send(serving: &Serving, base: &str, ledger: &Ledger, keep: bool) {
    let addr = base.strip_prefix("http://").expect("a base");
    let mut kept: Option<TcpStream> = None;
    while !ledger.enough.load(Ordering::Relaxed) {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(addr).await {
                Ok(stream) => stream,
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => return,
                Err(e) => panic!("{e}"),
            },
        };
        let (text, request) = next(serving, ledger);
        let answer = exchange(&mut stream, &request).await;
        let closes = matches!(answer, Ok((_, true)));
        ledger.closing.fetch_add(usize::from(closes), Ordering::Relaxed);
        ledger.fates().push((text, answer.map(|(status, _)| status).map_err(|e| e.to_string())));
        if keep && !closes {
            kept = Some(stream);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The next message, each to a phone of its own, as the bytes of a request.
fn next(serving: &Serving, ledger: &Ledger) -> (String, Vec<u8>) {
    let n = ledger.next.fetch_add(1, Ordering::Relaxed);
    let id = cast_ghl_provider::random::hex::<4>();
    let text = format!("amid the traffic {n} {id}");
    let webhook = serving.ghl.build_webhook(&OutboundSms::new(LOCATION, &format!("+63917{:07}", n), &text));
    serving.ghl.register_message(&webhook.location_id, &webhook.message_id);
    let signature = serving.key.sign(&webhook.body);
    let head = format!(
        "POST /api/ghl/v1/webhook/messages HTTP/1.1\r\nHost: x\r\n{}: {signature}\r\nContent-Length: {}\r\n\r\n",
        serving.key.scheme().header(),
        webhook.body.len(),
    );
    (text, [head.as_bytes(), &webhook.body].concat())
}

/// One request and its whole answer: the status, and whether the bridge will close the connection.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<(u16, bool)> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = value("content-length:").and_then(|v| v.parse().ok()).expect("a length");
        if body.len() >= length {
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
            return Ok((status, value("connection:") == Some("close")));
        }
    }
}
