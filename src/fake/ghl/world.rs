//! Everything a fake GHL remembers, and the ids it gives.
//!
//! Owns the data that the endpoint modules (`oauth`, `location`, `message`, `contact`) change under one lock. Ids look
//! as GHL's do: 20 characters of `[A-Za-z0-9]`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::fault::Faults;
use super::knob::{
    AddresseeRule, ChannelList, ChannelSpelling, FakeGhlOptions, GrantHealth, Install, InstallTarget, MintShape,
    PhoneRule, ProviderIdRule, ProviderKind, TokenSpelling,
};
use super::limit::Window;
use super::seen::{ContactSeen, Direction, GhlCall, InboundSeen, StatusSeen};
use super::token::{Grant, Vault};
use crate::domain::time::{Mono, UnixMillis};
use crate::fake::Unexpected;

/// A sub-account.
pub(super) struct Place {
    pub(super) company: String,
    pub(super) installed: bool,
    /// Whether our provider is the one it sends SMS by.
    pub(super) default_provider: bool,
}

/// An outbound message whose webhook was sent, or which a test registered.
pub(super) struct Message {
    pub(super) location_id: String,
    pub(super) conversation_id: Option<String>,
    /// From then on its status can be set.
    pub(super) ready: Mono,
    pub(super) statuses: Vec<StatusSeen>,
}

/// A line of a conversation.
pub(super) struct Line {
    pub(super) at: UnixMillis,
    pub(super) message_id: String,
    pub(super) location_id: String,
    pub(super) contact_id: String,
    pub(super) conversation_id: String,
    pub(super) direction: Direction,
    pub(super) body: Option<String>,
    pub(super) alt_id: Option<String>,
    pub(super) attachments: Vec<String>,
}

/// The variations a test may turn.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) provider_kind: HashMap<String, ProviderKind>,
    pub(super) provider_id: ProviderIdRule,
    pub(super) phone: PhoneRule,
    pub(super) addressee: AddresseeRule,
    /// So many searches do not know a conversation yet that is there.
    pub(super) search_behind: u32,
    pub(super) mint: MintShape,
    pub(super) token_spelling: TokenSpelling,
    pub(super) channel_spelling: ChannelSpelling,
    pub(super) channel_list: ChannelList,
    /// So many inbound messages are answered 2xx without an id, and not stored.
    pub(super) lose_inbound: u32,
}

pub(super) struct World {
    pub(super) options: FakeGhlOptions,
    pub(super) webhook_url: Option<String>,
    pub(super) lifecycle_url: Option<String>,
    pub(super) rules: Rules,
    pub(super) faults: Faults,
    pub(super) vault: Vault,
    pub(super) installs: VecDeque<Install>,
    pub(super) health: HashMap<String, GrantHealth>,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) windows: HashMap<String, Window>,
    pub(super) messages: HashMap<String, Message>,
    pub(super) told: usize,
    pub(super) contacts: BTreeMap<String, ContactSeen>,
    pub(super) lines: Vec<Line>,
    pub(super) inbound: Vec<InboundSeen>,
    pub(super) calls: Vec<GhlCall>,
    pub(super) unexpected: Vec<Unexpected>,
    /// Contact ids by conversation.
    pub(super) conversations: HashMap<String, String>,
    /// Contact ids by location and number.
    phone_book: HashMap<(String, String), String>,
    ids: Ids,
}

