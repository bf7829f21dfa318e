//! Philippine mobile numbers: from whatever a person or the CRM wrote to one E.164 form, or a sentence that says why not.
//!
//! Invariant: a `Phone` is always `+63` and ten digits of a mobile number, so equal people have equal strings.
//! The rules are those of docs/cast-api-reference.md; a carrier prefix is never looked at, since numbers are portable
//! (RA 11202, 2021) and new ranges open. Nothing here prints a full number by accident: `Phone` has no `Display`.
//! Pure: must not import any other module.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Digits of a national mobile number: `9171234567`.
const NATIONAL_DIGITS: usize = 10;
/// More digits than any number has: `00`, the 15 of E.164 and a stray trunk `0`. Reading stops here.
const MOST_DIGITS: usize = 18;
/// Characters of the input an error repeats: enough for a number with its spaces, too few for a message in its place.
const MOST_ECHOED: usize = 32;

/// A Philippine mobile number. `Debug` masks it; [`Phone::e164`] and [`Phone::cast_local`] are the ways to the full number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Phone(String);

impl Phone {
    /// Reads a number as people and the CRM write it: international, with `00`, with or without the trunk `0` (also after
    /// `+63`), bare `9…`, `tel:`, with any spacing, dashes, brackets, full-width digits or invisible characters.
    ///
    /// A mobile is `9` and nine digits, or `813`, `817`, `895`–`898` and seven.
    ///
    /// # Errors
    /// [`PhoneError`], which repeats the number: for the agent, not for the log.
    pub fn parse(raw: &str) -> Result<Self, PhoneError> {
        if raw.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
            return Err(PhoneError::Empty);
        }
        Dialled::read(raw)
            .and_then(|dialled| dialled.national().map(|national| Self(format!("+63{national}"))))
            .map_err(|complaint| complaint(Echo::of(raw)))
    }

    /// `+639171234567`.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// `09171234567`, the form of the gateway's `to`.
    #[must_use]
    pub fn cast_local(&self) -> String {
        format!("0{}", self.national())
    }

    /// `+63917*****67`, for logs. The first three digits tell a wrong range or a network's trouble, the last two tell
    /// neighbours in a log apart; 100,000 numbers look the same, so it names nobody.
    #[must_use]
    pub fn masked(&self) -> String {
        let national = self.national();
        format!("+63{}*****{}", &national[..3], &national[8..])
    }

    fn national(&self) -> &str {
        &self.0["+63".len()..]
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.masked())
    }
}

impl TryFrom<String> for Phone {
    type Error = PhoneError;

    fn try_from(raw: String) -> Result<Self, PhoneError> {
        Self::parse(&raw)
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `serde(try_from)`: a store's error ends in a log, and `PhoneError` repeats the number.
        Self::try_from(String::deserialize(deserializer)?)
            .map_err(|_| de::Error::custom("not a Philippine mobile number"))
    }
}

/// A number that may not even be one, for logs: `+*********00`. Keeps the plus sign and, from eight digits on, the last two;
/// other characters are left out, since a field that should hold a number can hold anything. What parses is masked as
/// [`Phone::masked`] does, so that both ways of writing a number are found by one search.
#[must_use]
pub fn mask(raw: &str) -> String {
    if let Ok(phone) = Phone::parse(raw) {
        return phone.masked();
    }
    let digits: String = raw.chars().filter_map(ascii_digit).take(MOST_DIGITS).collect();
    if digits.is_empty() {
        return "(no digits)".to_owned();
    }
    let plus = if raw.trim_start().starts_with(is_plus) { "+" } else { "" };
    let shown = if digits.len() < 8 { "" } else { &digits[digits.len() - 2..] };
    format!("{plus}{}{shown}", "*".repeat(digits.len() - shown.len()))
}

/// Why a number can't be texted. `Display` is the sentence the agent reads in the conversation and repeats the number:
/// it must not be logged. `Debug` masks it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// No number at all.
    #[error("This contact has no phone number")]
    Empty,
    /// Letters, extensions, a second plus sign, or no digits.
    #[error("\"{0}\" is not a phone number")]
    NotANumber(Echo),
    /// A Philippine number of a geographic area.
    #[error("{0} looks like a landline; an SMS needs a mobile number such as 0917 123 4567")]
    Landline(Echo),
    /// Another country's number, or one outside every mobile and landline range.
    #[error("{0} is not a Philippine mobile number")]
    Foreign(Echo),
    /// `+1` before what would be a Philippine mobile: the CRM completes a local number with the sub-account's country.
    #[error("{0} is not a Philippine mobile number; if it was entered without the +1, check the sub-account's country")]
    WrongCountry(Echo),
    /// Starts like a mobile number, or is too short to be any.
    #[error("{0} has too few digits for a Philippine mobile number")]
    TooShort(Echo),
    /// Starts like a mobile number and goes on.
    #[error("{0} has too many digits for a Philippine mobile number")]
    TooLong(Echo),
}

