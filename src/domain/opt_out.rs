//! Opting out: which reply is a STOP or a START, whom it covers, and the suppression that holds messages back.
//!
//! Invariant: the newest word on a (scope, phone) holds; an older one that comes late changes nothing. A suppression is never
//! forgotten, only lifted: by the person, by an operator, or by an agent who clears the block GHL acknowledged (bridge §7).
//! Pure: imports `id`, `inbound`'s senders, `phone`, `time`; how the block reaches GHL is `dnd`'s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dnd::Mirror;
use super::id::{DocId, LocationId};
use super::inbound::Sender;
use super::message::DOCUMENT_VERSION;
use super::phone::Phone;
use super::time::UnixMillis;

/// How far back an outbound message counts: a STOP that names no location covers all who sent one since (bridge §7).
pub const STOP_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Ids of GHL's events kept in a suppression, so that a repeat lifts nothing.
const EVENTS_KEPT: usize = 16;

/// What a reply asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
}

/// The words that stop and start, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    stop: Vec<String>,
    start: Vec<String>,
}

impl Words {
    /// The words, each as an operator wrote it.
    #[must_use]
    pub fn new(stop: &[String], start: &[String]) -> Self {
        Self { stop: stop.to_vec(), start: start.to_vec() }
    }

    /// What a message asks for: the whole of it is one of the words, whatever its case, the space around it and the `.` and `!`
    /// behind it.
    #[must_use]
    pub fn read(&self, message: &str) -> Option<Wish> {
        // Nobody's word is longer, and a page of text need not be folded.
        if message.len() > 400 {
            return None;
        }
        let said = folded(message);
        let is = |words: &[String]| !said.is_empty() && words.iter().any(|word| folded(word) == said);
        match (is(&self.stop), is(&self.start)) {
            (true, _) => Some(Wish::Stop),
            (false, true) => Some(Wish::Start),
            (false, false) => None,
        }
    }

    /// What an agent reads who writes to somebody who opted out: "This person replied STOP. They can text START."
    #[must_use]
    pub fn sentence(&self) -> String {
        let first = |words: &[String]| words.first().cloned().unwrap_or_default();
        format!("This person replied {}. They can text {}.", first(&self.stop), first(&self.start))
    }
}

/// A message or word in the one spelling that is compared. Phones put in full-width letters, invisible marks, no-break spaces.
#[must_use]
pub fn folded(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !invisible(*c)).map(narrow).collect();
    let spaced = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let bare = spaced.trim_end_matches(['.', '!', ' ']);
    // By way of the capitals: `ß` and `ss`, a final and a middle sigma are the same to whoever shouts.
    bare.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Marks without width: joiners, directions, the byte-order mark, variation selectors, the soft hyphen.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// A full-width form as its ASCII character.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    }
}

/// Where messages are held back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Those of one location.
    Location(LocationId),
    /// All: the person said STOP when nobody was known to have written to them.
    Everywhere,
}

impl Scope {
    /// The key of the suppression of a phone in this scope.
    #[must_use]
    pub fn document(&self, phone: &Phone) -> DocId {
        DocId::suppression(self.location().map_or("*", LocationId::as_str), phone.e164())
    }

    /// The one location, if it is one.
    #[must_use]
    pub fn location(&self) -> Option<&LocationId> {
        match self {
            Self::Location(location) => Some(location),
            Self::Everywhere => None,
        }
    }
}

/// Whom a STOP covers: the location it names; else all that messaged the phone in 30 days; if none did, all that ever did; and
/// if none is known, everybody.
#[must_use]
pub fn covered(explicit: Option<&LocationId>, senders: &[Sender], now: UnixMillis) -> Vec<Scope> {
    if let Some(location) = explicit {
        return vec![Scope::Location(location.clone())];
    }
    let of = |recent: bool| -> Vec<Scope> {
        let counted = senders.iter().filter(|s| !recent || now.since(s.last_outbound_at) <= STOP_MEMORY);
        counted.map(|s| Scope::Location(s.location.clone())).collect()
    };
    [of(true), of(false)].into_iter().find(|scopes| !scopes.is_empty()).unwrap_or_else(|| vec![Scope::Everywhere])
}

/// Whether a START lifts a suppression: exactly what a STOP by the same route would have set. A suppressed location falls
/// silent, so its 30 days are counted from then. What covers everybody was set for want of a name: any START lifts it.
#[must_use]
pub fn lifts(explicit: Option<&LocationId>, held: &Suppression, senders: &[Sender]) -> bool {
    match (&held.scope(), explicit) {
        (Scope::Everywhere, _) => true,
        (Scope::Location(of), Some(location)) => of == location,
        (Scope::Location(_), None) if !held.explicit => true,
        (Scope::Location(of), None) => {
            senders.iter().any(|s| s.location == *of && s.last_outbound_at >= held.since.before(STOP_MEMORY))
        }
    }
}

