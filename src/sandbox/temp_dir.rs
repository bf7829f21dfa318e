//! A directory of the sandbox's own, gone when the sandbox is.
//!
//! Invariant: it is new, nobody else can look into it (0700), and dropping it removes it with everything in it. Only a
//! killed process leaves one behind.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::random;

/// The directory.
#[derive(Debug)]
pub(super) struct TempDir(PathBuf);

impl TempDir {
    /// Makes one under the system's temporary directory.
    ///
    /// # Errors
    /// It cannot be made; also when the name is taken, which 64 random bits rule out in earnest.
    pub(super) fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("cast-ghl-sandbox-{}", random::hex::<8>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a new file that only we can read (0600), and answers its path.
    ///
    /// # Errors
    /// It cannot be written, or is there already.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What can't be removed is the system's to clean: it lies in its temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_read_it_and_it_is_gone_afterwards() {
        let dir = TempDir::make().unwrap();
        let path = dir.path().to_owned();
        let file = dir.write("key.pem", b"secret").unwrap();
        assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
        assert!(dir.write("key.pem", b"again").is_err(), "a file is never replaced");
        drop(dir);
        assert!(!path.exists());
    }
}