/// The number as it was given, at most 32 characters, without control and invisible characters. `Debug` masks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Echo(String);

impl Echo {
    fn of(raw: &str) -> Self {
        let mut seen = raw.trim().chars().filter(|c| !c.is_control() && !is_invisible(*c));
        let mut echo: String = seen.by_ref().take(MOST_ECHOED).collect();
        if seen.next().is_some() {
            echo.push('…');
        }
        Self(echo)
    }
}

impl fmt::Display for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

/// The variant an input earns, still without its echo.
type Complaint = fn(Echo) -> PhoneError;

/// What would be dialled: ASCII digits, and whether a plus sign led them.
struct Dialled {
    plus: bool,
    digits: String,
}

impl Dialled {
    fn read(raw: &str) -> Result<Self, Complaint> {
        let raw = raw.trim_start_matches(is_separator);
        let raw = match raw.get(..4) {
            Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &raw[4..],
            _ => raw,
        };
        let (mut plus, mut digits) = (false, String::new());
        for c in raw.chars() {
            match ascii_digit(c) {
                Some(_) if digits.len() == MOST_DIGITS => return Err(PhoneError::TooLong),
                Some(digit) => digits.push(digit),
                None if is_separator(c) => {}
                None if is_plus(c) && digits.is_empty() => plus = true,
                None => return Err(PhoneError::NotANumber),
            }
        }
        if digits.is_empty() {
            return Err(PhoneError::NotANumber);
        }
        Ok(Self { plus, digits })
    }

    /// The ten digits after `+63`.
    fn national(&self) -> Result<&str, Complaint> {
        let digits = self.digits.as_str();
        let (abroad, full) = match digits.strip_prefix("00") {
            Some(full) => (true, full),
            // A bare `63` is the country only before enough digits: 063 is also the area code of Lanao.
            None => (self.plus || (digits.starts_with("63") && digits.len() > NATIONAL_DIGITS), digits),
        };
        if full.strip_prefix('1').map(without_trunk).is_some_and(is_nine_mobile) {
            return Err(PhoneError::WrongCountry);
        }
        match (abroad, full.strip_prefix("63")) {
            (true, Some(national)) => mobile(without_trunk(national)),
            (true, None) => Err(PhoneError::Foreign),
            (false, _) => mobile(without_trunk(full)),
        }
    }
}

fn mobile(national: &str) -> Result<&str, Complaint> {
    const EIGHTS: [&str; 6] = ["813", "817", "895", "896", "897", "898"];
    if national.starts_with('9') || EIGHTS.iter().any(|range| national.starts_with(range)) {
        return match national.len().cmp(&NATIONAL_DIGITS) {
            Ordering::Equal => Ok(national),
            Ordering::Less => Err(PhoneError::TooShort),
            Ordering::Greater => Err(PhoneError::TooLong),
        };
    }
    match (national.as_bytes().first(), national.len()) {
        // Seven or eight digits are dialled within an area, nine or ten with its code.
        (Some(b'2'..=b'8'), 7..=10) => Err(PhoneError::Landline),
        (_, ..7) => Err(PhoneError::TooShort),
        _ => Err(PhoneError::Foreign),
    }
}

fn is_nine_mobile(national: &str) -> bool {
    national.starts_with('9') && national.len() == NATIONAL_DIGITS
}

/// Without the trunk `0`, or several after a country code (`+630` put before `0917…`): no national number begins with one.
fn without_trunk(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

fn ascii_digit(c: char) -> Option<char> {
    match c {
        '0'..='9' => Some(c),
        '０'..='９' => char::from_digit(u32::from(c) - u32::from('０'), 10),
        _ => None,
    }
}

fn is_plus(c: char) -> bool {
    matches!(c, '+' | '＋')
}

/// What people and word processors put between digits: the set of libphonenumber's `VALID_PUNCTUATION` without its `x`.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || is_invisible(c)
        || matches!(c, '-' | '.' | '/' | '(' | ')' | '[' | ']' | '~')
        || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30FC}' | '\u{FE58}' | '\u{FE63}')
        || matches!(c, '－' | '．' | '／' | '（' | '）' | '［' | '］' | '⁓' | '∼' | '～')
}

