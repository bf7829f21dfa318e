//! A database that goes away and comes back, under a bridge that stays: a server of its own, so that no other case notices.

use cast_ghl_provider::fake::ghl::OutboundSms;
use libtest_mimic::{Completion, Failed};

use crate::support::mongo::{self, Found};
use crate::support::world::{LOCATION, PHONE, Place, World, word};

/// 429 while nothing can be stored, then everything as before, without a restart.
pub fn a_webhook_is_answered_429_while_the_database_is_away_and_sent_when_it_is_back() -> Result<Completion, Failed> {
    let found = mongo::find();
    if matches!(found, Found::Uri(_)) {
        return Ok(Completion::ignored_with("the server of TEST_MONGO_URI is not ours to stop"));
    }
    let mut server = match mongo::start(&found, crate::target_tmp()) {
        Ok(server) => server,
        Err(why) => return Ok(Completion::ignored_with(why)),
    };
    let uri = server.uri_for("cast-ghl-outage");
    crate::in_runtime(move || {
        Box::pin(async move {
            let w = World::connected(Place::Mongo { uri }).await;
            let webhook = w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, "through an outage"));
            server.stop().expect("a server of our own");
            let refused = w.ghl.deliver(&webhook, &w.key).await;
            assert_eq!(refused.status, Some(429), "{}", refused.body);
            server.start_again().expect("its old port and data");
            let taken = w.ghl.redeliver(&webhook, &w.key).await;
            assert_eq!((taken.status, word(&taken).as_str()), (Some(200), "accepted"));
            w.pass(std::time::Duration::from_secs(3)).await;
            w.send_all().await;
            assert_eq!(w.cast.taken_count(), 1);
            w.end();
        })
    });
    Ok(Completion::Completed)
}
