//! What each rule is for: leave it out, and the promise it holds is broken, within bounds in which it held before.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

use super::election::{self, Election, NEWEST_TERM, ONE_RIGHT};
use super::promise::{
    DEAD_OF_CLAIMS, FINAL, IN_ORDER, NO_FALSE_DOUBT, NOTHING_FORGOTTEN, NOTHING_LOST, NOTHING_TWICE, TRUE_REPORT,
};
use super::protocol::{Broken, Protocol, Store};
use super::world::{Fault, Left};
use super::{calm, holds};

/// Explores until this promise is broken; the shortest way there is printed.
fn breaks<M>(model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checked = model.checker().finish_when(HasDiscoveries::AnyOf([promise].into())).spawn_bfs().join();
    let path = checked.discovery(promise).unwrap_or_else(|| panic!("without the rule, still: {promise}"));
    println!("{} states, then not: {promise}\n{:?}", checked.unique_state_count(), path.into_actions());
}

/// Every fault once.
fn once(faults: &[Fault]) -> Left {
    let each: Vec<_> = faults.iter().map(|fault| (*fault, 1)).collect();
    Left::new(u8::try_from(faults.len()).expect("a handful"), &each)
}

/// With the rule all is well; without it this promise is not kept.
fn needs(rule: Broken, promise: &'static str, protocol: impl Fn() -> Protocol) {
    holds(protocol());
    breaks(Protocol { broken: Some(rule), ..protocol() }, promise);
}

fn kept(faults: &[Fault]) -> impl Fn() -> Protocol {
    move || Protocol { faults: once(faults), ..calm() }
}

fn taken_back(faults: &[Fault]) -> impl Fn() -> Protocol {
    move || Protocol { store: Store::RollsBack, faults: once(faults), ..calm() }
}

#[test]
fn without_the_check_after_sending_a_lane_loses_its_order() {
    needs(Broken::NoCheckAfterSending, IN_ORDER, kept(&[Fault::Lapse]));
}

#[test]
fn without_stale_outcomes_what_a_process_learnt_is_forgotten() {
    needs(Broken::StaleOutcomeDropped, NOTHING_FORGOTTEN, kept(&[Fault::Lapse]));
}

#[test]
fn without_the_wait_before_judging_a_lane_loses_its_order() {
    needs(Broken::NoWaitBeforeJudging, IN_ORDER, kept(&[Fault::Lapse]));
    needs(Broken::NoWaitBeforeJudging, IN_ORDER, kept(&[Fault::Crash]));
}

#[test]
fn when_not_sent_is_written_after_the_wait_it_ends_in_doubt() {
    needs(Broken::WaitBeforeNotSent, NO_FALSE_DOUBT, kept(&[Fault::NotSent, Fault::Lapse]));
}

#[test]
fn without_withdrawal_an_attempt_that_was_never_made_ends_in_doubt() {
    needs(Broken::NoWithdrawal, NO_FALSE_DOUBT, kept(&[Fault::Lose]));
}

#[test]
fn when_sending_lands_on_any_version_a_delayed_one_undoes_a_newer() {
    needs(Broken::SendingOnAnyVersion, NO_FALSE_DOUBT, kept(&[Fault::Lose]));
    let two_parts = || Protocol { parts: [2, 1], faults: once(&[Fault::Lose]), ..calm() };
    needs(Broken::SendingOnAnyVersion, FINAL, two_parts);
}

#[test]
fn when_a_stopping_process_does_not_wait_for_its_calls_a_lane_loses_its_order() {
    needs(Broken::StopWithoutDrain, IN_ORDER, kept(&[Fault::Stop]));
}

#[test]
fn when_a_claim_unseen_counts_as_a_crash_a_message_dies_of_it() {
    let worn = || Protocol { worn: true, faults: once(&[Fault::Lose]), ..calm() };
    needs(Broken::LostClaimCounts, DEAD_OF_CLAIMS, worn);
}

#[test]
fn when_a_job_of_an_earlier_term_frees_the_lane_a_message_dies_of_its_own_claims() {
    let faults = || Left::new(3, &[(Fault::Lapse, 2), (Fault::Lose, 1)]);
    needs(Broken::OldJobFreesTheLane, DEAD_OF_CLAIMS, || Protocol { faults: faults(), ..calm() });
}

#[test]
fn when_a_late_report_is_noted_only_once_ghl_keeps_the_older_one() {
    let faults = &[Fault::Freeze, Fault::Lapse, Fault::Lose];
    needs(Broken::ReportNotedOnce, TRUE_REPORT, || Protocol { reports: true, faults: once(faults), ..calm() });
}

#[test]
fn when_a_lagging_read_is_believed_an_outcome_is_forgotten_and_a_withdrawn_attempt_ends_in_doubt() {
    needs(Broken::LagBelieved, NOTHING_FORGOTTEN, taken_back(&[Fault::Lag]));
    needs(Broken::LagBelieved, NO_FALSE_DOUBT, taken_back(&[Fault::Lose, Fault::Lag]));
}

#[test]
fn when_one_member_is_enough_for_the_insert_an_answered_message_is_lost() {
    needs(Broken::InsertByOne, NOTHING_LOST, taken_back(&[Fault::Failover]));
}

#[test]
fn when_one_member_is_enough_for_sending_a_part_is_taken_twice() {
    needs(Broken::SendingByOne, NOTHING_TWICE, taken_back(&[Fault::Failover]));
}

#[test]
fn when_one_member_is_enough_for_the_outcome_an_accepted_message_goes_back() {
    needs(Broken::OutcomeByOne, FINAL, taken_back(&[Fault::Failover]));
}

#[test]
fn when_the_leader_reads_what_no_majority_holds_a_lane_loses_its_order() {
    needs(Broken::LocalReads, IN_ORDER, taken_back(&[Fault::Unsendable, Fault::Lapse, Fault::Failover]));
}

#[test]
fn when_the_right_runs_from_the_answer_of_a_beat_two_hold_at_once() {
    breaks(broken_election(election::Broken::RightFromAnswer), ONE_RIGHT);
}

#[test]
fn when_a_take_over_does_not_mind_the_beat_it_ends_a_living_term() {
    breaks(broken_election(election::Broken::AnyBeat), NEWEST_TERM);
}

#[test]
fn when_a_clock_stands_still_in_sleep_two_rights_hold_at_once() {
    breaks(broken_election(election::Broken::SleepingClock), ONE_RIGHT);
}

fn broken_election(rule: election::Broken) -> Election {
    Election { broken: Some(rule), ..super::election() }
}
