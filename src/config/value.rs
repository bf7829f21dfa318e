//! Parsers of single values: text in, a value or a `Wrong` out.
//!
//! Owns what each kind of value may look like and the words that say so. Its invariant: only values of closed
//! forms (numbers, durations, addresses, words of a list) are echoed, and only short ones; what may hold a secret
//! or a pasted one (keys, URLs, ids) is described and never shown. Knows no variable's name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use super::Words;
use crate::domain::opt_out::folded;
use crate::domain::secret::Secret;

/// What is wrong with a value and what would be right, as halves of one sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub wrong: String,
    pub right: String,
}

impl Wrong {
    pub fn new(wrong: impl Into<String>, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.wrong, self.right)
    }
}

/// Longest value that is echoed, in characters: above any honest one, below any key worth its name, which may
/// have been pasted behind the wrong name.
const ECHO_MAX: usize = 24;

/// A bad value as an error may show it: on one line and whole, or by its length alone.
pub(super) fn echo(text: &str) -> String {
    match text.chars().count() {
        ..=ECHO_MAX => format!("`{}`", printable(text)),
        length => format!("a value of {length} characters"),
    }
}

/// `text` with control characters replaced, for a terminal or a log line.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// One of a closed list of words, in exactly this spelling.
pub(super) fn word<W: Words>(text: &str) -> Result<W, Wrong> {
    let found = W::WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
        Wrong::new(format!("{} is not a choice", echo(text)), format!("choose {}", words.join(" or ")))
    })
}

/// A whole number within `range`, in decimal digits.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, Wrong>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    move |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|n| digits && range.contains(n));
        value.ok_or_else(|| {
            Wrong::new(
                format!("{} will not do", echo(text)),
                format!("give a whole number from {} to {}", range.start(), range.end()),
            )
        })
    }
}

/// Longest duration text. Humantime 2.4 panics on sums that reach 2⁶⁴ seconds by a carry of exactly one second
/// (`18446744073709551615s1000ms`); nothing this short gets there.
const DURATION_TEXT_MAX: usize = 24;

/// A humantime duration within `range`; a bare number is refused, since its unit would be a guess.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| {
        let right = || {
            format!(
                "give a duration from {} to {}, with its unit",
                duration_text(*range.start()),
                duration_text(*range.end())
            )
        };
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(Wrong::new(format!("{} has no unit", echo(text)), right()));
        }
        let parsed = Some(text)
            .filter(|t| t.len() <= DURATION_TEXT_MAX)
            .and_then(|t| humantime::parse_duration(t).ok())
            .ok_or_else(|| Wrong::new(format!("{} is not a duration", echo(text)), right()))?;
        if range.contains(&parsed) {
            Ok(parsed)
        } else {
            Err(Wrong::new(format!("{} is out of bounds", echo(text)), right()))
        }
    }
}

/// A duration in the largest unit that holds it exactly, in humantime's spelling (`400d`, where humantime itself
/// would write `1year 1month 4days 7h 21m 36s`).
pub(super) fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let exact = UNITS.iter().find(|(unit, _)| ms.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

const BYTE_UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// A size as [`byte_size`] reads it, in the largest unit that holds it exactly.
pub(super) fn size_text(bytes: u64) -> String {
    let exact = BYTE_UNITS.iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A size in bytes, written with a binary unit (`256MiB`).
pub(super) fn byte_size(text: &str) -> Result<u64, Wrong> {
    let parsed = BYTE_UNITS.iter().find_map(|(unit, name)| {
        let digits = text.strip_suffix(name)?.trim_end();
        let number: u64 = number(1..=u64::MAX)(digits).ok()?;
        number.checked_mul(*unit)
    });
    parsed.ok_or_else(|| {
        Wrong::new(
            format!("{} is not a size", echo(text)),
            "give a whole number with KiB, MiB, GiB or TiB, such as 256MiB",
        )
    })
}

/// An IP address to listen on.
pub(super) fn ip(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(format!("{} is not an IP address", echo(text)), "give one such as 0.0.0.0, 127.0.0.1 or ::")
    })
}

/// An address to listen on, or `off`.
pub(super) fn socket_or_off(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Wrong::new(format!("{} is not an address", echo(text)), "give IP:port such as 127.0.0.1:9464, or off")
    })
}

