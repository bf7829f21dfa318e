//! GHL's side of the webhooks: posts the plan at its times, again what was not acknowledged, and some once too often.
//!
//! Invariant: open-loop. A message is posted at its planned moment whatever became of the ones before it. One that was
//! answered 429 or not at all is posted again until it is acknowledged (ghl contract §1, the newer rule, with its pauses
//! shortened).

use std::sync::Arc;
use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::fake::ghl::{OutboundSms, Webhook};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dice::Dice;
use super::fleet::{Fleet, Targets};
use super::ledger::{Answer, Entry, Ledger};
use super::plan::{Plan, Planned};
use super::stage::Stage;

const PATH: &str = "/api/ghl/v1/webhook/messages";
/// Of a thousand acknowledged messages so many are posted again.
const REPEATED: u32 = 30;
/// Before a message is posted again, in milliseconds: doubled each time, as GHL does with minutes.
const FIRST_PAUSE: u32 = 200;
const LONGEST_PAUSE: u32 = 5000;
/// Without a bridge to post to.
const NOWHERE: Duration = Duration::from_millis(20);

/// The sender at work.
pub(super) struct Sender(CancellationToken);

impl Sender {
    pub(super) fn start(stage: &Stage, fleet: &Fleet, ledger: &Ledger, seed: u64, per_second: f64) -> Self {
        let stop = CancellationToken::new();
        let posting =
            Posting { stage: stage.clone(), targets: fleet.targets(), ledger: ledger.clone(), stop: stop.clone() };
        tokio::spawn(send(Arc::new(posting), seed, per_second));
        Self(stop)
    }

    /// No new messages, no more repeats; what was not acknowledged is still posted until it is.
    pub(super) fn stop(self) {
        self.0.cancel();
    }
}

struct Posting {
    stage: Stage,
    targets: Targets,
    ledger: Ledger,
    stop: CancellationToken,
}

async fn send(posting: Arc<Posting>, seed: u64, per_second: f64) {
    let clock = posting.stage.clock.clone();
    let mut plan = Plan::new(seed, per_second);
    let under_way = TaskTracker::new();
    let mut at = clock.mono();
    loop {
        let (gap, planned) = plan.next();
        at = at.after(gap);
        tokio::select! {
            () = clock.sleep(at.since(clock.mono())) => {}
            () = posting.stop.cancelled() => return,
        }
        let dice = Dice::new(seed, &format!("message {}", planned.number));
        let (posting, message) = (Arc::clone(&posting), posting.open(&planned));
        under_way.spawn(async move { posting.carry(planned.number, &message, dice).await });
    }
}

impl Posting {
    /// The message appears in the CRM and in the ledger.
    fn open(&self, planned: &Planned) -> Webhook {
        let ghl = &self.stage.ghl;
        let webhook = ghl.build_webhook(&OutboundSms::new(&planned.location, &planned.phone, &planned.text));
        ghl.register_message(&webhook.location_id, &webhook.message_id);
        self.ledger.open(Entry {
            message_id: webhook.message_id.clone(),
            lane: planned.lane,
            words: planned.words,
            posts: Vec::new(),
        });
        webhook
    }

    /// Posts it until it is acknowledged, and sometimes once more.
    async fn carry(&self, number: u32, webhook: &Webhook, mut dice: Dice) {
        let clock = &self.stage.clock;
        let mut pause = FIRST_PAUSE;
        while !self.post(number, webhook, &mut dice).await.acknowledges() {
            clock.sleep(dice.millis(pause / 2..=pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if dice.chance(REPEATED) {
            clock.sleep(dice.millis(0..=2000)).await;
            if !self.stop.is_cancelled() {
                self.post(number, webhook, &mut dice).await;
            }
        }
    }

    async fn post(&self, number: u32, webhook: &Webhook, dice: &mut Dice) -> Answer {
        let Some(base) = self.targets.pick(dice) else {
            self.stage.clock.sleep(NOWHERE).await;
            return Answer::Nothing;
        };
        let signature = self.stage.key.sign(&webhook.body);
        let request = self.stage.http.post(format!("{base}{PATH}")).header(self.stage.key.scheme().header(), signature);
        let request = request.header("content-type", "application/json").body(webhook.body.clone());
        let clock: &Clock = &self.stage.clock;
        let post = self.ledger.posting(number, clock.mono());
        let answer = exchange(request).await;
        self.ledger.answered(number, post, clock.mono(), answer);
        answer
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Answer {
    let Ok(answer) = request.send().await else { return Answer::Nothing };
    let status = answer.status().as_u16();
    let Ok(body) = answer.text().await else { return Answer::Nothing };
    read(status, &body)
}

fn read(status: u16, body: &str) -> Answer {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match (status, body["status"].as_str()) {
        (200, Some("accepted")) => Answer::Accepted,
        (200, Some("duplicate")) => Answer::Duplicate,
        (429, _) => Answer::Later,
        (wrong, _) => Answer::Wrong(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_that_says_so_acknowledges() {
        assert_eq!(read(200, r#"{"status":"accepted","id":"out:L:M"}"#), Answer::Accepted);
        assert_eq!(read(200, r#"{"status":"duplicate","id":"out:L:M"}"#), Answer::Duplicate);
        assert_eq!(read(200, r#"{"status":"ignored"}"#), Answer::Wrong(200));
        assert_eq!(read(429, "{}"), Answer::Later);
        assert_eq!(read(500, "oops"), Answer::Wrong(500));
    }
}
