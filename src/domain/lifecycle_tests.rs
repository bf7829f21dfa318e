use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::installation::{Grant, Sealed};
use crate::domain::recheck::Recheck;

const T0: UnixMillis = UnixMillis(1_700_000_000_000);

fn after(seconds: u64) -> UnixMillis {
    T0.after(Duration::from_secs(seconds))
}

fn grant() -> Grant {
    let sealed = Sealed::Plain { plain: "x".into() };
    Grant { access: sealed.clone(), refresh: Some(sealed), refresh_hash: None, expires_at: after(86_400), scope: None }
}

fn location() -> Option<LocationId> {
    LocationId::parse("L1").ok()
}

fn company() -> Option<CompanyId> {
    CompanyId::parse("C1").ok()
}

fn connected(at: UnixMillis) -> Installation {
    Installation::new(GrantKind::Location, location(), company(), grant(), at)
}

fn event(change: Change, sent_at: Option<UnixMillis>) -> AppEvent {
    AppEvent { change, location: location(), company: company(), version_id: None, sent_at }
}

fn hook(body: &Value) -> Option<Hook> {
    let kind = body["type"].as_str().unwrap_or_default();
    read(kind, body.as_object().unwrap())
}

fn app(body: &Value) -> AppHook {
    match hook(body) {
        Some(Hook::App(hook)) => *hook,
        other => panic!("{other:?}"),
    }
}

