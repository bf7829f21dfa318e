//! The lock of `serve` on its data directory: a kernel lock, free the moment a killed process is gone.
//!
//! Owns the file `serve.lock`. The CLI does not take it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::StoreError;
use super::schema;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `dir`, creating the directory when it is missing.
    ///
    /// # Errors
    /// [`StoreError::Held`] with the holder's process id; [`StoreError::Refused`] when the file can't be made.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        schema::make_dir(dir)?;
        let refused =
            |e: std::io::Error| StoreError::Refused(format!("the lock in {} can't be used: {e}", dir.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("serve.lock"))
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's name is a courtesy: the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                return Err(StoreError::Held(if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    format!("process {holder}")
                }));
            }
            Err(TryLockError::Error(e)) => return Err(refused(e)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(refused)?;
        file.write_all(std::process::id().to_string().as_bytes()).map_err(refused)?;
        Ok(Self { _file: file })
    }
}
