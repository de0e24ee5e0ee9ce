//! Writes to standard error in a thread of its own.
//!
//! If standard error is blocked, only this thread waits. The command continues to forward signals and to keep its
//! stream alive.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use tokio::time::timeout;

use super::terminal;

/// Number of messages that wait to be written.
const QUEUE: usize = 64;

/// The thread that writes to standard error.
pub(super) struct Messages {
    queue: SyncSender<Option<Vec<u8>>>,
    done: Receiver<()>,
}

impl Messages {
    /// Starts the thread.
    pub(super) fn start() -> Self {
        let (queue, messages) = sync_channel::<Option<Vec<u8>>>(QUEUE);
        let (ended, done) = channel();
        std::thread::spawn(move || {
            // Errors are ignored, because there is no other place to report them.
            while let Ok(Some(bytes)) = messages.recv() {
                let _ = io::stderr().write_all(&bytes);
            }
            let _ = ended.send(());
        });
        Self { queue, done }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// Returns the bytes if too many messages wait already.
    pub(super) fn write(&self, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.queue.try_send(Some(bytes)) {
            Err(TrySendError::Full(bytes) | TrySendError::Disconnected(bytes)) => Err(bytes.unwrap_or_default()),
            Ok(()) => Ok(()),
        }
    }

    /// Returns a handle for notes.
    pub(super) fn notes(&self) -> Notes {
        Notes(self.queue.clone())
    }

    /// Writes the last messages, and waits until everything is written, or at most for the limit.
    pub(super) async fn finish(self, last: impl Iterator<Item = Vec<u8>> + Send + 'static, limit: Duration) {
        let written = tokio::task::spawn_blocking(move || {
            let sent = last.map(Some).chain([None]).try_for_each(|message| self.queue.send(message));
            if sent.is_ok() {
                let _ = self.done.recv();
            }
        });
        let _ = timeout(limit, written).await;
    }
}

/// Writes notes to standard error. A note is left out while standard error is blocked.
#[derive(Clone)]
pub(super) struct Notes(SyncSender<Option<Vec<u8>>>);

/// Writes the log. Each line of the log is one call of `write`, and a line is left out while standard error is blocked.
impl io::Write for Notes {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(Some(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Notes {
    /// Writes a note.
    pub(super) fn note(&self, note: impl Display) {
        let line = format!("streamreg: {}\n", terminal::escape(&note.to_string()));
        let _ = self.0.try_send(Some(line.into_bytes()));
    }
}
