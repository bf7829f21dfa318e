//! The account: what the sender was answered, against what Cast took, against what GHL was told.
//!
//! Pure. It knows none of the bridge's own rules but its promise (bridge §3 to §5): what was answered 200 is sent once, or
//! GHL hears that it was not, or that nobody knows; no part goes twice; a lane keeps its order, judged between messages of
//! which the earlier was answered 200 before the later was first posted, and not across one that was reported unknown.

use std::collections::BTreeMap;

use cast_ghl_provider::domain::time::Mono;

use super::ledger::{Answer, Entry, Post};
use super::plan::Word;

/// Most ids of one fault that are named.
const NAMED: usize = 20;
const UNKNOWN: &str = "unknown_outcome";
/// The only failures the weather and the kills can bring about: a bridge that refuses everything is not one that lost nothing.
const POSSIBLE: [&str; 3] = ["cast_rejected", "not_sent", "internal_error"];
/// A kill or a freeze leaves at most this many calls in doubt: what may be in flight with one key.
const IN_DOUBT: usize = 32;

/// What GHL was told of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Delivered,
    /// With its code.
    Failed(String),
    /// What is not said in this test.
    Other,
}

impl Told {
    pub(super) fn read(status: &str, code: Option<&str>) -> Self {
        match (status, code) {
            ("delivered", None) => Self::Delivered,
            ("failed", Some(code)) => Self::Failed(code.to_owned()),
            _ => Self::Other,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Failed(code) if code == UNKNOWN)
    }
}

/// What Cast took of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    /// Some words, or all in another order.
    Partly,
    Whole,
    Twice,
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Taken once, and GHL knows.
    Sent,
    /// Not taken, at least not whole, and GHL knows why.
    Failed,
    /// GHL was told that nobody knows.
    Unknown,
    /// Answered 200, and neither taken nor told; or told as delivered and not taken; or forgotten by its bridge.
    Lost,
    /// A word of it was taken twice.
    Doubled,
    /// Taken, and GHL was told otherwise or nothing.
    Misreported,
    /// Never answered 200.
    Unacknowledged,
}

/// The account of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Account {
    /// Answered 200.
    pub(super) accepted: usize,
    pub(super) sent: usize,
    pub(super) failed: usize,
    pub(super) unknown: usize,
    /// Message ids, as everywhere below.
    pub(super) lost: Vec<String>,
    pub(super) doubled: Vec<String>,
    /// The earlier and the later.
    pub(super) reordered: Vec<(String, String)>,
    pub(super) misreported: Vec<String>,
    pub(super) unacknowledged: Vec<String>,
    /// Posts answered neither 200 nor 429.
    pub(super) wrongly_answered: Vec<String>,
    pub(super) posts: usize,
    /// Posts answered 429, and not at all.
    pub(super) later: usize,
    pub(super) unanswered: usize,
    /// SMS that belong to no message.
    pub(super) strange: usize,
    /// Calls that break a vendor's contract.
    pub(super) breaches: usize,
}

impl Account {
    /// Whether the promise was kept, and both contracts.
    pub(super) fn is_right(&self) -> bool {
        let lists = [&self.lost, &self.doubled, &self.misreported, &self.unacknowledged, &self.wrongly_answered];
        lists.iter().all(|list| list.is_empty()) && self.reordered.is_empty() && self.strange + self.breaches == 0
    }

    /// Whether no more ended unsent than `blows` (kills and freezes) and Cast's `faults` can have brought about.
    pub(super) fn is_earned(&self, blows: usize, faults: usize) -> bool {
        self.unknown + self.failed <= blows * IN_DOUBT + faults
    }

    /// What time may still put right.
    pub(super) fn pending(&self) -> usize {
        self.lost.len() + self.misreported.len() + self.unacknowledged.len()
    }

    /// The summary.
    pub(super) fn figures(&self) -> Vec<(&'static str, String)> {
        let posts = format!("{} ({} answered 429, {} not at all)", self.posts, self.later, self.unanswered);
        vec![
            ("posts", posts),
            ("accepted", self.accepted.to_string()),
            ("sent", self.sent.to_string()),
            ("failed with a code", self.failed.to_string()),
            ("unknown", self.unknown.to_string()),
            ("lost", self.lost.len().to_string()),
            ("doubled", self.doubled.len().to_string()),
            ("reordered", self.reordered.len().to_string()),
            ("misreported", self.misreported.len().to_string()),
            ("never acknowledged", self.unacknowledged.len().to_string()),
            ("wrongly answered", self.wrongly_answered.len().to_string()),
            ("strange SMS", self.strange.to_string()),
            ("breaches of contract", self.breaches.to_string()),
        ]
    }