impl World {
    pub(super) fn new(options: FakeGhlOptions) -> Self {
        // A restarted process must not give ids and tokens it gave before.
        let seed = format!("{:08x}", options.clock.now().0 & 0xffff_ffff);
        Self {
            options,
            webhook_url: None,
            lifecycle_url: None,
            rules: Rules::default(),
            faults: Faults::default(),
            vault: Vault::new(seed.clone()),
            installs: VecDeque::new(),
            health: HashMap::new(),
            places: BTreeMap::new(),
            windows: HashMap::new(),
            messages: HashMap::new(),
            told: 0,
            contacts: BTreeMap::new(),
            lines: Vec::new(),
            inbound: Vec::new(),
            calls: Vec::new(),
            unexpected: Vec::new(),
            conversations: HashMap::new(),
            phone_book: HashMap::new(),
            ids: Ids { seed, serial: 0 },
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.options.clock.now()
    }

    pub(super) fn mono(&self) -> Mono {
        self.options.clock.mono()
    }

    /// A new id of 20 characters; `prefix` has three.
    pub(super) fn fresh_id(&mut self, prefix: &str) -> String {
        self.ids.fresh(prefix)
    }

    /// The part of the client id before the `-`.
    pub(super) fn app_id(&self) -> &str {
        let client_id = self.options.client_id.as_str();
        client_id.split_once('-').map_or(client_id, |(app_id, _)| app_id)
    }

    /// The sub-account, made where it is new.
    pub(super) fn place(&mut self, location_id: &str, company_id: &str) -> &mut Place {
        self.places.entry(location_id.to_owned()).or_insert_with(|| Place {
            company: company_id.to_owned(),
            installed: false,
            default_provider: true,
        })
    }

    /// Installs the app as `install` says and gives the code that tells of it.
    pub(super) fn install(&mut self, install: Install, scopes: Vec<String>, redirect_uri: Option<String>) -> String {
        let company = install.company_id.clone();
        let locations = match &install.target {
            InstallTarget::Location(id) => std::slice::from_ref(id),
            InstallTarget::Company(approved) => approved.as_slice(),
        };
        for id in locations {
            self.place(id, &company).installed = true;
        }
        let now = self.mono();
        self.vault.issue_code(Grant::of(install, scopes), redirect_uri, now)
    }

    /// Removes the app from a location, or from a company and all its locations; every token is void.
    pub(super) fn uninstall(&mut self, owner_id: &str) {
        self.vault.forget(owner_id);
        let mut gone = Vec::new();
        for (id, place) in &mut self.places {
            if id == owner_id || place.company == owner_id {
                place.installed = false;
                gone.push(id.clone());
            }
        }
        gone.iter().for_each(|id| self.vault.forget(id));
    }

    /// The contact with this number in this location, made where it is new; says which.
    pub(super) fn contact_by_phone(&mut self, location_id: &str, phone: &str) -> (&mut ContactSeen, bool) {
        let known = self.known_contact(location_id, phone).map(|contact| contact.id.clone());
        let new = known.is_none();
        let id = known.unwrap_or_else(|| self.fresh_id("CON"));
        (self.contact(id, location_id, phone), new)
    }

    /// The contact with this number in this location.
    pub(super) fn known_contact(&self, location_id: &str, phone: &str) -> Option<&ContactSeen> {
        let id = self.phone_book.get(&(location_id.to_owned(), as_stored(phone)))?;
        self.contacts.get(id)
    }

    /// The contact with this id, made where it is new.
    pub(super) fn contact(&mut self, id: String, location_id: &str, phone: &str) -> &mut ContactSeen {
        match self.contacts.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let id = new.key().clone();
                let conversation_id = self.ids.fresh("CNV");
                self.conversations.insert(conversation_id.clone(), id.clone());
                let phone = as_stored(phone);
                let number = (location_id.to_owned(), phone.clone());
                self.phone_book.entry(number).or_insert_with(|| id.clone());
                new.insert(ContactSeen {
                    id,
                    location_id: location_id.to_owned(),
                    conversation_id,
                    phone,
                    source: None,
                    dnd: None,
                })
            }
        }
    }
}

/// Gives ids of 20 characters.
struct Ids {
    seed: String,
    serial: u64,
}

impl Ids {
    fn fresh(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}{}{:09}", self.seed, self.serial)
    }
}

/// A contact's number as the CRM keeps it. Workflows hand out `09…` and `9…` for numbers it knows as E.164.
fn as_stored(phone: &str) -> String {
    let digits = phone.strip_prefix('0').unwrap_or(phone);
    if digits.len() == 10 && digits.starts_with('9') { format!("+63{digits}") } else { phone.to_owned() }
}

/// Whether `phone` has the form of E.164.
pub(super) fn is_e164(phone: &str) -> bool {
    phone.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
    })
}
