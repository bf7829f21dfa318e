//! What one message costs the worker, from picking it to its recorded outcome, with 1,000 to 1,000,000 messages queued on the
//! embedded store; what a start costs, and a queue that can't be sent.
//!
//! The gateway answers at once and the pace does not bind: this is the queue's own cost, store included. One message is in
//! hand at a time, so each of its commits waits for the disk by itself; the CPU's share stands beside that, since it is what
//! would grow with the queue. Resident memory is the whole process's growth over the opened store, divided by the messages.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::domain::id::{DocId, GhlMessageId, LocationId};
use cast_ghl_provider::domain::message::{HeldFor, Intake, Message, PartRecord, Progress, State};
use cast_ghl_provider::domain::outcome::{NotSent, SendOutcome};
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::domain::transition::Rules;
use cast_ghl_provider::leader::{Kind, Leadership};
use cast_ghl_provider::lifecycle::{Bells, Condition, Stop};
use cast_ghl_provider::pacing::{KeyName, Pace};
use cast_ghl_provider::queue::{Call, Handler, Prepared, Step, Terms, Worker, WorkerParts};
use cast_ghl_provider::store::{EmbeddedStore, Saved, Store, StoreError};
use cast_ghl_provider::telemetry::Metrics;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const LARGEST: u32 = 1_000_000;
const ONE_LANE: u32 = 100_000;
/// Messages measured in each queue.
const SAMPLES: usize = 500;
/// Looks measured at a queue that can't be sent.
const LOOKS: usize = 200;
/// Inserts at once: a few commits' worth.
const INSERTS: usize = 2_048;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let dir = Scratch::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("The worker's cost of one message, on {}\n", dir.0.display());
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9}",
        "queued", "start", "p50 µs", "p99 µs", "CPU µs", "ratio", "resident", "B/message"
    );
    let mut first = None;
    for size in SIZES {
        let place = dir.0.join(size.to_string());
        let cost = runtime.block_on(async {
            fill(&place, size, many_lanes).await?;
            Queue::open(&place).await?.cost(SAMPLES.min(size as usize / 2)).await
        })?;
        let base = *first.get_or_insert(cost.cpu);
        row(&grouped(size), &cost, base, size);
    }
    let place = dir.0.join("lane");
    let cost = runtime.block_on(async {
        fill(&place, ONE_LANE, one_lane).await?;
        Queue::open(&place).await?.cost(SAMPLES).await
    })?;
    row(&format!("{} in one lane", grouped(ONE_LANE)), &cost, first.unwrap_or_default(), ONE_LANE);
    println!(
        "\n{:<46} {:>9} {:>9} {:>9}",
        format!("a look, {} queued", grouped(LARGEST)),
        "p50 µs",
        "p99 µs",
        "CPU µs"
    );
    runtime.block_on(refused(&dir.0.join(LARGEST.to_string())))?;
    let place = dir.0.join("held");
    runtime.block_on(held(&place))
}

/// The gateway refuses the key: the queue waits, and is looked at twice a second. Then somebody else writes to the store.
async fn refused(place: &Path) -> Outcome<()> {
    let queue = Queue::open(place).await?;
    queue.gateway.refuses.store(true, Ordering::Relaxed);
    while matches!(queue.worker.step().await?, Step::Worked(_)) {}
    looks("the key is refused", &queue, LOOKS).await?;
    let other = Store::Embedded(EmbeddedStore::open(place)?);
    let id = DocId::outbound(&LocationId::parse(&location(999))?, &GhlMessageId::parse(&message_id(LARGEST - 1))?);
    let stored = other.get::<Message>(&id).await?.ok_or("a queued message")?;
    let Saved::Done(_) = other.save(&stored, &stored.record).await? else { return Err("nobody else saves".into()) };
    looks("after a change by another process", &queue, 1).await
}

/// Everything but a few messages waits for a location that nobody installs.
async fn held(place: &Path) -> Outcome<()> {
    fill(place, LARGEST, of_a_stranger).await?;
    let queue = Queue::open(place).await?;
    let began = now();
    queue.worker.step().await?;
    println!("{:<46} {:>9.0}", "all held for one location: the first look", micros(began.elapsed()));
    looks("all held for one location", &queue, LOOKS).await?;
    insert(&queue.store, SAMPLES as u32, |n| queued(LARGEST + n, &location(1), n)).await?;
    let cost = queue.cost(SAMPLES).await?;
    println!("{:<46} {:>9.0} {:>9.0} {:>9.0}", "another location's message meanwhile", cost.p50, cost.p99, cost.cpu);
    queue.gateway.installed.store(true, Ordering::Relaxed);
    // Locations that hold something are looked at every two seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = now();
    queue.worker.step().await?;
    println!("{:<46} {:>9.0}", "its installation: the first message", micros(began.elapsed()));
    let cost = queue.cost(SAMPLES).await?;
    println!("{:<46} {:>9.0} {:>9.0} {:>9.0}", "and the next ones", cost.p50, cost.p99, cost.cpu);
    Ok(())
}

