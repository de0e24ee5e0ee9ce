//! Formats each event as one line, and ended streams as a table.

use jiff::tz::TimeZone;
use stream_registry::Timestamp;
use stream_registry::watch::{Ending, Event};

use super::columns::{self, Align, Cell};
use super::style::Style;
use super::table::Headings;
use super::units::{self, NOW};
use crate::cli::{duration, terminal};

/// How the lines of a watch are shown.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// Whether the first line has the headings.
    pub headings: Headings,
    /// The time zone of the times.
    pub zone: Zone,
}

/// The time zone of times of day.
#[derive(Clone, Debug)]
pub struct Zone {
    heading: &'static str,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self { heading: "UTC", zone: TimeZone::UTC }
    }

    /// The time zone of this machine, which the variable `TZ` can replace.
    pub fn local() -> Self {
        Self { heading: "LOCAL", zone: TimeZone::system() }
    }

    /// Returns the mark of this zone after a time, as in RFC 3339. Local time has no mark.
    pub(in crate::cli) fn mark(&self) -> &'static str {
        if self.heading == "UTC" { "Z" } else { "" }
    }

    /// Returns the hour, minute and second of a time, e.g. `14:05:10`.
    pub(in crate::cli) fn time_of_day(&self, time: Timestamp) -> String {
        // A timestamp is in the range of jiff, from whose type it was made.
        let time = jiff::Timestamp::from_nanosecond(time.as_unix_nanos()).unwrap_or_default();
        let time = time.to_zoned(self.zone.clone()).time();
        format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
    }
}

/// Returns the header above the event lines.
pub(super) fn header(zone: &Zone) -> String {
    let headings = [zone.heading, "EVENT", "ID", "STATUS", "TYPE", "SOURCE", "NODE"].map(Cell::from);
    aligned(headings.iter())
}

/// Remark about an ended stream of which only the id is known.
const UNKNOWN: &str = "last record unknown";

/// Widths of the columns of event lines. They are fixed, because the widths needed by later events are unknown.
const WIDTHS: [usize; 8] = [8, 12, 24, 10, 4, 21, 0, 0];

fn aligned<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    columns::line(cells.zip(WIDTHS).map(|(cell, width)| (cell, width, Align::Left)))
}

/// Formats an event as a line.
pub(super) fn line(event: &Event, zone: &Zone, colour: bool) -> String {
    let word = event.as_str();
    let (time, stream, reason) = match event {
        Event::Changed { stream, .. } => (Some(stream.last_heartbeat), stream, None),
        Event::Ended { last, as_of: Some(as_of), .. } => (Some(*as_of), last, last.end_reason.as_deref()),
        Event::Ended { last, as_of: None, .. } => (None, last, Some(UNKNOWN)),
        event => {
            let shard = match event {
                Event::Resync { shard: Some(shard), .. } => {
                    format!(" of shard {} of {}", shard.number(), shard.count())
                }
                _ => String::new(),
            };
            return format!(
                "          {word:<12}  earlier events{shard} may be missing; `streamreg list` shows what is live"
            );
        }
    };
    let style = if colour { Style::of(&stream.status) } else { Style::Plain };
    let mut cells = vec![
        time.map_or_else(|| "-".to_owned(), |time| zone.time_of_day(time)).into(),
        word.into(),
        shown(stream.id.as_str()).into(),
        Cell::styled(shown(stream.status.as_str()), style),
        shown(stream.kind.as_str()).into(),
        shown(&stream.source_addr).into(),
        shown(stream.node.as_deref().unwrap_or_default()).into(),
    ];
    cells.extend(reason.map(|reason| format!("({})", terminal::escape(reason)).into()));
    aligned(cells.iter())
}

fn shown(value: &str) -> String {
    if value.is_empty() { "-".to_owned() } else { terminal::escape(value).into_owned() }
}

/// Formats ended streams as a table with a header. Returns an empty string if no streams are given.
pub(super) fn ended(events: &[Event], now: Timestamp) -> String {
    let header = ENDED_HEADINGS.map(Cell::from);
    let rows: Vec<_> = events.iter().filter_map(|event| ended_cells(event, now)).collect();
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| row.map(Cell::from).to_vec()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = std::iter::once(header.to_vec()).chain(rows).collect();
    columns::table(&rows, &[Align::Left; 9])
}

/// The headings of the table of ended streams.
pub(in crate::cli) const ENDED_HEADINGS: [&str; 9] =
    ["ENDED", "ID", "TYPE", "SOURCE", "NODE", "LIVED", "RECEIVED", "LOSS", "REASON"];

/// Returns the cells of an ended stream, which are safe for a terminal. Returns `None` for an event of another kind.
pub(in crate::cli) fn ended_cells(event: &Event, now: Timestamp) -> Option<[String; 9]> {
    let Event::Ended { reason, last, as_of, .. } = event else { return None };
    Some([
        as_of.map_or_else(
            || "-".to_owned(),
            |as_of| match units::ago(as_of, now) {
                ago if *reason == Ending::Expired && ago != NOW => format!("< {ago}"),
                ago => ago,
            },
        ),
        shown(last.id.as_str()),
        shown(last.kind.as_str()),
        shown(&last.source_addr),
        shown(last.node.as_deref().unwrap_or_default()),
        lived(event),
        if as_of.is_some() { units::bytes(last.bytes_received) } else { "-".to_owned() },
        units::loss(last),
        match reason {
            Ending::Expired if as_of.is_none() => format!("expired; {UNKNOWN}"),
            Ending::Expired => "expired".to_owned(),
            _ => shown(last.end_reason.as_deref().unwrap_or_default()),
        },
    ])
}

