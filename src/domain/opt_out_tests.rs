//! Words as people type them, and what STOP and START set and lift, also in any order and late.

use super::*;
use proptest::prelude::*;

const T0: UnixMillis = UnixMillis(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn words() -> Words {
    let list = |words: &str| words.split(',').map(str::to_owned).collect::<Vec<_>>();
    Words::new(&list("STOP,STOPALL,STOP ALL,UNSUBSCRIBE"), &list("START,UNSTOP,SUBSCRIBE"))
}

fn location(name: &str) -> LocationId {
    LocationId::parse(name).unwrap()
}

fn phone() -> Phone {
    Phone::parse("09171234567").unwrap()
}

fn said(at: UnixMillis, explicit: bool) -> Said {
    Said { at, reply: DocId::inbound("ab"), explicit }
}

fn sender(name: &str, days_ago: u32) -> Sender {
    Sender { location: location(name), company: None, last_outbound_at: T0.before(DAY * days_ago) }
}

fn stopped(name: &str, explicit: bool) -> Suppression {
    Suppression::begin(&Scope::Location(location(name)), &phone(), &said(T0, explicit))
}

#[test]
fn the_whole_message_is_the_word_whatever_its_case_space_and_full_stops() {
    let words = words();
    for stop in [
        "STOP",
        "stop",
        " Stop. ",
        "STOP!!!",
        "stop .!",
        "Stop\u{a0}All",
        "stop  all!",
        "\u{feff}stop\u{200b}",
        "ＳＴＯＰ！",
        "unsubscribe\r\n",
    ] {
        assert_eq!(words.read(stop), Some(Wish::Stop), "{stop:?}");
    }
    for start in ["START", "unstop", "Subscribe!"] {
        assert_eq!(words.read(start), Some(Wish::Start), "{start:?}");
    }
    for other in
        ["", "!", "...", "stop it", "please stop", "don't stop", "STOP?", "s t o p", "stopp", "!STOP", "stop, start"]
    {
        assert_eq!(words.read(other), None, "{other:?}");
    }
}

#[test]
fn words_of_other_alphabets_match_in_either_case() {
    let words = Words::new(&["ΤΈΛΟΣ".into(), "Tigil na".into(), "Schluß".into()], &["Сначала".into()]);
    for stop in ["τέλος", "ΤΈΛΟΣ", "TIGIL NA!", "SCHLUSS", "schluß."] {
        assert_eq!(words.read(stop), Some(Wish::Stop), "{stop}");
    }
    assert_eq!(words.read("СНАЧАЛА"), Some(Wish::Start));
    assert_eq!(words.sentence(), "This person replied ΤΈΛΟΣ. They can text Сначала.");
}

#[test]
fn an_unnamed_stop_covers_thirty_days_then_all_who_ever_wrote_and_else_everybody() {
    let names = |scopes: Vec<Scope>| -> Vec<String> {
        scopes.iter().map(|s| s.location().map_or("*".to_owned(), ToString::to_string)).collect()
    };
    let all = [sender("A", 1), sender("B", 30), sender("C", 31)];
    assert_eq!(names(covered(None, &all, T0)), ["A", "B"]);
    assert_eq!(names(covered(None, &all[2..], T0)), ["C"]);
    assert_eq!(names(covered(None, &[], T0)), ["*"]);
    assert_eq!(names(covered(Some(&location("D")), &all, T0)), ["D"]);
}

#[test]
fn a_start_after_months_of_silence_lifts_what_the_stop_set() {
    let held = stopped("A", false);
    assert!(lifts(None, &held, &[]), "nobody wrote for 30 days, because they were not allowed to");
    let explicit = stopped("A", true);
    assert!(lifts(None, &explicit, &[sender("A", 29)]));
    assert!(!lifts(None, &explicit, &[sender("A", 31), sender("B", 1)]));
    assert!(lifts(Some(&location("A")), &held, &[]));
    assert!(!lifts(Some(&location("B")), &held, &[sender("A", 1)]));
    let everywhere = Suppression::begin(&Scope::Everywhere, &phone(), &said(T0, false));
    assert!(lifts(Some(&location("B")), &everywhere, &[]) && lifts(None, &everywhere, &[]));
}

#[test]
fn an_agent_clears_only_what_ghl_had_acknowledged_and_each_event_once() {
    use crate::domain::dnd::MirrorReply;
    let later = |s: u64| T0.after(Duration::from_secs(s));
    let due = stopped("A", false);
    assert_eq!(due.cleared("e1", Some(later(5)), later(6)), None, "GHL never had our block");
    let told =
        Suppression { mirror: due.mirror.calling("c", T0).after(MirrorReply::Told, true, later(10), 0.5), ..due };
    assert_eq!(told.cleared("e1", Some(later(9)), later(20)), None, "an event from before");
    let cleared = told.cleared("e1", Some(later(15)), later(20)).expect("lifted");
    assert_eq!(cleared.lifted, Some(Lifted { at: later(20), by: LiftedBy::Agent }));
    assert_eq!(cleared.mirror, Mirror::default(), "nothing is to be told");
    assert_eq!(cleared.cleared("e2", None, later(21)), None, "it stands no more");
    // The next STOP, its block acknowledged, and the first event once more, without a time.
    let again = cleared.stopped(&said(later(30), false)).expect("stopped");
    let again = Suppression {
        mirror: again.mirror.calling("c", later(30)).after(MirrorReply::Told, true, later(31), 0.5),
        ..again
    };
    assert_eq!(again.cleared("e1", None, later(40)), None);
    assert!(again.cleared("e2", None, later(40)).is_some());
}

#[test]
fn a_repeated_stop_keeps_what_ghl_acknowledged_and_moves_the_time() {
    use crate::domain::dnd::MirrorReply;
    let first = stopped("A", true);
    let told = Suppression { mirror: first.mirror.calling("c", T0).after(MirrorReply::Told, true, T0, 0.5), ..first };
    assert_eq!(told.stopped(&said(T0, true)), None, "the same word");
    let second = told.stopped(&said(T0.after(DAY), false)).expect("a newer word");
    assert_eq!((second.mirror.due_at, second.explicit), (None, false));
    assert_eq!(second.lift(LiftedBy::Person, T0), None, "an older START");
}

#[derive(Debug, Clone)]
struct Word {
    at: i64,
    wish: Wish,
}

proptest! {
    /// Whatever order the words arrive in, the newest holds; of two at once the last one to arrive may win.
    #[test]
    fn the_newest_word_holds_in_whatever_order_they_arrive(
        words in proptest::collection::vec((0i64..1000, any::<bool>()), 1..12)
    ) {
        let mut seen = std::collections::HashSet::new();
        let words: Vec<Word> = words
            .into_iter()
            .filter(|(at, _)| seen.insert(*at))
            .map(|(at, stop)| Word { at, wish: if stop { Wish::Stop } else { Wish::Start } })
            .collect();
        let mut held: Option<Suppression> = None;
        for word in &words {
            let at = UnixMillis(T0.0 + word.at);
            held = match (held, word.wish) {
                (None, Wish::Stop) => Some(Suppression::begin(&Scope::Location(location("A")), &phone(), &said(at, false))),
                (None, Wish::Start) => None,
                (Some(held), Wish::Stop) => Some(held.stopped(&said(at, false)).unwrap_or(held)),
                (Some(held), Wish::Start) => Some(held.lift(LiftedBy::Person, at).unwrap_or(held)),
            };
        }
        let newest_stop = words.iter().filter(|w| w.wish == Wish::Stop).map(|w| w.at).max();
        let newest = words.iter().max_by_key(|w| w.at).expect("a word");
        let first_stop = words.iter().position(|w| w.wish == Wish::Stop);
        let Some((held, first_stop)) = held.zip(first_stop) else { return Ok(()) };
        match newest.wish {
            Wish::Stop => {
                prop_assert!(held.stands());
                prop_assert_eq!(Some(held.since.0 - T0.0), newest_stop);
            }
            // A START before any STOP finds nothing to lift: whoever hears them keeps a lane's order.
            Wish::Start if words[first_stop..].iter().any(|w| w.at == newest.at) => prop_assert!(!held.stands()),
            Wish::Start => {}
        }
    }

    /// A START by the same route lifts all that a STOP set, at any time later.
    #[test]
    fn a_start_lifts_exactly_what_a_stop_by_the_same_route_set(
        ages in proptest::collection::vec(0u32..60, 0..6), named in proptest::option::of(0usize..3), later in 0u32..400
    ) {
        let senders: Vec<Sender> = ages.iter().enumerate().map(|(n, days)| sender(&format!("L{n}"), *days)).collect();
        let named = named.map(|n| location(&format!("L{n}")));
        let now = T0.after(DAY * later);
        let scopes = covered(named.as_ref(), &senders, T0);
        prop_assert!(!scopes.is_empty());
        for scope in &scopes {
            let held = Suppression::begin(scope, &phone(), &said(T0, named.is_some()));
            prop_assert!(lifts(named.as_ref(), &held, &senders));
            prop_assert!(held.lift(LiftedBy::Person, now).is_some());
        }
        // Of the other locations, which somebody stopped by naming them, a named START lifts none.
        for other in ["X", "Y"] {
            let held = stopped(other, true);
            prop_assert!(!lifts(named.as_ref(), &held, &senders));
        }
    }

    #[test]
    fn folding_is_stable_and_never_panics(text in "\\PC{0,40}") {
        let once = folded(&text);
        prop_assert_eq!(folded(&once), once.clone());
        let _: Option<Wish> = words().read(&text);
    }

    #[test]
    fn a_word_with_anything_before_or_after_it_is_no_wish(text in "[a-z]{1,8}") {
        prop_assume!(!text.is_empty());
        prop_assert_eq!(words().read(&format!("stop {text}")).is_some(), text == "all");
        prop_assert_eq!(words().read(&format!("{text} stop")), None);
    }
}
