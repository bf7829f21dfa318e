//! What is sent: an endless sequence of messages over lanes that come and go, each text saying which message it is.
//!
//! Pure. Invariant: every word of a text names its message and its place, so that what Cast took can be read back word by
//! word, whatever a bridge made parts of. A lane gets a few messages while it is young and then no more: one that a crash
//! left in doubt holds back its own few messages, never the whole test.

use std::time::Duration;

use super::dice::Dice;

/// Sub-accounts. GHL is told at most 8 a second for each.
const LOCATIONS: u32 = 16;
/// Lanes that are young at the same time.
const YOUNG: usize = 40;
/// Of a thousand messages so many are long: two or three SMS calls.
const LONG: u32 = 100;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) number: u32,
    /// Location and phone.
    pub(super) lane: u32,
    pub(super) location: String,
    /// As the CRM has it.
    pub(super) phone: String,
    pub(super) text: String,
    /// Words of the text.
    pub(super) words: u32,
}

/// The sequence.
pub(super) struct Plan {
    dice: Dice,
    young: Vec<Lane>,
    lanes: u32,
    messages: u32,
    per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    number: u32,
    location: u32,
    left: u32,
}

impl Plan {
    pub(super) fn new(seed: u64, per_second: f64) -> Self {
        let mut plan = Self { dice: Dice::new(seed, "plan"), young: Vec::new(), lanes: 0, messages: 0, per_second };
        plan.young = (0..YOUNG).map(|_| plan.lane()).collect();
        plan
    }

    fn lane(&mut self) -> Lane {
        let number = self.lanes;
        self.lanes += 1;
        Lane { number, location: self.dice.within(0..=LOCATIONS - 1), left: self.dice.within(3..=12) }
    }

    /// The next message, and how long after the one before it is sent.
    pub(super) fn next(&mut self) -> (Duration, Planned) {
        let at = self.dice.below(YOUNG);
        let lane = self.young[at];
        if lane.left <= 1 {
            self.young[at] = self.lane();
        } else {
            self.young[at].left -= 1;
        }
        let number = self.messages;
        self.messages += 1;
        let words = if self.dice.chance(LONG) { self.dice.within(70..=120) } else { self.dice.within(1..=8) };
        let gap = Duration::from_secs_f64(f64::from(self.dice.within(0..=2000)) / 1000.0 / self.per_second);
        let planned = Planned {
            number,
            lane: lane.number,
            location: location(lane.location),
            phone: format!("+639{:09}", lane.number),
            text: text(number, words),
            words,
        };
        (gap, planned)
    }
}

/// Every sub-account that sends.
pub(super) fn locations() -> impl Iterator<Item = String> {
    (0..LOCATIONS).map(location)
}

fn location(n: u32) -> String {
    format!("LOCcrash{n:012}")
}

fn text(message: u32, words: u32) -> String {
    (0..words).map(|word| format!("{message}.{word}")).collect::<Vec<_>>().join(" ")
}

/// A word of a text: its message and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) message: u32,
    pub(super) place: u32,
}

/// Reads a text, or a part of one; `None` for what was never planned.
pub(super) fn words(text: &str) -> Option<Vec<Word>> {
    let word = |word: &str| {
        let (message, place) = word.split_once('.')?;
        Some(Word { message: message.parse().ok()?, place: place.parse().ok()? })
    };
    text.split(' ').map(word).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use cast_ghl_provider::domain::compose::{Attachments, ComposeRules, LongMessage, compose};
    use cast_ghl_provider::domain::id::LocationId;
    use cast_ghl_provider::domain::phone::Phone;

    use super::*;

    fn planned(count: usize) -> Vec<(Duration, Planned)> {
        let mut plan = Plan::new(42, 50.0);
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn lanes_have_several_messages_and_one_location_and_phone_each() {
        let mut lanes: HashMap<u32, (String, String, u32)> = HashMap::new();
        for (_, p) in planned(5000) {
            assert!(LocationId::parse(&p.location).is_ok());
            assert_eq!(Phone::parse(&p.phone).unwrap().e164(), p.phone);
            let lane = lanes.entry(p.lane).or_insert((p.location.clone(), p.phone.clone(), 0));
            assert_eq!((&lane.0, &lane.1), (&p.location, &p.phone));
            lane.2 += 1;
        }
        assert!(lanes.values().all(|lane| lane.2 <= 12));
        assert!(lanes.len() > 500, "{}", lanes.len());
        let phones: HashSet<&String> = lanes.values().map(|lane| &lane.1).collect();
        assert_eq!(phones.len(), lanes.len());
    }

    #[test]
    fn the_rate_is_kept_on_average() {
        let whole: Duration = planned(5000).iter().map(|(gap, _)| *gap).sum();
        assert!((95.0..105.0).contains(&whole.as_secs_f64()), "{whole:?}");
    }

    #[test]
    fn what_the_bridge_makes_of_a_text_can_be_read_back_word_by_word() {
        let rules = ComposeRules { long_message: LongMessage::Split, max_parts: 8, attachments: Attachments::Link };
        let mut long = 0;
        for (_, p) in planned(500) {
            let parts = compose(Some(&p.text), &[], &rules).unwrap();
            long += usize::from(parts.len() > 1);
            let read: Vec<Word> = parts.iter().flat_map(|part| words(&part.text).unwrap()).collect();
            let expected: Vec<Word> = (0..p.words).map(|place| Word { message: p.number, place }).collect();
            assert_eq!(read, expected);
        }
        assert!(long > 20, "{long}");
        assert_eq!(words("Hello there"), None);
    }
}