fn applied(effect: Effect) -> Installation {
    match effect {
        Effect::Applied(next) => *next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_install_with_everything_in_it_and_one_with_the_least_are_read() {
    let full = app(&json!({
        "type": "INSTALL", "appId": "app1", "versionId": "v2", "installType": "Location", "locationId": "L1",
        "companyId": "C1", "userId": "U1", "companyName": "Acme", "isWhitelabelCompany": true,
        "whitelabelDetails": {"domain": "x"}, "planId": null, "trial": {}, "webhookId": "w-1",
        "timestamp": "2023-11-14T22:13:20.000Z"
    }));
    assert_eq!((full.app_id.as_deref(), full.webhook_id.as_deref()), (Some("app1"), Some("w-1")));
    let event = AppEvent { version_id: Some("v2".into()), ..event(Change::Install, Some(T0)) };
    assert_eq!(full.event, event);
    let least = app(&json!({"type": "uninstall", "companyId": "C1"}));
    assert_eq!((least.app_id, least.webhook_id, least.event.sent_at), (None, None, None));
    assert_eq!(least.event.target(), Some(DocId("company:C1".into())));
}

#[test]
fn a_timestamp_is_rfc_3339_or_an_epoch_and_anything_else_is_none() {
    for at in [
        json!("2023-11-14T22:13:20Z"),
        json!("2023-11-15T06:13:20+08:00"),
        json!(1_700_000_000),
        json!(1_700_000_000_000_i64),
        json!("1700000000000"),
    ] {
        let read = app(&json!({"type": "UPDATE", "locationId": "L1", "timestamp": at}));
        assert_eq!(read.event.sent_at, Some(T0), "{at}");
    }
    let least = app(&json!({"type": "UPDATE", "locationId": "L1", "timestamp": i64::MIN}));
    assert_eq!(least.event.sent_at, Some(UnixMillis(i64::MIN)));
    for at in [json!("yesterday"), json!(null), json!({}), json!(""), json!("2023-11-14 22:13")] {
        assert_eq!(app(&json!({"type": "UPDATE", "locationId": "L1", "timestamp": at})).event.sent_at, None, "{at}");
    }
}

#[test]
fn what_names_nobody_or_changes_a_plan_is_of_no_consequence_and_other_types_are_none() {
    for body in [
        json!({"type": "INSTALL", "appId": "a"}),
        json!({"type": "UNINSTALL", "locationId": "a/b"}),
        json!({"type": "PLAN_CHANGE", "locationId": "L1", "appId": "a"}),
        json!({"type": "ContactDndUpdate", "id": "c1"}),
    ] {
        assert_eq!(hook(&body), Some(Hook::Other), "{body}");
    }
    assert_eq!(hook(&json!({"type": "OutboundMessage", "locationId": "L1"})), None);
}

#[test]
fn a_contacts_dnd_is_its_setting_for_sms_else_the_one_for_everything() {
    for (settings, dnd, blocked) in [
        (json!({"SMS": {"status": "active"}}), json!(false), Some(true)),
        (json!({"SMS": {"status": "inactive"}}), json!(true), Some(false)),
        (json!({"sms": {"status": "Inactive"}}), json!(null), Some(false)),
        (json!({"SMS": {"status": "permanent"}}), json!(null), Some(true)),
        (json!({"Email": {"status": "active"}}), json!(true), Some(true)),
        (json!(null), json!(null), None),
    ] {
        let body = json!({"type": "ContactDndUpdate", "locationId": "L1", "id": "c1", "phone": "+639171234567",
            "dnd": dnd, "dndSettings": settings, "timestamp": 1_700_000_000});
        let Some(Hook::ContactDnd(read)) = hook(&body) else { panic!("{body}") };
        assert_eq!(read.sms_blocked, blocked, "{body}");
        assert_eq!((read.contact_id.as_deref(), read.sent_at), (Some("c1"), Some(T0)));
        assert!(!format!("{read:?}").contains("1234567"), "{read:?}");
    }
}

#[test]
fn an_install_of_an_unknown_location_waits_for_a_token_and_of_an_unknown_company_for_its_callback() {
    let new = applied(effect(&event(Change::Install, Some(T0)), None, after(9)));
    assert_eq!((new.work_at(), new.last_event_at, new.installed()), (Some(after(9).on_any_clock()), Some(T0), false));
    let agency = AppEvent { location: None, ..event(Change::Install, Some(T0)) };
    assert_eq!(effect(&agency, None, after(9)), Effect::Nothing);
    let held = Installation::new(GrantKind::Company, None, company(), grant(), T0);
    assert_eq!(
        applied(effect(&agency, Some(&held), after(9))).work_at(),
        Some(after(9).on_any_clock()),
        "its list is read again"
    );
}

#[test]
fn an_install_of_a_connected_location_mints_again_only_if_it_is_later_than_ours() {
    let held = connected(after(100));
    for sent_at in [None, Some(after(90)), Some(after(110))] {
        let next = match effect(&event(Change::Install, sent_at), Some(&held), after(200)) {
            Effect::Applied(next) => *next,
            Effect::Nothing => held.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(next.work_at(), None, "{sent_at:?}");
    }
    let later = applied(effect(&event(Change::Install, Some(after(1001))), Some(&held), after(1002)));
    assert_eq!(
        (later.work_at(), later.installed()),
        (Some(after(1002).on_any_clock()), true),
        "its old token serves meanwhile"
    );
}

#[test]
fn an_uninstall_later_than_our_installation_purges_at_once() {
    let gone = applied(effect(&event(Change::Uninstall, Some(after(900))), Some(&connected(T0)), after(901)));
    assert_eq!((gone.grant.clone(), gone.uninstalled_at), (None, Some(after(901))));
    assert_eq!(gone.last_event_at, Some(after(900)));
}

#[test]
fn an_uninstall_without_a_time_or_older_than_our_installation_is_in_doubt_and_purges_nothing() {
    let held = connected(after(1000));
    for sent_at in [None, Some(T0), Some(after(999)), Some(after(1899))] {
        let Effect::InDoubt(next) = effect(&event(Change::Uninstall, sent_at), Some(&held), after(2000)) else {
            panic!("{sent_at:?}")
        };
        assert_eq!(
            (next.installed(), next.work_at(), next.last_event_at),
            (true, Some(after(2000).on_any_clock()), None)
        );
    }
}

#[test]
fn an_uninstall_older_than_the_last_event_is_nothing() {
    let held = Installation { last_event_at: Some(after(50)), ..connected(T0) };
    assert_eq!(effect(&event(Change::Uninstall, Some(after(49))), Some(&held), after(200)), Effect::Older);
    let gone = held.uninstalled(Some(after(60)), after(61));
    assert_eq!(effect(&event(Change::Install, Some(after(59))), Some(&gone), after(200)), Effect::Older);
    let back = applied(effect(&event(Change::Install, Some(after(61))), Some(&gone), after(200)));
    assert_eq!((back.uninstalled_at, back.work_at()), (None, Some(after(200).on_any_clock())), "installed again");
}

#[test]
fn events_of_ghls_own_clock_leave_no_doubt_about_a_location_without_a_token() {
    let waiting = applied(effect(&event(Change::Install, Some(T0)), None, after(5)));
    let gone = applied(effect(&event(Change::Uninstall, Some(after(1))), Some(&waiting), after(6)));
    assert_eq!((gone.uninstalled_at, gone.work_at()), (Some(after(6)), None));
}

#[test]
fn an_uninstall_before_its_install_is_remembered_and_the_late_install_is_nothing() {
    let gone = applied(effect(&event(Change::Uninstall, Some(after(10))), None, after(11)));
    assert!(gone.uninstalled_at.is_some());
    assert_eq!(effect(&event(Change::Install, Some(T0)), Some(&gone), after(12)), Effect::Older);
    assert_eq!(effect(&event(Change::Uninstall, None), None, after(11)), Effect::Nothing);
}

#[test]
fn an_unknown_companys_end_is_followed_to_the_locations_that_installed_by_themselves() {
    let company_gone = AppEvent { location: None, ..event(Change::Uninstall, Some(T0)) };
    let gone = applied(effect(&company_gone, None, after(1)));
    assert_eq!(
        (gone.kind, gone.work_at(), gone.installed()),
        (GrantKind::Company, Some(after(1).on_any_clock()), false)
    );
}

#[test]
fn an_update_keeps_the_version_and_has_the_set_up_checked_and_changes_nothing_else() {
    let update = AppEvent { version_id: Some("v9".into()), ..event(Change::Update, Some(T0)) };
    let held = connected(T0);
    let next = applied(effect(&update, Some(&held), after(1)));
    let due = Recheck { due_at: Some(after(1).on_any_clock()), ..Recheck::default() };
    let kept = Installation { version_id: Some("v9".into()), last_event_at: Some(T0), ..held };
    assert_eq!(next, Installation { recheck: Some(due), ..kept });
    // Nothing is installed, so there is nothing to check.
    let gone = next.uninstalled(Some(T0), after(1));
    assert_eq!(effect(&update, Some(&gone), after(2)), Effect::Nothing);
    assert_eq!(effect(&update, None, after(2)), Effect::Nothing);
}

fn any_event() -> impl Strategy<Value = AppEvent> {
    let change = prop_oneof![Just(Change::Install), Just(Change::Uninstall), Just(Change::Update)];
    (change, proptest::option::of(0u64..5000)).prop_map(|(change, sent)| event(change, sent.map(after)))
}

proptest! {
    #[test]
    fn an_event_applied_twice_comes_to_the_same(first in any_event(), second in any_event(), now in 0u64..5000) {
        let now = after(now);
        let mut held = match effect(&first, None, now) {
            Effect::Applied(next) | Effect::InDoubt(next) => Some(*next),
            Effect::Older | Effect::Nothing => None,
        };
        for _ in 0..2 {
            if let Effect::Applied(next) | Effect::InDoubt(next) = effect(&second, held.as_ref(), now) {
                held = Some(*next);
            }
        }
        let settled = held.clone();
        if let Effect::Applied(next) | Effect::InDoubt(next) = effect(&second, held.as_ref(), now) {
            held = Some(*next);
        }
        prop_assert_eq!(held, settled);
    }

    /// The latest event by GHL's clock decides, whatever the order they arrive in.
    #[test]
    fn of_events_with_a_time_the_latest_decides(order in Just(vec![0u64, 100, 200, 300]).prop_shuffle()) {
        let kinds = [Change::Install, Change::Uninstall, Change::Install, Change::Uninstall];
        let mut held: Option<Installation> = None;
        for sent in order {
            let change = kinds[usize::try_from(sent / 100).unwrap()];
            if let Effect::Applied(next) = effect(&event(change, Some(after(sent))), held.as_ref(), after(1000)) {
                held = Some(*next);
            }
        }
        prop_assert!(held.is_some_and(|i| i.uninstalled_at.is_some() && i.mint.is_none()));
    }
}