async fn looks(name: &str, queue: &Queue, count: usize) -> Outcome<()> {
    let (mut measured, cpu) = (Vec::new(), cpu_time()?);
    for _ in 0..count {
        let began = now();
        let Step::Idle(_) = queue.worker.step().await? else { return Err("there was something to do".into()) };
        measured.push(began.elapsed());
    }
    let cost = Cost::of(measured, cpu_time()?.saturating_sub(cpu))?;
    println!("{name:<46} {:>9.0} {:>9.0} {:>9.0}", cost.p50, cost.p99, cost.cpu);
    Ok(())
}

/// A queue as a process finds it at its start.
struct Queue {
    store: Store,
    worker: Worker<Gateway>,
    gateway: Gateway,
    before: u64,
}

impl Queue {
    async fn open(place: &Path) -> Outcome<Self> {
        let store = Store::Embedded(EmbeddedStore::open(place)?);
        let (clock, bells, metrics) = (Clock::System, Bells::default(), Metrics::default());
        let elected = bells.messages.clone();
        let leadership = Leadership::new(Kind::Sole, store.clone(), clock.clone(), metrics.clone(), elected);
        leadership.step().await?;
        let gateway = Gateway::default();
        let parts = WorkerParts {
            store: store.clone(),
            clock,
            leadership,
            handler: gateway.clone(),
            rules: Rules::default(),
            pace: Pace { per_second: 100_000, burst: 100_000 },
            bells,
            condition: Condition::default(),
            metrics,
            sole: true,
        };
        Ok(Self { store, worker: Worker::new(parts, Stop::default()), gateway, before: resident()? })
    }

    /// Works on some messages; the first is counted as the start.
    async fn cost(&self, samples: usize) -> Outcome<Cost> {
        let began = now();
        self.one().await?;
        let start = began.elapsed();
        let resident = resident()?.saturating_sub(self.before);
        let (mut measured, cpu) = (Vec::new(), cpu_time()?);
        while measured.len() < samples - 1 {
            let began = now();
            self.one().await?;
            measured.push(began.elapsed());
        }
        Ok(Cost { start, resident, ..Cost::of(measured, cpu_time()?.saturating_sub(cpu))? })
    }

    async fn one(&self) -> Outcome<()> {
        loop {
            match self.worker.step().await? {
                Step::Worked(_) => return Ok(()),
                // The bucket starts empty: some microseconds.
                Step::Idle(Some(wait)) if wait < Duration::from_millis(1) => {}
                step => return Err(format!("nothing to send: {step:?}").into()),
            }
        }
    }
}

/// A gateway that answers at once.
#[derive(Clone, Default)]
struct Gateway {
    refuses: Arc<AtomicBool>,
    /// The stranger's location.
    installed: Arc<AtomicBool>,
}

impl Handler for Gateway {
    async fn prepare(&self, message: &Message, now: UnixMillis) -> Result<Prepared, StoreError> {
        let intake = &message.accepted.intake;
        if intake.location.as_str() == STRANGER && !self.installed.load(Ordering::Relaxed) {
            return Ok(Prepared::Hold { until: now.after(HELD), why: HeldFor::Installation });
        }
        let phone = Phone::parse(intake.phone.as_deref().unwrap_or_default());
        let phone = phone.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let text = intake.text.clone().unwrap_or_default();
        let parts = vec![PartRecord { text, segments: 1, accepted: false, gateway_id: None, receipt: None }];
        let terms = Terms { api_key: "cast_key".into(), sender_id: None, status_on_accept: None, reserved_in: None };
        Ok(Prepared::Send { phone, parts, key: key(), terms })
    }

    async fn key_of(&self, _: &LocationId) -> Result<KeyName, StoreError> {
        Ok(key())
    }

