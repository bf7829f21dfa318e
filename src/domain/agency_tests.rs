use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::installation::Sealed;

const T0: UnixMillis = UnixMillis(1_700_000_000_000);

fn company() -> CompanyId {
    CompanyId::parse("C1").unwrap()
}

fn location() -> LocationId {
    LocationId::parse("L1").unwrap()
}

fn later(seconds: u64) -> UnixMillis {
    T0.after(Duration::from_secs(seconds))
}

fn grant(name: &str, refresh: bool) -> Grant {
    Grant {
        access: Sealed::Plain { plain: name.into() },
        refresh: refresh.then(|| Sealed::Plain { plain: name.into() }),
        refresh_hash: refresh.then(|| name.into()),
        expires_at: later(86_400),
        scope: None,
    }
}

fn pending() -> Installation {
    Installation::awaiting_token(location(), Some(company()), T0)
}

fn connected() -> Installation {
    Installation::new(GrantKind::Location, Some(location()), Some(company()), grant("own", true), T0)
}

fn agency() -> Installation {
    Installation::new(GrantKind::Company, None, Some(company()), grant("agency", true), T0)
}

fn mint(i: &Installation, seen: &Installation) -> Option<Installation> {
    i.minted(seen, grant("minted", true), Some(later(70_000)), None, later(5))
}

#[test]
fn a_minted_token_is_stored_once_over_what_the_mint_began_with() {
    let seen = pending();
    let minted = mint(&seen, &seen).expect("stored");
    assert!(minted.installed());
    assert_eq!((minted.installed_at, minted.mint.clone(), minted.work_at()), (later(5), None, None));
    assert_eq!(mint(&minted, &seen), None, "the same mint again changes nothing");
}

#[test]
fn a_minted_token_never_replaces_a_newer_grant_and_never_undoes_an_uninstall() {
    let seen = pending();
    assert_eq!(mint(&connected(), &seen), None, "an install of its own came meanwhile");
    assert_eq!(mint(&seen.uninstalled(Some(later(3)), later(3)), &seen), None);
    let again = Installation { mint: Some(Mint::due(later(4))), ..seen.uninstalled(Some(later(3)), later(3)) };
    assert_eq!(mint(&again, &seen), None, "removed and installed again: GHL ended what was minted before");
    let renewed = Installation { grant: Some(grant("renewed", true)), ..connected() };
    assert_eq!(mint(&renewed, &connected()), None, "refreshed meanwhile");
}

#[test]
fn a_minted_token_answers_the_doubt_the_mint_began_with_and_none_that_came_during_the_call() {
    let doubt = Doubt { due_at: later(900), tries: 2, sent_at: None };
    let doubted = Installation { doubt: Some(doubt.clone()), ..pending() };
    assert_eq!(mint(&doubted, &doubted).expect("stored").doubt, None);
    let during = mint(&doubted, &pending()).expect("stored");
    assert_eq!(during.doubt, Some(Doubt { due_at: later(5).on_any_clock(), ..doubt }));
}

#[test]
fn a_location_removed_before_and_listed_now_stays_removed_until_its_token_is_there() {
    let gone = connected().uninstalled(Some(later(1)), later(1));
    let listed = gone.listed(&company(), later(2)).expect("to be minted");
    assert_eq!((listed.uninstalled_at, listed.work_at()), (Some(later(1)), Some(later(2).on_any_clock())));
    let minted = mint(&listed, &listed).expect("stored");
    assert_eq!((minted.installed(), minted.uninstalled_at), (true, None));
}

#[test]
fn a_list_gives_work_only_to_locations_without_a_usable_token() {
    assert_eq!(connected().listed(&company(), later(9)), None);
    assert_eq!(pending().listed(&company(), later(9)), None, "already under way");
    let dead = Installation { health: Health::Reauthorize, ..connected() };
    assert_eq!(dead.listed(&company(), later(9)).and_then(|i| i.work_at()), Some(later(9).on_any_clock()));
    let suspended = Installation { health: Health::Suspended, ..connected() };
    assert_eq!(suspended.listed(&company(), later(9)), None, "a paused location has a good token");
    let unknown = Installation::awaiting_token(location(), None, T0);
    assert_eq!((unknown.work_at(), unknown.waits_for()), (None, None), "nobody to mint from");
    let adopted = unknown.listed(&company(), later(9)).expect("adopted");
    assert_eq!((adopted.company.clone(), adopted.work_at()), (Some(company()), Some(later(9).on_any_clock())));
}

#[test]
fn a_location_waits_for_its_company_and_is_due_when_the_company_connects() {
    let seen = pending();
    let waits = seen.not_minted(&seen, MintFailure::NoCompanyToken, later(1), 0.0).expect("waits");
    assert_eq!((waits.waits_for(), waits.work_at()), (Some(&company()), None));
    let woken = waits.woken(later(60)).expect("due");
    assert_eq!((woken.waits_for(), woken.work_at()), (None, Some(later(60).on_any_clock())));
    assert_eq!(woken.woken(later(61)), None);
}