/// Characters that come along when a number is copied: soft hyphen, zero-width and bidirectional marks, byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}')
        || matches!(c, '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use phonenumber::{Type, country, metadata::DATABASE};
    use proptest::prelude::*;

    use super::*;

    fn e164(raw: &str) -> String {
        Phone::parse(raw).unwrap_or_else(|e| panic!("{raw:?}: {e}")).e164().to_owned()
    }

    fn sentence(raw: &str) -> String {
        Phone::parse(raw).expect_err(raw).to_string()
    }

    #[test]
    fn the_table_of_the_contract_holds() {
        for raw in [
            "+639171234567",
            "639171234567",
            "00639171234567",
            "0917 123 4567",
            "(0917) 123-4567",
            "9171234567",
            "+6309171234567",
            "+63 (0)917 123 4567",
            "09171234567",
        ] {
            let phone = Phone::parse(raw).unwrap();
            assert_eq!((phone.e164(), phone.cast_local().as_str()), ("+639171234567", "09171234567"), "{raw}");
        }
    }

    #[test]
    fn stranger_ways_of_writing_the_same_number_are_read() {
        for raw in [
            "tel:+639171234567",
            " TEL: 0917-123-4567",
            "(+63) 917.123.4567",
            "＋６３　９１７　１２３　４５６７",
            "0917\u{a0}123\u{2011}4567",
            "\u{202a}+63 917 123 4567\u{202c}",
            "\u{feff}0917–123–4567\r\n",
            "++639171234567",
            "+00639171234567",
            "6309171234567",
            "+63 0 0917 123 4567",
            "0063 0917 123 4567",
            "[0917]/123/4567",
        ] {
            assert_eq!(e164(raw), "+639171234567", "{raw:?}");
        }
    }

    #[test]
    fn every_nine_range_and_the_six_eight_ranges_are_mobiles() {
        for range in (900..1000).chain([813, 817, 895, 896, 897, 898]) {
            assert_eq!(e164(&format!("0{range}1234567")), format!("+63{range}1234567"));
        }
        for range in (810..820).chain(890..900).filter(|r| ![813, 817, 895, 896, 897, 898].contains(r)) {
            let raw = format!("0{range}1234567");
            assert!(matches!(Phone::parse(&raw), Err(PhoneError::Landline(_))), "{raw}");
        }
    }

    #[test]
    fn an_unusable_number_gets_a_sentence_an_agent_understands() {
        for (raw, expected) in [
            ("", "This contact has no phone number"),
            (" \u{200b}\n", "This contact has no phone number"),
            ("+14155550100", "+14155550100 is not a Philippine mobile number"),
            ("0044 20 7946 0000", "0044 20 7946 0000 is not a Philippine mobile number"),
            ("14155550100", "14155550100 is not a Philippine mobile number"),
            ("1800 1 234 5678", "1800 1 234 5678 is not a Philippine mobile number"),
            ("call me", "\"call me\" is not a phone number"),
            ("---", "\"---\" is not a phone number"),
            ("0917 123 456", "0917 123 456 has too few digits for a Philippine mobile number"),
            ("+63 917 123 45678", "+63 917 123 45678 has too many digits for a Philippine mobile number"),
            ("8080", "8080 has too few digits for a Philippine mobile number"),
            (
                "(02) 8123 4567",
                "(02) 8123 4567 looks like a landline; an SMS needs a mobile number such as 0917 123 4567",
            ),
        ] {
            assert_eq!(sentence(raw), expected);
        }
    }

    #[test]
    fn a_local_number_completed_with_plus_one_names_the_sub_accounts_country() {
        for raw in ["+19171234567", "19171234567", "+1 (917) 123-4567", "0019171234567", "+109171234567"] {
            assert!(sentence(raw).ends_with("check the sub-account's country"), "{raw}");
        }
        assert!(!sentence("+14155550100").contains("sub-account"));
        assert!(!sentence("+919171234567").contains("sub-account"), "that is an Indian mobile");
    }

    #[test]
    fn landlines_are_recognised_however_they_are_written() {
        for raw in
            ["0281234567", "+63281234567", "8123 4567", "032 412 3456", "63281234567", "0881234567", "063 221 2345"]
        {
            assert!(matches!(Phone::parse(raw), Err(PhoneError::Landline(_))), "{raw}");
        }
    }

    #[test]
    fn extensions_letters_and_second_numbers_are_refused() {
        for raw in [
            "0917 123 4567 ext 12",
            "09171234567x12",
            "tel:+639171234567;ext=12",
            "0917-FLOWERS",
            "0917 123 4567 +63",
            "+63+9171234567",
            "0917,1234567",
            "09171234567#",
            "\u{669}\u{661}\u{667}1234567",
            "tel:tel:09171234567",
        ] {
            assert!(matches!(Phone::parse(raw), Err(PhoneError::NotANumber(_))), "{raw}");
        }
        assert!(matches!(Phone::parse("09171234567 / 09181234567"), Err(PhoneError::TooLong(_))));
    }

    #[test]
    fn the_echo_is_short_and_free_of_control_characters() {
        let said = sentence(&format!("\u{202e}a\u{7}b\r\n{}", "x".repeat(1 << 20)));
        assert_eq!(said, format!("\"ab{}…\" is not a phone number", "x".repeat(30)));
    }

    #[test]
    fn debug_and_masks_never_show_the_whole_number() {
        let phone = Phone::parse("0917 123 4567").unwrap();
        assert_eq!(format!("{phone:?}"), "Phone(+63917*****67)");
        assert_eq!(mask("0917-123-4567"), "+63917*****67");
        assert_eq!(mask("+14155550100"), "+*********00");
        assert_eq!(mask("8080"), "****");
        assert_eq!(mask("GLOBE"), "(no digits)");
        assert_eq!(mask("pay 12 to Ana at 8123 4567 today"), "********67");
        assert_eq!(format!("{:?}", Phone::parse("+14155550100").unwrap_err()), "Foreign(+*********00)");
    }

    #[test]
    fn serde_writes_e164_reads_any_form_and_hides_the_number_in_its_error() {
        let phone: Phone = serde_json::from_str("\"0917 123 4567\"").unwrap();
        assert_eq!(serde_json::to_string(&phone).unwrap(), "\"+639171234567\"");
        let error = serde_json::from_str::<Phone>("\"+14155550100\"").unwrap_err().to_string();
        assert!(error.starts_with("not a Philippine mobile number") && !error.contains("415"), "{error}");
    }

    /// Ten national digits of a mobile.
    fn national() -> impl Strategy<Value = String> {
        prop_oneof!["9[0-9]{9}", "8(13|17|9[5-8])[0-9]{7}"]
    }

    /// A number as written: a prefix, digits, and separators between any two characters.
    fn written(national: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let prefix = prop::sample::select(vec!["", "0", "63", "630", "+63", "+630", "0063", "00630", "+0063"]);
        let noise = prop::collection::vec("[ \\-./()\u{a0}\u{2011}\u{200b}]{0,2}", 24);
        (prefix, national, noise).prop_map(|(prefix, national, noise)| {
            let bare = format!("{prefix}{national}");
            // A separator before the plus would be noise, too: `(+63)`.
            bare.chars().zip(noise).flat_map(|(c, gap)| gap.chars().chain([c]).collect::<Vec<_>>()).collect()
        })
    }

    proptest! {
        #[test]
        fn formatting_noise_and_prefixes_do_not_change_the_number(
            (national, raw) in national().prop_flat_map(|n| (Just(n.clone()), written(Just(n)))),
        ) {
            prop_assert_eq!(e164(&raw), format!("+63{national}"));
        }

        #[test]
        fn whatever_is_accepted_is_plus_63_and_ten_digits_and_round_trips(
            raw in prop_oneof![written(national()), written("[0-9]{5,12}"), "\\PC{0,20}", any::<String>()],
        ) {
            if let Ok(phone) = Phone::parse(&raw) {
                let digits = phone.e164().strip_prefix("+63").unwrap();
                prop_assert!(digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()));
                prop_assert_eq!(&Phone::parse(phone.e164()).unwrap(), &phone);
                prop_assert_eq!(&Phone::parse(&phone.cast_local()).unwrap(), &phone);
                prop_assert_eq!(&Phone::parse(&phone.cast_local()[1..]).unwrap(), &phone);
            }
        }

        #[test]
        fn no_input_makes_the_masks_show_more_than_five_digits(raw in "\\PC{0,40}|\\+?[0-9 ]{0,30}") {
            let shown = mask(&raw).chars().filter(char::is_ascii_digit).count();
            prop_assert!(shown <= "63".len() + 5);
            let _ = format!("{:?}", Phone::parse(&raw));
        }

        /// One way: libphonenumber knows fewer ranges than there are, and reads letters and extensions, which we refuse.
        #[test]
        fn what_libphonenumber_calls_a_philippine_mobile_is_accepted_with_the_same_e164(
            raw in prop_oneof![written(national()), written("[0-9]{7,13}"), "[+]{0,2}[0-9 ()-]{7,18}", "tel:\\+639[0-9]{9}"],
        ) {
            let Ok(known) = phonenumber::parse(Some(country::PH), &raw) else { return Ok(()) };
            if known.country().id() == Some(country::PH)
                && known.is_valid()
                && known.number_type(&DATABASE) == Type::Mobile
            {
                prop_assert_eq!(e164(&raw), known.format().mode(phonenumber::Mode::E164).to_string());
            }
        }
    }
}
