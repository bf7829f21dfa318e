//! Statuses, inbound messages, contacts.

use super::*;

const INBOUND: &str = "/conversations/messages/inbound";

fn failed() -> Value {
    json!({"status": "failed", "error": {"code": "invalid_phone", "type": "saas", "message": "Not a number"}})
}

#[tokio::test]
async fn a_status_is_403_until_the_message_is_ready_and_then_kept() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.register_message(DEFAULT_LOCATION, "MSG1");
    let not_yet = (403, "No conversation provider found for this message".to_owned());
    bench.clock.advance(Duration::from_millis(4999));
    assert_eq!(refusal(&bench.set_status(&token, "MSG1", &failed()).await), not_yet);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.set_status(&token, "MSG1", &failed()).await.status, 200);
    assert_eq!(bench.set_status(&token, "MSG1", &json!({"status": "delivered"})).await.status, 200);
    let at = UnixMillis(1_790_000_005_000);
    let error = StatusError { code: "invalid_phone".into(), kind: "saas".into(), message: "Not a number".into() };
    assert_eq!(
        bench.ghl.statuses("MSG1"),
        [
            StatusSeen { at, status: "failed".into(), error: Some(error) },
            StatusSeen { at, status: "delivered".into(), error: None },
        ]
    );
    assert_eq!(bench.ghl.told_count(), 1);
}

#[tokio::test]
async fn the_status_of_an_unknown_or_foreign_message_is_403_for_ever() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.register_message("LOCother", "MSG1");
    bench.clock.advance(Duration::from_secs(3600));
    for id in ["MSG1", "MSG2"] {
        assert_eq!(bench.set_status(&token, id, &failed()).await.status, 403);
        assert_eq!(bench.ghl.statuses(id), []);
    }
}

#[tokio::test]
async fn a_status_body_is_declared_to_the_last_member() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.ghl.set_status_ready_after(Duration::ZERO);
    bench.ghl.register_message(DEFAULT_LOCATION, "MSG1");
    let wrong = [
        (json!({"status": "sent"}), "status must be one of the following values: delivered, failed, pending, read"),
        (json!({"status": "failed", "error_code": "x"}), "property error_code should not exist"),
        (json!({"status": "failed", "error": {"code": "x", "type": "saas"}}), "message should not be empty"),
        (
            json!({"status": "failed", "error": {"code": 1, "type": "saas", "message": "m"}}),
            "a property must be a string",
        ),
        (
            json!({"status": "failed", "error": {"code": "1", "type": "saas", "message": "m", "at": 1}}),
            "property at should not exist",
        ),
        (json!({"error": {"code": "1", "type": "saas", "message": "m"}}), "status should not be empty"),
    ];
    for (body, words) in wrong {
        assert_eq!(refusal(&bench.set_status(&token, "MSG1", &body).await), (422, words.into()), "{body}");
    }
    assert_eq!(bench.set_status(&token, "MSG1", &json!({"status": "failed", "error": null})).await.status, 422);
    let text = bench.request(Method::PUT, "/conversations/messages/MSG1/status", CONVERSATIONS, &token);
    assert_eq!(read(text.body("{}")).await.status, 415);
    assert_eq!(bench.set_status(&token, "MSG1", &json!({"status": "read"})).await.status, 200);
}

async fn contact(bench: &Bench, token: &str) -> String {
    let body = json!({"locationId": DEFAULT_LOCATION, "phone": PHONE, "country": "PH", "source": "Cast SMS"});
    text(&bench.post("/contacts/upsert", OTHERS, token, &body).await.body["contact"]["id"])
}

fn reply(contact_id: &str) -> Value {
    json!({
        "type": "SMS",
        "message": "Yes please",
        "contactId": contact_id,
        "conversationProviderId": FakeGhlOptions::default().provider_id,
        "direction": "inbound",
        "date": "2026-09-21T14:13:20Z",
        "altId": "in:1",
        "phone": PHONE,
    })
}

fn with(mut body: Value, change: &[(&str, Value)]) -> Value {
    for (name, value) in change {
        body[*name] = value.clone();
    }
    body
}

fn without(mut body: Value, names: &[&str]) -> Value {
    for name in names {
        body.as_object_mut().unwrap().remove(*name);
    }
    body
}

#[tokio::test]
async fn an_inbound_message_is_stored_and_listed_newest_first() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let id = contact(&bench, &token).await;
    let answer = bench.post(INBOUND, CONVERSATIONS, &token, &reply(&id)).await;
    assert_eq!((answer.status, &answer.body["success"]), (201, &json!(true)));
    let conversation = text(&answer.body["conversationId"]);
    let second = json!({"type": "SMS", "message": "And", "conversationId": conversation, "attachments": ["https://a.example/b.jpg"]});
    assert_eq!(bench.post(INBOUND, CONVERSATIONS, &token, &second).await.status, 201);
    let seen = bench.ghl.inbound();
    assert_eq!(seen[0].direction, Direction::Inbound);
    assert_eq!((seen[0].alt_id.as_deref(), seen[0].phone.as_deref()), (Some("in:1"), Some(PHONE)));
    assert_eq!(seen[1].direction, Direction::Outbound, "what GHL assumes where nothing is said");
    assert_eq!(seen[1].contact_id, id);

    let list = bench.get(&format!("/conversations/{conversation}/messages?limit=20"), CONVERSATIONS, &token).await;
    let messages = list.body["messages"]["messages"].as_array().unwrap().clone();
    assert_eq!((&messages[0]["body"], &messages[1]["altId"]), (&json!("And"), &json!("in:1")));
    let one = bench.get(&format!("/conversations/{conversation}/messages?limit=1"), CONVERSATIONS, &token).await;
    assert_eq!(one.body["messages"]["nextPage"], true);
    assert_eq!(bench.get("/conversations/none/messages", CONVERSATIONS, &token).await.status, 400);
}

