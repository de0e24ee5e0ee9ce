//! Splits what a program writes into lines.

/// Maximum length of a line. The rest of a longer line is left out.
const MAX_LINE: usize = 16 * 1024;

/// Collects bytes until a line is complete. A carriage return ends a line too, because ffmpeg overwrites its last line.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    incomplete: Vec<u8>,
}

impl Lines {
    /// Adds bytes, and returns the lines that they complete, without empty ones. Invalid UTF-8 is replaced.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' if self.incomplete.is_empty() => {}
                b'\n' | b'\r' => {
                    lines.push(String::from_utf8_lossy(&self.incomplete).into_owned());
                    self.incomplete.clear();
                }
                // A file that was truncated while a program writes to it may have NUL bytes in place of the old content.
                0 => {}
                _ if self.incomplete.len() < MAX_LINE => self.incomplete.push(byte),
                _ => {}
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_returned_once_it_is_complete_wherever_it_is_split() {
        let text = "first\r\nsecond\rthird\n\nfourth";
        for at in 0..=text.len() {
            let mut lines = Lines::default();
            let mut all = lines.push(&text.as_bytes()[..at]);
            all.extend(lines.push(&text.as_bytes()[at..]));
            assert_eq!(all, ["first", "second", "third"], "split at {at}");
            assert_eq!(lines.push(b"\n"), ["fourth"]);
        }
    }

    #[test]
    fn endless_line_is_cut_and_the_next_line_is_read() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(lines.push(&[b'x'; 1000]).is_empty());
        }
        let read = lines.push(b"\nnext\n");
        assert_eq!((read[0].len(), &*read[1]), (MAX_LINE, "next"));
    }

    #[test]
    fn invalid_utf8_is_replaced_and_nul_is_left_out() {
        assert_eq!(Lines::default().push(b"\0\0a\xffb\0\n"), ["a\u{fffd}b"]);
    }
}
