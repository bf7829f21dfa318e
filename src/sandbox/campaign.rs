//! A campaign in whose middle a token ends: a message every tenth of a second from a sub-account whose first token lives for
//! seven seconds, so that some statuses are told with it, some while it is renewed and some after its end.
//!
//! Owns what is sent and the rows about it. Invariant: the next token lives as long as GHL's do, so one refresh is all there is
//! to do; a second one is wrong, and so is a status that was not told, or told twice.

use std::time::Duration;

use tokio::task::JoinSet;

use super::answer::Due;
use super::browser;
use super::live::Live;
use super::script;
use super::table::Row;
use crate::clock::Clock;
use crate::domain::time::UnixMillis;
use crate::fake::WebhookAnswer;
use crate::fake::ghl::{FakeGhl, FakeGhlOptions, Install, OutboundSms, Refreshes, StatusSeen, Webhook};
use crate::signature::{Scheme, SigningKey};

/// It is renewed at 75 to 85 % of this; statuses are told from 5 s after the first message on.
const FIRST_TOKEN: Duration = Duration::from_secs(7);
const APART: Duration = Duration::from_millis(100);

/// The campaign under way.
pub(super) struct Campaign {
    webhooks: Vec<Webhook>,
    first_token_ends: UnixMillis,
    /// Aborted when dropped: nothing outlives the sandbox.
    sending: JoinSet<Vec<WebhookAnswer>>,
    accepted: usize,
}

impl Campaign {
    /// Connects the sub-account and begins to send.
    ///
    /// # Errors
    /// The bridge does not connect it.
    pub(super) async fn begin(live: &mut Live<'_>) -> anyhow::Result<Self> {
        let stage = live.stage;
        let (location, company) = script::BUSY;
        stage.ghl.next_install(Install::location(location, company));
        stage.ghl.set_token_life(FIRST_TOKEN);
        let installed = browser::install(stage, "Connected").await;
        stage.ghl.set_token_life(FakeGhlOptions::default().token_life);
        installed?;
        let first_token_ends = stage.clock.now().after(FIRST_TOKEN);
        live.look();
        live.say(&format!(
            "Another sub-account connected it and began a campaign of {} messages; its token ends in {} s.",
            script::CAMPAIGN,
            FIRST_TOKEN.as_secs()
        ));
        let webhooks: Vec<Webhook> = script::campaign()
            .into_iter()
            .map(|(phone, to, text)| {
                let webhook = stage.ghl.build_webhook(&OutboundSms::new(location, &phone, &text));
                live.watch.gather(location, &webhook.message_id, &to);
                webhook
            })
            .collect();
        let mut sending = JoinSet::new();
        let (clock, ghl, keys, all) = (stage.clock.clone(), stage.ghl.clone(), stage.keys.clone(), webhooks.clone());
        sending.spawn(async move { deliver(&clock, &ghl, keys.of(Scheme::Ed25519), &all).await });
        Ok(Self { webhooks, first_token_ends, sending, accepted: 0 })
    }

    /// Waits until everything was sent.
    pub(super) async fn sent(&mut self) {
        // A task that panicked leaves its answers uncounted, which the table shows.
        while let Some(answers) = self.sending.join_next().await {
            self.accepted += answers.iter().flatten().filter(|answer| Due::Accepted.is(answer)).count();
        }
    }

    /// What GHL saw of it.
    pub(super) fn rows(&self, ghl: &FakeGhl) -> Vec<Row> {
        let told: Vec<Vec<StatusSeen>> =
            self.webhooks.iter().map(|webhook| ghl.statuses(&webhook.message_id)).collect();
        rows(self.accepted, &told, ghl.refreshes(script::BUSY.0), self.first_token_ends)
    }
}

/// Of each message what GHL was told, and how often the token was asked for anew.
fn rows(accepted: usize, told: &[Vec<StatusSeen>], refreshes: Refreshes, first_token_ends: UnixMillis) -> Vec<Row> {
    let once = |told: &&Vec<StatusSeen>| matches!(&told[..], [only] if only.status == "delivered");
    let late = told.iter().flatten().filter(|told| told.at >= first_token_ends).count();
    let Refreshes { rotated, repeated, refused } = refreshes;
    let asked = usize::try_from(rotated + repeated + refused).unwrap_or(usize::MAX);
    vec![
        Row::exactly("GHL", "messages of a campaign answered accepted", script::CAMPAIGN, accepted),
        Row::exactly(
            "GHL",
            "messages of a campaign shown as delivered",
            script::CAMPAIGN,
            told.iter().filter(once).count(),
        ),
        Row::exactly("GHL", "token expired under load: refreshes", 1, asked),
        Row::any("GHL", "token expired under load: statuses told after its end", late),
    ]
}

async fn deliver(clock: &Clock, ghl: &FakeGhl, key: &SigningKey, all: &[Webhook]) -> Vec<WebhookAnswer> {
    let mut answers = Vec::with_capacity(all.len());
    for webhook in all {
        answers.push(ghl.deliver(webhook, key).await);
        clock.sleep(APART).await;
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::table::all_right;

    const ONCE: Refreshes = Refreshes { rotated: 1, repeated: 0, refused: 0 };

    fn right(told: &[Vec<StatusSeen>], refreshes: Refreshes) -> bool {
        all_right(&rows(script::CAMPAIGN, told, refreshes, UnixMillis(0)))
    }

    #[test]
    fn a_second_refresh_is_wrong_and_so_is_a_status_that_was_lost_or_told_twice() {
        let delivered = StatusSeen { at: UnixMillis(0), status: "delivered".to_owned(), error: None };
        let all = vec![vec![delivered.clone()]; script::CAMPAIGN];
        assert!(right(&all, ONCE));
        for wrong in [
            Refreshes::default(),
            Refreshes { rotated: 2, ..ONCE },
            Refreshes { repeated: 1, ..ONCE },
            Refreshes { refused: 1, ..ONCE },
        ] {
            assert!(!right(&all, wrong), "{wrong:?}");
        }
        for told in [Vec::new(), vec![delivered.clone(), delivered]] {
            let mut all = all.clone();
            all[7] = told;
            assert!(!right(&all, ONCE));
        }
        assert!(!all_right(&rows(script::CAMPAIGN - 1, &all, ONCE, UnixMillis(0))));
    }
}
