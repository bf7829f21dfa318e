//! `cast-ghl messages` beside a running `serve`, with the store's variables and no others: what it prints, what it changes,
//! its exit codes.

use std::path::PathBuf;

use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;

use super::child::{LIMIT, replaced, run, vars};
use super::serving::{Serving, Spot, some_key};
use crate::support::world::{LOCATION, json};
use crate::{Cases, cases};

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![
        a_parked_message_is_listed_shown_by_all_its_names_and_sent_again_beside_a_running_serve,
        a_dropped_message_leaves_the_list_and_what_is_refused_says_why,
    ]
}

/// On the embedded store or on none.
pub fn other_cases() -> Cases<PathBuf> {
    cases![
        messages_are_listed_and_retried_while_nothing_serves,
        without_a_store_a_command_says_where_it_looked_and_makes_none,
        a_wrong_word_or_variable_is_told_before_the_store_is_opened,
    ]
}

/// Cast takes the SMS and answers 500.
async fn parked(serving: &Serving, text: &str) -> (WebhookAnswer, String) {
    serving.cast.fault_next(CastFault::StatusAfterTaking(500));
    let answer = serving.sms(text).await;
    assert_eq!(serving.told(&answer).await, "failed");
    let id = json(&answer)["id"].as_str().expect("an id").to_owned();
    (answer, id)
}

