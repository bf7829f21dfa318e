//! What the vendors answer to our calls: a server on loopback says what the file says, and the real client reads it.
//!
//! An expectation is `{status?, read}`; the status is 200 unless said. `read` is what the client hands to its caller.

use cast_ghl_provider::client::builder::{HttpSettings, http_client};
use cast_ghl_provider::client::cast::{CastClient, CastSms};
use cast_ghl_provider::client::ghl::{
    ApiRefusal, GhlClient, GhlError, InboundPost, MessageStatus, ProviderKind, StatusUpdate, Thread, TokenApp,
    TokenReply, UserType,
};
use cast_ghl_provider::domain::outcome::{NotSent, SendOutcome};
use cast_ghl_provider::domain::secret::Secret;
use cast_ghl_provider::domain::time::UnixMillis;
use serde_json::{Value, json};

use super::file::Sample;
use crate::support::blunt::{Blunt, Says};
use crate::support::world::{COMPANY, LOCATION, PHONE};

/// Kinds of answers, and the sentence about each.
pub const KINDS: [(&str, &str); 11] = [
    ("ghl/token", "a_token_reply_is_read_in_either_spelling_and_needs_its_access_token_alone"),
    ("ghl/minted", "a_minted_token_is_read_with_and_without_what_is_not_declared"),
    ("ghl/installed", "a_list_of_sub_accounts_is_read_whatever_its_entries_are_and_counts_them_all"),
    ("ghl/upsert", "an_upserted_contact_is_found_flat_and_wrapped"),
    ("ghl/duplicate", "a_looked_up_contact_is_found_flat_and_wrapped_or_is_none"),
    ("ghl/posted", "a_posted_reply_is_found_flat_and_wrapped_and_is_not_stored_without_an_id"),
    ("ghl/thread", "our_own_id_is_found_among_messages_flat_and_wrapped"),
    ("ghl/found", "a_conversation_is_found_unless_it_is_somebody_elses"),
    ("ghl/made", "a_made_conversation_is_found_flat_and_wrapped_or_was_there_already"),
    ("ghl/refusal", "a_refusal_speaks_as_text_list_object_and_oauth"),
    ("cast/sent", "an_answer_to_a_send_is_one_of_four_outcomes_whatever_its_shape"),
];

/// What the client makes of a sample of this kind; `{}` where it has nothing to say.
pub async fn heard(kind: &str, sample: &Sample) -> Value {
    let status = sample.expect["status"].as_u64().unwrap_or(200);
    let body = std::str::from_utf8(&sample.said).expect("a body in UTF-8");
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    let server = Blunt::start(Says::Bytes(format!("{head}\r\n\r\n{body}"))).await;
    let base = server.url().parse().expect("a URL");
    let http = http_client(&HttpSettings::default()).expect("a client");
    let read = if kind == "cast/sent" {
        sent(&CastClient::new(http, base)).await
    } else {
        asked(kind, &GhlClient::new(http, base)).await.unwrap_or_else(|e| refused(&e))
    };
    let said = &sample.expect["status"];
    json!({"status": said, "read": read})
}

async fn asked(kind: &str, ghl: &GhlClient) -> Result<Value, GhlError> {
    let secret = |word: &str| Secret::from(word.to_owned());
    let token = secret("at-0");
    Ok(match kind {
        "ghl/token" => {
            let app = TokenApp { client_id: "app-x".to_owned(), client_secret: secret("s") };
            token_reply(&ghl.exchange_code(&app, "code", "https://b.test", UserType::Location).await?)
        }
        "ghl/minted" => token_reply(&ghl.mint_location_token(&token, COMPANY, LOCATION).await?),
        "ghl/installed" => {
            let page = ghl.installed_locations(&token, COMPANY, "app", 0, 100).await?;
            json!({"length": page.length, "locations": page.locations, "install_to_future": page.install_to_future})
        }
        "ghl/upsert" => json!(ghl.upsert_contact(&token, LOCATION, PHONE).await?),
        "ghl/duplicate" => json!(ghl.find_contact(&token, LOCATION, PHONE).await?),
        "ghl/posted" => {
            let posted = ghl.post_inbound(&token, &reply()).await?;
            let (conversation, contact) = (posted.conversation_id, posted.contact_id);
            json!({"message_id": posted.message_id, "conversation_id": conversation, "contact_id": contact})
        }
        "ghl/thread" => json!(ghl.find_posted(&token, "CNVa", reply().alt_id).await?),
        "ghl/found" => json!(ghl.find_conversation(&token, LOCATION, "CONa").await?),
        "ghl/made" => json!(ghl.create_conversation(&token, LOCATION, "CONa").await?),
        "ghl/refusal" => {
            let delivered = StatusUpdate { status: MessageStatus::Delivered, error: None };
            ghl.update_status(&token, "MSGa", &delivered).await?;
            json!("it was no refusal")
        }
        other => panic!("nobody reads {other}"),
    })
}

