//! Faults of the neighbours, end to end: a webhook in through the real router, what Cast took, what the CRM was told.
//!
//! One file a neighbour. Whatever breaks, the answer to the CRM is 200 once durable or 429 with `Retry-After`, what was taken
//! is never sent twice nor lost, all of it comes back without a restart, and nothing is tried in a hot loop.

pub mod cast;
pub mod clock;
mod disk;
pub mod ghl;
pub mod mongo;
mod store;

use std::path::PathBuf;

use cast_ghl_provider::domain::message::{Message, State};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::{OutboundSms, Webhook};
use cast_ghl_provider::store::Query;
use libtest_mimic::{Completion, Trial};

use self::disk::SmallDisk;
use crate::support::world::{LOCATION, PHONE, Place, World, header};
use crate::{Running, in_runtime};

/// Cases that need the embedded store's own disk; `dir` names a fresh directory.
pub fn trials(dir: impl Fn() -> PathBuf) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, case) in store::disk_cases() {
        let dir = dir();
        trials.push(trial(name, move || disk::missing().map_or(Ok(case(dir)), Err)));
    }
    for (name, case) in store::small_disk_cases() {
        let dir = dir();
        trials.push(trial(name, move || SmallDisk::mount(&dir.join("data"), "8m").map(|small| case((dir, small)))));
    }
    for (name, case) in store::commit_cases() {
        let dir = dir();
        trials.push(trial(name, move || Ok(case(Place::Embedded(dir)))));
    }
    trials
}

/// A case that is shown as ignored where something it needs is missing, which it finds out when it runs.
fn trial(name: &str, case: impl FnOnce() -> Result<Running, String> + Send + 'static) -> Trial {
    Trial::ignorable_test(format!("embedded::fault::{name}"), move || match case() {
        Err(why) => Ok(Completion::ignored_with(why)),
        Ok(case) => {
            in_runtime(|| case);
            Ok(Completion::Completed)
        }
    })
}

/// An SMS that has not been posted yet.
fn unposted(w: &World, text: &str) -> Webhook {
    w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, text))
}

/// Posts it and checks that the CRM is asked to come again. Its own patience is 15 s, so this ends by then.
async fn put_off(w: &World, webhook: &Webhook) {
    let signature = w.key.sign(&webhook.body);
    let path = "/api/ghl/v1/webhook/messages";
    let answer = w.post(path, &[(w.key.scheme().header(), &signature)], webhook.body.clone()).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (429, "30"));
}

/// How many messages are stored.
async fn stored(w: &World) -> usize {
    let all = Query::Page { after: None, limit: 1000 };
    w.app.store().find::<Message>(all).await.expect("the store answers").len()
}

/// How many of these Cast accepted.
async fn sent(w: &World, answers: &[WebhookAnswer]) -> usize {
    let mut accepted = 0;
    for answer in answers {
        accepted += usize::from(w.message(answer).await.progress.state == State::Accepted);
    }
    accepted
}

/// What Cast took, in its order.
fn texts(w: &World) -> Vec<String> {
    w.cast.taken().into_iter().filter_map(|c| c.message).collect()
}
