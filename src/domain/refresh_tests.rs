use proptest::prelude::*;

use super::*;
use crate::domain::id::LocationId;
use crate::domain::installation::{GrantKind, Sealed};

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: f64) -> Mono {
    Mono(Duration::from_secs_f64(s))
}

/// When a leader that looks all the time sends, if every sending ends unanswered after `took`.
fn sendings(took: Duration, until: Mono) -> Vec<u64> {
    let (mut stage, mut now, mut sent) = (Stage::UNSENT, at(0.0), Vec::new());
    while now < until {
        match stage.look(now) {
            Look::Wait(from) => now = from,
            Look::Send(weight) => {
                sent.push(now.0.as_secs());
                let ended = now.after(took);
                let Next::Keep(next) = stage.answered(weight, now, RefreshAnswer::None, ended) else { panic!("kept") };
                (stage, now) = (next, ended);
            }
        }
    }
    sent
}

#[test]
fn the_same_token_is_sent_in_slots_1_7_14_and_21_s_after_the_first_and_once_more_a_minute_later() {
    assert_eq!(sendings(secs(0), at(90.0)), [0, 1, 7, 14, 21, 81, 82, 88]);
    assert_eq!(sendings(SENDING, at(90.0)), [0, 7, 14, 21, 87], "a slot that passed while a call was out is skipped");
    assert!(SLOTS[3] + SENDING == secs(27) && SLOTS.iter().all(|slot| *slot <= LATEST));
}

#[test]
fn a_slot_met_late_is_used_only_while_its_call_still_ends_within_the_window() {
    let stage = Stage::Unanswered { first: at(0.0), idle: at(16.0) };
    assert_eq!(stage.look(at(20.9)), Look::Wait(at(21.0)));
    assert_eq!(stage.look(at(24.0)), Look::Send(Weight::Doubtful));
    assert_eq!(stage.look(at(24.1)), Look::Wait(at(76.0)));
    assert_eq!(stage.look(at(76.0)), Look::Send(Weight::Decisive));
}

#[test]
fn a_refusal_of_a_token_nobody_sent_before_is_the_end_of_it() {
    let next = Stage::UNSENT.answered(Weight::Decisive, at(5.0), RefreshAnswer::InvalidGrant, at(5.1));
    assert_eq!(next, Next::Dead);
}

#[test]
fn a_successor_sends_at_once_and_takes_a_refusal_for_the_end_only_a_minute_later() {
    assert_eq!(Stage::Inherited.look(at(0.0)), Look::Send(Weight::Doubtful));
    let next = Stage::Inherited.answered(Weight::Doubtful, at(5.0), RefreshAnswer::InvalidGrant, at(6.0));
    let Next::Keep(last) = next else { panic!("{next:?}") };
    assert_eq!((last.look(at(65.9)), last.look(at(66.0))), (Look::Wait(at(66.0)), Look::Send(Weight::Decisive)));
    assert_eq!(last.answered(Weight::Decisive, at(66.0), RefreshAnswer::InvalidGrant, at(66.1)), Next::Dead);
    // Unheard again, it may have been the one that spent the token: a new window.
    let next = last.answered(Weight::Decisive, at(66.0), RefreshAnswer::None, at(66.5));
    assert_eq!(next, Next::Keep(Stage::Unanswered { first: at(66.0), idle: at(66.5) }));
}

#[test]
fn a_paused_sub_account_and_a_busy_crm_put_it_off_and_leave_no_doubt_that_was_not_there() {
    let wait = secs(900);
    let next = Stage::UNSENT.answered(Weight::Decisive, at(0.0), RefreshAnswer::Inactive(wait), at(1.0));
    assert_eq!(next, Next::Suspend(Stage::Fresh { from: at(901.0) }));
    let next = Stage::UNSENT.answered(Weight::Decisive, at(0.0), RefreshAnswer::NotNow(wait), at(1.0));
    assert!(matches!(next, Next::Keep(stage) if !stage.in_doubt()));
    let next = Stage::Inherited.answered(Weight::Doubtful, at(0.0), RefreshAnswer::Inactive(wait), at(1.0));
    assert!(
        matches!(next, Next::Suspend(stage) if stage.in_doubt() && stage.look(at(900.0)) != Look::Send(Weight::Decisive))
    );
}

/// What happens to a leader that holds one refresh token.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes before the next look.
    Wait(Duration),
    /// If it may send, it does, and hears this after so long.
    Send(RefreshAnswer, Duration),
    /// It dies; its successor finds the mark.
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let answer = prop_oneof![
        3 => Just(RefreshAnswer::None),
        2 => Just(RefreshAnswer::InvalidGrant),
        1 => (1u64..1000).prop_map(|s| RefreshAnswer::Inactive(secs(s))),
        1 => (1u64..600).prop_map(|s| RefreshAnswer::NotNow(secs(s))),
    ];
    let event = prop_oneof![
        (0u64..9_000).prop_map(|ms| Event::Wait(Duration::from_millis(ms))),
        (60u64..120).prop_map(|s| Event::Wait(secs(s))),
        (answer, 0u64..6_000).prop_map(|(answer, ms)| Event::Send(answer, Duration::from_millis(ms))),
        Just(Event::Crash),
    ];
    proptest::collection::vec(event, 0..60)
}

