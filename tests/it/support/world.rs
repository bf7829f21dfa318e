//! A whole bridge between a fake CRM and a fake Cast, on a store of its own, its loops stepped and its clock in the test's hand.
//!
//! `restart` drops the bridge as a killed process does and builds it anew on the same store. Dropping a world checks that
//! nobody broke a contract.

use std::path::PathBuf;
use std::time::Duration;

use cast_ghl_provider::app::{App, open_doctor, open_store};
use cast_ghl_provider::clock::{Clock, TestClock};
use cast_ghl_provider::config::{DoctorConfig, ServeConfig, StoreOnlyConfig};
use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::installation::Installation;
use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::{FakeCast, FakeCastOptions};
use cast_ghl_provider::fake::ghl::{FakeGhl, FakeGhlOptions, Install, OutboundSms};
use cast_ghl_provider::http::{Listener, serve};
use cast_ghl_provider::operator::{DoctorRequest, Report, doctor};
use cast_ghl_provider::queue::Step;
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;
use cast_ghl_provider::store::{Access, Store};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where a case keeps its documents.
#[derive(Clone)]
pub enum Place {
    Embedded(PathBuf),
    Mongo { uri: String },
}

pub const LOCATION: &str = "LOCmain0000000000001";
pub const COMPANY: &str = "COMmain0000000000001";
pub const PHONE: &str = "+639171234567";
pub const RECEIPTS: &str = "/api/cast/v1/receipts";
pub const INBOUND_KEY: &str = "inbound-key-of-the-tests";
const CAST_KEY: &str = cast_ghl_provider::fake::cast::DEFAULT_API_KEY;

/// The bridge and what surrounds it.
pub struct World {
    pub clock: TestClock,
    pub cast: FakeCast,
    pub ghl: FakeGhl,
    pub key: SigningKey,
    pub http: reqwest::Client,
    pub app: App,
    pub base: String,
    place: Place,
    vars: Vec<(String, String)>,
    port: u16,
    serving: Serving,
}

/// The port of a further process; closed when it is dropped.
pub struct Door {
    pub base: String,
    _close: DropGuard,
}

struct Serving {
    close: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    /// A bridge with one connected location.
    pub async fn connected(place: Place) -> Self {
        let world = Self::start(place, &[]).await;
        world.install(LOCATION).await;
        world
    }

