//! Sends random records, in canonical form and close to it, through the scripts and through the client's decoder, and
//! compares the results.
//!
//! No script accepts a space before the first brace as canonical, so the same record with a space takes the slow path.
//! `STREAM_REGISTRY_FUZZ_SEED=<seed> cargo test -p streamreg --test it fuzz` replays a failure.

use stream_registry::{Change, Guard, RedisRegistry, Registry, StreamStats, UnregisterOptions, Write};

use super::foreign_records::judge;
use super::json::{self, differences};
use super::{Bed, id};

const RECORDS: usize = 3_000;
const AT_ONCE: usize = 100;
const SLOW: &str = "slow:streams:";

/// Strings that look like other parts of a record.
const TEXTS: [&str; 19] = [
    "",
    "a b",
    "x",
    "a}",
    "},",
    "{",
    "[]",
    "\\\"",
    "\\\\",
    "\\u0041",
    "\\/",
    "é📺",
    "\\\",\\\"epoch\\\":\\\"x",
    "epoch",
    "status",
    "}}",
    "%d%1",
    "\\n",
    "last_heartbeat",
];
const NUMBERS: [&str; 16] = [
    "0",
    "7",
    "9223372036854775807",
    "9223372036854775808",
    "1e2",
    "1.5",
    "-5",
    "0.0",
    "12E+1",
    "1e-3",
    "5000000",
    "10.0",
    "-0",
    "100000000000000",
    "1e400",
    "2e0",
];
const EXTRAS: [&str; 14] = [
    "\"x\":[]",
    "\"x\":{}",
    "\"x\":{\"status\":\"no\",\"epoch\":\"no\"}",
    "\"x\":\"\\\"epoch\\\":\\\"e\\\"\"",
    "\"x\":1.10",
    "\"x\":[1, {\"a\":[]}]",
    "\"last_heartbeat\":\"2020-01-01T00:00:00Z\"",
    "\"status\":\"again\"",
    "\"bitrate\":9",
    "\"epo\\u0063h\":\"e9\"",
    "\"packets_lost\":3",
    "\"x\":null",
    "\"\":0",
    "\"viewers\":null",
];

struct Maker(fastrand::Rng);