    /// One line for each thing that is wrong, with the ids of its messages.
    pub(super) fn faults(&self) -> Vec<String> {
        let pairs: Vec<String> = self.reordered.iter().map(|(one, two)| format!("{one} after {two}")).collect();
        [
            ("LOST", &self.lost),
            ("DOUBLED", &self.doubled),
            ("REORDERED", &pairs),
            ("MISREPORTED", &self.misreported),
            ("NEVER ACKNOWLEDGED", &self.unacknowledged),
            ("WRONGLY ANSWERED", &self.wrongly_answered),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| {
            let more = if list.len() > NAMED { format!(" and {} more", list.len() - NAMED) } else { String::new() };
            format!("{name}: {}{more}", list[..list.len().min(NAMED)].join(", "))
        })
        .collect()
    }
}

/// Compares: `told[n]` and the words of message `n` in `taken` belong to `entries[n]`. `taken` is in the order in which Cast
/// took the SMS, `None` for one that nobody planned.
pub(super) fn reconcile(entries: &[Entry], told: &[Vec<Told>], taken: &[Option<Vec<Word>>]) -> Account {
    let mut account = Account::default();
    // The words of each message, with the place of their SMS in Cast's order.
    let mut words: Vec<Vec<(usize, u32)>> = vec![Vec::new(); entries.len()];
    for (at, sms) in taken.iter().enumerate() {
        let known = |word: &Word| usize::try_from(word.message).is_ok_and(|n| n < entries.len());
        match sms {
            Some(sms) if sms.iter().all(known) => {
                for word in sms {
                    words[usize::try_from(word.message).unwrap_or(usize::MAX)].push((at, word.place));
                }
            }
            _ => account.strange += 1,
        }
    }
    for ((entry, told), words) in entries.iter().zip(told).zip(&words) {
        account.count_posts(entry);
        account.accepted += usize::from(acknowledged(&entry.posts).is_some());
        let id = || entry.message_id.clone();
        match fate(entry, told, words) {
            Fate::Sent => account.sent += 1,
            Fate::Failed => account.failed += 1,
            Fate::Unknown => account.unknown += 1,
            Fate::Lost => account.lost.push(id()),
            Fate::Doubled => account.doubled.push(id()),
            Fate::Misreported => account.misreported.push(id()),
            Fate::Unacknowledged => account.unacknowledged.push(id()),
        }
    }
    account.reordered = reordered(entries, told, &words);
    account
}

impl Account {
    fn count_posts(&mut self, entry: &Entry) {
        self.posts += entry.posts.len();
        for post in &entry.posts {
            match post.answered.map(|(_, answer)| answer) {
                Some(Answer::Later) => self.later += 1,
                Some(Answer::Nothing) => self.unanswered += 1,
                Some(Answer::Wrong(status)) => {
                    self.wrongly_answered.push(format!("{} ({status})", entry.message_id));
                }
                Some(Answer::Accepted | Answer::Duplicate) | None => {}
            }
        }
    }
}

/// When the bridge first answered for it.
fn acknowledged(posts: &[Post]) -> Option<Mono> {
    posts.iter().filter_map(|p| p.answered).filter(|(_, answer)| answer.acknowledges()).map(|(at, _)| at).min()
}

/// Whether a bridge took for new what had been answered 200 before it was posted again: the first one was gone.
fn forgotten(posts: &[Post]) -> bool {
    let acknowledged = acknowledged(posts);
    posts.iter().any(|post| {
        let anew = post.answered.is_some_and(|(_, answer)| answer == Answer::Accepted);
        anew && acknowledged.is_some_and(|at| at < post.sent)
    })
}

fn taken_of(words: &[(usize, u32)], whole: u32) -> Taken {
    let mut places: Vec<u32> = words.iter().map(|(_, place)| *place).collect();
    let in_order = places.iter().copied().eq(0..whole);
    places.sort_unstable();
    if places.is_empty() {
        Taken::Nothing
    } else if places.windows(2).any(|pair| pair[0] == pair[1]) {
        Taken::Twice
    } else if in_order {
        Taken::Whole
    } else {
        Taken::Partly
    }
}

fn fate(entry: &Entry, told: &[Told], words: &[(usize, u32)]) -> Fate {
    let taken = taken_of(words, entry.words);
    if taken == Taken::Twice {
        return Fate::Doubled;
    }
    if forgotten(&entry.posts) {
        return Fate::Lost;
    }
    match (taken, told.last()) {
        _ if acknowledged(&entry.posts).is_none() => Fate::Unacknowledged,
        (Taken::Whole, Some(Told::Delivered)) => Fate::Sent,
        (_, Some(told)) if told.is_unknown() => Fate::Unknown,
        (Taken::Nothing | Taken::Partly, Some(Told::Failed(code))) if POSSIBLE.contains(&code.as_str()) => Fate::Failed,
        (Taken::Nothing | Taken::Partly, Some(Told::Delivered) | None) => Fate::Lost,
        (_, Some(Told::Failed(_) | Told::Other)) | (Taken::Whole, None) => Fate::Misreported,
        (Taken::Twice, _) => Fate::Doubled,
    }
}

