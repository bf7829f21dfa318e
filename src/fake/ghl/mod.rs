//! A fake GHL: OAuth, message status, inbound messages, contacts, limits, and the webhooks it sends.
//!
//! Owns the vendor's side of the ghl contract, with the behaviour that surprises naive bridges as its default and every
//! documented variation behind a knob. Each call leaves a line in the ledger, each webhook a message whose status can
//! be set. Must not import `client` or `store`.

mod contact;
mod conversation;
mod date;
mod fault;
mod knob;
mod lifecycle;
mod limit;
mod location;
mod message;
mod oauth;
mod refusal;
mod route;
mod seen;
mod token;
mod webhook;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use tokio::sync::watch;

pub use self::fault::GhlFault;
pub use self::knob::{
    AddresseeRule, ChannelList, ChannelSpelling, DEFAULT_COMPANY, DEFAULT_LOCATION, DEFAULT_USER, FakeGhlOptions,
    GrantHealth, Install, InstallTarget, MintShape, PhoneRule, ProviderIdRule, ProviderKind, SCOPES, TokenForm,
    TokenSpelling, UserType,
};
pub use self::lifecycle::LifecycleHook;
pub use self::limit::RateLimit;
pub use self::seen::{ContactSeen, Direction, GhlCall, InboundSeen, Refreshes, StatusError, StatusSeen};
pub use self::webhook::{OutboundSms, Webhook};

use self::world::World;
use super::post::Postman;
use super::server::{Reply, Server, Site};
use super::{Unexpected, WebhookAnswer, lock};
use crate::signature::sign::SigningKey;

/// A handle on a running fake GHL. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct FakeGhl {
    server: Arc<Server<GhlSite>>,
    postman: Postman,
}

struct GhlSite(Mutex<World>);

impl Site for GhlSite {
    fn answer(&self, call: &Request<Bytes>) -> Reply {
        lock(&self.0).answer(call)
    }
}

/// Its life.
impl FakeGhl {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(options: FakeGhlOptions) -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await
    }

    /// Starts on `addr`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_on(addr: SocketAddr, options: FakeGhlOptions) -> io::Result<Self> {
        let clock = options.clock.clone();
        let postman = Postman::new(clock.clone())?;
        let site = GhlSite(Mutex::new(World::new(options)));
        Ok(Self { server: Arc::new(Server::start(addr, clock, site).await?), postman })
    }

    /// Its base URL, without a trailing slash: what `GHL_API_URL` is set to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    /// Its authorize page: what `GHL_AUTHORIZE_URL` is set to.
    #[must_use]
    pub fn authorize_url(&self) -> String {
        format!("{}/oauth/chooselocation", self.url())
    }

    /// Goes away as a killed process does: the port refuses, open calls break. Its memory stays.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Comes back on the same port with the same memory.
    ///
    /// # Errors
    /// The port has been taken meanwhile, or the fake was not stopped.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// Moves whenever its memory may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.server.changes()
    }

    /// Waits until `done` holds, looking again after every call. It has no time limit of its own.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        // Subscribed before the look, so that a change between the two is not missed.
        let mut changes = self.changes();
        while !done(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.server.site().0)
    }
}

/// Its webhooks.
impl FakeGhl {
    /// Where message webhooks go (the app's delivery URL).
    pub fn set_webhook_url(&self, url: &str) {
        self.world().webhook_url = Some(url.to_owned());
    }

    /// Where lifecycle hooks go (the app's default webhook URL); unset, they go where messages go.
    pub fn set_lifecycle_url(&self, url: &str) {
        self.world().lifecycle_url = Some(url.to_owned());
    }

    /// A lifecycle hook of our app that happened now, not yet posted. It tells of an install or removal and does neither.
    #[must_use]
    pub fn lifecycle_hook(&self, kind: &str, location: Option<&str>, company: Option<&str>) -> LifecycleHook {
        self.world().lifecycle_hook(kind, location, company)
    }

    /// Signs a lifecycle hook and posts it; again, as a redelivery, with the same bytes.
    pub async fn tell(&self, hook: &LifecycleHook, key: &SigningKey) -> WebhookAnswer {
        let url = {
            let world = self.world();
            world.lifecycle_url.clone().or_else(|| world.webhook_url.clone())
        };
        let body = hook.body();
        let signature = key.sign(&body);
        self.post_to(url, body, &[(key.scheme().header(), &signature)]).await
    }

    /// Sends an SMS from the CRM: builds, registers, signs and posts its webhook.
    pub async fn send_sms(&self, sms: &OutboundSms, key: &SigningKey) -> WebhookAnswer {
        let webhook = self.build_webhook(sms);
        self.deliver(&webhook, key).await
    }

