//! The run's own directory: the bridges' data and logs. Removed at the end, or kept for whoever has to find out why.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The directory. Dropped, it is gone, unless it is to be kept.
pub(super) struct Scratch {
    path: PathBuf,
    kept: AtomicBool,
}

impl Scratch {
    /// Makes one under the system's temporary directory, for its owner alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make() -> io::Result<Self> {
        let name = format!("cast-ghl-crash-{}", cast_ghl_provider::random::hex::<4>());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, kept: AtomicBool::new(false) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is.
    pub(super) fn keep(&self) -> &Path {
        self.kept.store(true, Ordering::Relaxed);
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // What can't be removed is the system's to clean: it lies in its temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
