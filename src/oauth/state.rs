//! The `state` of an install begun on our own page: a random value in the URL and in a cookie, compared.
//!
//! Nothing is stored. An install begun in the marketplace arrives with no `state`: allowed (ghl contract §3). Pure.

use crate::digest;

/// The cookie's name.
pub const STATE_COOKIE: &str = "cast_install_state";

/// Whether a callback may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateCheck {
    Allowed,
    /// Present but not ours: the code is not exchanged.
    Mismatch,
}

/// Compares in constant time; empty counts as absent.
#[must_use]
pub fn check_state(query: Option<&str>, cookie: Option<&str>) -> StateCheck {
    match (query.filter(|s| !s.is_empty()), cookie.filter(|s| !s.is_empty())) {
        (None, _) => StateCheck::Allowed,
        (Some(state), Some(cookie)) if digest::equal(state.as_bytes(), cookie.as_bytes()) => StateCheck::Allowed,
        (Some(_), _) => StateCheck::Mismatch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absent_or_matching_state_is_allowed() {
        assert_eq!(check_state(None, None), StateCheck::Allowed);
        assert_eq!(check_state(Some(""), Some("x")), StateCheck::Allowed);
        assert_eq!(check_state(Some("x"), Some("x")), StateCheck::Allowed);
        assert_eq!(check_state(Some("x"), Some("y")), StateCheck::Mismatch);
        assert_eq!(check_state(Some("x"), None), StateCheck::Mismatch);
        assert_eq!(check_state(Some("x"), Some("")), StateCheck::Mismatch);
    }
}
