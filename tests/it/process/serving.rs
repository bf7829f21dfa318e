//! A `serve` process between two fakes that live in the test process, all on the machine's clock.
//!
//! The same configuration and store outlive the process: `serve_again` starts the next one on them.

use std::path::PathBuf;
use std::time::Duration;

use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::{DEFAULT_API_KEY, FakeCast, FakeCastOptions};
use cast_ghl_provider::fake::ghl::{FakeGhl, FakeGhlOptions, Install, OutboundSms, Webhook};
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;

use super::child::{Child, Ended, LIMIT, Var, replaced, run, vars};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place};

/// A process, what surrounds it, and what it is started with.
pub struct Serving {
    pub process: Child,
    /// Where it listens.
    pub base: String,
    pub cast: FakeCast,
    pub ghl: FakeGhl,
    pub key: SigningKey,
    pub http: reqwest::Client,
    runner: Vec<String>,
    vars: Vec<Var>,
    dir: PathBuf,
}

/// What every `serve` of these tests needs: both vendors out of reach, free ports on loopback, log lines to be read.
pub fn minimal() -> Vec<Var> {
    vars(&[
        ("BASE_URL", "http://bridge.test"),
        ("GHL_CLIENT_ID", "64f0c0ffee64f0c0ffee0001-lmfake01"),
        ("GHL_CLIENT_SECRET", "s3cr3t-of-the-app"),
        ("GHL_API_URL", "http://127.0.0.1:1"),
        ("CAST_API_KEY", "s3cr3t-of-the-gateway"),
        ("CAST_API_URL", "http://127.0.0.1:1"),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("METRICS_ADDR", "off"),
        ("LOG_FORMAT", "json"),
    ])
}

/// A key in the form of `TOKEN_ENCRYPTION_KEYS`, worth nothing.
pub fn some_key() -> String {
    format!("t:{}=", "A".repeat(43))
}

/// Where a case works: its store, and a directory of its own in which `serve` is started.
pub struct Spot {
    pub store: Place,
    pub dir: PathBuf,
}

impl Spot {
    pub fn embedded(dir: PathBuf) -> Self {
        Self { store: Place::Embedded(dir.join("data")), dir }
    }

    /// The variables that choose the store.
    fn vars(&self) -> Vec<Var> {
        match &self.store {
            Place::Embedded(dir) => vars(&[("DATA_DIR", &dir.display().to_string())]),
            Place::Mongo { uri } => vars(&[("MONGO_URI", uri), ("TOKEN_ENCRYPTION_KEYS", &some_key())]),
        }
    }
}

impl Serving {
    /// Starts the fakes and `serve`, connects one location, and trusts the key of [`Self::key`] beside those in `extra`.
    pub async fn connected(spot: &Spot, extra: &[(&str, &str)]) -> Self {
        Self::connected_under(&[], spot, extra).await
    }

