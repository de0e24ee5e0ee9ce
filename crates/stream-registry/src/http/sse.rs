//! The change feed as server-sent events (HTML Living Standard, section 9.2): the encoder and the decoder.

use crate::watch::Event;

/// Media type of a stream of events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Header with the revision of the last event that a client received.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// Size limit of a line, in bytes. The limit is far above the size of any record that this software writes.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Encodes an event as a server-sent event, with its revision as the id.
pub fn event_frame(event: &Event) -> String {
    format!("id: {}\ndata: {}\n\n", event.revision(), event.to_json())
}

/// A received server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: Option<String>,
    /// The data of the event. `None` if the data was too long or is not UTF-8.
    pub(super) data: Option<String>,
}

/// Decodes a byte stream into server-sent events.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Number of bytes at the start of `bytes` that have been processed.
    read: usize,
    /// Number of bytes at the start of `bytes` that have been searched for a line break.
    searched: usize,
    /// Whether the bytes of the current line are discarded because the line is too long.
    skipping: bool,
    id: Option<String>,
    /// The data of the current event so far. The inner value is `None` if the data was too long or is not UTF-8.
    data: Option<Option<String>>,
}

impl Frames {
    /// Appends received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.searched -= self.read;
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete event. Returns `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                if self.searched - self.read > MAX_LINE {
                    self.read = self.searched;
                    self.skipping = true;
                }
                return None;
            };
            let end = self.searched + end;
            let line = self.bytes[self.read..end].to_vec();
            (self.read, self.searched) = (end + 1, end + 1);
            if std::mem::take(&mut self.skipping) {
                // Only a data line can exceed the size limit.
                self.data = Some(None);
            } else if let Some(frame) = self.line(line.strip_suffix(b"\r").unwrap_or(&line)) {
                return Some(frame);
            }
        }
    }

    /// Processes a line. An empty line completes the event.
    fn line(&mut self, line: &[u8]) -> Option<Frame> {
        if line.is_empty() {
            let (id, data) = (self.id.take(), self.data.take());
            return data.map(|data| Frame { id, data });
        }
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        let value = str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)).ok();
        match (name, value) {
            (b"id", Some(value)) => self.id = Some(value.to_owned()),
            (b"data", value) => {
                self.data = Some(match (self.data.take(), value) {
                    (None, Some(value)) => Some(value.to_owned()),
                    (Some(Some(data)), Some(value)) => Some(data + "\n" + value),
                    (Some(None), _) | (_, None) => None,
                });
            }
            // Comments and unused fields are ignored.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: Option<&str>, data: Option<&str>) -> Frame {
        Frame { id: id.map(str::to_owned), data: data.map(str::to_owned) }
    }

    fn read(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        for piece in pieces {
            frames.push(piece);
            all.extend(std::iter::from_fn(|| frames.next()));
        }
        all
    }

    #[test]
    fn sse_frame_has_the_revision_as_id() {
        let event = Event::Alive { revision: "0123-4".parse().unwrap() };
        assert_eq!(event_frame(&event), format!("id: 0123-4\ndata: {}\n\n", event.to_json()));
    }

    #[test]
    fn sse_decoder_returns_complete_events_for_any_byte_split() {
        let input = ": hello\nretry: 100\n\nid: a-1\ndata: {\"x\":\"é:\"}\n\nid:a-2\r\ndata:1\r\ndata: 2\r\n\r\ndata: z\n\nid: a-3\n\ndata: un";
        let complete =
            [frame(Some("a-1"), Some("{\"x\":\"é:\"}")), frame(Some("a-2"), Some("1\n2")), frame(None, Some("z"))];
        assert_eq!(read(&[input.as_bytes()]), complete);
        for cut in 1..input.len() {
            assert_eq!(read(&[&input.as_bytes()[..cut], &input.as_bytes()[cut..]]), complete, "{cut}");
        }
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), complete);
    }

    #[test]
    fn sse_decoder_keeps_the_id_of_an_unreadable_event() {
        let long = "x".repeat(MAX_LINE / 2);
        let pieces: [&[u8]; 6] = [
            b"id: a-1\ndata: ",
            long.as_bytes(),
            long.as_bytes(),
            long.as_bytes(),
            b"\n\nid: a-2\ndata: \xff\n\n",
            b"id: a-3\ndata: ok\n\n",
        ];
        assert_eq!(read(&pieces), [frame(Some("a-1"), None), frame(Some("a-2"), None), frame(Some("a-3"), Some("ok"))]);
    }
}