#[tokio::test]
async fn an_inbound_message_that_is_not_declared_so_is_refused() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let good = reply(&contact(&bench, &token).await);
    let wrong = [
        (with(good.clone(), &[("locationId", json!(DEFAULT_LOCATION))]), 422, "property locationId should not exist"),
        (with(good.clone(), &[("attachments", json!([]))]), 422, "attachments should not be empty"),
        (with(good.clone(), &[("attachments", json!(["x"]))]), 422, "each value in attachments must be a URL address"),
        (with(good.clone(), &[("date", json!("yesterday"))]), 422, "date must be a valid ISO 8601 date string"),
        (with(good.clone(), &[("phone", json!("09171234567"))]), 422, "phone must be a valid phone number"),
        (
            with(good.clone(), &[("type", json!("Telepathy"))]),
            422,
            "type must be one of the following values: SMS, Custom",
        ),
        (with(good.clone(), &[("contactId", json!("none"))]), 400, "Contact not found"),
        (without(good.clone(), &["contactId"]), 422, "contactId or conversationId should not be empty"),
        (
            without(good.clone(), &["message"]),
            400,
            "There is no message or attachments for this message. Skip sending.",
        ),
        (
            with(good.clone(), &[("conversationProviderId", json!("other"))]),
            400,
            "Incorrect conversationProviderId/type",
        ),
        (with(good.clone(), &[("type", json!("Custom"))]), 400, "Incorrect conversationProviderId/type"),
    ];
    for (body, status, words) in wrong {
        assert_eq!(refusal(&bench.post(INBOUND, CONVERSATIONS, &token, &body).await), (status, words.into()));
    }
    assert_eq!(bench.ghl.inbound(), []);
}

#[tokio::test]
async fn the_knobs_of_inbound_messages_turn() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let good = reply(&contact(&bench, &token).await);
    let post = async |body: Value| bench.post(INBOUND, CONVERSATIONS, &token, &body).await;
    bench.ghl.set_provider_kind(DEFAULT_LOCATION, ProviderKind::Custom);
    assert_eq!(post(good.clone()).await.status, 400);
    assert_eq!(post(with(good.clone(), &[("type", json!("Custom"))])).await.status, 201);
    bench.ghl.set_provider_kind(DEFAULT_LOCATION, ProviderKind::Default);
    bench.ghl.set_phone_rule(PhoneRule::Refused);
    assert_eq!(refusal(&post(good.clone()).await), (422, "property phone should not exist".into()));
    let good = without(good, &["phone"]);
    bench.ghl.set_provider_id_rule(ProviderIdRule::Refused);
    let words = "conversationProviderId is not allowed for this provider";
    assert_eq!(refusal(&post(good.clone()).await), (400, words.into()));
    let bare = without(good.clone(), &["conversationProviderId"]);
    assert_eq!(post(bare.clone()).await.status, 201);
    bench.ghl.set_provider_id_rule(ProviderIdRule::Required);
    assert_eq!(post(bare).await.status, 400);
    assert_eq!(bench.ghl.inbound().len(), 2);
    bench.ghl.lose_inbound(1);
    let lost = post(good.clone()).await;
    assert_eq!((lost.status, &lost.body["messageId"]), (201, &Value::Null));
    assert_eq!(bench.ghl.inbound().len(), 2, "it was not stored");
    assert!(post(good).await.body["messageId"].is_string());
}

#[tokio::test]
async fn a_contact_is_upserted_found_and_silenced() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let id = contact(&bench, &token).await;
    assert_eq!(contact(&bench, &token).await, id, "the same number, the same contact");
    let find = async |query: &str| {
        let path = format!("/contacts/search/duplicate?locationId={DEFAULT_LOCATION}&{query}");
        bench.get(&path, OTHERS, &token).await
    };
    assert_eq!(find("number=%2B639171234567").await.body["contact"]["id"], json!(id));
    assert_eq!(find("number=%2B639170000000").await.body["contact"], Value::Null);
    assert_eq!(find("number=+639171234567").await.status, 422, "an unescaped plus is a space");
    assert_eq!(refusal(&find("phone=%2B639171234567").await), (422, "property phone should not exist".into()));

    let dnd = json!({"dndSettings": {"SMS": {"status": "active", "message": "STOP", "code": "105"}}});
    assert_eq!(bench.send(Method::PUT, &format!("/contacts/{id}"), OTHERS, &token, &dnd).await.status, 200);
    let contact = bench.ghl.contacts().remove(0);
    assert_eq!(contact.dnd.unwrap()["SMS"]["status"], "active");
    assert_eq!(contact.source.as_deref(), Some("Cast SMS"));
    let name = json!({"name": "Maria"});
    assert_eq!(bench.send(Method::PUT, &format!("/contacts/{id}"), OTHERS, &token, &name).await.status, 422);
}