    /// The same, with `serve` as the last arguments of another command.
    pub async fn connected_under(runner: &[String], spot: &Spot, extra: &[(&str, &str)]) -> Self {
        let cast = FakeCast::start(FakeCastOptions::default()).await.expect("a fake Cast");
        let options = FakeGhlOptions { status_ready_after: Duration::ZERO, ..FakeGhlOptions::default() };
        let (client_id, secret) = (options.client_id.clone(), options.client_secret.clone());
        let ghl = FakeGhl::start(options).await.expect("a fake CRM");
        let key = SigningKey::generate(Scheme::Ed25519).expect("a key");
        let vars = replaced(
            [minimal(), spot.vars()].concat(),
            &[
                ("GHL_CLIENT_ID", &client_id),
                ("GHL_CLIENT_SECRET", &secret),
                ("GHL_API_URL", &ghl.url()),
                ("GHL_AUTHORIZE_URL", &ghl.authorize_url()),
                ("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem()),
                ("CAST_API_KEY", DEFAULT_API_KEY),
                ("CAST_API_URL", &cast.url()),
                ("STATUS_DELAY", "0s"),
            ],
        );
        let vars = replaced(vars, extra);
        let http = cast_ghl_provider::client::builder::http_client(&Default::default()).expect("a client");
        let dir = spot.dir.clone();
        let (process, base) = listening_under(runner, &vars, &dir).await;
        let serving = Self { process, base, cast, ghl, key, http, runner: runner.to_vec(), vars, dir };
        serving.take_up().await;
        let code = serving.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
        let page = serving.get(&format!("/oauth-callback?code={code}")).await;
        assert_eq!(page.status().as_u16(), 200, "{}", page.text().await.unwrap_or_default());
        serving
    }

    /// The next process on the same store; the one before must have ended.
    pub async fn serve_again(&mut self) {
        (self.process, self.base) = listening_under(&self.runner, &self.vars, &self.dir).await;
        self.take_up().await;
    }

    /// Another process beside this one, with the same settings: for a store that replicas may share. Its base URL.
    pub async fn replica(&self) -> (Child, String) {
        let (process, base) = listening(&self.vars, &self.dir).await;
        until_ready(&self.http, &base, 200).await;
        (process, base)
    }

    /// Runs a command on the same store, with the variables that name it and no others.
    pub async fn command(&self, args: &[&str]) -> Ended {
        self.command_with(args, &[]).await
    }

    /// The same with other values.
    pub async fn command_with(&self, args: &[&str], extra: &[(&str, &str)]) -> Ended {
        run(args, &replaced(self.of_store(), extra), &self.dir).await
    }

    /// A command that reads this from its standard input.
    pub async fn command_fed(&self, args: &[&str], input: &str) -> Ended {
        const FED: &str = "fed";
        std::fs::write(self.dir.join(FED), input).expect("a file");
        let shell = ["sh", "-c", r#"exec "$@" < "$0""#, FED].map(str::to_owned);
        Child::start_under(&shell, args, &self.of_store(), &self.dir).ended().await
    }

    /// The variables that name the store, and no others.
    fn of_store(&self) -> Vec<Var> {
        let names = ["DATA_DIR", "MONGO_URI", "TOKEN_ENCRYPTION_KEYS"];
        self.vars.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect()
    }

    /// Another value for the next process.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars = replaced(std::mem::take(&mut self.vars), &[(name, value)]);
    }

    async fn take_up(&self) {
        self.ghl.set_webhook_url(&self.webhook_url());
        self.until_ready(200).await;
    }

    pub fn webhook_url(&self) -> String {
        format!("{}/api/ghl/v1/webhook/messages", self.base)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer")
    }

    /// Polls `/ready` until it answers this status; its body.
    pub async fn until_ready(&self, status: u16) -> serde_json::Value {
        until_ready(&self.http, &self.base, status).await
    }

    /// An SMS that has not been posted yet.
    pub fn webhook(&self, text: &str) -> Webhook {
        self.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, text))
    }

    /// Posts an SMS; its answer.
    pub async fn sms(&self, text: &str) -> WebhookAnswer {
        self.ghl.deliver(&self.webhook(text), &self.key).await
    }

    /// Waits until Cast took `count` SMS; their texts in order.
    pub async fn taken(&self, count: usize) -> Vec<String> {
        let all = self.cast.until(|cast| cast.taken_count() >= count);
        let waited = tokio::time::timeout(LIMIT, all).await;
        let texts: Vec<String> = self.cast.taken().into_iter().filter_map(|call| call.message).collect();
        waited.unwrap_or_else(|_| panic!("Cast took {texts:?}"));
        texts
    }

    /// Waits until the CRM was told what became of a message; the status.
    pub async fn told(&self, answer: &WebhookAnswer) -> String {
        let id = answer.message_id.as_deref().expect("a message of the fake");
        let told = self.ghl.until(|ghl| !ghl.statuses(id).is_empty());
        tokio::time::timeout(LIMIT, told).await.expect("the CRM hears of it");
        self.ghl.statuses(id).pop().map(|seen| seen.status).unwrap_or_default()
    }

    /// Ends a case: neither vendor's contract was broken.
    pub fn end(self) {
        assert!(self.cast.breaches().is_empty(), "{:?}", self.cast.breaches());
        assert!(self.ghl.breaches().is_empty(), "{:?}", self.ghl.breaches());
        assert!(self.cast.unexpected().is_empty() && self.ghl.unexpected().is_empty());
    }
}

/// Polls `/ready` of a bridge until it answers this status; its body.
pub async fn until_ready(http: &reqwest::Client, base: &str, status: u16) -> serde_json::Value {
    let ready = async {
        loop {
            let answer = http.get(format!("{base}/ready")).send().await.expect("an answer");
            if answer.status().as_u16() == status {
                return answer.json().await.expect("JSON");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.unwrap_or_else(|_| panic!("/ready never answers {status}"))
}

/// Starts `serve` and waits until it listens; its process and base URL.
pub async fn listening(vars: &[Var], dir: &std::path::Path) -> (Child, String) {
    listening_under(&[], vars, dir).await
}

async fn listening_under(runner: &[String], vars: &[Var], dir: &std::path::Path) -> (Child, String) {
    let mut process = Child::start_under(runner, &["serve"], vars, dir);
    let line = process.logged("listening").await;
    let addr = line["http"].as_str().expect("an address").to_owned();
    (process, format!("http://{addr}"))
}
