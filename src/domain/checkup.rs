//! The set-up check: what was found about an installation or about the bridge, judged into rows a person can act on.
//!
//! Owns the words: of each check what it means and what to do next (ghl contract §7, bridge §5). Invariant: what could not be
//! found out is [`Verdict::Unknown`] and never guessed; no row holds text, numbers or tokens. Pure: whoever calls gathers.

mod bridge;

pub use bridge::{BridgeFindings, Clocks, DefaultLocation, bridge};

use serde::{Deserialize, Serialize};

use super::agency::Progress;
use super::compose;
use super::installation::{GrantKind, InstallState};
use super::message::{Message, State};
use super::report::GivenUp;
use super::scope;
use super::time::{UnixMillis, in_words};

/// How a check came out, in the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// It could not be found out.
    Unknown,
    /// It works, or will by itself, and somebody should know.
    Warn,
    /// It does not work until somebody does something.
    Bad,
}

impl Verdict {
    /// The word in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// The worst of these rows.
    #[must_use]
    pub fn worst<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        rows.into_iter().map(|row| row.verdict).max().unwrap_or(Self::Ok)
    }
}

/// What is checked: first of an installation, then of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Connection,
    Token,
    Scopes,
    Provider,
    SubAccounts,
    Webhook,
    Sent,
    Statuses,
    Links,
    Disk,
    Clock,
    ProviderId,
    AskedScopes,
    DefaultLocation,
}

impl Check {
    /// The word in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Token => "token",
            Self::Scopes => "scopes",
            Self::Provider => "provider",
            Self::SubAccounts => "sub_accounts",
            Self::Webhook => "webhook",
            Self::Sent => "sent",
            Self::Statuses => "statuses",
            Self::Links => "links",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::ProviderId => "provider_id",
            Self::AskedScopes => "asked_scopes",
            Self::DefaultLocation => "default_location",
        }
    }
}

/// One check with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub check: Check,
    pub verdict: Verdict,
    /// What was found, and what it means.
    pub means: String,
    /// What to do next; absent where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Row {
    /// A row with nothing to do.
    #[must_use]
    pub fn new(check: Check, verdict: Verdict, means: impl Into<String>) -> Self {
        Self { check, verdict, means: means.into(), next: None }
    }

    fn next(self, what: impl Into<String>) -> Self {
        Self { next: Some(what.into()), ..self }
    }
}

/// What was found about an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub standing: Standing,
    /// Absent where there is none to look at.
    pub token: Option<Token>,
    /// Absent where neither the token nor the grant says.
    pub scopes: Option<Granted>,
    /// Of a sub-account with a token.
    pub channel: Channel,
    pub activity: Activity,
    /// Of an agency.
    pub progress: Option<Progress>,
}

/// How it is connected, in the words of `installs list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Absent where nobody connected it.
    pub state: Option<InstallState>,
    pub kind: GrantKind,
    pub in_doubt: bool,
    /// Connected, or disconnected.
    pub since: Option<UnixMillis>,
}

/// The stored access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// No key opens it, and why.
    Sealed(String),
    Expired,
    /// GHL accepted it just now.
    Accepted {
        ends: UnixMillis,
    },
    /// It has not expired, and GHL was not asked or did not answer.
    Untried {
        ends: UnixMillis,
    },
    /// GHL answered 401.
    Refused,
}

/// The scopes of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub scopes: Vec<String>,
    pub source: ScopeSource,
}

/// Who says which scopes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeSource {
    /// The token itself.
    Token,
    /// GHL's reply when the token was given.
    Grant,
}

/// GHL's answer to "which providers has this sub-account?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    NotAsked,
    Providers(Vec<Provider>),
    /// 403: a scope is missing.
    Forbidden,
    /// 401: said of the token, too.
    Unauthorized,
    /// 429.
    Limited,
    /// Another refusal.
    Refused(u16),
    /// No answer, or none that can be read.
    NoAnswer,
}

/// A provider of SMS in a sub-account's settings; each member may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    pub id: Option<String>,
    pub name: Option<String>,
    pub default: Option<bool>,
}

/// What the newest messages of a sub-account show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Messages looked at; older ones, and those past `RETENTION`, are not among them.
    pub messages: usize,
    /// Of these, neither sent nor given up yet.
    pub open: usize,
    /// Of these, with a link in them.
    pub with_links: usize,
    /// Of these, those whose status GHL refused for want of a scope (ghl contract §4).
    pub statuses_forbidden: usize,
    pub last_webhook: Option<UnixMillis>,
    pub last_sent: Option<UnixMillis>,
}

