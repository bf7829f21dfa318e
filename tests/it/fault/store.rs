//! An embedded store on a disk that fails: real processes on a disk laid over or really full, and commits that fail at once.
//!
//! What was answered 200 is there after a kill; while nothing can be stored the answer is 429, and 200 again without a restart.

use std::path::PathBuf;
use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::Webhook;
use futures_util::future::join_all;

use super::disk::{Disk, Fault, SmallDisk};
use super::{put_off, stored, texts, unposted};
use crate::process::child::{LIMIT, replaced, run, vars};
use crate::process::serving::{Serving, Spot, minimal};
use crate::support::world::{LOCATION, Place, World, word};
use crate::{Cases, cases};

/// On a disk that can be told to fail.
pub fn disk_cases() -> Cases<PathBuf> {
    cases![
        while_fsync_fails_no_copy_is_answered_200_and_it_recovers_without_a_restart,
        what_was_answered_200_before_fsync_failed_survives_a_kill,
        on_a_full_disk_webhooks_are_put_off_and_an_outcome_is_recorded_when_there_is_room,
        a_disk_turned_read_only_puts_webhooks_off_until_it_is_writable_again,
        a_read_only_directory_is_a_store_that_cannot_be_opened,
    ]
}

/// On a file system of one's own.
pub fn small_disk_cases() -> Cases<(PathBuf, SmallDisk)> {
    cases![a_disk_that_is_really_full_loses_nothing_it_answered_200]
}

/// Whose commits fail inside the store.
pub fn commit_cases() -> Cases<Place> {
    cases![
        of_fifty_copies_in_batches_whose_commit_fails_none_is_answered_200_and_one_is_sent_later,
        a_duplicate_in_a_batch_whose_commit_fails_is_put_off_and_nothing_of_it_stays,
    ]
}

async fn while_fsync_fails_no_copy_is_answered_200_and_it_recovers_without_a_restart(dir: PathBuf) {
    let (disk, mut serving) = on_a_faulty_disk(dir).await;
    let before = serving.sms("before").await;
    assert_eq!(serving.told(&before).await, "delivered");
    let during = serving.webhook("during");
    disk.fail(Fault::Sync);
    let began = (Clock::System.mono(), disk.struck());
    for _ in 0..5 {
        assert_put_off(&serving, &during).await;
    }
    assert_degraded(&serving).await;
    let (seconds, struck) = (Clock::System.mono().since(began.0).as_secs_f64(), disk.struck() - began.1);
    assert!(struck > 0, "the fault was real");
    // Five webhooks, and what the loops write of their own accord.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let bound = struck as f64 <= 20.0 + 40.0 * seconds;
    assert!(bound, "{struck} syncs in {seconds} s");
    disk.mend(Fault::Sync);
    until_taken(&serving, &during).await;
    serving.process.kill();
    serving.serve_again().await;
    assert_eq!(word(&serving.ghl.redeliver(&during, &serving.key).await), "duplicate");
    let after = serving.sms("after").await;
    assert_eq!(serving.told(&after).await, "delivered");
    assert_eq!(serving.taken(3).await, ["before", "during", "after"]);
    serving.end();
}

async fn what_was_answered_200_before_fsync_failed_survives_a_kill(dir: PathBuf) {
    let (disk, mut serving) = on_a_faulty_disk(dir).await;
    serving.cast.stop().await;
    let (before, during) = (serving.webhook("before"), serving.webhook("during"));
    assert_eq!(word(&serving.ghl.deliver(&before, &serving.key).await), "accepted");
    disk.fail(Fault::Sync);
    assert_put_off(&serving, &during).await;
    assert!(disk.struck() > 0, "the fault was real");
    serving.process.kill();
    disk.mend(Fault::Sync);
    serving.cast.restart().await.expect("its port is free");
    serving.serve_again().await;
    assert_eq!(word(&serving.ghl.redeliver(&before, &serving.key).await), "duplicate");
    // Stored or not: its frames may have lived in the page cache alone.
    assert_eq!(serving.ghl.redeliver(&during, &serving.key).await.status, Some(200));
    let after = serving.sms("after").await;
    assert_eq!(serving.told(&after).await, "delivered");
    assert_eq!(serving.taken(3).await, ["before", "during", "after"]);
    serving.end();
}