/// What `show` prints once the report is noted as told: the CRM hears it a moment earlier.
async fn shown_told(serving: &Serving, known_as: &str) -> (String, serde_json::Value) {
    loop {
        let ended = serving.command(&["messages", "show", known_as, "--json"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let view: serde_json::Value = serde_json::from_str(&ended.out).expect("one JSON document");
        if view["report"]["told"] == true {
            return (ended.out, view);
        }
    }
}

async fn a_parked_message_is_listed_shown_by_all_its_names_and_sent_again_beside_a_running_serve(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let (answer, id) = parked(&serving, "Your table is ready").await;
    let name = answer.message_id.clone().expect("a message of the fake");

    let table = serving.command(&["messages", "list"]).await;
    assert_eq!(table.code, Some(0), "{}", table.err);
    for cell in ["ID", &id, "parked", "unknown_outcome", LOCATION, "+63917*****67", "0/1"] {
        assert!(table.out.contains(cell), "{cell} in\n{}", table.out);
    }
    let list = serving.command(&["messages", "list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&list.out).expect("one JSON document");
    assert_eq!(listed["next"], serde_json::Value::Null);
    let rows = listed["messages"].as_array().expect("a list");
    assert_eq!(rows.len(), 1);
    let mut fields: Vec<_> = rows[0].as_object().expect("a row").keys().map(String::as_str).collect();
    fields.sort_unstable();
    let all =
        ["accepted_at", "code", "dropped", "id", "kind", "location", "parts_sent", "parts_total", "phone", "state"];
    assert_eq!(fields, all);
    assert_eq!(rows[0]["kind"], "message");

    let (shown, view) = shown_told(&serving, &id).await;
    assert_eq!(view["attempts"][0]["result"], "unknown");
    assert_eq!(shown_told(&serving, &name).await.0, shown);
    for said in [&table.out, &list.out, &shown] {
        assert!(!said.contains("table is ready") && !said.contains("1234567"), "{said}");
    }
    let revealed = serving.command(&["messages", "show", &id, "--text"]).await;
    assert!(revealed.out.contains("Your table is ready") && revealed.out.contains("+639171234567"), "{}", revealed.out);

    let retried = serving.command(&["messages", "retry", &id]).await;
    assert_eq!(retried.code, Some(0), "{}", retried.err);
    serving.until_told(&answer, "delivered").await;
    let calls = serving.cast.calls();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].idempotency_key, calls[1].idempotency_key, "a person's resend has a key of its own");

    let (sent, view) = shown_told(&serving, &id).await;
    assert_eq!((&view["state"], &view["generation"]), (&"accepted".into(), &1.into()));
    let gateway_id = view["parts"][0]["gateway_id"].as_str().expect("Cast's id");
    assert_eq!(shown_told(&serving, gateway_id).await.0, sent);
    let again = serving.command(&["messages", "retry", gateway_id]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("it was sent"), "{}", again.err);
    serving.end();
}

async fn a_dropped_message_leaves_the_list_and_what_is_refused_says_why(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let (_, first) = parked(&serving, "one").await;
    let (_, second) = parked(&serving, "two").await;
    let page = serving.command(&["messages", "list", "--limit", "1"]).await;
    assert!(page.out.contains(&second) && !page.out.contains(&first), "{}", page.out);
    let after = page.out.lines().last().and_then(|line| line.split('\'').nth(1)).expect("how to go on").to_owned();
    let page = serving.command(&["messages", "list", "--limit", "1", "--after", &after]).await;
    assert!(page.out.contains(&first) && !page.out.contains("--after"), "{}", page.out);

    let dropped = serving.command(&["messages", "drop", &first, "nonsense", &second, "--json"]).await;
    assert_eq!(dropped.code, Some(1), "one of three is unknown");
    let results: serde_json::Value = serde_json::from_str(&dropped.out).expect("one JSON document");
    assert_eq!(
        (&results["results"][0]["done"], &results["results"][2]["done"]),
        (&"dropped".into(), &"dropped".into())
    );
    assert_eq!(results["results"][1]["name"], "nonsense");
    let list = serving.command(&["messages", "list"]).await;
    assert_eq!((list.code, list.out.trim()), (Some(0), "Nothing needs you."));
    let retried = serving.command(&["messages", "retry", &first]).await;
    assert_eq!(retried.code, Some(1));
    assert!(retried.err.contains("it was dropped"), "{}", retried.err);
    let unknown = serving.command(&["messages", "show", "nonsense"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("nothing is kept by this name"), "{}", unknown.err);
    assert_eq!(serving.cast.calls().len(), 2);
    serving.end();
}

async fn messages_are_listed_and_retried_while_nothing_serves(dir: PathBuf) {
    let spot = Spot::embedded(dir);
    let mut serving = Serving::connected(&spot, &[("DRAIN", "1s")]).await;
    let (answer, id) = parked(&serving, "left behind").await;
    serving.process.signal("TERM");
    assert_eq!(serving.process.ended().await.code, Some(0));
    let list = serving.command(&["messages", "list"]).await;
    assert!(list.out.contains(&id), "{}{}", list.out, list.err);
    let retried = serving.command(&["messages", "retry", &id]).await;
    assert_eq!(retried.code, Some(0), "{}", retried.err);
    serving.serve_again().await;
    serving.until_told(&answer, "delivered").await;
    // A killed process leaves a log that is not in the file yet.
    serving.process.kill();
    let shown = serving.command(&["messages", "show", &id]).await;
    assert!(shown.out.contains("accepted by Cast"), "{}{}", shown.out, shown.err);
    serving.end();
}

async fn without_a_store_a_command_says_where_it_looked_and_makes_none(dir: PathBuf) {
    for args in [&["messages", "list"][..], &["messages", "show", "x"], &["messages", "drop", "x"]] {
        let ended = run(args, &[], &dir).await;
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        assert!(ended.err.contains("./data holds no store") && ended.err.contains("DATA_DIR"), "{}", ended.err);
    }
    assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 0);
}

async fn a_wrong_word_or_variable_is_told_before_the_store_is_opened(dir: PathBuf) {
    let list = |extra: &'static [&'static str]| [&["messages", "list"], extra].concat();
    for extra in [&["--state", "lost"][..], &["--limit", "0"], &["--location", "a/b"]] {
        let ended = run(&list(extra), &[], &dir).await;
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains(extra[1]), "{}", ended.err);
    }
    let blank = run(&list(&[]), &vars(&[("MONGO_URI", "")]), &dir).await;
    assert_eq!(blank.code, Some(2));
    assert!(blank.err.contains("MONGO_URI"), "{}", blank.err);
    let away = replaced(vars(&[("MONGO_URI", "mongodb://127.0.0.1:1")]), &[("TOKEN_ENCRYPTION_KEYS", &some_key())]);
    let away = run(&list(&[]), &away, &dir).await;
    assert_eq!(away.code, Some(3), "{}", away.err);
    assert!(away.err.contains("unavailable"), "{}", away.err);
}

impl Serving {
    /// Waits until this is the last the CRM was told of a message.
    async fn until_told(&self, answer: &WebhookAnswer, status: &str) {
        let id = answer.message_id.as_deref().expect("a message of the fake");
        let last =
            |ghl: &cast_ghl_provider::fake::ghl::FakeGhl| ghl.statuses(id).pop().is_some_and(|s| s.status == status);
        let told = self.ghl.until(last);
        tokio::time::timeout(LIMIT, told).await.unwrap_or_else(|_| panic!("{:?}", self.ghl.statuses(id)));
    }
}
