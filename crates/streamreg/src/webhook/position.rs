//! The file that stores which events a webhook has delivered.
//!
//! The first line is JSON: the revision up to which everything was delivered, and the streams that matched the filter
//! there. The second line is the hash of the first.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use stream_registry::{Revision, StreamId};

/// The position of a webhook in the change feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The revision up to which everything was delivered.
    pub(super) revision: Revision,
    /// The live streams that matched the filter at this revision. A later event of such a stream is sent even if the
    /// stream no longer matches.
    pub(super) matched: Vec<StreamId>,
}

#[derive(Deserialize, Serialize)]
struct Content<'a> {
    revision: &'a str,
    #[serde(borrow)]
    matched: Vec<std::borrow::Cow<'a, str>>,
}

/// Reads a position. Returns `None` if the file does not exist.
///
/// # Errors
///
/// Returns a message if the file cannot be read or is damaged.
pub(super) fn read(file: &Path) -> Result<Option<Position>, String> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    decode(&bytes).map(Some).ok_or_else(|| {
        let file = file.display();
        format!("{file} is damaged; restore it, or delete it to begin with the next event")
    })
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let (json, hash) = std::str::from_utf8(bytes).ok()?.trim_end().split_once('\n')?;
    let content: Content<'_> = serde_json::from_str(json).ok().filter(|_| hash == hash_of(json))?;
    let matched = content.matched.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
    Some(Position { revision: content.revision.parse().ok()?, matched })
}

/// Returns the content of a file.
pub(super) fn encode<'a>(revision: &'a Revision, matched: impl Iterator<Item = &'a StreamId>) -> String {
    let matched = matched.map(|id| id.as_str().into()).collect();
    // Strings can always be encoded.
    let json = serde_json::to_string(&Content { revision: revision.as_str(), matched }).unwrap_or_default();
    let hash = hash_of(&json);
    format!("{json}\n{hash}\n")
}

fn hash_of(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, json.as_bytes()))
}

/// Replaces a file in one step, so that a crash leaves the earlier content or the new one.
///
/// # Errors
///
/// Returns an I/O error. The earlier content is kept.
pub(super) fn write(file: &Path, content: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut written = File::create(&new)?;
    written.write_all(content.as_bytes())?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    // The new name is on the disk only after its directory has been written too.
    #[cfg(unix)]
    if let Some(dir) = file.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_survives_a_round_trip_through_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("webhook-a.position");
        assert_eq!(read(&file), Ok(None));
        let matched: Vec<StreamId> = ["cam1", "a \"b\"\\", "ü/🎥"].map(|id| id.parse().unwrap()).into();
        let position = Position { revision: "1-0.2-0".parse().unwrap(), matched };
        write(&file, &encode(&position.revision, position.matched.iter())).unwrap();
        assert_eq!(read(&file).unwrap().as_ref(), Some(&position));
        let later = Position { revision: "1-0.3-0".parse().unwrap(), matched: Vec::new() };
        write(&file, &encode(&later.revision, later.matched.iter())).unwrap();
        assert_eq!(read(&file), Ok(Some(later)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
    }

    #[test]
    fn damaged_position_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("webhook-a.position");
        let good = encode(&"1-0.2-0".parse().unwrap(), [].iter());
        let empty =
            format!("{{\"revision\":\"\",\"matched\":[]}}\n{}\n", hash_of("{\"revision\":\"\",\"matched\":[]}"));
        for content in ["", "{}", &good[..good.len() - 5], &good.replace("2-0", "3-0"), "\u{0}\n\u{0}", &empty] {
            fs::write(&file, content).unwrap();
            let fault = read(&file).unwrap_err();
            assert!(fault.contains("is damaged; restore it, or delete it"), "{content:?}: {fault}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(read(&file).unwrap_err().starts_with("cannot read "));
    }
}