async fn on_a_full_disk_webhooks_are_put_off_and_an_outcome_is_recorded_when_there_is_room(dir: PathBuf) {
    let (disk, mut serving) = on_a_faulty_disk(dir).await;
    serving.cast.fault_next(CastFault::Hang { after_taking: true });
    let in_flight = serving.sms("in flight").await;
    serving.taken(1).await;
    disk.fail(Fault::Full);
    // Cast answers while its answer can't be written down.
    serving.cast.release();
    let during = serving.webhook("during");
    assert_put_off(&serving, &during).await;
    assert_degraded(&serving).await;
    assert!(disk.struck() > 0, "the fault was real");
    disk.mend(Fault::Full);
    until_taken(&serving, &during).await;
    assert_eq!(serving.told(&in_flight).await, "delivered");
    assert_eq!(serving.taken(2).await, ["in flight", "during"]);
    serving.process.kill();
    serving.end();
}

async fn a_disk_turned_read_only_puts_webhooks_off_until_it_is_writable_again(dir: PathBuf) {
    let (disk, serving) = on_a_faulty_disk(dir).await;
    let during = serving.webhook("during");
    disk.fail(Fault::ReadOnly);
    for _ in 0..3 {
        assert_put_off(&serving, &during).await;
    }
    assert_degraded(&serving).await;
    assert!(disk.struck() > 0, "the fault was real");
    disk.mend(Fault::ReadOnly);
    until_taken(&serving, &during).await;
    assert_eq!(serving.taken(1).await, ["during"]);
    serving.end();
}

async fn a_read_only_directory_is_a_store_that_cannot_be_opened(dir: PathBuf) {
    let data = dir.join("data");
    let disk = Disk::under(&data, &dir);
    let vars = replaced([minimal(), vars(&disk.vars())].concat(), &[("DATA_DIR", &data.display().to_string())]);
    disk.fail(Fault::ReadOnly);
    let missing = run(&["serve"], &vars, &dir).await;
    std::fs::create_dir(&data).expect("a directory");
    let there = run(&["serve"], &vars, &dir).await;
    for ended in [missing, there] {
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        assert!(ended.err.contains("data") && ended.err.contains("Read-only file system"), "{}", ended.err);
    }
    assert_eq!(std::fs::read_dir(&data).expect("a directory").count(), 0);
}

async fn a_disk_that_is_really_full_loses_nothing_it_answered_200((dir, small): (PathBuf, SmallDisk)) {
    let spot = Spot::embedded(dir);
    // The bridge would stop before it is full.
    let mut serving = Serving::connected(&spot, &[("DISK_RESERVE", "1KiB")]).await;
    serving.cast.stop().await;
    small.fill();
    let (mut taken, mut put_off) = (Vec::new(), Vec::new());
    // The log has some room of its own to write into. Whether the store fails first or the watch over the disk refuses first
    // is a matter of moments, and a look that still reads clears the store's own mark: so it is asked until it says one of both.
    while put_off.len() < 5 || !says_that_it_cannot_store(&serving).await {
        let n = taken.len() + put_off.len();
        assert!(n < 2000, "{} were taken", taken.len());
        let webhook = serving.webhook(&format!("message {n} {}", "x".repeat(100)));
        match serving.ghl.deliver(&webhook, &serving.key).await.status {
            Some(200) => taken.push(webhook),
            Some(429) => put_off.push(webhook),
            other => panic!("{other:?}"),
        }
    }
    serving.process.kill();
    small.clear();
    serving.cast.restart().await.expect("its port is free");
    serving.serve_again().await;
    for webhook in &taken {
        assert_eq!(word(&serving.ghl.redeliver(webhook, &serving.key).await), "duplicate");
    }
    for webhook in &put_off {
        assert_eq!(serving.ghl.redeliver(webhook, &serving.key).await.status, Some(200));
    }
    let mut texts = serving.taken(taken.len() + put_off.len()).await;
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), taken.len() + put_off.len(), "each once");
    serving.end();
    // Ended before its file system is.
    drop(small);
}

async fn of_fifty_copies_in_batches_whose_commit_fails_none_is_answered_200_and_one_is_sent_later(place: Place) {
    let w = World::connected(place).await;
    let webhook = unposted(&w, "fifty");
    let spoilt = Spoilt::commits(&w);
    w.ghl.register_message(LOCATION, &webhook.message_id);
    let answers: Vec<WebhookAnswer> = join_all((0..50).map(|_| w.ghl.redeliver(&webhook, &w.key))).await;
    assert!(answers.iter().all(|a| a.status == Some(429)), "{answers:?}");
    assert_eq!(stored(&w).await, 0);
    spoilt.mend();
    assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "accepted", "nothing was left behind");
    w.send_all().await;
    assert_eq!(texts(&w), ["fifty"]);
    w.end();
}

