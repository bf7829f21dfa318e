use std::time::Duration;

use proptest::prelude::*;

use super::super::id::{GhlMessageId, LocationId};
use super::super::message::{Intake, PartRecord, Progress as Sending};
use super::super::scope::NEEDED;
use super::*;

const NOW: UnixMillis = UnixMillis(1_780_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn setting() -> Setting {
    Setting { base_url: Some("https://b.test".into()), provider_id: Some("PRV1".into()) }
}

fn standing(state: InstallState) -> Standing {
    Standing { state: Some(state), kind: GrantKind::Location, in_doubt: false, since: Some(NOW.before(HOUR)) }
}

fn granted(names: impl IntoIterator<Item = &'static str>) -> Option<Granted> {
    Some(Granted { scopes: names.into_iter().map(str::to_owned).collect(), source: ScopeSource::Token })
}

fn all_but(lacking: &str) -> Option<Granted> {
    granted(NEEDED.iter().map(|scope| scope.name).filter(|name| *name != lacking))
}

fn provider_of(id: &str, name: &str, default: Option<bool>) -> Provider {
    Provider { id: Some(id.into()), name: Some(name.into()), default }
}

fn ours(default: Option<bool>) -> Provider {
    provider_of("PRV1", "Cast SMS", default)
}

fn other(default: bool) -> Provider {
    provider_of("PRV2", "Phone System", Some(default))
}

/// A sub-account where all is well.
fn well() -> Findings {
    Findings {
        standing: standing(InstallState::Active),
        token: Some(Token::Accepted { ends: NOW.after(HOUR * 5) }),
        scopes: all_but(""),
        channel: Channel::Providers(vec![ours(Some(true)), other(false)]),
        activity: Activity {
            messages: 9,
            open: 1,
            with_links: 0,
            statuses_forbidden: 0,
            last_webhook: Some(NOW.before(Duration::from_secs(180))),
            last_sent: Some(NOW.before(Duration::from_secs(170))),
        },
        progress: None,
    }
}

fn rows(found: &Findings) -> Vec<Row> {
    installation(found, &setting(), NOW)
}

fn row(found: &Findings, check: Check) -> Row {
    rows(found).into_iter().find(|row| row.check == check).unwrap_or_else(|| panic!("no row {}", check.as_str()))
}

/// The verdict and the words of a row.
fn said(found: &Findings, check: Check) -> (Verdict, String) {
    let row = row(found, check);
    (row.verdict, format!("{} {}", row.means, row.next.unwrap_or_default()))
}

fn with_channel(channel: Channel) -> Findings {
    Findings { channel, ..well() }
}

#[test]
fn a_sub_account_where_all_is_well_has_nothing_to_do() {
    let rows = rows(&well());
    let checks: Vec<Check> = rows.iter().map(|row| row.check).collect();
    use Check::{Connection, Links, Provider, Scopes, Sent, Token, Webhook};
    assert_eq!(checks, [Connection, Token, Scopes, Provider, Webhook, Sent, Links]);
    assert!(rows.iter().all(|row| row.verdict == Verdict::Ok && row.next.is_none()), "{rows:?}");
    assert_eq!(rows[0].means, "active: connected 1h ago");
    assert_eq!(rows[1].means, "GHL accepts it; it ends in 5h and is renewed before");
    assert_eq!(Verdict::worst(&rows), Verdict::Ok);
}

#[test]
fn each_way_to_stand_has_its_word_and_its_next_step() {
    use InstallState::{NotConnected, Reauthorize, Suspended, Uninstalled, WaitingForToken};
    for (state, verdict, next) in [
        (Suspended, Verdict::Warn, "comes back by itself"),
        (Reauthorize, Verdict::Bad, "https://b.test/install"),
        (WaitingForToken, Verdict::Warn, "cast-ghl installs list"),
        (NotConnected, Verdict::Bad, "https://b.test/install"),
        (Uninstalled, Verdict::Warn, "disconnected 1h ago"),
    ] {
        let found = Findings { standing: standing(state), token: None, ..well() };
        let (said, words) = said(&found, Check::Connection);
        assert_eq!(said, verdict, "{words}");
        assert!(words.starts_with(&format!("{}: ", state.as_str())) && words.contains(next), "{words}");
        let checks: Vec<Check> = rows(&found).iter().map(|row| row.check).collect();
        assert_eq!(
            checks,
            [Check::Connection, Check::Webhook, Check::Sent, Check::Links],
            "what needs a token is left out"
        );
    }
    let doubt = Findings { standing: Standing { in_doubt: true, ..standing(InstallState::Active) }, ..well() };
    assert!(matches!(said(&doubt, Check::Connection), (Verdict::Warn, words) if words.contains("was removed")));
}

#[test]
fn webhooks_of_a_sub_account_nobody_connected_are_seen() {
    let standing = Standing { state: None, kind: GrantKind::Location, in_doubt: false, since: None };
    let found = Findings { standing, token: None, ..well() };
    assert!(matches!(said(&found, Check::Connection), (Verdict::Bad, words) if words.contains("nobody has connected")));
    assert_eq!(row(&found, Check::Webhook).verdict, Verdict::Ok);
}

#[test]
fn each_state_of_a_token_has_its_row() {
    let ends = NOW.after(HOUR * 5);
    for (token, verdict, words) in [
        (Token::Accepted { ends }, Verdict::Ok, "GHL accepts it"),
        (Token::Untried { ends }, Verdict::Ok, "ends in 5h"),
        (Token::Expired, Verdict::Warn, "waiting for the leader"),
        (Token::Sealed("no key `k1` in the ring".into()), Verdict::Bad, "no key `k1` in the ring"),
        (Token::Refused, Verdict::Bad, "401"),
    ] {
        let (said, row) = said(&Findings { token: Some(token), ..well() }, Check::Token);
        assert_eq!(said, verdict, "{row}");
        assert!(row.contains(words), "{row}");
    }
}

#[test]
fn a_missing_scope_is_named_with_what_it_breaks() {
    for scope in NEEDED {
        let found = Findings { scopes: all_but(scope.name), ..well() };
        let expected = match scope.name {
            "conversations/message.write" => Verdict::Bad,
            "oauth.readonly" | "oauth.write" => Verdict::Ok,
            _ => Verdict::Warn,
        };
        let (verdict, words) = said(&found, Check::Scopes);
        assert_eq!(verdict, expected, "{words}");
        assert!(verdict == Verdict::Ok || words.contains(&format!("{}: {}", scope.name, scope.without)), "{words}");
    }
    let agency = Standing { kind: GrantKind::Company, ..standing(InstallState::Active) };
    let found = Findings { standing: agency, scopes: all_but("oauth.write"), ..well() };
    assert_eq!(row(&found, Check::Scopes).verdict, Verdict::Bad);
}

#[test]
fn scopes_nobody_names_are_unknown_and_those_of_the_grant_say_so() {
    let unknown = Findings { scopes: None, ..well() };
    assert_eq!(row(&unknown, Check::Scopes).verdict, Verdict::Unknown);
    let mut granted = all_but("").expect("scopes");
    granted.source = ScopeSource::Grant;
    let (verdict, words) = said(&Findings { scopes: Some(granted), ..well() }, Check::Scopes);
    assert_eq!(verdict, Verdict::Ok);
    assert!(words.contains("when it gave the token"), "{words}");
}

#[test]
fn another_default_provider_is_bad_and_named() {
    let found = with_channel(Channel::Providers(vec![ours(Some(false)), other(true)]));
    let (verdict, words) = said(&found, Check::Provider);
    assert_eq!(verdict, Verdict::Bad);
    assert!(words.contains("“Phone System”") && words.contains("Settings → Phone Numbers"), "{words}");
    let alone = with_channel(Channel::Providers(vec![ours(Some(false))]));
    assert_eq!(row(&alone, Check::Provider).verdict, Verdict::Bad);
}

#[test]
fn a_list_without_our_provider_is_unknown_and_never_not_default() {
    for list in [vec![], vec![other(true)], vec![other(false), Provider::default()]] {
        let (verdict, words) = said(&with_channel(Channel::Providers(list)), Check::Provider);
        assert_eq!(verdict, Verdict::Unknown, "{words}");
    }
    let silent = with_channel(Channel::Providers(vec![ours(None), other(true)]));
    assert_eq!(row(&silent, Check::Provider).verdict, Verdict::Unknown);
}

#[test]
fn our_provider_is_known_by_its_id_and_else_by_its_name() {
    // Another app's provider of our name is not ours as long as the id tells them apart.
    let both = Channel::Providers(vec![provider_of("PRV9", "Cast SMS", Some(false)), ours(Some(true))]);
    assert_eq!(row(&with_channel(both), Check::Provider).verdict, Verdict::Ok);
    let renamed = Channel::Providers(vec![provider_of("PRV1", "SMS by Cast", Some(true))]);
    assert_eq!(row(&with_channel(renamed), Check::Provider).verdict, Verdict::Ok);
    let by_name = with_channel(Channel::Providers(vec![provider_of("PRV9", " cast sms ", Some(true))]));
    let (verdict, words) = said(&by_name, Check::Provider);
    assert!(verdict == Verdict::Ok && words.contains("known by its name alone"), "{words}");
    // Without an id of ours, one that GHL leaves out is none, either.
    let nameless = with_channel(Channel::Providers(vec![Provider { default: Some(true), ..Provider::default() }]));
    let unset = Setting { provider_id: None, ..setting() };
    let row = installation(&nameless, &unset, NOW).into_iter().find(|row| row.check == Check::Provider);
    assert_eq!(row.map(|row| row.verdict), Some(Verdict::Unknown));
}

#[test]
fn a_question_ghl_does_not_answer_is_unknown_with_the_reason() {
    for (channel, words) in [
        (Channel::NotAsked, "not asked"),
        (Channel::Unauthorized, "refuses the token"),
        (Channel::Forbidden, "locations.readonly"),
        (Channel::Limited, "429"),
        (Channel::Refused(404), "404"),
        (Channel::NoAnswer, "no answer"),
    ] {
        let (verdict, row) = said(&with_channel(channel), Check::Provider);
        assert!(verdict == Verdict::Unknown && row.contains(words), "{row}");
    }
}

#[test]
fn an_agency_has_its_sub_accounts_and_neither_provider_nor_messages() {
    let agency = Standing { kind: GrantKind::Company, ..standing(InstallState::Active) };
    for (progress, verdict) in [
        (Progress { connected: 25, known: 25, listed: true }, Verdict::Ok),
        (Progress { connected: 24, known: 25, listed: true }, Verdict::Warn),
        (Progress { connected: 25, known: 25, listed: false }, Verdict::Warn),
    ] {
        let found = Findings { standing: agency, progress: Some(progress), ..well() };
        let rows = rows(&found);
        let checks: Vec<Check> = rows.iter().map(|row| row.check).collect();
        assert_eq!(checks, [Check::Connection, Check::Token, Check::Scopes, Check::SubAccounts]);
        assert_eq!(rows[3].verdict, verdict, "{rows:?}");
    }
}

#[test]
fn what_came_and_what_was_sent_is_told_by_its_age() {
    let activity = |activity| Findings { activity, ..well() };
    assert!(row(&well(), Check::Webhook).means.ends_with("3m ago"));
    assert!(row(&well(), Check::Sent).means.ends_with("2m ago"));
    let nothing = activity(Activity::default());
    let (verdict, words) = said(&nothing, Check::Webhook);
    assert!(verdict == Verdict::Warn && words.ends_with("https://b.test/api/ghl/v1/webhook/messages"), "{words}");
    assert_eq!(row(&nothing, Check::Sent).verdict, Verdict::Unknown);
    assert!(rows(&nothing).iter().all(|row| row.check != Check::Links));
    let unsent = Activity { last_sent: None, open: 0, ..well().activity };
    assert_eq!(row(&activity(unsent), Check::Sent).verdict, Verdict::Bad);
    let waiting = Activity { last_sent: None, open: 9, ..well().activity };
    assert_eq!(row(&activity(waiting), Check::Sent).verdict, Verdict::Warn);
}

#[test]
fn statuses_refused_for_want_of_a_scope_are_warned_of() {
    let found = Findings { activity: Activity { statuses_forbidden: 2, ..well().activity }, ..well() };
    let (verdict, words) = said(&found, Check::Statuses);
    assert!(verdict == Verdict::Warn && words.contains("of the last 9") && words.contains("status of 2"), "{words}");
}

#[test]
fn links_in_texts_are_counted_and_warned_of() {
    let found = Findings { activity: Activity { with_links: 4, ..well().activity }, ..well() };
    let (verdict, words) = said(&found, Check::Links);
    assert_eq!(verdict, Verdict::Warn);
    assert!(words.starts_with("4 of the last 9 messages") && words.contains("2023"), "{words}");
}

fn message(n: i64, text: &str, state: State, parts: &[&str]) -> Message {
    let intake = Intake {
        location: LocationId::parse("L1").expect("an id"),
        message_id: GhlMessageId::parse(&format!("m{n}")).expect("an id"),
        contact_id: None,
        conversation_id: None,
        phone: None,
        text: Some(text.into()),
        attachments: Vec::new(),
        user_id: None,
    };
    let message = Message::accept(intake, UnixMillis(n), "replica", n.unsigned_abs());
    let part = |text: &&str| PartRecord {
        text: (*text).to_owned(),
        segments: 1,
        accepted: true,
        gateway_id: None,
        receipt: None,
    };
    let progress = Sending {
        state,
        settled_at: state.settled().then_some(UnixMillis(n + 5)),
        parts: parts.iter().map(part).collect(),
        ..message.progress.clone()
    };
    message.with(progress)
}

#[test]
fn the_newest_messages_are_counted_by_what_became_of_them() {
    let messages = [
        message(7, "https://a.ph/x", State::Queued, &[]),
        message(5, "https://a.ph/x", State::Rejected, &[]),
        message(6, "hello", State::Accepted, &["hello"]),
        // An attachment shows in what was composed, and what was not sent of a text does not.
        message(3, "look", State::Accepted, &["look", "https://a.ph/y"]),
        message(2, "www.a.ph", State::Accepted, &["cut"]),
    ];
    let expected = Activity {
        messages: 5,
        open: 1,
        with_links: 3,
        statuses_forbidden: 0,
        last_webhook: Some(UnixMillis(7)),
        last_sent: Some(UnixMillis(11)),
    };
    assert_eq!(Activity::of(&messages), expected);
    assert_eq!(Activity::of([]), Activity::default());
}

/// A bridge where all is well.
fn well_set() -> BridgeFindings {
    BridgeFindings {
        disk_free: Some(20 << 30),
        disk_reserve: 256 << 20,
        clocks: Some(Clocks { ours: NOW, theirs: NOW }),
        provider_id_set: true,
        asked_scopes: NEEDED.iter().map(|scope| scope.name.to_owned()).collect(),
        default_location: Some(DefaultLocation::Works),
    }
}

fn of_bridge(found: &BridgeFindings, check: Check) -> (Verdict, String) {
    let row = bridge(found).into_iter().find(|row| row.check == check).expect("a row");
    (row.verdict, format!("{} {}", row.means, row.next.unwrap_or_default()))
}

#[test]
fn a_bridge_where_all_is_well_has_nothing_to_do() {
    let rows = bridge(&well_set());
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.verdict == Verdict::Ok && row.next.is_none()), "{rows:?}");
    assert_eq!(rows[0].means, "20 GiB free, 256 MiB of it kept in reserve");
    let unset = BridgeFindings { default_location: None, ..well_set() };
    assert_eq!(bridge(&unset).len(), 4, "what is not set is not judged");
}