fn reply() -> InboundPost<'static> {
    InboundPost {
        kind: ProviderKind::Sms,
        thread: Thread::Contact("CONa"),
        message: Some("Yes"),
        provider_id: None,
        phone: None,
        date: "2026-05-28T20:26:40Z",
        alt_id: "in:corpus",
        attachments: &[],
    }
}

fn token_reply(reply: &TokenReply) -> Value {
    json!({
        "access_token": reply.access_token.expose(),
        "refresh_token": reply.refresh_token.as_ref().map(Secret::expose),
        "expires_in": reply.expires_in.map(|life| life.as_secs()),
        "user_type": reply.user_type.map(UserType::as_str),
        "location_id": reply.location_id,
        "company_id": reply.company_id,
        "user_id": reply.user_id,
        "scope": reply.scope,
        "bulk": reply.is_bulk_installation,
        "approved_locations": reply.approved_locations,
        "install_to_future": reply.install_to_future_locations,
        "approve_all": reply.approve_all_locations,
    })
}

fn refused(error: &GhlError) -> Value {
    match error {
        GhlError::Api(refusal) => refusal_of(refusal),
        GhlError::Unreadable { .. } => json!("unreadable"),
        GhlError::NotStored => json!("not_stored"),
        GhlError::Transport { detail, .. } => panic!("{detail}"),
    }
}

/// The words, and what they mean to whoever branches on them.
fn refusal_of(refusal: &ApiRefusal) -> Value {
    let meanings = [
        ("not_yet", refusal.is_not_yet()),
        ("location_inactive", refusal.is_location_inactive()),
        ("invalid_grant", refusal.is_invalid_grant()),
        ("wrong_kind", refusal.is_wrong_kind()),
        ("already_there", refusal.is_already_there()),
    ];
    let means: Vec<&str> = meanings.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect();
    let properties = ["phone", "conversationProviderId", "conversationId", "contactId", "altId", "date"];
    let names: Vec<&str> = properties.into_iter().filter(|property| refusal.names(property)).collect();
    let message = Some(&refusal.message).filter(|message| !message.is_empty());
    json!({"message": message, "code": refusal.code, "trace_id": refusal.trace_id, "means": means, "names": names})
}

async fn sent(cast: &CastClient) -> Value {
    let sms = CastSms { to: "09171234567", message: "Hello", sender_id: None, idempotency_key: "k" };
    match cast.send(&Secret::from("cast_k".to_owned()), &sms, UnixMillis(0)).await {
        SendOutcome::Accepted { gateway_id, parts } => {
            json!({"accepted": {"gateway_id": gateway_id, "parts": parts}})
        }
        SendOutcome::Rejected { reason } => json!({"rejected": reason}),
        SendOutcome::Unknown { evidence, gateway_id } => json!({"unknown": evidence, "gateway_id": gateway_id}),
        SendOutcome::NotSent { why, .. } => json!({"not_sent": match why {
            NotSent::RateLimited => "rate limited".to_owned(),
            NotSent::KeyRefused { status } => format!("key refused ({status})"),
            NotSent::Unreachable | NotSent::NotCalled => format!("{why:?}"),
        }}),
    }
}
