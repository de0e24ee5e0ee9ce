//! Events, a line each as they come.

use stream_registry::watch::{Ending, Event};
use stream_registry::{Stream, Timestamp};

use super::{text, units};
use crate::cli::duration;

/// What stands over the lines. Times are UTC.
pub(super) const HEADER: &str =
    "UTC       EVENT         ID                        STATUS      TYPE  SOURCE                 NODE";

/// Writes an event as a line of a table whose end nobody knows: columns have a fixed width, and what is wider
/// moves the rest of its line.
pub(super) fn line(event: &Event) -> String {
    let word = event.as_str();
    let (time, stream, end) = match event {
        Event::Changed { stream, .. } => (stream.last_heartbeat, stream, None),
        Event::Ended { last, as_of, .. } => (*as_of, last, last.end_reason.as_deref()),
        _ => {
            return format!(
                "          {word:<12}  events may be missing before this; `streamreg list` shows what is live"
            );
        }
    };
    let mut line = format!("{}  {word:<12}", clock(time));
    for (cell, width) in cells(stream) {
        line.push_str("  ");
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', width - text::width(&cell).min(width)));
    }
    if let Some(reason) = end {
        line.push_str("  (");
        line.push_str(&text::escape(reason));
        line.push(')');
    }
    line.trim_end().to_owned()
}

fn cells(stream: &Stream) -> [(String, usize); 5] {
    let cell = |value: &str, width| {
        let value = if value.is_empty() { "-".into() } else { text::escape(value) };
        (value.into_owned(), width)
    };
    [
        cell(stream.id.as_str(), 24),
        cell(stream.status.as_str(), 10),
        cell(stream.kind.as_str(), 4),
        cell(&stream.source_addr, 21),
        cell(stream.node.as_deref().unwrap_or_default(), 0),
    ]
}

/// Writes streams that have ended as a table with its header; nothing where there are none.
pub(super) fn ends(ends: &[Event], now: Timestamp) -> Vec<String> {
    let header = ["ENDED", "ID", "TYPE", "SOURCE", "NODE", "LIVED", "RECEIVED", "LOSS", "REASON"].map(str::to_owned);
    let rows: Vec<_> = ends.iter().filter_map(|end| row(end, now)).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let widths: [usize; 9] = std::array::from_fn(|at| rows.iter().map(|row| text::width(&row[at])).max().unwrap_or(0));
    let lines = rows.iter().map(|row| {
        let cells =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - text::width(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect()
}

fn row(event: &Event, now: Timestamp) -> Option<[String; 9]> {
    let Event::Ended { reason, last, as_of, .. } = event else { return None };
    let cell = |value: &str| if value.is_empty() { "-".to_owned() } else { text::escape(value).into_owned() };
    let ended = match units::ago(*as_of, now) {
        word if word == "now" || word == "never" => word,
        age => age + " ago",
    };
    Some([
        ended,
        cell(last.id.as_str()),
        cell(last.kind.as_str()),
        cell(&last.source_addr),
        cell(last.node.as_deref().unwrap_or_default()),
        event.lifetime().map_or_else(|| "-".to_owned(), duration::short),
        units::bytes(last.bytes_received),
        units::loss(last),
        match reason {
            Ending::Expired => "expired".to_owned(),
            _ => cell(last.end_reason.as_deref().unwrap_or_default()),
        },
    ])
}

/// The time of day.
fn clock(time: Timestamp) -> String {
    time.to_string().chars().skip("2026-01-01T".len()).take("00:00:00".len()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_registry::StreamType;
    use stream_registry::watch::ChangeKind;

    use super::*;

    #[test]
    fn lines_stand_under_the_header_and_nothing_hostile_gets_through() {
        let mut stream = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        stream.last_heartbeat = "2026-01-01T12:34:56.9Z".parse().unwrap();
        stream.node = Some("n\u{1b}[2J".into());
        let revision: stream_registry::Revision = "h-1".parse().unwrap();
        let changed = Event::Changed {
            revision: revision.clone(),
            kind: ChangeKind::TakenOver,
            stream: Arc::new(stream.clone()),
        };
        stream.end_reason = Some("over\n".into());
        stream.node = None;
        let reason = Ending::Unregistered("over".parse().unwrap());
        let as_of = "2026-01-01T13:00:00Z".parse().unwrap();
        let ended = Event::Ended { revision: revision.clone(), reason, last: Arc::new(stream), as_of };
        let lines = [HEADER.to_owned(), line(&changed), line(&ended), line(&Event::Resync { revision })];
        assert_eq!(
            lines.join("\n"),
            r"UTC       EVENT         ID                        STATUS      TYPE  SOURCE                 NODE
12:34:56  taken_over    cam1                      connecting  srt   203.0.113.7:40112      n\u{1b}[2J
13:00:00  unregistered  cam1                      connecting  srt   203.0.113.7:40112      -  (over\n)
          resync        events may be missing before this; `streamreg list` shows what is live"
        );
    }

    #[test]
    fn ends_are_aligned_and_say_how_long_and_why() {
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.created_at = "2026-01-01T00:00:00Z".parse().unwrap();
        (one.bytes_received, one.packets_received) = (1_300_000, 7);
        one.end_reason = Some("end of event".into());
        let mut two = Stream::new("a-long-id".parse().unwrap(), StreamType::Rtp, "");
        two.created_at = Timestamp::ZERO;
        let end = |reason, last: &Stream, as_of: &str| Event::Ended {
            revision: "h-1".parse().unwrap(),
            reason,
            last: Arc::new(last.clone()),
            as_of: as_of.parse().unwrap(),
        };
        let unregistered = Ending::Unregistered("end of event".parse().unwrap());
        let rows =
            [end(unregistered, &one, "2026-01-01T01:02:03Z"), end(Ending::Expired, &two, "2026-01-01T01:02:05Z")];
        assert_eq!(
            ends(&rows, "2026-01-01T01:02:05Z".parse().unwrap()).join("\n"),
            r"ENDED   ID         TYPE  SOURCE             NODE  LIVED  RECEIVED  LOSS    REASON
2s ago  cam1       srt   203.0.113.7:40112  -     1h02m  1.3 MB    0.00 %  end of event
now     a-long-id  rtp   -                  -     -      0 B       -       expired"
        );
        assert!(ends(&[], Timestamp::now()).is_empty());
    }
}
