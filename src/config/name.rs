//! The names of variables: which are known, which are a slip of the finger, which an orchestrator put there.
//!
//! Owns the verdict on a name that nobody asked for. Its invariant: a known name is never unknown, an injected
//! one never reported. Must not look at values.

use super::raw::GROUPS;

/// What an unasked-for name under `GHL_` or `CAST_` is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Known, injected, or under somebody else's prefix: nothing to say.
    Fine,
    /// Within edit distance 2 of the known name given.
    Misspelt(&'static str),
    /// Ours by its prefix, and not known.
    Unknown,
}

/// Every known name, in the order of `.env.example`.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// Where `name` stands in `.env.example`; names unknown to it stand after all known ones.
pub(super) fn position(name: &str) -> usize {
    known().position(|k| k == name).unwrap_or(usize::MAX)
}

/// Judges a name from the environment (bridge rules, configuration).
pub(super) fn judge(name: &str) -> Verdict {
    let ours = name.starts_with("GHL_") || name.starts_with("CAST_");
    if !ours || injected(name) || known().any(|k| k == name) {
        return Verdict::Fine;
    }
    known()
        .map(|k| (distance(name, k), k))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, _)| *d <= 2)
        .map_or(Verdict::Unknown, |(_, k)| Verdict::Misspelt(k))
}

/// Names that Kubernetes and Docker links set for a service called `cast…` or `ghl…`:
/// `…_SERVICE_HOST`, `…_SERVICE_PORT…`, `…_PORT`, `…_PORT_<n>_TCP…`.
fn injected(name: &str) -> bool {
    let port_tcp = name
        .match_indices("_PORT")
        .map(|(at, found)| &name[at + found.len()..])
        .filter_map(|after| after.strip_prefix('_'))
        .any(|after| {
            let protocol = after.trim_start_matches(|c: char| c.is_ascii_digit());
            protocol.len() < after.len() && protocol.starts_with("_TCP")
        });
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.ends_with("_PORT") || port_tcp
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_within_edit_distance_two_is_taken_for_the_nearest_known_one() {
        for (wrong, meant) in [
            ("GHL_CLIENTID", "GHL_CLIENT_ID"),
            ("CAST_API_KEYS", "CAST_API_KEY"),
            ("CAST_API_LRU", "CAST_API_URL"),
            ("CAST_SENDERID", "CAST_SENDER_ID"),
            ("GHL_SCOPE", "GHL_SCOPES"),
            ("GHL_CLIENT_SECERT", "GHL_CLIENT_SECRET"),
        ] {
            assert_eq!(judge(wrong), Verdict::Misspelt(meant), "{wrong}");
        }
    }

    #[test]
    fn a_name_further_away_is_only_unknown() {
        assert_eq!(judge("CAST_COLOUR"), Verdict::Unknown);
        assert_eq!(judge("GHL_"), Verdict::Unknown);
    }

    #[test]
    fn names_under_other_prefixes_are_nobodys_business() {
        for name in ["PATH", "BASE_URLS", "XCAST_API_KEY", "cast_api_key", "GHL"] {
            assert_eq!(judge(name), Verdict::Fine, "{name}");
        }
    }

    #[test]
    fn names_that_an_orchestrator_injects_are_ignored() {
        for name in [
            "CAST_GHL_SERVICE_HOST",
            "CAST_GHL_SERVICE_PORT",
            "CAST_GHL_SERVICE_PORT_HTTP",
            "CAST_GHL_PORT",
            "CAST_GHL_PORT_3002_TCP",
            "CAST_GHL_PORT_3002_TCP_ADDR",
            "CAST_GHL_PORT_3002_TCP_PROTO",
            "GHL_PORT_PORT_80_TCP",
        ] {
            assert_eq!(judge(name), Verdict::Fine, "{name}");
        }
    }

    #[test]
    fn what_only_resembles_an_injected_name_is_still_unknown() {
        for name in ["CAST_GHL_PORT_TCP", "CAST_GHL_PORT_x_TCP", "CAST_GHL_PORTS"] {
            assert_eq!(judge(name), Verdict::Unknown, "{name}");
        }
    }

    #[test]
    fn no_known_name_is_misspelt_unknown_or_injected_and_none_occurs_twice() {
        for name in known() {
            assert_eq!(judge(name), Verdict::Fine);
            assert!(!injected(name), "{name}");
            assert_eq!(known().filter(|k| *k == name).count(), 1, "{name}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_equals(a in "[A-C_]{0,8}", b in "[A-C_]{0,8}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
            prop_assert!(distance(&a, &b) >= a.len().abs_diff(b.len()));
        }

        #[test]
        fn judging_never_panics(name in "(GHL_|CAST_)?\\PC{0,40}") {
            judge(&name);
        }
    }
}
