//! A fake Cast: `POST /api/sms/send` with the gateway's rules, limit and refusals, and its SIM gateway's replies and receipts.
//!
//! Owns the ledger of every call and the one fact tests are about: which calls made Cast *take* an SMS. A taken SMS is
//! out, whatever the caller was then told. Calls that break the contract are refused before any fault strikes.
//! Must not import `client`, nor the bridge's own phone and segment rules.

mod book;
mod fault;
mod rule;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use serde::Serialize;
use tokio::sync::watch;

pub use self::book::CastCall;
pub use self::fault::CastFault;

use self::book::Book;
use super::post::Postman;
use super::server::{Reply, Server, Site};
use super::{Unexpected, WebhookAnswer, lock};
use crate::clock::Clock;

/// The key a fake Cast accepts unless told otherwise. It opens nothing but a fake.
pub const DEFAULT_API_KEY: &str = "cast_00000000000000000000000000000000000000000000000000000000fa5eca57";

/// How a fake Cast starts.
#[derive(Clone)]
pub struct FakeCastOptions {
    /// Keys it accepts; every other is 401.
    pub api_keys: Vec<String>,
    /// Sender ids it knows; empty: any well-formed one.
    pub sender_ids: Vec<String>,
    /// Time for its ledger, its token buckets and its latency.
    pub clock: Clock,
    /// Sends a second, per key.
    pub rate_per_second: f64,
    /// Sends at once, per key.
    pub burst: u32,
    /// Time from a call to its answer.
    pub latency: Duration,
}

impl Default for FakeCastOptions {
    /// The documented limits, one key, any sender id, no latency, the machine's clock.
    fn default() -> Self {
        Self {
            api_keys: vec![DEFAULT_API_KEY.to_owned()],
            sender_ids: Vec::new(),
            clock: Clock::default(),
            rate_per_second: 30.0,
            burst: 50,
            latency: Duration::ZERO,
        }
    }
}

/// An SMS that a person sends back, as the SIM gateway posts it (cast contract, "Inbound and receipts").
#[derive(Clone, Serialize)]
pub struct PersonReply {
    /// The person's number, in the gateway's form (`09…`).
    pub from: String,
    /// What they wrote.
    pub message: String,
    /// The number or SIM that received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The gateway's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What became of an SMS, as the SIM gateway posts it (cast contract, "Inbound and receipts").
#[derive(Clone, Serialize)]
pub struct DeliveryReceipt {
    /// The id the SMS was taken under.
    pub message_id: String,
    /// `delivered`, `failed`, `expired`, `rejected`, `undelivered` or `pending`.
    pub status: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
}

/// Why an SMS was not delivered, in the gateway's words.
#[derive(Clone, Serialize)]
pub struct ReceiptError {
    /// The gateway's code.
    pub code: String,
    /// Its sentence.
    pub message: String,
}

/// A handle on a running fake Cast. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct FakeCast {
    server: Arc<Server<CastSite>>,
    postman: Postman,
}

struct CastSite(Mutex<Book>);

impl Site for CastSite {
    fn answer(&self, call: &Request<Bytes>) -> Reply {
        lock(&self.0).answer(call)
    }
}

impl FakeCast {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(options: FakeCastOptions) -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await
    }

    /// Starts on `addr`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_on(addr: SocketAddr, options: FakeCastOptions) -> io::Result<Self> {
        let clock = options.clock.clone();
        let postman = Postman::new(clock.clone())?;
        let site = CastSite(Mutex::new(Book::new(options)));
        Ok(Self { server: Arc::new(Server::start(addr, clock, site).await?), postman })
    }

    /// Its base URL, without a trailing slash: what `CAST_API_URL` is set to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    /// Goes away as a killed process does: the port refuses, open calls break. The ledger stays.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Comes back on the same port with the same ledger.
    ///
    /// # Errors
    /// The port has been taken meanwhile, or the fake was not stopped.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// The next send meets this fault; several queue up. Numbers and standing faults come after the queue.
    pub fn fault_next(&self, fault: CastFault) {
        self.book().faults.next.push_back(fault);
    }

    /// Every send meets this fault until it is cleared with `None`.
    pub fn fault_all(&self, fault: Option<CastFault>) {
        self.book().faults.standing = fault;
    }

    /// Every send to a number that ends in `suffix` meets this fault until it is cleared with `None`.
    pub fn fault_number(&self, suffix: &str, fault: Option<CastFault>) {
        self.book().faults.set_number(suffix, fault);
    }

    /// Sends to numbers ending in `suffix` are refused with 400 and these words.
    pub fn refuse_number(&self, suffix: &str, reason: &str) {
        self.book().refused.push((suffix.to_owned(), reason.to_owned()));
    }

    /// Replaces the accepted keys.
    pub fn set_api_keys(&self, keys: Vec<String>) {
        self.book().options.api_keys = keys;
    }

    /// Changes the time from a call to its answer.
    pub fn set_latency(&self, latency: Duration) {
        self.book().options.latency = latency;
    }

    /// Lets hanging calls go on: those that took the SMS answer now, the others are reset.
    pub fn release(&self) {
        self.server.release();
    }

    /// Every send call, in order of arrival, refused ones included.
    #[must_use]
    pub fn calls(&self) -> Vec<CastCall> {
        self.book().calls.clone()
    }

    /// The calls that made Cast take an SMS.
    #[must_use]
    pub fn taken(&self) -> Vec<CastCall> {
        self.book().calls.iter().filter(|call| call.taken).cloned().collect()
    }

    /// How many SMS were taken, without copying the ledger.
    #[must_use]
    pub fn taken_count(&self) -> usize {
        self.book().taken
    }

    /// Send calls that broke the contract by themselves. With [`FakeCast::unexpected`] what a test's end asserts empty.
    #[must_use]
    pub fn breaches(&self) -> Vec<CastCall> {
        let book = self.book();
        book.calls.iter().filter(|call| call.breach).cloned().collect()
    }

    /// Calls that Cast's contract does not have.
    #[must_use]
    pub fn unexpected(&self) -> Vec<Unexpected> {
        self.book().unexpected.clone()
    }

    /// Moves whenever the ledger may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.server.changes()
    }

    /// Waits until `done` holds, looking again after every call. It has no time limit of its own.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        // Subscribed before the look, so that a change between the two is not missed.
        let mut changes = self.changes();
        while !done(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The SIM gateway passes a person's SMS on to the bridge's inbound endpoint `url`.
    pub async fn reply(&self, url: &str, inbound_api_key: &str, reply: &PersonReply) -> WebhookAnswer {
        let body = serde_json::json!(reply).to_string().into_bytes();
        self.postman.post(url, &[("x-api-key", inbound_api_key)], body).await
    }

    /// The SIM gateway tells the bridge's receipts endpoint `url` what became of an SMS.
    pub async fn receipt(&self, url: &str, inbound_api_key: &str, receipt: &DeliveryReceipt) -> WebhookAnswer {
        let body = serde_json::json!(receipt).to_string().into_bytes();
        self.postman.post(url, &[("x-api-key", inbound_api_key)], body).await
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.server.site().0)
    }
}

/// How the ledger names a key: its last four characters, enough to tell a test's keys apart and no way back to one.
#[must_use]
pub fn key_fingerprint(key: &str) -> String {
    let tail: Vec<char> = key.chars().rev().take(4).collect();
    format!("…{}", tail.iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests;
