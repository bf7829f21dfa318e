//! A string that must not be seen: keys, tokens, passwords, connection strings.
//!
//! Owns the one invariant that a secret never reaches a log, a page or an error by accident: there is no
//! `Display`, `Debug` prints `[secret]`, and the only way to the value is a call that says `expose`.
//! Pure: imports nothing.

use std::fmt;

/// A string whose value no formatting shows. Compare secrets only in constant time, through `expose`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one place that needs it: a header, a form field, a key schedule.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_value_plain_pretty_and_nested() {
        let secret = Secret::from("cast_0123456789");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(format!("{secret:#?}"), "[secret]");
        assert_eq!(format!("{:?}", Some(secret.clone())), "Some([secret])");
        assert_eq!(format!("{secret:>40?}"), "[secret]");
    }

    #[test]
    fn expose_gives_back_exactly_what_went_in() {
        assert_eq!(Secret::from(" a\nb ".to_owned()).expose(), " a\nb ");
    }
}
