//! The story: install, a campaign in whose middle a token ends, an agency's install, twelve messages, a repeat, a forgery, a
//! reply, a STOP and a START, a receipt, and what became of them.
//!
//! Owns the order of events and the sentences about what the vendors send. Invariant: whatever goes wrong on the way, the
//! table at the end is shown, so that it says where.

use std::time::Duration;

use anyhow::Context as _;

use super::answer::{Answers, Due};
use super::browser;
use super::campaign::Campaign;
use super::live::Live;
use super::script::{self, Line};
use super::stage::Stage;
use super::table;
use super::tally::{self, Sent};
use crate::fake::cast::{CastCall, DeliveryReceipt, PersonReply, ReceiptError};
use crate::fake::ghl::{DEFAULT_LOCATION, Install, OutboundSms, Webhook};
use crate::signature::Scheme;

/// GHL takes a status 5 s after its webhook, sometimes later (ghl contract §4). For messages signed with P-256 it is this
/// long, so that the bridge's first report, after 5 s, comes too early and has to be repeated.
const SLOW: Duration = Duration::from_secs(6);
/// The bridge counts a call a moment after the fake has answered it.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells it; whether everything was as it should be.
pub(super) async fn tell(live: &mut Live<'_>) -> bool {
    let mut story = Story { live, sent: Vec::new(), wishes: Vec::new(), answers: Answers::default(), campaign: None };
    let played = story.play().await;
    if let Err(e) = &played {
        story.live.look();
        story.live.stage.screen.rest();
        story.live.say(&format!("WRONG: {e:#}."));
    }
    let settle = if played.is_ok() { SETTLE } else { Duration::ZERO };
    let right = story.judge(settle).await && played.is_ok();
    let screen = &story.live.stage.screen;
    screen.block("");
    screen.say(verdict(right));
    right
}

fn verdict(right: bool) -> &'static str {
    if right {
        "Everything was as it should be."
    } else {
        "NOT everything was as it should be. RUST_LOG=info shows the bridge's own log on standard error."
    }
}

struct Story<'a, 'b> {
    live: &'a mut Live<'b>,
    sent: Vec<Sent>,
    /// What GHL sent after the STOP, and after the START.
    wishes: Vec<Webhook>,
    answers: Answers,
    campaign: Option<Campaign>,
}

impl Story<'_, '_> {
    async fn play(&mut self) -> anyhow::Result<()> {
        browser::install(self.live.stage, "Connected").await?;
        self.live.look();
        self.live.say("Somebody opened /install, chose a sub-account on GHL's page and came back: connected.");
        self.campaign = Some(Campaign::begin(self.live).await?);
        self.agency().await?;
        for line in script::lines() {
            self.message(line).await;
        }
        self.repeat().await;
        self.forge().await;
        self.sms_taken().await?;
        self.reply().await?;
        self.opt_out().await?;
        self.statuses_told().await?;
        self.receipt().await
    }

    /// One install, and the bridge fetches the token of every sub-account by itself.
    async fn agency(&mut self) -> anyhow::Result<()> {
        let (company, wanted) = script::AGENCY;
        let ids = script::sub_accounts();
        let approved: Vec<&str> = ids.iter().map(String::as_str).collect();
        self.live.stage.ghl.next_install(Install::company(company, &approved));
        browser::install(self.live.stage, "Agency connected").await?;
        self.live.look();
        self.live.say(&format!("An agency installed it for its {wanted} sub-accounts at once: connected."));
        let progress =
            |stage: &Stage| format!("{} of {wanted} sub-accounts have a token.", tally::minted(&stage.ghl.calls()));
        let done = |stage: &Stage| tally::minted(&stage.ghl.calls()) >= wanted;
        self.live.wait("GHL to give a token for every sub-account", progress, done).await
    }

    async fn message(&mut self, line: Line) {
        let Stage { ghl, keys, .. } = self.live.stage;
        if line.scheme == Scheme::EcdsaP256Sha256 {
            ghl.set_status_ready_after(SLOW);
        }
        let webhook = ghl.build_webhook(&OutboundSms::new(DEFAULT_LOCATION, &line.phone, &line.text));
        self.live.watch.expect(&webhook.message_id, line.name(), &line.to, line.parts);
        let answer = ghl.deliver(&webhook, keys.of(line.scheme)).await;
        let said = self.answers.note(Due::Accepted, &answer);
        let (noun, scheme) = (line.kind.noun(), script::scheme_name(line.scheme));
        self.live.say(&format!("GHL sent a {noun}, its webhook signed with {scheme}; {said}."));
        self.sent.push(Sent { line, webhook });
        self.live.look();
    }

