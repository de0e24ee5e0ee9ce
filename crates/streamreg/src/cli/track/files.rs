//! Files without a name, into which the program writes its statistics and its log.
//!
//! With a pipe, the program would get SIGPIPE after this process was killed, and would block while this process is
//! slow.

use std::fs::File;
use std::io;

/// Maximum number of bytes of a file that are read at once.
const CHUNK: usize = 64 * 1024;
/// Number of bytes that are read before their disk space is freed.
const KEPT: u64 = 1024 * 1024;

/// A file that another program writes.
#[derive(Debug)]
pub(super) struct Written {
    file: File,
    /// Offset of the first byte that has not been read.
    offset: u64,
    /// Offset of the first byte whose disk space has not been freed.
    in_use: u64,
}

impl Written {
    /// Creates an empty file.
    ///
    /// # Errors
    ///
    /// Fails if the folder for temporary files cannot be written.
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, offset: 0, in_use: 0 })
    }

    /// Returns a path by which a program that this process starts can open the file.
    ///
    /// # Errors
    ///
    /// Fails if the system has no such paths.
    #[cfg(unix)]
    pub(super) fn path(&self) -> io::Result<String> {
        use std::os::fd::AsRawFd as _;
        let path = format!("/dev/fd/{}", self.file.as_raw_fd());
        File::options().write(true).open(&path)?;
        // Only the program that is started next inherits the descriptor.
        rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())?;
        Ok(path)
    }

    #[cfg(not(unix))]
    pub(super) fn path(&self) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the file as the standard error of a program.
    ///
    /// # Errors
    ///
    /// Fails if this process has too many open files.
    pub(super) fn stderr(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Returns the next bytes. They are empty if the program has written no more.
    pub(super) fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK];
        // A file that cannot be read now may be readable later.
        let count = read_at(&self.file, &mut bytes, self.offset).unwrap_or(0);
        bytes.truncate(count);
        self.offset += count as u64;
        if self.offset - self.in_use > KEPT {
            free(&self.file, self.in_use, self.offset - self.in_use);
            self.in_use = self.offset;
        }
        bytes
    }

    /// Returns everything that the program has written and that was not read yet.
    pub(super) fn rest(mut self) -> impl Iterator<Item = Vec<u8>> {
        std::iter::from_fn(move || Some(self.read()).filter(|bytes| !bytes.is_empty()))
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Ok(0)
}

/// Frees the disk space of a part. The file keeps its size, because the program continues to write at its own position.
#[cfg(target_os = "linux")]
fn free(file: &File, offset: u64, length: u64) {
    use rustix::fs::{FallocateFlags, fallocate};
    if let Err(error) = fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length) {
        tracing::debug!(%error, "cannot free the disk space of a temporary file");
    }
}

#[cfg(not(target_os = "linux"))]
fn free(_: &File, _: u64, _: u64) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn bytes_are_read_once_and_their_disk_space_is_freed() {
        let mut written = Written::create().unwrap();
        let mut writer = File::options().write(true).open(written.path().unwrap()).unwrap();
        let mut total = 0;
        for round in 0..100_u8 {
            writer.write_all(&[round; 50_000]).unwrap();
            let bytes = written.read();
            assert!(bytes.len() == 50_000 && bytes.iter().all(|byte| *byte == round), "round {round}");
            total += bytes.len() as u64;
        }
        let metadata = written.file.metadata().unwrap();
        assert_eq!(metadata.len(), total);
        assert!(metadata.blocks() * 512 < 2 * KEPT, "{} blocks of 512 bytes are in use", metadata.blocks());
        writer.write_all(b"end").unwrap();
        assert_eq!(written.rest().collect::<Vec<_>>(), [b"end"]);
    }
}
