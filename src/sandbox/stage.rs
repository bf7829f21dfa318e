//! Everything that stands on loopback: both fakes, the bridge between them, its keys and its directory.
//!
//! Owns the bridge's configuration, written as an operator writes it: as variables. Invariant: it names the fakes and
//! nothing else, so no call leaves this machine. Dropped, everything is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::bridge::Bridge;
use super::screen::Screen;
use super::temp_dir::TempDir;
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::fake::cast::{DEFAULT_API_KEY, FakeCast, FakeCastOptions};
use crate::fake::ghl::{FakeGhl, FakeGhlOptions};
use crate::http::Listener;
use crate::random;
use crate::signature::{Scheme, SigningKey};

/// The sender name of the sandbox's messages.
pub(super) const SENDER_ID: &str = "CAST";
/// Cast's limits of [`Setting::Wide`], a second and at once: the bridge is what bounds a load, not the fake.
pub(super) const WIDE_RATE: u32 = 10_000;
/// Stopping takes `DRAIN` (1 s) and what is in flight, which loopback answers at once.
const STOP: Duration = Duration::from_secs(60);

/// How the vendors behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// With the limits and delays of the contracts.
    LikeTheVendors,
    /// For load: Cast takes 10,000 a second, GHL has no limits and takes a status at once.
    Wide,
}

/// One key of each scheme.
pub(super) struct Keys([SigningKey; 3]);

impl Keys {
    fn generate() -> anyhow::Result<Self> {
        let [first, second, third] = Scheme::ALL.map(SigningKey::generate);
        Ok(Self([first?, second?, third?]))
    }

    /// The key of `scheme`.
    pub(super) fn of(&self, scheme: Scheme) -> &SigningKey {
        let [ed25519, rsa, p256] = &self.0;
        match scheme {
            Scheme::Ed25519 => ed25519,
            Scheme::RsaPkcs1Sha256 => rsa,
            Scheme::EcdsaP256Sha256 => p256,
        }
    }

    /// The public halves, one after the other, as `GHL_WEBHOOK_PUBLIC_KEY` takes them.
    fn public_pems(&self) -> String {
        self.0.iter().map(SigningKey::public_pem).collect()
    }
}

/// The stage. It stands until it is struck or dropped.
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) screen: Screen,
    pub(super) setting: Setting,
    pub(super) ghl: FakeGhl,
    pub(super) cast: FakeCast,
    pub(super) bridge: Bridge,
    pub(super) keys: Arc<Keys>,
    /// The key of the bridge's inbound endpoint; it opens nothing once the stage is gone.
    pub(super) inbound_key: String,
    /// Last, so that it is removed after everything that writes into it.
    pub(super) dir: TempDir,
}

impl Stage {
    /// Starts both fakes and the bridge, and waits until it is ready.
    ///
    /// # Errors
    /// No port, no temporary directory, no randomness; the bridge does not start.
    pub(super) async fn set(setting: Setting, screen: Screen) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let dir = TempDir::make().context("no temporary directory can be made")?;
        let keys = Keys::generate()?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listener, metrics) = (Listener::bind(loopback).await?, Listener::bind(loopback).await?);
        let port = listener.addr().port();
        let base_url = format!("http://127.0.0.1:{port}");

        let ghl_options = ghl_options(setting, &base_url);
        let ghl = FakeGhl::start(ghl_options.clone()).await.context("no port for the fake GHL")?;
        let cast = FakeCast::start(cast_options(setting)).await.context("no port for the fake Cast")?;
        ghl.set_webhook_url(&format!("{base_url}/api/ghl/v1/webhook/messages"));

        let inbound_key = random::hex::<16>();
        let mut vars = vec![
            ("BASE_URL", base_url),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("METRICS_ADDR", metrics.addr().to_string()),
            ("DRAIN", "1s".to_owned()),
            ("DATA_DIR", dir.path().join("data").to_string_lossy().into_owned()),
            ("GHL_CLIENT_ID", ghl_options.client_id),
            ("GHL_CLIENT_SECRET", ghl_options.client_secret),
            ("GHL_CONVERSATION_PROVIDER_ID", ghl_options.provider_id),
            ("GHL_API_URL", ghl.url()),
            ("GHL_AUTHORIZE_URL", ghl.authorize_url()),
            ("GHL_WEBHOOK_PUBLIC_KEY", keys.public_pems()),
            ("GHL_WEBHOOK_TRUST_PUBLISHED_KEYS", "true".to_owned()),
            ("CAST_API_KEY", DEFAULT_API_KEY.to_owned()),
            ("CAST_API_URL", cast.url()),
            ("CAST_SENDER_ID", SENDER_ID.to_owned()),
            ("INBOUND_API_KEY", inbound_key.clone()),
        ];
        if setting == Setting::Wide {
            vars.push(("CAST_RATE_PER_SECOND", WIDE_RATE.to_string()));
            vars.push(("CAST_RATE_BURST", WIDE_RATE.to_string()));
            vars.push(("STATUS_DELAY", "0s".to_owned()));
        }
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value));
        let config = ServeConfig::from_vars(vars).context("the sandbox's own configuration has problems")?;
        screen.say(&format!(
            "The bridge starts between a fake GHL and a fake Cast, all on this machine; its data is in {}.",
            dir.path().display()
        ));
        let bridge = Bridge::start(listener, metrics, &config, &clock).await?;
        screen.say(&format!("The bridge is ready at {}.", bridge.url));
        Ok(Self { clock, screen, setting, ghl, cast, bridge, keys: Arc::new(keys), inbound_key, dir })
    }

    /// Stops the bridge, then the fakes; whether the bridge stopped as it should.
    pub(super) async fn strike(self) -> bool {
        self.screen.progress("Stopping the bridge.");
        let stopped = tokio::select! {
            stopped = self.bridge.stop() => stopped,
            () = self.clock.sleep(STOP) => {
                Err(anyhow::anyhow!("waited {} s in vain for the bridge to stop", STOP.as_secs()))
            }
        };
        let said = match &stopped {
            Ok(()) => "The bridge stopped; its data is removed.".to_owned(),
            Err(e) => format!("The bridge did not stop as it should: {e:#}."),
        };
        self.screen.rest();
        self.screen.say(&said);
        stopped.is_ok()
    }

    /// Where the gateway posts receipts.
    pub(super) fn receipts_url(&self) -> String {
        format!("{}/api/cast/v1/receipts", self.bridge.url)
    }

    /// Where the gateway posts replies.
    pub(super) fn inbound_url(&self) -> String {
        format!("{}/api/cast/v1/inbound", self.bridge.url)
    }
}

fn ghl_options(setting: Setting, base_url: &str) -> FakeGhlOptions {
    let documented =
        FakeGhlOptions { redirect_uri: Some(format!("{base_url}/oauth-callback")), ..FakeGhlOptions::default() };
    match setting {
        Setting::LikeTheVendors => documented,
        Setting::Wide => FakeGhlOptions { rate_limit: None, status_ready_after: Duration::ZERO, ..documented },
    }
}

fn cast_options(setting: Setting) -> FakeCastOptions {
    let documented = FakeCastOptions { sender_ids: vec![SENDER_ID.to_owned()], ..FakeCastOptions::default() };
    match setting {
        Setting::LikeTheVendors => documented,
        Setting::Wide => FakeCastOptions { rate_per_second: f64::from(WIDE_RATE), burst: WIDE_RATE, ..documented },
    }
}