impl Activity {
    /// Counts over messages.
    #[must_use]
    pub fn of<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Self {
        messages.into_iter().fold(Self::default(), |sum, message| {
            let p = &message.progress;
            let sent = p.settled_at.filter(|_| p.state == State::Accepted);
            let forbidden = p.report.as_ref().is_some_and(|report| report.given_up == Some(GivenUp::Scopes));
            Self {
                messages: sum.messages + 1,
                open: sum.open + usize::from(!p.state.settled()),
                with_links: sum.with_links + usize::from(has_link(message)),
                statuses_forbidden: sum.statuses_forbidden + usize::from(forbidden),
                last_webhook: sum.last_webhook.max(Some(message.accepted.at)),
                last_sent: sum.last_sent.max(sent),
            }
        })
    }
}

/// In what was or is to be sent, attachments included; before it was composed, in the text.
fn has_link(message: &Message) -> bool {
    let parts = &message.progress.parts;
    let text = message.accepted.intake.text.as_deref();
    parts.iter().any(|part| compose::has_link(&part.text)) || (parts.is_empty() && text.is_some_and(compose::has_link))
}

/// What judging an installation needs to know of the bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// `BASE_URL`, without a trailing slash.
    pub base_url: Option<String>,
    /// `GHL_CONVERSATION_PROVIDER_ID`.
    pub provider_id: Option<String>,
}

impl Setting {
    /// A path of ours, in full where that is known.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.as_deref().unwrap_or("BASE_URL"))
    }

    fn install_url(&self) -> String {
        self.url("/install")
    }
}

/// Where the provider is chosen.
const CHOOSE: &str = "an agency user chooses it in the sub-account: Settings → Phone Numbers → Advanced Settings → SMS \
                      Provider → Cast SMS → Save";
/// What the conversation provider of the app is called in the sub-account's settings.
const NAME: &str = "Cast SMS";

/// The rows of an installation: what can't be known without a token is left out where there is none.
#[must_use]
pub fn installation(found: &Findings, setting: &Setting, now: UnixMillis) -> Vec<Row> {
    let mut rows = vec![connection(found, setting, now)];
    let kind = found.standing.kind;
    if let Some(token) = &found.token {
        rows.push(self::token(token, setting, now));
        rows.push(scopes(found.scopes.as_ref(), kind, setting));
        if kind == GrantKind::Location {
            rows.push(provider(&found.channel, setting));
        }
    }
    match (kind, found.progress) {
        (GrantKind::Company, progress) => rows.extend(progress.map(sub_accounts)),
        (GrantKind::Location, _) => {
            rows.push(webhook(&found.activity, setting, now));
            rows.push(sent(&found.activity, now));
            rows.extend(statuses(&found.activity, setting));
            rows.extend(links(&found.activity));
        }
    }
    rows
}

fn connection(found: &Findings, setting: &Setting, now: UnixMillis) -> Row {
    let Standing { state, in_doubt, since, .. } = found.standing;
    let row = |verdict, means: &str| {
        let word = state.map_or("not known", InstallState::as_str);
        Row::new(Check::Connection, verdict, format!("{word}: {means}"))
    };
    let ago = since.map(|at| format!("{} ago", in_words(now.since(at)))).unwrap_or_default();
    let connect = format!("open {} and connect it", setting.install_url());
    if in_doubt {
        let means = "GHL said that the app was removed, perhaps long ago; the leader asks whether that still holds";
        return row(Verdict::Warn, means).next("wait a minute and look again");
    }
    match state {
        None => row(Verdict::Bad, "nobody has connected it, so nothing is sent for it").next(connect),
        Some(InstallState::Active) => row(Verdict::Ok, &format!("connected {ago}")),
        Some(InstallState::Suspended) => {
            row(Verdict::Warn, "GHL says the sub-account is paused or unpaid; SMS go on, statuses and replies wait")
                .next("nothing here: it is asked again every 15 minutes and comes back by itself")
        }
        Some(InstallState::Reauthorize) => {
            row(Verdict::Bad, "GHL ended the grant; SMS go on, statuses and replies wait")
                .next(format!("open {} and connect it again", setting.install_url()))
        }
        Some(InstallState::WaitingForToken) => {
            row(Verdict::Warn, "its token is still to be minted from its agency's; its messages wait")
                .next("wait; if it stays so, look at the agency in `cast-ghl installs list`")
        }
        Some(InstallState::NotConnected) => {
            row(Verdict::Bad, "GHL gives no token for it, so nothing is sent for it").next(connect)
        }
        Some(InstallState::Uninstalled) => {
            row(Verdict::Warn, &format!("it was disconnected {ago}; nothing is sent for it"))
                .next(format!("if that was not meant, open {} and connect it again", setting.install_url()))
        }
    }
}

