//! Reads a session description from a file and rereads it when the file changes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use tracing::{info, warn};

use super::{MAX_SDP_BYTES, Sdp};

/// A file with a session description. The sender may create the file later, and may rewrite the file for its next
/// session.
#[derive(Debug)]
pub struct SdpFile {
    path: PathBuf,
    /// Modification time and length of the file when it was last read.
    last_read: Option<(SystemTime, u64)>,
    /// Whether the current problem with the file has been logged.
    warned: bool,
}

impl SdpFile {
    /// Sets the path of the file, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, last_read: None, warned: false }
    }

    /// Returns the description if the file is new or has changed since the last call.
    pub fn poll(&mut self) -> Option<Sdp> {
        match self.read_changed() {
            Ok(None) => None,
            Ok(Some(sdp)) if sdp.is_empty() => {
                // The sender may still be writing the file: read it again on the next call.
                self.warn("no m= line yet");
                self.last_read = None;
                None
            }
            Ok(Some(sdp)) => {
                self.warned = false;
                info!(file = %self.path.display(), "session description read");
                Some(sdp)
            }
            Err(error) => {
                self.warn(&error.to_string());
                self.last_read = None;
                None
            }
        }
    }

    fn read_changed(&mut self) -> io::Result<Option<Sdp>> {
        let metadata = fs::metadata(&self.path)?;
        let version = Some((metadata.modified()?, metadata.len()));
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if version == self.last_read {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_SDP_BYTES).unwrap_or(u64::MAX);
        File::open(&self.path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_SDP_BYTES {
            return Err(io::Error::other("larger than 64 KiB"));
        }
        self.last_read = version;
        Ok(Some(Sdp::parse(&String::from_utf8_lossy(&bytes))))
    }

    fn warn(&mut self, error: &str) {
        if !self.warned {
            warn!(file = %self.path.display(), error, "no session description; codecs are unknown until it can be read");
            self.warned = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_reads_the_file_when_it_appears_and_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cam.sdp");
        let mut file = SdpFile::new(path.clone());
        assert_eq!(file.poll(), None, "missing");
        fs::write(&path, "v=0\n").unwrap();
        assert_eq!(file.poll(), None, "partly written");
        fs::write(&path, "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n").unwrap();
        assert_eq!(file.poll().unwrap().describe(96, 5004).video_codec, "H264");
        assert_eq!(file.poll(), None, "unchanged");
        fs::write(&path, "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H265/90000\nb=AS:1\n").unwrap();
        assert_eq!(file.poll().unwrap().describe(96, 5004).video_codec, "HEVC");
        fs::remove_file(&path).unwrap();
        assert_eq!(file.poll(), None, "removed: the last description stays in effect");
    }

    #[test]
    fn poll_ignores_folders_and_files_over_64_kib() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SdpFile::new(folder.path().to_owned()).poll(), None);
        let path = folder.path().join("huge.sdp");
        fs::write(&path, "m=video 5004 RTP/AVP 96\n".repeat(4_000)).unwrap();
        assert_eq!(SdpFile::new(path).poll(), None);
    }
}
