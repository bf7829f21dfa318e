//! The end of a run: waits until every message has come to rest, and gathers the ledgers for the account.
//!
//! Invariant: it ends. Either nothing is pending any more, or nothing has moved for longer than a bridge waits for anything
//! here (45 s until a call is judged), or time is up; what is still pending then is what the account says.

use std::time::Duration;

use super::fleet::Fleet;
use super::ledger::Ledger;
use super::plan::{self, Word};
use super::progress::Progress;
use super::reconcile::{Account, Told, reconcile};
use super::stage::Stage;

/// Without any call to a vendor.
const QUIET: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(1800);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For what must not come any more.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Waits, then accounts.
///
/// # Errors
/// A bridge ended by itself.
pub(super) async fn settle(
    stage: &Stage,
    fleet: &mut Fleet,
    ledger: &Ledger,
    progress: &Progress,
) -> anyhow::Result<Account> {
    let clock = &stage.clock;
    progress.say("all bridges run; waiting until every message has come to rest");
    let (mut sends, mut reports) = (stage.cast.changes(), stage.ghl.changes());
    let began = clock.mono();
    let mut moved = began;
    loop {
        // A fault that was queued last may have left a call hanging.
        stage.cast.release();
        fleet.alive()?;
        let now = clock.mono();
        if sends.has_changed().unwrap_or(false) || reports.has_changed().unwrap_or(false) {
            (moved, _) = (now, (sends.mark_unchanged(), reports.mark_unchanged()));
        }
        let at_rest = account(stage, ledger).pending() == 0;
        if at_rest || now.since(moved) > QUIET || now.since(began) > LIMIT {
            break;
        }
        clock.sleep(LOOK_EVERY).await;
    }
    clock.sleep(AFTERWARDS).await;
    Ok(account(stage, ledger))
}

fn account(stage: &Stage, ledger: &Ledger) -> Account {
    let entries = ledger.entries();
    let told: Vec<Vec<Told>> = entries
        .iter()
        .map(|entry| {
            let seen = stage.ghl.statuses(&entry.message_id);
            seen.iter().map(|s| Told::read(&s.status, s.error.as_ref().map(|e| e.code.as_str()))).collect()
        })
        .collect();
    let texts: Vec<Option<String>> = stage.cast.taken().into_iter().map(|call| call.message).collect();
    let taken: Vec<Option<Vec<Word>>> = texts.iter().map(|text| plan::words(text.as_deref()?)).collect();
    let breaches = stage.cast.breaches().len() + stage.ghl.breaches().len();
    let unexpected = stage.cast.unexpected().len() + stage.ghl.unexpected().len();
    Account { breaches: breaches + unexpected, ..reconcile(&entries, &told, &taken) }
}