fn token(token: &Token, setting: &Setting, now: UnixMillis) -> Row {
    let row = |verdict, means: String| Row::new(Check::Token, verdict, means);
    let left = |ends: UnixMillis| in_words(ends.since(now));
    match token {
        Token::Accepted { ends } => {
            row(Verdict::Ok, format!("GHL accepts it; it ends in {} and is renewed before", left(*ends)))
        }
        Token::Untried { ends } => row(Verdict::Ok, format!("it ends in {} and is renewed before", left(*ends))),
        Token::Expired => row(Verdict::Warn, "it has expired: waiting for the leader, which alone renews it".into())
            .next("see that `cast-ghl serve` runs; if it does and this stays, read its log for `refresh`"),
        Token::Sealed(why) => row(Verdict::Bad, format!("no key opens the stored token: {why}")).next(format!(
            "put that key back into TOKEN_ENCRYPTION_KEYS (`cast-ghl keys status`), or open {} and connect it again",
            setting.install_url()
        )),
        Token::Refused => row(Verdict::Bad, "GHL refuses it (401)".into()).next(format!(
            "the leader renews it with the next call it needs it for; if this stays, open {} and connect it again",
            setting.install_url()
        )),
    }
}

fn scopes(granted: Option<&Granted>, kind: GrantKind, setting: &Setting) -> Row {
    let row = |verdict, means: String| Row::new(Check::Scopes, verdict, means);
    let Some(Granted { scopes, source }) = granted else {
        return row(Verdict::Unknown, "neither the token nor what GHL said when it gave it names its scopes".into());
    };
    let source = match source {
        ScopeSource::Token => "by the token itself",
        ScopeSource::Grant => "by what GHL said when it gave the token, whose own list can't be read",
    };
    let missing = scope::missing(scopes, kind);
    if missing.is_empty() {
        return row(Verdict::Ok, format!("all that are needed, {source}"));
    }
    let verdict = if missing.iter().any(|s| s.is_vital(kind)) { Verdict::Bad } else { Verdict::Warn };
    let lacking: Vec<String> = missing.iter().map(|s| format!("{}: {}", s.name, s.without)).collect();
    row(verdict, format!("missing, {source}: {}", lacking.join("; "))).next(format!(
        "add them to the marketplace app (a published app needs a new version) and to GHL_SCOPES if that is set, then open {} \
         and connect it again",
        setting.install_url()
    ))
}

fn provider(channel: &Channel, setting: &Setting) -> Row {
    let row = |verdict, means: String| Row::new(Check::Provider, verdict, means);
    let unknown = |means: &str| row(Verdict::Unknown, means.to_owned());
    let look = format!("look it up: {CHOOSE}");
    let providers = match channel {
        Channel::Providers(providers) => providers,
        Channel::NotAsked => return unknown("not asked: there is no token that GHL would take").next(look),
        Channel::Unauthorized => return unknown("GHL refuses the token").next(look),
        Channel::Forbidden => {
            return unknown("GHL refuses the question (403): the token lacks the scope locations.readonly").next(look);
        }
        Channel::Limited => return unknown("GHL limits this sub-account (429)").next("ask again in a minute"),
        Channel::Refused(status) => return unknown(&format!("GHL refuses the question ({status})")).next(look),
        Channel::NoAnswer => return unknown("GHL gave no answer that can be read").next("ask again in a minute"),
    };
    let default = providers.iter().find(|p| p.default == Some(true));
    let default = default.and_then(|p| p.name.as_deref());
    let by_name = |p: &&Provider| p.name.as_deref().is_some_and(|name| name.trim().eq_ignore_ascii_case(NAME));
    let by_id = |p: &&Provider| setting.provider_id.is_some() && p.id == setting.provider_id;
    let Some(ours) = providers.iter().find(by_id).or_else(|| providers.iter().find(by_name)) else {
        let default = default.map(|name| format!("; its default is “{name}”")).unwrap_or_default();
        return unknown(&format!(
            "of the {} providers GHL lists none has our id or is called {NAME}{default}",
            providers.len()
        ))
        .next(look);
    };
    let how = if by_id(&ours) { "" } else { " (known by its name alone)" };
    match (ours.default, default) {
        (Some(true), _) => row(Verdict::Ok, format!("{NAME} is the sub-account's SMS provider{how}")),
        (Some(false), Some(other)) => {
            row(Verdict::Bad, format!("the sub-account sends its SMS by “{other}”, not by {NAME}{how}")).next(CHOOSE)
        }
        (Some(false), None) => {
            row(Verdict::Bad, format!("{NAME} is not the sub-account's SMS provider{how}")).next(CHOOSE)
        }
        (None, _) => unknown(&format!("GHL lists {NAME}{how} and does not say whether it is the default")).next(look),
    }
}

