//! What the bridge sends: through every call it makes, no property that its endpoint does not declare.
//!
//! GHL's validators answer an undeclared property with 422, several of them at once. The fake declares what the contract does
//! and no more, calls whatever goes beyond it a breach, and a world that ends with a breach has failed.

use std::collections::BTreeSet;
use std::time::Duration;

use cast_ghl_provider::fake::ghl::{AddresseeRule, ContactSeen, GhlFault, Install, OutboundSms};
use serde_json::json;

use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const SUB_ACCOUNT: &str = "LOCagency00000000001";

/// Every endpoint of the contract that the bridge calls; ids are `*`.
const ENDPOINTS: [&str; 11] = [
    "GET /contacts/search/duplicate",
    "GET /conversations/*/messages",
    "GET /conversations/search",
    "GET /oauth/installedLocations",
    "POST /contacts/upsert",
    "POST /conversations",
    "POST /conversations/messages/inbound",
    "POST /oauth/locationToken",
    "POST /oauth/token",
    "PUT /contacts/*",
    "PUT /conversations/messages/*/status",
];

pub fn cases() -> Cases<Place> {
    cases![no_call_carries_a_property_that_its_endpoint_does_not_declare, an_upsert_overwrites_nothing_people_keep]
}

async fn no_call_carries_a_property_that_its_endpoint_does_not_declare(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    let _ = w.ghl.marketplace_code(Install::location(SUB_ACCOUNT, COMPANY));
    w.install_agency(COMPANY, &[SUB_ACCOUNT]).await;
    w.work_for(Duration::from_secs(5)).await;

    // A status with an error and one without, the second with a renewed token.
    w.sms_to(LOCATION, "not a phone", "failed").await;
    let delivered = w.sms("delivered").await;
    w.send_all().await;
    w.ghl.expire_access_tokens(LOCATION);
    w.report_all().await;
    assert_eq!(w.told(&delivered), Some(("delivered".into(), None)));

    // A reply whose outcome is looked for, one of a stranger whom an upsert does not find, and one that needs a conversation.
    w.ghl.fault_next("/conversations/messages/inbound", GhlFault::Reset { after_applying: true });
    replied(&w, PHONE, "Yes").await;
    w.pass(Duration::from_secs(31)).await;
    w.reply_all().await;
    let _ = w.ghl.build_webhook(&OutboundSms::new(LOCATION, "+639170000001", "the CRM knows this contact"));
    w.ghl.fault_next("/contacts/upsert", GhlFault::refusal(400, "This location does not allow duplicated contacts."));
    replied(&w, "+639170000001", "Who is this?").await;
    w.ghl.set_addressee_rule(AddresseeRule::Conversation);
    w.ghl.let_search_lag(1);
    replied(&w, "+639170000002", "Hello").await;
    replied(&w, PHONE, "STOP").await;
    for _ in 0..4 {
        w.reply_all().await;
        w.mirror_all().await;
        w.pass(Duration::from_secs(5)).await;
    }
    assert_eq!(w.ghl.inbound().len(), 4);

    let called: BTreeSet<String> = w.ghl.calls().iter().map(|call| endpoint(&call.method, &call.path)).collect();
    assert_eq!(called, ENDPOINTS.map(str::to_owned).into());
    w.end();
}

/// `tags` and `name` would: the fake declares neither. What else people keep is as it was.
async fn an_upsert_overwrites_nothing_people_keep(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    // The CRM has this contact, and an agent's setting on it; the bridge has never heard of either.
    let _ = w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, "never sent"));
    let [before] = &w.ghl.contacts()[..] else { panic!("one contact") };
    let _ = w.ghl.agent_sets_dnd(&before.id, true);
    let kept = w.ghl.contacts().remove(0);
    replied(&w, PHONE, "Hello").await;
    assert!(w.ghl.calls().iter().any(|call| call.path == "/contacts/upsert" && call.status == Some(200)));
    let [after] = &w.ghl.contacts()[..] else { panic!("one contact") };
    assert_eq!(after, &ContactSeen { source: after.source.clone(), ..kept });
    assert_eq!(w.ghl.inbound()[0].contact_id, after.id);
    w.end();
}

/// A reply of the gateway, and what follows at once.
async fn replied(w: &World, from: &str, message: &str) {
    let (status, answer) = w.reply(json!({"id": message, "from": from, "message": message})).await;
    assert_eq!(status, 202, "{answer}");
    w.reply_all().await;
}

fn endpoint(method: &str, path: &str) -> String {
    let fixed = |segment: &str| {
        let ids = ["MSG", "CON", "CNV"];
        if ids.iter().any(|id| segment.starts_with(id)) { "*".to_owned() } else { segment.to_owned() }
    };
    let path: Vec<String> = path.split('/').map(fixed).collect();
    format!("{method} {}", path.join("/"))
}
