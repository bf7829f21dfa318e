//! The integration tests: one binary, every case a sentence, on every store this machine has.
//!
//! The embedded store always; MongoDB when one is found (`TEST_MONGO_URI`, a `mongod` on the PATH, the stand-in). What did
//! not run is shown as ignored with its reason, never as passed; `TEST_STORES=embedded,mongo` makes a missing store a failure.

#![expect(clippy::unwrap_used, reason = "a case that panics has failed, as it should")]

mod agency;
mod architecture;
mod corpus;
mod crash;
mod declared;
mod doctor;
mod fault;
mod inbound;
mod install;
mod operator;
mod opt_out;
mod order;
mod outage;
mod outbound;
mod overload;
mod process;
mod receipt;
mod replica;
mod report;
mod settings;
mod shutdown;
mod store_contract;
mod support;
mod trap;
mod webhook;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cast_ghl_provider::domain::secret::Secret;
use cast_ghl_provider::store::{EmbeddedStore, MongoSettings, MongoStore, Store};
use libtest_mimic::{Arguments, Completion, Trial};

use process::serving::Spot;
use support::mongo::{self, MongoServer};
use support::world::Place;

/// A case on its way.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Cases with their names, which are sentences.
pub type Cases<P> = Vec<(&'static str, fn(P) -> Running)>;

#[macro_export]
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        vec![$((stringify!($case), |place| Box::pin($case(place)))),*]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut mongo = if arguments.list { Err("only listed".to_owned()) } else { find_mongo() };
    if let (Err(why), true) = (&mongo, !arguments.list && demanded("mongo")) {
        eprintln!("TEST_STORES asks for mongo: {why}");
        return ExitCode::FAILURE;
    }
    let uri = mongo.as_ref().map(MongoServer::uri).map_err(Clone::clone);
    let scratch = Arc::new(Scratch::new());
    let mut trials = architecture::trials();
    for (name, case) in store_contract::cases() {
        let dir = scratch.dir();
        trials.push(trial(format!("embedded::store::{name}"), move || {
            case(Store::Embedded(EmbeddedStore::open(&dir).expect("a store")))
        }));
        trials.push(on_mongo(format!("mongo::store::{name}"), &uri, move |uri| {
            Box::pin(async move { case(Store::Mongo(mongo_store(&uri).await)).await })
        }));
    }
    for (name, case) in store_contract::embedded_cases() {
        let dir = scratch.dir();
        trials.push(trial(format!("embedded::store::{name}"), move || case(dir)));
    }
    for (name, case) in store_contract::mongo_cases() {
        trials.push(on_mongo(format!("mongo::store::{name}"), &uri, move |uri| {
            case(store_contract::MongoPlace { uri, database: fresh_database() })
        }));
    }
    for (area, cases) in [
        ("corpus", corpus::cases()),
        ("declared", declared::cases()),
        ("webhook", webhook::cases()),
        ("install", install::cases()),
        ("agency", agency::cases()),
        ("doctor", doctor::cases()),
        ("outbound", outbound::cases()),
        ("inbound", inbound::cases()),
        ("opt_out", opt_out::cases()),
        ("receipt", receipt::cases()),
        ("report", report::cases()),
        ("crash", crash::cases()),
        ("overload", overload::cases()),
        ("shutdown", shutdown::cases()),
        ("operator", operator::cases()),
        ("order", order::cases()),
        ("settings", settings::cases()),
        ("fault", fault::cast::cases()),
        ("fault", fault::clock::cases()),
        ("fault", fault::ghl::cases()),
    ] {
        for (name, case) in cases {
            let dir = scratch.dir();
            trials.push(trial(format!("embedded::{area}::{name}"), move || case(Place::Embedded(dir))));
            trials.push(on_mongo(format!("mongo::{area}::{name}"), &uri, move |uri| {
                case(Place::Mongo { uri: with_database(&uri, &fresh_database()) })
            }));
        }
    }
    trials.extend(corpus::trials());
    trials.extend(trap::trials());
    trials.extend(replica::rate::trials());
    let replicas = [
        crash::replica_cases(),
        agency::replica_cases(),
        install::replica_cases(),
        opt_out::replica_cases(),
        overload::replica_cases(),
        shutdown::replica_cases(),
        replica::cases(),
    ];
    for (name, case) in replicas.into_iter().flatten() {
        trials.push(on_mongo(format!("mongo::replica::{name}"), &uri, move |uri| {
            case(Place::Mongo { uri: with_database(&uri, &fresh_database()) })
        }));
    }
    for (name, case) in fault::mongo::cases() {
        trials.push(on_mongo(format!("mongo::fault::{name}"), &uri, move |uri| {
            case(Place::Mongo { uri: with_database(&uri, &fresh_database()) })
        }));
    }
    for (name, case) in fault::mongo::process_cases() {
        let dir = scratch.dir();
        trials.push(on_mongo(format!("mongo::fault::{name}"), &uri, move |uri| {
            case(Spot { store: Place::Mongo { uri: with_database(&uri, &fresh_database()) }, dir })
        }));
    }
    for (area, cases) in [
        ("webhook", webhook::embedded_cases()),
        ("crash", crash::embedded_cases()),
        ("order", order::embedded_cases()),
        ("overload", overload::embedded_cases()),
    ] {
        for (name, case) in cases {
            let dir = scratch.dir();
            trials.push(trial(format!("embedded::{area}::{name}"), move || case(Place::Embedded(dir))));
        }
    }
    trials.extend(fault::trials(|| scratch.dir()));
    trials.extend(process::trials(|| scratch.dir(), &uri));
    let outage = outage::a_webhook_is_answered_429_while_the_database_is_away_and_sent_when_it_is_back;
    let name = "mongo::outage::a_webhook_is_answered_429_while_the_database_is_away_and_sent_when_it_is_back";
    trials.push(Trial::ignorable_test(name, outage));
    let conclusion = libtest_mimic::run(&arguments, trials);
    match &mongo {
        Ok(server) => println!("stores: embedded and {} were tested\n", server.describe()),
        Err(why) => println!("stores: only embedded was tested; MongoDB was not: {why}\n"),
    }
    // The server ends with this value, before the process does.
    if let Ok(server) = &mut mongo {
        drop(server.stop());
    }
    drop(mongo);
    drop(scratch);
    conclusion.exit_code()
}

