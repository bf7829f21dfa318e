//! `cast-ghl sandbox`: the real bridge between a fake GHL and a fake Cast, on loopback, with a story or a load driven
//! through it.
//!
//! Owns what is played and the verdict, which is [`run`]'s `true`. Its invariant: nothing outlives it (ports, temporary
//! directory), and every wait ends with a sentence that says what was waited for. Everything is judged from outside: by
//! what the fakes saw, what `/metrics` counts and what the store holds. Must not reach into queue, delivery or oauth.

mod answer;
mod bridge;
mod browser;
mod campaign;
mod latency;
mod live;
mod load;
mod reconcile;
mod screen;
mod script;
mod shell;
mod stage;
mod stay;
mod story;
mod table;
mod tally;
mod temp_dir;
mod watch;

use std::num::NonZeroU32;

use tokio::signal::unix::{SignalKind, signal};

use self::live::Live;
use self::screen::Screen;
use self::stage::{Setting, Stage};
use crate::clock::Clock;
use crate::config::process_env;

/// What the sandbox is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Keep everything running at the end.
    pub stay: bool,
    /// Drive this many messages instead of telling the story.
    pub messages: Option<u32>,
    /// Messages a second.
    pub rate: f64,
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Play {
    Story,
    Load { messages: NonZeroU32, rate: f64 },
}

impl Play {
    fn of(options: &Options) -> anyhow::Result<Self> {
        let Some(messages) = options.messages else { return Ok(Self::Story) };
        let messages = NonZeroU32::new(messages).ok_or_else(|| anyhow::anyhow!("--messages is 1 or more"))?;
        let fine = (load::SLOWEST..=load::FASTEST).contains(&options.rate);
        anyhow::ensure!(fine, "--rate is a number of messages a second, {} to {}", load::SLOWEST, load::FASTEST);
        Ok(Self::Load { messages, rate: options.rate })
    }

    fn setting(self) -> Setting {
        match self {
            Self::Story => Setting::LikeTheVendors,
            Self::Load { .. } => Setting::Wide,
        }
    }
}

/// Plays it; `true` when everything was as it should be. The bridge's own log starts only where `RUST_LOG` or
/// `LOG_FORMAT` asks for it: on a terminal it would bury the timeline.
///
/// # Errors
/// When it could not be played at all: options that make no sense, no port, no temporary directory.
pub async fn run(options: Options, start_logging: impl FnOnce()) -> anyhow::Result<bool> {
    let play = Play::of(&options)?;
    let log_is_asked_for =
        |(name, value): (String, String)| (name == "RUST_LOG" || name == "LOG_FORMAT") && !value.trim().is_empty();
    if process_env().any(log_is_asked_for) {
        start_logging();
    }
    let screen = Screen::stdout(Clock::System);
    let stage = tokio::select! {
        stage = Stage::set(play.setting(), screen) => stage?,
        () = interrupted() => return Ok(false),
    };
    let mut live = Live::new(&stage);
    let verdict = tokio::select! {
        fine = perform(&mut live, play) => Some(fine),
        () = interrupted() => None,
    };
    if verdict.is_none() {
        live.say("Interrupted.");
    } else if options.stay {
        tokio::select! { stayed = stay::stay(&mut live) => stayed?, () = interrupted() => {} }
    }
    let stopped = tokio::select! {
        stopped = stage.strike() => stopped,
        () = interrupted() => false,
    };
    Ok(verdict == Some(true) && stopped)
}

async fn perform(live: &mut Live<'_>, play: Play) -> bool {
    match play {
        Play::Story => story::tell(live).await,
        Play::Load { messages, rate } => load::drive(live, messages, rate).await,
    }
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        // Without handlers the signal's default action ends the process: nothing to wait for.
        return std::future::pending().await;
    };
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(messages: Option<u32>, rate: f64) -> Option<Play> {
        Play::of(&Options { stay: false, messages, rate }).ok()
    }

    #[test]
    fn without_a_number_of_messages_the_story_is_told_whatever_the_rate() {
        assert_eq!(play(None, f64::NAN), Some(Play::Story));
    }

    #[test]
    fn a_load_needs_at_least_one_message_and_a_rate_a_clock_can_follow() {
        assert!(matches!(play(Some(1), 200.0), Some(Play::Load { .. })));
        for (messages, rate) in
            [(0, 200.0), (1, 0.0), (1, -1.0), (1, f64::NAN), (1, f64::INFINITY), (1, f64::MIN_POSITIVE), (1, 1e12)]
        {
            assert_eq!(play(Some(messages), rate), None, "{messages} at {rate}");
        }
    }
}