proptest! {
    #[test]
    fn a_token_is_given_up_only_when_no_lost_answer_can_explain_the_refusal(events in events()) {
        let (mut stage, mut now) = (Stage::UNSENT, at(1000.0));
        // The newest sending nobody heard a deciding answer of, by anybody; and the first of this leader's window.
        let (mut unheard, mut window, mut in_window): (Option<Mono>, Option<Mono>, usize) = (None, None, 0);
        for event in events {
            match event {
                Event::Wait(by) => now = now.after(by),
                Event::Crash => {
                    // The mark is cleared exactly where there is no doubt.
                    stage = if stage.in_doubt() { Stage::Inherited } else { Stage::UNSENT };
                    window = None;
                }
                Event::Send(answer, took) => {
                    let Look::Send(weight) = stage.look(now) else { continue };
                    match window {
                        Some(first) if now.since(first) <= SAME_PAIR => {
                            in_window += 1;
                            prop_assert!(now.since(first) >= SLOTS[0] && now.since(first) <= LATEST);
                            prop_assert!(in_window <= 1 + SLOTS.len());
                        }
                        _ => (window, in_window) = (Some(now), 1),
                    }
                    let began = now;
                    now = now.after(took);
                    match stage.answered(weight, began, answer, now) {
                        Next::Dead => {
                            prop_assert_eq!(answer, RefreshAnswer::InvalidGrant);
                            prop_assert!(unheard.is_none_or(|sent| began.since(sent) >= LAST_TRY_AFTER));
                            break;
                        }
                        Next::Keep(next) | Next::Suspend(next) => stage = next,
                    }
                    if answer == RefreshAnswer::None {
                        unheard = Some(began);
                    }
                    // An answer that decides leaves this leader no window to keep to.
                    if !matches!(stage, Stage::Unanswered { .. }) {
                        window = None;
                    }
                }
            }
        }
    }
}

fn grant(n: u32) -> Grant {
    let plain = |kind: &str| Sealed::Plain { plain: format!("{kind}{n}") };
    Grant {
        access: plain("a"),
        refresh: Some(plain("r")),
        refresh_hash: Some(format!("h{n}")),
        expires_at: UnixMillis(i64::from(n)),
        scope: None,
    }
}

fn installed(n: u32) -> Installation {
    Installation::new(GrantKind::Location, LocationId::parse("L1").ok(), None, grant(n), UnixMillis(0))
}

/// What several processes, some of them late, do to one installation.
#[derive(Debug, Clone)]
enum Write {
    Install,
    Spend(u32),
    Renew(u32),
    Mark(u32, Health, bool),
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let health = prop_oneof![Just(Health::Active), Just(Health::Suspended), Just(Health::Reauthorize)];
    let write = prop_oneof![
        Just(Write::Install),
        (0u32..8).prop_map(Write::Spend),
        (0u32..8).prop_map(Write::Renew),
        (0u32..8, health, any::<bool>()).prop_map(|(n, health, doubt)| Write::Mark(n, health, doubt)),
    ];
    proptest::collection::vec(write, 0..40)
}

proptest! {
    #[test]
    fn a_fresh_pair_beats_every_mark_a_new_install_every_old_refresh_and_a_mark_changes_no_hash(writes in writes()) {
        let (mut i, mut newest) = (installed(0), 0);
        for write in writes {
            let before = i.clone();
            match write {
                Write::Install => {
                    newest += 1;
                    i = installed(newest);
                }
                Write::Spend(n) => {
                    let next = before.spending(&format!("h{n}"), UnixMillis(9));
                    prop_assert_eq!(next.is_some(), n == newest);
                    i = next.unwrap_or(before.clone());
                    prop_assert_eq!(&i.grant, &before.grant);
                    prop_assert!(n != newest || i.refresh_begun());
                }
                Write::Renew(n) => {
                    let next = before.renewed(&format!("h{n}"), &grant(newest + 1), None);
                    prop_assert_eq!(next.is_some(), n == newest, "only the newest pair is renewed");
                    if let Some(next) = next {
                        newest += 1;
                        prop_assert!(next.health == Health::Active && !next.refresh_begun());
                        i = next;
                    }
                }
                Write::Mark(n, health, doubt) => {
                    let hash = format!("h{n}");
                    let next = before.marked(Some(&hash), health, None, doubt);
                    prop_assert_eq!(next.is_some(), n == newest, "a late mark of an older pair changes nothing");
                    i = next.unwrap_or(before.clone());
                    prop_assert_eq!(&i.grant, &before.grant);
                }
            }
            let hash = format!("h{newest}");
            prop_assert_eq!(i.refresh_hash(), Some(hash.as_str()));
        }
    }
}

#[test]
fn a_removed_installation_takes_neither_pair_nor_mark() {
    let gone = Installation { grant: None, uninstalled_at: Some(UnixMillis(1)), ..installed(0) };
    assert_eq!(gone.renewed("h0", &grant(1), None), None);
    assert_eq!(gone.marked(None, Health::Reauthorize, None, false), None);
    assert_eq!(gone.spending("h0", UnixMillis(1)), None);
}
