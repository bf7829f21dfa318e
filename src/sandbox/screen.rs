//! What a person sees: a timeline of sentences, each with the seconds since the beginning, and one line of progress.
//!
//! On a terminal the progress line stays at the bottom and is redrawn; elsewhere (a file, CI) it is a plain line, written
//! only when nothing else was for a while. Knows no bridge and no fake.

use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::time::Mono;

/// Off a terminal, progress is written after this long without another line.
const SILENCE: Duration = Duration::from_secs(3);
/// Columns of the progress line: a wrapped one could not be redrawn.
const COLUMNS: usize = 79;
const CLEAR_LINE: &str = "\r\x1b[2K";

/// The screen. Shared by reference: each line is written whole.
pub(super) struct Screen {
    clock: Clock,
    began: Mono,
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    terminal: bool,
    progress: String,
    spoke: Mono,
}

impl Screen {
    /// Standard output, from now on.
    pub(super) fn stdout(clock: Clock) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        Self::new(clock, Box::new(out), terminal)
    }

    fn new(clock: Clock, out: Box<dyn Write + Send>, terminal: bool) -> Self {
        let began = clock.mono();
        Self { clock, began, inner: Mutex::new(Inner { out, terminal, progress: String::new(), spoke: began }) }
    }

    /// A sentence on the timeline.
    pub(super) fn say(&self, sentence: &str) {
        let elapsed = self.clock.mono().since(self.began);
        self.write(&timed(elapsed, sentence));
    }

    /// Text as it is: a table, commands.
    pub(super) fn block(&self, text: &str) {
        self.write(text);
    }

    /// How far things are.
    pub(super) fn progress(&self, line: &str) {
        let now = self.clock.mono();
        let mut inner = self.inner();
        if inner.terminal {
            if inner.progress != line {
                line.clone_into(&mut inner.progress);
                inner.draw();
            }
        } else if now.since(inner.spoke) >= SILENCE && inner.progress != line {
            line.clone_into(&mut inner.progress);
            inner.spoke = now;
            inner.put(&format!("{}\n", timed(now.since(self.began), line)));
        }
    }

    /// Nothing is under way any more.
    pub(super) fn rest(&self) {
        let mut inner = self.inner();
        if !std::mem::take(&mut inner.progress).is_empty() && inner.terminal {
            inner.put(CLEAR_LINE);
        }
    }

    fn write(&self, text: &str) {
        let now = self.clock.mono();
        let mut inner = self.inner();
        inner.spoke = now;
        if inner.terminal && !inner.progress.is_empty() {
            inner.put(&format!("{CLEAR_LINE}{text}\n"));
            inner.draw();
        } else {
            inner.put(&format!("{text}\n"));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn draw(&mut self) {
        let line: String = self.progress.chars().take(COLUMNS).collect();
        self.put(&format!("{CLEAR_LINE}{line}"));
    }

    fn put(&mut self, text: &str) {
        // A closed pipe means that nobody looks any more; the exit code still tells.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

fn timed(elapsed: Duration, sentence: &str) -> String {
    format!("{:6.1}s  {sentence}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::TestClock;
    use crate::domain::time::UnixMillis;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn screen(terminal: bool) -> (Screen, TestClock, Paper) {
        let (clock, paper) = (TestClock::at(UnixMillis(0)), Paper::default());
        (Screen::new(Clock::Test(clock.clone()), Box::new(paper.clone()), terminal), clock, paper)
    }

    fn text(paper: &Paper) -> String {
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_sentence_carries_the_seconds_since_the_beginning() {
        let (screen, clock, paper) = screen(false);
        clock.advance(Duration::from_millis(12_340));
        screen.say("Something happened.");
        assert_eq!(text(&paper), "  12.3s  Something happened.\n");
    }

    #[test]
    fn off_a_terminal_progress_is_a_plain_line_after_a_silence() {
        let (screen, clock, paper) = screen(false);
        screen.progress("1 of 9");
        assert_eq!(text(&paper), "");
        clock.advance(SILENCE);
        screen.progress("2 of 9");
        clock.advance(SILENCE);
        screen.progress("2 of 9");
        screen.rest();
        assert_eq!(text(&paper), "   3.0s  2 of 9\n");
    }

    #[test]
    fn on_a_terminal_a_sentence_pushes_the_progress_line_down() {
        let (screen, _, paper) = screen(true);
        screen.progress("1 of 9");
        screen.say("News.");
        screen.rest();
        let expected = format!("{CLEAR_LINE}1 of 9{CLEAR_LINE}   0.0s  News.\n{CLEAR_LINE}1 of 9{CLEAR_LINE}");
        assert_eq!(text(&paper), expected);
    }

    #[test]
    fn a_long_progress_line_is_cut_before_it_wraps() {
        let (screen, _, paper) = screen(true);
        screen.progress(&"x".repeat(500));
        assert_eq!(text(&paper).trim_start_matches(CLEAR_LINE).len(), COLUMNS);
    }
}
