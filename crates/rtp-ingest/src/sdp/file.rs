//! The file that a session description is read from, and read again when it changes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use tracing::{info, warn};

use super::{MAX_SDP_BYTES, Sdp};

/// A file with a session description; the sender may write it later, and again for its next session.
#[derive(Debug)]
pub struct SdpFile {
    path: PathBuf,
    /// Time and length of what was read last.
    seen: Option<(SystemTime, u64)>,
    /// Whether its absence or fault was reported already.
    complained: bool,
}

impl SdpFile {
    /// Names the file; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, complained: false }
    }

    /// Returns the description where it is new or has changed since the last call.
    pub fn poll(&mut self) -> Option<Sdp> {
        match self.read_changed() {
            Ok(None) => None,
            Ok(Some(sdp)) if sdp.is_empty() => {
                // Perhaps it is being written: look again.
                self.complain("it has no m= line yet");
                self.seen = None;
                None
            }
            Ok(Some(sdp)) => {
                self.complained = false;
                info!(file = %self.path.display(), "session description read");
                Some(sdp)
            }
            Err(error) => {
                self.complain(&error.to_string());
                self.seen = None;
                None
            }
        }
    }

    fn read_changed(&mut self) -> io::Result<Option<Sdp>> {
        let about = fs::metadata(&self.path)?;
        let seen = Some((about.modified()?, about.len()));
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if seen == self.seen {
            return Ok(None);
        }
        let mut text = Vec::new();
        let limit = u64::try_from(MAX_SDP_BYTES).unwrap_or(u64::MAX);
        File::open(&self.path)?.take(limit.saturating_add(1)).read_to_end(&mut text)?;
        if text.len() > MAX_SDP_BYTES {
            return Err(io::Error::other("it is larger than 64 KiB"));
        }
        self.seen = seen;
        Ok(Some(Sdp::parse(&String::from_utf8_lossy(&text))))
    }

    fn complain(&mut self, why: &str) {
        if !self.complained {
            warn!(file = %self.path.display(), why, "no session description; codecs stay unknown until it can be read");
            self.complained = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_comes_and_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cam.sdp");
        let mut file = SdpFile::new(path.clone());
        assert_eq!(file.poll(), None, "not there");
        fs::write(&path, "v=0\n").unwrap();
        assert_eq!(file.poll(), None, "half written");
        fs::write(&path, "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n").unwrap();
        assert_eq!(file.poll().unwrap().describe(96, 5004).video_codec, "H264");
        assert_eq!(file.poll(), None, "unchanged");
        fs::write(&path, "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H265/90000\nb=AS:1\n").unwrap();
        assert_eq!(file.poll().unwrap().describe(96, 5004).video_codec, "HEVC");
        fs::remove_file(&path).unwrap();
        assert_eq!(file.poll(), None, "gone: what was known stays known");
    }

    #[test]
    fn neither_folders_nor_huge_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SdpFile::new(folder.path().to_owned()).poll(), None);
        let path = folder.path().join("huge.sdp");
        fs::write(&path, "m=video 5004 RTP/AVP 96\n".repeat(4_000)).unwrap();
        assert_eq!(SdpFile::new(path).poll(), None);
    }
}