impl Maker {
    fn text(&mut self) -> String {
        let mut text = self.pick(&TEXTS).to_owned();
        if self.0.u8(..4) == 0 {
            text.push_str(self.pick(&TEXTS));
        }
        text
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.0.usize(..from.len())]
    }

    /// Returns the canonical form in most cases and another form in the rest.
    fn number(&mut self) -> String {
        if self.0.u8(..4) > 0 {
            self.0.u64(..10_000_000_000_000_000).to_string()
        } else {
            self.pick(&NUMBERS).to_owned()
        }
    }

    fn plain_or(&mut self, plain: &str) -> String {
        if self.0.u8(..6) > 0 { plain.to_owned() } else { self.text() }
    }

    fn record(&mut self, name: &str) -> String {
        let mut fields: Vec<String> = Vec::new();
        fields.push(format!("\"id\":{}", serde_json::to_string(name).unwrap()));
        fields.push(format!("\"type\":\"{}\"", self.plain_or("srt")));
        fields.push(format!("\"source_addr\":\"{}\"", self.plain_or("203.0.113.7:40112")));
        fields.push(format!("\"status\":\"{}\"", self.plain_or("active")));
        fields.push("\"created_at\":\"2026-11-22T14:08:10.921427415Z\"".to_owned());
        fields.push("\"last_heartbeat\":\"2026-11-22T14:08:10.921427496Z\"".to_owned());
        fields.push(format!("\"video_codec\":\"{}\"", self.plain_or("HEVC")));
        fields.push(format!("\"resolution\":\"{}\"", self.plain_or("1920x1080")));
        for name in ["bitrate", "frame_rate", "bytes_received", "packets_received", "packets_lost"] {
            fields.push(format!("\"{name}\":{}", self.number()));
        }
        let tail = fields.len();
        if self.0.u8(..3) == 0 {
            fields.push(format!("\"node\":\"{}\"", self.plain_or("n1")));
        }
        if self.0.u8(..4) == 0 {
            let epoch = if self.0.bool() { "0005-aa".to_owned() } else { self.text() };
            fields.push(format!("\"epoch\":\"{epoch}\""));
        }
        if self.0.u8(..3) == 0 {
            let labels: Vec<_> =
                (0..self.0.u8(..4)).map(|at| format!("\"{}{at}\":\"{}\"", self.text(), self.text())).collect();
            fields.push(format!("\"labels\":{{{}}}", labels.join(",")));
        }
        if self.0.u8(..4) == 0 {
            fields.push(format!("\"audio_codec\":\"{}\"", self.plain_or("AAC")));
        }
        for name in ["rtt_ms", "jitter_ms", "packets_retransmitted", "packets_dropped", "viewers"] {
            if self.0.u8(..3) == 0 {
                fields.push(format!("\"{name}\":{}", self.number()));
            }
        }
        if self.0.u8(..8) == 0 {
            fields.push(format!("\"end_reason\":\"{}\"", self.text()));
        }
        for _ in 0..self.0.u8(..3) {
            let place = if self.0.bool() { fields.len() } else { self.0.usize(tail..=fields.len()) };
            fields.insert(place, self.pick(&EXTRAS).to_owned());
        }
        match self.0.u8(..20) {
            // Another order of fields, a missing field, or a duplicate field.
            0 => {
                let other = self.0.usize(..fields.len());
                fields.swap(3, other);
            }
            1 => drop(fields.remove(self.0.usize(..fields.len()))),
            2 => {
                let twice = fields[self.0.usize(..fields.len())].clone();
                fields.insert(self.0.usize(..=fields.len()), twice);
            }
            _ => {}
        }
        let comma = if self.0.u8(..30) == 0 { ", " } else { "," };
        let end = if self.0.u8(..30) == 0 { "}\n" } else { "}" };
        format!("{{{}{end}", fields.join(comma))
    }

    fn stats(&mut self) -> StreamStats {
        let mut some = |most: u64| self.0.bool().then(|| self.0.u64(..=most));
        #[allow(clippy::cast_precision_loss, reason = "any number will do")]
        let rate = |thousandths: Option<u64>| thousandths.map(|rate| rate as f64 / 1_000.0);
        StreamStats {
            bytes_received: some(i64::MAX as u64).unwrap_or(i64::MAX as u64),
            packets_received: some(1_000).unwrap_or(0),
            packets_lost: some(1_000).unwrap_or(0),
            bitrate: some(1_000).unwrap_or(0),
            rtt_ms: rate(some(100_000)),
            jitter_ms: rate(some(2)),
            packets_retransmitted: some(9),
            packets_dropped: some(i64::MAX as u64),
            viewers: some(3),
            frame_rate: rate(some(60_000)),
        }
    }

    fn change(&mut self) -> Change {
        match self.0.u8(..5) {
            0 => Change::Heartbeat,
            1 => Change::Status(self.pick(&["paused", "active", "a\"b\\c", "é"]).parse().unwrap()),
            2 => {
                let stats = self.stats();
                Change::Stats(StreamStats {
                    bytes_received: stats.bytes_received,
                    packets_lost: stats.packets_lost,
                    ..Default::default()
                })
            }
            _ => Change::Stats(self.stats()),
        }
    }
}

/// The fields that a change sets, with their expected values.
fn intended(change: &Change) -> Vec<(&'static str, String)> {
    let mut set = Vec::new();
    match change {
        Change::Status(status) => set.push(("status", status.as_str().to_owned())),
        Change::Stats(stats) => {
            set.push(("bytes_received", stats.bytes_received.to_string()));
            set.push(("packets_received", stats.packets_received.to_string()));
            set.push(("packets_lost", stats.packets_lost.to_string()));
            set.push(("bitrate", stats.bitrate.to_string()));
            let rates = [("rtt_ms", stats.rtt_ms), ("jitter_ms", stats.jitter_ms), ("frame_rate", stats.frame_rate)];
            set.extend(rates.into_iter().filter_map(|(name, rate)| Some((name, rate?.to_string()))));
            let counts = [
                ("packets_retransmitted", stats.packets_retransmitted),
                ("packets_dropped", stats.packets_dropped),
                ("viewers", stats.viewers),
            ];
            set.extend(counts.into_iter().filter_map(|(name, count)| Some((name, count?.to_string()))));
        }
        _ => {}
    }
    set
}