    /// The webhook of an SMS, not yet posted and its message not yet known.
    #[must_use]
    pub fn build_webhook(&self, sms: &OutboundSms) -> Webhook {
        self.world().build_webhook(sms)
    }

    /// Registers the webhook's message, signs its bytes and posts them.
    pub async fn deliver(&self, webhook: &Webhook, key: &SigningKey) -> WebhookAnswer {
        self.world().register_webhook(webhook);
        self.server.touch();
        self.redeliver(webhook, key).await
    }

    /// Signs and posts the same bytes again; the message is as known as it was.
    pub async fn redeliver(&self, webhook: &Webhook, key: &SigningKey) -> WebhookAnswer {
        let answer = self.post_signed(webhook.body.clone(), key).await;
        WebhookAnswer { message_id: Some(webhook.message_id.clone()), ..answer }
    }

    /// Signs any bytes and posts them to the webhook URL.
    pub async fn post_signed(&self, body: Vec<u8>, key: &SigningKey) -> WebhookAnswer {
        let signature = key.sign(&body);
        self.post_webhook(body, &[(key.scheme().header(), &signature)]).await
    }

    /// Posts any bytes with any headers to the webhook URL: forgeries, old payloads, lifecycle events.
    pub async fn post_webhook(&self, body: Vec<u8>, headers: &[(&str, &str)]) -> WebhookAnswer {
        let url = self.world().webhook_url.clone();
        self.post_to(url, body, headers).await
    }

    async fn post_to(&self, url: Option<String>, body: Vec<u8>, headers: &[(&str, &str)]) -> WebhookAnswer {
        match url {
            Some(url) => self.postman.post(&url, headers, body).await,
            None => WebhookAnswer {
                status: None,
                body: "no webhook URL is set".to_owned(),
                elapsed_ms: 0,
                message_id: None,
            },
        }
    }

    /// An agent sets or clears a contact's do-not-disturb setting for SMS; the hook that tells of it, not yet posted. Its bytes
    /// may be posted any number of times.
    pub fn agent_sets_dnd(&self, contact_id: &str, blocked: bool) -> Vec<u8> {
        let body = self.world().agent_sets_dnd(contact_id, blocked);
        self.server.touch();
        body
    }

    /// Makes a message known whose webhook a test posts itself.
    pub fn register_message(&self, location_id: &str, message_id: &str) {
        self.world().register(location_id, message_id, None);
        self.server.touch();
    }
}

/// Its installations.
impl FakeGhl {
    /// What the next person on the authorize page chooses; several queue up, then [`Install::default`].
    pub fn next_install(&self, install: Install) {
        self.world().installs.push_back(install);
    }

    /// An install begun in the marketplace: the code GHL would bring to the callback, without a state.
    #[must_use]
    pub fn marketplace_code(&self, install: Install) -> String {
        let mut world = self.world();
        let (scopes, redirect_uri) = (world.options.scopes.clone(), world.options.redirect_uri.clone());
        world.install(install, scopes, redirect_uri)
    }

    /// Adds a sub-account where the app is not installed.
    pub fn add_location(&self, location_id: &str, company_id: &str) {
        self.world().place(location_id, company_id);
    }

    /// Removes the app from a location, or from a company and its locations: every token is void.
    pub fn uninstall(&self, owner_id: &str) {
        self.world().uninstall(owner_id);
    }

    /// What refreshing, or minting, this location's (or company's) token comes to from now on.
    pub fn set_grant_health(&self, owner_id: &str, health: GrantHealth) {
        self.world().health.insert(owner_id.to_owned(), health);
    }

    /// Ends this location's (or company's) access tokens now; its refresh tokens stay good.
    pub fn expire_access_tokens(&self, owner_id: &str) {
        self.world().vault.expire_access(owner_id);
    }

    /// Life of access tokens issued from now on.
    pub fn set_token_life(&self, life: Duration) {
        self.world().options.token_life = life;
    }

    /// How token replies spell their names.
    pub fn set_token_spelling(&self, spelling: TokenSpelling) {
        self.world().rules.token_spelling = spelling;
    }

    /// What minted location tokens come with.
    pub fn set_mint_shape(&self, shape: MintShape) {
        self.world().rules.mint = shape;
    }
}

/// Its other variations and its faults.
impl FakeGhl {
    /// How long after its webhook a message's status cannot be set, for messages registered from now on.
    pub fn set_status_ready_after(&self, wait: Duration) {
        self.world().options.status_ready_after = wait;
    }

