//! From what the CRM gave (a text, attachments) to the parts the gateway takes, one call each.
//!
//! Invariant: every part fits [`MAX_SCALARS`] and [`MAX_SEGMENTS`], its encoding judged alone, and the parts in order are
//! the text, less the whitespace at the joints. What this means in detail is in the tests' names.
//! Pure: must import nothing but `domain::segment`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::segment::{Meter, Segments, count};

/// Unicode scalar values of one part: the gateway's limit for `message`, which it states as "450 characters".
pub const MAX_SCALARS: usize = 450;
/// SMS segments of one part: what the gateway says those 450 characters are.
pub const MAX_SEGMENTS: u32 = 3;
/// Parts counted for the sentence of a refusal; beyond it says "more than".
const MOST_COUNTED: usize = 99;

/// What to do with a message that needs more than one part (`LONG_MESSAGE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongMessage {
    /// Send several parts, at most [`ComposeRules::max_parts`].
    Split,
    /// Refuse it.
    Reject,
}

/// What to do with attachments (`ATTACHMENTS`): an SMS carries none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachments {
    /// Put each as a link on a line of its own under the text.
    Link,
    /// Refuse the message.
    Reject,
}

/// The operator's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComposeRules {
    /// More than one part: split or refuse.
    pub long_message: LongMessage,
    /// Most parts of a split message; 0 refuses everything.
    pub max_parts: usize,
    /// Attachments: link or refuse.
    pub attachments: Attachments,
}

/// One call of the gateway. `Debug` leaves the text out.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// What is sent.
    pub text: String,
    /// What it costs.
    pub segments: Segments,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("segments", &self.segments).finish_non_exhaustive()
    }
}

/// Why a message can't be sent as it is. `Display` is the sentence the agent reads; it holds numbers, never the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// Neither text nor attachment; whitespace is no text.
    #[error("This message has no text and no attachment")]
    Empty,
    /// There are attachments and the rules refuse them.
    #[error("This message was not sent: attachments can't go by SMS here. Put a link into the text instead")]
    AttachmentRefused,
    /// It does not fit.
    #[error(transparent)]
    TooLong(Excess),
}

/// In what way a message is too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many parts. `needed` stops at one more than the larger of `limit` and 99, and then means "or more".
    #[error(
        "This message is too long: it needs {} parts of at most {MAX_SCALARS} characters \
         (about 200 with emoji or special letters), and the limit is {limit}",
        at_least(*.needed, *.limit)
    )]
    Parts {
        /// Parts the message would take.
        needed: usize,
        /// Parts the rules allow.
        limit: usize,
    },
    /// A link is never broken, and this one fits no part by itself.
    #[error(
        "A link in this message is too long for an SMS: it has {characters} characters, and a part holds {MAX_SCALARS} \
         (about 200 with special letters)"
    )]
    Link {
        /// Unicode scalar values of the link.
        characters: usize,
    },
}

fn at_least(needed: usize, limit: usize) -> String {
    if needed > counted(limit) { format!("more than {}", counted(limit)) } else { needed.to_string() }
}

fn counted(limit: usize) -> usize {
    limit.max(MOST_COUNTED)
}

/// Composes the parts of a message, in order.
///
/// A message that fits one part is kept byte for byte. Otherwise parts end where a whitespace run stands, and that run is
/// dropped, as it is at the very start and end; no part could take one more word. Only a word that fits no part is cut:
/// between graphemes, a grapheme too large for a part (hundreds of combining marks) between scalar values, a link never.
/// Time grows with the length of the text.
///
/// # Errors
/// [`ComposeError`], for the agent.
pub fn compose(text: Option<&str>, attachments: &[String], rules: &ComposeRules) -> Result<Vec<Part>, ComposeError> {
    let links: Vec<String> = attachments.iter().filter_map(|raw| link(raw)).collect();
    if !links.is_empty() && rules.attachments == Attachments::Reject {
        return Err(ComposeError::AttachmentRefused);
    }
    let text = text.filter(|text| !text.trim().is_empty());
    let limit = match rules.long_message {
        LongMessage::Split => rules.max_parts,
        LongMessage::Reject => rules.max_parts.min(1),
    };
    let (body, links_at) = match (text, links.is_empty()) {
        (None, true) => return Err(ComposeError::Empty),
        (Some(text), true) => (Cow::Borrowed(text), text.len()),
        (text, false) => with_links(text.unwrap_or_default(), &links),
    };
    let parts = split(&body, links_at, counted(limit)).map_err(ComposeError::TooLong)?;
    if parts.len() > limit {
        let needed = parts.len();
        return Err(ComposeError::TooLong(Excess::Parts { needed, limit }));
    }
    Ok(parts.into_iter().map(|text| Part { text: text.to_owned(), segments: count(text) }).collect())
}

