//! Reads the access file, and reads it again while the server runs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::file::parse;
use super::tokens::Tokens;

/// Size limit of an access file, in bytes: some thousand tokens.
const MAX_BYTES: u64 = 1024 * 1024;
/// Interval between two readings of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An access file: the tokens that a server accepts, with the rights of each token.
///
/// The server reads the file again when it has changed.
#[derive(Clone, Debug)]
pub struct AccessFile {
    path: PathBuf,
    /// The content, which is compared with later contents. A replaced file can have the same time and size.
    content: String,
    tokens: Arc<Tokens>,
}

impl AccessFile {
    /// Reads an access file.
    ///
    /// # Errors
    ///
    /// Returns a message if the file cannot be read, or if it is invalid.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let read = read(&path).and_then(|content| Ok((parse(&content)?, content)));
        let (tokens, content) = read.map_err(|reason| format!("{}: {reason}", path.display()))?;
        Ok(Self { path, content, tokens: Arc::new(tokens) })
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    file.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {} KiB; remove expired tokens", MAX_BYTES / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "invalid UTF-8; save the file as UTF-8".to_owned())
}

/// The tokens that the server accepts now.
#[derive(Debug)]
pub(super) struct Current {
    tokens: RwLock<Arc<Tokens>>,
    /// Whether the file that was read last could not be used.
    outdated: AtomicBool,
}

impl Current {
    pub(super) fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens: RwLock::new(tokens), outdated: AtomicBool::new(false) }
    }

    pub(super) fn of_file(file: &AccessFile) -> Self {
        Self::new(Arc::clone(&file.tokens))
    }

    /// Returns the tokens. The lock is held only while the pointer is copied.
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the server uses an earlier content of the file, because the present one is unusable.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Reads the file again and again, and uses each new content that is valid. If the file becomes invalid, logs why,
    /// and keeps the tokens of the last valid content.
    pub(super) async fn follow(&self, file: AccessFile) {
        let AccessFile { path, content, .. } = file;
        let path = Arc::<Path>::from(path);
        // A pipe can be read only once.
        if !path.is_file() {
            return;
        }
        let mut last = Ok(content);
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let file = Arc::clone(&path);
            let Ok(content) = tokio::task::spawn_blocking(move || read(&file)).await else { continue };
            if content != last {
                self.replace(content.clone(), &path);
                last = content;
            }
        }
    }

    fn replace(&self, content: Result<String, String>, path: &Path) {
        let file = path.display();
        let outdated = match content.and_then(|content| parse(&content)) {
            Ok(tokens) => {
                tracing::info!(%file, "the access file has changed; using the new tokens");
                *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
                false
            }
            Err(reason) => {
                tracing::warn!(%file, reason, "cannot use the changed access file; keeping the earlier tokens");
                true
            }
        };
        self.outdated.store(outdated, Ordering::Relaxed);
    }
}
