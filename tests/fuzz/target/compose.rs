//! Splitting: `domain::compose` on any text and attachments.
//!
//! An input is the text and its attachments, apart by U+001E. The parts must be the text and nothing else, in order, less the
//! whitespace at the joints; each within both limits by a counter of our own; none cut inside a grapheme or a link.

use std::collections::HashSet;
use std::ops::Range;

use cast_ghl_provider::domain::compose::{Attachments, ComposeError, ComposeRules, Excess, LongMessage, Part, compose};
use unicode_segmentation::UnicodeSegmentation as _;

use super::sms;
use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};

const ANY: ComposeRules =
    ComposeRules { long_message: LongMessage::Split, max_parts: 1_000_000, attachments: Attachments::Link };

pub fn target() -> Target {
    Target {
        name: "compose",
        grammar: Grammar::Bytes,
        dictionary: &[
            "\u{1e}",
            " ",
            "\n",
            "\r\n",
            "\u{3000}",
            "https://a.ph/1?x=y&z#f",
            "http://",
            "www.",
            "WWW.",
            "a.ph/",
            "://",
            "(https://a.ph/(1))",
            "€",
            "[~]",
            "ñ",
            "₱",
            "😀",
            "🇵🇭",
            "👍🏽",
            "👨\u{200d}👩\u{200d}👧",
            "e\u{301}",
            " \u{301}",
            "นี้กำ",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
        largest: 16 * 1024,
        cases: 1_000,
        reaches: &["one part", "several parts", "empty", "link too long", "attachments"],
        start: || Box::new(try_one),
    }
}

fn try_one(input: &[u8]) -> Outcome {
    let input = String::from_utf8_lossy(input);
    let mut pieces = input.split('\u{1e}').map(str::to_owned);
    let text = pieces.next().unwrap_or_default();
    let attachments: Vec<String> = pieces.collect();
    let links: Vec<String> = attachments.iter().map(|raw| encoded(raw)).filter(|link| !link.is_empty()).collect();
    let composed = compose(Some(&text), &attachments, &ANY);
    rules_decide(&text, &attachments, &links, &composed);
    let detail = attachments.len().min(3);
    match composed {
        Ok(parts) => {
            let body = body(&text, &links);
            check(&body, &links, &parts);
            let name = match (parts.len(), links.is_empty()) {
                (_, false) => "attachments",
                (1, _) => "one part",
                _ => "several parts",
            };
            Outcome { name, detail: detail + parts.len().min(20) * 4 }
        }
        Err(ComposeError::Empty) => {
            assert!(text.trim().is_empty() && links.is_empty());
            Outcome { name: "empty", detail }
        }
        Err(ComposeError::TooLong(Excess::Link { characters })) => {
            assert!(characters > 67, "a link of {characters} characters fits");
            Outcome { name: "link too long", detail }
        }
        Err(other) => panic!("no rule forbids it: {other}"),
    }
}

/// An attachment as one word: whitespace and control characters percent-encoded.
fn encoded(raw: &str) -> String {
    let encode = |c: char| match c.is_whitespace() || c.is_control() {
        true => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
        false => c.to_string(),
    };
    raw.trim().chars().map(encode).collect()
}

/// The whole message: the text, and each link on a line of its own.
fn body(text: &str, links: &[String]) -> String {
    let text = if links.is_empty() || !text.trim().is_empty() { text } else { "" };
    let gap = if text.is_empty() || text.ends_with('\n') || links.is_empty() { "" } else { "\n" };
    format!("{text}{gap}{}", links.join("\n"))
}

/// The operator's limits refuse what is over them, say how much it would have been, and change nothing else.
fn rules_decide(text: &str, attachments: &[String], links: &[String], any: &Result<Vec<Part>, ComposeError>) {
    for (long_message, max_parts) in
        [(LongMessage::Split, 0), (LongMessage::Split, 2), (LongMessage::Split, 8), (LongMessage::Reject, 8)]
    {
        let limit = if long_message == LongMessage::Reject { 1 } else { max_parts };
        let limited = compose(Some(text), attachments, &ComposeRules { long_message, max_parts, ..ANY });
        match any {
            Ok(parts) if parts.len() > limit => {
                let needed = parts.len().min(100);
                assert_eq!(limited, Err(ComposeError::TooLong(Excess::Parts { needed, limit })));
            }
            // A link past the hundredth part is not looked for.
            Err(ComposeError::TooLong(_)) => assert!(matches!(limited, Err(ComposeError::TooLong(_)))),
            same => assert_eq!(&limited, same),
        }
    }
    let refused = compose(Some(text), attachments, &ComposeRules { attachments: Attachments::Reject, ..ANY });
    if links.is_empty() {
        assert_eq!(&refused, any);
    } else {
        assert_eq!(refused, Err(ComposeError::AttachmentRefused));
    }
}

fn check(body: &str, links: &[String], parts: &[Part]) {
    for part in parts {
        assert_eq!(part.segments, sms::count(&part.text), "each part's encoding is judged alone");
        assert!(sms::fits(&part.text), "a part is within both limits");
        assert!(!part.text.trim().is_empty());
        assert_eq!(
            compose(Some(&part.text), &[], &ANY).as_deref(),
            Ok([part.clone()].as_slice()),
            "a part is one part"
        );
    }
    if let [only] = parts
        && sms::fits(body)
    {
        assert_eq!(only.text, body, "what fits is kept byte for byte");
        return;
    }
    let places = places(body, parts);
    let mut boundaries: HashSet<usize> = body.grapheme_indices(true).map(|(at, _)| at).collect();
    boundaries.insert(body.len());
    for edge in places.iter().flat_map(|place| [place.start, place.end]) {
        assert!(boundaries.contains(&edge) || in_a_monster(body, edge), "a grapheme was cut");
    }
    for pair in places.windows(2) {
        assert!(!sms::fits(&body[pair[0].start..pair[1].end]), "two parts that would fit one");
    }
    let whole = |link: &str| parts.iter().any(|part| part.text.contains(link));
    for link in links {
        assert!(whole(link), "an attachment's link was cut");
    }
    for word in body.split_whitespace().filter(|word| word.starts_with("https://")) {
        assert!(whole(word), "a link was cut");
    }
}

/// Where each part stands, once it is sure that nothing but whitespace lies between and around them.
fn places(body: &str, parts: &[Part]) -> Vec<Range<usize>> {
    let mut end = 0;
    let mut places = Vec::new();
    for part in parts {
        let gap = body[end..].char_indices().map(|(at, _)| end + at);
        // Not `trim_start`: a part may begin with a space that carries a combining mark.
        let start = gap
            .take_while(|at| body[end..*at].chars().all(char::is_whitespace))
            .find(|at| body[*at..].starts_with(&part.text))
            .expect("a part is what comes next in the text");
        end = start + part.text.len();
        places.push(start..end);
    }
    assert!(body[end..].trim().is_empty(), "the end of the text is lost");
    places
}

/// Inside a grapheme that fits no part by itself.
fn in_a_monster(body: &str, edge: usize) -> bool {
    body.grapheme_indices(true).any(|(at, g)| at < edge && edge < at + g.len() && !sms::fits(g))
}