/// Pairs of a lane that Cast took the wrong way round.
fn reordered(entries: &[Entry], told: &[Vec<Told>], words: &[Vec<(usize, u32)>]) -> Vec<(String, String)> {
    let mut lanes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        lanes.entry(entry.lane).or_default().push(at);
    }
    let mut found = Vec::new();
    for lane in lanes.values() {
        for (n, later) in lane.iter().enumerate() {
            let (Some(posted), Some(first)) =
                (entries[*later].posts.first(), words[*later].iter().map(|(at, _)| *at).min())
            else {
                continue;
            };
            for earlier in &lane[..n] {
                let before = acknowledged(&entries[*earlier].posts).is_some_and(|at| at < posted.sent);
                let vouched_for = !told[*earlier].iter().any(Told::is_unknown);
                let last = words[*earlier].iter().map(|(at, _)| *at).max();
                if before && vouched_for && last.is_some_and(|last| last > first) {
                    found.push((entries[*earlier].message_id.clone(), entries[*later].message_id.clone()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bridge_that_refuses_or_parks_everything_is_not_right() {
        let refused = fate(&entry(0), &[Told::Failed("not_installed".to_owned())], &[]);
        assert_eq!(refused, Fate::Misreported);
        let parked = Account { accepted: 100, unknown: 100, ..Account::default() };
        assert!(!parked.is_earned(3, 3));
        assert!(parked.is_earned(3, 4));
    }

    fn mono(at: u64) -> Mono {
        Mono(Duration::from_millis(at))
    }

    fn post(sent: u64, answered: u64, answer: Answer) -> Post {
        Post { sent: mono(sent), answered: Some((mono(answered), answer)) }
    }

    /// Message `n` of lane 0, three words, posted at 100·n and answered 200 ten later.
    fn entry(n: u64) -> Entry {
        let posts = vec![post(100 * n, 100 * n + 10, Answer::Accepted)];
        Entry { message_id: format!("m{n}"), lane: 0, words: 3, posts }
    }

    fn sms(message: u32, places: std::ops::Range<u32>) -> Option<Vec<Word>> {
        Some(places.map(|place| Word { message, place }).collect())
    }

    fn whole(message: u32) -> Option<Vec<Word>> {
        sms(message, 0..3)
    }

    fn failed(code: &str) -> Vec<Told> {
        vec![Told::Failed(code.to_owned())]
    }

    fn of_one(told: Vec<Told>, taken: &[Option<Vec<Word>>]) -> Account {
        reconcile(&[entry(0)], &[told], taken)
    }

    #[test]
    fn taken_once_and_told_so_is_right_in_one_part_or_in_several() {
        let expected = Account { accepted: 1, sent: 1, posts: 1, ..Account::default() };
        assert_eq!(of_one(vec![Told::Delivered], &[whole(0)]), expected);
        assert_eq!(of_one(vec![Told::Delivered], &[sms(0, 0..2), sms(0, 2..3)]), expected);
        // A corrected report counts as it ended.
        assert_eq!(of_one([failed(UNKNOWN), vec![Told::Delivered]].concat(), &[whole(0)]), expected);
        assert!(expected.is_right());
    }

    #[test]
    fn acknowledged_and_neither_taken_nor_told_is_lost() {
        for (told, taken) in [
            (vec![], vec![]),
            (vec![], vec![sms(0, 0..2)]),
            (vec![Told::Delivered], vec![]),
            (vec![Told::Delivered], vec![sms(0, 0..2)]),
        ] {
            let account = of_one(told, &taken);
            assert_eq!(account.lost, ["m0"]);
            assert!(!account.is_right() && account.pending() == 1);
            assert_eq!(account.faults(), ["LOST: m0"]);
        }
    }

    #[test]
    fn acknowledged_and_later_taken_for_new_was_lost_in_between() {
        let mut again = entry(0);
        again.posts.push(post(50, 60, Answer::Accepted));
        let account = reconcile(&[again.clone()], &[vec![Told::Delivered]], &[whole(0)]);
        assert_eq!(account.lost, ["m0"]);
        again.posts[1].answered = Some((mono(60), Answer::Duplicate));
        assert!(reconcile(&[again], &[vec![Told::Delivered]], &[whole(0)]).is_right());
        // Two copies under way at once: either may be the first.
        let mut twice = entry(0);
        twice.posts.push(post(5, 8, Answer::Accepted));
        assert!(reconcile(&[twice], &[vec![Told::Delivered]], &[whole(0)]).is_right());
    }

    #[test]
    fn a_part_taken_twice_is_doubled_whatever_else_is_true() {
        for told in [vec![Told::Delivered], failed(UNKNOWN), vec![]] {
            let account = of_one(told, &[whole(0), sms(0, 2..3)]);
            assert_eq!(account.doubled, ["m0"]);
            assert!(!account.is_right());
        }
        let mut unheard = entry(0);
        unheard.posts = vec![post(0, 10, Answer::Nothing)];
        assert_eq!(reconcile(&[unheard], &[vec![]], &[whole(0), whole(0)]).doubled, ["m0"]);
    }

    #[test]
    fn what_nobody_knows_is_told_and_right_whether_cast_took_it_or_not() {
        for taken in [vec![], vec![whole(0)], vec![sms(0, 0..1)]] {
            let account = of_one(failed(UNKNOWN), &taken);
            assert_eq!((account.unknown, account.is_right()), (1, true));
        }
    }

    #[test]
    fn a_failure_with_a_code_is_right_unless_cast_took_it_all() {
        for taken in [vec![], vec![sms(0, 0..1)]] {
            let account = of_one(failed("cast_rejected"), &taken);
            assert_eq!((account.failed, account.is_right()), (1, true));
        }
        assert_eq!(of_one(failed("cast_rejected"), &[whole(0)]).misreported, ["m0"]);
    }

    #[test]
    fn taken_and_told_nothing_or_nonsense_is_misreported() {
        assert_eq!(of_one(vec![], &[whole(0)]).misreported, ["m0"]);
        assert_eq!(of_one(vec![Told::Other], &[whole(0)]).misreported, ["m0"]);
        assert_eq!(Told::read("delivered", Some("x")), Told::Other);
        assert_eq!(Told::read("pending", None), Told::Other);
    }

    #[test]
    fn a_later_message_taken_first_is_reordered() {
        let entries = [entry(0), entry(1)];
        let told = [vec![Told::Delivered], vec![Told::Delivered]];
        assert!(reconcile(&entries, &told, &[whole(0), whole(1)]).is_right());
        let account = reconcile(&entries, &told, &[whole(1), whole(0)]);
        assert_eq!(account.reordered, [("m0".to_owned(), "m1".to_owned())]);
        assert!(!account.is_right());
        assert_eq!(account.faults(), ["REORDERED: m0 after m1"]);
        // Into the middle of one of several parts.
        let account = reconcile(&entries, &told, &[sms(0, 0..1), whole(1), sms(0, 1..3)]);
        assert_eq!(account.reordered.len(), 1);
    }

    #[test]
    fn order_is_not_judged_where_it_is_not_promised() {
        let told = [vec![Told::Delivered], vec![Told::Delivered]];
        let wrong_way = [whole(1), whole(0)];
        // The earlier was not acknowledged yet when the later was posted.
        let mut slow = entry(0);
        slow.posts[0].answered = Some((mono(150), Answer::Accepted));
        assert!(reconcile(&[slow, entry(1)], &told, &wrong_way).is_right());
        // Another lane.
        let other = Entry { lane: 1, ..entry(1) };
        assert!(reconcile(&[entry(0), other], &told, &wrong_way).is_right());
        // Across one that nobody vouched for, though it was corrected in the end.
        let corrected = [[failed(UNKNOWN), vec![Told::Delivered]].concat(), vec![Told::Delivered]];
        assert!(reconcile(&[entry(0), entry(1)], &corrected, &wrong_way).is_right());
    }

    #[test]
    fn words_of_a_message_in_the_wrong_order_are_no_message() {
        let account = of_one(vec![Told::Delivered], &[sms(0, 1..3), sms(0, 0..1)]);
        assert_eq!(account.lost, ["m0"]);
    }

    #[test]
    fn what_was_never_acknowledged_and_what_was_answered_wrongly_is_named() {
        let mut unheard = entry(0);
        unheard.posts =
            vec![post(0, 10, Answer::Nothing), post(20, 30, Answer::Later), post(40, 50, Answer::Wrong(500))];
        unheard.posts.push(Post { sent: mono(60), answered: None });
        let account = reconcile(&[unheard], &[vec![]], &[]);
        assert_eq!(account.unacknowledged, ["m0"]);
        assert_eq!(account.wrongly_answered, ["m0 (500)"]);
        assert_eq!((account.accepted, account.posts, account.later, account.unanswered), (0, 4, 1, 1));
        assert!(!account.is_right());
    }

    #[test]
    fn sms_that_nobody_planned_are_strange_and_breaches_are_wrong() {
        let account = of_one(vec![Told::Delivered], &[whole(0), None, whole(7)]);
        assert_eq!((account.sent, account.strange, account.is_right()), (1, 2, false));
        assert!(!Account { breaches: 1, ..Account::default() }.is_right());
    }
}