/// An http or https URL without credentials, query and fragment; trailing slashes of its path are removed
/// (of the root path the url crate shows one all the same).
pub(super) fn base_url(text: &str) -> Result<Url, Wrong> {
    let mut url = plain_url(text)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An http or https URL without credentials, query and fragment, its path as given.
pub(super) fn plain_url(text: &str) -> Result<Url, Wrong> {
    let right = "give an address such as https://bridge.example.com";
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    if !begins("http://") && !begins("https://") {
        return Err(Wrong::new("does not begin with https:// or http://", right));
    }
    if text.contains(char::is_whitespace) {
        return Err(Wrong::new("holds a space or a line break", right));
    }
    let url = Url::parse(text).map_err(|e| Wrong::new(format!("is not a URL ({e})"), right))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::new("holds a user name or password", right));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new("has a `?` or `#` part", "leave that part out"));
    }
    Ok(url)
}

/// An id of the CRM: 1 to 64 of `[A-Za-z0-9_-]` (GHL contract, webhook ids).
pub(super) fn crm_id(text: &str) -> Result<String, Wrong> {
    if text.len() <= 64 && is_word(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("is not an id of the CRM", "give 1 to 64 letters, digits, `_` or `-`"))
}

/// A sender name: 1 to 11 of `[A-Za-z0-9 ._-]`.
pub(super) fn sender_id(text: &str) -> Result<String, Wrong> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b" ._-".contains(&b);
    if text.len() <= 11 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("is not a sender name", "give 1 to 11 letters, digits, spaces, `.`, `_` or `-`"))
}

/// OAuth scopes, separated by spaces, each once in the order given (RFC 6749, section 3.3).
pub(super) fn scopes(text: &str) -> Result<Vec<String>, Wrong> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split_whitespace() {
        if !scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\,;".contains(&b)) {
            return Err(Wrong::new(
                "holds a character that no scope has",
                "separate scopes by spaces, such as `contacts.readonly contacts.write`",
            ));
        }
        if !scopes.iter().any(|s| s == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(scopes)
}

/// Longest word a person can be asked to reply.
const REPLY_WORD_MAX: usize = 40;

/// Words that people reply, separated by commas, each once in the order given.
pub(super) fn reply_words(text: &str) -> Result<Vec<String>, Wrong> {
    let right = "give words such as STOP,STOP ALL";
    let mut words: Vec<String> = Vec::new();
    for word in text.split(',').map(str::trim) {
        if folded(word).is_empty() {
            return Err(Wrong::new("holds a word without a letter or digit", right));
        }
        if word.chars().count() > REPLY_WORD_MAX || word.chars().any(char::is_control) {
            return Err(Wrong::new(format!("holds a word of more than {REPLY_WORD_MAX} plain characters"), right));
        }
        if !words.iter().any(|known| folded(known) == folded(word)) {
            words.push(word.to_owned());
        }
    }
    Ok(words)
}

/// A key or id that travels in a header or form: visible ASCII without spaces.
pub(super) fn token(text: &str) -> Result<String, Wrong> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("holds a space, a line break or a character that is not ASCII", "copy it again, alone and whole"))
}

/// A secret that travels in a header or form.
pub(super) fn secret(text: &str) -> Result<Secret, Wrong> {
    token(text).map(Secret::from)
}

/// Least length of a key that guards us, in characters.
const GUARD_MIN: usize = 16;

/// An API key that guards us.
pub(super) fn guard(text: &str) -> Result<Secret, Wrong> {
    let key = secret(text)?;
    if text.len() >= GUARD_MIN {
        return Ok(key);
    }
    Err(Wrong::new(format!("is shorter than {GUARD_MIN} characters"), "make one with `openssl rand -hex 32`"))
}

