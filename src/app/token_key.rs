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

pub(super) const NAME: &str = "token.key";
const KID: &str = "local";

/// The key's id and bytes; made and stored first where there is none.
pub(super) fn read_or_make(dir: &Path) -> Result<(String, Vec<u8>), AppError> {
    if let Some(key) = read(dir)? {
        return Ok(key);
    }
    let path = dir.join(NAME);
    make(dir, &path).map_err(|e| cannot(&path, &e))?;
    read(dir)?.ok_or_else(|| AppError::TokenKey(format!("{} went away", path.display())))
}

/// The key's id and bytes, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<(String, Vec<u8>)>, AppError> {
    let path = dir.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot(&path, &e)),
    };
    let key = text.trim().split_once(':').and_then(|(kid, key)| Some((kid.to_owned(), STANDARD.decode(key).ok()?)));
    match key {
        Some((kid, bytes)) if bytes.len() == 32 => Ok(Some((kid, bytes))),
        _ => Err(AppError::TokenKey(format!(
            "{} is not a key (`id:base64 of 32 bytes`); put the right file back, or tokens sealed with it can't be read",
            path.display()
        ))),
    }
}

/// Whole or not at all: written beside, synced, and linked to its name, which must not exist.
fn make(dir: &Path, path: &Path) -> std::io::Result<()> {
    let beside = dir.join(format!("{NAME}.{}", crate::random::hex::<4>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(seal::generate(KID).as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        Ok(()) | Err(_) => {}
    }
    // The name, too, must survive a power cut: what is sealed before that would not open.
    std::fs::File::open(dir)?.sync_all()
}

fn cannot(path: &Path, e: &std::io::Error) -> AppError {
    AppError::TokenKey(format!("{} can't be used: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_read_ever_after_and_never_overwritten() {
        let dir = std::env::temp_dir().join(format!("cast-ghl-key-{}", crate::random::hex::<6>()));
        std::fs::create_dir(&dir).unwrap();
        assert!(read(&dir).unwrap().is_none());
        let made = read_or_make(&dir).unwrap();
        assert_eq!(read_or_make(&dir).unwrap(), made);
        make(&dir, &dir.join(NAME)).unwrap();
        assert_eq!(read(&dir).unwrap(), Some(made));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        std::fs::write(dir.join(NAME), "rubbish").unwrap();
        assert!(read_or_make(&dir).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