/// The repeat itself wrote well; what shares its commit did not.
async fn a_duplicate_in_a_batch_whose_commit_fails_is_put_off_and_nothing_of_it_stays(place: Place) {
    let w = World::connected(place).await;
    let webhook = unposted(&w, "once");
    assert_eq!(word(&w.ghl.deliver(&webhook, &w.key).await), "accepted");
    let spoilt = Spoilt::commits(&w);
    put_off(&w, &webhook).await;
    let fresh = unposted(&w, "fresh");
    w.ghl.register_message(LOCATION, &fresh.message_id);
    let both = [&fresh, &webhook, &fresh, &webhook];
    let answers = join_all(both.map(|webhook| w.ghl.redeliver(webhook, &w.key))).await;
    assert!(answers.iter().all(|a| a.status == Some(429)), "{answers:?}");
    spoilt.mend();
    assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "duplicate");
    assert_eq!(word(&w.ghl.redeliver(&fresh, &w.key).await), "accepted");
    w.send_all().await;
    assert_eq!(texts(&w), ["once", "fresh"]);
    w.end();
}

/// A store whose every write of a message goes well and whose commit then fails: a foreign key, judged at the end alone.
struct Spoilt(rusqlite::Connection);

impl Spoilt {
    fn commits(w: &World) -> Self {
        let Place::Embedded(dir) = w.place() else { panic!("a case of the embedded store") };
        let db = rusqlite::Connection::open(dir.join("cast-ghl.sqlite3")).expect("the store's file");
        db.busy_timeout(Duration::from_secs(60)).expect("a setting");
        db.execute_batch(
            "CREATE TABLE spoilt_parent (id INTEGER PRIMARY KEY);
             CREATE TABLE spoilt (id INTEGER REFERENCES spoilt_parent (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER spoilt_insert AFTER INSERT ON messages BEGIN INSERT INTO spoilt VALUES (1); END;
             CREATE TRIGGER spoilt_update AFTER UPDATE ON messages BEGIN INSERT INTO spoilt VALUES (1); END;",
        )
        .expect("tables of its own");
        Self(db)
    }

    fn mend(self) {
        self.0.execute_batch("DROP TRIGGER spoilt_insert; DROP TRIGGER spoilt_update;").expect("its own triggers");
    }
}

/// A process whose store is on a disk that can be told to fail.
async fn on_a_faulty_disk(dir: PathBuf) -> (Disk, Serving) {
    let disk = Disk::under(&dir.join("data"), &dir);
    let serving = Serving::connected(&Spot::embedded(dir), &disk.vars()).await;
    (disk, serving)
}

/// Posts it and checks that the CRM is asked to come again.
pub(super) async fn assert_put_off(serving: &Serving, webhook: &Webhook) {
    serving.ghl.register_message(LOCATION, &webhook.message_id);
    let request = serving.http.post(serving.webhook_url()).body(webhook.body.clone());
    let answer = request.header(serving.key.scheme().header(), serving.key.sign(&webhook.body)).send();
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers().get("retry-after").map(|v| v.as_bytes()), Some(&b"30"[..]));
}

/// Alive, ready to answer, and open about what is wrong.
pub(super) async fn assert_degraded(serving: &Serving) {
    let degraded = degraded(serving).await;
    assert!(degraded.contains(&"store_unreachable".into()), "{degraded:?}");
}

/// The same, where the disk may be what it has noticed.
async fn says_that_it_cannot_store(serving: &Serving) -> bool {
    let degraded = degraded(serving).await;
    ["store_unreachable", "disk"].iter().any(|word| degraded.contains(&(*word).into()))
}

async fn degraded(serving: &Serving) -> Vec<serde_json::Value> {
    assert_eq!(serving.get("/health").await.status().as_u16(), 200);
    serving.until_ready(200).await["degraded"].as_array().cloned().unwrap_or_default()
}

/// Sends it again until it is taken: by the same process, whose store has recovered.
pub(super) async fn until_taken(serving: &Serving, webhook: &Webhook) {
    let taken = async {
        loop {
            let answer = serving.ghl.redeliver(webhook, &serving.key).await;
            match answer.status {
                Some(200) => return,
                Some(429) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => panic!("{other:?}: {}", answer.body),
            }
        }
    };
    tokio::time::timeout(LIMIT, taken).await.expect("it recovers without a restart");
}
