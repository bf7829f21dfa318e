//! What the bridges stand between: both fake vendors, the app's key, and the configuration every bridge is started with.
//!
//! Invariant: the configuration names the fakes and nothing else, so no call leaves this machine; it is written as an
//! operator writes it, as variables, and is the same for every life of every bridge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cast_ghl_provider::client::builder::{HttpSettings, http_client};
use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::fake::cast::{DEFAULT_API_KEY, FakeCast, FakeCastOptions};
use cast_ghl_provider::fake::ghl::{DEFAULT_COMPANY, FakeGhl, FakeGhlOptions, Install};
use cast_ghl_provider::random;
use cast_ghl_provider::seal;
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;

use super::fleet::Fleet;
use super::plan;
use super::scratch::Scratch;

/// Cast's limits, a second and at once: far above the load, so that what waited for a take-over leaves in a burst.
const CAST_RATE: u32 = 1000;
/// GHL gives a webhook up after 10 to 15 s (ghl contract §1).
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(15);

/// Where the bridges keep their messages.
pub(super) enum Whereabouts {
    Embedded,
    /// A MongoDB, with the database in its URI.
    Mongo(String),
}

/// The stage.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) cast: FakeCast,
    pub(super) ghl: FakeGhl,
    pub(super) key: Arc<SigningKey>,
    /// Posts webhooks, as patient as GHL is.
    pub(super) http: reqwest::Client,
    /// The directory of the bridges.
    pub(super) dir: PathBuf,
    /// Whether the bridges elect a leader; the embedded store's one bridge need not.
    pub(super) elected: bool,
    /// What every bridge is started with.
    pub(super) vars: Vec<(String, String)>,
}

impl Stage {
    /// Starts the fakes and writes the configuration.
    ///
    /// # Errors
    /// No port, no key.
    pub(super) async fn set(scratch: &Scratch, whereabouts: Whereabouts) -> anyhow::Result<Self> {
        let cast = FakeCastOptions { rate_per_second: f64::from(CAST_RATE), burst: CAST_RATE, ..Default::default() };
        let cast = FakeCast::start(cast).await.context("no port for the fake Cast")?;
        let options =
            FakeGhlOptions { rate_limit: None, status_ready_after: Duration::ZERO, ..FakeGhlOptions::default() };
        let (client_id, client_secret) = (options.client_id.clone(), options.client_secret.clone());
        let ghl = FakeGhl::start(options).await.context("no port for the fake GHL")?;
        let key = SigningKey::generate(Scheme::Ed25519)?;
        let dir = scratch.path().join("bridges");
        let mut vars = vec![
            // Nobody comes by this name: an install is begun in the marketplace.
            ("BASE_URL", "http://bridge.test".to_owned()),
            ("HOST", own_loopback()),
            ("PORT", "0".to_owned()),
            ("METRICS_ADDR", "off".to_owned()),
            ("GHL_CLIENT_ID", client_id),
            ("GHL_CLIENT_SECRET", client_secret),
            ("GHL_API_URL", ghl.url()),
            ("GHL_AUTHORIZE_URL", ghl.authorize_url()),
            ("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem().to_owned()),
            ("GHL_WEBHOOK_TRUST_PUBLISHED_KEYS", "false".to_owned()),
            ("CAST_API_KEY", DEFAULT_API_KEY.to_owned()),
            ("CAST_API_URL", cast.url()),
            ("CAST_RATE_PER_SECOND", CAST_RATE.to_string()),
            ("CAST_RATE_BURST", CAST_RATE.to_string()),
            ("STATUS_DELAY", "100ms".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        let elected = matches!(whereabouts, Whereabouts::Mongo(_));
        match whereabouts {
            Whereabouts::Embedded => vars.push(("DATA_DIR", dir.join("data").display().to_string())),
            Whereabouts::Mongo(uri) => {
                vars.push(("MONGO_URI", uri));
                vars.push(("TOKEN_ENCRYPTION_KEYS", seal::generate("crash")));
            }
        }
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let http = http_client(&HttpSettings { timeout: WEBHOOK_PATIENCE, ..HttpSettings::default() })?;
        Ok(Self { clock: Clock::System, cast, ghl, key: Arc::new(key), http, dir, elected, vars })
    }

    /// Connects every sub-account of the plan.
    ///
    /// # Errors
    /// The bridge refuses.
    pub(super) async fn install(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let url = fleet.somewhere().context("no bridge runs")?;
        for location in plan::locations() {
            let code = self.ghl.marketplace_code(Install::location(&location, DEFAULT_COMPANY));
            let page = self.http.get(format!("{url}/oauth-callback?code={code}")).send().await?;
            anyhow::ensure!(page.status().is_success(), "the install of {location} was answered {}", page.status());
        }
        Ok(())
    }
}

/// A loopback address of this run's own: a port that a killed bridge leaves must not be taken up by a stranger while
/// webhooks still go there.
fn own_loopback() -> String {
    let [a, b, c] = random::bytes::<3>();
    format!("127.{a}.{b}.{}", c.clamp(1, 254))
}
