//! What each side saw of the story: gathered from the fakes, `/metrics` and the store, and turned into the table's rows.
//!
//! Invariant: what is expected comes from the script alone, what was seen from the side that saw it.

use super::answer::{Answers, Due};
use super::script::{self, Kind, Line};
use super::stage::{SENDER_ID, Stage};
use super::table::Row;
use crate::domain::installation::Installation;
use crate::domain::message::Message;
use crate::fake::cast::{CastCall, FakeCast};
use crate::fake::ghl::{ContactSeen, Direction, FakeGhl, GhlCall, InboundSeen, StatusError, StatusSeen, Webhook};
use crate::signature::Scheme;
use crate::store::Unreadable;

/// A line of the script, and the webhook it was sent by.
pub(super) struct Sent {
    pub(super) line: Line,
    pub(super) webhook: Webhook,
}

/// The numbers of one story. Expected ones first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Planned {
    messages: usize,
    good: usize,
    sms: usize,
}

impl Planned {
    fn of(lines: &[Line]) -> Self {
        let good = lines.iter().filter(|line| line.kind != Kind::BadNumber).count();
        Self { messages: lines.len(), good, sms: lines.iter().map(|line| line.parts).sum() }
    }
}

/// The table of the story.
///
/// # Errors
/// The bridge does not say what it counts, or its store can't be read.
pub(super) async fn rows(
    stage: &Stage,
    sent: &[Sent],
    wishes: &[Webhook],
    answers: &Answers,
) -> anyhow::Result<Vec<Row>> {
    let plan = Planned::of(&script::lines());
    let mut rows = ghl_rows(&stage.ghl, &plan, sent, answers);
    rows.extend(opt_out_rows(&stage.ghl, wishes));
    rows.extend(bridge_rows(stage, &plan, answers).await?);
    rows.extend(cast_rows(stage, &plan, sent, answers));
    Ok(rows)
}

fn ghl_rows(ghl: &FakeGhl, plan: &Planned, sent: &[Sent], answers: &Answers) -> Vec<Row> {
    let row = |what, expected, seen| Row::exactly("GHL", what, expected, seen);
    let shown = |of: fn(&Sent, &[StatusSeen]) -> bool| {
        sent.iter().filter(|sent| of(sent, &ghl.statuses(&sent.webhook.message_id))).count()
    };
    let (inbound, contacts, calls) = (ghl.inbound(), ghl.contacts(), ghl.calls());
    let placed = sent
        .first()
        .map_or(0, |first| inbound.iter().filter(|reply| is_in_place(reply, &first.line.phone, &contacts)).count());
    vec![
        row("sub-accounts of an agency given a token", script::AGENCY.1, minted(&calls)),
        row("messages sent and answered accepted", plan.messages + 2, answers.right(Due::Accepted)),
        row("sent again and answered duplicate", 1, answers.right(Due::Duplicate)),
        row("forged and refused (401)", 1, answers.right(Due::Refused)),
        row("messages shown as delivered", plan.good - 1, shown(is_delivered)),
        row("shown as delivered, then failed by a receipt", 1, shown(|sent, told| is_lost(sent) && is_corrected(told))),
        row("messages shown as failed, with the reason", plan.messages - plan.good, shown(is_failed)),
        Row::any(
            "GHL",
            "status reports refused as too early (403)",
            calls.iter().filter(|call| is_early(call)).count(),
        ),
        row("replies shown", 3, inbound.len()),
        row("replies shown in the right conversation", 1, placed),
        row("calls that break its contract", 0, ghl.breaches().len() + ghl.unexpected().len()),
    ]
}