#[expect(clippy::disallowed_methods, reason = "what is demanded of a test run is said by the environment")]
fn demanded(store: &str) -> bool {
    std::env::var("TEST_STORES").is_ok_and(|stores| stores.split(',').any(|s| s.trim() == store))
}

fn find_mongo() -> Result<MongoServer, String> {
    mongo::start(&mongo::find(), target_tmp())
}

/// Where servers of a test run keep their data.
fn target_tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn trial(name: String, case: impl FnOnce() -> Running + Send + 'static) -> Trial {
    Trial::test(name, move || {
        in_runtime(case);
        Ok(())
    })
}

fn on_mongo(
    name: String,
    uri: &Result<String, String>,
    case: impl FnOnce(String) -> Running + Send + 'static,
) -> Trial {
    let uri = uri.clone();
    Trial::ignorable_test(name, move || match uri {
        Ok(uri) => {
            in_runtime(move || case(uri));
            Ok(Completion::Completed)
        }
        Err(why) => Ok(Completion::ignored_with(why)),
    })
}

fn in_runtime(case: impl FnOnce() -> Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { case().await });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn mongo_store(uri: &str) -> MongoStore {
    let settings = MongoSettings {
        uri: Secret::from(uri),
        database: fresh_database(),
        server_selection: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        operation: Duration::from_secs(20),
    };
    let store = MongoStore::open(&settings).await.expect("a store");
    store.prepare().await.expect("a prepared store");
    store
}

fn fresh_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let run = cast_ghl_provider::random::hex::<4>();
    format!("cast-ghl-test-{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `mongodb://host:port/?options` with a database in it.
fn with_database(uri: &str, database: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a scheme");
    let (hosts, options) = rest.split_once('?').unwrap_or((rest, ""));
    format!("{scheme}://{}/{database}?{options}", hosts.trim_end_matches('/'))
}

/// One directory for all cases, gone at the end.
struct Scratch {
    root: PathBuf,
    next: AtomicU32,
}

impl Scratch {
    fn new() -> Self {
        let name = format!("cast-ghl-tests-{}", cast_ghl_provider::random::hex::<6>());
        Self { root: std::env::temp_dir().join(name), next: AtomicU32::new(0) }
    }

    fn dir(&self) -> PathBuf {
        self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind at worst: it is in the system's own temporary directory.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
