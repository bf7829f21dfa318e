//! The documents of a run, each kept once, and the production rules as the only way from one to the next.
//!
//! Owns the translation between the model's small numbers and `domain`'s types. Invariant: no rule is restated here, every
//! change is a call of `domain::transition` or `domain::report`; that it is remembered per document is what makes millions
//! of states affordable. Must not know of replicas, stores or faults.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cast_ghl_provider::domain::id::{AttemptId, Epoch, GhlMessageId, LocationId};
use cast_ghl_provider::domain::message::{
    Attempt, AttemptResult, FailureCode, HeldFor, Intake, Message, PartRecord, Progress, State,
};
use cast_ghl_provider::domain::report::{ReportReply, Verdict};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::domain::transition::{self, Claim, Recorded, Refused, Rules};

/// All that happens, happens now; only a claim may come after a message's age has run out.
const NOW: UnixMillis = UnixMillis(0);

/// What a try came to, as far as its process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Learnt {
    Accepted,
    NotSent,
    Rejected,
    Unknown,
}

/// What a report's call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    Told,
    Trouble,
}

/// When a claim is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hour {
    InTime,
    /// After `message_max_age`.
    TooLate,
}

/// One call of a production rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Claim { epoch: u8, hour: Hour },
    Unclaim { epoch: u8 },
    Hold { epoch: u8 },
    Reject { epoch: u8 },
    Begin { epoch: u8, attempt: u8 },
    Doubt { attempt: u8 },
    Judge { attempt: u8 },
    Record { attempt: u8, learnt: Learnt },
    Tell { revision: u32, reply: Reply },
}

/// A document of the run; two are equal when all they hold is.
#[derive(Clone)]
pub struct Doc(Arc<Page>);

struct Page {
    number: u32,
    message: Message,
    parts: u8,
    verdict: Option<u16>,
}

impl Doc {
    pub fn progress(&self) -> &Progress {
        &self.0.message.progress
    }

    pub fn state(&self) -> State {
        self.progress().state
    }

    pub fn settled(&self) -> bool {
        self.state().settled()
    }

    /// Number and part of the newest try.
    pub fn newest(&self) -> Option<(u8, usize)> {
        self.progress().newest().and_then(|a| Some((number(a)?, a.part)))
    }

    /// What the document says of a try.
    pub fn result(&self, attempt: u8) -> Option<AttemptResult> {
        self.progress().attempts.iter().find(|a| number(a) == Some(attempt)).map(|a| a.result)
    }

    pub fn accepted(&self, part: usize) -> bool {
        self.progress().parts.get(part).is_some_and(|p| p.accepted)
    }

    /// A report that is due now or later: its revision and the number of its verdict.
    pub fn due(&self) -> Option<(u32, u16)> {
        let report = self.progress().report.as_ref()?;
        report.due_at.and(self.0.verdict).map(|verdict| (report.revision, verdict))
    }

    /// The number of the newest verdict.
    pub fn verdict(&self) -> Option<u16> {
        self.0.verdict
    }
}

fn number(attempt: &Attempt) -> Option<u8> {
    attempt.id.0.parse().ok()
}

impl PartialEq for Doc {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Doc {}

impl Hash for Doc {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.number.hash(state);
    }
}

impl fmt::Debug for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = self.progress();
        write!(f, "{}@{}", p.state.as_str(), p.epoch.0)?;
        if p.crashes > 0 {
            write!(f, " crashes {}", p.crashes)?;
        }
        for a in &p.attempts {
            write!(f, " #{}:{:?}", a.id.0, a.result)?;
        }
        if let Some(report) = &p.report {
            let code = p.code.map_or("", FailureCode::as_str);
            write!(f, " report {:?} {code} rev {} told {:?}", report.verdict.status, report.revision, report.told)?;
        }
        Ok(())
    }
}

/// Every document seen so far.
pub struct Book {
    rules: Rules,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    docs: HashMap<String, Doc>,
    verdicts: Vec<Verdict>,
    known: HashMap<(u32, Change), Result<Doc, Refused>>,
}