    /// A bridge nobody has connected to yet; `extra` overrides its configuration.
    pub async fn start(place: Place, extra: &[(&str, &str)]) -> Self {
        let clock = TestClock::at(UnixMillis(1_780_000_000_000));
        let shared = Clock::Test(clock.clone());
        let cast = FakeCast::start(FakeCastOptions { clock: shared.clone(), ..FakeCastOptions::default() });
        let cast = cast.await.expect("a fake Cast");
        let options = FakeGhlOptions { clock: shared, ..FakeGhlOptions::default() };
        let (client_id, secret) = (options.client_id.clone(), options.client_secret.clone());
        let provider = options.provider_id.clone();
        let ghl = FakeGhl::start(options).await.expect("a fake CRM");
        let key = SigningKey::generate(Scheme::Ed25519).expect("a key");
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let port = listener.addr().port();
        let base = format!("http://127.0.0.1:{port}");
        let mut vars: Vec<(String, String)> = [
            ("BASE_URL", base.as_str()),
            ("GHL_CLIENT_ID", &client_id),
            ("GHL_CLIENT_SECRET", &secret),
            ("GHL_API_URL", &ghl.url()),
            ("GHL_AUTHORIZE_URL", &ghl.authorize_url()),
            ("GHL_CONVERSATION_PROVIDER_ID", &provider),
            ("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem()),
            ("CAST_API_KEY", CAST_KEY),
            ("CAST_API_URL", &cast.url()),
            ("INBOUND_API_KEY", INBOUND_KEY),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
        match &place {
            Place::Embedded(dir) => vars.push(("DATA_DIR".into(), dir.display().to_string())),
            Place::Mongo { uri } => {
                vars.push(("MONGO_URI".into(), uri.clone()));
                vars.push(("TOKEN_ENCRYPTION_KEYS".into(), format!("t:{}", "A".repeat(43) + "=")));
            }
        }
        let vars = with(vars, extra);
        ghl.set_webhook_url(&webhook_url(&base));
        ghl.set_lifecycle_url(&format!("{base}/api/ghl/v1/webhook"));
        let app = build(&vars, &clock).await;
        let serving = serve_on(listener, &app);
        let http = cast_ghl_provider::client::builder::http_client(&Default::default()).expect("a client");
        let mut world = Self { clock, cast, ghl, key, http, app, base, place, vars, port, serving };
        world.lead().await;
        world
    }

    /// Drops everything as a kill does, and starts again on the same store and port.
    pub async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    /// The same with other settings.
    pub async fn restart_with(mut self, extra: &[(&str, &str)]) -> Self {
        self.serving.close.cancel();
        self.serving.task.abort();
        self.vars = with(self.vars, extra);
        let Self { clock, cast, ghl, key, http, app, base, place, vars, port, .. } = self;
        drop(app);
        let listener = loop {
            // The killed server's socket may need a moment to go.
            match Listener::bind(([127, 0, 0, 1], port).into()).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let app = build(&vars, &clock).await;
        let serving = serve_on(listener, &app);
        let mut world = Self { clock, cast, ghl, key, http, app, base, place, vars, port, serving };
        world.lead().await;
        world
    }

    /// Another process on the same store, with the same settings and clock, that nobody has stepped yet.
    pub async fn replica(&self) -> App {
        self.replica_on(&self.clock, &[]).await
    }

    /// The same on a machine with other clocks; `extra` overrides its settings.
    pub async fn replica_on(&self, clock: &TestClock, extra: &[(&str, &str)]) -> App {
        build(&with(self.vars.clone(), extra), clock).await
    }

    /// Opens a port of its own before another process.
    pub async fn open(&self, app: &App) -> Door {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let base = format!("http://{}", listener.addr());
        let Serving { close, .. } = serve_on(listener, app);
        Door { base, _close: close.drop_guard() }
    }

    /// An SMS whose webhook goes to this base URL.
    pub async fn sms_at(&self, base: &str, sms: &OutboundSms) -> WebhookAnswer {
        self.ghl.set_webhook_url(&webhook_url(base));
        let answer = self.ghl.send_sms(sms, &self.key).await;
        self.ghl.set_webhook_url(&webhook_url(&self.base));
        answer
    }

    /// A store of one's own beside the bridge's, as a command opens it.
    pub async fn command_store(&self) -> Store {
        let config = StoreOnlyConfig::from_vars(self.vars.iter().cloned()).unwrap_or_else(|e| panic!("{e}"));
        open_store(&config.store, Access::Change).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// What the doctor finds, as its command looks: at one sub-account, or at the first page of everything.
    pub async fn examine(&self, location: Option<&str>) -> Report {
        self.examine_with(location, &[], &self.clock).await
    }

    /// The same with other settings, on a machine with this clock.
    pub async fn examine_with(&self, location: Option<&str>, extra: &[(&str, &str)], clock: &TestClock) -> Report {
        let location = location.map(|id| LocationId::parse(id).expect("an id"));
        self.look(DoctorRequest { location, after: None, limit: 20 }, extra, clock).await
    }

    /// The page after this place.
    pub async fn examine_after(&self, after: Option<&str>) -> Report {
        let request = DoctorRequest { location: None, after: after.map(str::to_owned), limit: 20 };
        self.look(request, &[], &self.clock).await
    }

    async fn look(&self, request: DoctorRequest, extra: &[(&str, &str)], clock: &TestClock) -> Report {
        let vars = with(self.vars.clone(), extra);
        let config = DoctorConfig::from_vars(vars.into_iter()).unwrap_or_else(|e| panic!("{e}"));
        let opened = open_doctor(&config, Clock::Test(clock.clone())).await;
        let (inspector, settings) = opened.unwrap_or_else(|e| panic!("{e}"));
        doctor(&inspector, &settings, &request).await.expect("the store answers")
    }

    /// The time on the world's clock.
    pub fn now(&self) -> UnixMillis {
        Clock::Test(self.clock.clone()).now()
    }

    /// Where this world keeps its documents.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Steps leadership until this process leads: at once on the embedded store, after the take-over time on MongoDB.
    pub async fn lead(&mut self) {
        for _ in 0..40 {
            self.app.leadership().step().await.expect("the store answers");
            if self.app.leadership().right().is_some() {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("nobody leads after 40 s");
    }

    /// Moves the clock, beating all through the last minute of it, so that this process leads at the end.
    pub async fn pass(&self, by: Duration) {
        let mut left = by.min(Duration::from_secs(60));
        self.clock.advance(by - left);
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(3));
            self.clock.advance(step);
            left -= step;
            self.app.leadership().step().await.expect("the store answers");
        }
    }

    /// Jumps over a long time at once, as a machine that slept does, and beats afterwards.
    pub async fn jump(&self, by: Duration) {
        self.clock.advance(by);
        self.app.leadership().step().await.expect("the store answers");
    }

    /// Lets time pass as in a running process: it sends, reports, answers replies and beats all along.
    pub async fn live(&self, by: Duration) {
        const TICK: Duration = Duration::from_secs(1);
        let clock = Clock::Test(self.clock.clone());
        let end = clock.mono().after(by);
        while clock.mono() < end {
            self.app.leadership().step().await.expect("the store answers");
            let wait = loop {
                match self.app.worker().step().await.expect("the store answers") {
                    Step::Worked(_) => {}
                    Step::Idle(wait) => break wait.unwrap_or(TICK),
                    Step::NotLeader => panic!("this process does not lead"),
                }
            };
            self.app.receipts().step().await.expect("the store answers");
            self.app.reporter().step().await.expect("the store answers");
            self.app.inbound().step().await.expect("the store answers");
            self.app.mirrors().step().await.expect("the store answers");
            let left = end.since(clock.mono());
            self.clock.advance(wait.clamp(Duration::from_millis(1), TICK).min(left));
        }
    }

    /// One counter of the metrics page.
    pub fn counted(&self, family: &str, kind: &str) -> u64 {
        let name = format!("cast_ghl_{family}_total{{kind=\"{kind}\"}} ");
        let page = self.app.metrics().render();
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |n| n.parse().expect("a count"))
    }

    /// Connects a location as an install begun in the marketplace does.
    pub async fn install(&self, location: &str) {
        let page = self.callback(&self.ghl.marketplace_code(Install::location(location, COMPANY))).await;
        assert_eq!(page.status().as_u16(), 200, "{}", page.text().await.unwrap_or_default());
    }

    /// Connects an agency as an install begun in the marketplace does; answers the page it shows.
    pub async fn install_agency(&self, company: &str, locations: &[&str]) -> String {
        let page = self.callback(&self.ghl.marketplace_code(Install::company(company, locations))).await;
        let (status, text) = (page.status().as_u16(), page.text().await.unwrap_or_default());
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Steps the background work of installations until nothing is due at this moment of the clock.
    pub async fn work_all(&self) {
        for _ in 0..10_000 {
            if self.app.agency().step().await.expect("the store answers") == 0 {
                return;
            }
        }
        panic!("the background work of installations never rests");
    }

    /// The same over a time, looking every quarter of a second.
    pub async fn work_for(&self, by: Duration) {
        const LOOK: Duration = Duration::from_millis(250);
        let mut left = by;
        self.work_all().await;
        while !left.is_zero() {
            let step = left.min(LOOK);
            self.pass(step).await;
            left -= step;
            self.work_all().await;
        }
    }

    pub async fn callback(&self, code: &str) -> reqwest::Response {
        self.get(&format!("/oauth-callback?code={code}")).await
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer")
    }

    /// Posts bytes to the bridge itself.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = self.http.post(format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    /// The stored installation of a location.
    pub async fn installation(&self, location: &str) -> Option<Installation> {
        let id = DocId::location(&LocationId::parse(location).expect("an id"));
        self.app.store().get::<Installation>(&id).await.expect("the store answers").map(|stored| stored.record)
    }

    /// An SMS from the main location to the usual phone, answered by the bridge.
    pub async fn sms(&self, text: &str) -> WebhookAnswer {
        self.sms_to(LOCATION, PHONE, text).await
    }

    pub async fn sms_to(&self, location: &str, phone: &str, text: &str) -> WebhookAnswer {
        self.ghl.send_sms(&OutboundSms::new(location, phone, text), &self.key).await
    }

    /// Steps the worker until it has nothing to do at this moment of the clock, waiting out its pacing.
    pub async fn send_all(&self) {
        for _ in 0..10_000 {
            match self.app.worker().step().await.expect("the store answers") {
                Step::Worked(_) => {}
                Step::Idle(Some(wait)) if wait <= Duration::from_secs(2) => {
                    self.clock.advance(wait.max(Duration::from_millis(1)));
                }
                Step::Idle(_) => return,
                Step::NotLeader => panic!("this process does not lead"),
            }
        }
        panic!("the worker never rests");
    }

    /// Steps the reporter over the next half minute, long enough for the window in which the CRM says "not yet".
    pub async fn report_all(&self) {
        for _ in 0..15 {
            while self.app.reporter().step().await.expect("the store answers") > 0 {}
            self.pass(Duration::from_secs(2)).await;
        }
    }

    /// Steps the inbound worker until nothing is due.
    pub async fn reply_all(&self) {
        for _ in 0..1000 {
            if self.app.inbound().step().await.expect("the store answers") == 0 {
                return;
            }
        }
        panic!("the inbound worker never rests");
    }

    /// Tells the CRM of opt-outs until nothing is due.
    pub async fn mirror_all(&self) {
        for _ in 0..100 {
            if self.app.mirrors().step().await.expect("the store answers") == 0 {
                return;
            }
        }
        panic!("the CRM is told without end");
    }

    /// The stored message of an answer.
    pub async fn message(&self, answer: &WebhookAnswer) -> Message {
        self.message_at(&self.app, answer).await
    }

    /// The same as another process reads it.
    pub async fn message_at(&self, app: &App, answer: &WebhookAnswer) -> Message {
        let id = json(answer)["id"].as_str().expect("an id").to_owned();
        app.store().get::<Message>(&DocId(id)).await.expect("the store answers").expect("a message").record
    }

    /// Posts a reply as the gateway does.
    pub async fn reply(&self, body: serde_json::Value) -> (u16, serde_json::Value) {
        let request = self.http.post(format!("{}/api/cast/v1/inbound", self.base)).header("x-api-key", INBOUND_KEY);
        let answer = request.json(&body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Tells the bridge what became of an SMS, as the gateway does.
    pub async fn receipt(&self, body: serde_json::Value) -> (u16, serde_json::Value) {
        let answer = self.post(RECEIPTS, &[("x-api-key", INBOUND_KEY)], body.to_string()).await;
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Steps the loop over receipts until nothing is due.
    pub async fn match_all(&self) {
        for _ in 0..1000 {
            if self.app.receipts().step().await.expect("the store answers") == 0 {
                return;
            }
        }
        panic!("the loop over receipts never rests");
    }

    /// What the CRM shows for a message at last: status and error code.
    pub fn told(&self, answer: &WebhookAnswer) -> Option<(String, Option<String>)> {
        let id = answer.message_id.as_deref().expect("a message id");
        let last = self.ghl.statuses(id).pop()?;
        Some((last.status, last.error.map(|e| e.code)))
    }

    /// The sentence the agent reads.
    pub fn sentence(&self, answer: &WebhookAnswer) -> String {
        let id = answer.message_id.as_deref().expect("a message id");
        self.ghl.statuses(id).pop().and_then(|s| s.error).map(|e| e.message).unwrap_or_default()
    }

    /// Ends a case: nobody broke a contract or called what does not exist.
    pub fn end(self) {
        assert!(self.cast.breaches().is_empty(), "{:?}", self.cast.breaches());
        assert!(self.ghl.breaches().is_empty(), "{:?}", self.ghl.breaches());
        assert!(self.cast.unexpected().is_empty(), "{:?}", self.cast.unexpected());
        assert!(self.ghl.unexpected().is_empty(), "{:?}", self.ghl.unexpected());
        self.serving.close.cancel();
    }
}

/// Another process's port, closed with this value.
pub struct Port {
    pub base: String,
    serving: Serving,
}

impl Port {
    pub async fn of(app: &App) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let base = format!("http://{}", listener.addr());
        Self { base, serving: serve_on(listener, app) }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.serving.close.cancel();
    }
}

/// A header of an answer; empty when it is not there.
pub fn header(answer: &reqwest::Response, name: &str) -> String {
    answer.headers().get(name).map(|v| v.to_str().expect("plain").to_owned()).unwrap_or_default()
}

/// The JSON of an answer.
pub fn json(answer: &WebhookAnswer) -> serde_json::Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// The word of an answer: `accepted`, `duplicate` …
pub fn word(answer: &WebhookAnswer) -> String {
    json(answer)["status"].as_str().unwrap_or_default().to_owned()
}

fn webhook_url(base: &str) -> String {
    format!("{base}/api/ghl/v1/webhook/messages")
}

fn with(mut vars: Vec<(String, String)>, extra: &[(&str, &str)]) -> Vec<(String, String)> {
    for (name, value) in extra {
        vars.retain(|(n, _)| n != name);
        vars.push(((*name).to_owned(), (*value).to_owned()));
    }
    vars
}

async fn build(vars: &[(String, String)], clock: &TestClock) -> App {
    let config = ServeConfig::from_vars(vars.iter().cloned()).unwrap_or_else(|e| panic!("{e}"));
    let app = App::build(&config, Clock::Test(clock.clone())).await.unwrap_or_else(|e| panic!("{e}"));
    app.store().prepare().await.expect("the store can be prepared");
    app
}

fn serve_on(listener: Listener, app: &App) -> Serving {
    let close = CancellationToken::new();
    let task = tokio::spawn(serve(listener, app.router(), close.clone()));
    Serving { close, task }
}
