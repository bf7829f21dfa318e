//! Codes, access tokens and refresh tokens: who holds what, and until when.
//!
//! Owns single use: a code is redeemed once, a refresh token is spent once and gives the same pair again for 30 s
//! (ghl contract §3). Time is an argument, always monotonic, so that a test that jumps the wall clock ages nothing.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::knob::{Install, InstallTarget, TokenForm, UserType};
use super::seen::Refreshes;
use crate::domain::time::Mono;

/// Life of an authorization code.
const CODE_LIFE: Duration = Duration::from_secs(600);
/// Within this a spent refresh token gives the same pair again.
const SAME_REPLY: Duration = Duration::from_secs(30);
/// Life of an unspent refresh token: a year.
const REFRESH_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// For whom a token acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Location { id: String, company: String },
    Company { id: String },
}

impl Owner {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Location { id, .. } | Self::Company { id } => id,
        }
    }

    pub(super) fn company(&self) -> &str {
        match self {
            Self::Location { company, .. } => company,
            Self::Company { id } => id,
        }
    }

    pub(super) fn user_type(&self) -> UserType {
        match self {
            Self::Location { .. } => UserType::Location,
            Self::Company { .. } => UserType::Company,
        }
    }
}

/// What an installation grants.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) owner: Owner,
    pub(super) user_id: String,
    pub(super) scopes: Vec<String>,
    /// The sub-accounts a company install approved.
    pub(super) approved: Vec<String>,
    /// It approved all of them, and those to come.
    pub(super) for_all: bool,
}

impl Grant {
    pub(super) fn of(install: Install, scopes: Vec<String>) -> Self {
        let Install { company_id, user_id, target, for_all } = install;
        let (owner, approved) = match target {
            InstallTarget::Location(id) => (Owner::Location { id, company: company_id }, Vec::new()),
            InstallTarget::Company(approved) => (Owner::Company { id: company_id }, approved),
        };
        Self { owner, user_id, scopes, approved, for_all }
    }
}

struct Code {
    grant: Grant,
    redirect_uri: Option<String>,
    ends: Mono,
}

struct Access {
    grant: Grant,
    ends: Mono,
}

struct Refresh {
    grant: Grant,
    ends: Mono,
    spent: Option<(Mono, Value)>,
}

/// A new access token and its refresh token.
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
}

/// What presenting a refresh token comes to.
pub(super) enum Presented {
    /// Unknown, or of this grant and too old or spent more than 30 s ago.
    Dead(Option<Grant>),
    /// Spent a moment ago: this is the reply it got.
    Again(Grant, Value),
    /// Good: to be spent by [`Vault::spend`].
    Fresh(Grant),
}

/// Everything GHL issued. It has no `Debug`: it holds tokens.
pub(super) struct Vault {
    seed: String,
    serial: u64,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    pub(super) refreshes: HashMap<String, Refreshes>,
    /// What access tokens look like.
    pub(super) form: TokenForm,
}

impl Vault {
    /// `seed` keeps the tokens of two runs apart.
    pub(super) fn new(seed: String) -> Self {
        Self {
            seed,
            serial: 0,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            refreshes: HashMap::new(),
            form: TokenForm::default(),
        }
    }

    /// A code for `grant`, bound to `redirect_uri` where there is one.
    pub(super) fn issue_code(&mut self, grant: Grant, redirect_uri: Option<String>, now: Mono) -> String {
        let code = self.fresh("code");
        let ends = now.after(CODE_LIFE);
        self.codes.insert(code.clone(), Code { grant, redirect_uri, ends });
        code
    }

    /// Redeems a code; presenting it uses it up, also with a wrong `redirect_uri`.
    pub(super) fn redeem(&mut self, code: &str, redirect_uri: &str, now: Mono) -> Option<Grant> {
        let code = self.codes.remove(code)?;
        let bound_elsewhere = code.redirect_uri.is_some_and(|bound| bound != redirect_uri);
        (now < code.ends && !bound_elsewhere).then_some(code.grant)
    }

    pub(super) fn issue_access(&mut self, grant: &Grant, life: Duration, now: Mono) -> String {
        let token = match self.form {
            TokenForm::Jwt => format!("{}.{}", unsigned(grant), self.fresh("access")),
            TokenForm::Opaque => self.fresh("access"),
        };
        let access = Access { grant: grant.clone(), ends: now.after(life) };
        self.access.insert(token.clone(), access);
        token
    }

    pub(super) fn issue_pair(&mut self, grant: &Grant, life: Duration, now: Mono) -> Pair {
        let refresh = self.fresh("refresh");
        let held = Refresh { grant: grant.clone(), ends: now.after(REFRESH_LIFE), spent: None };
        self.refresh.insert(refresh.clone(), held);
        Pair { access: self.issue_access(grant, life, now), refresh }
    }

    /// The grant behind an access token, and whether the token still lives.
    pub(super) fn bearer(&self, token: &str, now: Mono) -> Option<(&Grant, bool)> {
        let access = self.access.get(token)?;
        Some((&access.grant, now < access.ends))
    }

    pub(super) fn present(&self, token: &str, now: Mono) -> Presented {
        match self.refresh.get(token) {
            Some(Refresh { grant, spent: Some((at, reply)), .. }) if now.since(*at) <= SAME_REPLY => {
                Presented::Again(grant.clone(), reply.clone())
            }
            Some(Refresh { grant, spent: None, ends }) if now < *ends => Presented::Fresh(grant.clone()),
            known => Presented::Dead(known.map(|refresh| refresh.grant.clone())),
        }
    }

    /// Marks a refresh token spent; `reply` is what it gives again for 30 s.
    pub(super) fn spend(&mut self, token: &str, reply: Value, now: Mono) {
        if let Some(held) = self.refresh.get_mut(token) {
            held.spent = Some((now, reply));
        }
    }

    /// Ends every access token of `owner_id`; its refresh tokens stay good.
    pub(super) fn expire_access(&mut self, owner_id: &str) {
        let of_owner = self.access.values_mut().filter(|access| access.grant.owner.id() == owner_id);
        of_owner.for_each(|access| access.ends = Mono::default());
    }

    /// Forgets everything issued to `owner_id`.
    pub(super) fn forget(&mut self, owner_id: &str) {
        self.access.retain(|_, access| access.grant.owner.id() != owner_id);
        self.refresh.retain(|_, refresh| refresh.grant.owner.id() != owner_id);
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("fake-{kind}-{}-{:06}", self.seed, self.serial)
    }
}

/// Header and payload of a token as GHL's tokens have them; what stands for the signature comes after.
fn unsigned(grant: &Grant) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let payload = json!({
        "authClass": grant.owner.user_type(),
        "authClassId": grant.owner.id(),
        "source": "INTEGRATION",
        "channel": "OAUTH",
        "primaryAuthClassId": grant.owner.id(),
        "oauthMeta": {"scopes": grant.scopes},
    });
    [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}
