//! How many webhooks a second are accepted durably: signed, over real connections, through the real router, on the embedded
//! store, by 1, 16 and 64 senders at once.
//!
//! Beside it what the disk charges for one `write` and `fdatasync` of 4 KiB in the same directory, before and after, since
//! no figure of durable writes means anything without. Senders and bridge share this machine's cores. No loop of the bridge
//! runs: this is the cost of the answer 200 alone.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cast_ghl_provider::app::App;
use cast_ghl_provider::client::builder::{HttpSettings, http_client};
use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::config::ServeConfig;
use cast_ghl_provider::http::{Listener, serve};
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;
use tokio_util::sync::CancellationToken;

const SENDERS: [usize; 3] = [1, 16, 64];
/// For each number of senders.
const TIME: Duration = Duration::from_secs(6);
/// For each measurement of the disk.
const DISK_TIME: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let dir = Scratch::new()?;
    println!("Durable accepts on {}\n", dir.0.display());
    header("one append at a time", "a second");
    let before = disk("4 KiB, write + fdatasync, before", &dir.0)?;
    println!();
    header("signed webhooks, answered 200", "a second");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let accepted = runtime.block_on(webhooks(&dir.0))?;
    println!();
    header("one append at a time", "a second");
    let after = disk("4 KiB, write + fdatasync, after", &dir.0)?;
    let [_, _, most] = SENDERS;
    let share = accepted / f64::midpoint(before, after);
    println!("\n{most} at once: {share:.1} webhooks accepted in the time of one such append.");
    Ok(())
}

/// The rate with the most senders.
async fn webhooks(dir: &Path) -> Outcome<f64> {
    let key = Arc::new(SigningKey::generate(Scheme::Ed25519)?);
    let app = App::build(&config(&dir.join("store"), &key)?, Clock::System).await?;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
    let url = format!("http://{}/api/ghl/v1/webhook/messages", listener.addr());
    let close = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, app.router(), close.clone()));
    // Connections, caches and the store's first pages.
    send(&url, &key, 4, Duration::from_millis(500)).await?;
    let mut rate = 0.0;
    for senders in SENDERS {
        let measured = send(&url, &key, senders, TIME).await?;
        rate = row(&format!("{senders} at once"), measured, TIME);
    }
    close.cancel();
    serving.await?;
    Ok(rate)
}

/// Sends from `senders` connections for `time`, each its next webhook once the last is answered; the latencies.
async fn send(url: &str, key: &Arc<SigningKey>, senders: usize, time: Duration) -> Outcome<Vec<Duration>> {
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (url, key) = (url.to_owned(), Arc::clone(key));
            let http = http_client(&HttpSettings::default());
            tokio::spawn(async move {
                let http = http.map_err(|e| e.to_string())?;
                let mut measured = Vec::new();
                let until = now() + time;
                while now() < until {
                    let body = body();
                    let request = http.post(&url).header(key.scheme().header(), key.sign(&body)).body(body);
                    let began = now();
                    let answer = request.send().await.map_err(|e| e.to_string())?;
                    let status = answer.status();
                    let said = answer.text().await.map_err(|e| e.to_string())?;
                    if !(status.is_success() && said.contains("accepted")) {
                        return Err(format!("answered {status}: {said}"));
                    }
                    measured.push(began.elapsed());
                }
                Ok(measured)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

/// A new message each time, with the members that live payloads carry.
fn body() -> Vec<u8> {
    let id = cast_ghl_provider::random::hex::<10>();
    let phone = format!("+63917{:07}", u32::from_le_bytes(cast_ghl_provider::random::bytes()) % 10_000_000);
    serde_json::json!({
        "contactId": "CONbench000000000001",
        "locationId": "LOCbench000000000001",
        "messageId": id,
        "type": "SMS",
        "phone": phone,
        "message": "Hi! Your appointment is tomorrow at 10:00. Reply YES to confirm, or call us to move it.",
        "attachments": [],
        "userId": "USRbench000000000001",
        "conversationId": "CNVbench000000000001",
        "customUserId": "",
        "emailTo": null,
        "emailFrom": null,
        "subject": null,
        "channelMeta": {"source": "workflow"},
    })
    .to_string()
    .into_bytes()
}

fn config(dir: &Path, key: &SigningKey) -> Outcome<ServeConfig> {
    let vars = [
        ("BASE_URL", "http://127.0.0.1:3002"),
        ("GHL_CLIENT_ID", "64f0c0ffee64f0c0ffee0001-bench001"),
        ("GHL_CLIENT_SECRET", "of-no-use"),
        ("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem()),
        ("CAST_API_KEY", "of-no-use"),
        ("DATA_DIR", &dir.display().to_string()),
    ];
    Ok(ServeConfig::from_vars(vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))?)
}

/// Appends 4 KiB and waits for the disk, again and again; how often a second.
fn disk(name: &str, dir: &Path) -> Outcome<f64> {
    let path = dir.join("append");
    let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
    let page = [0x5a_u8; 4096];
    let mut measured = Vec::new();
    let until = now() + DISK_TIME;
    while now() < until {
        let began = now();
        file.write_all(&page)?;
        file.sync_data()?;
        measured.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(row(name, measured, DISK_TIME))
}

fn header(what: &str, rate: &str) {
    println!("{what:<38} {rate:>9} {:>11} {:>11} {:>11}", "p50", "p99", "max");
}

/// Prints; how many a second.
fn row(name: &str, mut measured: Vec<Duration>, time: Duration) -> f64 {
    measured.sort_unstable();
    let Some(max) = measured.last() else {
        println!("{name:<38} {:>9}", "none");
        return 0.0;
    };
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let [p50, p99] = [50, 99].map(|percent| ms(measured[(measured.len() * percent).div_ceil(100) - 1]));
    let rate = measured.len() as f64 / time.as_secs_f64();
    println!("{name:<38} {rate:>9.0} {p50:>8.2} ms {p99:>8.2} ms {:>8.2} ms", ms(*max));
    rate
}

/// A directory on the disk of the build, gone at the end. Not the system's temporary one, which may be memory.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Self> {
        let name = format!("accept-{}", cast_ghl_provider::random::hex::<6>());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind at worst, in the build's own directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine, which an injected clock does not")]
fn now() -> Instant {
    Instant::now()
}
