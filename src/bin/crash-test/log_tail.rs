//! What a bridge says in its log about itself: where it listens, and when it came to lead.
//!
//! Owns the place up to which the file was read. A line that is not finished yet is left for the next look.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

/// Messages of the bridge's log that the harness understands.
const LISTENING: &str = "listening";
const LEADS: &str = "this process leads";

/// News of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Listens(SocketAddr),
    Leads { epoch: u64 },
}

/// A log and how far it was read.
pub(super) struct LogTail {
    path: PathBuf,
    read: u64,
}

impl LogTail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Passes over everything that is there.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        self.read = std::fs::metadata(&self.path)?.len();
        Ok(())
    }

    /// What was said since the last look.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn news(&mut self) -> io::Result<Vec<News>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.read += u64::try_from(whole).unwrap_or(0);
        Ok(String::from_utf8_lossy(&bytes[..whole]).lines().filter_map(news).collect())
    }
}

fn news(line: &str) -> Option<News> {
    // Most lines are about messages: not worth reading as JSON.
    if !line.contains(LISTENING) && !line.contains(LEADS) {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    match line["message"].as_str()? {
        LISTENING => Some(News::Listens(line["http"].as_str()?.parse().ok()?)),
        LEADS => Some(News::Leads { epoch: line["epoch"].as_u64()? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::scratch::Scratch;
    use super::*;

    #[test]
    fn only_whole_lines_that_are_news_are_told_and_each_once() {
        let scratch = Scratch::make().unwrap();
        let path = scratch.path().join("log");
        let mut file = File::create(&path).unwrap();
        let mut tail = LogTail::new(path);
        writeln!(file, r#"{{"level":"INFO","message":"listening","http":"127.0.0.1:4711"}}"#).unwrap();
        write!(file, r#"{{"level":"INFO","message":"webhook"}}{}{{"message":"this process"#, '\n').unwrap();
        assert_eq!(tail.news().unwrap(), [News::Listens("127.0.0.1:4711".parse().unwrap())]);
        writeln!(file, r#" leads","epoch":7}}"#).unwrap();
        assert_eq!(tail.news().unwrap(), [News::Leads { epoch: 7 }]);
        assert_eq!(tail.news().unwrap(), []);
        writeln!(file, r#"{{"message":"this process leads","epoch":8}}"#).unwrap();
        tail.skip().unwrap();
        assert_eq!(tail.news().unwrap(), []);
    }
}