#[test]
fn the_disk_is_bad_at_the_reserve_and_warned_of_before() {
    for (free, verdict) in [
        (0, Verdict::Bad),
        (256 << 20, Verdict::Bad),
        ((256 << 20) + 1, Verdict::Warn),
        ((512 << 20) - 1, Verdict::Warn),
        (512 << 20, Verdict::Ok),
    ] {
        let found = BridgeFindings { disk_free: Some(free), ..well_set() };
        assert_eq!(of_bridge(&found, Check::Disk).0, verdict, "{free}");
    }
    let elsewhere = BridgeFindings { disk_free: None, ..well_set() };
    assert_eq!(of_bridge(&elsewhere, Check::Disk).0, Verdict::Unknown);
}

#[test]
fn a_clock_that_is_off_is_told_which_way_and_by_how_much() {
    let off = |by: i64| BridgeFindings {
        clocks: Some(Clocks { ours: UnixMillis(NOW.0 + by * 1000), theirs: NOW }),
        ..well_set()
    };
    for (by, verdict, words) in [
        (60, Verdict::Ok, "agrees"),
        (-60, Verdict::Ok, "agrees"),
        (61, Verdict::Warn, "1m ahead of GHL's"),
        (-900, Verdict::Warn, "15m behind GHL's"),
        (901, Verdict::Bad, "ahead of"),
        (-7200, Verdict::Bad, "2h behind"),
    ] {
        let (said, row) = of_bridge(&off(by), Check::Clock);
        assert!(said == verdict && row.contains(words), "{by}: {row}");
    }
    assert_eq!(of_bridge(&BridgeFindings { clocks: None, ..well_set() }, Check::Clock).0, Verdict::Unknown);
}

