//! What is sent in the story: four kinds of message, each signed with each scheme, each to a number of its own.
//!
//! Owns the texts and what should become of them, which is written down here and not asked of the bridge's own rules (a
//! test holds the two together). Pure.

use crate::signature::Scheme;

/// The text of the forgery; the forger changes [`FORGED`]'s first word into its second.
pub(super) const TO_FORGE: &str = "Please send the 100 pesos to the shop.";
/// What the forger changes. Equal lengths: only the signature can tell.
pub(super) const FORGED: (&str, &str) = ("100", "900");
/// What a person answers.
pub(super) const REPLY: &str = "Yes please!";

/// Which part of the first long message is lost on its way, from 0, and the network's reason.
pub(super) const LOST: (usize, &str) = (1, "Absent subscriber");

/// The agency that connects, and how many sub-accounts it has.
pub(super) const AGENCY: (&str, usize) = ("COMsandbox0000000001", 25);

/// The ids of the agency's sub-accounts.
pub(super) fn sub_accounts() -> Vec<String> {
    (1..=AGENCY.1).map(|n| format!("LOCsandbox{n:010}")).collect()
}

/// The sub-account with a campaign, its company, and how many messages that has.
pub(super) const BUSY: (&str, &str) = ("LOCsandboxbusy000001", "COMsandboxbusy000001");
pub(super) const CAMPAIGN: usize = 30;

/// The messages of the campaign: the number as the CRM has it, as Cast takes it, and the text.
pub(super) fn campaign() -> Vec<(String, String, String)> {
    let message = |n| (format!("+6391800000{n:02}"), format!("091800000{n:02}"), format!("Sale ends today! Code {n}."));
    (1..=CAMPAIGN).map(message).collect()
}

/// What a person replies who wants no more messages, and who wants them again.
pub(super) const STOP: &str = "Stop.";
pub(super) const START: &str = "START";
/// What is sent to them meanwhile, and when they are back.
pub(super) const HELD: &str = "One more offer, today only!";
pub(super) const WELCOME: &str = "Welcome back! Your table is waiting.";

/// A kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One SMS.
    Short,
    /// Several Cast calls.
    Long,
    /// Characters no GSM-7 phone has.
    Unicode,
    /// To a number no SMS can reach.
    BadNumber,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Short, Self::Long, Self::Unicode, Self::BadNumber];

    fn text(self) -> String {
        match self {
            Self::Short => "Your table for two is ready. See you at 7!".to_owned(),
            Self::Long => {
                let line = |n| format!("Item {n} of your order is packed and leaves the store tomorrow.");
                (1..=18).map(line).collect::<Vec<_>>().join(" ")
            }
            Self::Unicode => "Salamat po! Bayad na ang ₱1,500 🎉 Kita tayo bukas.".to_owned(),
            Self::BadNumber => "This one can't arrive.".to_owned(),
        }
    }

    /// Calls to Cast it takes.
    fn parts(self) -> usize {
        match self {
            Self::Short | Self::Unicode => 1,
            Self::Long => 3,
            Self::BadNumber => 0,
        }
    }

    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Short => "short message",
            Self::Long => "long message",
            Self::Unicode => "Unicode message",
            Self::BadNumber => "message to a landline",
        }
    }
}

/// One message of the story.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) scheme: Scheme,
    /// As the CRM has it.
    pub(super) phone: String,
    /// As Cast takes it.
    pub(super) to: String,
    pub(super) text: String,
    /// Calls to Cast it takes; none for one that fails.
    pub(super) parts: usize,
}

impl Line {
    /// Names it in a sentence, without an article: "short message (RSA)".
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.kind.noun(), scheme_name(self.scheme))
    }
}

/// Every line, in the order they are sent.
pub(super) fn lines() -> Vec<Line> {
    let pairs = Scheme::ALL.into_iter().flat_map(|scheme| Kind::ALL.into_iter().map(move |kind| (kind, scheme)));
    let line = |(n, (kind, scheme)): (usize, (Kind, Scheme))| {
        let (phone, to) = match kind {
            Kind::BadNumber => (format!("+632812345{n:02}"), format!("02812345{n:02}")),
            _ => (format!("+6391700000{n:02}"), format!("091700000{n:02}")),
        };
        Line { kind, scheme, phone, to, text: kind.text(), parts: kind.parts() }
    };
    pairs.enumerate().map(line).collect()
}

/// The scheme as people call it.
pub(super) fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ed25519 => "Ed25519",
        Scheme::RsaPkcs1Sha256 => "RSA",
        Scheme::EcdsaP256Sha256 => "P-256",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::compose::{Attachments, ComposeRules, LongMessage, compose};
    use crate::domain::phone::Phone;
    use crate::domain::segment::{Encoding, count};

    const RULES: ComposeRules =
        ComposeRules { long_message: LongMessage::Split, max_parts: 8, attachments: Attachments::Link };

    #[test]
    fn each_kind_is_sent_with_each_scheme_to_a_number_of_its_own() {
        let lines = lines();
        assert_eq!(lines.len(), Kind::ALL.len() * Scheme::ALL.len());
        let phones: HashSet<&str> = lines.iter().map(|line| line.phone.as_str()).collect();
        assert_eq!(phones.len(), lines.len());
    }

    #[test]
    fn the_texts_and_numbers_are_what_their_kind_says() {
        for line in lines() {
            let phone = Phone::parse(&line.phone);
            if line.kind == Kind::BadNumber {
                assert!(phone.unwrap_err().to_string().contains("landline"), "{}", line.name());
                continue;
            }
            let phone = phone.unwrap();
            assert_eq!((phone.e164(), phone.cast_local()), (line.phone.as_str(), line.to.clone()));
            let parts = compose(Some(&line.text), &[], &RULES).unwrap();
            assert_eq!(parts.len(), line.parts, "{}", line.name());
            let joined: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            assert_eq!(joined.join(" "), line.text, "{}", line.name());
            let unicode = count(&line.text).encoding == Encoding::Ucs2;
            assert_eq!(unicode, line.kind == Kind::Unicode, "{}", line.name());
        }
    }

    #[test]
    fn the_forgery_has_the_length_of_the_original_and_another_meaning() {
        let (from, to) = FORGED;
        assert_eq!(TO_FORGE.matches(from).count(), 1);
        assert_eq!(from.len(), to.len());
        assert_ne!(from, to);
    }
}
