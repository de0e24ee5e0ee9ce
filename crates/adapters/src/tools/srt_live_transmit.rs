//! srt-live-transmit: reads its statistics in JSON, and the messages about its source.

use std::time::Duration;

use stream_registry::StreamType;

use super::url::{self, Source};
use super::{ReservedOption, Tool};
use crate::model::{Counters, Gauges, Item, ItemState, Name};
use crate::servers::json::Object;
use crate::servers::{fields, words};

/// Number of received packets between two statistics, unless the arguments set the interval. A stream of 100 kbit/s
/// then reports every 10 s, and a stream of 50 Mbit/s 50 times per second.
const PACKETS_PER_LINE: u32 = 100;

/// The shortest time over which a bit rate is computed, in milliseconds.
const RATE_WINDOW_MS: f64 = 1_000.0;

/// Without messages (`-quiet`), a source that is silent for this long counts as disconnected.
const QUIET_END: Duration = Duration::from_secs(60);

/// The period that the counters of a line cover. The line itself does not name this period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Since the source connected (`-fullstats`).
    SinceConnection,
    /// Since the last line.
    SinceLastLine,
}

/// Follows the source of one `srt-live-transmit`.
#[derive(Clone, Debug)]
pub struct SrtLiveTransmit {
    source: Source,
    /// Whether the arguments set the interval of the statistics.
    has_interval: bool,
    counting: Counting,
    /// How many sources have connected. The number of the connection is its session.
    connections: u64,
    connection: Option<Connection>,
    /// The socket of the last source that has disconnected.
    ended: Option<String>,
    /// Whether messages are printed, so that the end of a source is known.
    has_messages: bool,
}

/// A connected source.
#[derive(Clone, Debug, Default)]
struct Connection {
    /// The socket, as statistics name it; `None` until the first statistic.
    sid: Option<String>,
    /// Whether a message has announced this connection.
    announced: bool,
    counters: Counters,
    gauges: Gauges,
    /// Time of the socket in milliseconds, and bytes, at which the measurement of the bit rate began.
    reference: Option<(f64, u64)>,
    /// When the last statistic was read.
    seen: Duration,
}

impl SrtLiveTransmit {
    /// Creates a reader for a program with these arguments.
    ///
    /// # Errors
    ///
    /// Returns an error if the arguments select another file or another format for the statistics.
    pub fn new(args: &[String], counting: Counting) -> Result<Self, ReservedOption> {
        let options = || args.iter().filter(|arg| arg.starts_with('-')).map(|arg| arg.split(':').next().unwrap_or(arg));
        if let Some(option) = options().find(|option| matches!(*option, "-statsout" | "-pf" | "-statspf")) {
            return Err(ReservedOption::new(option));
        }
        let source = args.iter().filter(|arg| !arg.starts_with('-')).find_map(|arg| url::source(arg, false));
        Ok(Self {
            source: source.unwrap_or(Source { kind: StreamType::Srt, address: String::new() }),
            has_interval: options().any(|option| matches!(option, "-s" | "-stats" | "-stats-report-frequency")),
            counting,
            connections: 0,
            connection: None,
            ended: None,
            has_messages: false,
        })
    }

    fn connect(&mut self, connection: Connection) {
        self.connections += 1;
        self.connection = Some(connection);
    }
}