/// An attachment as one unbroken word, whitespace and control characters percent-encoded (a file name may hold spaces);
/// `None` for a blank one.
fn link(raw: &str) -> Option<String> {
    let raw = raw.trim();
    if raw.is_empty() {
        return None;
    }
    let mut link = String::with_capacity(raw.len());
    for c in raw.chars() {
        if c.is_whitespace() || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                link.push_str(&format!("%{byte:02X}"));
            }
        } else {
            link.push(c);
        }
    }
    Some(link)
}

/// The text with its links below, and where they start.
fn with_links<'a>(text: &str, links: &[String]) -> (Cow<'a, str>, usize) {
    let mut body = text.to_owned();
    if !body.is_empty() && !body.ends_with('\n') {
        body.push('\n');
    }
    let links_at = body.len();
    body.push_str(&links.join("\n"));
    (Cow::Owned(body), links_at)
}

/// Cuts `text` into as few parts as the rules of [`compose`] allow, at most one more than `most`. From the byte `links_at`
/// on every word is a link.
fn split(text: &str, links_at: usize, most: usize) -> Result<Vec<&str>, Excess> {
    if fits(text) {
        return Ok(vec![text]);
    }
    let mut cutter = Cutter { text, most, parts: Vec::new(), open: 0..0, room: Room::default() };
    for word in words(text) {
        cutter.add_word(word, links_at)?;
        if cutter.is_done() {
            break;
        }
    }
    cutter.close();
    Ok(cutter.parts)
}

/// Fills parts with pieces that must not be broken. Greedy is optimal: any run of characters inside a part that fits would
/// fit, too, so ending a part early never helps.
struct Cutter<'a> {
    text: &'a str,
    most: usize,
    parts: Vec<&'a str>,
    /// The part being filled; empty before its first piece.
    open: Range<usize>,
    room: Room,
}

impl Cutter<'_> {
    fn add_word(&mut self, word: Range<usize>, links_at: usize) -> Result<(), Excess> {
        let written = &self.text[word.clone()];
        if fits(written) {
            self.add(word);
            return Ok(());
        }
        let link = if word.start < links_at { link_start(written) } else { Some(0) };
        for (at, grapheme) in written.grapheme_indices(true) {
            if self.is_done() {
                break;
            }
            let start = word.start + at;
            let end = start + grapheme.len();
            // A link runs to the end of its word: what may belong to it is not ours to judge.
            if link.is_some_and(|link| word.start + link < end) {
                let rest = &self.text[start..word.end];
                if !fits(rest) {
                    let characters = rest.chars().count();
                    return Err(Excess::Link { characters });
                }
                self.add(start..word.end);
                break;
            }
            if fits(grapheme) {
                self.add(start..end);
            } else {
                for (at, c) in grapheme.char_indices() {
                    self.add(start + at..start + at + c.len_utf8());
                }
            }
        }
        Ok(())
    }

    /// Adds a piece that fits a part: to the open one, with the whitespace before it, or to the next, without.
    fn add(&mut self, piece: Range<usize>) {
        if !self.open.is_empty() {
            let mut room = self.room;
            if room.take(&self.text[self.open.end..piece.end]) {
                self.room = room;
                self.open.end = piece.end;
                return;
            }
            self.close();
        }
        self.room = Room::default();
        self.room.take(&self.text[piece.clone()]);
        self.open = piece;
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(&self.text[self.open.clone()]);
            self.open = 0..0;
        }
    }

    /// More parts than anybody wants to know of.
    fn is_done(&self) -> bool {
        self.parts.len() > self.most
    }
}

/// What a part holds so far.
#[derive(Clone, Copy, Default)]
struct Room {
    scalars: usize,
    meter: Meter,
}

