//! The protocol, model-checked: every interleaving of two replicas, two messages of one lane and a number of faults, over the
//! production rules themselves (`domain::transition`, `report`, `leadership`), not a copy of them.
//!
//! Each promise is a property of every state; that something happens in the end is a property of the states in which nothing
//! happens by itself any more. `broken` leaves out one rule at a time and must find a promise broken. A debug build checks
//! what it can in a minute; a release build takes the larger bounds (`cargo test --release --test model -- --nocapture`).

mod book;
mod broken;
mod election;
mod promise;
mod protocol;
mod step;
mod world;

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::domain::transition::UnknownSend;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use book::Book;
use election::Election;
use protocol::{Protocol, Store};
use world::{Fault, Left};

/// A release build looks further.
const FAR: bool = !cfg!(debug_assertions);

/// Whatever may go wrong with processes, their writes and Cast.
const FAULTS: [(Fault, u8); 11] = [
    (Fault::Crash, 2),
    (Fault::Lapse, 2),
    (Fault::Freeze, 1),
    (Fault::Stop, 1),
    (Fault::Lose, 2),
    (Fault::Silence, 2),
    (Fault::NotSent, 2),
    (Fault::Refusal, 1),
    (Fault::Hold, 1),
    (Fault::Unsendable, 1),
    (Fault::TooOld, 1),
];

fn faults_and(more: (Fault, u8)) -> Vec<(Fault, u8)> {
    FAULTS.into_iter().chain([more]).collect()
}

/// At most so many faults: in a release build, and in a debug build.
fn at_most(far: u8, near: u8, each: &[(Fault, u8)]) -> Left {
    Left::new(if FAR { far } else { near }, each)
}

/// Single messages, parked when in doubt, on a store that keeps what it took; nothing goes wrong yet.
fn calm() -> Protocol {
    Protocol {
        store: Store::Linearisable,
        broken: None,
        parts: [1, 1],
        worn: false,
        reports: false,
        faults: Left::new(0, &[]),
        reaches: &[],
        late_call: false,
        book: Book::new(Protocol::rules(UnknownSend::Park)),
    }
}

/// The same, told to GHL, and sent again when in doubt.
fn resending() -> Protocol {
    Protocol { reports: true, book: Book::new(Protocol::rules(UnknownSend::Resend)), ..calm() }
}

/// Long enough for a take-over of fifteen seconds, and in a release build for what may follow.
fn election() -> Election {
    Election { tick: Duration::from_secs(5), ticks: if FAR { 6 } else { 4 }, faults: 1, broken: None }
}

/// Explores everything: every promise must hold, everything hoped for must turn up.
fn holds<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checked = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    println!("{} states, at most {} steps", checked.unique_state_count(), checked.max_depth());
    let mut found = checked.discoveries();
    for property in checked.model().properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Sometimes, None) => panic!("never: {}", property.name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => panic!("not so: {}\n{}", property.name, lines(path.into_vec())),
        }
    }
}

/// A path, a state and a step a line.
fn lines<S: Debug, A: Debug>(path: Vec<(S, Option<A>)>) -> String {
    path.iter().map(|(state, action)| format!("{state:?}\n  {action:?}\n")).collect()
}

#[test]
fn every_promise_holds_whatever_goes_wrong() {
    use State::{Accepted, Expired, Held, InDoubt, Parked, Queued, Rejected, Sending};
    let reaches = &[Queued, Held, Sending, InDoubt, Accepted, Rejected, Parked, Expired];
    holds(Protocol { faults: at_most(5, 3, &FAULTS), reaches, late_call: true, ..calm() });
}

#[test]
fn every_promise_holds_for_a_message_of_two_parts() {
    let reaches = &[State::Accepted, State::Rejected, State::Parked];
    holds(Protocol { parts: [2, 1], faults: at_most(4, 3, &FAULTS), reaches, ..calm() });
}

#[test]
fn the_last_report_agrees_with_what_is_known() {
    let faults = at_most(3, 2, &faults_and((Fault::Trouble, 1)));
    holds(Protocol { reports: true, faults, reaches: &[State::Accepted, State::Parked], ..calm() });
}

#[test]
fn under_resend_every_promise_but_sending_once_holds() {
    let faults = at_most(3, 2, &faults_and((Fault::Trouble, 1)));
    holds(Protocol { faults, reaches: &[State::Accepted, State::Rejected], ..resending() });
}

#[test]
fn every_promise_holds_on_a_store_that_takes_back_what_no_majority_held() {
    let faults = at_most(4, 2, &faults_and((Fault::Failover, 2)));
    let reaches = &[State::Accepted, State::Parked];
    holds(Protocol { store: Store::RollsBack, faults, reaches, ..calm() });
}

#[test]
fn a_message_dies_of_claims_in_vain_alone() {
    let reaches = &[State::Dead, State::Accepted];
    holds(Protocol { worn: true, faults: at_most(4, 3, &FAULTS), reaches, ..calm() });
}

#[test]
fn no_two_rights_to_act_hold_at_once() {
    holds(election());
}

/// A path without end would never come to where promises of an end are looked at.
#[test]
fn every_path_ends() {
    let trouble = faults_and((Fault::Trouble, 1));
    let failover = faults_and((Fault::Failover, 1));
    ends(&Protocol { reports: true, faults: Left::new(1, &trouble), ..calm() });
    ends(&Protocol { faults: Left::new(1, &trouble), ..resending() });
    ends(&Protocol { parts: [2, 1], faults: Left::new(2, &FAULTS), ..calm() });
    ends(&Protocol { store: Store::RollsBack, faults: Left::new(1, &failover), ..calm() });
}

fn ends(protocol: &Protocol) {
    let (hasher, mut done, mut path) = (RandomState::new(), HashSet::new(), HashSet::new());
    // Each state twice: to go down from it, and to leave it.
    let mut todo: Vec<_> = protocol.init_states().into_iter().map(|world| (world, false)).collect();
    while let Some((world, left)) = todo.pop() {
        let mark = hasher.hash_one(&world);
        if left {
            path.remove(&mark);
            done.insert(mark);
        } else if !done.contains(&mark) {
            assert!(path.insert(mark), "a state follows itself: {world:?}");
            let next = protocol.next_states(&world);
            todo.push((world, true));
            for world in next {
                let mark = hasher.hash_one(&world);
                assert!(!path.contains(&mark), "a state follows itself: {world:?}");
                todo.push((world, false));
            }
        }
    }
}