    /// The first message again, as after an answer that got lost.
    async fn repeat(&mut self) {
        let Some(Sent { line, webhook }) = self.sent.first() else { return };
        let Stage { ghl, keys, .. } = self.live.stage;
        let answer = ghl.redeliver(webhook, keys.of(line.scheme)).await;
        let said = self.answers.note(Due::Duplicate, &answer);
        self.live.say(&format!("GHL sent the first one again, as if the answer had been lost; {said}."));
    }

    /// A properly signed body of which one word was changed.
    async fn forge(&mut self) {
        let Stage { ghl, keys, .. } = self.live.stage;
        let phone = script::lines().remove(0).phone;
        let webhook = ghl.build_webhook(&OutboundSms::new(DEFAULT_LOCATION, &phone, script::TO_FORGE));
        let key = keys.of(Scheme::Ed25519);
        let signature = key.sign(&webhook.body);
        let (from, to) = script::FORGED;
        let forged = String::from_utf8_lossy(&webhook.body).replacen(from, to, 1).into_bytes();
        let answer = ghl.post_webhook(forged, &[(key.scheme().header(), &signature)]).await;
        let said = self.answers.note(Due::Refused, &answer);
        self.live.say(&format!("Somebody changed an amount in a signed message; {said}."));
    }

    async fn sms_taken(&mut self) -> anyhow::Result<()> {
        let wanted: usize = self.sent.iter().map(|sent| sent.line.parts).sum();
        let progress = |stage: &Stage| format!("Cast has taken {} of {wanted} SMS.", tally::taken(&stage.cast));
        self.live.wait("Cast to take every SMS", progress, |stage| tally::taken(&stage.cast) >= wanted).await
    }

    /// The first person answers; the gateway passes it on twice.
    async fn reply(&mut self) -> anyhow::Result<()> {
        let stage = self.live.stage;
        let Some(Sent { line, .. }) = self.sent.first() else { return Ok(()) };
        let reply = PersonReply {
            from: line.to.clone(),
            message: script::REPLY.to_owned(),
            to: Some(super::stage::SENDER_ID.to_owned()),
            id: Some("sim-1-000001".to_owned()),
        };
        for (said, due) in [
            ("The first person answered and Cast's gateway passed it on", Due::ReplyAccepted),
            ("The gateway passed the answer on once more", Due::ReplyRepeated),
        ] {
            let answer = stage.cast.reply(&stage.inbound_url(), &stage.inbound_key, &reply).await;
            let answered = self.answers.note(due, &answer);
            self.live.say(&format!("{said}; {answered}."));
        }
        let progress = |_: &Stage| "The reply is on its way to GHL.".to_owned();
        self.live.wait("the reply to appear in GHL", progress, |stage| !stage.ghl.inbound().is_empty()).await
    }

    /// The first person has had enough, is left alone, and comes back.
    async fn opt_out(&mut self) -> anyhow::Result<()> {
        self.wish("The first person replied STOP", script::STOP, "sim-1-000002").await;
        self.one_more("GHL sent them one more message", script::HELD, "message after the STOP", 0).await;
        let shown = |stage: &Stage| stage.ghl.inbound().len() >= 2 && tally::opt_outs_told(&stage.ghl) >= 1;
        let progress = |_: &Stage| "The STOP is on its way to GHL.".to_owned();
        self.live.wait("the STOP to be shown and mirrored in GHL", progress, shown).await?;
        self.wish("They replied START", script::START, "sim-1-000003").await;
        self.one_more("GHL sent them a message", script::WELCOME, "message after the START", 1).await;
        let wanted = self.sent.iter().map(|sent| sent.line.parts).sum::<usize>() + 1;
        let back = |stage: &Stage| tally::taken(&stage.cast) >= wanted && tally::opt_outs_told(&stage.ghl) >= 2;
        let progress = |stage: &Stage| format!("Cast has taken {} of {wanted} SMS.", tally::taken(&stage.cast));
        self.live.wait("Cast to take the message and GHL to clear the setting", progress, back).await
    }

