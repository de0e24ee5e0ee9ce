//! The table of a summary.

use stream_registry::query::Summary;

use super::columns::{self, Align, Cell};
use super::units;
use crate::cli::terminal;

/// Formats the groups of a summary as a table. The last line contains the sum of all groups.
pub(super) fn table(summary: &Summary) -> String {
    let row = |name: String, streams: u64, bitrate: u64| {
        [name, streams.to_string(), units::bitrate(bitrate)].map(Cell::from).to_vec()
    };
    let mut rows = vec![[summary.by.to_uppercase().as_str(), "STREAMS", "BITRATE"].map(Cell::from).to_vec()];
    rows.extend(summary.groups.iter().map(|group| {
        let name = group.key.as_deref().filter(|key| !key.is_empty()).unwrap_or("-");
        row(terminal::escape(name).into_owned(), group.streams, group.bitrate)
    }));
    rows.push(row("all".into(), summary.total, summary.bitrate));
    columns::table(&rows, &[Align::Left, Align::Right, Align::Right])
}

#[cfg(test)]
mod tests {
    use stream_registry::query::Group;

    use super::*;

    #[test]
    fn summary_table_ends_with_the_sum_of_all_groups() {
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
