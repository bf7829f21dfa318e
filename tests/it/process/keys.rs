//! `cast-ghl keys`: which key seals what, and sealing anew beside a running `serve`; what becomes of a dead grant in its log.

use std::path::PathBuf;
use std::time::Duration;

use cast_ghl_provider::fake::ghl::{GrantHealth, Install};
use cast_ghl_provider::seal;

use super::child::{Ended, LIMIT, run, vars};
use super::serving::{Serving, Spot};
use crate::support::world::{COMPANY, LOCATION};
use crate::{Cases, cases};

const RING: &str = "TOKEN_ENCRYPTION_KEYS";

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![
        a_key_is_replaced_beside_a_running_serve_and_the_old_one_may_be_dropped,
        what_no_key_opens_is_listed_by_status_and_left_by_rotate,
        a_dead_grant_is_logged_with_the_url_that_connects_it_again,
    ]
}

/// On the embedded store or on none.
pub fn other_cases() -> Cases<PathBuf> {
    cases![
        a_key_is_generated_on_standard_output_alone,
        without_a_store_or_a_key_the_ring_is_not_looked_at_and_none_is_made,
    ]
}

/// On the embedded store.
pub fn embedded_cases() -> Cases<Spot> {
    cases![the_embedded_stores_own_key_is_replaced_and_another_of_its_name_is_refused]
}

async fn a_key_is_replaced_beside_a_running_serve_and_the_old_one_may_be_dropped(spot: Spot) {
    let (old, new) = (seal::generate("old"), seal::generate("new"));
    let ring = format!("{new},{old}");
    let mut serving = Serving::connected(&spot, &[(RING, &old)]).await;
    let before = status(&serving, &old).await;
    assert_eq!(rows(&before), [("old".into(), "seals".into(), 1, false)]);
    serving.process.signal("TERM");
    assert_eq!(serving.process.ended().await.code, Some(0));
    serving.set(RING, &ring);
    serving.serve_again().await;
    // In the background, by whoever leads.
    let resealed = async {
        while rows(&status(&serving, &ring).await)[0].2 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, resealed).await.expect("the leader seals with its first key");
    let after = status(&serving, &ring).await;
    assert_eq!(rows(&after), [("new".into(), "seals".into(), 1, false), ("old".into(), "opens".into(), 0, true)]);
    // At once, by a command: the other way round, so that there is something to do.
    let rotated = keys(&serving, "rotate", &format!("{old},{new}")).await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.err);
    let rotated: serde_json::Value = serde_json::from_str(&rotated.out).expect("one JSON document");
    assert_eq!(rotated["resealed"], 1);
    assert_eq!(rows(&rotated)[0], ("old".into(), "seals".into(), 1, false));
    let text = serving.command_with(&["keys", "rotate"], &[(RING, &ring)]).await;
    assert!(text.out.contains("1 document was sealed anew") && text.out.contains("may be dropped"), "{}", text.out);
    for key in [&old, &new] {
        let bare = key.split_once(':').expect("an id").1;
        assert!(!text.out.contains(bare) && !text.err.contains(bare), "a key is never shown");
    }
    // All the while `serve` can read its tokens.
    let answer = serving.sms("hello").await;
    assert_eq!(serving.told(&answer).await, "delivered");
    serving.end();
}

async fn what_no_key_opens_is_listed_by_status_and_left_by_rotate(spot: Spot) {
    let serving = Serving::connected(&spot, &[(RING, &seal::generate("lost"))]).await;
    let other = seal::generate("other");
    let seen = status(&serving, &other).await;
    let expected = [("other".into(), "seals".into(), 0, false), ("lost".into(), "missing".into(), 1, false)];
    assert_eq!(rows(&seen), expected);
    assert_eq!(seen["unreadable"][0]["id"], format!("loc:{LOCATION}"));
    let rotated = serving.command_with(&["keys", "rotate"], &[(RING, &other)]).await;
    assert_eq!(rotated.code, Some(1), "not everything could be done");
    assert!(rotated.out.contains(&format!("loc:{LOCATION}")) && rotated.out.contains("`lost`"), "{}", rotated.out);
    let answer = serving.sms("still readable to whom it belongs").await;
    assert_eq!(serving.told(&answer).await, "delivered");
    serving.end();
}

