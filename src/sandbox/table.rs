//! The table at the end: what each side was expected to see, what it saw, and whether that is right.
//!
//! Pure: rows in, text out.

use std::fmt::Write as _;

/// What a row should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// This number and no other.
    Exactly(usize),
    /// Worth knowing, never wrong.
    Any,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Whose view it is: rows of one side stand together.
    pub(super) side: &'static str,
    pub(super) what: &'static str,
    pub(super) expected: Expected,
    pub(super) seen: usize,
}

impl Row {
    pub(super) fn exactly(side: &'static str, what: &'static str, expected: usize, seen: usize) -> Self {
        Self { side, what, expected: Expected::Exactly(expected), seen }
    }

    pub(super) fn any(side: &'static str, what: &'static str, seen: usize) -> Self {
        Self { side, what, expected: Expected::Any, seen }
    }

    pub(super) fn is_right(&self) -> bool {
        match self.expected {
            Expected::Exactly(number) => number == self.seen,
            Expected::Any => true,
        }
    }
}

/// Whether every row is right.
pub(super) fn all_right(rows: &[Row]) -> bool {
    rows.iter().all(Row::is_right)
}

/// The table as text, without a line break at its end.
pub(super) fn render(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut text = format!("\n  {:width$}  expected    seen\n", "");
    let mut side = "";
    for row in rows {
        if row.side != side {
            side = row.side;
            let _ = writeln!(text, "{side}");
        }
        let (expected, verdict) = match row.expected {
            Expected::Exactly(number) => (number.to_string(), if row.is_right() { "OK" } else { "WRONG" }),
            Expected::Any => ("any".to_owned(), ""),
        };
        let line = format!("  {:width$}  {expected:>8}  {:>6}  {verdict}", row.what, row.seen);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_under_their_side_and_a_wrong_one_says_so() {
        let rows = [
            Row::exactly("GHL", "messages sent", 12, 12),
            Row::any("GHL", "reports refused as too early", 3),
            Row::exactly("Cast", "SMS taken", 15, 16),
        ];
        let expected = "
                                expected    seen
GHL
  messages sent                       12      12  OK
  reports refused as too early       any       3
Cast
  SMS taken                           15      16  WRONG";
        assert_eq!(render(&rows), expected);
        assert!(!all_right(&rows));
        assert!(all_right(&rows[..2]));
    }
}
