//! Operators' answers as text for people: a table of rows, one document as lines.
//!
//! Pure: data in, text out. Invariant: no control character of what others wrote reaches the terminal.

use std::fmt::Write as _;

use serde::Serialize;

use crate::domain::id::DocId;
use crate::domain::time::{UnixMillis, in_words};
use crate::operator::{
    Content, InstallRow, Installs, List, MessageView, OptOutRow, OptOuts, ReplyView, Row, Shown, Stripped,
    UnreadableView, rfc3339,
};

const HEAD: [&str; 7] = ["ID", "STATE", "CODE", "LOCATION", "PHONE", "AGE", "SENT"];
const OPT_OUT_HEAD: [&str; 5] = ["PHONE", "LOCATION", "AGE", "CRM", "LIFTED"];
const INSTALL_HEAD: [&str; 6] = ["ID", "STATE", "COMPANY", "TOKEN ENDS", "CONNECTED", "CHECKED"];

/// The rows in columns, and how to go on.
pub(super) fn list(list: &List, now: UnixMillis) -> String {
    let rows = list.messages.iter().map(|row| cells(row, now)).collect();
    columns(HEAD, rows, list.next.as_deref())
}

/// The installations in columns, and how to go on.
pub(super) fn installs(installs: &Installs, now: UnixMillis) -> String {
    let rows = installs.installations.iter().map(|row| install(row, now)).collect();
    columns(INSTALL_HEAD, rows, installs.next.as_ref().map(DocId::as_str))
}

/// The opt-outs in columns.
pub(super) fn opt_outs(found: &OptOuts, now: UnixMillis) -> String {
    let cells = |row: &OptOutRow| {
        let lifted = row.lifted_by.zip(row.lifted_at);
        [
            row.phone.clone(),
            row.location.as_ref().map_or_else(|| "everywhere".to_owned(), ToString::to_string),
            in_words(now.since(row.since)),
            row.crm.word().to_owned(),
            lifted
                .map_or_else(|| "-".to_owned(), |(by, at)| format!("{} ago by {}", in_words(now.since(at)), word(&by))),
        ]
    };
    let mut text = columns(OPT_OUT_HEAD, found.opt_outs.iter().map(cells).collect(), None);
    if found.more {
        text.push_str("\nThere are more: raise --limit, or narrow with --location or --phone\n");
    }
    text
}

/// Rows under their heads, and how to go on.
pub(super) fn columns<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, next: Option<&str>) -> String {
    let mut widths = head.map(str::len);
    for (at, width) in widths.iter_mut().enumerate() {
        *width = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(*width);
    }
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows) {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    if let Some(next) = next {
        let _ = writeln!(text, "\nMore: --after '{}'", plain(next));
    }
    text
}

fn install(row: &InstallRow, now: UnixMillis) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let state = row.state.as_str();
    let expires = row.token_expires_at.map(|at| match at.since(now) {
        left if left.is_zero() => "expired".to_owned(),
        left => format!("in {}", in_words(left)),
    });
    [
        plain(row.id.as_str()),
        if row.uninstall_in_doubt { format!("{state} (uninstall in doubt)") } else { state.to_owned() },
        or_dash(row.company.as_ref().map(ToString::to_string)),
        or_dash(expires),
        or_dash(row.progress.map(|p| format!("{}/{}", p.connected, p.known))),
        or_dash(row.last_check.as_ref().map(|c| format!("{} {} ago", c.verdict.as_str(), in_words(now.since(c.at))))),
    ]
}

fn cells(row: &Row, now: UnixMillis) -> [String; 7] {
    let or_dash = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| plain(&text));
    let state = if row.dropped { format!("{} (dropped)", row.state) } else { row.state.to_owned() };
    [
        plain(row.id.as_str()),
        state,
        or_dash(row.code.map(|code| code.as_str().to_owned()).or_else(|| row.why.clone())),
        or_dash(row.location.as_ref().map(ToString::to_string)),
        or_dash(row.phone.clone()),
        in_words(now.since(row.accepted_at)),
        if row.parts_total == 0 { "-".to_owned() } else { format!("{}/{}", row.parts_sent, row.parts_total) },
    ]
}

/// One document, a line a fact; what is not there has no line.
pub(super) fn shown(shown: &Shown) -> String {
    let mut lines = Lines::default();
    match shown {
        Shown::Message(view) => message(&mut lines, view),
        Shown::Unreadable(view) => unreadable(&mut lines, view),
        Shown::Reply(view) => reply(&mut lines, view),
        Shown::Stripped(left) => stripped(&mut lines, left),
    }
    lines.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: impl AsRef<str>) {
        let _ = writeln!(self.0, "{name:14}{}", plain(value.as_ref()));
    }

    fn maybe(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.line(name, value);
        }
    }

    fn time(&mut self, name: &str, at: Option<UnixMillis>) {
        self.maybe(name, at.map(rfc3339));
    }

    fn row(&mut self, row: &Row) {
        self.line("id", row.id.as_str());
        self.line("state", row.state);
        self.maybe("code", row.code.map(|code| code.as_str()));
        self.maybe("why", row.why.as_ref());
        self.maybe("location", row.location.as_ref().map(ToString::to_string));
        self.maybe("phone", row.phone.as_ref());
        self.time("accepted", Some(row.accepted_at));
    }

    fn content(&mut self, content: Option<&Content>) {
        let Some(content) = content else { return };
        self.maybe("full phone", content.phone.as_ref());
        self.maybe("text", content.text.as_ref());
        for link in &content.attachments {
            self.line("attachment", link);
        }
    }
}