impl Room {
    /// Takes `text` in; false at the first character that is too much, and then the room is spoilt.
    fn take(&mut self, text: &str) -> bool {
        text.chars().all(|c| {
            self.scalars += 1;
            self.meter.push(c);
            self.scalars <= MAX_SCALARS && self.meter.segments().segments <= MAX_SEGMENTS
        })
    }
}

fn fits(text: &str) -> bool {
    Room::default().take(text)
}

/// Maximal runs of graphemes that are not all whitespace. A space with a combining mark is no place to break.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut graphemes = text.grapheme_indices(true);
    std::iter::from_fn(move || {
        let is_blank = |grapheme: &str| grapheme.chars().all(char::is_whitespace);
        let (start, first) = graphemes.find(|(_, grapheme)| !is_blank(grapheme))?;
        let end =
            graphemes.by_ref().map_while(|(at, grapheme)| (!is_blank(grapheme)).then_some(at + grapheme.len())).last();
        Some(start..end.unwrap_or(start + first.len()))
    })
}

/// Whether a word of `text` is or holds a link.
#[must_use]
pub fn has_link(text: &str) -> bool {
    text.split_whitespace().any(|word| link_start(word).is_some())
}

/// Where the first link of a word starts: at a scheme before `://`, at `www.`, or at a host name before a path. A message
/// is cut by it only in words that fit no part, since others are not cut anyway.
fn link_start(word: &str) -> Option<usize> {
    let with_scheme = word.match_indices("://").find_map(|(at, _)| {
        let before = &word[..at];
        let scheme = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
        (scheme.len() < at).then_some(scheme.len())
    });
    let bytes = word.as_bytes();
    let with_www = (0..bytes.len()).find(|&at| {
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        starts_word && bytes[at..].get(..4).is_some_and(|w| w.eq_ignore_ascii_case(b"www."))
    });
    [with_scheme, with_www, with_host(word)].into_iter().flatten().min()
}