/// The STOP and the START, as GHL shows them.
fn opt_out_rows(ghl: &FakeGhl, wishes: &[Webhook]) -> Vec<Row> {
    let row = |what, expected, seen| Row::exactly("GHL", what, expected, seen);
    let last = |webhook: &Webhook| ghl.statuses(&webhook.message_id).pop();
    let held = wishes.first().and_then(last).and_then(|told| told.error);
    let back = wishes.get(1).and_then(last);
    vec![
        row(
            "messages after a STOP shown as failed, with the reason",
            1,
            usize::from(held.is_some_and(|error| error.code == "opted_out" && error.message.contains("replied STOP"))),
        ),
        row(
            "messages after a START shown as delivered",
            1,
            usize::from(back.is_some_and(|told| told.status == "delivered")),
        ),
        row("do-not-disturb settings set and cleared", 2, opt_outs_told(ghl)),
    ]
}

/// How often GHL took a contact's do-not-disturb setting.
pub(super) fn opt_outs_told(ghl: &FakeGhl) -> usize {
    let set = |call: &GhlCall| call.method == "PUT" && call.path.starts_with("/contacts/") && call.status == Some(200);
    ghl.calls().iter().filter(|call| set(call)).count()
}

async fn bridge_rows(stage: &Stage, plan: &Planned, answers: &Answers) -> anyhow::Result<Vec<Row>> {
    let row = |what, expected, seen| Row::exactly("Bridge", what, expected, seen);
    let counts = stage.bridge.metrics().await?;
    let (messages, unreadable) = (stage.bridge.count::<Message>().await?, stage.bridge.count::<Unreadable>().await?);
    Ok(vec![
        // The agency itself, and the two sub-accounts that connected on their own.
        row("installations in its store", script::AGENCY.1 + 3, stage.bridge.count::<Installation>().await?),
        row("messages in its store", plan.messages + 2 + script::CAMPAIGN, messages),
        row("webhooks it could not read", 0, unreadable),
        row("duplicates", 1, counts.of("webhooks", "duplicate")),
        row("signatures that did not fit", 1, counts.of("signatures", "signature_invalid")),
        row("messages accepted by Cast", plan.good + 1 + script::CAMPAIGN, counts.of("messages_settled", "accepted")),
        row(
            "messages failed for their number",
            plan.messages - plan.good,
            counts.of("messages_settled", "invalid_phone"),
        ),
        row("messages held back after a STOP", 1, counts.of("messages_settled", "opted_out")),
        row("statuses told, one of them corrected", plan.messages + 3 + script::CAMPAIGN, counts.of("reports", "told")),
        row("receipts that found their message", 1, counts.of("receipts", "failed")),
        row("replies posted", 3, counts.of("replies", "posted")),
        row("answers other than the one due", 0, answers.wrong()),
    ])
}

fn cast_rows(stage: &Stage, plan: &Planned, sent: &[Sent], answers: &Answers) -> Vec<Row> {
    let row = |what, expected, seen| Row::exactly("Cast", what, expected, seen);
    let (cast, taken) = (&stage.cast, stage.cast.taken());
    let whole = sent.iter().filter(|sent| sent.line.parts > 0 && is_whole(&sent.line, &taken)).count();
    vec![
        row("calls", plan.sms + 1 + script::CAMPAIGN, cast.calls().len()),
        row("SMS taken", plan.sms + 1 + script::CAMPAIGN, taken.len()),
        row("messages whole, their parts in order", plan.good, whole),
        row("calls that break its contract", 0, cast.breaches().len() + cast.unexpected().len()),
        row("replies passed on and answered accepted", 3, answers.right(Due::ReplyAccepted)),
        row("receipts passed on and answered accepted", 1, answers.right(Due::ReceiptAccepted)),
        row("passed on again and answered duplicate", 1, answers.right(Due::ReplyRepeated)),
    ]
}

/// How many SMS Cast took beside those of the campaign.
pub(super) fn taken(cast: &FakeCast) -> usize {
    let numbers: Vec<String> = script::campaign().into_iter().map(|(_, to, _)| to).collect();
    cast.taken().iter().filter(|call| call.to.as_ref().is_none_or(|to| !numbers.contains(to))).count()
}

/// How many tokens of sub-accounts GHL gave.
pub(super) fn minted(calls: &[GhlCall]) -> usize {
    calls.iter().filter(|call| call.path == "/oauth/locationToken" && call.status == Some(201)).count()
}

