//! A `serve` process from its start to its end: stopped, killed, without its store; what it shows and leaves behind.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use cast_ghl_provider::client::builder::http_client;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;

use super::child::{Child, binary, replaced, run, vars};
use super::serving::{Serving, Spot, listening, minimal, some_key, until_ready};
use crate::support::world::word;
use crate::{Cases, cases};

/// What `serve` logs when its end has begun.
const SHUTTING_DOWN: &str = "shutting down: webhooks are still stored for a while";

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![
        after_sigterm_webhooks_are_still_stored_for_a_while_and_sent_by_the_next_process,
        a_call_in_flight_at_sigterm_is_waited_for_and_never_repeated,
        what_was_acknowledged_before_a_kill_is_sent_exactly_once,
    ]
}

/// On the embedded store or on none.
pub fn other_cases() -> Cases<PathBuf> {
    cases![
        a_message_whose_call_a_kill_cut_off_is_never_sent_again,
        a_second_signal_ends_the_process_at_once,
        while_mongodb_is_out_of_reach_webhooks_are_answered_to_come_again,
        the_health_check_says_whether_serve_answers,
        metrics_are_served_on_a_port_of_their_own,
        what_the_data_directory_holds_is_for_its_owner_alone,
    ]
}

async fn after_sigterm_webhooks_are_still_stored_for_a_while_and_sent_by_the_next_process(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[("DRAIN", "6s")]).await;
    serving.process.signal("TERM");
    serving.process.logged(SHUTTING_DOWN).await;
    let ready = serving.until_ready(503).await;
    assert_eq!(ready["status"], "stopping");
    let webhook = serving.webhook("during the drain");
    serving.ghl.register_message(&webhook.location_id, &webhook.message_id);
    let signature = serving.key.sign(&webhook.body);
    let request = serving.http.post(serving.webhook_url()).header(serving.key.scheme().header(), signature);
    let answer = request.body(webhook.body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers().get("connection").map(|v| v.as_bytes()), Some(&b"close"[..]));
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["status"], "accepted");
    let ended = serving.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(serving.cast.calls().len(), 0, "nothing is claimed once the end has begun");
    serving.serve_again().await;
    assert_eq!(serving.taken(1).await, ["during the drain"]);
    serving.end();
}

async fn a_call_in_flight_at_sigterm_is_waited_for_and_never_repeated(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[("DRAIN", "1s")]).await;
    serving.cast.fault_next(CastFault::Hang { after_taking: true });
    let first = serving.sms("in flight").await;
    serving.taken(1).await;
    serving.process.signal("TERM");
    serving.process.logged(SHUTTING_DOWN).await;
    serving.cast.release();
    let ended = serving.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serving.serve_again().await;
    assert_eq!(serving.told(&first).await, "delivered");
    // Behind it in its lane: had the first been sent again, it would stand before this one.
    serving.sms("afterwards").await;
    assert_eq!(serving.taken(2).await, ["in flight", "afterwards"]);
    serving.end();
}

async fn what_was_acknowledged_before_a_kill_is_sent_exactly_once(spot: Spot) {
    let mut serving = Serving::connected(&spot, &[]).await;
    // Nothing can leave before the kill.
    serving.cast.stop().await;
    let webhook = serving.webhook("acknowledged");
    let first = serving.ghl.deliver(&webhook, &serving.key).await;
    assert_eq!((first.status, word(&first).as_str()), (Some(200), "accepted"));
    serving.process.kill();
    serving.cast.restart().await.expect("its port is free");
    serving.serve_again().await;
    let again = serving.ghl.redeliver(&webhook, &serving.key).await;
    assert_eq!((again.status, word(&again).as_str()), (Some(200), "duplicate"));
    assert_eq!(serving.told(&first).await, "delivered");
    let second = serving.sms("afterwards").await;
    assert_eq!(serving.told(&second).await, "delivered");
    assert_eq!(serving.taken(2).await, ["acknowledged", "afterwards"]);
    serving.end();
}

async fn a_message_whose_call_a_kill_cut_off_is_never_sent_again(dir: PathBuf) {
    let spot = Spot::embedded(dir);
    let mut serving = Serving::connected(&spot, &[]).await;
    serving.cast.fault_next(CastFault::Hang { after_taking: true });
    let first = serving.sms("in the air").await;
    serving.taken(1).await;
    serving.process.kill();
    serving.serve_again().await;
    assert_eq!(serving.told(&first).await, "failed");
    let second = serving.sms("afterwards").await;
    assert_eq!(serving.told(&second).await, "delivered");
    assert_eq!(serving.taken(2).await, ["in the air", "afterwards"]);
    serving.end();
}