impl Book {
    pub fn new(rules: Rules) -> Self {
        Self { rules, shelf: Mutex::default() }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A message just accepted, whose text makes this many parts; or claimed in vain this often.
    pub fn accept(&self, name: &str, parts: u8, crashes: u32) -> Doc {
        let intake = Intake {
            location: LocationId::parse("L").expect("a letter"),
            message_id: GhlMessageId::parse(name).expect("a letter and a digit"),
            contact_id: None,
            conversation_id: None,
            phone: Some("09171234567".to_owned()),
            text: None,
            attachments: Vec::new(),
            user_id: None,
        };
        let mut message = Message::accept(intake, NOW, "replica", 0);
        message.progress.crashes = crashes;
        self.shelf().keep(message, parts)
    }

    /// What follows by the rule; asked once per document and change.
    pub fn change(&self, doc: &Doc, change: Change) -> Result<Doc, Refused> {
        let mut shelf = self.shelf();
        if let Some(known) = shelf.known.get(&(doc.0.number, change)) {
            return known.clone();
        }
        let page = &doc.0;
        let next = self.rule(&page.message, page.parts, change);
        let next = next.map(|progress| shelf.keep(page.message.with(progress), page.parts));
        shelf.known.insert((page.number, change), next.clone());
        next
    }

    fn rule(&self, m: &Message, parts: u8, change: Change) -> Result<Progress, Refused> {
        let rules = &self.rules;
        match change {
            Change::Claim { epoch, hour } => {
                let now = match hour {
                    Hour::InTime => NOW,
                    Hour::TooLate => NOW.after(rules.message_max_age + Duration::from_secs(1)),
                };
                transition::claim(m, term(epoch), now, rules).map(|claim| match claim {
                    Claim::Go(p) | Claim::Settled(p) => p,
                })
            }
            Change::Unclaim { epoch } => transition::unclaim(m, term(epoch)),
            Change::Hold { epoch } => transition::hold(m, term(epoch), NOW, HeldFor::Installation),
            Change::Reject { epoch } => {
                let sentence = "This text is empty.".to_owned();
                transition::reject(m, term(epoch), FailureCode::EmptyMessage, sentence, NOW, rules)
            }
            Change::Begin { epoch, attempt } => {
                let part =
                    PartRecord { text: String::new(), segments: 1, accepted: false, gateway_id: None, receipt: None };
                transition::begin(m, term(epoch), &vec![part; parts.into()], id(attempt), NOW)
            }
            Change::Doubt { attempt } => transition::doubt(m, &id(attempt)),
            Change::Judge { attempt } => transition::judge(m, &id(attempt), NOW, rules),
            Change::Record { attempt, learnt } => transition::record(m, &id(attempt), &outcome(learnt), NOW, rules),
            Change::Tell { revision, reply } => {
                let report = m.progress.report.as_ref().ok_or(Refused::NoChange)?;
                let reply = match reply {
                    Reply::Told => ReportReply::Told,
                    Reply::Trouble => ReportReply::Trouble,
                };
                let report = report.after_reply(revision, &reply, NOW, 0.5);
                Ok(Progress { report: Some(report), ..m.progress.clone() })
            }
        }
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn keep(&mut self, message: Message, parts: u8) -> Doc {
        let key = format!("{}{:?}", message.id, message.progress);
        if let Some(known) = self.docs.get(&key) {
            return known.clone();
        }
        let verdict = message.progress.report.as_ref().map(|report| self.verdict(&report.verdict));
        let number = u32::try_from(self.docs.len()).expect("fewer documents than states");
        let doc = Doc(Arc::new(Page { number, message, parts, verdict }));
        self.docs.insert(key, doc.clone());
        doc
    }

    fn verdict(&mut self, verdict: &Verdict) -> u16 {
        let known = self.verdicts.iter().position(|v| v == verdict);
        let at = known.unwrap_or_else(|| {
            self.verdicts.push(verdict.clone());
            self.verdicts.len() - 1
        });
        u16::try_from(at).expect("a handful of verdicts")
    }
}

fn term(epoch: u8) -> Epoch {
    Epoch(epoch.into())
}

fn id(attempt: u8) -> AttemptId {
    AttemptId(attempt.to_string())
}

fn outcome(learnt: Learnt) -> Recorded {
    match learnt {
        Learnt::Accepted => Recorded::Accepted { gateway_id: None },
        Learnt::NotSent => Recorded::NotSent,
        Learnt::Rejected => Recorded::Rejected { reason: "blocked".to_owned() },
        Learnt::Unknown => Recorded::Unknown { gateway_id: None },
    }
}