/// The message that loses a part on its way: the first long one.
pub(super) fn is_lost(sent: &Sent) -> bool {
    sent.line.kind == Kind::Long && sent.line.scheme == Scheme::Ed25519
}

/// First delivered, then failed, with how much of it and the network's own words.
pub(super) fn is_corrected(told: &[StatusSeen]) -> bool {
    let says = |error: &StatusError| {
        error.code == "undelivered" && error.message.starts_with("1 of 3") && error.message.contains(script::LOST.1)
    };
    matches!(told, [first, last] if first.status == "delivered" && last.status == "failed"
        && last.error.as_ref().is_some_and(says))
}

/// Told once, and as it is.
fn is_delivered(sent: &Sent, told: &[StatusSeen]) -> bool {
    sent.line.kind != Kind::BadNumber
        && !is_lost(sent)
        && matches!(told, [only] if only.status == "delivered" && only.error.is_none())
}

/// Told once, with a sentence that names the trouble.
fn is_failed(sent: &Sent, told: &[StatusSeen]) -> bool {
    let says_why = |told: &StatusSeen| {
        told.error.as_ref().is_some_and(|error| error.code == "invalid_phone" && error.message.contains("landline"))
    };
    sent.line.kind == Kind::BadNumber && matches!(told, [only] if only.status == "failed" && says_why(only))
}

fn is_early(call: &GhlCall) -> bool {
    call.status == Some(403) && !call.breach && call.path.ends_with("/status")
}

/// The reply as the person wrote it, inbound, with the contact of the person's number.
fn is_in_place(reply: &InboundSeen, phone: &str, contacts: &[ContactSeen]) -> bool {
    let contact = contacts.iter().find(|contact| contact.phone == phone);
    reply.direction == Direction::Inbound
        && reply.message.as_deref() == Some(script::REPLY)
        && contact.is_some_and(|contact| contact.id == reply.contact_id && contact.location_id == reply.location_id)
}

/// Every part taken once, in order, together the text; parts are cut at single spaces.
fn is_whole(line: &Line, taken: &[CastCall]) -> bool {
    // The first person is sent another message when they are back.
    let theirs =
        |call: &&CastCall| call.to.as_deref() == Some(&line.to) && call.message.as_deref() != Some(script::WELCOME);
    let to_them = || taken.iter().filter(theirs);
    let texts: Vec<&str> = to_them().filter_map(|call| call.message.as_deref()).collect();
    texts.len() == line.parts
        && texts.join(" ") == line.text
        && to_them().all(|call| call.sender_id.as_deref() == Some(SENDER_ID))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UnixMillis;

    fn part(line: &Line, text: &str) -> CastCall {
        CastCall {
            at: UnixMillis(0),
            key: String::new(),
            to: Some(line.to.clone()),
            message: Some(text.to_owned()),
            sender_id: Some(SENDER_ID.to_owned()),
            idempotency_key: None,
            status: Some(200),
            taken: true,
            message_id: None,
            problem: None,
            breach: false,
        }
    }

    #[test]
    fn a_message_is_whole_when_its_parts_came_once_and_in_order() {
        let mut line = script::lines().remove(0);
        (line.text, line.parts) = ("one two three".to_owned(), 2);
        let (first, second) = (part(&line, "one two"), part(&line, "three"));
        assert!(is_whole(&line, &[first.clone(), second.clone()]));
        assert!(!is_whole(&line, &[second.clone(), first.clone()]), "out of order");
        assert!(!is_whole(&line, std::slice::from_ref(&first)), "a part is missing");
        assert!(!is_whole(&line, &[first.clone(), second.clone(), second.clone()]), "a part came twice");
        let unsigned = CastCall { sender_id: None, ..second };
        assert!(!is_whole(&line, &[first, unsigned]), "without its sender name");
    }

    #[test]
    fn the_plan_counts_three_messages_of_each_kind() {
        let plan = Planned::of(&script::lines());
        assert_eq!(plan, Planned { messages: 12, good: 9, sms: 15 });
    }
}
