//! The embedded store's own sealing key: `DATA_DIR/token.key`, made once, mode 0600.
//!
//! Invariant: an existing file is never overwritten: what it sealed would be lost.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::AppError;
use crate::seal;

const KID: &str = "local";

/// The key's id and bytes.
pub(super) fn read_or_make(dir: &Path) -> Result<(String, Vec<u8>), AppError> {
    let path = dir.join("token.key");
    let failed = |e: std::io::Error| AppError::TokenKey(format!("{} can't be used: {e}", path.display()));
    let text = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let text = seal::generate(KID);
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            // The name, too, must survive a power cut: what is sealed before that would not open.
            std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(failed)?;
            text
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => std::fs::read_to_string(&path).map_err(failed)?,
        Err(e) => return Err(failed(e)),
    };
    let broken = || {
        AppError::TokenKey(format!(
            "{} is not a key (`kid:base64 of 32 bytes`); put the right file back, or tokens sealed with it can't be read",
            path.display()
        ))
    };
    let (kid, key) = text.trim().split_once(':').ok_or_else(broken)?;
    let bytes = STANDARD.decode(key).map_err(|_| broken())?;
    if bytes.len() != 32 {
        return Err(broken());
    }
    Ok((kid.to_owned(), bytes))
}
