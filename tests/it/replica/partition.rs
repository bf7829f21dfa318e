//! A partition between the leader and MongoDB, while its standby reaches it: wherever the leader's work is cut, nothing is lost
//! and nothing is sent twice, and what the leader alone knows lands when the partition heals.

use std::time::Duration;

use cast_ghl_provider::app::App;
use cast_ghl_provider::domain::leadership::JUDGE_AFTER;
use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::OutboundSms;
use cast_ghl_provider::queue::Step;

use crate::support::proxy::{End, Proxy, Toward, Way, before_mongo};
use crate::support::step::{Running, begin_step, drain, lead, pass, report, silence};
use crate::support::world::{Door, LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

/// The cut-off leader gives an operation up after a part of this, on the machine's clock.
const SHORT: (&str, &str) = ("ACCEPT_TIMEOUT", "2s");

pub fn cases() -> Cases<Place> {
    cases![
        a_leader_cut_off_before_it_claims_sends_nothing_and_its_standby_sends_once,
        a_leader_cut_off_during_the_call_settles_the_message_when_the_partition_heals,
        a_refusal_that_a_cut_off_leader_learns_of_late_settles_the_message_too,
        wherever_the_leader_is_cut_off_from_what_it_writes_nothing_is_lost_or_doubled,
        wherever_the_leader_is_cut_off_from_its_acknowledgements_nothing_is_lost_or_doubled,
    ]
}

/// The world's process reaches MongoDB through a proxy and leads; a standby reaches it directly.
struct Split {
    w: World,
    proxy: Proxy,
    standby: App,
    door: Door,
}

impl Split {
    async fn begin(place: Place) -> Self {
        let Place::Mongo { uri } = &place else { panic!("a place in MongoDB") };
        let direct = uri.clone();
        let (proxy, through) = before_mongo(&place).await;
        let w = World::start(through, &[SHORT]).await;
        w.install(LOCATION).await;
        let standby = w.replica_on(&w.clock, &[("MONGO_URI", &direct), ("ACCEPT_TIMEOUT", "10s")]).await;
        let door = w.open(&standby).await;
        Self { w, proxy, standby, door }
    }

    /// A message through the standby's port: the leader's own may be cut off.
    async fn sms(&self, text: &str) -> WebhookAnswer {
        let answer = self.w.sms_at(&self.door.base, &OutboundSms::new(LOCATION, PHONE, text)).await;
        assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "accepted"));
        answer
    }

    /// Where a message stands, as the standby reads it.
    async fn state(&self, answer: &WebhookAnswer) -> (State, Option<FailureCode>) {
        let progress = self.w.message_at(&self.standby, answer).await.progress;
        (progress.state, progress.code)
    }

    /// The standby takes over, sends, and judges what nobody answers for.
    async fn take_over(&self) {
        silence(&self.w, &self.standby).await;
        drain(&self.w, &self.standby).await;
        pass(&self.w, &self.standby, JUDGE_AFTER).await;
        drain(&self.w, &self.standby).await;
    }

    /// The partition heals, and the step under way comes to its end, however often it has to try.
    async fn heal(&self, mut step: Running) {
        self.proxy.set(Way::Pass).await;
        loop {
            // Its pauses run on the world's clock, its driver's on the machine's.
            self.w.clock.advance(Duration::from_secs(1));
            tokio::select! {
                ended = &mut step => {
                    drop(ended.expect("no panic"));
                    return;
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            self.standby.leadership().step().await.expect("the store answers");
        }
    }

    /// The old leader looks again, and hears that its term is over.
    async fn old_leader_steps_down(&self) {
        while self.w.app.leadership().step().await.is_err() {}
        assert!(self.w.app.leadership().right().is_none());
        assert_eq!(self.w.app.worker().step().await.expect("nothing is read"), Step::NotLeader);
    }
}

async fn a_leader_cut_off_before_it_claims_sends_nothing_and_its_standby_sends_once(place: Place) {
    let s = Split::begin(place).await;
    s.proxy.set(Way::Refuse).await;
    let answer = s.sms("who sends this").await;
    assert!(s.w.app.worker().step().await.is_err());
    // Its own port answers what GHL sends again later.
    let refused = s.w.sms("kept by the CRM").await;
    assert_eq!(refused.status, Some(429));
    s.take_over().await;
    assert!(s.w.app.leadership().step().await.is_err());
    assert!(s.w.app.leadership().right().is_none(), "its right runs out without MongoDB's help");
    s.proxy.set(Way::Pass).await;
    s.old_leader_steps_down().await;
    assert_eq!(s.state(&answer).await, (State::Accepted, None));
    assert_eq!(s.w.cast.taken_count(), 1);
    s.w.end();
}

async fn a_leader_cut_off_during_the_call_settles_the_message_when_the_partition_heals(place: Place) {
    let s = Split::begin(place).await;
    let answer = s.sms("in the air").await;
    s.w.cast.fault_next(CastFault::Hang { after_taking: true });
    let step = begin_step(&s.w, s.w.app.worker()).await;
    s.proxy.set(Way::Refuse).await;
    s.take_over().await;
    assert_eq!(s.state(&answer).await, (State::Parked, Some(FailureCode::UnknownOutcome)));
    report(&s.w, &s.standby).await;
    assert_eq!(s.w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    // Cast's answer reaches the old leader, which nobody hears for now.
    s.w.cast.release();
    s.heal(step).await;
    assert_eq!(s.state(&answer).await, (State::Accepted, None));
    report(&s.w, &s.standby).await;
    assert_eq!(s.w.told(&answer), Some(("delivered".into(), None)));
    s.old_leader_steps_down().await;
    assert_eq!(s.w.cast.calls().len(), 1);
    s.w.end();
}

async fn a_refusal_that_a_cut_off_leader_learns_of_late_settles_the_message_too(place: Place) {
    let s = Split::begin(place).await;
    let answer = s.sms("limited").await;
    let next = s.sms("behind it").await;
    s.w.cast.fault_next(CastFault::Hang { after_taking: false });
    let step = begin_step(&s.w, s.w.app.worker()).await;
    s.proxy.set(Way::Refuse).await;
    s.take_over().await;
    // Parked does not block its lane.
    assert_eq!(s.state(&answer).await, (State::Parked, Some(FailureCode::UnknownOutcome)));
    assert_eq!(s.state(&next).await, (State::Accepted, None));
    // The call is reset: that says nothing, and the message stays as it was judged.
    s.w.cast.release();
    s.heal(step).await;
    assert_eq!(s.state(&answer).await, (State::Parked, Some(FailureCode::UnknownOutcome)));
    assert_eq!(s.w.cast.taken_count(), 1);
    s.w.end();
}

async fn wherever_the_leader_is_cut_off_from_what_it_writes_nothing_is_lost_or_doubled(place: Place) {
    cut_everywhere(place, Toward::Server).await;
}

async fn wherever_the_leader_is_cut_off_from_its_acknowledgements_nothing_is_lost_or_doubled(place: Place) {
    cut_everywhere(place, Toward::Client).await;
}

/// Cuts each connection of the leader after some bytes of its work on one message, from the poll to the outcome.
async fn cut_everywhere(place: Place, toward: Toward) {
    let s = Split::begin(place).await;
    let mut ends = vec![];
    for after in [300, 900, 1_500, 2_100, 2_700, 3_600, 5_000] {
        let taken = s.w.cast.taken_count();
        // A token is there, so that the step goes as far as it can.
        pass(&s.w, &s.w.app, Duration::from_secs(3)).await;
        let answer = s.sms(&format!("cut after {after}")).await;
        s.proxy.set(Way::Cut { toward, after, end: End::Reset }).await;
        let worker = s.w.app.worker().clone();
        let step = tokio::spawn(async move { worker.step().await });
        s.take_over().await;
        s.heal(step).await;
        drain(&s.w, &s.standby).await;
        // Whatever was parked meanwhile is known now: the old leader lives, and it made the call or did not.
        let (state, code) = s.state(&answer).await;
        let sent = s.w.cast.taken_count() - taken;
        match state {
            State::Accepted => assert_eq!(sent, 1, "cut after {after}"),
            State::Rejected => assert_eq!((sent, code), (0, Some(FailureCode::NotSent)), "cut after {after}"),
            state => panic!("cut after {after}: {state:?} {code:?}, sent {sent}"),
        }
        ends.push((after, state));
        s.old_leader_steps_down().await;
        s.standby.leadership().release().await;
        lead(&s.w, &s.w.app).await;
    }
    assert!(s.w.cast.taken_count() > 0, "{ends:?}");
    s.w.end();
}