async fn a_dead_grant_is_logged_with_the_url_that_connects_it_again(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[]).await;
    // Three quarters of its life are over soon.
    serving.ghl.set_token_life(Duration::from_secs(2));
    let code = serving.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    assert_eq!(serving.get(&format!("/oauth-callback?code={code}")).await.status().as_u16(), 200);
    serving.ghl.set_grant_health(LOCATION, GrantHealth::InvalidOauth);
    let message = "the CRM ended this grant: open the install URL to connect it again";
    let line = serving.process.logged(message).await;
    assert_eq!((&line["level"], &line["install"]), (&"ERROR".into(), &"http://bridge.test/install".into()));
    assert_eq!(line["installation"], format!("loc:{LOCATION}"));
    serving.end();
}

async fn the_embedded_stores_own_key_is_replaced_and_another_of_its_name_is_refused(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let own = serving.command(&["keys", "status", "--json"]).await;
    let own: serde_json::Value = serde_json::from_str(&own.out).expect("one JSON document");
    assert_eq!(rows(&own), [("local".into(), "seals".into(), 1, false)]);
    let seen = status(&serving, &seal::generate("new")).await;
    let expected = [("new".into(), "seals".into(), 0, false), ("local".into(), "opens".into(), 1, false)];
    assert_eq!(rows(&seen), expected, "what the store's own key sealed still opens");
    let refused = keys(&serving, "status", &seal::generate("local")).await;
    assert_eq!(refused.code, Some(3));
    assert!(refused.err.contains("`local`") && refused.err.contains("token.key"), "{}", refused.err);
    serving.end();
}

async fn a_key_is_generated_on_standard_output_alone(dir: PathBuf) {
    let made = run(&["keys", "generate", "--kid", "k7"], &[], &dir).await;
    assert_eq!(made.code, Some(0));
    let key = made.out.trim().strip_prefix("k7:").expect("its id first");
    assert!(key.len() == 44 && !made.err.contains(key), "{}", made.err);
    assert!(made.err.contains("TOKEN_ENCRYPTION_KEYS") && made.err.contains("DATA_DIR/token.key"), "{}", made.err);
}

async fn without_a_store_or_a_key_the_ring_is_not_looked_at_and_none_is_made(dir: PathBuf) {
    let data = dir.join("data");
    let of_store = vars(&[("DATA_DIR", &data.display().to_string())]);
    for command in ["status", "rotate"] {
        let ended = run(&["keys", command], &of_store, &dir).await;
        assert_eq!(ended.code, Some(3), "{}", ended.err);
    }
    assert!(!data.exists());
    let bad = run(&["keys", "status"], &vars(&[(RING, "a:not-a-key")]), &dir).await;
    assert_eq!(bad.code, Some(2), "{}", bad.err);
    assert!(!bad.err.contains("not-a-key"), "{}", bad.err);
}

/// A `keys` command with this ring, answering JSON.
async fn keys(serving: &Serving, command: &str, ring: &str) -> Ended {
    serving.command_with(&["keys", command, "--json"], &[(RING, ring)]).await
}

async fn status(serving: &Serving, ring: &str) -> serde_json::Value {
    let ended = keys(serving, "status", ring).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serde_json::from_str(&ended.out).expect("one JSON document")
}

/// Id, role, documents, and whether it may be dropped.
fn rows(status: &serde_json::Value) -> Vec<(String, String, u64, bool)> {
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let row = |key: &serde_json::Value| {
        let documents = key["documents"].as_u64().expect("a number");
        (text(&key["kid"]), text(&key["role"]), documents, key["may_be_dropped"] == true)
    };
    status["keys"].as_array().expect("a list").iter().map(row).collect()
}
