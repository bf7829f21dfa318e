//! Phone numbers: `domain::phone` on any text.
//!
//! What is accepted is canonical, and its digits are those that were written: none invented, none dropped. One way it agrees
//! with libphonenumber, which knows fewer ranges and reads letters and extensions that are refused here.

use cast_ghl_provider::domain::phone::{Phone, PhoneError, mask};
use phonenumber::{Mode, Type, country, metadata::DATABASE};

use crate::mutation::Grammar;
use crate::runner::{Outcome, Target};
use crate::target::LARGEST;

pub fn target() -> Target {
    Target {
        name: "phone",
        grammar: Grammar::Bytes,
        dictionary: &[
            "+63",
            "63",
            "0063",
            "+630",
            "0",
            "00",
            "+",
            "＋",
            "+1",
            "917",
            "9171234567",
            "813",
            "817",
            "895",
            "898",
            "(02)",
            "tel:",
            " ",
            "-",
            "(",
            ")",
            "/",
            "x12",
            " ext ",
            "\u{2011}",
            "\u{202a}",
            "\u{202c}",
            "９",
        ],
        largest: LARGEST,
        cases: 8_000,
        reaches: &["mobile", "empty", "no number", "landline", "foreign", "wrong country", "too short", "too long"],
        start: || Box::new(try_one),
    }
}

fn try_one(input: &[u8]) -> Outcome {
    let raw = String::from_utf8_lossy(input);
    let digits = digits(&raw);
    assert!(mask(&raw).chars().filter(char::is_ascii_digit).count() <= "63".len() + 5, "a mask hides most of it");
    agrees(&raw);
    match Phone::parse(&raw) {
        Ok(phone) => {
            check(&phone, &digits);
            Outcome { name: "mobile", detail: digits.len() }
        }
        Err(why) => {
            let said = why.to_string();
            assert!(said.chars().count() <= 200 && !said.chars().any(char::is_control), "a sentence of bounded length");
            let shown = format!("{why:?}").chars().filter(char::is_ascii_digit).count();
            assert!(shown <= "63".len() + 5, "`Debug` is for logs");
            Outcome { name: word(&why), detail: digits.len().min(24) }
        }
    }
}

fn word(why: &PhoneError) -> &'static str {
    match why {
        PhoneError::Empty => "empty",
        PhoneError::NotANumber(_) => "no number",
        PhoneError::Landline(_) => "landline",
        PhoneError::Foreign(_) => "foreign",
        PhoneError::WrongCountry(_) => "wrong country",
        PhoneError::TooShort(_) => "too short",
        PhoneError::TooLong(_) => "too long",
    }
}

/// ASCII and full-width digits, as ASCII.
fn digits(raw: &str) -> String {
    const WIDE: &str = "０１２３４５６７８９";
    raw.chars()
        .filter_map(|c| {
            WIDE.chars().position(|wide| wide == c).and_then(|n| char::from_digit(n as u32, 10)).or(Some(c))
        })
        .filter(char::is_ascii_digit)
        .collect()
}

fn check(phone: &Phone, digits: &str) {
    let e164 = phone.e164();
    let national = e164.strip_prefix("+63").unwrap();
    assert!(national.len() == 10 && national.bytes().all(|b| b.is_ascii_digit()));
    let range = &national[..3];
    assert!(range.starts_with('9') || ["813", "817", "895", "896", "897", "898"].contains(&range));
    for form in
        [e164.to_owned(), phone.cast_local(), national.to_owned(), e164[1..].to_owned(), format!("00{}", &e164[1..])]
    {
        assert_eq!(Phone::parse(&form).as_ref(), Ok(phone), "every way of writing it is the same number");
    }
    assert_eq!(phone.cast_local(), format!("0{national}"));
    // What was written before the ten digits is a trunk or a country code and nothing else.
    let before = digits.strip_suffix(national).expect("the digits are those that were written");
    let country = before.trim_start_matches('0').strip_prefix("63").unwrap_or(before);
    assert!(country.bytes().all(|b| b == b'0'), "a digit was dropped");
    assert_eq!(mask(e164), phone.masked());
    assert_eq!(phone.masked().bytes().filter(|b| *b == b'*').count(), 5);
}

/// Where libphonenumber reads all of the text, as plain digits and the usual separators.
fn agrees(raw: &str) {
    let plain = raw.trim_start_matches('+');
    if raw.len() > 40 || !plain.chars().all(|c| c.is_ascii_digit() || " ()-.".contains(c)) {
        return;
    }
    let Ok(known) = phonenumber::parse(Some(country::PH), raw) else { return };
    let philippine = known.country().id() == Some(country::PH);
    if philippine && known.is_valid() && known.number_type(&DATABASE) == Type::Mobile {
        let e164 = known.format().mode(Mode::E164).to_string();
        assert_eq!(Phone::parse(raw).ok().map(|p| p.e164().to_owned()), Some(e164), "libphonenumber reads a mobile");
    }
}
