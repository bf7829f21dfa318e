//! A disk that fails under a real process when a case says so (`disk.c`), and one that is really full.
//!
//! Invariant: a fault strikes files of this store alone, and how often it struck can be asked, so that no case passes because
//! nothing was broken. Needs a C compiler, which the build needs besides, and Linux. Imports nothing of the crate under test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `fsync` and `fdatasync` fail with EIO; what was written stays in the page cache.
    Sync,
    /// Every write fails with ENOSPC, as on a copy-on-write file system or over a quota, where an overwrite needs room as well.
    Full,
    /// Every write and every opening for writing fails with EROFS, as after a kernel remounted a file system it distrusts.
    ReadOnly,
}

impl Fault {
    /// The name `disk.c` looks for.
    fn name(self) -> &'static str {
        match self {
            Self::Sync => "fsync",
            Self::Full => "full",
            Self::ReadOnly => "readonly",
        }
    }
}

/// The disk under one directory, laid over the processes started with [`Disk::vars`].
pub struct Disk {
    root: PathBuf,
    control: PathBuf,
    library: PathBuf,
}

impl Disk {
    /// A sound disk under `root`; its own files are in `dir`.
    pub fn under(root: &Path, dir: &Path) -> Self {
        let control = dir.join("faults");
        std::fs::create_dir_all(&control).expect("a directory");
        let library = control.join("disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fault/disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        let built = compiler.output().expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { root: root.to_owned(), control, library }
    }

    /// The variables that lay it over a process.
    pub fn vars(&self) -> [(&str, &str); 3] {
        [("LD_PRELOAD", utf8(&self.library)), ("FAULT_ROOT", utf8(&self.root)), ("FAULT_CONTROL", utf8(&self.control))]
    }

    /// From now on it does this.
    pub fn fail(&self, fault: Fault) {
        std::fs::write(self.control.join(fault.name()), "").expect("a file");
    }

    /// It is sound again.
    pub fn mend(&self, fault: Fault) {
        std::fs::remove_file(self.control.join(fault.name())).expect("a fault to mend");
    }

    /// How often a fault has struck.
    pub fn struck(&self) -> u64 {
        std::fs::metadata(self.control.join("struck")).map_or(0, |file| file.len())
    }
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Why these cases cannot run here.
pub fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("the faulty disk is for Linux".to_owned());
    }
    let found = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    (!found).then(|| "no C compiler `cc` on the PATH".to_owned())
}

/// A small file system in memory, gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size on `dir`.
    ///
    /// # Errors
    /// Why it can't be: as a rule that only root can, and not in every container.
    pub fn mount(dir: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(dir).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(dir);
        let done = mount.output().map_err(|e| format!("no `mount` here: {e}"))?;
        if done.status.success() {
            return Ok(Self(dir.to_owned()));
        }
        Err(format!("a tmpfs can't be mounted here: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.join("ballast")).expect("a file");
        let block = [0; 4096];
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
    }

    /// Gives it back.
    pub fn clear(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has files open there keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
