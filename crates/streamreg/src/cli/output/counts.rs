//! The table of a summary.

use super::{text, units};
use stream_registry::query::Summary;

/// Writes the groups, and their sum in the last line.
pub(super) fn table(summary: &Summary) -> String {
    let row = |name: String, streams: u64, bitrate: u64| [name, streams.to_string(), units::bitrate(bitrate)];
    let mut rows = vec![[summary.by.to_uppercase(), "STREAMS".into(), "BITRATE".into()]];
    rows.extend(summary.groups.iter().map(|group| {
        let name = group.key.as_deref().filter(|key| !key.is_empty()).unwrap_or("-");
        row(text::escape(name).into_owned(), group.streams, group.bitrate)
    }));
    rows.push(row("all".into(), summary.total, summary.bitrate));
    let widths: [usize; 3] = std::array::from_fn(|at| rows.iter().map(|row| text::width(&row[at])).max().unwrap_or(0));
    let mut out = String::new();
    for [name, streams, bitrate] in &rows {
        let room = |cell: &str, width: usize| " ".repeat(width.saturating_sub(text::width(cell)));
        let cells = [name, &room(name, widths[0]), "  ", &room(streams, widths[1]), streams, "  "];
        out.extend(cells.map(|cell: &str| cell.to_owned()));
        out.extend([room(bitrate, widths[2]).as_str(), bitrate.as_str(), "\n"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use stream_registry::query::Group;

    use super::*;

    #[test]
    fn groups_are_aligned_with_their_sum() {
        let group = |key: Option<&str>, streams, bitrate| Group {
            key: key.map(str::to_owned),
            streams,
            bitrate,
            ..Group::default()
        };
        let groups = vec![group(None, 2, 0), group(Some("ingest-1\u{1b}"), 10, 5_000_000)];
        let summary = Summary { by: "node".into(), total: 12, bitrate: 5_000_000, groups };
        assert_eq!(
            table(&summary),
            "NODE            STREAMS     BITRATE\n\
             -                     2     0 bit/s\n\
             ingest-1\\u{1b}       10  5.0 Mbit/s\n\
             all                  12  5.0 Mbit/s\n"
        );
    }
}