fn sub_accounts(progress: Progress) -> Row {
    let Progress { connected, known, listed } = progress;
    let row = |verdict, means: String| Row::new(Check::SubAccounts, verdict, means);
    match (listed, connected == known) {
        (false, _) => row(Verdict::Warn, format!("{connected} connected; the agency's list is still being read"))
            .next("wait a minute and look again"),
        (true, false) => {
            row(Verdict::Warn, format!("{connected} of {known} connected; the others wait for their token"))
                .next("wait; `cast-ghl installs list --company ID` shows which")
        }
        (true, true) => row(Verdict::Ok, format!("{connected} of {known} connected")),
    }
}

fn webhook(activity: &Activity, setting: &Setting, now: UnixMillis) -> Row {
    match activity.last_webhook {
        Some(at) => Row::new(Check::Webhook, Verdict::Ok, format!("the last message came {} ago", in_words(now.since(at)))),
        None => Row::new(Check::Webhook, Verdict::Warn, "no message came within RETENTION").next(format!(
            "send an SMS from a conversation; if none comes, see that the provider's delivery URL in the marketplace app is {}",
            setting.url("/api/ghl/v1/webhook/messages")
        )),
    }
}

fn sent(activity: &Activity, now: UnixMillis) -> Row {
    let row = |verdict, means: String| Row::new(Check::Sent, verdict, means);
    let Activity { messages, open, last_sent, .. } = *activity;
    match last_sent {
        Some(at) => row(Verdict::Ok, format!("Cast took the last SMS {} ago", in_words(now.since(at)))),
        None if messages == 0 => row(Verdict::Unknown, "there was nothing to send".into()),
        None if open == messages => row(Verdict::Warn, format!("{messages} wait to be sent, and none was sent yet"))
            .next("see that `cast-ghl serve` runs, and read its log for a refused Cast key"),
        None => row(Verdict::Bad, format!("Cast took none of the last {messages} messages"))
            .next("`cast-ghl messages list --state rejected --location ID` says why"),
    }
}

/// Only where there is something to say.
fn statuses(activity: &Activity, setting: &Setting) -> Option<Row> {
    let Activity { messages, statuses_forbidden, .. } = *activity;
    let means = format!(
        "of the last {messages} messages GHL refused the status of {statuses_forbidden} for want of a scope (403): the \
         conversation does not show what became of them"
    );
    let next = format!("see the scopes above; then open {} and connect it again", setting.install_url());
    (statuses_forbidden > 0).then(|| Row::new(Check::Statuses, Verdict::Warn, means).next(next))
}

fn links(activity: &Activity) -> Option<Row> {
    let Activity { messages, with_links, .. } = *activity;
    if messages == 0 {
        return None;
    }
    if with_links == 0 {
        return Some(Row::new(Check::Links, Verdict::Ok, format!("none in the last {messages} messages")));
    }
    let means = format!(
        "{with_links} of the last {messages} messages hold a link: Philippine carriers have blocked texts with clickable links \
         since 2023, so they may not arrive though Cast took them"
    );
    Some(
        Row::new(Check::Links, Verdict::Warn, means)
            .next("leave links out of texts, or ask Cast whether yours may pass"),
    )
}

#[cfg(test)]
#[path = "checkup_tests.rs"]
mod tests;