    async fn send(&self, _: Call) -> SendOutcome {
        if self.refuses.load(Ordering::Relaxed) {
            return SendOutcome::NotSent { why: NotSent::KeyRefused { status: 401 }, retry_after: None };
        }
        SendOutcome::Accepted { gateway_id: Some("65f0c0ffee65f0c0ffee0001".to_owned()), parts: Some(1) }
    }

    async fn may_go(&self, _: &LocationId) -> Result<bool, StoreError> {
        Ok(self.installed.load(Ordering::Relaxed))
    }
}

fn key() -> KeyName {
    KeyName::of(&"cast_key".into())
}

const STRANGER: &str = "LOCstranger000000001";
const HELD: Duration = Duration::from_secs(24 * 3600);

async fn fill(place: &Path, size: u32, message: impl Fn(u32) -> Message) -> Outcome<()> {
    let store = Store::Embedded(EmbeddedStore::open(place)?);
    insert(&store, size, message).await
}

async fn insert(store: &Store, size: u32, message: impl Fn(u32) -> Message) -> Outcome<()> {
    let inserts = (0..size).map(|n| {
        let (store, message) = (store.clone(), message(n));
        async move { store.insert(&message).await }
    });
    stream::iter(inserts).buffer_unordered(INSERTS).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// A thousand locations; two messages to each phone.
fn many_lanes(n: u32) -> Message {
    queued(n, &location(n % 1_000), n / 2_000)
}

fn one_lane(n: u32) -> Message {
    queued(n, &location(0), 0)
}

fn of_a_stranger(n: u32) -> Message {
    let message = queued(n, STRANGER, n);
    let held = Progress { state: State::Held, due_at: message.accepted.at.after(HELD), ..message.progress.clone() };
    message.with(held)
}

fn queued(n: u32, location: &str, phone: u32) -> Message {
    let parse = |id: &str| (LocationId::parse(id), GhlMessageId::parse(&message_id(n)));
    let (Ok(location), Ok(message_id)) = parse(location) else { unreachable!("letters and digits") };
    let intake = Intake {
        location,
        message_id,
        contact_id: Some("CONbench000000000001".to_owned()),
        conversation_id: Some("CNVbench000000000001".to_owned()),
        phone: Some(format!("+63917{phone:07}")),
        text: Some(
            "Hi! Your appointment is tomorrow at 10:00. Reply YES to confirm, or call us to move it.".to_owned(),
        ),
        attachments: Vec::new(),
        user_id: Some("USRbench000000000001".to_owned()),
    };
    Message::accept(intake, Clock::System.now(), "f00dfacef00dface", u64::from(n))
}

fn location(n: u32) -> String {
    format!("LOCbench{n:012}")
}

fn message_id(n: u32) -> String {
    format!("MSGbench{n:012}")
}

#[derive(Default)]
struct Cost {
    start: Duration,
    resident: u64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Cost {
    fn of(mut measured: Vec<Duration>, cpu: Duration) -> Outcome<Self> {
        measured.sort_unstable();
        let at = |percent: usize| measured.get((measured.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let (p50, p99) = at(50).zip(at(99)).ok_or("nothing was measured")?;
        let cpu = micros(cpu) / measured.len() as f64;
        Ok(Self { p50: micros(p50), p99: micros(p99), cpu, ..Self::default() })
    }
}

fn row(name: &str, cost: &Cost, base: f64, size: u32) {
    println!(
        "{name:<34} {:>7.2} s {:>9.0} {:>9.0} {:>9.0} {:>7.2} {:>5.0} MiB {:>9.0}",
        cost.start.as_secs_f64(),
        cost.p50,
        cost.p99,
        cost.cpu,
        cost.cpu / base,
        cost.resident as f64 / f64::from(1 << 20),
        cost.resident as f64 / f64::from(size),
    );
}

fn micros(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

fn grouped(n: u32) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{},{:03}", n / 1_000, n % 1_000),
        _ => format!("{},{:03},{:03}", n / 1_000_000, n / 1_000 % 1_000, n % 1_000),
    }
}

/// Of all threads, by the scheduler's own count.
fn cpu_time() -> Outcome<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += stat.split_whitespace().next().ok_or("a count")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident bytes of this process.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("a resident size")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A directory on the disk of the build, gone at the end. Not the system's temporary one, which may be memory.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Self> {
        let name = format!("queue-{}", cast_ghl_provider::random::hex::<6>());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind at worst, in the build's own directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine, which an injected clock does not")]
fn now() -> Instant {
    Instant::now()
}