    /// The limits of every location and company from now on; `None`: none.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        self.world().options.rate_limit = limit;
    }

    /// Which kind of provider the app is in a location.
    pub fn set_provider_kind(&self, location_id: &str, kind: ProviderKind) {
        self.world().rules.provider_kind.insert(location_id.to_owned(), kind);
    }

    /// What is made of `conversationProviderId` on inbound messages.
    pub fn set_provider_id_rule(&self, rule: ProviderIdRule) {
        self.world().rules.provider_id = rule;
    }

    /// Whether inbound messages may carry `phone`.
    pub fn set_phone_rule(&self, rule: PhoneRule) {
        self.world().rules.phone = rule;
    }

    /// By what inbound messages must be addressed.
    pub fn set_addressee_rule(&self, rule: AddresseeRule) {
        self.world().rules.addressee = rule;
    }

    /// The next `count` searches for conversations find nothing, whatever is there.
    pub fn let_search_lag(&self, count: u32) {
        self.world().rules.search_behind = count;
    }

    /// The next `count` inbound messages in order are answered 2xx without `messageId`, and not stored.
    pub fn lose_inbound(&self, count: u32) {
        self.world().rules.lose_inbound = count;
    }

    /// Makes another provider the location's default.
    pub fn choose_other_provider(&self, location_id: &str) {
        if let Some(place) = self.world().places.get_mut(location_id) {
            place.default_provider = false;
        }
    }

    /// The key of the set-up check's list.
    pub fn set_channel_spelling(&self, spelling: ChannelSpelling) {
        self.world().rules.channel_spelling = spelling;
    }

    /// What the set-up check's list holds.
    pub fn set_channel_list(&self, list: ChannelList) {
        self.world().rules.channel_list = list;
    }

    /// The scopes the app is published with from now on: those of every install begun in the marketplace.
    pub fn set_scopes(&self, scopes: &[&str]) {
        self.world().options.scopes = scopes.iter().map(|name| (*name).to_owned()).collect();
    }

    /// What access tokens look like from now on.
    pub fn set_token_form(&self, form: TokenForm) {
        self.world().vault.form = form;
    }

    /// The next call to a path with this prefix meets this fault; several queue up.
    pub fn fault_next(&self, path_prefix: &str, fault: GhlFault) {
        self.world().faults.queue(path_prefix, fault);
    }

    /// Every call to a path with this prefix meets this fault until it is cleared with `None`. Queued ones go first.
    pub fn fault_all(&self, path_prefix: &str, fault: Option<GhlFault>) {
        self.world().faults.set_standing(path_prefix, fault);
    }

    /// Lets hanging calls go on: those whose work was done answer now, the others are reset.
    pub fn release(&self) {
        self.server.release();
    }
}

/// What it saw.
impl FakeGhl {
    /// The statuses accepted for a message, oldest first.
    #[must_use]
    pub fn statuses(&self, message_id: &str) -> Vec<StatusSeen> {
        let world = self.world();
        world.messages.get(message_id).map(|message| message.statuses.clone()).unwrap_or_default()
    }

    /// How many messages have a status.
    #[must_use]
    pub fn told_count(&self) -> usize {
        self.world().told
    }

    /// The inbound messages stored, oldest first.
    #[must_use]
    pub fn inbound(&self) -> Vec<InboundSeen> {
        self.world().inbound.clone()
    }

    /// All contacts, by id.
    #[must_use]
    pub fn contacts(&self) -> Vec<ContactSeen> {
        self.world().contacts.values().cloned().collect()
    }

    /// Every call to a path of the contract, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<GhlCall> {
        self.world().calls.clone()
    }

    /// Calls that broke the contract by themselves. With [`FakeGhl::unexpected`] what a test's end asserts empty.
    #[must_use]
    pub fn breaches(&self) -> Vec<GhlCall> {
        let world = self.world();
        world.calls.iter().filter(|call| call.breach).cloned().collect()
    }

    /// Calls the contract does not have.
    #[must_use]
    pub fn unexpected(&self) -> Vec<Unexpected> {
        self.world().unexpected.clone()
    }

    /// How often a location's (or company's) grant was refreshed.
    #[must_use]
    pub fn refreshes(&self, owner_id: &str) -> Refreshes {
        self.world().vault.refreshes.get(owner_id).copied().unwrap_or_default()
    }

    /// The part of the client id that lifecycle events name.
    #[must_use]
    pub fn app_id(&self) -> String {
        self.world().app_id().to_owned()
    }
}

#[cfg(test)]
mod tests;