#[test]
fn what_the_configuration_leaves_open_is_warned_of() {
    let unset = BridgeFindings { provider_id_set: false, ..well_set() };
    assert!(matches!(of_bridge(&unset, Check::ProviderId), (Verdict::Warn, words) if words.contains("not set")));
    let mut fewer = well_set();
    fewer.asked_scopes.retain(|name| name != "oauth.write" && name != "contacts.write");
    let (verdict, words) = of_bridge(&fewer, Check::AskedScopes);
    assert_eq!(verdict, Verdict::Warn);
    assert!(words.contains("oauth.write: ") && words.contains("contacts.write: "), "{words}");
}

#[test]
fn a_default_location_that_does_nothing_is_warned_of() {
    for (found, words) in [(DefaultLocation::NotInstalled, "not connected"), (DefaultLocation::Ignored, "is ignored")] {
        let (verdict, row) =
            of_bridge(&BridgeFindings { default_location: Some(found), ..well_set() }, Check::DefaultLocation);
        assert!(verdict == Verdict::Warn && row.contains(words), "{row}");
    }
}

#[test]
fn verdicts_are_in_the_order_of_severity() {
    use Verdict::{Bad, Ok, Unknown, Warn};
    assert!(Ok < Unknown && Unknown < Warn && Warn < Bad);
    let row = |verdict| Row::new(Check::Disk, verdict, "");
    assert_eq!(Verdict::worst(&[row(Ok), row(Bad), row(Warn)]), Bad);
    assert_eq!(Verdict::worst(&[]), Ok);
}

proptest! {
    #[test]
    fn whatever_is_not_well_says_what_to_do_or_why_it_is_not_known(
        ours_default in proptest::option::of(any::<bool>()), asked in any::<bool>(), messages in 0..3usize, open in 0..3usize,
    ) {
        let channel = if asked { Channel::Providers(vec![ours(ours_default)]) } else { Channel::NoAnswer };
        let activity = Activity { messages, open: open.min(messages), last_sent: None, ..Activity::default() };
        for row in rows(&Findings { channel, activity, ..well() }) {
            prop_assert!(!row.means.is_empty());
            prop_assert!(row.verdict < Verdict::Warn || row.next.is_some(), "{row:?}");
        }
    }
}