async fn a_second_signal_ends_the_process_at_once(dir: PathBuf) {
    let vars = replaced(minimal(), &[("DRAIN", "5m")]);
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let (mut process, base) = listening(&vars, &dir).await;
        let http = http_client(&Default::default()).expect("a client");
        until_ready(&http, &base, 200).await;
        process.signal(first);
        until_ready(&http, &base, 503).await;
        process.signal(second);
        // Far within the drain of five minutes.
        let ended = process.ended().await;
        assert_eq!((ended.code, ended.signal), (Some(1), None), "{}", ended.err);
    }
}

async fn while_mongodb_is_out_of_reach_webhooks_are_answered_to_come_again(dir: PathBuf) {
    let key = SigningKey::generate(Scheme::Ed25519).expect("a key");
    let nobody_listens = "mongodb://user:s3cr3t@127.0.0.1:1/sms?directConnection=true";
    let keys = some_key();
    let vars = replaced(
        minimal(),
        &[
            ("MONGO_URI", nobody_listens),
            ("TOKEN_ENCRYPTION_KEYS", &keys),
            ("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem()),
            ("ACCEPT_TIMEOUT", "2s"),
        ],
    );
    let (mut process, base) = listening(&vars, &dir).await;
    let http = http_client(&Default::default()).expect("a client");
    let ready = until_ready(&http, &base, 503).await;
    assert_eq!(ready["status"], "starting");
    assert_eq!(http.get(format!("{base}/health")).send().await.expect("an answer").status().as_u16(), 200);
    let body = r#"{"type":"SMS","locationId":"LOC1","messageId":"MSG1","phone":"09171234567","message":"later"}"#;
    let post = |signature: String| {
        let request = http.post(format!("{base}/api/ghl/v1/webhook/messages"));
        request.header(key.scheme().header(), signature).body(body).send()
    };
    let answer = post(key.sign(body.as_bytes())).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers().get("retry-after").map(|v| v.as_bytes()), Some(&b"30"[..]));
    // Whose it is needs no store to be known.
    assert_eq!(post(key.sign(b"another body")).await.expect("an answer").status().as_u16(), 401);
    assert_eq!(until_ready(&http, &base, 503).await["status"], "starting");
    process.signal("TERM");
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("s3cr3t"), "{}", ended.err);
    assert!(!dir.join("data").exists(), "it never falls back on the embedded store");
}

async fn the_health_check_says_whether_serve_answers(dir: PathBuf) {
    let (mut process, base) = listening(&minimal(), &dir).await;
    let port = base.rsplit_once(':').expect("a port").1.to_owned();
    // As in a container: on all addresses, asked on loopback.
    let vars = vars(&[("HOST", "0.0.0.0"), ("PORT", &port)]);
    let asked = run(&["healthcheck"], &vars, &dir).await;
    assert_eq!((asked.code, asked.out.as_str()), (Some(0), "ok"), "{}", asked.err);
    process.kill();
    let asked = run(&["healthcheck"], &vars, &dir).await;
    assert_eq!(asked.code, Some(1));
    assert!(asked.err.contains("not healthy"), "{}", asked.err);
}

async fn metrics_are_served_on_a_port_of_their_own(dir: PathBuf) {
    let vars = replaced(minimal(), &[("METRICS_ADDR", "127.0.0.1:0")]);
    let (mut process, base) = listening(&vars, &dir).await;
    let addr = process.logged("metrics").await["metrics"].as_str().expect("an address").to_owned();
    let http = http_client(&Default::default()).expect("a client");
    let refused = http.post(format!("{base}/api/ghl/v1/webhook")).body("{}").send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 401);
    let page = http.get(format!("http://{addr}/metrics")).send().await.expect("an answer");
    assert_eq!(page.status().as_u16(), 200);
    let page = page.text().await.expect("text");
    assert!(page.contains(r#"cast_ghl_signatures_total{kind="signature_missing"} 1"#), "{page}");
    assert!(page.trim_end().ends_with("# EOF"), "{page}");
    let public = http.get(format!("{base}/metrics")).send().await.expect("an answer");
    assert_eq!(public.status().as_u16(), 404, "not on the public port");
}

async fn what_the_data_directory_holds_is_for_its_owner_alone(dir: PathBuf) {
    let mut command = Command::new("/bin/sh");
    // The widest mask a careless unit could set.
    command.args(["-c", r#"umask 000; exec "$0" serve"#]).arg(binary());
    let mut process = Child::spawn(command, &minimal(), &dir);
    // Its first write: without one there is no -wal.
    process.logged("this process leads").await;
    let mode = |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let data = dir.join("data");
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in data.read_dir().expect("a directory") {
        let entry = entry.expect("an entry");
        names.push(entry.file_name().to_string_lossy().into_owned());
        assert_eq!(mode(&entry.path()), 0o600, "{names:?}");
    }
    for name in ["cast-ghl.sqlite3", "cast-ghl.sqlite3-wal", "serve.lock", "token.key"] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
}
