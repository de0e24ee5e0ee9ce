//! Formats each event as one line, and ended streams as a table.

use stream_registry::Timestamp;
use stream_registry::watch::{Ending, Event};

use super::columns::{self, Align};
use super::units;
use crate::cli::{duration, terminal};

/// Header above the event lines. Times are UTC.
pub(super) const HEADER: &str =
    "UTC       EVENT         ID                        STATUS      TYPE  SOURCE                 NODE";

/// Remark about an ended stream of which only the id is known.
const UNKNOWN: &str = "last record unknown";

/// Formats an event as a line. The columns have fixed widths, because the widths needed by later events are unknown.
pub(super) fn line(event: &Event) -> String {
    let word = event.as_str();
    let (time, stream, reason) = match event {
        Event::Changed { stream, .. } => (Some(stream.last_heartbeat), stream, None),
        Event::Ended { last, as_of: Some(as_of), .. } => (Some(*as_of), last, last.end_reason.as_deref()),
        Event::Ended { last, as_of: None, .. } => (None, last, Some(UNKNOWN)),
        _ => {
            return format!("          {word:<12}  earlier events may be missing; `streamreg list` shows what is live");
        }
    };
    let mut cells = vec![
        (time.map_or_else(|| "-".to_owned(), time_of_day), 8),
        (word.to_owned(), 12),
        (cell(stream.id.as_str()), 24),
        (cell(stream.status.as_str()), 10),
        (cell(stream.kind.as_str()), 4),
        (cell(&stream.source_addr), 21),
        (cell(stream.node.as_deref().unwrap_or_default()), 0),
    ];
    cells.extend(reason.map(|reason| (format!("({})", terminal::escape(reason)), 0)));
    columns::line(cells.iter().map(|(cell, width)| (cell.as_str(), *width, Align::Left)))
}

fn cell(value: &str) -> String {
    if value.is_empty() { "-".to_owned() } else { terminal::escape(value).into_owned() }
}

/// Formats ended streams as a table with a header. Returns an empty string if no streams are given.
pub(super) fn ended(events: &[Event], now: Timestamp) -> String {
    let header = ["ENDED", "ID", "TYPE", "SOURCE", "NODE", "LIVED", "RECEIVED", "LOSS", "REASON"].map(str::to_owned);
    let rows: Vec<_> = events.iter().filter_map(|event| row(event, now)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    columns::table(&rows, [Align::Left; 9], [true; 9])
}

fn row(event: &Event, now: Timestamp) -> Option<[String; 9]> {
    let Event::Ended { reason, last, as_of, .. } = event else { return None };
    Some([
        as_of.map_or_else(|| "-".to_owned(), |as_of| units::ago(as_of, now)),
        cell(last.id.as_str()),
        cell(last.kind.as_str()),
        cell(&last.source_addr),
        cell(last.node.as_deref().unwrap_or_default()),
        event.lifetime().map_or_else(|| "-".to_owned(), duration::short),
        if as_of.is_some() { units::bytes(last.bytes_received) } else { "-".to_owned() },
        units::loss(last),
        match reason {
            Ending::Expired if as_of.is_none() => format!("expired; {UNKNOWN}"),
            Ending::Expired => "expired".to_owned(),
            _ => cell(last.end_reason.as_deref().unwrap_or_default()),
        },
    ])
}

/// Returns the time of day in UTC.
fn time_of_day(time: Timestamp) -> String {
    time.to_string().chars().skip("2026-01-01T".len()).take("00:00:00".len()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_registry::watch::ChangeKind;
    use stream_registry::{Stream, StreamType};

    use super::*;

    #[test]
    fn event_lines_align_with_the_header_and_are_escaped() {
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
        let ended = Event::Ended { revision: revision.clone(), reason, last: Arc::new(stream), as_of: Some(as_of) };
        let last = Arc::new(Stream::from_stored(&"cam2".parse().unwrap(), "{}").unwrap());
        let unknown = Event::Ended { revision: revision.clone(), reason: Ending::Expired, last, as_of: None };
        let lines =
            [HEADER.to_owned(), line(&changed), line(&ended), line(&unknown), line(&Event::Resync { revision })];
        assert_eq!(
            lines.join("\n"),
            r"UTC       EVENT         ID                        STATUS      TYPE  SOURCE                 NODE
12:34:56  taken_over    cam1                      connecting  srt   203.0.113.7:40112      n\u{1b}[2J
13:00:00  unregistered  cam1                      connecting  srt   203.0.113.7:40112      -  (over\n)
-         expired       cam2                      -           -     -                      -  (last record unknown)
          resync        earlier events may be missing; `streamreg list` shows what is live"
        );
    }

    #[test]
    fn ended_table_shows_lifetime_and_reason() {
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
            as_of: (!as_of.is_empty()).then(|| as_of.parse().unwrap()),
        };
        let unregistered = Ending::Unregistered("end of event".parse().unwrap());
        let rows = [
            end(unregistered, &one, "2026-01-01T01:02:03Z"),
            end(Ending::Expired, &two, "2026-01-01T01:02:05Z"),
            end(Ending::Expired, &Stream::from_stored(&"cam3".parse().unwrap(), "{}").unwrap(), ""),
        ];
        assert_eq!(
            ended(&rows, "2026-01-01T01:02:05Z".parse().unwrap()),
            r"ENDED   ID         TYPE  SOURCE             NODE  LIVED  RECEIVED  LOSS    REASON
2s ago  cam1       srt   203.0.113.7:40112  -     1h02m  1.3 MB    0.00 %  end of event
now     a-long-id  rtp   -                  -     -      0 B       -       expired
-       cam3       -     -                  -     -      -         -       expired; last record unknown
"
        );
        assert_eq!(ended(&[], Timestamp::now()), "");
    }
}
