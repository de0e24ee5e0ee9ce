//! The directory with the positions of webhooks, which one server uses at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};

/// A directory that this process has locked. The system releases the lock when the process ends.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    lock: File,
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // A child process that is just being started shares the open file, so closing it here would not release the
        // lock.
        let _ = self.lock.unlock();
    }
}

impl StateDir {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// Returns a message if the directory is not writable, or if another process has locked it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| format!("--state-dir {}: {error}", path.display());
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| fault(&error))?;
        let file = path.join("lock");
        let lock =
            File::options().write(true).create(true).truncate(false).open(file).map_err(|error| fault(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(fault(&"another server uses this directory; choose another one for each server"));
            }
            Err(TryLockError::Error(error)) => return Err(fault(&error)),
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Returns the file with the position of a webhook.
    pub(super) fn position_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("webhook-{name}.position"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_directory_is_created_and_used_by_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = StateDir::open(&path).unwrap();
        assert_eq!(held.position_file("x"), path.join("webhook-x.position"));
        assert!(StateDir::open(&path).unwrap_err().contains("another server uses this directory"));
        // A program that another thread starts has a copy of the descriptor for a moment.
        let _inherited = held.lock.try_clone().unwrap();
        drop(held);
        StateDir::open(&path).unwrap();
        let fault = StateDir::open(&path.join("lock")).unwrap_err();
        assert!(fault.starts_with("--state-dir "), "{fault}");
    }
}
