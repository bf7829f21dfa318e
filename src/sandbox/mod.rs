//! The sandbox.

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

/// Runs it; `true` when everything was as it should be.
///
/// # Errors
/// When it could not be run at all.
pub async fn run(_options: Options, _start_logging: impl FnOnce()) -> anyhow::Result<bool> {
    Ok(false)
}
