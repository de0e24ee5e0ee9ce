//! srt-live-transmit: its statistics and its messages.

use std::time::Duration;

use adapters::model::{Counters, Item, ItemState};
use adapters::tools::Tool;
use adapters::tools::srt_live_transmit::{Counting, SrtLiveTransmit};
use serde_json::Value;

use crate::captures;
use crate::mutate;

const ARGS: [&str; 2] = ["srt://127.0.0.1:29000?mode=listener", "udp://127.0.0.1:29001"];

fn tool(args: &[&str], counting: Counting) -> SrtLiveTransmit {
    SrtLiveTransmit::new(&args.iter().map(ToString::to_string).collect::<Vec<_>>(), counting).unwrap()
}

/// Returns the lines with statistics of a recording.
fn statistics(name: &str) -> Vec<String> {
    let text = captures::read("srt-live-transmit", name).text;
    text.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

/// Returns the lines that were written to standard error.
fn messages(name: &str) -> Vec<String> {
    let text = captures::read("srt-live-transmit", name).text;
    let (_, stderr) = text.split_once("--- stderr\n").unwrap();
    stderr.split("--- statsout").next().unwrap().lines().map(str::to_owned).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Connects a source, reads the statistics, one per second, and returns the stream.
fn read(counting: Counting, lines: &[impl AsRef<str>]) -> Item {
    let mut tool = tool(&ARGS, counting);
    tool.log(Duration::ZERO, "Accepted SRT source connection");
    for (at, line) in lines.iter().enumerate() {
        tool.statistics(seconds(at as u64 + 1), line.as_ref());
    }
    tool.stream(seconds(lines.len() as u64)).unwrap()
}

/// Returns a statistic in which only the totals and the socket matter.
fn line(sid: u64, packets: u64) -> String {
    format!(
        r#"{{"sid":{sid},"time":{packets},"send":{{"packets":0}},"recv":{{"packets":{packets},"bytes":{packets}}}}}"#
    )
}

#[test]
fn drop_is_loss() {
    let item = read(Counting::SinceLastLine, &statistics("json-loss5.txt"));
    assert_eq!(item.counters.lost, Some(1), "38 packets were lost, and all but one arrived later");
    assert_eq!(item.counters.retransmitted, Some(37));
    assert_eq!(item.counters.dropped, None);
}

#[test]
fn total_and_interval_statistics_give_the_same_counters() {
    let full = statistics("json-fullstats.txt");
    let item = read(Counting::SinceConnection, &full);
    let expected =
        Counters { bytes: Some(563_008), packets: Some(503), lost: Some(0), retransmitted: Some(0), dropped: None };
    assert_eq!(item.counters, expected);
    assert_eq!(item.gauges.rtt_ms, Some(2.913));
    // 93 140 bytes in 1 143 ms.
    assert_eq!(item.gauges.bitrate, Some(651_899));
    assert_eq!(read(Counting::SinceConnection, &full[..1]).gauges.bitrate, Some(694_685));

    let interval = statistics("json-stdout.txt");
    let item = read(Counting::SinceLastLine, &interval);
    assert_eq!((item.counters.packets, item.counters.bytes), (Some(503), Some(563_008)));
    assert_eq!(item.gauges.bitrate, Some(649_603));
}

#[test]
fn new_socket_id_is_a_new_session() {
    let mut tool = tool(&ARGS, Counting::SinceConnection);
    tool.statistics(seconds(1), &line(7, 100));
    let first = tool.stream(seconds(1)).unwrap();
    tool.statistics(seconds(2), &line(7, 200));
    assert_eq!(tool.stream(seconds(2)).unwrap().session, first.session);
    tool.statistics(seconds(3), &line(8, 50));
    let second = tool.stream(seconds(3)).unwrap();
    assert_ne!(second.session, first.session);
    assert_eq!(second.counters.packets, Some(50));
}

#[test]
fn stream_exists_from_the_message_about_its_source_to_the_message_about_its_end() {
    for name in ["json-fullstats.txt", "json-killed.txt", "json-loss5.txt", "json-statsout.txt"] {
        let mut tool = tool(&ARGS, Counting::SinceConnection);
        let mut seen = Vec::new();
        for message in messages(name) {
            tool.log(Duration::ZERO, &message);
            seen.push(tool.stream(Duration::ZERO).map(|item| item.state));
        }
        seen.dedup();
        assert_eq!(seen, [None, Some(ItemState::Connecting), None], "{name}");
    }
}

#[test]
fn source_that_connects_again_is_another_session_even_if_its_first_statistic_is_late() {
    let mut tool = tool(&ARGS, Counting::SinceConnection);
    tool.log(seconds(0), "Accepted SRT source connection");
    tool.statistics(seconds(1), &line(7, 100));
    let first = tool.stream(seconds(1)).unwrap();
    assert_eq!(first.state, ItemState::Active);
    tool.log(seconds(2), "SRT source disconnected");
    tool.statistics(seconds(2), &line(7, 120));
    assert_eq!(tool.stream(seconds(2)), None, "the last statistic of a source starts no stream");
    tool.log(seconds(3), "Accepted SRT source connection");
    tool.statistics(seconds(3), &line(7, 120));
    let second = tool.stream(seconds(3)).unwrap();
    assert_eq!((second.state, second.counters), (ItemState::Connecting, Counters::default()));
    assert_ne!(second.session, first.session);
    tool.statistics(seconds(4), &line(8, 10));
    let third = tool.stream(seconds(4)).unwrap();
    assert_eq!((third.session, third.state), (second.session, ItemState::Active));
}

#[test]
fn message_that_is_read_after_the_first_statistic_starts_no_second_session() {
    let mut tool = tool(&ARGS, Counting::SinceConnection);
    tool.statistics(seconds(1), &line(7, 100));
    let before = tool.stream(seconds(1));
    tool.log(seconds(1), "Accepted SRT source connection");
    assert_eq!(tool.stream(seconds(1)), before);
}

#[test]
fn quiet_program_has_a_stream_until_it_has_been_silent_for_a_minute() {
    let mut tool = tool(&["-q", ARGS[0], ARGS[1]], Counting::SinceConnection);
    assert_eq!(tool.stream(seconds(0)), None);
    tool.statistics(seconds(1), &line(7, 100));
    assert!(tool.stream(seconds(60)).is_some());
    assert_eq!(tool.stream(seconds(61)), None);
    tool.statistics(seconds(70), &line(8, 1));
    assert!(tool.stream(seconds(70)).is_some());
}

#[test]
fn silent_source_with_messages_stays_connected() {
    let mut tool = tool(&ARGS, Counting::SinceConnection);
    tool.log(seconds(0), "Accepted SRT source connection");
    tool.statistics(seconds(1), &line(7, 100));
    assert!(tool.stream(seconds(3_600)).is_some());
}

#[test]
fn statistics_of_the_target_are_not_those_of_the_source() {
    let mut tool = tool(&["srt://:9000", "srt://203.0.113.7:9000"], Counting::SinceConnection);
    tool.statistics(seconds(1), &line(7, 100));
    let before = tool.stream(seconds(1));
    tool.statistics(seconds(1), r#"{"sid":8,"time":5,"send":{"packets":100},"recv":{"packets":0,"bytes":0}}"#);
    assert_eq!(tool.stream(seconds(1)), before);
}

#[test]
fn source_that_is_not_srt_has_a_stream_without_statistics() {
    let mut tool = tool(&["udp://:5000", "srt://203.0.113.7:9000"], Counting::SinceConnection);
    tool.statistics(seconds(1), &line(7, 100));
    let item = tool.stream(seconds(100)).unwrap();
    assert_eq!((item.kind.as_str(), item.state, item.counters), ("udp", ItemState::Active, Counters::default()));
}

#[test]
fn address_is_known_if_the_program_calls_the_source() {
    let called =
        tool(&["-s", "50", "srt://203.0.113.7:9000?passphrase=secret", "udp://:5000"], Counting::SinceLastLine);
    let mut called = called;
    called.log(seconds(0), "SRT source connected");
    assert_eq!(called.stream(seconds(0)).unwrap().source_addr, "203.0.113.7:9000");
    assert_eq!(read(Counting::SinceLastLine, &[""; 0]).source_addr, "");
}

#[test]
fn options_select_the_statistics_unless_the_arguments_set_the_interval() {
    let options = |args: &[&str]| tool(args, Counting::SinceConnection).options("/dev/fd/9").join(" ");
    assert_eq!(options(&ARGS), "-statsout:/dev/fd/9 -pf:json -fullstats -s:100");
    for interval in ["-s:50", "-stats:50", "-stats-report-frequency:50", "-s"] {
        assert_eq!(options(&[interval, ARGS[0]]), "-statsout:/dev/fd/9 -pf:json -fullstats", "{interval}");
    }
    for reserved in ["-statsout:/tmp/x", "-pf:csv", "-pf", "-statspf:json"] {
        let error = SrtLiveTransmit::new(&[reserved.to_owned()], Counting::SinceConnection).unwrap_err().to_string();
        let option = reserved.split(':').next().unwrap();
        assert_eq!(error, format!("{option} is set by streamreg, which reads the statistics; remove the option"));
    }
}

#[test]
fn damaged_statistics_are_ignored_or_read_in_part() {
    let whole = statistics("json-fullstats.txt").remove(0);
    for prefix in mutate::prefixes(whole.as_bytes()) {
        let mut tool = tool(&ARGS, Counting::SinceConnection);
        tool.statistics(seconds(1), &String::from_utf8_lossy(prefix));
        assert_eq!(tool.stream(seconds(1)), None, "{} bytes", prefix.len());
    }
    let document: Value = serde_json::from_str(&whole).unwrap();
    let expected = read(Counting::SinceConnection, &[&whole]);
    let unknown = mutate::with_unknown_fields(&document).to_string();
    assert_eq!(read(Counting::SinceConnection, &[unknown]), expected);
    for (place, text) in mutate::damaged(&document) {
        for counting in [Counting::SinceConnection, Counting::SinceLastLine] {
            // The second line must not stop the first one from being used.
            let item = read(counting, &[&text, &whole]);
            assert!(item.counters.packets >= expected.counters.packets, "{place:?}");
            assert!(item.gauges.bitrate.is_none_or(|bitrate| bitrate <= i64::MAX as u64), "{place:?}");
        }
    }
}
