//! Reads the files with tokens, and reads them again while the server runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use stream_registry::Secret;
use tokio::time::{MissedTickBehavior, interval};

use super::file::parse;
use super::token::check_token;
use super::tokens::Tokens;
use crate::server::reloaded::ReloadedFile;

/// Size limit of a file, in bytes: some thousand tokens.
const MAX_BYTES: u64 = 1024 * 1024;
/// Interval between two readings of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An access file: the tokens that a server accepts, with the rights of each token.
///
/// The server reads the file again when it has changed.
#[derive(Clone, Debug)]
pub struct AccessFile {
    path: PathBuf,
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
        let tokens = Arc::new(read(&path, parse)?);
        Ok(Self { path, tokens })
    }

    /// Appends lines to an access file, in one write. A missing file is created for its owner only.
    ///
    /// # Errors
    ///
    /// Returns a message if the file with these lines would be invalid, or cannot be read or written.
    pub(crate) fn append(path: &Path, lines: &str) -> Result<(), String> {
        let io_fault = |error: io::Error| error.to_string();
        let append = || {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(io_fault)?;
            // Another process could append a token with the same name.
            file.lock().map_err(io_fault)?;
            let content = content(&file)?;
            let separator = match content.as_str() {
                "" => "",
                content if content.ends_with('\n') => "\n",
                _ => "\n\n",
            };
            let added = format!("{separator}{lines}");
            parse(&format!("{content}{added}"))?;
            file.write_all(added.as_bytes()).map_err(io_fault)
        };
        append().map_err(|reason| format!("{}: {reason}", path.display()))
    }
}

/// The files of the tokens for writes and for reads. The first line of each file is its token.
///
/// The server reads the files again when they have changed.
#[derive(Clone, Debug, Default)]
pub struct TokenFiles {
    /// The file of [`ServeOptions::token`](super::ServeOptions::token).
    pub write: Option<PathBuf>,
    /// The file of [`ServeOptions::read_token`](super::ServeOptions::read_token).
    pub read: Option<PathBuf>,
}

/// The files that contain all tokens of a server.
#[derive(Clone, Debug)]
enum Source {
    AccessFile(PathBuf),
    TokenFiles(TokenFiles),
}

impl Source {
    fn kind(&self) -> ReloadedFile {
        match self {
            Self::AccessFile(_) => ReloadedFile::Access,
            Self::TokenFiles(_) => ReloadedFile::Token,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        match self {
            Self::AccessFile(path) => [Some(path), None],
            Self::TokenFiles(files) => [files.write.as_ref(), files.read.as_ref()],
        }
        .into_iter()
        .flatten()
    }

    /// Reads the files again.
    fn tokens(&self) -> Result<Tokens, String> {
        // Reading a pipe would block until another program writes to it.
        if let Some(path) = self.paths().find(|path| path.metadata().is_ok_and(|file| !file.is_file())) {
            return Err(format!("{}: no regular file; replace it by one", path.display()));
        }
        match self {
            Self::AccessFile(path) => read(path, parse),
            Self::TokenFiles(files) => {
                let token = |path: &Option<PathBuf>| path.as_deref().map(|path| read(path, first_line)).transpose();
                Ok(Tokens::simple(token(&files.write)?.as_ref(), token(&files.read)?.as_ref()))
            }
        }
    }
}

/// Reads and parses a file. The message of an error begins with the path.
fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    let file = File::open(path).map_err(|error| error.to_string());
    let content = file.and_then(|file| content(&file));
    content.and_then(|content| parse(&content)).map_err(|reason| format!("{}: {reason}", path.display()))
}

/// Reads the content of a file.
fn content(file: &File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {} KiB; remove expired tokens", MAX_BYTES / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "invalid UTF-8; save the file as UTF-8".to_owned())
}

/// Parses the content of a file with one token.
fn first_line(content: &str) -> Result<Secret, String> {
    let token = content.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err("the first line is empty; write the token there".to_owned());
    }
    check_token(token).map_err(|reason| format!("the token {reason}"))?;
    Ok(token.into())
}

/// The tokens that the server accepts now.
#[derive(Debug)]
pub(super) struct Current {
    /// Every request reads the tokens. A lock would make each read write to memory that all threads share.
    tokens: ArcSwap<Tokens>,
    /// `None` if the tokens never change.
    source: Option<Source>,
    /// Whether the files that were read last could not be used.
    outdated: AtomicBool,
}

impl Current {
    fn new(tokens: Arc<Tokens>, source: Option<Source>) -> Self {
        Self { tokens: ArcSwap::new(tokens), source, outdated: AtomicBool::new(false) }
    }

    pub(super) fn of_access_file(file: AccessFile) -> Self {
        Self::new(file.tokens, Some(Source::AccessFile(file.path)))
    }

    pub(super) fn of_tokens(tokens: Tokens, files: TokenFiles) -> Self {
        let source = Source::TokenFiles(files);
        let has_files = source.paths().next().is_some();
        Self::new(Arc::new(tokens), has_files.then_some(source))
    }

    pub(super) fn tokens(&self) -> impl Deref<Target = Arc<Tokens>> {
        self.tokens.load()
    }

    /// Returns the kind of the files if the server uses earlier contents, because a changed file is unusable.
    pub(super) fn outdated(&self) -> Option<ReloadedFile> {
        self.source.as_ref().filter(|_| self.outdated.load(Ordering::Relaxed)).map(Source::kind)
    }

    /// Reads the files again and again, and uses each new content that is valid. If a file becomes invalid, logs why,
    /// and keeps the tokens of the last valid content.
    pub(super) async fn follow(&self) {
        let Some(source) = &self.source else { return };
        // A pipe can be read only once. A missing file can come back.
        if source.paths().any(|path| path.metadata().is_ok_and(|file| !file.is_file())) {
            tracing::info!("the {} is a pipe, so a change needs a restart", source.kind());
            return;
        }
        let mut last = Ok(self.tokens.load_full());
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let files = source.clone();
            let Ok(tokens) = tokio::task::spawn_blocking(move || files.tokens().map(Arc::new)).await else { continue };
            if tokens != last {
                self.replace(tokens.clone(), source.kind());
                last = tokens;
            }
        }
    }

    fn replace(&self, tokens: Result<Arc<Tokens>, String>, file: ReloadedFile) {
        let outdated = match tokens {
            Ok(tokens) => {
                tracing::info!("the {file} has changed; using the new tokens");
                self.tokens.store(tokens);
                false
            }
            Err(reason) => {
                tracing::warn!(reason, "cannot use the changed {file}; keeping the earlier tokens");
                true
            }
        };
        self.outdated.store(outdated, Ordering::Relaxed);
    }
}
