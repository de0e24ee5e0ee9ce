//! Generates the same streams in every run. They resemble streams in an ingest cluster.

use stream_registry::{Stream, StreamStats, StreamStatus};

use crate::Result;

const CODECS: [&str; 5] = ["HEVC", "H264", "H264", "AV1", ""];
const SIZES: [&str; 5] = ["1920x1080", "3840x2160", "1280x720", "1920x1080", ""];
const RATES: [f64; 6] = [25.0, 29.97, 50.0, 59.94, 60.0, 23.976];
const SITES: [&str; 6] = ["ams1", "fra2", "iad1", "sin3", "gru1", "muc1"];

/// Creates stream number `n`. Ids, addresses, codecs and sizes vary. A third of the streams have a node and labels.
pub(crate) fn stream(n: usize) -> Result<Stream> {
    let mut rng = fastrand::Rng::with_seed(u64::try_from(n)?);
    let kind = *rng.choice(&["srt", "srt", "srt", "rtp", "rtp", "rtmp"]).unwrap_or(&"srt");
    let id = match n % 20 {
        0..12 => format!("{kind}_20261122_{:02}{:02}{:02}_{n:06}", rng.u8(0..24), rng.u8(0..60), rng.u8(0..60)),
        12..16 => format!("studio-{}/cam-{n}", rng.u8(1..40)),
        16..18 => format!("event:{}:stage A:{n}", rng.u16(2000..9999)),
        18 => format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{n:012x}",
            rng.u32(..),
            rng.u16(..),
            rng.u16(..0xfff),
            rng.u16(..0xfff)
        ),
        _ => format!("Bühne {} – Kamera {n}", rng.u8(1..9)),
    };
    let port: u16 = rng.u16(1024..);
    let address = if rng.u8(..10) < 8 {
        format!("{}.{}.{}.{}:{port}", rng.u8(11..224), rng.u8(..), rng.u8(..), rng.u8(1..255))
    } else {
        format!("[2001:db8:{:x}:{:x}::{:x}]:{port}", rng.u16(..), rng.u16(..), rng.u16(1..))
    };
    let mut stream = Stream::new(id.parse()?, kind.parse()?, address);
    stream.set_status(match rng.u8(..20) {
        0 => StreamStatus::Connecting,
        1 => StreamStatus::Paused,
        _ => StreamStatus::Active,
    });
    let size = rng.usize(..SIZES.len());
    stream.video_codec = CODECS[size].to_owned();
    stream.resolution = SIZES[size].to_owned();
    stream.frame_rate = RATES[rng.usize(..RATES.len())];
    stream.update_stats(&stats(n, 0, &mut rng));
    if n.is_multiple_of(3) {
        let site = SITES[rng.usize(..SITES.len())];
        stream.node = Some(format!("ingest-{}.{site}.example.net", rng.u8(1..60)));
        stream.labels.insert("site".into(), site.into());
        stream.labels.insert("customer".into(), format!("c{:05}", rng.u16(..)));
        if rng.bool() {
            stream.labels.insert("tier".into(), "gold".into());
            stream.audio_codec = Some("AAC".into());
        }
    }
    Ok(stream)
}

/// Creates the statistics of stream number `n`, `seconds` after its registration.
///
/// Totals grow, and the bitrate stays within 5 % of its mean. All numbers are so small that cjson encodes them exactly.
pub(crate) fn stats(n: usize, seconds: u64, rng: &mut fastrand::Rng) -> StreamStats {
    // The seed depends only on the stream's number, so a stream has the same rates in every call.
    let mut per_stream = fastrand::Rng::with_seed(n as u64);
    let mean = per_stream.u64(800_000..25_000_000);
    let bytes = mean / 8 * (per_stream.u64(60..864_000) + seconds);
    let packets = bytes / 1_316;
    StreamStats {
        bytes_received: Some(bytes),
        packets_received: Some(packets),
        packets_lost: Some(packets / per_stream.u64(2_000..100_000)),
        bitrate: Some(mean - mean / 20 + rng.u64(..mean / 10)),
        ..StreamStats::default()
    }
}