/// Returns how long an ended stream was live, e.g. `1h02m`. The record of an expired stream was read before it expired,
/// so the stream was live for longer: `1h02m+`.
pub(in crate::cli) fn lived(event: &Event) -> String {
    let more = if matches!(event, Event::Ended { reason: Ending::Expired, .. }) { "+" } else { "" };
    event.lifetime().map_or_else(|| "-".to_owned(), |lifetime| duration::short(lifetime) + more)
}

/// Returns when and why a stream ended, as the end of a sentence such as "it expired less than 3s ago". The result may
/// contain any characters. Returns `None` for an event of another kind.
pub(in crate::cli) fn end(event: &Event, now: Timestamp) -> Option<String> {
    let Event::Ended { reason, as_of, .. } = event else { return None };
    // The record of an expired stream was read before it expired.
    let less = if *reason == Ending::Expired { "less than " } else { "" };
    let ago = as_of.map_or_else(String::new, |as_of| match units::ago(as_of, now).as_str() {
        NOW => " just now".to_owned(),
        ago => format!(" {less}{ago}"),
    });
    Some(match reason {
        Ending::Unregistered(reason) => match reason.as_str() {
            Some(reason) => format!("it was unregistered{ago}: {reason}"),
            None => format!("it was unregistered{ago}"),
        },
        Ending::Expired => format!("it expired{ago}"),
        _ => format!("it ended{ago}"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_registry::watch::{ChangeKind, Shard};
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
        let utc = Zone::utc();
        let resync = |shard| Event::Resync { revision: revision.clone(), shard };
        let events = [&changed, &ended, &unknown, &resync(None), &resync(Shard::new(5, 16))];
        let lines = events.map(|event| line(event, &utc, false));
        assert_eq!(
            [header(&utc), lines.join("\n")].join("\n"),
            r"UTC       EVENT         ID                        STATUS      TYPE  SOURCE                 NODE
12:34:56  taken_over    cam1                      connecting  srt   203.0.113.7:40112      n\u{1b}[2J
13:00:00  unregistered  cam1                      connecting  srt   203.0.113.7:40112      -  (over\n)
-         expired       cam2                      -           -     -                      -  (last record unknown)
          resync        earlier events may be missing; `streamreg list` shows what is live
          resync        earlier events of shard 5 of 16 may be missing; `streamreg list` shows what is live"
        );
    }

    #[test]
    fn event_line_shows_the_time_in_the_zone_and_the_colour_of_the_status() {
        let mut stream = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        stream.last_heartbeat = "2026-01-01T23:34:56.9Z".parse().unwrap();
        let (kind, stream) = (ChangeKind::Registered, Arc::new(stream));
        let event = Event::Changed { revision: "h-1".parse().unwrap(), kind, stream };
        let zone = Zone { heading: "LOCAL", zone: TimeZone::fixed(jiff::tz::offset(9)) };
        assert!(header(&zone).starts_with("LOCAL     EVENT"));
        let coloured = line(&event, &zone, true);
        assert!(coloured.starts_with("08:34:56  registered    cam1 "), "{coloured}");
        assert!(coloured.contains("  \u{1b}[33mconnecting\u{1b}[0m  srt "), "{coloured}");
    }

    #[test]
    fn ended_table_shows_lifetime_and_reason() {
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.created_at = "2026-01-01T00:00:00Z".parse().unwrap();
        (one.bytes_received, one.packets_received) = (1_300_000, 7);
        one.end_reason = Some("end of event".into());
        let mut two = Stream::new("a-long-id".parse().unwrap(), StreamType::Rtp, "");
        two.created_at = one.created_at;
        let end = |reason, last: &Stream, as_of: &str| Event::Ended {
            revision: "h-1".parse().unwrap(),
            reason,
            last: Arc::new(last.clone()),
            as_of: (!as_of.is_empty()).then(|| as_of.parse().unwrap()),
        };
        let unregistered = Ending::Unregistered("end of event".parse().unwrap());
        let rows = [
            end(unregistered, &one, "2026-01-01T01:02:03Z"),
            end(Ending::Expired, &two, "2026-01-01T01:02:04Z"),
            end(Ending::Expired, &Stream::from_stored(&"cam3".parse().unwrap(), "{}").unwrap(), ""),
        ];
        assert_eq!(
            ended(&rows, "2026-01-01T01:02:05Z".parse().unwrap()),
            r"ENDED     ID         TYPE  SOURCE             NODE  LIVED   RECEIVED  LOSS    REASON
2s ago    cam1       srt   203.0.113.7:40112  -     1h02m   1.3 MB    0.00 %  end of event
< 1s ago  a-long-id  rtp   -                  -     1h02m+  0 B       -       expired
-         cam3       -     -                  -     -       -         -       expired; last record unknown
"
        );
        assert_eq!(ended(&[], Timestamp::now()), "");
        let ends = rows.each_ref().map(|event| super::end(event, "2026-01-01T01:02:05Z".parse().unwrap()).unwrap());
        assert_eq!(ends, ["it was unregistered 2s ago: end of event", "it expired less than 1s ago", "it expired"]);
    }
}
