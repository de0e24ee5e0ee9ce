//! Turns what the program writes into the record of its stream.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::model::{Event, Name, Snapshot};
use adapters::reconcile::{IdTemplate, Reconciler};
use adapters::tools::{Lines, PROFILE, Tool};
use stream_registry::{Stream, StreamId};

/// Follows the stream of one program.
pub(super) struct Report {
    tool: Box<dyn Tool>,
    id: StreamId,
    labels: BTreeMap<String, String>,
    log: Lines,
    statistics: Lines,
    reconciler: Reconciler,
    /// Name and session of the current stream.
    current: Option<(Name, String)>,
}

impl Report {
    pub(super) fn new(tool: Box<dyn Tool>, id: StreamId, node: String, labels: BTreeMap<String, String>) -> Self {
        // The record gets its own id, so the id that the reconciler makes only has to be legal.
        let ids: IdTemplate = "{name}".parse().unwrap_or_default();
        let reconciler = Reconciler::new(PROFILE, ids, node, tool.name().to_owned());
        let (log, statistics) = (Lines::default(), Lines::default());
        Self { tool, id, labels, log, statistics, reconciler, current: None }
    }

    /// Reads what the program has written. The statistics must not be younger than the log.
    ///
    /// Returns the record of the stream, or `None` if the program has no source.
    pub(super) fn read(&mut self, now: Duration, log: &[u8], statistics: &[u8]) -> Option<Stream> {
        for line in self.log.push(log) {
            self.tool.log(now, &line);
        }
        for line in self.statistics.push(statistics) {
            self.tool.statistics(now, &line);
        }
        match self.tool.stream(now) {
            Some(mut item) => {
                item.labels.extend(self.labels.clone());
                self.current = Some((item.name.clone(), item.session.clone()));
                self.reconciler.snapshot(
                    now,
                    now,
                    Snapshot { complete: true, items: vec![item], ..Snapshot::default() },
                );
            }
            None => {
                if let Some((name, session)) = self.current.take() {
                    self.reconciler.event(now, Event::Ended { name, session: Some(session) });
                }
            }
        }
        let mut record = self.reconciler.streams().next()?.clone();
        record.id = self.id.clone();
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use adapters::tools::srt_live_transmit::{Counting, SrtLiveTransmit};
    use stream_registry::StreamStatus;

    use super::*;

    fn read(report: &mut Report, seconds: u64, log: &str, statistics: &str) -> Option<Stream> {
        report.read(Duration::from_secs(seconds), log.as_bytes(), statistics.as_bytes())
    }

    fn line(sid: u64, packets: u64) -> String {
        format!("{{\"sid\":{sid},\"time\":{packets},\"recv\":{{\"packets\":{packets},\"bytes\":{packets}}}}}\n")
    }

    fn report() -> Report {
        let args = ["srt://:9000?mode=listener".to_owned()];
        let tool = Box::new(SrtLiveTransmit::new(&args, Counting::SinceConnection).unwrap());
        let labels = BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]);
        Report::new(tool, "a//cam1".parse().unwrap(), "edge 1".to_owned(), labels)
    }

    #[test]
    fn record_has_the_given_id_node_and_labels() {
        let mut report = report();
        assert_eq!(read(&mut report, 0, "", ""), None);
        let record = read(&mut report, 1, "Accepted SRT source connection\n", "").unwrap();
        assert_eq!((record.id.as_str(), record.node.as_deref()), ("a//cam1", Some("edge 1")));
        assert_eq!((&*record.labels["tenant"], &*record.labels["server"]), ("acme", "srt-live-transmit"));
        assert_eq!(record.status, StreamStatus::Connecting);
    }

    #[test]
    fn silent_source_is_paused_after_10_s_and_active_again_with_its_next_statistic() {
        let mut report = report();
        let message = "Accepted SRT source connection\n";
        let status = |record: Option<Stream>| record.unwrap().status;
        assert_eq!(status(read(&mut report, 1, message, &line(7, 100))), StreamStatus::Active);
        assert_eq!(status(read(&mut report, 10, "", "")), StreamStatus::Active);
        assert_eq!(status(read(&mut report, 11, "", "")), StreamStatus::Paused);
        assert_eq!(status(read(&mut report, 12, "", &line(7, 200))), StreamStatus::Active);
    }

    #[test]
    fn source_that_connects_again_within_one_reading_continues_the_stream_with_added_counters() {
        let mut report = report();
        let first = read(&mut report, 1, "Accepted SRT source connection\n", &line(7, 100)).unwrap();
        let log = "SRT source disconnected\nAccepted SRT source connection\n";
        let second = read(&mut report, 2, log, &line(8, 30)).unwrap();
        assert_eq!((second.created_at, second.packets_received), (first.created_at, 130));
        assert_eq!(second.labels["reconnects"], "1");
    }

    #[test]
    fn source_that_connects_after_the_end_is_a_new_stream() {
        let mut report = report();
        let first = read(&mut report, 1, "Accepted SRT source connection\n", &line(7, 100)).unwrap();
        assert_eq!(read(&mut report, 2, "SRT source disconnected\n", ""), None);
        let second = read(&mut report, 3, "Accepted SRT source connection\n", &line(8, 30)).unwrap();
        assert!(second.created_at > first.created_at);
        assert_eq!((second.packets_received, second.labels.get("reconnects")), (30, None));
    }
}