#[tokio::test]
async fn scripts_and_decoder_agree_on_random_records() {
    let told = std::env::var("STREAM_REGISTRY_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = told.unwrap_or_else(|| fastrand::u64(..));
    let mut maker = Maker(fastrand::Rng::with_seed(seed));
    let bed = Bed::start().await;
    let fast = bed.store().await;
    let slow = RedisRegistry::connect(bed.options().prefix(SLOW)).await.unwrap();
    let names: Vec<String> =
        (0..AT_ONCE).map(|at| if at % 3 == 0 { format!("cam \"{at}\"\\") } else { format!("cam{at}") }).collect();
    let mut raw = bed.raw.clone();
    let mut wrong = Vec::new();
    let mut in_place = 0;
    for _ in 0..RECORDS / AT_ONCE {
        let records: Vec<String> = names.iter().map(|name| maker.record(name)).collect();
        let mut put = ::redis::pipe();
        for (name, text) in names.iter().zip(&records) {
            assert!(json::decode(text.as_bytes()).is_some(), "seed {seed}: the generator made invalid JSON: {text}");
            put.cmd("SET").arg(format!("mirror:streams:{name}")).arg(text).ignore();
            put.cmd("SET").arg(format!("{SLOW}{name}")).arg(format!(" {text}")).ignore();
        }
        let () = put.query_async(&mut raw).await.unwrap();
        let writes: Vec<Write> = names
            .iter()
            .map(|name| Write {
                id: id(name),
                guard: match maker.0.u8(..4) {
                    0 => Guard::Force,
                    1 => Guard::Holder("0005-aa".parse().unwrap()),
                    _ => Guard::None,
                },
                change: maker.change(),
            })
            .collect();
        let by_script = fast.write(&writes).await.unwrap();
        let by_client = slow.write(&writes).await.unwrap();
        for (at, write) in writes.iter().enumerate() {
            let text = &records[at];
            let context = format!("{:?} {:?} on {text}", write.guard, write.change);
            let kinds = [&by_script[at], &by_client[at]].map(|answer| answer.as_ref().err().map(|error| error.kind()));
            if kinds[0] != kinds[1] {
                wrong.push(format!("answers differ, {kinds:?}: {context}"));
                continue;
            }
            let one: Vec<u8> =
                ::redis::cmd("GET").arg(format!("mirror:streams:{}", names[at])).query_async(&mut raw).await.unwrap();
            let two: Vec<u8> =
                ::redis::cmd("GET").arg(format!("{SLOW}{}", names[at])).query_async(&mut raw).await.unwrap();
            if by_script[at].is_err() {
                if one != text.as_bytes() || two[1..] != *text.as_bytes() {
                    wrong.push(format!("a refused write changed something: {context}"));
                }
                continue;
            }
            let set = intended(&write.change);
            let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for (way, after) in [("script", &one), ("client", &two)] {
                let found = judge(text.as_bytes(), after, &write.change, &set, &names[at]);
                if !found.is_empty() {
                    wrong.push(format!("by the {way}, {found:?}: {context}"));
                }
            }
            if let (Some(one), Some(two)) = (json::decode(&one), json::decode(&two)) {
                let found = differences(&one, &two, &["last_heartbeat", "id"]);
                if !found.is_empty() {
                    wrong.push(format!("script and client differ, {found:?}: {context}"));
                }
            }
            // Same length and same ending: only the time was set in place, which the slow path rarely produces.
            let tail = text.len() - 40;
            let heartbeat = write.change == Change::Heartbeat && one.len() == text.len();
            in_place += usize::from(heartbeat && one[tail..] == text.as_bytes()[tail..]);
            // Unregistration must give the same result as well.
            let options = UnregisterOptions::default().guard(write.guard.clone());
            if at % 10 == 0 {
                let ends =
                    [fast.unregister_with(&write.id, &options).await, slow.unregister_with(&write.id, &options).await];
                if ends[0].as_ref().err().map(|error| error.kind()) != ends[1].as_ref().err().map(|error| error.kind())
                {
                    wrong.push(format!("results of unregistration differ: {context}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "STREAM_REGISTRY_FUZZ_SEED={seed}: {} wrong, the first:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
    assert!(in_place > RECORDS / 30, "seed {seed}: only {in_place} heartbeats were written in place");
}