/// `example.com/path`, perhaps behind a bracket or a quote.
fn with_host(word: &str) -> Option<usize> {
    let start = word.find(|c: char| c.is_ascii_alphanumeric())?;
    let (host, _) = word[start..].split_once(['/', '?', '#'])?;
    let host = host.split_once(':').map_or(host, |(host, _port)| host);
    let (labels, top) = host.rsplit_once('.')?;
    let is_host = !labels.is_empty()
        && labels.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && top.len() >= 2
        && top.bytes().all(|b| b.is_ascii_alphabetic());
    is_host.then_some(start)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::segment::Encoding;

    const RULES: ComposeRules =
        ComposeRules { long_message: LongMessage::Split, max_parts: 8, attachments: Attachments::Link };
    const ONE: ComposeRules = ComposeRules { long_message: LongMessage::Reject, ..RULES };
    const MANY: ComposeRules = ComposeRules { max_parts: 1000, ..RULES };

    fn texts(text: &str, rules: &ComposeRules) -> Result<Vec<String>, ComposeError> {
        let parts = compose(Some(text), &[], rules)?;
        Ok(parts.into_iter().map(|part| part.text).collect())
    }

    fn attached(text: &str, attachments: &[&str]) -> String {
        let attachments: Vec<String> = attachments.iter().map(|a| (*a).to_owned()).collect();
        let parts = compose(Some(text), &attachments, &RULES).unwrap();
        assert_eq!(parts.len(), 1);
        parts[0].text.clone()
    }

    /// The limits, said a second time, independent of the code under test.
    fn within_limits(text: &str) -> bool {
        text.chars().count() <= 450 && count(text).segments <= 3
    }

    #[test]
    fn a_message_of_one_part_is_kept_byte_for_byte() {
        for text in ["Hi", " \r\nHi  there\t\n ", "\u{200b}", "a\0b"] {
            assert_eq!(texts(text, &ONE).unwrap(), [text]);
        }
        assert_eq!(texts(&"a".repeat(450), &ONE).unwrap(), ["a".repeat(450)]);
    }

    #[test]
    fn no_text_and_no_attachment_is_an_empty_message() {
        let blank = [" ".to_owned(), String::new()];
        for text in [None, Some(""), Some(" \r\n\t\u{3000}")] {
            assert_eq!(compose(text, &[], &RULES), Err(ComposeError::Empty));
            assert_eq!(compose(text, &blank, &RULES), Err(ComposeError::Empty));
        }
    }

    #[test]
    fn attachments_become_links_on_lines_of_their_own() {
        assert_eq!(attached("See:", &["https://a.ph/1", " https://a.ph/2\n"]), "See:\nhttps://a.ph/1\nhttps://a.ph/2");
        assert_eq!(attached("See:\n", &["", "https://a.ph/1"]), "See:\nhttps://a.ph/1");
        assert_eq!(attached(" \n", &["https://a.ph/1"]), "https://a.ph/1");
        assert_eq!(attached("", &["https://a.ph/my file\u{3000}1.pdf"]), "https://a.ph/my%20file%E3%80%801.pdf");
    }

    #[test]
    fn attachments_are_refused_where_the_operator_says_so() {
        let rules = ComposeRules { attachments: Attachments::Reject, ..RULES };
        let link = ["https://a.ph/1".to_owned()];
        assert_eq!(compose(Some("Hi"), &link, &rules), Err(ComposeError::AttachmentRefused));
        assert_eq!(compose(None, &link, &rules), Err(ComposeError::AttachmentRefused));
        assert!(compose(Some("Hi"), &[" ".to_owned()], &rules).is_ok());
    }

    #[test]
    fn a_long_text_breaks_at_whitespace_which_is_dropped_there_and_kept_elsewhere() {
        let (a, b) = ("a ".repeat(224) + "a", "b\n\n".repeat(99) + "b");
        assert_eq!(texts(&format!("\n {a} \r\n {b}  "), &RULES).unwrap(), [a, b]);
        assert_eq!(texts(&format!("a{}b", " ".repeat(500)), &RULES).unwrap(), ["a", "b"]);
        assert_eq!(texts(&format!("{}b", " ".repeat(500)), &ONE).unwrap(), ["b"]);
    }

    #[test]
    fn each_parts_encoding_is_judged_alone() {
        let text = format!("{} {}", "a".repeat(450), "₱".repeat(201));
        let parts = compose(Some(&text), &[], &RULES).unwrap();
        let seen: Vec<_> = parts.iter().map(|p| (p.segments.encoding, p.segments.units, p.segments.segments)).collect();
        assert_eq!(seen, [(Encoding::Gsm7, 450, 3), (Encoding::Ucs2, 201, 3)]);
    }

    #[test]
    fn a_word_that_fits_no_part_fills_the_open_one_and_is_cut_between_graphemes() {
        assert_eq!(
            texts(&format!("ab {}", "c".repeat(500)), &RULES).unwrap(),
            [format!("ab {}", "c".repeat(447)), "c".repeat(53)]
        );
        let family = "👨\u{200d}👩\u{200d}👧";
        for part in texts(&family.repeat(60), &RULES).unwrap() {
            assert_eq!(part.len() % family.len(), 0);
        }
        for part in texts(&"€".repeat(600), &RULES).unwrap() {
            assert!(part.chars().count() <= 228, "76 escape pairs in each of three segments");
        }
    }

    #[test]
    fn a_grapheme_larger_than_a_part_is_cut_between_scalar_values() {
        let zalgo = format!("Z{}", "\u{301}".repeat(500));
        let parts = texts(&zalgo, &RULES).unwrap();
        assert_eq!(parts.iter().map(|p| p.chars().count()).collect::<Vec<_>>(), [201, 201, 99]);
        assert_eq!(parts.concat(), zalgo);
    }

    #[test]
    fn a_space_with_a_combining_mark_is_no_place_to_break() {
        let text = format!("{} \u{301}{}", "a".repeat(150), "b".repeat(49));
        assert_eq!(texts(&format!("x {text}"), &RULES).unwrap(), ["x", text.as_str()]);
    }

    #[test]
    fn a_link_is_never_cut_even_inside_an_overlong_word() {
        let url = format!("https://example.ph/{}", "x".repeat(400));
        assert_eq!(
            texts(&format!("{}({url})", "看".repeat(180)), &RULES).unwrap(),
            ["看".repeat(180) + "(", format!("{url})")]
        );
        assert_eq!(texts(&format!("{} {url}", "a".repeat(60)), &RULES).unwrap(), ["a".repeat(60), url]);
    }

    #[test]
    fn a_text_with_a_link_is_told_from_one_without() {
        for text in ["see https://a.ph", "(www.a.ph)", "bit.ly/x?y", "a\nhttp://b/c now"] {
            assert!(has_link(text), "{text}");
        }
        for text in ["", "Hi. See you at 5/6, p. 3", "mail me@a.ph", "1/2.5 and 3.50/kg", "no.link here"] {
            assert!(!has_link(text), "{text}");
        }
    }

    #[test]
    fn a_link_that_fits_no_part_makes_the_message_too_long_in_so_many_words() {
        let path = "x".repeat(450);
        for url in [
            format!("https://a.ph/{path}"),
            format!("WWW.a.ph/{path}"),
            format!("a.com.ph:8080/{path}"),
            format!("myapp+x://{path}"),
        ] {
            let error = texts(&format!("See ({url}"), &MANY).unwrap_err();
            let sentence = error.to_string();
            assert!(matches!(error, ComposeError::TooLong(Excess::Link { .. })), "{url}");
            assert!(sentence.starts_with("A link in this message is too long for an SMS: it has 4"), "{sentence}");
        }
        assert_eq!(
            compose(None, &["a".repeat(451)], &MANY),
            Err(ComposeError::TooLong(Excess::Link { characters: 451 }))
        );
        for word in ["awww.", "a.b", "/a.ph", "://", "and/or", "1.5/2"] {
            assert!(texts(&format!("{word}{path}"), &MANY).is_ok(), "{word} begins no link");
        }
    }

    #[test]
    fn more_parts_than_allowed_are_too_long_with_both_numbers() {
        let word = |n: usize| "a".repeat(450 * n);
        assert_eq!(texts(&word(8), &RULES).unwrap().len(), 8);
        assert_eq!(
            texts(&word(9), &RULES).unwrap_err().to_string(),
            "This message is too long: it needs 9 parts of at most 450 characters (about 200 with emoji or special \
             letters), and the limit is 8"
        );
        let excess = |rules| match texts(&word(2), rules) {
            Err(ComposeError::TooLong(Excess::Parts { needed, limit })) => (needed, limit),
            other => panic!("{other:?}"),
        };
        assert_eq!(excess(&ONE), (2, 1));
        assert_eq!(excess(&ComposeRules { max_parts: 0, ..RULES }), (2, 0));
        assert!(texts(&word(99), &RULES).unwrap_err().to_string().contains("needs 99 parts"));
        assert!(texts(&word(100), &RULES).unwrap_err().to_string().contains("needs more than 99 parts"));
        assert!(texts(&word(1001), &MANY).unwrap_err().to_string().contains("needs more than 1000 parts"));
    }

    /// Each shape would take minutes if its time grew with the square of the length.
    #[test]
    fn a_mebibyte_of_anything_is_answered_at_once() {
        let unlimited = ComposeRules { max_parts: usize::MAX, ..RULES };
        for shape in ["a", "a ", "a\n\u{301}", "\u{301}", "🇵", "://"] {
            let text = "x".to_owned() + &shape.repeat((1 << 20) / shape.len());
            assert!(compose(Some(&text), &[], &RULES).is_err());
            let _ = compose(Some(&text), &[], &unlimited);
        }
    }

    #[test]
    fn debug_of_a_part_leaves_the_text_out() {
        assert!(!format!("{:?}", compose(Some("secret"), &[], &RULES)).contains("secret"));
    }

    /// Words short and overlong, in both alphabets, with links that fit a part.
    fn message() -> impl Strategy<Value = String> {
        let cluster =
            prop::sample::select(vec!["😀", "🇵🇭🇯🇵", "👍🏽", "👨\u{200d}👩\u{200d}👧", "e\u{301}", "नमस्ते", "กำ", "₱99"]);
        let word = prop_oneof![
            8 => "[a-zñ€{}.]{1,12}",
            2 => cluster.clone().prop_map(str::to_owned),
            1 => "https://[a-z]{3}\\.ph/[a-z0-9?=&]{0,40}",
            1 => ("[a-z€]{1,9}", 60..120_usize).prop_map(|(piece, times)| piece.repeat(times)),
            1 => (cluster, "[a-z]{1,3}", 60..120_usize).prop_map(|(a, b, times)| (a.to_owned() + &b).repeat(times)),
        ];
        let gap = prop_oneof![8 => Just(" "), 1 => Just("\n"), 1 => Just("  \r\n\u{a0}"), 1 => Just("\t")];
        prop::collection::vec((word, gap), 1..90)
            .prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
    }

    /// Where each part stands in the text, once it is sure that only whitespace lies between and around them.
    fn places(text: &str, parts: &[String]) -> Vec<Range<usize>> {
        let mut end = 0;
        let places = parts
            .iter()
            .map(|part| {
                // Not `trim_start`: a part may begin with a space that carries a combining mark.
                let start = (end..text.len())
                    .filter(|at| text.is_char_boundary(*at))
                    .take_while(|at| text[end..*at].trim().is_empty())
                    .find(|at| text[*at..].starts_with(part))
                    .expect("a part is what comes next in the text");
                end = start + part.len();
                start..end
            })
            .collect();
        assert!(text[end..].trim().is_empty(), "the end of the text is lost");
        places
    }

    proptest! {
        // A case is a long message: a quarter of the usual count keeps an unoptimised run short.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_but_whitespace_at_the_joints_is_lost_and_every_part_is_within_both_limits(
            text in prop_oneof![3 => message(), 1 => "[\\PC&&[^:./]]{0,900}", 1 => "[a-zé\u{301}\u{200d}😀 \n]{0,900}"],
        ) {
            match texts(&text, &MANY) {
                Ok(parts) => {
                    places(&text, &parts);
                    for part in &parts {
                        prop_assert!(within_limits(part));
                        prop_assert!(!part.trim().is_empty());
                    }
                }
                Err(ComposeError::Empty) => prop_assert!(text.trim().is_empty()),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn no_grapheme_and_no_link_is_split(text in message()) {
            let parts = texts(&text, &MANY).unwrap();
            let mut boundaries: HashSet<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
            boundaries.insert(text.len());
            for place in places(&text, &parts) {
                prop_assert!(boundaries.contains(&place.start) && boundaries.contains(&place.end));
            }
            for link in text.split_whitespace().filter(|word| word.starts_with("https://")) {
                prop_assert!(parts.iter().any(|part| part.split_whitespace().any(|word| word == link)));
            }
        }

        /// With the next property this makes the number of parts the least possible.
        #[test]
        fn no_part_could_take_the_next_word_or_the_next_grapheme_of_a_cut_word(text in message()) {
            let parts = texts(&text, &MANY).unwrap();
            let places = places(&text, &parts);
            for pair in places.windows(2) {
                let word_start = text[..pair[1].start].rfind(char::is_whitespace).map_or(0, |at| {
                    at + text[at..].chars().next().map_or(0, char::len_utf8)
                });
                let rest = &text[pair[1].start..];
                let next_word = rest.split_whitespace().next().unwrap();
                let whole_word = text[word_start..].split_whitespace().next().unwrap();
                let piece = if within_limits(whole_word) {
                    prop_assert_eq!(word_start, pair[1].start, "a word that fits a part was cut");
                    next_word
                } else {
                    rest.graphemes(true).next().unwrap()
                };
                prop_assert!(!within_limits(&text[pair[0].start..pair[1].start + piece.len()]));
            }
        }

        #[test]
        fn what_is_inside_something_that_fits_fits(text in "[a-z€₱😀]{0,250}|[a-z€]{0,460}", from in 0..460_usize, to in 0..460_usize) {
            let inside: String = text.chars().skip(from).take(to).collect();
            prop_assert!(!within_limits(&text) || within_limits(&inside));
            prop_assert_eq!(fits(&text), within_limits(&text));
        }

        #[test]
        fn the_same_message_gives_the_same_parts_and_its_parts_compose_to_themselves(text in message()) {
            let parts = texts(&text, &MANY).unwrap();
            prop_assert_eq!(texts(&text, &MANY).unwrap(), parts.clone());
            for part in parts {
                prop_assert_eq!(texts(&part, &ONE).unwrap(), [part]);
            }
        }
    }
}