    async fn wish(&mut self, said: &str, words: &str, id: &str) {
        let stage = self.live.stage;
        let Some(Sent { line, .. }) = self.sent.first() else { return };
        let reply = PersonReply {
            from: line.to.clone(),
            message: words.to_owned(),
            to: Some(super::stage::SENDER_ID.to_owned()),
            id: Some(id.to_owned()),
        };
        let answer = stage.cast.reply(&stage.inbound_url(), &stage.inbound_key, &reply).await;
        let answered = self.answers.note(Due::ReplyAccepted, &answer);
        self.live.say(&format!("{said}; {answered}."));
    }

    async fn one_more(&mut self, said: &str, text: &str, name: &str, parts: usize) {
        let Stage { ghl, keys, .. } = self.live.stage;
        let Some(Sent { line, .. }) = self.sent.first() else { return };
        let webhook = ghl.build_webhook(&OutboundSms::new(DEFAULT_LOCATION, &line.phone, text));
        self.live.watch.expect(&webhook.message_id, name.to_owned(), &line.to, parts);
        let answer = ghl.deliver(&webhook, keys.of(Scheme::Ed25519)).await;
        let answered = self.answers.note(Due::Accepted, &answer);
        self.live.say(&format!("{said}; {answered}."));
        self.wishes.push(webhook);
        self.live.look();
    }

    async fn statuses_told(&mut self) -> anyhow::Result<()> {
        if let Some(campaign) = &mut self.campaign {
            campaign.sent().await;
        }
        let wanted = self.sent.len() + self.wishes.len() + script::CAMPAIGN;
        self.live.say("Now the bridge tells GHL what became of each message: not before 5 s, GHL refuses it earlier.");
        let progress =
            |stage: &Stage| format!("GHL knows what became of {} of {wanted} messages.", stage.ghl.told_count());
        self.live.wait("GHL to be told of every message", progress, |stage| stage.ghl.told_count() >= wanted).await
    }

    /// A part of the first long message is lost after Cast took it, and the gateway says so.
    async fn receipt(&mut self) -> anyhow::Result<()> {
        let stage = self.live.stage;
        let Some(Sent { line, webhook }) = self.sent.iter().find(|sent| tally::is_lost(sent)) else { return Ok(()) };
        let (part, words) = script::LOST;
        let to_them = |call: &CastCall| call.to.as_deref() == Some(&line.to);
        let taken = stage.cast.taken().into_iter().filter(to_them).nth(part);
        let message_id = taken.and_then(|call| call.message_id).context("Cast took no such part")?;
        let error = Some(ReceiptError { code: "27".to_owned(), message: words.to_owned() });
        let receipt = DeliveryReceipt { message_id, status: "failed".to_owned(), error };
        let answer = stage.cast.receipt(&stage.receipts_url(), &stage.inbound_key, &receipt).await;
        let (said, noun) = (self.answers.note(Due::ReceiptAccepted, &answer), line.kind.noun());
        let id = webhook.message_id.clone();
        self.live.say(&format!("Cast's gateway reported that part {} of a {noun} was lost; {said}.", part + 1));
        let corrected = move |stage: &Stage| tally::is_corrected(&stage.ghl.statuses(&id));
        let progress = |_: &Stage| "The receipt is on its way to GHL.".to_owned();
        self.live.wait("GHL to show it as failed", progress, corrected).await
    }

    /// Shows the table once every row is right, or after `settle`; whether it is.
    async fn judge(&mut self, settle: Duration) -> bool {
        let stage = self.live.stage;
        let screen = &stage.screen;
        let began = stage.clock.mono();
        loop {
            let rows = match tally::rows(stage, &self.sent, &self.wishes, &self.answers).await {
                Ok(rows) => {
                    self.campaign.iter().flat_map(|campaign| campaign.rows(&stage.ghl)).chain(rows).collect::<Vec<_>>()
                }
                Err(e) => {
                    screen.say(&format!("WRONG: the bridge can't be asked what it saw: {e:#}."));
                    return false;
                }
            };
            let late = stage.clock.mono().since(began) >= settle;
            if table::all_right(&rows) || late {
                self.live.look();
                screen.rest();
                screen.block(&table::render(&rows));
                return table::all_right(&rows);
            }
            screen.progress("The bridge notes what it was answered.");
            stage.clock.sleep(LOOK_EVERY).await;
        }
    }
}