impl Tool for SrtLiveTransmit {
    fn name(&self) -> &'static str {
        "srt-live-transmit"
    }

    fn options(&self, file: &str) -> Vec<String> {
        let mut options = vec![format!("-statsout:{file}"), "-pf:json".to_owned()];
        if self.counting == Counting::SinceConnection {
            options.push("-fullstats".to_owned());
        }
        if !self.has_interval {
            options.push(format!("-s:{PACKETS_PER_LINE}"));
        }
        options
    }

    fn log(&mut self, now: Duration, line: &str) {
        match line.trim() {
            "Accepted SRT source connection" | "SRT source connected" => {
                self.has_messages = true;
                match &mut self.connection {
                    // The first statistic was read before the message.
                    Some(connection) if !connection.announced => connection.announced = true,
                    _ => self.connect(Connection { announced: true, seen: now, ..Connection::default() }),
                }
            }
            "SRT source disconnected" => {
                self.has_messages = true;
                let over = self.connection.take();
                self.ended = over.and_then(|connection| connection.sid).or(self.ended.take());
            }
            _ => {}
        }
    }

    fn statistics(&mut self, now: Duration, line: &str) {
        let Some(line) = Line::read(line) else { return };
        if self.source.kind != StreamType::Srt || line.is_of_target || self.ended.as_ref() == Some(&line.sid) {
            return;
        }
        match &mut self.connection {
            Some(connection) if connection.sid.as_ref().is_none_or(|sid| *sid == line.sid) => {
                connection.sid = Some(line.sid.clone());
            }
            _ => self.connect(Connection { sid: Some(line.sid.clone()), ..Connection::default() }),
        }
        if let Some(connection) = &mut self.connection {
            connection.seen = now;
            connection.add(&line, self.counting);
        }
    }

    fn stream(&self, now: Duration) -> Option<Item> {
        let item = |session| Item {
            source_addr: self.source.address.clone(),
            ..fields::item(Name::from_path(self.name()), session, self.source.kind.clone())
        };
        if self.source.kind != StreamType::Srt {
            // The program reports no statistics of other sources, and prints no messages about them.
            return Some(item(String::new()));
        }
        let connection = self.connection.as_ref()?;
        if !self.has_messages && now.saturating_sub(connection.seen) >= QUIET_END {
            return None;
        }
        let state = if connection.sid.is_some() { ItemState::Active } else { ItemState::Connecting };
        let (counters, gauges) = (connection.counters, connection.gauges);
        Some(Item { state, counters, gauges, ..item(self.connections.to_string()) })
    }
}

impl Connection {
    fn add(&mut self, line: &Line, counting: Counting) {
        self.gauges.rtt_ms = line.rtt_ms;
        match counting {
            Counting::SinceConnection => {
                self.counters = line.counters;
                // The rate in the line is the mean since the source connected.
                let Some((time_ms, bytes)) = line.time_ms.zip(line.counters.bytes) else { return };
                let (began_ms, first) = *self.reference.get_or_insert((time_ms, bytes));
                let elapsed_ms = time_ms - began_ms;
                if self.gauges.bitrate.is_none() {
                    self.gauges.bitrate = line.bitrate;
                }
                if elapsed_ms >= RATE_WINDOW_MS {
                    let bytes_per_ms = bytes.saturating_sub(first) as f64 / elapsed_ms;
                    self.gauges.bitrate = words::bitrate(Some(bytes_per_ms), 8_000.0);
                }
                if !(0.0..RATE_WINDOW_MS).contains(&elapsed_ms) {
                    self.reference = Some((time_ms, bytes));
                }
            }
            Counting::SinceLastLine => {
                let add = |sum: &mut Option<u64>, more: Option<u64>| {
                    *sum = more.map(|more| sum.unwrap_or(0).saturating_add(more)).or(*sum);
                };
                add(&mut self.counters.bytes, line.counters.bytes);
                add(&mut self.counters.packets, line.counters.packets);
                add(&mut self.counters.lost, line.counters.lost);
                add(&mut self.counters.retransmitted, line.counters.retransmitted);
                self.gauges.bitrate = line.bitrate;
            }
        }
    }
}

/// One line of the statistics.
struct Line {
    /// The socket.
    sid: String,
    /// Whether the line describes a connection to which the program sends.
    is_of_target: bool,
    /// Milliseconds since the socket was created.
    time_ms: Option<f64>,
    counters: Counters,
    rtt_ms: Option<f64>,
    bitrate: Option<u64>,
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let line = Object::read(line)?;
        let received = line.object("recv")?;
        let packets = received.count("packets");
        let sent = line.object("send").and_then(|sent| sent.count("packets"));
        Some(Self {
            sid: line.id("sid")?,
            is_of_target: sent > Some(0) && packets.unwrap_or(0) == 0,
            time_ms: line.number("time"),
            counters: Counters {
                bytes: received.count("bytes"),
                packets,
                // `packetsLost` also counts packets that arrived later. Dropped packets were not recovered.
                lost: received.count("packetsDropped"),
                retransmitted: received.count("packetsRetransmitted"),
                dropped: None,
            },
            rtt_ms: line.object("link").and_then(|link| link.number("rtt")),
            bitrate: words::bitrate(received.number("mbitRate"), 1e6),
        })
    }
}
