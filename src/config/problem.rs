//! What is wrong with the configuration, collected so that one run shows everything.
//!
//! Owns the wording "NAME: what is wrong; what would be right" and its order, that of `.env.example`.
//! Its invariant: a problem holds no value of a secret, since nobody hands it one (see `value`).
//! Must not import the parsers.

use std::fmt;

use super::name;

/// One thing wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    name: String,
    text: String,
}

impl Problem {
    /// `wrong` says what is the matter with the variable `name`, `right` what would do; neither ends in a full
    /// stop, and neither may hold the value of a secret.
    #[must_use]
    pub fn new(name: &str, wrong: &str, right: &str) -> Self {
        Self::sentence(name, &format!("{wrong}; {right}"))
    }

    /// A problem whose `sentence`, written elsewhere, already says both what is wrong and what would be right.
    #[must_use]
    pub fn sentence(name: &str, sentence: &str) -> Self {
        Self { name: name.to_owned(), text: sentence.to_owned() }
    }

    /// The variable's full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// Every problem found, in the order of `.env.example`, names unknown to it last. Displays one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// Adds a problem in its place; of one variable's problems the earlier found comes first.
    pub fn push(&mut self, problem: Problem) {
        let place = |p: &Problem| (name::position(&p.name), p.name.clone());
        let new = place(&problem);
        let at = self.0.partition_point(|p| place(p) <= new);
        self.0.insert(at, problem);
    }

    /// The problems, in order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong with the variable `name`.
    #[must_use]
    pub fn concern(&self, name: &str) -> bool {
        self.0.iter().any(|p| p.name == name)
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_listed_in_the_order_of_the_example_file_with_unknown_names_last() {
        let mut errors = ConfigErrors::default();
        for name in ["RUST_LOG", "CAST_B", "BASE_URL", "CAST_A", "CAST_API_KEY"] {
            errors.push(Problem::new(name, "is wrong", "put it right"));
        }
        let names: Vec<&str> = errors.problems().iter().map(Problem::name).collect();
        assert_eq!(names, ["BASE_URL", "CAST_API_KEY", "RUST_LOG", "CAST_A", "CAST_B"]);
    }

    #[test]
    fn problems_of_one_variable_keep_the_order_in_which_they_were_found() {
        let mut errors = ConfigErrors::from(Problem::sentence("PORT", "first"));
        errors.push(Problem::sentence("PORT", "second"));
        assert_eq!(errors.to_string(), "PORT: first\nPORT: second");
    }
}
