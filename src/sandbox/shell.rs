//! Words for a POSIX shell, quoted so that they work when pasted. Pure.

/// `word` as one argument, whatever is in it.
pub(super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_exactly_the_word() {
        for word in ["plain", "two words", "it's", "$HOME `id` \"x\" \\", "'", "", "a\nb"] {
            let script = format!("printf %s {}", quote(word));
            let read = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), word);
        }
    }
}