fn message(lines: &mut Lines, view: &MessageView) {
    lines.row(&view.row);
    lines.line("message", view.message_id.as_str());
    lines.maybe("contact", view.contact_id.as_ref());
    lines.time("due", view.due_at);
    lines.time("settled", view.settled_at);
    lines.time("resent", view.resent_at);
    lines.time("dropped", view.dropped_at);
    lines.time("kept until", view.strip_at);
    if view.generation > 0 {
        lines.line("resends", view.generation.to_string());
    }
    if view.crashes > 0 {
        lines.line("crashes", format!("{} without an outcome", view.crashes));
    }
    for part in &view.parts {
        let what = if part.accepted { "accepted by Cast" } else { "not accepted" };
        let id = part.gateway_id.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
        let receipt = part.receipt.map(|fate| format!(", receipt: {}", fate.as_str())).unwrap_or_default();
        let size = format!(
            "{}, {}",
            counted(u64::try_from(part.characters).unwrap_or(u64::MAX), "character"),
            counted(part.segments.into(), "segment")
        );
        lines.line(&format!("part {}", part.part), format!("{what}{id}{receipt} ({size})"));
        lines.maybe("", part.text.as_ref());
    }
    for attempt in &view.attempts {
        let what =
            format!("{}  part {}  {}  {}", rfc3339(attempt.at), attempt.part, word(&attempt.result), attempt.id.0);
        lines.line("try", what);
    }
    if let Some(report) = &view.report {
        let code = report.code.map(|code| format!("/{}", code.as_str())).unwrap_or_default();
        let standing = match (report.told, report.due_at, &report.given_up) {
            (true, ..) => "told".to_owned(),
            (_, _, Some(why)) => format!("given up: {}", word(why)),
            (_, Some(_), _) if report.waits_for_token => "waits for a token of its location".to_owned(),
            (_, Some(at), _) => format!("due {}", rfc3339(at)),
            (false, None, None) => "withdrawn until it is settled again".to_owned(),
        };
        lines.line("report", format!("{}{code}, {standing} (revision {})", word(&report.status), report.revision));
        lines.maybe("", report.sentence.as_ref());
    }
    lines.content(view.content.as_ref());
}

fn unreadable(lines: &mut Lines, view: &UnreadableView) {
    lines.row(&view.row);
    lines.line("bytes", view.bytes.to_string());
    lines.time("dropped", view.dropped_at);
    lines.time("kept until", view.strip_at);
    lines.maybe("body", view.body.as_ref());
}

fn reply(lines: &mut Lines, view: &ReplyView) {
    lines.row(&view.row);
    lines.maybe("contact", view.contact_id.as_ref());
    lines.maybe("conversation", view.conversation_id.as_ref());
    lines.maybe("posted as", view.posted_message.as_ref());
    lines.line("tries", view.tries.to_string());
    lines.time("due", view.due_at);
    lines.time("settled", view.settled_at);
    lines.time("retried", view.retried_at);
    lines.time("dropped", view.dropped_at);
    lines.content(view.content.as_ref());
}

fn stripped(lines: &mut Lines, left: &Stripped) {
    lines.line("id", left.id.as_str());
    lines.line("state", &left.state);
    lines.time("settled", Some(left.settled_at));
    lines.line("", "Its RETENTION is over: only this is kept, so that a repeated webhook sends nothing.");
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The word a closed list is written by.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What others wrote, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Kind;

    fn row() -> Row {
        Row {
            id: DocId("out:L1:m1".into()),
            kind: Kind::Message,
            state: "parked",
            code: None,
            why: Some("a\u{1b}[31mb".into()),
            location: None,
            phone: Some("+63917*****67".into()),
            accepted_at: UnixMillis(0),
            parts_sent: 1,
            parts_total: 3,
            dropped: false,
        }
    }

    #[test]
    fn a_table_keeps_its_columns_and_says_how_to_go_on() {
        let rows = List { messages: vec![row(), Row { dropped: true, ..row() }], next: Some("5/out:L1:m1".into()) };
        let text = list(&rows, UnixMillis(7_200_000));
        let lines: Vec<&str> = text.lines().collect();
        let at = lines[0].find("PHONE").unwrap();
        assert!(lines[1][lines[1].len().min(at)..].contains("+63917*****67"), "{text}");
        assert!(lines[1].ends_with("2h   1/3") && lines[2].contains("parked (dropped)"), "{text}");
        assert_eq!(lines[4], "More: --after '5/out:L1:m1'");
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let text = list(&List { messages: vec![row()], next: None }, UnixMillis(0));
        assert!(!text.contains('\u{1b}') && text.contains('\u{fffd}'), "{text}");
    }
}