/// Whether `text` is one or more of `[A-Za-z0-9_-]`.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::LongMessage;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);
    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn a_bare_number_is_not_a_duration() {
        for text in ["5", "0", "300", "1.5"] {
            let wrong = duration(ANY)(text).expect_err(text).to_string();
            assert!(wrong.contains("has no unit"), "{wrong}");
        }
    }

    #[test]
    fn durations_are_humantime() {
        for (text, expected) in [
            ("5s", 5 * SECOND),
            ("0s", Duration::ZERO),
            ("250ms", SECOND / 4),
            ("1h 30m", 5400 * SECOND),
            ("400d", 400 * DAY),
            ("1week", 7 * DAY),
        ] {
            assert_eq!(duration(ANY)(text), Ok(expected), "{text}");
        }
        for text in ["abc", "-5s", "5 parsecs", "5s!", "99999999999999999999s"] {
            assert!(duration(ANY)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_out_of_bounds_is_told_the_bounds() {
        let wrong = duration(SECOND..=10 * SECOND)("11s").expect_err("too long");
        assert_eq!(wrong.to_string(), "`11s` is out of bounds; give a duration from 1s to 10s, with its unit");
    }

    #[test]
    fn the_duration_text_that_makes_humantime_panic_is_refused() {
        assert!(duration(ANY)("18446744073709551615s1000ms").is_err());
    }

    #[test]
    fn numbers_are_plain_digits_within_their_range() {
        let rate = number(1..=100_000u32);
        assert_eq!(rate("1"), Ok(1));
        assert_eq!(rate("100000"), Ok(100_000));
        for text in ["0", "100001", "+5", "-1", "1.5", "1e3", "0x10", "1_000", "99999999999999"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_taken_in_one_spelling_and_the_refusal_lists_them() {
        assert_eq!(word::<LongMessage>("reject"), Ok(LongMessage::Reject));
        let wrong = word::<LongMessage>("Split").expect_err("case");
        assert_eq!(wrong.to_string(), "`Split` is not a choice; choose split or reject");
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        assert_eq!(byte_size("256MiB"), Ok(256 << 20));
        assert_eq!(byte_size("1 GiB"), Ok(1 << 30));
        for text in ["256", "256MB", "MiB", "-1MiB", "0MiB", "99999999TiB"] {
            assert!(byte_size(text).is_err(), "{text}");
        }
        for text in ["1KiB", "256MiB", "3TiB", "1025GiB"] {
            assert_eq!(byte_size(text).map(size_text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_base_url_loses_its_trailing_slashes_and_keeps_its_path() {
        for (text, expected) in [
            ("https://bridge.example.com", "https://bridge.example.com/"),
            ("https://bridge.example.com///", "https://bridge.example.com/"),
            ("HTTPS://Bridge.Example.com/sms/", "https://bridge.example.com/sms"),
            ("http://127.0.0.1:3002/a/b", "http://127.0.0.1:3002/a/b"),
        ] {
            assert_eq!(base_url(text).expect(text).as_str(), expected);
        }
    }

    #[test]
    fn a_url_with_another_scheme_credentials_query_or_fragment_is_refused_unseen() {
        for text in [
            "bridge.example.com",
            "ftp://bridge.example.com",
            "https:/bridge.example.com",
            "https://",
            "https://hunter2@bridge.example.com",
            "https://user:hunter2@bridge.example.com",
            "https://bridge.example.com/?key=hunter2",
            "https://bridge.example.com#hunter2",
            "https://bridge.example.com/ hunter2",
            "https://bridge.example.com:hunter2",
        ] {
            let wrong = base_url(text).expect_err(text).to_string();
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn an_authorize_url_keeps_its_path_as_given() {
        let url = plain_url("https://marketplace.example.com/oauth/choose/").expect("a URL");
        assert_eq!(url.path(), "/oauth/choose/");
    }

    #[test]
    fn sender_names_have_at_most_eleven_characters_of_a_small_set() {
        for text in ["CAST", "My Brand-1", "a.b_c-d e12"] {
            assert_eq!(sender_id(text).as_deref(), Ok(text));
        }
        for text in ["TwelveChars1", "Ñandú", "a+b", "tab\there"] {
            assert!(sender_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn scopes_are_separated_by_spaces_and_kept_once() {
        assert_eq!(scopes("  a.read   b/c.write a.read ").expect("scopes"), ["a.read", "b/c.write"]);
        assert!(scopes("a.read,b.write").is_err());
        assert!(scopes("a.read \"b\"").is_err());
    }

    #[test]
    fn a_guarding_key_has_at_least_sixteen_characters() {
        assert!(guard("0123456789abcde").is_err());
        assert!(guard("0123456789abcdef").is_ok());
        assert!(guard("0123456789 abcdef").is_err());
    }

    #[test]
    fn an_echo_is_on_one_line_and_a_long_value_is_not_shown_at_all() {
        assert_eq!(echo("a\nb\u{1b}[31m"), "`a\u{fffd}b\u{fffd}[31m`");
        assert_eq!(echo(&"é".repeat(24)), format!("`{}`", "é".repeat(24)));
        assert_eq!(echo(&"é".repeat(25)), "a value of 25 characters");
    }

    proptest! {
        #[test]
        fn no_parser_panics(text in "\\PC{0,40}") {
            let _ = duration(ANY)(&text);
            let _ = byte_size(&text);
            let _ = base_url(&text);
            let _ = scopes(&text);
            let _ = socket_or_off(&text);
        }

        #[test]
        fn no_duration_text_panics(text in "[0-9]{1,21}(ns|us|ms|s|m|h|d|w|y|\\.[0-9]{1,4}s)([0-9]{1,8}(ms|ns|s))?") {
            let _ = duration(ANY)(&text);
        }

        #[test]
        fn a_printed_duration_is_read_back_the_same(ms in 1u64..1_000_000_000_000) {
            let duration_ms = Duration::from_millis(ms);
            prop_assert_eq!(duration(ANY)(&duration_text(duration_ms)), Ok(duration_ms));
        }
    }
}