#[test]
fn a_refusal_is_asked_again_for_some_minutes_and_then_believed() {
    let refused = |from: &Installation| {
        let (mut i, mut now, mut asked) = (from.clone(), T0, 1);
        while let Some(next) = i.not_minted(&i, MintFailure::Refused, now, 0.0) {
            i = next;
            let Some(due) = i.work_at() else { break };
            (now, asked) = (due, asked + 1);
        }
        (i, asked, now.since(T0))
    };
    let (unconnected, asked, took) = refused(&pending());
    assert_eq!(asked, MINT_TRIES);
    assert!((60..600).contains(&took.as_secs()), "{took:?}");
    assert_eq!((unconnected.installed(), unconnected.uninstalled_at, unconnected.mint), (false, None, None));
    let minted = Installation { mint: Some(Mint::due(T0)), grant: Some(grant("minted", false)), ..connected() };
    assert_eq!(refused(&minted).0.health, Health::Reauthorize, "only minting could renew it");
    let own = Installation { mint: Some(Mint::due(T0)), ..connected() };
    assert_eq!(refused(&own).0, connected(), "a grant of its own stands");
    let doubted = Installation { doubt: Some(Doubt { due_at: T0, tries: 0, sent_at: Some(later(1)) }), ..pending() };
    assert!(refused(&doubted).0.uninstalled_at.is_some(), "the uninstall is true");
}

#[test]
fn a_paused_location_is_asked_slowly_and_for_ever() {
    let mut i = pending();
    for _ in 0..50 {
        let now = i.work_at().expect("still due");
        i = i.not_minted(&i, MintFailure::Inactive, now, 0.0).expect("kept");
        assert_eq!(i.work_at(), Some(now.after(retry::token_suspended())));
    }
}

#[test]
fn a_pass_goes_on_until_a_short_or_empty_page_and_begins_again_six_hours_later() {
    let page = usize::try_from(PAGE).unwrap();
    let first = Listing::begin(T0);
    let second = first.after_page(page, later(1), 0.0);
    assert_eq!((second.skip, second.due_at, second.completed_at), (PAGE, later(1).on_any_clock(), None));
    for last in [0, 1, page - 1] {
        let done = second.after_page(last, later(2), 0.0);
        assert_eq!((done.skip, done.completed_at), (0, Some(later(2))));
        assert_eq!(done.due_at, later(2).after(Duration::from_secs(6 * 3600)));
    }
}

#[test]
fn an_agency_that_goes_takes_its_locations_along_and_has_nothing_else_to_do() {
    assert_eq!(agency().work_at(), Some(T0.on_any_clock()), "its list is read at once");
    let gone = agency().uninstalled(Some(later(7)), later(9));
    assert!(!gone.installed() && gone.listing.is_none());
    assert_eq!(gone.cascade, Some(Cascade { due_at: later(9).on_any_clock(), after: None, sent_at: Some(later(7)) }));
    assert_eq!(connected().uninstalled(None, later(9)).work_at(), None);
}

proptest! {
    /// Whatever happens in whatever order: a grant is replaced only by a mint that began with it, and nothing but a mint or an
    /// install brings an uninstalled location back.
    #[test]
    fn no_order_of_events_stores_a_token_minted_for_another_time(steps in proptest::collection::vec(0u8..8, 1..24)) {
        let mut i = pending();
        let mut begun: Option<Installation> = None;
        let mut uninstalled_since_begun = false;
        for (n, step) in steps.into_iter().enumerate() {
            let now = later(10 + n as u64);
            match step {
                0 => (begun, uninstalled_since_begun) = (Some(i.clone()), false),
                1 => if let Some(seen) = &begun
                    && let Some(next) = i.minted(seen, grant("minted", n % 2 == 0), None, None, now)
                {
                    prop_assert!(!uninstalled_since_begun);
                    prop_assert_eq!(&seen.grant, &i.grant);
                    i = next;
                },
                2 => (i, uninstalled_since_begun) = (i.uninstalled(Some(now), now), true),
                3 => i = i.listed(&company(), now).unwrap_or(i),
                4 => i = i.woken(now).unwrap_or(i),
                5 => if let Some(seen) = &begun {
                    i = i.not_minted(seen, MintFailure::Refused, now, 0.5).unwrap_or(i);
                },
                6 => i = Installation { grant: Some(grant(&format!("renewed {n}"), true)), ..i },
                _ => i = Installation::new(GrantKind::Location, Some(location()), Some(company()), grant(&format!("own {n}"), true), now),
            }
        }
    }
}