/// A word of the person, with when it came and by which route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub at: UnixMillis,
    /// The reply that holds it.
    pub reply: DocId,
    /// By naming the location, itself or by the number it was sent to.
    pub explicit: bool,
}

/// Who lifted a suppression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiftedBy {
    /// The person, by START.
    Person,
    /// An agent, by clearing the block in the CRM.
    Agent,
    /// An operator.
    Operator,
}

/// When and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    pub at: UnixMillis,
    pub by: LiftedBy,
}

/// Messages of a scope to a phone are held back, or were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    pub v: u32,
    /// Absent: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    pub phone: Phone,
    /// When the person said STOP, last.
    pub since: UnixMillis,
    /// The STOP named the location. Once unnamed, always so: an unnamed START lifts it.
    pub explicit: bool,
    /// The reply that said it.
    pub reply: DocId,
    /// Time of the newest word on it: an older one changes nothing.
    pub changed_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Lifted>,
    /// The block as GHL shows it.
    #[serde(default)]
    pub mirror: Mirror,
    /// GHL's events that lifted it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

impl Suppression {
    /// What a STOP sets where nothing was.
    #[must_use]
    pub fn begin(scope: &Scope, phone: &Phone, said: &Said) -> Self {
        Self {
            v: DOCUMENT_VERSION,
            location: scope.location().cloned(),
            phone: phone.clone(),
            since: said.at,
            explicit: said.explicit,
            reply: said.reply.clone(),
            changed_at: said.at,
            lifted: None,
            mirror: if scope.location().is_some() { Mirror::due(said.at) } else { Mirror::default() },
            events: Vec::new(),
        }
    }

    /// Its scope.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.location.clone().map_or(Scope::Everywhere, Scope::Location)
    }

    /// Messages are held back.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.lifted.is_none()
    }

    /// The phone's STOP, once more or after it was lifted; `None` when it changes nothing.
    #[must_use]
    pub fn stopped(&self, said: &Said) -> Option<Self> {
        if said.at < self.changed_at || (said.at == self.changed_at && self.stands()) {
            return None;
        }
        let again = if self.location.is_some() { self.mirror.renewed(said.at) } else { Mirror::default() };
        Some(Self {
            since: said.at,
            explicit: said.explicit && (self.explicit || !self.stands()),
            reply: said.reply.clone(),
            changed_at: said.at,
            lifted: None,
            mirror: if self.stands() && self.mirror.acknowledged_at.is_some() { self.mirror.clone() } else { again },
            ..self.clone()
        })
    }

    /// Lifted; `None` when a later word holds. Of one that is lifted the time moves on: a STOP from before, which comes late,
    /// changes nothing.
    #[must_use]
    pub fn lift(&self, by: LiftedBy, at: UnixMillis) -> Option<Self> {
        if !self.stands() {
            return (at > self.changed_at).then(|| Self { changed_at: at, ..self.clone() });
        }
        if at < self.changed_at {
            return None;
        }
        let mirror = match by {
            // GHL says so itself.
            LiftedBy::Agent => self.mirror.at_rest(),
            LiftedBy::Person | LiftedBy::Operator => self.mirror.withdrawn(at),
        };
        Some(Self { changed_at: at, lifted: Some(Lifted { at, by }), mirror, ..self.clone() })
    }

    /// An agent cleared the block, says GHL's event `id`. It counts only if GHL had acknowledged our block before: the event of
    /// a contact who never had one, and a late event from before it, clear nothing.
    #[must_use]
    pub fn cleared(&self, id: &str, sent_at: Option<UnixMillis>, now: UnixMillis) -> Option<Self> {
        let acknowledged = self.mirror.acknowledged_at.filter(|_| self.stands())?;
        if self.events.iter().any(|seen| seen == id) || sent_at.is_some_and(|sent| sent < acknowledged) {
            return None;
        }
        let mut next = self.lift(LiftedBy::Agent, now.max(self.changed_at))?;
        next.events.push(id.to_owned());
        let surplus = next.events.len().saturating_sub(EVENTS_KEPT);
        next.events.drain(..surplus);
        Some(next)
    }
}

#[cfg(test)]
#[path = "opt_out_tests.rs"]
mod tests;
