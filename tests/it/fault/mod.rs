//! Faults of the neighbours, end to end: a webhook in through the real router, what Cast took, what the CRM was told.
//!
//! One file a neighbour. Whatever breaks, the answer to the CRM is 200 once durable or 429 with `Retry-After`, what was taken
//! is never sent twice nor lost, all of it comes back without a restart, and nothing is tried in a hot loop.

pub mod mongo;

use cast_ghl_provider::domain::message::Message;
use cast_ghl_provider::fake::ghl::{OutboundSms, Webhook};
use cast_ghl_provider::store::Query;

use crate::support::world::{LOCATION, PHONE, World, header};

/// An SMS that has not been posted yet.
fn unposted(w: &World, text: &str) -> Webhook {
    w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, text))
}

/// Posts it and checks that the CRM is asked to come again. Its own patience is 15 s, so this ends by then.
async fn put_off(w: &World, webhook: &Webhook) {
    let signature = w.key.sign(&webhook.body);
    let path = "/api/ghl/v1/webhook/messages";
    let answer = w.post(path, &[(w.key.scheme().header(), &signature)], webhook.body.clone()).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (429, "30"));
}

/// How many messages are stored.
async fn stored(w: &World) -> usize {
    let all = Query::Page { after: None, limit: 1000 };
    w.app.store().find::<Message>(all).await.expect("the store answers").len()
}

/// What Cast took, in its order.
fn texts(w: &World) -> Vec<String> {
    w.cast.taken().into_iter().filter_map(|c| c.message).collect()
}
